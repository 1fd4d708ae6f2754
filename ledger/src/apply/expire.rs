//! What nobody uses some time after its start is given back (R-12, docs/decisions/0023). Only the cloud knows what is in use, and it
//! is asked once the tokens are closed: what is counted then, nobody adds to.

use std::collections::BTreeMap;

use super::advance_clock::end_lease;
use super::progress::{
    begin_event, close_row, end_event, end_stage, event_mut, has_rows, move_event, open_row, pass_event, resting_reason,
};
use super::rebook::keep_slots;
use super::schedule::invalid;
use crate::model::{
    Binding, EXPIRY_MIN_S, Event, EventId, EventKind, EventStatus, Expiry, HostId, Lease, LeaseId, LeaseStatus, Phase,
    Reservation, ReservationId, ReservationStatus, Stage, Step, Timestamp,
};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::State;

/// What a wish says of its expiry must make sense.
///
/// Rejections: `Invalid` (`expiry_s`).
pub(crate) fn check_expiry(expiry_s: Option<u32>) -> Result<(), Rejection> {
    match expiry_s {
        Some(seconds) if seconds < EXPIRY_MIN_S => {
            Err(invalid("expiry_s", format!("it is {seconds} s; it must be at least {EXPIRY_MIN_S} s")))
        }
        _ => Ok(()),
    }
}

/// The lease is active: its tenant can use it from now on. Outcomes do not read the time, so that the clock may stand far behind: it
/// is to look at the lease at once, and says from when on the time runs.
pub(super) fn set_expiry(lease: &mut Lease, now: Timestamp) {
    if lease.expiry_s.is_none() || lease.reservations.is_empty() || lease.event(EventKind::Expiry).is_some() {
        return;
    }
    // The same on every replica.
    let id = EventId(uuid::Uuid::new_v5(&lease.id.0, b"expiry"));
    let time = now.floor_to_second();
    let (kind, status) = (EventKind::Expiry, EventStatus::Undone);
    lease.events.push(Event { id, kind, time, status, created_at: now, updated_at: None });
}

/// The expiry is due: the use of every reservation that is open is to be counted. Of a lease in error nothing is given back.
pub(super) fn expire(state: &mut State, lease: &mut Lease, now: Timestamp) {
    if lease.status != LeaseStatus::Active {
        return pass_event(lease, EventKind::Expiry, now);
    }
    // Each is counted once, and not before what is still to be opened, or to be left, is through.
    let adjusts = |id| state.open_row(lease.id, id).is_some_and(|row| row.step == Step::Adjust);
    let counts = |one: &Reservation| is_uncounted(one) && !adjusts(one.id);
    let counted: Vec<ReservationId> = lease.reservations.iter().filter(|one| counts(one)).map(|one| one.id).collect();
    if lease.expires_at().is_none() || (counted.is_empty() && lease.reservations.iter().any(is_uncounted)) {
        return put_off(lease, now);
    }
    begin_event(lease, EventKind::Expiry, now);
    let due = lease.event(EventKind::Expiry).map_or(now, |event| event.time.timestamp());
    for place in 0..lease.reservations.len() {
        let reservation = &mut lease.reservations[place];
        if counted.contains(&reservation.id) {
            reservation.expiry = Some(Expiry::Counting);
            let id = reservation.id;
            open_row(state, lease, id, Step::Expire, due, now);
        }
    }
    // All of them are in error.
    if !has_rows(state, lease, Step::Expire) {
        end_event(lease, EventKind::Expiry, EventStatus::Done, now);
    }
}

/// What was in use once the tokens were closed.
pub(super) struct Used<'a> {
    pub tokens: &'a BTreeMap<HostId, u32>,
    pub parked: u32,
}

