//! A compute host as the ledger sees it: what it is, what Placement says it has, what is in use by others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Amounts, Downtime, HostId, Interval, Seconds, Timestamp, Upgrade};
use crate::mutant;

/// What kind of pool a host belongs to (architecture D8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// Ordinary servers never land here: everything is held, permanently.
    Dedicated,
    /// Ordinary servers use what no reservation needs.
    Shared,
}

/// What a lease server takes of the compute node's own provider: Nova uses only nodes that are part of the allocation
/// (architecture D21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// A megabyte of `MEMORY_MB`; the K megabytes are kept out of the reach of ordinary servers.
    #[default]
    Memory,
    /// One of `CUSTOM_LH_ANCHOR`, an inventory that the operator gave the compute node.
    Class,
}

impl Anchor {
    /// All kinds, the one to plan with first in front.
    pub const ALL: [Anchor; 2] = [Anchor::Memory, Anchor::Class];

    /// Whether it is what every host had before there was another.
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde gives a reference.
    fn is_memory(&self) -> bool {
        *self == Anchor::Memory
    }
}

/// What does not change by observation: identity and description, read once from Nova and Placement at onboarding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDescription {
    /// Nova's `hypervisor_hostname`; also the name of the root provider.
    pub hypervisor_hostname: String,
    /// Nova's `service_host`.
    pub service_name: String,
    /// Placement's root provider.
    pub root_provider: Uuid,
    /// Nova's `hypervisor_type`.
    pub hypervisor_type: String,
    /// Nova's `hypervisor_version`.
    pub hypervisor_version: i64,
    /// JSON text, as Nova tells it.
    pub cpu_info: String,
    /// Physical vCPUs as Nova tells them (for display; capacity is in [`Observation`]).
    pub vcpus: u32,
    /// Physical memory in MiB (for display).
    pub memory_mb: u32,
    /// Physical disk in GiB (for display).
    pub local_gb: u32,
    /// Availability zone.
    pub zone: Option<String>,
    /// Which pool it is onboarded into.
    pub pool: PoolKind,
    /// K: lease servers that can be anchored, and with [`Anchor::Memory`] the megabytes kept for it (architecture D21); fixed
    /// at onboarding.
    pub anchor_budget: u32,
    /// G: the gcd of the memory of all ordinary flavors at onboarding, in MiB; 0 where it does not matter.
    pub memory_grain_mb: u32,
    /// What lease servers are anchored by; fixed at onboarding. One reservation has one flavor, so its hosts have one kind.
    /// Not written where it is memory, so that rows of older releases keep their bytes.
    #[serde(default, skip_serializing_if = "Anchor::is_memory")]
    pub anchor: Anchor,
}

/// What is observed again and again, and logged when it changes (scheduling-design §1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// C: `floor((total - reserved) * allocation_ratio)` per class; slots = K, and K off memory where it is the anchor. A shrunk
    /// inventory of anchors lowers the slots.
    pub capacity: Amounts,
    /// F: usage by ordinary servers that nobody may evict. Anchors and our own holds are not part of it.
    pub firm: Amounts,
    /// Placement's `max_unit` on the root provider: the most one hold consumer may have.
    pub max_unit: Amounts,
    /// Placement's `total` and `reserved` folded without ratio are not needed; traits of the root provider are.
    pub traits: BTreeSet<String>,
    /// Nova's compute service is up, enabled and not forced down.
    pub up: bool,
}

/// A host of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Sequence number.
    pub id: HostId,
    /// Identity and description.
    pub description: HostDescription,
    /// Last observation.
    pub observation: Observation,
    /// Extra capabilities given by the operator, text to text (blazar-api §9).
    pub properties: BTreeMap<String, String>,
    /// The operator lets new reservations use it.
    pub reservable: bool,
    /// Firm usage or lost capacity broke L1 here: accepts nothing new until it holds again (scheduling-design §1).
    pub overcommitted: bool,
    /// What is declared not to be had of it for a time, by begin. Not written where there is none, so that rows of older
    /// releases keep their bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downtimes: Vec<Downtime>,
    /// What it is declared to have from a second on. Not written where there is none, as downtimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When anything here changed last.
    pub updated_at: Option<Timestamp>,
}

impl Host {
    /// Whether a new booking may be placed here.
    pub fn accepts_bookings(&self) -> bool {
        // Planted bugs: what is closed by its operator is booked all the same, or what is down.
        (self.reservable || mutant!("H01")) && (self.observation.up || mutant!("N41")) && !self.overcommitted
    }

    /// What its downtimes take of it, and when.
    pub fn withheld(&self) -> Vec<(Interval, Amounts)> {
        // Planted bug: what is declared is shown, and nobody heeds it.
        if mutant!("H28") {
            return Vec::new();
        }
        self.downtimes.iter().map(|one| (one.interval, one.withheld.amounts())).collect()
    }

    /// What reservations may use as the host is now: C − F, where no downtime takes of it.
    pub fn room(&self) -> Amounts {
        self.room_of(self.observation.capacity)
    }

    /// The same at a second, by which its upgrade may have come.
    pub fn room_at(&self, at: Seconds) -> Amounts {
        self.room_of(self.capacity_at(at))
    }

    /// The same once its upgrade has come; until then [`not_yet`](Self::not_yet) is not there.
    pub fn room_upgraded(&self) -> Amounts {
        self.room_of(self.capacity_upgraded())
    }

    /// What it has once its upgrade has come: C, and by how much it grows.
    pub fn capacity_upgraded(&self) -> Amounts {
        self.observation.capacity.saturating_add(self.growth())
    }

    /// What it has at a second, by which its upgrade may have come.
    pub fn capacity_at(&self, at: Seconds) -> Amounts {
        match self.upgrade {
            Some(upgrade) if upgrade.start <= at => self.capacity_upgraded(),
            Some(_) | None => self.observation.capacity,
        }
    }

    /// By how much its upgrade lets it grow beyond what it was seen to have.
    pub fn growth(&self) -> Amounts {
        self.upgrade.map_or(Amounts::default(), |upgrade| upgrade.growth(self.observation.capacity))
    }

    /// What its upgrade is to bring and is not there yet, and until when it is not; `None` where it brings nothing.
    pub fn not_yet(&self) -> Option<(Interval, Amounts)> {
        let (growth, upgrade) = (self.growth(), self.upgrade?);
        let before = Interval::new(Seconds(0), upgrade.start)?;
        (growth != Amounts::default()).then_some((before, growth))
    }

    fn room_of(&self, capacity: Amounts) -> Amounts {
        capacity.saturating_sub(self.observation.firm)
    }
}
