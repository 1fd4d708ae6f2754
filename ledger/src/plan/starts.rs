//! The first start at which a wish fits (R-21, flexible windows of scheduling-design §3).
//!
//! Day by day: the wide index proves of most days that no start in it has room, of some that any start has; the others are
//! swept exactly, the more at once the more were swept for nothing. How many slots fit on a host changes, as the start moves,
//! only at its steps and a length before them, so the changes of all hosts are summed in order of time.

use std::collections::VecDeque;

use super::hosts::{Hosts, Place};
use super::room::{View, remaining};
use super::search::{least, slots_on};
use crate::model::{Amounts, Anchor, InstanceWish, Interval, Seconds};

/// Starts are looked for this long after the one asked for.
pub(super) const HORIZON_S: u32 = 366 * DAY_S;
pub(super) const DAY_S: u32 = 24 * 3600;
/// Days that are swept at once at most.
pub(super) const SWEPT_DAYS_MAX: u32 = 64;

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

/// Starts one after the other, and how long the lease lasts from any of them.
#[derive(Clone, Copy)]
pub(super) struct Starts {
    pub first: Seconds,
    pub last: Seconds,
    /// Seconds from a start to its end; without end more than the calendar has.
    pub length: u64,
}

impl Starts {
    /// What all of these starts take; `None` when they have nothing in common.
    pub fn common(self) -> Option<Interval> {
        Interval::new(self.last, self.end_of(self.first))
    }

    /// What any of these starts takes.
    pub fn hull(self) -> Interval {
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
    let (mut first, mut days) = (from, 1);
    while first <= last && !anchors.is_empty() {
        let of_days = |days: u32| {
            let next = (first.0 - first.0 % DAY_S).saturating_add(days * DAY_S);
            Starts { first, last: last.min(Seconds(next - 1)), length }
        };
        let day = of_days(1);
        let mut known = Known::None;
        for anchor in &anchors {
            view.anchor = *anchor;
            known = known.max(known_of(view, wish, day));
        }
        let seen = if known == Known::Perhaps { of_days(days) } else { day };
        let sure = (known == Known::All).then_some(day.first);
        match judged(sure.into_iter(), judge) {
            Some(decided) => return decided,
            None if known == Known::None => {}
            None => {
                let starts = swept(view, &anchors, wish, seen);
                let tried_for_nothing = starts.is_empty() && known == Known::Perhaps;
                days = if tried_for_nothing { (days * 2).min(SWEPT_DAYS_MAX) } else { days };
                if let Some(decided) = judged(starts.into_iter().filter(|start| Some(*start) != sure), judge) {
                    return decided;
                }
            }
        }
        first = Seconds(seen.last.0.saturating_add(1));
    }
    None
}

/// The first start that is good, or that there is none; `None` when others are to be judged.
fn judged(starts: impl Iterator<Item = Seconds>, judge: &mut impl FnMut(Seconds) -> Tried) -> Option<Option<Seconds>> {
    for start in starts {
        match judge(start) {
            Tried::Found => return Some(Some(start)),
            Tried::GoOn => {}
            Tried::Enough => return Some(None),
        }
    }
    None
}

/// What the index knows of starts, the best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// There is no room at any of them.
    None,
    /// It must be asked exactly.
    Perhaps,
    /// There is room at each of them.
    All,
}

