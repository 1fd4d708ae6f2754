//! Raft: the only way to write, linearizable reads, who leads, who is in the cluster.
//!
//! The only place that names the engine (openraft, architecture D14); nothing of it shows outside. Knows the ledger as
//! `apply` and rows, and nothing of leases, edges or the cloud.
//!
//! Read on: [`propose`], [`read`], [`leadership`], [`cluster_time`], [`membership`] for what the node uses;
//! [`state_machine`] and [`log_store`] for what is kept; [`peer`] for the seam between nodes.

mod cluster_time;
mod codec;
mod config;
mod dial;
mod expected;
mod fatal;
mod grpc;
mod identity;
mod leadership;
mod log_store;
mod log_writer;
mod membership;
mod network;
pub mod peer;
mod peer_service;
mod propose;
mod read;
mod rows;
mod runtime;
mod snapshot;
mod start;
mod state_machine;
mod status;
mod types;

#[cfg(test)]
mod conformance;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use leasehold_ledger::command::Command;
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{LeaseId, NodeId, Reason, RequestKey, Timestamp};
use leasehold_ledger::state::State;
use parking_lot::RwLockReadGuard;
use tokio::sync::{broadcast, watch};

pub use cluster_time::ClockProblem;
pub use codec::wire;
pub use config::{RaftConfig, Timing};
pub use dial::Dial;
pub use fatal::Fatal;
pub use grpc::{GrpcTransport, TlsFiles};
pub use leadership::{Fence, Leadership};
pub use membership::{ChangeError, StopWork};
pub use peer_service::ForwardHandler;
pub use propose::{Committed, ProposeError};
pub use read::ReadError;
pub use rows::Rows;
pub use start::{RaftNode, Serve, StartError};
pub use status::Held;
pub use types::Member;

use crate::operations::ClusterChange;
use crate::seams::{Clock, Process, Spawner};

/// An operation did not reach another node, or its answer did not come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It was certainly not received.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been carried out.
    #[error("the answer was not seen: {0}")]
    Unknown(String),
}

/// A running node's Raft. Cheap to clone.
#[derive(Clone)]
pub struct RaftHandle {
    parts: Arc<Parts>,
}

/// What a handle is made of; put together in [`start`].
struct Parts {
    engine: types::Engine,
    log: log_store::LogStore,
    shared: Arc<state_machine::Shared>,
    identity: Arc<identity::Identity>,
    transport: Arc<dyn peer::Transport>,
    service: Arc<peer_service::PeerService>,
    proposer: propose::Proposer,
    reader: read::Reader,
    time: Arc<cluster_time::ClusterTime>,
    watched: Arc<leadership::Watched>,
    changer: membership::Changer,
    clock: Arc<dyn Clock>,
    process: Arc<dyn Process>,
    group: Spawner,
    fatal: Fatal,
    timing: Timing,
}

impl RaftHandle {
    /// Proposes one command, stamped with the cluster's time, and waits until it is applied here.
    ///
    /// # Errors
    /// See [`ProposeError`]; only `Unknown` leaves open whether it is or will be committed.
    pub async fn propose(&self, key: Option<RequestKey>, command: Command) -> Result<Committed, ProposeError> {
        self.parts.proposer.propose(key, command).await
    }

    /// Proposes commands side by side; answers in their order. They need not be applied in that order.
    pub async fn propose_many(
        &self,
        commands: impl IntoIterator<Item = (Option<RequestKey>, Command)>,
    ) -> Vec<Result<Committed, ProposeError>> {
        let each = commands.into_iter().map(|(key, command)| self.propose(key, command));
        futures::future::join_all(each).await
    }

