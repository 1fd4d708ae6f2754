//! Leases that give way to one of a higher priority (docs/decisions/0021). What is taken is taken for good, so it is taken only
//! where the ledger alone decides: not where the cloud must agree first, and might refuse.

use super::progress::{begin_event, close_rows, end_event, end_stage, fail_lease, move_reservation, open_row, pass_event};
use super::schedule::invalid;
use super::verify::{check_fits, needs_hold, stale, stale_on};
use crate::command::LeaseWish;
use crate::model::{
    Amounts, EventKind, EventStatus, FROZEN_S, HostId, Lease, LeaseId, LeaseStatus, PRIORITY_MAX, PoolKind, Preempted, Reason,
    ReasonCode, ReservationStatus, Stage, Step, Timestamp, Victim,
};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::{Booking, State, lease_bookings, segments, sum_at};

/// Leases that give way to one at most.
pub(crate) const VICTIMS_MAX: usize = 32;
/// What the owner is told: nothing of whose lease it was.
const TOLD: &str = "a lease of a higher priority took its room before it began";

/// What a wish says of its priority must make sense.
///
/// Rejections: `Invalid` (priority, preempt, preemptible).
pub(crate) fn check_precedence(wish: &LeaseWish) -> Result<(), Rejection> {
    let precedence = wish.precedence;
    if precedence.priority > PRIORITY_MAX {
        return Err(invalid("priority", format!("it is {}; it must be from 0 to {PRIORITY_MAX}", precedence.priority)));
    }
    if precedence.preempt {
        let refused = |problem: &str| Err(invalid("preempt", problem.to_owned()));
        if precedence.priority == 0 {
            return refused("no lease has a lower priority than 0; ask for one of at least 1");
        }
        if wish.offer.is_some() {
            return refused("an offer takes room from nobody: it may never be claimed");
        }
        if let Some(problem) = takes_nothing(wish) {
            return refused(problem);
        }
    }
    if precedence.preemptible && (wish.offer.is_some() || wish.reservations.iter().any(|one| !one.servers.is_empty())) {
        let problem = "an offer, or a lease that takes parked servers over, gives way to nobody";
        return Err(invalid("preemptible", problem.to_owned()));
    }
    Ok(())
}

/// Why a wish of any priority takes room from nobody.
pub(crate) fn takes_nothing(wish: &LeaseWish) -> Option<&'static str> {
    let any = |what: fn(&crate::model::InstanceWish) -> bool| wish.reservations.iter().any(|one| what(one.resource.instance()));
    if any(|one| one.affinity.is_some()) {
        return Some("with affinity the cloud must agree first, and might not, when others have given way already");
    }
    if any(|one| one.pool == Some(PoolKind::Shared)) {
        return Some("room is taken on dedicated hosts only: on shared ones the cloud must agree first");
    }
    None
}

/// Whether a lease gives way to one of this priority: it allows it, has a lower one, is promised, and does not begin within
/// ten seconds.
pub(crate) fn gives_way(lease: &Lease, priority: u8, now: Timestamp) -> bool {
    // Planted bug: nobody is asked.
    let allowed = lease.precedence.preemptible || mutant!("Y01");
    allowed
        && lease.precedence.priority < priority
        && lease.status == LeaseStatus::Pending
        && lease.unclaimed_until().is_none()
        && lease.begins() > now.floor_to_second().plus(FROZEN_S)
        && lease.reservations.iter().all(|one| one.stage <= Stage::Prepared && one.adoption.is_none())
}

