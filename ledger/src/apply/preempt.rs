//! Leases that give way to one of a higher priority (docs/decisions/0021). What is taken is taken for good, so it is taken only
//! where the ledger alone decides: not where the cloud must agree first, and might refuse.

use std::collections::{BTreeMap, BTreeSet};

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
/// Bookings of these, in all: each is held against the others on its host, on every replica.
pub(crate) const GIVEN_UP_MAX: usize = 1_024;
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
    if wish.offer.is_some() {
        return Some("an offer takes room from nobody: it may never be claimed");
    }
    if wish.reservations.iter().any(|one| one.staging.is_some_and(|staging| staging.start.is_none())) {
        return Some("what is staged at once takes room from nobody: how much of it is needed is known only when it is booked");
    }
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

/// Bookings by their hosts.
type ByHost = BTreeMap<HostId, Vec<Booking>>;

fn by_host(bookings: &[Booking]) -> ByHost {
    let mut all = ByHost::new();
    bookings.iter().for_each(|booking| all.entry(booking.host).or_default().push(*booking));
    all
}

/// L1 from `now` on for what is to be booked on one host with this given up there, which is in the calendar. What downtimes withhold
/// is not there, and a host must accept bookings.
fn check_host_without(state: &State, id: HostId, given_up: &[Booking], new: &[Booking], now: Timestamp) -> Result<(), Rejection> {
    let host = state.host(id).ok_or_else(|| stale_on(id, None, "host is gone"))?;
    if !host.accepts_bookings() {
        return Err(stale_on(id, None, "host accepts no bookings"));
    }
    for segment in segments(id, given_up, new) {
        let (before, after) = (sum_at(id, segment, given_up), sum_at(id, segment, new));
        if after == Amounts::default() {
            continue;
        }
        // What is over is not bounded by the host's room, but the calendar still sums it up.
        if state.calendar().peak(id, segment).without(before).checked_add(after).is_none() {
            return Err(stale_on(id, None, "more was booked there than can be counted"));
        }
        let Some(to_come) = segment.to_come(now.floor_to_second()) else { continue };
        // Inside a segment what is given up is constant, so the peak without it is exact.
        check_fits(host, state.calendar().taken(id, to_come).without(before), after)?;
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
    let (given_up, new) = (bookings_of(&given_way), lease_bookings(new));
    if given_up.len() > GIVEN_UP_MAX {
        return Err(stale("leases were to give way that lie in too many places"));
    }
    let given_up = by_host(&given_up);
    for (host, new) in by_host(&new) {
        check_host_without(state, host, given_up.get(&host).map_or(&[][..], Vec::as_slice), &new, now)?;
    }
    let mut needed = given_way.clone();
    spare(state, &mut needed, &new, now);
    if needed.len() < given_way.len() {
        return Err(stale("a lease was to give way for nothing"));
    }
    Ok(given_way)
}

/// Takes out of these leases, the last one first, each without whose room these bookings hold as well. With the room of all they do.
pub(crate) fn spare(state: &State, given_way: &mut Vec<Lease>, new: &[Booking], now: Timestamp) {
    let new = by_host(new);
    let mut given_up: BTreeMap<HostId, Vec<(LeaseId, Booking)>> = BTreeMap::new();
    for lease in given_way.iter() {
        for booking in lease_bookings(lease).into_iter().filter(|booking| new.contains_key(&booking.host)) {
            given_up.entry(booking.host).or_default().push((lease.id, booking));
        }
    }
    // Who is needed with more of them gone is needed with fewer: each is asked once.
    for place in (0..given_way.len()).rev() {
        let id = given_way[place].id;
        let hosts: BTreeSet<HostId> = lease_bookings(&given_way[place]).iter().map(|booking| booking.host).collect();
        let on = |host: &HostId| given_up.get(host).map_or(&[][..], Vec::as_slice);
        let holds = hosts.iter().filter_map(|host| new.get_key_value(host)).all(|(host, new)| {
            let others: Vec<Booking> = on(host).iter().filter(|(lease, _)| *lease != id).map(|(_, booking)| *booking).collect();
            check_host_without(state, *host, &others, new, now).is_ok()
        });
        if holds {
            given_way.remove(place);
            given_up.values_mut().for_each(|all| all.retain(|(lease, _)| *lease != id));
        }
    }
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
        if reservation.stage == Stage::Booked {
            // Its group goes when the cloud is looked at next: there is no end that would take it along.
            (reservation.server_group_id, reservation.group_awaited) = (None, false);
        } else {
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
