//! The gRPC edge, package `leasehold.v1`: each handler admits the request, decodes, calls one operation, encodes.
//!
//! Messages and their conversions are `leasehold_client::wire`; failures become statuses in `status.rs` by the table of
//! `edge/error.rs`. Must not know: rules, Raft, the cloud. Read next: `lease.rs`.

mod capacity;
mod cluster;
mod host;
mod in_group;
mod lease;
mod observe;
mod quota;
mod status;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::metadata;
use leasehold_client::wire::v1::capacity_service_server::CapacityServiceServer;
use leasehold_client::wire::v1::cluster_service_server::ClusterServiceServer;
use leasehold_client::wire::v1::host_service_server::HostServiceServer;
use leasehold_client::wire::v1::lease_service_server::LeaseServiceServer;
use leasehold_client::wire::v1::quota_service_server::QuotaServiceServer;
use leasehold_client::wire::v1::watch_service_server::WatchServiceServer;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Status};

use super::auth::Authenticator;
use crate::config::{ApiSection, Secret};
use crate::listen::accept::{self, Listener};
use crate::listen::tls::ServerTls;
use crate::operations::{Actor, OperationError, Operations, Unavailable};
use crate::seams::{Clock, Rng, Seams};

/// Longest request: 1,000 reservations with long terms stay far below.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// No operation takes longer: deletes answer within 60 s (architecture D19).
const REQUEST_TIME_MAX: Duration = Duration::from_secs(90);
/// Connections that answer no ping are closed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the services share.
struct Edge {
    operations: Operations,
    authenticator: Arc<dyn Authenticator>,
    requests: Semaphore,
    /// Watch streams that are open.
    streams: Arc<Semaphore>,
    /// How long a stream trusts its token without asking again.
    recheck: Duration,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    stop: CancellationToken,
}

/// A request that was let in. Counts against the limit until it is dropped.
struct Admitted<'a, M> {
    actor: Actor,
    message: M,
    _permit: SemaphorePermit<'a>,
}

impl Edge {
    /// The caller's token, where services of the cloud know it.
    fn cloud_token<M>(&self, request: &Request<M>) -> Option<Secret> {
        self.authenticator.for_cloud(token(request))
    }

    async fn admit<M>(&self, request: Request<M>) -> Result<Admitted<'_, M>, Status> {
        // First who it is: a Keystone that hangs must not use up the places of those whose token is known.
        let actor = self.authenticator.authenticate(token(&request)).await.map_err(status::of)?;
        tracing::Span::current().record("project_id", tracing::field::display(&actor.project_id));
        let overloaded = |_| status::of(OperationError::Unavailable(Unavailable::Overloaded));
        let permit = self.requests.try_acquire().map_err(overloaded)?;
        Ok(Admitted { actor, message: request.into_inner(), _permit: permit })
    }
}

fn token<M>(request: &Request<M>) -> Option<&str> {
    request.metadata().get(metadata::TOKEN).and_then(|token| token.to_str().ok())
}

/// How callers are known.
#[derive(Clone)]
pub struct Callers {
    /// By their tokens.
    pub authenticator: Arc<dyn Authenticator>,
    /// A watch stream's token is asked about again so often.
    pub recheck: Duration,
}

/// Serves until `stop`; then answers what is in flight and returns.
///
/// # Errors
/// When the listener cannot be served any more.
pub async fn serve(
    listener: impl Listener,
    tls: Option<ServerTls>,
    operations: Operations,
    callers: Callers,
    api: ApiSection,
    seams: Seams,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let requests = Semaphore::new(api.requests_max.clamp(1, Semaphore::MAX_PERMITS));
    let observe = observe::Observe { operations: operations.clone(), seams: seams.clone() };
    let streams = Arc::new(Semaphore::new(api.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let Callers { authenticator, recheck } = callers;
    let (clock, rng, stopping) = (seams.clock.clone(), seams.rng.clone(), stop.clone());
    let edge = Arc::new(Edge { operations, authenticator, requests, streams, recheck, clock, rng, stop: stopping });
    let connections = accept::connections(listener, tls, api.connections_max, &seams, stop.clone());
    Server::builder()
        .timeout(REQUEST_TIME_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_connection_window_size(1 << 20)
        .initial_stream_window_size(1 << 20)
        .max_concurrent_streams(1024)
        .layer(in_group::InGroup(seams.spawner.clone()))
        .layer(observe)
        .add_service(LeaseServiceServer::from_arc(edge.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(CapacityServiceServer::from_arc(edge.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(QuotaServiceServer::from_arc(edge.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(HostServiceServer::from_arc(edge.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(WatchServiceServer::from_arc(edge.clone()).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(ClusterServiceServer::from_arc(edge).max_decoding_message_size(REQUEST_BYTES_MAX))
        .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
        .await
}
