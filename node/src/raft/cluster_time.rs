//! A time that most nodes agree on (architecture D4). Without agreement nothing that reads the time is stamped: the
//! ledger's clock cannot go back, so one leader with a wrong clock would end leases for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasehold_ledger::model::Timestamp;
use leasehold_ledger::mutant;
use parking_lot::Mutex;
use uuid::Uuid;

use super::codec::wire;
use super::expected::{Expected, Look, Told};
use super::identity::Identity;
use super::leadership::metrics;
use super::peer::{Lane, Transport};
use super::state_machine::Shared;
use super::types::{Engine, Member};
use crate::seams::{Clock, Mono, Spawner};

/// A clock that moved further than this from where it should be has jumped, ms.
pub(super) const JUMP_MS: u64 = 5_000;
/// A jump forward that nobody saw happen, because every node was down, is taken on the word of a majority up to this, ms.
const UNSEEN_JUMP_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// How often peers are asked, and how often while no majority has answered.
const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_UNSURE: Duration = Duration::from_millis(100);
/// A peer that does not answer within this is asked again in the next round.
const ANSWER: Duration = Duration::from_millis(500);
/// Who answered within this is there.
const ANSWERED_LATELY: Duration = Duration::from_secs(3);
/// What a peer's clock showed is of no use after this.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(10);
/// A clock gains or loses less than one part of this many against another: far more than a machine's does, but a virtual one that
/// is catching up comes near.
const DRIFT: i64 = 20;

/// Why no time is stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockProblem {
    /// Fewer than a majority of the clocks meet this node's.
    #[error("this node's clock meets those of {agreeing} of {voters} voters, itself included; a majority is needed")]
    NoMajority {
        /// Clocks that meet, this node's included.
        agreeing: usize,
        /// Voters.
        voters: usize,
    },
    /// The clock is ahead of the last stamp and the time since by more than 5 s.
    #[error("the clock jumped ahead by {ahead_ms} ms; if it is right now: leasehold cluster clock accept")]
    Jumped {
        /// By how much.
        ahead_ms: u64,
    },
    /// The clock is more than 5 s below the ledger's.
    #[error("the clock is {behind_ms} ms behind the ledger's; correct it, or wait")]
    Behind {
        /// By how much.
        behind_ms: u64,
    },
}

/// A peer's clock less this node's, ms, somewhere in an interval.
#[derive(Clone, Copy, Debug)]
struct Sample {
    low: i64,
    high: i64,
    at: Mono,
    /// What this node's wall clock was ahead of its monotonic one, ms: when that has changed, its clock was set since, and
    /// the interval moved by as much.
    ahead: i64,
    /// [`Seen::stood_still`] when the peer was asked.
    asked_after: u64,
}

#[derive(Default)]
struct Seen {
    samples: BTreeMap<u64, Sample>,
    /// How often it turned out that this machine had stood still: what peers showed who were asked before that is older than it seems.
    stood_still: u64,
    voters: Vec<u64>,
    /// The engine's term at the last look.
    term: u64,
    expected: Expected,
}

/// The time to stamp, or why there is none.
pub(super) struct ClusterTime {
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    node_id: u64,
    tolerance: Duration,
    seen: Mutex<Seen>,
}

impl ClusterTime {
    pub(super) fn new(clock: Arc<dyn Clock>, shared: Arc<Shared>, node_id: u64, tolerance: Duration) -> Self {
        Self { clock, shared, node_id, tolerance, seen: Mutex::default() }
    }

    /// The ledger's clock as applied here.
    pub(super) fn stored(&self) -> Timestamp {
        self.shared.state.read().clock()
    }

    /// What the clock should show by the last stamps, for peers.
    pub(super) fn expected(&self) -> Option<Told> {
        let mono = self.clock.mono();
        self.seen.lock().expected.now(mono)
    }

    /// What a command proposed now would be stamped with.
    pub(super) fn now(&self) -> Result<Timestamp, ClockProblem> {
        let (wall, stored) = (self.clock.wall_ms(), self.stored().0);
        match self.problem() {
            Some(problem) if !mutant!("M21") => Err(problem),
            _ => Ok(Timestamp(wall.max(stored))),
        }
    }

