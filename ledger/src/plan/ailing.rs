//! Leases that cannot be served where they are bound, because a host is down, or promises more than it has or, in a downtime, is to
//! have.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Amounts, Binding, FROZEN_S, HostId, Interval, Lease, LeaseId, LeaseStatus, Phase, Reservation, Seconds, Stage, Timestamp,
};
use crate::state::{State, lease_bookings};

/// A lease that is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailing {
    /// Which.
    pub lease_id: LeaseId,
    /// Away from these hosts, by number.
    pub avoid: Vec<HostId>,
    /// When it needs what it has there.
    pub begins: Seconds,
    /// Whether one of these hosts is down, or is not to be had at all when it is needed. If not they have less than they promise,
    /// and some of their leases may stay.
    pub lost: bool,
}

/// How far the leases of a sick host are looked at. Those that lack something because of a downtime are looked at whenever they
/// begin: it was declared, and nothing is mended by waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Those that begin before this second.
    pub until: Seconds,
    /// Also those that have begun: the host has been sick for long enough.
    pub begun: bool,
    /// Also those that lack something because of a downtime.
    pub downtimes: bool,
}

impl Looked {
    /// Only those that lack something because of a downtime.
    pub const DOWNTIMES: Looked = Looked { until: Seconds(0), begun: false, downtimes: true };
}

/// Hosts that are down, or that promise more than they have, by number.
pub fn sick_hosts(state: &State) -> impl Iterator<Item = HostId> + '_ {
    state.hosts().filter(|host| !host.observation.up || host.overcommitted).map(|host| host.id)
}

/// Leases that are to be moved away from these hosts, each of which is looked at so far: first those of
/// hosts that are down, by the time at which they begin; then those that have a part in what a host promises too much, the
/// latest first, because what begins last has most time to be moved again. A host that is to have nothing in a downtime is
/// as one that is down.
///
/// Only what can be moved counts: the phases that do not begin within ten seconds, of leases that wait for nothing.
pub fn ailing(state: &State, now: Timestamp, looked_at: &BTreeMap<HostId, Looked>) -> Vec<Ailing> {
    let now = now.floor_to_second();
    let mut found: BTreeMap<LeaseId, Ailing> = BTreeMap::new();
    for (&host_id, &Looked { until, downtimes, .. }) in looked_at {
        let Some(host) = state.host(host_id) else { continue };
        let lost = !host.observation.up;
        let overloads = if lost { Vec::new() } else { overloads(state, host_id, now) };
        let shortages = if downtimes { state.shortages(host_id) } else { Vec::new() };
        let closed: Vec<Interval> = host.downtimes.iter().filter(|one| one.withheld.all()).map(|one| one.interval).collect();
        for lease in state.leases_on(host_id).filter(|lease| lease.status == LeaseStatus::Pending) {
            let Some(begins) = needed_from(lease, host_id).filter(|begins| *begins > now.plus(FROZEN_S)) else { continue };
            let has_part =
                |spans: &[Interval]| lease_bookings(lease).iter().any(|one| one.host == host_id && meets(one.interval, spans));
            let sick = begins < until && (lost || (!overloads.is_empty() && has_part(&overloads)));
            let short = !shortages.is_empty() && has_part(&shortages);
            if !sick && !short {
                continue;
            }
            let lost = (sick && lost) || (short && has_part(&closed));
            let one = found.entry(lease.id).or_insert(Ailing { lease_id: lease.id, avoid: Vec::new(), begins, lost: false });
            one.avoid.push(host_id);
            one.begins = one.begins.min(begins);
            one.lost |= lost;
        }
    }
    let (mut lost, mut crowded): (Vec<_>, Vec<_>) = found.into_values().partition(|one| one.lost);
    lost.sort_by_key(|one| one.begins);
    crowded.sort_by_key(|one| std::cmp::Reverse(one.begins));
    lost.append(&mut crowded);
    lost
}

/// Whether one that was found is still to be moved: it does not begin within ten seconds by now, and of a host that promises too
/// much no more is taken than what is too much. Who is on the way off such a host is waited for: on shared hosts it is booked there
/// until the cloud has accepted its new hold.
pub fn still_ails(state: &State, now: Timestamp, one: &Ailing) -> bool {
    if one.begins <= now.floor_to_second().plus(FROZEN_S) {
        return false;
    }
    let is_short = |lease: &Lease| lease.reservations.iter().any(|reservation| state.is_short(lease, reservation));
    let promises_too_much = |host: &HostId| state.host(*host).is_some_and(|host| host.overcommitted);
    let is_left = |host: &HostId| state.leases_on(*host).any(|lease| leaves(lease, *host));
    let too_much = || one.avoid.iter().any(promises_too_much) || state.lease(one.lease_id).is_some_and(is_short);
    one.lost || (too_much() && !one.avoid.iter().any(is_left))
}

/// Whether a lease is on the way off a host: it is booked there only until the cloud has accepted what it was moved to.
fn leaves(lease: &Lease, host: HostId) -> bool {
    let is_there = |bindings: &[Binding]| bindings.iter().any(|binding| binding.host == host);
    let of_before = |reservation: &Reservation| reservation.previous.as_ref().is_some_and(|before| is_there(&before.bindings));
    let leaves = |reservation: &Reservation| of_before(reservation) && !is_there(&reservation.bindings);
    lease.status == LeaseStatus::Updating && lease.reservations.iter().any(leaves)
}

