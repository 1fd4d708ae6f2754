//! What follows from downtimes and upgrades: which leases lack what was promised to them, which downtimes are over, and which
//! upgrades are to have come.

use super::State;
use crate::model::{Amounts, Binding, Host, HostId, Interval, Lease, Phase, Reservation, Seconds, Stage, Upgrade};
use crate::mutant;

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
                (Phase::Staging, Some(staging)) => staging.booked(),
                (Phase::Staging, None) | (Phase::Main, _) => lease.interval(),
            };
            self.is_short_in(binding.host, when)
        };
        needed(reservation).any(is_short)
    }

    /// Whether a host has less than is booked there at an instant to come of an interval, because a downtime takes of it.
    fn is_short_in(&self, id: HostId, interval: Interval) -> bool {
        let to_come = interval.to_come(self.clock().floor_to_second());
        to_come.is_some_and(|to_come| self.shortages_in(id, to_come).next().is_some())
    }

    /// Spans from now on in which a host with downtimes has less than is booked there, because one of them takes of it.
    pub fn shortages(&self, id: HostId) -> Vec<Interval> {
        let to_come = Interval { start: self.clock().floor_to_second(), end: Seconds::OPEN_END };
        self.shortages_in(id, to_come).collect()
    }

    /// The same within an interval, in order.
    fn shortages_in(&self, id: HostId, within: Interval) -> impl Iterator<Item = Interval> + '_ {
        let host = self.host(id).filter(|host| !host.downtimes.is_empty());
        let booked = host.into_iter().flat_map(move |_| self.calendar.steps_in(id, within));
        let withheld = host.into_iter().flat_map(move |_| self.calendar.withheld_steps_in(id, within));
        let upgrade = host.and_then(|host| host.upgrade).map(|upgrade| upgrade.start);
        let borders = booked.chain(withheld).map(|(at, _)| at).chain(upgrade).chain(host.map(|_| within.start));
        let mut borders: Vec<Seconds> = borders.collect();
        borders.retain(|at| within.start <= *at && *at < within.end);
        borders.sort_unstable();
        borders.dedup();
        let ends: Vec<Seconds> = borders.iter().skip(1).copied().chain([within.end]).collect();
        let spans = borders.into_iter().zip(ends).filter_map(|(at, until)| Interval::new(at, until));
        spans.filter(move |span| {
            let (booked, withheld) = (self.calendar.at(id, span.start), self.calendar.withheld_at(id, span.start));
            host.is_some_and(|host| takes_of_promised(host.capacity_at(span.start), booked, withheld))
        })
    }

    /// Hosts of which a downtime takes what was promised before, by number.
    pub fn short_hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        let to_come = Interval { start: self.clock().floor_to_second(), end: Seconds::OPEN_END };
        self.calendar.with_declared().filter(move |host| self.shortages_in(*host, to_come).next().is_some())
    }

    /// Hosts with downtimes that are over at `now`, the longest over first.
    pub(crate) fn over_downtimes(&self, now: Seconds) -> impl Iterator<Item = HostId> + '_ {
        self.downtime_ends.iter().take_while(move |(end, _)| *end <= now).map(|(_, host)| *host)
    }

    /// Upgrades that are to have come by a second, and of which hosts, the longest due first.
    pub fn upgrades_by(&self, at: Seconds) -> impl Iterator<Item = (HostId, Upgrade)> + '_ {
        let by_then = self.upgrade_starts.iter().take_while(move |(start, _)| *start <= at);
        by_then.filter_map(|(_, id)| Some((*id, self.host(*id)?.upgrade?)))
    }

    /// How many upgrades are to have come by a second, and not by the one before.
    pub(crate) fn upgrades_at(&self, second: Seconds) -> usize {
        self.upgrade_starts.range((second, HostId(0))..=(second, HostId(u64::MAX))).count()
    }

    /// Brings what is derived from the downtimes and the upgrade of a host from its old to its new value.
    pub(super) fn reindex_declared(&mut self, old: Option<&Host>, new: Option<&Host>) {
        let of = |host: Option<&Host>| {
            // What is observed changes what an upgrade is still to bring.
            host.map(|host| (host.downtimes.clone(), host.upgrade, host.not_yet())).unwrap_or_default()
        };
        let (before, after) = (of(old), of(new));
        let Some(id) = new.or(old).map(|host| host.id).filter(|_| before != after) else { return };
        for one in before.0 {
            self.downtime_ends.remove(&(one.interval.end, id));
        }
        self.downtime_ends.extend(after.0.iter().map(|one| (one.interval.end, id)));
        if let Some(upgrade) = before.1 {
            self.upgrade_starts.remove(&(upgrade.start, id));
        }
        self.upgrade_starts.extend(after.1.map(|upgrade| (upgrade.start, id)));
        // Planted bug: what an upgrade is to bring is promised at once.
        let not_yet = after.2.filter(|_| !mutant!("H29"));
        self.calendar.declare(id, &new.map(Host::withheld).unwrap_or_default(), not_yet);
    }
}

/// Whether what is booked on a host lacks something because of what downtimes withhold there. Of all of the host everything lacks.
/// Of an amount what is more than the host has, in a class of which it is and of which enough were there without it: that a host
/// lost room is not the downtime's doing, and may mend. Nor is what ordinary servers use there: they come and go, and are looked at
/// when the lease is about to begin.
fn takes_of_promised(capacity: Amounts, booked: Amounts, withheld: Amounts) -> bool {
    if booked == Amounts::default() || withheld == Amounts::default() {
        return false;
    }
    let classes = booked.to_array().into_iter().zip(withheld.to_array()).zip(capacity.to_array());
    let mut lacks = classes.filter(|((booked, _), _)| *booked > 0);
    withheld == Amounts::MOST
        || lacks.any(|((booked, withheld), has)| withheld > 0 && booked <= has && booked.saturating_add(withheld) > has)
}

/// The bindings that a reservation uses, or is still to use.
fn needed(reservation: &Reservation) -> impl Iterator<Item = &Binding> + '_ {
    let is_needed = |binding: &&Binding| binding.phase == Phase::Main || reservation.stage < Stage::Parked;
    reservation.bindings.iter().filter(|_| !reservation.has_ended()).filter(is_needed)
}
