//! When a lease and its parts happen: wishes resolved against the entry's time (architecture D4, D23).

use super::adoption::check_servers;
use super::expire::check_expiry;
use super::limits::{check_demands, check_name};
use super::preempt::check_precedence;
use super::verify::stale;
use crate::command::{BeforeEndWish, LeaseWish, OfferWish, ReservationWish, StagingWish, StartWish, WaitWish};
use crate::model::{
    AMOUNT_MAX, Event, EventId, EventKind, EventStatus, InstanceWish, Interval, LeaseId, Reservation, Seconds, Stage, Staging,
    Timestamp,
};
use crate::reply::Rejection;

/// Most reservations in one lease.
pub(crate) const RESERVATIONS_MAX: usize = 64;
/// Length of a staging window that is not asked for otherwise.
const STAGING_WINDOW_S: u32 = 30 * 60;
/// Flavors and inventories are made this long before the start.
const PREPARE_BEFORE_S: u32 = 60 * 60;

/// A wish with its times fixed.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// `[start, end)`
    pub interval: Interval,
    /// When `before_end_lease` is due, if at all.
    pub before_end: Option<Seconds>,
    /// One per reservation, in order.
    pub staging: Vec<Option<Staging>>,
    /// When the offer expires, of what is one.
    pub offer: Option<Seconds>,
    /// Until when it waits for room, of what would.
    pub wait: Option<Seconds>,
}

impl Schedule {
    /// Whether it starts while the offer stands: only a start that is left open can, and then it must move.
    pub fn starts_within_offer(&self) -> bool {
        self.offer.is_some_and(|expires_at| self.interval.start < expires_at)
    }
}

/// Checks everything of a wish that needs no host, and fixes its times.
///
/// Rejections, in this order: `Invalid` (name), `StartInPast`, `EndNotAfterStart`, `EndInPast`, `EndBeyondCalendar`, `Invalid`
/// (reservations), `StagingOutside`, `BeforeEndOutside`, `Invalid` (offer, wait, those of [`check_precedence`] and [`check_expiry`]). Source: blazar-api §6.1.
pub(crate) fn resolve_create(wish: &LeaseWish, now: Timestamp) -> Result<Schedule, Rejection> {
    check_name(&wish.name)?;
    let start = resolve_start(wish.start, now)?;
    let interval = Interval::new(start, wish.end).ok_or(Rejection::EndNotAfterStart)?;
    if wish.end <= now.floor_to_second() {
        return Err(Rejection::EndInPast);
    }
    check_end(wish.end)?;
    if wish.reservations.len() > RESERVATIONS_MAX {
        return Err(invalid(
            "reservations",
            format!("{} are too many; a lease has at most {RESERVATIONS_MAX}", wish.reservations.len()),
        ));
    }
    for reservation in &wish.reservations {
        check_instance(reservation.resource.instance())?;
        check_servers(reservation)?;
    }
    let staging = resolve_staging(&wish.reservations, start, now)?;
    let before_end = resolve_before_end(wish.before_end, interval)?;
    let offer = wish.offer.map(|offer| resolve_offer(offer, wish.start, start, now)).transpose()?;
    let wait = wish.wait.map(|wait| resolve_wait(wait, wish, start)).transpose()?;
    check_precedence(wish)?;
    check_expiry(wish.expiry_s)?;
    Ok(Schedule { interval, before_end, staging, offer, wait })
}

/// The last start that is asked for. `start` is the first one.
fn latest_start(wish: StartWish, start: Seconds) -> Seconds {
    match wish {
        StartWish::Earliest { latest, .. } => latest,
        StartWish::Now | StartWish::At(_) => start,
    }
}

/// Until when a lease waits: by the latest start. What is promised once and for all, or hangs on a time of its own, cannot.
fn resolve_wait(wait: WaitWish, wish: &LeaseWish, start: Seconds) -> Result<Seconds, Rejection> {
    let refused = |problem: &str| Err(invalid("wait", problem.to_owned()));
    if wish.offer.is_some() {
        return refused("an offer is there at once or not at all; it cannot wait for room");
    }
    if wish.reservations.iter().any(|one| one.staging.is_some()) {
        return refused("a lease with staging cannot wait for room");
    }
    if wish.reservations.iter().any(|one| !one.servers.is_empty()) {
        return refused("a lease that takes parked servers over cannot wait for room");
    }
    if wish.reservations.is_empty() {
        return refused("a lease without reservations has nothing to wait for");
    }
    let latest = latest_start(wish.start, start);
    match wait {
        WaitWish::UntilStart => Ok(latest),
        WaitWish::Until(until) if until <= latest => Ok(until),
        WaitWish::Until(until) => {
            let late_s = until.0 - latest.0;
            let problem = format!("it lies {late_s} s after the latest start; a lease waits until then at most");
            Err(invalid("wait.until", problem))
        }
    }
}

