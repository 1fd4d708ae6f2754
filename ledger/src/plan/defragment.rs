//! Leases that have not begun and for which alone a host is in use are moved to hosts that are in use anyway, so that hosts become
//! free as a whole (docs/decisions/0025).
//!
//! What is made smaller is the time that hosts are in use for, from now on, in all. Each move makes it smaller by a given time at
//! least and none makes it larger, so that no moves follow each other for ever.

use std::collections::BTreeSet;

use super::room::{View, sorted_by_host};
use super::update::plan_moved;
use super::{Overlay, Planned};
use crate::model::{
    Amounts, Host, HostId, Interval, Lease, LeaseId, LeaseStatus, PoolKind, Reservation, Seconds, Stage, Timestamp,
};
use crate::mutant;
use crate::state::{Booking, State, lease_bookings, sum_at};

/// Leases of one host that are looked at, and those that are enough for one look.
const LEASES_PER_HOST: usize = 64;
const FOUND_ENOUGH: usize = 32;
/// A lease on more hosts stays: what it costs to look at grows with them.
const HOSTS_OF_ONE: usize = 64;
/// Hosts that are asked whether they are in use anyway and have room, and of those that are enough to choose from.
const HOSTS_ASKED: usize = 1_024;
const HOSTS_ENOUGH: usize = 64;

/// Who is moved, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Only leases that begin so many seconds from now on or later.
    pub lead_s: u32,
    /// A move sets hosts free for so many seconds at least, in all.
    pub gain_s: u32,
}

/// A move that is worth while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where to.
    pub planned: Planned,
    /// For how many seconds hosts become free, in all.
    pub freed_s: u64,
}

/// Leases that would set hosts free if they were elsewhere, of so many dedicated hosts from `from` on, those first that free most;
/// and the host to go on with, `None` after the last one. Whether there is room elsewhere is [`plan_tighter`]'s question.
#[must_use]
pub fn scattered(state: &State, now: Timestamp, terms: Terms, from: HostId, hosts: usize) -> (Vec<LeaseId>, Option<HostId>) {
    let now = now.max(state.clock()).floor_to_second();
    let mut rest = state.hosts().filter(|host| host.id >= from && is_dedicated(host)).map(|host| host.id);
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for host in rest.by_ref().take(hosts) {
        let movable = state.leases_on(host).filter(|lease| may_move(state, lease, now, terms));
        for lease in movable.take(LEASES_PER_HOST) {
            if !seen.insert(lease.id) {
                continue;
            }
            let freed_s = freed_s(state, &lease_bookings(lease));
            if freed_s >= u64::from(terms.gain_s) {
                found.push((std::cmp::Reverse(freed_s), lease.id));
            }
        }
        if found.len() >= FOUND_ENOUGH {
            break;
        }
    }
    found.sort_unstable();
    (found.into_iter().map(|(_, id)| id).collect(), rest.next())
}

/// Where a lease would be in nobody's way: on hosts that others have in use for all of its time. `None`: it is not to be moved, or
/// there is no room there.
#[must_use]
pub fn plan_tighter(state: &State, now: Timestamp, terms: Terms, lease_id: LeaseId) -> Option<Move> {
    let now = now.max(state.clock());
    let lease = state.lease(lease_id).filter(|lease| may_move(state, lease, now.floor_to_second(), terms))?;
    let own = sorted_by_host(lease_bookings(lease));
    let freed_s = freed_s(state, &own);
    if freed_s < u64::from(terms.gain_s) {
        return None;
    }
    let overlay = Overlay::default();
    let anchor = lease.reservations.iter().find_map(|one| state.anchor_of(&one.bindings)).unwrap_or_default();
    let view = View { own: &own, anchor, ..View::new(state, &overlay, now) };
    let has_room = |host: &Host, one: &Reservation| {
        let wish = one.wish.instance();
        // What a planned upgrade is to bring is nothing to move to of one's own accord: such a host is none to move to behind it.
        let is_there = host.not_yet().is_none_or(|(before, _)| lease.end <= before.end);
        is_there && view.eligible(host, wish) && view.fit(host.id, host.room_upgraded(), lease.interval(), wish.need(), 1) > 0
    };
    // In a circle from its own hosts on, so that not all go to the first ones.
    let first = own.first()?.host;
    let (before, after): (Vec<&Host>, Vec<&Host>) =
        state.hosts().filter(|host| is_dedicated(host)).partition(|host| host.id < first);
    let asked = after.into_iter().chain(before).take(HOSTS_ASKED);
    let with_room = asked.filter(|host| lease.reservations.iter().any(|one| has_room(host, one))).map(|host| host.id);
    let among: BTreeSet<HostId> = with_room.filter(|host| in_use_anyway(state, &own, *host)).take(HOSTS_ENOUGH).collect();
    if among.is_empty() {
        return None;
    }
    let planned = plan_moved(state, &overlay, lease_id, &[], Some(&among)).ok()?;
    Some(Move { planned, freed_s })
}

