//! The cloud's answer settles event, reservation, lease and booking.

use super::expire::{Used, counted, give_up};
use super::progress::{
    creation_held, delay_reason, end_event, fail_lease, has_rows, move_reservation, resting_reason, settle_end, settle_start,
};
use super::rebook::update_held;
use super::schedule::invalid;
use super::withdraw_lease::withdraw;
use crate::command::Outcome;
use crate::model::{
    Actuation, ActuationId, EventKind, EventStatus, Lease, LeaseStatus, Reason, Reservation, ReservationStatus, Stage, Step,
    Timestamp,
};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Takes an outcome. One of a closed row or an older revision is no mistake: it comes late, and changes nothing.
///
/// Rejections: `Invalid` when the outcome does not belong to the row's step.
pub(super) fn record_outcome(
    state: &mut State,
    now: Timestamp,
    id: ActuationId,
    revision: u32,
    outcome: &Outcome,
) -> Result<Reply, Rejection> {
    let Some(row) = state.actuation(id).filter(|row| row.revision == revision).cloned() else {
        return Ok(Reply::OutcomeRecorded { changed: false });
    };
    let lease = state.lease(row.lease_id).cloned().expect("a row belongs to a lease");
    match (row.step, outcome) {
        (_, Outcome::Delayed { reason }) => delayed(state, lease, row, reason.as_ref()),
        (Step::Hold, Outcome::Held { server_group_id }) => {
            let mut lease = lease;
            if let Some(reservation) = reservation_mut(&mut lease, &row) {
                // The first that is recorded stays: its id may have been answered already.
                reservation.server_group_id = reservation.server_group_id.or(*server_group_id);
            }
            held(state, now, lease, &row);
        }
        (Step::Hold, Outcome::HoldRefused { reason } | Outcome::Failed { reason }) => {
            withdraw(state, now, row.lease_id, reason);
        }
        (Step::Expire, Outcome::Used { tokens, parked }) => {
            state.close_actuation(row.id);
            counted(state, now, lease, row.reservation_id, &Used { tokens, parked: *parked });
        }
        // All of it may be in use.
        (Step::Expire, Outcome::Failed { .. }) => {
            state.close_actuation(row.id);
            give_up(state, now, lease, row.reservation_id);
        }
        (Step::Hold | Step::Expire, Outcome::Done)
        | (_, Outcome::Held { .. } | Outcome::HoldRefused { .. } | Outcome::Used { .. }) => {
            return Err(invalid("outcome", format!("it is not one of the step {:?}", row.step)));
        }
        (_, Outcome::Done) => done(state, now, lease, &row),
        (_, Outcome::Failed { reason }) => failed(state, now, lease, row, reason),
    }
    Ok(Reply::OutcomeRecorded { changed: true })
}

fn reservation_mut<'a>(lease: &'a mut Lease, row: &Actuation) -> Option<&'a mut Reservation> {
    lease.reservations.iter_mut().find(|reservation| reservation.id == row.reservation_id)
}

/// The row stays open; the reason is shown on the lease.
fn delayed(state: &mut State, lease: Lease, row: Actuation, reason: Option<&Reason>) {
    let reason = delay_reason(&lease, reason);
    if lease.reason != reason {
        state.put_lease(Lease { reason, ..lease });
    }
    let attempts = row.attempts.saturating_add(1);
    state.put_actuation(Actuation { attempts, ..row });
}

fn held(state: &mut State, now: Timestamp, lease: Lease, row: &Actuation) {
    state.close_actuation(row.id);
    if has_rows(state, &lease, Step::Hold) {
        state.put_lease(lease);
    } else if lease.status == LeaseStatus::Creating {
        creation_held(state, lease, now);
    } else {
        update_held(state, lease, now);
    }
}

