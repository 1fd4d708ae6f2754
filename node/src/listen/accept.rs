//! Connections of clients and peers: accepted up to a limit, TLS handshakes done beside each other,
//! and closed when nothing comes over them at first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::tls::ServerTls;
use crate::seams::Seams;

/// Before accepting is tried again when the system has no more to give (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// By then it must be known which protocol the client speaks. Later silence is that protocol's to judge; before, nobody
/// does, and a connection that says nothing, or only how HTTP/2 begins, would keep its place for ever.
const PROTOCOL_TIME: Duration = Duration::from_secs(60);
/// How HTTP/2 begins (RFC 9113 §3.4). Any other byte begins HTTP/1.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Connections that shook hands and wait to be served.
const READY_MAX: usize = 64;

/// Where connections come from: the system, or a simulation.
pub trait Listener: Send + Sync + 'static {
    /// A connection's bytes.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        loop {
            let (stream, _) = TcpListener::accept(self).await?;
            // With Nagle's algorithm every small answer, a heartbeat's or a read's, waits 40 ms for the other side's
            // delayed acknowledgement.
            match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(error) => tracing::debug!(%error, "a connection broke before it was served"),
            }
        }
    }
}

/// A client's connection. Counts against the limit until it is dropped.
pub struct Connection<S> {
    io: Io<S>,
    /// Until the protocol is known.
    unknown: Option<Unknown>,
    _permit: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(io: Io<S>, due: BoxFuture<'static, ()>, permit: OwnedSemaphorePermit) -> Connection<S> {
        Connection { io, unknown: Some(Unknown { due, preface: PREFACE }), _permit: permit }
    }
}

/// What is missing to tell which protocol a client speaks.
struct Unknown {
    /// When it must be known.
    due: BoxFuture<'static, ()>,
    /// The bytes of the preface that have not come.
    preface: &'static [u8],
}

impl Unknown {
    /// Takes what came; `None` once the protocol is known: at the whole preface, or at the first byte that is none of it.
    fn after(self, came: &[u8]) -> Option<Unknown> {
        let preface = self.preface.strip_prefix(came).filter(|left| !left.is_empty())?;
        Some(Unknown { preface, ..self })
    }
}

enum Io<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

/// The connections of a listener, until `stop`. At most `connections_max` exist at a time; the next wait in the listener.
pub fn connections<L: Listener>(
    listener: L,
    tls: Option<ServerTls>,
    connections_max: usize,
    seams: &Seams,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Connection<L::Io>>> {
    let (ready, accepted) = mpsc::channel(READY_MAX);
    let permits = Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let seams = seams.clone();
    let spawner = seams.spawner.clone();
    drop(spawner.spawn("accept", async move {
        while let Some((stream, permit)) = next(&listener, &permits, &seams, &stop).await {
            let (ready, tls, clock) = (ready.clone(), tls.clone(), seams.clock.clone());
            drop(seams.spawner.spawn("handshake", async move {
                let io = match tls {
                    None => Io::Plain(stream),
                    Some(tls) => match tls.accept(stream, &*clock).await {
                        Ok(stream) => Io::Tls(Box::new(stream)),
                        // Scanners and clients that trust another authority; nothing of ours.
                        Err(error) => return tracing::debug!(%error, "a TLS handshake failed"),
                    },
                };
                // The receiver is gone when the edge stops; then so is the connection.
                drop(ready.send(Ok(Connection::new(io, clock.sleep(PROTOCOL_TIME), permit))).await);
            }));
        }
    }));
    ReceiverStream::new(accepted)
}

/// The next connection; `None` once stopped.
async fn next<L: Listener>(
    listener: &L,
    permits: &Arc<Semaphore>,
    seams: &Seams,
    stop: &CancellationToken,
) -> Option<(L::Io, OwnedSemaphorePermit)> {
    let accepted = async {
        let permit = permits.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok(stream) => return Some((stream, permit)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    seams.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        next = accepted => next,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Io::Tls(io) => Pin::new(io).poll_read(context, buffer),
        };
        if read.is_ready() {
            self.unknown = self.unknown.take().and_then(|unknown| unknown.after(buffer.filled().get(before..)?));
            return read;
        }
        if self.unknown.as_mut().is_some_and(|unknown| unknown.due.poll_unpin(context).is_ready()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not say which protocol it speaks")));
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(context, bytes),
            Io::Tls(io) => Pin::new(io).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(context),
            Io::Tls(io) => Pin::new(io).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(context),
            Io::Tls(io) => Pin::new(io).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(context, slices),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }
}

impl<S> tonic::transport::server::Connected for Connection<S> {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn connected(due: BoxFuture<'static, ()>) -> (Connection<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = TcpListener::accept(&listener).await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Connection::new(Io::Plain(stream), due, permit), client)
    }

    #[tokio::test]
    async fn a_connection_over_which_nothing_comes_is_given_up() {
        let (mut silent, _client) = connected(Box::pin(tokio::task::yield_now())).await;
        assert_eq!(silent.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_that_stops_within_the_preface_is_given_up_and_after_it_may_pause() {
        for said in 1..=PREFACE.len() {
            let (tell, due) = tokio::sync::oneshot::channel::<()>();
            let (mut speaking, mut client) = connected(Box::pin(due.map(drop))).await;
            let (first, second) = PREFACE[..said].split_at(said / 2);
            for part in [first, second] {
                client.write_all(part).await.unwrap();
                speaking.read_exact(&mut vec![0; part.len()]).await.unwrap();
            }
            drop(tell);
            let next = async {
                tokio::task::yield_now().await;
                client.write_u8(2).await.unwrap();
            };
            let (read, ()) = tokio::join!(speaking.read_u8(), next);
            let expected = if said < PREFACE.len() { Err(io::ErrorKind::TimedOut) } else { Ok(2) };
            assert_eq!(read.map_err(|error| error.kind()), expected, "after {said} bytes");
        }
    }

    #[tokio::test]
    async fn a_connection_that_began_to_speak_may_pause() {
        let (tell, due) = tokio::sync::oneshot::channel::<()>();
        let (mut speaking, mut client) = connected(Box::pin(due.map(drop))).await;
        client.write_u8(1).await.unwrap();
        assert_eq!(speaking.read_u8().await.unwrap(), 1);
        drop(tell);
        let read = speaking.read_u8();
        let (read, ()) = tokio::join!(read, async { client.write_u8(2).await.unwrap() });
        assert_eq!(read.unwrap(), 2);
    }
}
