//! The limits of a project, and what it has reserved of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::model::{Amounts, InForce, Interval, LimitKind, Limits, ProjectId, Seconds, Timestamp};
use crate::state::State;
use crate::state::usage::period_of;

/// What is set, what it comes to and what is used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Quota {
    /// `None`: the defaults for all projects.
    pub project_id: Option<ProjectId>,
    /// What is set for it.
    pub set: Limits,
    /// What holds: what is set for it, else the default.
    pub in_force: BTreeMap<LimitKind, u32>,
    /// What the project has; `None` of the defaults, and in lists.
    pub used: Option<QuotaUse>,
}

/// What a project has reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QuotaUse {
    /// Instances and vCPUs now.
    pub now: (u32, u32),
    /// Most instances at one instant from now on, and when that is first.
    pub slots_peak: (u32, Seconds),
    /// Most vCPUs at one instant from now on, and when that is first.
    pub vcpus_peak: (u32, Seconds),
    /// The period of now.
    pub period: Interval,
    /// vCPU-seconds used and reserved within it.
    pub period_vcpu_s: i64,
}

/// Of one project, or the defaults.
pub fn quota(state: &State, project: Option<&ProjectId>, now: Timestamp) -> Quota {
    let set = state.quota(project).map(|row| row.limits.clone()).unwrap_or_default();
    let limits = project.map_or_else(|| InForce::of(Some(&set), None), |project| state.limits_of(project));
    let in_force = in_force(&limits);
    Quota { project_id: project.cloned(), set, in_force, used: project.map(|project| used(state, project, &limits, now)) }
}

/// Which quotas are listed: those of projects that have limits of their own, by project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaListing {
    /// Only of projects that have limits of their own of at least one of these kinds; empty: of any kind.
    pub set: BTreeSet<LimitKind>,
    /// The other way round.
    pub descending: bool,
    /// For paging: only projects behind this one in that order, which need not have limits any more.
    pub after: Option<ProjectId>,
    /// At most so many; `None`: all.
    pub limit: Option<u32>,
}

/// The quotas of a listing, without what is used, which is asked for project by project.
pub fn quotas(state: &State, listing: &QuotaListing) -> Vec<Quota> {
    let limit = listing.limit.map_or(usize::MAX, |limit| limit as usize);
    let of = |project: &ProjectId| {
        let set = state.quota(Some(project)).map(|row| row.limits.clone()).unwrap_or_default();
        Quota { project_id: Some(project.clone()), set, in_force: in_force(&state.limits_of(project)), used: None }
    };
    // A row without limits keeps what the project has used.
    let has_own = |limits: &Limits| match listing.set.is_empty() {
        true => !limits.is_empty(),
        false => listing.set.iter().any(|kind| limits.contains_key(kind)),
    };
    let behind = listing.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let own = |range| state.quotas_in(range).filter(|(_, row)| has_own(&row.limits)).map(|(project, _)| of(project));
    match listing.descending {
        false => own((behind, Bound::Unbounded)).take(limit).collect(),
        true => own((Bound::Unbounded, behind)).rev().take(limit).collect(),
    }
}

fn in_force(limits: &InForce) -> BTreeMap<LimitKind, u32> {
    LimitKind::ALL.into_iter().filter_map(|kind| Some((kind, limits.get(kind)?))).collect()
}

fn used(state: &State, project: &ProjectId, limits: &InForce, now: Timestamp) -> QuotaUse {
    let now = now.max(state.clock()).floor_to_second();
    let steps = state.use_of(project, Interval { start: now, end: Seconds::OPEN_END });
    let most = |of: fn(&Amounts) -> u32| {
        let peak = steps.iter().map(|(_, used)| of(used)).max().unwrap_or(0);
        (peak, steps.iter().find(|(_, used)| of(used) == peak).map_or(now, |(at, _)| *at))
    };
    let period = period_of(now, limits.period_s());
    QuotaUse {
        now: steps.first().map_or((0, 0), |(_, used)| (used.slots, used.vcpus)),
        slots_peak: most(|used| used.slots),
        vcpus_peak: most(|used| used.vcpus),
        period,
        period_vcpu_s: state.budget_of(project, period),
    }
}