    /// Waits until this node may answer a linearizable read, and gives the ledger index it then has at least.
    ///
    /// # Errors
    /// When no quorum confirms the leader in time.
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        self.parts.reader.read_index().await
    }

    /// The state as applied here. Hold the guard shortly: entries wait for it.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.parts.shared.state.read()
    }

    /// The rows of the state as they are on the disk.
    ///
    /// # Errors
    /// When the node is stopping.
    pub fn rows(&self) -> Result<Rows, ReadError> {
        rows::now(&self.parts.shared)
    }

    /// As [`RaftHandle::rows`], once they are of an index that the state has: it is ahead of the disk for a moment.
    ///
    /// # Errors
    /// When the node is stopping, or the disk does not come after.
    pub async fn rows_at(&self, ledger_index: u64) -> Result<Rows, ReadError> {
        rows::at(&self.parts.shared, &self.parts.clock, ledger_index).await
    }

    /// What a command proposed now would be stamped with, never below the ledger's clock.
    ///
    /// # Errors
    /// `ClockDisagrees`.
    pub fn now(&self) -> Result<Timestamp, ProposeError> {
        propose::now(&self.parts.time)
    }

    /// Ledger index applied here.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.parts.shared.ledger_index.subscribe()
    }

    /// Hints for the leader, from now on. One that lags misses some and looks at everything; so does an empty list.
    #[must_use]
    pub fn effects(&self) -> broadcast::Receiver<Arc<[Effect]>> {
        self.parts.shared.effects.subscribe()
    }

    /// Whether this node leads, with complete rows.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.parts.watched.leadership.subscribe()
    }

    /// Certainty of leading, to be checked with each call on the cloud; `None` if this node does not lead.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        let term = self.parts.watched.leadership.borrow().term()?;
        let timing = &self.parts.timing;
        let (engine, clock) = (self.parts.engine.clone(), self.parts.clock.clone());
        Some(Fence::new(engine, term, timing.election_max, timing.fence_margin, clock))
    }

    /// Sends an operation to another node and waits for its answer.
    ///
    /// # Errors
    /// See [`ForwardError`].
    pub async fn forward(&self, to: NodeId, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, ForwardError> {
        let members = leadership::metrics(&self.parts.engine).membership_config;
        let unknown = || ForwardError::NotSent(format!("node {to} is no member"));
        let member = members.get_node(&to.0).ok_or_else(unknown)?;
        let peer = self.parts.transport.peer(&member.peer_address, peer::Lane::Operations);
        let message = wire::ForwardMessage { body: body.into() };
        let call = peer.forward(self.parts.identity.route(to.0), message);
        let answer = self.parts.clock.timeout(limit, call).await.unwrap_or(Err(peer::CallError::Timeout));
        let told = |error: peer::CallError| match error.outcome_unknown() {
            true => ForwardError::Unknown(error.to_string()),
            false => ForwardError::NotSent(error.to_string()),
        };
        answer.map(|answer| answer.body.into()).map_err(told)
    }

    /// Registers who carries out what other nodes forward here; until then it is refused.
    pub fn on_forward(&self, handler: ForwardHandler) {
        *self.parts.service.forward.write() = Some(handler);
    }

    /// Registers what stops and awaits the leader's work before leadership is handed over (architecture D6).
    pub fn on_hand_over(&self, stop_work: StopWork) {
        *self.parts.changer.stop_work.lock() = Some(stop_work);
    }

    /// Who leads and its peer address, as far as known.
    #[must_use]
    pub fn leader(&self) -> Option<(NodeId, String)> {
        self.parts.changer.leader()
    }

    /// Where clients reach a member, if it announced an address.
    #[must_use]
    pub fn client_address(&self, member: NodeId) -> Option<String> {
        self.parts.changer.client_address(member)
    }

    /// Makes this node the first and only member of a new cluster, and names the cluster in the ledger.
    ///
    /// # Errors
    /// `Conflict` if it belongs to one already.
    pub async fn initialise(&self) -> Result<(), ChangeError> {
        self.parts.changer.initialise(BTreeMap::new()).await.map(drop)
    }

    /// Makes a cluster of several empty nodes at once, this one included.
    ///
    /// # Errors
    /// `Conflict` if this node belongs to a cluster already.
    pub async fn initialise_with(&self, voters: BTreeMap<NodeId, Member>) -> Result<(), ChangeError> {
        let voters = voters.into_iter().map(|(id, member)| (id.0, member)).collect();
        self.parts.changer.initialise(voters).await.map(drop)
    }

    /// Carries out a change of the cluster; all but `Init` and `AcceptClock` on the leader.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_cluster(&self, change: ClusterChange) -> Result<(), ChangeError> {
        let changer = &self.parts.changer;
        match change {
            ClusterChange::Init => self.initialise().await,
            ClusterChange::Add { node_id, peer_address, grpc_address } => {
                let grpc_address = grpc_address.unwrap_or_default();
                changer.add(node_id, Member { peer_address, grpc_address, rest_address: String::new() }).await
            }
            ClusterChange::Remove { node_id } => changer.remove(node_id).await,
            ClusterChange::Transfer { to } => changer.transfer(to).await,
            ClusterChange::AcceptClock => {
                let refused = |problem: ClockProblem| ChangeError::Conflict(format!("{problem}: correct the clocks first"));
                self.parts.time.accept_jump().map_err(refused)
            }
        }
    }

    /// Why a lease was withdrawn, if this node applied it lately (architecture D24).
    #[must_use]
    pub fn withdrawn_reason(&self, lease_id: LeaseId) -> Option<Reason> {
        let withdrawn = self.parts.shared.withdrawn.lock();
        withdrawn.iter().rev().find(|(id, _)| *id == lease_id).map(|(_, reason)| reason.clone())
    }

    /// How this node was announced to the others; the peer address is the one bound.
    #[must_use]
    pub fn member(&self) -> &Member {
        self.parts.changer.itself()
    }

    /// Takes a snapshot now, below which the log may be purged. For tests and operators.
    ///
    /// # Errors
    /// When the node is stopping.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.parts.engine.trigger().snapshot().await.map_err(|_| ProposeError::Stopping)
    }

    /// What this node itself answers its peers: for a transport that does not listen on an address.
    #[must_use]
    pub fn peer(&self) -> Arc<dyn peer::Peer> {
        self.parts.service.clone()
    }

    /// Completes with the reason when this node must end.
    pub fn fatal(&self) -> BoxFuture<'static, String> {
        let fatal = self.parts.fatal.clone();
        Box::pin(async move { fatal.raised().await })
    }

    /// Hands leadership over if this node leads others, then stops everything.
    pub async fn shutdown(&self) {
        if self.parts.changer.leads_others()
            && let Err(error) = self.parts.changer.transfer(None).await
        {
            tracing::warn!(%error, "leadership was not handed over; the others elect");
        }
        self.stop().await;
    }

    /// Stops everything without handing over, as far as the others can see like a crash.
    pub async fn stop(&self) {
        self.parts.fatal.silence();
        if let Err(error) = self.parts.engine.shutdown().await {
            tracing::warn!(%error, "the engine did not stop in order");
        }
        self.parts.group.shutdown().await;
    }
}
