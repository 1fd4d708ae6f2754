//! How leases, events, reservations and rows move on. Every move goes through Blazar's tables (`model::status`).

use super::expire::set_expiry;
use super::{keys, series};
use crate::model::{
    Actuation, Event, EventKind, EventStatus, Expiry, Lease, LeaseStatus, OnEnd, Reason, ReasonCode, Reservation, ReservationId,
    ReservationStatus, Stage, Step, Timestamp,
};
use crate::reply::Reply;
use crate::state::State;

/// Moves a lease's status. Callers checked that the move is allowed; a move that the table lacks is our bug.
pub(super) fn move_lease(lease: &mut Lease, next: LeaseStatus, now: Timestamp) {
    assert!(lease.status.may_become(next), "lease {}: {:?} -> {next:?}", lease.id, lease.status);
    lease.status = next;
    lease.updated_at = Some(now);
}

/// Moves a reservation's status, as [`move_lease`].
pub(super) fn move_reservation(reservation: &mut Reservation, next: ReservationStatus, now: Timestamp) {
    assert!(reservation.status.may_become(next), "reservation {}: {:?} -> {next:?}", reservation.id, reservation.status);
    reservation.status = next;
    reservation.updated_at = Some(now);
}

/// Moves an event's status, as [`move_lease`].
pub(super) fn move_event(event: &mut Event, next: EventStatus, now: Timestamp) {
    assert!(event.status.may_become(next), "event {}: {:?} -> {next:?}", event.id, event.status);
    event.status = next;
    event.updated_at = Some(now);
}

pub(super) fn event_mut(lease: &mut Lease, kind: EventKind) -> Option<&mut Event> {
    lease.events.iter_mut().find(|event| event.kind == kind)
}

/// An event whose work begins.
pub(super) fn begin_event(lease: &mut Lease, kind: EventKind, now: Timestamp) {
    if let Some(event) = event_mut(lease, kind).filter(|event| event.status == EventStatus::Undone) {
        move_event(event, EventStatus::InProgress, now);
    }
}

/// An event whose work is over; nothing if it was over before.
pub(super) fn end_event(lease: &mut Lease, kind: EventKind, how: EventStatus, now: Timestamp) {
    if let Some(event) = event_mut(lease, kind).filter(|event| event.status == EventStatus::InProgress) {
        move_event(event, how, now);
    }
}

/// Later events make this one pointless, begun or not.
pub(super) fn pass_event(lease: &mut Lease, kind: EventKind, now: Timestamp) {
    begin_event(lease, kind, now);
    end_event(lease, kind, EventStatus::Done, now);
}

pub(super) fn event_status(lease: &Lease, kind: EventKind) -> Option<EventStatus> {
    lease.event(kind).map(|event| event.status)
}

/// Opens a row for a reservation; it supersedes the one that may be open for it.
pub(super) fn open_row(state: &mut State, lease: &Lease, reservation: ReservationId, step: Step, due: Timestamp, now: Timestamp) {
    close_row(state, lease, reservation);
    let id = state.next_actuation();
    state.put_actuation(Actuation {
        id,
        lease_id: lease.id,
        reservation_id: reservation,
        step,
        revision: lease.revision,
        due,
        opened_at: now,
        attempts: 0,
    });
}

pub(super) fn close_row(state: &mut State, lease: &Lease, reservation: ReservationId) {
    if let Some(id) = state.open_row(lease.id, reservation).map(|row| row.id) {
        state.close_actuation(id);
    }
}

pub(super) fn close_rows(state: &mut State, lease: &Lease) {
    let open: Vec<_> = state.actuations_of(lease.id).map(|row| row.id).collect();
    for id in open {
        state.close_actuation(id);
    }
}

/// Rows that stay open after an accepted change carry its revision, so that attempts of before change nothing.
pub(super) fn restamp_rows(state: &mut State, lease: &Lease) {
    let open: Vec<_> = state.actuations_of(lease.id).filter(|row| row.revision != lease.revision).cloned().collect();
    for row in open {
        state.put_actuation(Actuation { revision: lease.revision, ..row });
    }
}

/// Whether the lease has a row of this step open.
pub(super) fn has_rows(state: &State, lease: &Lease, step: Step) -> bool {
    state.actuations_of(lease.id).any(|row| row.step == step)
}

/// The step that makes the cloud follow a reservation whose bindings changed at this stage; `None` when nothing is made yet.
pub(super) fn follow_step(stage: Stage) -> Option<Step> {
    match stage {
        Stage::Booked | Stage::Ended => None,
        Stage::Prepared => Some(Step::Prepare),
        Stage::Staging => Some(Step::StagingOpen),
        Stage::Parking => Some(Step::StagingClose),
        Stage::Parked | Stage::Open => Some(Step::Adjust),
    }
}

/// Whether tokens of the reservation were ever open: then only the cloud can say that its hosts are free (architecture D19).
pub(super) fn was_opened(reservation: &Reservation) -> bool {
    reservation.stage >= Stage::Staging
}

