//! Lease, reservation, event and binding: what a tenant asked for and what was booked for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Amounts, Anchor, EventId, EventStatus, Expiry, HostId, Interval, LeaseId, LeaseStatus, PoolKind, Precedence, Preempted,
    ProjectId, Reason, RequestKey, Requirement, ReservationId, ReservationStatus, Seconds, SeriesId, SeriesMember, Timestamp,
    UserId, Wait,
};

/// What happens to a reservation's servers when it ends (microversion 1.1; default `delete`, as Blazar does).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnEnd {
    /// Delete them.
    #[default]
    Delete,
    /// Shelve and offload them; flavor and class live on while they exist (architecture D23).
    Shelve,
    /// Make an image of each, give it to the tenant's project, then delete (architecture D25).
    Snapshot,
}

/// Instances of one reservation at most.
pub const AMOUNT_MAX: u32 = 10_000;

/// What one `virtual:instance` or `flavor:instance` reservation asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceWish {
    /// Virtual CPUs of each instance, ≥ 1.
    pub vcpus: u32,
    /// Memory of each instance in MiB, ≥ 1.
    pub memory_mb: u32,
    /// Disk of each instance in GiB.
    pub disk_gb: u32,
    /// How many instances, from 1 to [`AMOUNT_MAX`].
    pub amount: u32,
    /// `Some(true)`: all on one host; `Some(false)`: every one on a different host; `None`: anywhere.
    pub affinity: Option<bool>,
    /// Availability zone the hosts must be in.
    #[serde(default)]
    pub zone: Option<String>,
    /// Pool the hosts must be in; `None`: any, dedicated hosts first.
    #[serde(default)]
    pub pool: Option<PoolKind>,
    /// Traits every host must have.
    #[serde(default)]
    pub required_traits: BTreeSet<String>,
    /// Traits no host may have.
    #[serde(default)]
    pub forbidden_traits: BTreeSet<String>,
    /// Terms every host must meet.
    #[serde(default)]
    pub requirements: Vec<Requirement>,
    /// The expression as given, echoed verbatim (blazar-api §17).
    #[serde(default)]
    pub resource_properties: String,
    /// The flavor that the sizes and some of the traits are those of: the reservation is a `flavor:instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<Arc<SourceFlavor>>,
}

/// A flavor of the cloud that a `flavor:instance` reservation is to be like, as it was when the lease was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceFlavor {
    /// Identity in Nova.
    pub id: String,
    /// Its name then. In a question, before a node looked it up: what it is looked for by where none has the id.
    #[serde(default)]
    pub name: String,
    /// GiB of the reservation's disk that are a second disk.
    #[serde(default)]
    pub ephemeral_gb: u32,
    /// MiB of swap, for which the reservation's disk has as many whole GiB as they need.
    #[serde(default)]
    pub swap_mb: u32,
    /// What it asks of Nova and the hypervisor.
    #[serde(default)]
    pub extra_specs: BTreeMap<String, String>,
}

impl SourceFlavor {
    /// GiB that a server needs beside its root disk.
    #[must_use]
    pub fn more_disk_gb(&self) -> u32 {
        self.ephemeral_gb.saturating_add(self.swap_mb.div_ceil(1_024))
    }
}

impl InstanceWish {
    /// So many instances of a size, on any hosts.
    #[must_use]
    pub fn anywhere(vcpus: u32, memory_mb: u32, disk_gb: u32, amount: u32) -> InstanceWish {
        InstanceWish {
            vcpus,
            memory_mb,
            disk_gb,
            amount,
            affinity: None,
            zone: None,
            pool: None,
            required_traits: BTreeSet::new(),
            forbidden_traits: BTreeSet::new(),
            requirements: Vec::new(),
            resource_properties: String::new(),
            flavor: None,
        }
    }

    /// What one slot takes of a host.
    pub fn need(&self) -> Amounts {
        Amounts { vcpus: self.vcpus, memory_mb: self.memory_mb, disk_gb: self.disk_gb, slots: 1 }
    }
}

/// What a reservation asks for, by resource type. Later types are added here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceWish {
    /// `virtual:instance` and `flavor:instance`; many reservations ask for the same.
    Instance(Arc<InstanceWish>),
}

