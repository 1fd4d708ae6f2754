//! Quotas: what a project may have in time and what of it is used.

use std::collections::BTreeSet;

use leasehold_ledger::command::Command;
use leasehold_ledger::listing::{self, Quota, QuotaListing};
use leasehold_ledger::model::{LimitKind, Limits, ProjectId, RequestKey, Timestamp};
use leasehold_ledger::reply::Reply;

use super::route::{Call, Request};
use super::{Actor, Answer, Consistency, OperationError, Operations, Result, Rule};
use crate::seams::long;
use crate::telemetry::request_id;

impl Operations {
    /// The limits of a project and what it has of them; `None`: the defaults, which everybody may know.
    pub async fn get_quota(&self, actor: &Actor, project: Option<ProjectId>) -> Result<Answer<Quota>> {
        actor.authorise(Rule::QuotasGet, Some(project.as_ref().unwrap_or(&actor.project_id)))?;
        self.read_barrier(Consistency::Linearizable).await?;
        Ok(self.quota_at(project.as_ref(), self.inner.raft.now()?))
    }

    /// The projects that have limits of their own, without what they use.
    pub async fn list_quotas(&self, actor: &Actor, listing: &QuotaListing) -> Result<Answer<Vec<Quota>>> {
        actor.authorise(Rule::QuotasGetAll, None)?;
        self.read_barrier(Consistency::Linearizable).await?;
        long(|| {
            let state = self.inner.raft.state();
            Ok(Answer { value: listing::quotas(&state, listing), ledger_index: state.ledger_index() })
        })
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
            // It is set, whatever this node's clock is by now: what is used is told by the ledger's.
            Ok(Reply::Done) => Ok(self.quota_at(project_id.as_ref(), Timestamp::default())),
            Ok(other) => Err(OperationError::Internal(format!("set_quota answered {other:?}"))),
            Err(rejection) => Err(rejection.into()),
        }
    }

    /// At an instant, but not before the ledger's.
    fn quota_at(&self, project: Option<&ProjectId>, now: Timestamp) -> Answer<Quota> {
        let state = self.inner.raft.state();
        Answer { value: listing::quota(&state, project, now), ledger_index: state.ledger_index() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_ledger::command::{LeaseChange, LeaseWish, Recurrence, SeriesWish};
    use leasehold_ledger::listing::QuotaListing;
    use leasehold_ledger::model::{Limit, SeriesMode};
    use leasehold_ledger::reply::Rejection;

    use super::*;
    use crate::operations::Bounds;
    use crate::operations::tests::{Lone, actor, wish};

    fn with_role(role: &str) -> Actor {
        let mut actor = actor("member");
        actor.roles.insert(role.to_owned());
        actor
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_may_ask_beyond_the_quota_is_what_the_configuration_says() {
        for role in [None, Some("planner")] {
            let bounds = Bounds { quota_exempt_role: role.map(str::to_owned), ..Bounds::default() };
            let lone = Lone::with(bounds).await;
            let operations = lone.operations.clone();
            let none = [(LimitKind::Slots, Limit::Max(0))].into();
            operations.set_quota(&actor("admin"), None, None, none, BTreeSet::new()).await.unwrap();
            let beyond = LeaseWish { ignore_quota: true, ..wish(1) };
            let recurrence = Recurrence {
                rule: "FREQ=YEARLY;COUNT=1".to_owned(),
                time_zone: "UTC".to_owned(),
                mode: SeriesMode::AllOrNothing,
            };
            let series = SeriesWish { lease: beyond.clone(), recurrence };
            let change = LeaseChange { name: Some("b".to_owned()), ignore_quota: true, ..LeaseChange::default() };
            let own = operations.create_lease(&actor("admin"), None, beyond.clone()).await.unwrap().value;
            let is_beyond = |error: &OperationError| match error {
                OperationError::NoRoom { offer, .. } => offer.quota.is_some(),
                other => matches!(other, OperationError::Rejected(Rejection::QuotaExceeded(_))),
            };
            for asker in [actor("admin"), with_role("planner")] {
                let within = operations.create_lease(&asker, None, wish(1)).await.unwrap_err();
                assert!(is_beyond(&within), "nobody is exempt unasked: {within}");
            }
            for (asker, may) in [(actor("admin"), true), (with_role("planner"), role.is_some()), (with_role("other"), false)] {
                let forbidden = |outcome: Result<()>| match outcome {
                    Err(OperationError::Forbidden { rule }) => {
                        assert_eq!(rule, Rule::QuotasIgnore.name());
                        true
                    }
                    Err(other) => {
                        assert!(!is_beyond(&other), "{other}");
                        false
                    }
                    Ok(()) => false,
                };
                let outcomes = [
                    operations.create_lease(&asker, None, beyond.clone()).await.map(drop),
                    operations.what_if(&asker, beyond.clone()).await.map(drop),
                    operations
                        .what_if_hosts(&asker, LeaseWish { reservations: Vec::new(), ..beyond.clone() }, Vec::new())
                        .await
                        .map(drop),
                    operations.create_series(&asker, None, series.clone()).await.map(drop),
                    operations.what_if_series(&asker, series.clone()).await.map(drop),
                    operations.update_lease(&asker, None, own.id, change.clone()).await.map(drop),
                ];
                assert_eq!(outcomes.map(forbidden), [!may; 6], "{role:?} {:?}", asker.roles);
            }
            lone.end().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_admins_are_told_which_projects_have_limits_of_their_own() {
        let lone = Lone::with(Bounds::default()).await;
        let operations = lone.operations.clone();
        let (project, limits) = (ProjectId("p7".into()), Limits::from([(LimitKind::Slots, Limit::Max(3))]));
        operations.set_quota(&actor("admin"), None, Some(project.clone()), limits.clone(), BTreeSet::new()).await.unwrap();
        let listed = operations.list_quotas(&actor("admin"), &QuotaListing::default()).await.unwrap().value;
        assert_eq!(
            listed.iter().map(|one| (one.project_id.clone(), one.set.clone())).collect::<Vec<_>>(),
            [(Some(project), limits)]
        );
        let denied = operations.list_quotas(&actor("member"), &QuotaListing::default()).await.unwrap_err();
        assert!(matches!(denied, OperationError::Forbidden { .. }));
        lone.end().await;
    }
}
