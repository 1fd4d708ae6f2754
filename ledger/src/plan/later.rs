//! A lease that has no room where it is asked for: where it has, and what would fit instead.

use super::place::{Over, Short, place};
use super::room::View;
use super::starts::{self, Beginning, HORIZON_S, Tried};
use super::together::largest;
use super::within::{self, Beyond};
use super::{NoRoom, OFFERS_TRIED, Planned, Preempts, offer, preempt};
use crate::apply::quota::{check_new, use_of};
use crate::apply::schedule::{Schedule, moved, resolve_create};
use crate::command::{BeforeEndWish, LeaseWish, ReservationWish, StagingWish, StartWish};
use crate::model::{Anchor, Excess, Interval, Phase, ReservationId, Seconds};
use crate::reply::Rejection;

/// Later starts that are tried so where a lease has several reservations, each of which has room there by itself.
const OFFERS_OF_SEVERAL: usize = 64;

/// Starts that are passed over for the quota before none is named: each costs a search of its own.
const JUMPS_MAX: usize = 32;

/// What was found of a start.
pub(super) enum Fit {
    /// All of it has room.
    Room,
    /// It has not, or may not be asked for.
    NoRoom,
    /// It is beyond the quota.
    Beyond(Excess),
}

impl Fit {
    /// Of what the quota does not allow.
    pub fn refused(rejection: Rejection) -> Fit {
        if let Rejection::QuotaExceeded(excess) = rejection { Fit::Beyond(excess) } else { Fit::NoRoom }
    }
}

/// The starts that may still be tried for a refusal.
pub(super) struct Trials {
    planned: usize,
    jumps: usize,
    /// From where it is gone on, of those that are passed over.
    resume: Option<Seconds>,
    has_stopped: bool,
}

impl Trials {
    /// Of a lease with so many reservations.
    pub fn of(reservations: usize) -> Trials {
        let planned = if reservations > 1 { OFFERS_OF_SEVERAL } else { OFFERS_TRIED };
        Trials { planned, jumps: JUMPS_MAX, resume: None, has_stopped: false }
    }

    /// What becomes of a start. `within_from` says which is the first one that may be within the quota again; `None`: none is.
    pub fn judge(
        &mut self,
        start: Seconds,
        fit: Fit,
        is_spent: bool,
        within_from: impl FnOnce(&Excess) -> Option<Seconds>,
    ) -> Tried {
        match fit {
            Fit::Room => return Tried::Found,
            Fit::NoRoom => self.planned -= 1,
            Fit::Beyond(excess) => {
                self.resume = within_from(&excess).filter(|next| *next > start && self.jumps > 0);
                self.jumps -= usize::from(self.resume.is_some());
                self.has_stopped = true;
            }
        }
        self.has_stopped |= self.planned == 0 || is_spent;
        if self.has_stopped { Tried::Enough } else { Tried::GoOn }
    }

    /// Whether this search goes no further.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// What `search` finds from a start on, or from where the quota lets it go on.
    pub fn seek(&mut self, from: Seconds, mut search: impl FnMut(Seconds, &mut Trials) -> Option<Seconds>) -> Option<Seconds> {
        let mut from = from;
        loop {
            if let Some(found) = search(from, self) {
                return Some(found);
            }
            from = self.resume.take()?;
            self.has_stopped = false;
        }
    }
}

