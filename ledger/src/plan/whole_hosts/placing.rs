//! Which hosts the reservations of a lease of whole hosts get, or those of all leases of a series.
//!
//! Every lease gets what it must have before any gets more. Within a lease hosts are shared exactly. Of a series an earlier lease
//! keeps the number of hosts that it has of each class while a later one is placed, but no particular ones: those are bound when
//! all are placed. Hosts outside of the classes, on which something is bound at another time, are given first, and at once.

use std::collections::{BTreeMap, BTreeSet};

use super::bind::Floating;
use super::class::HostClass;
use super::ground::{Ground, Takers};
use super::share::Share;
use crate::model::{HostId, Interval, Seconds};

/// How many hosts a reservation wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    /// It must have so many.
    pub min: u32,
    /// It takes so many where there are as many.
    pub max: u32,
}

/// Which reservation did not get what it must have, and how many it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub reservation: usize,
    pub has: u32,
}

/// Leases that ask for the same at different times.
pub(super) struct Placing<'a> {
    amounts: &'a [Amount],
    classes: BTreeMap<Takers, HostClass>,
    turns: Vec<Turn>,
}

/// One of the leases.
struct Turn {
    window: Interval,
    /// Hosts outside of the classes that are free for all of it, by who may have them.
    singles: BTreeMap<Takers, Vec<HostId>>,
    /// By reservation; nothing of a lease that has no room.
    given: Vec<Given>,
}

/// What a reservation got.
#[derive(Default)]
struct Given {
    singles: Vec<HostId>,
    /// How many hosts of which class.
    floating: BTreeMap<Takers, u32>,
}

