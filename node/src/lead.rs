//! Starts the leader's work when this node begins to lead, stops and awaits it when it ceases to, and shows it the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use leasehold_ledger::command::Command;
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::NodeId;
use leasehold_ledger::mutant;
use leasehold_ledger::plan::Terms;
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use tokio::sync::{Mutex, broadcast, watch};

use crate::config::LeaderSection;
use crate::leader::permits::LeaderPermit;
use crate::leader::{self, LeaderConfig, LeaderHandle, LedgerPort, Ports, ProposeError};
use crate::openstack::Cloud;
use crate::raft::{Fence, Leadership, RaftHandle};
use crate::seams::Seams;
use crate::telemetry::metrics;

/// The ledger behind Raft, as the leader's tasks see it.
struct RaftLedger {
    raft: RaftHandle,
    node_id: NodeId,
}

impl LedgerPort for RaftLedger {
    fn read(&self, look: &mut dyn FnMut(&State)) {
        look(&self.raft.state());
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Result<Reply, Rejection>, ProposeError>> {
        async move {
            match self.raft.propose(None, command).await {
                Ok(committed) => Ok(committed.outcome),
                Err(error) => Err(ProposeError(error.to_string())),
            }
        }
        .boxed()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.raft.applied()
    }

    fn effects(&self) -> broadcast::Receiver<Arc<[Effect]>> {
        self.raft.effects()
    }

    fn may_act(&self, term: u64) -> bool {
        // Planted bug (with the one below): any term of this node is as good as the one that acts.
        let of_term = |fence: &Fence| fence.term() == term || mutant!("C02");
        // Planted bug: no fence, so that a leader acts on until it knows that it is none.
        mutant!("M11") || self.raft.fence().is_some_and(|fence| of_term(&fence) && fence.valid_now())
    }

    fn node_id(&self) -> NodeId {
        self.node_id
    }
}

/// What one onboarding may send: everything, while this node leads in the term it leads in now.
///
/// `None` when it does not lead.
pub fn permit(raft: &RaftHandle, node_id: NodeId) -> Option<LeaderPermit> {
    let term = raft.leadership().borrow().term()?;
    Some(LeaderPermit::new(Arc::new(RaftLedger { raft: raft.clone(), node_id }), term))
}

/// Follows leadership for as long as the node runs.
pub fn follow(raft: &RaftHandle, cloud: Option<Cloud>, section: &LeaderSection, node_id: NodeId, seams: &Seams) {
    let running: Arc<Mutex<Option<LeaderHandle>>> = Arc::default();
    // Handing leadership over stops the actuator first (architecture D6).
    let handing_over = running.clone();
    raft.on_hand_over(Arc::new(move || {
        let running = handing_over.clone();
        async move {
            if let Some(work) = running.lock().await.take() {
                work.stop().await;
            }
        }
        .boxed()
    }));
    let mut leadership = raft.leadership();
    let config = LeaderConfig {
        reconcile_period: Duration::from_secs(section.reconcile_s),
        services_period: Duration::from_secs(section.monitor_s.min(10)),
        hosts_period: Duration::from_secs(section.monitor_s),
        parallel: section.parallel,
        healing_grace: Duration::from_secs(section.healing_grace_s),
        healing_horizon: Duration::from_secs(section.healing_horizon_s),
        defragment_period: Duration::from_secs(section.defragment_s),
        defragment_terms: Terms { lead_s: section.defragment_lead_s, gain_s: section.defragment_gain_s },
        ended_in_memory: Duration::from_secs(section.ended_leases_in_memory_s),
    };
    let (raft, group) = (raft.clone(), seams.clone());
    drop(seams.spawner.spawn("lead", async move {
        loop {
            let now = *leadership.borrow_and_update();
            {
                let mut running = running.lock().await;
                // Planted bug: the tasks of a term that is over are left to themselves.
                if let Some(work) = running.take().filter(|_| !mutant!("C02")) {
                    work.stop().await;
                }
                metrics::leading(now.term().is_some());
                if let Leadership::Leading { term, .. } = now {
                    let ledger: Arc<dyn LedgerPort> = Arc::new(RaftLedger { raft: raft.clone(), node_id });
                    let (clock, rng) = (group.clock.clone(), group.rng.clone());
                    *running = Some(match cloud.clone() {
                        Some(cloud) => leader::start(Ports { ledger, cloud, clock, rng }, config, &group.spawner, term),
                        None => leader::start_clock_alone(ledger, clock, config, &group.spawner),
                    });
                }
            }
            if leadership.changed().await.is_err() {
                return;
            }
        }
    }));
}
