//! What happens to the cluster as a whole, drawn beside the other faults: who is in it, what its disks keep, power that goes
//! on many at once, ends at a named point.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::kinds::{in_turn, target};
use super::{Damage, Draw, Fault, Planned, Profile, Target};

/// Every point of the product at which a node can be made to end.
pub const POINTS: [&str; 18] = [
    "raft.apply.before",
    "raft.apply.after",
    "raft.snapshot.before_build",
    "raft.snapshot.after_build",
    "raft.snapshot.before_install",
    "raft.snapshot.after_install",
    "raft.log.before_append",
    "raft.log.after_append",
    "raft.log.before_purge",
    "raft.log.after_purge",
    "raft.vote.before_save",
    "raft.vote.after_save",
    "raft.leadership.gained",
    "raft.leadership.lost",
    "leader.call.before",
    "leader.call.after",
    "leader.outcome.before",
    "leader.outcome.after",
];

/// Between a snapshot and what follows it: power that goes there tests whether it was synced.
const SNAPSHOT: [&str; 4] =
    ["raft.snapshot.before_build", "raft.snapshot.after_build", "raft.log.before_purge", "raft.log.after_purge"];

/// Kinds that a run may have; each seed switches some of them on.
const KINDS: u64 = 10;

fn kinds(profile: Profile) -> Option<&'static [u64]> {
    match profile {
        Profile::Swarm | Profile::Sparse | Profile::Mixed | Profile::Standard | Profile::Others => None,
        Profile::Power => Some(&[6, 7, 8, 8, 9, 9]),
        Profile::Snapshots => Some(&[0, 3, 7, 9]),
        Profile::Members => Some(&[0, 1, 2, 3, 3, 4, 5]),
        Profile::Disks => Some(&[5, 6, 6, 7, 7, 8, 9]),
        Profile::Links | Profile::Busy | Profile::Series | Profile::Cloud | Profile::Clocks | Profile::Load | Profile::Hosts => {
            Some(&[])
        }
    }
}

/// The faults of a seed, by time.
pub(super) fn drawn(seed: u64, nodes: u32, safety_ms: u64, profile: Profile) -> Vec<Planned> {
    let mut draw = Draw::new(seed, 11);
    let on: Vec<u64> = match kinds(profile) {
        Some(kinds) => kinds.to_vec(),
        None => (0..KINDS).filter(|_| draw.below(3) == 0).collect(),
    };
    let times = if profile == Profile::Standard { 3 } else { profile.apart() };
    let pauses = (times * draw.between(4_000, 15_000), times * draw.between(15_000, 45_000));
    // Some clusters have a learner from the beginning.
    let everything = matches!(profile, Profile::Swarm | Profile::Sparse | Profile::Standard | Profile::Others);
    let learner = draw.below(4) == 0 && (profile == Profile::Members || everything);
    let first = learner.then_some(Planned { at_ms: 500, fault: Fault::Join { abandon: true } });
    let rest = in_turn(&mut draw, (seed, 500_000), pauses, safety_ms, &on, |kind, one| fault(kind, one, nodes, profile));
    first.into_iter().chain(rest).collect()
}

/// One follower after the other is slow, paused or full, with quiet in between; in the end there is too much to do.
pub(super) fn load(seed: u64, safety_ms: u64) -> Vec<Planned> {
    let mut draw = Draw::new(seed, 13);
    let (quiet_ms, for_ms, burst_ms) = (12_000, 15_000, 12_000);
    let mut faults = Vec::new();
    let mut at_ms = quiet_ms;
    while at_ms + for_ms + quiet_ms + burst_ms + 2 * quiet_ms <= safety_ms {
        let target = Target::Follower(u32::try_from(draw.between(0, 4)).unwrap_or(0));
        let fault = match draw.below(3) {
            0 => Fault::Pause { target, for_ms, behind_ms: None, deaf_ms: None },
            1 => Fault::DiskFull { target, for_ms },
            _ => Fault::DiskSlow { target, times: u32::try_from(draw.between(20, 200)).unwrap_or(20), for_ms },
        };
        faults.push(Planned { at_ms, fault });
        at_ms += for_ms + quiet_ms;
    }
    let many = u32::try_from(draw.between(30_000, 60_000)).unwrap_or(30_000);
    let times = u32::try_from(draw.between(300, 800)).unwrap_or(300);
    faults.push(Planned { at_ms, fault: Fault::Burst { many, times, for_ms: burst_ms } });
    faults
}

