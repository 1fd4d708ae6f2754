//! The network between nodes, clients and the cloud: delays, loss, cuts, duplicates.
//!
//! Connections behave as TCP's do. A lost packet is sent again, so that it comes late; what is sent over a cut link waits for
//! the cut to heal and breaks the connection if that takes too long; within a stream the order stays, between calls it
//! does not. Every decision is drawn by (seed, link, number of the message on it).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use leasehold_node::raft::peer::{CallError, Lane, Peer, PeerStream, Route, Transport};
use leasehold_node::raft::wire;
use leasehold_node::seams::Spawner;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::rng::{at, spread, stream as stream_of};
use super::trace::Trace;

/// Number of the cloud as a place on the network.
pub const CLOUD: u64 = 1_000;
/// Number of all clients together.
pub const CLIENTS: u64 = 2_000;
/// A connection over which nothing gets through breaks after this, as the transport's keep-alive has it.
const BREAKS_AFTER: Duration = Duration::from_secs(4);
/// A connection that cannot be made is given up after this.
const CONNECT: Duration = Duration::from_secs(2);

/// A message's name, and what it says for whoever reads the trace.
type Said<'a> = (&'a str, &'a str);

/// What the weather does to every message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Messages that are lost and sent again, of a thousand.
    pub loss_permille: u64,
    /// Longest extra delay, ms.
    pub delay_ms: u64,
    /// Repeatable calls that are delivered twice, of a thousand.
    pub twice_permille: u64,
}

/// See the module.
pub struct Network {
    seed: u64,
    /// Messages that take 50 ms longer, of a thousand.
    stragglers_permille: u64,
    trace: Arc<Trace>,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    /// What is under way arrives, whether or not its sender still lives.
    wire: Spawner,
}

#[derive(Default)]
struct Inner {
    links: BTreeMap<(u64, u64, u64), Link>,
    /// Cut links, each with the faults that cut it.
    cuts: BTreeMap<(u64, u64), BTreeSet<u64>>,
    weather: BTreeMap<u64, Weather>,
    doors: BTreeMap<u64, Door>,
}

/// One way between two places, for one purpose.
struct Link {
    stream: u64,
    /// Messages so far.
    sent: u64,
}

impl Link {
    fn new(from: u64, to: u64, lane: u64) -> Link {
        Link { stream: stream_of("link", &[from, to, lane]), sent: 0 }
    }
}

/// A node that can be reached.
#[derive(Clone)]
struct Door {
    peer: Arc<dyn Peer>,
    group: Spawner,
}

impl Network {
    /// Everything connected, nobody there.
    pub fn new(seed: u64, trace: Arc<Trace>, stragglers_permille: u64) -> Network {
        let (inner, changed, wire) = (Mutex::default(), watch::Sender::new(0), Spawner::new());
        Network { seed, stragglers_permille, trace, inner, changed, wire }
    }

    /// Tasks for what is under way.
    pub fn wire(&self) -> &Spawner {
        &self.wire
    }

    /// A node serves its peers.
    pub fn open(&self, node: u64, peer: Arc<dyn Peer>, group: Spawner) {
        self.inner.lock().doors.insert(node, Door { peer, group });
    }

    /// A node is gone: whoever calls it is refused.
    pub fn close(&self, node: u64) {
        self.inner.lock().doors.remove(&node);
    }

    /// Cuts links on behalf of a fault.
    pub fn cut(&self, fault: u64, links: impl IntoIterator<Item = (u64, u64)>) {
        let mut inner = self.inner.lock();
        for link in links {
            inner.cuts.entry(link).or_default().insert(fault);
        }
        self.tell();
    }

    /// Sets the weather on behalf of a fault.
    pub fn weather(&self, fault: u64, weather: Weather) {
        self.inner.lock().weather.insert(fault, weather);
    }

    /// A fault is over.
    pub fn heal(&self, fault: u64) {
        let mut inner = self.inner.lock();
        inner.weather.remove(&fault);
        inner.cuts.retain(|_, faults| {
            faults.remove(&fault);
            !faults.is_empty()
        });
        self.tell();
    }

