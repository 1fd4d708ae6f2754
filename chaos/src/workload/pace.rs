//! When a client asks for what. Each operation has its number and with it its time, so that leaving one out moves no other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Turn, Workload};
use crate::plan::Draw;

/// Where one client is in the row of its turns.
pub struct Pace {
    client: u32,
    /// Between two turns, milliseconds.
    gap_ms: (u64, u64),
    next: u32,
    due: Instant,
}

impl Pace {
    /// From now on.
    pub fn new(client: u32, gap_ms: (u64, u64)) -> Pace {
        Pace { client, gap_ms, next: 0, due: Instant::now() }
    }
}

impl Workload {
    /// A client's next turn when its time has come, and what it is drawn from; `None` once everything is over. One whose time comes
    /// while an earlier one is under way is left out, and so is one that the plan does not want.
    pub(super) async fn turn(&self, pace: &mut Pace) -> Option<(Turn, Draw)> {
        let Pace { client, gap_ms: (least, most), .. } = *pace;
        let operations = self.world.plan.sim.operations.as_ref();
        loop {
            let turn = Turn { client, number: pace.next, part: 0 };
            pace.next += 1;
            let mut draw = Draw::new(self.world.plan.seed, turn.stream("operation"));
            pace.due += Duration::from_millis(draw.between(least, most).max(1));
            if pace.due < Instant::now() {
                continue;
            }
            tokio::time::sleep_until(pace.due).await;
            if self.over.load(Ordering::SeqCst) {
                return None;
            }
            if operations.is_none_or(|all| all.get(&client).is_some_and(|own| own.contains(&turn.number))) {
                return Some((turn, draw));
            }
        }
    }
}
