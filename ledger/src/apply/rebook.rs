//! Puts a changed lease in the place of the old one: verified as a whole, with the holds and rows that this wants.

use super::keys;
use super::progress::{follow_step, move_lease, open_row, restamp_rows, resting_reason, settled_status, was_opened};
use super::verify::{check_hosts, check_plan_names, check_room, check_shape, is_shared, stale};
use crate::command::PlannedReservation;
use crate::model::{
    BeforeUpdate, Binding, HostId, Lease, LeaseStatus, Phase, Previous, RequestKey, Reservation, ReservationId,
    ReservationStatus, Seconds, Stage, Step, Timestamp,
};
use crate::reply::{Rejection, Reply};
use crate::state::{State, lease_bookings};

/// Takes a plan over into a changed lease. What is open or staged must stay; shape and hosts must be as asked for.
pub(crate) fn set_plan(state: &State, before: &Lease, lease: &mut Lease, plan: &[PlannedReservation]) -> Result<(), Rejection> {
    check_plan_names(plan, lease.reservations.iter().map(|reservation| reservation.id))?;
    for ((reservation, old), planned) in lease.reservations.iter_mut().zip(&before.reservations).zip(plan) {
        set_bindings(state, old, reservation, &planned.bindings)?;
    }
    Ok(())
}

/// See [`set_plan`], for one reservation.
pub(super) fn set_bindings(
    state: &State,
    old: &Reservation,
    reservation: &mut Reservation,
    bindings: &[Binding],
) -> Result<(), Rejection> {
    if reservation.has_ended() {
        return if bindings == old.bindings { Ok(()) } else { Err(stale("what has ended is not bound anew")) };
    }
    let wish = reservation.wish.instance();
    check_shape(wish, reservation.staging, bindings, reservation.stage < Stage::Staging)?;
    check_hosts(state, wish, bindings, Some(old))?;
    let of = |bindings: &[Binding], phase| bindings.iter().filter(|one| one.phase == phase).copied().collect::<Vec<_>>();
    if reservation.stage >= Stage::Staging && of(bindings, Phase::Staging) != of(&old.bindings, Phase::Staging) {
        return Err(stale("staging has begun, so its hosts stay"));
    }
    if reservation.stage == Stage::Open {
        let grows = wish.amount >= old.wish.instance().amount;
        let (less, more) = if grows { (&old.bindings[..], bindings) } else { (bindings, &old.bindings[..]) };
        if of(less, Phase::Main).iter().any(|one| slots_on(more, one.host) < one.slots) {
            return Err(stale("the reservation is open, so its hosts stay"));
        }
    }
    reservation.bindings = bindings.to_vec();
    Ok(())
}

fn slots_on(bindings: &[Binding], host: HostId) -> u32 {
    bindings.iter().filter(|one| one.phase == Phase::Main && one.host == host).map(|one| one.slots).sum()
}

/// A changed lease that fits.
pub(crate) struct Fitting {
    /// As it is to be when it is settled.
    pub settled: Lease,
    /// As it is while it waits for holds, if it must, and the reservations that wait.
    pub waiting: Option<(Lease, Vec<ReservationId>)>,
    /// Hosts of which it takes more.
    pub grown: Vec<HostId>,
}

/// Whether a changed lease fits beside all others, also while it waits. Rejections: `PlanStale`.
pub(crate) fn fit_change(state: &State, before: &Lease, mut lease: Lease, now: Timestamp) -> Result<Fitting, Rejection> {
    let old_bookings = lease_bookings(before);
    for (reservation, old) in lease.reservations.iter_mut().zip(&before.reservations) {
        keep_what_is_open(reservation, &old.bindings, before.end, lease.end, now);
    }
    let grown = check_room(state, &old_bookings, &lease_bookings(&lease), now)?;
    let to_hold: Vec<ReservationId> = lease
        .reservations
        .iter()
        .zip(&before.reservations)
        .filter(|(reservation, old)| wants_hold(state, reservation, old, &grown))
        .map(|(reservation, _)| reservation.id)
        .collect();
    if to_hold.is_empty() {
        return Ok(Fitting { settled: lease, waiting: None, grown });
    }
    let mut waiting = lease.clone();
    for (reservation, old) in waiting.reservations.iter_mut().zip(&before.reservations) {
        reservation.previous = Some(Box::new(Previous {
            interval: before.interval(),
            wish: old.wish.clone(),
            staging: old.staging,
            bindings: old.bindings.clone(),
            on_end: old.on_end,
            server_group_id: old.server_group_id,
            server_group_problem: old.server_group_problem.clone(),
        }));
        // Both are booked whole until the hold is there; what is given up is given up then. An open reservation that is
        // to end sooner may have ended by then, and what it has at that time stays booked to the old end until the cloud
        // confirmed its end: so all of it is booked to there from now on.
        reservation.releasing.clone_from(&old.releasing);
        let shortened = was_opened(reservation) && lease.end < before.end;
        reservation.booked_end = if shortened { old.booked_end.max(Some(before.end)) } else { old.booked_end };
    }
    check_room(state, &old_bookings, &lease_bookings(&waiting), now)?;
    Ok(Fitting { settled: lease, waiting: Some((waiting, to_hold)), grown })
}

