//! Clients gather at faults that are over in seconds, in runs whose plan says so ([`gathers_ms`](crate::plan::Sim::gathers_ms)): some of
//! them ask then, and not when they would have asked next, so that an hour has no more operations than without it. Half of the time it
//! is something of a kind that is seldom asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Project, Turn, Wanted, Workload};
use crate::plan::Draw;
use crate::sim::rng::stream;

/// Of so many clients one comes to a fault.
const COMES_ONE_IN: usize = 2;
/// What is asked for begins so long before the fault at most, milliseconds, so that it is under way when that strikes;
const BEFORE_MS: u64 = 50;
/// and so long after it began.
const AFTER_MS: u64 = 800;
/// Of so many that are asked for there one is what it would have been anyway.
const ANYWAY_ONE_IN: usize = 2;

/// What is seldom asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rare {
    Series,
    OldSeries,
    Waiting,
    Question,
    Offers,
    Claim,
}

/// When a client comes to faults that begin at these times, from the beginning of all of them.
pub(super) fn comes(seed: u64, client: u32, gathers_ms: &[u64]) -> VecDeque<Duration> {
    let mut at: Vec<u64> = gathers_ms.iter().filter_map(|at_ms| come(seed, client, *at_ms)).collect();
    at.sort_unstable();
    at.into_iter().map(Duration::from_millis).collect()
}

fn come(seed: u64, client: u32, at_ms: u64) -> Option<u64> {
    let mut draw = Draw::new(seed, stream("gather", &[u64::from(client), at_ms]));
    (draw.below(COMES_ONE_IN) == 0).then(|| (at_ms + draw.between(0, BEFORE_MS + AFTER_MS)).saturating_sub(BEFORE_MS))
}

impl Workload {
    /// An operation of a client who came to a fault; `false`: it is to be what it would have been anyway.
    pub(super) async fn at_fault(self: &Arc<Self>, turn: Turn, project: &Project) -> bool {
        let mut draw = Draw::new(self.world.plan.seed, turn.stream("at a fault"));
        if draw.below(ANYWAY_ONE_IN) == 0 {
            return false;
        }
        let sim = &self.world.plan.sim;
        let mut rare = vec![Rare::Offers, Rare::Claim];
        rare.extend([Rare::Series, Rare::OldSeries, Rare::OldSeries].into_iter().filter(|_| sim.series));
        rare.extend([Rare::Waiting].into_iter().filter(|_| sim.waits));
        rare.extend([Rare::Question].into_iter().filter(|_| sim.questions));
        let wanted = match rare[draw.below(rare.len())] {
            Rare::Series => {
                self.new_series(turn, &mut draw, project).await;
                return true;
            }
            Rare::OldSeries => {
                self.old_series(turn, &mut draw, project).await;
                return true;
            }
            Rare::Claim => {
                self.offer(turn, &mut draw, project, true).await;
                return true;
            }
            Rare::Waiting => Wanted::Waiting,
            Rare::Question => self.question(&mut draw, project),
            Rare::Offers => Wanted::List { offers: true },
        };
        self.perform(turn, project, wanted, None).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_clients_come_around_the_beginning_and_who_does_hangs_on_the_fault_alone() {
        let faults: Vec<u64> = (1..=400).map(|fault| fault * 60_000).collect();
        let all = comes(7, 2, &faults);
        assert!((150..250).contains(&all.len()), "{} of 400", all.len());
        for at in &all {
            let off_ms = (u64::try_from(at.as_millis()).expect("it is short") + BEFORE_MS) % 60_000;
            assert!(off_ms < BEFORE_MS + AFTER_MS, "{at:?}");
        }
        // One fault less moves no other, and another client comes to others.
        let fewer = comes(7, 2, &faults[1..]);
        assert!(fewer.iter().eq(all.iter().skip(all.len() - fewer.len())));
        assert_ne!(comes(7, 3, &faults), all);
        assert!(comes(7, 2, &[]).is_empty());
    }
}
