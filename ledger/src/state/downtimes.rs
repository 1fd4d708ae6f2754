//! What follows from downtimes: which leases lack what was promised to them, and which downtimes are over.

use super::State;
use crate::model::{Amounts, Binding, Downtime, Host, HostId, Interval, Lease, Phase, Reservation, Seconds, Stage};

impl State {
    /// Whether one of the hosts that a reservation uses, or is still to use, is down or gone, or is not to be had when it is
    /// needed, because a downtime takes of it what was promised before.
    pub fn lacks_host(&self, lease: &Lease, reservation: &Reservation) -> bool {
        let is_up = |binding: &Binding| self.host(binding.host).is_some_and(|host| host.observation.up);
        self.is_short(lease, reservation) || needed(reservation).any(|binding| !is_up(binding))
    }

    /// Whether a downtime takes of one of these hosts what was promised before.
    pub fn is_short(&self, lease: &Lease, reservation: &Reservation) -> bool {
        let is_short = |binding: &Binding| {
            let when = match (binding.phase, reservation.staging) {
                (Phase::Staging, Some(staging)) => staging.window,
                (Phase::Staging, None) | (Phase::Main, _) => lease.interval(),
            };
            self.is_short_in(binding.host, when)
        };
        needed(reservation).any(is_short)
    }

    /// Whether a host has less than is booked there at an instant to come of an interval, while a downtime takes of it.
    fn is_short_in(&self, id: HostId, interval: Interval) -> bool {
        let Some(host) = self.host(id) else { return false };
        let to_come = interval.to_come(self.clock().floor_to_second());
        let within = |one: &Downtime| Interval::new(one.interval.start.max(to_come?.start), one.interval.end.min(to_come?.end));
        let is_short = |span: Interval| {
            self.calendar.peak(id, span) != Amounts::default() && !self.calendar.taken(id, span).fits_in(host.room())
        };
        host.downtimes.iter().filter_map(within).any(is_short)
    }

    /// Spans from now on in which a host with downtimes has less than is booked there, while one of them takes of it.
    pub fn shortages(&self, id: HostId) -> Vec<Interval> {
        let Some(host) = self.host(id).filter(|host| !host.downtimes.is_empty()) else { return Vec::new() };
        let (room, now) = (host.room(), self.clock().floor_to_second());
        // A step of what is withheld may be none of what is taken, which cannot be more than can be counted.
        let steps = self.calendar.taken_steps(id).chain(self.calendar.withheld_steps(id)).map(|(at, _)| at);
        let booked = self.calendar.steps(id).map(|(at, _)| at);
        let mut borders: Vec<Seconds> = steps.chain(booked).collect();
        borders.sort_unstable();
        borders.dedup();
        let spans = borders.iter().enumerate().filter_map(|(place, at)| {
            let until = borders.get(place + 1).copied().unwrap_or(Seconds::OPEN_END);
            let span = Interval::new(*at, until)?.to_come(now)?;
            let (booked, withheld) = (self.calendar.at(id, *at), self.calendar.withheld_at(id, *at));
            let is_short =
                booked != Amounts::default() && withheld != Amounts::default() && !self.calendar.taken_at(id, *at).fits_in(room);
            is_short.then_some(span)
        });
        spans.collect()
    }

    /// Hosts of which a downtime takes what was promised before, by number.
    pub fn short_hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        let always = Interval { start: Seconds(0), end: Seconds::OPEN_END };
        // Most are not, which is cheaper to say than where they are.
        let may_be = move |host: &HostId| self.is_short_in(*host, always);
        self.calendar.with_downtimes().filter(may_be).filter(|host| !self.shortages(*host).is_empty())
    }

    /// Hosts with downtimes that are over at `now`, the longest over first.
    pub(crate) fn over_downtimes(&self, now: Seconds) -> impl Iterator<Item = HostId> + '_ {
        self.downtime_ends.iter().take_while(move |(end, _)| *end <= now).map(|(_, host)| *host)
    }

    /// Brings what is derived from the downtimes of a host from its old to its new value.
    pub(super) fn reindex_downtimes(&mut self, old: Option<&Host>, new: Option<&Host>) {
        let of = |host: Option<&Host>| host.map(|host| host.downtimes.clone()).unwrap_or_default();
        let (before, after) = (of(old), of(new));
        let Some(id) = new.or(old).map(|host| host.id).filter(|_| before != after) else { return };
        for one in before {
            self.downtime_ends.remove(&(one.interval.end, id));
        }
        self.downtime_ends.extend(after.iter().map(|one| (one.interval.end, id)));
        self.calendar.withhold(id, &new.map(Host::withheld).unwrap_or_default());
    }
}

/// The bindings that a reservation uses, or is still to use.
fn needed(reservation: &Reservation) -> impl Iterator<Item = &Binding> + '_ {
    let is_needed = |binding: &&Binding| binding.phase == Phase::Main || reservation.stage < Stage::Parked;
    reservation.bindings.iter().filter(|_| !reservation.has_ended()).filter(is_needed)
}
