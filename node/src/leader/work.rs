//! What all of one leader's tasks share: the ledger, the cloud, the rights to act, the hosts' queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_ledger::model::Timestamp;
use tokio::sync::Notify;
use tracing::Instrument;

use super::LeaderConfig;
use super::cells::Cells;
use super::host_writer::HostWriter;
use super::ledger_port::LedgerPort;
use super::names::Names;
use super::permits::{LeaderPermit, UnfencedRight};
use super::places::Places;
use crate::openstack::Cloud;
use crate::seams::{Clock, Mono, Rng, Spawner};

/// One leader's term of work.
pub struct Work {
    /// The ledger of this node.
    pub ledger: Arc<dyn LedgerPort>,
    /// The cloud.
    pub cloud: Cloud,
    /// Identities of our objects.
    pub names: Names,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Spread.
    pub rng: Arc<dyn Rng>,
    /// This term's tasks.
    spawner: Spawner,
    /// Raft's.
    pub term: u64,
    /// Periods.
    pub config: LeaderConfig,
    /// Asked before every mutating call.
    pub leader: LeaderPermit,
    /// Asked before those that nothing fences.
    pub unfenced: UnfencedRight,
    /// The hosts' queues.
    pub hosts: HostWriter,
    /// Whether lists of servers are whole.
    pub cells: Cells,
    /// Wakes the reconciler before its period.
    pub reconcile: Arc<Notify>,
    /// Places for passes over reservations.
    pub passes: Arc<Places>,
    numbers: AtomicU64,
}

impl Work {
    /// Everything for one term, begun now.
    #[must_use]
    pub fn new(ports: &super::Ports, names: Names, spawner: Spawner, term: u64, config: LeaderConfig, elected_at: Mono) -> Self {
        let super::Ports { ledger, cloud, clock, rng } = ports;
        Self {
            ledger: ledger.clone(),
            cloud: cloud.clone(),
            names,
            clock: clock.clone(),
            rng: rng.clone(),
            spawner,
            term,
            config,
            leader: LeaderPermit::new(ledger.clone(), term),
            unfenced: UnfencedRight::new(ledger.clone(), clock.clone(), term, elected_at),
            hosts: HostWriter::default(),
            cells: Cells::default(),
            reconcile: Arc::new(Notify::new()),
            passes: Arc::new(Places::new(config.parallel)),
            // Who hands over in vain leads again in the same term, and names no call as he has named one before.
            numbers: AtomicU64::new(u64::try_from(elected_at.0.as_micros()).unwrap_or_default()),
        }
    }

    /// Starts a task that ends with the term. What it logs says of which term it is.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner.spawn(name, task.instrument(tracing::info_span!("leader", term = self.term)));
    }

    /// Another number in this term, for ids of calls: counted from when these tasks were begun, in microseconds.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Has everything read back again after a while.
    pub fn reconcile_in(&self, wait: std::time::Duration) {
        let (clock, notify) = (self.clock.clone(), self.reconcile.clone());
        self.spawn("leader-reconcile-later", async move {
            clock.sleep(wait).await;
            notify.notify_one();
        });
    }

    /// Wall time, for lateness that is shown to people and for what is looked at ahead. Never stamped, never a reason for a call to the
    /// cloud.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.wall_ms())
    }
}
