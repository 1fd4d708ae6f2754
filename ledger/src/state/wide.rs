//! The wide index (scheduling-design T2): of a block of 64 hosts, what is booked at most in spans of days, coarsely. One look
//! says of most hosts that a wish fits over a window, or that it does not; the others are asked exactly, of their profile.
//!
//! A tree over time: a row covers a span of days and holds, per host and class, the most that is booked at any instant of it,
//! in coarse units, rounded up. So a row proves in both directions. No more than its value is booked anywhere in the span.
//! And somewhere in it more than its value less one unit is booked: a window that covers the whole span cannot have less.
//! A row has parts (eight rows of an eighth of its span) only where some host changes within it; without parts every host
//! is level there, so that the row speaks for any piece of it too. Derived, never stored, hashed or trusted by `apply`.

use super::profile::Profile;
use crate::model::{Amounts, Interval, Seconds};

/// Hosts of a block.
pub(crate) const HOSTS: usize = 64;
/// Rows of a node.
const FAN: usize = 8;
/// Seconds that a row covers, by level.
const SPAN_S: [u64; 5] = [DAY_S, 8 * DAY_S, 64 * DAY_S, 512 * DAY_S, 4096 * DAY_S];
const DAY_S: u64 = 24 * 3600;
const TOP: usize = SPAN_S.len() - 1;
/// Rows at the top: enough for every second of the calendar.
const TOP_ROWS: usize = 13;
/// Where a window without end ends.
const FOREVER: u64 = u64::MAX;
/// Powers of two that amounts are counted in: 1 vcpu, 256 MiB, 8 GiB, 1 slot.
const UNIT_BITS: [u32; 4] = [0, 8, 3, 0];
/// What cannot be counted any more: this or anything above.
const MOST: u16 = u16::MAX;

/// Of 64 hosts, four classes each.
type Row = [u16; HOSTS * 4];

/// The index of one block of hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wide {
    top: Option<Box<Node>>,
}

#[derive(Clone, Debug)]
struct Node {
    rows: Vec<Row>,
    /// As many as rows; none at the lowest level.
    parts: Vec<Option<Box<Node>>>,
}

/// What a window says of 64 hosts.
pub(crate) struct Window {
    /// The most that rows say which lie wholly in the window, or are level.
    inside: Row,
    /// The most that rows say which the window cuts.
    cut: Row,
}

impl Wide {
    /// Brings the lane of one host up to date after its profile changed within the interval.
    pub fn refresh(&mut self, lane: usize, profile: &Profile, changed: Interval) {
        let top = self.top.get_or_insert_with(|| Box::new(Node::flat(TOP_ROWS, TOP, &[0; HOSTS * 4])));
        top.refresh(TOP, 0, lane, profile, u64::from(changed.start.0), end_of(changed));
    }

    /// What is known of a window.
    pub fn window(&self, interval: Interval) -> Window {
        let mut window = Window::nothing();
        if let Some(top) = &self.top {
            top.fold(TOP, 0, u64::from(interval.start.0), end_of(interval), &mut window);
        }
        window
    }
}

impl Window {
    /// Of hosts on which nothing is booked.
    pub fn nothing() -> Window {
        Window { inside: [0; HOSTS * 4], cut: [0; HOSTS * 4] }
    }

    /// At least so much is booked on a host at some instant of the window, class by class.
    pub fn at_least(&self, lane: usize) -> Amounts {
        let class = |class: usize| match self.inside[lane * 4 + class] {
            0 => 0,
            units => (u32::from(units - 1) << UNIT_BITS[class]) + 1,
        };
        Amounts::from_array(std::array::from_fn(class))
    }

    /// No more than that is booked on a host at any instant of the window, class by class; `None` where it is not known.
    pub fn at_most(&self, lane: usize) -> Option<Amounts> {
        let units = |class: usize| self.inside[lane * 4 + class].max(self.cut[lane * 4 + class]);
        if (0..4).any(|class| units(class) == MOST) {
            return None;
        }
        Some(Amounts::from_array(std::array::from_fn(|class| u32::from(units(class)) << UNIT_BITS[class])))
    }

    /// The hosts on which nothing may be taken at any instant of the window, a bit each; of the others it is proven that something is.
    pub fn idle(&self) -> u64 {
        let bits = self.inside.chunks_exact(4).enumerate().map(|(lane, inside)| u64::from(inside == [0; 4]) << lane);
        bits.fold(0, |idle, bit| idle | bit)
    }

    /// The hosts that may have room for `need` over the window, a bit each; of the others it is proven that they do not.
    pub fn possible(&self, rooms: &[Amounts; HOSTS], need: Amounts) -> u64 {
        let need = need.to_array();
        let mut possible = 0;
        for (lane, (room, inside)) in rooms.iter().zip(self.inside.chunks_exact(4)).enumerate() {
            let room = room.to_array();
            let mut fits = true;
            for class in 0..4 {
                // As many units leave room if less than all of the last one is booked.
                let free = room[class].checked_sub(need[class]);
                fits &= free.is_some_and(|free| {
                    u32::from(inside[class]) <= (free >> UNIT_BITS[class]) + u32::from(free & mask(class) > 0)
                });
            }
            possible |= u64::from(fits) << lane;
        }
        possible
    }
}

