//! What the clocks should show by the last stamps and the time since: what shows more has jumped (`cluster_time.rs`).
//!
//! Time since is counted by monotonic clocks, and one of those may have stood still, as a suspended machine's does; none of them
//! leaps. So of what the nodes expect the most is nearest to the truth, and each takes over what a peer expects beyond its own. Only a
//! stamp of clocks that were set back, which a majority agreed on, lowers what is expected: that begins an era, and who hears of a
//! later era takes what it expects, whether that is more or less.

use std::time::Duration;

use leasehold_ledger::mutant;

use super::cluster_time::millis;
use crate::seams::Mono;

/// What one node expects.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// `None`: no stamp was seen live, nor was it heard of one.
    anchor: Option<Anchor>,
}

/// What a right clock showed at a point of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    era: u64,
    shown: u64,
    at: Mono,
}

impl Anchor {
    fn now(self, mono: Mono) -> u64 {
        self.shown + millis(mono.since(self.at))
    }
}

/// What a node tells its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Grows each time that clocks were set back.
    pub era: u64,
    /// UTC, ms.
    pub ms: u64,
}

impl Expected {
    /// What clocks should show now, if any stamp is known of.
    pub(super) fn now(&self, mono: Mono) -> Option<Told> {
        self.anchor.map(|anchor| Told { era: anchor.era, ms: anchor.now(mono) })
    }

    /// A stamp is made here in `term`, of a clock that was found right and shows `wall`. One that is more than `tolerance` below what was
    /// expected was set back.
    pub(super) fn stamped(&mut self, wall: u64, mono: Mono, term: u64, tolerance: Duration) {
        self.anchor = Some(match self.anchor {
            Some(anchor) if wall + millis(tolerance) < anchor.now(mono) => {
                Anchor { era: later(anchor, term), shown: wall, at: mono }
            }
            Some(anchor) => Anchor { shown: wall.max(anchor.now(mono)), at: mono, ..anchor },
            None => Anchor { era: term, shown: wall, at: mono },
        });
    }

    /// An operator says in `term` that this node's clock is right, which shows more than was expected: so all nodes will. One that shows
    /// less needs nobody's word.
    pub(super) fn accepted(&mut self, wall: u64, mono: Mono, term: u64) {
        self.heard(Told { era: self.anchor.map_or(term, |anchor| anchor.era), ms: wall }, mono);
    }

    /// A peer expected this a moment ago. By how much that is more than was expected here, ms: so long did this machine stand still, unless
    /// the clocks were set.
    pub(super) fn heard(&mut self, told: Told, mono: Mono) -> u64 {
        let own = self.now(mono);
        // Planted bug: what a peer expects is believed, also where its machine stood still.
        if mutant!("N42") || own.is_none_or(|own| (told.era, told.ms) > (own.era, own.ms)) {
            self.anchor = Some(Anchor { era: told.era, shown: told.ms, at: mono });
        }
        own.map_or(0, |own| told.ms.saturating_sub(own.ms))
    }
}

/// An era after this one. Terms only grow, also where all nodes have forgotten what they expected.
fn later(anchor: Anchor, term: u64) -> u64 {
    term.max(anchor.era + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const TOLERANCE: Duration = Duration::from_millis(250);

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    fn of(era: u64, shown: u64) -> Expected {
        Expected { anchor: Some(Anchor { era, shown, at: at(0) }) }
    }

    #[test]
    fn of_what_nodes_expect_the_most_is_taken_for_a_clock_may_have_stood_still() {
        // The peer, a leader, was suspended for thirteen seconds (found by the simulation, seed 1066).
        let mut one = of(7, NOW);
        assert_eq!(one.heard(Told { era: 7, ms: NOW + 7_000 }, at(20_000)), 0);
        assert_eq!(one.now(at(20_000)), Some(Told { era: 7, ms: NOW + 20_000 }));
        // And here it was this node.
        assert_eq!(one.heard(Told { era: 7, ms: NOW + 33_000 }, at(20_000)), 13_000);
        assert_eq!(one.now(at(21_000)), Some(Told { era: 7, ms: NOW + 34_000 }));
    }

    #[test]
    fn a_stamp_of_clocks_that_were_set_back_is_believed_by_all_and_one_of_clocks_that_run_a_little_slow_begins_nothing() {
        let mut leader = of(7, NOW);
        leader.stamped(NOW + 9_800, at(10_000), 9, TOLERANCE);
        assert_eq!(leader.now(at(10_000)), Some(Told { era: 7, ms: NOW + 10_000 }));
        leader.stamped(NOW - 3_600_000, at(11_000), 9, TOLERANCE);
        let told = Told { era: 9, ms: NOW - 3_600_000 };
        assert_eq!(leader.now(at(11_000)), Some(told));
        let mut follower = of(7, NOW);
        follower.heard(told, at(500));
        assert_eq!(follower.now(at(500)), Some(told));
        // What others still expect of the era before is no news.
        follower.heard(Told { era: 7, ms: NOW + 1_000 }, at(600));
        assert_eq!(follower.now(at(500)), Some(told));
        // Set back again in the same term.
        leader.stamped(NOW - 7_200_000, at(12_000), 9, TOLERANCE);
        assert_eq!(leader.now(at(12_000)), Some(Told { era: 10, ms: NOW - 7_200_000 }));
    }

    #[test]
    fn what_an_operator_accepts_is_expected_by_all_and_who_knows_nothing_takes_what_it_hears() {
        let (mut one, mut none) = (of(7, NOW), Expected::default());
        one.accepted(NOW + 3_600_000, at(0), 8);
        let told = one.now(at(0)).unwrap();
        assert_eq!(told, Told { era: 7, ms: NOW + 3_600_000 });
        none.heard(told, at(5));
        assert_eq!(none.now(at(6)), Some(Told { era: 7, ms: told.ms + 1 }));
        // Said to a node whose clock is the one that is wrong, it does no harm.
        one.accepted(NOW - 3_600_000, at(0), 8);
        assert_eq!(one.now(at(0)), Some(told));
        let mut fresh = Expected::default();
        assert_eq!(fresh.now(at(0)), None);
        fresh.stamped(NOW, at(0), 12, TOLERANCE);
        assert_eq!(fresh.now(at(0)), Some(Told { era: 12, ms: NOW }));
    }
}