/// The use of one reservation was counted. Its row is closed.
pub(super) fn counted(state: &mut State, now: Timestamp, mut lease: Lease, reservation: ReservationId, used: &Used<'_>) {
    let is_active = lease.status == LeaseStatus::Active;
    let Some(one) = lease.reservations.iter_mut().find(|one| one.id == reservation && one.expiry == Some(Expiry::Counting))
    else {
        return;
    };
    // Of a lease that failed meanwhile nothing is given back.
    one.expiry = None;
    if is_active && give_back(state, one, used, now) {
        one.expiry = Some(Expiry::Unused);
    } else {
        // What is kept is opened again.
        open_row(state, &lease, reservation, Step::Adjust, now, now);
    }
    over(state, now, lease);
}

/// What is in use of a reservation cannot be found out for now: it is opened again, and counted later. Its row is closed.
pub(super) fn give_up(state: &mut State, now: Timestamp, mut lease: Lease, reservation: ReservationId) {
    if let Some(one) = lease.reservations.iter_mut().find(|one| one.id == reservation) {
        one.expiry = None;
        open_row(state, &lease, reservation, Step::Adjust, now, now);
    }
    over(state, now, lease);
}

/// The count of a reservation is over, whatever came of it.
fn over(state: &mut State, now: Timestamp, mut lease: Lease) {
    if lease.status == LeaseStatus::Active {
        lease.reason = resting_reason(&lease);
    }
    if !settle(state, &mut lease, now) {
        state.put_lease(lease);
    }
}

/// Open, and what is in use of it is not known.
fn is_uncounted(reservation: &Reservation) -> bool {
    reservation.status == ReservationStatus::Active && reservation.stage == Stage::Open && reservation.expiry.is_none()
}

/// Keeps of an open reservation what is in use. Gives whether that is nothing, and then leaves it as it is.
fn give_back(state: &State, reservation: &mut Reservation, used: &Used<'_>, now: Timestamp) -> bool {
    let old = reservation.bindings.clone();
    // Planted bug: who is parked is forgotten.
    let mut parked = if mutant!("Z02") { 0 } else { used.parked };
    let mut kept: Vec<Binding> = Vec::new();
    for binding in old.iter().filter(|one| one.phase == Phase::Main) {
        let in_use = used.tokens.get(&binding.host).copied().unwrap_or(0).min(binding.slots);
        kept.push(Binding { slots: in_use, ..*binding });
    }
    // Whoever has no token may wake anywhere: the first hosts that are up and have room keep it, then the others.
    let is_up = |host| state.host(host).is_some_and(|host| host.observation.up);
    for up in [true, false] {
        let mains = old.iter().filter(|one| one.phase == Phase::Main);
        for (binding, of) in kept.iter_mut().zip(mains).filter(|(binding, _)| is_up(binding.host) == up) {
            let more = parked.min(of.slots - binding.slots);
            binding.slots += more;
            parked -= more;
        }
    }
    let amount: u32 = kept.iter().map(|one| one.slots).sum();
    let wish = reservation.wish.instance_mut();
    let released = wish.amount - amount;
    if amount == 0 {
        return true;
    }
    wish.amount = amount;
    reservation.bindings.retain(|one| one.phase != Phase::Main);
    reservation.bindings.extend(kept.into_iter().filter(|one| one.slots > 0));
    reservation.bindings.sort_unstable();
    // Booked until the cloud confirms that it has fewer tokens.
    keep_slots(reservation, &old);
    reservation.expiry = Some(Expiry::Counted { at: now, released });
    reservation.updated_at = Some(now);
    false
}

