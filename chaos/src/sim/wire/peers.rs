//! Peers over gRPC: connections for the product's client, and a service whose work is done by tasks of its node.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use leasehold_client::Bytes;
use leasehold_node::raft::peer::{CallError, Lane, Peer, PeerStream, Route};
use leasehold_node::raft::{Dial, wire};
use leasehold_node::seams::{Spawner, Stopped, Task};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::super::gate::PauseGate;
use super::{Tcp, place};

/// Messages of a stream that wait to be sent.
const WAITING: usize = 16;

/// A node's way to its peers.
pub struct SimDial {
    tcp: Arc<Tcp>,
    node: u64,
    gate: Arc<PauseGate>,
}

impl SimDial {
    /// Of a node, which `gate` holds still.
    pub fn new(tcp: Arc<Tcp>, node: u64, gate: Arc<PauseGate>) -> SimDial {
        SimDial { tcp, node, gate }
    }
}

impl Dial for SimDial {
    fn dial(&self, address: &str, lane: Lane) -> BoxFuture<'static, io::Result<Box<dyn Bytes>>> {
        let (tcp, node, gate, to) = (self.tcp.clone(), self.node, self.gate.clone(), place(address));
        let lane = match lane {
            Lane::Log => 11,
            Lane::Heartbeat => 12,
            Lane::Snapshot => 13,
            Lane::Operations => 14,
        };
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "dns error: nobody has this address");
        async move {
            let end = tcp.connect(node, to.ok_or_else(unknown)?, lane, Some(gate)).await?;
            Ok(Box::new(end) as Box<dyn Bytes>)
        }
        .boxed()
    }
}

/// A peer whose calls are served by tasks of its node. The server's own tasks are not the node's: they would go on when it
/// stands still, or is gone.
pub struct Grouped {
    peer: Arc<dyn Peer>,
    group: Spawner,
}

impl Grouped {
    /// This one, in this group.
    pub fn new(peer: Arc<dyn Peer>, group: Spawner) -> Grouped {
        Grouped { peer, group }
    }

    /// Serves a call; who goes away before the answer ends it.
    async fn serve<T, F>(&self, serve: impl FnOnce(Arc<dyn Peer>) -> F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let task = While(self.group.spawn("serve a peer", serve(self.peer.clone())));
        task.await.unwrap_or_else(|Stopped| Err(CallError::Broken("the node is gone".to_owned())))
    }

    /// The messages of a stream, each read by a task of the node.
    fn pumped<T: Send + 'static>(&self, mut messages: PeerStream<T>) -> PeerStream<T> {
        let (send, receive) = mpsc::channel(WAITING);
        drop(self.group.spawn("send to a peer", async move {
            loop {
                let message = tokio::select! {
                    biased;
                    () = send.closed() => return,
                    message = messages.next() => message,
                };
                let Some(message) = message else { return };
                if send.send(message).await.is_err() {
                    return;
                }
            }
        }));
        ReceiverStream::new(receive).boxed()
    }
}

/// A task that ends when nobody waits for it any more.
struct While<T>(Task<T>);

impl<T> Future for While<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.poll_unpin(context)
    }
}

impl<T> Drop for While<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl Peer for Grouped {
    async fn request_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        self.serve(move |peer| async move { peer.request_vote(route, request).await }).await
    }

    async fn pre_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        self.serve(move |peer| async move { peer.pre_vote(route, request).await }).await
    }

    async fn append(&self, route: Route, request: wire::AppendRequest) -> Result<wire::AppendResponse, CallError> {
        self.serve(move |peer| async move { peer.append(route, request).await }).await
    }

    async fn stream_append(
        &self,
        route: Route,
        requests: PeerStream<wire::AppendRequest>,
    ) -> Result<PeerStream<wire::AppendResponse>, CallError> {
        let answers = self.serve(move |peer| async move { peer.stream_append(route, requests).await }).await?;
        Ok(self.pumped(answers))
    }

    async fn install_snapshot(
        &self,
        route: Route,
        parts: PeerStream<wire::SnapshotPart>,
    ) -> Result<wire::SnapshotResponse, CallError> {
        self.serve(move |peer| async move { peer.install_snapshot(route, parts).await }).await
    }

    async fn fetch_snapshot(&self, route: Route) -> Result<PeerStream<wire::SnapshotPart>, CallError> {
        let parts = self.serve(move |peer| async move { peer.fetch_snapshot(route).await }).await?;
        Ok(self.pumped(parts))
    }

    async fn transfer_leader(
        &self,
        route: Route,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, CallError> {
        self.serve(move |peer| async move { peer.transfer_leader(route, request).await }).await
    }

    async fn read_index(&self, route: Route) -> Result<wire::ReadIndexResponse, CallError> {
        self.serve(move |peer| async move { peer.read_index(route).await }).await
    }

    async fn forward(&self, route: Route, message: wire::ForwardMessage) -> Result<wire::ForwardMessage, CallError> {
        self.serve(move |peer| async move { peer.forward(route, message).await }).await
    }

    async fn clock(&self, route: Route, request: wire::ClockRequest) -> Result<wire::ClockResponse, CallError> {
        self.serve(move |peer| async move { peer.clock(route, request).await }).await
    }

    async fn health(&self, route: Route) -> Result<wire::HealthResponse, CallError> {
        self.serve(move |peer| async move { peer.health(route).await }).await
    }
}
