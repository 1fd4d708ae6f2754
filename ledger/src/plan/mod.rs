//! The planner: pure, leader only. Searches hosts for a wish over a read view plus the plans in flight (architecture D2).
//!
//! It may be clever or lazy, and may change between releases: `apply` verifies every plan. Here are its doors;
//! `search.rs` finds hosts, `hosts.rs` those worth asking, `room.rs` says what is free, `offer.rs` what would fit instead and
//! `starts.rs` when, `series.rs` plans many leases at once, `update.rs` changes, `waitlist.rs` what waits for room, `preempt.rs` says
//! who gives way, `ailing.rs` who must move, `defragment.rs` who had better, `question.rs` answers what is asked without planning
//! anything, `inquiry.rs` that as it is asked, `whole_hosts/` what is asked about whole hosts.

mod ailing;
#[cfg(test)]
pub(crate) mod crowd;
mod defragment;
mod hosts;
mod inquiry;
mod offer;
mod overlay;
mod preempt;
mod question;
mod room;
mod search;
mod series;
mod starts;
mod update;
mod waitlist;
mod whole_hosts;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::apply::quota::check_new;
use crate::apply::schedule::{Schedule, moved, resolve_create};
use crate::command::{BeforeEndWish, LeaseWish, OfferWish, PlannedReservation, StagingWish, StartWish};
use crate::model::{
    Adoption, Amounts, Anchor, Binding, Class, HostId, InstanceWish, Interval, LeaseId, Phase, ReservationId, ResourceWish,
    Seconds, Staging, Timestamp, Victim,
};
use crate::reply::Rejection;
use crate::state::{Booking, State};

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
pub use series::{OccurrencePlan, SeriesPlan, plan_series};
pub use update::{plan_rebind, plan_update};
pub use waitlist::{plan_promotion, waiting};
pub use whole_hosts::{
    Floating, HostAmount, HostClass, HostReservation, OccurrenceHosts, WhatIfHosts, first_whole_hosts, host_class, what_if_hosts,
    what_if_hosts_series, whole_hosts,
};

use room::View;
use search::search;
use starts::Tried;

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
    /// Not enough room: what would fit instead.
    NoRoom(NoRoom),
}

/// What is missing, and what would fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoRoom {
    /// Which reservation of the wish, from 0.
    pub reservation: usize,
    /// Slots short.
    pub short_by: u32,
    /// The class that binds most.
    pub tightest: Option<Class>,
    /// The largest amount that fits the same window.
    pub largest_amount: u32,
    /// The earliest start, not before the one asked for, at which all of it fits for the same duration.
    pub next_start: Option<Seconds>,
    /// Which occurrence of a series, from 1; `None` of a lease by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<u32>,
    /// Who would give way at the start asked for, were that asked for; nobody, where it is of no help.
    #[serde(default, skip_serializing_if = "Preempts::nobody")]
    pub preempts: Preempts,
    /// Whether only the staging window lacks room; then `next_start` is the next staging window's start.
    pub staging: bool,
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
    plan_adopting(state, overlay, wish, ids, &BTreeMap::new(), now)
}

/// See [`plan_create`], of a lease whose reservations take servers over: those bind them to hosts of their kind of anchor.
pub fn plan_adopting(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    ids: &[ReservationId],
    adoptions: &BTreeMap<ReservationId, Adoption>,
    now: Timestamp,
) -> Result<Planned, NoPlan> {
    let now = now.max(state.clock());
    let Startable { wish, schedule, moved_to } = startable(wish, now).map_err(NoPlan::Rejected)?;
    check_quota_early(state, &wish, &schedule, now).map_err(NoPlan::Rejected)?;
    let anchors = anchors_of(state, &wish, ids, adoptions);
    let planned = place_or_later(state, overlay, &wish, &schedule, ids, &anchors, now)
        .or_else(|short| {
            let preempting = || preempt::plan(state, overlay, &wish, &schedule, ids, &anchors, now);
            wish.precedence.preempt.then(preempting).flatten().ok_or(short)
        })
        .map(|planned| Planned { moved_to: planned.moved_to.or(moved_to), ..planned })
        .map_err(|short| NoPlan::NoRoom(explain(state, overlay, &wish, &schedule, short, &anchors, now)))?;
    check_quota_planned(state, &wish, &planned, now).map_err(NoPlan::Rejected)?;
    Ok(planned)
}

/// Quota of a start that is fixed: asked for before any host is, so that the cheaper refusal comes first.
fn check_quota_early(state: &State, wish: &LeaseWish, schedule: &Schedule, now: Timestamp) -> Result<(), Rejection> {
    if matches!(wish.start, StartWish::Earliest { .. }) { Ok(()) } else { check_new(state, wish, schedule, now) }
}

