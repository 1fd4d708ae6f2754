//! Second images of one server at one end: a createImage of a deposed leader that took effect late. The oldest active one is
//! the tenant's; the others are removed while they belong to the service project, never once they were given away.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::model::ReservationId;
use leasehold_ledger::mutant;
use leasehold_ledger::state::State;

use crate::leader::names::IMAGE_MARK;
use crate::leader::permits::Provided;
use crate::leader::work::Work;
use crate::openstack::glance::Image;
use crate::openstack::{CloudError, Errand};

/// Removes those that are not wanted.
pub async fn look(work: &Work) -> Result<(), CloudError> {
    let user = work.cloud.user().await?;
    let glance = work.cloud.glance();
    let mut ours: BTreeMap<ReservationId, BTreeSet<String>> = BTreeMap::new();
    for image in glance.images_of_project(&user.project_id).await? {
        let Some(id) = image.end_of.as_deref().and_then(|id| id.parse().ok()) else { continue };
        ours.entry(id).or_default().insert(image.id);
    }
    for (id, ours) in ours {
        if !work.ledger.look(|state| is_over(state, id)) {
            continue;
        }
        let of_end = glance.images_marked(IMAGE_MARK, &id.to_string()).await?;
        let mut by_server: BTreeMap<&str, Vec<&Image>> = BTreeMap::new();
        for image in of_end.iter().filter(|image| image.end_of.as_deref() == Some(id.to_string().as_str())) {
            if let Some(server) = &image.instance_uuid {
                by_server.entry(server).or_default().push(image);
            }
        }
        for (server, images) in by_server {
            for image in spare(&images, &ours) {
                let permit = Provided { inner: &work.leader, condition: || work.ledger.look(|state| is_over(state, id)) };
                let errand = Errand::new(format!("image/{}/{}", image.id, work.number()), work.term, &permit);
                tracing::warn!(image = image.id, server, reservation = %id, "removing a second image of one server's end");
                glance.delete(&errand, &image.id).await?;
            }
        }
    }
    Ok(())
}

/// The ledger knows the reservation, and its worker is through. One that it does not know may be another cluster's.
fn is_over(state: &State, id: ReservationId) -> bool {
    // Planted bug: whatever is marked as ours are is ours.
    let known = mutant!("C06") || state.leases().any(|lease| lease.reservation(id).is_some());
    known && !state.actuations().any(|row| row.reservation_id == id)
}

/// Those of ours that are not wanted: all but the one that the tenant has already or, before he has one, the oldest. Without
/// an active image nothing is spare, and none is that Nova may still be at.
fn spare<'a>(images: &[&'a Image], ours: &BTreeSet<String>) -> Vec<&'a Image> {
    let is_ours = |image: &Image| ours.contains(&image.id);
    let active = images.iter().filter(|image| image.status == "active");
    // Glance's times are whole seconds, so of two in one second the given one must stay whichever id is smaller.
    let Some(kept) = active.min_by_key(|image| (is_ours(image), &image.created_at, &image.id)) else { return Vec::new() };
    let moving = |image: &Image| matches!(image.status.as_str(), "queued" | "saving" | "uploading" | "importing");
    images.iter().copied().filter(|image| image.id != kept.id && is_ours(image) && !moving(image)).collect()
}
