//! The cluster as an operator sees and changes it.

use serde::{Deserialize, Serialize};

/// What `leasehold cluster status` shows and `StateProbe` answers (chaos-design §2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Cluster id, once initialised.
    pub cluster_id: Option<uuid::Uuid>,
    /// The node that answers.
    pub node_id: u64,
    /// Raft term.
    pub term: u64,
    /// Who it voted for or follows in this term; `None` also while that vote waits for the disk.
    pub vote: Option<u64>,
    /// Whether that is whom the term elected, as known here: then it is followed, whoever was voted for.
    pub vote_committed: bool,
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
    /// A change of the members is between its two steps: majorities of the voters before and after it are needed.
    pub members_changing: bool,
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

use super::route::{Call, Request};
use super::{Actor, Operations, Result, Rule};
use crate::telemetry::request_id;

impl Operations {
    /// The cluster as this node sees it. Admin only.
    pub async fn cluster_status(&self, actor: &Actor) -> Result<ClusterStatus> {
        actor.authorise(Rule::ClusterGet, None)?;
        Ok(self.status_here())
    }

    fn status_here(&self) -> ClusterStatus {
        self.inner.raft.status()
    }

    /// Carries out a change of the cluster. Admin only. `Init` works on this node, everything else on the leader.
    pub async fn change_cluster(&self, actor: &Actor, change: ClusterChange) -> Result<ClusterStatus> {
        actor.authorise(Rule::ClusterChange, None)?;
        if change == ClusterChange::Init {
            self.inner.raft.initialise().await?;
            return Ok(self.status_here());
        }
        let call =
            Call { request_id: request_id::current(), actor: actor.clone(), key: None, request: Request::ChangeCluster(change) };
        Ok(*self.on_leader(call).await?.cluster()?)
    }

    pub(super) async fn change_cluster_here(&self, change: ClusterChange) -> Result<ClusterStatus> {
        self.inner.raft.change_cluster(change).await?;
        Ok(self.status_here())
    }
}
