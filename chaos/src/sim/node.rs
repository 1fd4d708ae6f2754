//! One machine and the product on it: starts it, kills it, cuts its power, holds it still. Its disks and its wall clock
//! outlive its lives.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::model::NodeId;
use leasehold_node::config::{CloudSection, LeaderSection, Secret};
use leasehold_node::lead;
use leasehold_node::openstack::keystone::{KeystoneOptions, TokenSource};
use leasehold_node::openstack::{Cloud, Session};
use leasehold_node::operations::{Bounds, Operations};
use leasehold_node::raft::peer::Transport;
use leasehold_node::raft::{GrpcTransport, Member, RaftConfig, RaftHandle, RaftNode, Serve, Timing};
use leasehold_node::seams::{Process, Seams, Spawner};
use parking_lot::Mutex;

use super::clock::{SimClock, WallError};
use super::cloud::{BASE_URL, PASSWORD, SERVICE_USER, SimCloud, SimHttp};
use super::disk::SimDisks;
use super::gate::PauseGate;
use super::network::{Network, SimTransport};
use super::rng::SimRng;
use super::trace::Trace;
use super::wire::peers::{Grouped, SimDial};
use super::wire::{self, Tcp, edges};

/// How a life ended, or is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// kill -9: what the disks have done stays.
    Kill,
    /// What was not synced is lost in part.
    Power,
}

/// What all machines share.
pub struct Site {
    /// The seed of the run.
    pub seed: u64,
    /// What happens is told here.
    pub trace: Arc<Trace>,
    /// Between the machines.
    pub network: Arc<Network>,
    /// Connections over it, at the wire level.
    pub tcp: Option<Arc<Tcp>>,
    /// The cloud they serve.
    pub cloud: Arc<SimCloud>,
    /// Durations of Raft.
    pub timing: Timing,
    /// Seconds that ended leases stay in memory; 0: as many as where nobody says.
    pub ended_in_memory_s: u32,
}

impl Site {
    /// How a node is announced: by its number, or where it listens.
    pub fn member(&self, id: u64) -> Member {
        if self.tcp.is_some() {
            return wire::member(id);
        }
        Member { peer_address: id.to_string(), grpc_address: format!("node-{id}"), rest_address: String::new() }
    }
}

/// See the module.
pub struct Machine {
    /// Its number, from 1.
    pub id: u64,
    /// What its clocks are wrong by.
    pub wall: Arc<WallError>,
    /// Its disks.
    pub disks: Arc<SimDisks>,
    site: Arc<Site>,
    gate: Arc<PauseGate>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    life: u32,
    group: Option<Spawner>,
    running: Option<Life>,
}

/// A started node.
#[derive(Clone)]
pub struct Life {
    /// Its number, from 1.
    pub life: u32,
    /// Its Raft.
    pub raft: RaftHandle,
    /// Its operations.
    pub operations: Operations,
    /// Its tasks.
    pub group: Spawner,
}

impl Machine {
    /// A machine with empty disks, switched off. `lies`: see [`SimDisks::new`].
    pub fn new(id: u64, site: Arc<Site>, lies: bool) -> Machine {
        let disks = Arc::new(SimDisks::new(id, site.seed, site.trace.clone(), lies));
        let gate = Arc::new(PauseGate::new(id, site.trace.clone()));
        Machine { id, wall: Arc::default(), disks, site, gate, inner: Mutex::default() }
    }

    /// The node on it, if one runs.
    pub fn life(&self) -> Option<Life> {
        self.inner.lock().running.clone()
    }

    /// Whether a process runs, started or still starting.
    pub fn is_up(&self) -> bool {
        self.inner.lock().group.is_some()
    }

    /// Starts the node and waits until it has started or died. False: it did not start, or was running already.
    pub async fn start(&self) -> bool {
        let (life, group) = {
            let mut inner = self.inner.lock();
            if inner.group.is_some() {
                return false;
            }
            inner.life += 1;
            let group = Spawner::behind(self.gate.clone());
            inner.group = Some(group.clone());
            (inner.life, group)
        };
        self.site.trace.incident(Some(self.id), "start", format!("life {life}"));
        self.disks.power_on();
        self.wall.go_on(self.site.trace.now_ns());
        self.site.tcp.iter().for_each(|tcp| tcp.up(self.id));
        let starting = start(self.own(), life, self.site.clone(), group.clone());
        let started = group.spawn("start", starting).await;
        let failed = {
            let mut inner = self.inner.lock();
            if inner.life != life || inner.group.is_none() {
                return false;
            }
            match started {
                Ok(Ok((raft, operations))) => {
                    inner.running = Some(Life { life, raft, operations, group: group.clone() });
                    return true;
                }
                Ok(Err(error)) => {
                    inner.group = None;
                    error
                }
                Err(_) => return false,
            }
        };
        self.site.trace.incident(Some(self.id), "ended", format!("does not start: {failed}"));
        // Its writer may have orders already, and peers may have connected to it: all of that ends with the process.
        self.bury(&group, Death::Kill).await;
        false
    }

