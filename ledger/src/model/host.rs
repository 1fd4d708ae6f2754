//! A compute host as the ledger sees it: what it is, what Placement says it has, what is in use by others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Amounts, HostId, Timestamp};

/// What kind of pool a host belongs to (architecture D8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// Ordinary servers never land here: everything is held, permanently.
    Dedicated,
    /// Ordinary servers use what no reservation needs.
    Shared,
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
    /// K: megabytes, and lease servers, kept for anchors (architecture D21); fixed at onboarding.
    pub anchor_budget: u32,
    /// G: the gcd of the memory of all ordinary flavors at onboarding, in MiB; 0 where it does not matter.
    pub memory_grain_mb: u32,
}

/// What is observed again and again, and logged when it changes (scheduling-design §1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// C: `floor((total - reserved) * allocation_ratio)` per class, memory less K, slots = K.
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
    /// When it was registered.
    pub created_at: Timestamp,
    /// When anything here changed last.
    pub updated_at: Option<Timestamp>,
}

impl Host {
    /// Whether a new booking may be placed here.
    pub fn accepts_bookings(&self) -> bool {
        self.reservable && self.observation.up && !self.overcommitted
    }

    /// What reservations may use: C − F.
    pub fn room(&self) -> Amounts {
        self.observation.capacity.saturating_sub(self.observation.firm)
    }
}
