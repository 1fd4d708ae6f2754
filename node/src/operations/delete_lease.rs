//! Deleting a lease, in any status (architecture D19).

use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, RequestKey};
use leasehold_ledger::reply::{Rejection, Reply};

use super::route::{Call, Request};
use super::{Actor, Answer, OperationError, Operations, Result, Rule};
use crate::telemetry::request_id;

/// How long the answer waits for the capacity to be free.
const FREED: Duration = Duration::from_secs(60);

impl Operations {
    /// Deletes a lease; answers when its capacity is free, or after 60 s (architecture D19).
    pub async fn delete_lease(&self, actor: &Actor, key: Option<RequestKey>, lease_id: LeaseId) -> Result<Answer<()>> {
        let call =
            Call { request_id: request_id::current(), actor: actor.clone(), key, request: Request::DeleteLease { lease_id } };
        self.on_leader(call).await?.done()
    }

    pub(super) async fn delete_here(&self, actor: &Actor, key: Option<RequestKey>, lease_id: LeaseId) -> Result<Answer<()>> {
        // A repeated delete finds the lease gone; its stored answer must come before the question who may delete it.
        if !Self::key_is_final(&self.inner.raft.state(), key.as_ref()) {
            match self.authorise_lease(actor, Rule::LeasesDelete, lease_id).await {
                Err(OperationError::Rejected(Rejection::LeaseNotFound(_)))
                    if Self::key_is_final(&self.inner.raft.state(), key.as_ref()) => {}
                authorised => drop(authorised?),
            }
        }
        let committed = self.propose(key, Command::DeleteLease { lease_id }).await?;
        if committed.outcome.is_ok() {
            let ledger_index = committed.ledger_index;
            tracing::info!(%lease_id, project_id = %actor.project_id, ledger_index, "lease deleted");
        }
        match committed.outcome {
            Ok(Reply::LeaseDeleted { freed: true, .. }) => {}
            Ok(Reply::LeaseDeleted { freed: false, .. }) => {
                // After the limit the answer is the same: the delete is accepted, the cloud is still being emptied.
                self.wait_for(FREED, |state| state.lease(lease_id).is_none().then_some(())).await?;
            }
            Err(rejection) => return Err(rejection.into()),
            Ok(other) => return Err(OperationError::Internal(format!("delete_lease answered {other:?}"))),
        }
        Ok(Answer { value: (), ledger_index: committed.ledger_index })
    }
}
