//! Has leases booked that waited for room (docs/decisions/0019), the longest waiting first. Sends nothing to the cloud: what
//! was booked is followed as any lease is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::{Command, PromoteLease};
use leasehold_ledger::model::{LeaseId, Timestamp};
use leasehold_ledger::mutant;
use leasehold_ledger::plan::{self, Planned};
use leasehold_ledger::reply::{Rejection, Reply};

use super::ledger_port::LedgerPort;
use crate::seams::{Clock, Mono, long};
use crate::telemetry::metrics;

/// Between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Leases that are planned in one round at most.
const LOOKS: usize = 16;
/// No more are planned in a round once that has taken so long: applying waits for each plan, and one that looks for a start
/// in a year of a large cloud takes several times this.
const PLANNING: Duration = Duration::from_millis(20);
/// Where nothing was applied since the last pass began, nothing has room that had none, but for what time brings.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// A lease whose promotion waits for the cloud is not promoted again before this: the cloud has ten seconds to agree, and what it
/// did not agree to keeps room and quota from others as long as it is tried. Twice as long after each further try.
const TRY_AGAIN: Duration = Duration::from_secs(40);
/// And no longer than this.
const TRY_AGAIN_MAX: Duration = Duration::from_secs(160);

/// What one leader remembers between its rounds.
#[derive(Default)]
struct Memory {
    /// How many wait, as seen last.
    waiting: usize,
    /// Who is still to be looked at in this pass; a pass goes over all that wait, in their order.
    left: VecDeque<LeaseId>,
    /// The ledger index at which the pass began, and when.
    began: Option<(u64, Mono)>,
    /// Whose promotion waits for the cloud, or was withdrawn.
    tried: BTreeMap<LeaseId, Tried>,
}

/// When a lease was promoted last, and for how long after that it is not again.
#[derive(Clone, Copy)]
struct Tried {
    at: Mono,
    pause: Duration,
}

impl Memory {
    /// Begins a new pass where the last one is through.
    fn go_on(&mut self, ledger: &dyn LedgerPort, now: Mono) {
        if !self.left.is_empty() {
            return;
        }
        let (index, waiting) = ledger.look(|state| (state.ledger_index(), plan::waiting(state).collect::<VecDeque<_>>()));
        self.waiting = waiting.len();
        if self.began.is_none_or(|(began_at, at)| began_at != index || now.since(at) >= LOOK_ANYWAY) {
            (self.left, self.began) = (waiting, Some((index, now)));
        }
    }

    /// Whose turn it is.
    fn next(&mut self, now: Mono) -> Option<LeaseId> {
        let rests = |id: &LeaseId| self.tried.get(id).is_some_and(|tried| now.since(tried.at) < tried.pause);
        while let Some(id) = self.left.pop_front() {
            if !rests(&id) {
                return Some(id);
            }
        }
        None
    }

    /// The cloud is asked about a promotion.
    fn try_one(&mut self, id: LeaseId, at: Mono) {
        let pause = self.tried.get(&id).map_or(TRY_AGAIN, |before| before.pause.saturating_mul(2).min(TRY_AGAIN_MAX));
        self.tried.insert(id, Tried { at, pause });
    }

    /// Whose promotion the cloud has agreed to since; forgets them, and who is gone.
    fn agreed(&mut self, ledger: &dyn LedgerPort) -> Vec<LeaseId> {
        let mut agreed = Vec::new();
        if self.tried.is_empty() {
            return agreed;
        }
        ledger.look(|state| {
            self.tried.retain(|id, _| match state.lease(*id).filter(|lease| !lease.deleted) {
                Some(lease) if lease.wait.is_some() => true,
                Some(lease) => {
                    agreed.push(lease.id);
                    false
                }
                None => false,
            });
        });
        agreed
    }
}

/// Runs until its group is stopped.
pub async fn run(ledger: Arc<dyn LedgerPort>, clock: Arc<dyn Clock>) {
    let mut memory = Memory::default();
    loop {
        clock.sleep(LOOK_EVERY).await;
        look(&*ledger, &*clock, &mut memory).await;
        metrics::leases_waiting(memory.waiting);
    }
}

/// One round.
async fn look(ledger: &dyn LedgerPort, clock: &dyn Clock, memory: &mut Memory) {
    memory.agreed(ledger).into_iter().for_each(booked);
    memory.go_on(ledger, clock.mono());
    let mut spent = Duration::ZERO;
    for _ in 0..LOOKS {
        let Some(lease_id) = memory.next(clock.mono()) else { return };
        // Planted bug: what waits, waits for ever.
        if mutant!("W01") {
            continue;
        }
        let (began, now) = (clock.mono(), Timestamp(clock.wall_ms()));
        // Other tasks of this thread go on meanwhile, heartbeats among them.
        let planned = long(|| ledger.look(|state| plan::plan_promotion(state, lease_id, now)));
        spent += clock.mono().since(began);
        match planned {
            Ok(Some(planned)) => promote(ledger, clock, memory, lease_id, planned).await,
            Ok(None) => {}
            Err(rejection) => tracing::debug!(lease = %lease_id, %rejection, "a waiting lease is not booked"),
        }
        if spent >= PLANNING {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Has a lease booked that has room by now. What does not come of it is tried in a later pass.
async fn promote(ledger: &dyn LedgerPort, clock: &dyn Clock, memory: &mut Memory, lease_id: LeaseId, planned: Planned) {
    let promote =
        PromoteLease { lease_id, plan: planned.reservations, moved_to: planned.moved_to, planned_at: planned.planned_at };
    match ledger.propose(Command::PromoteLease(Box::new(promote))).await {
        Ok(Ok(Reply::LeasePromoted { prepared: true, .. })) => booked(lease_id),
        Ok(Ok(Reply::LeasePromoted { prepared: false, .. })) => {
            memory.try_one(lease_id, clock.mono());
            tracing::info!(lease = %lease_id, "there is room for a lease that waited; asking the cloud");
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

/// A lease has the room for which it waited. One that the cloud agreed to under another leader than asked is not told of.
fn booked(lease_id: LeaseId) {
    metrics::lease_promoted();
    tracing::info!(lease = %lease_id, "a lease that waited for room has it");
}

#[cfg(test)]
mod tests;
