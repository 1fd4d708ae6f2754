//! What the clocks should show by the last stamps and the time since: what shows more has jumped (`cluster_time.rs`).
//!
//! Time since is counted by monotonic clocks, and one of those may have stood still, as a suspended machine's does; none of them
//! leaps. So of what the nodes expect the most is nearest to the truth, and each takes over what a peer expects beyond its own. Only a
//! stamp of a clock that was set back lowers what is expected: that begins an era, and who hears of a later era takes what it expects,
//! whether that is more or less. A machine that stood still has not set its clock back: its wall clock stood as well.

use std::time::Duration;

use leasehold_ledger::mutant;

use super::cluster_time::{JUMP_MS, ahead, millis, signed};
use crate::seams::Mono;

/// Eras of one term.
const ERAS_A_TERM: u64 = 1 << 20;

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
    /// What this node's wall clock was ahead of its monotonic one then, ms, or later, if less: with less it was set back since.
    ahead: i64,
}

impl Anchor {
    fn now(self, mono: Mono) -> u64 {
        self.shown + millis(mono.since(self.at))
    }
}

/// What a node tells its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Grows each time that clocks were set back: the term in which they were, and how often in it ([`ERAS_A_TERM`]).
    pub era: u64,
    /// UTC, ms.
    pub ms: u64,
}

/// A look at this node's clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// UTC, ms.
    pub wall: u64,
    /// At the same time, or a little before.
    pub mono: Mono,
}

impl Expected {
    /// What clocks should show now, if any stamp is known of.
    pub(super) fn now(&self, mono: Mono) -> Option<Told> {
        self.anchor.map(|anchor| Told { era: anchor.era, ms: anchor.now(mono) })
    }

    /// A stamp is made here in `term`, of a clock that was found right. One that fell by more than `tolerance` against this node's monotonic
    /// clock was set back.
    pub(super) fn stamped(&mut self, look: Look, term: u64, tolerance: Duration) {
        let ahead = ahead(look.wall, look.mono);
        let shown = |era| Some(Anchor { era, shown: look.wall, at: look.mono, ahead });
        match self.anchor {
            None => self.anchor = shown(term.saturating_mul(ERAS_A_TERM)),
            Some(anchor) if ahead + signed(tolerance) < anchor.ahead => self.anchor = shown(later(anchor, term)),
            Some(anchor) if look.wall >= anchor.now(look.mono) => self.anchor = shown(anchor.era),
            // A clock that runs a little slow, or stood still.
            Some(_) => {}
        }
    }

    /// An operator says that this node's clock is right, which shows more than was expected: so all nodes will. One that shows less needs
    /// nobody's word.
    pub(super) fn accepted(&mut self, look: Look, term: u64) {
        let era = self.anchor.map_or(term.saturating_mul(ERAS_A_TERM), |anchor| anchor.era);
        self.heard(Told { era, ms: look.wall }, look, 0);
    }

    /// A peer expected this a moment ago; `stored` is the last stamp that was applied here, which no right clock is far behind. By how much it
    /// is more than was expected here, ms, where it is taken over: so long did this machine stand still, unless clocks were set.
    pub(super) fn heard(&mut self, told: Told, look: Look, stored: u64) -> u64 {
        let own = self.now(look.mono);
        // Planted bug: what a peer expects is believed, also where its machine stood still.
        let is_news = mutant!("N42") || own.is_none_or(|own| (told.era, told.ms) > (own.era, own.ms));
        if !is_news || (told.ms + JUMP_MS < stored && !mutant!("N42")) {
            return 0;
        }
        let now = ahead(look.wall, look.mono);
        let ahead = self.anchor.map_or(now, |anchor| anchor.ahead.min(now));
        self.anchor = Some(Anchor { era: told.era, shown: told.ms, at: look.mono, ahead });
        own.map_or(0, |own| told.ms.saturating_sub(own.ms))
    }
}

