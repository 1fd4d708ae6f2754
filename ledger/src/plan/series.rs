//! Plans the leases of a recurring request, one after the other.

use std::collections::BTreeMap;

use super::later::{fewer, missing};
use super::place::{Over, place};
use super::quota::{SHRUNK_MAX, refused};
use super::together::{Steps, largest};
use super::{NoPlan, NoRoom, Overlay, Tell, anchors_of};
use crate::apply::quota;
use crate::apply::schedule::resolve_create;
use crate::apply::series::check_series;
use crate::command::{PlannedReservation, SeriesWish};
use crate::model::{Amounts, Excess, HostId, Interval, LeftOut, LeftOutReason, Occurrence, ReservationId, SeriesMode, Timestamp};
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

/// Plans the occurrences of a series by number, each beside those before it; `ids` are those of the reservations, for each
/// occurrence in its order.
///
/// It is greedy: an earlier occurrence is never moved to other hosts for a later one. With all or nothing the first one without
/// room refuses the series; with best effort it is left out, and only a series of which nothing is left is refused.
///
/// # Errors
/// What `apply` would refuse it for; `NoRoom` of the first occurrence without room, or of a series beyond the quota, with the largest
/// amount with which the series is booked: all of it, or with best effort any of it.
pub fn plan_series(
    state: &State,
    overlay: &Overlay,
    wish: &SeriesWish,
    occurrences: &[Occurrence],
    ids: &[Vec<ReservationId>],
    now: Timestamp,
    tell: Tell,
) -> Result<SeriesPlan, NoPlan> {
    let now = now.max(state.clock());
    check_series(wish, occurrences.iter().copied()).map_err(NoPlan::Rejected)?;
    let mut found =
        SeriesPlan { occurrences: Vec::new(), left_out: Vec::new(), planned_at: state.ledger_index(), bookings: Vec::new() };
    let mut first_without: Option<NoRoom> = None;
    let (in_flight, mut overlay, mut schedules, steps) = (overlay, overlay.clone(), Vec::new(), Steps::new());
    let smaller = Smaller { state, overlay: in_flight, wish, occurrences, now };
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
                // No later start is sought: the rule says when an occurrence is.
                let no_room = missing(over, &one, &schedule, short, &anchors);
                let no_room = NoRoom { occurrence: Some(occurrence.number), ..no_room };
                if books_all {
                    return Err(NoPlan::NoRoom(smaller.instead(no_room)));
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
        let told = if tell == Tell::WhatFits { smaller.instead(no_room) } else { no_room };
        return Err(NoPlan::NoRoom(told));
    }
    // Best effort is about room: of what has room none is left out for the quota, which does not come free by itself.
    match quota::check_series(state, &wish.lease, &schedules.iter().collect::<Vec<_>>(), now) {
        Ok(()) => Ok(found),
        Err(Rejection::QuotaExceeded(excess)) => Err(refused(tell, excess, || smaller.within(excess))),
        Err(rejection) => Err(NoPlan::Rejected(rejection)),
    }
}

/// What fits instead of a series that is refused: the same one with fewer of one reservation. The rule says when its
/// occurrences are, so no other times are sought.
struct Smaller<'a> {
    state: &'a State,
    overlay: &'a Overlay,
    wish: &'a SeriesWish,
    occurrences: &'a [Occurrence],
    now: Timestamp,
}

impl Smaller<'_> {
    /// Of an occurrence that has no room: with how many the series is booked, which are seldom more than fit there.
    fn instead(&self, no_room: NoRoom) -> NoRoom {
        let largest_amount = self.largest_of(no_room.reservation, no_room.largest_amount, &Steps::new());
        NoRoom { largest_amount, ..no_room }
    }

    /// Of a series beyond the quota. For the limits of single leases fewer of it are refused as well.
    fn within(&self, excess: Excess) -> Option<NoRoom> {
        // The first that is not over where the limit is passed.
        let at = excess.at?;
        let occurrence = self.occurrences.iter().find(|one| one.end > at).map(|one| one.number);
        let reservations = &self.wish.lease.reservations;
        let steps = Steps::new();
        let mut amounts = (0..reservations.len().min(SHRUNK_MAX)).map(|one| (one, self.largest_of(one, 0, &steps)));
        // Where none by itself can be made smaller so that all of it fits, the first one is named, with none of it.
        let (reservation, largest_amount) = amounts.find(|(_, amount)| *amount > 0).unwrap_or_default();
        let short_by = reservations.get(reservation)?.resource.instance().amount - largest_amount;
        Some(NoRoom { quota: Some(excess), reservation, short_by, largest_amount, occurrence, ..NoRoom::default() })
    }

    /// The largest amount of one reservation, less than what is asked for, with which the series is booked; 0: there is none.
    fn largest_of(&self, reservation: usize, guess: u32, steps: &Steps) -> u32 {
        let wanted = self.wish.lease.reservations[reservation].resource.instance().amount;
        largest(wanted, guess, |amount| {
            let lease = fewer(&self.wish.lease, reservation, amount);
            !steps.are_spent() && self.is_booked(&SeriesWish { lease, ..self.wish.clone() }, steps)
        })
    }

    /// Whether a series is booked as it is, as [`plan_series`] plans it.
    fn is_booked(&self, wish: &SeriesWish, steps: &Steps) -> bool {
        let (mut overlay, mut schedules) = (self.overlay.clone(), Vec::new());
        for occurrence in self.occurrences {
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