/// Once all are counted: what nobody uses ends, and the lease with it where that is all of it. Gives whether it did, and then the
/// lease is put.
fn settle(state: &mut State, lease: &mut Lease, now: Timestamp) -> bool {
    if has_rows(state, lease, Step::Expire) {
        return false;
    }
    if lease.status == LeaseStatus::Active && lease.reservations.iter().any(is_uncounted) {
        later(lease, now);
    }
    end_event(lease, EventKind::Expiry, EventStatus::Done, now);
    let is_unused = |one: &Reservation| one.expiry == Some(Expiry::Unused);
    if !lease.reservations.iter().any(is_unused) {
        return false;
    }
    if lease.status != LeaseStatus::Active {
        // It failed meanwhile, and of a lease in error nothing is given back.
        let unused: Vec<_> = lease.reservations.iter().filter(|one| is_unused(one)).map(|one| one.id).collect();
        lease.reservations.iter_mut().filter(|one| unused.contains(&one.id)).for_each(|one| one.expiry = None);
        unused.into_iter().for_each(|id| open_row(state, lease, id, Step::Adjust, now, now));
        return false;
    }
    let all = lease.reservations.iter().all(|one| one.has_ended() || is_unused(one));
    let old_end = lease.end;
    if all {
        // The clock may have passed its end, and not come to it.
        let end = now.floor_to_second().min(old_end);
        lease.end = end;
        if let Some(event) = event_mut(lease, EventKind::EndLease) {
            event.time = end;
        }
    }
    for place in 0..lease.reservations.len() {
        let reservation = &mut lease.reservations[place];
        if !is_unused(reservation) {
            continue;
        }
        reservation.expiry = Some(Expiry::Counted { at: now, released: reservation.wish.instance().amount });
        reservation.updated_at = Some(now);
        if all {
            // As whoever ends it himself: until the cloud confirms that nothing is left (architecture D19).
            reservation.booked_end = Some(reservation.booked_end.unwrap_or(old_end).max(old_end));
        } else {
            end_stage(reservation);
            let id = reservation.id;
            open_row(state, lease, id, Step::End, now, now);
        }
    }
    lease.reason = resting_reason(lease);
    if all {
        end_lease(state, lease.clone(), now);
    }
    all
}

/// What was not counted now is counted after as long as the first time. The clock says from when on, as at first.
fn later(lease: &mut Lease, now: Timestamp) {
    if let Some(event) = event_mut(lease, EventKind::Expiry).filter(|event| event.status == EventStatus::InProgress) {
        move_event(event, EventStatus::Undone, now);
        event.time = event.created_at.floor_to_second();
    }
}

/// Its tenant changes a lease while it is counted: it is in use, and is counted anew after as long as the first time. Gives the
/// reservations whose tokens are closed for the count, and are to be opened again.
pub(super) fn interrupt(lease: &mut Lease, now: Timestamp) -> Vec<ReservationId> {
    let mut closed = Vec::new();
    for reservation in lease.reservations.iter_mut().filter(|one| one.is_expiring()) {
        reservation.expiry = None;
        closed.push(reservation.id);
    }
    if let Some(event) = event_mut(lease, EventKind::Expiry).filter(|event| event.status == EventStatus::InProgress) {
        move_event(event, EventStatus::Undone, now);
        put_off(lease, now);
    }
    closed
}

/// From now on all of the time before the expiry is to pass.
fn put_off(lease: &mut Lease, now: Timestamp) {
    let expiry_s = lease.expiry_s.unwrap_or(EXPIRY_MIN_S);
    if let Some(event) = event_mut(lease, EventKind::Expiry) {
        event.time = now.ceil_to_second().plus(expiry_s);
        event.updated_at = Some(now);
    }
}

/// Opens the tokens again of reservations whose count was given up.
pub(super) fn reopen(state: &mut State, lease: LeaseId, closed: &[ReservationId], now: Timestamp) {
    let Some(lease) = state.lease(lease).cloned() else { return };
    for id in closed {
        let row = state.open_row(lease.id, *id).map(|row| row.step);
        // Any other row brings them to where they are to be, and the hold of an update is followed by one that does.
        if matches!(row, None | Some(Step::Expire)) && lease.reservation(*id).is_some_and(|one| one.stage == Stage::Open) {
            close_row(state, &lease, *id);
            open_row(state, &lease, *id, Step::Adjust, now, now);
        }
    }
}

#[cfg(test)]
mod tests;