fn is_dedicated(host: &Host) -> bool {
    host.description.pool == PoolKind::Dedicated
}

/// Nothing of it has begun or is about to, nothing is waited for, and nobody else must agree.
fn may_move(state: &State, lease: &Lease, now: Seconds, terms: Terms) -> bool {
    let quiet = |one: &Reservation| one.stage <= Stage::Prepared && one.adoption.is_none();
    let mut bindings = lease.reservations.iter().flat_map(|one| &one.bindings);
    let dedicated = |host: HostId| state.host(host).is_some_and(is_dedicated);
    lease.status == LeaseStatus::Pending
        && lease.begins() > now.plus(terms.lead_s)
        && lease.unclaimed_until().is_none()
        && lease.reservations.iter().all(quiet)
        && bindings.clone().count() <= HOSTS_OF_ONE
        && bindings.all(|binding| dedicated(binding.host))
}

/// For how long its hosts would be free without it, in all.
fn freed_s(state: &State, own: &[Booking]) -> u64 {
    let hosts: BTreeSet<HostId> = own.iter().map(|booking| booking.host).collect();
    hosts.into_iter().map(|host| alone_s(state, own, host)).sum()
}

/// For how long nothing but `own` is booked on a host where that is.
fn alone_s(state: &State, own: &[Booking], host: HostId) -> u64 {
    let there: Vec<Booking> = own.iter().filter(|booking| booking.host == host).copied().collect();
    let alone = pieces(state, host, &intervals(&there)).into_iter().filter(|piece| {
        let ours = sum_at(host, *piece, &there);
        // Planted bug: whoever else is there, too.
        ours != Amounts::default() && (mutant!("J02") || state.calendar().at(host, piece.start) == ours)
    });
    alone.map(|piece| u64::from(piece.end.0 - piece.start.0)).sum()
}

/// Whether somebody else has a host in use for all of the time of `own`.
fn in_use_anyway(state: &State, own: &[Booking], host: HostId) -> bool {
    let there: Vec<Booking> = own.iter().filter(|booking| booking.host == host).copied().collect();
    // Planted bug: nobody is asked.
    let in_use = |piece: Interval| mutant!("J01") || state.calendar().at(host, piece.start) != sum_at(host, piece, &there);
    pieces(state, host, &intervals(own)).into_iter().all(in_use)
}

/// When these are booked, each time once.
fn intervals(bookings: &[Booking]) -> Vec<Interval> {
    let mut intervals: Vec<Interval> = bookings.iter().map(|booking| booking.interval).collect();
    intervals.sort_unstable_by_key(|one| (one.start, one.end));
    intervals.dedup();
    intervals
}

/// These intervals, cut where what is booked on a host changes; each piece once.
fn pieces(state: &State, host: HostId, intervals: &[Interval]) -> Vec<Interval> {
    let mut borders: BTreeSet<Seconds> = intervals.iter().flat_map(|one| [one.start, one.end]).collect();
    for interval in intervals {
        borders.extend(state.calendar().steps_in(host, *interval).map(|(at, _)| at).filter(|at| *at < interval.end));
    }
    let borders: Vec<Seconds> = borders.into_iter().collect();
    let pieces = borders.windows(2).map(|pair| Interval { start: pair[0], end: pair[1] });
    pieces.filter(|piece| intervals.iter().any(|one| one.overlaps(*piece))).collect()
}

#[cfg(test)]
mod tests;
