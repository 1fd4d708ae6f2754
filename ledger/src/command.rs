//! All that may enter the log. A command's meaning never changes once released; fields are only ever added (architecture D15).

mod series;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{
    ActuationId, Adoption, Binding, DowntimeId, EventId, HostDescription, HostId, LeaseId, LimitKind, Limits, NodeId,
    Observation, OnEnd, Precedence, ProjectId, Reason, RequestKey, ReservationId, ResourceWish, Seconds, SeriesId, Timestamp,
    Upgrade, UserId, Victim, Withheld,
};

pub use series::{CreateSeries, PlannedOccurrence, Recurrence, SeriesWish};

/// One command as the log holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Idempotency key; requests without one store nothing (architecture D18).
    #[serde(default)]
    pub key: Option<RequestKey>,
    /// Time agreed by most nodes, stamped by the leader; `apply` raises it to the stored clock if it is lower (D4).
    pub proposed_at: Timestamp,
    /// The wish.
    pub command: Command,
}

/// What an [`Entry`] wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Names the cluster; the first command of a cluster, refused afterwards.
    InitCluster {
        /// Goes into every name made in the cloud (architecture D7).
        cluster_id: Uuid,
    },
    /// Books a new lease as planned.
    CreateLease(Box<CreateLease>),
    /// Books the leases of a recurring request as planned, all of them or none.
    CreateSeries(Box<CreateSeries>),
    /// Deletes the leases of a series that have not started.
    DeleteSeries {
        /// Which.
        series_id: SeriesId,
    },
    /// Changes a lease, all or nothing.
    UpdateLease(Box<UpdateLease>),
    /// Books a lease that waits for room, as planned.
    PromoteLease(Box<PromoteLease>),
    /// Makes an offer a lease like any other.
    ClaimOffer {
        /// Which.
        lease_id: LeaseId,
    },
    /// Deletes a lease in any status (architecture D19).
    DeleteLease {
        /// Which.
        lease_id: LeaseId,
    },
    /// Frees a lease that is still CREATING and clears its key (architecture D24).
    WithdrawLease {
        /// Which.
        lease_id: LeaseId,
        /// Told to the waiting caller.
        reason: Reason,
    },
    /// Moves bindings of leases that are not open yet, or still being created, to other hosts; verified as one batch.
    Rebind {
        /// Which lease.
        lease_id: LeaseId,
        /// All bindings of every reservation that moves.
        moves: Vec<PlannedReservation>,
    },
    /// Has a lease say whether it lacks a host by now: it is degraded only while it does.
    ReviewLease {
        /// Which.
        lease_id: LeaseId,
    },
    /// Onboards a host.
    RegisterHost(Box<RegisterHost>),
    /// Changes a host's extra capabilities or whether new reservations may use it.
    UpdateHost {
        /// Which.
        host_id: HostId,
        /// Added or replaced; keys are never removed (blazar-api §9).
        #[serde(default)]
        properties: BTreeMap<String, String>,
        /// `None`: unchanged.
        #[serde(default)]
        reservable: Option<bool>,
    },
    /// Forgets a host that has no bindings.
    RemoveHost {
        /// Which.
        host_id: HostId,
    },
    /// Declares that a host, or some of it, is not to be had for a time, or changes what was declared under the id. What is
    /// booked stays, also where it lies in that time.
    SetDowntime {
        /// Of which host.
        host_id: HostId,
        /// Which downtime.
        downtime_id: DowntimeId,
        /// From when on. Not given it is now, and of one that is there already the begin that it has.
        start: Option<StartWish>,
        /// First second after, or [`Seconds::OPEN_END`].
        end: Seconds,
        /// How much of the host; without any amount all of it, and of one that is there already as much as it takes.
        #[serde(default)]
        withheld: Withheld,
    },
    /// Takes back what was declared.
    DropDowntime {
        /// Of which host.
        host_id: HostId,
        /// Which downtime.
        downtime_id: DowntimeId,
    },
    /// Declares what a host is to have at least from a second on, instead of what was declared before. Until then nothing of it
    /// is there; from then on only what Placement says counts.
    SetUpgrade {
        /// Of which host.
        host_id: HostId,
        /// When, and what.
        upgrade: Upgrade,
    },
    /// Takes back what was declared.
    DropUpgrade {
        /// Of which host.
        host_id: HostId,
    },
    /// What Nova and Placement say of a host now. Does not read the time.
    ReportHost {
        /// Which.
        host_id: HostId,
        /// As read.
        observation: Observation,
    },
    /// Moves the clock on: due events become actuation rows, keys, creations and downtimes expire.
    AdvanceClock,
    /// Takes ended leases out of memory (docs/decisions/0022); their rows stay. Users see nothing of it.
    ArchiveLeases {
        /// Only those that were not changed after this.
        ended_before: Timestamp,
    },
    /// Takes one into memory again, as somebody changes it.
    RecallLease {
        /// Which.
        lease_id: LeaseId,
        /// Its row as it is stored: entries read no disk.
        #[serde(with = "serde_bytes_vec")]
        row: Vec<u8>,
    },
    /// How an attempt on the cloud ended. Does not read the time.
    RecordOutcome {
        /// Which row.
        actuation_id: ActuationId,
        /// The row's revision as the leader read it; another one changes nothing.
        revision: u32,
        /// How.
        outcome: Outcome,
    },
    /// What became of the server groups that were to be made for a lease (docs/decisions/0013). Does not read the time.
    RecordServerGroups {
        /// Which lease.
        lease_id: LeaseId,
        /// By reservation.
        groups: BTreeMap<ReservationId, FoundGroup>,
    },
    /// Takes or renews the right to send unfenced calls (architecture D6).
    HoldActuationLease {
        /// Holder.
        node_id: NodeId,
        /// Its term.
        term: u64,
    },
    /// Sets and takes back limits of a project, or those for all that have none of their own. What is booked stays.
    SetQuota {
        /// `None`: the defaults for all projects.
        project_id: Option<ProjectId>,
        /// Set or replaced.
        #[serde(default)]
        set: Limits,
        /// Taken back; none of those that are set.
        #[serde(default)]
        unset: BTreeSet<LimitKind>,
    },
    /// States that a key will never apply, if it has not applied yet (architecture D18). The key is the entry's own.
    ForgetKey,
    /// Changes nothing: a write probe for operators and load generators.
    Probe {
        /// At most 64 KiB.
        #[serde(with = "serde_bytes_vec")]
        payload: Vec<u8>,
    },
}