fn mask(class: usize) -> u32 {
    (1 << UNIT_BITS[class]) - 1
}

fn units(amounts: Amounts) -> [u16; 4] {
    let amounts = amounts.to_array();
    std::array::from_fn(|class| {
        let units = (amounts[class] >> UNIT_BITS[class]) + u32::from(amounts[class] & mask(class) > 0);
        u16::try_from(units).unwrap_or(MOST)
    })
}

fn end_of(interval: Interval) -> u64 {
    if interval.end == Seconds::OPEN_END { FOREVER } else { u64::from(interval.end.0) }
}

impl Node {
    /// All rows alike: level over the whole span of `row`.
    fn flat(rows: usize, level: usize, row: &Row) -> Node {
        Node { rows: vec![*row; rows], parts: if level == 0 { Vec::new() } else { vec![None; rows] } }
    }

    fn refresh(&mut self, level: usize, begin: u64, lane: usize, profile: &Profile, from: u64, until: u64) {
        let span = SPAN_S[level];
        let end = begin + span * self.rows.len() as u64;
        let (from, until) = (from.max(begin), until.min(end));
        if from >= until {
            return;
        }
        let places = ((from - begin) / span) as usize..=((until - 1 - begin) / span) as usize;
        if level == 0 {
            let first = begin + *places.start() as u64 * span;
            for (place, peak) in places.clone().zip(profile.peaks(first, span, places.count())) {
                self.set(place, lane, units(peak));
            }
            return;
        }
        for place in places {
            let (at, next) = (begin + place as u64 * span, begin + (place as u64 + 1) * span);
            let value = match &mut self.parts[place] {
                Some(part) => {
                    part.refresh(level - 1, at, lane, profile, from, until);
                    let most = part.most(lane);
                    // Where nothing is booked on any host any more there is nothing to tell apart.
                    if most == [0; 4] && part.rows.iter().all(|row| row.iter().all(|units| *units == 0)) {
                        self.parts[place] = None;
                    }
                    most
                }
                None if profile.is_level(at, next) => units(profile.at_or_never(at)),
                none => {
                    // Until now every host was level here; this one is no longer.
                    let part = none.insert(Box::new(Node::flat(FAN, level - 1, &self.rows[place])));
                    part.refresh(level - 1, at, lane, profile, at, next);
                    part.most(lane)
                }
            };
            self.set(place, lane, value);
        }
    }

    fn set(&mut self, place: usize, lane: usize, value: [u16; 4]) {
        self.rows[place][lane * 4..lane * 4 + 4].copy_from_slice(&value);
    }

    fn most(&self, lane: usize) -> [u16; 4] {
        self.rows.iter().fold([0; 4], |most, row| std::array::from_fn(|class| most[class].max(row[lane * 4 + class])))
    }

    fn fold(&self, level: usize, begin: u64, from: u64, until: u64, window: &mut Window) {
        let span = SPAN_S[level];
        let end = begin + span * self.rows.len() as u64;
        let last = until.min(end);
        if from >= last {
            return;
        }
        let first = (from.max(begin) - begin) / span;
        for place in first..=(last - 1 - begin) / span {
            let (at, next, row) = (begin + place * span, begin + (place + 1) * span, &self.rows[place as usize]);
            if from <= at && next <= until {
                max_into(&mut window.inside, row);
            } else if level == 0 {
                max_into(&mut window.cut, row);
            } else {
                match &self.parts[place as usize] {
                    Some(part) => part.fold(level - 1, at, from, until, window),
                    None => max_into(&mut window.inside, row),
                }
            }
        }
    }
}

