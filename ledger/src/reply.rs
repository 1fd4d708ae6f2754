//! What `apply` answers: a [`Reply`], or a [`Rejection`], which is the caller's mistake or the plan's, never the world's.

use serde::{Deserialize, Serialize};

use crate::model::{
    ActuationId, Class, DowntimeId, Excess, HostId, LeaseId, LeaseStatus, LeftOut, ProjectId, ReservationId, SeriesId,
    SeriesLease,
};

/// A command that was carried out. Answers for users are rebuilt from the state at `ledger_index` or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Nothing to tell.
    Done,
    /// The lease was booked. When `prepared` is false it waits for `RecordOutcome{held}` (architecture D24).
    LeaseCreated {
        /// Which.
        lease_id: LeaseId,
        /// Visible already.
        prepared: bool,
    },
    /// The series was booked. When `prepared` is false it waits as a whole until the cloud has settled every lease of it.
    SeriesCreated {
        /// Which.
        series_id: SeriesId,
        /// What was booked, by number.
        leases: Vec<SeriesLease>,
        /// What was left out, by number.
        left_out: Vec<LeftOut>,
        /// Visible already.
        prepared: bool,
    },
    /// The deletes were accepted.
    SeriesDeleted {
        /// Leases that had not started.
        deleted: Vec<LeaseId>,
        /// Those that had, and stay.
        kept: Vec<LeaseId>,
    },
    /// The lease was changed. When `prepared` is false it waits for its hold.
    LeaseUpdated {
        /// Which.
        lease_id: LeaseId,
        /// Settled already.
        prepared: bool,
    },
    /// The waiting lease was booked. When `prepared` is false it waits for its hold.
    LeasePromoted {
        /// Which.
        lease_id: LeaseId,
        /// Settled already.
        prepared: bool,
    },
    /// The offer is a lease like any other, now or since it was claimed before.
    OfferClaimed {
        /// Which.
        lease_id: LeaseId,
    },
    /// The delete was accepted. `freed`: its capacity is free already (architecture D19).
    LeaseDeleted {
        /// Which.
        lease_id: LeaseId,
        /// Nothing had been opened in the cloud.
        freed: bool,
    },
    /// The host was registered.
    HostRegistered {
        /// Its number.
        host_id: HostId,
    },
    /// The clock was moved.
    ClockAdvanced {
        /// Rows opened by it.
        opened: u32,
    },
    /// An outcome was taken, or was of an older revision or a closed row and changed nothing.
    OutcomeRecorded {
        /// Whether it changed anything.
        changed: bool,
    },
    /// What became of server groups was taken.
    ServerGroupsRecorded {
        /// Reservations that do not take the group that was made for them: they have another, or want none any more.
        refused: Vec<ReservationId>,
    },
    /// The key will never apply.
    KeyForgotten,
}

