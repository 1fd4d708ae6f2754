//! Quotas: what a project may have in time and what of it is used.

use std::collections::BTreeSet;

use leasehold_ledger::command::Command;
use leasehold_ledger::listing::{self, Quota};
use leasehold_ledger::model::{LimitKind, Limits, ProjectId, RequestKey};
use leasehold_ledger::reply::Reply;

use super::route::{Call, Request};
use super::{Actor, Answer, Consistency, OperationError, Operations, Result, Rule};
use crate::telemetry::request_id;

impl Operations {
    /// The limits of a project and what it has of them; `None`: the defaults, which everybody may know.
    pub async fn get_quota(&self, actor: &Actor, project: Option<ProjectId>) -> Result<Answer<Quota>> {
        actor.authorise(Rule::QuotasGet, Some(project.as_ref().unwrap_or(&actor.project_id)))?;
        self.read_barrier(Consistency::Linearizable).await?;
        self.quota_now(project.as_ref())
    }

    /// Sets limits and takes them back, of a project or under `None` the defaults. What is booked stays.
    pub async fn set_quota(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        project_id: Option<ProjectId>,
        set: Limits,
        unset: BTreeSet<LimitKind>,
    ) -> Result<Answer<Quota>> {
        actor.authorise(Rule::QuotasPut, None)?;
        let request = Request::SetQuota { project_id: project_id.clone(), set, unset };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.quota()
    }

    pub(super) async fn set_quota_here(
        &self,
        key: Option<RequestKey>,
        project_id: Option<ProjectId>,
        set: Limits,
        unset: BTreeSet<LimitKind>,
    ) -> Result<Answer<Quota>> {
        let command = Command::SetQuota { project_id: project_id.clone(), set, unset };
        match self.propose(key, command).await?.outcome {
            Ok(Reply::Done) => self.quota_now(project_id.as_ref()),
            Ok(other) => Err(OperationError::Internal(format!("set_quota answered {other:?}"))),
            Err(rejection) => Err(rejection.into()),
        }
    }

    fn quota_now(&self, project: Option<&ProjectId>) -> Result<Answer<Quota>> {
        let now = self.inner.raft.now()?;
        let state = self.inner.raft.state();
        Ok(Answer { value: listing::quota(&state, project, now), ledger_index: state.ledger_index() })
    }
}
