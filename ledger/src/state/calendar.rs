//! Who holds which interval of which host: exact step functions (scheduling-design T1). Derived, never stored or hashed.

use std::collections::BTreeMap;

use super::bookings::Booking;
use crate::model::{Amounts, HostId, Interval, Seconds};
use crate::mutant;

/// The booked amounts of every host over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    profiles: BTreeMap<HostId, Profile>,
}

impl Calendar {
    /// The most booked at any instant of the interval, class by class.
    pub fn peak(&self, host: HostId, interval: Interval) -> Amounts {
        // Planted bug: intervals are closed, so that what ends at the start of another overlaps it.
        let closed = Interval { start: interval.start.minus(1), end: interval.end.plus(1) };
        let interval = if mutant!("M08") { closed } else { interval };
        self.profiles.get(&host).map_or(Amounts::default(), |profile| profile.peak(interval))
    }

    /// The most booked at any instant from `from` on: what the hold must cover (scheduling-design §1).
    pub fn peak_from(&self, host: HostId, from: Seconds) -> Amounts {
        self.peak(host, Interval { start: from, end: Seconds::OPEN_END })
    }

    /// What is booked at one instant.
    pub fn at(&self, host: HostId, at: Seconds) -> Amounts {
        self.profiles.get(&host).map_or(Amounts::default(), |profile| profile.at(at))
    }

    /// The steps of one host: from each second on, up to the next one, so much is booked. Before the first one nothing is.
    pub fn steps(&self, host: HostId) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.profiles.get(&host).into_iter().flat_map(Profile::steps)
    }

    pub(super) fn add(&mut self, booking: &Booking) {
        self.profiles.entry(booking.host).or_default().change(booking.interval, |used| {
            used.checked_add(booking.amounts).expect("booked amounts were verified against a capacity of the same type")
        });
    }

    pub(super) fn remove(&mut self, booking: &Booking) {
        let Some(profile) = self.profiles.get_mut(&booking.host) else {
            panic!("a booking that was added to {:?} is removed from it", booking.host);
        };
        profile.change(booking.interval, |used| used.checked_sub(booking.amounts).expect("only what was added is removed"));
        if profile.times.is_empty() {
            self.profiles.remove(&booking.host);
        }
    }
}

/// A step function: from `times[i]` on, `used[i]` is booked. Before `times[0]` nothing is. Neighbours differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Profile {
    times: Vec<Seconds>,
    used: Vec<Amounts>,
}

impl Profile {
    fn steps(&self) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.times.iter().copied().zip(self.used.iter().copied())
    }

    fn at(&self, at: Seconds) -> Amounts {
        match self.times.partition_point(|time| *time <= at) {
            0 => Amounts::default(),
            after => self.used[after - 1],
        }
    }

    fn peak(&self, interval: Interval) -> Amounts {
        let first = self.times.partition_point(|time| *time <= interval.start).saturating_sub(1);
        let end = first + self.times[first..].partition_point(|time| *time < interval.end);
        // When nothing starts by the interval's start, step `first` lies inside it or is cut off by `end`.
        self.used[first..end].iter().fold(Amounts::default(), |peak, used| peak.max(*used))
    }

    fn change(&mut self, interval: Interval, change: impl Fn(Amounts) -> Amounts) {
        let first = self.split(interval.start);
        let end = self.split(interval.end);
        for used in &mut self.used[first..end] {
            *used = change(*used);
        }
        // Only the borders can have become equal to their neighbours: inside, all changed by the same amount.
        self.merge(end);
        self.merge(first);
    }

    /// Makes `at` a step and gives its place.
    fn split(&mut self, at: Seconds) -> usize {
        let place = self.times.partition_point(|time| *time < at);
        if self.times.get(place) != Some(&at) {
            let before = if place == 0 { Amounts::default() } else { self.used[place - 1] };
            self.times.insert(place, at);
            self.used.insert(place, before);
        }
        place
    }

    fn merge(&mut self, place: usize) {
        let before = if place == 0 { Amounts::default() } else { self.used[place - 1] };
        if self.used.get(place) == Some(&before) {
            self.times.remove(place);
            self.used.remove(place);
        }
    }
}

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