    /// No faults any more; with `among`, only on the links between these.
    pub fn heal_all(&self, among: Option<&[u64]>) {
        let mut inner = self.inner.lock();
        match among {
            None => inner.cuts.clear(),
            Some(places) => inner.cuts.retain(|(from, to), _| !(places.contains(from) && places.contains(to))),
        }
        inner.weather.clear();
        self.tell();
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        let inner = self.inner.lock();
        !inner.cuts.is_empty() && inner.cuts.contains_key(&(from, to))
    }

    /// How long a message takes that is sent now, and whether it is delivered twice.
    fn fate(&self, from: u64, to: u64, lane: u64) -> (u64, Duration, bool) {
        let inner = &mut *self.inner.lock();
        let link = inner.links.entry((from, to, lane)).or_insert_with(|| Link::new(from, to, lane));
        link.sent += 1;
        let number = link.sent;
        let drawn = at(self.seed, link.stream, number);
        let mut takes = spread(200, 2_200, drawn);
        if drawn.rotate_left(13) % 1_000 < self.stragglers_permille {
            takes += Duration::from_millis(50);
        }
        let mut twice = false;
        for (part, weather) in inner.weather.values().enumerate() {
            let drawn = at(self.seed, stream_of("weather", &[from, to, lane, part as u64]), number);
            takes += spread(0, weather.delay_ms * 1_000, drawn);
            if drawn.rotate_left(23) % 1_000 < weather.loss_permille {
                // Sent again after 200 ms, and again after twice as long.
                takes += Duration::from_millis(200 * (1 << (drawn.rotate_left(31) % 3)));
            }
            twice |= drawn.rotate_left(41) % 1_000 < weather.twice_permille;
        }
        (number, takes, twice)
    }

    /// How long a piece of a connection takes that is sent now.
    pub fn takes(&self, from: u64, to: u64, lane: u64) -> Duration {
        self.fate(from, to, lane).1
    }

