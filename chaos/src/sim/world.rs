//! Everything of one simulated run: machines, network, cloud, and what is watched as it goes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_ledger::model::{Actuation, ActuationId, Lease, LeaseId};
use leasehold_ledger::state::{Among, Archived, State, invariants};
use leasehold_node::operations::Actor;
use leasehold_node::raft::{Held, Leadership, Timing};
use parking_lot::Mutex;
use serde_json::Value;

use super::cloud::SimCloud;
use super::hosts::Hosts;
use super::moves::Moves;
use super::network::Network;
use super::node::{Death, Life, Machine, SUPERVISOR, Site};
use super::roster::{Roster, Standing};
use super::synced::Synced;
use super::trace::Trace;
use super::unchanged::Unchanged;
use super::wire::Tcp;
use super::{Options, Planted};
use crate::meter::Meter;
use crate::plan::{Plan, Target};
use crate::record::{Audited, FinalState, Probe};
use crate::sim::tasks;

/// Each node's state is looked over once in so many seconds, one node after the other: a state of an hour takes ten milliseconds.
const LOOKED_OVER_S: u64 = 90;
/// A supervisor's pauses grow so often to twice as much.
const LONGER: u32 = 3;

/// See the module.
pub struct World {
    /// What will happen.
    pub plan: Plan,
    /// What happens.
    pub trace: Arc<Trace>,
    /// Between everybody.
    pub network: Arc<Network>,
    /// Connections over it, at the wire level.
    pub tcp: Option<Arc<Tcp>>,
    /// The cloud.
    pub cloud: Arc<SimCloud>,
    /// The nodes, by index; machines that may yet join, too. Node ids are indices plus one.
    pub machines: Vec<Arc<Machine>>,
    /// Which of them are in the cluster.
    pub roster: Roster,
    /// Compute hosts, as operators know them.
    pub hosts: Hosts,
    /// What writes take.
    pub meter: Meter,
    options: Options,
    /// Machines that are not to be started.
    held: Vec<AtomicBool>,
    /// Machines that somebody is starting already.
    rising: Vec<AtomicBool>,
    probes: Mutex<Vec<Probe>>,
    /// State hash by ledger index, and who showed it first (H1).
    hashes: Mutex<BTreeMap<u64, (u128, u64)>>,
    audit: Mutex<Vec<Audited>>,
    hidden: Mutex<Unchanged<LeaseId, Lease>>,
    open: Mutex<Unchanged<ActuationId, Actuation>>,
    moves: Mutex<Moves>,
    synced: Mutex<Synced>,
}

impl World {
    /// Everything switched off.
    pub fn new(plan: Plan, options: Options) -> Arc<World> {
        let trace = Arc::new(Trace::new(options.print, plan.nodes));
        let seed = plan.seed;
        let network = Arc::new(Network::new(seed, trace.clone(), plan.sim.stragglers_permille));
        let cloud = Arc::new(SimCloud::new(seed, plan.sim.hosts + plan.sim.spare_hosts, plan.sim.cloud_off_ms, trace.clone()));
        let ms = Duration::from_millis;
        let timing = Timing {
            heartbeat: ms(plan.sim.heartbeat_ms),
            election_min: ms(plan.sim.election_min_ms),
            election_max: ms(plan.sim.election_max_ms),
            snapshot_entries: plan.sim.snapshot_entries,
            keep_entries: plan.sim.keep_entries,
            ..Timing::default()
        };
        let tcp = plan.sim.wire.then(|| Tcp::new(network.clone(), trace.clone()));
        let site = Arc::new(Site {
            seed,
            trace: trace.clone(),
            network: network.clone(),
            tcp: tcp.clone(),
            cloud: cloud.clone(),
            timing,
            ended_in_memory_s: plan.sim.ended_in_memory_s,
        });
        let lies = options.planted == Some(Planted::LyingSync);
        let many = u64::from(plan.nodes) + plan.spares();
        let machines: Vec<_> = (1..=many).map(|id| Arc::new(Machine::new(id, site.clone(), lies))).collect();
        let roster = Roster::new(plan.nodes as usize, machines.len());
        super::points::begin();
        let held = machines.iter().map(|_| AtomicBool::new(false)).collect();
        let rising = machines.iter().map(|_| AtomicBool::new(false)).collect();
        let (probes, hashes, audit, hidden, open, moves) = Default::default();
        Arc::new(World {
            plan,
            trace,
            network,
            tcp,
            cloud,
            machines,
            roster,
            hosts: Hosts::default(),
            meter: Meter::default(),
            options,
            held,
            rising,
            probes,
            hashes,
            audit,
            hidden,
            open,
            moves,
            synced: Mutex::default(),
        })
    }

