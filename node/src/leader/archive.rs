//! Has leases leave memory that ended long ago (docs/decisions/0022). Their rows stay, and users see nothing of it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::Timestamp;

use super::ledger_port::LedgerPort;
use crate::seams::Clock;
use crate::telemetry::metrics;

/// Between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two entries of one round: an entry moves a thousand rows, and what users asked for comes in between.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs until its group is stopped. None leaves memory where they may stay for no time at all, which means for ever.
pub async fn run(ledger: Arc<dyn LedgerPort>, clock: Arc<dyn Clock>, in_memory: Duration) {
    if in_memory.is_zero() {
        return std::future::pending().await;
    }
    let in_memory_ms = u64::try_from(in_memory.as_millis()).unwrap_or(u64::MAX);
    loop {
        clock.sleep(LOOK_EVERY).await;
        let long_ago = Timestamp(clock.wall_ms().saturating_sub(in_memory_ms));
        loop {
            let (any, archived, ended_before) = ledger.look(|state| {
                // This node's clock may be ahead of the one that decides.
                let ended_before = long_ago.min(state.clock());
                (state.archivable(ended_before).next().is_some(), state.archived_len(), ended_before)
            });
            metrics::leases_archived(archived);
            if !any {
                break;
            }
            match ledger.propose(Command::ArchiveLeases { ended_before }).await {
                Ok(Ok(_)) => clock.sleep(PAUSE).await,
                Ok(Err(rejection)) => {
                    tracing::error!(%rejection, "the ledger refuses to take ended leases out of memory");
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "the ledger did not take ended leases out of memory; trying again");
                    break;
                }
            }
        }
    }
}