/// A command that was refused. Nothing was changed but the clock and, where it has a key, the stored answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// Blazar: 400 `End date must be later than start date.`
    #[error("End date must be later than start date.")]
    EndNotAfterStart,
    /// Blazar: 400
    #[error("Start date must be later than current date")]
    StartInPast,
    /// Blazar: 400, updates
    #[error("End date must be later than current and start date")]
    EndInPast,
    /// Blazar: 400, updates
    #[error("Cannot modify the start date of already started leases")]
    AlreadyStarted,
    /// Blazar: 400, updates
    #[error("Terminated leases can only be renamed")]
    AlreadyEnded,
    /// Blazar: 403 (`before_end_date` not strictly inside)
    #[error("Datetime is out of lease limits")]
    BeforeEndOutside,
    /// An end beyond the ledger's calendar.
    #[error("end date lies beyond the calendar, which ends 100 years after 2020-01-01; leave it open instead")]
    EndBeyondCalendar,
    /// Field with a value that no caller may send.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The staging window does not fit before the start.
    #[error("staging: window and park margin must lie between now and the start ({problem})")]
    StagingOutside {
        /// What is wrong.
        problem: String,
    },
    /// The plan does not hold any more; plan again. Neither stored nor consumes the key (architecture D2).
    #[error("the plan is stale: {problem}")]
    PlanStale {
        /// First check that failed.
        problem: String,
        /// Where, if on one host.
        host: Option<HostId>,
        /// Which class was short, if one was.
        class: Option<Class>,
    },
    /// More than the quota of the project allows. Neither stored nor consumes the key: like a lack of room it may be over soon.
    /// Blazar: 403 (`MaxLeaseDurationException` of a new lease)
    #[error("{0}")]
    QuotaExceeded(Excess),
    /// No such lease (or deleted).
    #[error("Object with {{'lease_id': '{0}'}} not found")]
    LeaseNotFound(LeaseId),
    /// No lease of such a series is left.
    #[error("Object with {{'series_id': '{0}'}} not found")]
    SeriesNotFound(SeriesId),
    /// No such reservation in the lease. Blazar: 400
    #[error("Please enter valid reservation IDs. Invalid reservation IDs are: {0}")]
    ReservationNotFound(ReservationId),
    /// The lease's status does not allow it. Blazar's text, and what is added.
    #[error("Invalid lease status. It is {}: wait until that has settled, then ask again", status.as_str())]
    WrongStatus {
        /// What it is.
        status: LeaseStatus,
    },
    /// A lease that never was an offer.
    #[error("lease {0} is no offer: there is nothing to claim")]
    NotAnOffer(LeaseId),
    /// An offer whose time is over; the clock is about to drop it.
    #[error("offer {0} has expired and its capacity is given back: ask for a new one")]
    OfferExpired(LeaseId),
    /// An offer takes no changes.
    #[error("lease {0} is an offer that was not claimed: claim it, then change it; or drop it and ask for another")]
    OfferUnclaimed(LeaseId),
    /// As many leases wait as may. Neither stored nor consumes the key: it may be over soon.
    #[error("{waiting} leases wait for room already, and no more than {limit} may {whose}: delete some, or ask without waiting")]
    TooManyWaiting {
        /// How many.
        waiting: u64,
        /// How many may.
        limit: u64,
        /// Of one project, or of all.
        whose: String,
    },
    /// A change that the reservation's stage does not allow any more.
    #[error("{field} cannot be updated: {problem}")]
    CannotUpdate {
        /// Which field.
        field: String,
        /// Why.
        problem: String,
    },
    /// No such host.
    #[error("Object with {{'host_id': '{0}'}} not found")]
    HostNotFound(HostId),
    /// The host has no such downtime (any more).
    #[error("host {host_id} has no downtime {downtime_id}: it was dropped, is over, or was declared under another id")]
    DowntimeNotFound {
        /// Which host.
        host_id: HostId,
        /// Which downtime.
        downtime_id: DowntimeId,
    },
    /// The host has no upgrade (any more).
    #[error("host {0} has no planned upgrade: none was declared, it was dropped, or its time has come")]
    UpgradeNotFound(HostId),
    /// A host of this name is there already.
    #[error("host {0} is registered already")]
    HostExists(String),
    /// A host with bindings cannot be removed.
    #[error("Can't delete host {0}. The host is reserved.")]
    HostInUse(HostId),
    /// Properties that a current or future reservation names. Blazar: 409
    #[error("Can't add extracapabilities {keys} to Host {host_id}")]
    PropertyInUse {
        /// Which host.
        host_id: HostId,
        /// Which keys.
        keys: String,
    },
    /// No such row any more.
    #[error("actuation {0} is not open")]
    ActuationNotOpen(ActuationId),
    /// The key was used with another content.
    #[error("this idempotency key was used with another request")]
    RequestIdReused,
    /// The key's validity has passed, or was stated never to apply.
    #[error("this idempotency key has expired")]
    KeyExpired,
    /// The key was stated never to apply.
    #[error("this idempotency key was cancelled by a lookup and will never apply")]
    KeyForgotten,
    /// More live keys than a project may have.
    #[error("project {0} has too many live idempotency keys; wait until some expire")]
    TooManyKeys(ProjectId),
    /// The cluster has its id already.
    #[error("the cluster is initialised already")]
    ClusterInitialised,
    /// Withdrawn while it was being prepared (architecture D24).
    #[error("{0}")]
    Withdrawn(String),
}
