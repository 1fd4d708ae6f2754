//! The leader's work on the cloud: exists only while this node leads, started with a term, stopped and awaited on loss.
//!
//! Level-triggered (architecture D5): open rows in the ledger are the work. [`clock`] has rows opened when they are due,
//! `dispatch` puts workers to them, `foresight` reads the hosts they will need, [`actuator`] works them off,
//! [`host_writer`] keeps each host's hold and tokens as the ledger wants them, [`reconciler`] reads everything back,
//! [`host_monitor`] reports what hosts have and who uses them, `upgrades` when one is to have more; they give way (`courtesy`) to what is due. `healer` moves leases
//! away from hosts that cannot serve them, `waitlist` has those booked that waited for room, `archive` takes ended ones out of memory. [`onboard`] takes
//! hosts in and lets them go for the operations. Must not know: Raft beyond a term, REST, gRPC. Read next:
//! `ledger_port.rs`, `desired.rs`, `host_plan.rs`, `actuator.rs`, then one file of `steps/`.

pub mod actuator;
pub mod adopt;
mod archive;
mod cells;
pub mod clock;
mod courtesy;
mod defragmenter;
pub mod desired;
mod dispatch;
mod foresight;
pub mod grain;
mod healer;
pub mod host_monitor;
pub mod host_plan;
pub mod host_writer;
pub mod ledger_port;
pub mod names;
pub mod onboard;
mod pause;
pub mod permits;
mod places;
pub mod reconciler;
mod server_groups;
pub mod source_flavor;
mod steps;
mod upgrades;
mod waitlist;
mod work;

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::plan::Terms;

pub use ledger_port::{LedgerPort, ProposeError};
pub use work::Work;

use crate::openstack::Cloud;
use crate::seams::{Clock, Rng, Spawner};

/// Periods of the leader's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderConfig {
    /// Between two full read-backs.
    pub reconcile_period: Duration,
    /// Between two looks at Nova's compute services.
    pub services_period: Duration,
    /// Between two looks at every host's inventories and users.
    pub hosts_period: Duration,
    /// Passes over reservations at a time.
    pub parallel: usize,
    /// A host must have been down, or have promised too much, for so long before its leases are moved; those that begin within
    /// it are moved at once.
    pub healing_grace: Duration,
    /// Leases that begin within this are moved, and are told to lack a host; zero: none.
    pub healing_horizon: Duration,
    /// Between two rounds of those that have leases set hosts free; zero: none.
    pub defragment_period: Duration,
    /// Which leases those move.
    pub defragment_terms: Terms,
    /// Leases stay in memory for so long after they ended or were changed last.
    pub ended_in_memory: Duration,
}

impl Default for LeaderConfig {
    fn default() -> Self {
        Self {
            reconcile_period: Duration::from_secs(60),
            services_period: Duration::from_secs(10),
            hosts_period: Duration::from_secs(60),
            parallel: 64,
            healing_grace: Duration::from_secs(60),
            healing_horizon: Duration::from_secs(3600),
            defragment_period: Duration::from_secs(60),
            defragment_terms: Terms { lead_s: 300, gain_s: 600 },
            ended_in_memory: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What the leader's tasks reach.
#[derive(Clone)]
pub struct Ports {
    /// The ledger of this node.
    pub ledger: Arc<dyn LedgerPort>,
    /// The cloud.
    pub cloud: Cloud,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Spread.
    pub rng: Arc<dyn Rng>,
}

/// The running tasks of one term.
#[derive(Debug)]
pub struct LeaderHandle {
    spawner: Spawner,
}

impl LeaderHandle {
    /// Stops every task at its next step and waits until all are gone: before leadership is handed over, and after it
    /// was lost. Nothing is sent after this returns.
    pub async fn stop(self) {
        self.spawner.shutdown().await;
    }
}

/// Starts the leader's tasks for a term that this node has just won. `spawner`: the node's group.
#[must_use]
pub fn start(ports: Ports, config: LeaderConfig, spawner: &Spawner, term: u64) -> LeaderHandle {
    let spawner = spawner.child();
    let elected_at = ports.clock.mono();
    let group = spawner.clone();
    spawner.spawn("leader", async move {
        // The first commit of our term: from here on the state holds all that earlier leaders had committed.
        clock::advance_until_taken(&ports.ledger, &ports.clock).await;
        let names = names_once_known(&ports).await;
        tracing::info!(term, "leading: working on the cloud");
        let work = Arc::new(Work::new(&ports, names, group, term, config, elected_at));
        work.spawn("leader-clock", clock::run(ports.ledger, ports.clock));
        work.spawn("leader-actuator", dispatch::run(work.clone()));
        work.spawn("leader-hosts", actuator::keep_hosts(work.clone()));
        work.spawn("leader-foresight", foresight::run(work.clone()));
        work.spawn("leader-reconciler", reconciler::run(work.clone()));
        work.spawn("leader-monitor", host_monitor::run(work.clone()));
        work.spawn("leader-upgrades", upgrades::run(work.clone()));
        work.spawn("leader-healer", healer::run(work.clone()));
        work.spawn("leader-defragmenter", defragmenter::run(work.clone()));
        work.spawn("leader-archive", archive::run(work.ledger.clone(), work.clock.clone(), config.ended_in_memory));
        work.spawn("leader-waitlist", waitlist::run(work.ledger.clone(), work.clock.clone()));
    });
    LeaderHandle { spawner }
}

/// As [`start`] where no cloud is configured: the clock moves, rows are opened and nobody works them off; what waited for room
/// is booked, and what ended long ago leaves memory.
#[must_use]
pub fn start_clock_alone(
    ledger: Arc<dyn LedgerPort>,
    clock: Arc<dyn Clock>,
    config: LeaderConfig,
    spawner: &Spawner,
) -> LeaderHandle {
    let spawner = spawner.child();
    let waiting = (ledger.clone(), clock.clone());
    spawner.spawn("leader-archive", archive::run(ledger.clone(), clock.clone(), config.ended_in_memory));
    spawner.spawn("leader-clock", async move {
        clock::advance_until_taken(&ledger, &clock).await;
        clock::run(ledger, clock).await;
    });
    spawner.spawn("leader-waitlist", waitlist::run(waiting.0, waiting.1));
    LeaderHandle { spawner }
}

/// The cluster's id goes into every name, so nothing begins without it.
async fn names_once_known(ports: &Ports) -> names::Names {
    let mut applied = ports.ledger.applied();
    loop {
        applied.borrow_and_update();
        if let Some(id) = ports.ledger.look(|state| state.cluster_id()) {
            return names::Names::new(id);
        }
        if applied.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Has a command proposed until its end is seen. For commands that may come twice and must come.
pub(crate) async fn propose_until_seen(
    ledger: &Arc<dyn LedgerPort>,
    clock: &Arc<dyn Clock>,
    command: Command,
) -> Result<leasehold_ledger::reply::Reply, leasehold_ledger::reply::Rejection> {
    let mut wait = Duration::from_millis(20);
    loop {
        match ledger.propose(command.clone()).await {
            Ok(settled) => return settled,
            Err(error) => {
                tracing::warn!(%error, "the ledger did not take a command; trying again");
                clock.sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(1));
            }
        }
    }
}