    /// Starts a machine, and again when it ends by itself, unless it is held.
    pub async fn bring_up(self: &Arc<Self>, index: usize) {
        if self.rising[index].swap(true, Ordering::SeqCst) {
            return;
        }
        let machine = &self.machines[index];
        let mut failed = 0;
        while self.may_run(index) && !machine.is_up() {
            if machine.start().await
                && let Some(life) = machine.life()
            {
                self.roster.runs(index);
                self.watch(index, life);
                break;
            }
            // On a full disk the next attempt would read the whole state and end as the last one did: each waits twice as long
            // as the one before, but not beyond the end of what keeps the node from starting.
            for _ in 0..1 << failed.min(LONGER) {
                tokio::time::sleep(self.before_restart(index)).await;
                if !machine.disks.are_full() {
                    break;
                }
            }
            failed += 1;
        }
        self.rising[index].store(false, Ordering::SeqCst);
    }

    fn may_run(&self, index: usize) -> bool {
        let wanted = matches!(self.roster.standing(index), Standing::Member | Standing::Lost);
        wanted && !self.held[index].load(Ordering::SeqCst)
    }

    /// A supervisor has less and less patience with what never starts.
    fn before_restart(&self, index: usize) -> Duration {
        if self.roster.standing(index) == Standing::Lost { 10 * SUPERVISOR } else { SUPERVISOR }
    }

    /// Ends a machine and keeps it down.
    pub async fn hold(&self, index: usize) {
        self.held[index].store(true, Ordering::SeqCst);
        self.machines[index].crash(Death::Kill).await;
    }

    /// Machines may be started again.
    pub fn release(&self) {
        self.held.iter().for_each(|held| held.store(false, Ordering::SeqCst));
    }

    /// Follows one life: its end, its state, its leadership.
    fn watch(self: &Arc<Self>, index: usize, life: Life) {
        let (world, group, raft) = (self.clone(), life.group.clone(), life.raft.clone());
        tasks::spawn(async move {
            let reason = tokio::select! {
                biased;
                () = group.stopping() => return,
                reason = raft.fatal() => reason,
            };
            let machine = &world.machines[index];
            if reason.contains("panicked") {
                world.trace.finding("R1", format!("node {}: {reason}", machine.id));
            }
            world.trace.incident(Some(machine.id), "ended", reason);
            machine.crash(Death::Kill).await;
            tokio::time::sleep(world.before_restart(index)).await;
            Box::pin(world.bring_up(index)).await;
        });
        let (world, id) = (self.clone(), self.machines[index].id);
        let mut applied = life.raft.applied();
        let (group, raft) = (life.group.clone(), life.raft.clone());
        tasks::spawn(async move {
            loop {
                world.compare(id, &raft.state());
                tokio::select! {
                    biased;
                    () = group.stopping() => return,
                    changed = applied.changed() => if changed.is_err() { return },
                }
            }
        });
        let (world, group, mut leadership) = (self.clone(), life.group.clone(), life.raft.leadership());
        tasks::spawn(async move {
            loop {
                if let Leadership::Leading { term, .. } = *leadership.borrow_and_update() {
                    world.trace.incident(Some(id), "leads", format!("term {term}"));
                }
                tokio::select! {
                    biased;
                    () = group.stopping() => return,
                    changed = leadership.changed() => if changed.is_err() { return },
                }
            }
        });
    }

    /// H1: equal index, equal hash, whoever and whenever.
    fn compare(&self, node: u64, state: &State) {
        let (index, hash) = (state.ledger_index(), state.hash());
        self.trace.note("state", node, index, hash as u64);
        let mut hashes = self.hashes.lock();
        if !hashes.contains_key(&index) {
            self.audit.lock().push(Audited {
                at_ns: self.trace.now_ns(),
                node,
                ledger_index: index,
                clock_ms: state.clock().0,
                hidden: self.hidden(state),
                actuations: self
                    .open
                    .lock()
                    .json(state.actuations().map(|row| (row.id, row)))
                    .into_iter()
                    .map(|(_, row)| row)
                    .collect(),
                actuation_lease: json(&state.actuation_lease()),
                moved: self.moves.lock().see(state),
            });
        }
        let (known, by) = *hashes.entry(index).or_insert((hash, node));
        if known != hash {
            self.trace.finding("H1", format!("at index {index} node {node} has {hash:032x}, node {by} had {known:032x}"));
        }
    }

