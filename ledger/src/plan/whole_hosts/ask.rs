//! What a lease of whole hosts would come to, or a series of them. Nothing of it can be booked, so that it is a question of its own
//! and no wish of a command.

use super::ground::{Demand, Ground, HOST_RESERVATIONS_MAX};
use super::placing::{Amount, Placing, Short, length_of};
use super::starts;
use crate::apply::limits::check_demands;
use crate::apply::quota;
use crate::apply::schedule::{invalid, moved, resolve_create};
use crate::apply::series::{check_amount, check_many, check_series};
use crate::command::{LeaseWish, SeriesWish, StartWish};
use crate::model::{
    AMOUNT_MAX, HostId, Interval, LeftOut, LeftOutReason, OCCURRENCES_MAX, Occurrence, Precedence, Seconds, SeriesMode, Timestamp,
};
use crate::plan::inquiry::{check_dedicated, check_named};
use crate::plan::{HostFilter, NoRoom};
use crate::reply::Rejection;
use crate::state::State;

/// Reservations of all leases of a series of whole hosts at most: each is placed by itself, while others wait for the state.
const PLACINGS_MAX: u64 = OCCURRENCES_MAX as u64;

/// A reservation of whole hosts as it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReservation {
    /// It must have so many, from 1.
    pub min: u32,
    /// It takes so many where there are as many, up to [`AMOUNT_MAX`].
    pub max: u32,
    /// Which hosts will do; they are of the dedicated pool anyway.
    pub filter: HostFilter,
}

/// What would become of a lease of whole hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIfHosts {
    /// There is room for it.
    Fits {
        /// Where it would begin when its start is left open and the first one has no room.
        moved_to: Option<Seconds>,
        /// One element a reservation, in order.
        reservations: Vec<HostAmount>,
    },
    /// There is room for a series of it.
    SeriesFits {
        /// What has room, by number.
        occurrences: Vec<OccurrenceHosts>,
        /// What has none, by number; only with best effort.
        left_out: Vec<LeftOut>,
    },
    /// There is not.
    NoRoom(NoRoom),
}

/// The hosts of one reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAmount {
    /// How many.
    pub count: u32,
    /// Which, by number, as things are now: they are bound only when the lease starts. Only operators are told.
    pub hosts: Vec<HostId>,
}

/// The hosts of one lease of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OccurrenceHosts {
    /// Which, and when.
    pub occurrence: Occurrence,
    /// One element a reservation, in order.
    pub reservations: Vec<HostAmount>,
}

impl WhatIfHosts {
    /// As whoever may not know the hosts of the cloud is told.
    #[must_use]
    pub fn without_hosts(mut self) -> WhatIfHosts {
        let hide = |reservations: &mut Vec<HostAmount>| reservations.iter_mut().for_each(|one| one.hosts.clear());
        match &mut self {
            WhatIfHosts::Fits { reservations, .. } => hide(reservations),
            WhatIfHosts::SeriesFits { occurrences, .. } => occurrences.iter_mut().for_each(|one| hide(&mut one.reservations)),
            WhatIfHosts::NoRoom(_) => {}
        }
        self
    }
}

/// What would become of a lease of whole hosts. `wish` says whose it is and when; it has no reservations of its own. All or
/// nothing: every reservation gets its least, then as many more as there are, earlier ones first.
///
/// # Errors
/// What a command would be refused for, but for lack of room; `Invalid` for what whole hosts do not have. Of the quota counts
/// how far ahead and how long it is: what of it a whole host takes is not settled.
pub fn what_if_hosts(
    state: &State,
    wish: &LeaseWish,
    reservations: &[HostReservation],
    now: Timestamp,
) -> Result<WhatIfHosts, Rejection> {
    let now = now.max(state.clock());
    check_lease(wish)?;
    let schedule = resolve_create(wish, now)?;
    check_reservations(state, reservations)?;
    let latest = match wish.start {
        StartWish::Earliest { latest, .. } => Some(latest),
        StartWish::Now | StartWish::At(_) => {
            quota::check_new(state, wish, &schedule, now)?;
            None
        }
    };
    let (demands, amounts) = (demands(reservations), amounts(reservations));
    let ground = Ground::of(state, &demands, now);
    let window = schedule.interval;
    let (moved_to, hosts) = match place_one(&ground, &amounts, window) {
        Ok(hosts) => (None, hosts),
        Err(short) => {
            let next_start = next_start(&ground, &amounts, window, now);
            let Some(at) = next_start.filter(|at| latest.is_some_and(|latest| *at <= latest)) else {
                let next_end = next_start.zip(length_of(window)).map(|(start, length)| start.plus(length));
                return Ok(WhatIfHosts::NoRoom(NoRoom { next_start, next_end, ..no_room(short, None) }));
            };
            let end = length_of(window).map_or(Seconds::OPEN_END, |length| at.plus(length));
            let found = place_one(&ground, &amounts, Interval { start: at, end });
            (Some(at), found.expect("hosts are shared there as they were when the start was found"))
        }
    };
    if latest.is_some() {
        let settled = moved(wish, moved_to.unwrap_or(window.start), now)?;
        quota::check_new(state, &settled, &resolve_create(&settled, now)?, now)?;
    }
    Ok(WhatIfHosts::Fits { moved_to, reservations: told(hosts) })
}