/// Leases that do not say what is so, by id: those that lack one of these hosts and are looked at there, and all that say they
/// lack a host and do not.
pub fn misjudged(state: &State, looked_at: &BTreeMap<HostId, Looked>) -> BTreeSet<LeaseId> {
    let differs = |lease: &&Lease| lease.reservations.iter().any(|one| one.missing_resources != state.lacks_host(lease, one));
    let is_short = |lease: &Lease| lease.reservations.iter().any(|one| state.is_short(lease, one));
    let on = |(host, looked): (&HostId, &Looked)| {
        let (host, Looked { until, begun, downtimes }) = (*host, *looked);
        let meant =
            |lease: &&Lease| needed_from(lease, host).map_or(begun, |begins| begins < until) || (downtimes && is_short(lease));
        let there = state.leases_on(host).filter(|lease| lease.visible());
        there.filter(differs).filter(meant).map(|lease| lease.id).collect::<Vec<_>>()
    };
    let well_again = state.degraded_leases().filter(|lease| lease.visible()).filter(differs).map(|lease| lease.id);
    looked_at.iter().flat_map(on).chain(well_again).collect()
}

/// The first second of what a lease has on a host and can still be moved; `None` where there is no such thing.
fn needed_from(lease: &Lease, host: HostId) -> Option<Seconds> {
    let of = |reservation: &Reservation| -> Option<Seconds> {
        let movable = |phase: Phase| match phase {
            Phase::Staging => reservation.stage < Stage::Staging,
            Phase::Main => reservation.stage < Stage::Open,
        };
        let begin = |phase: Phase| match phase {
            Phase::Staging => reservation.staging.map_or(lease.start, |staging| staging.window.start),
            Phase::Main => lease.start,
        };
        let there = reservation.bindings.iter().filter(|one| one.host == host && movable(one.phase));
        there.map(|one| begin(one.phase)).min()
    };
    lease.reservations.iter().filter(|one| !one.has_ended()).filter_map(of).min()
}

/// Spans from now on in which more is booked on a host than it has room for.
fn overloads(state: &State, host_id: HostId, now: Seconds) -> Vec<Interval> {
    let Some(host) = state.host(host_id) else { return Vec::new() };
    let mut steps: Vec<_> = state.calendar().steps(host_id).collect();
    if let Some(at) = host.upgrade.map(|upgrade| upgrade.start) {
        steps.push((at, state.calendar().at(host_id, at)));
        steps.sort_by_key(|(at, _)| *at);
    }
    let is_over = |(_, (at, used)): &(usize, &(Seconds, Amounts))| !used.fits_in(host.room_at(*at));
    let spans = steps.iter().enumerate().filter(is_over).filter_map(|(place, (at, _))| {
        let until = steps.get(place + 1).map_or(Seconds::OPEN_END, |next| next.0);
        Interval::new(*at, until)?.to_come(now)
    });
    spans.collect()
}

fn meets(interval: Interval, spans: &[Interval]) -> bool {
    spans.iter().any(|span| span.overlaps(interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::script::check;

    /// A round of many takes its time.
    #[test]
    fn who_was_found_and_is_about_to_begin_by_now_stays() {
        let one = Ailing { lease_id: LeaseId(uuid::Uuid::nil()), avoid: Vec::new(), begins: Seconds(100), lost: true };
        let still = |now: u32| still_ails(&State::default(), Seconds(now).timestamp(), &one);
        assert_eq!([still(89), still(90), still(100)], [true, false, false]);
    }

    #[test]
    fn who_needs_a_host_that_is_down_is_found_while_it_can_be_moved() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=2 plan=h1*2 -> PENDING h1*2
               10:00 lease B 11:00..12:00 n=2 plan=h1*2 -> PENDING h1*2
               10:00 lease C 11:00..12:00 n=2 plan=h2*2 -> PENDING h2*2
               10:00 ailing before 20:00 -> nobody
               10:01 observe h1 down -> closed
               10:01 ailing before 20:00 -> B h1, A h1
               10:01 ailing before 12:00 -> B h1
               11:00 ailing before 20:00 -> A h1
               11:01 rebind A h1 -> PENDING h2*2
               11:01 ailing before 20:00 -> nobody",
        );
    }

    #[test]
    fn of_a_host_that_promises_too_much_only_those_are_found_who_have_a_part_in_it() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 11:00..12:00 n=1 plan=h1*1 -> PENDING h1*1
               10:00 lease B 12:00..13:00 n=2 plan=h1*2 -> PENDING h1*2
               10:00 lease C 12:30..14:00 n=2 plan=h1*2 -> PENDING h1*2
               10:01 observe h1 firm=1 -> overcommitted
               10:01 ailing before 20:00 -> C h1, B h1
               10:01 rebind C h1 -> PENDING h2*2
               10:01 ailing before 20:00 -> nobody
               10:01 lease D 11:00..12:00 n=2 plan=h1*2 -> PENDING h1*2",
        );
    }

    #[test]
    fn a_staging_that_has_begun_stays_and_what_comes_after_it_moves() {
        check(
            "10:00 hosts h1 h2 h3 vcpus=4
               10:00 lease A 12:00..14:00 n=2 staging=10:30..11:00 plan=staging:h1*2,h2*2 -> PENDING staging:h1*2 h2*2
               10:30 clock -> open A
               10:30 done open A -> A PENDING pending:Staging
               10:31 observe h1 down -> closed
               10:31 ailing before 20:00 -> nobody
               10:32 observe h2 down -> closed
               10:32 ailing before 20:00 -> A h2
               10:32 rebind A h2 -> PENDING staging:h1*2 h3*2",
        );
    }
}
