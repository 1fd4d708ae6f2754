//! Hosts: onboarding, capabilities, allocations.

use std::collections::BTreeMap;

use leasehold_ledger::model::{HostId, LeaseId, PoolKind, ReservationId, Seconds};
use serde::{Deserialize, Serialize};

/// What `POST /os-hosts` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRequest {
    /// Nova's compute host or hypervisor hostname.
    pub name: String,
    /// Dedicated unless asked otherwise (architecture D8).
    pub pool: PoolKind,
    /// Extra capabilities.
    pub properties: BTreeMap<String, String>,
}

/// One host's reservations (blazar-api §5, Allocation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAllocation {
    /// Which host.
    pub host_id: HostId,
    /// By start.
    pub reservations: Vec<ReservedInterval>,
}

/// A reservation's time on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservedInterval {
    /// Which reservation.
    pub reservation_id: ReservationId,
    /// Of which lease.
    pub lease_id: LeaseId,
    /// First second.
    pub start: Seconds,
    /// First second after.
    pub end: Seconds,
}
