//! Due events become actuation rows, in Blazar's order: all before_end, then all ends, then the rest.

use super::progress::{begin_event, event_status, move_lease, move_reservation, open_row, pass_event, settle_end, settle_start};
use super::withdraw_lease::withdraw;
use crate::model::{
    EventKind, EventStatus, Lease, LeaseId, LeaseStatus, Reason, ReasonCode, Reservation, ReservationStatus, Stage, Step,
    Timestamp,
};
use crate::reply::Reply;
use crate::state::State;

/// Leases that one entry moves on; more are due still, and the leader's clock proposes again at once.
const LEASES_PER_ENTRY: usize = 1_000;
/// Expired keys that one entry drops.
const KEYS_PER_ENTRY: usize = 1_000;

/// Moves the clock on. It was raised before; here is what that brings about.
pub(super) fn advance_clock(state: &mut State, now: Timestamp) -> Reply {
    let rows_before = state.meta().last_actuation;
    let due: Vec<LeaseId> = state.due_leases(now).take(LEASES_PER_ENTRY).collect();

    // Rows are numbered in order of opening: the ends of one instant come before its starts, so that a host that changes
    // hands is closed before it is opened (architecture D27).
    let (mut ending, mut others) = (Vec::new(), Vec::new());
    for id in due {
        let Some(lease) = state.lease(id) else { continue };
        match lease.status {
            LeaseStatus::Creating | LeaseStatus::Updating => give_up_hold(state, now, id),
            _ if is_due(lease, EventKind::EndLease, now) => ending.push(id),
            _ => others.push(id),
        }
    }
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
    let opened = state.meta().last_actuation - rows_before;
    Reply::ClockAdvanced { opened: u32::try_from(opened).unwrap_or(u32::MAX) }
}

fn is_due(lease: &Lease, kind: EventKind, now: Timestamp) -> bool {
    lease.event(kind).is_some_and(|event| event.status == EventStatus::Undone && event.time.timestamp() <= now)
}

/// Placement did not answer in time whether it accepts the hold: the creation or update is withdrawn (architecture D24).
fn give_up_hold(state: &mut State, now: Timestamp, id: LeaseId) {
    let text = "the cloud did not confirm the capacity in time".to_owned();
    withdraw(state, now, id, &Reason { code: ReasonCode::CloudUnavailable, text });
}

/// Nothing is to be done for instances: the event is over as it begins.
fn before_end(state: &mut State, now: Timestamp, id: LeaseId) {
    let Some(lease) = state.lease(id).filter(|lease| is_due(lease, EventKind::BeforeEndLease, now)) else { return };
    let mut lease = lease.clone();
    pass_event(&mut lease, EventKind::BeforeEndLease, now);
    state.put_lease(lease);
}

/// The end comes, whatever was reached: it supersedes what is still open.
fn end_lease(state: &mut State, mut lease: Lease, now: Timestamp) {
    for kind in [EventKind::Prepare, EventKind::StagingOpen, EventKind::StagingClose, EventKind::BeforeEndLease] {
        pass_event(&mut lease, kind, now);
    }
    if matches!(lease.status, LeaseStatus::Pending | LeaseStatus::Starting) && !lease.reservations.is_empty() {
        let text = "the lease ended before its start was carried out".to_owned();
        lease.reason = Some(Reason { code: ReasonCode::Late, text });
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
        if reservation.status == ReservationStatus::Pending {
            move_reservation(reservation, ReservationStatus::Active, now);
        }
        reservation.stage = Stage::Ended;
        let id = reservation.id;
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
        pass_event(&mut lease, EventKind::StagingOpen, now);
        // Reservations of the lease that do not stage are prepared at the same time as those that do.
        if event_status(&lease, EventKind::Prepare) == Some(EventStatus::Undone) {
            begin_event(&mut lease, EventKind::Prepare, now);
            open_stage(state, &mut lease, now, Step::Prepare, Stage::Prepared, |one| one.staging.is_none());
        }
        begin_event(&mut lease, EventKind::StagingClose, now);
        open_stage(state, &mut lease, now, Step::StagingClose, Stage::Parking, |one| one.staging.is_some());
    } else if is_due(&lease, EventKind::StagingOpen, now) {
        if event_status(&lease, EventKind::Prepare) == Some(EventStatus::Undone) {
            begin_event(&mut lease, EventKind::Prepare, now);
            open_stage(state, &mut lease, now, Step::Prepare, Stage::Prepared, |one| one.staging.is_none());
        }
        begin_event(&mut lease, EventKind::StagingOpen, now);
        open_stage(state, &mut lease, now, Step::StagingOpen, Stage::Staging, |one| one.staging.is_some());
    } else if is_due(&lease, EventKind::Prepare, now) {
        begin_event(&mut lease, EventKind::Prepare, now);
        open_stage(state, &mut lease, now, Step::Prepare, Stage::Prepared, |_| true);
    } else {
        // Only its before_end was due, and that is through.
        return;
    }
    if !has_prepare_work(state, &lease) {
        super::progress::end_event(&mut lease, EventKind::Prepare, EventStatus::Done, now);
    }
    state.put_lease(lease);
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

/// Whether the prepare event still waits for a row: a staging row that superseded one stands for it.
fn has_prepare_work(state: &State, lease: &Lease) -> bool {
    super::progress::has_rows(state, lease, Step::Prepare)
}

fn drop_expired_keys(state: &mut State, now: Timestamp) {
    let expired: Vec<_> = state.expired_keys(now).take(KEYS_PER_ENTRY).map(|(project, id)| (project.clone(), id)).collect();
    for (project, id) in expired {
        state.remove_key(&project, id);
    }
}
