//! When a series that is refused could begin instead.

use std::collections::BTreeMap;

use super::anchors_of;
use super::later::{Lacks, next_start};
use super::place::{Over, place};
use super::series::Times;
use super::starts::HORIZON_S;
use crate::apply::quota::check_new;
use crate::apply::schedule::resolve_create;
use crate::command::{Recurrence, SeriesWish};
use crate::model::{Occurrence, Seconds, SeriesMode};
use crate::reply::Rejection;

/// How often the next start of one of its leases is sought before none is named: each may take the time of a refusal of its own.
const SEARCHES_MAX: usize = 16;

/// The first start found, after the one that is asked for, from which all of a series is booked, as `is_booked` says in the end.
///
/// The series is moved until each of its leases has room, and is within the quota, by itself. Where the rule moves all of its times
/// alike no start is passed over at which that is so.
pub(super) fn later_start(
    over: Over<'_>,
    wish: &SeriesWish,
    times: Times<'_>,
    is_booked: impl Fn(&SeriesWish, &[Occurrence]) -> bool,
) -> Option<Seconds> {
    let asked = times.asked.first()?.start;
    let (mut occurrences, mut searches) = (times.asked.to_vec(), SEARCHES_MAX);
    // Each move takes a search.
    loop {
        let mut by = 0;
        for occurrence in &occurrences {
            let at = occurrence.start.plus(by);
            by += alone_from(over, wish, *occurrence, at, &mut searches)?.0 - at.0;
        }
        let start = occurrences.first()?.start;
        if by == 0 {
            let recurrence = Recurrence { mode: SeriesMode::AllOrNothing, ..wish.recurrence.clone() };
            let moved = SeriesWish { recurrence, ..wish.started_at(start) };
            return (start > asked && is_booked(&moved, &occurrences)).then_some(start);
        }
        let start = start.plus(by);
        if start > asked.plus(HORIZON_S) {
            return None;
        }
        occurrences = (times.from)(start)?;
        // A rule with an end gives fewer of them.
        if occurrences.len() != times.asked.len() {
            return None;
        }
    }
}

/// The first second from `at` on at which one lease of the series has room, and is within the quota, with nothing else of it there.
fn alone_from(over: Over<'_>, wish: &SeriesWish, occurrence: Occurrence, at: Seconds, searches: &mut usize) -> Option<Seconds> {
    let one = wish.lease_at(Occurrence { start: at, end: at.plus(occurrence.end.0 - occurrence.start.0), ..occurrence });
    let schedule = resolve_create(&one, over.now).ok()?;
    let anchors = anchors_of(over.state, &one, &[], &BTreeMap::new());
    let placed = place(over, &one, &schedule, &[], &anchors);
    let lacks = match &placed {
        Err(short) => Lacks::Room(short),
        Ok(_) => match check_new(over.state, &one, &schedule, over.now) {
            Ok(()) => return Some(at),
            Err(Rejection::QuotaExceeded(_)) => Lacks::Quota { open_until: None },
            Err(_) => return None,
        },
    };
    *searches = searches.checked_sub(1).filter(|_| !over.steps.are_spent())?;
    next_start(over, &one, &schedule, lacks, &anchors)
}
