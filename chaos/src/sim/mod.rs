//! The simulation: the product's own code, all nodes in one thread, on simulated disks, networks, clocks and a simulated
//! cloud (chaos-design §3).
//!
//! Everything runs on one paused, seeded tokio runtime: time passes when nobody has anything to do. All that is drawn is
//! drawn from the seed, so that one seed is one run, to the last frame ([`trace`]). One process runs one seed: libraries keep
//! state of their own.
//!
//! Read on: [`world`], [`node`], then [`network`], [`disk`], [`cloud`], [`clock`].

pub mod calls;
pub mod clock;
pub mod cloud;
pub mod core_phase;
pub mod disk;
mod electorate;
pub mod errors;
pub mod foreign;
pub mod gate;
pub mod hosts;
pub mod memory;
pub mod moves;
pub mod network;
pub mod node;
pub mod points;
pub mod rng;
pub mod roster;
pub mod synced;
pub mod tasks;
pub mod trace;
mod unchanged;
pub mod watch;
pub mod wire;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_ledger::model::PoolKind;
use leasehold_node::operations::{HostRequest, OperationError};
use leasehold_node::raft::Timing;
use tokio::runtime::{Builder, RngSeed, Runtime};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};

use crate::diagram::View;
use crate::hours;
use crate::nemesis::{self, Nemesis};
use crate::plan::{Fault, Plan};
use crate::record::Record;
use crate::workload::{OPERATOR, Project, USERS, Workload, flavors};
use errors::Errors;
use world::{World, admin};

/// From here on nothing is broken any more.
pub const HEALED: &str = "everything is healed";
/// What is told of a pause of a machine whose clocks stand still with it.
pub const STANDS_STILL: &str = "its clocks stand still";
/// With everything healed there must be one state within this.
const HEAL_LIMIT: Duration = Duration::from_secs(30);
/// And for so long it is looked at, at least.
const LOOKED_AT: Duration = Duration::from_secs(5);
/// So many leaders follow each other at rest in a run that is weighed.
const ELECTIONS: usize = 100;
/// Work that is owed must be done so long after the last lease's end.
const DRAIN_LIMIT: Duration = Duration::from_secs(400);
/// What a call did that took effect late is undone within two rounds of the reconciler.
const UNDONE: Duration = Duration::from_secs(100);
/// What was left of a host that went, or that never came, is seen by two sweeps of the reconciler, five minutes apart, and then removed.
const TRACES_LIMIT: Duration = Duration::from_secs(700);

/// How a run is looked at, and what is wrong with it on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What happens is drawn on standard error.
    pub print: Option<View>,
    /// A fault beyond what anybody promises to survive: the checks must find it.
    pub planted: Option<Planted>,
}

/// See [`Options::planted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Disks say that they have synced and have not, as M01 and M02 would look from below.
    LyingSync,
    /// All clocks are set alike, so that the wrong ones are a majority.
    WrongMajority,
}

/// Runs a plan in this process.
///
/// # Errors
/// When the harness itself fails; what the product does wrong is a finding in the record.
pub fn run(plan: Plan, options: Options) -> Result<Record> {
    if plan.sim.weigh {
        return memory::weighed(&plan, options);
    }
    let (record, runtime) = simulate(plan, options)?;
    // One process runs one seed and then ends: nobody needs to take the world apart.
    std::mem::forget(runtime);
    Ok(record)
}

/// Runs a plan; what it was run on still holds the whole world.
fn simulate(plan: Plan, options: Options) -> Result<(Record, Runtime)> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&plan.seed.to_le_bytes()))
        .build()
        .context("a runtime")?;
    let errors = Errors::default();
    let shown = std::env::var_os("RUST_LOG").is_some();
    let lines = shown.then(|| {
        let lines = tracing_subscriber::fmt::layer().without_time().with_writer(std::io::stderr).with_ansi(false);
        lines.with_filter(EnvFilter::from_default_env())
    });
    let heard = tracing_subscriber::registry().with(errors.clone().with_filter(LevelFilter::ERROR)).with(lines);
    let record = tracing::subscriber::with_default(heard, || runtime.block_on(live(plan, options, &errors)))?;
    Ok((record, runtime))
}

