//! Plans changes of leases that are there; `update/instead.rs` tells what would fit instead.

mod instead;

use std::collections::BTreeSet;

use super::place::{book, book_parts, finished};
use super::room::{View, sorted_by_host};
use super::search::search;
use super::together::{Part, Steps, Unplaced, in_some_order, together};
use super::{NoPlan, NoRoom, Overlay, Planned, Tell, offer};
use crate::apply::archive_leases::visible_lease;
use crate::apply::quota::check_change;
use crate::apply::rebind::check_moves;
use crate::apply::rebook::{fit_change, set_plan};
use crate::apply::update_lease::resolve_update;
use crate::apply::verify::fixed_anchor;
use crate::command::{LeaseChange, PlannedReservation};
use crate::model::{
    Anchor, Binding, HostId, InstanceWish, Interval, Lease, LeaseId, Phase, Reservation, Seconds, Stage, Timestamp,
};
use crate::reply::Rejection;
use crate::state::{State, lease_bookings};

use instead::Refused;

/// Plans a change; `Ok(None)` when nothing is to be rebooked.
pub fn plan_update(
    state: &State,
    overlay: &Overlay,
    lease_id: LeaseId,
    change: &LeaseChange,
    now: Timestamp,
    tell: Tell,
) -> Result<Option<Planned>, NoPlan> {
    let now = now.max(state.clock());
    let before = visible_lease(state, lease_id).map_err(NoPlan::Rejected)?;
    let resolved = resolve_update(before, change, now).map_err(NoPlan::Rejected)?;
    let own = sorted_by_host(lease_bookings(before));
    let mut view = View { own: &own, tell, ..View::new(state, overlay, now) };
    let refused = Refused { before, change, after: &resolved.lease, now };
    let within = if change.ignore_quota { Ok(()) } else { check_change(state, before, &resolved.lease, now) };
    within.map_err(|beyond| refused.beyond_quota(&mut view, beyond))?;
    if !resolved.rebook {
        return Ok(None);
    }
    match rebook(&mut view, before, &resolved.lease, now, &Steps::new()) {
        Err(NoPlan::NoRoom(no_room)) if tell == Tell::WhatFits => Err(NoPlan::NoRoom(refused.instead(&mut view, no_room))),
        Err(no_plan) => Err(no_plan),
        Ok(planned) => Ok(Some(planned)),
    }
}

/// A plan for a changed lease in the place of the one before; what the view has planned is forgotten.
fn rebook(view: &mut View<'_>, before: &Lease, after: &Lease, now: Timestamp, steps: &Steps) -> Result<Planned, NoPlan> {
    view.planned.clear();
    if let Some(kept) = keep(view, before, after, now) {
        return Ok(kept);
    }
    let changed = |place: &usize| after.reservations[*place].wish != before.reservations[*place].wish;
    // Those that are not changed choose first: they get what they have.
    let mut places: Vec<usize> = (0..after.reservations.len()).collect();
    places.sort_by_key(|place| (changed(place), *place));
    let (bindings, short) = replan_all(view, before, after, places, steps).map_err(NoPlan::NoRoom)?;
    let planned = |(reservation, bindings): (&Reservation, _)| PlannedReservation { reservation_id: reservation.id, bindings };
    let reservations: Vec<PlannedReservation> = after.reservations.iter().zip(bindings).map(planned).collect();
    // Old and new may both have to be booked for a while, which the search does not see: then a later try may succeed. Where the
    // reservations only have room in each other's places, no try ever does.
    let mut lease = after.clone();
    set_plan(view.state, before, &mut lease, &reservations)
        .and_then(|()| fit_change(view.state, before, lease, now))
        .map_err(|stale| short.map_or(NoPlan::Rejected(stale), NoPlan::NoRoom))?;
    Ok(without_own(finished(view.state, reservations, &view.planned), view))
}