fn known_of(view: &View<'_>, wish: &InstanceWish, starts: Starts) -> Known {
    let Some(least) = least(wish, wish.amount) else { return Known::None };
    let hosts = Hosts::of(view, wish);
    if !reaches(wish, hosts.at_most(starts.common(), least, wish.need())) {
        return Known::None;
    }
    if reaches(wish, hosts.at_least(starts.hull(), wish.need())) { Known::All } else { Known::Perhaps }
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

/// Those of the starts at which the wish fits on hosts with one kind of anchor, in order: where what fits changes, and the
/// first one.
fn swept(view: &mut View<'_>, anchors: &[Anchor], wish: &InstanceWish, starts: Starts) -> Vec<Seconds> {
    let mut found = Vec::new();
    for anchor in anchors {
        view.anchor = *anchor;
        found.extend(swept_with(view, wish, starts));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// See [`swept`], with the anchor of the view.
fn swept_with(view: &View<'_>, wish: &InstanceWish, starts: Starts) -> Vec<Seconds> {
    settled(view, wish, starts).into_iter().filter(|(_, fits)| *fits).map(|(start, _)| start).collect()
}

/// The first of the starts and those at which what fits changes, and whether the wish fits from there on, with the anchor of
/// the view; none where no host has room.
fn settled(view: &View<'_>, wish: &InstanceWish, starts: Starts) -> Vec<(Seconds, bool)> {
    let Some(least) = least(wish, wish.amount) else { return Vec::new() };
    let hosts = Hosts::of(view, wish);
    let (mut changes, mut count) = (Vec::new(), 0u32);
    let mut host = OneHost::default();
    for (place, _) in hosts.at_most(starts.common(), least, wish.need()) {
        host.read(view, place, wish, starts);
        host.sweep(starts, |start, slots| changes.push((start, count, slots)));
        count += 1;
    }
    changes.sort_unstable();
    let mut fits = vec![0; count as usize];
    let (mut sum, mut found) = (0u64, Vec::new());
    let mut rest = changes.iter().peekable();
    while let Some((start, place, slots)) = rest.next() {
        let before = std::mem::replace(&mut fits[*place as usize], *slots);
        sum = sum - u64::from(before) + u64::from(*slots);
        if rest.peek().is_none_or(|(next, _, _)| next != start) {
            found.push((Seconds(*start), sum >= u64::from(wish.amount)));
        }
    }
    found
}

/// What there is to know of one host for a sweep; kept for the next one, so that little is allocated.
#[derive(Default)]
struct OneHost {
    /// From a second on so many slots fit; the first at or before the first start.
    steps: Vec<(u64, u32)>,
    /// Steps in the window, by place: each fits less than the ones after it.
    rising: VecDeque<usize>,
}

impl OneHost {
    fn read(&mut self, view: &View<'_>, place: Place, wish: &InstanceWish, starts: Starts) {
        let fit = |used: Amounts| slots_on(wish.affinity, remaining(place.room, used, wish.need()), wish.amount);
        let later = Interval { start: Seconds(starts.first.0.saturating_add(1)), ..starts.hull() };
        self.steps.clear();
        self.steps.push((u64::from(starts.first.0), fit(view.taken_at(place.host, starts.first))));
        for (at, used) in view.taken_steps_in(place.host, later) {
            let fit = fit(used);
            // Where as many fit as before there is no step.
            if self.steps.last().is_some_and(|(_, last)| *last != fit) {
                self.steps.push((u64::from(at.0), fit));
            }
        }
    }

    /// Tells how many slots fit from the first start on, and then where that changes.
    fn sweep(&mut self, starts: Starts, mut tell: impl FnMut(u32, u32)) {
        let (steps, rising) = (&self.steps, &mut self.rising);
        rising.clear();
        let last = u64::from(starts.last.0);
        // The window begins at `start`: the first step that reaches into it, and the first one after its end.
        let (mut start, mut inside, mut after) = (u64::from(starts.first.0), 0, 0);
        let mut told = None;
        loop {
            while steps.get(after).is_some_and(|step| step.0 < start + starts.length) {
                while rising.back().is_some_and(|back| steps[*back].1 >= steps[after].1) {
                    rising.pop_back();
                }
                rising.push_back(after);
                after += 1;
            }
            while steps.get(inside + 1).is_some_and(|step| step.0 <= start) {
                inside += 1;
            }
            while rising.front().is_some_and(|front| *front < inside) {
                rising.pop_front();
            }
            let fit = rising.front().map_or(0, |front| steps[*front].1);
            if told != Some(fit) {
                told = Some(fit);
                tell(u32::try_from(start).unwrap_or(u32::MAX), fit);
            }
            // It changes where the window leaves a step behind, or where its end comes upon one.
            let leaves = steps.get(inside + 1).map(|step| step.0);
            let meets = steps.get(after).map(|step| (step.0 + 1).saturating_sub(starts.length));
            match leaves.into_iter().chain(meets).min() {
                Some(next) if next <= last => start = next,
                Some(_) | None => return,
            }
        }
    }
}

/// One of several wishes that begin together, on hosts with one of these kinds of anchor; `length` as in [`first`].
pub(super) struct Beginning<'a> {
    pub anchors: &'a [Anchor],
    pub wish: &'a InstanceWish,
    pub length: Option<u32>,
}

/// As [`first`], of several wishes: `judge` is asked of all starts at which there is room for each of them alone and more may be
/// free than just before. That is the first such start, and wherever something ends on one of their hosts: what they need
/// together may have room where more of none of them has.
pub(super) fn first_of_all(
    view: &mut View<'_>,
    all: &[Beginning<'_>],
    from: Seconds,
    last: Option<Seconds>,
    judge: &mut impl FnMut(Seconds) -> Tried,
) -> Option<Seconds> {
    let last = last.unwrap_or(from.plus(HORIZON_S)).min(from.plus(HORIZON_S));
    if !all.iter().all(|one| one.anchors.iter().any(|anchor| has_room_at_all(view, *anchor, one.wish))) {
        return None;
    }
    let (mut first, mut days) = (from, 1);
    while first <= last {
        let until = |days: u32| last.min(Seconds((first.0 - first.0 % DAY_S).saturating_add(days * DAY_S) - 1));
        let mut known = Known::All;
        for one in all {
            let mut best = Known::None;
            for anchor in one.anchors {
                view.anchor = *anchor;
                best = best.max(known_of(view, one.wish, one.starts(first, until(1))));
            }
            known = known.min(best);
        }
        let seen = if known == Known::None { until(1) } else { until(days) };
        if known != Known::None {
            let starts = shared(view, all, from, first, seen);
            days = if starts.is_empty() { (days * 2).min(SWEPT_DAYS_MAX) } else { days };
            if let Some(decided) = judged(starts.into_iter(), judge) {
                return decided;
            }
        }
        first = seen.plus(1);
    }
    None
}

impl Beginning<'_> {
    fn starts(&self, first: Seconds, last: Seconds) -> Starts {
        Starts { first, last, length: self.length.map_or(u64::from(u32::MAX), u64::from) }
    }
}

/// See [`first_of_all`]: its starts from `first` to `last`, of all that are sought from `from` on.
fn shared(view: &mut View<'_>, all: &[Beginning<'_>], from: Seconds, first: Seconds, last: Seconds) -> Vec<Seconds> {
    let mut spans = vec![(first, last)];
    for one in all {
        let mut alone = Vec::new();
        for anchor in one.anchors {
            view.anchor = *anchor;
            let changes = settled(view, one.wish, one.starts(first, last));
            for (place, (start, _)) in changes.iter().enumerate().filter(|(_, (_, fits))| *fits) {
                alone.push((*start, changes.get(place + 1).map_or(last, |next| next.0.minus(1))));
            }
        }
        spans = in_both(&spans, &merged(alone));
        if spans.is_empty() {
            return Vec::new();
        }
    }
    let is_meant = |at: &Seconds| {
        let after = spans.partition_point(|(from, _)| from <= at);
        after.checked_sub(1).is_some_and(|place| *at <= spans[place].1)
    };
    // Where a sweep begins nothing need have changed, but at the very first start it is not known yet what fits.
    let mut starts: Vec<Seconds> = [from].into_iter().filter(is_meant).collect();
    let begin = if first == from { first.plus(1) } else { first };
    if let Some(later) = Interval::new(begin, last.plus(1)) {
        for one in all {
            let Some(least) = least(one.wish, one.wish.amount) else { return Vec::new() };
            for anchor in one.anchors {
                view.anchor = *anchor;
                let common = one.starts(first, last).common();
                for (place, _) in Hosts::of(view, one.wish).at_most(common, least, one.wish.need()) {
                    let mut before = view.taken_at(place.host, begin.minus(1));
                    for (at, taken) in view.taken_steps_in(place.host, later) {
                        // Where less of something is taken than just before.
                        if !before.fits_in(taken) && is_meant(&at) {
                            starts.push(at);
                        }
                        before = taken;
                    }
                }
            }
        }
    }
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// Spans of seconds, first and last, in order and apart.
fn merged(mut spans: Vec<(Seconds, Seconds)>) -> Vec<(Seconds, Seconds)> {
    spans.sort_unstable();
    let mut apart: Vec<(Seconds, Seconds)> = Vec::new();
    for (from, until) in spans {
        match apart.last_mut() {
            Some(last) if from <= last.1.plus(1) => last.1 = last.1.max(until),
            Some(_) | None => apart.push((from, until)),
        }
    }
    apart
}

/// What is in one of the first and in one of the second, both as [`merged`] gives them.
fn in_both(one: &[(Seconds, Seconds)], other: &[(Seconds, Seconds)]) -> Vec<(Seconds, Seconds)> {
    let (mut both, mut a, mut b) = (Vec::new(), 0, 0);
    while let (Some(x), Some(y)) = (one.get(a), other.get(b)) {
        let overlap = (x.0.max(y.0), x.1.min(y.1));
        if overlap.0 <= overlap.1 {
            both.push(overlap);
        }
        if x.1 <= y.1 { a += 1 } else { b += 1 }
    }
    both
}

#[cfg(test)]
mod tests;
