//! Leases as answered: lease, reservation, event, binding, resource.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_ledger::model::{
    Adoption, Binding, Event, EventId, Expiry, HostId, InstanceWish, Interval, Lease, LeaseId, Offer, Precedence, ProjectId,
    Reason, Requirement, Reservation, ReservationId, ResourceWish, Seconds, SourceFlavor, Staging, Timestamp, UserId, Wait,
};

use super::enums::{Enumeration, optional};
use super::series::{decode_member, encode_member};
use super::wish::decode_servers;
use super::{BadValue, Result, each, end, end_unix_s, seconds, unix_s, uuid};
use crate::wire::v1;

impl From<Lease> for v1::Lease {
    /// Leaves out what users do not see: the mark of a deletion, the key, and what a pending update would return to.
    fn from(lease: Lease) -> Self {
        let expires_at = lease.expires_at().and_then(end_unix_s);
        v1::Lease {
            id: lease.id.to_string(),
            name: lease.name,
            project_id: lease.project_id.0.into(),
            user_id: lease.user_id.0.into(),
            start: unix_s(lease.start),
            end: end_unix_s(lease.end),
            status: lease.status.encode(),
            degraded: lease.degraded,
            reason: lease.reason.map(encode_reason),
            reservations: lease.reservations.into_iter().map(Into::into).collect(),
            events: lease.events.into_iter().map(Into::into).collect(),
            revision: lease.revision,
            created_at_ms: lease.created_at.0,
            updated_at_ms: lease.updated_at.map(|at| at.0),
            ledger_index: lease.ledger_index,
            offer: lease
                .offer
                .map(|offer| v1::Offer { expires_at: unix_s(offer.expires_at), claimed_at_ms: offer.claimed_at.map(|at| at.0) }),
            series: lease.series.map(|member| encode_member(*member)),
            wait: lease.wait.map(|wait| v1::Wait {
                until: unix_s(wait.until),
                first: unix_s(wait.first),
                latest: wait.latest.map(unix_s),
                since: wait.since,
            }),
            priority: u32::from(lease.precedence.priority),
            preemptible: lease.precedence.preemptible,
            expiry_s: lease.expiry_s,
            expires_at,
        }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = BadValue;

    fn try_from(wire: v1::Lease) -> Result<Self> {
        Ok(Lease {
            id: LeaseId(uuid("id", &wire.id)?),
            name: wire.name,
            project_id: ProjectId(wire.project_id.into()),
            user_id: UserId(wire.user_id.into()),
            start: seconds("start", wire.start)?,
            end: end("end", wire.end)?,
            status: Enumeration::decode("status", wire.status)?,
            degraded: wire.degraded,
            reason: wire.reason.map(decode_reason).transpose()?,
            reservations: each("reservations", wire.reservations, Reservation::try_from)?,
            events: each("events", wire.events, Event::try_from)?,
            revision: wire.revision,
            deleted: false,
            key: None,
            update_key: None,
            before_update: None,
            series: wire.series.map(decode_member).transpose()?.map(Box::new),
            offer: wire.offer.map(decode_offer).transpose()?.map(Box::new),
            wait: wire.wait.map(decode_wait).transpose()?.map(Box::new),
            precedence: Precedence {
                priority: decode_priority(wire.priority)?,
                preemptible: wire.preemptible,
                // Of no use once there is a lease; nor is it told who took its room.
                preempt: false,
            },
            // When that is, its event says.
            expiry_s: wire.expiry_s,
            preempted: None,
            created_at: Timestamp(wire.created_at_ms),
            updated_at: wire.updated_at_ms.map(Timestamp),
            ledger_index: wire.ledger_index,
        })
    }
}

/// Whether it may be asked for, the ledger says.
pub(super) fn decode_priority(wire: u32) -> Result<u8> {
    u8::try_from(wire).map_err(|_| BadValue::new("priority", &wire.to_string(), "from 0 to 9"))
}

fn decode_wait(wire: v1::Wait) -> Result<Wait> {
    Ok(Wait {
        until: seconds("wait.until", wire.until)?,
        first: seconds("wait.first", wire.first)?,
        latest: wire.latest.map(|latest| seconds("wait.latest", latest)).transpose()?,
        since: wire.since,
        // Of no use outside of the ledger.
        ignore_quota: false,
    })
}

fn decode_adoption(wire: v1::Adoption) -> Result<Adoption> {
    Ok(Adoption {
        flavor_of: ReservationId(uuid("adoption.flavor_of", &wire.flavor_of)?),
        anchor: optional("adoption.anchor", wire.anchor)?.unwrap_or_default(),
        servers: decode_servers(&wire.servers).map_err(|bad| bad.inside("adoption"))?,
        // Of no use outside of the ledger.
        opened: false,
    })
}

fn decode_offer(wire: v1::Offer) -> Result<Offer> {
    let expires_at = seconds("offer.expires_at", wire.expires_at)?;
    Ok(Offer { expires_at, claimed_at: wire.claimed_at_ms.map(Timestamp) })
}

pub(super) fn encode_reason(reason: Reason) -> v1::Reason {
    v1::Reason { code: reason.code.encode(), text: reason.text }
}

pub(super) fn decode_reason(wire: v1::Reason) -> Result<Reason> {
    Ok(Reason { code: Enumeration::decode("reason.code", wire.code)?, text: wire.text })
}

impl From<Reservation> for v1::Reservation {
    fn from(reservation: Reservation) -> Self {
        v1::Reservation {
            id: reservation.id.to_string(),
            resource_id: reservation.resource_id.to_string(),
            resource: Some(reservation.wish.into()),
            staging: reservation.staging.map(|staging| v1::Staging {
                start: unix_s(staging.window.start),
                end: unix_s(staging.window.end),
                park_margin_s: staging.park_margin_s,
            }),
            on_end: reservation.on_end.encode(),
            status: reservation.status.encode(),
            stage: reservation.stage.encode(),
            bindings: reservation
                .bindings
                .into_iter()
                .map(|binding| v1::Binding { phase: binding.phase.encode(), host_id: binding.host.0, slots: binding.slots })
                .collect(),
            server_group_id: reservation.server_group_id.map(|id| id.to_string()),
            server_group_problem: reservation.server_group_problem,
            missing_resources: reservation.missing_resources,
            resources_changed: reservation.resources_changed,
            created_at_ms: reservation.created_at.0,
            updated_at_ms: reservation.updated_at.map(|at| at.0),
            adoption: reservation.adoption.map(|adoption| v1::Adoption {
                flavor_of: adoption.flavor_of.to_string(),
                anchor: adoption.anchor.encode(),
                servers: adoption.servers.iter().map(ToString::to_string).collect(),
            }),
            released: reservation.expiry.map_or(0, Expiry::released),
        }
    }
}

impl TryFrom<v1::Reservation> for Reservation {
    type Error = BadValue;

