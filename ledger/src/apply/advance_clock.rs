//! Due events become actuation rows, in Blazar's order: all before_end, then all ends, then the rest.

use super::claim_offer::{is_unclaimed, withdraw_expired};
use super::downtimes::drop_over_downtimes;
use super::expire::expire;
use super::progress::{
    begin_event, end_event, end_stage, event_status, has_rows, move_lease, move_reservation, open_row, pass_event, settle_end,
    settle_start, unstarted_reason,
};
use super::series;
use super::waitlist::drop_expired;
use super::withdraw_lease::withdraw;
use crate::model::{
    EventKind, EventStatus, Lease, LeaseId, LeaseStatus, Reason, ReasonCode, Reservation, ReservationStatus, Stage, Step,
    Timestamp,
};
use crate::mutant;
use crate::reply::Reply;
use crate::state::State;

/// Leases that one entry moves on; more are due still, and the leader's clock proposes again at once.
const LEASES_PER_ENTRY: usize = 1_000;
/// Expired keys that one entry drops.
const KEYS_PER_ENTRY: usize = 1_000;
/// Hosts of which one entry drops the downtimes that are over.
const HOSTS_PER_ENTRY: usize = 1_000;

/// Moves the clock on. It was raised before; here is what that brings about.
pub(super) fn advance_clock(state: &mut State, now: Timestamp) -> Reply {
    let rows_before = state.meta().last_actuation;
    // Planted bug: what is due in the next seconds is taken along.
    let now = if mutant!("N11") { Timestamp(now.0 + 5_000) } else { now };
    // Before all else: what they held is free for what is due now.
    withdraw_expired(state, now, LEASES_PER_ENTRY);
    drop_expired(state, now, LEASES_PER_ENTRY);
    let waiting: Vec<LeaseId> = state.due_leases(now).take(LEASES_PER_ENTRY).filter(|id| waits_for_hold(state, *id)).collect();
    for id in waiting {
        // A series is given up as a whole with the first of its leases.
        if waits_for_hold(state, id) {
            give_up_hold(state, now, id);
        }
    }
    // What returned to what it was may be due itself. An offer, or a lease that waits for room, is never moved on: one that is
    // due here came after as many others, or waits again, and the next entry drops it.
    let waits = |id: LeaseId| state.lease(id).is_some_and(|lease| lease.status == LeaseStatus::Waiting);
    let is_to_move = |id: &LeaseId| !waits_for_hold(state, *id) && !is_unclaimed(state, *id) && !waits(*id);
    let due: Vec<LeaseId> = state.due_leases(now).take(LEASES_PER_ENTRY).filter(is_to_move).collect();

    // Rows are numbered in order of opening: the ends of one instant come before its starts, so that a host that changes
    // hands is closed before it is opened (architecture D27).
    let (mut ending, mut others) = (Vec::new(), Vec::new());
    for id in due {
        let Some(lease) = state.lease(id) else { continue };
        if is_due(lease, EventKind::EndLease, now) { ending.push(id) } else { others.push(id) }
    }
    // Planted bug: the order is that of a hash map, another on every replica.
    mutant!("M10", { (ending, others) = (in_hash_order(ending), in_hash_order(others)) });
    for id in ending.iter().chain(&others) {
        before_end(state, now, *id);
    }
    for id in ending {
        if let Some(lease) = state.lease(id).cloned() {
            end_lease(state, lease, now);
        }
    }
    for id in others {
        if let Some(lease) = state.lease(id).cloned() {
            step_lease(state, lease, now);
        }
    }
    drop_expired_keys(state, now);
    drop_over_downtimes(state, now, HOSTS_PER_ENTRY);
    let opened = state.meta().last_actuation - rows_before;
    Reply::ClockAdvanced { opened: u32::try_from(opened).unwrap_or(u32::MAX) }
}

#[cfg(feature = "mutants")]
#[allow(clippy::disallowed_types)]
fn in_hash_order(leases: Vec<LeaseId>) -> Vec<LeaseId> {
    leases.into_iter().collect::<std::collections::HashSet<_>>().into_iter().collect()
}

fn waits_for_hold(state: &State, id: LeaseId) -> bool {
    state.lease(id).is_some_and(|lease| matches!(lease.status, LeaseStatus::Creating | LeaseStatus::Updating))
}

fn is_due(lease: &Lease, kind: EventKind, now: Timestamp) -> bool {
    lease.event(kind).is_some_and(|event| event.status == EventStatus::Undone && event.time.timestamp() <= now)
}

/// Placement did not answer in time whether it accepts the hold: the creation or update is withdrawn (architecture D24).
fn give_up_hold(state: &mut State, now: Timestamp, id: LeaseId) {
    let text = "the cloud did not confirm the capacity in time".to_owned();
    let reason = Reason { code: ReasonCode::CloudUnavailable, text };
    let creating = state.lease(id).filter(|lease| lease.status == LeaseStatus::Creating);
    match creating.and_then(Lease::series_id) {
        Some(series) => series::give_up(state, now, series, &reason),
        None => withdraw(state, now, id, &reason),
    }
}

