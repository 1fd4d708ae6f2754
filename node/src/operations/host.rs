//! Hosts: onboarding, capabilities, allocations.

use std::collections::BTreeMap;

use leasehold_ledger::model::{HostId, PoolKind};
use serde::{Deserialize, Serialize};

/// What `POST /os-hosts` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRequest {
    /// Nova's compute host or hypervisor hostname.
    pub name: String,
    /// Dedicated unless asked otherwise (architecture D8).
    pub pool: PoolKind,
    /// Extra capabilities.
    pub properties: BTreeMap<String, String>,
}

use leasehold_ledger::command::Command;
use leasehold_ledger::listing::{self, AllocationFilter, HostAllocation, HostListing};
use leasehold_ledger::model::{Host, RequestKey};
use leasehold_ledger::reply::{Rejection, Reply};
use uuid::Uuid;

use super::route::{Call, Request};
use super::{Actor, Answer, Consistency, OperationError, Operations, Result, Rule, Unavailable};
use crate::lead;
use crate::leader::onboard;
use crate::seams::long;
use crate::telemetry::request_id;

impl Operations {
    /// Onboards a compute host: reads Nova and Placement, makes its two child providers, logs it.
    pub async fn register_host(&self, actor: &Actor, key: Option<RequestKey>, request: HostRequest) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsPost, None)?;
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request: Request::RegisterHost(request) };
        self.on_leader(call).await?.host()
    }

    pub(super) async fn register_here(&self, key: Option<RequestKey>, request: HostRequest) -> Result<Answer<Host>> {
        self.confirmed_index().await?;
        let Some(cloud) = &self.inner.cloud else {
            return Err(OperationError::CloudUnavailable("no cloud is configured ([cloud] in the configuration)".to_owned()));
        };
        let cluster_id = self.inner.raft.state().cluster_id();
        let Some(cluster_id) = cluster_id else { return Err(OperationError::Internal("the cluster has no id".to_owned())) };
        let known_already = {
            let state = self.inner.raft.state();
            state.host_by_name(&request.name).is_some() && !Self::key_is_known(&state, key.as_ref())
        };
        if known_already {
            return Err(Rejection::HostExists(request.name).into());
        }
        let permit =
            lead::permit(&self.inner.raft, self.inner.node_id).ok_or(OperationError::Unavailable(Unavailable::NoLeader))?;
        let is_known = |root| self.has_host_of(root);
        let visit = onboard::Visit { permit: &permit, number: self.inner.seams.rng.uuid_v4(), is_known: &is_known };
        let registered = onboard::onboard(cloud, cluster_id, &visit, &request).await?;
        let root = registered.description.root_provider;
        let committed = self.propose(key, Command::RegisterHost(Box::new(registered))).await?;
        match committed.outcome {
            Ok(Reply::HostRegistered { host_id }) => self.host_now(host_id),
            Ok(other) => Err(OperationError::Internal(format!("register_host answered {other:?}"))),
            Err(rejection) => {
                // Refused: what was made for it in the cloud goes again, unless the host is there under another name.
                onboard::offboard(cloud, cluster_id, &visit, root).await?;
                Err(rejection.into())
            }
        }
    }

    fn has_host_of(&self, root: Uuid) -> bool {
        self.inner.raft.state().hosts().any(|host| host.description.root_provider == root)
    }

    /// One host.
    pub async fn get_host(&self, actor: &Actor, host_id: HostId, consistency: Consistency) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsGet, None)?;
        self.read_barrier(consistency).await?;
        self.host_now(host_id)
    }

    /// The host as it is now, with the index of now: later than what its caller waited for, if others were quick.
    pub(super) fn host_now(&self, host_id: HostId) -> Result<Answer<Host>> {
        let state = self.inner.raft.state();
        match state.host(host_id) {
            Some(host) => Ok(Answer { value: host.clone(), ledger_index: state.ledger_index() }),
            None => Err(Rejection::HostNotFound(host_id).into()),
        }
    }

    /// All hosts by number.
    pub async fn list_hosts(&self, actor: &Actor, listing: HostListing, consistency: Consistency) -> Result<Answer<Vec<Host>>> {
        actor.authorise(Rule::OshostsGet, None)?;
        self.read_barrier(consistency).await?;
        let state = self.inner.raft.state();
        let value = listing::hosts(&state, &listing)?.into_iter().cloned().collect();
        Ok(Answer { value, ledger_index: state.ledger_index() })
    }

    /// Adds or replaces extra capabilities; sets whether new reservations may use the host.
    pub async fn update_host(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        host_id: HostId,
        properties: BTreeMap<String, String>,
        reservable: Option<bool>,
    ) -> Result<Answer<Host>> {
        actor.authorise(Rule::OshostsPut, None)?;
        let call = Call {
            request_id: request_id::current(),
            actor: actor.clone(),
            key,
            request: Request::UpdateHost { host_id, properties, reservable },
        };
        self.on_leader(call).await?.host()
    }

    pub(super) async fn update_host_here(
        &self,
        key: Option<RequestKey>,
        host_id: HostId,
        properties: BTreeMap<String, String>,
        reservable: Option<bool>,
    ) -> Result<Answer<Host>> {
        let committed = self.propose(key, Command::UpdateHost { host_id, properties, reservable }).await?;
        committed.outcome?;
        self.host_now(host_id)
    }

    /// Removes a host without reservations and servers, and what was made for it in the cloud.
    pub async fn delete_host(&self, actor: &Actor, key: Option<RequestKey>, host_id: HostId) -> Result<Answer<()>> {
        actor.authorise(Rule::OshostsDelete, None)?;
        let call =
            Call { request_id: request_id::current(), actor: actor.clone(), key, request: Request::DeleteHost { host_id } };
        self.on_leader(call).await?.done()
    }

    pub(super) async fn delete_host_here(&self, key: Option<RequestKey>, host_id: HostId) -> Result<Answer<()>> {
        self.confirmed_index().await?;
        let host = self.inner.raft.state().host(host_id).cloned();
        // First out of the ledger, so that nothing new is booked on it; then out of the cloud.
        let committed = self.propose(key, Command::RemoveHost { host_id }).await?;
        committed.outcome?;
        let cluster_id = self.inner.raft.state().cluster_id();
        if let (Some(host), Some(cloud), Some(cluster_id)) = (host, &self.inner.cloud, cluster_id) {
            // From here on the host is deleted, whatever the cloud says: a failure would be repeated by the caller and
            // then be "not found". What is left there belongs to no host and is removed by the reconciler.
            let root = host.description.root_provider;
            let left = match lead::permit(&self.inner.raft, self.inner.node_id) {
                Some(permit) => {
                    let is_known = |root| self.has_host_of(root);
                    let visit = onboard::Visit { permit: &permit, number: self.inner.seams.rng.uuid_v4(), is_known: &is_known };
                    let gone = onboard::offboard(cloud, cluster_id, &visit, root).await;
                    gone.err().map(|error| error.to_string())
                }
                None => Some("this node ceased to lead".to_owned()),
            };
            if let Some(problem) = left {
                tracing::warn!(%host_id, problem, "a host is deleted, but something of it is left in the cloud");
            }
        }
        Ok(Answer { value: (), ledger_index: committed.ledger_index })
    }

    /// Every host of a filter with its reservations. Unfiltered: only leases ending now or later (blazar-api §9). All of them are of
    /// one moment, so that a page holds the state's lock for as long as it takes to read: `limit` bounds it.
    ///
    /// Errors: the one host that is asked for is not there; the marker is not there any more in an order by something else than the
    /// number.
    pub async fn host_allocations(&self, actor: &Actor, filter: AllocationFilter) -> Result<Answer<Vec<HostAllocation>>> {
        actor.authorise(Rule::OshostsGetAllocations, None)?;
        self.read_barrier(Consistency::Linearizable).await?;
        long(|| {
            let state = self.inner.raft.state();
            Ok(Answer { value: listing::allocations(&state, &filter)?, ledger_index: state.ledger_index() })
        })
    }
}
