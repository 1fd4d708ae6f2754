//! Server groups of ours, in our project and in those of tenants: those that no reservation wants go, those that are missing
//! are made. Whose a group is stands in its name: other clusters with the same service project have theirs beside ours.

use futures::FutureExt;
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{Lease, LeaseId, LeaseStatus, Reservation, ReservationId, Step};
use leasehold_ledger::state::State;

use super::collect;
use crate::leader::permits::Provided;
use crate::leader::server_groups;
use crate::leader::work::Work;
use crate::openstack::nova::ServerGroup;
use crate::openstack::{CloudError, Errand};

/// Removes those that nothing wants.
pub async fn look(work: &Work) -> Result<(), CloudError> {
    let groups = work.cloud.nova().server_groups().await?;
    collect(groups.iter().map(|group| remove_orphan(work, group).boxed()).collect()).await
}

async fn remove_orphan(work: &Work, group: &ServerGroup) -> Result<(), CloudError> {
    let Some((lease, id)) = work.names.reservation_of_group(&group.name) else { return Ok(()) };
    let orphan = || work.ledger.look(|state| is_orphan(state, lease, id, group));
    if !orphan() {
        return Ok(());
    }
    let permit = Provided { inner: &work.leader, condition: orphan };
    let errand = Errand::new(format!("group/{}/{}", group.id, work.number()), work.term, &permit);
    tracing::info!(group = group.name, project = group.project_id, "removing a server group of ours that no reservation wants");
    work.cloud.nova().delete_server_group(&errand, group.id).await
}

fn is_orphan(state: &State, lease: LeaseId, id: ReservationId, group: &ServerGroup) -> bool {
    let Some(lease) = state.lease(lease) else { return true };
    let Some(reservation) = lease.reservation(id) else { return true };
    if takes_none(lease, reservation) {
        // One that was never recorded is nobody's. The recorded one goes with the end.
        return reservation.server_group_id != Some(group.id);
    }
    // An update that is refused returns to the group of before.
    let before = reservation.previous.as_ref().and_then(|previous| previous.server_group_id);
    match reservation.server_group_id {
        Some(known) => known != group.id && before != Some(group.id),
        // Not recorded yet: who made it tells, or its worker takes one of them.
        None => before != Some(group.id) && !server_groups::fits(group, reservation),
    }
}

/// Makes those that are missing: Nova was away when their leases were promised.
pub async fn make_missing(work: &Work) -> Result<(), CloudError> {
    let missing: Vec<(LeaseId, ReservationId)> = work.ledger.look(|state| {
        let of = |lease: &Lease| {
            let ids = lease.reservations.iter().filter(|one| is_missing(state, lease, one)).map(|one| (lease.id, one.id));
            ids.collect::<Vec<_>>()
        };
        state.leases().flat_map(of).collect()
    });
    if missing.is_empty() {
        return Ok(());
    }
    let there = work.cloud.nova().server_groups().await?;
    collect(missing.into_iter().map(|(lease, id)| make(work, &there, lease, id).boxed()).collect()).await
}

async fn make(work: &Work, there: &[ServerGroup], lease: LeaseId, id: ReservationId) -> Result<(), CloudError> {
    let wanted = || work.ledger.look(|state| still_missing(state, lease, id));
    let Some((lease, reservation)) = wanted() else { return Ok(()) };
    let permit = Provided { inner: &work.leader, condition: || wanted().is_some() };
    let errand = Errand::new(format!("group/{id}/{}", work.number()), work.term, &permit);
    let nova = work.cloud.nova();
    let found = server_groups::find_or_make(&nova, there, &errand, &work.names, (&lease, &reservation)).await?;
    let Some(found) = found else { return Ok(()) };
    let command = Command::RecordServerGroups { lease_id: lease.id, groups: [(id, found)].into() };
    match work.ledger.propose(command).await {
        Ok(Ok(_)) => {}
        Ok(Err(rejection)) => tracing::warn!(lease = %lease.id, %rejection, "the ledger refused a server group"),
        // It is found again.
        Err(error) => tracing::warn!(lease = %lease.id, %error, "the ledger was not told of a server group"),
    }
    Ok(())
}

fn still_missing(state: &State, lease: LeaseId, id: ReservationId) -> Option<(Lease, Reservation)> {
    let lease = state.lease(lease)?;
    let reservation = lease.reservation(id).filter(|one| is_missing(state, lease, one))?;
    Some((lease.clone(), reservation.clone()))
}

/// Whether a reservation should have a group and nobody is about to make it: its promise was given without.
fn is_missing(state: &State, lease: &Lease, reservation: &Reservation) -> bool {
    let promised = !matches!(lease.status, LeaseStatus::Creating | LeaseStatus::Waiting);
    let held = || state.open_row(lease.id, reservation.id).is_none_or(|row| row.step != Step::Hold);
    let wanted = reservation.server_group_id.is_none() && reservation.wish.instance().affinity.is_some();
    !takes_none(lease, reservation) && wanted && promised && held()
}

/// Whether the ledger takes no group for it any more.
fn takes_none(lease: &Lease, reservation: &Reservation) -> bool {
    lease.deleted || reservation.has_ended()
}