/// See [`Command::CreateLease`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateLease {
    /// What the user asked for: the content of the key.
    pub wish: LeaseWish,
    /// The wish before the flavors that it names were looked up: what they are may change from one try to the next, and so this is
    /// the content of the key then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<LeaseWish>>,
    /// Made by the operation.
    pub lease_id: LeaseId,
    /// For start, end, before_end, prepare; then two for staging. Always six; unused ones are ignored.
    pub event_ids: Vec<EventId>,
    /// One per reservation of the wish, in order: its ids and its plan.
    pub plan: Vec<PlannedReservation>,
    /// `resource_id` of each reservation, in order.
    pub resource_ids: Vec<Uuid>,
    /// Ledger index the plan was computed at.
    pub planned_at: u64,
    /// The start that was planned where the wish leaves it open and the first one had no room; part of the plan, not of the wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<Seconds>,
    /// What is known in the cloud of the servers that reservations adopt; part of the plan, not of the wish.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adoptions: BTreeMap<ReservationId, Adoption>,
    /// The node that took the request has a token of the caller's and makes the server groups with it; no part of the wish.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub caller_makes_groups: bool,
    /// No room was found, and the wish says that it would wait: the plan has ids and no bindings; part of the plan, not of the wish.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Leases that give way, by id: those without whose room the plan does not hold. Part of the plan, not of the wish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<Victim>,
}

