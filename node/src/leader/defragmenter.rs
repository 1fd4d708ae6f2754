//! Moves leases that have not begun and have a host to themselves to hosts that are in use anyway, so that hosts become free as a
//! whole (docs/decisions/0025). Sends nothing to the cloud: what moved is followed as any change of a lease is.

use std::sync::Arc;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{HostId, LeaseId};
use leasehold_ledger::plan;

use super::work::Work;
use crate::seams::long;
use crate::telemetry::metrics;

/// Hosts that one round looks at, and leases that it tries to move: a round must not hold up those who wait for an answer.
const HOSTS_PER_ROUND: usize = 256;
const TRIES_PER_ROUND: usize = 8;

/// Runs until its group is stopped. The next host of a round is forgotten with the leader.
pub async fn run(work: Arc<Work>) {
    let period = work.config.defragment_period;
    if period.is_zero() {
        return;
    }
    let (mut next, mut waiting) = (HostId(0), Vec::new());
    loop {
        work.clock.sleep(period).await;
        if waiting.is_empty() {
            let (found, rest) = look(&work, next);
            (next, waiting) = (rest.unwrap_or(HostId(0)), found);
        }
        let tries = waiting.len().min(TRIES_PER_ROUND);
        for lease_id in waiting.drain(..tries) {
            tighten(&work, lease_id).await;
        }
    }
}

fn look(work: &Work, from: HostId) -> (Vec<LeaseId>, Option<HostId>) {
    let terms = work.config.defragment_terms;
    // The ledger's clock may be ten seconds behind (`clock.rs`), which counts for what is about to begin.
    long(|| work.ledger.look(|state| plan::scattered(state, work.now(), terms, from, HOSTS_PER_ROUND)))
}

async fn tighten(work: &Work, lease_id: LeaseId) {
    let terms = work.config.defragment_terms;
    let Some(tighter) = long(|| work.ledger.look(|state| plan::plan_tighter(state, work.now(), terms, lease_id))) else { return };
    match work.ledger.propose(Command::Rebind { lease_id, moves: tighter.planned.reservations }).await {
        Ok(Ok(_)) => {
            metrics::lease_tightened();
            tracing::info!(lease = %lease_id, freed_s = tighter.freed_s, "a lease moved to hosts that are in use anyway");
        }
        // Deleted, begun or changed in between, or another has the room.
        Ok(Err(rejection)) => {
            metrics::plan_refused(&rejection);
            tracing::info!(lease = %lease_id, %rejection, "a lease changed before it was moved");
        }
        Err(error) => tracing::debug!(lease = %lease_id, %error, "the ledger did not take the move of a lease; it stays"),
    }
}
