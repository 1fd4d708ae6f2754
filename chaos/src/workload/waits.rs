//! Leases that wait for room: one that is asked for is looked at, deleted or left to itself by its client, often around the
//! instant at which its time is over. Others change and delete it, too, as any lease that clients know of.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_ledger::command::{LeaseWish, StartWish, WaitWish};
use leasehold_ledger::model::{Lease, Seconds};

use super::{Project, Turn, Wanted, Workload};
use crate::plan::Draw;

/// Of so many operations one asks for a lease that would wait.
pub(super) const ONE_IN: usize = 9;
/// What happens when its time is over happens at most so long before or after that.
const BORDER_MS: u64 = 1_500;
/// A client waits for so long at most for what he does with it.
const PATIENCE_MS: u64 = 20_000;

/// What fills the room when everything is well is so large at first, in instances of one vCPU.
const FILLS: u32 = 64;
/// And is so many leases at most.
const FILLERS_MAX: usize = 24;

impl Workload {
    /// Everything is healed: all room of a time is taken, and given back when somebody waits for it. W1 judges what comes of it.
    pub(super) async fn wait_after_all(self: &Arc<Self>, first: Turn, project: &Project) {
        let modest = self.modest(project);
        let mut number = first.number;
        let mut ask = async |wanted: Wanted| {
            let turn = Turn { number, ..first };
            number += 1;
            self.perform(turn, project, wanted, None).await.1
        };
        let (mut amount, mut fillers) = (FILLS, Vec::new());
        while amount > 0 && fillers.len() < FILLERS_MAX {
            let mut wish = modest.clone();
            wish.reservations[0].resource.instance_mut().amount = amount;
            match ask(Wanted::Create(Box::new(wish))).await {
                Some(lease) => fillers.push(lease.id),
                None => amount /= 2,
            }
        }
        let StartWish::At(start) = modest.start else { return };
        ask(Wanted::Create(Box::new(LeaseWish { wait: Some(WaitWish::Until(start)), ..modest }))).await;
        for lease_id in fillers {
            ask(Wanted::Delete { lease_id }).await;
        }
    }

    /// Asks for a lease that would wait, and does with it what was drawn.
    pub(super) async fn wait(self: &Arc<Self>, turn: Turn, draw: &mut Draw, project: &Project) {
        let mut wish = self.wish(draw, project);
        // Others are deleted, or end early, before it.
        wish.reservations.truncate(1);
        for one in &mut wish.reservations {
            one.staging = None;
            one.resource.instance_mut().amount = u32::try_from(draw.between(1, 6)).unwrap_or(2);
        }
        let grid = Seconds::from_unix_s(i64::try_from(self.now_s() / 10 * 10).unwrap_or(0)).unwrap_or_default();
        let tens = |draw: &mut Draw, from, to| 10 * u32::try_from(draw.between(from, to)).unwrap_or(1);
        let start = grid.plus(tens(draw, 2, 16));
        wish.start = StartWish::At(start);
        wish.end = start.plus(tens(draw, 1, 11));
        let until = if draw.below(2) == 0 { start } else { grid.plus(tens(draw, 1, 16)).min(start) };
        wish.wait = Some(WaitWish::Until(until));
        let (fate, at_border) = (draw.below(10), draw.below(2) == 0);
        let pause_ms = draw.between(0, PATIENCE_MS);
        let border_ms = (until.unix_s() * 1_000 + draw.between(0, 2 * BORDER_MS)).saturating_sub(BORDER_MS);
        let Some(lease) = self.perform(turn, project, Wanted::Create(Box::new(wish)), None).await.1 else { return };
        let Lease { id: lease_id, wait: Some(_), .. } = lease else { return };
        let wanted = match fate {
            0..=1 => Wanted::Delete { lease_id },
            2 => Wanted::Waiting,
            _ => Wanted::Get { lease_id },
        };
        let now_ms = self.world.trace.now_ms();
        let to_border_ms = border_ms.saturating_sub(now_ms);
        let wait_ms = if at_border && to_border_ms <= PATIENCE_MS { to_border_ms } else { pause_ms };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        if self.over.load(Ordering::SeqCst) {
            return;
        }
        self.perform(Turn { part: 1, ..turn }, project, wanted, None).await;
    }
}
