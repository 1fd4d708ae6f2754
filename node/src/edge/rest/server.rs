//! Connections of the REST edge: HTTP/1.1 and HTTP/2, with a time limit on headers, until the node stops.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::StreamExt;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Rest, routes};
use crate::config::ApiSection;
use crate::edge::accept::{self, Connection};
use crate::edge::auth::Authenticator;
use crate::edge::tls::ServerTls;
use crate::operations::Operations;
use crate::seams::{Seams, Spawner};

/// A request's head must have arrived by then; an idle connection is closed after it.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// Longest head, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Serves until `stop`; then takes no more connections and lets those that are there finish their requests.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    tls: Option<ServerTls>,
    operations: Operations,
    authenticator: Arc<dyn Authenticator>,
    api: ApiSection,
    seams: Seams,
    stop: CancellationToken,
) -> io::Result<()> {
    let rest = Rest {
        operations,
        authenticator,
        seams: seams.clone(),
        minutes_before_end: api.minutes_before_end_lease,
        in_flight: Arc::new(Semaphore::new(api.requests_max.clamp(1, Semaphore::MAX_PERMITS))),
        scheme: if tls.is_some() { "https" } else { "http" },
    };
    let router = routes::router(rest);
    let mut connections = accept::connections(listener, tls, api.connections_max, &seams, stop.clone());
    while let Some(connection) = connections.next().await {
        let (router, spawner, stop) = (router.clone(), seams.spawner.clone(), stop.clone());
        drop(seams.spawner.spawn("rest connection", serve_connection(connection?, router, spawner, stop)));
    }
    Ok(())
}

async fn serve_connection(connection: Connection, router: Router, spawner: Spawner, stop: CancellationToken) {
    let mut http = Builder::new(OnSpawner(spawner));
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES_MAX);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(HEADER_TIME).max_header_list_size(64 * 1024);
    let service = hyper::service::service_fn(move |request| answer(router.clone(), request));
    let mut serving = pin!(http.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // The client went away or spoke no HTTP: its matter.
        tracing::debug!(error, "a connection ended early");
    }
}

async fn answer(router: Router, mut request: Request<Incoming>) -> Result<axum::response::Response, Infallible> {
    if let Some(uri) = routes::without_json(request.uri()) {
        *request.uri_mut() = uri;
    }
    router.oneshot(request.map(Body::new)).await
}

/// Runs the tasks of HTTP/2 streams in the node's group.
#[derive(Clone)]
struct OnSpawner(Spawner);

impl<F> hyper::rt::Executor<F> for OnSpawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn("rest stream", future));
    }
}
