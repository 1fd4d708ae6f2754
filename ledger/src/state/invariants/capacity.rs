//! L1 from the leases alone, and whether the calendar says the same.

use std::collections::BTreeSet;

use super::{State, Violation, violated};
use crate::model::{Amounts, Binding, Host, HostId, Interval, Lease, Phase, Reservation, Seconds};
use crate::state::block_of;

/// L1 from the leases alone; the calendar must say the same.
pub(super) fn check_capacity(state: &State, mut booked: Vec<(HostId, Interval, Amounts)>, violations: &mut Vec<Violation>) {
    booked.sort_unstable_by_key(|(host, _, _)| *host);
    let now = state.clock().floor_to_second();
    for of_host in booked.chunk_by(|one, other| one.0 == other.0) {
        let host = of_host[0].0;
        let steps = steps_of(of_host);
        if !steps.iter().copied().eq(state.calendar().steps(host)) {
            violated(violations, "calendar", format!("host {host} differs from its leases"));
        }
        let Some(row) = state.host(host) else {
            violated(violations, "bindings", format!("host {host} is gone"));
            continue;
        };
        for (place, (at, used)) in steps.iter().enumerate() {
            let until = steps.get(place + 1).map_or(Seconds::OPEN_END, |next| next.0);
            // An upgrade that comes meanwhile makes room only from then on.
            let room = row.room_at((*at).max(now));
            if until > now && !row.overcommitted && !used.fits_in(room) {
                violated(violations, "L1", format!("host {host} at {at:?}: {used:?} of {room:?}"));
            }
        }
    }
    for host in state.hosts() {
        let is_booked = booked.binary_search_by_key(&host.id, |(host, _, _)| *host).is_ok();
        if !is_booked && state.calendar().steps(host.id).next().is_some() {
            violated(violations, "calendar", format!("host {} is booked by nobody", host.id));
        }
        let (block, lane) = block_of(host.id);
        let (to_come, calendar) = (Interval { start: now, end: Seconds::OPEN_END }, state.calendar());
        let (known, peak) = (calendar.window(block, to_come), calendar.taken(host.id, to_come));
        if !known.at_least(lane).fits_in(peak) || known.at_most(lane).is_some_and(|most| !peak.fits_in(most)) {
            violated(violations, "wide index", format!("host {}: {peak:?} is not within what it says", host.id));
        }
        // What is due by the ledger's clock is there, or does not count.
        if let Some(upgrade) = host.upgrade.filter(|upgrade| upgrade.start <= now) {
            violated(violations, "upgrades", format!("host {} at {now:?}: {upgrade:?} is due", host.id));
        }
        if let Some(at) = wrongly_taken(state, host) {
            violated(
                violations,
                "downtimes",
                format!("host {} at {at:?}: not what is booked, withheld, and not there yet", host.id),
            );
        }
    }
}

/// A second at which what is taken of a host is not what its bookings and its downtimes come to, one by one.
fn wrongly_taken(state: &State, host: &Host) -> Option<Seconds> {
    let (calendar, mut withheld) = (state.calendar(), host.withheld());
    withheld.extend(host.not_yet());
    if withheld.is_empty() {
        let same = calendar.taken_steps(host.id).eq(calendar.steps(host.id));
        return (!same).then_some(Seconds(0));
    }
    let borders = withheld.iter().flat_map(|(span, _)| [span.start, span.end]);
    let borders = borders.chain(calendar.steps(host.id).chain(calendar.taken_steps(host.id)).map(|(at, _)| at));
    let sum_at = |at: Seconds| {
        let here = withheld.iter().filter(|(span, _)| span.contains(at)).map(|(_, amounts)| amounts.to_array());
        here.chain([calendar.at(host.id, at).to_array()]).fold([0u64; 4], |sum, one| {
            std::array::from_fn(|class| (sum[class] + u64::from(one[class])).min(u64::from(u32::MAX)))
        })
    };
    let mut wrong = borders.filter(|at| calendar.taken_at(host.id, *at).to_array().map(u64::from) != sum_at(*at));
    wrong.next()
}

/// Written apart from `bookings.rs` on purpose: by amounts at borders instead of merged spans.
pub(super) fn booked(lease: &Lease, reservation: &Reservation, into: &mut Vec<(HostId, Interval, Amounts)>) {
    let spans = |interval: Interval,
                 need: Amounts,
                 staging: Option<Interval>,
                 bindings: &[Binding]|
     -> Vec<(HostId, Interval, Amounts)> {
        bindings
            .iter()
            .filter_map(|binding| {
                let span = if binding.phase == Phase::Main { Some(interval) } else { staging };
                Some((binding.host, span?, need.checked_mul(binding.slots)?))
            })
            .collect()
    };
    let end = reservation.booked_end.unwrap_or(lease.end).max(lease.end);
    let main = Interval { start: lease.start, end };
    let need = reservation.wish.instance().need();
    let staging = reservation.staging.map(|staging| staging.booked());
    let new = spans(main, need, staging, &reservation.bindings);
    into.extend(spans(main, need, None, &reservation.releasing));
    let Some(previous) = &reservation.previous else {
        return into.extend(new);
    };
    let old_staging = previous.staging.map(|staging| staging.booked());
    let old = spans(previous.interval, previous.wish.instance().need(), old_staging, &previous.bindings);
    let hosts: BTreeSet<HostId> = old.iter().chain(&new).map(|span| span.0).collect();
    for host in hosts {
        let of = |set: &[(HostId, Interval, Amounts)]| -> Vec<(Interval, Amounts)> {
            set.iter().filter(|span| span.0 == host).map(|span| (span.1, span.2)).collect()
        };
        let (old, new) = (of(&old), of(&new));
        let borders: BTreeSet<Seconds> = old.iter().chain(&new).flat_map(|(span, _)| [span.start, span.end]).collect();
        let borders: Vec<Seconds> = borders.into_iter().collect();
        for pair in borders.windows(2) {
            let larger = amount_at(&old, pair[0]).max(amount_at(&new, pair[0]));
            if larger != Amounts::default() {
                into.push((host, Interval { start: pair[0], end: pair[1] }, larger));
            }
        }
    }
}

fn amount_at(spans: &[(Interval, Amounts)], at: Seconds) -> Amounts {
    let inside = spans.iter().filter(|(span, _)| span.contains(at));
    inside.fold(Amounts::default(), |sum, (_, amounts)| sum.checked_add(*amounts).unwrap_or(Amounts::from_array([u32::MAX; 4])))
}

/// The sum of the spans of one host as steps, by a sweep over signed changes.
fn steps_of(spans: &[(HostId, Interval, Amounts)]) -> Vec<(Seconds, Amounts)> {
    let mut changes: Vec<(Seconds, [i64; 4])> = Vec::with_capacity(2 * spans.len());
    for (_, span, amounts) in spans {
        let more = amounts.to_array().map(i64::from);
        changes.push((span.start, more));
        changes.push((span.end, more.map(|amount| -amount)));
    }
    changes.sort_unstable_by_key(|(at, _)| *at);
    let mut level = [0i64; 4];
    let mut steps: Vec<(Seconds, Amounts)> = Vec::new();
    for at_once in changes.chunk_by(|one, other| one.0 == other.0) {
        let before = level;
        for (_, change) in at_once {
            for class in 0..4 {
                level[class] += change[class];
            }
        }
        if level != before {
            let used = level.map(|amount| u32::try_from(amount).unwrap_or(u32::MAX));
            steps.push((at_once[0].0, Amounts::from_array(used)));
        }
    }
    steps
}
