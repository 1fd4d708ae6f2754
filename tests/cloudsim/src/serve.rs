//! The cloud over HTTP/1.1: every service on one port, each below its prefix.
//!
//! Built on hyper itself, because a lost answer must end the connection, which a router would turn into a response.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::cloud::Cloud;
use crate::message::{Answer, Request, Response};

/// Tells the instant in ms since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How often due work is done while nobody calls. Work is done at its own instant all the same; this only bounds how
/// soon it stands in the record.
const TICK: Duration = Duration::from_millis(10);

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// A fault took the answer.
    #[error("the answer is lost")]
    Lost,
    /// The request could not be read.
    #[error("the request could not be read")]
    Read(#[source] hyper::Error),
    /// An answer could not be made of what a service said.
    #[error("the answer is no HTTP")]
    Answer(#[source] http::Error),
}

/// Serves the cloud on a bound listener until the task is dropped or the listener fails.
pub async fn serve(cloud: Arc<Mutex<Cloud>>, listener: TcpListener, clock: Clock) -> io::Result<()> {
    let ticking = async {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            let now = clock();
            lock(&cloud).advance(now);
        }
    };
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await?;
            // Answers are small; waiting for more to send only delays them.
            stream.set_nodelay(true)?;
            tokio::spawn(connection(Arc::clone(&cloud), stream, Arc::clone(&clock)));
        }
    };
    tokio::select! {
        biased;
        ended = accepting => ended,
        never = ticking => never,
    }
}

async fn connection(cloud: Arc<Mutex<Cloud>>, stream: TcpStream, clock: Clock) {
    let service = service_fn(|request| answer(Arc::clone(&cloud), request, Arc::clone(&clock)));
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    // A connection that ends early is the caller's doing or a fault's; the record has what happened.
    drop(served);
}

async fn answer(
    cloud: Arc<Mutex<Cloud>>,
    request: http::Request<Incoming>,
    clock: Clock,
) -> Result<http::Response<Full<Bytes>>, Ended> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(Ended::Read)?.to_bytes();
    let request = Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
        caller: String::new(),
    };
    let response = {
        let mut cloud = lock(&cloud);
        // Read under the lock: calls take effect in the order of their instants.
        let now = clock();
        cloud.handle(now, request)
    };
    match response {
        Response::Answer { after_ms, answer } => {
            wait(after_ms).await;
            finish(answer).map_err(Ended::Answer)
        }
        Response::Lost { after_ms } => {
            wait(after_ms).await;
            Err(Ended::Lost)
        }
        Response::Hang => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    }
}

async fn wait(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn finish(answer: Answer) -> Result<http::Response<Full<Bytes>>, http::Error> {
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(answer.body))
}

fn lock(cloud: &Mutex<Cloud>) -> std::sync::MutexGuard<'_, Cloud> {
    cloud.lock().unwrap_or_else(PoisonError::into_inner)
}
