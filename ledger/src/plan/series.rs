//! Plans the leases of a recurring request, one after the other.

use std::collections::BTreeMap;

use super::later::missing;
use super::place::{Over, place};
use super::together::Steps;
use super::{NoPlan, NoRoom, Overlay, Tell, anchors_of};
use crate::apply::quota;
use crate::apply::schedule::resolve_create;
use crate::apply::series::check_series;
use crate::command::{PlannedReservation, SeriesWish};
use crate::model::{Amounts, HostId, Interval, LeftOut, LeftOutReason, Occurrence, ReservationId, SeriesMode, Timestamp};
use crate::mutant;
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
/// What `apply` would refuse it for; `NoRoom` of the first occurrence without room.
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
                    return Err(NoPlan::NoRoom(no_room));
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
    match first_without {
        Some(no_room) if found.occurrences.is_empty() => Err(NoPlan::NoRoom(no_room)),
        _ => {
            // Best effort is about room: of what has room none is left out for the quota, which does not come free by itself.
            quota::check_series(state, &wish.lease, &schedules.iter().collect::<Vec<_>>(), now).map_err(NoPlan::Rejected)?;
            Ok(found)
        }
    }
}