impl ResourceWish {
    /// The instance wish inside. With one resource type this never fails; a second type makes callers decide.
    pub fn instance(&self) -> &InstanceWish {
        match self {
            ResourceWish::Instance(wish) => wish,
        }
    }

    /// Mutable [`ResourceWish::instance`].
    pub fn instance_mut(&mut self) -> &mut InstanceWish {
        match self {
            ResourceWish::Instance(wish) => Arc::make_mut(wish),
        }
    }
}

/// The booked time before the start in which the tenant may boot servers that are then parked (architecture D23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// Tokens are open inside.
    pub window: Interval,
    /// Seconds after the window in which the servers are parked; booked as well.
    pub park_margin_s: u32,
}

impl Staging {
    /// What is booked: window and margin.
    pub fn booked(&self) -> Interval {
        Interval { start: self.window.start, end: self.window.end.plus(self.park_margin_s) }
    }
}

/// Parked servers of an earlier reservation that a later one takes over (architecture D23, docs/decisions/0011).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The reservation that the servers were booted with: they keep its flavor, and wake by tokens of its class.
    pub flavor_of: ReservationId,
    /// What that flavor is anchored by.
    pub anchor: Anchor,
    /// The servers, as UUIDs of Nova.
    pub servers: BTreeSet<Uuid>,
    /// An outcome said that the tokens were open: the servers could wake, so the end treats them as `on_end` says. False in
    /// commands; not written where it is false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opened: bool,
}

/// Which interval of a reservation a binding serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The staging window and its park margin.
    Staging,
    /// The lease itself, `[start, end)`.
    Main,
}

/// `slots` instances of a reservation are bound to `host` during `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    /// When.
    pub phase: Phase,
    /// Where.
    pub host: HostId,
    /// How many, ≥ 1.
    pub slots: u32,
}

/// How far the cloud is to follow a reservation. Moves forward only, by `apply`; an open actuation row means that the
/// cloud is not known to be there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Capacity held; nothing else exists.
    Booked,
    /// Class and flavor exist (flavor private, no access), inventories of the next phase's hosts exist, closed.
    Prepared,
    /// Staging window: access granted, tokens open on the staging hosts.
    Staging,
    /// Tokens closed, access removed; servers are being shelved and offloaded.
    Parking,
    /// Servers parked; inventories of the staging hosts dropped, those of the main hosts exist, closed.
    Parked,
    /// Main window: access granted, tokens open on the main hosts, parked servers unshelved.
    Open,
    /// Ended: tokens closed, access removed, servers treated by `on_end`; then inventories, class and flavor dropped
    /// (class and flavor stay while parked servers need them).
    Ended,
}

/// One homogeneous request inside a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Identity; the flavor's id too, but see [`Reservation::flavor`].
    pub id: ReservationId,
    /// Blazar's opaque id of the plugin's row.
    pub resource_id: Uuid,
    /// What was asked for, as it stands after updates.
    pub wish: ResourceWish,
    /// Staging, if asked for.
    #[serde(default)]
    pub staging: Option<Staging>,
    /// What happens to the servers at the end.
    #[serde(default)]
    pub on_end: OnEnd,
    /// Blazar's status.
    pub status: ReservationStatus,
    /// How far the cloud is to follow.
    pub stage: Stage,
    /// What is booked, sorted.
    pub bindings: Vec<Binding>,
    /// While an update waits for Placement's hold: the wish and bindings to return to when it is refused. Both are booked,
    /// the larger at every instant.
    #[serde(default)]
    pub previous: Option<Box<Previous>>,
    /// Ended early or while the end is not confirmed: the main bindings stay booked until this second, not the lease's end
    /// (architecture D19). Cleared when the outcome of the end is recorded.
    #[serde(default)]
    pub booked_end: Option<Seconds>,
    /// Main slots taken off by an update of an open reservation: booked until the outcome of [`Step::Adjust`](super::Step::Adjust)
    /// says that their tokens are closed.
    #[serde(default)]
    pub releasing: Vec<Binding>,
    /// Server group made for affinity true or false.
    #[serde(default)]
    pub server_group_id: Option<Uuid>,
    /// The node that took the request is making the group with the caller's token, and has not said what came of it
    /// (docs/decisions/0013).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub group_awaited: bool,
    /// Why the group is not the tenant's own, so that Nova refuses it as his hint, or why there is none. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_group_problem: Option<String>,
    /// Servers that it takes over. Not written where there are none, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Box<Adoption>>,
    /// How far its expiry is. Not written before that, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// Lost a resource without replacement.
    #[serde(default)]
    pub missing_resources: bool,
    /// Got a replacement while active.
    #[serde(default)]
    pub resources_changed: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