    /// Nothing of a process is left.
    async fn bury(&self, group: &Spawner, death: Death) {
        self.site.network.close(self.id);
        self.site.tcp.iter().for_each(|tcp| tcp.down(self.id, death));
        match death {
            Death::Kill => self.disks.kill(),
            Death::Power => self.disks.power_cut(),
        }
        group.shutdown().await;
        self.gate.open();
    }

    fn own(&self) -> Own {
        Own { id: self.id, disks: self.disks.clone(), wall: self.wall.clone(), gate: self.gate.clone() }
    }

    /// How it is announced.
    pub fn member(&self) -> Member {
        self.site.member(self.id)
    }

    /// Ends the process in the middle of whatever it does.
    pub async fn crash(&self, death: Death) {
        let group = {
            let mut inner = self.inner.lock();
            inner.running = None;
            inner.group.take()
        };
        let Some(group) = group else { return };
        self.site.trace.incident(Some(self.id), "crash", format!("{death:?}"));
        self.bury(&group, death).await;
    }

    /// It got to where it is to end: nothing of it takes another step, and its disks take no more orders. [`crash`](Self::crash) is
    /// to follow.
    pub fn stand_dead(&self) {
        self.gate.close();
        self.disks.power_off();
    }

    /// Takes [`stand_dead`](Self::stand_dead) back; false, for it does not end here.
    pub fn revive(&self) -> bool {
        self.disks.power_on();
        self.gate.open();
        false
    }

    /// Holds it still.
    pub fn pause(&self) {
        self.site.trace.incident(Some(self.id), "pause", "");
        self.gate.close();
    }

    /// Holds the machine still, its clocks with it.
    pub fn suspend(&self) {
        self.site.trace.incident(Some(self.id), "pause", super::STANDS_STILL);
        self.wall.stand_still(self.site.trace.now_ns());
        self.gate.close();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.site.trace.incident(Some(self.id), "resume", "");
        self.wall.go_on(self.site.trace.now_ns());
        self.gate.open();
    }
}

/// What a life takes over of its machine.
struct Own {
    id: u64,
    disks: Arc<SimDisks>,
    wall: Arc<WallError>,
    gate: Arc<PauseGate>,
}

/// What `Node::start` of the product does. Without listeners, but for the wire level: clients call the operations.
async fn start(own: Own, life: u32, site: Arc<Site>, group: Spawner) -> Result<(RaftHandle, Operations), String> {
    let Own { id, disks, wall, gate } = own;
    let seams = Seams {
        clock: Arc::new(SimClock::new(site.trace.clone(), wall)),
        rng: Arc::new(SimRng::new(site.seed, id, life)),
        spawner: group.clone(),
        http: Arc::new(SimHttp::new(site.cloud.clone(), site.network.clone(), id, life)),
        process: Arc::new(NoProcess),
    };
    let options = KeystoneOptions::from_config(&section()).map_err(|error| error.to_string())?;
    let timeout = options.timeout;
    let tokens = Arc::new(TokenSource::new(options, seams.http.clone(), seams.clock.clone()));
    let session = Session::new(seams.http.clone(), tokens, seams.clock.clone(), id);
    let cloud = Cloud::new(session.with_timeout(timeout));

    let config = RaftConfig {
        node_id: NodeId(id),
        cluster_id: None,
        data_dir: PathBuf::new(),
        listen: ([127, 0, 0, 1], 0).into(),
        member: site.member(id),
        tls: None,
        timing: site.timing.clone(),
    };
    let (transport, serve) = to_peers(id, &site, gate.clone(), &group, &seams);
    let raft = RaftNode::start_on(config, &seams, disks, transport, serve).await.map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    })?;
    // Tenants are members, and ask for priorities, too.
    let bounds = Bounds { priority_role: Some("member".to_owned()), ..Bounds::default() };
    let operations = Operations::new(raft.clone(), Some(cloud.clone()), NodeId(id), bounds, seams.clone());
    let mut leader = LeaderSection { reconcile_s: 30, monitor_s: 10, healing_grace_s: 10, ..LeaderSection::default() };
    // What is drawn is short, and begins soon.
    (leader.defragment_s, leader.defragment_lead_s, leader.defragment_gain_s) = (10, 20, 30);
    if site.ended_in_memory_s > 0 {
        leader.ended_leases_in_memory_s = u64::from(site.ended_in_memory_s);
    }
    lead::follow(&raft, Some(cloud), &leader, NodeId(id), &seams);
    if let Some(tcp) = &site.tcp {
        edges::serve(id, tcp, &gate, &operations, &section(), &seams)?;
    }
    Ok((raft, operations))
}

