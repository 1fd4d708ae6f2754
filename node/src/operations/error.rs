//! Why an operation did not give what was asked. The table that turns these into statuses is `edge/error.rs`.

use leasehold_ledger::mutant;
use leasehold_ledger::plan::NoRoom;
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::storage::codec::CodecError;
use serde::{Deserialize, Serialize};

/// The policy table says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Policy doesn't allow {rule} to be performed")]
pub struct Denied {
    /// Blazar's rule name.
    pub rule: &'static str,
}

/// An operation's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OperationError {
    /// The caller's mistake, found before or inside the ledger. Nothing was changed.
    #[error("{0}")]
    Rejected(Rejection),
    /// No room, or more than the quota allows (`offer.quota`). A linearizable read, decided at this index, not stored under the key (architecture D2).
    #[error("{}", offer.quota.map_or_else(|| "Not enough hosts available".to_owned(), |excess| excess.to_string()))]
    NoRoom {
        /// What would fit.
        offer: NoRoom,
        /// Index it was decided at.
        ledger_index: u64,
        /// Why it does not wait for room though it would.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_waiting: Option<String>,
    },
    /// The journal of changes does not reach back to where a watch is to begin, or its reader fell behind it.
    #[error("after: changes are kept from index {oldest} on; read the leases again and watch from the index of that answer")]
    TooOld {
        /// First index that can still be watched from.
        oldest: u64,
    },
    /// The policy table says no.
    #[error("Policy doesn't allow {rule} to be performed")]
    Forbidden {
        /// Blazar's rule name.
        rule: String,
    },
    /// The cloud knows no compute host of this name.
    #[error("Host '{0}' not found!")]
    ComputeHostNotFound(String),
    /// The project sees no such flavor; Nova's own words.
    #[error("{0}")]
    FlavorNotFound(String),
    /// The cloud's state does not allow it (servers on the host, a grain of memory too small, …). Nothing was changed.
    #[error("{0}")]
    Conflict(String),
    /// Placement refused the hold and no other host has room (architecture D24). Nothing is left of the lease.
    #[error("Not enough hosts available: {0}")]
    HoldRefused(String),
    /// The cloud does not answer or fails. Nothing was changed.
    #[error("the cloud cannot be used now: {0}")]
    CloudUnavailable(String),
    /// Try again, same key: it was not proposed.
    #[error("{0}")]
    Unavailable(Unavailable),
    /// Proposed, answer not seen: the outcome is unknown, not absent. Try again with the same key.
    #[error("the outcome is not known yet; try again with the same idempotency key or look the key up")]
    Unknown,
    /// Our bug, or a damaged peer. The outcome is unknown.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why nothing could be proposed or read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unavailable {
    /// No leader is known, or the leader was lost.
    #[error("no leader; try another node or wait for the election")]
    NoLeader,
    /// A majority does not answer.
    #[error(
        "no quorum: no leader is found, a majority of the nodes does not answer (or no cluster was made yet: leasehold cluster init)"
    )]
    NoQuorum,
    /// The nodes' clocks disagree, so no time is stamped (architecture D4).
    #[error("the nodes' clocks disagree; no time is stamped until they meet (see `leasehold cluster status`)")]
    ClockDisagrees,
    /// The rows of this node's state are not on its disk in time.
    #[error("the disk of this node is behind; try again, or another node")]
    DiskBehind,
    /// This node is stopping.
    #[error("this node is stopping; try another")]
    Stopping,
    /// Planned against a moving ledger three times without luck (architecture D2).
    #[error("the ledger is too busy on the hosts this needs; try again")]
    Busy,
    /// More requests in flight than the node takes.
    #[error("too many requests in flight; try again later")]
    Overloaded,
    /// What the caller may see or do has changed since a stream was opened.
    #[error("the token's rights have changed; open the stream again")]
    RightsChanged,
    /// It was not prepared in time and was withdrawn (architecture D24).
    #[error("withdrawn: {0}")]
    Withdrawn(String),
}

impl From<Denied> for OperationError {
    fn from(denied: Denied) -> Self {
        OperationError::Forbidden { rule: denied.rule.to_owned() }
    }
}

impl From<CodecError> for OperationError {
    fn from(error: CodecError) -> Self {
        OperationError::Internal(error.to_string())
    }
}

impl From<Rejection> for OperationError {
    fn from(rejection: Rejection) -> Self {
        // Planted bug: a lease that is not there is a fault of ours.
        mutant!("N15", {
            if let Rejection::LeaseNotFound(_) = rejection {
                return OperationError::Internal(format!("{rejection:?}"));
            }
        });
        OperationError::Rejected(rejection)
    }
}
