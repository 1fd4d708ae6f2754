//! Who holds which interval of which host: exact step functions (scheduling-design T1), and the wide index over blocks of them
//! (T2). Derived, never stored or hashed.
//!
//! What is booked is told apart from what is taken: that and what downtimes withhold, and until its upgrade what that is to bring. The
//! cloud holds what is booked; there is room for what is not taken of what a host has once it is upgraded.

use std::collections::BTreeMap;

use super::bookings::Booking;
use super::profile::Profile;
use super::wide::{HOSTS, Wide, Window};
use crate::model::{Amounts, Host, HostId, Interval, Seconds};
use crate::mutant;

/// The booked amounts of every host over time.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    /// By number of the block: those of hosts with bookings.
    blocks: BTreeMap<u64, Block>,
    /// Of the hosts of which anything is declared.
    declared: BTreeMap<HostId, Declared>,
}

/// What downtimes and the upgrade make of one host.
#[derive(Clone, Debug, PartialEq)]
struct Declared {
    /// By downtimes.
    withheld: Profile,
    /// What the upgrade is to bring, and until when it is not there.
    not_yet: Option<(Interval, Amounts)>,
    /// Both together.
    absent: Profile,
    /// With what is booked there.
    taken: Profile,
}

/// Hosts whose numbers differ in the last six bits only.
#[derive(Clone, Debug)]
struct Block {
    profiles: Box<[Profile]>,
    wide: Wide,
}

/// The block of a host, and its place there.
pub(crate) fn block_of(host: HostId) -> (u64, usize) {
    (host.0 / HOSTS as u64, (host.0 % HOSTS as u64) as usize)
}

/// The host at a place of a block.
pub(crate) fn host_at(block: u64, lane: usize) -> HostId {
    HostId(block * HOSTS as u64 + lane as u64)
}

impl Calendar {
    /// The most booked at any instant of the interval, class by class.
    pub fn peak(&self, host: HostId, interval: Interval) -> Amounts {
        self.profile(host).map_or(Amounts::default(), |profile| profile.peak(as_asked(interval)))
    }

    /// The most taken at any instant of the interval, class by class.
    pub fn taken(&self, host: HostId, interval: Interval) -> Amounts {
        self.taken_profile(host).map_or(Amounts::default(), |profile| profile.peak(as_asked(interval)))
    }

    /// What is taken at one instant.
    pub fn taken_at(&self, host: HostId, at: Seconds) -> Amounts {
        self.taken_profile(host).map_or(Amounts::default(), |profile| profile.at(at))
    }

