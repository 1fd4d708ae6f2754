//! What operators declare hosts to have from a time on while clients book and leases run, and when it comes, drawn beside the other
//! faults.
//!
//! It has its own streams and its own times, so that the other faults of a seed are what they are without it.

use super::kinds::in_turn;
use super::{Draw, Fault, Planned, Profile};
use crate::sim::rng::stream;

/// The faults of a seed, by time; half of the seeds have some.
pub(super) fn drawn(seed: u64, safety_ms: u64, profile: Profile) -> Vec<Planned> {
    let mut draw = Draw::new(seed, stream("upgrades", &[]));
    let pauses = match profile {
        Profile::Hosts => (5_000, 40_000),
        Profile::Swarm | Profile::Sparse | Profile::Standard | Profile::Others if draw.below(2) == 0 => {
            (profile.apart() * draw.between(10_000, 60_000), profile.apart() * draw.between(90_000, 240_000))
        }
        _ => return Vec::new(),
    };
    in_turn(&mut draw, (seed, stream("one of the upgrades", &[]) >> 1), pauses, safety_ms, &[0], |_, one| fault(one))
}

fn fault(draw: &mut Draw) -> Fault {
    let (pick, after_ms) = (draw.next_u64(), draw.between(20_000, 90_000));
    let more = u32::try_from(draw.between(2, 6)).unwrap_or(2);
    // Early, late, or not at all, be it that it is taken back or not.
    let (comes_ms, drop_after_ms) = match draw.below(6) {
        0..3 => (Some(draw.between(5_000, after_ms)), None),
        3 => (Some(after_ms + draw.between(1_000, 60_000)), None),
        4 => (None, None),
        _ => (None, Some(draw.between(5_000, after_ms))),
    };
    Fault::HostUpgrade { pick, more, after_ms, comes_ms, drop_after_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn they_come_beside_the_other_faults_of_a_seed() {
        let is_ours = |planned: &&Planned| matches!(planned.fault, Fault::HostUpgrade { .. });
        let mut with = 0;
        for seed in 0..40 {
            let ours: Vec<_> = Plan::simulated(seed, 600).faults.iter().filter(is_ours).cloned().collect();
            assert!(ours.is_empty() || ours == drawn(seed, 600_000, Profile::Swarm));
            with += u32::from(!ours.is_empty());
        }
        assert!((8..32).contains(&with), "{with} of 40");
        let kinds = |is: fn(&Fault) -> bool| drawn(1, 3_600_000, Profile::Hosts).iter().filter(|one| is(&one.fault)).count();
        assert!(
            kinds(|fault| matches!(fault, Fault::HostUpgrade { comes_ms: Some(come), after_ms, .. } if come < after_ms)) > 20
        );
        assert!(
            kinds(|fault| matches!(fault, Fault::HostUpgrade { comes_ms: Some(come), after_ms, .. } if come > after_ms)) > 10
        );
        assert!(kinds(|fault| matches!(fault, Fault::HostUpgrade { comes_ms: None, drop_after_ms: None, .. })) > 10);
        assert!(kinds(|fault| matches!(fault, Fault::HostUpgrade { drop_after_ms: Some(_), .. })) > 10);
    }
}
