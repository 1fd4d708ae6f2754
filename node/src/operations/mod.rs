//! User-visible operations: authorise → plan → command → propose → answer. Both edges call these and nothing else.
//!
//! An operation may be called on any node. Writes run on the leader: elsewhere the whole call is forwarded over the peer
//! channel and its answer handed back. Reads run here, behind a ReadIndex. Must not know HTTP, gRPC or JSON.

mod actor;
mod capacity;
mod change_lease;
mod claim_offer;
mod cluster;
mod create_lease;
mod delete_lease;
mod downtime;
mod ended;
mod error;
mod expiry;
mod flavors;
mod groups;
mod host;
mod lease;
mod precedence;
mod quota;
mod recurrence;
mod route;
mod series;
mod settle;
mod waitlist;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub use actor::{Actor, Rule};
pub use cluster::{ClusterChange, ClusterStatus, MemberStatus};
pub use error::{Denied, OperationError, Unavailable};
pub use host::HostRequest;
pub use lease::KeyState;

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::model::NodeId;
use leasehold_ledger::plan::Overlay;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::openstack::Cloud;
use crate::raft::{Leadership, RaftHandle, ReadError};
use crate::seams::Seams;

/// An answer and the ledger index it is true at (architecture D17).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// Every reply carries it; watch streams run on it.
    pub ledger_index: u64,
}

/// How fresh a read must be. Reads are linearizable unless the caller asks for stale ones by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// Behind a ReadIndex.
    #[default]
    Linearizable,
    /// What this node has applied.
    Stale,
}

/// Result of an operation.
pub type Result<T> = std::result::Result<T, OperationError>;

/// All operations. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    inner: Arc<Inner>,
}

/// What clients may ask for at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long an offer may stand, seconds.
    pub offer_valid_s_max: u32,
    /// How long a lease may wait for room, seconds.
    pub wait_s_max: u32,
    /// Whether servers may be asked for like a flavor of the cloud.
    pub flavors: bool,
    /// Whether leases may have a priority, take room from others and give way to them.
    pub priorities: bool,
    /// Who may ask for a priority, beside admins: those with this role, in lower case.
    pub priority_role: Option<String>,
    /// Who may ask for leases whatever the quota says, beside admins: those with this role, in lower case.
    pub quota_exempt_role: Option<String>,
    /// Whether leases may give back what nobody uses some time after they became active.
    pub expiry: bool,
    /// After how many seconds leases do that say nothing of it; `None`: never.
    pub expiry_s_default: Option<u32>,
    /// Leases that left memory which are read for one answer at most, 1 or more.
    pub ended_leases_read_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            offer_valid_s_max: crate::config::OFFER_VALID_S_MAX,
            wait_s_max: crate::config::WAIT_S_MAX,
            flavors: true,
            priorities: true,
            priority_role: None,
            quota_exempt_role: None,
            expiry: true,
            expiry_s_default: None,
            ended_leases_read_max: crate::config::ENDED_LEASES_READ_MAX,
        }
    }
}

struct Inner {
    raft: RaftHandle,
    seams: Seams,
    /// `None` where no cloud is configured: hosts cannot be onboarded then.
    cloud: Option<Cloud>,
    node_id: NodeId,
    bounds: Bounds,
    /// Plans in flight of this node while it leads (architecture D2). Emptied by those who filled it.
    overlay: Arc<Mutex<Overlay>>,
    /// Held while a question about capacity is answered.
    asking: tokio::sync::Mutex<()>,
}

impl Operations {
    /// Over a started Raft node. Registers itself as the receiver of forwarded calls.
    pub fn new(raft: RaftHandle, cloud: Option<Cloud>, node_id: NodeId, bounds: Bounds, seams: Seams) -> Operations {
        let (overlay, asking) = Default::default();
        let inner = Inner { raft, seams, cloud, node_id, bounds, overlay, asking };
        let operations = Operations { inner: Arc::new(inner) };
        route::receive_forwarded_calls(&operations);
        operations
    }

    /// Where clients reach the leader, when that is another node and known. A hint: the next moment it may be wrong.
    pub fn leader_elsewhere(&self) -> Option<String> {
        match *self.inner.raft.leadership().borrow() {
            Leadership::Following { leader: Some(leader) } => self.inner.raft.client_address(leader),
            Leadership::Following { leader: None } | Leadership::Leading { .. } => None,
        }
    }

    /// Completes once this node has known no leader for `limit` without a break.
    pub async fn leaderless_for(&self, limit: Duration) {
        let clock = &self.inner.seams.clock;
        let mut leadership = self.inner.raft.leadership();
        loop {
            // The sender lives as long as Raft: when it is gone there is no leader either.
            let leaderless = |now: &Leadership| matches!(now, Leadership::Following { leader: None });
            let lost = leadership.wait_for(leaderless).await.is_err();
            let found = leadership.wait_for(|now| !leaderless(now));
            if lost || clock.timeout(limit, found).await.is_err() {
                return;
            }
        }
    }

    /// Waits until reads here see everything that was acknowledged before the call, anywhere.
    ///
    /// The answer carries the index of the state that it is read from, taken under the same lock: the state may be further
    /// than what was confirmed. Errors: no leader, no quorum, stopping.
    async fn read_barrier(&self, consistency: Consistency) -> Result<()> {
        match consistency {
            Consistency::Linearizable => self.confirmed_index().await.map(|_| ()),
            Consistency::Stale => Ok(()),
        }
    }

    /// Confirms an index with a quorum; an election is waited out for as long as a write waits it out
    /// ([`route::FIND_LEADER`]). A read changes nothing, so that asking again is always safe.
    async fn confirmed_index(&self) -> Result<u64> {
        let clock = &self.inner.seams.clock;
        let give_up = clock.mono().after(route::FIND_LEADER);
        let mut leadership = self.inner.raft.leadership();
        loop {
            leadership.borrow_and_update();
            match self.inner.raft.read_index().await {
                Err(ReadError::NoLeader | ReadError::NoQuorum) if clock.mono() < give_up => {
                    route::news_of(&mut leadership, clock).await?;
                }
                // Elections take less: a node that finds none for so long is cut off, or too few nodes live.
                Err(ReadError::NoLeader) => return Err(OperationError::Unavailable(Unavailable::NoQuorum)),
                read => return Ok(read?),
            }
        }
    }
}
