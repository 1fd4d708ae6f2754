//! Server groups of ours whose reservation is gone, or has another one. Whose a group is stands in its name: other clusters
//! with the same service project have theirs beside ours.

use leasehold_ledger::model::{LeaseId, ReservationId};

use crate::leader::permits::Provided;
use crate::leader::work::Work;
use crate::openstack::{CloudError, Errand};

/// Removes those that nothing wants.
pub async fn look(work: &Work) -> Result<(), CloudError> {
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