fn done(state: &mut State, now: Timestamp, mut lease: Lease, row: &Actuation) {
    state.close_actuation(row.id);
    let mut ended = false;
    if let Some(reservation) = reservation_mut(&mut lease, row) {
        if let (Step::Start | Step::StagingOpen, Some(adoption)) = (row.step, &mut reservation.adoption) {
            adoption.opened = true;
        }
        match row.step {
            Step::StagingClose => reservation.stage = Stage::Parked,
            Step::Start => {
                if reservation.status == ReservationStatus::Pending {
                    move_reservation(reservation, ReservationStatus::Active, now);
                }
            }
            Step::Adjust => reservation.releasing.clear(),
            Step::End => {
                if reservation.status != ReservationStatus::Deleted {
                    move_reservation(reservation, ReservationStatus::Deleted, now);
                }
                reservation.booked_end = None;
                reservation.releasing.clear();
                ended = true;
            }
            Step::Hold | Step::Prepare | Step::StagingOpen | Step::Expire | Step::BeforeEnd => {}
        }
    }
    if ended && lease.deleted && state.actuations_of(lease.id).next().is_none() {
        state.remove_lease(lease.id);
        return;
    }
    if ended && state.actuations_of(lease.id).next().is_none() {
        lease.preempted.iter_mut().for_each(|preempted| preempted.cleaned = true);
    }
    close_event(state, &mut lease, row.step, EventStatus::Done, now);
    match row.step {
        Step::Start => settle_start(state, &mut lease, now),
        Step::End if lease.status != LeaseStatus::Active => settle_end(state, &mut lease, now),
        _ if !matches!(lease.status, LeaseStatus::Error | LeaseStatus::Updating) => lease.reason = resting_reason(&lease),
        _ => {}
    }
    state.put_lease(lease);
}

/// The events of steps before the start are over when the last row of the step is; start and end settle the lease too.
fn close_event(state: &State, lease: &mut Lease, step: Step, how: EventStatus, now: Timestamp) {
    let kind = match step {
        Step::Prepare => EventKind::Prepare,
        Step::StagingOpen => EventKind::StagingOpen,
        Step::StagingClose => EventKind::StagingClose,
        Step::Hold | Step::Start | Step::Adjust | Step::Expire | Step::BeforeEnd | Step::End => return,
    };
    if how == EventStatus::Error || !has_rows(state, lease, step) {
        end_event(lease, kind, how, now);
    }
}

