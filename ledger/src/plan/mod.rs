//! The planner: pure, leader only. Searches hosts for a wish over a read view plus the plans in flight (architecture D2).
//!
//! It may be clever or lazy, and may change between releases: `apply` verifies every plan. Here are its doors;
//! `place.rs` places the reservations of a lease, `search.rs` finds hosts for one of them, `together.rs` for several that are in
//! each other's way, `hosts.rs` those worth asking, `room.rs` says what is free, `offer.rs` what would fit instead and `starts.rs` when, `quota.rs` what the quota of the project allows of it and `within.rs` from when on, `series.rs` plans many leases at once, `update.rs` changes, `waitlist.rs` what waits for room, `preempt.rs` says
//! who gives way, `ailing.rs` who must move, `defragment.rs` who had better, `question.rs` answers what is asked without planning
//! anything, `inquiry.rs` that as it is asked, `whole_hosts/` what is asked about whole hosts.

mod ailing;
#[cfg(test)]
pub(crate) mod crowd;
mod defragment;
mod hosts;
mod inquiry;
mod later;
mod offer;
mod overlay;
mod place;
mod preempt;
mod question;
mod quota;
mod room;
mod search;
mod series;
mod series_later;
mod starts;
mod together;
mod update;
mod waitlist;
mod whole_hosts;
mod within;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::apply::quota::check_new;
use crate::apply::schedule::{Schedule, moved, resolve_create};
use crate::command::{LeaseWish, OfferWish, PlannedReservation, StartWish};
use crate::model::{
    Adoption, Amounts, Anchor, Class, Excess, HostId, Interval, LeaseId, ReservationId, Seconds, Timestamp, Victim,
};
use crate::reply::Rejection;
use crate::state::State;

pub use crate::apply::adoption::{check_servers, flavor_taken};
pub use crate::apply::series::check_series_wish;
pub use ailing::{Ailing, Looked, ailing, misjudged, sick_hosts, still_ails};
pub use defragment::{Move, Terms, plan_tighter, scattered};
pub use inquiry::{
    CapacityWish, Density, DensityWish, HostCount, NAMED_HOSTS_MAX, STEPS_MAX, WhatIf, WindowWish, ask_capacity, ask_density,
    what_if, what_if_series,
};
pub use overlay::Overlay;
pub(crate) use question::levels;
pub use question::{Capacity, HostFilter, Piece, Sums, WhatFits, capacity, earliest_start, what_fits};
pub use series::{OccurrencePlan, SeriesPlan, Times, plan_series};
pub use update::{plan_rebind, plan_update};
pub use waitlist::{plan_promotion, waiting};
pub use whole_hosts::{
    Floating, HostAmount, HostClass, HostReservation, OccurrenceHosts, WhatIfHosts, first_whole_hosts, host_class, what_if_hosts,
    what_if_hosts_series, whole_hosts,
};

use later::{explain, place_later};
use place::{Over, Short, place};
use together::Steps;

/// A plan that fits view and overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// For the command.
    pub reservations: Vec<PlannedReservation>,
    /// For the command: where the start was moved to.
    pub moved_to: Option<Seconds>,
    /// For the command: who gives way.
    pub victims: Vec<Victim>,
    /// Ledger index of the view.
    pub planned_at: u64,
    /// What the overlay books: host, first and last second, amounts. Filled by the planner.
    pub bookings: Vec<(HostId, Interval, Amounts)>,
}

/// Why no plan was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// `apply` would refuse it too.
    Rejected(Rejection),
    /// Not enough room, or more than the quota allows: what would fit instead.
    NoRoom(NoRoom),
}

