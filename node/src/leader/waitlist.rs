//! Has leases booked that waited for room (docs/decisions/0019), the longest waiting first. Sends nothing to the cloud: what
//! was booked is followed as any lease is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::{Command, PromoteLease};
use leasehold_ledger::model::{LeaseId, Timestamp};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::{mutant, plan};

use super::ledger_port::LedgerPort;
use crate::seams::{Clock, Mono};
use crate::telemetry::metrics;

/// Between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Leases that are planned in one round at most: a plan that finds nothing takes its time, and applying waits for it.
const LOOKS: usize = 16;
/// Where nothing was applied since the last pass began, nothing has room that had none, but for what time brings.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// What one leader remembers between its rounds: a pass goes over all that wait, in their order.
#[derive(Default)]
struct Pass {
    /// Who is still to be looked at.
    left: VecDeque<LeaseId>,
    /// The ledger index at which it began, and when.
    began: Option<(u64, Mono)>,
}

impl Pass {
    /// Those whose turn it is in this round.
    fn next(&mut self, ledger: &dyn LedgerPort, now: Mono) -> Vec<LeaseId> {
        if self.left.is_empty() {
            let (index, waiting) = ledger.look(|state| (state.ledger_index(), plan::waiting(state).collect::<VecDeque<_>>()));
            metrics::leases_waiting(waiting.len());
            let is_new = self.began.is_none_or(|(began_at, at)| began_at != index || now.since(at) >= LOOK_ANYWAY);
            if !is_new {
                return Vec::new();
            }
            *self = Pass { left: waiting, began: Some((index, now)) };
        }
        self.left.drain(..self.left.len().min(LOOKS)).collect()
    }
}

/// Runs until its group is stopped.
pub async fn run(ledger: Arc<dyn LedgerPort>, clock: Arc<dyn Clock>) {
    let mut pass = Pass::default();
    loop {
        clock.sleep(LOOK_EVERY).await;
        for lease_id in pass.next(&*ledger, clock.mono()) {
            promote(&*ledger, &*clock, lease_id).await;
        }
    }
}

/// Has a lease booked where there is room for it by now. What does not come of it is tried in a later pass.
async fn promote(ledger: &dyn LedgerPort, clock: &dyn Clock, lease_id: LeaseId) {
    // Planted bug: what waits, waits for ever.
    if mutant!("W01") {
        return;
    }
    let now = Timestamp(clock.wall_ms());
    let planned = match ledger.look(|state| plan::plan_promotion(state, lease_id, now)) {
        Ok(Some(planned)) => planned,
        Ok(None) => return,
        Err(rejection) => return tracing::debug!(lease = %lease_id, %rejection, "a waiting lease is not booked"),
    };
    let promote =
        PromoteLease { lease_id, plan: planned.reservations, moved_to: planned.moved_to, planned_at: planned.planned_at };
    match ledger.propose(Command::PromoteLease(Box::new(promote))).await {
        Ok(Ok(Reply::LeasePromoted { prepared, .. })) => {
            metrics::lease_promoted();
            tracing::info!(lease = %lease_id, prepared, "a lease that waited for room has it");
        }
        Ok(Ok(other)) => tracing::error!(lease = %lease_id, ?other, "a promotion was answered as something else"),
        Ok(Err(rejection @ Rejection::PlanStale { .. })) => {
            metrics::plan_stale();
            tracing::info!(lease = %lease_id, %rejection, "a waiting lease is planned again");
        }
        // Deleted, dropped, or booked by a leader before.
        Ok(Err(rejection)) => tracing::info!(lease = %lease_id, %rejection, "a waiting lease was not booked"),
        Err(error) => tracing::warn!(lease = %lease_id, %error, "the ledger did not take a promotion; trying again"),
    }
}