/// Nothing is to be done for instances: the event is over as it begins.
fn before_end(state: &mut State, now: Timestamp, id: LeaseId) {
    let Some(lease) = state.lease(id).filter(|lease| is_due(lease, EventKind::BeforeEndLease, now)) else { return };
    let mut lease = lease.clone();
    pass_event(&mut lease, EventKind::BeforeEndLease, now);
    state.put_lease(lease);
}

/// The end comes, whatever was reached: it supersedes what is still open.
pub(super) fn end_lease(state: &mut State, mut lease: Lease, now: Timestamp) {
    use EventKind::{BeforeEndLease, Expiry, Prepare, StagingClose, StagingOpen};
    for kind in [Prepare, StagingOpen, StagingClose, BeforeEndLease, Expiry] {
        pass_event(&mut lease, kind, now);
    }
    if matches!(lease.status, LeaseStatus::Pending | LeaseStatus::Starting) && !lease.reservations.is_empty() {
        lease.reason = Some(unstarted_reason());
    }
    pass_event(&mut lease, EventKind::StartLease, now);
    if lease.status == LeaseStatus::Pending {
        move_lease(&mut lease, LeaseStatus::Starting, now);
    }
    if lease.status == LeaseStatus::Starting {
        move_lease(&mut lease, LeaseStatus::Active, now);
    }
    move_lease(&mut lease, LeaseStatus::Terminating, now);
    begin_event(&mut lease, EventKind::EndLease, now);
    let due = lease.end.timestamp();
    for place in 0..lease.reservations.len() {
        let reservation = &mut lease.reservations[place];
        let id = reservation.id;
        // It expired before: over, or on its way there.
        if reservation.status == ReservationStatus::Deleted
            || state.open_row(lease.id, id).is_some_and(|row| row.step == Step::End)
        {
            continue;
        }
        if reservation.status == ReservationStatus::Pending {
            move_reservation(reservation, ReservationStatus::Active, now);
        }
        end_stage(reservation);
        open_row(state, &lease, id, Step::End, due, now);
    }
    settle_end(state, &mut lease, now);
    state.put_lease(lease);
}

/// The furthest of the due events before the end decides; those it makes pointless pass.
fn step_lease(state: &mut State, mut lease: Lease, now: Timestamp) {
    if is_due(&lease, EventKind::StartLease, now) {
        for kind in [EventKind::Prepare, EventKind::StagingOpen, EventKind::StagingClose] {
            pass_event(&mut lease, kind, now);
        }
        begin_event(&mut lease, EventKind::StartLease, now);
        move_lease(&mut lease, LeaseStatus::Starting, now);
        open_stage(state, &mut lease, now, Step::Start, Stage::Open, |_| true);
        settle_start(state, &mut lease, now);
    } else if is_due(&lease, EventKind::StagingClose, now) {
        prepare(state, &mut lease, now, |one| one.staging.is_none());
        pass_event(&mut lease, EventKind::StagingOpen, now);
        begin_event(&mut lease, EventKind::StagingClose, now);
        open_stage(state, &mut lease, now, Step::StagingClose, Stage::Parking, |one| one.staging.is_some());
    } else if is_due(&lease, EventKind::StagingOpen, now) {
        prepare(state, &mut lease, now, |one| one.staging.is_none());
        begin_event(&mut lease, EventKind::StagingOpen, now);
        open_stage(state, &mut lease, now, Step::StagingOpen, Stage::Staging, |one| one.staging.is_some());
    } else if is_due(&lease, EventKind::Prepare, now) {
        prepare(state, &mut lease, now, |_| true);
    } else if is_due(&lease, EventKind::Expiry, now) {
        expire(state, &mut lease, now);
    } else {
        // Only its before_end was due, and that is through.
        return;
    }
    // A staging row that superseded the one of prepare stands for it.
    if !has_rows(state, &lease, Step::Prepare) {
        end_event(&mut lease, EventKind::Prepare, EventStatus::Done, now);
    }
    state.put_lease(lease);
}

/// Reservations of a lease are prepared together, at the latest with the first staging step.
fn prepare(state: &mut State, lease: &mut Lease, now: Timestamp, which: impl Fn(&Reservation) -> bool) {
    if event_status(lease, EventKind::Prepare) == Some(EventStatus::Undone) {
        begin_event(lease, EventKind::Prepare, now);
        open_stage(state, lease, now, Step::Prepare, Stage::Prepared, which);
    }
}

/// Moves the pending reservations that `which` picks to a stage, each with a row.
fn open_stage(
    state: &mut State,
    lease: &mut Lease,
    now: Timestamp,
    step: Step,
    stage: Stage,
    which: impl Fn(&Reservation) -> bool,
) {
    let kind = match step {
        Step::Prepare => EventKind::Prepare,
        Step::StagingOpen => EventKind::StagingOpen,
        Step::StagingClose => EventKind::StagingClose,
        _ => EventKind::StartLease,
    };
    let due = lease.event(kind).map_or(now, |event| event.time.timestamp());
    for place in 0..lease.reservations.len() {
        let reservation = &mut lease.reservations[place];
        if reservation.status == ReservationStatus::Pending && reservation.stage < stage && which(reservation) {
            reservation.stage = stage;
            let id = reservation.id;
            open_row(state, lease, id, step, due, now);
        }
    }
}