/// See [`Command::PromoteLease`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromoteLease {
    /// Which.
    pub lease_id: LeaseId,
    /// Bindings of every reservation of the lease, in order.
    pub plan: Vec<PlannedReservation>,
    /// The start that was planned, if it is not the first one that the lease may have.
    #[serde(default)]
    pub moved_to: Option<Seconds>,
    /// Ledger index the plan was computed at.
    pub planned_at: u64,
}

/// What a user asks for with a new lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseWish {
    /// 1 to 255 characters.
    pub name: String,
    /// Owner.
    pub project_id: ProjectId,
    /// Creator.
    pub user_id: UserId,
    /// First second.
    pub start: StartWish,
    /// First second after, or [`Seconds::OPEN_END`]. Moves with a start that is moved, so that the lease stays as long.
    pub end: Seconds,
    /// When `before_end_lease` is due.
    pub before_end: BeforeEndWish,
    /// Possibly none.
    pub reservations: Vec<ReservationWish>,
    /// `None`: a lease at once. Not written then, so that keys of older releases keep their content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OfferWish>,
    /// Without room it waits for some instead of being refused. Not written where it does not, so that keys of older releases
    /// keep their content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<WaitWish>,
    /// Who gives way to whom. Who may ask for a priority is decided before the log. Not written where nothing is said of it, so
    /// that keys of older releases keep their content.
    #[serde(default, skip_serializing_if = "Precedence::ordinary")]
    pub precedence: Precedence,
    /// What nobody uses so many seconds after the lease became active is given back; at least
    /// [`EXPIRY_MIN_S`](crate::model::EXPIRY_MIN_S). One that would lie after the end never comes. Not written where it is not
    /// asked for, so that keys of older releases keep their content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_s: Option<u32>,
    /// Whatever the quota of the project says. Who may ask for that is decided before the log. Not written where it is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_quota: bool,
}

/// How long an offer is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferWish {
    /// Until this second.
    Until(Seconds),
    /// So many seconds from the entry's time on, which counts in whole seconds.
    For(u32),
}

/// How long a lease is to wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitWish {
    /// Until the last start it may have.
    UntilStart,
    /// Until this second; not after the last start it may have.
    Until(Seconds),
}

/// When a lease is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartWish {
    /// At the entry's time, in whole seconds.
    Now,
    /// At this second; not before the current minute.
    At(Seconds),
    /// At the first second at which all of the lease has room (flexible windows of scheduling-design §3).
    Earliest {
        /// From this second on; `None`: from the entry's time on.
        from: Option<Seconds>,
        /// Not after this second.
        latest: Seconds,
    },
}

impl StartWish {
    /// What is asked for first.
    #[must_use]
    pub fn first(self) -> StartWish {
        match self {
            StartWish::Earliest { from: Some(from), .. } => StartWish::At(from),
            StartWish::Earliest { from: None, .. } => StartWish::Now,
            fixed @ (StartWish::Now | StartWish::At(_)) => fixed,
        }
    }
}

/// When `before_end_lease` is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeforeEndWish {
    /// No such event.
    Never,
    /// So many seconds before the end, but not before the start. With an open end there is no such event.
    SecondsBefore(u32),
    /// At this second, strictly inside the lease.
    At(Seconds),
}

/// What a user asks for with one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationWish {
    /// The resource.
    pub resource: ResourceWish,
    /// `None`: no staging.
    #[serde(default)]
    pub staging: Option<StagingWish>,
    /// What happens to its servers at the end.
    #[serde(default)]
    pub on_end: OnEnd,
    /// Parked servers of an earlier reservation that it takes over (architecture D23).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub servers: BTreeSet<Uuid>,
}

/// A staging window as asked for (architecture D23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagingWish {
    /// `None`: from the entry's time.
    #[serde(default)]
    pub start: Option<Seconds>,
    /// `None`: 30 min after the window's start, cut so that window and margin end by the lease's start.
    #[serde(default)]
    pub end: Option<Seconds>,
    /// Seconds booked after the window for parking.
    pub park_margin_s: u32,
}

