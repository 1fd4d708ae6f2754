//! Plans changes of leases that are there.
use super::{NoPlan, Overlay, Planned};
use crate::command::LeaseChange;
use crate::model::{HostId, LeaseId, Timestamp};
use crate::state::State;

/// Plans a change; `Ok(None)` when nothing is to be rebooked.
pub fn plan_update(
    _state: &State,
    _overlay: &Overlay,
    _lease_id: LeaseId,
    _change: &LeaseChange,
    _now: Timestamp,
) -> Result<Option<Planned>, NoPlan> {
    Ok(None)
}

/// Plans other hosts for a lease that is not open yet, avoiding `avoid`.
pub fn plan_rebind(_state: &State, _overlay: &Overlay, lease_id: LeaseId, _avoid: &[HostId]) -> Result<Planned, NoPlan> {
    Err(NoPlan::Rejected(crate::reply::Rejection::LeaseNotFound(lease_id)))
}
