//! Sets and takes back limits.

use std::collections::BTreeSet;

use super::schedule::invalid;
use crate::model::{InForce, Limit, LimitKind, Limits, PERIOD_MAX_S, PERIOD_MIN_S, ProjectId, Spent};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Projects with limits of their own at most: each is a row on every replica.
const QUOTAS_MAX: usize = 100_000;
/// Longest project id, in bytes; Keystone's are 32 characters.
const PROJECT_ID_BYTES_MAX: usize = 255;

/// Sets what is set, takes back what is unset, leaves the rest. What is booked stays, also beyond the new limits.
///
/// Rejections: `Invalid` (project_id, unset, period_s).
pub(super) fn set_quota(
    state: &mut State,
    project_id: Option<&ProjectId>,
    set: &Limits,
    unset: &BTreeSet<LimitKind>,
) -> Result<Reply, Rejection> {
    if let Some(project) = project_id {
        let bytes = project.0.len();
        if !(1..=PROJECT_ID_BYTES_MAX).contains(&bytes) || project.0.chars().any(char::is_control) {
            let problem = format!("it has {bytes} bytes; it must have 1 to {PROJECT_ID_BYTES_MAX}, and no control characters");
            return Err(invalid("project_id", problem));
        }
    }
    if let Some(both) = unset.iter().find(|kind| set.contains_key(*kind)) {
        return Err(invalid("unset", format!("{} is both set and unset; name it once", both.as_str())));
    }
    match set.get(&LimitKind::PeriodS) {
        Some(Limit::Unlimited) => {
            return Err(invalid("period_s", "a period has a length; unset it for that of the defaults".to_owned()));
        }
        Some(Limit::Max(s)) if !(PERIOD_MIN_S..=PERIOD_MAX_S).contains(s) => {
            return Err(invalid("period_s", format!("it is {s}; it must be from {PERIOD_MIN_S} to {PERIOD_MAX_S}")));
        }
        _ => {}
    }
    if state.quota(project_id).is_none() && state.quotas_len() >= QUOTAS_MAX {
        let problem = format!("{QUOTAS_MAX} projects have quotas or use of their own; unset some first");
        return Err(invalid("project_id", problem));
    }
    let mut row = state.quota(project_id).cloned().unwrap_or_default();
    row.limits.extend(set);
    row.limits.retain(|kind, _| !unset.contains(kind));
    // What was spent counts on while there is a budget of the same periods.
    if project_id.is_some() {
        let defaults = state.quota(None).map(|row| &row.limits);
        let limits = InForce::of(Some(&row.limits), defaults);
        let counts = |spent: &Spent| limits.get(LimitKind::VcpuHours).is_some() && spent.period_s == limits.period_s();
        row.spent = row.spent.filter(counts);
    }
    state.put_quota(project_id, row);
    Ok(Reply::Done)
}
