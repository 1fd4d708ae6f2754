//! What users ask before they ask for a lease, as they ask it: checked by the rules of commands, its times resolved, answered by
//! `question.rs`, or by planning without booking anything. Plans in flight do not count: an answer is
//! true at the index of the state.

use std::collections::{BTreeMap, BTreeSet};

use super::question::{Capacity, HostFilter, WhatFits, capacity, earliest_start, what_fits};
use super::whole_hosts::{first_whole_hosts, whole_hosts};
use super::{NoPlan, NoRoom, Overlay, Preempts, Tell, Times, plan_adopting, plan_series};
use crate::apply::adoption::check_adoptions;
use crate::apply::limits::check_demands;
use crate::apply::schedule::{check_end, check_instance, invalid, resolve_start};
use crate::command::{LeaseWish, PlannedReservation, SeriesWish, StartWish};
use crate::model::{
    AMOUNT_MAX, Adoption, HostId, InstanceWish, Interval, LeftOut, Occurrence, Phase, PoolKind, ReservationId, Seconds, Timestamp,
};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::State;

/// Steps of one answer about capacity at most.
pub const STEPS_MAX: u32 = 1_000;
/// Hosts that one question names, at most; it may also name none, and ask of all.
pub const NAMED_HOSTS_MAX: usize = 1_000;

/// A window as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowWish {
    /// First second.
    pub start: StartWish,
    /// First second after, or [`Seconds::OPEN_END`].
    pub end: Seconds,
}

/// What there is of some hosts over a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityWish {
    /// Of which hosts.
    pub filter: HostFilter,
    /// When.
    pub window: WindowWish,
    /// In so many steps at most, from 1 to [`STEPS_MAX`].
    pub steps_max: u32,
}

/// How many instances of one kind fit into a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DensityWish {
    /// Of what kind; its `amount` counts only where [`DensityWish::seek`] is set.
    pub instance: InstanceWish,
    /// Counted are hosts of the dedicated pool that nobody has anything on. `instance` then says what is asked of them: its sizes are 0, and it
    /// has neither affinity nor flavor.
    pub whole_hosts: bool,
    /// Also when `amount` of them fit.
    pub seek: bool,
    /// On these hosts only; `None`: on all of the kind.
    pub among: Option<BTreeSet<HostId>>,
    /// When.
    pub window: WindowWish,
}

/// See [`DensityWish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Density {
    /// The window that was looked at.
    pub window: Interval,
    /// What fits into all of it; of whole hosts no class is the tightest.
    pub fits: WhatFits,
    /// The first second, not before the window's, at which all of the amount fits for as long as the window is; `None` also
    /// where it was not sought.
    pub earliest_start: Option<Seconds>,
}

/// What would become of a new lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// It would be booked.
    Fits {
        /// Where it would begin when its start is left open and the first one has no room, or is beyond the quota.
        moved_to: Option<Seconds>,
        /// Who would give way.
        preempts: Preempts,
        /// One element a reservation, in the order of the wish.
        reservations: Vec<HostCount>,
    },
    /// A series of it would be booked.
    SeriesFits {
        /// What has room, by number.
        occurrences: Vec<Occurrence>,
        /// What has none, by number; only with best effort.
        left_out: Vec<LeftOut>,
    },
    /// It would be refused for lack of room, or for the quota.
    NoRoom(NoRoom),
}

/// On how many hosts a reservation would lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCount {
    /// From its start on.
    pub main: u32,
    /// In its staging window; 0 without one.
    pub staging: u32,
}

impl WhatIf {
    /// As whoever may not know of other tenants' leases is told.
    #[must_use]
    pub fn without_leases(mut self) -> WhatIf {
        match &mut self {
            WhatIf::Fits { preempts, .. } | WhatIf::NoRoom(NoRoom { preempts, .. }) => preempts.leases.clear(),
            WhatIf::SeriesFits { .. } => {}
        }
        self
    }
}

impl WindowWish {
    /// What of it is still to come.
    ///
    /// Rejections, in this order: `Invalid` (start), `StartInPast`, `EndNotAfterStart`, `EndInPast`, `EndBeyondCalendar`.
    fn resolve(self, now: Timestamp) -> Result<Interval, Rejection> {
        if let StartWish::Earliest { .. } = self.start {
            return Err(invalid("start", "only the start of a new lease may be left open; name one second".to_owned()));
        }
        let start = resolve_start(self.start, now)?;
        let window = Interval::new(start, self.end).ok_or(Rejection::EndNotAfterStart)?;
        let window = window.to_come(now.floor_to_second()).ok_or(Rejection::EndInPast)?;
        check_end(self.end)?;
        Ok(window)
    }
}

/// What is there, reserved and available, over a window.
///
/// # Errors
/// Those of the window; `Invalid` (steps, hosts, the fields of a wish).
pub fn ask_capacity(state: &State, wish: &CapacityWish, now: Timestamp) -> Result<Capacity, Rejection> {
    let window = wish.window.resolve(now.max(state.clock()))?;
    if !(1..=STEPS_MAX).contains(&wish.steps_max) {
        return Err(invalid("steps", format!("it is {}; it must be from 1 to {STEPS_MAX}", wish.steps_max)));
    }
    check_named(state, wish.filter.hosts.as_ref())?;
    check_demands(&wish.filter.as_wish())?;
    Ok(capacity(state, &wish.filter, window, wish.steps_max as usize))
}