fn fault(kind: u64, draw: &mut Draw, nodes: u32, profile: Profile) -> Fault {
    let target = target(draw, nodes);
    let (down_ms, replace_ms) = (draw.between(0, 8_000), draw.between(3_000, 25_000));
    match kind {
        0 => Fault::Join { abandon: false },
        1 => Fault::Join { abandon: true },
        2 => Fault::Leave { target },
        3 => Fault::Replace { target, join_first: draw.below(2) == 0 },
        4 => Fault::Promote,
        5 => Fault::Wipe { target, down_ms, replace_ms },
        6 => Fault::LogDamage { target, how: damage(draw), down_ms, replace_ms, beyond: false },
        7 => Fault::StateDamage { target, how: damage(draw), down_ms },
        8 => Fault::PowerMany { all: draw.below(2) == 0, first: u32::try_from(draw.between(0, 8)).unwrap_or(0), down_ms },
        _ => {
            let power = profile == Profile::Power || draw.below(3) == 0;
            let points: &[&str] = if profile == Profile::Power { &SNAPSHOT } else { &POINTS };
            let point = points[draw.below(points.len())];
            // What happens with every entry happens often; the rest once in a while.
            let often = ["raft.apply", "raft.log", "leader"].iter().any(|of| point.starts_with(of)) && !point.ends_with("purge");
            Fault::CrashAt {
                // Who leads is not elected.
                target: Target::Node(u32::try_from(draw.between(0, u64::from(nodes))).unwrap_or(0)),
                point: point.to_owned(),
                nth: if often { u32::try_from(draw.between(1, 30)).unwrap_or(1) } else { 1 },
                power,
                all: power && draw.below(2) == 0,
                for_ms: 60_000,
                down_ms,
            }
        }
    }
}

pub(super) fn damage(draw: &mut Draw) -> Damage {
    let pick = draw.next_u64();
    match draw.below(3) {
        0 => Damage::Missing,
        1 => Damage::Checksum { pick },
        _ => Damage::Value { pick },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    /// A point that is not drawn is one that nothing is known of.
    #[test]
    fn every_point_of_the_product_is_drawn_and_every_drawn_one_is_there() {
        let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package")).join("..");
        let mut folders: Vec<PathBuf> = ["ledger/src", "node/src"].iter().map(|part| root.join(part)).collect();
        let (mut there, opening) = (BTreeSet::new(), concat!("crate::fault_point", "!(\""));
        while let Some(folder) = folders.pop() {
            for item in std::fs::read_dir(folder).expect("a folder of sources") {
                let path = item.expect("an entry of it").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    let names = text.match_indices(opening).map(|(at, _)| &text[at + opening.len()..]);
                    there.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
                }
            }
        }
        let drawn: BTreeSet<String> = POINTS.iter().map(|&point| point.to_owned()).collect();
        assert_eq!(there, drawn);
    }

    #[test]
    fn what_happens_to_the_cluster_moves_nothing_else() {
        let plan = super::super::Plan::simulated(3, 300);
        let mut with: Vec<_> = plan.faults.clone();
        let drawn = drawn(3, plan.nodes, plan.sim.safety_ms, Profile::Swarm);
        assert!(drawn.iter().all(|planned| with.contains(planned)));
        with.retain(|planned| !drawn.contains(planned));
        assert!(with.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        assert_eq!(with.len() + drawn.len(), plan.faults.len());
    }
}
