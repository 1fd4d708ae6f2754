//! Server groups, made with the caller's token by the node that took his request (docs/decisions/0013).
//!
//! Nova finds a group for nobody but the project of the token that made it. The token is here, in this request, and nowhere
//! else: it is not forwarded, logged or stored. What cannot be made in time is the leader's, and what nobody takes goes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::command::{Command, FoundGroup, LeaseChange, LeaseWish};
use leasehold_ledger::model::{Lease, LeaseId, Reservation, ReservationId, ResourceWish};
use leasehold_ledger::reply::Reply;
use uuid::Uuid;

use super::route::{Call, Request};
use super::{Actor, Answer, OperationError, Operations, Result};
use crate::config::Secret;
use crate::leader::names::Names;
use crate::openstack::nova::{GroupPolicy, OwnGroups};
use crate::openstack::{Caller, Cloud};
use crate::telemetry::request_id;

/// How long Nova may take. The caller waits for it, and the leader a second longer.
const LIMIT: Duration = Duration::from_secs(5);

/// A caller in whose name Nova can be called here.
pub(super) struct GroupMaker<'a> {
    operations: &'a Operations,
    cloud: &'a Cloud,
    names: Names,
    actor: &'a Actor,
    token: &'a Secret,
}

impl Operations {
    /// `None` where there is no token that Nova knows, or no cloud: the leader makes the groups then.
    pub(super) fn group_maker<'a>(&'a self, actor: &'a Actor, token: Option<&'a Secret>) -> Option<GroupMaker<'a>> {
        let (cloud, token) = (self.inner.cloud.as_ref()?, token?);
        let names = Names::new(self.inner.raft.state().cluster_id()?);
        Some(GroupMaker { operations: self, cloud, names, actor, token })
    }

    /// Logs what became of groups; gives those that nobody takes.
    pub(super) async fn record_groups_here(
        &self,
        lease_id: LeaseId,
        groups: BTreeMap<ReservationId, FoundGroup>,
    ) -> Result<Vec<ReservationId>> {
        let committed = self.propose(None, Command::RecordServerGroups { lease_id, groups }).await?;
        match committed.outcome? {
            Reply::ServerGroupsRecorded { refused } => Ok(refused),
            other => Err(OperationError::Internal(format!("record_server_groups answered {other:?}"))),
        }
    }

    /// A lease that waits for its groups, for the node that is to make them; `None` when it waits for none, or not any more.
    pub(super) fn booked(&self, lease_id: LeaseId, ledger_index: u64) -> Option<Answer<Lease>> {
        let state = self.inner.raft.state();
        let lease =
            state.lease(lease_id).filter(|lease| !lease.deleted && lease.reservations.iter().any(|one| one.group_awaited))?;
        Some(Answer { value: lease.clone(), ledger_index })
    }
}

/// Whether a new lease wants a group.
pub(super) fn wish_wants_group(wish: &LeaseWish) -> bool {
    wish.reservations.iter().any(|one| wants_group(&one.resource))
}

/// Whether a changed lease may want a group.
pub(super) fn change_wants_group(change: &LeaseChange) -> bool {
    change.reservations.iter().any(|one| wants_group(&one.resource))
}

fn wants_group(resource: &ResourceWish) -> bool {
    resource.instance().affinity.is_some()
}

impl GroupMaker<'_> {
    /// Makes the groups that a booked lease waits for, and has what came of it logged. Nothing here fails the request: what
    /// could not be made, or told, is made by the leader.
    pub(super) async fn make(&self, lease: &Lease) {
        let request_id = request_id::current();
        let own = self.cloud.groups_of(Caller { token: self.token, request_id: request_id.as_deref() });
        let mut runs = Vec::new();
        for reservation in lease.reservations.iter().filter(|one| one.group_awaited) {
            runs.push(self.make_one(own, lease, reservation).boxed());
        }
        let groups: BTreeMap<ReservationId, FoundGroup> = join_all(runs).await.into_iter().flatten().collect();
        let made: BTreeMap<ReservationId, Uuid> =
            groups.iter().filter_map(|(id, found)| Some((*id, found.server_group_id?))).collect();
        let request = Request::RecordServerGroups { lease_id: lease.id, groups };
        let call = Call { request_id: request_id.clone(), actor: self.actor.clone(), key: None, request };
        let told = self.operations.on_leader(call).await.and_then(|given| given.groups());
        match told {
            Ok(refused) => self.remove(own, lease, refused.iter().filter_map(|id| made.get(id)).copied()).await,
            // The entry may be on its way still; if it is not, the leader takes the groups or removes them.
            Err(error) => tracing::warn!(lease = %lease.id, %error, "the ledger was not told what came of the server groups"),
        }
    }

    async fn make_one(
        &self,
        own: OwnGroups<'_>,
        lease: &Lease,
        reservation: &Reservation,
    ) -> Option<(ReservationId, FoundGroup)> {
        let affinity = reservation.wish.instance().affinity?;
        let name = self.names.server_group(lease.id, reservation.id);
        let clock = &self.operations.inner.seams.clock;
        let made = clock.timeout(LIMIT, own.create(&name, GroupPolicy::of(affinity))).await;
        let problem = match made {
            Ok(Ok(group)) => {
                tracing::info!(lease = %lease.id, reservation = %reservation.id, group = %group.id, "server group made for the tenant");
                let found = FoundGroup { affinity, server_group_id: Some(group.id), problem: None };
                return Some((reservation.id, found));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nova gave no answer within {} s", LIMIT.as_secs()),
        };
        tracing::warn!(lease = %lease.id, reservation = %reservation.id, problem,
            "no server group could be made with the tenant's token; the leader makes it");
        Some((reservation.id, FoundGroup { affinity, server_group_id: None, problem: Some(problem) }))
    }

    /// What the lease does not take: another node was first, or it ended meanwhile.
    async fn remove(&self, own: OwnGroups<'_>, lease: &Lease, groups: impl Iterator<Item = Uuid>) {
        let clock = &self.operations.inner.seams.clock;
        for id in groups {
            let problem = match clock.timeout(LIMIT, own.delete(id)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::warn!(lease = %lease.id, group = %id, problem, "a server group that nobody takes is left to the leader");
        }
    }
}
