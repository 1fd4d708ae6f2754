//! Answers that reach leases which left memory (docs/decisions/0022): what the state has is taken under its lock, the rows are
//! read from the disk afterwards.

use leasehold_ledger::command::Command;
use leasehold_ledger::listing::{Draft, Read, Reads};
use leasehold_ledger::model::{Lease, LeaseId};
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::state::{Archived, State};
use leasehold_ledger::storage::archive::ArchiveError;

use super::{Answer, OperationError, Operations, Result};
use crate::raft::Rows;
use crate::seams::long;

/// Rows that a page names at first; it is begun again with more where those are too few.
const READ_FIRST: usize = 1_024;
/// How often it is begun again as rows are gone: they left memory and were deleted while they were asked for.
const TRIES: usize = 3;

/// One lease, wherever it is.
enum One {
    There(Box<Lease>),
    Left(Archived),
    Gone,
}

impl One {
    /// Only one that users see.
    fn begin(state: &State, id: LeaseId) -> One {
        match (state.archived(id), state.lease(id).filter(|lease| lease.visible())) {
            (Some(archived), _) => One::Left(archived),
            (None, Some(lease)) => One::There(Box::new(lease.clone())),
            (None, None) => One::Gone,
        }
    }
}

impl Draft for One {
    type Value = Option<Lease>;

    fn reads(&self) -> bool {
        matches!(self, One::Left(_))
    }

    fn finish(self, read: &mut Read<'_>) -> std::result::Result<Option<Option<Lease>>, ArchiveError> {
        Ok(Some(match self {
            One::There(lease) => Some(*lease),
            One::Left(archived) => Some(read(&archived)?),
            One::Gone => None,
        }))
    }
}

impl Operations {
    /// Answers from the state, and from the rows of leases that left memory where the answer needs them. `begin` is told how many
    /// rows it may have.
    pub(super) async fn with_ended<D: Draft>(
        &self,
        begin: impl Fn(&State, Reads) -> std::result::Result<D, Rejection>,
    ) -> Result<Answer<D::Value>> {
        let raft = &self.inner.raft;
        let most = self.inner.bounds.ended_leases_read_max;
        let (mut named, mut tries) = (READ_FIRST, 1);
        loop {
            // What left memory just before the state was looked at is in a view of after, and what is deleted once it was in one of
            // before. That is rare, so the second view is taken where the first one lacked something.
            let before = if tries > 1 { Some(raft.rows()?) } else { None };
            let (draft, ledger_index) = long(|| {
                let state = raft.state();
                begin(&state, Reads { named, most }).map(|draft| (draft, state.ledger_index()))
            })?;
            let is_of_now = |rows: &Rows| rows.ledger_index >= ledger_index;
            let after = if !draft.reads() || before.as_ref().is_some_and(is_of_now) {
                None
            } else {
                Some(raft.rows_at(ledger_index).await?)
            };
            let mut views: Vec<Rows> = before.into_iter().chain(after).collect();
            let mut read = |which: &Archived| {
                let mut found = Err(ArchiveError::Missing(which.id));
                for rows in &mut views {
                    if found.as_ref().is_err_and(may_be_of_then) {
                        found = rows.reader.read(which);
                    }
                }
                found
            };
            match long(|| draft.finish(&mut read)) {
                Ok(Some(value)) => return Ok(Answer { value, ledger_index }),
                Ok(None) => named = named.saturating_mul(8),
                Err(error) if tries < TRIES && may_be_of_then(&error) => tries += 1,
                Err(error) => return Err(unread(&error)),
            }
        }
    }

    /// A lease that users see, and the index at which it is so.
    pub(super) async fn lease_now(&self, id: LeaseId) -> Result<Answer<Option<Lease>>> {
        // Most are in memory: nothing is asked of the disk.
        {
            let state = self.inner.raft.state();
            if state.archived(id).is_none() {
                let value = state.lease(id).filter(|lease| lease.visible()).cloned();
                return Ok(Answer { value, ledger_index: state.ledger_index() });
            }
        }
        self.with_ended(|state, _| Ok(One::begin(state, id))).await
    }

    /// Has a lease that left memory come back, so that it can be changed; nothing where it is there. Only on the leader.
    pub(super) async fn recall(&self, lease_id: LeaseId) -> Result<()> {
        let raft = &self.inner.raft;
        let mut tries = 1;
        loop {
            let (archived, ledger_index) = {
                let state = raft.state();
                (state.archived(lease_id), state.ledger_index())
            };
            let Some(archived) = archived else { return Ok(()) };
            let mut rows = raft.rows_at(ledger_index).await?;
            match long(|| rows.reader.stored(&archived)) {
                Ok(row) => match self.propose(None, Command::RecallLease { lease_id, row }).await?.outcome {
                    Ok(_) => return Ok(()),
                    // It came back, was changed and left again meanwhile.
                    Err(Rejection::Invalid { .. }) if tries < TRIES => tries += 1,
                    Err(rejection) => return Err(rejection.into()),
                },
                Err(error) if tries < TRIES && may_be_of_then(&error) => tries += 1,
                Err(error) => return Err(unread(&error)),
            }
        }
    }
}

