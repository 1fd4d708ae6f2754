//! Ended leases leave memory, and come back where somebody changes them (docs/decisions/0022). Users see nothing of it.

use super::schedule::invalid;
use super::verify::stale;
use crate::model::{Lease, LeaseId, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::state::{State, row_hash};
use crate::storage::codec::decode;

/// Leases that one entry takes out of memory; the leader proposes again while there are more.
pub const ARCHIVED_PER_ENTRY: usize = 1_000;

/// Takes leases out of memory that are over for good and were not changed after `ended_before`.
pub(super) fn archive_leases(state: &mut State, now: Timestamp, ended_before: Timestamp) -> Reply {
    let ids: Vec<LeaseId> = state.archivable(ended_before.min(now)).take(ARCHIVED_PER_ENTRY).collect();
    for id in ids {
        state.archive_lease(id);
    }
    Reply::Done
}

/// Takes a lease into memory again, from its row as it is stored. One that is there, or is gone, is no mistake: the leader asks
/// before it changes one.
///
/// Rejections: `Invalid` (another row than that of the lease).
pub(super) fn recall_lease(state: &mut State, id: LeaseId, row: &[u8]) -> Result<Reply, Rejection> {
    let Some(archived) = state.archived(id) else { return Ok(Reply::Done) };
    if row_hash(&archived.key(), row) != archived.hash {
        return Err(invalid("row", format!("it is not that of lease {id}")));
    }
    let lease: Lease = decode("lease", row).map_err(|error| invalid("row", error.to_string()))?;
    state.recall_lease(lease);
    Ok(Reply::Done)
}

/// A lease that users see, to be changed. One that left memory must come back first, so that is no answer.
///
/// Rejections: `PlanStale`, `LeaseNotFound`.
pub(crate) fn visible_lease(state: &State, id: LeaseId) -> Result<&Lease, Rejection> {
    if state.archived(id).is_some() {
        return Err(stale("the lease has ended and left memory, and comes back before it is changed"));
    }
    state.lease(id).filter(|lease| lease.visible()).ok_or(Rejection::LeaseNotFound(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::apply::script::check;
    use crate::command::Command;
    use crate::model::{Lease, LeaseId, Timestamp};
    use crate::plan::crowd::Random;
    use crate::plan::crowd::twins::Twins;
    use crate::reply::Rejection;
    use crate::state::{ChangeSubject, State, invariants};

    #[test]
    fn only_what_is_over_for_good_leaves_memory_and_only_after_its_time() {
        check(
            "10:00 hosts h1 vcpus=16
               10:00 lease A now..11:00 -> PENDING h1*1
               10:00 lease B now..12:00 -> PENDING h1*1
               10:00 lease C now..11:00 shelve -> PENDING h1*1
               10:00 clock -> start A, start B, start C
               10:00 done start A -> A ACTIVE active:Open
               10:00 done start B -> B ACTIVE active:Open
               10:00 done start C -> C ACTIVE active:Open
               11:00 clock -> end A, end C
               11:01 archive 11:01 -> none
               11:02 done end A -> A TERMINATED deleted:Ended
               11:02 done end C -> C TERMINATED deleted:Ended
               11:03 archive 11:00 -> none
               11:03 archive 11:01 -> A C
               11:03 archive 11:02 -> none
               11:03 status A -> A gone
               11:03 update A name=x -> refused PlanStale
               11:03 claim A -> refused PlanStale
               11:03 delete A -> free, row gone
               11:03 delete A -> refused LeaseNotFound
               12:00 clock -> end B
               12:00 delete B -> booked, row stays
               12:00 archive 12:00 -> none
               12:00 done end B -> B gone
               12:00 removehost h1 -> removed",
        );
    }

    #[test]
    fn leases_of_a_series_leave_memory_and_the_series_still_knows_them() {
        check(
            "10:00 hosts h1 vcpus=16
               10:00 series A 11:00..11:30 every=60 times=4 -> 1:PENDING h1*1 2:PENDING h1*1 3:PENDING h1*1 4:PENDING h1*1
               11:00 clock
               11:00 done start A1 -> A1 ACTIVE active:Open
               11:30 clock -> end A1
               11:30 done end A1 -> A1 TERMINATED deleted:Ended
               12:00 clock
               12:00 done start A2 -> A2 ACTIVE active:Open
               12:10 delete A3
               12:30 clock -> end A2
               12:30 done end A2 -> A2 TERMINATED deleted:Ended
               12:30 archive 12:00 -> A1
               12:30 archive 12:30 -> A2
               12:30 listed A -> A1 A2 A4
               12:31 deleteseries A -> deleted A4 kept A1 A2
               12:31 listed A -> A1 A2
               12:32 delete A1 -> free, row gone
               12:32 listed A -> A2
               12:32 deleteseries A -> deleted kept A2
               12:32 delete A2 -> free, row gone
               12:32 deleteseries A -> refused SeriesNotFound",
        );
    }

    #[test]
    fn what_failed_leaves_memory_when_its_end_is_carried_out_and_what_is_left_to_do_does_not() {
        check(
            "10:00 hosts h1 vcpus=16
               10:00 lease A now..11:00 -> PENDING h1*1
               10:00 lease B now..11:00 -> PENDING h1*1
               10:00 lease C now..11:00 reservations=2 -> PENDING h1*1 h1*1
               10:00 clock -> start A, start B, start C, start C
               10:00 failed start A -> A ERROR error:Open
               10:00 done start B -> B ACTIVE active:Open
               10:00 done start C -> C STARTING active:Open pending:Open
               10:00 failed start C -> C ERROR active:Open error:Open
               10:01 archive 10:01 -> none
               11:00 clock -> end A, end B, end C, end C
               11:00 done end A -> A ERROR deleted:Ended
               11:00 failed end B -> B ERROR error:Ended
               11:00 done end C -> C TERMINATING deleted:Ended error:Ended
               11:00 failed end C -> C ERROR deleted:Ended error:Ended
               11:01 archive 11:01 -> A
               11:01 withdraw A -> refused WrongStatus ERROR
               11:01 update A name=x -> refused PlanStale
               11:01 delete A -> free, row gone
               11:01 delete A -> refused LeaseNotFound
               11:02 delete B -> booked, row stays
               11:02 done end B -> B gone",
        );
    }

    #[test]
    fn what_gave_way_leaves_memory_when_nothing_is_left_of_it_and_its_time_is_over() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 11:30..14:00 n=3 preemptible -> PENDING h1*3
               11:00 clock -> prepare A
               11:00 done prepare A -> A PENDING pending:Prepared
               11:00 lease B 12:00..13:00 n=2 priority=1 preempt -> PENDING h1*2 instead of A
               11:00 status A -> A ERROR deleted:Ended
               11:00 lease C 15:00..16:00 n=3 preemptible -> PENDING h1*3
               11:00 lease D 15:00..16:00 n=2 priority=1 preempt -> PENDING h1*2 instead of C
               13:00 archive 13:00 -> none
               14:00 archive 14:00 -> none
               14:00 done end A -> A ERROR deleted:Ended
               14:00 archive 14:00 -> A
               16:00 archive 15:59 -> none
               16:00 archive 16:00 -> C
               16:00 delete A -> free, row gone
               16:00 delete C -> free, row gone",
        );
    }

    /// Without the row of counters, which every entry changes.
    fn hash(state: &State) -> u128 {
        let key = crate::storage::keys::RowId::Meta.to_bytes();
        state.hash().wrapping_sub(crate::state::row_hash(&key, &crate::storage::codec::encode(state.meta())))
    }

    #[test]
    fn it_comes_back_as_it_was_and_goes_again() {
        let mut twins = Twins::after(150, 1, 100, &mut Random(12));
        let (which, before, at) = (twins.archived()[1].clone(), hash(&twins.state), twins.at);
        let row = twins.reader().stored(&which).unwrap();
        let recall = |row: &[u8]| Command::RecallLease { lease_id: which.id, row: row.to_vec() };
        // Another lease than was written, which can be read all the same, or none at all.
        let other = Lease { name: "other".to_owned(), ..twins.whole.lease(which.id).unwrap().clone() };
        for wrong in [&crate::storage::codec::encode(&other), &row[1..]] {
            let entry = crate::command::Entry { key: None, proposed_at: at, command: recall(wrong) };
            let refused = crate::apply::apply(&mut twins.state.clone(), &entry).outcome;
            assert!(matches!(refused, Err(Rejection::Invalid { .. })), "{refused:?}");
        }

        let seen = twins.state.changes_after(twins.state.meta().journal_from, usize::MAX).unwrap().len();
        twins.one(recall(&row));
        assert_eq!((twins.state.lease(which.id), twins.state.archived(which.id)), (twins.whole.lease(which.id), None));
        assert!(invariants::check(&twins.state).is_empty());
        twins.one(recall(&row));
        assert!(twins.state.archived(which.id).is_none(), "once more changes nothing");
        let long_before = twins.state.archived_len();
        twins.one(Command::ArchiveLeases { ended_before: Timestamp(0) });
        assert_eq!(twins.state.archived_len(), long_before);
        twins.one(Command::ArchiveLeases { ended_before: Timestamp(at.0 - 24 * 3_600_000) });
        assert_eq!((twins.state.archived(which.id), hash(&twins.state)), (Some(which.clone()), before));
        let changes = twins.state.changes_after(twins.state.meta().journal_from, usize::MAX).unwrap();
        assert_eq!(changes.len(), seen, "a watch is told nothing");

        let (index, left) = (twins.state.ledger_index(), twins.state.archived_len());
        twins.both(Command::DeleteLease { lease_id: which.id }).unwrap();
        let told = twins.state.changes_after(index, usize::MAX).unwrap();
        let gone = ChangeSubject::LeaseRemoved { lease_id: which.id, project_id: which.project_id.clone() };
        assert_eq!(told.into_iter().map(|change| change.subject).collect::<Vec<_>>(), [gone]);
        assert_eq!(twins.state.archived_len(), left - 1);
        assert!(invariants::check(&twins.state).is_empty());
        twins.both(Command::DeleteLease { lease_id: which.id }).unwrap_err();
        assert_eq!(twins.store().open().unwrap().state.hash(), twins.state.hash());
    }

    #[test]
    fn what_is_no_change_of_its_owner_is_answered_as_of_a_lease_in_memory() {
        let mut twins = Twins::after(150, 1, 100, &mut Random(13));
        for failed in [false, true] {
            let lease_id = twins.archived().iter().find(|one| one.mark.failed == failed).unwrap().id;
            is_no_change(&mut twins, lease_id);
        }
    }

    fn is_no_change(twins: &mut Twins, lease_id: LeaseId) {
        let reason = crate::model::Reason { code: crate::model::ReasonCode::CloudRefused, text: "no".to_owned() };
        let promote = crate::command::PromoteLease { lease_id, plan: Vec::new(), moved_to: None, planned_at: 0 };
        for command in [
            Command::WithdrawLease { lease_id, reason },
            Command::Rebind { lease_id, moves: Vec::new() },
            Command::ReviewLease { lease_id },
            Command::RecordServerGroups { lease_id, groups: Default::default() },
            Command::PromoteLease(Box::new(promote)),
        ] {
            drop(twins.both(command));
        }
        assert!(twins.state.archived(lease_id).is_some());
    }
}