    /// The steps of what is taken of one host.
    pub fn taken_steps(&self, host: HostId) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.taken_profile(host).into_iter().flat_map(Profile::steps)
    }

    /// Those of [`taken_steps`](Self::taken_steps) that begin within the interval.
    pub fn taken_steps_in(&self, host: HostId, interval: Interval) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.taken_profile(host).into_iter().flat_map(move |profile| profile.steps_in(interval))
    }

    /// What downtimes withhold at one instant.
    pub fn withheld_at(&self, host: HostId, at: Seconds) -> Amounts {
        self.declared.get(&host).map_or(Amounts::default(), |one| one.withheld.at(at))
    }

    /// The steps of what downtimes withhold of one host that begin within the interval.
    pub fn withheld_steps_in(&self, host: HostId, interval: Interval) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.declared.get(&host).into_iter().flat_map(move |one| one.withheld.steps_in(interval))
    }

    /// The hosts of which anything is declared, by number.
    pub fn with_declared(&self) -> impl Iterator<Item = HostId> + '_ {
        self.declared.keys().copied()
    }

    /// Hosts of a block whose upgrades are still to come, as bits by place.
    pub(crate) fn not_yet_upgraded(&self, block: u64) -> u64 {
        let of_block = self.declared.range(host_at(block, 0)..=host_at(block, HOSTS - 1));
        of_block.filter(|(_, one)| one.not_yet.is_some()).fold(0, |lanes, (host, _)| lanes | 1 << block_of(*host).1)
    }

    /// The most booked at any instant from `from` on (scheduling-design §1).
    pub fn peak_from(&self, host: HostId, from: Seconds) -> Amounts {
        self.peak_between(host, from, Seconds::OPEN_END)
    }

    /// What the hold must cover: the same, where of what lies behind an upgrade that is to come only that counts for which the host as
    /// it is must have room (docs/decisions/0028).
    pub fn peak_to_hold(&self, host: &Host, from: Seconds) -> Amounts {
        match host.not_yet() {
            None => self.peak_from(host.id, from),
            Some((before, _)) => {
                // Not what is added: ordinary servers may use more than there is, and then of that, too.
                let more_room = host.room_upgraded().saturating_sub(host.room());
                let upgraded = self.peak_from(host.id, from.max(before.end)).saturating_sub(more_room);
                self.peak_between(host.id, from, before.end).max(upgraded)
            }
        }
    }

    fn peak_between(&self, host: HostId, start: Seconds, end: Seconds) -> Amounts {
        Interval::new(start, end).map_or(Amounts::default(), |span| self.peak(host, span))
    }

    /// Whether nothing is booked or withheld of a host in an interval.
    pub fn is_unused(&self, host: HostId, interval: Interval) -> bool {
        let nothing = |peak: Amounts| peak == Amounts::default();
        match self.declared.get(&host) {
            None => nothing(self.peak(host, interval)),
            Some(one) => nothing(self.peak(host, interval)) && nothing(one.withheld.peak(interval)),
        }
    }

    /// Whether anything is booked or withheld of a host, from each second on up to the next one: as it is where the interval begins, and
    /// where that may change in it.
    pub fn use_in(&self, host: HostId, interval: Interval) -> impl Iterator<Item = (Seconds, bool)> + '_ {
        let later = Interval { start: interval.start.plus(1), ..interval };
        let is_used =
            move |at: Seconds| self.at(host, at) != Amounts::default() || self.withheld_at(host, at) != Amounts::default();
        let mut changes: Vec<Seconds> = self.steps_in(host, later).map(|(at, _)| at).collect();
        if self.declared.contains_key(&host) {
            changes.extend(self.withheld_steps_in(host, later).map(|(at, _)| at));
            changes.sort_unstable();
        }
        std::iter::once(interval.start).chain(changes).map(move |at| (at, is_used(at)))
    }

    /// What is booked at one instant.
    pub fn at(&self, host: HostId, at: Seconds) -> Amounts {
        self.profile(host).map_or(Amounts::default(), |profile| profile.at(at))
    }

    /// The steps of one host: from each second on, up to the next one, so much is booked. Before the first one nothing is.
    pub fn steps(&self, host: HostId) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.profile(host).into_iter().flat_map(Profile::steps)
    }

    /// Those of [`steps`](Self::steps) that begin within the interval.
    pub fn steps_in(&self, host: HostId, interval: Interval) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.profile(host).into_iter().flat_map(move |profile| profile.steps_in(interval))
    }

    /// What the wide index says of what is taken in a window, of the hosts of one block.
    pub(crate) fn window(&self, block: u64, interval: Interval) -> Window {
        self.blocks.get(&block).map_or_else(Window::nothing, |block| block.wide.window(interval))
    }

    fn profile(&self, host: HostId) -> Option<&Profile> {
        let (block, lane) = block_of(host);
        self.blocks.get(&block).map(|block| &block.profiles[lane])
    }

    fn taken_profile(&self, host: HostId) -> Option<&Profile> {
        self.declared.get(&host).map(|one| &one.taken).or_else(|| self.profile(host))
    }

    /// What downtimes withhold of a host from now on, and what its upgrade is to bring, instead of what they did.
    pub(super) fn declare(&mut self, host: HostId, withheld: &[(Interval, Amounts)], not_yet: Option<(Interval, Amounts)>) {
        let (number, lane) = block_of(host);
        let spans: Vec<(Interval, Amounts)> = withheld.iter().copied().chain(not_yet).collect();
        if spans.is_empty() && self.declared.remove(&host).is_none() {
            return;
        }
        let always = Interval { start: Seconds(0), end: Seconds::OPEN_END };
        let block = self.blocks.entry(number).or_insert_with(Block::empty);
        if spans.is_empty() {
            block.wide.refresh(lane, &block.profiles[lane], always);
            self.drop_if_empty(number);
            return;
        }
        let absent = Profile::capped(&spans);
        let taken = block.profiles[lane].with(&absent);
        block.wide.refresh(lane, &taken, always);
        self.declared.insert(host, Declared { withheld: Profile::capped(withheld), not_yet, absent, taken });
    }

    fn drop_if_empty(&mut self, number: u64) {
        let declared = self.declared.range(host_at(number, 0)..=host_at(number, HOSTS - 1));
        let is_empty = self.blocks.get(&number).is_some_and(|block| block.profiles.iter().all(Profile::is_empty));
        if is_empty && declared.count() == 0 {
            self.blocks.remove(&number);
        }
    }

    pub(super) fn add(&mut self, booking: &Booking) {
        self.change(booking, |used| {
            used.checked_add(booking.amounts).expect("booked amounts were verified against a capacity of the same type")
        });
    }

    pub(super) fn remove(&mut self, booking: &Booking) {
        self.change(booking, |used| used.checked_sub(booking.amounts).expect("only what was added is removed"));
        let (number, lane) = block_of(booking.host);
        if self.blocks[&number].profiles[lane].is_empty() {
            self.drop_if_empty(number);
        }
    }

    fn change(&mut self, booking: &Booking, change: impl Fn(Amounts) -> Amounts) {
        let (number, lane) = block_of(booking.host);
        let block = self.blocks.entry(number).or_insert_with(Block::empty);
        block.profiles[lane].change(booking.interval, change);
        let taken = match self.declared.get_mut(&booking.host) {
            None => &block.profiles[lane],
            Some(one) => {
                one.taken = block.profiles[lane].with(&one.absent);
                &one.taken
            }
        };
        block.wide.refresh(lane, taken, booking.interval);
    }

    /// What all of these bookings make, in any order.
    pub(super) fn of(mut bookings: Vec<Booking>) -> Calendar {
        bookings.sort_unstable_by_key(|booking| booking.host);
        let mut calendar = Calendar::default();
        for of_host in bookings.chunk_by(|one, other| one.host == other.host) {
            let (number, lane) = block_of(of_host[0].host);
            calendar.blocks.entry(number).or_insert_with(Block::empty).profiles[lane] = Profile::of(of_host);
        }
        calendar.blocks.values_mut().for_each(Block::index);
        calendar
    }
}

