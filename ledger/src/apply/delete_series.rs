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
    let leases: Vec<&Lease> = state.leases_of_series(id).filter(|lease| lease.visible()).collect();
    let left_memory = state.archived_of_series(id);
    if leases.is_empty() && left_memory.is_empty() {
        return Err(Rejection::SeriesNotFound(id));
    }
    let (to_come, started): (Vec<&Lease>, Vec<&Lease>) = leases.into_iter().partition(is_to_come);
    let numbered = |leases: Vec<&Lease>| -> Vec<(LeaseId, u32)> {
        leases.into_iter().filter_map(|lease| Some((lease.id, lease.series.as_ref()?.number))).collect()
    };
    // What left memory has ended. Planted bug: it is forgotten.
    let ended = if mutant!("E02") { Vec::new() } else { left_memory.to_vec() };
    let (deleted, kept) = (by_number(numbered(to_come)), by_number([numbered(started), ended].concat()));
    for lease_id in &deleted {
        // Planted bug: the last of them is forgotten.
        if mutant!("N22") && deleted.len() > 1 && deleted.last() == Some(lease_id) {
            continue;
        }
        delete_lease(state, now, *lease_id).expect("it is there and visible");
    }
    Ok(Reply::SeriesDeleted { deleted, kept })
}

fn by_number(mut leases: Vec<(LeaseId, u32)>) -> Vec<LeaseId> {
    leases.sort_unstable_by_key(|(_, number)| *number);
    leases.into_iter().map(|(id, _)| id).collect()
}
