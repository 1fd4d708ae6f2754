//! HTTP over accepted connections, for REST and the metrics: HTTP/1.1 and HTTP/2, with time limits, until the node stops.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use crate::listen::accept::Connection;
use crate::seams::{Seams, Spawner};

/// A request's head must have arrived by then; an idle connection is closed after it.
const HEADER_TIME: Duration = Duration::from_secs(60);
/// Longest head, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Serves until the connections end; those that are there then finish their requests.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve<S, I>(
    mut connections: ReceiverStream<io::Result<Connection<I>>>,
    service: S,
    seams: &Seams,
    stop: &CancellationToken,
) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    while let Some(connection) = connections.next().await {
        let (service, spawner, stop) = (service.clone(), seams.spawner.clone(), stop.clone());
        drop(seams.spawner.spawn("http connection", serve_connection(connection?, service, spawner, stop)));
    }
    Ok(())
}

async fn serve_connection<S, I>(connection: Connection<I>, service: S, spawner: Spawner, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut http = Builder::new(OnSpawner(spawner));
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES_MAX);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(HEADER_TIME).max_header_list_size(64 * 1024);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| service.clone().oneshot(request.map(Body::new)));
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

/// Runs the tasks of HTTP/2 streams in the node's group.
#[derive(Clone)]
struct OnSpawner(Spawner);

impl<F> hyper::rt::Executor<F> for OnSpawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn("http stream", future));
    }
}