/// New bindings of these reservations of a lease, the others keep none; they are placed in this order if that finds room. With what
/// was short in this order, if they are not placed in it.
fn replan_all(
    view: &mut View<'_>,
    before: &Lease,
    lease: &Lease,
    places: Vec<usize>,
    steps: &Steps,
) -> Result<(Vec<Vec<Binding>>, Option<NoRoom>), NoRoom> {
    let pairs: Vec<(&Reservation, &Reservation)> = lease.reservations.iter().zip(&before.reservations).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    for place in &sorted {
        let (reservation, old) = pairs[*place];
        stay(view, *place, lease, before.end, reservation, old)?;
    }
    let stays = view.planned.len();
    let in_turn = |order: &[usize]| {
        view.planned.truncate(stays);
        let mut bindings: Vec<Vec<Binding>> = vec![Vec::new(); pairs.len()];
        for place in order {
            let (reservation, old) = pairs[*place];
            let found = replan(view, *place, lease, reservation, old).map_err(|no_room| (*place, no_room));
            steps.count(view);
            bindings[*place] = found?;
        }
        Ok(bindings)
    };
    let error = match in_some_order(places, steps, in_turn) {
        Ok(found) => return Ok(found),
        Err(Unplaced { error, alone: true }) => return Err(error),
        Err(Unplaced { error, alone: false }) => error,
    };
    view.planned.truncate(stays);
    let (mut fixed, mut parts) = (vec![Vec::new(); pairs.len()], Vec::new());
    for place in sorted {
        let (reservation, old) = pairs[place];
        let (kept, to_place) = moving(place, lease, reservation, old);
        fixed[place] = kept;
        parts.extend(to_place);
    }
    let anchors: Vec<Vec<Anchor>> = pairs.iter().map(|(_, old)| anchors_of(view, old)).collect();
    let Some(found) = together(view, &parts, &anchors, steps) else { return Err(error) };
    let mut bindings = book_parts(view, &parts, found, pairs.len());
    for (bindings, fixed) in bindings.iter_mut().zip(fixed) {
        for one in fixed {
            match bindings.iter_mut().find(|other| (other.phase, other.host) == (one.phase, one.host)) {
                Some(other) => other.slots += one.slots,
                None => bindings.push(one),
            }
        }
        bindings.sort_unstable();
    }
    Ok((bindings, Some(error)))
}

/// What of a reservation stays where it is, and the parts that are to be placed.
fn moving<'a>(place: usize, lease: &Lease, reservation: &'a Reservation, old: &Reservation) -> (Vec<Binding>, Vec<Part<'a>>) {
    if reservation.has_ended() {
        return (old.bindings.clone(), Vec::new());
    }
    let wish = reservation.wish.instance();
    let (mut fixed, mut parts) = (Vec::new(), Vec::new());
    if let Some(staging) = reservation.staging {
        if reservation.stage < Stage::Staging {
            parts.push(Part::new(place, Phase::Staging, wish, staging.booked()));
        } else {
            fixed.extend(of(&old.bindings, Phase::Staging));
        }
    }
    let mut main = Part::new(place, Phase::Main, wish, lease.interval());
    if reservation.stage == Stage::Open {
        let kept = kept_open(wish.amount, &of(&old.bindings, Phase::Main));
        main.amount -= kept.iter().map(|(_, slots)| slots).sum::<u32>();
        main.only = kept.first().map(|(host, _)| *host).filter(|_| wish.affinity == Some(true));
        main.never = kept.iter().map(|(host, _)| *host).filter(|_| wish.affinity == Some(false)).collect();
        fixed.extend(kept.into_iter().map(|(host, slots)| Binding { phase: Phase::Main, host, slots }));
    }
    if main.amount > 0 {
        parts.push(main);
    }
    (fixed, parts)
}

/// Plans other hosts for a lease that is not open yet, avoiding `avoid`.
pub fn plan_rebind(state: &State, overlay: &Overlay, lease_id: LeaseId, avoid: &[HostId]) -> Result<Planned, NoPlan> {
    plan_moved(state, overlay, lease_id, avoid, None)
}

/// The same, on hosts `among` these where they are given.
pub(super) fn plan_moved(
    state: &State,
    overlay: &Overlay,
    lease_id: LeaseId,
    avoid: &[HostId],
    among: Option<&BTreeSet<HostId>>,
) -> Result<Planned, NoPlan> {
    let lease =
        state.lease(lease_id).filter(|lease| !lease.deleted).ok_or(NoPlan::Rejected(Rejection::LeaseNotFound(lease_id)))?;
    let own = sorted_by_host(lease_bookings(lease));
    let mut view = View { own: &own, avoid, among, ..View::new(state, overlay, state.clock()) };
    let not_open: Vec<usize> =
        (0..lease.reservations.len()).filter(|place| lease.reservations[*place].stage < Stage::Open).collect();
    let found = replan_all(&mut view, lease, lease, not_open.clone(), &Steps::new());
    let (mut bindings, short) = found.map_err(NoPlan::NoRoom)?;
    let planned = |place: usize| PlannedReservation {
        reservation_id: lease.reservations[place].id,
        bindings: std::mem::take(&mut bindings[place]),
    };
    let reservations: Vec<PlannedReservation> = not_open.into_iter().map(planned).collect();
    // Where old and new are booked beside each other, what only has room in each other's places has none.
    if let Some(short) = short.filter(|_| check_moves(state, lease, &reservations, state.clock()).is_err()) {
        return Err(NoPlan::NoRoom(short));
    }
    Ok(without_own(finished(state, reservations, &view.planned), &view))
}

