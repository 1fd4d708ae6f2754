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
    /// How many are missing.
    pub short_by: u32,
    /// How many it could have instead while all others have what they must; 0 where they do not.
    pub largest: u32,
}

/// Leases that ask for the same at different times.
pub(super) struct Placing {
    amounts: Vec<Amount>,
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

impl Placing {
    /// Looks at which hosts are free in all of these windows, and which in some of them. There is at least one, they are in order, and
    /// one that starts later does not end before another.
    pub fn new(ground: &Ground<'_>, amounts: &[Amount], windows: &[Interval]) -> Placing {
        assert!(windows.is_sorted_by_key(|window| window.start), "they are in order");
        assert!(windows.is_sorted_by_key(|window| window.end), "they are as long as each other");
        let span = Interval { start: windows[0].start, end: windows[windows.len() - 1].end };
        let in_classes = ground.free(span);
        let mut classes: BTreeMap<Takers, BTreeSet<HostId>> = BTreeMap::new();
        for (host, takers) in &in_classes {
            classes.entry(*takers).or_default().insert(*host);
        }
        let turn = |window: &Interval| {
            let mut singles: BTreeMap<Takers, Vec<HostId>> = BTreeMap::new();
            // What is free in all of the time is of a class.
            let mut free = if *window == span { Vec::new() } else { ground.free(*window) };
            free.retain(|one| in_classes.binary_search(one).is_err());
            for (host, takers) in free {
                singles.entry(takers).or_default().push(host);
            }
            Turn { window: *window, singles, given: Vec::new() }
        };
        let mut turns: Vec<Turn> = windows.iter().map(turn).collect();
        order_singles(&mut turns);
        let classes = classes.into_iter().map(|(takers, hosts)| (takers, HostClass::new(hosts))).collect();
        Placing { amounts: amounts.to_vec(), classes, turns }
    }

    /// Nothing is placed any more, and each lease wants so many instead.
    pub fn start_over(&mut self, amounts: Vec<Amount>) {
        (0..self.turns.len()).for_each(|turn| self.take_back(turn));
        self.amounts = amounts;
    }

    /// Gives one of the leases what each reservation must have, or nothing.
    pub fn place(&mut self, turn: usize) -> Result<(), Short> {
        self.share_out(turn, |amount| amount.min)
    }

    /// Whether each of the leases gets what its reservations must have.
    pub fn place_all(&mut self) -> bool {
        (0..self.turns.len()).all(|turn| self.place(turn).is_ok())
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
        let mut share = Share::new(self.amounts.len(), groups.iter().map(|(takers, hosts)| (*takers, *hosts)));
        for (reservation, amount) in self.amounts.iter().enumerate() {
            let has = share.raise(reservation, amount.min);
            if has < amount.min {
                return Err(self.short(reservation, has, &groups));
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

    /// What is told of a reservation that has too few beside those before it.
    fn short(&self, reservation: usize, has: u32, groups: &BTreeMap<Takers, u32>) -> Short {
        let mut share = Share::new(self.amounts.len(), groups.iter().map(|(takers, hosts)| (*takers, *hosts)));
        let mut others = self.amounts.iter().enumerate().filter(|(place, _)| *place != reservation);
        let min = self.amounts[reservation].min;
        match others.all(|(place, amount)| share.raise(place, amount.min) == amount.min) {
            true => {
                let largest = share.raise(reservation, min);
                Short { reservation, short_by: min - largest, largest }
            }
            false => Short { reservation, short_by: min - has, largest: 0 },
        }
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
        let singles_of = |one: &Turn| one.given.iter().flat_map(|given| given.singles.iter().copied()).collect::<Vec<_>>();
        let mut taken: Vec<HostId> = beside.flat_map(|(_, one)| singles_of(one)).collect();
        taken.sort_unstable();
        let open = |hosts: &Vec<HostId>| hosts.iter().copied().filter(|host| taken.binary_search(host).is_err()).collect();
        singles.iter().map(|(takers, hosts)| (*takers, open(hosts))).collect()
    }
}

/// What is of use to fewer of the leases that come later and overlap comes first, so that what is left is of use to more.
fn order_singles(turns: &mut [Turn]) {
    let mut free_in: BTreeMap<HostId, Vec<usize>> = BTreeMap::new();
    for (number, turn) in turns.iter().enumerate() {
        turn.singles.values().flatten().for_each(|host| free_in.entry(*host).or_default().push(number));
    }
    let windows: Vec<Interval> = turns.iter().map(|turn| turn.window).collect();
    for (number, turn) in turns.iter_mut().enumerate() {
        let overlapping = windows.partition_point(|window| window.start < turn.window.end);
        let uses = |host: &HostId| {
            let free_in = &free_in[host];
            free_in.partition_point(|other| *other < overlapping) - free_in.partition_point(|other| *other <= number)
        };
        turn.singles.values_mut().for_each(|hosts| hosts.sort_by_cached_key(|host| (uses(host), *host)));
    }
}

/// How long a window is; `None`: without end.
pub(super) fn length_of(window: Interval) -> Option<u32> {
    (window.end != Seconds::OPEN_END).then(|| window.end.0 - window.start.0)
}

#[cfg(test)]
pub(super) mod tests;
