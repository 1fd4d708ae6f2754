//! The wire level: what nodes and clients say to each other goes through the product's own HTTP, as bytes over simulated TCP.
//!
//! The bytes pass the network of the message level: its delays, cuts and weather. Within a connection nothing is lost and the
//! order stays; what is sent over a cut link waits for the cut to heal. What breaks a connection over which nothing comes is
//! the keep-alive of whoever speaks over it. A node that is killed resets its connections; one without power says nothing more
//! until it is back. There is no TLS: its handshake draws from the system's randomness.
//!
//! Read on: [`end`], [`peers`], [`edges`]; then [`clients`], [`rest`], [`follow`].

pub mod clients;
pub mod edges;
pub mod end;
pub mod follow;
pub mod peers;
pub mod rest;
pub mod shapes;
pub mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use leasehold_node::listen::accept::Listener;
use leasehold_node::raft::Member;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::gate::PauseGate;
use super::network::Network;
use super::node::Death;
use super::trace::Trace;
use end::{End, Way};

/// Where nodes listen for each other.
pub const PEER: u16 = 7_000;
/// And for clients of gRPC.
pub const GRPC: u16 = 7_001;
/// And for those of REST.
pub const REST: u16 = 7_002;
/// Whoever asks for a connection gives up by himself before that.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Where a node listens.
pub fn address(node: u64, port: u16) -> String {
    format!("node-{node}:{port}")
}

/// Who listens at an address; `None`: nobody ever.
pub fn place(address: &str) -> Option<(u64, u16)> {
    let (node, port) = address.strip_prefix("node-")?.split_once(':')?;
    Some((node.parse().ok()?, port.parse().ok()?))
}

/// How a node is announced.
pub fn member(id: u64) -> Member {
    Member { peer_address: address(id, PEER), grpc_address: address(id, GRPC), rest_address: address(id, REST) }
}

/// All connections of a run.
pub struct Tcp {
    network: Arc<Network>,
    trace: Arc<Trace>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    listeners: BTreeMap<(u64, u16), mpsc::UnboundedSender<End>>,
    open: Vec<Open>,
}

/// A connection: both its ways, for as long as somebody holds one of its ends.
struct Open {
    places: (u64, u64),
    ways: (Weak<Way>, Weak<Way>),
    /// This place has no power, and has not told the other that it knows nothing of the connection any more.
    silent: Option<u64>,
}

impl Tcp {
    /// Nobody listens.
    pub fn new(network: Arc<Network>, trace: Arc<Trace>) -> Arc<Tcp> {
        Arc::new(Tcp { network, trace, inner: Mutex::default() })
    }

    /// A node listens on a port, until it goes down.
    pub fn listen(&self, node: u64, port: u16) -> SimListener {
        let (arrived, accepted) = mpsc::unbounded_channel();
        self.inner.lock().listeners.insert((node, port), arrived);
        SimListener { accepted: Mutex::new(accepted) }
    }

    /// Makes a connection. `gates`: what holds whoever asks still, and whoever is asked.
    ///
    /// # Errors
    /// When nobody listens there, or nothing gets through for long.
    pub async fn connect(&self, from: u64, to: (u64, u16), lane: u64, gate: Option<Arc<PauseGate>>) -> io::Result<End> {
        let (node, port) = to;
        // The words by which the system's connector tells that there never was a connection.
        let failed = |kind, why: &str| io::Error::new(kind, format!("tcp connect error: {why}"));
        let late = || failed(io::ErrorKind::TimedOut, "nothing got through");
        if !self.network.deliver("syn", from, node, lane, CONNECT_MAX).await {
            return Err(late());
        }
        let listener = self.inner.lock().listeners.get(&to).cloned();
        let made = listener.and_then(|listener| {
            let (there, back) = (self.way(from, node, lane), self.way(node, from, lane));
            let mine = End::new(back.clone(), there.clone(), gate);
            let theirs = End::new(there.clone(), back.clone(), None);
            listener.send(theirs).ok()?;
            let mut inner = self.inner.lock();
            inner.open.retain(|open| open.ways.0.strong_count() + open.ways.1.strong_count() > 0);
            let ways = (Arc::downgrade(&there), Arc::downgrade(&back));
            inner.open.push(Open { places: (from, node), ways, silent: None });
            Some(mine)
        });
        self.trace.note("connection", from, node, u64::from(port) * 2 + u64::from(made.is_some()));
        if !self.network.deliver("syn-ack", node, from, lane, CONNECT_MAX).await {
            return Err(late());
        }
        made.ok_or_else(|| failed(io::ErrorKind::ConnectionRefused, "connection refused"))
    }

    fn way(&self, from: u64, to: u64, lane: u64) -> Arc<Way> {
        Way::new(from, to, lane, self.network.clone(), self.trace.clone())
    }

    /// A node is gone.
    pub fn down(&self, node: u64, death: Death) {
        let mut inner = self.inner.lock();
        inner.listeners.retain(|(of, _), _| *of != node);
        for open in inner.open.iter_mut().filter(|open| open.places.0 == node || open.places.1 == node) {
            let (own, others) = open.of(node);
            [own.as_ref(), others.as_ref()].into_iter().flatten().for_each(|way| way.lose(node));
            match death {
                Death::Kill => own.iter().for_each(|way| way.reset()),
                Death::Power => open.silent = Some(node),
            }
        }
    }

