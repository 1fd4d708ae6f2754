//! How much of a host is free over an interval, as one plan sees it.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::{Overlay, Tell};
use crate::model::{Amounts, Anchor, Host, HostId, InstanceWish, Interval, Seconds, Timestamp, misfit};
use crate::state::{Booking, State, segments, sum_at};

/// So many planned bookings are gone through in the time of one look.
const LOOKED_AT_ONCE: usize = 512;

/// The state as one plan sees it.
pub(super) struct View<'a> {
    pub state: &'a State,
    pub overlay: &'a Overlay,
    /// In the calendar, but about to be given up by the lease that is planned again.
    /// By host: see [`sorted_by_host`].
    pub own: &'a [Booking],
    /// Planned already, for other parts of the same lease.
    pub planned: Vec<Booking>,
    /// Hosts that must not be used.
    pub avoid: &'a [HostId],
    /// The only hosts that may be used, where they are given.
    pub among: Option<&'a BTreeSet<HostId>>,
    /// What the hosts of the reservation at hand are anchored by.
    pub anchor: Anchor,
    /// Whether what is missing is told where there is no room.
    pub tell: Tell,
    /// What is over by now is in nobody's way, as in `apply`, whose now is this one or later.
    pub now: Seconds,
    /// Looks at single hosts and at blocks of the index so far, each about a microsecond ([`Steps`](super::together::Steps)).
    pub looks: Cell<u32>,
}

impl<'a> View<'a> {
    /// For a lease that has nothing yet.
    pub fn new(state: &'a State, overlay: &'a Overlay, now: Timestamp) -> Self {
        let now = now.floor_to_second();
        let (planned, anchor, looks) = Default::default();
        Self { state, overlay, own: &[], planned, avoid: &[], among: None, anchor, tell: Tell::WhatFits, now, looks }
    }

    /// Something is looked at that costs so much.
    pub fn look(&self, cost: usize) {
        self.looks.set(self.looks.get().saturating_add(u32::try_from(cost).unwrap_or(u32::MAX)));
    }

