//! Whether a lease lacks a host, as its owner is shown it.

use crate::model::{LeaseId, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Writes down which reservations are bound to a host that is down now, or that a downtime takes from them, and makes the lease degraded while any is. Whose end
/// has begun lacks nothing. Changes nothing when nothing is new.
///
/// Rejections: `LeaseNotFound`.
pub(super) fn review_lease(state: &mut State, now: Timestamp, id: LeaseId) -> Result<Reply, Rejection> {
    if state.archived(id).is_some() {
        return Ok(Reply::Done);
    }
    let before = state.lease(id).filter(|lease| !lease.deleted).cloned().ok_or(Rejection::LeaseNotFound(id))?;
    let mut lease = before.clone();
    for (reservation, found) in lease.reservations.iter_mut().zip(&before.reservations) {
        reservation.missing_resources = state.lacks_host(&before, found);
    }
    lease.degraded = lease.reservations.iter().any(|one| one.missing_resources || one.resources_changed);
    if lease != before {
        lease.updated_at = Some(now);
        state.put_lease(lease);
    }
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_lease_is_degraded_while_it_lacks_a_host_and_no_longer() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=6 -> PENDING h1*4 h2*2
               10:00 review A -> well
               10:01 observe h2 down -> closed
               10:01 review A -> degraded
               10:02 review A -> degraded
               10:03 observe h2 -> fine
               10:03 review A -> well
               10:03 review X -> refused LeaseNotFound",
        );
    }

    #[test]
    fn who_moved_away_or_has_ended_lacks_nothing() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A now..14:00 n=2 -> PENDING h1*2
               10:00 lease B 12:00..14:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 observe h1 down -> closed
               10:01 review A -> degraded
               10:01 review B -> degraded
               10:02 rebind B h1 -> PENDING h2*2
               10:02 review B -> well
               10:03 update A end=now
               10:03 clock -> end A
               10:03 review A -> well",
        );
    }

    #[test]
    fn staging_hosts_are_lacked_until_the_servers_are_parked() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=2 staging=10:30..11:00 plan=staging:h1*2,h2*2 -> PENDING staging:h1*2 h2*2
               10:01 observe h1 down -> closed
               10:01 review A -> degraded
               10:30 clock -> open A
               10:30 done open A -> A PENDING pending:Staging
               11:00 clock -> close A
               11:05 review A -> degraded
               11:05 done close A -> A PENDING pending:Parked
               11:05 review A -> well",
        );
    }
}
