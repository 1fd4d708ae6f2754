//! Finds hosts for the slots of one phase of one reservation.
//!
//! Order: dedicated pools first; what hosts have before what planned upgrades are to bring; hosts that carry the reservation already;
//! hosts whose hold does not grow; hosts that take all of it, the tightest fit first; then hosts that take most of it; then by number.
//! The search begins where the last one found room and stops at a handful of candidates: a plan must be found fast, not be the best
//! one. Hosts that are not of the kind, or proven to be full, are passed over by the index; that changes no plan.

use std::collections::BTreeMap;

use super::hosts::{Hosts, Place};
use super::room::View;
use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind};

/// Candidates that are compared once there is room for all.
const CANDIDATES: usize = 8;
/// Candidates beyond those that are looked for where a part of that room is to come, for some that have it.
const LOOKED_BEYOND: u32 = 64;

/// One host with room.
struct Candidate {
    host: HostId,
    fit: u32,
    /// So many of them without what its upgrade is to bring.
    fit_as_it_is: u32,
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
    /// Without what upgrades are to bring.
    room_as_it_is: u64,
    /// Candidates since there is enough.
    beyond: u32,
    amount: u32,
    affinity: Option<bool>,
}

impl Found {
    fn of(wish: &InstanceWish, amount: u32) -> Found {
        Found { room: 0, room_as_it_is: 0, beyond: 0, amount, affinity: wish.affinity }
    }

    fn count(&mut self, fit: u32, fit_as_it_is: u32) {
        let with = |room: u64, fit: u32| match self.affinity {
            Some(true) => room.max(u64::from(fit)),
            Some(false) | None => room + u64::from(fit),
        };
        self.room = with(self.room, fit);
        self.room_as_it_is = with(self.room_as_it_is, fit_as_it_is);
    }

    fn enough(&self) -> bool {
        self.room >= u64::from(self.amount)
    }

    /// Whether so many candidates are enough to choose from.
    fn choice(&self, candidates: usize) -> bool {
        let is_there = self.room_as_it_is >= u64::from(self.amount) || self.beyond >= LOOKED_BEYOND;
        self.enough() && candidates >= CANDIDATES && is_there
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
    let all = view.fit(place.host, place.room, interval, wish.need(), amount);
    let fit = slots_on(wish.affinity, all, amount);
    if fit == 0 {
        return;
    }
    found.beyond += u32::from(found.enough());
    let host = view.state.host(place.host);
    let as_it_is = host.map_or(0, |host| view.fit_as_it_is(host, all, interval, wish.need()));
    let fit_as_it_is = slots_on(wish.affinity, as_it_is, amount);
    found.count(fit, fit_as_it_is);
    let hold_grows = hold_grows(view, place, interval, wish, fit.min(amount));
    candidates.push(Candidate { host: place.host, fit, fit_as_it_is, preferred, hold_grows });
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
    let more = wish.need().checked_mul(slots).unwrap_or(Amounts::MOST);
    // No more is held than there is.
    !view.booked_peak(host.id, interval).saturating_add(more).min(host.room()).fits_in(held)
}

fn choose(mut candidates: Vec<Candidate>, amount: u32, affinity: Option<bool>) -> Vec<(HostId, u32)> {
    let mut chosen: BTreeMap<HostId, u32> = BTreeMap::new();
    let mut rest = amount;
    for fit in [|one: &Candidate| one.fit_as_it_is, |one: &Candidate| one.fit] {
        if rest == 0 {
            break;
        }
        candidates.sort_unstable_by_key(|one| {
            let (partial, order) = if fit(one) >= amount { (false, fit(one)) } else { (true, u32::MAX - fit(one)) };
            // The pools were searched in order, and a dedicated hold never grows.
            (!one.preferred, one.hold_grows, partial, order, one.host)
        });
        for one in &candidates {
            let here = chosen.get(&one.host).copied().unwrap_or(0);
            let slots = slots_on(affinity, fit(one), amount).saturating_sub(here).min(rest);
            if slots > 0 {
                chosen.insert(one.host, here + slots);
                rest -= slots;
            }
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests;