/// What would become of a series of leases of whole hosts; as [`what_if_hosts`]. What lies later gives way: with all or nothing
/// the first occurrence that would have no room refuses the series, with best effort it is left out.
///
/// # Errors
/// As [`what_if_hosts`].
pub fn what_if_hosts_series(
    state: &State,
    wish: &SeriesWish,
    reservations: &[HostReservation],
    occurrences: &[Occurrence],
    now: Timestamp,
) -> Result<WhatIfHosts, Rejection> {
    let now = now.max(state.clock());
    check_lease(&wish.lease)?;
    check_series(wish, occurrences.iter().copied())?;
    check_reservations(state, reservations)?;
    let times = u32::try_from(occurrences.len()).unwrap_or(u32::MAX);
    check_many("reservations of whole hosts", reservations.len(), times, PLACINGS_MAX)?;
    check_amount("max", "hosts", reservations.iter().map(|one| u64::from(one.max)).sum(), times)?;
    let schedules = occurrences.iter().map(|one| resolve_create(&wish.lease_at(*one), now)).collect::<Result<Vec<_>, _>>()?;
    let (demands, amounts) = (demands(reservations), amounts(reservations));
    let windows: Vec<Interval> = schedules.iter().map(|schedule| schedule.interval).collect();
    let mut placing = Placing::new(&Ground::of(state, &demands, now), &amounts, &windows);
    let (mut left_out, mut first_without) = (Vec::new(), None);
    for (turn, occurrence) in occurrences.iter().enumerate() {
        let Err(short) = placing.place(turn) else { continue };
        // No later start of a series of whole hosts is sought (docs/known-gaps.md).
        let no_room = no_room(short, Some(occurrence.number));
        if wish.recurrence.mode == SeriesMode::AllOrNothing {
            let largest_amount = if fits_instead(&mut placing, &amounts, short) { short.largest } else { 0 };
            return Ok(WhatIfHosts::NoRoom(NoRoom { largest_amount, ..no_room }));
        }
        let reason = LeftOutReason::NoRoom {
            reservation: u32::try_from(no_room.reservation).unwrap_or(u32::MAX),
            short_by: no_room.short_by,
            largest_amount: no_room.largest_amount,
            tightest: None,
        };
        left_out.push(LeftOut { occurrence: *occurrence, reason });
        first_without.get_or_insert(no_room);
    }
    if let Some(no_room) = first_without.filter(|_| left_out.len() == occurrences.len()) {
        return Ok(WhatIfHosts::NoRoom(no_room));
    }
    placing.extend();
    let placed = occurrences.iter().zip(schedules.iter().zip(placing.bind())).filter(|(_, (_, hosts))| !hosts.is_empty());
    let (mut found, mut booked) = (Vec::new(), Vec::new());
    for (occurrence, (schedule, hosts)) in placed {
        found.push(OccurrenceHosts { occurrence: *occurrence, reservations: told(hosts) });
        booked.push(schedule);
    }
    quota::check_series(state, &wish.lease, &booked, now)?;
    Ok(WhatIfHosts::SeriesFits { occurrences: found, left_out })
}

/// The hosts of each reservation of one lease.
fn place_one(ground: &Ground<'_>, amounts: &[Amount], window: Interval) -> Result<Vec<Vec<HostId>>, Short> {
    let mut placing = Placing::new(ground, amounts, &[window]);
    placing.place(0)?;
    placing.extend();
    Ok(placing.bind().swap_remove(0))
}