impl Reservation {
    /// Whether its end has begun, or it was deleted: it is not changed any more, and no server group is taken for it.
    pub fn has_ended(&self) -> bool {
        self.status == ReservationStatus::Deleted || self.stage == Stage::Ended
    }

    /// Whether its tokens are closed so that what is in use can be counted.
    pub fn is_expiring(&self) -> bool {
        self.expiry.is_some_and(Expiry::is_under_way)
    }

    /// Whether it ended before its lease, as nobody used it.
    pub fn expired_alone(&self) -> bool {
        self.has_ended() && self.expiry.is_some_and(|expiry| expiry.released() > 0)
    }

    /// Whose flavor and class its servers have: its own, or those of the reservation whose servers it adopts. At any time
    /// at most one reservation that is not over has a flavor, so all servers of the flavor are this one's.
    pub fn flavor(&self) -> ReservationId {
        self.adoption.as_ref().map_or(self.id, |adoption| adoption.flavor_of)
    }
}

/// What an update that waits for its hold returns to when the hold is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Main interval before the update.
    pub interval: Interval,
    /// Wish before the update.
    pub wish: ResourceWish,
    /// Staging before the update.
    pub staging: Option<Staging>,
    /// Bindings before the update.
    pub bindings: Vec<Binding>,
    /// What was to happen at the end.
    #[serde(default)]
    pub on_end: OnEnd,
    /// Server group before the update. The update has another where it changed the affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_group_id: Option<Uuid>,
    /// And what was wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_group_problem: Option<String>,
}

/// What a lease returns to when the hold of an update is refused; its reservations keep their own in [`Previous`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeforeUpdate {
    /// Name before the update.
    pub name: String,
    /// Events before the update.
    pub events: Vec<Event>,
}

/// What an event of a lease is. The first three are Blazar's, shown at the edge; the others are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// `start_lease`
    StartLease,
    /// `before_end_lease`
    BeforeEndLease,
    /// `end_lease`
    EndLease,
    /// Flavor, class and inventories are made.
    Prepare,
    /// The staging window opens.
    StagingOpen,
    /// The staging window closes, parking begins.
    StagingClose,
    /// What nobody uses is given back. There from when the lease is active.
    Expiry,
}

impl EventKind {
    /// Blazar's name; `None` for ours, which its API does not show.
    pub fn blazar_name(self) -> Option<&'static str> {
        match self {
            EventKind::StartLease => Some("start_lease"),
            EventKind::BeforeEndLease => Some("before_end_lease"),
            EventKind::EndLease => Some("end_lease"),
            EventKind::Prepare | EventKind::StagingOpen | EventKind::StagingClose | EventKind::Expiry => None,
        }
    }
}

/// Something that is due at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Identity.
    pub id: EventId,
    /// What.
    pub kind: EventKind,
    /// When.
    pub time: Seconds,
    /// Blazar's status.
    pub status: EventStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
}

/// What makes a lease an offer: its capacity is booked and held, and nothing else is done for it until it is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// From this second on it cannot be claimed, and the clock drops it; at the latest the lease's start.
    pub expires_at: Seconds,
    /// When it was claimed: from then on the lease is one like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
}

