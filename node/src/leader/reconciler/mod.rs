//! Reads everything back and brings it to what the ledger wants: after a takeover, again 120 s later for calls that were
//! still on their way, on signal, and on a period (architecture D6). Takes no input: the whole intent against the cloud.
//!
//! Only what is provably ours is removed: children by their fixed identities, flavors by their mark, classes of flavors
//! that were marked, server groups by their name and owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use leasehold_ledger::model::{HostId, LeaseId, ProjectId, ReservationId, Stage};
use leasehold_ledger::state::State;

use super::desired;
use super::names::{self, FLAVOR_MARK};
use super::permits::{Provided, Unfenced};
use super::work::Work;
use crate::openstack::nova::Flavor;
use crate::openstack::{CloudError, Errand};
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
    let parts = [hosts(work).await, flavors(work).await, groups(work).await];
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

/// What the ledger says of a reservation's flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    project: ProjectId,
    flavor: bool,
    access: bool,
    /// A row is open: its worker is at it, and knows the order.
    busy: bool,
}

fn wanted(state: &State) -> BTreeMap<ReservationId, Wanted> {
    let busy: BTreeSet<ReservationId> = state.actuations().map(|row| row.reservation_id).collect();
    let mut wanted = BTreeMap::new();
    for lease in state.leases() {
        for reservation in lease.reservations.iter().filter(|reservation| reservation.stage != Stage::Booked) {
            wanted.insert(
                reservation.id,
                Wanted {
                    project: lease.project_id.clone(),
                    flavor: desired::wants_flavor(reservation),
                    access: desired::wants_access(reservation),
                    busy: busy.contains(&reservation.id),
                },
            );
        }
    }
    wanted
}

/// Flavors of ours that nobody wants go with their classes, missing ones come back, access is as the stage wants it.
async fn flavors(work: &Work) -> Result<(), CloudError> {
    let mark = work.names.mark();
    // The cloud first: what appears in the ledger afterwards has a worker of its own.
    let there = work.cloud.nova().flavors().await?;
    let ours: BTreeMap<ReservationId, Flavor> = there
        .into_iter()
        .filter(|flavor| flavor.extra_specs.get(FLAVOR_MARK) == Some(&mark))
        .filter_map(|flavor| Some((flavor.id.parse().ok()?, flavor)))
        .collect();
    let wanted = work.ledger.look(wanted);
    let mut runs = Vec::new();
    for id in ours.keys() {
        if wanted.get(id).is_none_or(|wanted| !wanted.flavor && !wanted.busy) {
            runs.push(remove(work, *id).boxed());
        }
    }
    for (id, wanted) in &wanted {
        if wanted.flavor && !wanted.busy {
            runs.push(set_access(work, *id, wanted, ours.contains_key(id)).boxed());
        }
    }
    collect(runs).await
}

/// Whether the ledger still has nothing for this reservation to want.
fn unwanted_now(work: &Work, id: ReservationId) -> bool {
    work.ledger.look(|state| wanted(state).get(&id).is_none_or(|wanted| !wanted.flavor && !wanted.busy))
}

/// Removes a flavor that nobody wants, unless servers of it are left: those were parked by `on_end: shelve`.
async fn remove(work: &Work, id: ReservationId) -> Result<(), CloudError> {
    let flavor_id = id.to_string();
    if !work.cloud.nova().servers_of_flavor(&flavor_id).await?.is_empty() {
        return Ok(());
    }
    let permit = Provided { inner: &work.leader, condition: || unwanted_now(work, id) };
    let errand = Errand::new(format!("orphan/{id}/{}", work.number()), work.term, &permit);
    tracing::info!(flavor = flavor_id, "removing a flavor of ours that no reservation wants");
    work.cloud.nova().delete_flavor(&errand, &flavor_id).await?;
    match work.cloud.placement().delete_class(&errand, &names::class(id)).await {
        // A host still has it in its inventory; the next round removes it there first.
        Err(error) if error.is_conflict() => Ok(()),
        done => done,
    }
}

/// Flavor and access of a reservation that is at rest.
async fn set_access(work: &Work, id: ReservationId, wish: &Wanted, exists: bool) -> Result<(), CloudError> {
    let flavor_id = id.to_string();
    let nova = work.cloud.nova();
    let as_read = || work.ledger.look(|state| wanted(state).get(&id) == Some(wish));
    let permit = Provided { inner: &work.leader, condition: as_read };
    let errand = Errand::new(format!("access/{id}/{}", work.number()), work.term, &permit);
    if !exists {
        let flavor = work.ledger.look(|state| {
            let all = state.leases().flat_map(|lease| &lease.reservations);
            all.filter(|reservation| reservation.id == id).map(|found| desired::flavor(&work.names, found)).next()
        });
        let Some(flavor) = flavor else { return Ok(()) };
        tracing::warn!(flavor = flavor_id, "a flavor of ours was gone; making it again");
        work.cloud.placement().ensure_class(&errand, &names::class(id)).await?;
        nova.ensure_flavor(&errand, &flavor).await?;
    }
    let Some(has) = nova.flavor_access(&flavor_id).await? else { return Ok(()) };
    let strangers: Vec<&String> = has.iter().filter(|project| **project != wish.project.0 || !wish.access).collect();
    let missing = wish.access && !has.contains(&wish.project.0);
    if strangers.is_empty() && !missing {
        return Ok(());
    }
    match work.unfenced.acquire().await {
        Ok(None) => {}
        // The next round comes soon enough.
        Ok(Some(_)) | Err(_) => {
            work.reconcile_in(Duration::from_secs(5));
            return Ok(());
        }
    }
    let right = Unfenced { inner: &permit, right: &work.unfenced };
    let errand = errand.under(&right);
    for project in strangers {
        tracing::warn!(flavor = flavor_id, project, "taking access away that no reservation grants");
        nova.remove_flavor_access(&errand, &flavor_id, project).await?;
    }
    if missing {
        tracing::warn!(flavor = flavor_id, project = %wish.project, "giving access back");
        nova.add_flavor_access(&errand, &flavor_id, &wish.project.0).await?;
    }
    Ok(())
}

/// Server groups of ours whose reservation is gone, or has another one.
async fn groups(work: &Work) -> Result<(), CloudError> {
    let groups = work.cloud.nova().server_groups().await?;
    let orphan = |lease: LeaseId, id: ReservationId, group: uuid::Uuid| {
        work.ledger.look(|state| match state.lease(lease).and_then(|lease| lease.reservation(id)) {
            // Not recorded yet: its worker takes one of them.
            Some(reservation) => reservation.server_group_id.is_some_and(|known| known != group),
            None => true,
        })
    };
    for group in groups {
        let Some((lease, id)) = work.names.reservation_of_group(&group.name) else { continue };
        if !orphan(lease, id, group.id) {
            continue;
        }
        let permit = Provided { inner: &work.leader, condition: || orphan(lease, id, group.id) };
        let errand = Errand::new(format!("group/{}/{}", group.id, work.number()), work.term, &permit);
        tracing::info!(group = group.name, "removing a server group of ours that no reservation wants");
        work.cloud.nova().delete_server_group(&errand, group.id).await?;
    }
    Ok(())
}

/// Carries all out, a few at once; the first failure is told after all were tried.
async fn collect(runs: Vec<BoxFuture<'_, Result<(), CloudError>>>) -> Result<(), CloudError> {
    let results: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    results.into_iter().collect()
}
