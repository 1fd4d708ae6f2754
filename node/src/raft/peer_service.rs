//! What this node answers its peers: the engine's calls, and those of reads, forwarding, clocks and health.

use std::pin::pin;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use leasehold_ledger::mutant;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::cluster_time::ClusterTime;
use super::codec::{self, wire};
use super::identity::Identity;
use super::peer::{CallError, Peer, PeerStream, Route};
use super::runtime::scoped;
use super::snapshot::{Generations, SnapshotData};
use super::state_machine::Shared;
use super::types::{Engine, LogId, Snapshot, TypeConfig};
use crate::seams::{Clock, Mono, Rng, Spawner};

/// Carries out an operation that another node forwarded here, and encodes its answer.
pub type ForwardHandler = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Vec<u8>> + Send + Sync>;

/// Answers of one stream of entries that wait to be sent.
const PIPELINE: usize = 64;

/// This node as its peers see it.
pub(super) struct PeerService {
    pub(super) identity: Arc<Identity>,
    /// Empty until the engine runs; calls before that are refused.
    pub(super) engine: OnceLock<Engine>,
    pub(super) forward: RwLock<Option<ForwardHandler>>,
    pub(super) generations: Generations,
    pub(super) shared: Arc<Shared>,
    pub(super) time: Arc<ClusterTime>,
    pub(super) clock: Arc<dyn Clock>,
    /// No vote is given before. A restarted node does not know until when it promised a leader to give none, and the
    /// leader's fence counts on that promise (architecture D6).
    pub(super) votes_from: Mono,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) group: Spawner,
}

impl PeerService {
    async fn engine(&self, route: Route) -> Result<&Engine, CallError> {
        let engine = self.engine.get().ok_or_else(|| CallError::Refused("this node is starting".into()))?;
        self.identity.check(route).await?;
        Ok(engine)
    }

    /// The engine, if a vote may be given: at once when the leader itself hands over.
    async fn voting_engine(&self, route: Route, handed_over: bool) -> Result<&Engine, CallError> {
        if !handed_over && self.clock.mono() < self.votes_from {
            return Err(CallError::Refused("this node just started and may still be bound to a leader".into()));
        }
        self.engine(route).await
    }
}

/// The engine stopped, or the message says nothing: either way nothing was carried out that could be told.
fn broken(error: impl std::fmt::Display) -> CallError {
    CallError::Broken(error.to_string())
}

