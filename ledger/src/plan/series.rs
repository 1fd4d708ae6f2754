//! Plans the leases of a recurring request, one after the other.

use std::collections::BTreeMap;

use super::later::{fewer, missing};
use super::place::{Over, place};
use super::quota::{SHRUNK_MAX, refused};
use super::series_later::later_start;
use super::together::{Steps, largest};
use super::{NoPlan, NoRoom, Overlay, Tell, anchors_of};
use crate::apply::quota;
use crate::apply::schedule::resolve_create;
use crate::apply::series::check_series;
use crate::command::{PlannedReservation, SeriesWish};
use crate::model::{
    Amounts, Excess, HostId, Interval, LeftOut, LeftOutReason, Occurrence, ReservationId, Seconds, SeriesMode, Timestamp,
};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::State;

/// A plan for a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesPlan {
    /// What has room, by number.
    pub occurrences: Vec<OccurrencePlan>,
    /// What has none, by number; only with best effort.
    pub left_out: Vec<LeftOut>,
    /// Ledger index of the view.
    pub planned_at: u64,
    /// What the overlay books, of all occurrences.
    pub bookings: Vec<(HostId, Interval, Amounts)>,
}

/// One occurrence that has room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OccurrencePlan {
    /// Which, and when.
    pub occurrence: Occurrence,
    /// For the command.
    pub reservations: Vec<PlannedReservation>,
}

/// When the leases of a series are.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    /// By number, from the start that is asked for.
    pub asked: &'a [Occurrence],
    /// The same where it begins at another second, or at the first one from there on at which its rule lets it; `None` where there is none.
    pub from: &'a (dyn Fn(Seconds) -> Option<Vec<Occurrence>> + Sync),
}

/// Plans the occurrences of a series by number, each beside those before it; `ids` are those of the reservations, for each
/// occurrence in its order.
///
/// It is greedy: an earlier occurrence is never moved to other hosts for a later one. With all or nothing the first one without
/// room refuses the series; with best effort it is left out, and only a series of which nothing is left is refused.
///
/// # Errors
/// What `apply` would refuse it for; `NoRoom` of the first occurrence without room, or of a series beyond the quota, with the largest
/// amount with which the series is booked: all of it, or with best effort any of it; and the next start that was found from which all of it
/// is booked as it is.
pub fn plan_series(
    state: &State,
    overlay: &Overlay,
    wish: &SeriesWish,
    times: Times<'_>,
    ids: &[Vec<ReservationId>],
    now: Timestamp,
    tell: Tell,
) -> Result<SeriesPlan, NoPlan> {
    let (now, occurrences) = (now.max(state.clock()), times.asked);
    check_series(wish, occurrences.iter().copied()).map_err(NoPlan::Rejected)?;
    let mut found =
        SeriesPlan { occurrences: Vec::new(), left_out: Vec::new(), planned_at: state.ledger_index(), bookings: Vec::new() };
    let mut first_without: Option<NoRoom> = None;
    let (in_flight, mut overlay, mut schedules, steps) = (overlay, overlay.clone(), Vec::new(), Steps::new());
    let instead = Instead { state, overlay: in_flight, wish, times, now };
    for (occurrence, ids) in occurrences.iter().copied().zip(ids) {
        let one = wish.lease_at(occurrence);
        let schedule = resolve_create(&one, now).map_err(NoPlan::Rejected)?;
        let anchors = anchors_of(state, &one, ids, &BTreeMap::new());
        let over = Over { state, overlay: &overlay, now, steps: &steps };
        match place(over, &one, &schedule, ids, &anchors) {
            Ok(planned) => {
                overlay.add(state, &planned.bookings);
                found.bookings.extend(planned.bookings);
                schedules.push(schedule);
                found.occurrences.push(OccurrencePlan { occurrence, reservations: planned.reservations });
            }
            Err(short) => {
                let books_all = wish.recurrence.mode == SeriesMode::AllOrNothing && !mutant!("N21");
                // What is left out beside plans in flight is no answer either.
                if tell == Tell::Shortage && (books_all || !in_flight.is_empty()) {
                    return Err(NoPlan::NoRoom(NoRoom::default()));
                }
                let no_room = missing(over, &one, &schedule, short, &anchors);
                let no_room = NoRoom { occurrence: Some(occurrence.number), ..no_room };
                if books_all {
                    return Err(NoPlan::NoRoom(instead.of_room(no_room)));
                }
                let reason = LeftOutReason::NoRoom {
                    reservation: u32::try_from(no_room.reservation).unwrap_or(u32::MAX),
                    short_by: no_room.short_by,
                    largest_amount: no_room.largest_amount,
                    tightest: no_room.tightest,
                };
                found.left_out.push(LeftOut { occurrence, reason });
                first_without.get_or_insert(no_room);
                mutant!("N23", {
                    let last = found.left_out.last().cloned();
                    let behind = occurrences.iter().filter(|one| one.number > occurrence.number);
                    found.left_out.extend(behind.flat_map(|one| last.clone().map(|last| LeftOut { occurrence: *one, ..last })));
                    break;
                });
            }
        }
    }
    if let Some(no_room) = first_without
        && found.occurrences.is_empty()
    {
        let told = if tell == Tell::WhatFits { instead.of_room(no_room) } else { no_room };
        return Err(NoPlan::NoRoom(told));
    }
    // Best effort is about room: of what has room none is left out for the quota, which does not come free by itself.
    match quota::check_series(state, &wish.lease, &schedules.iter().collect::<Vec<_>>(), now) {
        Ok(()) => Ok(found),
        Err(Rejection::QuotaExceeded(excess)) => Err(refused(tell, excess, || instead.of_quota(excess))),
        Err(rejection) => Err(NoPlan::Rejected(rejection)),
    }
}