/// The plan of one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedReservation {
    /// Which.
    pub reservation_id: ReservationId,
    /// Where, sorted by phase and host; one row per pair.
    pub bindings: Vec<Binding>,
}

/// See [`Command::UpdateLease`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateLease {
    /// Which.
    pub lease_id: LeaseId,
    /// What the user asked for: the content of the key, with `lease_id`.
    pub change: LeaseChange,
    /// Bindings of every reservation of the lease after the change, in order; empty when nothing is to be rebooked
    /// (rename, before_end).
    #[serde(default)]
    pub plan: Vec<PlannedReservation>,
    /// Ledger index the plan was computed at.
    pub planned_at: u64,
    /// As in [`CreateLease::caller_makes_groups`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub caller_makes_groups: bool,
}

/// What a user asks to change. `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseChange {
    /// New name.
    #[serde(default)]
    pub name: Option<String>,
    /// New start; refused once started.
    #[serde(default)]
    pub start: Option<StartWish>,
    /// New end. [`EndWish::Now`] ends it at the entry's time.
    #[serde(default)]
    pub end: Option<EndWish>,
    /// New before_end. `None` keeps its distance to the end.
    #[serde(default)]
    pub before_end: Option<BeforeEndWish>,
    /// Changed reservations, each at most once.
    #[serde(default)]
    pub reservations: Vec<ReservationChange>,
    /// As in [`LeaseWish::ignore_quota`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_quota: bool,
}

/// When a lease is to end after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndWish {
    /// At the entry's time.
    Now,
    /// At this second.
    At(Seconds),
}

/// What a user asks to change in one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationChange {
    /// Which.
    pub reservation_id: ReservationId,
    /// The whole wish as it is to be after the change. Once open only `amount` may differ; once prepared not the sizes.
    pub resource: ResourceWish,
    /// New `on_end`.
    #[serde(default)]
    pub on_end: Option<OnEnd>,
}

/// See [`Command::RegisterHost`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterHost {
    /// As read from Nova and Placement.
    pub description: HostDescription,
    /// As read.
    pub observation: Observation,
    /// Extra capabilities.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// How an attempt on the cloud ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The cloud is where the row wants it: the row closes.
    Done,
    /// [`Step::Hold`](crate::model::Step::Hold) only: the hold is accepted, the server group made if one was wanted.
    Held {
        /// For affinity true and false.
        server_group_id: Option<Uuid>,
    },
    /// [`Step::Hold`](crate::model::Step::Hold) of an update only: refused; the lease returns to what it was.
    HoldRefused {
        /// Told to the waiting caller.
        reason: Reason,
    },
    /// Not there yet, for this reason; the row stays open.
    Delayed {
        /// Shown on the lease; `None` clears it.
        reason: Option<Reason>,
    },
    /// [`Step::Expire`](crate::model::Step::Expire) only: the tokens are closed, and this was in use after that.
    Used {
        /// Tokens in use, by host; a host that is not named has none in use.
        tokens: BTreeMap<HostId, u32>,
        /// Servers that have no token there and would need one: parked by their owner, about to be booted, or where there are no slots any more.
        parked: u32,
    },
    /// It will never be there: the row closes, the reservation and its lease become ERROR. Of [`Step::Expire`](crate::model::Step::Expire): not
    /// for now; nothing is given back, and it is counted anew later.
    Failed {
        /// Shown on the lease.
        reason: Reason,
    },
}

/// What became of one server group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundGroup {
    /// What it was made for: all on one host, or every one on another.
    pub affinity: bool,
    /// The group; `None`: it could not be made.
    #[serde(default)]
    pub server_group_id: Option<Uuid>,
    /// Why there is none, or why it is not the tenant's own: for people, at most 500 characters, no secrets.
    #[serde(default)]
    pub problem: Option<String>,
}

/// Bytes as MessagePack's binary type.
mod serde_bytes_vec {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
