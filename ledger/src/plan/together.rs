//! Hosts for all parts of a lease at once, where placing its reservations one after the other finds no room: what one of them
//! takes another may need. First other orders are tried, then all of them are placed host by host with every choice that can
//! matter, so that up to [`STEPS_MAX`] steps a refusal is exact.
//!
//! All is counted by host: within a span in which the same parts are booked, slots fit on a host if and only if their sum fits, class
//! by class, into what is free there at the worst instant. The hosts are filled one after the other, each as much as it can be; what is
//! left over after a host and could not be placed on those behind it is remembered, so that hosts that are alike are
//! interchangeable.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::hosts::{Hosts, Place};
use super::room::View;
use super::search::{least, slots_on};
use crate::model::{Amounts, Anchor, HostId, InstanceWish, Interval, Phase, PoolKind};

/// Orders in which reservations are placed one after the other, the first one included.
const ORDERS_MAX: usize = 4;
/// Steps of one [`Steps`], each about a microsecond: the state is held meanwhile.
const STEPS_MAX: u32 = 200_000;
/// Hosts with room that are looked at for one part, with one kind of anchor.
const HOSTS_MAX: usize = 256;
/// Choices of kinds of anchor that are tried.
const KINDS_MAX: usize = 16;

/// What all that is placed together for one answer may cost.
pub(super) struct Steps(Cell<u32>);

impl Steps {
    pub fn new() -> Self {
        Steps(Cell::new(STEPS_MAX))
    }

    /// Whether there are none left: then nothing more is tried.
    pub fn are_spent(&self) -> bool {
        self.0.get() == 0
    }

    fn take(&self, many: u32) {
        self.0.set(self.0.get().saturating_sub(many));
    }

    /// Counts what was looked at in a view since this was done last.
    pub fn count(&self, view: &View<'_>) {
        self.take(view.looks.take());
    }
}

/// Why no order was found in which everything has room.
pub(super) struct Unplaced<E> {
    pub error: E,
    /// What is short has no room even if it is placed first, so no order helps.
    pub alone: bool,
}

/// What `place` finds for these in the first order in which all of them have room, and what was short in the first one, if that was
/// not it; `place` names the one that has no room. That one comes first in the next order. Without steps none but the first is tried.
pub(super) fn in_some_order<T, E>(
    mut order: Vec<usize>,
    steps: &Steps,
    mut place: impl FnMut(&[usize]) -> Result<T, (usize, E)>,
) -> Result<(T, Option<E>), Unplaced<E>> {
    let mut first = None;
    for _ in 0..ORDERS_MAX {
        if first.is_some() && steps.are_spent() {
            break;
        }
        let (failed, error) = match place(&order) {
            Ok(found) => return Ok((found, first)),
            Err(failed) => failed,
        };
        if order.first() == Some(&failed) {
            return Err(Unplaced { error, alone: true });
        }
        order.retain(|one| *one != failed);
        order.insert(0, failed);
        first.get_or_insert(error);
    }
    Err(Unplaced { error: first.expect("an order was tried"), alone: false })
}

/// The largest amount below `wanted`, which is too many, with which all fits, 0 when none does; `guess` is tried first. What is given
/// was tried.
pub(super) fn largest(wanted: u32, guess: u32, mut fits: impl FnMut(u32) -> bool) -> u32 {
    let (mut fit, mut too_many, mut next) = (0, wanted, guess);
    while fit + 1 < too_many {
        if next <= fit || next >= too_many {
            next = fit + (too_many - fit) / 2;
        }
        if fits(next) {
            fit = next;
            // One more says whether the guess was right.
            next = if fit == guess { fit + 1 } else { 0 };
        } else {
            too_many = next;
        }
    }
    fit
}

/// The slots of one phase of one reservation.
pub(super) struct Part<'a> {
    pub reservation: usize,
    pub phase: Phase,
    pub wish: &'a InstanceWish,
    pub interval: Interval,
    /// Not the wish's, where some have their hosts already.
    pub amount: u32,
    /// The one host that will do, if only one will.
    pub only: Option<HostId>,
    /// Hosts that will not do.
    pub never: Vec<HostId>,
}

