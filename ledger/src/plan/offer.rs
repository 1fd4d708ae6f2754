//! What would fit instead, when a wish does not.

use super::room::View;
use super::search::slots_on;
use super::{NoRoom, OFFERS_TRIED};
use crate::model::{Amounts, Anchor, Class, Host, InstanceWish, Interval, Seconds};

/// Starts are looked for this long after the one asked for.
const HORIZON_S: u32 = 366 * 24 * 3600;

/// What is missing with the kind of anchor that comes closest; see [`shortage`].
pub(super) fn least_shortage(
    view: &mut View<'_>,
    anchors: &[Anchor],
    reservation: usize,
    wish: &InstanceWish,
    interval: Interval,
    staging: bool,
) -> NoRoom {
    let short = |view: &mut View<'_>| Err::<NoRoom, _>(shortage(view, reservation, wish, interval, staging));
    match view.with_one_anchor(anchors, short, closer) {
        Ok(no_room) | Err(no_room) => no_room,
    }
}

/// The failure that came further, or is less short; the first of two that are alike.
pub(super) fn closer(one: NoRoom, other: NoRoom) -> NoRoom {
    let closeness = |no_room: &NoRoom| (!no_room.staging, no_room.largest_amount);
    if closeness(&other) > closeness(&one) { other } else { one }
}

/// What is missing in one interval: the largest amount, the class that binds most.
pub(super) fn shortage(view: &View<'_>, reservation: usize, wish: &InstanceWish, interval: Interval, staging: bool) -> NoRoom {
    let need = wish.need();
    let (mut largest, mut binding) = (0u64, [0u64; 4]);
    for host in view.state.hosts().filter(|host| view.eligible(host, wish)) {
        let fit = view.fit(host, interval, need, u32::MAX);
        largest = match wish.affinity {
            Some(true) => largest.max(u64::from(fit)),
            Some(false) => largest + u64::from(fit.min(1)),
            None => largest + u64::from(fit),
        };
        if let Some(class) = tightest(host, view.peak(host.id, interval), need) {
            binding[class] += 1;
        }
    }
    let most = binding.iter().copied().max().filter(|most| *most > 0);
    let largest_amount = u32::try_from(largest).unwrap_or(u32::MAX);
    NoRoom {
        reservation,
        short_by: wish.amount.saturating_sub(largest_amount),
        tightest: most.and_then(|most| binding.iter().position(|count| *count == most)).map(|class| Class::ALL[class]),
        largest_amount,
        next_start: None,
        staging,
    }
}

/// The class of which the fewest slots are left.
fn tightest(host: &Host, used: Amounts, need: Amounts) -> Option<usize> {
    let (free, need) = (host.room().saturating_sub(used).to_array(), need.to_array());
    (0..4).filter(|class| need[*class] > 0).min_by_key(|class| free[*class] / need[*class])
}

/// The first starts with any of these kinds of anchor; see [`starts_with`].
pub(super) fn starts(
    view: &mut View<'_>,
    anchors: &[Anchor],
    wish: &InstanceWish,
    from: Seconds,
    length: Option<u32>,
    last: Option<Seconds>,
) -> Vec<Seconds> {
    let mut found = Vec::new();
    for anchor in anchors {
        view.anchor = *anchor;
        found.extend(starts_with(view, wish, from, length, last, OFFERS_TRIED));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// At most `limit` starts from `from` on, in order, at which `wish` fits for `length` seconds (`None`: for ever), not after
/// `last`. Exact but for the plans in flight and other parts of the lease: how many slots fit on a host changes, as the start
/// moves, only at its steps and `length` before them, so the changes of all hosts are summed in order of time.
fn starts_with(
    view: &View<'_>,
    wish: &InstanceWish,
    from: Seconds,
    length: Option<u32>,
    last: Option<Seconds>,
    limit: usize,
) -> Vec<Seconds> {
    let last = last.unwrap_or(from.plus(HORIZON_S)).min(from.plus(HORIZON_S));
    let mut changes: Vec<(Seconds, usize, u32)> = Vec::new();
    for (place, host) in view.state.hosts().enumerate().filter(|(_, host)| view.eligible(host, wish)) {
        for (at, fit) in fits_by_start(view, host, wish.need(), from, length, last) {
            changes.push((at, place, slots_on(wish.affinity, fit, wish.amount)));
        }
    }
    changes.sort_unstable();
    let mut fits = vec![0u64; view.state.hosts().count()];
    let (mut sum, mut found) = (0u64, Vec::new());
    let mut rest = changes.iter().peekable();
    while let Some((at, place, fit)) = rest.next() {
        sum = sum - fits[*place] + u64::from(*fit);
        fits[*place] = u64::from(*fit);
        let settled = rest.peek().is_none_or(|(next, _, _)| next != at);
        // With affinity a host counts only when it takes all, so the sum says the same.
        if settled && sum >= u64::from(wish.amount) {
            found.push(*at);
            if found.len() >= limit {
                break;
            }
        }
    }
    found
}

/// How many slots fit on a host from each start in `[from, last]` on, where it changes.
fn fits_by_start(
    view: &View<'_>,
    host: &Host,
    need: Amounts,
    from: Seconds,
    length: Option<u32>,
    last: Seconds,
) -> Vec<(Seconds, u32)> {
    let room = host.room();
    let fit = |used: Amounts| room.checked_sub(used).map_or(0, |free| free.times(need));
    // Steps that reach beyond `from`, the first one beginning at or before it.
    let before = view.state.calendar().at(host.id, from);
    let mut steps: Vec<(u64, u32)> = vec![(u64::from(from.0), fit(before))];
    steps
        .extend(view.state.calendar().steps(host.id).filter(|(at, _)| *at > from).map(|(at, used)| (u64::from(at.0), fit(used))));

    let length = length.map_or(u64::from(u32::MAX), u64::from);
    let mut starts: Vec<u64> = steps
        .iter()
        .flat_map(|(at, _)| [Some(*at), (at + 1).checked_sub(length)])
        .flatten()
        .filter(|at| (u64::from(from.0)..=u64::from(last.0)).contains(at))
        .collect();
    starts.sort_unstable();
    starts.dedup();

    // The least of the steps that [start, start + length) touches, kept as a queue of rising values.
    let mut queue: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let (mut next, mut changes) = (0, Vec::new());
    for start in starts {
        while next < steps.len() && steps[next].0 < start + length {
            while queue.back().is_some_and(|back| steps[*back].1 >= steps[next].1) {
                queue.pop_back();
            }
            queue.push_back(next);
            next += 1;
        }
        // A step is left behind when the one after it begins at or before the start.
        while queue.front().is_some_and(|front| steps.get(front + 1).is_some_and(|after| after.0 <= start)) {
            queue.pop_front();
        }
        let fit = queue.front().map_or(0, |front| steps[*front].1);
        if changes.last().is_none_or(|(_, last)| *last != fit) {
            changes.push((Seconds(u32::try_from(start).unwrap_or(u32::MAX)), fit));
        }
    }
    changes
}
