//! What hours by the thousand have besides. Faults and operations that are both drawn far apart hardly ever meet, and what follows
//! only where several come together hardly ever follows: some of that is arranged here.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::cluster::damage;
use super::{Draw, Fault, Planned, Target};
use crate::sim::rng::stream;

const HOUR_MS: u64 = 3_600_000;
/// A fault that is over within this is one that an operation seldom meets by chance.
const SHORT_MS: u64 = 6_000;
/// A node that is started again has begun to take in a state after so long.
const BACK_MS: u64 = 500;
/// In two of so many hours a node ends while it takes in a state that another sent, and in one as it begins to lead.
const MEETS_OF: usize = 4;
/// The points at which a node ends that takes in a state.
const INSTALLS: [&str; 3] = ["raft.snapshot.after_install", "raft.snapshot.after_install", "raft.snapshot.before_install"];
/// Minutes of an hour in which that happens: by then the log begins after its first entry, so that a state cannot be made again
/// from it alone.
const MEETS_MIN: (u64, u64) = (30, 56);
/// Minutes of an hour in which its leader goes, where nothing else is sure to have another one follow.
const LEADERS_MIN: (u64, u64) = (5, 55);

/// When clients gather: as a fault begins that is soon over, and as a node is back whose state was damaged, which is when it ends at a
/// point if it was waited for there.
pub(super) fn gathers(faults: &[Planned]) -> Vec<u64> {
    let when = |planned: &Planned| match &planned.fault {
        Fault::StateDamage { down_ms, .. } => Some(planned.at_ms + down_ms + BACK_MS),
        fault => (fault.lasts_ms() <= SHORT_MS).then_some(planned.at_ms),
    };
    faults.iter().filter_map(when).collect()
}

/// A node is waited for at a point, and a second later happens what brings it there. By chance it seldom gets to some points in the
/// minute in which it is waited for: it is sent a state only when it fell far behind, and it leads only when another goes.
pub(super) fn meets(seed: u64, nodes: u32, safety_ms: u64) -> Vec<Planned> {
    let mut faults = Vec::new();
    for hour in 0..safety_ms / HOUR_MS {
        let mut draw = Draw::new(seed, stream("meets", &[hour]));
        let (what, at_ms) = (draw.below(MEETS_OF), minute(hour, MEETS_MIN, &mut draw));
        let target = Target::Node(u32::try_from(draw.between(0, u64::from(nodes))).unwrap_or(0));
        let (power, down_ms) = (draw.below(3) == 0, draw.between(0, 8_000));
        let (point, brings) = match what {
            // One node has nobody to get a state from.
            0..=1 if nodes > 1 => {
                (INSTALLS[draw.below(INSTALLS.len())], Fault::StateDamage { target, how: damage(&mut draw), down_ms })
            }
            2 => ("raft.leadership.gained", Fault::Kill { target: Target::Leader, down_ms }),
            _ => continue,
        };
        let crash = Fault::CrashAt {
            target,
            point: point.to_owned(),
            nth: 1,
            power,
            all: power && draw.below(2) == 0,
            for_ms: 60_000,
            down_ms: draw.between(0, 8_000),
        };
        faults.extend([Planned { at_ms, fault: crash }, Planned { at_ms: at_ms + 1_000, fault: brings }]);
    }
    faults
}

/// In each hour in which nothing of `others` is sure to have somebody lead in another term the leader goes once. Where there are no
/// faults at all it hands over, as an operator has it: what fails there is still no matter of faults.
pub(super) fn leaders(seed: u64, nodes: u32, safety_ms: u64, others: &[Planned]) -> Vec<Planned> {
    let is_sure = |hour: u64| others.iter().any(|one| one.at_ms / HOUR_MS == hour && is_sure(&one.fault, nodes));
    let missing = (0..safety_ms / HOUR_MS).filter(|hour| !is_sure(*hour));
    let goes = |hour: u64| {
        let mut draw = Draw::new(seed, stream("leaders", &[hour]));
        let at_ms = minute(hour, LEADERS_MIN, &mut draw);
        let fault = if others.is_empty() && nodes > 1 {
            Fault::Transfer
        } else {
            Fault::Kill { target: Target::Leader, down_ms: draw.between(0, 10_000) }
        };
        Planned { at_ms, fault }
    };
    missing.map(goes).collect()
}

/// Whether it ends whoever leads; the only node of a cluster leads again, in another term.
fn is_sure(fault: &Fault, nodes: u32) -> bool {
    match fault {
        Fault::Kill { target, .. } | Fault::PowerCut { target, .. } => nodes == 1 || *target == Target::Leader,
        Fault::PowerMany { all, .. } => nodes == 1 || *all,
        _ => false,
    }
}

fn minute(hour: u64, (from, until): (u64, u64), draw: &mut Draw) -> u64 {
    hour * HOUR_MS + draw.between(from * 60_000, until * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Profile};

    #[test]
    fn every_sparse_hour_has_a_fault_that_is_sure_to_change_the_leader() {
        for seed in 0..300 {
            let plan = Plan::shaped(seed, 2 * 3_600, Profile::Sparse);
            let swarm = Plan::shaped(seed, 2 * 3_600, Profile::Swarm);
            for hour in 0..2 {
                let mut of_hour = plan.faults.iter().filter(|one| one.at_ms / HOUR_MS == hour);
                let hands_over = swarm.faults.is_empty() && plan.nodes > 1;
                let is_one = |one: &Planned| is_sure(&one.fault, plan.nodes) || (hands_over && one.fault == Fault::Transfer);
                assert!(of_hour.any(is_one), "seed {seed}, hour {hour}");
            }
            // Without faults there is nothing but that.
            assert!(!swarm.faults.is_empty() || plan.faults.len() == 2, "seed {seed}");
            assert_eq!(Plan::shaped(seed, 600, Profile::Sparse).faults.is_empty(), swarm.faults.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn who_is_waited_for_is_brought_there() {
        let mut points = std::collections::BTreeMap::<String, u32>::new();
        for (seed, nodes) in (0..300).flat_map(|seed| [(seed, 1), (seed, 3)]) {
            for pair in meets(seed, nodes, 2 * HOUR_MS).chunks(2) {
                let Fault::CrashAt { target, point, .. } = &pair[0].fault else { panic!("{pair:?}") };
                match &pair[1].fault {
                    Fault::StateDamage { target: other, .. } => {
                        assert!(other == target && nodes > 1 && point.contains("install"))
                    }
                    other => assert!(is_sure(other, nodes) && point == "raft.leadership.gained"),
                }
                *points.entry(point.clone()).or_default() += 1;
            }
        }
        let [after, before, leads] =
            ["raft.snapshot.after_install", "raft.snapshot.before_install", "raft.leadership.gained"].map(|point| points[point]);
        assert!(points.len() == 3 && after > 150 && before > 60 && leads > 200, "{points:?}");
    }

    #[test]
    fn clients_gather_at_faults_that_are_soon_over_and_only_in_sparse_runs() {
        let plan = Plan::shaped(3, 3_600, Profile::Sparse);
        assert!(!plan.sim.gathers_ms.is_empty() && plan.sim.gathers_ms.len() < plan.faults.len());
        for at_ms in &plan.sim.gathers_ms {
            let is_near = |one: &Planned| (one.at_ms..=one.at_ms + one.fault.lasts_ms()).contains(at_ms);
            assert!(plan.faults.iter().any(is_near));
        }
        assert!(Plan::shaped(3, 3_600, Profile::Swarm).sim.gathers_ms.is_empty());
    }
}
