//! The first start at which a wish fits (R-21, flexible windows of scheduling-design §3).
//!
//! Day by day: the wide index proves of most days that no start in it has room, of some that any start has; the others are
//! swept exactly. How many slots fit on a host changes, as the start moves, only at its steps and a length before them, so
//! the changes of all hosts are summed in order of time.

use super::hosts::{Hosts, Place};
use super::room::{View, remaining};
use super::search::{least, slots_on};
use crate::model::{Amounts, Anchor, InstanceWish, Interval, Seconds};

/// Starts are looked for this long after the one asked for.
const HORIZON_S: u32 = 366 * DAY_S;
const DAY_S: u32 = 24 * 3600;

/// What became of a start that was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// It will do.
    Found,
    /// It will not.
    GoOn,
    /// It will not, and no other is to be looked for.
    Enough,
}

/// Starts that are as good as each other for the index: at most a day of them.
#[derive(Clone, Copy)]
struct Day {
    first: Seconds,
    last: Seconds,
    /// Seconds from a start to its end; without end more than the calendar has.
    length: u64,
}

impl Day {
    /// What every start of the day takes; `None` when some have nothing in common.
    fn common(self) -> Option<Interval> {
        Interval::new(self.last, self.end_of(self.first))
    }

    /// What any start of the day takes.
    fn hull(self) -> Interval {
        Interval { start: self.first, end: self.end_of(self.last) }
    }

    fn end_of(self, start: Seconds) -> Seconds {
        Seconds(u32::try_from(u64::from(start.0) + self.length).unwrap_or(u32::MAX))
    }
}

/// The first start from `from` on, not after `last`, at which `wish` fits for `length` seconds (`None`: for ever) on hosts
/// with one of these kinds of anchor, and which `judge` finds good. It is asked of starts in order; there is room at each, but
/// for plans in flight and other parts of the lease.
pub(super) fn first(
    view: &mut View<'_>,
    anchors: &[Anchor],
    wish: &InstanceWish,
    from: Seconds,
    length: Option<u32>,
    last: Option<Seconds>,
    judge: &mut impl FnMut(Seconds) -> Tried,
) -> Option<Seconds> {
    let last = last.unwrap_or(from.plus(HORIZON_S)).min(from.plus(HORIZON_S));
    let length = length.map_or(u64::from(u32::MAX), u64::from);
    let anchors: Vec<Anchor> = anchors.iter().copied().filter(|anchor| has_room_at_all(view, *anchor, wish)).collect();
    let mut first = from;
    while first <= last && !anchors.is_empty() {
        let next = first.0.saturating_add(DAY_S - first.0 % DAY_S);
        let day = Day { first, last: last.min(Seconds(next - 1)), length };
        let mut starts = Vec::new();
        for anchor in &anchors {
            view.anchor = *anchor;
            starts.extend(starts_in(view, wish, day));
        }
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            match judge(start) {
                Tried::Found => return Some(start),
                Tried::GoOn => {}
                Tried::Enough => return None,
            }
        }
        first = Seconds(next);
    }
    None
}

/// Whether all of it would fit if nothing were booked.
fn has_room_at_all(view: &mut View<'_>, anchor: Anchor, wish: &InstanceWish) -> bool {
    view.anchor = anchor;
    let Some(least) = least(wish, wish.amount) else { return false };
    reaches(wish, Hosts::of(view, wish).at_most(None, least, wish.need()))
}

/// Whether the slots of hosts make up the amount. With affinity a host counts only when it takes all, so the sum says the same.
fn reaches(wish: &InstanceWish, mut hosts: impl Iterator<Item = (Place, u32)>) -> bool {
    let mut sum = 0u64;
    hosts.any(|(_, fit)| {
        sum += u64::from(slots_on(wish.affinity, fit, wish.amount));
        sum >= u64::from(wish.amount)
    })
}

/// The starts of a day at which the wish fits, in order: where what fits changes, and the first one.
fn starts_in(view: &View<'_>, wish: &InstanceWish, day: Day) -> Vec<Seconds> {
    let Some(least) = least(wish, wish.amount) else { return Vec::new() };
    let hosts = Hosts::of(view, wish);
    if !reaches(wish, hosts.at_most(day.common(), least, wish.need())) {
        return Vec::new();
    }
    if reaches(wish, hosts.at_least(day.hull(), wish.need())) {
        return vec![day.first];
    }
    let mut changes: Vec<(Seconds, usize, u32)> = Vec::new();
    let mut count = 0;
    for (place, _) in hosts.at_most(day.common(), least, wish.need()) {
        for (at, fit) in fits_by_start(view, place, wish.need(), day) {
            changes.push((at, count, slots_on(wish.affinity, fit, wish.amount)));
        }
        count += 1;
    }
    changes.sort_unstable();
    let mut fits = vec![0u64; count];
    let (mut sum, mut found) = (0u64, Vec::new());
    let mut rest = changes.iter().peekable();
    while let Some((at, place, fit)) = rest.next() {
        sum = sum - fits[*place] + u64::from(*fit);
        fits[*place] = u64::from(*fit);
        let settled = rest.peek().is_none_or(|(next, _, _)| next != at);
        if settled && sum >= u64::from(wish.amount) {
            found.push(*at);
        }
    }
    found
}

/// How many slots fit on a host from each start of the day on, where it changes.
fn fits_by_start(view: &View<'_>, place: Place, need: Amounts, day: Day) -> Vec<(Seconds, u32)> {
    let calendar = view.state.calendar();
    let fit = |used: Amounts| remaining(place.room, used, need);
    // Steps that reach beyond the first start, the first one beginning at or before it.
    let mut steps: Vec<(u64, u32)> = vec![(u64::from(day.first.0), fit(calendar.at(place.host, day.first)))];
    let later = Interval { start: Seconds(day.first.0.saturating_add(1)), ..day.hull() };
    steps.extend(calendar.steps_in(place.host, later).map(|(at, used)| (u64::from(at.0), fit(used))));

    let mut starts: Vec<u64> = steps
        .iter()
        .flat_map(|(at, _)| [Some(*at), (at + 1).checked_sub(day.length)])
        .flatten()
        .filter(|at| (u64::from(day.first.0)..=u64::from(day.last.0)).contains(at))
        .collect();
    starts.sort_unstable();
    starts.dedup();

    // The least of the steps that [start, start + length) touches, kept as a queue of rising values.
    let mut queue: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let (mut next, mut changes) = (0, Vec::new());
    for start in starts {
        while next < steps.len() && steps[next].0 < start + day.length {
            while queue.back().is_some_and(|back| steps[*back].1 >= steps[next].1) {
                queue.pop_back();
            }
            queue.push_back(next);
            next += 1;
        }
        // A step is left behind when the one after it begins at or before the start.
        while queue.front().is_some_and(|front| steps.get(front + 1).is_some_and(|after| after.0 <= start)) {
            queue.pop_front();
        }
        let fit = queue.front().map_or(0, |front| steps[*front].1);
        if changes.last().is_none_or(|(_, last)| *last != fit) {
            changes.push((Seconds(u32::try_from(start).unwrap_or(u32::MAX)), fit));
        }
    }
    changes
}

#[cfg(test)]
mod tests;
