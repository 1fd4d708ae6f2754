//! Takes a promise back that was never given: a creation or an update whose hold was not accepted (architecture D24).

use super::progress::{close_row, close_rows, follow_step, move_lease, open_row, restamp_rows, settled_status};
use super::{keys, series, waitlist};
use crate::model::{EventStatus, LeaseId, LeaseStatus, Reason, Step, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Frees a lease that is still CREATING, or returns one that is UPDATING to what it was, and clears the key.
///
/// Rejections, in this order: `LeaseNotFound`, `WrongStatus`.
pub(super) fn withdraw_lease(state: &mut State, now: Timestamp, id: LeaseId, reason: &Reason) -> Result<Reply, Rejection> {
    if let Some(archived) = state.archived(id) {
        return Err(Rejection::WrongStatus { status: archived.status() });
    }
    let lease = state.lease(id).ok_or(Rejection::LeaseNotFound(id))?;
    if lease.deleted {
        return Err(Rejection::LeaseNotFound(id));
    }
    if !matches!(lease.status, LeaseStatus::Creating | LeaseStatus::Updating) {
        return Err(Rejection::WrongStatus { status: lease.status });
    }
    withdraw(state, now, id, reason);
    Ok(Reply::Done)
}

/// See [`withdraw_lease`]; the lease waits for its hold. Of a series that is not promised yet more may go (`series.rs`).
pub(super) fn withdraw(state: &mut State, now: Timestamp, id: LeaseId, reason: &Reason) {
    let creating = state.lease(id).filter(|lease| lease.status == LeaseStatus::Creating);
    if let Some(member) = creating.and_then(|lease| lease.series.as_deref().copied()) {
        return series::withdraw_member(state, now, id, member, reason);
    }
    if let Some(key) = keys::waiting_key(state, id) {
        keys::clear(state, &key);
    }
    let Some(mut lease) = state.lease(id).cloned() else { return };
    if lease.status == LeaseStatus::Creating {
        close_rows(state, &lease);
        state.remove_lease(id);
        return;
    }
    if let Some(before) = lease.before_update.take() {
        lease.name = before.name;
        let current_events = std::mem::replace(&mut lease.events, before.events);
        // Work that was under way before the update may have ended meanwhile.
        for event in lease.events.iter_mut().filter(|event| event.status == EventStatus::InProgress) {
            if let Some(current) = current_events.iter().find(|current| current.id == event.id) {
                event.status = current.status;
            }
        }
    }
    for reservation in &mut lease.reservations {
        if let Some(previous) = reservation.previous.take() {
            lease.start = previous.interval.start;
            lease.end = previous.interval.end;
            // Else one that was recorded meanwhile is its own.
            if previous.wish.instance().affinity != reservation.wish.instance().affinity {
                reservation.server_group_id = previous.server_group_id;
                reservation.server_group_problem = previous.server_group_problem;
                reservation.group_awaited = false;
            }
            reservation.wish = previous.wish;
            reservation.staging = previous.staging;
            reservation.bindings = previous.bindings;
            reservation.on_end = previous.on_end;
            // A lease whose end is not confirmed yet takes no updates, so there was none.
            reservation.booked_end = None;
        }
    }
    lease.update_key = None;
    lease.revision += 1;
    lease.reason = Some(reason.clone());
    // One that waited for room waits again.
    let settled = if waitlist::give_back(&mut lease, now) { LeaseStatus::Waiting } else { settled_status(&lease) };
    move_lease(&mut lease, settled, now);
    // A hold row may have superseded a row of before the update: what that wanted is wanted again.
    let held: Vec<_> =
        state.actuations_of(id).filter(|row| row.step == Step::Hold).map(|row| (row.reservation_id, row.due)).collect();
    for (reservation, due) in held {
        let stage = lease.reservation(reservation).map(|one| one.stage);
        match stage.and_then(follow_step) {
            Some(step) => open_row(state, &lease, reservation, step, due, now),
            None => close_row(state, &lease, reservation),
        }
    }
    restamp_rows(state, &lease);
    state.put_lease(lease);
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn only_what_waits_for_its_hold_is_withdrawn() {
        check(
            "10:00 hosts s1 shared
               10:00 lease A now..14:00 key=1 -> CREATING s1*1
               10:00 withdraw A -> A gone
               10:00 key 1 until=24:00 -> unknown
               10:00 withdraw A -> refused LeaseNotFound
               10:00 rows -> none
               10:00 lease B now..14:00 -> CREATING s1*1
               10:00 held B -> B PENDING pending:Booked
               10:00 withdraw B -> refused WrongStatus PENDING
               10:00 clock -> start B
               10:00 done start B -> B ACTIVE active:Open
               10:01 update B n=2 -> UPDATING s1*2
               10:01 withdraw B -> B ACTIVE active:Open
               10:01 rows -> adjust B
               10:01 reason B -> refused
               10:02 delete B -> booked, row stays
               10:02 withdraw B -> refused LeaseNotFound",
        );
    }
}
