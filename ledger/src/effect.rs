//! What the leader may want to look at after an entry. Hints: a lost effect costs time, never work (architecture D5).

use crate::model::{ActuationId, HostId, LeaseId, Timestamp};

/// One hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A row was opened.
    ActuationOpened(ActuationId),
    /// A lease changed: waiters of its key, watchers.
    LeaseChanged(LeaseId),
    /// A host changed or its hold should.
    HostChanged(HostId),
    /// The next due time may have moved.
    NextDue(Option<Timestamp>),
}