/// The first start, not before the one asked for, at which all of it has room for as long, within a year and the calendar; none
/// either where it is not found within the steps of hosts that one question may look at.
fn next_start(ground: &Ground<'_>, amounts: &[Amount], window: Interval, now: Timestamp) -> Option<Seconds> {
    let wanted: Vec<u32> = amounts.iter().map(|amount| amount.min).collect();
    let length = length_of(window);
    let last = length.map(|length| Seconds::LAST.minus(length));
    starts::first(ground, &wanted, window.start.max(now.floor_to_second()), length, last, starts::STEPS_MAX)
}

/// Whether all of a series has room when it asks for what one of its leases could have: the others may have less.
fn fits_instead(placing: &mut Placing, amounts: &[Amount], short: Short) -> bool {
    let Some(instead) = Some(short.largest).filter(|largest| *largest > 0) else { return false };
    let mut fewer = amounts.to_vec();
    fewer[short.reservation] = Amount { min: instead, max: instead };
    placing.start_over(fewer);
    placing.place_all()
}

fn no_room(short: Short, occurrence: Option<u32>) -> NoRoom {
    let Short { reservation, short_by, largest } = short;
    NoRoom { reservation, short_by, largest_amount: largest, occurrence, ..NoRoom::default() }
}

fn told(hosts: Vec<Vec<HostId>>) -> Vec<HostAmount> {
    let amount = |hosts: Vec<HostId>| HostAmount { count: u32::try_from(hosts.len()).unwrap_or(u32::MAX), hosts };
    hosts.into_iter().map(amount).collect()
}

fn demands(reservations: &[HostReservation]) -> Vec<Demand<'_>> {
    reservations.iter().map(|one| Demand::of(one.filter.as_wish(), one.filter.hosts.as_ref())).collect()
}

fn amounts(reservations: &[HostReservation]) -> Vec<Amount> {
    reservations.iter().map(|one| Amount { min: one.min, max: one.max }).collect()
}

/// What leases of instances have and those of whole hosts do not.
fn check_lease(wish: &LeaseWish) -> Result<(), Rejection> {
    let refused = |field: &str, problem: &str| Err(invalid(field, problem.to_owned()));
    if !wish.reservations.is_empty() {
        let problem = "some are of instances and some of whole hosts; a lease has one or the other: ask about two leases";
        return refused("reservations", problem);
    }
    if wish.offer.is_some() {
        return refused("offer", "whole hosts cannot be offered yet; leave it out");
    }
    if wish.wait.is_some() {
        return refused("wait", "whole hosts cannot be waited for yet; leave it out, or leave the start open");
    }
    if wish.precedence != Precedence::default() {
        let problem = "nobody gives way to whole hosts yet, nor do they; leave priority, preemptible and preempt out";
        return refused("priority", problem);
    }
    if wish.expiry_s.is_some() {
        return refused("expiry_s", "whole hosts that nobody uses are not given back yet; leave it out");
    }
    Ok(())
}

fn check_reservations(state: &State, reservations: &[HostReservation]) -> Result<(), Rejection> {
    if !(1..=HOST_RESERVATIONS_MAX).contains(&reservations.len()) {
        let problem = format!("there are {}; a lease of whole hosts has from 1 to {HOST_RESERVATIONS_MAX}", reservations.len());
        return Err(invalid("reservations", problem));
    }
    for (place, one) in reservations.iter().enumerate() {
        check_reservation(state, one).map_err(|rejection| match rejection {
            Rejection::Invalid { field, problem } => invalid(&format!("reservations[{place}].{field}"), problem),
            other => other,
        })?;
    }
    Ok(())
}

fn check_reservation(state: &State, one: &HostReservation) -> Result<(), Rejection> {
    let HostReservation { min, max, filter } = one;
    for (field, amount) in [("min", *min), ("max", *max)] {
        if !(1..=AMOUNT_MAX).contains(&amount) {
            return Err(invalid(field, format!("it is {amount}; it must be from 1 to {AMOUNT_MAX}")));
        }
    }
    if max < min {
        return Err(invalid("max", format!("it is {max}; it must be at least min, which is {min}")));
    }
    check_dedicated(filter.pool)?;
    check_named(state, filter.hosts.as_ref())?;
    check_demands(&filter.as_wish())
}

#[cfg(test)]
mod tests;
