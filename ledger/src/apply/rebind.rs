//! Moves bindings of a lease that is not open yet to other hosts.
use crate::command::PlannedReservation;
use crate::model::{LeaseId, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

pub(super) fn rebind(
    _state: &mut State,
    _now: Timestamp,
    _id: LeaseId,
    _moves: &[PlannedReservation],
) -> Result<Reply, Rejection> {
    Err(super::schedule::invalid("rebind", "it is not built yet".to_owned()))
}
