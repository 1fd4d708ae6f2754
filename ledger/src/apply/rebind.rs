//! Moves bindings of a lease that is not open yet to other hosts, verified as one batch.

use super::progress::{close_row, creation_held, open_row, restamp_rows};
use super::rebook::{change_bookings, fit_change, set_bindings};
use super::verify::{check_room, needs_hold, stale};
use crate::command::PlannedReservation;
use crate::model::{Binding, FROZEN_S, Lease, LeaseId, LeaseStatus, Phase, Reservation, Stage, Step, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::{State, lease_bookings};

/// Moves bindings. A lease that waits for its holds waits for those of the new hosts, no longer than before. One that waits for
/// nothing keeps the hosts of a phase from ten seconds before that begins: an entry may come later than it was planned.
///
/// Rejections, in this order: `LeaseNotFound`, `WrongStatus`, `ReservationNotFound`, `CannotUpdate` (open already),
/// `PlanStale` (also of what begins within ten seconds).
/// Source: docs/decisions/0017.
pub(super) fn rebind(state: &mut State, now: Timestamp, id: LeaseId, moves: &[PlannedReservation]) -> Result<Reply, Rejection> {
    if let Some(archived) = state.archived(id) {
        return Err(Rejection::WrongStatus { status: archived.status() });
    }
    let before = state.lease(id).filter(|lease| !lease.deleted).cloned().ok_or(Rejection::LeaseNotFound(id))?;
    if !matches!(before.status, LeaseStatus::Creating | LeaseStatus::Pending | LeaseStatus::Updating) {
        return Err(Rejection::WrongStatus { status: before.status });
    }
    let mut lease = moved(state, &before, moves, now)?;
    if before.status == LeaseStatus::Pending {
        change_bookings(state, &before, lease, None, now)?;
        return Ok(Reply::Done);
    }
    check_room(state, &lease_bookings(&before), &lease_bookings(&lease), now)?;

    // From here the lease must be bound anew.
    lease.revision += 1;
    let still_held = hold_anew(state, &lease, moves, now);
    restamp_rows(state, &lease);
    if still_held {
        state.put_lease(lease);
    } else if lease.status == LeaseStatus::Creating {
        creation_held(state, lease, now);
    } else {
        super::rebook::update_held(state, lease, now);
    }
    Ok(Reply::Done)
}

/// Whether a lease that may be moved may be moved so: as [`rebind`] would have it, without doing it.
///
/// Rejections: those of a rebind from `ReservationNotFound` on.
pub(crate) fn check_moves(state: &State, before: &Lease, moves: &[PlannedReservation], now: Timestamp) -> Result<(), Rejection> {
    let lease = moved(state, before, moves, now)?;
    if before.status == LeaseStatus::Pending {
        fit_change(state, before, lease, now).map(drop)
    } else {
        check_room(state, &lease_bookings(before), &lease_bookings(&lease), now).map(drop)
    }
}

/// A lease with these bindings instead, whether or not there is room for them.
fn moved(state: &State, before: &Lease, moves: &[PlannedReservation], now: Timestamp) -> Result<Lease, Rejection> {
    let mut lease = before.clone();
    for planned in moves {
        let Some(place) = lease.reservations.iter().position(|one| one.id == planned.reservation_id) else {
            return Err(Rejection::ReservationNotFound(planned.reservation_id));
        };
        let reservation = &mut lease.reservations[place];
        if reservation.stage >= Stage::Open {
            let problem = "the reservation is open, so its hosts stay".to_owned();
            return Err(Rejection::CannotUpdate { field: "hosts".to_owned(), problem });
        }
        // While its hold is waited for it must go where the cloud accepts one, however soon it begins.
        if before.status == LeaseStatus::Pending {
            check_frozen(before, &before.reservations[place], &planned.bindings, now)?;
        }
        set_bindings(state, &before.reservations[place], reservation, &planned.bindings)?;
    }
    Ok(lease)
}

/// What begins within ten seconds stays where it is.
fn check_frozen(lease: &Lease, reservation: &Reservation, bindings: &[Binding], now: Timestamp) -> Result<(), Rejection> {
    let moves = |phase: Phase| {
        let of = |all: &[Binding]| all.iter().filter(|one| one.phase == phase).copied().collect::<Vec<_>>();
        of(&reservation.bindings) != of(bindings)
    };
    let staged = reservation.staging.map(|staging| (Phase::Staging, staging.window.start));
    let mut phases = staged.into_iter().chain([(Phase::Main, lease.start)]);
    let frozen_until = now.floor_to_second().plus(FROZEN_S);
    match phases.any(|(phase, begins)| begins <= frozen_until && moves(phase)) {
        true => Err(stale("what begins within ten seconds stays where it is")),
        false => Ok(()),
    }
}

/// Hold rows for what moved; gives whether the lease waits for any.
fn hold_anew(state: &mut State, lease: &Lease, moves: &[PlannedReservation], now: Timestamp) -> bool {
    for planned in moves {
        let Some(reservation) = lease.reservation(planned.reservation_id) else { continue };
        if needs_hold(state, reservation) {
            open_row(state, lease, reservation.id, Step::Hold, now, now);
        } else {
            close_row(state, lease, reservation.id);
        }
    }
    state.actuations_of(lease.id).any(|row| row.step == Step::Hold)
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_lease_whose_hold_was_refused_tries_other_hosts() {
        check(
            "10:00 hosts s1 s2 shared vcpus=4
               10:00 lease A 12:00..14:00 n=2 -> CREATING s1*2
               10:00 observe s1 firm=3 -> overcommitted
               10:00:01 rebind A s1 -> CREATING s2*2
               10:00:01 rows -> hold A
               10:00:01 held A old -> unchanged
               10:00:02 observe s1 firm=3 -> fine
               10:00:03 rebind A plan=s1*1,s2*1 -> CREATING s1*1 s2*1
               10:00:03 held A -> A PENDING pending:Booked",
        );
    }

    #[test]
    fn the_kind_of_anchor_may_change_until_the_flavor_is_made() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 hosts c1 shared anchored vcpus=4
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               10:00 rebind A plan=c1*1,h1*1 -> refused PlanStale
               10:00 rebind A h1 -> UPDATING c1*2
               10:00 held A -> A PENDING pending:Booked
               10:00 rebind A c1 -> PENDING h1*2
               11:00 clock -> prepare A
               11:00 done prepare A -> A PENDING pending:Prepared
               11:00 rebind A plan=c1*2 -> refused PlanStale
               11:00 rebind A h1 -> no room short=2 largest=0 tightest=- next=-
               11:00 update A n=5 plan=c1*5 -> refused PlanStale
               11:00 update A n=4 -> PENDING h1*4",
        );
    }

    #[test]
    fn what_begins_within_ten_seconds_stays_however_late_the_entry_comes() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               11:59:49 rebind A h1 -> PENDING h2*2
               11:59:50 rebind A h2 -> refused PlanStale
               11:59:50 rebind A plan=h2*2 -> PENDING h2*2
               12:00:05 rebind A h2 -> refused PlanStale",
        );
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=2 staging=11:00..11:30 plan=staging:h1*2,h1*2 -> PENDING staging:h1*2 h1*2
               10:59:49 rebind A plan=staging:h2*2,h1*2 -> PENDING staging:h2*2 h1*2
               10:59:50 rebind A plan=staging:h1*2,h1*2 -> refused PlanStale
               10:59:50 rebind A plan=staging:h2*2,h2*2 -> PENDING staging:h2*2 h2*2",
        );
    }

    #[test]
    fn what_waits_for_its_own_hold_goes_elsewhere_however_soon_it_begins() {
        check(
            "10:00 hosts s1 s2 shared vcpus=4
               10:00 lease A 10:00:05..14:00 n=2 -> CREATING s1*2
               10:00 observe s1 firm=3 -> overcommitted
               10:00:01 rebind A s1 -> CREATING s2*2
               10:00:01 held A -> A PENDING pending:Booked
               10:00:01 observe s1 firm=0 -> fine
               10:00:01 rebind A s2 -> refused PlanStale",
        );
    }

    #[test]
    fn every_rejection_has_its_cause() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A now..14:00 n=2 -> PENDING h1*2
               10:00 lease B 12:00..14:00 n=4 plan=h2*4 -> PENDING h2*4
               10:00 rebind X -> refused LeaseNotFound
               10:00 rebind A plan=h2*3 -> refused PlanStale
               10:00 rebind B plan=h1*4 -> refused PlanStale
               10:00 rebind B h2 -> no room short=2 largest=2 tightest=VCPU next=-
               10:00 clock -> start A
               10:00 rebind A plan=h2*2 -> refused WrongStatus STARTING
               11:00 clock -> prepare B
               11:00 delete A -> booked, row stays
               11:00 done end A -> A gone
               11:01 rebind B h2 -> PENDING h1*4
               11:01 rows -> prepare B",
        );
    }
}
