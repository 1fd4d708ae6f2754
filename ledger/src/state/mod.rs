//! Everything replicated, in memory: one ordered map per table, private fields, changes recorded as they are made.
#![allow(unused_variables)]

mod calendar;
mod delta;

pub use calendar::Calendar;
pub use delta::Delta;

use uuid::Uuid;

use crate::model::{Actuation, ActuationId, ActuationLease, Host, HostId, Lease, LeaseId, ProjectId, RequestKey, Timestamp};
use crate::reply::{Rejection, Reply};

/// The replicated state.
#[derive(Clone, Debug, Default)]
pub struct State {}

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
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// The command's number. Commands that change no lease and no host leave none, so numbers may skip.
    pub ledger_index: u64,
    /// Its time.
    pub at: Timestamp,
    /// What.
    pub subject: ChangeSubject,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
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

/// The journal does not reach back that far: read the state, then watch from its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes are kept from index {oldest} on; read the leases again and watch from the index of that answer")]
pub struct TooOld {
    /// First index that can still be watched from.
    pub oldest: u64,
}

impl State {
    /// How many commands were applied (architecture D17).
    pub fn ledger_index(&self) -> u64 {
        unimplemented!()
    }
    /// The ledger's clock.
    pub fn clock(&self) -> Timestamp {
        unimplemented!()
    }
    /// 128-bit sum of row hashes (architecture D3).
    pub fn hash(&self) -> u128 {
        unimplemented!()
    }
    /// The cluster's id, once initialised.
    pub fn cluster_id(&self) -> Option<Uuid> {
        unimplemented!()
    }
    /// A lease, visible or not.
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        unimplemented!()
    }
    /// All leases by id, visible or not.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> + '_ {
        std::iter::empty()
    }
    /// The leases of one project, by id.
    pub fn leases_of(&self, project: &ProjectId) -> impl Iterator<Item = &Lease> + '_ {
        std::iter::empty()
    }
    /// Leases with a reservation bound to this host (any phase, also ended ones not yet confirmed), by id.
    pub fn leases_on(&self, host: HostId) -> impl Iterator<Item = &Lease> + '_ {
        std::iter::empty()
    }
    /// A host.
    pub fn host(&self, id: HostId) -> Option<&Host> {
        unimplemented!()
    }
    /// A host by `hypervisor_hostname`.
    pub fn host_by_name(&self, name: &str) -> Option<&Host> {
        unimplemented!()
    }
    /// All hosts by number.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> + '_ {
        std::iter::empty()
    }
    /// All open rows, oldest first.
    pub fn actuations(&self) -> impl Iterator<Item = &Actuation> + '_ {
        std::iter::empty()
    }
    /// One open row.
    pub fn actuation(&self, id: ActuationId) -> Option<&Actuation> {
        unimplemented!()
    }
    /// Who may send unfenced calls.
    pub fn actuation_lease(&self) -> Option<ActuationLease> {
        unimplemented!()
    }
    /// When `AdvanceClock` has something to do next (events, creations to withdraw); keys to expire do not count.
    pub fn next_due(&self) -> Option<Timestamp> {
        unimplemented!()
    }
    /// What is booked on whom, when.
    pub fn calendar(&self) -> &Calendar {
        unimplemented!()
    }
    /// What is known of a key at the ledger's clock.
    pub fn key(&self, key: &RequestKey) -> KeyLookup {
        unimplemented!()
    }
    /// Changes with an index above `after`, oldest first, at most `limit`.
    pub fn changes_after(&self, after: u64, limit: usize) -> Result<Vec<Change>, TooOld> {
        unimplemented!()
    }
}
