//! Deletes a lease in any status (architecture D19).

use super::keys;
use super::progress::{close_rows, move_lease, move_reservation, open_row, was_opened};
use super::withdraw_lease::withdraw;
use crate::model::{LeaseId, LeaseStatus, Reason, ReasonCode, ReservationStatus, Stage, Step, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// From acceptance on the lease is gone for its users. What was never opened is free in this entry; anything else when the
/// outcome of its `End` row is recorded. What the cloud holds of it is cleaned either way, and the row stays until then.
///
/// Rejections: `LeaseNotFound`. Source: blazar-api §6.3, improved.
pub(super) fn delete_lease(state: &mut State, now: Timestamp, id: LeaseId) -> Result<Reply, Rejection> {
    let status = match state.lease(id) {
        Some(lease) if !lease.deleted => lease.status,
        _ => return Err(Rejection::LeaseNotFound(id)),
    };
    if status == LeaseStatus::Creating {
        if let Some(key) = keys::waiting_key(state, id) {
            keys::clear(state, &key);
        }
    } else if status == LeaseStatus::Updating {
        // What an unfinished update had booked on top was never opened.
        let text = "deleted".to_owned();
        withdraw(state, now, id, &Reason { code: ReasonCode::CloudUnavailable, text });
    }
    let mut lease = state.lease(id).cloned().ok_or(Rejection::LeaseNotFound(id))?;
    close_rows(state, &lease);
    lease.revision += 1;
    let mut freed = true;
    let mut to_end = Vec::new();
    for reservation in &mut lease.reservations {
        let confirmed = reservation.status == ReservationStatus::Deleted;
        if confirmed || reservation.stage == Stage::Booked {
            continue;
        }
        if was_opened(reservation) {
            freed = false;
        } else {
            move_reservation(reservation, ReservationStatus::Deleted, now);
        }
        reservation.stage = Stage::Ended;
        to_end.push(reservation.id);
    }
    if to_end.is_empty() {
        state.remove_lease(id);
        return Ok(Reply::LeaseDeleted { lease_id: id, freed });
    }
    // A reservation of the same lease that was never prepared has nothing in the cloud.
    for reservation in lease.reservations.iter_mut().filter(|one| one.stage == Stage::Booked) {
        move_reservation(reservation, ReservationStatus::Deleted, now);
    }
    move_lease(&mut lease, LeaseStatus::Deleting, now);
    lease.deleted = true;
    lease.reason = None;
    for reservation in to_end {
        open_row(state, &lease, reservation, Step::End, now, now);
    }
    state.put_lease(lease);
    Ok(Reply::LeaseDeleted { lease_id: id, freed })
}
