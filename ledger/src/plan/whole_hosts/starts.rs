//! The first start at which every reservation of a lease of whole hosts has as many as it must.
//!
//! Some days at a time: the wide index proves of most hosts that they are taken whichever of these days it is. Of the others it
//! is told at which starts they are free; these changes are gone through in order of time, counting what sets of reservations
//! lack. How many steps of hosts are looked at in one search is bounded: others wait for the state meanwhile.

use std::collections::BTreeMap;

use super::enough::Enough;
use super::ground::{Ground, Takers};
use crate::model::{HostId, Interval, Seconds};
use crate::plan::starts::{DAY_S, HORIZON_S, SWEPT_DAYS_MAX, Starts};
use crate::state::Calendar;

/// Steps of hosts that one search looks at, at most. A cloud of 10,000 hosts with 100,000 leases has fewer in a year.
pub(super) const STEPS_MAX: u64 = 4_000_000;

/// The first second from `from` on, not after `last`, from which on reservations may have so many hosts each for `length_s`
/// seconds (`None`: without end); `None` when there is none within a year, or none was found within so many steps of hosts.
pub(super) fn first(
    ground: &Ground<'_>,
    wanted: &[u32],
    from: Seconds,
    length_s: Option<u32>,
    last: Option<Seconds>,
    mut steps: u64,
) -> Option<Seconds> {
    let last = last.unwrap_or(Seconds::OPEN_END).min(from.plus(HORIZON_S));
    let length = length_s.map_or(u64::from(u32::MAX), u64::from);
    let (mut first, mut days) = (from, 1);
    while first <= last && steps > 0 {
        let next = (first.0 - first.0 % DAY_S).saturating_add(days * DAY_S);
        let starts = Starts { first, last: last.min(Seconds(next - 1)), length };
        if let Some(found) = first_of(ground, wanted, starts, &mut steps) {
            return Some(found);
        }
        first = Seconds(starts.last.0.saturating_add(1));
        days = (days * 2).min(SWEPT_DAYS_MAX);
    }
    None
}

/// See [`first`]; takes the steps that it looks at from those that are left, and has found nothing where they do not suffice.
fn first_of(ground: &Ground<'_>, wanted: &[u32], starts: Starts, steps: &mut u64) -> Option<Seconds> {
    let mut hosts: Vec<(HostId, Takers)> = Vec::new();
    let mut counts: BTreeMap<Takers, i64> = BTreeMap::new();
    ground.each(starts.common(), |host, takers, _| {
        hosts.push((host, takers));
        *counts.entry(takers).or_default() += 1;
    });
    let mut at_most = Enough::new(wanted);
    counts.iter().for_each(|(takers, hosts)| at_most.change(*takers, *hosts));
    if !at_most.for_all() {
        return None;
    }
    // By how much the number of free hosts changes when the start moves to a second.
    let mut changes: Vec<(u64, Takers, i64)> = Vec::new();
    let calendar = ground.state.calendar();
    for (host, takers) in hosts {
        let looked_at = free_starts(calendar, host, starts, |free, until| {
            changes.push((free, takers, 1));
            changes.push((until, takers, -1));
        });
        *steps = steps.saturating_sub(looked_at);
        if *steps == 0 {
            return None;
        }
    }
    changes.sort_unstable();
    let mut enough = Enough::new(wanted);
    changes.chunk_by(|one, other| one.0 == other.0).find_map(|at_once| {
        at_once.iter().for_each(|(_, takers, by)| enough.change(*takers, *by));
        let at = u32::try_from(at_once[0].0).ok().filter(|at| *at <= starts.last.0)?;
        enough.for_all().then_some(Seconds(at))
    })
}

/// Tells from which start on, up to which, nothing is taken on a host until the end of a lease; in order, apart from each other.
/// Gives how many steps of the host it looked at.
fn free_starts(calendar: &Calendar, host: HostId, starts: Starts, mut tell: impl FnMut(u64, u64)) -> u64 {
    // A lease may begin from here on, as far as is known.
    let (mut free, mut busy, mut looked_at) = (u64::from(starts.first.0), false, 0);
    for (at, used) in calendar.use_in(host, Interval { start: starts.first, ..starts.hull() }) {
        looked_at += 1;
        let at = u64::from(at.0);
        match (busy, used) {
            (false, true) => {
                // A lease may end where another begins.
                let barred = (at + 1).saturating_sub(starts.length);
                if free < barred {
                    tell(free, barred);
                }
            }
            (true, false) => free = at,
            (false, false) | (true, true) => {}
        }
        busy = used;
    }
    if !busy && free <= u64::from(starts.last.0) {
        tell(free, u64::from(starts.last.0) + 1);
    }
    looked_at
}
