//! Reads hosts shortly before something is due on them, so that at the instant only the write is left to send. What was
//! read ahead is a guess that the write itself proves or refutes: it names the generations that were read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use leasehold_ledger::model::HostId;
use leasehold_ledger::mutant;

use super::desired;
use super::host_writer::AHEAD;
use super::work::Work;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Hosts read at a time.
const PARALLEL: usize = 16;
/// Leases looked at at a time: more are due only after an outage, when there is nothing to foresee.
const LEASES_MAX: usize = 2_000;

/// Runs until its group is stopped. A host that does not answer takes one of [`PARALLEL`] places and nothing else.
pub async fn run(work: Arc<Work>) {
    let read = async |host| {
        work.hosts.read_ahead(&work, host).await;
        host
    };
    let (mut waiting, mut reading) = (BTreeSet::new(), BTreeSet::new());
    let mut reads = FuturesUnordered::new();
    loop {
        waiting.extend(due_hosts(&work).into_iter().filter(|host| !reading.contains(host)));
        let look_again = work.clock.sleep(LOOK_EVERY);
        tokio::pin!(look_again);
        loop {
            while reads.len() < PARALLEL
                && let Some(host) = waiting.pop_first()
            {
                reading.insert(host);
                reads.push(read(host));
            }
            tokio::select! {
                biased;
                () = &mut look_again => break,
                Some(host) = reads.next(), if !reads.is_empty() => drop(reading.remove(&host)),
            }
        }
        // Planted bug: what is due soon is begun, before any entry says so.
        mutant!("M16", { wake_early(&work).await });
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
        let leases = state.due_leases(until).take(LEASES_MAX).filter_map(|id| state.lease(id));
        leases.flat_map(|lease| &lease.reservations).flat_map(desired::hosts_of).collect()
    })
}
