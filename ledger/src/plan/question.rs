//! What users ask before they ask for a lease: pure reads of the state, without the plans in flight.

use std::collections::BTreeSet;

use super::room::View;
use super::starts::{self, Tried};
use super::{Overlay, offer};
use crate::model::{
    AMOUNT_MAX, Amounts, Class, HostId, InstanceWish, Interval, PoolKind, Requirement, Seconds, Timestamp, misfit,
};
use crate::state::State;

/// What fits into one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatFits {
    /// The most instances that one reservation of this wish could have, whatever amount it asks for; at most [`AMOUNT_MAX`].
    pub largest_amount: u32,
    /// The class that binds most hosts; `None` when no host is of the kind.
    pub tightest: Option<Class>,
}

/// How many instances of a wish fit into what is still to come of a window, `among` these hosts where they are given. Its
/// `amount` does not count.
#[must_use]
pub fn what_fits(
    state: &State,
    wish: &InstanceWish,
    among: Option<&BTreeSet<HostId>>,
    window: Interval,
    now: Timestamp,
) -> WhatFits {
    let overlay = Overlay::default();
    let mut view = View { among, ..View::new(state, &overlay, now.max(state.clock())) };
    let short = offer::least_shortage(&mut view, &state.anchors(), 0, wish, window, false);
    WhatFits { largest_amount: short.largest_amount.min(AMOUNT_MAX), tightest: short.tightest }
}

/// The first second from `from` on, not after `last`, at which all of a wish fits for `length_s` seconds (`None`: without
/// end), `among` these hosts where they are given; `None` when there is none, or none within a year of `from`.
#[must_use]
pub fn earliest_start(
    state: &State,
    wish: &InstanceWish,
    among: Option<&BTreeSet<HostId>>,
    from: Seconds,
    last: Option<Seconds>,
    length_s: Option<u32>,
    now: Timestamp,
) -> Option<Seconds> {
    let overlay = Overlay::default();
    let now = now.max(state.clock());
    let mut view = View { among, ..View::new(state, &overlay, now) };
    let from = from.max(now.floor_to_second());
    starts::first(&mut view, &state.anchors(), wish, from, length_s, last, &mut |_| Tried::Found)
}

/// Which hosts capacity is asked of; without a word all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFilter {
    /// Of this availability zone.
    pub zone: Option<String>,
    /// Of this pool.
    pub pool: Option<PoolKind>,
    /// Among these.
    pub hosts: Option<BTreeSet<HostId>>,
    /// With all of these traits.
    pub required_traits: BTreeSet<String>,
    /// With none of these traits.
    pub forbidden_traits: BTreeSet<String>,
    /// That meet all of these terms.
    pub requirements: Vec<Requirement>,
}

/// Amounts of many hosts, by class in the order of [`Class::ALL`].
pub type Sums = [u64; 4];

/// Capacity of some hosts over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Hosts of the filter.
    pub hosts: u32,
    /// Those of them that accept bookings; only what they have is available.
    pub open_hosts: u32,
    /// What the hosts have now, after allocation ratios.
    pub total: Sums,
    /// What ordinary servers that nobody may evict use of it, now and, as far as is known, for ever.
    pub firm: Sums,
    /// The window that was looked at.
    pub window: Interval,
    /// The pieces of the window, in order; each ends where the next one begins, the last one with the window.
    pub pieces: Vec<Piece>,
}

/// What is reserved and available within one piece of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First second.
    pub start: Seconds,
    /// The most that is reserved at one instant, class by class.
    pub reserved: Sums,
    /// The least that is available at one instant, class by class.
    pub available: Sums,
    /// The most that downtimes withhold at one instant of what the hosts have, class by class.
    pub withheld: Sums,
    /// The least that upgrades which are still to come add at one instant to [`Capacity::total`], class by class.
    pub added: Sums,
}