pub(crate) fn offer_end(offer: OfferWish, now: Timestamp) -> Seconds {
    match offer {
        OfferWish::Until(at) => at,
        OfferWish::For(seconds) => now.floor_to_second().plus(seconds),
    }
}

/// When an offer expires: after now, and by the latest start that is asked for. `start` is the first one.
fn resolve_offer(offer: OfferWish, wish: StartWish, start: Seconds, now: Timestamp) -> Result<Seconds, Rejection> {
    let expires_at = offer_end(offer, now);
    let field = match offer {
        OfferWish::Until(_) => "offer.expires_at",
        OfferWish::For(_) => "offer.valid_s",
    };
    if expires_at.timestamp() <= now {
        let problem = match offer {
            OfferWish::Until(at) => {
                format!("it is {} s before now; an offer must stand for a while", now.floor_to_second().0.saturating_sub(at.0))
            }
            OfferWish::For(seconds) => format!("it is {seconds}, and must be >= 1"),
        };
        return Err(invalid(field, problem));
    }
    let (latest, which) = match wish {
        StartWish::Earliest { latest, .. } => (latest, "the latest start"),
        StartWish::Now | StartWish::At(_) => (start, "the start"),
    };
    if expires_at > latest {
        let late_s = expires_at.0 - latest.0;
        let problem = format!("the offer would stand until {late_s} s after {which}; it must expire by then at the latest");
        return Err(invalid(field, problem));
    }
    Ok(expires_at)
}

/// A start within the current minute is not past: Blazar's dates are minutes.
pub(crate) fn resolve_start(wish: StartWish, now: Timestamp) -> Result<Seconds, Rejection> {
    match wish {
        StartWish::Now => Ok(now.floor_to_second()),
        StartWish::At(start) if start < now.floor_to_minute() => Err(Rejection::StartInPast),
        StartWish::At(start) => Ok(start),
        StartWish::Earliest { latest, .. } => {
            let first = resolve_start(wish.first(), now)?;
            if latest < first {
                let problem =
                    format!("it is {} s before the first start asked for; it must not be before it", first.0 - latest.0);
                return Err(invalid("latest_start", problem));
            }
            Ok(first)
        }
    }
}

/// The same lease as a whole, begun at `to`: what has a date of its own in it moves as far.
///
/// Rejections: those of [`resolve_start`]; `PlanStale` when the wish does not leave its start open that far, or its offer stands
/// for longer.
pub(crate) fn moved(wish: &LeaseWish, to: Seconds, now: Timestamp) -> Result<LeaseWish, Rejection> {
    let first = resolve_start(wish.start, now)?;
    let open = matches!(wish.start, StartWish::Earliest { latest, .. } if first <= to && to <= latest);
    if !open {
        return Err(stale("the planned start is none that the wish allows"));
    }
    if wish.offer.is_some_and(|offer| to < offer_end(offer, now)) {
        return Err(stale("the planned start lies before the end of the offer"));
    }
    let by = to.0 - first.0;
    let before_end = match wish.before_end {
        BeforeEndWish::At(at) => BeforeEndWish::At(at.plus(by)),
        other @ (BeforeEndWish::Never | BeforeEndWish::SecondsBefore(_)) => other,
    };
    // It has room where it is moved to, so it does not wait.
    let mut moved = LeaseWish { start: StartWish::At(to), end: wish.end.plus(by), before_end, wait: None, ..wish.clone() };
    for staging in moved.reservations.iter_mut().filter_map(|reservation| reservation.staging.as_mut()) {
        // A window that begins now stays where it is.
        if let Some(start) = staging.start {
            *staging = StagingWish { start: Some(start.plus(by)), end: staging.end.map(|at| at.plus(by)), ..*staging };
        }
    }
    Ok(moved)
}

pub(crate) fn check_end(end: Seconds) -> Result<(), Rejection> {
    if end > Seconds::LAST && end != Seconds::OPEN_END { Err(Rejection::EndBeyondCalendar) } else { Ok(()) }
}

pub(crate) fn check_instance(wish: &InstanceWish) -> Result<(), Rejection> {
    let at_least_one = |field: &str, value: u32| {
        if value >= 1 { Ok(()) } else { Err(invalid(field, format!("it is {value}, and must be >= 1"))) }
    };
    at_least_one("vcpus", wish.vcpus)?;
    at_least_one("memory_mb", wish.memory_mb)?;
    at_least_one("amount", wish.amount)?;
    if wish.amount > AMOUNT_MAX {
        return Err(invalid("amount", format!("it is {}, and must be <= {AMOUNT_MAX}", wish.amount)));
    }
    // All later arithmetic on slots of this wish stays within u32.
    if wish.need().checked_mul(wish.amount).is_none() {
        return Err(invalid("amount", format!("{} times the size is larger than any cloud: ask for less", wish.amount)));
    }
    check_demands(wish)
}