/// What is missing, and what would fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoRoom {
    /// What goes beyond the quota of the project: nothing is said of the room then but for what is named instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Excess>,
    /// Which reservation of the wish, from 0.
    pub reservation: usize,
    /// Slots short of its amount; beyond a quota what its amount is above the largest that fits.
    pub short_by: u32,
    /// The class that binds most.
    pub tightest: Option<Class>,
    /// The largest amount of it with which all of the lease fits the same window; 0 where not even one does beside the others.
    pub largest_amount: u32,
    /// The earliest start, not before the one asked for, at which all of it fits for the same duration, room and quota alike.
    pub next_start: Option<Seconds>,
    /// The end that goes with it; `None` also where there is none, and of a staging window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_end: Option<Seconds>,
    /// Of a change that asks for a later end of a lease that has begun: the latest end that was found with which all of it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_end: Option<Seconds>,
    /// Whether it is a change for which no later start can be asked: of a lease that has begun or is in ERROR, or one whose staging
    /// lacks room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_is_fixed: bool,
    /// Which occurrence of a series, from 1; `None` of a lease by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<u32>,
    /// Who would give way at the start asked for, were that asked for; nobody, where it is of no help.
    #[serde(default, skip_serializing_if = "Preempts::nobody")]
    pub preempts: Preempts,
    /// Whether only the staging window lacks room; then `next_start` is the next staging window's start.
    pub staging: bool,
}

/// What a plan that is not found is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// That there is no room: what [`NoRoom`] says of it is not to be read. For who asks again, or tells nobody.
    Shortage,
    /// What is missing, and what would fit instead, which takes many times as long to find out.
    WhatFits,
}

/// Leases that would give way to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempts {
    /// How many.
    pub count: u32,
    /// Which, by id. Only operators are told: they may be other tenants'.
    pub leases: Vec<LeaseId>,
}

impl Preempts {
    fn of(victims: &[Victim]) -> Preempts {
        let leases: Vec<LeaseId> = victims.iter().map(|victim| victim.lease_id).collect();
        Preempts { count: u32::try_from(leases.len()).unwrap_or(u32::MAX), leases }
    }

    /// Whether there is nobody.
    pub fn nobody(&self) -> bool {
        *self == Preempts::default()
    }
}

/// What begins at the entry's time begins later than the plan thinks: a staging window is planned this much longer, and a start
/// that is left open comes this much after the end of an offer.
const ENTRY_SLACK_S: u32 = 5;
/// Later starts that are tried with the whole lease before a refusal names none.
const OFFERS_TRIED: usize = 16;

/// Plans a new lease. `now` is what the entry's time will be or later; `ids` are those of the reservations, in order.
pub fn plan_create(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    ids: &[ReservationId],
    now: Timestamp,
) -> Result<Planned, NoPlan> {
    plan_adopting(state, overlay, wish, ids, &BTreeMap::new(), now, Tell::WhatFits)
}

/// See [`plan_create`], of a lease whose reservations take servers over: those bind them to hosts of their kind of anchor.
pub fn plan_adopting(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    ids: &[ReservationId],
    adoptions: &BTreeMap<ReservationId, Adoption>,
    now: Timestamp,
    tell: Tell,
) -> Result<Planned, NoPlan> {
    let now = now.max(state.clock());
    let Startable { wish, schedule, moved_to } = startable(wish, now).map_err(NoPlan::Rejected)?;
    let anchors = anchors_of(state, &wish, ids, adoptions);
    let (steps, steps_to_explain) = (Steps::new(), Steps::new());
    let over = Over { state, overlay, now, steps: &steps };
    let telling = Over { steps: &steps_to_explain, ..over };
    let refused = |beyond: Rejection| match beyond {
        Rejection::QuotaExceeded(excess) => {
            quota::refused(tell, excess, || quota::instead(telling, &wish, &schedule, excess, &anchors))
        }
        other => NoPlan::Rejected(other),
    };
    check_quota_early(state, &wish, &schedule, now).map_err(refused)?;
    let planned = place_or_later(over, &wish, &schedule, ids, &anchors)
        .or_else(|short| {
            let preempting = || preempt::plan(state, overlay, &wish, &schedule, ids, &anchors, now);
            wish.precedence.preempt.then(preempting).flatten().ok_or(short)
        })
        .map(|planned| Planned { moved_to: planned.moved_to.or(moved_to), ..planned })
        .map_err(|short| {
            NoPlan::NoRoom(match tell {
                Tell::WhatFits => explain(telling, &wish, &schedule, short, &anchors),
                Tell::Shortage => NoRoom::default(),
            })
        })?;
    let StartWish::Earliest { latest, .. } = wish.start else { return Ok(planned) };
    // Quota counts where it lies; where it is beyond that, it goes on to where it is not. What takes room from others stays.
    let begun = planned.moved_to.map_or(Ok(Cow::Borrowed(&*wish)), |to| moved(&wish, to, now).map(Cow::Owned));
    let begun = begun.map_err(NoPlan::Rejected)?;
    let there = resolve_create(&begun, now).map_err(NoPlan::Rejected)?;
    let Err(beyond) = check_new(state, &begun, &there, now) else { return Ok(planned) };
    let may_move = planned.victims.is_empty() && matches!(&beyond, Rejection::QuotaExceeded(excess) if excess.at.is_some());
    let later = || quota::later(over, &wish, &there, latest, ids, &anchors);
    may_move.then(later).flatten().ok_or_else(|| refused(beyond))
}