    /// Waits while a link is cut; false if the connection broke over it.
    pub async fn whole(&self, from: u64, to: u64, longest: Duration) -> bool {
        if !self.is_cut(from, to) {
            return true;
        }
        let mut changed = self.changed.subscribe();
        let give_up = Instant::now() + longest;
        while self.is_cut(from, to) {
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(give_up) => return false,
            }
        }
        true
    }

    /// Carries one message of a call; false: the connection broke and it did not arrive. The bool inside: deliver it twice.
    async fn carry_one(&self, (what, detail): Said<'_>, from: u64, to: u64, lane: u64, longest: Duration) -> Option<bool> {
        if !self.whole(from, to, longest).await {
            self.trace.tell("lost", from, to, lane, if what == "answer" { detail } else { what });
            return None;
        }
        let (number, takes, twice) = self.fate(from, to, lane);
        tokio::time::sleep(takes).await;
        // What is under way when a link is cut is not through yet.
        if !self.whole(from, to, longest).await {
            self.trace.tell("lost", from, to, lane, if what == "answer" { detail } else { what });
            return None;
        }
        self.trace.tell(what, from, to, number, detail);
        Some(twice)
    }

    /// A message that makes a connection. False: it did not arrive.
    pub async fn deliver(&self, what: &str, from: u64, to: u64, lane: u64, longest: Duration) -> bool {
        self.carry_one((what, ""), from, to, lane, longest).await.is_some()
    }

    /// For whoever is no peer: clients and the cloud. False: the message did not arrive.
    pub async fn pass(&self, what: &str, from: u64, to: u64) -> bool {
        self.pass_telling(what, from, to, "").await
    }

    /// As [`pass`](Self::pass), with what the message says for whoever reads the trace.
    pub async fn pass_telling(&self, what: &str, from: u64, to: u64, detail: &str) -> bool {
        self.carry_one((what, detail), from, to, 9, BREAKS_AFTER).await.is_some()
    }

    fn door(&self, to: u64) -> Option<Door> {
        self.inner.lock().doors.get(&to).cloned()
    }

    /// Carries a stream: a task of the sender's group sends, whoever has the answer receives, in order.
    fn carry<T: Send + 'static>(
        self: &Arc<Self>,
        link: (u64, u64, u64),
        mut source: PeerStream<T>,
        sender: &Spawner,
        tell: fn(&T) -> String,
    ) -> PeerStream<T> {
        let (from, to, lane) = link;
        let (send, receive) = mpsc::unbounded_channel::<(Instant, Option<Result<T, CallError>>)>();
        let network = self.clone();
        drop(sender.spawn("stream", async move {
            let mut last = Instant::now();
            loop {
                let item = tokio::select! {
                    biased;
                    () = send.closed() => return,
                    item = source.next() => item,
                };
                if !network.whole(from, to, BREAKS_AFTER).await {
                    network.trace.note("broke", from, to, lane);
                    return;
                }
                let (_, takes, _) = network.fate(from, to, lane);
                last = last.max(Instant::now() + takes);
                let ended = !matches!(item, Some(Ok(_)));
                // The receiver may have gone in between: the stream is over for both.
                if send.send((last, item)).is_err() || ended {
                    return;
                }
            }
        }));
        let network = self.clone();
        let begin = (Some(receive), network);
        stream::unfold(begin, move |(receive, network)| async move {
            let mut receive = receive?;
            // A sender that went without saying so died, or its link did.
            let Some((due, item)) = receive.recv().await else {
                network.trace.note("reset", from, to, lane);
                return Some((Err(CallError::Broken("connection reset".into())), (None, network)));
            };
            tokio::time::sleep_until(due).await;
            if !network.whole(from, to, BREAKS_AFTER).await {
                network.trace.note("broke", from, to, lane);
                return Some((Err(CallError::Broken("connection timed out".into())), (None, network)));
            }
            let detail =
                network.trace.detail(|| item.as_ref().and_then(|item| item.as_ref().ok()).map_or_else(String::new, tell));
            network.trace.tell("frame", from, to, lane, &detail);
            match item {
                None => None,
                Some(Ok(item)) => Some((Ok(item), (Some(receive), network))),
                Some(Err(error)) => Some((Err(error), (None, network))),
            }
        })
        .boxed()
    }
}

/// One node's way to the others. Addresses are the numbers of the nodes.
pub struct SimTransport {
    network: Arc<Network>,
    node: u64,
    group: Spawner,
}

impl SimTransport {
    /// Streams are sent by tasks of `group`.
    pub fn new(network: Arc<Network>, node: u64, group: Spawner) -> SimTransport {
        SimTransport { network, node, group }
    }
}

impl Transport for SimTransport {
    fn peer(&self, address: &str, lane: Lane) -> Arc<dyn Peer> {
        // An address that names nobody is one where nobody answers.
        let to = address.parse().unwrap_or(0);
        let lane = match lane {
            Lane::Log => 1,
            Lane::Heartbeat => 2,
            Lane::Snapshot => 3,
            Lane::Operations => 4,
        };
        Arc::new(Remote { network: self.network.clone(), from: self.node, to, lane, group: self.group.clone() })
    }

    /// Nothing is kept for a peer.
    fn keep_only(&self, _: &BTreeSet<&str>) {}
}

#[derive(Clone)]
struct Remote {
    network: Arc<Network>,
    from: u64,
    to: u64,
    lane: u64,
    group: Spawner,
}

fn broken(text: &str) -> CallError {
    CallError::Broken(text.to_owned())
}

impl Remote {
    /// The request's way.
    async fn reach(&self, said: Said<'_>) -> Result<(Door, bool), CallError> {
        let unreachable = |text: &str| CallError::Unreachable(text.to_owned());
        if self.network.is_cut(self.from, self.to) && !self.network.whole(self.from, self.to, CONNECT).await {
            return Err(unreachable("no connection in time"));
        }
        let twice = self.network.carry_one(said, self.from, self.to, self.lane, BREAKS_AFTER).await;
        let twice = twice.ok_or_else(|| broken("connection timed out"))?;
        let door = self.network.door(self.to).ok_or_else(|| unreachable("connection refused"))?;
        Ok((door, twice))
    }