    fn try_from(wire: v1::Reservation) -> Result<Self> {
        Ok(Reservation {
            id: ReservationId(uuid("id", &wire.id)?),
            resource_id: uuid("resource_id", &wire.resource_id)?,
            wish: decode_resource(wire.resource)?,
            staging: wire.staging.map(decode_staging).transpose()?,
            on_end: Enumeration::decode("on_end", wire.on_end)?,
            status: Enumeration::decode("status", wire.status)?,
            stage: Enumeration::decode("stage", wire.stage)?,
            bindings: each("bindings", wire.bindings, |binding| {
                Ok(Binding {
                    phase: Enumeration::decode("phase", binding.phase)?,
                    host: HostId(binding.host_id),
                    slots: binding.slots,
                })
            })?,
            previous: None,
            booked_end: None,
            releasing: Vec::new(),
            server_group_id: wire.server_group_id.map(|id| uuid("server_group_id", &id)).transpose()?,
            group_awaited: false,
            server_group_problem: wire.server_group_problem,
            adoption: wire.adoption.map(decode_adoption).transpose()?.map(Box::new),
            expiry: decode_released(wire.released, Timestamp(wire.updated_at_ms.unwrap_or(wire.created_at_ms))),
            missing_resources: wire.missing_resources,
            resources_changed: wire.resources_changed,
            created_at: Timestamp(wire.created_at_ms),
            updated_at: wire.updated_at_ms.map(Timestamp),
        })
    }
}

/// Only what was given back comes over. Since when it is, is not told, and cannot be later than the last change.
fn decode_released(released: u32, at: Timestamp) -> Option<Expiry> {
    (released > 0).then_some(Expiry::Counted { at, released })
}

fn decode_staging(wire: v1::Staging) -> Result<Staging> {
    let (start, end) = (seconds("staging.start", wire.start)?, seconds("staging.end", wire.end)?);
    let window = Interval::new(start, end)
        .ok_or_else(|| BadValue::new("staging.end", &wire.end.to_string(), "later than staging.start"))?;
    Ok(Staging { window, park_margin_s: wire.park_margin_s })
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        v1::Event {
            id: event.id.to_string(),
            kind: event.kind.encode(),
            time: end_unix_s(event.time),
            status: event.status.encode(),
            created_at_ms: event.created_at.0,
            updated_at_ms: event.updated_at.map(|at| at.0),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = BadValue;

    fn try_from(wire: v1::Event) -> Result<Self> {
        Ok(Event {
            id: EventId(uuid("id", &wire.id)?),
            kind: Enumeration::decode("kind", wire.kind)?,
            time: wire.time.map_or(Ok(Seconds::OPEN_END), |time| seconds("time", time))?,
            status: Enumeration::decode("status", wire.status)?,
            created_at: Timestamp(wire.created_at_ms),
            updated_at: wire.updated_at_ms.map(Timestamp),
        })
    }
}

impl From<ResourceWish> for v1::Resource {
    fn from(wish: ResourceWish) -> Self {
        let kind = match wish {
            ResourceWish::Instance(instance) => v1::resource::Kind::Instance(Arc::unwrap_or_clone(instance).into()),
        };
        v1::Resource { kind: Some(kind) }
    }
}

/// A resource that must be there.
pub(super) fn decode_resource(wire: Option<v1::Resource>) -> Result<ResourceWish> {
    match wire.and_then(|resource| resource.kind) {
        Some(v1::resource::Kind::Instance(instance)) => {
            let instance = InstanceWish::try_from(instance).map_err(|bad| bad.inside("resource.instance"))?;
            Ok(ResourceWish::Instance(instance.into()))
        }
        Some(v1::resource::Kind::Hosts(_)) => {
            Err(BadValue::new("resource", "hosts", "an instance: whole hosts can only be asked about"))
        }
        None => Err(BadValue::missing("resource", "one of: instance")),
    }
}

pub(super) fn encode_requirement(term: Requirement) -> v1::Requirement {
    v1::Requirement { key: term.key, comparison: term.comparison.encode(), value: term.value }
}

pub(super) fn decode_requirement(wire: v1::Requirement) -> Result<Requirement> {
    let comparison = Enumeration::decode("comparison", wire.comparison)?;
    Ok(Requirement { key: wire.key, comparison, value: wire.value })
}

impl From<InstanceWish> for v1::Instance {
    fn from(wish: InstanceWish) -> Self {
        v1::Instance {
            vcpus: wish.vcpus,
            memory_mb: wish.memory_mb,
            disk_gb: wish.disk_gb,
            amount: wish.amount,
            affinity: wish.affinity,
            zone: wish.zone,
            pool: wish.pool.map_or(0, Enumeration::encode),
            required_traits: wish.required_traits.into_iter().collect(),
            forbidden_traits: wish.forbidden_traits.into_iter().collect(),
            requirements: wish.requirements.into_iter().map(encode_requirement).collect(),
            resource_properties: wish.resource_properties,
            flavor: wish.flavor.map(|flavor| Arc::unwrap_or_clone(flavor).into()),
        }
    }
}

impl From<SourceFlavor> for v1::SourceFlavor {
    fn from(flavor: SourceFlavor) -> Self {
        let SourceFlavor { id, name, ephemeral_gb, swap_mb, extra_specs } = flavor;
        v1::SourceFlavor { id, name, ephemeral_gb, swap_mb, extra_specs: extra_specs.into_iter().collect() }
    }
}

impl From<v1::SourceFlavor> for SourceFlavor {
    fn from(wire: v1::SourceFlavor) -> Self {
        let v1::SourceFlavor { id, name, ephemeral_gb, swap_mb, extra_specs } = wire;
        SourceFlavor { id, name, ephemeral_gb, swap_mb, extra_specs: extra_specs.into_iter().collect() }
    }
}

impl TryFrom<v1::Instance> for InstanceWish {
    type Error = BadValue;

    fn try_from(wire: v1::Instance) -> Result<Self> {
        Ok(InstanceWish {
            vcpus: wire.vcpus,
            memory_mb: wire.memory_mb,
            disk_gb: wire.disk_gb,
            amount: wire.amount,
            affinity: wire.affinity,
            zone: wire.zone,
            pool: optional("pool", wire.pool)?,
            required_traits: BTreeSet::from_iter(wire.required_traits),
            forbidden_traits: BTreeSet::from_iter(wire.forbidden_traits),
            requirements: each("requirements", wire.requirements, decode_requirement)?,
            resource_properties: wire.resource_properties,
            flavor: wire.flavor.map(|flavor| SourceFlavor::from(flavor).into()),
        })
    }
}
