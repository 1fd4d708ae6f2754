//! Deletes a lease in any status (architecture D19).

use super::keys;
use super::progress::{close_rows, end_stage, move_lease, move_reservation, open_row, was_opened};
use super::withdraw_lease::withdraw;
use crate::model::{LeaseId, LeaseStatus, Reason, ReasonCode, Reservation, ReservationStatus, Stage, Step, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// From acceptance on the lease is gone for its users. What was never opened is free in this entry; anything else when the
/// outcome of its `End` row is recorded. What the cloud holds of it is cleaned either way, and the row stays until then.
///
/// Rejections: `LeaseNotFound`. Source: blazar-api §6.3, improved.
pub(super) fn delete_lease(state: &mut State, now: Timestamp, id: LeaseId) -> Result<Reply, Rejection> {
    if state.archived(id).is_some() {
        state.remove_archived(id);
        return Ok(Reply::LeaseDeleted { lease_id: id, freed: true });
    }
    let status = match state.lease(id) {
        Some(lease) if !lease.deleted => lease.status,
        _ => return Err(Rejection::LeaseNotFound(id)),
    };
    if status == LeaseStatus::Creating && state.lease(id).is_some_and(|lease| lease.series.is_some()) {
        // Nobody saw it yet: with all or nothing the series goes with it.
        let text = "deleted before it was promised".to_owned();
        withdraw(state, now, id, &Reason { code: ReasonCode::CloudUnavailable, text });
        return Ok(Reply::LeaseDeleted { lease_id: id, freed: true });
    }
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
    let left_things = lease.leaves_things();
    let mut freed = true;
    let mut to_end = Vec::new();
    for reservation in &mut lease.reservations {
        let given_up = reservation.status == ReservationStatus::Deleted;
        if (given_up && !left_things) || reservation.stage == Stage::Booked {
            continue;
        }
        if given_up {
            // Its room was taken while it was prepared, and the cloud has not confirmed yet that nothing is left of it.
        } else if was_opened(reservation) {
            freed = false;
        } else {
            move_reservation(reservation, ReservationStatus::Deleted, now);
        }
        end_stage(reservation);
        to_end.push(reservation.id);
    }
    if to_end.is_empty() {
        state.remove_lease(id);
        return Ok(Reply::LeaseDeleted { lease_id: id, freed });
    }
    // A reservation of the same lease that was never prepared has nothing in the cloud.
    let unprepared = |one: &&mut Reservation| one.stage == Stage::Booked && one.status != ReservationStatus::Deleted;
    for reservation in lease.reservations.iter_mut().filter(unprepared) {
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

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn what_was_never_opened_is_free_at_once() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               10:00 delete A -> free, row gone
               10:00 delete A -> refused LeaseNotFound
               10:00 lease B 12:00..14:00 n=2 -> PENDING h1*2
               11:00 clock -> prepare B
               11:00 delete B -> free, row stays
               11:00 rows -> end B
               11:00 booked h1 12:00 -> 0 vcpus 0 slots
               11:00 removehost h1 -> refused HostInUse
               11:00 delete B -> refused LeaseNotFound
               11:00 done prepare B -> unchanged
               11:00 done end B -> B gone
               11:00 removehost h1 -> removed",
        );
    }

    #[test]
    fn what_was_opened_is_free_when_the_cloud_says_so() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 delete A -> booked, row stays
               10:00 rows -> end A
               10:00 booked h1 12:00 -> 2 vcpus 2 slots
               14:00 clock -> nothing
               14:00 done end A -> A gone
               14:00 lease B 15:00..16:00 staging=14:00..14:10 -> PENDING staging:h1*1 h1*1
               14:00 clock -> open B
               14:01 delete B -> booked, row stays
               14:01 booked h1 15:00 -> 1 vcpus 1 slots
               14:02 done end B -> B gone",
        );
    }

    #[test]
    fn a_lease_that_waits_for_its_hold_can_be_deleted() {
        check(
            "10:00 hosts s1 shared
               10:00 lease A 12:00..14:00 key=1 -> CREATING s1*1
               10:00 delete A -> free, row gone
               10:00 rows -> none
               10:00 key 1 until=24:00 -> unknown
               10:00 lease B now..14:00 -> CREATING s1*1
               10:00 held B -> B PENDING pending:Booked
               10:00 clock -> start B
               10:00 done start B -> B ACTIVE active:Open
               10:01 update B n=4 -> UPDATING s1*4
               10:01 delete B -> booked, row stays
               10:01 booked s1 12:00 -> 1 vcpus 1 slots
               10:02 done end B -> B gone",
        );
    }

    #[test]
    fn an_ended_lease_is_a_record_that_goes_at_once() {
        check(
            "10:00 hosts h1
               10:00 lease A now..11:00 -> PENDING h1*1
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               11:00 clock -> end A
               11:00 done end A -> A TERMINATED deleted:Ended
               11:00 delete A -> free, row gone",
        );
    }
}