impl Block {
    fn empty() -> Block {
        Block { profiles: vec![Profile::default(); HOSTS].into_boxed_slice(), wide: Wide::default() }
    }

    /// Builds the wide index over all of its profiles.
    fn index(&mut self) {
        let always = Interval { start: Seconds(0), end: Seconds::OPEN_END };
        for (lane, profile) in self.profiles.iter().enumerate().filter(|(_, profile)| !profile.is_empty()) {
            self.wide.refresh(lane, profile, always);
        }
    }
}

/// What is booked decides; how the index over it came about does not.
impl PartialEq for Calendar {
    fn eq(&self, other: &Calendar) -> bool {
        let profiles = |calendar: &Calendar| -> Vec<(u64, usize, Profile)> {
            let all = calendar.blocks.iter().flat_map(|(number, block)| {
                block.profiles.iter().enumerate().map(move |(lane, profile)| (*number, lane, profile.clone()))
            });
            all.filter(|(_, _, profile)| !profile.is_empty()).collect()
        };
        profiles(self) == profiles(other) && self.declared == other.declared
    }
}

/// An interval as it is looked at.
fn as_asked(interval: Interval) -> Interval {
    // Planted bug: intervals are closed, so that what ends at the start of another overlaps it.
    let closed = Interval { start: interval.start.minus(1), end: interval.end.plus(1) };
    if mutant!("M08") { closed } else { interval }
}