    /// Leases that users do not see.
    fn hidden(&self, state: &State) -> BTreeMap<String, Arc<Value>> {
        let hidden = state.leases().filter(|lease| !lease.visible()).map(|lease| (lease.id, lease));
        self.hidden.lock().json(hidden).into_iter().map(|(id, lease)| (id.to_string(), lease)).collect()
    }

    /// Who leads, in the highest term.
    pub fn leader(&self) -> Option<(usize, Life)> {
        let lives = self.machines.iter().enumerate().filter_map(|(index, machine)| Some((index, machine.life()?)));
        let leading = lives.filter_map(|(index, life)| {
            let term = life.raft.leadership().borrow().term()?;
            Some((term, index, life))
        });
        leading.max_by_key(|(term, index, _)| (*term, *index)).map(|(_, index, life)| (index, life))
    }

    /// Whom a fault hits now.
    pub fn target(&self, target: Target) -> usize {
        match target {
            Target::Leader => self.leader().map_or_else(|| self.member(0), |(index, _)| index),
            Target::Node(index) => self.member(index as usize),
            Target::Follower(index) => {
                let leader = self.leader().map(|(leader, _)| leader);
                let all: Vec<usize> = (0..self.size()).map(|n| self.member(n)).filter(|one| Some(*one) != leader).collect();
                all.get(index as usize % all.len().max(1)).copied().unwrap_or(0)
            }
        }
    }

    /// The cluster's nodes, from this one on.
    pub fn nodes_from(&self, node: usize) -> Vec<u64> {
        let members: Vec<usize> = (0..self.size()).map(|number| self.member(number)).collect();
        let first = members.iter().position(|member| *member == node).unwrap_or(0);
        let round = members.iter().cycle().skip(first).take(members.len());
        round.map(|member| self.machines[*member].id).collect()
    }

    /// Whether every step of a clock is one of all clocks, which no comparing finds: planted.
    pub fn clocks_err_alike(&self) -> bool {
        self.options.planted == Some(Planted::WrongMajority)
    }

