//! `/metrics`, `/healthz`, `/readyz` on a port of their own, without a token.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::edge::http;
use crate::listen::accept;
use crate::seams::{Clock, Seams};

/// Answers whether the node can serve now, or why not.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

#[derive(Clone)]
struct Served {
    clock: Arc<dyn Clock>,
    readiness: Readiness,
}

/// Connections at a time: scrapers and probes, not users.
const CONNECTIONS_MAX: usize = 256;

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, seams: Seams, readiness: Readiness, stop: CancellationToken) -> std::io::Result<()> {
    let clock = seams.clock.clone();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(Served { clock, readiness });
    let connections = accept::connections(listener, None, CONNECTIONS_MAX, &seams, stop.clone());
    http::serve(connections, router, &seams, &stop).await
}

async fn ready(State(served): State<Served>) -> Response {
    match (served.readiness)().await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

async fn scrape(State(served): State<Served>) -> Response {
    match metrics::render(served.clock.mono()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::seams::HttpOptions;

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_until_one_ends() {
        let seams = Seams::system(&HttpOptions::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ready: Readiness = Arc::new(|| Box::pin(async { Err("no leader".to_owned()) }));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, seams, ready, stop.clone()));
        let get = |mut stream: TcpStream, path: &'static str| async move {
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let next = TcpStream::connect(address).await.unwrap();
        let mut waiting = std::pin::pin!(get(next, "/readyz"));
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
        assert!(get(idle.pop().unwrap(), "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("not ready: no leader"), "{answer}");
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
