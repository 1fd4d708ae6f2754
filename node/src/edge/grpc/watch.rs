//! Watch streams: how they are let in, and when they must end though nothing of theirs failed.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use futures::{FutureExt, stream};
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::watch_service_server::WatchService;
use leasehold_ledger::mutant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::status::of;
use super::{Admitted, Edge};
use crate::edge::auth::{AuthError, Authenticator};
use crate::operations::{Actor, OperationError, Operations, Unavailable};
use crate::seams::{Clock, Rng};

/// A stream of a node that has known no leader for so long ends: what it would wait for happens elsewhere.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);
/// A token that could not be checked is asked about again after so long, and up to as much as [`RETRY_SPREAD`] later.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_SPREAD: Duration = Duration::from_secs(10);

#[tonic::async_trait]
impl WatchService for Edge {
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let token = super::token(&request).map(str::to_owned);
        // A stream that waits is no request in flight: that permit ends with this call. Streams have a limit of their own.
        let Admitted { actor, message, _permit } = self.admit(request).await?;
        let overloaded = |_| of(OperationError::Unavailable(Unavailable::Overloaded));
        let place = self.streams.clone().try_acquire_owned().map_err(overloaded)?;
        let changes = self.operations.watch(&actor, message.after).await.map_err(of)?;
        // Planted bug: who goes on misses one.
        let missed = usize::from(mutant!("N14") && message.after > 0);
        let changes = changes.skip(missed).map(|change| change.map(Into::into).map_err(of));
        // Streams have no end of their own.
        let watched = Watched {
            operations: self.operations.clone(),
            authenticator: self.authenticator.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
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
    rng: Arc<dyn Rng>,
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

    /// Asks again and again who holds the token: it expires, and may be revoked, while the stream is open. Only a definite
    /// answer ends the stream: a Keystone that cannot be asked for a while says nothing against the token, and streams that
    /// all ended for it would all come back at once. They ask spread, for they may all have been opened at once.
    async fn token_ends(&self) -> Status {
        let mut pause = self.spread(self.recheck, self.recheck / 10);
        loop {
            self.clock.sleep(pause).await;
            pause = self.spread(self.recheck, self.recheck / 10);
            match self.authenticator.authenticate(self.token.as_deref()).await {
                Ok(actor) if actor == self.actor => {}
                // Its rights are others now: opened again, the stream shows what they allow.
                Ok(_) => return of(OperationError::Unavailable(Unavailable::RightsChanged)),
                Err(AuthError::Unavailable(error)) => {
                    tracing::debug!(error, "a stream's token cannot be checked now");
                    pause = self.spread(RETRY, RETRY_SPREAD);
                }
                Err(error @ (AuthError::Missing | AuthError::Invalid)) => return of(error),
            }
        }
    }

    /// So long, or up to `more` longer.
    fn spread(&self, least: Duration, more: Duration) -> Duration {
        let more_ms = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
        least.saturating_add(Duration::from_millis(self.rng.below(more_ms.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;
    use tonic::Code;

    use super::*;
    use crate::config::Secret;
    use crate::operations::tests::{Lone, actor};
    use crate::seams::Mono;
    use crate::seams::clock::SystemClock;
    use crate::seams::rng::SystemRng;

    /// Knows its caller so many times, and then no more.
    struct Times(AtomicU32);

    #[tonic::async_trait]
    impl Authenticator for Times {
        async fn authenticate(&self, _: Option<&str>) -> Result<Actor, AuthError> {
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(|_| actor("member")).map_err(|_| AuthError::Invalid)
        }
        fn for_cloud(&self, _: Option<&str>) -> Option<Secret> {
            None
        }
    }

    /// Cannot be asked so many times, and then knows nobody; after it let the stream in.
    struct Away {
        asked: AtomicU32,
        times: u32,
    }

    #[tonic::async_trait]
    impl Authenticator for Away {
        async fn authenticate(&self, _: Option<&str>) -> Result<Actor, AuthError> {
            match self.asked.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(actor("member")),
                asked if asked <= self.times => Err(AuthError::Unavailable("away".to_owned())),
                _ => Err(AuthError::Invalid),
            }
        }
        fn for_cloud(&self, _: Option<&str>) -> Option<Secret> {
            None
        }
    }

    /// Waits no time, and writes down for how long it was asked to wait.
    #[derive(Default)]
    struct Noting(parking_lot::Mutex<Vec<Duration>>);

    impl Clock for Noting {
        fn mono(&self) -> Mono {
            Mono::default()
        }
        fn wall_ms(&self) -> u64 {
            0
        }
        fn sleep(&self, d: Duration) -> futures::future::BoxFuture<'static, ()> {
            self.0.lock().push(d);
            tokio::task::yield_now().boxed()
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
            rng: Arc::new(SystemRng),
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
    async fn a_stream_outlasts_a_keystone_that_cannot_be_asked() {
        let lone = Lone::with_host(4).await;
        let away = Arc::new(Away { asked: AtomicU32::new(0), times: 3 });
        let clock = Arc::new(Noting::default());
        let edge = Edge { authenticator: away.clone(), clock: clock.clone(), ..edge(&lone, 0, Duration::from_secs(60), 1) };
        let mut stream = open(&edge).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
        assert_eq!(away.asked.load(Ordering::SeqCst), 5, "let in, put off three times, told no");
        let waited = clock.0.lock().clone();
        let within = |waited: &Duration, from, to| (Duration::from_secs(from)..=Duration::from_secs(to)).contains(waited);
        assert!(within(&waited[0], 60, 66) && waited[1..].iter().all(|waited| within(waited, 5, 15)), "{waited:?}");
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
