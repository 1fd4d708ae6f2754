//! Finds hosts for the slots of one phase of one reservation.
//!
//! Order: dedicated pools first; hosts that carry the reservation already; hosts whose hold does not grow; hosts that take
//! all of it, the tightest fit first; then hosts that take most of it; then by number. The search begins where the last
//! one found room and stops at a handful of candidates: a plan must be found fast, not be the best one. Hosts that are not of
//! the kind, or proven to be full, are passed over by the index; that changes no plan.

use super::hosts::{Hosts, Place};
use super::room::View;
use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind};

/// Candidates that are compared once there is room for all.
const CANDIDATES: usize = 8;

/// One host with room.
struct Candidate {
    host: HostId,
    fit: u32,
    preferred: bool,
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
    let mut found = Found { room: 0, amount, affinity: wish.affinity };
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
        while !(found.enough() && candidates.len() >= CANDIDATES) {
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
    amount: u32,
    affinity: Option<bool>,
}

impl Found {
    fn count(&mut self, fit: u32) {
        self.room = match self.affinity {
            Some(true) => self.room.max(u64::from(fit)),
            Some(false) | None => self.room + u64::from(fit),
        };
    }

    fn enough(&self) -> bool {
        self.room >= u64::from(self.amount)
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
    found.count(fit);
    candidates.push(Candidate {
        host: place.host,
        fit,
        preferred,
        hold_grows: hold_grows(view, place, interval, wish, fit.min(amount)),
    });
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
    let calendar = view.state.calendar();
    let from = view.state.clock().floor_to_second();
    let held = view.state.host(place.host).map_or(Amounts::default(), |host| calendar.peak_to_hold(host, from));
    let more = wish.need().checked_mul(slots).and_then(|more| view.booked_peak(place.host, interval).checked_add(more));
    !more.unwrap_or(Amounts::from_array([u32::MAX; 4])).fits_in(held)
}

fn choose(mut candidates: Vec<Candidate>, amount: u32, affinity: Option<bool>) -> Vec<(HostId, u32)> {
    candidates.sort_unstable_by_key(|one| {
        let (partial, order) = if one.fit >= amount { (false, one.fit) } else { (true, u32::MAX - one.fit) };
        // The pools were searched in order, and a dedicated hold never grows.
        (!one.preferred, one.hold_grows, partial, order, one.host)
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
