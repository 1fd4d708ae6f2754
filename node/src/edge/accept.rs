//! Connections of clients, for both edges: accepted up to a limit, TLS handshakes done beside each other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
/// Connections that shook hands and wait to be served.
const READY_MAX: usize = 64;

/// A client's connection. Counts against the limit until it is dropped.
pub struct Connection {
    io: Io,
    _permit: OwnedSemaphorePermit,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connections of a listener, until `stop`. At most `connections_max` exist at a time; the next wait in the listener.
pub fn connections(
    listener: TcpListener,
    tls: Option<ServerTls>,
    connections_max: usize,
    seams: &Seams,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Connection>> {
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
                drop(ready.send(Ok(Connection { io, _permit: permit })).await);
            }));
        }
    }));
    ReceiverStream::new(accepted)
}

/// The next connection; `None` once stopped.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    seams: &Seams,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accepted = async {
        let permit = permits.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection broke before it was served");
                        continue;
                    }
                    return Some((stream, permit));
                }
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

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Io::Tls(io) => Pin::new(io).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
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

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}
