//! Reads everything back and brings it to what the ledger wants: after a takeover, again 120 s later for calls that were
//! still on their way, on signal, and on a period (architecture D6). Takes no input: the whole intent against the cloud.
//!
//! Only what is provably ours is removed: children by their fixed identities, flavors by their mark, classes of flavors
//! that were marked, server groups by their name and owner.

mod flavors;
mod groups;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use leasehold_ledger::model::HostId;

use super::work::Work;
use crate::openstack::CloudError;
use crate::telemetry::metrics;

/// Late effects of a predecessor's calls have shown by then.
const SECOND_LOOK: Duration = Duration::from_secs(120);
/// Objects worked on at once.
const AT_ONCE: usize = 8;

/// Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let begun = work.clock.mono();
    let mut second_look_due = true;
    loop {
        match read_back(&work).await {
            Ok(()) => metrics::reconcile_done(work.clock.mono()),
            Err(error) => tracing::warn!(%error, "the read-back stopped; it is made again"),
        }
        let mut wait = work.config.reconcile_period;
        let elapsed = work.clock.mono().since(begun);
        if second_look_due {
            wait = wait.min(SECOND_LOOK.saturating_sub(elapsed));
            second_look_due = elapsed < SECOND_LOOK;
        }
        let period = work.clock.sleep(wait);
        tokio::select! {
            biased;
            () = work.reconcile.notified() => {}
            () = period => {}
        }
    }
}

/// One full read-back. Every part is tried; the first failure is told.
async fn read_back(work: &Work) -> Result<(), CloudError> {
    let parts = [hosts(work).await, flavors::look(work).await, groups::look(work).await];
    parts.into_iter().collect()
}

/// Holds and inventories of every host.
async fn hosts(work: &Work) -> Result<(), CloudError> {
    let hosts: Vec<HostId> = work.ledger.look(|state| state.hosts().map(|host| host.id).collect());
    let mut runs = Vec::new();
    for id in hosts {
        runs.push(host(work, id).boxed());
    }
    collect(runs).await
}

/// Hold and inventories of one host; what is not ours to mend is told.
async fn host(work: &Work, host: HostId) -> Result<(), CloudError> {
    let view = work.hosts.converge(work, host).await?;
    if let Some(refused) = &view.hold_refused {
        tracing::warn!(%host, refused, "the hold cannot be raised to what is booked");
    }
    for (class, used) in &view.read.usage {
        if *used > 0 && !view.wish.tokens.contains_key(class) {
            tracing::warn!(%host, class, used, "tokens of a reservation that the ledger does not know are in use");
        }
    }
    Ok(())
}

/// Carries all out, a few at once; the first failure is told after all were tried.
async fn collect(runs: Vec<BoxFuture<'_, Result<(), CloudError>>>) -> Result<(), CloudError> {
    let results: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect()
}