/// What a tenant reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Identity.
    pub id: LeaseId,
    /// Not unique.
    pub name: String,
    /// Owner.
    pub project_id: ProjectId,
    /// Who created it.
    pub user_id: UserId,
    /// First second.
    pub start: Seconds,
    /// First second after; [`Seconds::OPEN_END`] for none.
    pub end: Seconds,
    /// Blazar's status.
    pub status: LeaseStatus,
    /// Lost or replaced resources.
    #[serde(default)]
    pub degraded: bool,
    /// Why it is not where it should be, for people and metrics.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// In the order of the request.
    pub reservations: Vec<Reservation>,
    /// In the order start, end, before_end, then ours.
    pub events: Vec<Event>,
    /// Raised by every accepted change of what the cloud is to be (not by a new name or `before_end`); open rows carry it,
    /// and an outcome of an older revision changes nothing.
    pub revision: u32,
    /// A delete was accepted: 404 for all, the row stays until the cloud confirmed (architecture D19).
    #[serde(default)]
    pub deleted: bool,
    /// The key it was created with, to be cleared when it is withdrawn.
    #[serde(default)]
    pub key: Option<RequestKey>,
    /// The key of the update that waits for its hold.
    #[serde(default)]
    pub update_key: Option<Box<RequestKey>>,
    /// While an update waits for its hold.
    #[serde(default)]
    pub before_update: Option<Box<BeforeUpdate>>,
    /// It was asked for as an offer. Not written where it was not, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Box<Offer>>,
    /// It is an occurrence of a series. Not written where it is none, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<Box<SeriesMember>>,
    /// It waits for room, or its promotion for the cloud. Not written where it does not, so that rows of older releases keep
    /// their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Box<Wait>>,
    /// Who gives way to whom. Not written where nothing was said of it, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Precedence::ordinary")]
    pub precedence: Precedence,
    /// What nobody uses so many seconds after the lease became active is given back; at least
    /// [`EXPIRY_MIN_S`](super::EXPIRY_MIN_S). Not written where it is not asked for, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_s: Option<u32>,
    /// Its room was taken before it began. Not written where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preempted: Option<Box<Preempted>>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it changed last.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// Ledger index of the command that made it visible or changed it last.
    #[serde(default)]
    pub ledger_index: u64,
}

impl Lease {
    /// Whether users may see it: prepared and not deleted (architecture D19, D24).
    pub fn visible(&self) -> bool {
        !self.deleted && self.status != LeaseStatus::Creating
    }

    /// When it expires, of an offer that was not claimed; `None` of any other lease.
    pub fn unclaimed_until(&self) -> Option<Seconds> {
        self.offer.as_ref().filter(|offer| offer.claimed_at.is_none()).map(|offer| offer.expires_at)
    }

    /// When what nobody uses is counted and given back; `None` before the lease is active, and where that was not asked for.
    pub fn expires_at(&self) -> Option<Seconds> {
        let event = self.event(EventKind::Expiry)?;
        // Until the clock looked at it, it stands at the second in which it was made.
        (event.time > event.created_at.floor_to_second()).then_some(event.time)
    }

    /// The series it is an occurrence of.
    pub fn series_id(&self) -> Option<SeriesId> {
        self.series.as_ref().map(|member| member.id)
    }

    /// `[start, end)`.
    pub fn interval(&self) -> Interval {
        Interval { start: self.start, end: self.end }
    }

    /// The event of a kind; every lease has start and end.
    pub fn event(&self, kind: EventKind) -> Option<&Event> {
        self.events.iter().find(|event| event.kind == kind)
    }

    /// Whether the end of one of its reservations was confirmed: nothing of it is left to be done in the cloud. What a delete, or
    /// a lease that took its room, has freed at once may still be there.
    pub fn is_over(&self, reservation: &Reservation) -> bool {
        reservation.status == ReservationStatus::Deleted && !self.leaves_things()
    }

    /// Whether something may be left in the cloud of what books nothing any more.
    pub fn leaves_things(&self) -> bool {
        self.deleted || self.preempted.as_ref().is_some_and(|preempted| !preempted.cleaned)
    }

    /// The first second at which it uses what it has booked.
    pub fn begins(&self) -> Seconds {
        let staged = self.reservations.iter().filter_map(|one| one.staging.map(|staging| staging.window.start));
        staged.min().unwrap_or(self.start).min(self.start)
    }

    /// The reservation with this id.
    pub fn reservation(&self, id: ReservationId) -> Option<&Reservation> {
        self.reservations.iter().find(|reservation| reservation.id == id)
    }
}