impl<'a> Placing<'a> {
    /// Looks at which hosts are free in all of these windows, at least one, and which in some of them.
    pub fn new(ground: &Ground<'_>, amounts: &'a [Amount], windows: &[Interval]) -> Placing<'a> {
        let hull = |one: Interval, other: &Interval| Interval { start: one.start.min(other.start), end: one.end.max(other.end) };
        let span = windows.iter().fold(windows[0], hull);
        let mut classes: BTreeMap<Takers, BTreeSet<HostId>> = BTreeMap::new();
        for (host, takers) in ground.free(span) {
            classes.entry(takers).or_default().insert(host);
        }
        let classes: BTreeMap<_, _> = classes.into_iter().map(|(takers, hosts)| (takers, HostClass::new(hosts))).collect();
        let in_class = |host: HostId, takers: Takers| classes.get(&takers).is_some_and(|class| class.contains(host));
        let turn = |window: &Interval| {
            let mut singles: BTreeMap<Takers, Vec<HostId>> = BTreeMap::new();
            // What is free in all of the time is of a class.
            let outside = if *window == span { Vec::new() } else { ground.free(*window) };
            for (host, takers) in outside.into_iter().filter(|(host, takers)| !in_class(*host, *takers)) {
                singles.entry(takers).or_default().push(host);
            }
            Turn { window: *window, singles, given: Vec::new() }
        };
        let mut turns: Vec<Turn> = windows.iter().map(turn).collect();
        // What is free for fewer of them comes first, so that what is left is of use to more.
        let mut uses: BTreeMap<HostId, u32> = BTreeMap::new();
        turns.iter().flat_map(|turn| turn.singles.values().flatten()).for_each(|host| *uses.entry(*host).or_default() += 1);
        for singles in turns.iter_mut().flat_map(|turn| turn.singles.values_mut()) {
            singles.sort_by_key(|host| (uses[host], *host));
        }
        Placing { amounts, classes, turns }
    }

    /// Gives one of the leases what each reservation must have, or nothing.
    pub fn place(&mut self, turn: usize) -> Result<(), Short> {
        self.share_out(turn, |amount| amount.min)
    }

    /// Gives those that were placed as much more as there is, up to what they want: the first one first.
    pub fn extend(&mut self) {
        for turn in 0..self.turns.len() {
            if !self.turns[turn].given.is_empty() {
                self.share_out(turn, |amount| amount.max).expect("what it has is there for it");
            }
        }
    }

    /// The hosts of each reservation of each lease, by number; no reservations of one without room.
    pub fn bind(self) -> Vec<Vec<Vec<HostId>>> {
        let mut bound: Vec<Vec<Vec<HostId>>> =
            self.turns.iter().map(|turn| turn.given.iter().map(|given| given.singles.clone()).collect()).collect();
        for (takers, class) in &self.classes {
            let (mut floating, mut whose) = (Vec::new(), Vec::new());
            for (number, turn) in self.turns.iter().enumerate() {
                for (reservation, given) in turn.given.iter().enumerate() {
                    floating.extend(given.floating.get(takers).map(|hosts| Floating { window: turn.window, hosts: *hosts }));
                    whose.extend(given.floating.get(takers).map(|_| (number, reservation)));
                }
            }
            for ((number, reservation), hosts) in whose.into_iter().zip(class.bind(&floating)) {
                bound[number][reservation].extend(hosts);
            }
        }
        bound.iter_mut().flatten().for_each(|hosts| hosts.sort_unstable());
        bound
    }

    fn share_out(&mut self, turn: usize, far: impl Fn(&Amount) -> u32) -> Result<(), Short> {
        self.take_back(turn);
        let window = self.turns[turn].window;
        let mut open = self.open_singles(turn);
        let mut groups: BTreeMap<Takers, u32> = BTreeMap::new();
        for (takers, singles) in &open {
            *groups.entry(*takers).or_default() += u32::try_from(singles.len()).unwrap_or(u32::MAX);
        }
        for (takers, class) in &self.classes {
            *groups.entry(*takers).or_default() += class.free(window);
        }
        let mut share = Share::new(self.amounts.len(), groups.into_iter());
        for (reservation, amount) in self.amounts.iter().enumerate() {
            let has = share.raise(reservation, amount.min);
            if has < amount.min {
                return Err(Short { reservation, has });
            }
        }
        for (reservation, amount) in self.amounts.iter().enumerate() {
            share.raise(reservation, far(amount));
        }
        for reservation in 0..self.amounts.len() {
            let mut given = Given::default();
            for (takers, hosts) in share.given(reservation) {
                let singles = open.entry(takers).or_default();
                let first = singles.len().min(hosts as usize);
                given.singles.extend(singles.drain(..first));
                let rest = hosts - u32::try_from(first).unwrap_or(hosts);
                if rest > 0 {
                    self.classes.get_mut(&takers).expect("the rest is of a class").take(Floating { window, hosts: rest });
                    given.floating.insert(takers, rest);
                }
            }
            self.turns[turn].given.push(given);
        }
        Ok(())
    }

    fn take_back(&mut self, turn: usize) {
        let window = self.turns[turn].window;
        for (takers, hosts) in std::mem::take(&mut self.turns[turn].given).into_iter().flat_map(|given| given.floating) {
            self.classes.get_mut(&takers).expect("it was taken there").give_back(Floating { window, hosts });
        }
    }

    /// Hosts outside of the classes that no other lease has at the same time.
    fn open_singles(&self, turn: usize) -> BTreeMap<Takers, Vec<HostId>> {
        let Turn { window, singles, .. } = &self.turns[turn];
        let beside = self.turns.iter().enumerate().filter(|(other, one)| *other != turn && one.window.overlaps(*window));
        let taken: BTreeSet<HostId> =
            beside.flat_map(|(_, one)| one.given.iter().flat_map(|given| given.singles.iter().copied())).collect();
        let open = |hosts: &Vec<HostId>| hosts.iter().copied().filter(|host| !taken.contains(host)).collect();
        singles.iter().map(|(takers, hosts)| (*takers, open(hosts))).collect()
    }
}

/// How long a window is; `None`: without end.
pub(super) fn length_of(window: Interval) -> Option<u32> {
    (window.end != Seconds::OPEN_END).then(|| window.end.0 - window.start.0)
}
