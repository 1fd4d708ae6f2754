//! Leases: create, get, list, update, delete, and what is known of an idempotency key.

use leasehold_ledger::model::{LeaseId, ProjectId};
use serde::{Deserialize, Serialize};

/// Which leases a listing gives. An admin sees all projects, others their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFilter {
    /// Only this project (admin), or `None`: all the actor may see.
    pub project_id: Option<ProjectId>,
    /// For paging: leases with an id above this one.
    pub after: Option<LeaseId>,
    /// At most so many; `None`: all.
    pub limit: Option<usize>,
}

/// What is known of a key (architecture D18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// It applied; the lease it made or changed, if any, and the index.
    Applied {
        /// `None` when the answer was a rejection or names no lease.
        lease_id: Option<LeaseId>,
        /// The stored rejection's text, if it was refused.
        rejection: Option<String>,
        /// When.
        ledger_index: u64,
    },
    /// It waits for the cloud.
    Pending {
        /// The lease being prepared.
        lease_id: LeaseId,
    },
    /// It will never apply; the statement is in the log.
    Never,
    /// Its validity has passed; what it did is not kept.
    Expired,
}
