//! openraft's type parameters as this node chooses them, and the short names the other files use.
//!
//! Leader ids are the textbook ones (`leader_id_std`), so a log id is a term and an index (architecture D14).

use std::fmt;

use bytes::Bytes;
use leasehold_ledger::reply::{Rejection, Reply};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use super::state_machine::StateMachine;

openraft::declare_raft_types!(
    /// The engine's types.
    pub TypeConfig:
        D = Batch,
        R = Answers,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::vote::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

/// The engine.
pub(crate) type Engine = openraft::Raft<TypeConfig, StateMachine>;
/// Term and index.
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// Whom a node follows or votes for, in which term.
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
/// A term and who leads in it, or wants to.
pub(crate) type LeaderId = openraft::vote::leader_id_std::LeaderId<u64, u64>;
/// One entry of the Raft log.
pub(crate) type LogEntry = openraft::alias::EntryOf<TypeConfig>;
/// Who is in the cluster.
pub(crate) type Membership = openraft::Membership<u64, Member>;
/// A membership and the log id that made it so.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot contains.
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// Contents and rows.
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, super::snapshot::SnapshotData>;

/// Where a member is reached. Addresses are `host:port`; those for clients may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// By the other nodes.
    pub peer_address: String,
    /// By gRPC clients.
    pub grpc_address: String,
    /// By REST clients.
    pub rest_address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_address)
    }
}

/// What one log entry carries: encoded ledger entries, applied in order (architecture D17).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Each as `leasehold_ledger::storage::codec` encodes it.
    pub commands: Vec<Bytes>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.commands.len())
    }
}

/// What applying one log entry answered, in the order of its commands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers(pub Vec<Answer>);

/// What one command answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Carried out or refused.
    pub outcome: Result<Reply, Rejection>,
    /// Its number in the ledger.
    pub ledger_index: u64,
}
