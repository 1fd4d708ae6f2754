//! Deletes what has not started of a series.

use super::delete_lease::delete_lease;
use super::progress::event_status;
use crate::model::{EventKind, EventStatus, Lease, LeaseId, SeriesId, Timestamp};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Deletes the leases of a series that have not started, each as if it were deleted by itself; what has started stays.
///
/// Rejections: `SeriesNotFound` when no lease of it is left that users may see.
pub(super) fn delete_series(state: &mut State, now: Timestamp, id: SeriesId) -> Result<Reply, Rejection> {
    let is_to_come = |lease: &&Lease| event_status(lease, EventKind::StartLease) == Some(EventStatus::Undone);
    let mut leases: Vec<&Lease> = state.leases_of_series(id).filter(|lease| lease.visible()).collect();
    if leases.is_empty() {
        return Err(Rejection::SeriesNotFound(id));
    }
    leases.sort_by_key(|lease| lease.series.as_ref().map(|member| member.number));
    let (to_come, started): (Vec<&Lease>, Vec<&Lease>) = leases.into_iter().partition(is_to_come);
    let ids = |leases: Vec<&Lease>| leases.into_iter().map(|lease| lease.id).collect::<Vec<LeaseId>>();
    let (deleted, kept) = (ids(to_come), ids(started));
    for lease_id in &deleted {
        // Planted bug: the last of them is forgotten.
        if mutant!("N22") && deleted.len() > 1 && deleted.last() == Some(lease_id) {
            continue;
        }
        delete_lease(state, now, *lease_id).expect("it is there and visible");
    }
    Ok(Reply::SeriesDeleted { deleted, kept })
}
