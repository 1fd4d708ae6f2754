//! What became of the server groups that affinity true and false wants.

use std::collections::BTreeMap;

use crate::command::FoundGroup;
use crate::model::{LeaseId, Reservation, ReservationId};
use crate::reply::Reply;
use crate::state::State;

/// Longest text that is kept.
const PROBLEM_CHARS_MAX: usize = 500;

/// Takes the groups that were made, and for those that could not be made the reason.
///
/// The first group that is recorded stays: its id may have been answered already. A lease that is gone, or a reservation that
/// is over or wants no group, is no mistake of who made it: nothing is recorded, and the group is told back as refused. So the
/// command may be repeated, and come late.
pub(super) fn record_server_groups(state: &mut State, lease_id: LeaseId, groups: &BTreeMap<ReservationId, FoundGroup>) -> Reply {
    let mut lease = state.lease(lease_id).filter(|lease| !lease.deleted).cloned();
    let mut refused = Vec::new();
    for (id, found) in groups {
        let reservation = lease.as_mut().and_then(|lease| lease.reservations.iter_mut().find(|one| one.id == *id));
        let taken = reservation.filter(|one| wants(one, found)).is_some_and(|one| take(one, found));
        if !taken && found.server_group_id.is_some() {
            refused.push(*id);
        }
    }
    if let Some(lease) = lease.filter(|lease| state.lease(lease_id) != Some(lease)) {
        state.put_lease(lease);
    }
    Reply::ServerGroupsRecorded { refused }
}

/// An update may have changed the affinity since the group was made.
fn wants(reservation: &Reservation, found: &FoundGroup) -> bool {
    !reservation.has_ended() && reservation.wish.instance().affinity == Some(found.affinity)
}

/// Whether the reservation has the group now.
fn take(reservation: &mut Reservation, found: &FoundGroup) -> bool {
    if reservation.server_group_id.is_none() {
        reservation.server_group_id = found.server_group_id;
        reservation.group_awaited = false;
        let cut = |text: &String| text.chars().take(PROBLEM_CHARS_MAX).collect();
        reservation.server_group_problem = found.problem.as_ref().map(cut);
    }
    reservation.server_group_id == found.server_group_id
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    // `made` is a group of affinity unless it says `apart`.
    #[test]
    fn the_first_group_that_is_recorded_stays() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 affinity=true callers -> CREATING h1*1
               10:00 group A -> awaited
               10:00 made A 7 -> taken
               10:00 group A -> 7
               10:00 made A 7 -> taken
               10:00 made A 8 -> refused
               10:00 made A none -> taken
               10:00 held A group -> A PENDING pending:Booked
               10:00 group A -> 7",
        );
    }

    #[test]
    fn a_group_that_could_not_be_made_leaves_its_reason_and_the_place_to_another() {
        check(
            "10:00 hosts h1
               10:00 lease A 12:00..14:00 affinity=false callers -> CREATING h1*1
               10:00 made A none apart -> taken
               10:00 group A -> none: no quota
               10:00 held A group -> A PENDING pending:Booked
               10:00 group A -> 5: no quota
               10:00 lease B 12:00..14:00 affinity=false callers -> CREATING h1*1
               10:00 held B -> B PENDING pending:Booked
               10:00 group B -> awaited
               10:01 made B 7 foreign apart -> taken
               10:01 group B -> 7: of the service user",
        );
    }

    #[test]
    fn what_is_over_or_wants_no_group_takes_none() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 callers -> PENDING h1*1
               10:00 made A 7 -> refused
               10:00 group A -> none
               10:00 lease B now..14:00 affinity=true callers -> CREATING h1*1
               10:00 held B -> B PENDING pending:Booked
               10:00 clock -> start A, start B
               10:00 done start B -> B ACTIVE active:Open
               10:01 delete B -> booked, row stays
               10:01 made B 7 -> refused
               10:01 done end B -> B gone
               10:01 made B 7 -> refused
               10:01 done start A -> A ACTIVE active:Open
               10:02 lease C 10:02..10:30 affinity=true callers -> CREATING h1*1
               10:02 held C -> C PENDING pending:Booked
               10:02 clock -> start C
               10:02 done start C -> C ACTIVE active:Open
               10:30 clock -> end C
               10:30 made C 7 -> refused
               10:30 done end C -> C TERMINATED deleted:Ended
               10:30 made C 7 -> refused",
        );
    }

    #[test]
    fn an_update_keeps_the_group_unless_it_changes_the_affinity() {
        check(
            "10:00 hosts h1 h2
               10:00 lease A 12:00..14:00 n=1 affinity=true callers -> CREATING h1*1
               10:00 made A 7 -> taken
               10:00 held A -> A PENDING pending:Booked
               10:00 update A n=2 end=15:00 -> PENDING h1*2
               10:00 group A -> 7
               10:01 rebind A h1 -> PENDING h2*2
               10:01 group A -> 7
               10:01 update A affinity=false callers -> UPDATING h1*1 h2*1
               10:01 group A -> awaited
               10:01 made A 7 -> refused
               10:01 withdraw A -> A PENDING pending:Booked
               10:01 group A -> 7
               10:01 made A 8 apart -> refused
               10:02 update A affinity=false callers -> UPDATING h1*1 h2*1
               10:02 made A 8 apart -> taken
               10:02 held A -> A PENDING pending:Booked
               10:02 group A -> 8
               10:03 update A affinity=none -> PENDING h1*1 h2*1
               10:03 group A -> none
               10:03 made A 8 apart -> refused",
        );
    }
}
