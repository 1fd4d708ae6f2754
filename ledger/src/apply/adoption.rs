//! Whether a reservation may take parked servers over (architecture D23, docs/decisions/0011).
//!
//! What the servers are only the cloud knows: the operation reads it before the log and gives it with the plan. What the
//! ledger knows is verified here: that nobody else has the flavor, and that the sizes are those it was made with.

use std::collections::BTreeSet;

use super::schedule::invalid;
use super::verify::stale;
use crate::command::ReservationWish;
use crate::model::{Adoption, InstanceWish, ProjectId, ReservationId};
use crate::reply::Rejection;
use crate::state::State;
use crate::storage::keys::FlavorSize;

/// Servers that one reservation adopts, at most: they are named in its row.
pub const SERVERS_MAX: usize = 1_000;

/// What can be said of the wish alone.
///
/// # Errors
/// `Invalid` (servers).
pub fn check_servers(wish: &ReservationWish) -> Result<(), Rejection> {
    let (count, instance) = (wish.servers.len(), wish.resource.instance());
    if count > SERVERS_MAX {
        return Err(refused(format!("at most {SERVERS_MAX} can be adopted")));
    }
    if count > usize::try_from(instance.amount).unwrap_or(usize::MAX) {
        return Err(refused(format!("{count} cannot run in an amount of {}", instance.amount)));
    }
    if count > 0 && instance.affinity.is_some() {
        return Err(refused(
            "servers that are there already cannot be made to share or avoid a host; leave affinity out".to_owned(),
        ));
    }
    Ok(())
}

/// One adoption of each reservation that names servers, each of another flavor that nobody has.
///
/// Rejections, in this order: `PlanStale` (the plan adopts something else, or a flavor that somebody has by now), `Invalid`
/// (servers). That somebody has a flavor passes, so it is not stored under the key: the leader looks again and says it.
pub(crate) fn check_adoptions<'a>(
    state: &State,
    project: &ProjectId,
    adopting: impl Iterator<Item = (&'a ReservationWish, Option<&'a Adoption>)>,
) -> Result<(), Rejection> {
    let mut flavors = BTreeSet::new();
    for (wish, adoption) in adopting {
        let named = adoption.map(|adoption| &adoption.servers);
        if named.is_some_and(BTreeSet::is_empty) || named.unwrap_or(&BTreeSet::new()) != &wish.servers {
            return Err(stale("the plan adopts other servers"));
        }
        let Some(Adoption { flavor_of, .. }) = adoption else { continue };
        if !flavors.insert(*flavor_of) {
            return Err(refused(format!("servers of reservation {flavor_of} go to one reservation of the lease, not to two")));
        }
        if let Some(problem) = flavor_taken(state, project, *flavor_of) {
            return Err(stale(problem));
        }
        check_size(state, *flavor_of, wish.resource.instance())?;
    }
    Ok(())
}

/// Who has the flavor now, in words for `project`; `None`: nobody. The leader asks it too, before it proposes.
pub fn flavor_taken(state: &State, project: &ProjectId, flavor: ReservationId) -> Option<String> {
    let (lease, has) = state.reservations_of_flavor(flavor).find(|(lease, one)| !lease.is_over(one))?;
    // Nothing is said of another project's reservations.
    let whose = if lease.project_id == *project { format!("reservation {}", has.id) } else { "a reservation".to_owned() };
    Some(format!("the servers belong to {whose}, which is not over"))
}

/// As far as anybody remembers the flavor is of this size. That does not pass: a flavor keeps its size.
fn check_size(state: &State, flavor: ReservationId, wish: &InstanceWish) -> Result<(), Rejection> {
    let there = state.reservations_of_flavor(flavor).map(|(_, reservation)| FlavorSize::of(reservation));
    let asked = FlavorSize { flavor, vcpus: wish.vcpus, memory_mb: wish.memory_mb, disk_gb: wish.disk_gb };
    if let Some(had) = there.chain(state.archived_sizes(flavor)).find(|had| *had != asked) {
        return Err(refused(format!(
            "they have {} vcpus, {} MB of memory and {} GB of disk, and the reservation must ask for the same",
            had.vcpus, had.memory_mb, had.disk_gb
        )));
    }
    Ok(())
}

