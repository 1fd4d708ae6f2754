//! Proposing, and waiting until what was proposed is settled in the ledger.

use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{Lease, LeaseId, RequestKey};
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::state::{KeyLookup, State};
use tracing::Span;

use super::{Answer, OperationError, Operations, Result, Unavailable};
use crate::raft::{ChangeError, Committed, ProposeError, ReadError};

impl From<ProposeError> for OperationError {
    fn from(error: ProposeError) -> Self {
        match error {
            // No hint is handed on: the route follows the leadership itself.
            ProposeError::NotLeader { .. } => OperationError::Unavailable(Unavailable::NoLeader),
            ProposeError::NoQuorum => OperationError::Unavailable(Unavailable::NoQuorum),
            ProposeError::ClockDisagrees => OperationError::Unavailable(Unavailable::ClockDisagrees),
            ProposeError::Stopping => OperationError::Unavailable(Unavailable::Stopping),
            ProposeError::Unknown => OperationError::Unknown,
        }
    }
}

impl From<ChangeError> for OperationError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Conflict(problem) => OperationError::Conflict(problem),
            ChangeError::Unavailable(error) => error.into(),
            ChangeError::Unknown => OperationError::Unknown,
        }
    }
}

impl From<ReadError> for OperationError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoLeader => OperationError::Unavailable(Unavailable::NoLeader),
            ReadError::NoQuorum => OperationError::Unavailable(Unavailable::NoQuorum),
            ReadError::DiskBehind => OperationError::Unavailable(Unavailable::DiskBehind),
            ReadError::Stopping => OperationError::Unavailable(Unavailable::Stopping),
        }
    }
}

impl Operations {
    /// Proposes without planning.
    pub(super) async fn propose(&self, key: Option<RequestKey>, command: Command) -> Result<Committed> {
        let committed = self.inner.raft.propose(key, command).await?;
        Span::current().record("term", committed.term).record("log_index", committed.log_index);
        Ok(committed)
    }

    /// Whether the ledger knows the key already. Then nothing needs planning: `apply` compares the content and gives the
    /// stored answer, whatever the plan. Only a hint; `apply` decides.
    pub(super) fn key_is_known(state: &State, key: Option<&RequestKey>) -> bool {
        key.is_some_and(|key| state.key(key) != KeyLookup::Unknown)
    }

    /// Whether an answer of before stands for whatever is asked under the key: one that waits for the cloud may be free again by the
    /// time the command is applied.
    pub(super) fn key_is_final(state: &State, key: Option<&RequestKey>) -> bool {
        key.is_some_and(|key| !matches!(state.key(key), KeyLookup::Unknown | KeyLookup::Pending { .. }))
    }

    /// Whether what planning refused is to be proposed without hosts all the same, so that `apply` refuses it and stores that with the
    /// key. An earlier attempt may still be on its way, in this leader's log even: one that comes first is what this one is answered
    /// with, and one that comes later meets the refusal. A quota is never stored, no more than a lack of room: it may be over soon.
    pub(super) fn goes_into_the_log(refused: &OperationError, key: Option<&RequestKey>) -> bool {
        let passes = |rejection: &Rejection| matches!(rejection, Rejection::QuotaExceeded(_) | Rejection::PlanStale { .. });
        key.is_some() && matches!(refused, OperationError::Rejected(rejection) if !passes(rejection))
    }

    /// Waits until `settled` gives an answer from the state, or `limit` has passed (`None`).
    pub(super) async fn wait_for<T>(&self, limit: Duration, mut settled: impl FnMut(&State) -> Option<T>) -> Result<Option<T>> {
        let clock = self.inner.seams.clock.clone();
        let give_up = clock.mono().after(limit);
        let mut applied = self.inner.raft.applied();
        loop {
            applied.borrow_and_update();
            if let Some(answer) = settled(&self.inner.raft.state()) {
                return Ok(Some(answer));
            }
            let left = give_up.since(clock.mono());
            if left.is_zero() {
                return Ok(None);
            }
            let pause = clock.sleep(left);
            tokio::select! {
                biased;
                changed = applied.changed() => {
                    if changed.is_err() { return Err(OperationError::Unavailable(Unavailable::Stopping)); }
                }
                () = pause => {}
            }
        }
    }

    /// The lease as the entry at `index` left it, as long as the journal knows; what came after is another answer's. A change
    /// that changed nothing, and a key from long ago, are answered with the lease as it is now.
    pub(super) async fn lease_left_at(&self, lease_id: LeaseId, index: u64) -> Result<Answer<Lease>> {
        let left = self.inner.raft.state().lease_as_left(lease_id, index, |_| true)?;
        if let Some(lease) = left.filter(|lease| lease.ledger_index == index) {
            return Ok(Answer { value: lease, ledger_index: index });
        }
        match self.lease_now(lease_id).await?.value {
            Some(lease) => Ok(Answer { ledger_index: index.max(lease.ledger_index), value: lease }),
            // Deleted by someone else between commit and answer: for this caller it is gone, too.
            None => Err(Rejection::LeaseNotFound(lease_id).into()),
        }
    }
}
