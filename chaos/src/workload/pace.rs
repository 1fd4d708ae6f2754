//! When a client asks for what. Each operation has its number and with it its time, so that leaving one out moves no other.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Turn, Workload, gather};
use crate::plan::{Draw, Plan};

/// Where one client is in the row of its turns.
pub struct Pace {
    client: u32,
    /// Between two turns, milliseconds.
    gap_ms: (u64, u64),
    next: u32,
    due: Instant,
    /// When it comes to a fault.
    comes: VecDeque<Instant>,
}

impl Pace {
    /// From now on.
    pub fn new(plan: &Plan, client: u32, gap_ms: (u64, u64)) -> Pace {
        let now = Instant::now();
        let comes = gather::comes(plan.seed, client, &plan.sim.gathers_ms);
        Pace { client, gap_ms, next: 0, due: now, comes: comes.into_iter().map(|after| now + after).collect() }
    }
}

impl Workload {
    /// A client's next turn when its time has come, what it is drawn from, and whether the client came to a fault with it, before its
    /// time; `None` once everything is over. One whose time comes while an earlier one is under way is left out, and so is one that the
    /// plan does not want.
    pub(super) async fn turn(&self, pace: &mut Pace) -> Option<(Turn, Draw, bool)> {
        let Pace { client, gap_ms: (least, most), .. } = *pace;
        let operations = self.world.plan.sim.operations.as_ref();
        loop {
            let turn = Turn { client, number: pace.next, part: 0 };
            pace.next += 1;
            let mut draw = Draw::new(self.world.plan.seed, turn.stream("operation"));
            pace.due += Duration::from_millis(draw.between(least, most).max(1));
            // Later ones keep their times: there are not more of them for it.
            let comes = pace.comes.front().copied().filter(|comes| *comes < pace.due);
            if comes.is_some() {
                pace.comes.pop_front();
            }
            let at = comes.unwrap_or(pace.due);
            if at < Instant::now() {
                continue;
            }
            tokio::time::sleep_until(at).await;
            if self.over.load(Ordering::SeqCst) {
                return None;
            }
            if operations.is_none_or(|all| all.get(&client).is_some_and(|own| own.contains(&turn.number))) {
                return Some((turn, draw, comes.is_some()));
            }
        }
    }
}
