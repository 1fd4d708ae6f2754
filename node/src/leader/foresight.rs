//! Reads hosts shortly before something is due on them, so that at the instant only the write is left to send. What was
//! read ahead is a guess that the write itself proves or refutes: it names the generations that were read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use leasehold_ledger::model::HostId;

use super::desired;
use super::host_writer::AHEAD;
use super::work::Work;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Hosts read at a time: what is due already goes before.
const PARALLEL: usize = 16;

/// Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    loop {
        stream::iter(due_hosts(&work)).for_each_concurrent(PARALLEL, |host| work.hosts.read_ahead(&work, host)).await;
        work.clock.sleep(LOOK_EVERY).await;
    }
}

/// Hosts of leases for which something is due within [`AHEAD`].
fn due_hosts(work: &Work) -> BTreeSet<HostId> {
    let until = work.now().plus_ms(u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX));
    work.ledger.look(|state| {
        let leases = state.due_leases(until).filter_map(|id| state.lease(id));
        leases.flat_map(|lease| &lease.reservations).flat_map(desired::hosts_of).collect()
    })
}