impl<'a> Part<'a> {
    pub fn new(reservation: usize, phase: Phase, wish: &'a InstanceWish, interval: Interval) -> Self {
        Part { reservation, phase, wish, interval, amount: wish.amount, only: None, never: Vec::new() }
    }
}

/// Slots per host for each part, sorted by host, beside what the view has planned; `None` when they do not fit, or the steps did
/// not suffice to find out. `anchors` are the kinds of anchor of each reservation.
pub(super) fn together(
    view: &mut View<'_>,
    parts: &[Part<'_>],
    anchors: &[Vec<Anchor>],
    steps: &Steps,
) -> Option<Vec<Vec<(HostId, u32)>>> {
    if steps.are_spent() {
        return None;
    }
    let mut places: BTreeMap<(usize, Anchor), Vec<Place>> = BTreeMap::new();
    let mut kinds: BTreeMap<usize, Vec<Anchor>> = BTreeMap::new();
    for (number, part) in parts.iter().enumerate() {
        let mut possible = anchors[part.reservation].clone();
        possible.retain(|anchor| {
            view.anchor = *anchor;
            let found = places_of(view, part);
            let has_room = sum_of(view, part, &found) >= u64::from(part.amount);
            places.insert((number, *anchor), found);
            steps.count(view);
            has_room
        });
        let of = kinds.entry(part.reservation).or_insert_with(|| possible.clone());
        of.retain(|anchor| possible.contains(anchor));
        if of.is_empty() {
            return None;
        }
    }
    let choices: usize = kinds.values().fold(1, |product, of| product.saturating_mul(of.len()));
    for choice in 0..choices.min(KINDS_MAX) {
        if steps.are_spent() {
            return None;
        }
        let mut rest = choice;
        let mut chosen = BTreeMap::new();
        for (reservation, of) in &kinds {
            chosen.insert(*reservation, of[rest % of.len()]);
            rest /= of.len();
        }
        let of_part = |number: usize| places[&(number, chosen[&parts[number].reservation])].as_slice();
        let packing = Packing::of(view, parts, of_part);
        steps.count(view);
        if let Some(found) = packing.pack(steps) {
            return Some(found);
        }
    }
    None
}

/// Hosts with room for any slot of a part, with the anchor of the view.
fn places_of(view: &View<'_>, part: &Part<'_>) -> Vec<Place> {
    let Some(least) = least(part.wish, part.amount) else { return Vec::new() };
    let hosts = Hosts::of(view, part.wish);
    let of_pool = |pool| hosts.with_room(pool, part.interval, least, view.overlay.begin_at(pool));
    [PoolKind::Dedicated, PoolKind::Shared]
        .into_iter()
        .flat_map(of_pool)
        .filter(|place| part.only.is_none_or(|only| only == place.host) && !part.never.contains(&place.host))
        .filter(|place| view.fit(place.host, place.room, part.interval, least, 1) > 0)
        .take(HOSTS_MAX)
        .collect()
}

/// How many slots of a part these hosts have room for, if nothing else of the lease is placed.
fn sum_of(view: &View<'_>, part: &Part<'_>, places: &[Place]) -> u64 {
    let fit = |place: &Place| view.fit(place.host, place.room, part.interval, part.wish.need(), part.amount);
    places.iter().map(|place| u64::from(slots_on(part.wish.affinity, fit(place), part.amount))).sum()
}

/// One host, and what of the lease it can take.
struct Node {
    place: Place,
    /// Which parts, as bits.
    takers: u128,
    /// What is free at the worst instant of each span; nothing where more is taken than there is.
    free: Vec<Amounts>,
}

/// What nodes can take together at most, from one on to the last.
#[derive(Clone, Default)]
struct AtMost {
    slots: Vec<u64>,
    free: Vec<[u64; 4]>,
}

/// Parts that are to be placed on nodes.
struct Packing<'a> {
    parts: &'a [Part<'a>],
    /// For each part, the spans in which it is booked: within one the same parts are.
    spans: Vec<Vec<usize>>,
    nodes: Vec<Node>,
    at_most: Vec<AtMost>,
}

/// A node of the search, with what is left to be placed on it and on those behind it.
struct Level {
    rest: Vec<u32>,
    /// Slots of each part that it takes; `None`: no choice was made yet.
    load: Option<Vec<u32>>,
}