fn max_into(most: &mut Row, row: &Row) {
    for (most, one) in most.iter_mut().zip(row) {
        *most = (*most).max(*one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::crowd::Random;
    use crate::state::{Booking, Calendar, host_at};

    const DAY: u32 = 24 * 3600;

    fn booking(random: &mut Random) -> Booking {
        let start = match random.below(4) {
            0 => DAY * random.below(3000),
            1 => random.below(u32::MAX - 1),
            _ => random.below(200 * DAY),
        };
        let end = match random.below(8) {
            0 => u32::MAX,
            1 => start.saturating_add(1).min(u32::MAX - 1),
            2 => (start / DAY + 1 + random.below(80)) * DAY,
            3 => start.saturating_add(1 + random.below(2000 * DAY)).min(u32::MAX - 1),
            _ => start.saturating_add(1 + random.below(30 * DAY)).min(u32::MAX - 1),
        };
        let end = if end > start { end } else { u32::MAX };
        let amounts = Amounts {
            vcpus: random.below(9),
            memory_mb: random.below(70_000),
            disk_gb: random.one_of(&[0, 1, 8, 20, 400, 900_000]),
            slots: 1 + random.below(3),
        };
        Booking {
            host: host_at(0, random.below(64) as usize),
            interval: Interval { start: Seconds(start), end: Seconds(end) },
            amounts,
        }
    }

    /// The most booked at any instant, counted at every begin.
    fn peak(bookings: &[Booking], lane: usize, interval: Interval) -> Amounts {
        let here = || bookings.iter().filter(|one| one.host == host_at(0, lane));
        let begins = here().map(|one| one.interval.start).chain([interval.start]).filter(|at| interval.contains(*at));
        begins.fold(Amounts::default(), |peak, at| {
            let used = here().filter(|one| one.interval.contains(at));
            peak.max(used.fold(Amounts::default(), |sum, one| sum.checked_add(one.amounts).unwrap_or(sum)))
        })
    }

    #[test]
    fn a_window_bounds_from_both_sides_what_counting_finds() {
        for seed in 0..6 {
            let mut random = Random(seed);
            let (mut calendar, mut bookings) = (Calendar::default(), Vec::new());
            let (mut exact, mut decided, mut all) = (0, 0, 0);
            for round in 0..400 {
                if random.below(3) > 0 || bookings.is_empty() {
                    bookings.push(booking(&mut random));
                    calendar.add(bookings.last().expect("one was pushed"));
                } else {
                    let place = random.below(bookings.len() as u32) as usize;
                    calendar.remove(&bookings.swap_remove(place));
                }
                if round % 4 > 0 {
                    continue;
                }
                let interval = booking(&mut random).interval;
                let window = calendar.window(0, interval);
                let reloaded = Calendar::of(bookings.clone());
                assert_eq!(reloaded, calendar);
                let need = booking(&mut random).amounts;
                let rooms: [Amounts; HOSTS] = std::array::from_fn(|_| Amounts {
                    vcpus: random.below(30),
                    memory_mb: random.below(200_000),
                    disk_gb: 3000,
                    slots: 9,
                });
                for window in [window, reloaded.window(0, interval)] {
                    let possible = window.possible(&rooms, need);
                    for (lane, room) in rooms.iter().enumerate() {
                        let peak = peak(&bookings, lane, interval);
                        let at_most = window.at_most(lane);
                        assert!(window.at_least(lane).fits_in(peak), "{:?} of {peak:?}", window.at_least(lane));
                        assert!(at_most.is_none_or(|most| peak.fits_in(most)), "{at_most:?} of {peak:?}");
                        let is_idle = window.idle() >> lane & 1 == 1;
                        assert!(is_idle || peak != Amounts::default(), "something is taken");
                        assert_eq!(is_idle, window.at_least(lane) == Amounts::default(), "{peak:?}");
                        let fits = room.checked_sub(peak).is_some_and(|free| need.fits_in(free));
                        assert!(!fits || possible >> lane & 1 == 1, "{need:?} beside {peak:?} in {room:?}");
                        let sure = at_most.and_then(|most| room.checked_sub(most)).is_some_and(|free| need.fits_in(free));
                        assert!(fits || !sure, "{need:?} beside {peak:?} in {room:?}");
                        exact += u32::from(at_most.is_some_and(|most| most.vcpus == peak.vcpus));
                        decided += u32::from(sure || possible >> lane & 1 == 0);
                        all += 1;
                    }
                }
            }
            assert!(exact * 10 > all * 6 && decided * 10 > all * 6, "{exact} exact and {decided} decided of {all}");
        }
    }

    #[test]
    fn what_fits_to_the_last_unit_is_possible_and_sure() {
        let mut calendar = Calendar::default();
        let used = Amounts { vcpus: 4, memory_mb: 256, disk_gb: 8, slots: 1 };
        let days = Interval { start: Seconds(DAY), end: Seconds(3 * DAY) };
        calendar.add(&Booking { host: host_at(0, 0), interval: days, amounts: used });
        let window = calendar.window(0, days);
        let rooms = [Amounts { vcpus: 5, memory_mb: 512, disk_gb: 16, slots: 2 }; HOSTS];
        assert_eq!(window.at_most(0), Some(used));
        assert_eq!(window.at_least(0), Amounts { vcpus: 4, memory_mb: 1, disk_gb: 1, slots: 1 });
        assert_eq!(window.possible(&rooms, Amounts { vcpus: 1, memory_mb: 511, disk_gb: 8, slots: 1 }) & 1, 1);
        assert_eq!(window.possible(&rooms, Amounts { vcpus: 2, memory_mb: 1, disk_gb: 0, slots: 1 }) & 1, 0);
        assert_eq!(window.possible(&rooms, Amounts { vcpus: 1, memory_mb: 512, disk_gb: 0, slots: 1 }) & 1, 0);
        assert_eq!(window.possible(&rooms, Amounts { vcpus: 6, memory_mb: 1, disk_gb: 0, slots: 1 }), 0);
    }
}