    /// A node is there again: it answers what comes over connections of its last life.
    pub fn up(&self, node: u64) {
        let mut inner = self.inner.lock();
        for open in inner.open.iter_mut().filter(|open| open.silent == Some(node)) {
            open.silent = None;
            open.of(node).0.iter().for_each(|way| way.reset());
        }
    }
}

impl Open {
    /// The way from a place, and the one to it.
    fn of(&self, node: u64) -> (Option<Arc<Way>>, Option<Arc<Way>>) {
        let (first, second) = (self.ways.0.upgrade(), self.ways.1.upgrade());
        if self.places.0 == node { (first, second) } else { (second, first) }
    }
}

/// See [`Tcp::listen`].
pub struct SimListener {
    accepted: Mutex<mpsc::UnboundedReceiver<End>>,
}

impl SimListener {
    /// What it accepts is held still by this gate.
    pub fn behind(self, gate: Arc<PauseGate>) -> Gated {
        Gated { listener: self, gate }
    }
}

/// A node's listener.
pub struct Gated {
    listener: SimListener,
    gate: Arc<PauseGate>,
}

impl Listener for Gated {
    type Io = End;

    async fn accept(&self) -> io::Result<End> {
        let next = std::future::poll_fn(|context| self.listener.accepted.lock().poll_recv(context)).await;
        match next {
            Some(end) => Ok(end.behind(self.gate.clone())),
            // The node is being taken down.
            None => std::future::poll_fn(|_| Poll::Pending).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const TO: (u64, u16) = (2, PEER);

    fn tcp() -> Arc<Tcp> {
        let trace = Arc::new(Trace::new(None, 2));
        Tcp::new(Arc::new(Network::new(1, trace.clone(), 0)), trace)
    }

    /// Node 1's end, node 2's end, and node 2's gate.
    async fn connected(tcp: &Arc<Tcp>) -> (End, End, Arc<PauseGate>) {
        let gate = Arc::new(PauseGate::new(2, Arc::new(Trace::new(None, 2))));
        let listener = tcp.listen(TO.0, TO.1).behind(gate.clone());
        let (mine, theirs) = tokio::join!(tcp.connect(1, TO, 11, None), listener.accept());
        (mine.unwrap(), theirs.unwrap(), gate)
    }

    #[test]
    fn an_address_names_a_place() {
        assert_eq!(place(&address(3, REST)), Some((3, REST)));
        assert_eq!(place("3"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_later_in_their_order_and_then_the_end() {
        let (mut mine, mut theirs, _) = connected(&tcp()).await;
        let began = Instant::now();
        let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let sending = async {
            for piece in sent.chunks(1_000) {
                mine.write_all(piece).await.unwrap();
            }
            drop(mine);
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(sending, theirs.read_to_end(&mut got));
        assert_eq!((read.unwrap(), got == sent), (200_000, true));
        assert!(began.elapsed() > Duration::from_micros(200));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_listens_where_no_node_runs() {
        let tcp = tcp();
        let refused = tcp.connect(1, TO, 11, None).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drop(connected(&tcp).await);
        tcp.down(2, Death::Kill);
        assert_eq!(tcp.connect(1, TO, 11, None).await.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_over_a_cut_link_waits_and_the_other_way_goes_on() {
        let tcp = tcp();
        let (mut mine, mut theirs, _) = connected(&tcp).await;
        tcp.network.cut(1, [(1, 2)]);
        mine.write_u8(7).await.unwrap();
        theirs.write_u8(8).await.unwrap();
        assert_eq!(mine.read_u8().await.unwrap(), 8);
        assert!(tokio::time::timeout(Duration::from_secs(9), theirs.read_u8()).await.is_err());
        tcp.network.heal(1);
        assert_eq!(theirs.read_u8().await.unwrap(), 7);
        // For ever nobody waits.
        tcp.network.cut(1, [(1, 2)]);
        mine.write_u8(9).await.unwrap();
        assert_eq!(theirs.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_node_resets_and_one_without_power_does_when_it_is_back() {
        let tcp = tcp();
        let (mut mine, mut theirs, _) = connected(&tcp).await;
        theirs.write_u8(7).await.unwrap();
        tcp.down(2, Death::Kill);
        assert!(theirs.write_u8(8).await.is_err() && theirs.read_u8().await.is_err());
        assert_eq!(mine.read_u8().await.unwrap(), 7, "what was under way arrives");
        assert_eq!(mine.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

        let (mut mine, theirs, _) = connected(&tcp).await;
        tcp.down(2, Death::Power);
        drop(theirs);
        assert!(tokio::time::timeout(Duration::from_secs(9), mine.read_u8()).await.is_err(), "nobody says anything");
        mine.write_u8(1).await.unwrap();
        tcp.up(2);
        assert_eq!(mine.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stands_still_reads_nothing_and_who_writes_on_waits() {
        let (mut mine, mut theirs, gate) = connected(&tcp()).await;
        gate.close();
        let writing = tokio::spawn(async move {
            let written = mine.write_all(&vec![1; 3 << 20]).await;
            (mine, written)
        });
        let first = tokio::time::timeout(Duration::from_secs(9), theirs.read_u8()).await;
        assert!(first.is_err() && !writing.is_finished());
        gate.open();
        let mut got = vec![0; 3 << 20];
        theirs.read_exact(&mut got).await.unwrap();
        writing.await.unwrap().1.unwrap();
    }
}
