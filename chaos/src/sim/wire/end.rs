//! One end of a connection: bytes that arrive when the network lets them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use leasehold_node::seams::Gate;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::gate::PauseGate;
use super::super::network::Network;
use super::super::trace::Trace;

/// Bytes that were sent and not read: whoever sends more waits.
const UNREAD_MAX: usize = 1 << 20;
/// The longest piece that is sent at once.
const PIECE_MAX: usize = 64 << 10;
/// A connection over which nothing gets through for so long is given up by both sides, whoever speaks over it.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// One direction of a connection.
pub struct Way {
    from: u64,
    to: u64,
    lane: u64,
    network: Arc<Network>,
    trace: Arc<Trace>,
    inner: Mutex<Inner>,
}

struct Inner {
    under_way: VecDeque<(Instant, Piece)>,
    /// When the last piece is due: none overtakes another.
    last: Instant,
    unread: usize,
    /// Nobody reads any more.
    unheard: bool,
    /// The place that lost all it knew of the connection.
    lost_by: Option<u64>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Piece {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Way {
    pub(super) fn new(from: u64, to: u64, lane: u64, network: Arc<Network>, trace: Arc<Trace>) -> Arc<Way> {
        let inner = Inner {
            under_way: VecDeque::new(),
            last: Instant::now(),
            unread: 0,
            unheard: false,
            lost_by: None,
            reader: None,
            writer: None,
        };
        Arc::new(Way { from, to, lane, network, trace, inner: Mutex::new(inner) })
    }

    fn send(&self, piece: Piece) {
        let takes = self.network.takes(self.from, self.to, self.lane);
        let mut inner = self.inner.lock();
        inner.last = inner.last.max(Instant::now() + takes);
        let due = inner.last;
        if let Piece::Bytes(bytes) = &piece {
            inner.unread += bytes.len();
        }
        inner.under_way.push_back((due, piece));
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// Whoever reads is told that there is no connection any more.
    pub(super) fn reset(&self) {
        self.send(Piece::Reset);
    }

    /// A place lost all it knew of the connection: neither reads nor writes of that place go on.
    pub(super) fn lose(&self, place: u64) {
        let mut inner = self.inner.lock();
        inner.lost_by = Some(place);
        inner.unheard |= place == self.to;
        [inner.reader.take(), inner.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }

    fn unheard(&self) {
        let mut inner = self.inner.lock();
        inner.unheard = true;
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
    }
}

/// See the module.
pub struct End {
    /// What comes.
    comes: Arc<Way>,
    /// What goes.
    goes: Arc<Way>,
    /// Holds whoever has this end still.
    gate: Option<Arc<PauseGate>>,
    /// The next piece, on its way; false: the connection was given up.
    arriving: Option<BoxFuture<'static, bool>>,
    /// What arrived and was not read, and how much of it was.
    arrived: Vec<u8>,
    read: usize,
    over: Option<Over>,
    shut: bool,
}

/// How a connection ended for its reader.
#[derive(Clone, Copy)]
enum Over {
    End,
    Reset,
    Stalled,
}

impl Over {
    fn told(self) -> io::Result<()> {
        match self {
            Over::End => Ok(()),
            Over::Reset => Err(reset()),
            Over::Stalled => Err(io::Error::new(io::ErrorKind::TimedOut, "the connection timed out")),
        }
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset")
}

impl End {
    pub(super) fn new(comes: Arc<Way>, goes: Arc<Way>, gate: Option<Arc<PauseGate>>) -> End {
        End { comes, goes, gate, arriving: None, arrived: Vec::new(), read: 0, over: None, shut: false }
    }

    pub(super) fn behind(mut self, gate: Arc<PauseGate>) -> End {
        self.gate = Some(gate);
        self
    }

    fn may_step(&self, context: &mut Context<'_>) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.may_step(context))
    }

    /// Whether the place of this end lost all it knew.
    fn is_lost(&self) -> bool {
        self.goes.inner.lock().lost_by == Some(self.goes.from)
    }

    /// Takes the next piece once it has arrived.
    fn take_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let way = &self.comes;
        if self.arriving.is_none() {
            let mut inner = way.inner.lock();
            let Some((due, _)) = inner.under_way.front() else {
                inner.reader = Some(context.waker().clone());
                return Poll::Pending;
            };
            let (due, network, from, to) = (*due, way.network.clone(), way.from, way.to);
            self.arriving = Some(
                async move {
                    tokio::time::sleep_until(due).await;
                    network.whole(from, to, STALLED_MAX).await
                }
                .boxed(),
            );
        }
        let Some(arriving) = &mut self.arriving else { return Poll::Pending };
        let through = ready!(arriving.poll_unpin(context));
        self.arriving = None;
        if !through {
            way.trace.note("gave up", way.from, way.to, way.lane);
            self.over = Some(Over::Stalled);
            return Poll::Ready(());
        }
        let mut inner = way.inner.lock();
        let Some((_, piece)) = inner.under_way.pop_front() else { return Poll::Ready(()) };
        match piece {
            Piece::Bytes(bytes) => {
                inner.unread = inner.unread.saturating_sub(bytes.len());
                if let Some(writer) = inner.writer.take() {
                    writer.wake();
                }
                way.trace.note("bytes", way.from, way.to, xxhash_rust::xxh3::xxh3_64(&bytes));
                (self.arrived, self.read) = (bytes, 0);
            }
            Piece::End => {
                way.trace.note("end", way.from, way.to, way.lane);
                self.over = Some(Over::End);
            }
            Piece::Reset => {
                way.trace.note("reset", way.from, way.to, way.lane);
                self.over = Some(Over::Reset);
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_lost() {
            return Poll::Ready(Err(reset()));
        }
        if !self.may_step(context) {
            return Poll::Pending;
        }
        loop {
            let left = &self.arrived[self.read..];
            if !left.is_empty() {
                let many = left.len().min(buffer.remaining());
                buffer.put_slice(&left[..many]);
                self.read += many;
                return Poll::Ready(Ok(()));
            }
            if let Some(over) = self.over {
                return Poll::Ready(over.told());
            }
            ready!(self.take_next(context));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.shut || self.is_lost() || matches!(self.over, Some(Over::Reset | Over::Stalled)) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the connection is over")));
        }
        if !self.may_step(context) {
            return Poll::Pending;
        }
        let end = &mut *self;
        let mut inner = end.goes.inner.lock();
        // What nobody reads any more is of no use on its way; that nobody does comes back the other way.
        let many = bytes.len().min(PIECE_MAX);
        if inner.unheard {
            return Poll::Ready(Ok(many));
        }
        if inner.unread >= UNREAD_MAX {
            inner.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(inner);
        end.goes.send(Piece::Bytes(bytes[..many].to_vec()));
        Poll::Ready(Ok(many))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut && !self.is_lost() {
            if !self.may_step(context) {
                return Poll::Pending;
            }
            self.shut = true;
            self.goes.send(Piece::End);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // Who lost all says nothing, or was made to say so already.
        if self.is_lost() {
            return;
        }
        self.comes.unheard();
        if !self.shut {
            self.goes.send(Piece::End);
        }
    }
}
