//! Who holds which interval of which host: exact step functions (scheduling-design T1), and the wide index over blocks of them
//! (T2). Derived, never stored or hashed.

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
        // Planted bug: intervals are closed, so that what ends at the start of another overlaps it.
        let closed = Interval { start: interval.start.minus(1), end: interval.end.plus(1) };
        let interval = if mutant!("M08") { closed } else { interval };
        self.profile(host).map_or(Amounts::default(), |profile| profile.peak(interval))
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

    /// What the wide index says of a window, of the hosts of one block.
    pub(crate) fn window(&self, block: u64, interval: Interval) -> Window {
        self.blocks.get(&block).map_or_else(Window::nothing, |block| block.wide.window(interval))
    }

    fn profile(&self, host: HostId) -> Option<&Profile> {
        let (block, lane) = block_of(host);
        self.blocks.get(&block).map(|block| &block.profiles[lane])
    }

    pub(super) fn add(&mut self, booking: &Booking) {
        self.change(booking, |used| {
            used.checked_add(booking.amounts).expect("booked amounts were verified against a capacity of the same type")
        });
    }

    pub(super) fn remove(&mut self, booking: &Booking) {
        self.change(booking, |used| used.checked_sub(booking.amounts).expect("only what was added is removed"));
        let (number, lane) = block_of(booking.host);
        let block = &self.blocks[&number];
        if block.profiles[lane].is_empty() && block.profiles.iter().all(Profile::is_empty) {
            self.blocks.remove(&number);
        }
    }

    fn change(&mut self, booking: &Booking, change: impl Fn(Amounts) -> Amounts) {
        let (number, lane) = block_of(booking.host);
        let block = self.blocks.entry(number).or_insert_with(Block::empty);
        block.profiles[lane].change(booking.interval, change);
        block.wide.refresh(lane, &block.profiles[lane], booking.interval);
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
        profiles(self) == profiles(other)
    }
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
