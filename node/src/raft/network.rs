//! The engine's way to its peers, over the transport seam.
//!
//! Every failure is reported as "unreachable", which makes the engine wait a little before it tries again; anything
//! else makes it try at once, and a dead peer would cost a core (raft-notes §5.12).

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use leasehold_ledger::storage::disk::DiskError;
use leasehold_ledger::storage::snapshot::SnapshotReader;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::codec::{self, wire};
use super::identity::Identity;
use super::peer::{CallError, Lane, Peer, PeerStream, Transport};
use super::peer_service::{append_request_to_wire, appended, vote_request_to_wire, vote_response};
use super::snapshot::SnapshotData;
use super::types::{Member, Snapshot, TypeConfig, Vote};
use crate::seams::Clock;

/// Makes one connection for each peer and purpose.
pub(super) struct Network {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) identity: Arc<Identity>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Network {
    fn to(&self, target: u64, member: &Member, lane: Lane) -> Connection {
        let peer = self.transport.peer(&member.peer_address, lane);
        Connection { target, peer, identity: self.identity.clone(), clock: self.clock.clone() }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, member: &Member) -> Connection {
        self.to(target, member, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Connection {
        self.to(target, member, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Connection {
        self.to(target, member, Lane::Snapshot)
    }
}

/// One peer, for one purpose.
pub(super) struct Connection {
    target: u64,
    peer: Arc<dyn Peer>,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
}

impl Connection {
    /// Waits for an answer, but not for ever.
    async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, CallError>> + Send,
    ) -> Result<T, Unreachable<TypeConfig>> {
        let answer = self.clock.timeout(limit, call).await.unwrap_or(Err(CallError::Timeout));
        answer.map_err(|error| Unreachable::new(&error))
    }
}

fn malformed(error: codec::Error) -> Unreachable<TypeConfig> {
    Unreachable::new(&error)
}

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (route, message) = (self.identity.route(self.target), append_request_to_wire(&request));
        let answer = self.within(option.soft_ttl(), self.peer.append(route, message)).await?;
        let (result, partial) = appended(&answer).map_err(malformed)?;
        Ok(match result {
            Ok(upto) if partial => AppendEntriesResponse::PartialSuccess(upto),
            result => result.into(),
        })
    }

    fn stream_append<'s, S>(&'s mut self, input: S, option: RPCOption) -> BoxFuture<'s, Result<Answers<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let mut requests = input.map(|request| Ok(append_request_to_wire(&request))).boxed().peekable();
        let route = self.identity.route(self.target);
        Box::pin(async move {
            // openraft waits its back-off inside `input`. Connecting before the first request is asked for would dial a
            // dead peer in a busy loop (20,000 attempts a second, seen).
            std::pin::Pin::new(&mut requests).peek().await;
            let answers = self.within(option.soft_ttl(), self.peer.stream_append(route, requests.boxed())).await?;
            let answers = answers.map(|answer| {
                let answer = answer.map_err(|error| Unreachable::new(&error))?;
                Ok(appended(&answer).map_err(malformed)?.0)
            });
            Ok(answers.boxed() as Answers<'s>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (route, message) = (self.identity.route(self.target), vote_request_to_wire(&request));
        let answer = self.within(option.soft_ttl(), self.peer.request_vote(route, message)).await?;
        Ok(vote_response(&answer).map_err(malformed)?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (route, message) = (self.identity.route(self.target), vote_request_to_wire(&request));
        let answer = self.within(option.soft_ttl(), self.peer.pre_vote(route, message)).await?;
        Ok(vote_response(&answer).map_err(malformed)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let route = self.identity.route(self.target);
        let parts = snapshot_parts(Some(vote), snapshot).map_err(|error| Unreachable::new(&error))?;
        // No deadline of its own: a large state takes its time. A peer that stops reading breaks the connection by
        // missing keep-alives, and a newer leader cancels.
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = self.peer.install_snapshot(route, parts) => answer.map_err(|error| Unreachable::new(&error))?,
        };
        Ok(SnapshotResponse { vote: codec::required_vote(&answer.vote).map_err(malformed)? })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let route = self.identity.route(self.target);
        let message = wire::TransferLeaderRequest {
            from: Some(codec::vote_to_wire(request.from_leader())),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().map(codec::log_id_to_wire),
        };
        let answer = self.within(option.soft_ttl(), self.peer.transfer_leader(route, message)).await?;
        if !answer.refused.is_empty() {
            tracing::info!(target = self.target, reason = answer.refused, "a peer does not take over the leadership");
            return Err(Unreachable::from_string(answer.refused).into());
        }
        Ok(Ok(()))
    }
}

/// A snapshot as it is sent: what it is, then its chunks.
pub(super) fn snapshot_parts(vote: Option<Vote>, snapshot: Snapshot) -> Result<PeerStream<wire::SnapshotPart>, DiskError> {
    let SnapshotData::View(view) = snapshot.snapshot else {
        return Err(DiskError { what: "send snapshot", cause: "it was received, not built".into(), damaged: false });
    };
    let begin = wire::SnapshotBegin {
        vote: vote.as_ref().map(codec::vote_to_wire),
        position: Some(codec::position_to_wire(&snapshot.meta)),
    };
    let begin = wire::SnapshotPart { part: Some(wire::snapshot_part::Part::Begin(begin)) };
    let chunks = stream::unfold(Some(SnapshotReader::new(view)), |reader| async move {
        let mut reader = reader?;
        match reader.next_chunk() {
            Ok(None) => None,
            Ok(Some(chunk)) => {
                let part = wire::SnapshotPart { part: Some(wire::snapshot_part::Part::Chunk(chunk.into())) };
                Some((Ok(part), Some(reader)))
            }
            // The other side misses the trailer and takes nothing.
            Err(error) => Some((Err(CallError::Broken(error.to_string())), None)),
        }
    });
    Ok(stream::once(std::future::ready(Ok(begin))).chain(chunks).boxed())
}