fn drop_expired_keys(state: &mut State, now: Timestamp) {
    let expired: Vec<_> = state.expired_keys(now).take(KEYS_PER_ENTRY).map(|(project, id)| (project.clone(), id)).collect();
    for (project, id) in expired {
        state.remove_key(&project, id);
    }
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_lease_is_prepared_started_and_ended() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 n=2 before=60 -> PENDING h1*2
               10:00 next -> 11:00
               10:59 clock -> nothing
               11:00 clock -> prepare A
               11:00 status A -> A PENDING pending:Prepared
               11:00 done prepare A -> A PENDING pending:Prepared
               11:00 next -> 12:00
               12:00 clock -> start A
               12:00 events A -> start=12:00:IN_PROGRESS end=14:00:UNDONE before_end=13:00:UNDONE prepare=11:00:DONE
               12:00 status A -> A STARTING pending:Open
               12:00 done start A -> A ACTIVE active:Open
               13:00 clock -> nothing
               13:00 events A -> start=12:00:DONE end=14:00:UNDONE before_end=13:00:DONE prepare=11:00:DONE
               14:00 clock -> end A
               14:00 status A -> A TERMINATING active:Ended
               14:00 done end A -> A TERMINATED deleted:Ended
               14:00 events A -> start=12:00:DONE end=14:00:DONE before_end=13:00:DONE prepare=11:00:DONE
               14:00 next -> never",
        );
    }

    #[test]
    fn servers_are_staged_parked_and_woken() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 n=2 staging=10:30..11:00 shelve -> PENDING staging:h1*2 h1*2
               10:00 next -> 10:30
               10:30 clock -> open A
               10:30 status A -> A PENDING pending:Staging
               10:30 events A -> start=12:00:UNDONE end=14:00:UNDONE prepare=10:30:DONE open=10:30:IN_PROGRESS close=11:00:UNDONE
               10:31 done open A -> A PENDING pending:Staging
               10:31 update A n=3 -> refused CannotUpdate amount
               11:00 clock -> close A
               11:05 status A -> A PENDING pending:Parking
               11:05 done close A -> A PENDING pending:Parked
               11:06 update A n=3 -> PENDING staging:h1*2 h1*3
               11:06 rows -> adjust A
               11:06 done adjust A -> A PENDING pending:Parked
               12:00 clock -> start A
               12:00 done start A -> A ACTIVE active:Open",
        );
    }

    #[test]
    fn what_was_slept_through_is_superseded_by_what_came_after() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 n=2 staging=10:30..11:00 -> PENDING staging:h1*2 h1*2
               10:00 lease B 12:00..14:00 before=60 -> PENDING h1*1
               10:00 lease C 12:00..20:00 staging=10:30..11:00 -> PENDING staging:h1*1 h1*1
               10:00 lease D 14:00..20:00 -> PENDING h1*1
               11:00 clock -> close A, close C, prepare B
               15:00 clock -> end A, end B, start C, start D
               15:00 status B -> B TERMINATING active:Ended
               15:00 reason B -> the lease ended before its start was carried out
               15:00 done end B -> B TERMINATED deleted:Ended
               15:00 done start C -> C ACTIVE active:Open",
        );
    }

    #[test]
    fn ends_come_before_starts_on_one_host() {
        check(
            "10:00 hosts h1 vcpus=1
               10:00 lease B 12:00..13:00 -> PENDING h1*1
               10:00 lease A 11:00..12:00 -> PENDING h1*1
               11:00 clock -> start A, prepare B
               11:00 done start A -> A ACTIVE active:Open
               12:00 clock -> end A, start B
               12:00 delayed start B -> B STARTING pending:Open
               12:00 reason B -> slow
               12:00 done end A -> A TERMINATED deleted:Ended
               12:00 done start B -> B ACTIVE active:Open
               12:00 reason B -> none",
        );
    }

    #[test]
    fn a_lease_without_reservations_follows_the_clock_alone() {
        check(
            "10:00 lease A 12:00..14:00 reservations=0 before=60 -> PENDING
               12:00 clock -> nothing
               12:00 status A -> A ACTIVE
               14:00 clock -> nothing
               14:00 status A -> A TERMINATED
               14:00 events A -> start=12:00:DONE end=14:00:DONE before_end=13:00:DONE",
        );
    }

    #[test]
    fn an_open_end_never_comes() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A now..open n=4 before=60 -> PENDING h1*4
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:00 next -> never
               10:00 lease B 800000:00..800001:00 -> no room short=1 largest=0 tightest=VCPU next=-",
        );
    }

    #[test]
    fn the_clock_never_goes_back() {
        check(
            "10:00 hosts h1
               10:00 lease A 10:30..14:00 -> PENDING h1*1
               11:00 probe -> done
               10:00 lease B 10:30..14:00 -> refused StartInPast
               09:00 clock -> start A",
        );
    }
}