/// What fits instead of a series that is refused: the same one with fewer of one reservation, or from a later start on.
struct Instead<'a> {
    state: &'a State,
    overlay: &'a Overlay,
    wish: &'a SeriesWish,
    times: Times<'a>,
    now: Timestamp,
}

impl Instead<'_> {
    /// Of an occurrence that has no room: with how many the series is booked, which are seldom more than fit there.
    fn of_room(&self, no_room: NoRoom) -> NoRoom {
        let largest_amount = self.largest_of(no_room.reservation, no_room.largest_amount, &Steps::new());
        self.with_start(NoRoom { largest_amount, ..no_room })
    }

    fn with_start(&self, no_room: NoRoom) -> NoRoom {
        let steps = Steps::new();
        let over = Over { state: self.state, overlay: self.overlay, now: self.now, steps: &steps };
        let is_booked = |wish: &SeriesWish, occurrences: &[Occurrence]| {
            check_series(wish, occurrences.iter().copied()).is_ok() && self.is_booked(wish, occurrences, &steps)
        };
        let next_start = later_start(over, self.wish, self.times, is_booked);
        let length = self.times.asked.first().map(|one| one.end.0 - one.start.0);
        NoRoom { next_start, next_end: next_start.zip(length).map(|(start, length)| start.plus(length)), ..no_room }
    }

    /// Of a series beyond the quota. For the limits of single leases fewer of it are refused as well.
    fn of_quota(&self, excess: Excess) -> Option<NoRoom> {
        // The first that is not over where the limit is passed.
        let at = excess.at?;
        let occurrence = self.times.asked.iter().find(|one| one.end > at).map(|one| one.number);
        let reservations = &self.wish.lease.reservations;
        let steps = Steps::new();
        let mut amounts = (0..reservations.len().min(SHRUNK_MAX)).map(|one| (one, self.largest_of(one, 0, &steps)));
        // Where none by itself can be made smaller so that all of it fits, the first one is named, with none of it.
        let (reservation, largest_amount) = amounts.find(|(_, amount)| *amount > 0).unwrap_or_default();
        let short_by = reservations.get(reservation)?.resource.instance().amount - largest_amount;
        let smaller = NoRoom { quota: Some(excess), reservation, short_by, largest_amount, occurrence, ..NoRoom::default() };
        Some(self.with_start(smaller))
    }

    /// The largest amount of one reservation, less than what is asked for, with which the series is booked; 0: there is none.
    fn largest_of(&self, reservation: usize, guess: u32, steps: &Steps) -> u32 {
        let wanted = self.wish.lease.reservations[reservation].resource.instance().amount;
        largest(wanted, guess, |amount| {
            let lease = fewer(&self.wish.lease, reservation, amount);
            !steps.are_spent() && self.is_booked(&SeriesWish { lease, ..self.wish.clone() }, self.times.asked, steps)
        })
    }

    /// Whether a series is booked as it is, as [`plan_series`] plans it.
    fn is_booked(&self, wish: &SeriesWish, occurrences: &[Occurrence], steps: &Steps) -> bool {
        let (mut overlay, mut schedules) = (self.overlay.clone(), Vec::new());
        for occurrence in occurrences {
            let one = wish.lease_at(*occurrence);
            let Ok(schedule) = resolve_create(&one, self.now) else { return false };
            let anchors = anchors_of(self.state, &one, &[], &BTreeMap::new());
            let over = Over { state: self.state, overlay: &overlay, now: self.now, steps };
            match place(over, &one, &schedule, &[], &anchors) {
                Ok(planned) => {
                    overlay.add(self.state, &planned.bookings);
                    schedules.push(schedule);
                }
                Err(_) if wish.recurrence.mode == SeriesMode::BestEffort => {}
                Err(_) => return false,
            }
        }
        let within = || quota::check_series(self.state, &wish.lease, &schedules.iter().collect::<Vec<_>>(), self.now).is_ok();
        !schedules.is_empty() && within()
    }
}