/// L1 from `now` on for what is to be booked with this given up, which is in the calendar. What downtimes withhold is not there,
/// and a host must accept bookings.
pub(crate) fn check_room_without(state: &State, given_up: &[Booking], new: &[Booking], now: Timestamp) -> Result<(), Rejection> {
    let now = now.floor_to_second();
    let mut hosts: Vec<HostId> = new.iter().map(|booking| booking.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for id in hosts {
        let host = state.host(id).ok_or_else(|| stale_on(id, None, "host is gone"))?;
        if !host.accepts_bookings() {
            return Err(stale_on(id, None, "host accepts no bookings"));
        }
        for segment in segments(id, given_up, new) {
            let (before, after) = (sum_at(id, segment, given_up), sum_at(id, segment, new));
            let Some(to_come) = segment.to_come(now).filter(|_| after != Amounts::default()) else { continue };
            // Inside a segment what is given up is constant, so the peak without it is exact.
            check_fits(host, state.calendar().taken(id, to_come).without(before), after)?;
        }
    }
    Ok(())
}

/// What leases have booked, in one.
pub(crate) fn bookings_of<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Vec<Booking> {
    leases.into_iter().flat_map(lease_bookings).collect()
}

/// Whether the named leases give way to a new one now: each as it was when that was planned, none of them needless, and with
/// them gone there is room for all of it.
///
/// Rejections: `PlanStale`.
pub(super) fn check_victims(state: &State, victims: &[Victim], new: &Lease, now: Timestamp) -> Result<Vec<Lease>, Rejection> {
    if !new.precedence.preempt || victims.len() > VICTIMS_MAX || !victims.is_sorted_by(|a, b| a.lease_id < b.lease_id) {
        return Err(stale("leases were to give way that need not, or too many, or not in order"));
    }
    if new.reservations.iter().any(|one| needs_hold(state, one)) {
        return Err(stale("what takes room from others does not wait for the cloud"));
    }
    let found = |victim: &Victim| {
        let lease = state.lease(victim.lease_id).filter(|lease| lease.revision == victim.revision);
        lease.filter(|lease| gives_way(lease, new.precedence.priority, now)).cloned()
    };
    let given_way: Option<Vec<Lease>> = victims.iter().map(found).collect();
    let Some(given_way) = given_way else { return Err(stale("a lease that was to give way is another, or gives way no more")) };
    let bookings = lease_bookings(new);
    check_room_without(state, &bookings_of(&given_way), &bookings, now)?;
    if needless(state, &given_way, &bookings, now).is_some() {
        return Err(stale("a lease was to give way for nothing"));
    }
    Ok(given_way)
}

/// The last of these leases without whose room the bookings hold as well.
pub(crate) fn needless(state: &State, given_way: &[Lease], new: &[Booking], now: Timestamp) -> Option<usize> {
    (0..given_way.len()).rev().find(|place| {
        let others = given_way.iter().enumerate().filter(|(other, _)| other != place).map(|(_, lease)| lease);
        check_room_without(state, &bookings_of(others), new, now).is_ok()
    })
}

/// A lease loses its room, at once. It stays as a record of that, in ERROR, until its owner deletes it; what was prepared for it in
/// the cloud is undone as of a lease that is deleted.
pub(super) fn give_way(state: &mut State, now: Timestamp, mut lease: Lease, by: LeaseId) {
    close_rows(state, &lease);
    lease.revision += 1;
    for kind in [EventKind::Prepare, EventKind::StagingOpen, EventKind::StagingClose, EventKind::BeforeEndLease] {
        pass_event(&mut lease, kind, now);
    }
    begin_event(&mut lease, EventKind::StartLease, now);
    end_event(&mut lease, EventKind::StartLease, EventStatus::Error, now);
    pass_event(&mut lease, EventKind::EndLease, now);
    let mut to_end = Vec::new();
    for reservation in &mut lease.reservations {
        move_reservation(reservation, ReservationStatus::Deleted, now);
        reservation.missing_resources = false;
        if reservation.stage != Stage::Booked {
            end_stage(reservation);
            to_end.push(reservation.id);
        }
    }
    lease.degraded = false;
    fail_lease(&mut lease, &Reason { code: ReasonCode::Preempted, text: TOLD.to_owned() }, now);
    lease.preempted = Some(Box::new(Preempted { at: now, by, cleaned: to_end.is_empty() }));
    for reservation in to_end {
        open_row(state, &lease, reservation, Step::End, now, now);
    }
    state.put_lease(lease);
}

#[cfg(test)]
mod tests;
