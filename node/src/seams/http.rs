//! HTTP at the level of one request and one answer. Who calls knows whether a failed call may have been carried out:
//! [`HttpError::surely_not_sent`] tells.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};

/// Answers longer than this are refused. Nova's longest lists (`/servers/detail`, 1,000 a page) stay well below.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest wait for a connection. Who sends checks first whether he may, and the bytes leave when the connection stands:
/// the margins of the leader's rights to act are larger than this (architecture D6).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One request. Headers and body may hold secrets, so `Debug` shows neither.
#[derive(Clone)]
pub struct HttpRequest {
    /// The verb.
    pub method: Method,
    /// Absolute URL, `http` or `https`.
    pub url: String,
    /// Headers as sent; `host` and `content-length` are added.
    pub headers: HeaderMap,
    /// The whole body; may be empty.
    pub body: Bytes,
    /// From connecting until the last byte of the answer.
    pub timeout: Duration,
}

/// One answer, of any status: an HTTP error status is an answer, not an [`HttpError`]. As [`HttpRequest`], `Debug` shows no
/// secrets: a token comes in a header.
#[derive(Clone)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, url, timeout, .. } = self;
        f.debug_struct("HttpRequest").field("method", method).field("url", url).field("timeout", timeout).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// No answer was had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection was made, so the request was not sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The request could not be built (bad URL or header), so it was not sent.
    #[error("request is not valid: {0}")]
    Invalid(String),
    /// The time was up. The request may have been carried out.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke after it was made. The request may have been carried out.
    #[error("connection broken: {0}")]
    Reset(String),
    /// The answer is longer than [`BODY_BYTES_MAX`]. The request may have been carried out.
    #[error("answer is longer than {BODY_BYTES_MAX} bytes")]
    BodyTooLarge,
    /// Anything else. The request may have been carried out.
    #[error("HTTP failed: {0}")]
    Other(String),
}

impl HttpError {
    /// Whether the request certainly did not reach the other side.
    #[must_use]
    pub fn surely_not_sent(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Invalid(_))
    }
}

/// Sends requests.
pub trait Http: Send + Sync + 'static {
    /// Sends one request and reads the whole answer. No redirect is followed and nothing is retried: both are the
    /// caller's decision, because a repeated call may not be harmless.
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>>;
}

/// How the system's HTTP client is set up.
#[derive(Clone, Debug, Default)]
pub struct HttpOptions {
    /// PEM certificates trusted besides the system's roots (the cloud's own authority).
    pub extra_ca_pem: Vec<u8>,
}

/// HTTP/1.1 and HTTP/2 over TCP, TLS by rustls. Ignores proxy variables: a node's calls go where its configuration says.
#[derive(Clone, Debug)]
pub struct SystemHttp {
    client: reqwest::Client,
}

impl SystemHttp {
    /// Sets up the client.
    ///
    /// # Errors
    /// [`HttpError::Invalid`] when the extra certificates cannot be read or no TLS client can be made.
    pub fn new(options: &HttpOptions) -> Result<Self, HttpError> {
        // reqwest is built without a provider of its own. An error means one is installed already: it is ours.
        drop(rustls::crypto::ring::default_provider().install_default());
        let extra =
            reqwest::Certificate::from_pem_bundle(&options.extra_ca_pem).map_err(|error| HttpError::Invalid(chain(&error)))?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT);
        if !extra.is_empty() {
            builder = builder.tls_certs_merge(extra);
        }
        let client = builder.build().map_err(|error| HttpError::Invalid(chain(&error)))?;
        Ok(Self { client })
    }
}

impl Http for SystemHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, HttpError>> {
        let sent = self
            .client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(request.body)
            .timeout(request.timeout)
            .send();
        Box::pin(async move {
            let mut response = sent.await.map_err(|error| told(&error))?;
            let status = response.status();
            let headers = std::mem::take(response.headers_mut());
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| told(&error))? {
                if body.len() + chunk.len() > BODY_BYTES_MAX {
                    return Err(HttpError::BodyTooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(HttpResponse { status, headers, body: body.freeze() })
        })
    }
}

/// Sorts a client error by what it says about the request.
fn told(error: &reqwest::Error) -> HttpError {
    // A timeout while connecting is both; the connection was then not made, which is the stronger statement.
    if error.is_connect() {
        HttpError::Connect(chain(error))
    } else if error.is_timeout() {
        HttpError::Timeout
    } else if error.is_builder() {
        HttpError::Invalid(chain(error))
    } else if error.is_request() || error.is_body() {
        HttpError::Reset(chain(error))
    } else {
        HttpError::Other(chain(error))
    }
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `answer` after reading the request's head.
    async fn server(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.unwrap();
                seen.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer).await.unwrap();
        });
        format!("http://{address}/v2.1/servers")
    }

    fn get(url: String) -> HttpRequest {
        HttpRequest { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), timeout: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn an_error_status_and_a_redirect_are_answers() {
        let http = SystemHttp::new(&HttpOptions::default()).unwrap();
        let url = server(b"HTTP/1.1 409 Conflict\r\ncontent-length: 4\r\nx-a: b\r\n\r\nbusy").await;
        let answer = http.send(get(url)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (409, &b"busy"[..]));
        assert_eq!(answer.headers["x-a"], "b");
        let url = server(b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(http.send(get(url)).await.unwrap().status.as_u16(), 302);
    }

    #[tokio::test]
    async fn a_refused_connection_was_surely_not_sent_and_a_broken_one_may_have_been() {
        let http = SystemHttp::new(&HttpOptions::default()).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = http.send(get(format!("http://{free}/"))).await.unwrap_err();
        assert!(refused.surely_not_sent(), "{refused}");
        let url = server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        let broken = http.send(get(url)).await.unwrap_err();
        assert!(!broken.surely_not_sent(), "{broken}");
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut request = get(format!("http://{}/", silent.local_addr().unwrap()));
        request.timeout = Duration::from_millis(50);
        assert_eq!(http.send(request).await.unwrap_err(), HttpError::Timeout);
    }

    #[tokio::test]
    async fn a_connection_that_does_not_come_about_within_a_second_is_given_up_unsent() {
        let http = SystemHttp::new(&HttpOptions::default()).unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // Nobody accepts, and the queue of the kernel is full: further connections get no answer.
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
        {
            waiting.push(stream);
        }
        let begun = std::time::Instant::now();
        let mut request = get(format!("http://{address}/"));
        request.timeout = Duration::from_secs(20);
        let given_up = http.send(request).await.unwrap_err();
        assert!(given_up.surely_not_sent(), "{given_up}");
        assert!(begun.elapsed() < CONNECT_TIMEOUT * 3, "{:?}", begun.elapsed());
    }
}
