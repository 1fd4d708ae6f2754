//! What Nova and Placement say of a host now.

use crate::model::{Host, HostId, Observation, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Takes an observation. When it leaves less than what is booked, now or later, the host accepts nothing new until that is
/// over (scheduling-design §1); what was promised stays promised. Changes nothing when nothing is new.
///
/// Rejections: `HostNotFound`.
pub(super) fn report_host(state: &mut State, now: Timestamp, id: HostId, observation: &Observation) -> Result<Reply, Rejection> {
    let mut host: Host = state.host(id).cloned().ok_or(Rejection::HostNotFound(id))?;
    let before = host.clone();
    host.observation = observation.clone();
    host.overcommitted = state.breaks_promise(&host);
    if host != before {
        host.updated_at = Some(now);
        state.put_host(host);
    }
    Ok(Reply::Done)
}
