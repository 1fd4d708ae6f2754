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

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_host_that_lost_room_accepts_nothing_until_its_promises_fit_again() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 observe h9 -> refused HostNotFound
               10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
               10:00 observe h1 firm=2 -> overcommitted
               10:00 lease B 16:00..17:00 -> no room short=1 largest=0 tightest=- next=-
               10:00 lease B 16:00..17:00 plan=h1*1 -> refused PlanStale
               10:00 update A n=2 -> PENDING h1*2
               10:00 lease B 16:00..17:00 n=2 -> PENDING h1*2
               10:00 observe h1 vcpus=3 -> overcommitted
               10:00 observe h1 firm=1 -> fine
               10:00 observe h1 down -> closed
               10:00 lease C 18:00..19:00 plan=h1*1 -> refused PlanStale",
        );
    }
}
