//! Reads hosts shortly before something is due on them, so that at the instant only the write is left to send. What was
//! read ahead is a guess that the write itself proves or refutes: it names the generations that were read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use leasehold_ledger::model::HostId;
use leasehold_ledger::mutant;

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
        // Planted bug: what is due soon is begun, before any entry says so.
        mutant!("M16", { wake_early(&work).await });
        work.clock.sleep(LOOK_EVERY).await;
    }
}

/// Wakes the parked servers of what is due within [`AHEAD`].
#[cfg(feature = "mutants")]
async fn wake_early(work: &Work) {
    use crate::openstack::Errand;
    use crate::openstack::nova::Verb;
    use leasehold_ledger::model::{EventKind, EventStatus, Stage};

    let until = work.now().plus_ms(u64::try_from(AHEAD.as_millis()).unwrap_or(u64::MAX));
    let flavors: Vec<String> = work.ledger.look(|state| {
        let leases = state.due_leases(until).filter_map(|id| state.lease(id));
        let starting =
            leases.filter(|lease| lease.event(EventKind::StartLease).is_some_and(|event| event.status == EventStatus::Undone));
        let all = starting.flat_map(|lease| &lease.reservations).filter(|one| one.stage == Stage::Parked);
        all.map(|one| one.flavor().to_string()).collect()
    });
    for flavor in flavors {
        let Ok(servers) = work.cloud.nova().servers_of_flavor(&flavor).await else { continue };
        for server in servers {
            let errand = Errand::new(format!("early/{}/{}", server.id, work.number()), work.term, &work.leader);
            drop(work.cloud.nova().act(&errand, &server.id, Verb::Unshelve).await);
        }
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