impl<'a> Packing<'a> {
    fn of<'p>(view: &View<'_>, parts: &'a [Part<'a>], places: impl Fn(usize) -> &'p [Place]) -> Self {
        let mut borders: Vec<_> = parts.iter().flat_map(|part| [part.interval.start, part.interval.end]).collect();
        borders.sort_unstable();
        borders.dedup();
        let pieces: Vec<Interval> = borders.windows(2).map(|pair| Interval { start: pair[0], end: pair[1] }).collect();
        let inside = |part: &Part<'_>| (0..pieces.len()).filter(|span| pieces[*span].overlaps(part.interval)).collect();
        let spans: Vec<Vec<usize>> = parts.iter().map(inside).collect();
        let mut found: BTreeMap<HostId, (Place, u128)> = BTreeMap::new();
        for number in 0..parts.len() {
            for place in places(number) {
                found.entry(place.host).or_insert((*place, 0)).1 |= 1 << number;
            }
        }
        let node = |(place, takers): (Place, u128)| {
            let free = pieces.iter().map(|span| view.free(place.host, place.room, *span).unwrap_or_default()).collect();
            Node { place, takers, free }
        };
        let mut nodes: Vec<Node> = found.into_values().map(node).collect();
        // Alike ones stand beside each other; those that few parts may use are filled first.
        nodes.sort_by_cached_key(|node| {
            let free: Vec<[u32; 4]> = node.free.iter().map(|free| free.to_array()).collect();
            (node.place.pool, node.takers.count_ones(), node.takers, free, node.place.host)
        });
        let mut packing = Packing { parts, spans, nodes, at_most: Vec::new() };
        packing.sum_up(pieces.len());
        packing
    }

    fn sum_up(&mut self, spans: usize) {
        let mut sum = AtMost { slots: vec![0; self.parts.len()], free: vec![[0; 4]; spans] };
        let mut sums = vec![sum.clone()];
        for node in self.nodes.iter().rev() {
            for (number, slots) in sum.slots.iter_mut().enumerate() {
                *slots += u64::from(self.fit(node, &node.free, number, self.parts[number].amount));
            }
            for (sum, free) in sum.free.iter_mut().zip(&node.free) {
                *sum = std::array::from_fn(|class| sum[class] + u64::from(free.to_array()[class]));
            }
            sums.push(sum.clone());
        }
        sums.reverse();
        self.at_most = sums;
    }

    /// How many slots of a part, of so many that are left, fit on a node of which so much is free.
    fn fit(&self, node: &Node, free: &[Amounts], number: usize, left: u32) -> u32 {
        if node.takers >> number & 1 == 0 || left == 0 {
            return 0;
        }
        let part = &self.parts[number];
        let fit = self.spans[number].iter().map(|span| free[*span].times(part.wish.need())).min().unwrap_or(0);
        slots_on(part.wish.affinity, fit, part.amount).min(left)
    }

    /// Whether the nodes from one on might take all that is left: more they cannot.
    fn may_fit(&self, from: usize, rest: &[u32]) -> bool {
        let at_most = &self.at_most[from];
        let each = rest.iter().zip(&at_most.slots).all(|(rest, slots)| u64::from(*rest) <= *slots);
        each && at_most.free.iter().enumerate().all(|(span, free)| {
            (0..4).all(|class| {
                let wanted =
                    |number: usize| u64::from(rest[number]) * u64::from(self.parts[number].wish.need().to_array()[class]);
                let booked = (0..rest.len()).filter(|number| self.spans[*number].contains(&span));
                booked.map(wanted).sum::<u64>() <= free[class]
            })
        })
    }

    fn pack(&self, steps: &Steps) -> Option<Vec<Vec<(HostId, u32)>>> {
        let mut rest: Vec<u32> = self.parts.iter().map(|part| part.amount).collect();
        let (mut levels, mut in_vain): (Vec<Level>, BTreeSet<(usize, Vec<u32>)>) = (Vec::new(), BTreeSet::new());
        loop {
            let at = levels.len();
            if rest.iter().all(|left| *left == 0) {
                return Some(self.found(&levels));
            }
            if at < self.nodes.len() && self.may_fit(at, &rest) && !in_vain.contains(&(at, rest.clone())) {
                levels.push(Level { rest, load: None });
            }
            // The next choice, of the last node that has one.
            rest = loop {
                let last = levels.len().checked_sub(1)?;
                let level = &mut levels[last];
                level.load = self.next_load(&self.nodes[last], &level.rest, level.load.take(), steps);
                if steps.are_spent() {
                    return None;
                }
                if let Some(load) = &level.load {
                    break level.rest.iter().zip(load).map(|(left, slots)| left - slots).collect();
                }
                in_vain.extend(levels.pop().map(|level| (last, level.rest)));
            };
        }
    }

    fn found(&self, levels: &[Level]) -> Vec<Vec<(HostId, u32)>> {
        let mut found = vec![Vec::new(); self.parts.len()];
        for (node, level) in self.nodes.iter().zip(levels) {
            for (slots, hosts) in level.load.iter().flatten().zip(&mut found) {
                if *slots > 0 {
                    hosts.push((node.place.host, *slots));
                }
            }
        }
        found.iter_mut().for_each(|hosts| hosts.sort_unstable());
        found
    }

    /// The next way to fill a node so that no slot of what is left could be added: to leave room that could be used never helps.
    /// `None` when there is none behind this one, or the steps are used up.
    fn next_load(&self, node: &Node, rest: &[u32], before: Option<Vec<u32>>, steps: &Steps) -> Option<Vec<u32>> {
        let mut load = match before {
            None => {
                let mut load = vec![0; rest.len()];
                self.fill(node, rest, &mut load, 0);
                load
            }
            Some(mut load) => self.fewer(node, rest, &mut load).then_some(load)?,
        };
        loop {
            // Each goes through all parts in all of their spans.
            steps.take(u32::try_from(1 + rest.len() * node.free.len() / 8).unwrap_or(u32::MAX));
            if steps.are_spent() {
                return None;
            }
            let free = self.beside(node, &load, rest.len());
            if (0..rest.len()).all(|one| self.more(node, &free, one, load[one], rest[one]) == 0) {
                return Some(load);
            }
            if !self.fewer(node, rest, &mut load) {
                return None;
            }
        }
    }

    /// Fills a node with as much as it can be of each part from one on, one after the other, beside those before it.
    fn fill(&self, node: &Node, rest: &[u32], load: &mut [u32], from: usize) {
        let mut free = self.beside(node, load, from);
        for number in from..rest.len() {
            load[number] = self.fit(node, &free, number, rest[number]);
            free = self.less(free, number, load[number]);
        }
    }

    /// Takes a slot away of the last part of which that is another choice, and fills those behind it anew; `false` when there is none. Of
    /// the last part as many as fit are taken, and all or none where they must be together.
    fn fewer(&self, node: &Node, rest: &[u32], load: &mut [u32]) -> bool {
        let last = (0..rest.len().saturating_sub(1)).rev().find(|number| load[*number] > 0);
        let Some(number) = last else { return false };
        let all_or_none = self.parts[number].wish.affinity == Some(true);
        load[number] = if all_or_none { 0 } else { load[number] - 1 };
        self.fill(node, rest, load, number + 1);
        true
    }

    /// What is free on a node beside its load of the parts before one.
    fn beside(&self, node: &Node, load: &[u32], before: usize) -> Vec<Amounts> {
        (0..before).fold(node.free.clone(), |free, number| self.less(free, number, load[number]))
    }

    /// How many more slots of a part could be added to so many.
    fn more(&self, node: &Node, free: &[Amounts], number: usize, has: u32, rest: u32) -> u32 {
        match self.parts[number].wish.affinity {
            Some(_) if has > 0 => 0,
            Some(_) | None => self.fit(node, free, number, rest - has),
        }
    }

    /// What is free beside so many slots of a part.
    fn less(&self, mut left: Vec<Amounts>, number: usize, slots: u32) -> Vec<Amounts> {
        if slots > 0 {
            let need = self.parts[number].wish.need().checked_mul(slots).expect("so many fit");
            for span in &self.spans[number] {
                left[*span] = left[*span].saturating_sub(need);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests;