    /// The time for a command proposed now, which is noted.
    pub(super) fn stamp(&self) -> Result<Timestamp, ClockProblem> {
        // This node may stand still between the two: the time is then shown later than noted, never earlier, so that the next
        // look does not take it for a jump.
        let mono = self.clock.mono();
        let (wall, stored) = (self.clock.wall_ms(), self.stored().0);
        let mut seen = self.seen.lock();
        // Planted bug: this node's clock is right, even if it was set back.
        if mutant!("M21") {
            return Ok(Timestamp(wall));
        }
        check(&seen, self.node_id, self.tolerance, wall, mono, stored)?;
        let term = seen.term;
        seen.expected.stamped(Look { wall, mono }, term, self.tolerance);
        // The stamp itself never goes back.
        Ok(Timestamp(wall.max(stored)))
    }

    /// Why no time would be stamped now, if so.
    pub(super) fn problem(&self) -> Option<ClockProblem> {
        let (wall, mono, stored) = (self.clock.wall_ms(), self.clock.mono(), self.stored().0);
        check(&self.seen.lock(), self.node_id, self.tolerance, wall, mono, stored).err()
    }

    /// Peers whose clocks are remembered.
    pub(super) fn clocks(&self) -> usize {
        self.seen.lock().samples.len()
    }

    /// An operator says that this node's clock is right: a jump it made is one no more, for any node.
    ///
    /// # Errors
    /// A majority shows another time: what it would make all nodes expect is not theirs.
    pub(super) fn accept_jump(&self) -> Result<(), ClockProblem> {
        let (mono, wall) = (self.clock.mono(), self.clock.wall_ms());
        accept(&mut self.seen.lock(), self.node_id, self.tolerance, Look { wall, mono })
    }

    /// The voters whose clocks meet each other but not this node's, if they are a majority: one of them should lead.
    pub(super) fn odd_one_out(&self) -> bool {
        let seen = self.seen.lock();
        let (wall, mono) = (self.clock.wall_ms(), self.clock.mono());
        let slack = 2 * signed(self.tolerance);
        let others: Vec<(i64, i64)> = fresh(&seen, self.node_id, wall, mono);
        let together = others.iter().map(|(low, _)| {
            others.iter().filter(|(other_low, other_high)| *other_low <= low + slack && *other_high >= *low).count()
        });
        let agreeing = agreeing(&seen, self.node_id, self.tolerance, wall, mono);
        !is_majority(agreeing, seen.voters.len()) && is_majority(together.max().unwrap_or(0), seen.voters.len())
    }

    /// Asks the peers for their clocks until the group stops.
    pub(super) async fn run(self: Arc<Self>, engine: Engine, transport: Arc<dyn Transport>, identity: Arc<Identity>) {
        loop {
            let members: Vec<(u64, Member)> = {
                let (membership, term) = (metrics(&engine).membership_config, metrics(&engine).current_term);
                let mut seen = self.seen.lock();
                (seen.voters, seen.term) = (membership.voter_ids().collect(), term);
                membership.nodes().map(|(id, member)| (*id, member.clone())).collect()
            };
            self.forget_others(&members);
            transport.keep_only(&members.iter().map(|(_, member)| member.peer_address.as_str()).collect());
            let others = members.into_iter().filter(|(id, _)| *id != self.node_id);
            let asked = others.map(|(id, member)| self.ask(id, member, &*transport, &identity));
            futures::future::join_all(asked).await;
            let sure = !matches!(self.problem(), Some(ClockProblem::NoMajority { .. }));
            self.clock.sleep(if sure { PERIOD } else { PERIOD_UNSURE }).await;
        }
    }

    /// Nodes that left are asked no more, and nothing of them is kept.
    fn forget_others(&self, members: &[(u64, Member)]) {
        self.seen.lock().samples.retain(|id, _| members.iter().any(|(member, _)| member == id));
    }