fn failed(state: &mut State, now: Timestamp, mut lease: Lease, row: Actuation, reason: &Reason) {
    if lease.leaves_things() {
        // The lease is gone for its users, or what it is will not change, so nobody could ask again: the work stays owed.
        delayed(state, lease, row, Some(reason));
        return;
    }
    state.close_actuation(row.id);
    let open = reservation_mut(&mut lease, &row).is_some_and(|reservation| reservation.stage >= Stage::Open);
    if !open {
        // The start makes all that earlier steps make, so it decides; until then an operator can mend what is wrong.
        close_event(state, &mut lease, row.step, EventStatus::Error, now);
        lease.reason = Some(reason.clone());
        state.put_lease(lease);
        return;
    }
    let failing = reservation_mut(&mut lease, &row);
    if let Some(reservation) = failing.filter(|one| matches!(one.status, ReservationStatus::Pending | ReservationStatus::Active))
    {
        move_reservation(reservation, ReservationStatus::Error, now);
    }
    match row.step {
        Step::Start => end_event(&mut lease, EventKind::StartLease, EventStatus::Error, now),
        Step::End => end_event(&mut lease, EventKind::EndLease, EventStatus::Error, now),
        _ => {}
    }
    if lease.status == LeaseStatus::Updating {
        // The update settles to ERROR when its hold is answered.
        lease.reason = Some(reason.clone());
    } else {
        fail_lease(&mut lease, reason, now);
    }
    state.put_lease(lease);
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn late_and_repeated_outcomes_change_nothing() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 -> PENDING h1*1
               10:00 clock -> start A
               10:00 done start A old -> unchanged
               10:00 status A -> A STARTING pending:Open
               10:00 done start A -> A ACTIVE active:Open
               10:00 done start A -> unchanged",
        );
    }

    #[test]
    fn a_lease_that_never_started_says_so_after_its_end_too() {
        check(
            "10:00 hosts h1
               10:00 lease A now..11:00 -> PENDING h1*1
               10:00 lease B now..11:00 -> PENDING h1*1
               10:00 clock -> start A, start B
               10:05 delayed start A -> A STARTING pending:Open
               10:05 done start B -> B ACTIVE active:Open
               11:00 clock -> end A, end B
               11:00 reason A -> the lease ended before its start was carried out
               11:01 delayed end A -> A TERMINATING active:Ended
               11:01 reason A -> the lease ended before its start was carried out; slow
               11:01 delayed end B -> B TERMINATING active:Ended
               11:02 done end A -> A TERMINATED deleted:Ended
               11:02 reason A -> the lease ended before its start was carried out
               11:02 done end B -> B TERMINATED deleted:Ended
               11:02 reason B -> none",
        );
    }

    #[test]
    fn an_outcome_belongs_to_its_step() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 -> PENDING h1*1
               10:00 lease B now..14:00 affinity=true -> CREATING h1*1
               10:00 clock -> start A
               10:00 done start A as-held -> refused Invalid outcome
               10:00 done hold B -> refused Invalid outcome",
        );
    }

    #[test]
    fn a_start_that_fails_for_good_leaves_an_error_that_still_ends() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 failed start A -> A ERROR error:Open
               10:00 reason A -> broken
               10:00 events A -> start=10:00:ERROR end=14:00:UNDONE prepare=10:00:DONE
               10:00 update A n=3 -> refused CannotUpdate amount
               10:00 update A end=13:00 -> ERROR h1*2
               13:00 clock -> end A
               13:00 status A -> A TERMINATING error:Ended
               13:00 done end A -> A ERROR deleted:Ended
               13:00 booked h1 12:30 -> 0 vcpus 0 slots
               13:00 delete A -> free, row gone",
        );
    }

    #[test]
    fn an_end_that_fails_for_good_is_tried_again_by_a_delete() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 -> PENDING h1*1
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               14:00 clock -> end A
               14:00 failed end A -> A ERROR error:Ended
               14:00 rows -> none
               14:00 delete A -> booked, row stays
               14:00 failed end A -> A DELETING error:Ended
               14:00 rows -> end A
               14:00 done end A -> A gone",
        );
    }

    #[test]
    fn a_step_before_the_start_that_fails_leaves_the_decision_to_the_start() {
        check(
            "10:00 hosts h1
               10:00 lease A 10:30..14:00 -> PENDING h1*1
               10:00 clock -> prepare A
               10:00 failed prepare A -> A PENDING pending:Prepared
               10:00 reason A -> broken
               10:00 events A -> start=10:30:UNDONE end=14:00:UNDONE prepare=10:00:ERROR
               10:30 clock -> start A
               10:30 done start A -> A ACTIVE active:Open
               10:30 reason A -> none",
        );
    }

    #[test]
    fn a_lease_is_active_when_all_its_reservations_are() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 reservations=2 -> PENDING h1*1 h1*1
               10:00 clock -> start A, start A
               10:00 done start A -> A STARTING active:Open pending:Open
               10:00 failed start A -> A ERROR active:Open error:Open
               14:00 clock -> end A, end A
               14:00 done end A -> A TERMINATING deleted:Ended error:Ended
               14:00 done end A -> A ERROR deleted:Ended deleted:Ended",
        );
    }

    #[test]
    fn an_adjustment_that_fails_for_good_is_an_error() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 -> PENDING h1*1
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 update A n=2 -> ACTIVE h1*2
               10:01 failed adjust A -> A ERROR error:Open
               14:00 clock -> end A
               14:00 done end A -> A TERMINATED deleted:Ended",
        );
    }
}