/// How many more fit, and when as many do as are asked for.
///
/// # Errors
/// Those of the window; `Invalid` (hosts, the fields of a wish).
pub fn ask_density(state: &State, wish: &DensityWish, now: Timestamp) -> Result<Density, Rejection> {
    let window = wish.window.resolve(now.max(state.clock()))?;
    if wish.whole_hosts {
        check_whole_hosts(&wish.instance)?
    } else {
        check_instance(&wish.instance)?
    }
    check_named(state, wish.among.as_ref())?;
    let among = wish.among.as_ref();
    // Planted bug: only the first second of the window is looked at.
    let looked_at = if mutant!("N24") { Interval { end: window.start.plus(1), ..window } } else { window };
    let length_s = (window.end != Seconds::OPEN_END).then(|| window.end.0 - window.start.0);
    if wish.whole_hosts {
        let fits = WhatFits { largest_amount: whole_hosts(state, &wish.instance, among, looked_at, now), tightest: None };
        let sought = || first_whole_hosts(state, (&wish.instance, wish.instance.amount), among, window.start, length_s, now);
        return Ok(Density { window, fits, earliest_start: wish.seek.then(sought).flatten() });
    }
    let fits = what_fits(state, &wish.instance, among, looked_at, now);
    let sought = || earliest_start(state, &wish.instance, among, window.start, None, length_s, now);
    Ok(Density { window, fits, earliest_start: wish.seek.then(sought).flatten() })
}

/// What would become of a new lease, without making it. `ids` are those of the reservations, in order, and `adoptions` what the
/// cloud knows of servers that they would take over.
///
/// # Errors
/// What a command would be refused for, but for lack of room or for the quota, which are a [`WhatIf::NoRoom`].
pub fn what_if(
    state: &State,
    wish: &LeaseWish,
    ids: &[ReservationId],
    adoptions: &BTreeMap<ReservationId, Adoption>,
    now: Timestamp,
) -> Result<WhatIf, Rejection> {
    check_adoptions(state, &wish.project_id, wish.reservations.iter().zip(ids.iter().map(|id| adoptions.get(id))))?;
    match plan_adopting(state, &Overlay::default(), wish, ids, adoptions, now, Tell::WhatFits) {
        Ok(planned) => {
            let reservations = planned.reservations.iter().map(host_count).collect();
            Ok(WhatIf::Fits { moved_to: planned.moved_to, preempts: Preempts::of(&planned.victims), reservations })
        }
        Err(NoPlan::NoRoom(no_room)) => Ok(WhatIf::NoRoom(no_room)),
        Err(NoPlan::Rejected(rejection)) => Err(rejection),
    }
}

/// What would become of a series, without making it.
///
/// # Errors
/// What a command would be refused for, but for lack of room.
pub fn what_if_series(state: &State, wish: &SeriesWish, times: Times<'_>, now: Timestamp) -> Result<WhatIf, Rejection> {
    let ids: Vec<Vec<ReservationId>> = vec![Vec::new(); times.asked.len()];
    match plan_series(state, &Overlay::default(), wish, times, &ids, now, Tell::WhatFits) {
        Ok(found) => {
            let occurrences = found.occurrences.iter().map(|one| one.occurrence).collect();
            Ok(WhatIf::SeriesFits { occurrences, left_out: found.left_out })
        }
        Err(NoPlan::NoRoom(no_room)) => Ok(WhatIf::NoRoom(no_room)),
        Err(NoPlan::Rejected(rejection)) => Err(rejection),
    }
}

fn host_count(planned: &PlannedReservation) -> HostCount {
    let hosts = |phase: Phase| {
        let of_phase = planned.bindings.iter().filter(|binding| binding.phase == phase);
        let distinct: BTreeSet<HostId> = of_phase.map(|binding| binding.host).collect();
        u32::try_from(distinct.len()).unwrap_or(u32::MAX)
    };
    HostCount { main: hosts(Phase::Main), staging: hosts(Phase::Staging) }
}

/// A whole host has no size but its own, and is of the dedicated pool.
fn check_whole_hosts(kind: &InstanceWish) -> Result<(), Rejection> {
    check_dedicated(kind.pool)?;
    if !(1..=AMOUNT_MAX).contains(&kind.amount) {
        return Err(invalid("amount", format!("it is {}; it must be from 1 to {AMOUNT_MAX}", kind.amount)));
    }
    let sizes = [("vcpus", kind.vcpus), ("memory_mb", kind.memory_mb), ("disk_gb", kind.disk_gb)];
    if let Some((field, size)) = sizes.into_iter().find(|(_, size)| *size > 0) {
        return Err(invalid(field, format!("it is {size}; whole hosts have no size but their own")));
    }
    if kind.affinity.is_some() {
        return Err(invalid("affinity", "whole hosts have none: each is another host".to_owned()));
    }
    if kind.flavor.is_some() {
        return Err(invalid("flavor", "whole hosts have none".to_owned()));
    }
    check_demands(kind)
}

/// Of which pool whole hosts are.
pub(super) fn check_dedicated(pool: Option<PoolKind>) -> Result<(), Rejection> {
    match pool {
        Some(PoolKind::Shared) => Err(invalid("pool", "it is shared; whole hosts are of the dedicated pool".to_owned())),
        Some(PoolKind::Dedicated) | None => Ok(()),
    }
}

/// A host that is not there is a mistake: what is answered of the others would be taken for an answer about it.
pub(super) fn check_named(state: &State, named: Option<&BTreeSet<HostId>>) -> Result<(), Rejection> {
    let Some(named) = named else { return Ok(()) };
    if named.len() > NAMED_HOSTS_MAX {
        return Err(invalid("hosts", format!("{} are named; at most {NAMED_HOSTS_MAX} may be", named.len())));
    }
    match named.iter().find(|id| state.host(**id).is_none()) {
        Some(unknown) => Err(invalid("hosts", format!("there is no host {unknown}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
