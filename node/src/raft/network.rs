//! The engine's way to its peers, over the transport seam.
//!
//! Every failure is reported as "unreachable", which makes the engine wait a little before it tries again; anything
//! else makes it try at once, and a dead peer would cost a core (raft-notes §5.12).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, stream};
use leasehold_ledger::storage::disk::DiskError;
use leasehold_ledger::storage::snapshot::SnapshotReader;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::sync::oneshot;

use super::codec::{self, wire};
use super::identity::Identity;
use super::log_store::LogStore;
use super::peer::{CallError, Lane, Peer, PeerStream, Transport};
use super::peer_service::{append_request_to_wire, appended, vote_request_to_wire, vote_response};
use super::runtime::scoped_stream;
use super::snapshot::SnapshotData;
use super::types::{LeaderId, Member, Snapshot, TypeConfig, Vote};
use crate::seams::Clock;

/// Makes one connection for each peer and purpose.
pub(super) struct Network {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) identity: Arc<Identity>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) log: LogStore,
}

impl Network {
    fn to(&self, target: u64, member: &Member, lane: Lane) -> Connection {
        let peer = self.transport.peer(&member.peer_address, lane);
        let (identity, clock, log) = (self.identity.clone(), self.clock.clone(), self.log.clone());
        Connection { target, peer, lane, identity, clock, leader: log.voted_for(), log }
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
    lane: Lane,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    log: LogStore,
    /// Whom the log had voted for when the connection was made: a leader makes its connections when it begins to lead, so
    /// for one that carries entries it is that leader, this node.
    leader: Option<LeaderId>,
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

/// The requests of a stream as long as `leads`.
///
/// What a leader has not sent yet ends where another one's entries took its place, and openraft (0.10.0-alpha.37) looks for
/// the former's end in the log before it looks whose log it is. A debug build asserts that the end is not before the
/// beginning; a release build finds nothing to read and drops the request.
fn while_leading<S: Stream + Unpin>(mut requests: S, leads: impl Fn() -> bool) -> impl Stream<Item = S::Item> {
    stream::poll_fn(move |context| if leads() { requests.poll_next_unpin(context) } else { Poll::Ready(None) })
}

/// The requests of a call, for as long as its caller holds on to the call.
///
/// A transport reads the requests of a call on for as long as the peer keeps the call open: HTTP/2 resets a stream that was given
/// up only once nobody holds its sending side either. All streams of requests to one follower share a lock and the place in the
/// log: one that was given up would go on taking what its successor should send, and nobody would hear the answers, so that a
/// leader whose follower was once slow to open a stream committed nothing any more and kept on leading.
struct Lent<S> {
    /// Dropped as soon as nobody waits for the answers: what it waits in holds the lock.
    requests: Option<S>,
    held: oneshot::Receiver<Infallible>,
}

impl<S: Stream + Unpin> Stream for Lent<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.held.poll_unpin(context).is_ready() {
            self.requests = None;
        }
        match &mut self.requests {
            Some(requests) => requests.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

fn malformed(error: codec::Error) -> Unreachable<TypeConfig> {
    Unreachable::new(&error)
}

type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    /// One heartbeat. It may take as long as the engine waits for it: the answer of a slow peer is a sign of life, too.
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (route, message) = (self.identity.route(self.target), append_request_to_wire(&request));
        let answer = self.within(option.hard_ttl(), self.peer.append(route, message)).await?;
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
        let (log, leader) = (self.log.clone(), self.leader);
        let input = while_leading(input, move || log.voted_for() == leader);
        // A heartbeat is one request: a stream of its own for each costs both sides several times what the call does.
        if self.lane == Lane::Heartbeat {
            return stream_append_sequential(self, input, option);
        }
        let mut requests = scoped_stream(input.map(|request| Ok(append_request_to_wire(&request))).boxed()).boxed().peekable();
        let route = self.identity.route(self.target);
        Box::pin(async move {
            // openraft waits its back-off inside `input`. Connecting before the first request is asked for would dial a
            // dead peer in a busy loop (20,000 attempts a second, seen).
            Pin::new(&mut requests).peek().await;
            let (holds, held) = oneshot::channel();
            let requests = Lent { requests: Some(requests), held };
            let answers = self.within(option.soft_ttl(), self.peer.stream_append(route, requests.boxed())).await?;
            let answers = answers.map(move |answer| {
                // Whoever has the answers holds on to the call.
                let _ = &holds;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn the_requests_of_a_call_that_was_given_up_are_let_go() {
        let shared = Arc::new(());
        let (holds, held) = oneshot::channel();
        let lock = shared.clone();
        let input = stream::poll_fn(move |_| {
            let _ = &lock;
            Poll::<Option<u32>>::Pending
        });
        let mut requests = Lent { requests: Some(stream::iter([1]).chain(input)), held };
        assert_eq!(requests.next().now_or_never(), Some(Some(1)));
        assert_eq!(requests.next().now_or_never(), None, "it waits for the next");
        drop(holds);
        assert_eq!(requests.next().now_or_never(), Some(None));
        assert_eq!(Arc::strong_count(&shared), 1, "what was asked for requests is gone, though the transport has the stream");
    }

    #[test]
    fn who_does_not_lead_any_more_is_not_asked_for_another_request() {
        let leads = Arc::new(AtomicBool::new(true));
        let (sender, mut receiver) = mpsc::unbounded_channel::<u32>();
        let asked = leads.clone();
        let input = stream::poll_fn(move |context| {
            assert!(asked.load(Ordering::SeqCst), "asked of a leader of before");
            receiver.poll_recv(context)
        });
        let asked = leads.clone();
        let mut requests = while_leading(input, move || asked.load(Ordering::SeqCst));
        sender.send(1).unwrap();
        assert_eq!(requests.next().now_or_never(), Some(Some(1)));
        assert_eq!(requests.next().now_or_never(), None, "it waits for the next");
        sender.send(2).unwrap();
        leads.store(false, Ordering::SeqCst);
        assert_eq!(requests.next().now_or_never(), Some(None));
    }
}