    /// What `plan` finds for one reservation on hosts of one kind of anchor (architecture D21), the first kind with which it
    /// finds anything; what failed is made one by `merge`.
    pub fn with_one_anchor<T, E>(
        &mut self,
        anchors: &[Anchor],
        mut plan: impl FnMut(&mut Self) -> Result<T, E>,
        merge: impl Fn(E, E) -> E,
    ) -> Result<T, E> {
        let (planned, mut failed) = (self.planned.len(), None);
        for anchor in anchors {
            self.anchor = *anchor;
            match plan(self) {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.planned.truncate(planned);
                    failed = Some(match failed {
                        None => error,
                        Some(first) => merge(first, error),
                    });
                }
            }
        }
        Err(failed.expect("there is a kind to plan with"))
    }

    /// Whether new slots of a wish may be placed on a host at all.
    pub fn eligible(&self, host: &Host, wish: &InstanceWish) -> bool {
        host.description.anchor == self.anchor && host.accepts_bookings() && self.may_use(host.id) && misfit(host, wish).is_none()
    }

    /// Whether a host is not one of those that were ruled out by number.
    pub fn may_use(&self, host: HostId) -> bool {
        !self.avoid.contains(&host) && self.among.is_none_or(|among| among.contains(&host))
    }

    /// The most taken at any instant of what is still to come of an interval, class by class.
    pub fn peak(&self, host: HostId, interval: Interval) -> Amounts {
        interval.to_come(self.now).map_or(Amounts::default(), |to_come| self.state.calendar().taken(host, to_come))
    }

    /// The same of what is booked, which is what is held: nothing is held for a downtime.
    pub fn booked_peak(&self, host: HostId, interval: Interval) -> Amounts {
        interval.to_come(self.now).map_or(Amounts::default(), |to_come| self.state.calendar().peak(host, to_come))
    }

    /// What is given up on hosts from one number to another.
    pub fn own_on(&self, first: HostId, last: HostId) -> &'a [Booking] {
        let from = self.own.partition_point(|booking| booking.host < first);
        let many = self.own[from..].partition_point(|booking| booking.host <= last);
        &self.own[from..from + many]
    }

    /// What is taken on a host at an instant, without what is given up.
    pub fn taken_at(&self, host: HostId, at: Seconds) -> Amounts {
        let given_up = sum_at(host, Interval { start: at, end: at.plus(1) }, self.own_on(host, host));
        self.state.calendar().taken_at(host, at).without(given_up)
    }

    /// The instants within an interval at which what is taken on a host, without what is given up, may change, in order, and what
    /// is taken from there on.
    pub fn taken_steps_in(&self, host: HostId, interval: Interval) -> impl Iterator<Item = (Seconds, Amounts)> + '_ {
        let own = self.own_on(host, host);
        // Where what is given up borders on what stays the calendar need not have a step.
        let borders = own.iter().flat_map(|booking| [booking.interval.start, booking.interval.end]);
        let mut borders: Vec<Seconds> = borders.filter(|at| interval.start <= *at && *at < interval.end).collect();
        if !own.is_empty() {
            borders.extend(self.state.calendar().taken_steps_in(host, interval).map(|(at, _)| at));
            borders.sort_unstable();
            borders.dedup();
        }
        let as_booked = own.is_empty().then(|| self.state.calendar().taken_steps_in(host, interval));
        let beside = borders.into_iter().map(move |at| (at, self.taken_at(host, at)));
        as_booked.into_iter().flatten().chain(beside)
    }

    /// Whether what is booked on a host is what counts there: nothing is planned on it or given up.
    pub fn is_as_booked(&self, host: HostId) -> bool {
        let of_host = |booking: &Booking| booking.host == host;
        self.overlay.on(host).is_empty() && !self.planned.iter().any(of_host) && self.own_on(host, host).is_empty()
    }

    /// How many slots fit on a host with this room at every instant that is still to come of the interval; exact below `enough`.
    pub fn fit(&self, host: HostId, room: Amounts, interval: Interval, need: Amounts, enough: u32) -> u32 {
        let Some(interval) = interval.to_come(self.now) else { return remaining(room, Amounts::default(), need) };
        let used = self.state.calendar().taken(host, interval);
        let (planned, own) = self.beside(host, interval);

        // At least so many fit: as if everything planned came together at the peak, and nothing were given up.
        let all = planned.iter().try_fold(used, |sum, booking| sum.checked_add(booking.amounts));
        let at_least = all.map_or(0, |all| remaining(room, all, need));
        if at_least >= enough || (planned.is_empty() && own.is_empty()) {
            return at_least;
        }
        self.free_beside(host, room, interval, &planned, &own).map_or(0, |free| free.times(need))
    }

    /// How many of the slots that fit on a host do so without what its upgrade is to bring.
    pub fn fit_as_it_is(&self, host: &Host, fit: u32, interval: Interval, need: Amounts) -> u32 {
        // Until then that is taken, and no part of what fits.
        let upgraded = host.not_yet().and_then(|(before, _)| Interval::new(interval.start.max(before.end), interval.end));
        upgraded.map_or(fit, |upgraded| self.fit(host.id, host.room(), upgraded, need, fit).min(fit))
    }

    /// What is free, class by class, on a host with this room at every instant that is still to come of the interval; `None` when
    /// more is taken than there is.
    pub fn free(&self, host: HostId, room: Amounts, interval: Interval) -> Option<Amounts> {
        let Some(interval) = interval.to_come(self.now) else { return Some(room) };
        let (planned, own) = self.beside(host, interval);
        self.free_beside(host, room, interval, &planned, &own)
    }

    /// What is planned on a host, and what is given up there, within an interval.
    fn beside(&self, host: HostId, interval: Interval) -> (Vec<Booking>, Vec<Booking>) {
        self.look(1 + self.planned.len() / LOOKED_AT_ONCE);
        let concerns = |booking: &&Booking| booking.host == host && booking.interval.overlaps(interval);
        let in_flight = self.overlay.on(host).iter().map(|(_, booking)| booking);
        let planned = in_flight.chain(&self.planned).filter(concerns).copied().collect();
        (planned, self.own_on(host, host).iter().filter(concerns).copied().collect())
    }

    /// Exact: what is planned and given up is constant between its borders. The interval itself is a border too.
    fn free_beside(
        &self,
        host: HostId,
        room: Amounts,
        interval: Interval,
        planned: &[Booking],
        own: &[Booking],
    ) -> Option<Amounts> {
        let whole = Booking { host, interval, amounts: Amounts::default() };
        let marks: Vec<Booking> = planned.iter().copied().chain([whole]).collect();
        let within = segments(host, own, &marks).into_iter().filter(|segment| segment.overlaps(interval));
        within
            .map(|segment| {
                let kept = self.state.calendar().taken(host, segment).without(sum_at(host, segment, own));
                kept.checked_add(sum_at(host, segment, planned)).and_then(|used| room.checked_sub(used))
            })
            .try_fold(Amounts::MOST, |least, free| free.map(|free| least.min(free)))
    }
}

/// Bookings in the order in which a [`View`] looks for what is given up.
pub(super) fn sorted_by_host(mut bookings: Vec<Booking>) -> Vec<Booking> {
    bookings.sort_by_key(|booking| booking.host);
    bookings
}

/// How many slots fit where so much is used.
pub(super) fn remaining(room: Amounts, used: Amounts, need: Amounts) -> u32 {
    room.checked_sub(used).map_or(0, |free| free.times(need))
}
