//! Leases: create, get, list, update, delete, and what is known of an idempotency key.

use leasehold_ledger::listing::{LeaseFilter, LeaseList, LeasePage, Utilisation, UtilisationDraft, UtilisationWish};
use leasehold_ledger::model::LeaseId;
use serde::{Deserialize, Serialize};

/// What is known of a key (architecture D18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// It applied; the lease it made or changed, if any, and the index.
    Applied {
        /// `None` when the answer was a rejection or names no lease.
        lease_id: Option<LeaseId>,
        /// The stored rejection's text, if it was refused.
        rejection: Option<String>,
        /// When.
        ledger_index: u64,
    },
    /// It waits for the cloud.
    Pending {
        /// The lease being prepared.
        lease_id: LeaseId,
    },
    /// It will never apply; the statement is in the log.
    Never,
    /// Its validity has passed; what it did is not kept.
    Expired,
}

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{Lease, RequestKey};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::{KeyLookup, State};

use super::route::{Call, Request};
use super::{Actor, Answer, Consistency, OperationError, Operations, Result, Rule};
use crate::telemetry::request_id;

impl Operations {
    /// One lease. Errors: foreign is `Forbidden`; unknown, hidden or deleted is `Rejected(LeaseNotFound)`.
    pub async fn get_lease(&self, actor: &Actor, lease_id: LeaseId, consistency: Consistency) -> Result<Answer<Lease>> {
        self.read_barrier(consistency).await?;
        let Answer { value, ledger_index } = self.lease_now(lease_id).await?;
        let value = value.ok_or(Rejection::LeaseNotFound(lease_id))?;
        actor.authorise(Rule::LeasesGet, Some(&value.project_id))?;
        Ok(Answer { value, ledger_index })
    }

    /// Visible leases of a filter: of all projects for an admin, else of the actor's own.
    pub async fn list_leases(
        &self,
        actor: &Actor,
        mut filter: LeaseFilter,
        consistency: Consistency,
    ) -> Result<Answer<LeasePage>> {
        confine(actor, &mut filter)?;
        self.read_barrier(consistency).await?;
        self.with_ended(|state, reads| LeaseList::begin(state, &filter, reads)).await
    }

    /// What such leases reserve over time.
    pub async fn utilisation(&self, actor: &Actor, mut wish: UtilisationWish) -> Result<Answer<Utilisation>> {
        confine(actor, &mut wish.filter)?;
        self.read_barrier(Consistency::Linearizable).await?;
        self.with_ended(|state, reads| UtilisationDraft::begin(state, &wish, reads.most)).await
    }

    /// What is known of a key; when nothing is, states in the log that it never will apply.
    pub async fn look_up_key(&self, actor: &Actor, key: RequestKey) -> Result<Answer<KeyState>> {
        actor.authorise(Rule::LeasesGet, Some(&key.project_id))?;
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key: Some(key), request: Request::LookUpKey };
        self.on_leader(call).await?.key()
    }

    /// What is known of a key; `None` when nothing is. Linearizable, on any node, and states nothing: an attempt that is on its way
    /// may still apply.
    pub async fn peek_key(&self, actor: &Actor, key: &RequestKey) -> Result<Answer<Option<KeyState>>> {
        actor.authorise(Rule::LeasesGet, Some(&key.project_id))?;
        self.read_barrier(Consistency::Linearizable).await?;
        let state = self.inner.raft.state();
        Ok(Answer { value: known_key(&state, key), ledger_index: state.ledger_index() })
    }

    pub(super) async fn look_up_here(&self, key: Option<RequestKey>) -> Result<Answer<KeyState>> {
        let Some(key) = key else { return Err(OperationError::Internal("a lookup without a key".to_owned())) };
        let ledger_index = self.confirmed_index().await?;
        if let Some(value) = known_key(&self.inner.raft.state(), &key) {
            return Ok(Answer { value, ledger_index });
        }
        let committed = self.propose(Some(key.clone()), Command::ForgetKey).await?;
        // Nothing could be stated of it: the project has too many keys, or this one may be valid for too long. Anything
        // else is the answer of a command that came first, and the state now knows the key.
        if let Err(rejection @ (Rejection::TooManyKeys(_) | Rejection::Invalid { .. })) = committed.outcome {
            return Err(rejection.into());
        }
        let unknown = || OperationError::Internal("the ledger does not know a key it was told of".to_owned());
        Ok(Answer { value: known_key(&self.inner.raft.state(), &key).ok_or_else(unknown)?, ledger_index: committed.ledger_index })
    }

    /// Commits bytes without meaning; for write probes and load generators. Admin only. Answers the index.
    pub async fn probe(&self, actor: &Actor, payload: Vec<u8>) -> Result<Answer<()>> {
        actor.authorise(Rule::ClusterChange, None)?;
        let call =
            Call { request_id: request_id::current(), actor: actor.clone(), key: None, request: Request::Probe { payload } };
        self.on_leader(call).await?.done()
    }

    pub(super) async fn probe_here(&self, payload: Vec<u8>) -> Result<Answer<()>> {
        let committed = self.propose(None, Command::Probe { payload }).await?;
        committed.outcome?;
        Ok(Answer { value: (), ledger_index: committed.ledger_index })
    }

    /// A linearizable read that gives only the index. Admin only.
    pub async fn read_index(&self, actor: &Actor) -> Result<Answer<()>> {
        actor.authorise(Rule::ClusterGet, None)?;
        Ok(Answer { value: (), ledger_index: self.confirmed_index().await? })
    }
}

/// An admin sees all projects, others their own.
fn confine(actor: &Actor, filter: &mut LeaseFilter) -> Result<()> {
    if filter.project_id.is_none() && !actor.is_admin() {
        filter.project_id = Some(actor.project_id.clone());
    }
    Ok(actor.authorise(Rule::LeasesGet, filter.project_id.as_ref())?)
}

/// What the state knows of a key.
fn known_key(state: &State, key: &RequestKey) -> Option<KeyState> {
    match state.key(key) {
        KeyLookup::Answered { outcome: Ok(reply), ledger_index } => {
            Some(KeyState::Applied { lease_id: lease_of(&reply), rejection: None, ledger_index })
        }
        KeyLookup::Answered { outcome: Err(rejection), ledger_index } => {
            Some(KeyState::Applied { lease_id: None, rejection: Some(rejection.to_string()), ledger_index })
        }
        KeyLookup::Pending { lease_id } => Some(KeyState::Pending { lease_id }),
        KeyLookup::Forgotten => Some(KeyState::Never),
        KeyLookup::Expired => Some(KeyState::Expired),
        KeyLookup::Unknown => None,
    }
}

fn lease_of(reply: &Reply) -> Option<LeaseId> {
    match reply {
        Reply::LeaseCreated { lease_id, .. }
        | Reply::LeaseUpdated { lease_id, .. }
        | Reply::OfferClaimed { lease_id }
        | Reply::LeasePromoted { lease_id, .. }
        | Reply::LeaseDeleted { lease_id, .. } => Some(*lease_id),
        Reply::SeriesCreated { leases, .. } => leases.first().map(|first| first.lease_id),
        Reply::Done
        | Reply::SeriesDeleted { .. }
        | Reply::HostRegistered { .. }
        | Reply::ClockAdvanced { .. }
        | Reply::OutcomeRecorded { .. }
        | Reply::ServerGroupsRecorded { .. }
        | Reply::KeyForgotten => None,
    }
}
