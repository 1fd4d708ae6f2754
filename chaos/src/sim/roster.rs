//! Which machines are in the cluster, as the operator who adds and removes them knows it, and which of them lost what they
//! kept: how much more may be broken before nothing is promised any more.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// A machine as the operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never used, its node id neither.
    Spare,
    /// In the cluster, or on its way into it.
    Member,
    /// In the cluster, but what it kept is lost: under its id it must not come back.
    Lost,
    /// Removed; its node id is never used again.
    Gone,
}

/// See the module.
pub struct Roster {
    inner: Mutex<Inner>,
    /// One change at a time.
    pub operator: tokio::sync::Mutex<()>,
}

struct Inner {
    standing: Vec<Standing>,
    /// Machines whose state was damaged and is not made again yet.
    rebuilding: BTreeSet<usize>,
    /// A change was begun, and not everybody was seen to have it since.
    unsettled: bool,
    /// The voters when everybody was last seen to have the same.
    voters: Vec<usize>,
}

impl Roster {
    /// The first `members` machines are the cluster's.
    pub fn new(members: usize, machines: usize) -> Roster {
        let standing = (0..machines).map(|index| if index < members { Standing::Member } else { Standing::Spare }).collect();
        let inner = Inner { standing, rebuilding: BTreeSet::new(), unsettled: false, voters: (0..members).collect() };
        Roster { inner: Mutex::new(inner), operator: tokio::sync::Mutex::default() }
    }

    /// Of one machine.
    pub fn standing(&self, index: usize) -> Standing {
        self.inner.lock().standing[index]
    }

    /// All of one standing.
    pub fn all(&self, standing: Standing) -> Vec<usize> {
        let inner = self.inner.lock();
        (0..inner.standing.len()).filter(|index| inner.standing[*index] == standing).collect()
    }

    /// A machine that was never used.
    pub fn take_spare(&self) -> Option<usize> {
        let mut inner = self.inner.lock();
        let index = inner.standing.iter().position(|standing| *standing == Standing::Spare)?;
        inner.standing[index] = Standing::Member;
        Some(index)
    }

    /// What it kept is lost.
    pub fn lost(&self, index: usize) {
        self.inner.lock().standing[index] = Standing::Lost;
    }

    /// It was removed.
    pub fn gone(&self, index: usize) {
        self.inner.lock().standing[index] = Standing::Gone;
    }

    /// Its state must be made again.
    pub fn rebuilding(&self, index: usize) {
        self.inner.lock().rebuilding.insert(index);
    }

    /// It runs: what was damaged is made again.
    pub fn runs(&self, index: usize) {
        self.inner.lock().rebuilding.remove(&index);
    }

    /// A change of the cluster begins.
    pub fn unsettle(&self) {
        self.inner.lock().unsettled = true;
    }

    /// Everybody was seen to have the same members, these voters among them, with no change under way.
    pub fn settle(&self, voters: Vec<usize>) {
        let mut inner = self.inner.lock();
        inner.unsettled = false;
        inner.voters = voters;
    }

    /// The voters when everybody was last seen to have the same.
    pub fn voters(&self) -> Vec<usize> {
        self.inner.lock().voters.clone()
    }

    /// Whether all are known to have the same members.
    pub fn is_settled(&self) -> bool {
        !self.inner.lock().unsettled
    }

    /// Whether it has all that it ever promised.
    pub fn is_intact(&self, index: usize) -> bool {
        let inner = self.inner.lock();
        inner.standing[index] == Standing::Member && !inner.rebuilding.contains(&index)
    }

    /// Whether one more may lose what it keeps: those that have all must stay a majority of the voters.
    pub fn may_lose(&self, index: usize, voters: &[usize]) -> bool {
        let left = voters.iter().filter(|voter| **voter != index && self.is_intact(**voter)).count();
        self.is_settled() && self.is_intact(index) && 2 * left > voters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Plan, Planned};
    use crate::sim::Options;
    use crate::sim::world::World;

    #[test]
    fn a_majority_of_the_voters_keeps_everything() {
        let roster = Roster::new(3, 5);
        let voters = [0, 1, 2];
        assert!(roster.may_lose(1, &voters));
        roster.lost(1);
        assert!(!roster.may_lose(0, &voters) && !roster.may_lose(1, &voters));
        // Replaced: as many may fail as before.
        let joined = roster.take_spare();
        roster.gone(1);
        assert_eq!(joined, Some(3));
        assert!(roster.may_lose(0, &[0, 2, 3]));
        // One that is to make its state again counts, and so does a change whose end nobody saw.
        roster.rebuilding(2);
        assert!(!roster.may_lose(0, &[0, 2, 3]));
        roster.runs(2);
        roster.unsettle();
        assert!(!roster.may_lose(0, &[0, 2, 3]));
        roster.settle(vec![0, 2, 3]);
        assert!(roster.may_lose(0, &[0, 2, 3]));
    }

    #[test]
    fn of_one_or_two_nobody_may_lose_anything() {
        let roster = Roster::new(2, 2);
        assert!(!roster.may_lose(0, &[0]) && !roster.may_lose(0, &[0, 1]));
        assert_eq!(roster.take_spare(), None);
    }

    #[test]
    fn while_nobody_runs_a_learner_does_not_vote_and_a_lost_voter_still_does() {
        let faults = vec![Planned { at_ms: 0, fault: Fault::Join { abandon: true } }];
        let of = |nodes| World::new(Plan { nodes, faults: faults.clone(), ..Plan::simulated(1, 1) }, Options::default());
        // Power went on all three. With one of two voters nothing is left that could lead (seed 1013).
        let two = of(2);
        assert_eq!(two.roster.take_spare(), Some(2));
        assert!(!two.may_lose(0) && !two.may_lose(1));
        let five = of(5);
        assert!(five.may_lose(2));
        five.roster.lost(4);
        five.roster.lost(3);
        assert!(!five.may_lose(2));
    }
}