/// What is reserved, withheld and available over a window, in at most `pieces_max` (≥ 1) pieces: as steps where there are so few, else
/// in pieces of equal length. With 1 it is one figure: what is there during all of the window.
#[must_use]
pub fn capacity(state: &State, filter: &HostFilter, window: Interval, pieces_max: usize) -> Capacity {
    let mut capacity = Capacity { hosts: 0, open_hosts: 0, total: [0; 4], firm: [0; 4], window, pieces: Vec::new() };
    let (mut begin, mut changes) = (Level::default(), Vec::new());
    let kind = filter.as_wish();
    let later = Interval { start: Seconds(window.start.0.saturating_add(1)), ..window };
    for host in state.hosts() {
        if misfit(host, &kind).is_some() || filter.hosts.as_ref().is_some_and(|among| !among.contains(&host.id)) {
            continue;
        }
        capacity.hosts += 1;
        add(&mut capacity.total, host.observation.capacity.to_array());
        add(&mut capacity.firm, host.observation.firm.to_array());
        capacity.open_hosts += u32::from(host.accepts_bookings());
        let calendar = state.calendar();
        let level = |at: Seconds, used: Amounts| {
            let withheld = calendar.withheld_at(host.id, at);
            let (room, capacity) =
                (if host.accepts_bookings() { host.room_at(at) } else { Amounts::default() }, host.capacity_at(at));
            Level {
                reserved: used.to_array().map(i64::from),
                available: room.saturating_sub(used.saturating_add(withheld)).to_array().map(i64::from),
                withheld: withheld.min(capacity).to_array().map(i64::from),
                added: capacity.saturating_sub(host.observation.capacity).to_array().map(i64::from),
            }
        };
        let mut before = level(window.start, calendar.at(host.id, window.start));
        begin = begin.plus(before);
        let booked = calendar.steps_in(host.id, later);
        let declared = calendar.withheld_steps_in(host.id, later);
        let upgraded = host.upgrade.map(|upgrade| upgrade.start).filter(|at| later.contains(*at));
        let beside = declared.map(|(at, _)| at).chain(upgraded).map(|at| (at, calendar.at(host.id, at)));
        // Each of them may change without the others.
        let mut steps: Vec<(Seconds, Amounts)> = booked.chain(beside).collect();
        steps.sort_unstable_by_key(|(at, _)| *at);
        for (at, used) in steps {
            let after = level(at, used);
            changes.push((at, after.minus(before)));
            before = after;
        }
    }
    changes.sort_unstable_by_key(|(at, _)| *at);
    capacity.pieces = pieces(window, begin, &changes, pieces_max.max(1));
    capacity
}

/// The most of what `spans` take together, in at most `pieces_max` (≥ 1) pieces of a window, as [`capacity`] cuts it.
pub(crate) fn levels(window: Interval, spans: &[(Interval, Sums)], pieces_max: usize) -> Vec<(Seconds, Sums)> {
    let level = |amounts: Sums| Level { reserved: amounts.map(|one| i64::try_from(one).unwrap_or(i64::MAX)), ..Level::default() };
    let (mut begin, mut changes) = (Level::default(), Vec::new());
    for (span, amounts) in spans.iter().filter(|(span, _)| span.overlaps(window)) {
        let level = level(*amounts);
        if span.start <= window.start {
            begin = begin.plus(level);
        } else {
            changes.push((span.start, level));
        }
        if span.end < window.end {
            changes.push((span.end, Level::default().minus(level)));
        }
    }
    changes.sort_unstable_by_key(|(at, _)| *at);
    pieces(window, begin, &changes, pieces_max.max(1)).into_iter().map(|piece| (piece.start, piece.reserved)).collect()
}

/// What is reserved and available at one instant, or by how much that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    reserved: [i64; 4],
    available: [i64; 4],
    withheld: [i64; 4],
    added: [i64; 4],
}

impl Level {
    fn plus(self, other: Level) -> Level {
        let sum = |a: [i64; 4], b: [i64; 4]| std::array::from_fn(|class| a[class] + b[class]);
        Level {
            reserved: sum(self.reserved, other.reserved),
            available: sum(self.available, other.available),
            withheld: sum(self.withheld, other.withheld),
            added: sum(self.added, other.added),
        }
    }