/// Quota of a start that was left open: it is moved for lack of room, and quota counts where it then lies.
fn check_quota_planned(state: &State, wish: &LeaseWish, planned: &Planned, now: Timestamp) -> Result<(), Rejection> {
    if !matches!(wish.start, StartWish::Earliest { .. }) {
        return Ok(());
    }
    let wish = planned.moved_to.map_or(Ok(Cow::Borrowed(wish)), |to| moved(wish, to, now).map(Cow::Owned))?;
    check_new(state, &wish, &resolve_create(&wish, now)?, now)
}

/// See [`plan_adopting`], for those who would not tell what fits instead, which takes longer than to find out that nothing
/// does; `Ok(None)` when there is no room.
pub fn try_plan(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    ids: &[ReservationId],
    adoptions: &BTreeMap<ReservationId, Adoption>,
    now: Timestamp,
) -> Result<Option<Planned>, Rejection> {
    let now = now.max(state.clock());
    let Startable { wish, schedule, moved_to } = startable(wish, now)?;
    check_quota_early(state, &wish, &schedule, now)?;
    let anchors = anchors_of(state, &wish, ids, adoptions);
    let planned = place_or_later(state, overlay, &wish, &schedule, ids, &anchors, now).ok();
    planned.iter().try_for_each(|planned| check_quota_planned(state, &wish, planned, now))?;
    Ok(planned.map(|planned| Planned { moved_to: planned.moved_to.or(moved_to), ..planned }))
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
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
    now: Timestamp,
) -> Result<Planned, Short> {
    place(state, overlay, wish, schedule, ids, anchors, now)
        .or_else(|short| place_later(state, overlay, wish, short.clone(), ids, anchors, now).ok_or(short))
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

/// Which reservation found no room, in which phase, with which kinds of anchor.
#[derive(Clone)]
struct Short {
    reservation: usize,
    phase: Phase,
    interval: Interval,
    anchors: Vec<Anchor>,
    /// What the reservations before it would take.
    before: Vec<Booking>,
}

impl Short {
    /// What came further says what is missing; of two that came as far both do.
    fn merge(mut self, mut other: Short) -> Short {
        match (self.phase, other.phase) {
            (Phase::Main, Phase::Staging) => self,
            (Phase::Staging, Phase::Main) => other,
            (Phase::Main, Phase::Main) | (Phase::Staging, Phase::Staging) => {
                self.anchors.append(&mut other.anchors);
                self
            }
        }
    }
}

fn place(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
    now: Timestamp,
) -> Result<Planned, Short> {
    place_in(View::new(state, overlay, now), wish, schedule, ids, anchors)
}

fn place_in(
    mut view: View<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Result<Planned, Short> {
    let mut reservations = Vec::with_capacity(wish.reservations.len());
    for (place, (one, staging)) in wish.reservations.iter().zip(&schedule.staging).enumerate() {
        let instance = one.resource.instance();
        let plan = |view: &mut View<'_>| {
            let mut bindings = Vec::new();
            if let Some(staging) = staging {
                let from_now = one.staging.is_some_and(|wish| wish.start.is_none());
                let interval = staging_interval(*staging, from_now, schedule.interval.start);
                bindings.extend(place_phase(view, place, instance, Phase::Staging, interval, &[])?);
            }
            bindings.extend(place_phase(view, place, instance, Phase::Main, schedule.interval, &[])?);
            Ok(bindings)
        };
        let planned = view.with_one_anchor(&anchors[place], plan, Short::merge);
        let bindings = planned.map_err(|short| Short { before: std::mem::take(&mut view.planned), ..short })?;
        let reservation_id = ids.get(place).copied().unwrap_or(ReservationId(uuid::Uuid::nil()));
        reservations.push(PlannedReservation { reservation_id, bindings });
    }
    Ok(finished(view.state, reservations, &view.planned))
}

fn staging_interval(staging: Staging, from_now: bool, start: Seconds) -> Interval {
    let booked = staging.booked();
    if from_now { Interval { end: booked.end.plus(ENTRY_SLACK_S).min(start), ..booked } } else { booked }
}

fn place_phase(
    view: &mut View<'_>,
    reservation: usize,
    wish: &InstanceWish,
    phase: Phase,
    interval: Interval,
    preferred: &[HostId],
) -> Result<Vec<Binding>, Short> {
    let hosts = search(view, wish, interval, wish.amount, preferred).ok_or_else(|| Short {
        reservation,
        phase,
        interval,
        anchors: vec![view.anchor],
        before: Vec::new(),
    })?;
    book(view, wish, interval, &hosts);
    Ok(hosts.into_iter().map(|(host, slots)| Binding { phase, host, slots }).collect())
}

fn book(view: &mut View<'_>, wish: &InstanceWish, interval: Interval, hosts: &[(HostId, u32)]) {
    for (host, slots) in hosts {
        if let Some(amounts) = wish.need().checked_mul(*slots) {
            view.planned.push(Booking { host: *host, interval, amounts });
        }
    }
}

fn finished(state: &State, reservations: Vec<PlannedReservation>, planned: &[Booking]) -> Planned {
    let bookings = planned.iter().map(|booking| (booking.host, booking.interval, booking.amounts)).collect();
    Planned { reservations, moved_to: None, victims: Vec::new(), planned_at: state.ledger_index(), bookings }
}

/// The plan for the first later start that the wish leaves open and that has room for all of it.
///
/// From what is short at one start the next one is found: the first at which just that has room. No start is passed over that
/// has room for all, but where plans in flight or two reservations of the lease want the same room, and where a staged lease comes
/// further with one kind of anchor than with the other: then only the starts of that kind are tried.
fn place_later(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    mut short: Short,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
    now: Timestamp,
) -> Option<Planned> {
    let StartWish::Earliest { latest, .. } = wish.start else { return None };
    let mut view = View::new(state, overlay, now);
    let mut at = resolve_create(wish, now).ok()?.interval.start;
    let mut again = false;
    for _ in 0..OFFERS_TRIED {
        // A staging window that begins now stays where it is, wherever the lease goes.
        if short.phase == Phase::Staging && wish.reservations[short.reservation].staging?.start.is_none() {
            return None;
        }
        let instance = wish.reservations[short.reservation].resource.instance();
        let Interval { start, end } = short.interval;
        let before = at.0 - start.0;
        let length = (end != Seconds::OPEN_END).then(|| end.0 - start.0);
        // What had room by itself, and yet was short, has it from the next second on as well: only a change can help.
        let next = start.plus(1);
        let mut judge = |found: Seconds| if again && found == next { Tried::GoOn } else { Tried::Found };
        let found = starts::first(&mut view, &short.anchors, instance, next, length, Some(latest.minus(before)), &mut judge)?;
        at = found.plus(before);
        let later = moved(wish, at, now).ok()?;
        let schedule = resolve_create(&later, now).ok()?;
        let (reservation, phase) = (short.reservation, short.phase);
        match place(state, overlay, &later, &schedule, ids, anchors, now) {
            Ok(planned) => return Some(Planned { moved_to: Some(at), ..planned }),
            Err(next) => short = next,
        }
        again = (short.reservation, short.phase) == (reservation, phase);
    }
    None
}

/// What would fit instead of a new lease that does not.
fn explain(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    schedule: &Schedule,
    short: Short,
    anchors: &[Vec<Anchor>],
    now: Timestamp,
) -> NoRoom {
    let one = &wish.reservations[short.reservation];
    let ResourceWish::Instance(instance) = &one.resource;
    let staging = short.phase == Phase::Staging;
    let mut view = View { planned: short.before, ..View::new(state, overlay, now) };
    let mut no_room = offer::least_shortage(&mut view, &short.anchors, short.reservation, instance, short.interval, staging);
    // What comes before it moves with it.
    view.planned.clear();
    let Interval { start, end } = schedule.interval;
    let lease_length = (end != Seconds::OPEN_END).then(|| end.0 - start.0);
    let (wanted, length, last) = match schedule.staging[short.reservation].filter(|_| staging) {
        None => (start, lease_length, None),
        Some(staged) => {
            let booked = staged.booked();
            let staged_s = booked.end.0 - booked.start.0;
            (booked.start, Some(staged_s), Some(start.minus(staged_s)))
        }
    };
    let mut tried = 0;
    // Room for one reservation alone is not room for all of the lease beside the plans in flight: each start is tried.
    let mut judge = |start: Seconds| {
        tried += 1;
        let later = if staging { staged_later(wish, schedule, start) } else { started_later(wish, lease_length, start) };
        let fits =
            resolve_create(&later, now).is_ok_and(|schedule| place(state, overlay, &later, &schedule, &[], anchors, now).is_ok());
        match fits {
            true => Tried::Found,
            false if tried >= OFFERS_TRIED => Tried::Enough,
            false => Tried::GoOn,
        }
    };
    no_room.next_start = starts::first(&mut view, &short.anchors, instance, wanted, length, last, &mut judge);
    // Beside plans in flight nothing is refused.
    if !wish.precedence.preempt && overlay.is_empty() {
        let preempting = preempt::plan(state, overlay, wish, schedule, &[], anchors, now);
        no_room.preempts = preempting.map(|planned| Preempts::of(&planned.victims)).unwrap_or_default();
    }
    no_room
}

/// The same lease, started later.
fn started_later(wish: &LeaseWish, length: Option<u32>, start: Seconds) -> LeaseWish {
    let end = length.map_or(Seconds::OPEN_END, |length| start.plus(length));
    LeaseWish { start: StartWish::At(start), end, before_end: BeforeEndWish::Never, ..wish.clone() }
}

/// The same lease, its servers staged later. All reservations of a lease stage in the same window.
fn staged_later(wish: &LeaseWish, schedule: &Schedule, from: Seconds) -> LeaseWish {
    let mut later = wish.clone();
    for (one, staging) in later.reservations.iter_mut().zip(&schedule.staging) {
        if let (Some(wished), Some(staging)) = (&mut one.staging, staging) {
            let end = from.plus(staging.window.end.0 - staging.window.start.0);
            *wished = StagingWish { start: Some(from), end: Some(end), ..*wished };
        }
    }
    later
}
