//! The waitlist (docs/decisions/0019): a lease that found no room and would wait for it books nothing and has nothing done for
//! it. When there is room the leader has it booked, under the ids it has; when its time is over the clock drops it.

use super::create_lease::{Draft, open_holds};
use super::delete_lease::delete_lease;
use super::progress::move_lease;
use super::quota::check_promoted;
use super::rebook::set_plan;
use super::schedule::{Schedule, check_end, invalid, prepare_time};
use super::verify::{check_room, stale};
use crate::command::{CreateLease, PromoteLease, StartWish};
use crate::model::{EventKind, Lease, LeaseId, LeaseStatus, RequestKey, Seconds, Timestamp, Wait};
use crate::reply::{Rejection, Reply};
use crate::state::{State, lease_bookings};

/// Leases of one project that wait at a time: each is looked at again and again.
pub const WAITING_PER_PROJECT_MAX: usize = 100;
/// Leases of all projects that wait at a time.
pub const WAITING_MAX: usize = 10_000;

/// Puts a new lease on the waitlist. Whether there is room was decided before the log; quota is asked for when it is booked.
///
/// Rejections, in this order: `Invalid` (wait, plan), `TooManyWaiting`.
pub(super) fn enlist(
    state: &mut State,
    now: Timestamp,
    create: &CreateLease,
    schedule: &Schedule,
    key: Option<&RequestKey>,
) -> Result<Reply, Rejection> {
    let wish = &create.wish;
    let Some(until) = schedule.wait else { return Err(invalid("wait", "it was not asked to wait".to_owned())) };
    if until.timestamp() <= now {
        return Err(invalid("wait.until", "it is past: there is no time left in which to wait".to_owned()));
    }
    if create.plan.len() != wish.reservations.len() || create.plan.iter().any(|planned| !planned.bindings.is_empty()) {
        return Err(invalid("plan", "what waits is bound to no host, and has an id for each reservation".to_owned()));
    }
    let too_many = |waiting: usize, limit: usize, whose: &str| {
        let (waiting, limit) = (waiting as u64, limit as u64);
        Err(Rejection::TooManyWaiting { waiting, limit, whose: whose.to_owned() })
    };
    let theirs = state.waitlist().filter(|lease| lease.project_id == wish.project_id).count();
    if theirs >= WAITING_PER_PROJECT_MAX {
        return too_many(theirs, WAITING_PER_PROJECT_MAX, "of one project");
    }
    let all = state.waitlist().count();
    if all >= WAITING_MAX {
        return too_many(all, WAITING_MAX, "in all");
    }
    let draft = Draft {
        wish,
        schedule,
        plan: &create.plan,
        lease_id: create.lease_id,
        event_ids: &create.event_ids,
        resource_ids: &create.resource_ids,
        adoptions: &create.adoptions,
        caller_makes_groups: false,
        series: None,
    };
    let lease = draft.lease(now, key);
    let latest = match wish.start {
        StartWish::Earliest { latest, .. } => Some(latest),
        StartWish::Now | StartWish::At(_) => None,
    };
    let wait = Wait { until, first: lease.start, latest, since: state.ledger_index(), ignore_quota: wish.ignore_quota };
    let lease_id = lease.id;
    state.put_lease(Lease { status: LeaseStatus::Waiting, wait: Some(Box::new(wait)), ..lease });
    Ok(Reply::LeaseCreated { lease_id, prepared: true })
}

/// Books a waiting lease: from here on it is one like any other. Where the cloud must agree first it is UPDATING until it has,
/// and waits again when it refuses.
///
/// Rejections, in this order: `LeaseNotFound`, `WrongStatus`, `PlanStale`, `EndBeyondCalendar`, `PlanStale`, `QuotaExceeded`, `PlanStale`.
pub(super) fn promote_lease(state: &mut State, now: Timestamp, promote: &PromoteLease) -> Result<Reply, Rejection> {
    let lease_id = promote.lease_id;
    if let Some(archived) = state.archived(lease_id) {
        return Err(Rejection::WrongStatus { status: archived.status() });
    }
    let before = state.lease(lease_id).filter(|lease| lease.visible()).cloned().ok_or(Rejection::LeaseNotFound(lease_id))?;
    let waits = before.wait.as_deref().copied().filter(|_| before.status == LeaseStatus::Waiting);
    let Some(wait) = waits else { return Err(Rejection::WrongStatus { status: before.status }) };
    if wait.until.timestamp() <= now {
        return Err(stale("it waits no longer"));
    }
    let start = promote.moved_to.unwrap_or(before.start);
    if start < before.start || start > wait.latest.unwrap_or(before.start) || start < now.floor_to_second() {
        return Err(stale("the planned start is none that the wish allows"));
    }
    let mut lease = before.clone();
    move_start(&mut lease, start, now);
    check_end(lease.end)?;
    set_plan(state, &before, &mut lease, &promote.plan)?;
    move_lease(&mut lease, LeaseStatus::Pending, now);
    if !wait.ignore_quota {
        check_promoted(state, &lease, now)?;
    }
    check_room(state, &[], &lease_bookings(&lease), now)?;

    // From here the lease must be booked.
    lease.revision += 1;
    lease.reason = None;
    let prepared = !open_holds(state, &lease, now);
    if prepared {
        lease.wait = None;
    } else {
        move_lease(&mut lease, LeaseStatus::Updating, now);
    }
    state.put_lease(lease);
    Ok(Reply::LeasePromoted { lease_id, prepared })
}

/// The cloud did not accept what a waiting lease was to have: takes its bindings back. Says whether the lease is such a one.
pub(super) fn give_back(lease: &mut Lease, now: Timestamp) -> bool {
    let Some(first) = lease.wait.as_ref().map(|wait| wait.first) else { return false };
    lease.reservations.iter_mut().for_each(|reservation| reservation.bindings.clear());
    move_start(lease, first, now);
    true
}

/// Moves a lease of which nothing has begun, as a whole.
fn move_start(lease: &mut Lease, to: Seconds, now: Timestamp) {
    let from = lease.start;
    let moved = |at: Seconds| if to >= from { at.plus(to.0 - from.0) } else { at.minus(from.0 - to.0) };
    lease.start = to;
    lease.end = moved(lease.end);
    let prepare = prepare_time(to, &lease.reservations, now);
    for event in &mut lease.events {
        event.time = match event.kind {
            EventKind::Prepare => prepare.unwrap_or(to),
            _ => moved(event.time),
        };
    }
}

/// Drops the leases that have waited for as long as they would, those among the first `limit` leases that are due.
pub(super) fn drop_expired(state: &mut State, now: Timestamp, limit: usize) {
    let waits = |id: &LeaseId| state.lease(*id).is_some_and(|lease| lease.status == LeaseStatus::Waiting);
    let expired: Vec<LeaseId> = state.due_leases(now).take(limit).filter(waits).collect();
    for id in expired {
        delete_lease(state, now, id).expect("what is due is there");
    }
}

#[cfg(test)]
mod tests;
