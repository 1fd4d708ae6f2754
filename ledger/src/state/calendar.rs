//! Who holds which interval of which host: exact step functions (scheduling-design T1), and the wide index over blocks of them
//! (T2). Derived, never stored or hashed.
//!
//! What is booked is told apart from what is taken: that and what downtimes withhold. The cloud holds what is booked; there is
//! room for what is not taken.

use std::collections::BTreeMap;

use super::bookings::Booking;
use super::profile::Profile;
use super::wide::{HOSTS, Wide, Window};
use crate::model::{Amounts, HostId, Interval, Seconds};
use crate::mutant;

/// The booked amounts of every host over time.
#[derive(Clone, Debug, Default)]
pub struct Calendar {
    /// By number of the block: those of hosts with bookings.
    blocks: BTreeMap<u64, Block>,
    /// Of the hosts with downtimes.
    downtimes: BTreeMap<HostId, Downtimes>,
}

/// What downtimes make of one host.
#[derive(Clone, Debug)]
struct Downtimes {
    withheld: Profile,
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
        self.downtimes.get(&host).map_or(Amounts::default(), |one| one.withheld.at(at))
    }

    /// The steps of what downtimes withhold of one host that begin within the interval.
    pub fn withheld_steps_in(&self, host: HostId, interval: Interval) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.downtimes.get(&host).into_iter().flat_map(move |one| one.withheld.steps_in(interval))
    }

    /// The hosts with downtimes, by number.
    pub fn with_downtimes(&self) -> impl Iterator<Item = HostId> + '_ {
        self.downtimes.keys().copied()
    }

    /// The most booked at any instant from `from` on: what the hold must cover (scheduling-design §1).
    pub fn peak_from(&self, host: HostId, from: Seconds) -> Amounts {
        self.peak(host, Interval { start: from, end: Seconds::OPEN_END })
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
        self.downtimes.get(&host).map(|one| &one.taken).or_else(|| self.profile(host))
    }

    /// What downtimes withhold of a host from now on, instead of what they did.
    pub(super) fn withhold(&mut self, host: HostId, spans: &[(Interval, Amounts)]) {
        let (number, lane) = block_of(host);
        if spans.is_empty() && self.downtimes.remove(&host).is_none() {
            return;
        }
        let always = Interval { start: Seconds(0), end: Seconds::OPEN_END };
        let block = self.blocks.entry(number).or_insert_with(Block::empty);
        if spans.is_empty() {
            block.wide.refresh(lane, &block.profiles[lane], always);
            self.drop_if_empty(number);
            return;
        }
        let withheld = Profile::capped(spans);
        let taken = block.profiles[lane].with(&withheld);
        block.wide.refresh(lane, &taken, always);
        self.downtimes.insert(host, Downtimes { withheld, taken });
    }

    fn drop_if_empty(&mut self, number: u64) {
        let downtimes = self.downtimes.range(host_at(number, 0)..=host_at(number, HOSTS - 1));
        let is_empty = self.blocks.get(&number).is_some_and(|block| block.profiles.iter().all(Profile::is_empty));
        if is_empty && downtimes.count() == 0 {
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
        let taken = match self.downtimes.get_mut(&booking.host) {
            None => &block.profiles[lane],
            Some(one) => {
                one.taken = block.profiles[lane].with(&one.withheld);
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
        let downtimes = |calendar: &Calendar| -> Vec<(HostId, Profile, Profile)> {
            calendar.downtimes.iter().map(|(host, one)| (*host, one.withheld.clone(), one.taken.clone())).collect()
        };
        profiles(self) == profiles(other) && downtimes(self) == downtimes(other)
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
        assert_eq!(calendar.peak_from(HostId(1), Seconds(29)).vcpus, 7);
        assert_eq!(calendar.at(HostId(1), Seconds(29)).slots, 2);
        assert_eq!(calendar.at(HostId(2), Seconds(29)), Amounts::default());
    }

    #[test]
    fn downtimes_take_and_are_not_booked_and_leave_nothing_behind() {
        let host = HostId(1);
        let span = |start, end| Interval { start: Seconds(start), end: Seconds(end) };
        let some = Amounts { vcpus: 3, ..Amounts::default() };
        let mut calendar = Calendar::default();
        calendar.withhold(host, &[(span(10, 20), some), (span(15, 30), some), (span(40, 50), Amounts::MOST)]);
        calendar.add(&booking(18, 45, 2));
        let taken = |calendar: &Calendar, start, end| calendar.taken(host, span(start, end)).vcpus;
        assert_eq!([taken(&calendar, 0, 15), taken(&calendar, 16, 18), taken(&calendar, 18, 20)], [3, 6, 8]);
        assert_eq!([taken(&calendar, 20, 30), taken(&calendar, 30, 40), taken(&calendar, 45, 46)], [5, 2, u32::MAX]);
        assert_eq!(peak(&calendar, 0, 100), 2, "nothing is booked for a downtime");
        assert_eq!(calendar.window(0, span(30, 40)).at_least(1).vcpus, 0);
        assert!(calendar.window(0, Interval { start: Seconds(0), end: Seconds::OPEN_END }).at_least(1).vcpus > 60_000);
        calendar.remove(&booking(18, 45, 2));
        assert_eq!(taken(&calendar, 18, 20), 6);
        calendar.withhold(host, &[]);
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
