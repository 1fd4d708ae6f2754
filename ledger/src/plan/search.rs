//! Finds hosts for the slots of one phase of one reservation.
//!
//! Order: dedicated pools first; hosts that carry the reservation already; hosts that have room for it as they are, without what a
//! planned upgrade is to bring; hosts whose hold does not grow; hosts that take all of it, the tightest fit first; then hosts that
//! take most of it; then by number. The search begins where the last one found room and stops at a handful of candidates: a plan
//! must be found fast, not be the best one. Hosts that are not of the kind, or proven to be full, are passed over by the index; that
//! changes no plan.

use super::hosts::{Hosts, Place};
use super::room::View;
use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind};

/// Candidates that are compared once there is room for all; and where that is not there yet, to find some where it is.
const CANDIDATES: usize = 8;
const CANDIDATES_MOST: usize = 64;

/// One host with room.
struct Candidate {
    host: HostId,
    fit: u32,
    preferred: bool,
    /// There is room for it only once an upgrade has come.
    is_to_come: bool,
    hold_grows: bool,
}

/// Slots per host for `amount` slots over `interval`, sorted by host; `None` when they do not fit.
pub(super) fn search(
    view: &View<'_>,
    wish: &InstanceWish,
    interval: Interval,
    amount: u32,
    preferred: &[HostId],
) -> Option<Vec<(HostId, u32)>> {
    let mut candidates = Vec::new();
    let mut found = Found::of(wish, amount);
    for id in preferred {
        if let Some(host) = view.state.host(*id).filter(|host| view.eligible(host, wish)) {
            let place = Place { host: host.id, room: host.room_upgraded(), pool: host.description.pool };
            consider(view, wish, interval, place, true, &mut candidates, &mut found);
        }
    }
    if found.enough() && !preferred.is_empty() {
        return Some(choose(candidates, amount, wish.affinity));
    }
    let hosts = Hosts::of(view, wish);
    for pool in [PoolKind::Dedicated, PoolKind::Shared] {
        let mut places = hosts.with_room(pool, interval, least(wish, amount)?, view.overlay.begin_at(pool));
        while !found.choice(candidates.len()) {
            let Some(place) = places.next() else { break };
            if !preferred.contains(&place.host) {
                consider(view, wish, interval, place, false, &mut candidates, &mut found);
            }
        }
        if found.enough() {
            return Some(choose(candidates, amount, wish.affinity));
        }
    }
    None
}

/// The least that a host must have room for to carry any of `amount` slots; `None` where it cannot be counted.
pub(super) fn least(wish: &InstanceWish, amount: u32) -> Option<Amounts> {
    match wish.affinity {
        Some(true) => wish.need().checked_mul(amount),
        Some(false) | None => Some(wish.need()),
    }
}

/// Room found so far, counted as affinity wants it.
struct Found {
    room: u64,
    /// Without what is there only once an upgrade has come.
    room_now: u64,
    amount: u32,
    affinity: Option<bool>,
}

impl Found {
    fn of(wish: &InstanceWish, amount: u32) -> Found {
        Found { room: 0, room_now: 0, amount, affinity: wish.affinity }
    }

    fn count(&mut self, fit: u32, is_to_come: bool) {
        let with = |room: u64| match self.affinity {
            Some(true) => room.max(u64::from(fit)),
            Some(false) | None => room + u64::from(fit),
        };
        self.room = with(self.room);
        if !is_to_come {
            self.room_now = with(self.room_now);
        }
    }

    fn enough(&self) -> bool {
        self.room >= u64::from(self.amount)
    }

    /// Whether so many candidates are enough to choose from.
    fn choice(&self, candidates: usize) -> bool {
        let most = if self.room_now >= u64::from(self.amount) { CANDIDATES } else { CANDIDATES_MOST };
        self.enough() && candidates >= most
    }
}

fn consider(
    view: &View<'_>,
    wish: &InstanceWish,
    interval: Interval,
    place: Place,
    preferred: bool,
    candidates: &mut Vec<Candidate>,
    found: &mut Found,
) {
    let amount = found.amount;
    let fit = slots_on(wish.affinity, view.fit(place.host, place.room, interval, wish.need(), amount), amount);
    if fit == 0 {
        return;
    }
    let slots = fit.min(amount);
    let is_to_come = is_to_come(view, place.host, interval, wish, slots);
    found.count(fit, is_to_come);
    let hold_grows = hold_grows(view, place, interval, wish, slots);
    candidates.push(Candidate { host: place.host, fit, preferred, is_to_come, hold_grows });
}

/// How many slots of one reservation affinity lets a host with room for `fit` carry; one host for all, or none.
pub(super) fn slots_on(affinity: Option<bool>, fit: u32, amount: u32) -> u32 {
    match affinity {
        Some(true) if fit < amount => 0,
        Some(false) => fit.min(1),
        Some(true) | None => fit,
    }
}

/// On a dedicated host all is held anyway.
fn hold_grows(view: &View<'_>, place: Place, interval: Interval, wish: &InstanceWish, slots: u32) -> bool {
    if place.pool == PoolKind::Dedicated {
        return false;
    }
    let Some(host) = view.state.host(place.host) else { return true };
    let held = view.state.calendar().peak_from(host.id, view.state.clock().floor_to_second());
    // No more is held than there is.
    !with_slots(view, host.id, interval, wish, slots).min(host.room()).fits_in(held)
}

/// Whether a host as it is has no room for so many slots beside what is booked there: a part of it is to come.
fn is_to_come(view: &View<'_>, host: HostId, interval: Interval, wish: &InstanceWish, slots: u32) -> bool {
    let host = view.state.host(host).filter(|host| host.not_yet().is_some());
    host.is_some_and(|host| !with_slots(view, host.id, interval, wish, slots).fits_in(host.room()))
}

/// The most that is booked on a host in an interval, and so many slots of a wish beside it.
fn with_slots(view: &View<'_>, host: HostId, interval: Interval, wish: &InstanceWish, slots: u32) -> Amounts {
    let more = wish.need().checked_mul(slots).unwrap_or(Amounts::MOST);
    view.booked_peak(host, interval).saturating_add(more)
}

fn choose(mut candidates: Vec<Candidate>, amount: u32, affinity: Option<bool>) -> Vec<(HostId, u32)> {
    candidates.sort_unstable_by_key(|one| {
        let (partial, order) = if one.fit >= amount { (false, one.fit) } else { (true, u32::MAX - one.fit) };
        // The pools were searched in order, and a dedicated hold never grows.
        (!one.preferred, one.is_to_come, one.hold_grows, partial, order, one.host)
    });
    let mut chosen = Vec::new();
    let mut rest = amount;
    for candidate in candidates {
        let slots = slots_on(affinity, candidate.fit, amount).min(rest);
        if slots > 0 {
            chosen.push((candidate.host, slots));
            rest -= slots;
        }
        if rest == 0 {
            break;
        }
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests;