    fn minus(self, other: Level) -> Level {
        let less = |amounts: [i64; 4]| amounts.map(|one| -one);
        self.plus(Level {
            reserved: less(other.reserved),
            available: less(other.available),
            withheld: less(other.withheld),
            added: less(other.added),
        })
    }
}

/// Cuts a window into pieces: a level that changes at each of `changes`, in order.
fn pieces(window: Interval, begin: Level, changes: &[(Seconds, Level)], pieces_max: usize) -> Vec<Piece> {
    // All that changes at one instant is one change, or none where it cancels out.
    let at_once = changes.chunk_by(|one, other| one.0 == other.0).map(|at_once| {
        let sum = at_once.iter().fold(Level::default(), |sum, (_, change)| sum.plus(*change));
        (at_once[0].0, sum)
    });
    let changes: Vec<(Seconds, Level)> = at_once.filter(|(_, change)| *change != Level::default()).collect();
    let last = changes.last().map_or(window.start, |(at, _)| *at);
    // As steps every change begins a piece; else pieces begin at equal distances, the first with the window. A window
    // without end is cut where its last change is.
    let end = if window.end == Seconds::OPEN_END { last.0.saturating_add(1) } else { window.end.0 };
    let length = u64::from(end - window.start.0).div_ceil(pieces_max as u64).max(1);
    let piece_of = |at: Seconds| u64::from(at.0 - window.start.0) / length;
    let as_steps = changes.len() < pieces_max;

    let mut level = begin;
    let mut found: Vec<Piece> = vec![Piece::of(window.start, level)];
    for (now, change) in changes {
        let before = level;
        level = level.plus(change);
        if as_steps {
            found.push(Piece::of(now, level));
            continue;
        }
        let last = found.last().map_or(window.start, |piece| piece.start);
        for number in piece_of(last) + 1..=piece_of(now) {
            let start = window.start.plus(u32::try_from(number * length).unwrap_or(u32::MAX));
            // What was there until now reaches into the piece, unless it changes where the piece begins.
            let at_begin = if start == now { level } else { before };
            found.push(Piece::of(start, at_begin));
        }
        if let Some(piece) = found.last_mut() {
            piece.cover(level);
        }
    }
    if !as_steps {
        let last = found.last().map_or(window.start, |piece| piece.start);
        for number in piece_of(last) + 1..=piece_of(Seconds(end - 1)) {
            found.push(Piece::of(window.start.plus(u32::try_from(number * length).unwrap_or(u32::MAX)), level));
        }
    }
    found
}

impl Piece {
    fn of(start: Seconds, level: Level) -> Piece {
        Piece {
            start,
            reserved: level.reserved.map(|one| one.unsigned_abs()),
            available: level.available.map(|one| one.unsigned_abs()),
            withheld: level.withheld.map(|one| one.unsigned_abs()),
            added: level.added.map(|one| one.unsigned_abs()),
        }
    }

    fn cover(&mut self, level: Level) {
        let other = Piece::of(self.start, level);
        for class in 0..4 {
            self.reserved[class] = self.reserved[class].max(other.reserved[class]);
            self.available[class] = self.available[class].min(other.available[class]);
            self.withheld[class] = self.withheld[class].max(other.withheld[class]);
            self.added[class] = self.added[class].min(other.added[class]);
        }
    }
}

impl HostFilter {
    /// A wish for hosts of this kind; its sizes do not matter.
    pub(crate) fn as_wish(&self) -> InstanceWish {
        InstanceWish {
            zone: self.zone.clone(),
            pool: self.pool,
            required_traits: self.required_traits.clone(),
            forbidden_traits: self.forbidden_traits.clone(),
            requirements: self.requirements.clone(),
            ..InstanceWish::anywhere(1, 1, 0, 1)
        }
    }
}

fn add(sums: &mut Sums, amounts: [u32; 4]) {
    for (sum, amount) in sums.iter_mut().zip(amounts) {
        *sum += u64::from(amount);
    }
}