/// Whether it may be so because the view is of another moment than the look at the state: a row went, or came back, was changed and
/// left again; or a snapshot that was installed meanwhile has removed the disk that the view is of.
fn may_be_of_then(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Missing(_) | ArchiveError::Damaged(_) | ArchiveError::Disk(_))
}

/// Damage, which the next start of the node finds and mends; never taken for a lease that is not there.
fn unread(error: &ArchiveError) -> OperationError {
    tracing::error!(%error, "a lease that left memory cannot be read; a restart makes the state again from the log or a peer");
    OperationError::Internal(format!("{error}; another node may have it"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::time::Duration;

    use leasehold_ledger::command::{EndWish, LeaseChange, LeaseWish, StartWish};
    use leasehold_ledger::listing::LeaseFilter;
    use leasehold_ledger::model::{LeaseStatus, ProjectId, Timestamp};

    use super::*;
    use crate::operations::tests::{Lone, actor, wish};
    use crate::operations::{Actor, Consistency};

    /// Until it does.
    async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..200 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within 10 s: {what}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_that_left_memory_answers_as_before_and_comes_back_where_it_is_changed() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let raft = operations.inner.raft.clone();
        let end = raft.now().unwrap().floor_to_second().plus(3);
        let brief = LeaseWish { start: StartWish::Now, end, reservations: Vec::new(), ..wish(1) };
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(operations.create_lease(&member, None, brief.clone()).await.unwrap().value.id);
        }
        ids.sort_unstable();
        let list =
            async || operations.list_leases(&member, LeaseFilter::default(), Consistency::Stale).await.unwrap().value.leases;
        let advance = async || drop(raft.propose(None, Command::AdvanceClock).await.unwrap());
        until("their end", async || {
            advance().await;
            list().await.iter().all(|lease| lease.status == LeaseStatus::Terminated)
        })
        .await;
        let before = list().await;
        let archive = async || {
            let command = Command::ArchiveLeases { ended_before: Timestamp(u64::MAX) };
            raft.propose(None, command).await.unwrap().outcome.unwrap();
        };
        archive().await;
        assert_eq!((raft.state().leases_len(), raft.state().archived_len()), (0, 3));
        assert_eq!(list().await, before);
        let get = async |id| operations.get_lease(&member, id, Consistency::Linearizable).await;
        assert_eq!(get(ids[0]).await.unwrap().value, before[0]);
        let stranger = Actor { project_id: ProjectId("q".into()), ..actor("member") };
        let foreign = operations.get_lease(&stranger, ids[0], Consistency::Linearizable).await.unwrap_err();
        assert!(matches!(foreign, OperationError::Forbidden { .. }));

        let longer = LeaseChange { end: Some(EndWish::At(end.plus(1_000))), ..LeaseChange::default() };
        let refused = operations.update_lease(&member, None, ids[0], longer).await.unwrap_err();
        assert_eq!(refused, OperationError::Rejected(Rejection::AlreadyEnded));
        assert!(raft.state().lease(ids[0]).is_some(), "it came back");
        archive().await;
        let renamed = LeaseChange { name: Some("b".to_owned()), ..LeaseChange::default() };
        assert_eq!(operations.update_lease(&member, None, ids[0], renamed).await.unwrap().value.name, "b");
        archive().await;
        assert_eq!(get(ids[0]).await.unwrap().value.name, "b");
        let claimed = operations.claim_offer(&member, None, ids[1]).await.unwrap_err();
        assert_eq!(claimed, OperationError::Rejected(Rejection::NotAnOffer(ids[1])));
        archive().await;

        let foreign = operations.delete_lease(&stranger, None, ids[2]).await.unwrap_err();
        assert!(matches!(foreign, OperationError::Forbidden { .. }));
        operations.delete_lease(&member, None, ids[2]).await.unwrap();
        let gone = OperationError::Rejected(Rejection::LeaseNotFound(ids[2]));
        assert_eq!(get(ids[2]).await.unwrap_err(), gone);
        assert_eq!(operations.delete_lease(&member, None, ids[2]).await.unwrap_err(), gone);
        assert_eq!(list().await.len(), 2);
        lone.end().await;
    }
}