#[async_trait]
impl Peer for PeerService {
    async fn request_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        let engine = self.voting_engine(route, request.leadership_transfer).await?;
        let answer = engine.vote(vote_request(&request).map_err(broken)?).await.map_err(broken)?;
        Ok(vote_response_to_wire(&answer))
    }

    async fn pre_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        let engine = self.voting_engine(route, request.leadership_transfer).await?;
        let answer = engine.pre_vote(vote_request(&request).map_err(broken)?).await.map_err(broken)?;
        Ok(vote_response_to_wire(&answer))
    }

    async fn append(&self, route: Route, request: wire::AppendRequest) -> Result<wire::AppendResponse, CallError> {
        let engine = self.engine(route).await?;
        let request = append_request(request).map_err(broken)?;
        let (prev, last) = (request.prev_log_id, request.entries.last().map(|entry| entry.log_id));
        let answer = engine.append_entries(request).await.map_err(broken)?;
        Ok(match answer {
            AppendEntriesResponse::PartialSuccess(upto) => {
                let appended = wire::Appended { log_id: upto.as_ref().map(codec::log_id_to_wire), partial: true };
                wire::AppendResponse { result: Some(wire::append_response::Result::Appended(appended)) }
            }
            AppendEntriesResponse::Conflict if prev.is_none() => return Err(broken("a conflict before the first entry")),
            whole => appended_to_wire(&whole.into_stream_result(prev, last.or(prev))),
        })
    }

    async fn stream_append(
        &self,
        route: Route,
        requests: PeerStream<wire::AppendRequest>,
    ) -> Result<PeerStream<wire::AppendResponse>, CallError> {
        let engine = self.engine(route).await?.clone();
        // The first thing that is no request ends the stream: skipping it would leave a hole in a sequence that must
        // have none (raft-notes §5.7).
        let decoded = requests.scan((), move |(), message| {
            let request = message.and_then(|message| append_request(message).map_err(broken));
            let ended = |error| tracing::info!(source = route.source, %error, "a stream of entries ended");
            std::future::ready(request.map_err(ended).ok())
        });
        // The engine's stream borrows the engine, so a future owns both and hands the answers on; it runs as long as the
        // answers are read.
        let (answer, answers) = mpsc::channel(PIPELINE);
        let pump = scoped(&self.group, &self.clock, &*self.rng, async move {
            let mut appended = pin!(engine.stream_append(decoded));
            while let Some(result) = appended.next().await {
                let told = result.map(|result| appended_to_wire(&result)).map_err(broken);
                if answer.send(told).await.is_err() {
                    return;
                }
            }
        });
        let silent = stream::once(pump).filter_map(|()| std::future::ready(None));
        Ok(stream::select(ReceiverStream::new(answers), silent).boxed())
    }

    async fn install_snapshot(
        &self,
        route: Route,
        mut parts: PeerStream<wire::SnapshotPart>,
    ) -> Result<wire::SnapshotResponse, CallError> {
        // Planted bug: who fell behind is left there.
        if mutant!("N16") {
            return Err(CallError::Refused("no snapshots are taken".into()));
        }
        let engine = self.engine(route).await?;
        let Some(wire::snapshot_part::Part::Begin(begin)) = next_part(&mut parts).await? else {
            return Err(broken("a snapshot without beginning"));
        };
        let vote = codec::required_vote(&begin.vote).map_err(broken)?;
        let position = begin.position.ok_or_else(|| broken("a snapshot without position"))?;
        let meta = codec::position(position).map_err(broken)?;
        let mut receiver = self.generations.begin().map_err(broken)?;
        while let Some(part) = next_part(&mut parts).await? {
            let wire::snapshot_part::Part::Chunk(chunk) = part else { return Err(broken("a second beginning")) };
            receiver.accept(&chunk).await.map_err(broken)?;
        }
        let received = receiver.finish().await.map_err(broken)?;
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(received) };
        let answer = engine.install_full_snapshot(vote, snapshot).await.map_err(broken)?;
        Ok(wire::SnapshotResponse { vote: Some(codec::vote_to_wire(&answer.vote)) })
    }

    async fn fetch_snapshot(&self, route: Route) -> Result<PeerStream<wire::SnapshotPart>, CallError> {
        let engine = self.engine(route).await?;
        // Has the state machine freeze itself; what it then shows as its snapshot is as new as can be.
        engine.trigger().snapshot().await.map_err(broken)?;
        let snapshot = engine.get_snapshot().await.map_err(broken)?;
        let snapshot = snapshot.ok_or_else(|| CallError::Refused("nothing was applied yet; ask again".into()))?;
        super::network::snapshot_parts(None, snapshot).map_err(broken)
    }

    async fn transfer_leader(
        &self,
        route: Route,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, CallError> {
        let engine = self.engine(route).await?;
        let from = codec::required_vote(&request.from).map_err(broken)?;
        let last = request.last_log_id.as_ref().map(codec::log_id);
        let request = TransferLeaderRequest::new(from, request.to, last);
        let answer = engine.handle_transfer_leader(request).await.map_err(broken)?;
        let refused = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(wire::TransferLeaderResponse { refused })
    }

    async fn read_index(&self, route: Route) -> Result<wire::ReadIndexResponse, CallError> {
        let engine = self.engine(route).await?;
        let log_id = super::read::confirm(engine).await.map_err(|error| CallError::Refused(error.to_string()))?;
        Ok(wire::ReadIndexResponse { log_id: Some(codec::log_id_to_wire(&log_id)) })
    }

    async fn forward(&self, route: Route, message: wire::ForwardMessage) -> Result<wire::ForwardMessage, CallError> {
        self.engine(route).await?;
        let handler = self.forward.read().clone();
        let handler = handler.ok_or_else(|| CallError::Refused("this node takes no operations yet".into()))?;
        Ok(wire::ForwardMessage { body: handler(message.body.into()).await.into() })
    }

    async fn clock(&self, route: Route, request: wire::ClockRequest) -> Result<wire::ClockResponse, CallError> {
        self.identity.check(route).await?;
        // A number that is none is nobody's.
        let disks = request.met.iter().filter_map(|peer| Some((peer.node_id, Uuid::from_slice(&peer.disk_id).ok()?)));
        self.identity.meet(disks).await.map_err(|error| CallError::Refused(error.to_string()))?;
        let (expected_ms, expected_era) = self.time.expected().map_or((0, 0), |expected| (expected.ms, expected.era));
        let disk_id = Bytes::copy_from_slice(self.identity.disk_id().as_bytes());
        Ok(wire::ClockResponse { wall_ms: self.clock.wall_ms(), expected_ms, disk_id, expected_era })
    }

    async fn health(&self, route: Route) -> Result<wire::HealthResponse, CallError> {
        let engine = self.engine(route).await?;
        let term = super::leadership::metrics(engine).current_term;
        let state = self.shared.state.read();
        Ok(wire::HealthResponse {
            term,
            applied_index: self.shared.progress.borrow().next_log_index.saturating_sub(1),
            ledger_index: state.ledger_index(),
            state_hash: Bytes::copy_from_slice(&state.hash().to_be_bytes()),
            build: env!("CARGO_PKG_VERSION").into(),
        })
    }
}