async fn live(plan: Plan, options: Options, errors: &Errors) -> Result<Record> {
    tasks::begin();
    let world = World::new(plan, options);
    errors.tell(&world.trace);
    let cloud = world.cloud.clone();
    tasks::spawn(async move { cloud.run().await });
    flavors::put(&world.cloud)?;
    let foreign = foreign::put(&world.cloud)?;
    set_up(&world).await?;

    let mut projects = Vec::new();
    for user in USERS {
        let (user_id, id) = world.cloud.login(user).with_context(|| format!("a token of {user}"))?;
        // Who calls operations is whoever he says he is.
        let user_id = if world.tcp.is_some() { user_id } else { format!("user-of-{id}") };
        projects.push(Project { id, user, user_id, role: "member" });
    }
    let operator = if world.plan.sim.quotas {
        let (user_id, id) = world.cloud.login(OPERATOR).context("a token of the operator")?;
        Some(Project { id, user: OPERATOR, user_id, role: "admin" })
    } else {
        None
    };
    let followed = projects.first().map(|project| project.id.clone());
    let workload = Workload::new(world.clone(), projects, operator.as_ref());
    let wire = workload.wire.clone().zip(followed);
    let follower = wire.map(|(clients, project)| wire::follow::Follower::start(&world, clients, project));
    let mut clients: Vec<_> = (0..world.plan.sim.clients).map(|client| tasks::spawn(workload.clone().client(client))).collect();
    clients.extend(operator.map(|operator| tasks::spawn(workload.clone().operator(operator))));
    let watches = watch::Watches::start(&world);
    tasks::spawn(world.clone().probe());
    tasks::spawn(crate::meter::run(world.clone()));

    // 1. Safety: everything on.
    world.trace.incident(None, "phase", hours::FAULTS);
    let nemesis = Nemesis::start(&world);
    tokio::time::sleep(Duration::from_millis(world.plan.sim.safety_ms)).await;
    nemesis.stop().await;

    // 2. Core liveness: a drawn core is healed, the rest stays down.
    let promised = !world.plan.is_beyond();
    if promised {
        core_phase::live(&world).await;
    }

    // 3. Full heal.
    workload.stop();
    world.meter.stop();
    nemesis::heal(&world);
    if promised {
        nemesis::members::replace_lost(&world).await;
    }
    let healed = tokio::time::Instant::now();
    if promised {
        world.trace.incident(None, "phase", HEALED);
        agree(&world).await;
        workload.call_on_all().await;
    } else {
        // What is healed is not what it takes: the cluster must go on refusing (S2).
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    for client in clients {
        client.await.context("a client")?;
    }
    workload.resolve().await;

    // 4. Drain: past every lease's end, until nothing is owed.
    if promised {
        drain(&world).await;
        late_calls(&world).await;
        forget_hosts(&world).await;
        // V2 looks at the nodes from then on, however soon the last lease ended.
        tokio::time::sleep_until(healed + HEAL_LIMIT + LOOKED_AT).await;
        if world.plan.sim.weigh {
            nemesis::members::hand_over(&world, ELECTIONS).await;
        }
    }
    // A subscriber between two subscriptions has yet to be told the last change.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let finals = world.finals();
    watches.stop().await;
    let followed = follower.map_or_else(Vec::new, wire::follow::Follower::stop);
    let history = workload.history();
    let rows = workload.rows.take();
    let cloud = world.cloud.take_record();
    foreign.judge(&world.cloud, &world.trace);

    tasks::judge()?;
    let (trace_hash, events) = world.trace.digest();
    world.trace.incident(None, "phase", format!("over after {events} events"));
    let (incidents, findings) = world.trace.kept();
    Ok(Record {
        plan: world.plan.clone(),
        epoch_ms: trace::EPOCH_MS,
        clock_tolerance_ms: u64::try_from(Timing::default().clock_tolerance.as_millis()).unwrap_or(0),
        trace_hash,
        history,
        watches: watches.lines(),
        followed,
        cloud,
        probes: world.probes(),
        audit: world.audit(),
        calls: world.cloud.calls.all(),
        reads: world.cloud.calls.reads(),
        rows,
        metered: world.meter.lines(),
        incidents,
        finals,
        findings,
        weight: None,
    })
}

/// Starts all nodes, makes the cluster, onboards the hosts.
async fn set_up(world: &Arc<World>) -> Result<()> {
    for index in 0..world.plan.nodes as usize {
        world.bring_up(index).await;
    }
    ensure!(world.initialise().await, "the cluster was not made");
    for host in 1..=world.plan.sim.hosts {
        let name = format!("cmp{host}");
        let pool = if host % 3 == 0 { PoolKind::Shared } else { PoolKind::Dedicated };
        let request = HostRequest { name: name.clone(), pool, properties: Default::default() };
        let mut registered = false;
        for _ in 0..20 {
            let Some((_, life)) = world.leader() else {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            let (operations, request) = (life.operations.clone(), request.clone());
            let asked = life.group.spawn("onboard", async move { operations.register_host(&admin(), None, request).await });
            match asked.await {
                Ok(Ok(_)) => registered = true,
                Ok(Err(OperationError::Rejected(rejection))) => anyhow::bail!("host {name}: {rejection}"),
                Ok(Err(error)) => tracing::info!(%error, name, "not onboarded yet"),
                Err(stopped) => tracing::info!(%stopped, name, "not onboarded yet"),
            }
            if registered {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        ensure!(registered, "host {name} was not onboarded");
    }
    Ok(())
}

/// Whether a write goes through just now, of the kind that needs the time too.
async fn commits(world: &Arc<World>) -> bool {
    let Some((_, life)) = world.leader() else { return false };
    if life.raft.now().is_err() {
        return false;
    }
    let operations = life.operations.clone();
    let probe = life.group.spawn("probe", async move { operations.probe(&admin(), vec![0; 16]).await });
    matches!(tokio::time::timeout(Duration::from_secs(5), probe).await, Ok(Ok(Ok(_))))
}

/// V2: one leader, everybody up, everybody at the same place.
async fn agree(world: &Arc<World>) {
    let began = world.trace.now_ns();
    let agreeing = async {
        loop {
            if commits(world).await {
                let members = world.cluster().1;
                let lives: Vec<_> = members.iter().filter_map(|index| world.machines.get(*index)?.life()).collect();
                let leading = lives.iter().filter(|life| life.raft.leadership().borrow().term().is_some()).count();
                let indices: Vec<u64> = lives.iter().map(|life| life.raft.state().ledger_index()).collect();
                let near = indices.iter().max().zip(indices.iter().min()).is_some_and(|(most, least)| most - least < 20);
                if lives.len() == members.len() && leading == 1 && near {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match tokio::time::timeout(HEAL_LIMIT, agreeing).await {
        Ok(()) => {
            let took_ms = (world.trace.now_ns() - began) / 1_000_000;
            world.trace.incident(None, "phase", format!("all agree after {took_ms} ms"));
        }
        Err(_) => {
            let seen: Vec<String> = world.machines.iter().map(|machine| told(machine)).collect();
            world.trace.finding("V2", format!("not one cluster {HEAL_LIMIT:?} after everything was healed: {seen:?}"));
        }
    }
}

fn told(machine: &node::Machine) -> String {
    match machine.life() {
        None => format!("node {} is down", machine.id),
        Some(life) => {
            let status = life.raft.status_of_raft();
            let (term, index, clock) = (status.term, status.ledger_index, status.clock_problem);
            format!("node {}: {} in term {term} at {index}, clock {clock:?}", machine.id, status.role)
        }
    }
}

/// Waits until every lease is over and nothing is owed to the cloud.
async fn drain(world: &Arc<World>) {
    world.trace.incident(None, "phase", "drain");
    let last_end_ms = || {
        let leases = world.leader().map(|(_, life)| {
            let state = life.raft.state();
            state.leases().map(|lease| lease.end.unix_s() * 1_000).max().unwrap_or(0)
        });
        leases.unwrap_or(0)
    };
    tokio::time::sleep(Duration::from_millis(last_end_ms().saturating_sub(world.trace.now_ms()))).await;
    let settling = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let owed = world.leader().map_or(1, |(_, life)| life.raft.state().actuations().count());
            let members = world.cluster().1;
            let lives = members.iter().filter_map(|index| world.machines.get(*index)?.life());
            let indices: Vec<u64> = lives.map(|life| life.raft.state().ledger_index()).collect();
            let same = indices.len() == members.len() && indices.windows(2).all(|pair| pair[0] == pair[1]);
            if owed == 0 && same {
                return;
            }
        }
    };
    if tokio::time::timeout(DRAIN_LIMIT, settling).await.is_err() {
        let open: Vec<String> = world.leader().map_or_else(Vec::new, |(_, life)| {
            let state = life.raft.state();
            state.actuations().map(|row| format!("{row:?} of {:?}", state.lease(row.lease_id).map(|l| &l.reason))).collect()
        });
        world.trace.finding("A5", format!("still owed {DRAIN_LIMIT:?} after the last lease's end: {open:#?}"));
    }
}

/// Waits until the last call that the cloud holds back has taken effect, and until what it did has been undone, if it must be.
async fn late_calls(world: &Arc<World>) {
    if world.cloud.with(|cloud| cloud.held_back()) == 0 {
        return;
    }
    while world.cloud.with(|cloud| cloud.held_back()) > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(UNDONE).await;
}

/// Waits until nothing is left in the cloud of hosts that the ledger does not know. What is still there then is A8's to find.
async fn forget_hosts(world: &Arc<World>) {
    let come_or_go = |fault: &Fault| matches!(fault, Fault::HostAdd { .. } | Fault::HostRemove { .. });
    if !world.plan.faults.iter().any(|planned| come_or_go(&planned.fault)) {
        return;
    }
    let give_up = tokio::time::Instant::now() + TRACES_LIMIT;
    while !hosts::traces(world).is_empty() && tokio::time::Instant::now() < give_up {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
