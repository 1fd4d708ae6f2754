//! What operators do with compute hosts while clients book and leases run, drawn beside the other faults: hosts come, are closed
//! to new bookings and opened again, and go.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::kinds::in_turn;
use super::{Draw, Fault, Planned, Profile};
use crate::sim::rng::stream;

/// Kinds that a run may have; each seed switches some of them on.
const KINDS: u64 = 3;

/// The faults of a seed, by time, and how many hosts the cloud has for them that are nobody's at first.
pub(super) fn drawn(seed: u64, safety_ms: u64, profile: Profile) -> (Vec<Planned>, u32) {
    let mut draw = Draw::new(seed, stream("hosts", &[]));
    let (on, pauses) = match profile {
        Profile::Hosts => ((0..KINDS).collect(), (2_000, 12_000)),
        Profile::Swarm | Profile::Sparse | Profile::Standard | Profile::Others => {
            let on: Vec<u64> = (0..KINDS).filter(|_| draw.below(2) == 0).collect();
            (on, (profile.apart() * draw.between(5_000, 40_000), profile.apart() * draw.between(60_000, 180_000)))
        }
        _ => return (Vec::new(), 0),
    };
    let faults = in_turn(&mut draw, (seed, stream("one of the hosts", &[]) >> 1), pauses, safety_ms, &on, fault);
    let adds = faults.iter().any(|planned| matches!(planned.fault, Fault::HostAdd { .. }));
    let spares = if adds { u32::try_from(draw.between(1, 4)).unwrap_or(1) } else { 0 };
    (faults, spares)
}

fn fault(kind: u64, draw: &mut Draw) -> Fault {
    let (pick, for_ms) = (draw.next_u64(), draw.between(5_000, 60_000));
    match kind {
        0 => Fault::HostAdd { shared: draw.below(3) == 0 },
        1 => Fault::HostDrain { pick, for_ms },
        // Whoever does not close it first finds it in use, most of the time.
        _ => Fault::HostRemove { pick, drain: draw.below(4) > 0, wait_ms: draw.between(30_000, 240_000) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn they_come_beside_the_other_faults_of_a_seed_and_bring_their_hosts_with_them() {
        let ours = |planned: &&Planned| {
            matches!(planned.fault, Fault::HostAdd { .. } | Fault::HostDrain { .. } | Fault::HostRemove { .. })
        };
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let plan = Plan::simulated(seed, 600);
            let of_hosts: Vec<_> = plan.faults.iter().filter(ours).cloned().collect();
            kinds.extend(of_hosts.iter().map(|planned| planned.fault.kind()));
            let (drawn, spares) = drawn(seed, 600_000, Profile::Swarm);
            assert!(of_hosts.is_empty() || of_hosts == drawn);
            assert_eq!(plan.sim.spare_hosts, if of_hosts.is_empty() { 0 } else { spares });
            let adds = of_hosts.iter().any(|planned| matches!(planned.fault, Fault::HostAdd { .. }));
            assert_eq!(adds, plan.sim.spare_hosts > 0, "seed {seed}");
        }
        assert_eq!(kinds.len(), 3, "{kinds:?}");
    }
}
