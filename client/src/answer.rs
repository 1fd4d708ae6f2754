//! What operations answer, beside the nouns of the ledger.

use leasehold_ledger::model::{Lease, LeaseId, LeftOut, SeriesId, SeriesLease, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wire::convert::{self, BadValue};
use crate::wire::v1;

/// An answer and the ledger index it is true at (architecture D17).
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// Watch from here to see everything that comes after.
    pub ledger_index: u64,
}

/// An idempotency key (architecture D18): made once per request, kept through every retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Unique in the project.
    pub id: Uuid,
    /// Until when the outcome is remembered. Part of the key: send both or neither again.
    pub valid_until: Timestamp,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Its request was applied.
    Applied {
        /// The lease it made or changed, if any.
        lease_id: Option<LeaseId>,
        /// Why it was refused, if it was.
        rejection: Option<String>,
        /// When.
        ledger_index: u64,
    },
    /// It waits for the cloud.
    Pending {
        /// The lease being prepared.
        lease_id: LeaseId,
    },
    /// It will never apply; that is a statement in the log now.
    Never,
    /// Its validity has passed; what it did is not kept.
    Expired,
}

impl TryFrom<v1::LookUpKeyResponse> for Answer<KeyState> {
    type Error = BadValue;

    fn try_from(wire: v1::LookUpKeyResponse) -> Result<Self, BadValue> {
        use v1::look_up_key_response::State;
        let lease_id = |text: &str| convert::uuid("lease_id", text).map(LeaseId);
        let value = match wire.state {
            Some(State::Applied(applied)) => KeyState::Applied {
                lease_id: applied.lease_id.as_deref().map(lease_id).transpose()?,
                rejection: applied.rejection,
                ledger_index: applied.ledger_index,
            },
            Some(State::Pending(pending)) => KeyState::Pending { lease_id: lease_id(&pending.lease_id)? },
            Some(State::Never(_)) => KeyState::Never,
            Some(State::Expired(_)) => KeyState::Expired,
            None => return Err(convert::missing("state", "applied, pending, never or expired (is the server newer?)")),
        };
        Ok(Answer { value, ledger_index: wire.ledger_index })
    }
}

/// A series as it was booked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookedSeries {
    /// Its id.
    pub id: SeriesId,
    /// The first of its leases that is still there.
    pub first: Lease,
    /// What was booked, by number.
    pub leases: Vec<SeriesLease>,
    /// What was left out, by number; only with best effort.
    pub left_out: Vec<LeftOut>,
}

/// What became of the leases of a series that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedSeries {
    /// Leases that had not started, by number.
    pub deleted: Vec<LeaseId>,
    /// Those that had, and stay.
    pub kept: Vec<LeaseId>,
}