/// The plan for the first later start that the wish leaves open and that has room for all of it.
pub(super) fn place_later(
    over: Over<'_>,
    wish: &LeaseWish,
    short: Short,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Option<Planned> {
    let StartWish::Earliest { latest, .. } = wish.start else { return None };
    if wish.reservations.len() > 1 && wish.reservations.iter().all(|one| one.staging.is_none()) {
        return all_later(over, wish, latest, ids, anchors);
    }
    one_later(over, wish, latest, short, ids, anchors)
}

/// See [`place_later`], where several reservations begin together and nothing is staged.
fn all_later(
    over: Over<'_>,
    wish: &LeaseWish,
    latest: Seconds,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Option<Planned> {
    let Interval { start, end } = resolve_create(wish, over.now).ok()?.interval;
    let (mut trials, mut planned) = (Trials::of(wish.reservations.len()), None);
    let mut judge = |at: Seconds| {
        planned = moved(wish, at, over.now).ok().and_then(|later| {
            let schedule = resolve_create(&later, over.now).ok()?;
            let found = place(over, &later, &schedule, ids, anchors).ok()?;
            Some(Planned { moved_to: Some(at), ..found })
        });
        let fit = if planned.is_some() { Fit::Room } else { Fit::NoRoom };
        trials.judge(at, fit, over.steps.are_spent(), |_| None)
    };
    let all = mains(wish, anchors, length_of(start, end));
    starts::first_of_all(&mut over.view(), &all, start.plus(1), Some(latest), &mut judge)?;
    planned
}

/// See [`place_later`]. From what is short at one start the next one is found: the first at which just that has room. No start is
/// passed over that has room for all, but where plans in flight want the same room, and where a staged lease comes further with
/// one kind of anchor than with the other, or has several reservations: then only the starts of that kind, or of the one that
/// was short, are tried.
fn one_later(
    over: Over<'_>,
    wish: &LeaseWish,
    latest: Seconds,
    mut short: Short,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Option<Planned> {
    let mut view = over.view();
    let mut at = resolve_create(wish, over.now).ok()?.interval.start;
    let mut again = false;
    for _ in 0..OFFERS_TRIED {
        // A staging window that begins now stays where it is, wherever the lease goes.
        if short.phase == Phase::Staging && wish.reservations[short.reservation].staging?.start.is_none() {
            return None;
        }
        let instance = wish.reservations[short.reservation].resource.instance();
        let Interval { start, end } = short.interval;
        let before = at.0 - start.0;
        // What had room by itself, and yet was short, has it from the next second on as well: only a change can help.
        let next = start.plus(1);
        let mut judge = |found: Seconds| if again && found == next { Tried::GoOn } else { Tried::Found };
        let (length, last) = (length_of(start, end), Some(latest.minus(before)));
        let found = starts::first(&mut view, &short.anchors, instance, next, length, last, &mut judge)?;
        at = found.plus(before);
        let later = moved(wish, at, over.now).ok()?;
        let schedule = resolve_create(&later, over.now).ok()?;
        let (reservation, phase) = (short.reservation, short.phase);
        match place(over, &later, &schedule, ids, anchors) {
            Ok(planned) => return Some(Planned { moved_to: Some(at), ..planned }),
            Err(next) => short = next,
        }
        again = (short.reservation, short.phase) == (reservation, phase);
    }
    None
}

/// Seconds from a start to an end; `None` without end.
pub(super) fn length_of(start: Seconds, end: Seconds) -> Option<u32> {
    (end != Seconds::OPEN_END).then(|| end.0 - start.0)
}

/// All reservations of a wish from the start of the lease on.
fn mains<'a>(wish: &'a LeaseWish, anchors: &'a [Vec<Anchor>], length: Option<u32>) -> Vec<Beginning<'a>> {
    let of =
        |(one, anchors): (&'a ReservationWish, &'a Vec<Anchor>)| Beginning { anchors, wish: one.resource.instance(), length };
    wish.reservations.iter().zip(anchors).map(of).collect()
}

/// What would fit instead of a new lease that does not.
pub(super) fn explain(over: Over<'_>, wish: &LeaseWish, schedule: &Schedule, short: Short, anchors: &[Vec<Anchor>]) -> NoRoom {
    let Over { state, overlay, now, .. } = over;
    let mut no_room = missing(over, wish, schedule, short.clone(), anchors);
    no_room.next_start = next_start(over, wish, schedule, Lacks::Room(&short), anchors);
    let length = length_of(schedule.interval.start, schedule.interval.end).filter(|_| !no_room.staging);
    no_room.next_end = no_room.next_start.zip(length).map(|(start, length)| start.plus(length));
    // Beside plans in flight nothing is refused.
    if !wish.precedence.preempt && overlay.is_empty() {
        let preempting = preempt::plan(state, overlay, wish, schedule, &[], anchors, now);
        no_room.preempts = preempting.map(|planned| Preempts::of(&planned.victims)).unwrap_or_default();
    }
    no_room
}

/// What is missing where it is asked for. An amount that is told was planned with all of the lease, where that has other parts.
pub(super) fn missing(over: Over<'_>, wish: &LeaseWish, schedule: &Schedule, short: Short, anchors: &[Vec<Anchor>]) -> NoRoom {
    let one = &wish.reservations[short.reservation];
    let (instance, place_of) = (one.resource.instance(), short.reservation);
    let mut view = View { planned: short.before, ..over.view() };
    let staging = short.phase == Phase::Staging;
    let no_room = offer::least_shortage(&mut view, &short.anchors, place_of, instance, short.interval, staging);
    if wish.reservations.len() == 1 && one.staging.is_none() {
        return no_room;
    }
    let fits =
        |amount: u32| !over.steps.are_spent() && place(over, &fewer(wish, place_of, amount), schedule, &[], anchors).is_ok();
    let largest_amount = with_servers(one, largest(instance.amount, no_room.largest_amount, fits));
    NoRoom { largest_amount, short_by: instance.amount - largest_amount, ..no_room }
}

/// The same lease with fewer of one reservation.
pub(super) fn fewer(wish: &LeaseWish, reservation: usize, amount: u32) -> LeaseWish {
    let mut fewer = wish.clone();
    fewer.reservations[reservation].resource.instance_mut().amount = amount;
    fewer
}

/// An amount that fits; 0 where it is less than the servers that the reservation is to take over, each of which has a slot.
pub(super) fn with_servers(one: &ReservationWish, fits: u32) -> u32 {
    if fits as usize >= one.servers.len() { fits } else { 0 }
}

/// Why a lease is not booked where it is asked for.
#[derive(Clone, Copy)]
pub(super) enum Lacks<'a> {
    /// This has no room.
    Room(&'a Short),
    /// It goes beyond the quota of its project; where its start is left open until a second, it is begun as its wish says.
    Quota { open_until: Option<Seconds> },
}

/// The first start, not before the one asked for, from which all of it fits; of what lacks room for its staging alone, the first
/// staging window's.
pub(super) fn next_start(
    over: Over<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    lacks: Lacks<'_>,
    anchors: &[Vec<Anchor>],
) -> Option<Seconds> {
    let (reservation, of_one, staging, latest) = match lacks {
        Lacks::Room(short) => (short.reservation, &short.anchors, short.phase == Phase::Staging, None),
        Lacks::Quota { open_until } => (0, anchors.first()?, false, open_until),
    };
    let Interval { start, end } = schedule.interval;
    let lease_length = length_of(start, end);
    let staged = |place: usize| schedule.staging[place].map(|staging| staging.booked());
    let (wanted, length, last) = match staged(reservation).filter(|_| staging) {
        None => (start, lease_length, latest),
        Some(booked) => {
            let staged_s = booked.end.0 - booked.start.0;
            (booked.start, Some(staged_s), Some(start.minus(staged_s)))
        }
    };
    let several = wish.reservations.len() > 1;
    let begun_at = |start| match latest {
        Some(_) => moved(wish, start, over.now).ok(),
        None if staging => Some(staged_later(wish, schedule, start)),
        None => Some(started_later(wish, lease_length, start)),
    };
    let resolved_at = |start| begun_at(start).and_then(|later| Some((resolve_create(&later, over.now).ok()?, later)));
    // Room for each by itself is not room for all of the lease beside the plans in flight: each start is tried.
    let judge = |start: Seconds, trials: &mut Trials| {
        // There it was just refused; for the quota it is again, which says from when on it is not.
        if start == wanted && several && matches!(lacks, Lacks::Room(_)) {
            return Tried::GoOn;
        }
        let fit = match resolved_at(start) {
            None => Fit::NoRoom,
            Some((schedule, later)) => match check_new(over.state, &later, &schedule, over.now) {
                Err(beyond) => Fit::refused(beyond),
                Ok(()) if place(over, &later, &schedule, &[], anchors).is_ok() => Fit::Room,
                Ok(()) => Fit::NoRoom,
            },
        };
        trials.judge(start, fit, several && over.steps.are_spent(), |excess| {
            let used_from = |start| resolved_at(start).map(|(schedule, later)| use_of(&later, &schedule));
            let (state, project, had, now) = (over.state, &wish.project_id, [].as_slice(), over.now);
            let is_dated = |one: &ReservationWish| one.staging.is_none_or(|staging| staging.start.is_some());
            let moves_whole = latest.is_some() && wish.reservations.iter().all(is_dated);
            let judged = |start: Seconds| {
                let (schedule, later) = resolved_at(start)?;
                check_new(over.state, &later, &schedule, over.now).err()
            };
            within::first_within(start, excess, judged, |start, excess| {
                Beyond { state, project, start, had, used_from, moves_whole, now }.within_from(excess)
            })
        })
    };
    let mut view = over.view();
    let last = Some(last.unwrap_or(wanted.plus(HORIZON_S)));
    let mut trials = Trials::of(wish.reservations.len());
    if !several {
        let instance = wish.reservations[reservation].resource.instance();
        return trials.seek(wanted, |from, trials| {
            starts::first(&mut view, of_one, instance, from, length, last, &mut |start| judge(start, trials))
        });
    }
    let mut all = mains(wish, anchors, lease_length);
    if staging {
        let mut place = 0;
        all.retain_mut(|one| {
            let booked = staged(place);
            one.length = booked.map(|booked| booked.end.0 - booked.start.0);
            place += 1;
            booked.is_some()
        });
    }
    trials.seek(wanted, |from, trials| starts::first_of_all(&mut view, &all, from, last, &mut |start| judge(start, trials)))
}

/// The same lease, started later.
fn started_later(wish: &LeaseWish, length: Option<u32>, start: Seconds) -> LeaseWish {
    let end = length.map_or(Seconds::OPEN_END, |length| start.plus(length));
    LeaseWish { start: StartWish::At(start), end, before_end: BeforeEndWish::Never, wait: None, ..wish.clone() }
}

/// The same lease, its servers staged later. All reservations of a lease stage in the same window.
fn staged_later(wish: &LeaseWish, schedule: &Schedule, from: Seconds) -> LeaseWish {
    let mut later = LeaseWish { wait: None, ..wish.clone() };
    for (one, staging) in later.reservations.iter_mut().zip(&schedule.staging) {
        if let (Some(wished), Some(staging)) = (&mut one.staging, staging) {
            let end = from.plus(staging.window.end.0 - staging.window.start.0);
            *wished = StagingWish { start: Some(from), end: Some(end), ..*wished };
        }
    }
    later
}