/// Quota of a start that is fixed: asked for before any host is, so that the cheaper refusal comes first.
fn check_quota_early(state: &State, wish: &LeaseWish, schedule: &Schedule, now: Timestamp) -> Result<(), Rejection> {
    if matches!(wish.start, StartWish::Earliest { .. }) { Ok(()) } else { check_new(state, wish, schedule, now) }
}

/// See [`plan_adopting`], for those who do not tell what fits instead; `Ok(None)` when there is no room.
pub fn try_plan(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    ids: &[ReservationId],
    adoptions: &BTreeMap<ReservationId, Adoption>,
    now: Timestamp,
) -> Result<Option<Planned>, Rejection> {
    match plan_adopting(state, overlay, wish, ids, adoptions, now, Tell::Shortage) {
        Ok(planned) => Ok(Some(planned)),
        Err(NoPlan::NoRoom(_)) => Ok(None),
        Err(NoPlan::Rejected(rejection)) => Err(rejection),
    }
}

/// A wish as it can begin at the earliest.
struct Startable<'a> {
    wish: Cow<'a, LeaseWish>,
    schedule: Schedule,
    /// That is not where it is asked for first: a start that is left open is none within the offer.
    moved_to: Option<Seconds>,
}

fn startable(wish: &LeaseWish, now: Timestamp) -> Result<Startable<'_>, Rejection> {
    let schedule = resolve_create(wish, now)?;
    let (StartWish::Earliest { latest, .. }, Some(expires_at), true) =
        (wish.start, schedule.offer, schedule.starts_within_offer())
    else {
        return Ok(Startable { wish: Cow::Borrowed(wish), schedule, moved_to: None });
    };
    let slack = if matches!(wish.offer, Some(OfferWish::For(_))) { ENTRY_SLACK_S } else { 0 };
    let first = expires_at.plus(slack).min(latest);
    let later = LeaseWish { start: StartWish::Earliest { from: Some(first), latest }, ..moved(wish, first, now)? };
    Ok(Startable { schedule: resolve_create(&later, now)?, wish: Cow::Owned(later), moved_to: Some(first) })
}

/// At the start that is asked for, or, where that is left open, the first one with room.
fn place_or_later(
    over: Over<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Result<Planned, Short> {
    place(over, wish, schedule, ids, anchors).or_else(|short| place_later(over, wish, short.clone(), ids, anchors).ok_or(short))
}

/// The kinds of anchor that each reservation may have.
fn anchors_of(
    state: &State,
    wish: &LeaseWish,
    ids: &[ReservationId],
    adoptions: &BTreeMap<ReservationId, Adoption>,
) -> Vec<Vec<Anchor>> {
    let all = state.anchors();
    let of = |id: &ReservationId| adoptions.get(id).map_or_else(|| all.clone(), |adoption| vec![adoption.anchor]);
    let mut anchors: Vec<Vec<Anchor>> = ids.iter().map(of).collect();
    anchors.resize(wish.reservations.len(), all);
    anchors
}
