//! Rows that are the ledger's own, not nouns of its users.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{ActuationLease, Host, HostId, Lease, LeaseId, ProjectId, Timestamp};
use crate::reply::{Rejection, Reply};
use crate::storage::codec::CodecError;

/// The one row of counters and clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Commands applied (architecture D17).
    pub ledger_index: u64,
    /// The ledger's clock (architecture D4).
    pub clock: Timestamp,
    /// Once initialised.
    #[serde(default)]
    pub cluster_id: Option<Uuid>,
    /// Highest host number given.
    #[serde(default)]
    pub last_host: u64,
    /// Highest actuation number given.
    #[serde(default)]
    pub last_actuation: u64,
    /// Who may send unfenced calls.
    #[serde(default)]
    pub actuation_lease: Option<ActuationLease>,
    /// Ledger index of the last change dropped from the journal: it can be watched from here on.
    #[serde(default)]
    pub journal_from: u64,
}

/// What is stored of an idempotency key (architecture D18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Until then.
    pub valid_until: Timestamp,
    /// Hash of the wish: another content under the same key is refused.
    #[serde(with = "hash_bytes")]
    pub content: u128,
    /// What became of it.
    pub fate: KeyFate,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyFate {
    /// Its command was answered.
    Answered {
        /// The answer.
        outcome: Result<Reply, Rejection>,
        /// The index that makes it true.
        ledger_index: u64,
    },
    /// Its command waits for the cloud (architecture D24).
    Pending {
        /// The lease being prepared.
        lease_id: LeaseId,
        /// The answer so far.
        reply: Reply,
    },
    /// Stated never to apply.
    Forgotten,
}

/// What is known of an idempotency key (architecture D18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLookup {
    /// Applied: its answer and the index that makes it true.
    Answered {
        /// The stored answer.
        outcome: Result<Reply, Rejection>,
        /// When it was given.
        ledger_index: u64,
    },
    /// Its command waits for the cloud (architecture D24).
    Pending {
        /// The lease being prepared.
        lease_id: LeaseId,
    },
    /// Stated never to apply.
    Forgotten,
    /// Nothing known, and still valid.
    Unknown,
    /// Its validity has passed.
    Expired,
}

/// One row of the journal that watch streams run on: what one command changed, for those who follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The command's number. Commands that change no lease and no host leave none, so numbers may skip.
    pub ledger_index: u64,
    /// Its time.
    pub at: Timestamp,
    /// What.
    pub subject: ChangeSubject,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeSubject {
    /// A visible lease, as it is after the change.
    Lease(Box<Lease>),
    /// A lease is gone for its users.
    LeaseRemoved {
        /// Which.
        lease_id: LeaseId,
        /// Whose.
        project_id: ProjectId,
    },
    /// A host, as it is after the change.
    Host(Box<Host>),
    /// A host is gone.
    HostRemoved(HostId),
}

/// Why changes cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal does not reach back that far: read the state, then watch from its index.
    #[error("changes are kept from index {oldest} on; read the leases again and watch from the index of that answer")]
    TooOld {
        /// First index that can still be watched from.
        oldest: u64,
    },
    /// A row is what was written, by its hash, and still does not decode: a bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// 16 bytes, big-endian: MessagePack has no integer of 128 bits.
mod hash_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        hash.to_be_bytes().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(u128::from_be_bytes)
    }
}
