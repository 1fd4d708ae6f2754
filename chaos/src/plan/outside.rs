//! What else the cloud does to its callers, drawn beside the other faults: a service is restarted, the service user loses his role
//! for a while, calls take effect up to two minutes late, answers break off in their middle, a cell of Nova does not answer. And whether the cloud's clock is
//! right.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::kinds::in_turn;
use super::{CloudFault, Draw, Fault, Meddling, Planned, Profile};
use crate::sim::rng::stream;

/// Kinds that a run may have; each seed switches some of them on.
const KINDS: u64 = 5;
/// What tenants do besides, where others are in the cloud.
const RENAME: u64 = KINDS;
/// Of so many clouds one has a clock that is off.
const OFF_ONE_IN: usize = 5;

/// The faults of a seed, by time.
pub(super) fn drawn(seed: u64, safety_ms: u64, profile: Profile) -> Vec<Planned> {
    let mut draw = Draw::new(seed, stream("outside", &[]));
    let last = match profile {
        Profile::Swarm | Profile::Sparse | Profile::Standard | Profile::Cloud => KINDS,
        Profile::Others => RENAME + 1,
        _ => return Vec::new(),
    };
    let on: Vec<u64> = (0..last).filter(|_| draw.below(2) == 0).collect();
    let times = profile.apart();
    let pauses = (times * draw.between(10_000, 40_000), times * draw.between(60_000, 180_000));
    in_turn(&mut draw, (seed, stream("one of outside", &[]) >> 1), pauses, safety_ms, &on, fault)
}

/// How far the cloud's clock is off, milliseconds.
pub(super) fn clock_off_ms(seed: u64, profile: Profile) -> i64 {
    let mut draw = Draw::new(seed, stream("clock of the cloud", &[]));
    let may_be_off = matches!(profile, Profile::Swarm | Profile::Sparse | Profile::Others | Profile::Cloud | Profile::Clocks);
    if !may_be_off || draw.below(OFF_ONE_IN) > 0 {
        return 0;
    }
    let far = [5_000, 120_000, 3_600_000][draw.below(3)];
    let off = i64::try_from(draw.between(1_000, far)).unwrap_or(0);
    if draw.below(2) == 0 { off } else { -off }
}

fn fault(kind: u64, draw: &mut Draw) -> Fault {
    let (for_ms, pick) = (draw.between(500, 20_000), draw.next_u64());
    let permille = [50, 300, 1_000][draw.below(3)];
    let cloud = |how, body: &str| Fault::Cloud { how, body: body.to_owned(), service: String::new(), permille, for_ms };
    match kind {
        0 => {
            let service = ["", "compute", "compute", "placement", "placement", "identity", "image"][draw.below(7)].to_owned();
            Fault::CloudRestart { service, for_ms: for_ms / 2 }
        }
        1 => Fault::RoleRevoked { for_ms },
        2 => {
            let body = ["", "unshelve", "shelve", "allocations", "createImage"][draw.below(5)];
            cloud(CloudFault::Late { after_ms: draw.between(60_000, 120_001) }, body)
        }
        3 => cloud(CloudFault::Truncated, ""),
        // Longer than the product may take a list for whole between two looks at the cells.
        4 => Fault::Cloud {
            how: CloudFault::Partial,
            body: String::new(),
            service: "compute".to_owned(),
            permille: 1_000,
            for_ms: draw.between(30_000, 90_000),
        },
        _ => Fault::Meddle { how: Meddling::Rename, pick },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::Plan;

    #[test]
    fn they_come_beside_the_other_faults_of_a_seed() {
        let mut kinds = BTreeSet::new();
        for seed in 0..60 {
            let plan = Plan::shaped(seed, 600, Profile::Others);
            let drawn = drawn(seed, 600_000, Profile::Others);
            let of_it: Vec<_> = drawn.iter().filter(|planned| plan.faults.contains(planned)).collect();
            assert!(of_it.len() == drawn.len() || of_it.is_empty(), "all, or none where nothing is drawn: seed {seed}");
            kinds.extend(of_it.iter().map(|planned| match &planned.fault {
                Fault::Cloud { how: CloudFault::Late { .. }, .. } => "late".to_owned(),
                fault => fault.kind(),
            }));
        }
        assert_eq!(kinds.len(), 5, "{kinds:?}");
    }

    #[test]
    fn most_clouds_know_the_time_and_some_are_off_either_way() {
        let off: Vec<i64> = (0..400).map(|seed| clock_off_ms(seed, Profile::Swarm)).collect();
        assert!((280..360).contains(&off.iter().filter(|off| **off == 0).count()));
        assert!(off.iter().any(|off| *off > 120_000) && off.iter().any(|off| *off < -120_000));
    }
}