    /// Asks one peer for its clock and for what it expects, and gets to know its disk; tells it the disks that this node knows. False: no
    /// answer came.
    pub(super) async fn ask(&self, id: u64, member: Member, transport: &dyn Transport, identity: &Identity) -> bool {
        let peer = transport.peer(&member.peer_address, Lane::Operations);
        let (sent, wall, asked_after) = (self.clock.mono(), self.clock.wall_ms(), self.seen.lock().stood_still);
        let met = identity
            .met()
            .into_iter()
            .map(|(node_id, disk)| wire::PeerDisk { node_id, disk_id: Bytes::copy_from_slice(disk.as_bytes()) });
        let request = wire::ClockRequest { met: met.collect() };
        let answer = self.clock.timeout(ANSWER, peer.clock(identity.route(id), request)).await;
        let now = self.clock.mono();
        // A peer that cannot be asked has no clock that meets ours.
        let Ok(Ok(answer)) = answer else { return false };
        // This node may have stood still in between: the answer is then as old as the pause was long, and an interval as
        // wide as that would meet any clock.
        if now.since(sent) > ANSWER {
            return false;
        }
        if !identity.has_met(id)
            && let Ok(disk) = Uuid::from_slice(&answer.disk_id)
            && let Err(error) = identity.meet([(id, disk)]).await
        {
            // The node is ending; the log has told why.
            tracing::warn!(id, %error, "the disk of a peer could not be kept");
            return false;
        }
        let (theirs, ours) = (to_signed(answer.wall_ms), to_signed(wall));
        let round_trip = signed(now.since(sent)) + 1;
        // It looked at its clock between our sending and our receiving.
        let (low, high) = (theirs - ours - round_trip, theirs - ours + 1);
        let sample = Sample { low, high, at: now, ahead: ahead(wall, sent), asked_after };
        let expected = (answer.expected_ms > 0).then_some(Told { era: answer.expected_era, ms: answer.expected_ms });
        let (look, stored) = (Look { wall: self.clock.wall_ms(), mono: now }, self.stored().0);
        let mut seen = self.seen.lock();
        if let Some(told) = expected {
            heard(&mut seen, told, look, stored, self.tolerance);
        }
        seen.samples.insert(id, sample);
        true
    }

    /// Nodes that answered lately, this one included.
    pub(super) fn answering(&self) -> BTreeSet<u64> {
        let (seen, mono) = (self.seen.lock(), self.clock.mono());
        let lately = seen.samples.iter().filter(|(_, sample)| mono.since(sample.at) <= ANSWERED_LATELY);
        lately.map(|(id, _)| *id).chain([self.node_id]).collect()
    }

    /// Starts asking.
    pub(super) fn start(
        self: &Arc<Self>,
        engine: Engine,
        transport: Arc<dyn Transport>,
        identity: Arc<Identity>,
        spawner: &Spawner,
    ) {
        drop(spawner.spawn("cluster time", self.clone().run(engine, transport, identity)));
    }
}

/// A peer told what it expects. Where that is more than was expected here this machine may have stood still: nobody's clock meets its own
/// until all are asked anew.
fn heard(seen: &mut Seen, told: Told, look: Look, stored: u64, tolerance: Duration) {
    let stood = seen.expected.heard(told, look, stored);
    seen.stood_still += u64::from(stood > millis(tolerance));
}

/// See [`ClusterTime::accept_jump`].
fn accept(seen: &mut Seen, node_id: u64, tolerance: Duration, look: Look) -> Result<(), ClockProblem> {
    majority(seen, node_id, tolerance, look.wall, look.mono)?;
    let term = seen.term;
    seen.expected.accepted(look, term);
    Ok(())
}

/// Whether a majority's clocks meet this node's.
fn majority(seen: &Seen, node_id: u64, tolerance: Duration, wall: u64, mono: Mono) -> Result<(), ClockProblem> {
    let (agreeing, voters) = (agreeing(seen, node_id, tolerance, wall, mono), seen.voters.len());
    if is_majority(agreeing, voters) { Ok(()) } else { Err(ClockProblem::NoMajority { agreeing, voters }) }
}