/// The hosts as they are, with fewer slots if fewer are wanted, if the change fits there.
fn keep(view: &View<'_>, before: &Lease, after: &Lease, now: Timestamp) -> Option<Planned> {
    let plan: Vec<PlannedReservation> = before
        .reservations
        .iter()
        .zip(&after.reservations)
        .map(|(old, new)| {
            let mut bindings = old.bindings.clone();
            trim(&mut bindings, Phase::Main, new.wish.instance().amount);
            if new.stage < Stage::Staging {
                trim(&mut bindings, Phase::Staging, new.wish.instance().amount);
            }
            PlannedReservation { reservation_id: old.id, bindings }
        })
        .collect();
    let mut lease = after.clone();
    set_plan(view.state, before, &mut lease, &plan).ok()?;
    let fitting = fit_change(view.state, before, lease, now).ok()?;
    if fitting.grown.iter().any(|host| !view.overlay.on(*host).is_empty()) {
        // Another plan in flight is on one of them: the search counts it in.
        return None;
    }
    Some(without_own(finished(view.state, plan, &lease_bookings(&fitting.settled)), view))
}

/// Takes slots off the last hosts until `amount` are left.
fn trim(bindings: &mut Vec<Binding>, phase: Phase, amount: u32) {
    let mut rest = amount;
    for binding in bindings.iter_mut().filter(|one| one.phase == phase) {
        binding.slots = binding.slots.min(rest);
        rest -= binding.slots;
    }
    bindings.retain(|one| one.slots > 0);
}

/// New bindings of one reservation, beside what [`stay`] has booked; as many as possible where they are. Once its flavor is made
/// it keeps its kind of anchor.
fn replan(
    view: &mut View<'_>,
    place: usize,
    lease: &Lease,
    reservation: &Reservation,
    old: &Reservation,
) -> Result<Vec<Binding>, NoRoom> {
    let anchors = anchors_of(view, old);
    view.with_one_anchor(&anchors, |view| replan_with(view, place, lease, reservation, old), offer::closer)
}

/// The kinds of anchor that a reservation may have, first the one that it has.
fn anchors_of(view: &View<'_>, old: &Reservation) -> Vec<Anchor> {
    let anchor = view.state.anchor_of(&old.bindings).unwrap_or_default();
    let mut anchors = vec![anchor];
    if fixed_anchor(view.state, old).is_none() {
        anchors.extend(view.state.anchors().into_iter().filter(|other| *other != anchor));
    }
    anchors
}

/// See [`replan`], with the anchor of the view.
fn replan_with(
    view: &mut View<'_>,
    place: usize,
    lease: &Lease,
    reservation: &Reservation,
    old: &Reservation,
) -> Result<Vec<Binding>, NoRoom> {
    if reservation.has_ended() {
        return Ok(old.bindings.clone());
    }
    let wish = reservation.wish.instance();
    let mut bindings: Vec<Binding> = Vec::new();
    let staged = of(&old.bindings, Phase::Staging);
    if let Some(staging) = reservation.staging {
        if reservation.stage < Stage::Staging {
            bindings.extend(anywhere(view, place, wish, Phase::Staging, staging.booked(), &staged)?);
        } else {
            bindings.extend(staged);
        }
    }
    let main = of(&old.bindings, Phase::Main);
    if reservation.stage == Stage::Open {
        bindings.extend(open_bindings(view, place, wish, lease.interval(), &main)?);
    } else {
        bindings.extend(anywhere(view, place, wish, Phase::Main, lease.interval(), &main)?);
    }
    Ok(bindings)
}

fn of(bindings: &[Binding], phase: Phase) -> Vec<Binding> {
    bindings.iter().filter(|one| one.phase == phase).copied().collect()
}

fn anywhere(
    view: &mut View<'_>,
    place: usize,
    wish: &InstanceWish,
    phase: Phase,
    interval: Interval,
    old: &[Binding],
) -> Result<Vec<Binding>, NoRoom> {
    let preferred: Vec<HostId> = old.iter().map(|one| one.host).collect();
    let Some(hosts) = search(view, wish, interval, wish.amount, &preferred) else {
        return Err(offer::shortage(view, place, wish, interval, phase == Phase::Staging));
    };
    book(view, wish, interval, &hosts);
    Ok(hosts.into_iter().map(|(host, slots)| Binding { phase, host, slots }).collect())
}