impl Eq for Calendar {}

#[cfg(test)]
mod tests {
    use super::*;

    fn booking(start: u32, end: u32, vcpus: u32) -> Booking {
        Booking {
            host: HostId(1),
            interval: Interval { start: Seconds(start), end: Seconds(end) },
            amounts: Amounts { vcpus, memory_mb: vcpus, disk_gb: 0, slots: 1 },
        }
    }

    fn peak(calendar: &Calendar, start: u32, end: u32) -> u32 {
        calendar.peak(HostId(1), Interval { start: Seconds(start), end: Seconds(end) }).vcpus
    }

    #[test]
    fn the_peak_of_a_window_counts_what_overlaps_it_and_nothing_that_touches_it() {
        let mut calendar = Calendar::default();
        calendar.add(&booking(10, 20, 2));
        calendar.add(&booking(20, 30, 3));
        calendar.add(&booking(25, u32::MAX, 4));
        assert_eq!(peak(&calendar, 0, 10), 0);
        assert_eq!(peak(&calendar, 0, 11), 2);
        assert_eq!(peak(&calendar, 19, 20), 2);
        assert_eq!(peak(&calendar, 20, 25), 3);
        assert_eq!(peak(&calendar, 15, 26), 7);
        assert_eq!(peak(&calendar, 30, 31), 4);
        assert_eq!(calendar.at(HostId(1), Seconds(29)).slots, 2);
        assert_eq!(calendar.at(HostId(2), Seconds(29)), Amounts::default());
    }

    #[test]
    fn downtimes_take_and_are_not_booked_and_leave_nothing_behind() {
        let host = HostId(1);
        let span = |start, end| Interval { start: Seconds(start), end: Seconds(end) };
        let some = Amounts { vcpus: 3, ..Amounts::default() };
        let mut calendar = Calendar::default();
        calendar.declare(host, &[(span(10, 20), some), (span(15, 30), some), (span(40, 50), Amounts::MOST)], None);
        calendar.add(&booking(18, 45, 2));
        let taken = |calendar: &Calendar, start, end| calendar.taken(host, span(start, end)).vcpus;
        assert_eq!([taken(&calendar, 0, 15), taken(&calendar, 16, 18), taken(&calendar, 18, 20)], [3, 6, 8]);
        assert_eq!([taken(&calendar, 20, 30), taken(&calendar, 30, 40), taken(&calendar, 45, 46)], [5, 2, u32::MAX]);
        assert_eq!(peak(&calendar, 0, 100), 2, "nothing is booked for a downtime");
        assert_eq!(calendar.window(0, span(30, 40)).at_least(1).vcpus, 0);
        assert!(calendar.window(0, Interval { start: Seconds(0), end: Seconds::OPEN_END }).at_least(1).vcpus > 60_000);
        calendar.remove(&booking(18, 45, 2));
        assert_eq!(taken(&calendar, 18, 20), 6);
        calendar.declare(host, &[], None);
        assert_eq!(calendar, Calendar::default());
        assert!(calendar.blocks.is_empty());
    }

    #[test]
    fn equal_neighbours_merge_and_removing_all_leaves_nothing() {
        let mut calendar = Calendar::default();
        let bookings = [booking(10, 20, 2), booking(20, 30, 2), booking(5, 25, 1), booking(10, 20, 2)];
        for one in &bookings {
            calendar.add(one);
        }
        calendar.remove(&bookings[3]);
        calendar.remove(&bookings[2]);
        assert_eq!(calendar.steps(HostId(1)).count(), 2);
        calendar.remove(&bookings[0]);
        calendar.remove(&bookings[1]);
        assert_eq!(calendar, Calendar::default());
    }
}
