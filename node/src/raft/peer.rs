//! The transport seam: what one node can ask of another, as messages.
//!
//! Implemented by the local service ([`super::peer_service`]), by the gRPC client ([`super::grpc`]) and by the
//! simulation, which puts loss and delay in between. Every call carries its [`Route`] and is refused by whom it is not
//! meant for: a node connected to the wrong one can lose committed entries (raft-notes §5.11).

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use uuid::Uuid;

use super::codec::wire;

/// Whose message, from whom, for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The sender's cluster.
    pub cluster_id: Uuid,
    /// The sending node.
    pub source: u64,
    /// The number of the sender's disk.
    pub source_disk: Uuid,
    /// The node it is meant for.
    pub target: u64,
    /// The number of that node's disk, if the sender has ever heard from it: another one means that it lost its disk.
    pub target_disk: Option<Uuid>,
}

/// A call without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer was not reached: the call was surely not carried out.
    #[error("peer cannot be reached: {0}")]
    Unreachable(String),
    /// The peer says that the call was not meant for it, or that it is not ready; it was surely not carried out.
    #[error("peer refused: {0}")]
    Refused(String),
    /// The connection broke or the answer was malformed: the call may have been carried out.
    #[error("call to peer broke: {0}")]
    Broken(String),
    /// No answer in time: the call may have been carried out.
    #[error("peer did not answer in time")]
    Timeout,
}

impl CallError {
    /// Whether the call may have been carried out.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Timeout)
    }
}

/// Messages that come one by one, and end after the first error.
pub type PeerStream<T> = BoxStream<'static, Result<T, CallError>>;

/// A node, as its peers see it. The calls are those of `peer.proto`.
#[async_trait]
#[allow(missing_docs)]
pub trait Peer: Send + Sync + 'static {
    async fn request_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError>;
    async fn pre_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError>;
    async fn append(&self, route: Route, request: wire::AppendRequest) -> Result<wire::AppendResponse, CallError>;
    async fn stream_append(
        &self,
        route: Route,
        requests: PeerStream<wire::AppendRequest>,
    ) -> Result<PeerStream<wire::AppendResponse>, CallError>;
    async fn install_snapshot(
        &self,
        route: Route,
        parts: PeerStream<wire::SnapshotPart>,
    ) -> Result<wire::SnapshotResponse, CallError>;
    async fn fetch_snapshot(&self, route: Route) -> Result<PeerStream<wire::SnapshotPart>, CallError>;
    async fn transfer_leader(
        &self,
        route: Route,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, CallError>;
    async fn read_index(&self, route: Route) -> Result<wire::ReadIndexResponse, CallError>;
    async fn forward(&self, route: Route, message: wire::ForwardMessage) -> Result<wire::ForwardMessage, CallError>;
    async fn clock(&self, route: Route, request: wire::ClockRequest) -> Result<wire::ClockResponse, CallError>;
    async fn health(&self, route: Route) -> Result<wire::HealthResponse, CallError>;
}

/// What a connection is for. Each has its own, so that bulk does not delay signs of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Log entries.
    Log,
    /// Heartbeats and votes.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// Everything the engine does not ask for: reads, forwarded operations, clocks.
    Operations,
}

/// Reaches peers. Connections are made when first used and again when they broke.
pub trait Transport: Send + Sync + 'static {
    /// The peer at `address` (`host:port`). Returns at once; a bad address shows at the first call.
    fn peer(&self, address: &str, lane: Lane) -> Arc<dyn Peer>;

    /// Lets go of the connections to all other addresses: nodes come and go, and nothing that is kept for each may stay. One
    /// that is in use ends with its use, and one that is wanted after all is made again.
    fn keep_only(&self, addresses: &BTreeSet<&str>);
}