/// Verifies and books the changed lease. Gives whether it is settled; if not, it waits for its holds.
pub(super) fn change_bookings(
    state: &mut State,
    before: &Lease,
    lease: Lease,
    key: Option<&RequestKey>,
    now: Timestamp,
) -> Result<bool, Rejection> {
    let Fitting { settled: mut lease, waiting, grown: _ } = fit_change(state, before, lease, now)?;

    // From here the lease must be changed.
    if let Some((mut lease, to_hold)) = waiting {
        lease.before_update = Some(Box::new(BeforeUpdate { name: before.name.clone(), events: before.events.clone() }));
        lease.update_key = key.cloned().map(Box::new);
        lease.revision += 1;
        move_lease(&mut lease, LeaseStatus::Updating, now);
        for reservation in to_hold {
            open_row(state, &lease, reservation, Step::Hold, now, now);
        }
        restamp_rows(state, &lease);
        state.put_lease(lease);
        return Ok(false);
    }
    lease.revision += 1;
    lease.updated_at = Some(now);
    for (reservation, old) in lease.reservations.iter().zip(&before.reservations) {
        if reservation.bindings != old.bindings || reservation.wish != old.wish {
            follow(state, &lease, reservation, now);
        }
    }
    restamp_rows(state, &lease);
    state.put_lease(lease);
    Ok(true)
}

/// Whether Placement must accept more on a shared host, or a server group must be made anew.
fn wants_hold(state: &State, reservation: &Reservation, old: &Reservation, grown: &[HostId]) -> bool {
    let affinity = reservation.wish.instance().affinity;
    (affinity.is_some() && affinity != old.wish.instance().affinity)
        || reservation.bindings.iter().any(|one| grown.contains(&one.host) && is_shared(state, one.host))
}

/// What an update takes away from an open reservation stays booked until the cloud confirmed (architecture D19).
fn keep_what_is_open(reservation: &mut Reservation, old: &[Binding], old_end: Seconds, end: Seconds, now: Timestamp) {
    if reservation.status == ReservationStatus::Deleted {
        return;
    }
    if reservation.stage == Stage::Open {
        keep_slots(reservation, old);
    }
    if was_opened(reservation) && end < old_end && end <= now.floor_to_second() {
        reservation.booked_end = Some(reservation.booked_end.unwrap_or(old_end).max(old_end));
    }
}

/// See [`keep_what_is_open`], of the slots that it had and has no more.
pub(super) fn keep_slots(reservation: &mut Reservation, old: &[Binding]) {
    for binding in old.iter().filter(|one| one.phase == Phase::Main) {
        let slots = binding.slots.saturating_sub(slots_on(&reservation.bindings, binding.host));
        if slots == 0 {
            continue;
        }
        match reservation.releasing.iter_mut().find(|one| one.host == binding.host) {
            Some(releasing) => releasing.slots += slots,
            None => reservation.releasing.push(Binding { slots, ..*binding }),
        }
    }
    reservation.releasing.sort_unstable();
}

fn follow(state: &mut State, lease: &Lease, reservation: &Reservation, now: Timestamp) {
    let alive = matches!(reservation.status, ReservationStatus::Pending | ReservationStatus::Active);
    if let Some(step) = follow_step(reservation.stage).filter(|_| alive) {
        open_row(state, lease, reservation.id, step, now, now);
    }
}

/// The last hold of an update was accepted: the lease is what was asked for.
pub(super) fn update_held(state: &mut State, mut lease: Lease, now: Timestamp) {
    if let Some(key) = keys::waiting_key(state, lease.id) {
        keys::answer(state, &key, Reply::LeaseUpdated { lease_id: lease.id, prepared: true });
    }
    let end = lease.end;
    for reservation in &mut lease.reservations {
        if let Some(previous) = reservation.previous.take() {
            // Booked to the old end only while the hold was waited for.
            reservation.booked_end = None;
            keep_what_is_open(reservation, &previous.bindings, previous.interval.end, end, now);
        }
    }
    lease.before_update = None;
    lease.update_key = None;
    lease.reason = resting_reason(&lease);
    // It waited for room, and has it now.
    lease.wait = None;
    let settled = settled_status(&lease);
    move_lease(&mut lease, settled, now);
    // A hold row may have superseded what the cloud was following before, so all of it is followed anew.
    for reservation in &lease.reservations {
        follow(state, &lease, reservation, now);
    }
    state.put_lease(lease);
}
