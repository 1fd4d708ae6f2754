//! Puts a node's Raft together: open the log, open the state, serve peers, run the engine, start the tasks around it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use leasehold_ledger::storage::disk::DiskError;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal as EngineFatal;

use super::cluster_time::ClusterTime;
use super::codec::wire;
use super::config::{RaftConfig, Timing};
use super::fatal::Fatal;
use super::grpc::{self, GrpcTransport};
use super::identity::{self, Identity};
use super::leadership::Watched;
use super::log_store::{self, LogStore};
use super::membership::Changer;
use super::network::Network;
use super::peer::{Lane, Peer, Transport};
use super::peer_service::PeerService;
use super::propose::Proposer;
use super::read::Reader;
use super::runtime::scoped;
use super::snapshot::{Generations, generation};
use super::state_machine::{self, StateMachine};
use super::types::Engine;
use super::{Parts, RaftHandle, codec};
use crate::seams::{Clock, DiskUse, Disks, Mono, RocksDisks, Seams, Spawner};

/// Name of the log's disk.
const LOG: &str = "log";
/// Between two attempts to get the state from peers.
const RETRY: Duration = Duration::from_secs(1);

/// A node's Raft does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Heartbeats and elections do not fit together.
    #[error("the timing is not possible")]
    Timing(#[from] openraft::ConfigError),
    /// See there; the text says what to do.
    #[error(transparent)]
    Log(#[from] log_store::OpenError),
    /// The state's disk does not open.
    #[error(transparent)]
    State(#[from] state_machine::OpenError),
    /// The data directory cannot be used.
    #[error("the data directory cannot be used")]
    Disk(#[from] DiskError),
    /// Another cluster.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// Peers cannot be served.
    #[error(transparent)]
    Peers(#[from] grpc::Error),
    /// State and log are kept, but do not fit together.
    #[error("the engine does not start: {0}")]
    Engine(String),
    /// A file operation.
    #[error("the state cannot be read")]
    Io(#[from] io::Error),
}

/// Makes the node's own service reachable and tells its address, if it has one.
pub type Serve = Box<dyn FnOnce(Arc<dyn Peer>, Spawner) -> BoxFuture<'static, Result<Option<SocketAddr>, StartError>> + Send>;

/// Starts a node's Raft.
#[derive(Debug)]
pub struct RaftNode;

impl RaftNode {
    /// On RocksDB in the data directory, over gRPC.
    ///
    /// # Errors
    /// See [`StartError`]; none heals by trying again.
    pub async fn start(config: RaftConfig, seams: &Seams) -> Result<RaftHandle, StartError> {
        let disks = Arc::new(RocksDisks::new(&config.data_dir)?);
        let transport = Arc::new(GrpcTransport::new(config.tls.as_ref())?);
        let (listen, server, outside) = (config.listen, transport.clone(), seams.clone());
        let serve: Serve = Box::new(move |peer, spawner| {
            let inside = Seams { spawner, ..outside };
            Box::pin(async move { Ok(Some(server.serve(listen, peer, &inside).await?)) })
        });
        Self::start_on(config, seams, disks, transport, serve).await
    }

    /// On other disks and another transport.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on(
        config: RaftConfig,
        seams: &Seams,
        disks: Arc<dyn Disks>,
        transport: Arc<dyn Transport>,
        serve: Serve,
    ) -> Result<RaftHandle, StartError> {
        let engine_config = Arc::new(config.timing.engine()?);
        let (group, fatal) = (seams.spawner.child(), Fatal::default());
        let (clock, rng, node_id) = (seams.clock.clone(), seams.rng.clone(), config.node_id.0);

        // A state without a log is a node that lost its log: it must not begin a new one.
        let may_be_new = !disks.names()?.iter().any(|name| generation(name).is_some());
        let log_disk = disks.open(LOG, DiskUse::Log).map_err(log_store::OpenError::of)?;
        let log = LogStore::open(log_disk, &group, fatal.clone(), clock.clone(), node_id, may_be_new).await?;
        let identity = Arc::new(Identity::open(node_id, config.cluster_id, log.clone(), &*rng, fatal.clone()).await?);
        let generations = Generations::new(disks.clone())?;
        let mut machine = StateMachine::open(log.clone(), generations.clone(), clock.clone()).await?;
        let shared = machine.shared();
        let tolerance = config.timing.clock_tolerance;
        let time = Arc::new(ClusterTime::new(clock.clone(), shared.clone(), node_id, tolerance));

        let bound_for = if log.has_voted() { config.timing.election_max } else { Duration::ZERO };
        let votes_from = clock.mono().after(bound_for);
        let service = Arc::new(PeerService {
            identity: identity.clone(),
            engine: OnceLock::new(),
            forward: parking_lot::RwLock::default(),
            generations: generations.clone(),
            shared: shared.clone(),
            time: time.clone(),
            clock: clock.clone(),
            votes_from,
            rng: rng.clone(),
            group: group.clone(),
        });
        let bound = serve(service.clone(), group.clone()).await?;
        let mut itself = config.member;
        if itself.peer_address.is_empty() {
            itself.peer_address = bound.map(|address| address.to_string()).unwrap_or_default();
        }

        // Empty, because it was damaged, or rolled back by a torn write of its own: the log begins after it.
        if machine.last_applied() < log.purged() {
            fetch_state(&mut machine, &mut log.clone(), &generations, &*transport, &identity, seams).await?;
        }
        let (to_peers, named) = (transport.clone(), identity.clone());
        let network = Network { transport: to_peers, identity: named, clock: clock.clone(), log: log.clone() };
        let left_behind = left_behind(&log, &machine, &config.timing);
        let starting = Engine::new(node_id, engine_config, network, log.clone(), machine);
        let engine = scoped(&group, &clock, &*rng, starting).await.map_err(|error| StartError::Engine(error.to_string()))?;
        if let Some(upto) = left_behind {
            engine.trigger().purge_log(upto).await.map_err(|error| StartError::Engine(error.to_string()))?;
        }
        // Nobody else sets it.
        drop(service.engine.set(engine.clone()));
        stand_from(votes_from, &engine, &clock, &group);

        time.start(engine.clone(), transport.clone(), identity.clone(), &group);
        let watched = Arc::new(Watched::start(&engine, clock.clone(), &group));
        let proposer = Proposer::start(engine.clone(), time.clone(), clock.clone(), &group, config.timing.propose);
        watch_end(&engine, &group, &fatal);
        let reader = Reader {
            engine: engine.clone(),
            identity: identity.clone(),
            transport: transport.clone(),
            shared: shared.clone(),
            clock: clock.clone(),
            limit: config.timing.read,
        };
        let changer = Changer {
            engine: engine.clone(),
            identity: identity.clone(),
            proposer: proposer.clone(),
            watched: watched.clone(),
            shared: shared.clone(),
            time: time.clone(),
            transport: transport.clone(),
            clock: clock.clone(),
            rng,
            itself,
            stop_work: parking_lot::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        };
        let timing = config.timing;
        let parts = Parts {
            engine,
            log,
            shared,
            identity,
            transport,
            service,
            proposer,
            reader,
            time,
            watched,
            changer,
            clock,
            process: seams.process.clone(),
            group,
            fatal,
            timing,
        };
        let handle = RaftHandle { parts: Arc::new(parts) };
        hand_over_if_odd(&handle);
        complete_changes(&handle);
        Ok(handle)
    }
}

/// Up to which entry the log is to be purged at start. The engine counts the entries to the next snapshot from the one that it
/// makes of the state at each start, and purges after one that it made later: lives that are too short for that would keep
/// the log for ever. `None`: it has not more than a longer life would have left.
fn left_behind(log: &LogStore, machine: &StateMachine, timing: &Timing) -> Option<u64> {
    // Without one the engine makes no snapshot now, and counts from the beginning.
    let purged = log.purged()?;
    let applied = machine.last_applied()?;
    let most = timing.snapshot_entries.saturating_add(timing.keep_entries);
    let upto = applied.index.saturating_sub(timing.keep_entries);
    (applied.index.saturating_sub(purged.index) > most).then_some(upto)
}

/// Lets the node stand for election from this instant on: with its own vote it breaks the same promise as with one that it
/// gives to another.
fn stand_from(votes_from: Mono, engine: &Engine, clock: &Arc<dyn Clock>, group: &Spawner) {
    engine.runtime_config().elect(false);
    let (engine, promise_ends) = (engine.clone(), clock.sleep_until(votes_from));
    drop(group.spawn("promise", async move {
        promise_ends.await;
        engine.runtime_config().elect(true);
    }));
}

/// States why the node must end when the engine stops or a task panics.
fn watch_end(engine: &Engine, group: &Spawner, fatal: &Fatal) {
    let (metrics, mut alive, told) = (engine.metrics(), engine.server_metrics(), fatal.clone());
    drop(group.spawn("engine watch", async move {
        // Told until the engine is gone; why it went is the last that it tells.
        while alive.changed().await.is_ok() {}
        let ended = metrics.borrow_watched().running_state.clone();
        told.raise(match ended {
            Ok(()) => "the engine is gone".into(),
            Err(EngineFatal::Stopped) => "the engine stopped".into(),
            Err(error) => format!("the engine stopped: {error}"),
        });
    }));
    let (panics, told) = (group.clone(), fatal.clone());
    drop(group.spawn("panic watch", async move {
        let name = panics.panicked().await;
        told.raise(format!("the task {name:?} panicked; this is a bug"));
    }));
}

/// A leader whose clock meets no majority, while the others' clocks meet each other, hands leadership over (D4).
fn hand_over_if_odd(handle: &RaftHandle) {
    let (group, clock) = (handle.parts.group.clone(), handle.parts.clock.clone());
    // Weak, or the task would keep alive what it belongs to.
    let parts = Arc::downgrade(&handle.parts);
    drop(group.spawn("odd clock watch", async move {
        let mut odd_rounds = 0;
        loop {
            clock.sleep(Duration::from_secs(1)).await;
            let Some(parts) = parts.upgrade() else { return };
            let odd = parts.watched.leadership.borrow().term().is_some() && parts.time.odd_one_out();
            odd_rounds = if odd { odd_rounds + 1 } else { 0 };
            // One odd round may be one late answer.
            if odd_rounds >= 3 {
                odd_rounds = 0;
                tracing::warn!("this node's clock is the odd one out; it hands leadership over");
                if let Err(error) = parts.changer.transfer(None).await {
                    tracing::warn!(%error, "leadership was not handed over");
                }
            }
        }
    }));
}

/// A leader completes a change of the members that its predecessor left halfway: until then each lost node may end the cluster.
fn complete_changes(handle: &RaftHandle) {
    let (group, clock) = (handle.parts.group.clone(), handle.parts.clock.clone());
    // Weak, or the task would keep alive what it belongs to.
    let parts = Arc::downgrade(&handle.parts);
    drop(group.spawn("members watch", async move {
        loop {
            clock.sleep(Duration::from_secs(1)).await;
            let Some(parts) = parts.upgrade() else { return };
            if let Err(error) = parts.changer.complete().await {
                tracing::warn!(%error, "the change of the members is still halfway");
            }
        }
    }));
}

/// The state was damaged and the log does not reach back to its beginning: gets the state from a peer. Without one the
/// node cannot serve, so this tries until one answers.
async fn fetch_state(
    machine: &mut StateMachine,
    log: &mut LogStore,
    generations: &Generations,
    transport: &dyn Transport,
    identity: &Identity,
    seams: &Seams,
) -> Result<(), StartError> {
    let members = machine.known_members()?;
    loop {
        for (id, member) in members.nodes().filter(|(id, _)| **id != identity.node_id()) {
            let peer = transport.peer(&member.peer_address, Lane::Snapshot);
            match fetch_from(&*peer, identity.route(*id), machine, log, generations).await {
                Ok(()) => {
                    tracing::info!(peer = id, "the state was made again from a peer");
                    return Ok(());
                }
                Err(error) => tracing::warn!(peer = id, error, "no state from this peer"),
            }
        }
        tracing::error!(
            "the state is damaged and the log begins after it; waiting for a peer that has it. If this is the only \
             node, restore the data directory from a backup"
        );
        seams.clock.sleep(RETRY).await;
    }
}

async fn fetch_from(
    peer: &dyn Peer,
    route: super::peer::Route,
    machine: &mut StateMachine,
    log: &mut LogStore,
    generations: &Generations,
) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let mut parts = peer.fetch_snapshot(route).await.map_err(|error| text(&error))?;
    let mut meta = None;
    let mut receiver = generations.begin().map_err(|error| text(&error))?;
    while let Some(part) = parts.next().await {
        match part.map_err(|error| text(&error))?.part {
            Some(wire::snapshot_part::Part::Begin(begin)) => {
                let position = begin.position.ok_or("no position")?;
                meta = Some(codec::position(position).map_err(|error| text(&error))?);
            }
            Some(wire::snapshot_part::Part::Chunk(chunk)) => {
                receiver.accept(&chunk).await.map_err(|error| text(&error))?;
            }
            None => return Err("an empty part".into()),
        }
    }
    let meta = meta.ok_or("no beginning")?;
    if meta.last_log_id < log.purged() {
        return Err("its state is older than this node's log".into());
    }
    let received = receiver.finish().await.map_err(|error| text(&error))?;
    if let Some(last) = meta.last_log_id {
        log.make_way(last).await.map_err(|error| text(&error))?;
    }
    machine.install(&meta, received).await.map_err(|error| text(&error))
}
