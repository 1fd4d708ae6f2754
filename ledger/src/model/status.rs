//! Blazar's statuses and their allowed moves, as tables (blazar-api §12), and one of ours: WAITING (docs/decisions/0019).

use serde::{Deserialize, Serialize};

/// Status of a lease, spelled as Blazar spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum LeaseStatus {
    Creating,
    Pending,
    Starting,
    Active,
    Updating,
    Terminating,
    Terminated,
    Deleting,
    Error,
    Waiting,
}

impl LeaseStatus {
    /// All of them.
    pub const ALL: [LeaseStatus; 10] = [
        LeaseStatus::Creating,
        LeaseStatus::Pending,
        LeaseStatus::Starting,
        LeaseStatus::Active,
        LeaseStatus::Updating,
        LeaseStatus::Terminating,
        LeaseStatus::Terminated,
        LeaseStatus::Deleting,
        LeaseStatus::Error,
        LeaseStatus::Waiting,
    ];

    /// Blazar's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            LeaseStatus::Creating => "CREATING",
            LeaseStatus::Pending => "PENDING",
            LeaseStatus::Starting => "STARTING",
            LeaseStatus::Active => "ACTIVE",
            LeaseStatus::Updating => "UPDATING",
            LeaseStatus::Terminating => "TERMINATING",
            LeaseStatus::Terminated => "TERMINATED",
            LeaseStatus::Deleting => "DELETING",
            LeaseStatus::Error => "ERROR",
            LeaseStatus::Waiting => "WAITING",
        }
    }

    /// Whether Blazar's table allows the move from `self` to `next`.
    pub fn may_become(self, next: LeaseStatus) -> bool {
        use LeaseStatus::*;
        matches!(
            (self, next),
            (Creating, Pending | Deleting)
                | (Pending, Starting | Updating | Deleting)
                | (Starting, Active | Error | Deleting)
                | (Active, Terminating | Updating | Deleting)
                | (Terminating, Terminated | Error | Deleting)
                | (Terminated, Updating | Deleting)
                | (Updating, Pending | Active | Terminated | Error | Deleting | Waiting)
                | (Deleting, Error)
                | (Error, Terminating | Updating | Deleting)
                | (Waiting, Pending | Updating | Deleting)
        )
    }
}

/// Status of a reservation, lower case in Blazar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ReservationStatus {
    Pending,
    Active,
    Deleted,
    Error,
}

impl ReservationStatus {
    /// Blazar's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            ReservationStatus::Pending => "pending",
            ReservationStatus::Active => "active",
            ReservationStatus::Deleted => "deleted",
            ReservationStatus::Error => "error",
        }
    }

    /// Whether Blazar's table allows the move.
    pub fn may_become(self, next: ReservationStatus) -> bool {
        use ReservationStatus::*;
        matches!((self, next), (Pending, Active | Deleted | Error) | (Active, Deleted | Error) | (Error, Deleted))
    }
}

/// Status of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum EventStatus {
    Undone,
    InProgress,
    Done,
    Error,
}

impl EventStatus {
    /// Blazar's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            EventStatus::Undone => "UNDONE",
            EventStatus::InProgress => "IN_PROGRESS",
            EventStatus::Done => "DONE",
            EventStatus::Error => "ERROR",
        }
    }

    /// Whether Blazar's table allows the move.
    pub fn may_become(self, next: EventStatus) -> bool {
        use EventStatus::*;
        matches!((self, next), (Undone, InProgress) | (InProgress, Done | Error | Undone))
    }
}
