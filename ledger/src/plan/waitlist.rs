//! Leases that wait for room, and the plan of one for which there is some by now.

use std::collections::BTreeMap;

use super::{ENTRY_SLACK_S, Overlay, Planned, try_plan};
use crate::command::{BeforeEndWish, LeaseWish, ReservationWish, StartWish};
use crate::model::{Lease, LeaseId, LeaseStatus, ReservationId, Timestamp, Wait};
use crate::reply::Rejection;
use crate::state::State;

/// The leases that wait for room, the longest waiting first, without those whose promotion waits for the cloud.
pub fn waiting(state: &State) -> impl Iterator<Item = LeaseId> + '_ {
    state.waitlist().filter(|lease| lease.status == LeaseStatus::Waiting).map(|lease| lease.id)
}

/// Plans the promotion of a waiting lease. `now` is what the entry's time will be or a little earlier. `Ok(None)`: there is no
/// room, it is too late for it, or it does not wait any more.
///
/// # Errors
/// `QuotaExceeded`, and what has become impossible since it was asked for.
pub fn plan_promotion(state: &State, id: LeaseId, now: Timestamp) -> Result<Option<Planned>, Rejection> {
    let now = now.max(state.clock());
    let Some(lease) = state.lease(id).filter(|lease| lease.status == LeaseStatus::Waiting) else { return Ok(None) };
    let Some(wait) = lease.wait.as_deref().filter(|wait| wait.until.timestamp() > now) else { return Ok(None) };
    let Some(wish) = wish_of(lease, wait, now) else { return Ok(None) };
    let ids: Vec<ReservationId> = lease.reservations.iter().map(|one| one.id).collect();
    let planned = try_plan(state, &Overlay::default(), &wish, &ids, &BTreeMap::new(), now)?;
    let start = match wish.start {
        StartWish::Earliest { from, .. } => from.filter(|from| *from != lease.start),
        StartWish::Now | StartWish::At(_) => None,
    };
    Ok(planned.map(|planned| Planned { moved_to: planned.moved_to.or(start), ..planned }))
}

/// What it asks for as it can be had from now on; `None` when that is too late. Its events are moved by the entry.
fn wish_of(lease: &Lease, wait: &Wait, now: Timestamp) -> Option<LeaseWish> {
    let (start, by) = match wait.latest {
        None => (StartWish::At(lease.start), 0),
        Some(latest) => {
            // The entry comes later than the plan, and starts nothing in the past.
            let soon = now.floor_to_second().plus(ENTRY_SLACK_S);
            let from =
                Some(if lease.start <= now.floor_to_second() { soon } else { lease.start }).filter(|from| *from <= latest)?;
            (StartWish::Earliest { from: Some(from), latest }, from.0 - lease.start.0)
        }
    };
    let reservation = |one: &crate::model::Reservation| ReservationWish {
        resource: one.wish.clone(),
        staging: None,
        on_end: one.on_end,
        servers: Default::default(),
    };
    Some(LeaseWish {
        name: lease.name.clone(),
        project_id: lease.project_id.clone(),
        user_id: lease.user_id.clone(),
        start,
        end: lease.end.plus(by),
        before_end: BeforeEndWish::Never,
        reservations: lease.reservations.iter().map(reservation).collect(),
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: wait.ignore_quota,
    })
}