    fn term(&self, vote: Option<&wire::Vote>) -> String {
        self.network.trace.detail(|| format!("term {}", vote.map_or(0, |vote| vote.term)))
    }

    /// The answer's way.
    async fn back<T>(&self, detail: &str, answer: T) -> Result<T, CallError> {
        let arrived = self.network.carry_one(("answer", detail), self.to, self.from, self.lane, BREAKS_AFTER).await;
        arrived.map(|_| answer).ok_or_else(|| broken("connection timed out"))
    }

    /// A call with one answer, served by a task of the other node. `repeatable`: the network may deliver it twice.
    async fn call<T, F, S>(
        &self,
        what: &'static str,
        detail: String,
        repeatable: bool,
        tell: fn(&T) -> String,
        serve: S,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + Send + 'static,
        S: FnOnce(Arc<dyn Peer>) -> F + Clone + Send + 'static,
    {
        let this = self.clone();
        let under_way = self.network.wire.spawn("call", async move {
            let (door, twice) = this.reach((what, &detail)).await?;
            let again = (twice && repeatable).then(|| serve.clone());
            let served = door.group.spawn("serve a peer", serve(door.peer.clone()));
            if let Some(again) = again {
                this.network.trace.note("twice", this.from, this.to, this.lane);
                drop(door.group.spawn("serve a peer again", again(door.peer.clone())));
            }
            let answer = served.await.unwrap_or_else(|_| Err(broken("connection reset")));
            let says = || format!("{what}: {}", answer.as_ref().map_or_else(ToString::to_string, tell));
            let detail = this.network.trace.detail(says);
            this.back(&detail, answer).await?
        });
        under_way.await.unwrap_or_else(|_| Err(broken("the run is over")))
    }
}

// What messages say to whoever reads the trace.

fn nothing<T>(_: &T) -> String {
    String::new()
}

fn granted(answer: &wire::VoteResponse) -> String {
    let term = answer.vote.as_ref().map_or(0, |vote| vote.term);
    format!("{} in term {term}", if answer.granted { "granted" } else { "refused" })
}

/// Empty for what only tells that the leader lives and what is committed.
fn appended(request: &wire::AppendRequest) -> String {
    let index = |entry: Option<&wire::LogEntry>| entry.and_then(|entry| entry.log_id.as_ref()).map_or(0, |id| id.index);
    match request.entries.as_slice() {
        [] => String::new(),
        entries => {
            let term = request.vote.as_ref().map_or(0, |vote| vote.term);
            let committed = request.leader_commit.as_ref().map_or(0, |id| id.index);
            let (first, last) = (index(entries.first()), index(entries.last()));
            format!("appends {first}..={last} in term {term}, committed {committed}")
        }
    }
}

/// Empty for a plain yes.
fn acknowledged(answer: &wire::AppendResponse) -> String {
    match &answer.result {
        Some(wire::append_response::Result::Conflict(id)) => format!("conflict at {} of term {}", id.index, id.term),
        Some(wire::append_response::Result::HigherVote(vote)) => format!("there is a higher term, {}", vote.term),
        Some(wire::append_response::Result::Appended(_)) | None => String::new(),
    }
}

fn part(_: &wire::SnapshotPart) -> String {
    "part of a snapshot".to_owned()
}

#[async_trait]
impl Peer for Remote {
    async fn request_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        let serve = move |peer: Arc<dyn Peer>| async move { peer.request_vote(route, request).await };
        self.call("vote", self.term(request.vote.as_ref()), true, granted, serve).await
    }

    async fn pre_vote(&self, route: Route, request: wire::VoteRequest) -> Result<wire::VoteResponse, CallError> {
        let serve = move |peer: Arc<dyn Peer>| async move { peer.pre_vote(route, request).await };
        self.call("pre-vote", self.term(request.vote.as_ref()), true, granted, serve).await
    }