fn check(seen: &Seen, node_id: u64, tolerance: Duration, wall: u64, mono: Mono, stored: u64) -> Result<(), ClockProblem> {
    majority(seen, node_id, tolerance, wall, mono)?;
    if wall + JUMP_MS < stored {
        return Err(ClockProblem::Behind { behind_ms: stored - wall });
    }
    let limit = match seen.expected.now(mono) {
        Some(expected) => expected.ms + JUMP_MS,
        // Nobody saw the last stamp live. A ledger without any time has nothing to lose.
        None if stored == 0 => u64::MAX,
        None => stored + UNSEEN_JUMP_MS,
    };
    if wall > limit { Err(ClockProblem::Jumped { ahead_ms: wall - (limit - JUMP_MS) }) } else { Ok(()) }
}

/// Voters whose clocks meet this node's, itself included: they may be within the tolerance of each other, and surely are within
/// twice of it. Slow messages alone would leave room for as much again (found by the simulation, seed 1003).
fn agreeing(seen: &Seen, node_id: u64, tolerance: Duration, wall: u64, mono: Mono) -> usize {
    let tolerance = signed(tolerance);
    let may = |(low, high): (i64, i64)| low <= tolerance && high >= -tolerance;
    let surely = |(low, high): (i64, i64)| low >= -2 * tolerance && high <= 2 * tolerance;
    let meets = |sample: &&(i64, i64)| may(**sample) && surely(**sample);
    let itself = usize::from(seen.voters.contains(&node_id));
    itself + fresh(seen, node_id, wall, mono).iter().filter(meets).count()
}

/// Intervals of the other voters that are new enough, moved by what this node's clock was set since, and widened for their age.
fn fresh(seen: &Seen, node_id: u64, wall: u64, mono: Mono) -> Vec<(i64, i64)> {
    let others = seen.voters.iter().filter(|id| **id != node_id);
    let samples = others.filter_map(|id| seen.samples.get(id));
    let fresh = samples.filter(|sample| mono.since(sample.at) <= SAMPLE_AGE_MAX && sample.asked_after == seen.stood_still);
    fresh
        .map(|sample| {
            let widened = signed(mono.since(sample.at)) / DRIFT + 1;
            let set = ahead(wall, mono) - sample.ahead;
            (sample.low - set - widened, sample.high - set + widened)
        })
        .collect()
}

/// What the wall clock is ahead of the monotonic one, ms.
pub(super) fn ahead(wall: u64, mono: Mono) -> i64 {
    to_signed(wall) - signed(mono.0)
}

fn is_majority(count: usize, voters: usize) -> bool {
    2 * count > voters
}

pub(super) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX / 4)
}

pub(super) fn signed(d: Duration) -> i64 {
    to_signed(millis(d))
}

