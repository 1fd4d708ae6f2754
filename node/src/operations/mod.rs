//! User-visible operations: authorise → plan → command → propose → answer. Both edges call these and nothing else.
//!
//! An operation may be called on any node. Writes run on the leader: elsewhere the whole call is forwarded over the peer
//! channel and its answer handed back. Reads run here, behind a ReadIndex. Must not know HTTP, gRPC or JSON.

mod actor;
mod error;
mod host;
mod lease;

pub use actor::{Actor, Rule};
pub use error::{Denied, OperationError, Unavailable};
pub use host::{HostAllocation, HostRequest, ReservedInterval};
pub use lease::{KeyState, LeaseFilter};

use serde::{Deserialize, Serialize};

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

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use leasehold_ledger::command::{LeaseChange, LeaseWish};
use leasehold_ledger::model::{Host, HostId, Lease, LeaseId, RequestKey, ReservationId};
use leasehold_ledger::state::Change;

/// Result of an operation.
pub type Result<T> = std::result::Result<T, OperationError>;

/// All operations. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    #[allow(dead_code)]
    inner: Arc<()>,
}

#[allow(unused_variables, missing_docs, clippy::unused_async)]
impl Operations {
    /// Books a lease and answers when it is final: at commit, or once the cloud has accepted what had to be prepared (D24).
    pub async fn create_lease(&self, actor: &Actor, key: Option<RequestKey>, wish: LeaseWish) -> Result<Answer<Lease>> {
        unimplemented!()
    }
    /// One lease. Foreign: Forbidden; unknown, hidden or deleted: Rejected(LeaseNotFound).
    pub async fn get_lease(&self, actor: &Actor, lease_id: LeaseId, consistency: Consistency) -> Result<Answer<Lease>> {
        unimplemented!()
    }
    /// Visible leases by id.
    pub async fn list_leases(&self, actor: &Actor, filter: LeaseFilter, consistency: Consistency) -> Result<Answer<Vec<Lease>>> {
        unimplemented!()
    }
    /// Changes a lease, all or nothing.
    pub async fn update_lease(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        lease_id: LeaseId,
        change: LeaseChange,
    ) -> Result<Answer<Lease>> {
        unimplemented!()
    }
    /// Deletes a lease; answers when its capacity is free, or after 60 s (architecture D19).
    pub async fn delete_lease(&self, actor: &Actor, key: Option<RequestKey>, lease_id: LeaseId) -> Result<Answer<()>> {
        unimplemented!()
    }
    /// What is known of a key; when nothing is, states in the log that it never will apply.
    pub async fn look_up_key(&self, actor: &Actor, key: RequestKey) -> Result<Answer<KeyState>> {
        unimplemented!()
    }
    /// Onboards a compute host (reads Nova and Placement, makes the two child providers, logs it).
    pub async fn register_host(&self, actor: &Actor, key: Option<RequestKey>, request: HostRequest) -> Result<Answer<Host>> {
        unimplemented!()
    }
    /// One host.
    pub async fn get_host(&self, actor: &Actor, host_id: HostId, consistency: Consistency) -> Result<Answer<Host>> {
        unimplemented!()
    }
    /// All hosts by number.
    pub async fn list_hosts(&self, actor: &Actor, consistency: Consistency) -> Result<Answer<Vec<Host>>> {
        unimplemented!()
    }
    /// Adds or replaces extra capabilities; sets whether new reservations may use it.
    pub async fn update_host(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        host_id: HostId,
        properties: BTreeMap<String, String>,
        reservable: Option<bool>,
    ) -> Result<Answer<Host>> {
        unimplemented!()
    }
    /// Removes a host without reservations and servers, and what was made for it in the cloud.
    pub async fn delete_host(&self, actor: &Actor, key: Option<RequestKey>, host_id: HostId) -> Result<Answer<()>> {
        unimplemented!()
    }
    /// Every host with its reservations. Unfiltered: only leases ending now or later (blazar-api §9).
    pub async fn host_allocations(
        &self,
        actor: &Actor,
        lease_id: Option<LeaseId>,
        reservation_id: Option<ReservationId>,
    ) -> Result<Answer<Vec<HostAllocation>>> {
        unimplemented!()
    }
    /// Changes the actor may see with an index above `after`, then those to come, in order, without gaps. Ends with an
    /// error when the node stops or the follower is too slow for the journal; resume from the last index seen.
    pub async fn watch(&self, actor: &Actor, after: u64) -> Result<BoxStream<'static, Result<Change>>> {
        unimplemented!()
    }
    /// Commits bytes without meaning; for write probes and load generators. Admin only. Answers the index.
    pub async fn probe(&self, actor: &Actor, payload: Vec<u8>) -> Result<Answer<()>> {
        unimplemented!()
    }
    /// Linearizable read that returns only the index. Admin only.
    pub async fn read_index(&self, actor: &Actor) -> Result<Answer<()>> {
        unimplemented!()
    }
    /// The cluster as this node sees it. Admin only.
    pub async fn cluster_status(&self, actor: &Actor) -> Result<ClusterStatus> {
        unimplemented!()
    }
    /// Carries out a change of the cluster. Admin only.
    pub async fn change_cluster(&self, actor: &Actor, change: ClusterChange) -> Result<ClusterStatus> {
        unimplemented!()
    }
}

/// What `leasehold cluster status` shows and `StateProbe` answers (chaos-design §2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Cluster id, once initialised.
    pub cluster_id: Option<uuid::Uuid>,
    /// The node that answers.
    pub node_id: u64,
    /// Raft term.
    pub term: u64,
    /// Who it voted for or follows in this term.
    pub vote: Option<u64>,
    /// `leader`, `follower`, `candidate`, `learner` or `shutdown`.
    pub role: String,
    /// Leader, if known.
    pub leader: Option<u64>,
    /// Last log index on disk here.
    pub last_log_index: Option<u64>,
    /// Committed as known here.
    pub committed_index: Option<u64>,
    /// Applied here.
    pub applied_index: Option<u64>,
    /// Snapshot's last index.
    pub snapshot_index: Option<u64>,
    /// Commands applied here.
    pub ledger_index: u64,
    /// State hash at `ledger_index`, 32 hex digits.
    pub state_hash: String,
    /// Open actuation rows.
    pub open_actuations: u64,
    /// Members.
    pub members: Vec<MemberStatus>,
    /// Why no time is stamped, if so; else `None` (architecture D4).
    pub clock_problem: Option<String>,
    /// Resident memory of the process, bytes.
    pub resident_bytes: u64,
    /// Open file descriptors of the process.
    pub open_files: u64,
    /// Version of the binary.
    pub build: String,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Node id.
    pub node_id: u64,
    /// Peer address.
    pub peer_address: String,
    /// gRPC address for clients, if it announced one.
    pub grpc_address: Option<String>,
    /// Votes, or only learns.
    pub voter: bool,
    /// Last index known to be on it (leader's view), if this node leads.
    pub matched_index: Option<u64>,
}

/// A change of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClusterChange {
    /// Makes this node the first and only member of a new cluster.
    Init,
    /// Adds a node: learner first, voter once it has caught up.
    Add {
        /// Its id, never used before.
        node_id: u64,
        /// Its peer address.
        peer_address: String,
        /// Its gRPC address for clients.
        grpc_address: Option<String>,
    },
    /// Removes a node.
    Remove {
        /// Which.
        node_id: u64,
    },
    /// Hands leadership over.
    Transfer {
        /// To whom; `None`: to the most up-to-date voter.
        to: Option<u64>,
    },
    /// Accepts a jump of the clock (architecture D4).
    AcceptClock,
}