async fn next_part(parts: &mut PeerStream<wire::SnapshotPart>) -> Result<Option<wire::snapshot_part::Part>, CallError> {
    match parts.next().await.transpose()? {
        None => Ok(None),
        Some(wire::SnapshotPart { part: Some(part) }) => Ok(Some(part)),
        Some(wire::SnapshotPart { part: None }) => Err(broken("an empty part of a snapshot")),
    }
}

fn vote_request(message: &wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, codec::Error> {
    let vote = codec::required_vote(&message.vote)?;
    let mut request = VoteRequest::new(vote, message.last_log_id.as_ref().map(codec::log_id));
    request.leadership_transfer = message.leadership_transfer;
    Ok(request)
}

pub(super) fn vote_request_to_wire(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(codec::vote_to_wire(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(codec::log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_response(message: &wire::VoteResponse) -> Result<VoteResponse<TypeConfig>, codec::Error> {
    let vote = codec::required_vote(&message.vote)?;
    Ok(VoteResponse::new(vote, message.last_log_id.as_ref().map(codec::log_id), message.granted))
}

fn vote_response_to_wire(response: &VoteResponse<TypeConfig>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(codec::vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(codec::log_id_to_wire),
    }
}

fn append_request(message: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, codec::Error> {
    Ok(AppendEntriesRequest {
        vote: codec::required_vote(&message.vote)?,
        prev_log_id: message.prev_log_id.as_ref().map(codec::log_id),
        leader_commit: message.leader_commit.as_ref().map(codec::log_id),
        entries: message.entries.into_iter().map(codec::entry).collect::<Result<_, _>>()?,
    })
}

pub(super) fn append_request_to_wire(request: &AppendEntriesRequest<TypeConfig>) -> wire::AppendRequest {
    wire::AppendRequest {
        vote: Some(codec::vote_to_wire(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(codec::log_id_to_wire),
        leader_commit: request.leader_commit.as_ref().map(codec::log_id_to_wire),
        entries: request.entries.iter().map(codec::entry_to_wire).collect(),
    }
}

fn appended_to_wire(result: &StreamAppendResult<TypeConfig>) -> wire::AppendResponse {
    use wire::append_response::Result as Told;
    let result = match result {
        Ok(upto) => {
            let log_id = upto.as_ref().map(codec::log_id_to_wire);
            Told::Appended(wire::Appended { log_id, partial: false })
        }
        Err(StreamAppendError::Conflict(log_id)) => Told::Conflict(codec::log_id_to_wire(log_id)),
        Err(StreamAppendError::HigherVote(vote)) => Told::HigherVote(codec::vote_to_wire(vote)),
    };
    wire::AppendResponse { result: Some(result) }
}

/// How far the peer appended, and whether it wants the rest again.
pub(super) fn appended(message: &wire::AppendResponse) -> Result<(StreamAppendResult<TypeConfig>, bool), codec::Error> {
    use wire::append_response::Result as Told;
    Ok(match message.result.as_ref().ok_or(codec::Error::Missing("result"))? {
        Told::Appended(appended) => (Ok(appended.log_id.as_ref().map(codec::log_id)), appended.partial),
        Told::Conflict(log_id) => (Err(StreamAppendError::Conflict(codec::log_id(log_id))), false),
        Told::HigherVote(vote) => (Err(StreamAppendError::HigherVote(codec::vote(vote))), false),
    })
}

/// Only the type is of interest: the log id a linearizable read waits for.
pub(super) fn read_log_id(message: &wire::ReadIndexResponse) -> Result<LogId, codec::Error> {
    message.log_id.as_ref().map(codec::log_id).ok_or(codec::Error::Missing("log id"))
}