/// The window is the same for all reservations of a lease that stage: a lease has one pair of staging events.
fn resolve_staging(wishes: &[ReservationWish], start: Seconds, now: Timestamp) -> Result<Vec<Option<Staging>>, Rejection> {
    let staging = wishes
        .iter()
        .map(|wish| wish.staging.map(|wish| resolve_window(wish, start, now)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let mut windows = staging.iter().flatten().map(|staging| staging.window);
    if let Some(first) = windows.next()
        && windows.any(|window| window != first)
    {
        return Err(outside("all reservations of a lease stage in the same window"));
    }
    Ok(staging)
}

fn resolve_window(wish: StagingWish, start: Seconds, now: Timestamp) -> Result<Staging, Rejection> {
    let from = wish.start.unwrap_or(now.floor_to_second());
    if from < now.floor_to_minute() {
        return Err(outside("the window begins in the past"));
    }
    let Some(latest_end) = start.0.checked_sub(wish.park_margin_s).map(Seconds) else {
        return Err(outside("the park margin is longer than the time before the start"));
    };
    let until = wish.end.unwrap_or(from.plus(STAGING_WINDOW_S).min(latest_end));
    if until > latest_end {
        return Err(outside("window and margin end after the start"));
    }
    if until <= now.floor_to_second() {
        return Err(outside("no time is left for a window"));
    }
    let window = Interval::new(from, until).ok_or_else(|| outside("no time is left for a window"))?;
    Ok(Staging { window, park_margin_s: wish.park_margin_s })
}

/// When `before_end_lease` is due.
pub(crate) fn resolve_before_end(wish: BeforeEndWish, interval: Interval) -> Result<Option<Seconds>, Rejection> {
    match wish {
        BeforeEndWish::Never => Ok(None),
        BeforeEndWish::SecondsBefore(_) if interval.end == Seconds::OPEN_END => Ok(None),
        BeforeEndWish::SecondsBefore(seconds) => Ok(Some(interval.end.minus(seconds).max(interval.start))),
        BeforeEndWish::At(at) if interval.start < at && at < interval.end => Ok(Some(at)),
        BeforeEndWish::At(_) => Err(Rejection::BeforeEndOutside),
    }
}

/// When everything must be made that the start, or the staging window, needs.
pub(crate) fn prepare_time(start: Seconds, reservations: &[Reservation], now: Timestamp) -> Option<Seconds> {
    let first = reservations
        .iter()
        .filter(|reservation| reservation.stage == Stage::Booked)
        .map(|reservation| match reservation.staging {
            Some(staging) => staging.window.start,
            None => start.minus(PREPARE_BEFORE_S),
        })
        .min()?;
    Some(first.max(now.floor_to_second()))
}

/// The events of a new lease, in the order start, end, before_end, prepare, staging. `ids` are in the same order.
pub(crate) fn new_events(schedule: &Schedule, reservations: &[Reservation], ids: &[EventId], now: Timestamp) -> Vec<Event> {
    let window = schedule.staging.iter().flatten().map(|staging| staging.window).next();
    let times = [
        (EventKind::StartLease, Some(schedule.interval.start)),
        (EventKind::EndLease, Some(schedule.interval.end)),
        (EventKind::BeforeEndLease, schedule.before_end),
        (EventKind::Prepare, prepare_time(schedule.interval.start, reservations, now)),
        (EventKind::StagingOpen, window.map(|window| window.start)),
        (EventKind::StagingClose, window.map(|window| window.end)),
    ];
    times
        .into_iter()
        .zip(ids)
        .filter_map(|((kind, time), id)| {
            Some(Event { id: *id, kind, time: time?, status: EventStatus::Undone, created_at: now, updated_at: None })
        })
        .collect()
}

/// The id of a `before_end_lease` event that a lease gets later: the same on every replica.
pub(crate) fn late_before_end_id(lease: LeaseId) -> EventId {
    EventId(uuid::Uuid::new_v5(&lease.0, b"before_end_lease"))
}

pub(crate) fn invalid(field: &str, problem: String) -> Rejection {
    Rejection::Invalid { field: field.to_owned(), problem }
}

pub(crate) fn outside(problem: &str) -> Rejection {
    Rejection::StagingOutside { problem: problem.to_owned() }
}