/// An era after this one, and of no term before this one.
fn later(anchor: Anchor, term: u64) -> u64 {
    term.saturating_mul(ERAS_A_TERM).max(anchor.era + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const TOLERANCE: Duration = Duration::from_millis(250);
    const HOUR: u64 = 3_600_000;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    fn look(wall: u64, mono: u64) -> Look {
        Look { wall, mono: at(mono) }
    }

    /// Of term 7.
    fn expecting(shown: u64) -> Expected {
        let mut expected = Expected::default();
        expected.stamped(look(shown, 0), 7, TOLERANCE);
        expected
    }

    fn told(era: u64, ms: u64) -> Told {
        Told { era: era * ERAS_A_TERM, ms }
    }

    #[test]
    fn of_what_nodes_expect_the_most_is_taken_for_a_clock_may_have_stood_still() {
        // The peer, a leader, was suspended for thirteen seconds (found by the simulation, seed 1066).
        let mut one = expecting(NOW);
        assert_eq!(one.heard(told(7, NOW + 7_000), look(NOW + 20_000, 20_000), NOW), 0);
        assert_eq!(one.now(at(20_000)), Some(told(7, NOW + 20_000)));
        // And here it was this node.
        assert_eq!(one.heard(told(7, NOW + 33_000), look(NOW + 20_000, 20_000), NOW), 13_000);
        assert_eq!(one.now(at(21_000)), Some(told(7, NOW + 34_000)));
        // Its clock, behind as it is, was not set back: what it stamps begins nothing.
        one.stamped(look(NOW + 21_000, 21_000), 8, TOLERANCE);
        assert_eq!(one.now(at(21_000)), Some(told(7, NOW + 34_000)));
    }

    #[test]
    fn a_stamp_of_a_clock_that_was_set_back_is_believed_by_all_and_one_of_a_clock_that_runs_a_little_slow_begins_nothing() {
        let mut leader = expecting(NOW);
        leader.stamped(look(NOW + 9_800, 10_000), 9, TOLERANCE);
        assert_eq!(leader.now(at(10_000)), Some(told(7, NOW + 10_000)));
        leader.stamped(look(NOW - HOUR, 11_000), 9, TOLERANCE);
        let back = told(9, NOW - HOUR);
        assert_eq!(leader.now(at(11_000)), Some(back));
        let mut follower = expecting(NOW);
        assert_eq!(follower.heard(back, look(NOW - HOUR, 500), NOW - HOUR), 0);
        assert_eq!(follower.now(at(500)), Some(back));
        // What others still expect of the era before is no news.
        assert_eq!(follower.heard(told(7, NOW + 1_000), look(NOW - HOUR, 600), NOW - HOUR), 0);
        assert_eq!(follower.now(at(500)), Some(back));
        // Set back again in the same term: after that, and before any other term.
        leader.stamped(look(NOW - 2 * HOUR, 12_000), 9, TOLERANCE);
        let again = leader.now(at(12_000)).unwrap();
        assert!(again.era > back.era && again.era < told(10, 0).era && again.ms == NOW - 2 * HOUR, "{again:?}");
    }

    #[test]
    fn what_is_far_below_what_was_applied_here_is_not_believed_whatever_its_era() {
        let mut none = Expected::default();
        assert_eq!(none.heard(told(9, NOW), look(NOW + 13_000, 0), NOW + JUMP_MS + 1), 0);
        assert_eq!(none.now(at(0)), None);
        none.heard(told(9, NOW), look(NOW + 13_000, 0), NOW + JUMP_MS);
        assert_eq!(none.now(at(0)), Some(told(9, NOW)));
    }

    #[test]
    fn what_an_operator_accepts_is_expected_by_all_and_who_knows_nothing_takes_what_it_hears() {
        let (mut one, mut none) = (expecting(NOW), Expected::default());
        one.accepted(look(NOW + HOUR, 0), 8);
        let accepted = told(7, NOW + HOUR);
        assert_eq!(one.now(at(0)), Some(accepted));
        none.heard(accepted, look(NOW, 5), NOW);
        assert_eq!(none.now(at(6)), Some(told(7, NOW + HOUR + 1)));
        // Said to a node whose clock shows less it changes nothing.
        one.accepted(look(NOW - HOUR, 0), 8);
        assert_eq!(one.now(at(0)), Some(accepted));
        let mut fresh = Expected::default();
        assert_eq!(fresh.now(at(0)), None);
        fresh.accepted(look(NOW, 0), 12);
        assert_eq!(fresh.now(at(0)), Some(told(12, NOW)));
    }
}
