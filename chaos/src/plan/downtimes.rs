//! What operators declare not to be had of hosts while clients book and leases run, drawn beside the other faults.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::kinds::in_turn;
use super::{Draw, Fault, Planned, Profile};
use crate::sim::rng::stream;

/// The faults of a seed, by time; half of the seeds have some.
pub(super) fn drawn(seed: u64, safety_ms: u64, profile: Profile) -> Vec<Planned> {
    let mut draw = Draw::new(seed, stream("downtimes", &[]));
    let pauses = match profile {
        Profile::Hosts => (3_000, 20_000),
        Profile::Swarm | Profile::Sparse | Profile::Standard | Profile::Others if draw.below(2) == 0 => {
            (profile.apart() * draw.between(5_000, 40_000), profile.apart() * draw.between(60_000, 180_000))
        }
        _ => return Vec::new(),
    };
    in_turn(&mut draw, (seed, stream("one of the downtimes", &[]) >> 1), pauses, safety_ms, &[0], |_, one| fault(one))
}

fn fault(draw: &mut Draw) -> Fault {
    let (pick, after_ms, for_ms) = (draw.next_u64(), draw.between(0, 45_000), draw.between(5_000, 90_000));
    // All of the host, or some of it.
    let vcpus = (draw.below(2) == 0).then(|| u32::try_from(draw.between(1, 4)).unwrap_or(1));
    let drop_after_ms = (draw.below(3) == 0).then(|| draw.between(1_000, 60_000));
    Fault::HostDowntime { pick, vcpus, after_ms, for_ms, drop_after_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn they_come_beside_the_other_faults_of_a_seed() {
        let is_ours = |planned: &&Planned| matches!(planned.fault, Fault::HostDowntime { .. });
        let mut with = 0;
        for seed in 0..40 {
            let ours: Vec<_> = Plan::simulated(seed, 600).faults.iter().filter(is_ours).cloned().collect();
            assert!(ours.is_empty() || ours == drawn(seed, 600_000, Profile::Swarm));
            with += u32::from(!ours.is_empty());
        }
        assert!((8..32).contains(&with), "{with} of 40");
        let kinds = |is: fn(&Fault) -> bool| drawn(1, 3_600_000, Profile::Hosts).iter().filter(|one| is(&one.fault)).count();
        assert!(kinds(|fault| matches!(fault, Fault::HostDowntime { vcpus: None, .. })) > 20);
        assert!(kinds(|fault| matches!(fault, Fault::HostDowntime { vcpus: Some(_), .. })) > 20);
        assert!(kinds(|fault| matches!(fault, Fault::HostDowntime { drop_after_ms: Some(_), .. })) > 20);
    }
}
