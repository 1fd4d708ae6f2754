//! Has the ledger's clock moved when something is due. The time itself is stamped where proposals are made, by the time
//! most nodes agree on (architecture D4); this only decides when to ask.

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::Command;

use leasehold_ledger::mutant;

use super::{LedgerPort, propose_until_seen};
use crate::seams::Clock;

/// Longest sleep without a look at the wall clock, which may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When the stamped time was a little before the due one.
const AGAIN: Duration = Duration::from_millis(2);
/// Keys expire and creations are withdrawn even if nothing else is due.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// Runs until its group is stopped.
pub async fn run(ledger: Arc<dyn LedgerPort>, clock: Arc<dyn Clock>) {
    let mut applied = ledger.applied();
    let mut last = clock.mono();
    // Planted bug: a new leader's wheel holds no timers of what was booked before it; they come back with its next look at all.
    mutant!("M14", {
        if ledger.look(|state| state.next_due()).is_some() {
            clock.sleep(Duration::from_secs(90)).await;
        }
    });
    loop {
        applied.borrow_and_update();
        let due = ledger.look(|state| state.next_due());
        let wall = clock.wall_ms();
        let stale = clock.mono().since(last) >= AT_LEAST_EVERY;
        if stale || due.is_some_and(|due| due.0 <= wall) {
            advance_until_taken(&ledger, &clock).await;
            last = clock.mono();
            // One entry drops a thousand expired keys; what is left counts against its project until it is dropped, too.
            while ledger.look(|state| state.expired_keys(state.clock()).next().is_some()) {
                advance_until_taken(&ledger, &clock).await;
            }
            // Still due: the stamp was a hair earlier than our wall clock.
            if ledger.look(|state| state.next_due()).is_some_and(|due| due.0 <= clock.wall_ms()) {
                clock.sleep(AGAIN).await;
            }
            continue;
        }
        let wait = due.map_or(LOOK_EVERY, |due| Duration::from_millis(due.0 - wall).min(LOOK_EVERY));
        let waited = clock.sleep(wait);
        tokio::select! {
            biased;
            () = waited => {}
            changed = applied.changed() => {
                if changed.is_err() {
                    return;
                }
                // Every command wakes us; under load one look per few milliseconds is enough to be on time.
                clock.sleep(AGAIN).await;
            }
        }
    }
}

/// Moves the clock once.
pub async fn advance_until_taken(ledger: &Arc<dyn LedgerPort>, clock: &Arc<dyn Clock>) {
    if let Err(rejection) = propose_until_seen(ledger, clock, Command::AdvanceClock).await {
        // The command has no rejection; one would be our bug, and must not stop time.
        tracing::error!(%rejection, "the ledger refused to move its clock");
    }
}