    async fn append(&self, route: Route, request: wire::AppendRequest) -> Result<wire::AppendResponse, CallError> {
        let serve = move |peer: Arc<dyn Peer>| async move { peer.append(route, request).await };
        self.call("append", String::new(), true, acknowledged, serve).await
    }

    async fn stream_append(
        &self,
        route: Route,
        requests: PeerStream<wire::AppendRequest>,
    ) -> Result<PeerStream<wire::AppendResponse>, CallError> {
        let (door, _) = self.reach(("stream", "")).await?;
        let requests = self.network.carry((self.from, self.to, self.lane), requests, &self.group, appended);
        let peer = door.peer.clone();
        let served = door.group.spawn("serve a stream", async move { peer.stream_append(route, requests).await });
        let answers = served.await.unwrap_or_else(|_| Err(broken("connection reset")));
        let answers = self.back("stream", answers).await??;
        Ok(self.network.carry((self.to, self.from, self.lane), answers, &door.group, acknowledged))
    }

    async fn install_snapshot(
        &self,
        route: Route,
        parts: PeerStream<wire::SnapshotPart>,
    ) -> Result<wire::SnapshotResponse, CallError> {
        let (door, _) = self.reach(("snapshot", "")).await?;
        // A connection needs both ways. Parts that came in without one would keep a follower at a leader that hears nobody.
        if !self.network.whole(self.to, self.from, BREAKS_AFTER).await {
            return Err(broken("connection timed out"));
        }
        let parts = self.network.carry((self.from, self.to, self.lane), parts, &self.group, part);
        let peer = door.peer.clone();
        let served = door.group.spawn("install a snapshot", async move { peer.install_snapshot(route, parts).await });
        let answer = served.await.unwrap_or_else(|_| Err(broken("connection reset")));
        self.back("snapshot", answer).await?
    }

    async fn fetch_snapshot(&self, route: Route) -> Result<PeerStream<wire::SnapshotPart>, CallError> {
        let (door, _) = self.reach(("fetch", "")).await?;
        let peer = door.peer.clone();
        let served = door.group.spawn("send a snapshot", async move { peer.fetch_snapshot(route).await });
        let parts = served.await.unwrap_or_else(|_| Err(broken("connection reset")));
        let parts = self.back("fetch", parts).await??;
        Ok(self.network.carry((self.to, self.from, self.lane), parts, &door.group, part))
    }

    async fn transfer_leader(
        &self,
        route: Route,
        request: wire::TransferLeaderRequest,
    ) -> Result<wire::TransferLeaderResponse, CallError> {
        let serve = move |peer: Arc<dyn Peer>| async move { peer.transfer_leader(route, request).await };
        self.call("transfer", String::new(), false, nothing, serve).await
    }

    async fn read_index(&self, route: Route) -> Result<wire::ReadIndexResponse, CallError> {
        self.call(
            "read index",
            String::new(),
            true,
            nothing,
            move |peer: Arc<dyn Peer>| async move { peer.read_index(route).await },
        )
        .await
    }

    async fn forward(&self, route: Route, message: wire::ForwardMessage) -> Result<wire::ForwardMessage, CallError> {
        let serve = move |peer: Arc<dyn Peer>| async move { peer.forward(route, message).await };
        self.call("forward", String::new(), false, nothing, serve).await
    }

    async fn clock(&self, route: Route, request: wire::ClockRequest) -> Result<wire::ClockResponse, CallError> {
        let serve = move |peer: Arc<dyn Peer>| async move { peer.clock(route, request).await };
        self.call("clock", String::new(), true, nothing, serve).await
    }

    async fn health(&self, route: Route) -> Result<wire::HealthResponse, CallError> {
        self.call("health", String::new(), true, nothing, move |peer: Arc<dyn Peer>| async move { peer.health(route).await })
            .await
    }
}
