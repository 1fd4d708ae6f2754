//! Hosts as registered, changed and answered.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::model::{Amounts, Host, HostDescription, HostId, Observation, PoolKind, Timestamp};

use super::enums::{Enumeration, optional};
use super::{BadValue, Result, each, uuid};
use crate::wire::v1;

/// A compute host to be onboarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewHost {
    /// Nova's compute host or hypervisor hostname.
    pub name: String,
    /// Pool to register it into.
    pub pool: PoolKind,
    /// Extra capabilities, text to text.
    pub properties: BTreeMap<String, String>,
}

impl NewHost {
    /// The request, still without its idempotency key.
    pub(crate) fn into_request(self) -> v1::RegisterHostRequest {
        v1::RegisterHostRequest {
            request_id: String::new(),
            valid_until_ms: 0,
            name: self.name,
            pool: self.pool.encode(),
            properties: self.properties,
        }
    }

    /// What a request asks for; hosts are dedicated unless asked otherwise (architecture D8).
    pub fn from_request(wire: v1::RegisterHostRequest) -> Result<NewHost> {
        let pool = optional("pool", wire.pool)?.unwrap_or(PoolKind::Dedicated);
        Ok(NewHost { name: wire.name, pool, properties: wire.properties })
    }
}

/// What is to change in a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostChange {
    /// Added or replaced; keys are never removed.
    pub properties: BTreeMap<String, String>,
    /// Whether new reservations may use it; `None`: unchanged.
    pub reservable: Option<bool>,
}

impl From<Amounts> for v1::Amounts {
    fn from(amounts: Amounts) -> Self {
        let Amounts { vcpus, memory_mb, disk_gb, slots } = amounts;
        v1::Amounts { vcpus, memory_mb, disk_gb, slots }
    }
}

impl From<v1::Amounts> for Amounts {
    fn from(wire: v1::Amounts) -> Self {
        let v1::Amounts { vcpus, memory_mb, disk_gb, slots } = wire;
        Amounts { vcpus, memory_mb, disk_gb, slots }
    }
}

impl From<Host> for v1::Host {
    fn from(host: Host) -> Self {
        let Host { id, description, observation, properties, reservable, overcommitted, .. } = host;
        let Host { downtimes, upgrade, created_at, updated_at, .. } = host;
        v1::Host {
            id: id.0,
            hypervisor_hostname: description.hypervisor_hostname,
            service_name: description.service_name,
            root_provider: description.root_provider.to_string(),
            hypervisor_type: description.hypervisor_type,
            hypervisor_version: description.hypervisor_version,
            cpu_info: description.cpu_info,
            vcpus: description.vcpus,
            memory_mb: description.memory_mb,
            local_gb: description.local_gb,
            zone: description.zone,
            pool: description.pool.encode(),
            anchor_budget: description.anchor_budget,
            memory_grain_mb: description.memory_grain_mb,
            anchor: description.anchor.encode(),
            capacity: Some(observation.capacity.into()),
            firm: Some(observation.firm.into()),
            max_unit: Some(observation.max_unit.into()),
            traits: observation.traits.into_iter().collect(),
            up: observation.up,
            properties,
            reservable,
            overcommitted,
            downtimes: downtimes.into_iter().map(Into::into).collect(),
            upgrade: upgrade.map(Into::into),
            created_at_ms: created_at.0,
            updated_at_ms: updated_at.map(|at| at.0),
        }
    }
}

impl TryFrom<v1::Host> for Host {
    type Error = BadValue;

    fn try_from(wire: v1::Host) -> Result<Self> {
        Ok(Host {
            id: HostId(wire.id),
            description: HostDescription {
                hypervisor_hostname: wire.hypervisor_hostname,
                service_name: wire.service_name,
                root_provider: uuid("root_provider", &wire.root_provider)?,
                hypervisor_type: wire.hypervisor_type,
                hypervisor_version: wire.hypervisor_version,
                cpu_info: wire.cpu_info,
                vcpus: wire.vcpus,
                memory_mb: wire.memory_mb,
                local_gb: wire.local_gb,
                zone: wire.zone,
                pool: Enumeration::decode("pool", wire.pool)?,
                anchor_budget: wire.anchor_budget,
                memory_grain_mb: wire.memory_grain_mb,
                anchor: optional("anchor", wire.anchor)?.unwrap_or_default(),
            },
            observation: Observation {
                capacity: wire.capacity.map(Into::into).unwrap_or_default(),
                firm: wire.firm.map(Into::into).unwrap_or_default(),
                max_unit: wire.max_unit.map(Into::into).unwrap_or_default(),
                traits: BTreeSet::from_iter(wire.traits),
                up: wire.up,
            },
            properties: wire.properties,
            reservable: wire.reservable,
            overcommitted: wire.overcommitted,
            downtimes: each("downtimes", wire.downtimes, TryInto::try_into)?,
            upgrade: wire.upgrade.map(TryInto::try_into).transpose().map_err(|bad: BadValue| bad.inside("upgrade"))?,
            created_at: Timestamp(wire.created_at_ms),
            updated_at: wire.updated_at_ms.map(Timestamp),
        })
    }
}
