//! What others do in the cloud, drawn beside the other faults: tenants with their servers, operators, services that are down.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::kinds::in_turn;
use super::{CloudFault, Draw, Fault, Meddling, Planned, Profile};

/// Kinds that a run may have; each seed switches some of them on.
const KINDS: u64 = 5;

/// The faults of a seed, by time.
pub(super) fn drawn(seed: u64, safety_ms: u64, profile: Profile) -> Vec<Planned> {
    if profile != Profile::Others {
        return Vec::new();
    }
    let mut draw = Draw::new(seed, 17);
    let on: Vec<u64> = (0..KINDS).filter(|_| draw.below(2) == 0).collect();
    let pauses = (draw.between(5_000, 20_000), draw.between(30_000, 120_000));
    in_turn(&mut draw, (seed, 700_000), pauses, safety_ms, &on, fault)
}

fn fault(kind: u64, draw: &mut Draw) -> Fault {
    let (for_ms, pick) = (draw.between(500, 20_000), draw.next_u64());
    let cloud =
        |how, service: &str| Fault::Cloud { how, body: String::new(), service: service.to_owned(), permille: 1_000, for_ms };
    match kind {
        0 | 1 => {
            let how = [Meddling::Delete, Meddling::Stop, Meddling::Shelve, Meddling::Unshelve, Meddling::Lock][draw.below(5)];
            Fault::Meddle { how, pick }
        }
        2 => Fault::Storm { every_ms: draw.between(20, 500), for_ms },
        3 => Fault::Audit { pick },
        // Keystone is down, or the role of the service user was taken from it.
        _ => {
            let status = [503, 403][draw.below(2)];
            cloud(CloudFault::Error { status, retry_after_s: None }, if status == 503 { "identity" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, outside};

    #[test]
    fn they_come_beside_the_other_faults_of_a_seed_and_move_none_of_them() {
        let ours = |planned: &&Planned| {
            matches!(&planned.fault, Fault::Meddle { .. } | Fault::Storm { .. } | Fault::Audit { .. })
                || matches!(&planned.fault, Fault::Cloud { how: CloudFault::Error { status: 403 | 503, .. }, permille: 1_000, body, .. } if body.is_empty())
        };
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let (mut plain, mut with) = (Plan::simulated(seed, 600), Plan::shaped(seed, 600, Profile::Others));
            // What the cloud does besides is drawn for each profile by itself.
            for (plan, profile) in [(&mut plain, Profile::Swarm), (&mut with, Profile::Others)] {
                let outside = outside::drawn(seed, 600_000, profile);
                plan.faults.retain(|planned| !outside.contains(planned));
            }
            kinds.extend(with.faults.iter().filter(ours).map(|planned| planned.fault.kind()));
            let rest = |plan: &Plan| plan.faults.iter().filter(|planned| !ours(planned)).cloned().collect::<Vec<_>>();
            assert_eq!(rest(&plain), rest(&with), "seed {seed}");
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
    }
}
