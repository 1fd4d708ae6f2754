//! Watch streams: how they are let in, and when they must end though nothing of theirs failed.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, stream};
use leasehold_client::metadata;
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::watch_service_server::WatchService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::status::of;
use super::{Admitted, Edge};
use crate::edge::auth::Authenticator;
use crate::operations::{Actor, OperationError, Operations, Unavailable};
use crate::seams::Clock;

/// A stream of a node that has known no leader for so long ends: what it would wait for happens elsewhere.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl WatchService for Edge {
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let token = request.metadata().get(metadata::TOKEN).and_then(|token| token.to_str().ok()).map(str::to_owned);
        // A stream that waits is no request in flight: that permit ends with this call. Streams have a limit of their own.
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let overloaded = |_| of(OperationError::Unavailable(Unavailable::Overloaded));
        let place = self.streams.clone().try_acquire_owned().map_err(overloaded)?;
        let changes = self.operations.watch(&actor, message.after).await.map_err(of)?;
        let changes = changes.map(|change| change.map(Into::into).map_err(of));
        // Streams have no end of their own.
        let watched = Watched {
            operations: self.operations.clone(),
            authenticator: self.authenticator.clone(),
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            actor,
            token,
            recheck: self.recheck,
        };
        let must_end = watched.must_end().shared();
        let last = stream::once(must_end.clone().map(Err));
        let stream = changes.take_until(must_end).chain(last).inspect(move |_| {
            // Held for as long as the stream is.
            let _place = &place;
        });
        Ok(Response::new(stream.boxed()))
    }
}

/// What a stream's right to go on depends on.
struct Watched {
    operations: Operations,
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    actor: Actor,
    token: Option<String>,
    recheck: Duration,
}

impl Watched {
    /// Waits until the stream must end, and tells why. Readers go on at another node, or with another token.
    async fn must_end(self) -> Status {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => of(OperationError::Unavailable(Unavailable::Stopping)),
            () = self.operations.leaderless_for(LEADERLESS_MAX) => of(OperationError::Unavailable(Unavailable::NoLeader)),
            status = self.token_ends() => status,
        }
    }

    /// Asks again and again who holds the token: it expires, and may be revoked, while the stream is open.
    async fn token_ends(&self) -> Status {
        loop {
            self.clock.sleep(self.recheck).await;
            match self.authenticator.authenticate(self.token.as_deref()).await {
                Ok(actor) if actor == self.actor => {}
                // Its rights are others now: opened again, the stream shows what they allow.
                Ok(_) => return of(OperationError::Unavailable(Unavailable::RightsChanged)),
                Err(error) => return of(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;
    use tonic::Code;

    use super::*;
    use crate::edge::auth::AuthError;
    use crate::operations::tests::{Lone, actor};
    use crate::seams::clock::SystemClock;

    /// Knows its caller so many times, and then no more.
    struct Times(AtomicU32);

    #[tonic::async_trait]
    impl Authenticator for Times {
        async fn authenticate(&self, _: Option<&str>) -> Result<Actor, AuthError> {
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(|_| actor("member")).map_err(|_| AuthError::Invalid)
        }
    }

    fn edge(lone: &Lone, times: u32, recheck: Duration, streams: usize) -> Edge {
        Edge {
            operations: lone.operations.clone(),
            authenticator: Arc::new(Times(AtomicU32::new(times))),
            requests: Semaphore::new(10),
            streams: Arc::new(Semaphore::new(streams)),
            recheck,
            clock: Arc::new(SystemClock::new()),
            stop: CancellationToken::new(),
        }
    }

    async fn open(edge: &Edge) -> Result<BoxStream<'static, Result<v1::WatchResponse, Status>>, Status> {
        Ok(edge.watch(Request::new(v1::WatchRequest { after: 0 })).await?.into_inner())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_ends_when_its_token_does() {
        let lone = Lone::with_host(4).await;
        let edge = edge(&lone, 3, Duration::from_millis(20), 1);
        let mut stream = open(&edge).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn streams_are_bounded_and_a_dropped_one_makes_room() {
        let lone = Lone::with_host(4).await;
        let edge = edge(&lone, 9, Duration::from_secs(60), 1);
        let first = open(&edge).await.unwrap();
        assert_eq!(open(&edge).await.err().unwrap().code(), Code::Unavailable);
        drop(first);
        drop(open(&edge).await.unwrap());
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_of_a_node_without_a_leader_ends() {
        let lone = Lone::start().await;
        let edge = edge(&lone, 9, Duration::from_secs(60), 1);
        let mut stream = open(&edge).await.unwrap();
        let end = tokio::time::timeout(LEADERLESS_MAX * 3, stream.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unavailable, "{end:?}");
        lone.end().await;
    }
}
