//! A new lease that goes beyond the quota of its project: what of it, and when all of it, is within and has room.

use super::later::{Lacks, fewer, length_of, next_start, with_servers};
use super::place::{Over, place};
use super::together::largest;
use super::{NoPlan, NoRoom, Planned, Tell};
use crate::apply::quota::check_new;
use crate::apply::schedule::{Schedule, moved, resolve_create};
use crate::command::LeaseWish;
use crate::model::{Anchor, ReservationId, Seconds};
use crate::reply::Rejection;

/// The plan of a lease whose start is left open, at the first start up to `latest` at which it is within the quota and has room.
/// The wish and its schedule are those of the start at which it is not.
pub(super) fn later(
    over: Over<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    latest: Seconds,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Option<Planned> {
    let start = next_start(over, wish, schedule, Lacks::Quota { latest: Some(latest) }, anchors)?;
    let wish = moved(wish, start, over.now).ok()?;
    let planned = place(over, &wish, &resolve_create(&wish, over.now).ok()?, ids, anchors).ok()?;
    Some(Planned { moved_to: Some(start), ..planned })
}

/// Of a lease that is refused for its quota: what would fit instead, where that is to be told. For the limits of single leases
/// (`start_ahead_s` and its like) nothing is sought: fewer of it and a later start are refused as well.
pub(super) fn refused(
    over: Over<'_>,
    tell: Tell,
    wish: &LeaseWish,
    schedule: &Schedule,
    rejection: Rejection,
    anchors: &[Vec<Anchor>],
) -> NoPlan {
    let Rejection::QuotaExceeded(excess) = rejection else { return NoPlan::Rejected(rejection) };
    if tell == Tell::Shortage || excess.at.is_none() {
        return NoPlan::Rejected(Rejection::QuotaExceeded(excess));
    }
    let mut amounts = (0..wish.reservations.len()).map(|one| (one, largest_of(over, wish, schedule, one, anchors)));
    // Where none by itself can be made smaller so that all of it fits, the first one is named, with none of it.
    let (reservation, largest_amount) = amounts.find(|(_, amount)| *amount > 0).unwrap_or_default();
    let next_start = next_start(over, wish, schedule, Lacks::Quota { latest: None }, anchors);
    let length = length_of(schedule.interval.start, schedule.interval.end);
    NoPlan::NoRoom(NoRoom {
        quota: Some(excess),
        reservation,
        short_by: wish.reservations[reservation].resource.instance().amount - largest_amount,
        largest_amount,
        next_start,
        next_end: next_start.zip(length).map(|(start, length)| start.plus(length)),
        ..NoRoom::default()
    })
}

/// The largest amount of one reservation with which all of the lease is within the quota and has room; 0: there is none.
fn largest_of(over: Over<'_>, wish: &LeaseWish, schedule: &Schedule, reservation: usize, anchors: &[Vec<Anchor>]) -> u32 {
    let one = &wish.reservations[reservation];
    let within = |amount: u32| check_new(over.state, &fewer(wish, reservation, amount), schedule, over.now).is_ok();
    let allowed = largest(one.resource.instance().amount, 0, within);
    let fits =
        |amount: u32| !over.steps.are_spent() && place(over, &fewer(wish, reservation, amount), schedule, &[], anchors).is_ok();
    with_servers(one, largest(allowed + 1, allowed, fits))
}
