//! Changes a lease, all or nothing.
use crate::command::UpdateLease;
use crate::model::{Lease, RequestKey, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

pub(super) fn update_lease(
    _state: &mut State,
    _now: Timestamp,
    _update: &UpdateLease,
    _key: Option<&RequestKey>,
) -> Result<Reply, Rejection> {
    Err(super::schedule::invalid("update", "it is not built yet".to_owned()))
}
pub(super) fn update_held(state: &mut State, lease: Lease, _now: Timestamp) {
    state.put_lease(lease);
}