fn to_signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TOLERANCE: Duration = Duration::from_millis(250);
    const NOW: u64 = 1_800_000_000_000;

    fn at(ms: u64) -> Mono {
        Mono(Duration::from_millis(ms))
    }

    fn expecting(ms: u64) -> Expected {
        let mut expected = Expected::default();
        expected.stamped(Look { wall: ms, mono: at(0) }, 1, TOLERANCE);
        expected
    }

    fn seen(voters: &[u64], offsets: &[(u64, i64)]) -> Seen {
        let sample = |offset| Sample { low: offset - 2, high: offset + 2, at: at(0), ahead: to_signed(NOW), asked_after: 0 };
        Seen {
            samples: offsets.iter().map(|(id, offset)| (*id, sample(*offset))).collect(),
            voters: voters.to_vec(),
            stood_still: 0,
            term: 1,
            expected: expecting(NOW),
        }
    }

    fn checked(seen: &Seen, wall: u64, mono: u64, stored: u64) -> Result<(), ClockProblem> {
        check(seen, 1, TOLERANCE, wall, at(mono), stored)
    }

    #[test]
    fn a_majority_of_clocks_that_meet_is_needed_and_old_samples_do_not_count() {
        let three = [1, 2, 3];
        assert_eq!(checked(&seen(&[1], &[]), NOW, 0, NOW), Ok(()));
        assert_eq!(checked(&seen(&three, &[(2, 100), (3, 60_000)]), NOW, 0, NOW), Ok(()));
        let nobody = Err(ClockProblem::NoMajority { agreeing: 1, voters: 3 });
        assert_eq!(checked(&seen(&three, &[(2, 900), (3, -900)]), NOW, 0, NOW), nobody);
        assert_eq!(checked(&seen(&three, &[]), NOW, 0, NOW), nobody);
        let late = millis(SAMPLE_AGE_MAX) + 1;
        assert_eq!(checked(&seen(&three, &[(2, 0), (3, 0)]), NOW + late, late, NOW), nobody);
        assert_eq!(
            checked(&seen(&[2, 3], &[(2, 900), (3, 900)]), NOW, 0, NOW),
            Err(ClockProblem::NoMajority { agreeing: 0, voters: 2 })
        );
    }

    #[test]
    fn a_clock_that_jumps_more_than_five_seconds_waits_and_one_that_runs_does_not() {
        let one = seen(&[1], &[]);
        assert_eq!(checked(&one, NOW + 3_600_000, 3_600_000, NOW), Ok(()));
        assert_eq!(checked(&one, NOW + 1_000 + JUMP_MS, 1_000, NOW), Ok(()));
        let jumped = checked(&one, NOW + 1_001 + JUMP_MS, 1_000, NOW);
        assert_eq!(jumped, Err(ClockProblem::Jumped { ahead_ms: JUMP_MS + 1 }));
        assert_eq!(checked(&one, NOW - JUMP_MS, 0, NOW), Ok(()));
        let behind = checked(&one, NOW - JUMP_MS - 1, 0, NOW);
        assert_eq!(behind, Err(ClockProblem::Behind { behind_ms: JUMP_MS + 1 }));
    }

    #[test]
    fn a_clock_that_is_set_meets_the_others_no_more_from_that_instant_on() {
        // The leader's clock was set ahead by two seconds, between two looks at the others' (found by the simulation, seed 148).
        let three = seen(&[1, 2, 3], &[(2, 0), (3, 0)]);
        assert_eq!(checked(&three, NOW + 500, 500, NOW), Ok(()));
        let alone = Err(ClockProblem::NoMajority { agreeing: 1, voters: 3 });
        assert_eq!(checked(&three, NOW + 2_500, 500, NOW), alone);
        assert_eq!(checked(&three, NOW + 500 - 2_000, 500, NOW - 4_000), alone);
        // One that was wrong and is set right meets them at once.
        assert_eq!(checked(&seen(&[1, 2, 3], &[(2, 2_000), (3, 2_000)]), NOW + 2_500, 500, NOW), Ok(()));
    }

    #[test]
    fn a_clock_that_slow_messages_let_seem_right_does_not_meet_and_a_right_one_does() {
        // Messages take so long there and back, and this clock may be off by 450 ms: with the tolerance alone it would meet.
        let slow = |offset: i64, there: i64, back: i64| {
            let (low, high) = (offset - back, offset + there + 1);
            let sample = Sample { low, high, at: at(0), ahead: to_signed(NOW), asked_after: 0 };
            Seen { samples: [2, 3].map(|id| (id, sample)).into(), ..seen(&[1, 2, 3], &[]) }
        };
        assert!(checked(&slow(-450, 250, 240), NOW, 0, NOW).is_err());
        assert!(checked(&slow(450, 250, 240), NOW, 0, NOW).is_err());
        for (there, back) in [(250, 240), (10, 480), (480, 10)] {
            assert_eq!(checked(&slow(0, there, back), NOW, 0, NOW), Ok(()));
        }
        // What was seen long ago is less and less sure.
        assert_eq!(checked(&slow(0, 250, 240), NOW + 4_000, 4_000, NOW), Ok(()));
        assert!(checked(&slow(0, 250, 240), NOW + 6_000, 6_000, NOW).is_err());
    }

    #[test]
    fn a_clock_that_was_ahead_and_is_set_right_is_expected_to_show_the_right_time() {
        let mut one = seen(&[1], &[]);
        // It ran an hour ahead, an operator took that for right, and it was set right later.
        let hour = 3_600_000;
        one.expected = expecting(NOW + hour);
        assert!(matches!(checked(&one, NOW + 1_000, 1_000, NOW + hour), Err(ClockProblem::Behind { .. })));
        let back = hour - 4_000;
        assert_eq!(checked(&one, NOW + back, back, NOW + hour), Ok(()));
        one.expected.stamped(Look { wall: NOW + back, mono: at(back) }, 1, TOLERANCE);
        assert_eq!(checked(&one, NOW + back + JUMP_MS, back, NOW + hour), Ok(()));
        let again = checked(&one, NOW + back + hour, back, NOW + hour);
        assert_eq!(again, Err(ClockProblem::Jumped { ahead_ms: hour }));
    }

    #[test]
    fn who_stood_still_takes_no_old_look_at_a_clock_for_a_new_one() {
        // All of this machine stood still for 13 s: the others' clocks seem to meet its own. One of them tells what it expects.
        let mut three = seen(&[1, 2, 3], &[(2, 0), (3, 0)]);
        let (mono, wall) = (at(1_000), NOW + 1_000);
        assert_eq!(checked(&three, wall, 1_000, NOW), Ok(()), "nothing tells it before that");
        let era = three.expected.now(mono).unwrap().era;
        let tells = |three: &mut Seen, ms| heard(three, Told { era, ms }, Look { wall, mono }, NOW, TOLERANCE);
        tells(&mut three, wall + 200);
        assert_eq!(checked(&three, wall, 1_000, NOW), Ok(()), "within the tolerance");
        tells(&mut three, wall + 13_000);
        assert_eq!(checked(&three, wall, 1_000, NOW), Err(ClockProblem::NoMajority { agreeing: 1, voters: 3 }));
        // Who is asked after that counts, and shows that this clock is behind.
        let asked = |asked_after| Sample { low: 12_998, high: 13_002, at: mono, ahead: ahead(wall, mono), asked_after };
        three.samples.insert(2, asked(1));
        assert_eq!(checked(&three, wall, 1_000, NOW), Err(ClockProblem::NoMajority { agreeing: 1, voters: 3 }));
        assert_eq!(checked(&three, wall + 13_000, 1_000, NOW), Ok(()), "once it is set right it may lead");
        // An answer that is late, to a question from before, does not.
        three.samples.insert(2, asked(0));
        assert!(checked(&three, wall + 13_000, 1_000, NOW).is_err());
    }

    #[test]
    fn a_jump_is_accepted_where_a_majority_made_it_and_nowhere_else() {
        let hour = 3_600_000;
        let look = Look { wall: NOW + hour, mono: at(0) };
        // This clock alone, and then all of them, which were asked since.
        let mut three = seen(&[1, 2, 3], &[(2, 0), (3, 0)]);
        let alone = ClockProblem::NoMajority { agreeing: 1, voters: 3 };
        assert_eq!(accept(&mut three, 1, TOLERANCE, look), Err(alone));
        assert_eq!(three.expected.now(at(0)), expecting(NOW).now(at(0)));
        let sample = Sample { low: -2, high: 2, at: at(0), ahead: ahead(look.wall, look.mono), asked_after: 0 };
        three.samples = [2, 3].map(|id| (id, sample)).into();
        assert_eq!(checked(&three, look.wall, 0, NOW), Err(ClockProblem::Jumped { ahead_ms: hour }));
        assert_eq!(accept(&mut three, 1, TOLERANCE, look), Ok(()));
        assert_eq!(checked(&three, look.wall, 0, NOW), Ok(()));
    }

    #[test]
    fn a_jump_nobody_saw_is_taken_up_to_seven_days() {
        let restarted = Seen { expected: Expected::default(), ..seen(&[1], &[]) };
        assert_eq!(checked(&restarted, NOW + UNSEEN_JUMP_MS, 0, NOW), Ok(()));
        assert!(checked(&restarted, NOW + UNSEEN_JUMP_MS + 1, 0, NOW).is_err());
        assert_eq!(checked(&restarted, NOW, 0, 0), Ok(()));
    }
}
