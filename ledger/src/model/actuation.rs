//! Work owed to the cloud. Rows, not messages: the leader acts on what is open (architecture D5).

use serde::{Deserialize, Serialize};

use super::{ActuationId, LeaseId, NodeId, ReservationId, Timestamp};

/// What the cloud is to be brought to. The details come from the reservation's stage, wish and bindings at the time of acting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Raise the holds of the bound shared hosts; wait for the server group where affinity wants one, or make it (architecture
    /// D24, docs/decisions/0013).
    Hold,
    /// Make class, flavor and closed inventories.
    Prepare,
    /// Open the tokens of the staging hosts, grant access.
    StagingOpen,
    /// Close them, remove access, park the servers.
    StagingClose,
    /// Open the tokens of the main hosts, grant access, unshelve what is parked.
    Start,
    /// Follow a changed amount or size while open.
    Adjust,
    /// Close the tokens, and count what is in use (docs/decisions/0023).
    Expire,
    /// Nothing for instances; the event is settled.
    BeforeEnd,
    /// Close, `on_end`, wait for usage 0, drop, lower the holds.
    End,
}

/// One open row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actuation {
    /// Identity, in order of opening.
    pub id: ActuationId,
    /// For which lease.
    pub lease_id: LeaseId,
    /// For which reservation.
    pub reservation_id: ReservationId,
    /// What to bring the cloud to.
    pub step: Step,
    /// The lease's revision when it was opened; another one supersedes it.
    pub revision: u32,
    /// When it should happen: lateness counts from here.
    pub due: Timestamp,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How many attempts were reported without success.
    #[serde(default)]
    pub attempts: u32,
}

/// Why a lease is not where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReasonCode {
    /// Its hosts still carry servers of a reservation that ended there (architecture D27).
    WaitingForEnd,
    /// The start is more than 2 s late.
    Late,
    /// The cloud does not answer or fails; it is tried again.
    CloudUnavailable,
    /// The tenant's Nova quota refuses the start (architecture D26).
    Quota,
    /// Fewer servers came back than were parked, or a server is in ERROR.
    ServerFailed,
    /// The cloud refused for good.
    CloudRefused,
    /// A lease of a higher priority took its room before it began.
    Preempted,
    /// What nobody used was given back at the expiry.
    Expired,
}

/// A [`ReasonCode`] with a text for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// For programs and metrics.
    pub code: ReasonCode,
    /// For people; at most 500 characters, no secrets.
    pub text: String,
}

/// Who may send calls that the cloud cannot fence (architecture D6). 15 s, counted by monotonic clocks outside the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActuationLease {
    /// Holder.
    pub node_id: NodeId,
    /// Raft term in which it was proposed.
    pub term: u64,
}