/// A reservation ends. Servers that it adopted and never had tokens for stay parked for another (docs/decisions/0011). The
/// stage does not tell: it says how far the cloud is to follow, and a cloud that is down for the whole lease never does.
pub(super) fn end_stage(reservation: &mut Reservation) {
    if reservation.adoption.as_ref().is_some_and(|adoption| !adoption.opened) {
        reservation.on_end = OnEnd::Shelve;
    }
    if reservation.is_expiring() {
        reservation.expiry = None;
    }
    reservation.stage = Stage::Ended;
}

/// What a lease's status is when nothing is going on with it (blazar-api §12).
pub(super) fn settled_status(lease: &Lease) -> LeaseStatus {
    let failed = lease.reservations.iter().any(|one| one.status == ReservationStatus::Error);
    match (event_status(lease, EventKind::StartLease), event_status(lease, EventKind::EndLease)) {
        (Some(EventStatus::Undone), Some(EventStatus::Undone)) if !failed => LeaseStatus::Pending,
        (Some(EventStatus::Done), Some(EventStatus::Undone)) if !failed => LeaseStatus::Active,
        (Some(EventStatus::Done), Some(EventStatus::Done)) if !failed => LeaseStatus::Terminated,
        _ => LeaseStatus::Error,
    }
}

/// The last hold of a new lease was accepted: it is promised and visible from this entry on (architecture D24), or from when
/// the series is that it belongs to.
pub(super) fn creation_held(state: &mut State, mut lease: Lease, now: Timestamp) {
    if let Some(series) = lease.series_id() {
        state.put_lease(lease);
        return series::settle(state, now, series);
    }
    if let Some(key) = keys::waiting_key(state, lease.id) {
        keys::answer(state, &key, Reply::LeaseCreated { lease_id: lease.id, prepared: true });
    }
    move_lease(&mut lease, LeaseStatus::Pending, now);
    lease.reason = None;
    state.put_lease(lease);
}

/// The lease's start is over for all its reservations, or it has none.
pub(super) fn settle_start(state: &State, lease: &mut Lease, now: Timestamp) {
    if lease.status == LeaseStatus::Starting && !has_rows(state, lease, Step::Start) {
        end_event(lease, EventKind::StartLease, EventStatus::Done, now);
        move_lease(lease, LeaseStatus::Active, now);
        lease.reason = None;
        set_expiry(lease, now);
    }
}

/// The lease's end is over for all its reservations, or it has none.
pub(super) fn settle_end(state: &State, lease: &mut Lease, now: Timestamp) {
    if lease.status == LeaseStatus::Terminating && !has_rows(state, lease, Step::End) {
        end_event(lease, EventKind::EndLease, EventStatus::Done, now);
        let settled = settled_status(lease);
        move_lease(lease, settled, now);
        if settled == LeaseStatus::Terminated {
            lease.reason = resting_reason(lease);
        }
    }
}

/// What a lease shows whose end came before its start was carried out. Its events read as those of any other lease, so this is
/// all that tells its owner that he never had what he reserved; it outlives the end.
const ENDED_UNSTARTED: &str = "the lease ended before its start was carried out";
/// Longest text of a reason.
const REASON_CHARS_MAX: usize = 500;

/// The reason of a lease that ended before its start was carried out.
pub(super) fn unstarted_reason() -> Reason {
    Reason { code: ReasonCode::Late, text: ENDED_UNSTARTED.to_owned() }
}

/// Whether the lease carries that reason, alone or before another one.
fn unstarted(lease: &Lease) -> bool {
    lease.reason.as_ref().is_some_and(|reason| reason.text.starts_with(ENDED_UNSTARTED))
}

/// What a lease shows while nothing is wrong with it: what its owner would not see otherwise.
pub(super) fn resting_reason(lease: &Lease) -> Option<Reason> {
    if unstarted(lease) {
        return Some(unstarted_reason());
    }
    let expiries = lease.reservations.iter().filter_map(|one| one.expiry);
    let released = expiries.map(Expiry::released).fold(0, u32::saturating_add);
    let text = || format!("{released} of its instances were not in use at its expiry, and were given back");
    (released > 0).then(|| Reason { code: ReasonCode::Expired, text: text() })
}

/// What to show of a delay: of a lease that never started, that first.
pub(super) fn delay_reason(lease: &Lease, told: Option<&Reason>) -> Option<Reason> {
    match told {
        // Nothing that comes later is of more interest to its owner.
        _ if lease.preempted.is_some() => lease.reason.clone(),
        None => resting_reason(lease),
        Some(told) if !unstarted(lease) => Some(told.clone()),
        Some(told) => {
            let text = format!("{ENDED_UNSTARTED}; {}", told.text).chars().take(REASON_CHARS_MAX).collect();
            Some(Reason { code: told.code, text })
        }
    }
}

/// A lease becomes ERROR from wherever it is; from a settled status by way of UPDATING, as Blazar's table wants.
pub(super) fn fail_lease(lease: &mut Lease, reason: &Reason, now: Timestamp) {
    lease.reason = Some(reason.clone());
    lease.updated_at = Some(now);
    if matches!(lease.status, LeaseStatus::Active | LeaseStatus::Pending | LeaseStatus::Terminated) {
        move_lease(lease, LeaseStatus::Updating, now);
    }
    if lease.status != LeaseStatus::Error {
        move_lease(lease, LeaseStatus::Error, now);
    }
}
