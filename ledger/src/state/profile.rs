//! What is booked on one host over time: an exact step function (scheduling-design T1).

use super::bookings::Booking;
use crate::model::{Amounts, Interval, Seconds};

/// A step function: from `times[i]` on, `used[i]` is booked. Before `times[0]` nothing is. Neighbours differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    times: Vec<Seconds>,
    used: Vec<Amounts>,
}

impl Profile {
    /// The sum of the bookings of one host.
    pub fn of(bookings: &[Booking]) -> Profile {
        let spans = bookings.iter().map(|booking| (booking.interval, booking.amounts));
        Profile::summed(spans, |amount| u32::try_from(amount).expect("amounts were verified against a capacity"))
    }

    /// The sum of these spans, where more than can be counted is as much as can be.
    pub fn capped(spans: &[(Interval, Amounts)]) -> Profile {
        Profile::summed(spans.iter().copied(), |amount| u32::try_from(amount).unwrap_or(u32::MAX))
    }

    fn summed(spans: impl ExactSizeIterator<Item = (Interval, Amounts)>, count: impl Fn(i64) -> u32) -> Profile {
        let mut borders = Vec::with_capacity(2 * spans.len());
        for (interval, amounts) in spans {
            let more = amounts.to_array().map(i64::from);
            borders.push((interval.start, more));
            borders.push((interval.end, more.map(|amount| -amount)));
        }
        borders.sort_unstable_by_key(|(at, _)| *at);
        let (mut profile, mut level) = (Profile::default(), [0i64; 4]);
        for at_once in borders.chunk_by(|one, other| one.0 == other.0) {
            for (_, change) in at_once {
                level = std::array::from_fn(|class| level[class] + change[class]);
            }
            profile.push(at_once[0].0, Amounts::from_array(level.map(&count)));
        }
        profile.times.shrink_to_fit();
        profile.used.shrink_to_fit();
        profile
    }

    /// Both together; what cannot be counted any more is as much as can be.
    pub fn with(&self, other: &Profile) -> Profile {
        let mut times: Vec<Seconds> = self.times.iter().chain(&other.times).copied().collect();
        times.sort_unstable();
        times.dedup();
        let mut both = Profile::default();
        for at in times {
            both.push(at, self.at(at).saturating_add(other.at(at)));
        }
        both
    }

    /// The next step, if it is one.
    fn push(&mut self, at: Seconds, used: Amounts) {
        if self.used.last().copied().unwrap_or_default() != used {
            self.times.push(at);
            self.used.push(used);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub fn steps(&self) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        self.times.iter().copied().zip(self.used.iter().copied())
    }

    /// The steps that begin within the interval.
    pub fn steps_in(&self, interval: Interval) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        let first = self.times.partition_point(|time| *time < interval.start);
        let end = first + self.times[first..].partition_point(|time| *time < interval.end);
        self.times[first..end].iter().copied().zip(self.used[first..end].iter().copied())
    }

    pub fn at(&self, at: Seconds) -> Amounts {
        match self.times.partition_point(|time| *time <= at) {
            0 => Amounts::default(),
            after => self.used[after - 1],
        }
    }

    pub fn peak(&self, interval: Interval) -> Amounts {
        let first = self.times.partition_point(|time| *time <= interval.start).saturating_sub(1);
        let end = first + self.times[first..].partition_point(|time| *time < interval.end);
        // When nothing starts by the interval's start, step `first` lies inside it or is cut off by `end`.
        self.used[first..end].iter().fold(Amounts::default(), |peak, used| peak.max(*used))
    }

    /// The peaks of `count` spans of so many seconds, one after the other from second `first` on. What is booked without end
    /// does not end in any of them.
    pub fn peaks(&self, first: u64, span: u64, count: usize) -> impl Iterator<Item = Amounts> + '_ {
        let begin = Seconds(u32::try_from(first).unwrap_or(u32::MAX).min(u32::MAX - 1));
        let mut next = self.times.partition_point(|time| *time <= begin);
        let mut level = if next == 0 { Amounts::default() } else { self.used[next - 1] };
        (1..=count as u64).map(move |number| {
            let end = first + number * span;
            let mut peak = level;
            let begun = |at: &&Seconds| **at != Seconds::OPEN_END && u64::from(at.0) <= end;
            while let Some(at) = self.times.get(next).filter(begun) {
                level = self.used[next];
                next += 1;
                // What begins where the next span does is no part of this one.
                if u64::from(at.0) < end {
                    peak = peak.max(level);
                }
            }
            peak
        })
    }

    /// Whether the same is booked at every instant of the seconds `[from, until)`.
    pub fn is_level(&self, from: u64, until: u64) -> bool {
        let next = self.times.partition_point(|time| u64::from(time.0) <= from);
        self.times.get(next).is_none_or(|time| u64::from(time.0) >= until || *time == Seconds::OPEN_END)
    }

    /// What is booked at a second that may lie beyond the calendar.
    pub fn at_or_never(&self, at: u64) -> Amounts {
        self.at(Seconds(u32::try_from(at).unwrap_or(u32::MAX).min(u32::MAX - 1)))
    }

    pub fn change(&mut self, interval: Interval, change: impl Fn(Amounts) -> Amounts) {
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