/// What is open stays where it is, so it can end later only where its own hosts have room for that.
fn stay_longer(view: &View<'_>, place: usize, wish: &InstanceWish, longer: Interval, old: &[Binding]) -> Result<(), NoRoom> {
    let (mut rest, mut fit, mut there) = (wish.amount, 0, 0);
    for binding in old {
        let slots = binding.slots.min(rest);
        rest -= slots;
        there += slots;
        let host = view.state.host(binding.host).filter(|host| host.accepts_bookings());
        fit += host.map_or(0, |host| view.fit(host.id, host.room_upgraded(), longer, wish.need(), slots).min(slots));
    }
    if fit == there {
        return Ok(());
    }
    let no_room = offer::shortage(view, place, wish, longer, false);
    Err(NoRoom { largest_amount: fit, short_by: wish.amount - fit, ..no_room })
}

/// Books what no plan moves, before anything is placed: other reservations of the lease must not count on its room. That is
/// what is open, as far as it is kept, and staging windows that have begun. The lease ended at `old_end`; what is open can end
/// later only where it is.
fn stay(
    view: &mut View<'_>,
    place: usize,
    lease: &Lease,
    old_end: Seconds,
    reservation: &Reservation,
    old: &Reservation,
) -> Result<(), NoRoom> {
    if reservation.has_ended() {
        return Ok(());
    }
    let wish = reservation.wish.instance();
    if let Some(staging) = reservation.staging.filter(|_| reservation.stage >= Stage::Staging) {
        let staged = of(&old.bindings, Phase::Staging);
        let kept: Vec<(HostId, u32)> = staged.iter().map(|one| (one.host, one.slots)).collect();
        book(view, wish, staging.booked(), &kept);
    }
    if reservation.stage == Stage::Open {
        let main = of(&old.bindings, Phase::Main);
        view.anchor = view.state.anchor_of(&old.bindings).unwrap_or_default();
        if let Some(longer) = Interval::new(old_end, lease.end) {
            stay_longer(view, place, wish, longer, &main)?;
        }
        book(view, wish, lease.interval(), &kept_open(wish.amount, &main));
    }
    Ok(())
}

/// What stays of an open reservation with so many slots: they are taken off the last hosts.
fn kept_open(amount: u32, old: &[Binding]) -> Vec<(HostId, u32)> {
    let mut rest = amount;
    let mut kept = Vec::new();
    for binding in old {
        let slots = binding.slots.min(rest);
        rest -= slots;
        if slots > 0 {
            kept.push((binding.host, slots));
        }
    }
    kept
}

/// What is open stays where it is, and is booked; more may be added.
fn open_bindings(
    view: &mut View<'_>,
    place: usize,
    wish: &InstanceWish,
    interval: Interval,
    old: &[Binding],
) -> Result<Vec<Binding>, NoRoom> {
    let mut kept = kept_open(wish.amount, old);
    let rest = wish.amount - kept.iter().map(|(_, slots)| slots).sum::<u32>();
    if rest > 0 {
        let hosts: Vec<HostId> = kept.iter().map(|(host, _)| *host).collect();
        let more = InstanceWish { amount: rest, ..wish.clone() };
        let found = match wish.affinity {
            // Only the host that has the others will do.
            Some(true) => {
                let host = hosts.first().and_then(|host| view.state.host(*host));
                host.filter(|host| {
                    view.eligible(host, wish) && view.fit(host.id, host.room_upgraded(), interval, wish.need(), rest) >= rest
                })
                .map(|host| vec![(host.id, rest)])
            }
            Some(false) => {
                let (planned, looks) = (view.planned.clone(), Default::default());
                let other = View { avoid: &hosts, planned, looks, ..*view };
                search(&other, &more, interval, rest, &[])
            }
            None => search(view, &more, interval, rest, &hosts),
        };
        let Some(found) = found else {
            let mut no_room = offer::shortage(view, place, wish, interval, false);
            no_room.largest_amount = no_room.largest_amount.min(rest.saturating_sub(1)).saturating_add(wish.amount - rest);
            no_room.short_by = wish.amount - no_room.largest_amount;
            return Err(no_room);
        };
        book(view, wish, interval, &found);
        for (host, slots) in found {
            match kept.iter_mut().find(|(kept, _)| *kept == host) {
                Some((_, sum)) => *sum += slots,
                None => kept.push((host, slots)),
            }
        }
    }
    kept.sort_unstable();
    Ok(kept.into_iter().map(|(host, slots)| Binding { phase: Phase::Main, host, slots }).collect())
}

/// What the calendar has already need not be booked over it.
fn without_own(mut planned: Planned, view: &View<'_>) -> Planned {
    planned.bookings.retain(|(host, interval, amounts)| {
        !view.own.iter().any(|own| own.host == *host && own.interval == *interval && own.amounts == *amounts)
    });
    planned
}