/// All nodes share one process, and what that takes is another in each run.
struct NoProcess;

impl Process for NoProcess {
    fn resident_bytes(&self) -> u64 {
        0
    }

    fn open_files(&self) -> u64 {
        0
    }
}

/// How a node reaches its peers, and they it.
fn to_peers(id: u64, site: &Arc<Site>, gate: Arc<PauseGate>, group: &Spawner, seams: &Seams) -> (Arc<dyn Transport>, Serve) {
    let Some(tcp) = site.tcp.clone() else {
        let network = site.network.clone();
        let serve: Serve = Box::new(move |peer, group| {
            Box::pin(async move {
                network.open(id, peer, group);
                Ok(None)
            })
        });
        return (Arc::new(SimTransport::new(site.network.clone(), id, group.clone())), serve);
    };
    let dial = Arc::new(SimDial::new(tcp.clone(), id, gate.clone()));
    let seams = seams.clone();
    let serve: Serve = Box::new(move |peer, group| {
        Box::pin(async move {
            let inside = Seams { spawner: group.clone(), ..seams };
            let listener = tcp.listen(id, wire::PEER).behind(gate);
            GrpcTransport::serve_accepted(listener, Arc::new(Grouped::new(peer, group)), &inside);
            Ok(None)
        })
    });
    (Arc::new(GrpcTransport::over(dial, group.clone())), serve)
}

fn section() -> CloudSection {
    CloudSection {
        auth_url: format!("{BASE_URL}/identity/v3"),
        username: Some(SERVICE_USER.to_owned()),
        password: Some(Secret::new(PASSWORD)),
        project_name: Some("service".to_owned()),
        timeout_s: Some(30),
        ..CloudSection::default()
    }
}

/// How long a supervisor waits before it starts a node again that ended by itself.
pub const SUPERVISOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Plan;
    use crate::sim::Options;
    use crate::sim::world::{World, admin};

    /// A node of its own that was killed and does not start again, because its disk is full.
    async fn not_started(wire: bool) -> Arc<World> {
        let mut plan = Plan { nodes: 1, faults: Vec::new(), ..Plan::simulated(1, 1) };
        (plan.sim.wire, plan.sim.snapshot_entries, plan.sim.keep_entries) = (wire, 2, 0);
        let world = World::new(plan, Options::default());
        let machine = &world.machines[0];
        world.bring_up(0).await;
        assert!(world.initialise().await);
        // Enough for a snapshot, so that the next life begins with one, which a full disk refuses.
        let life = machine.life().unwrap();
        for _ in 0..10 {
            let operations = life.operations.clone();
            let probed = life.group.spawn("probe", async move { operations.probe(&admin(), vec![0; 16]).await.is_ok() });
            assert!(probed.await.unwrap());
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        machine.crash(Death::Kill).await;
        machine.disks.trouble(|trouble| trouble.full = true);
        assert!(!machine.start().await);
        let ended = world.trace.kept().0.pop().unwrap().text;
        assert!(ended.contains("the engine does not start"), "{ended}");
        world
    }

    /// Seed 411 of 600 s: the log's writer of a node that had not started mended what was damaged since.
    #[tokio::test(start_paused = true)]
    async fn nothing_writes_where_a_node_did_not_start() {
        let world = not_started(false).await;
        world.machines[0].disks.trouble(|trouble| trouble.full = false);
        assert!(!world.machines[0].disks.take_orders());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_listens_where_a_node_did_not_start() {
        // It listened already when its disk was found full: peers may have come in.
        let world = not_started(true).await;
        let refused = world.tcp.clone().unwrap().connect(2, (1, wire::PEER), 11, None).await.err().unwrap();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
