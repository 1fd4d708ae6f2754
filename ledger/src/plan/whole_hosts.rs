//! Whole hosts that nobody has anything on: how many there are over a window, and from when on there are so many (what a
//! reservation of `physical:host` would need).
//!
//! No reservation of whole hosts is booked yet, so that which of them are free is what their own calendars say; a count over a
//! class of hosts (scheduling-design T3) would have nothing to count.

use std::collections::BTreeSet;

use super::Overlay;
use super::hosts::Hosts;
use super::room::View;
use super::starts::HORIZON_S;
use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind, Seconds, Timestamp};
use crate::state::State;

/// How many whole hosts are free for all of what is still to come of a window.
#[must_use]
pub fn whole_hosts(
    state: &State,
    kind: &InstanceWish,
    among: Option<&BTreeSet<HostId>>,
    window: Interval,
    now: Timestamp,
) -> u32 {
    let mut free = 0;
    each(state, kind, among, now, |view, hosts| {
        for (place, least, most) in hosts.bounded(window) {
            let is_free = || most == Some(Amounts::default()) || view.peak(place.host, window) == Amounts::default();
            free += u32::from(least == Amounts::default() && is_whole(state, place.host) && is_free());
        }
    });
    free
}

/// The first second from `from` on at which so many whole hosts are free for `length_s` seconds (`None`: without end); `None`
/// when there is none within a year.
#[must_use]
pub fn first_whole_hosts(
    state: &State,
    (kind, amount): (&InstanceWish, u32),
    among: Option<&BTreeSet<HostId>>,
    from: Seconds,
    length_s: Option<u32>,
    now: Timestamp,
) -> Option<Seconds> {
    let from = from.max(now.max(state.clock()).floor_to_second());
    let last = from.plus(HORIZON_S);
    // By how much the number of free hosts changes when the start moves to a second.
    let (mut at_first, mut changes): (i64, Vec<(Seconds, i64)>) = (0, Vec::new());
    each(state, kind, among, now, |_, hosts| {
        for place in hosts.all().filter(|place| is_whole(state, place.host)) {
            at_first += 1;
            for (first, free_again) in barred(state, place.host, from, length_s) {
                if first == from {
                    at_first -= 1;
                } else if first <= last {
                    changes.push((first, -1));
                }
                changes.extend((first <= last && free_again <= last).then_some((free_again, 1)));
            }
        }
    });
    let enough = |free: i64| free >= i64::from(amount);
    if enough(at_first) {
        return Some(from);
    }
    changes.sort_unstable_by_key(|(at, _)| *at);
    let mut free = at_first;
    changes.chunk_by(|one, other| one.0 == other.0).find_map(|at_once| {
        free += at_once.iter().map(|(_, change)| change).sum::<i64>();
        enough(free).then_some(at_once[0].0)
    })
}

/// Shows the hosts of a kind, in the dedicated pool, by the kinds of their anchors: which one a host has does not matter here.
fn each(
    state: &State,
    kind: &InstanceWish,
    among: Option<&BTreeSet<HostId>>,
    now: Timestamp,
    mut look: impl FnMut(&View<'_>, &Hosts<'_>),
) {
    let overlay = Overlay::default();
    let kind = InstanceWish { pool: Some(PoolKind::Dedicated), ..kind.clone() };
    for anchor in state.anchors() {
        let view = View { among, anchor, ..View::new(state, &overlay, now.max(state.clock())) };
        look(&view, &Hosts::of(&view, &kind));
    }
}

/// Whether no ordinary server is on a host that stays where it is.
fn is_whole(state: &State, host: HostId) -> bool {
    state.host(host).is_some_and(|host| host.observation.firm == Amounts::default())
}

/// From which second on, up to which, no lease of this length may begin on a host; in order, apart from each other.
fn barred(state: &State, host: HostId, from: Seconds, length_s: Option<u32>) -> Vec<(Seconds, Seconds)> {
    let mut spans: Vec<(Seconds, Seconds)> = Vec::new();
    let mut bar = |begin: Seconds, end: Seconds| {
        // A lease may end where another begins.
        let first = length_s.map_or(from, |length| begin.minus(length.saturating_sub(1)).max(from));
        if end <= from {
            return;
        }
        match spans.last_mut().filter(|(_, until)| first <= *until) {
            Some((_, until)) => *until = end.max(*until),
            None => spans.push((first, end)),
        }
    };
    let mut busy_since = None;
    for (at, taken) in state.calendar().taken_steps(host) {
        match (busy_since, taken == Amounts::default()) {
            (None, false) => busy_since = Some(at),
            (Some(begin), true) => {
                bar(begin, at);
                busy_since = None;
            }
            _ => {}
        }
    }
    if let Some(begin) = busy_since {
        bar(begin, Seconds::OPEN_END);
    }
    spans
}
