//! Nodes in this process, over real gRPC and RocksDB.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use leasehold_ledger::command::Command;
use leasehold_ledger::model::NodeId;
use leasehold_node::operations::ClusterChange;
use leasehold_node::raft::{
    Committed, Leadership, Member, ProposeError, RaftConfig, RaftHandle, RaftNode, StartError, Timing, TlsFiles,
};
use leasehold_node::seams::clock::SystemClock;
use leasehold_node::seams::{Clock, DiskUse, Disks, HttpOptions, Mono, RocksDisks, Seams};
use tempfile::TempDir;

/// Everything here happens well within this, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// This machine's clock, and what a node is wrong by, ms.
#[derive(Default)]
pub struct WrongClock {
    system: SystemClock,
    pub ahead_ms: AtomicU64,
}

impl Clock for WrongClock {
    fn mono(&self) -> Mono {
        self.system.mono()
    }
    fn wall_ms(&self) -> u64 {
        self.system.wall_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
    fn sleep(&self, d: Duration) -> futures::future::BoxFuture<'static, ()> {
        self.system.sleep(d)
    }
}

pub struct Cluster {
    folder: TempDir,
    clocks: BTreeMap<u64, Arc<WrongClock>>,
    pub timing: Timing,
    pub tls: Option<TlsFiles>,
    nodes: BTreeMap<u64, RaftHandle>,
    addresses: BTreeMap<u64, SocketAddr>,
}

impl Cluster {
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            clocks: BTreeMap::new(),
            timing: Timing::default(),
            tls: None,
            nodes: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// Nodes 1 to `count`; 1 made the cluster, the others were added one by one.
    pub async fn of(count: u64) -> Self {
        Self::with(Self::empty(), count).await
    }

    pub async fn with(mut self, count: u64) -> Self {
        self.start(1).await;
        self.node(1).initialise().await.unwrap();
        for id in 2..=count {
            self.start(id).await;
            self.add(id).await;
        }
        self
    }

    pub async fn add(&self, id: u64) {
        let peer_address = self.node(id).member().peer_address.clone();
        let change = ClusterChange::Add { node_id: id, peer_address, grpc_address: None };
        self.leader().await.change_cluster(change).await.unwrap();
    }

    pub fn node(&self, id: u64) -> RaftHandle {
        self.nodes[&id].clone()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub fn data(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }

    pub fn config(&self, id: u64) -> RaftConfig {
        RaftConfig {
            node_id: NodeId(id),
            cluster_id: None,
            data_dir: self.data(id),
            listen: self.addresses.get(&id).copied().unwrap_or_else(|| "127.0.0.1:0".parse().unwrap()),
            member: Member::default(),
            tls: self.tls.clone(),
            timing: self.timing.clone(),
        }
    }

    /// The clock of a node, through all its lives.
    pub fn clock(&mut self, id: u64) -> Arc<WrongClock> {
        self.clocks.entry(id).or_default().clone()
    }

    pub async fn start(&mut self, id: u64) {
        let began = Instant::now();
        let clock = self.clock(id);
        let handle = loop {
            let seams = Seams { clock: clock.clone(), ..Seams::system(&HttpOptions::default()).unwrap() };
            match RaftNode::start(self.config(id), &seams).await {
                Ok(handle) => break handle,
                // The disks and the port of the node's last life are let go of by tasks that end soon.
                Err(error) if began.elapsed() < PATIENCE && is_held(&error) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("node {id} does not start: {error:?}"),
            }
        };
        self.addresses.insert(id, handle.member().peer_address.parse().unwrap());
        self.nodes.insert(id, handle);
    }

    /// Ends a node as a crash would, as far as others can see.
    pub async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().stop().await;
    }

    /// Removes everything a stopped node kept, once nothing of its last life holds it.
    pub async fn wipe(&self, id: u64) {
        let log = RocksDisks::new(&self.data(id)).unwrap();
        wait("the disks to be let go of", || log.open("log", DiskUse::Log).ok()).await;
        std::fs::remove_dir_all(self.data(id)).unwrap();
    }

    pub async fn leader(&self) -> RaftHandle {
        wait("a leader", || {
            let leads = |node: &&RaftHandle| matches!(*node.leadership().borrow(), Leadership::Leading { .. });
            self.nodes.values().find(leads).cloned()
        })
        .await
    }

    pub async fn leader_id(&self) -> u64 {
        self.leader().await.status().node_id
    }

    pub async fn follower_id(&self) -> u64 {
        let leader = self.leader_id().await;
        self.ids().into_iter().find(|id| *id != leader).unwrap()
    }

    /// Proposes at `id`, following the hints of nodes that do not lead, until it is committed.
    pub async fn write(&self, mut id: u64, payload: &str) -> Committed {
        let began = Instant::now();
        loop {
            let Some(node) = self.nodes.get(&id) else { panic!("node {id} is not there") };
            match node.propose(None, Command::Probe { payload: payload.into() }).await {
                Ok(committed) => return committed,
                Err(error) if began.elapsed() > PATIENCE => panic!("not committed: {error}"),
                Err(ProposeError::NotLeader { leader: Some((leader, address)) }) if self.nodes.contains_key(&leader.0) => {
                    assert_eq!(address, self.addresses[&leader.0].to_string());
                    id = leader.0;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until all nodes have applied the same, and compares their states.
    pub async fn agree(&self) {
        wait("equal ledgers", || {
            let states = self.nodes.values().map(|node| {
                let state = node.state();
                (state.ledger_index(), state.hash())
            });
            let states: Vec<_> = states.collect();
            let same_index = states.iter().all(|state| state.0 == states[0].0);
            if same_index {
                assert!(states.iter().all(|state| *state == states[0]), "same index, other state: {states:?}");
            }
            same_index.then_some(())
        })
        .await;
    }
}

fn is_held(error: &StartError) -> bool {
    let text = format!("{error:?}");
    text.contains("lock") || text.contains("AddrInUse")
}

/// Waits until `look` sees something.
pub async fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