    /// Takes a look at everybody once a second.
    pub async fn probe(self: Arc<Self>) {
        let mut round = 0u64;
        loop {
            for machine in &self.machines {
                if let Some(life) = machine.life() {
                    self.look(machine, &life);
                    if round % LOOKED_OVER_S == (machine.id * LOOKED_OVER_S / 3) % LOOKED_OVER_S {
                        self.check_invariants(machine.id, &life);
                    }
                }
            }
            self.look_at_disks();
            self.settle();
            round += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn look(&self, machine: &Machine, life: &Life) {
        let status = life.raft.status_of_raft();
        let now_ns = self.trace.now_ns();
        let probe = Probe {
            at_ns: now_ns,
            node: machine.id,
            life: life.life,
            term: status.term,
            vote: status.vote,
            vote_committed: status.vote_committed,
            role: status.role,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: status.applied_index,
            ledger_index: status.ledger_index,
            state_hash: status.state_hash,
            ledger_clock_ms: life.raft.state().clock().0,
            wall_ms: self.trace.now_ms().saturating_add_signed(machine.wall.at(now_ns)),
            open_actuations: status.open_actuations,
            voters: status.members.iter().filter(|member| member.voter).map(|member| member.node_id).collect(),
            members: status.members.iter().map(|member| member.node_id).collect(),
            held: held(life),
        };
        self.probes.lock().push(probe);
    }

    /// M1: what the leader has as committed is on the disks.
    fn look_at_disks(&self) {
        let Some((leader, life)) = self.leader() else { return };
        let status = life.raft.status_of_raft();
        let Some(committed) = status.committed_index else { return };
        let voters: Vec<u64> = status.members.iter().filter(|member| member.voter).map(|member| member.node_id).collect();
        let of_voter = |machine: &&Arc<Machine>| voters.contains(&machine.id);
        let disks = self.machines.iter().filter(of_voter).map(|machine| (machine.id, &*machine.disks)).collect();
        for problem in self.synced.lock().look(self.machines[leader].id, committed, &disks) {
            self.trace.finding("M1", problem);
        }
    }

    fn check_invariants(&self, node: u64, life: &Life) {
        for violation in invariants::check(&life.raft.state()) {
            self.trace.finding("L1", format!("node {node}: {violation:?}"));
        }
    }

    /// Each index when it was first seen; they are handed over.
    pub fn audit(&self) -> Vec<Audited> {
        std::mem::take(&mut *self.audit.lock())
    }

    /// What the probes saw; they are handed over.
    pub fn probes(&self) -> Vec<Probe> {
        std::mem::take(&mut *self.probes.lock())
    }

    /// Each running node of the cluster as it is now.
    pub fn finals(&self) -> Vec<FinalState> {
        let members = self.cluster().1.into_iter().filter_map(|index| self.machines.get(index));
        let lives = members.filter_map(|machine| Some((machine.id, machine.life()?)));
        lives
            .map(|(node, life)| {
                self.check_invariants(node, &life);
                let state = life.raft.state();
                let archived = self.archived(node, &life, &state);
                FinalState {
                    node,
                    ledger_index: state.ledger_index(),
                    state_hash: format!("{:032x}", state.hash()),
                    leases: state.leases().map(|lease| (lease.id.to_string(), json(lease))).chain(archived).collect(),
                    hosts: state.hosts().map(|host| (host.id.to_string(), json(host))).collect(),
                    actuations: state.actuations().map(json).collect(),
                }
            })
            .collect()
    }

    /// Leases that left memory, as this node's disk has them.
    fn archived(&self, node: u64, life: &Life, state: &State) -> Vec<(String, serde_json::Value)> {
        let all = state.archived_in(&Among::default(), (Bound::Unbounded, Bound::Unbounded));
        let Ok(mut rows) = life.raft.rows() else { return Vec::new() };
        let mut read = |one: Archived| match rows.reader.read(&one) {
            Ok(lease) => Some((one.id.to_string(), json(&lease))),
            Err(error) => {
                self.trace.finding("S1", format!("node {node}: {error}"));
                None
            }
        };
        let leases: Vec<_> = all.filter_map(&mut read).collect();
        if self.plan.sim.ended_in_memory_s > 0 {
            self.trace.incident(Some(node), "archived", format!("{} leases are on the disk alone", leases.len()));
        }
        leases
    }

    /// Makes the cluster of its first machines, which are up.
    pub async fn initialise(&self) -> bool {
        let first = &self.machines[..self.plan.nodes as usize];
        let voters = || first.iter().map(|machine| (leasehold_ledger::model::NodeId(machine.id), machine.member()));
        for _ in 0..50 {
            // Whoever leads carries it on; before that the first makes it.
            let life = match self.leader() {
                Some((_, life)) => Some(life),
                None => self.machines[0].life(),
            };
            if let Some(life) = life {
                if life.raft.state().cluster_id().is_some() {
                    return true;
                }
                let voters = voters().collect();
                let raft = life.raft.clone();
                let made = life.group.spawn("initialise", async move { raft.initialise_with(voters).await });
                if let Ok(Err(error)) = made.await {
                    tracing::info!(%error, "the cluster is not made yet");
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }
}

/// What a node holds, by name.
fn held(life: &Life) -> BTreeMap<String, u64> {
    let Held { log_entries, tasks, effects, followers, withdrawn, clocks } = life.raft.held();
    let state = life.raft.state();
    let many = [
        ("log_entries", log_entries),
        ("tasks", tasks),
        ("effects", effects),
        ("followers", followers),
        ("withdrawn", withdrawn),
        ("clocks", clocks),
        ("leases", state.leases_len() as u64),
        ("actuations", state.actuations().count() as u64),
    ];
    many.into_iter().map(|(name, many)| (name.to_owned(), many)).collect()
}

/// As the product writes it.
pub fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("a value of the product encodes as JSON")
}

/// An administrator.
pub fn admin() -> Actor {
    actor("admin-user", "admin-project", "admin")
}

/// Somebody with one role.
pub fn actor(user: &str, project: &str, role: &str) -> Actor {
    Actor {
        user_id: leasehold_ledger::model::UserId(user.into()),
        project_id: leasehold_ledger::model::ProjectId(project.into()),
        roles: [role.to_owned()].into(),
    }
}