fn refused(problem: String) -> Rejection {
    invalid("servers", problem)
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_flavor_has_one_reservation_at_a_time() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 lease A now..12:00 n=2 shelve -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 lease B 13:00..14:00 n=2 servers=2 of=A -> refused PlanStale
               12:00 clock -> end A
               12:00 lease B 13:00..14:00 n=2 servers=2 of=A -> refused PlanStale
               12:01 done end A -> A TERMINATED deleted:Ended
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A vcpus=2 -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A memory=1 -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A disk=7 -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=1 servers=2 of=A -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A affinity=true -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=1001 servers=1001 of=A -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A reservations=2 -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=2 servers=2 -> refused PlanStale
               12:01 lease B 13:00..14:00 n=2 of=A -> refused PlanStale
               12:01 lease B 13:00..14:00 n=3 servers=2 of=A shelve -> PENDING h1*3
               12:01 flavor B -> A
               12:01 lease C 15:00..16:00 n=2 servers=2 of=A -> refused PlanStale
               12:01 delete A -> free, row gone
               12:01 lease C 15:00..16:00 n=2 servers=2 of=A -> refused PlanStale
               12:01 update B n=1 -> refused CannotUpdate amount
               12:01 update B vcpus=2 -> refused CannotUpdate vcpus
               12:01 update B zone=a -> refused CannotUpdate zone
               12:01 update B n=2 end=15:00 -> PENDING h1*2
               13:00 clock -> start B
               13:00 done start B -> B ACTIVE active:Open
               15:00 clock -> end B
               15:00 done end B -> B TERMINATED deleted:Ended
               15:00 lease C 16:00..17:00 n=2 servers=2 of=A -> PENDING h1*2
               15:00 flavor C -> A
               15:00 delete C -> free, row gone
               15:00 lease C 16:00..17:00 n=2 servers=2 of=A -> PENDING h1*2",
        );
    }

    #[test]
    fn the_size_of_parked_servers_is_known_when_their_leases_have_left_memory_and_forgotten_with_them() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 lease A now..11:00 n=2 shelve -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               11:00 clock -> end A
               11:00 archive 11:00 -> none
               11:01 done end A -> A TERMINATED deleted:Ended
               11:01 archive 11:01 -> A
               11:02 lease B 12:00..13:00 n=2 servers=2 of=A vcpus=2 -> refused Invalid servers
               11:02 lease B 12:00..13:00 n=2 servers=2 of=A memory=1 -> refused Invalid servers
               11:02 lease B 12:00..13:00 n=2 servers=2 of=A disk=7 -> refused Invalid servers
               11:02 lease B 12:00..13:00 n=2 servers=2 of=A -> PENDING h1*2
               11:02 delete A -> free, row gone
               12:00 clock -> start B
               12:00 done start B -> B ACTIVE active:Open
               13:00 clock -> end B
               13:00 done end B -> B TERMINATED deleted:Ended
               13:00 archive 13:00 -> B
               13:01 lease C 14:00..15:00 n=2 servers=2 of=A vcpus=2 -> refused Invalid servers
               13:01 delete B -> free, row gone
               13:01 lease C 14:00..15:00 n=2 servers=2 of=A vcpus=2 -> PENDING h1*2",
        );
    }

    #[test]
    fn what_never_woke_stays_parked_and_a_flavor_is_free_when_the_cloud_has_followed() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 lease A now..11:00 n=2 shelve -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               11:00 clock -> end A
               11:00 done end A -> A TERMINATED deleted:Ended
               11:00 lease B 12:00..14:00 n=2 servers=2 of=A -> PENDING h1*2
               11:00 clock -> prepare B
               11:00 done prepare B -> B PENDING pending:Prepared
               11:01 delete B -> free, row stays
               11:01 at_end B -> Shelve
               11:01 lease C 12:00..14:00 n=2 servers=2 of=A -> refused PlanStale
               11:01 done end B -> B gone
               11:01 lease C 11:30..12:30 n=2 servers=2 of=A -> PENDING h1*2
               13:00 clock -> end C
               13:00 at_end C -> Shelve
               13:00 done end C -> C TERMINATED deleted:Ended
               13:00 lease D now..14:00 n=2 servers=2 of=A -> PENDING h1*2
               13:00 clock -> start D
               13:00 delete D -> booked, row stays
               13:00 at_end D -> Shelve
               13:00 done end D -> D gone
               13:00 lease E now..14:00 n=2 servers=2 of=A -> PENDING h1*2
               13:00 clock -> start E
               13:00 done start E -> E ACTIVE active:Open
               13:30 delete E -> booked, row stays
               13:30 at_end E -> Delete",
        );
    }

    #[test]
    fn only_a_start_that_was_carried_out_makes_an_end_treat_what_it_adopted() {
        let parked = "10:00 hosts h1 vcpus=8
               10:00 lease A now..11:00 n=2 shelve -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               11:00 clock -> end A
               11:00 done end A -> A TERMINATED deleted:Ended\n";
        let starting = "11:00 lease B now..13:00 n=2 servers=2 of=A -> PENDING h1*2
               11:00 clock -> start B\n";
        let never = "12:00 delayed start B -> B STARTING pending:Open
               13:00 clock -> end B
               13:00 at_end B -> Shelve";
        let failed = "11:01 failed start B -> B ERROR error:Open
               13:00 clock -> end B
               13:00 at_end B -> Shelve";
        let carried_out = "11:01 done start B -> B ACTIVE active:Open
               11:02 update B n=3 -> ACTIVE h1*3
               11:03 failed adjust B -> B ERROR error:Open
               13:00 clock -> end B
               13:00 at_end B -> Delete";
        for rest in [never, failed, carried_out] {
            check(&format!("{parked}{starting}{rest}"));
        }
        let staging = "11:00 lease B 13:00..14:00 n=2 servers=2 of=A staging=11:00..11:30 -> PENDING staging:h1*2 h1*2
               11:00 clock -> open B\n";
        let opened = "11:01 done open B -> B PENDING pending:Staging
               11:02 delete B -> booked, row stays
               11:02 at_end B -> Delete";
        let unopened = "11:02 delete B -> booked, row stays
               11:02 at_end B -> Shelve";
        for rest in [opened, unopened] {
            check(&format!("{parked}{staging}{rest}"));
        }
    }

    #[test]
    fn a_flavor_has_one_reservation_over_all_projects_and_that_it_is_taken_is_no_stored_answer() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 lease A now..12:00 n=2 shelve -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 lease B 13:00..14:00 n=2 servers=2 of=A project=q -> refused PlanStale
               10:01 lease B 13:00..14:00 n=2 servers=2 of=A key=1 -> refused PlanStale
               10:01 key 1 until=24:00 -> unknown
               12:00 clock -> end A
               12:01 done end A -> A TERMINATED deleted:Ended
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A vcpus=2 project=q -> refused Invalid servers
               12:01 lease B 13:00..14:00 n=2 servers=2 of=A key=1 -> PENDING h1*2
               12:02 lease C 15:00..16:00 n=2 servers=2 of=A project=q -> refused PlanStale",
        );
    }

    #[test]
    fn adopted_servers_keep_their_kind_of_anchor() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 hosts c1 shared anchored vcpus=4
               10:00 lease A now..12:00 n=2 shelve -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               12:00 clock -> end A
               12:00 done end A -> A TERMINATED deleted:Ended
               12:00 lease B 13:00..14:00 n=2 servers=2 of=A plan=c1*2 -> refused PlanStale
               12:00 lease B 13:00..14:00 n=2 servers=2 of=A anchored -> CREATING c1*2
               12:00 held B -> B PENDING pending:Booked
               12:00 rebind B plan=h1*2 -> refused PlanStale
               12:00 rebind B c1 -> no room short=2 largest=0 tightest=- next=-
               12:00 delete B -> free, row gone
               12:00 lease B 13:00..14:00 n=5 servers=2 of=A -> no room short=1 largest=4 tightest=VCPU next=-
               12:00 lease B 13:00..14:00 n=2 servers=2 of=A -> PENDING h1*2
               12:00 update B n=5 -> no room short=1 largest=4 tightest=VCPU next=-",
        );
    }
}
