//! Ledger model → Blazar's objects (blazar-api §5, §22). Under 1.1 they carry more keys, never fewer.
//!
//! Not shown: our own event kinds, bindings, revisions. `trust_id` is null, because no per-lease trust exists
//! (architecture D11), and `aggregate_id` is null where no aggregate is made (D24); clients only print them.

use leasehold_ledger::listing::HostAllocation;
use leasehold_ledger::model::{
    Event, Expiry, Host, InstanceWish, Lease, LeaseId, OnEnd, PoolKind, Reservation, ResourceWish, Staging,
};
use serde_json::{Map, Value, json};

use super::dates::{lease_date, row_date};
use super::downtime::upgrade;
use super::flavor;
use crate::edge::rest::microversion::Microversion;
use crate::operations::KeyState;

/// Keys of a host that no extra capability may take.
pub const HOST_KEYS: [&str; 15] = [
    "id",
    "vcpus",
    "cpu_info",
    "hypervisor_type",
    "hypervisor_version",
    "hypervisor_hostname",
    "service_name",
    "memory_mb",
    "local_gb",
    "status",
    "availability_zone",
    "trust_id",
    "reservable",
    "created_at",
    "updated_at",
];

/// Lease.
pub fn lease(lease: &Lease, version: Microversion) -> Value {
    let mut shown = json!({
        "id": lease.id.to_string(),
        "name": lease.name,
        "user_id": lease.user_id.to_string(),
        "project_id": lease.project_id.to_string(),
        "start_date": lease_date(lease.start),
        "end_date": lease_date(lease.end),
        "trust_id": null,
        "status": lease.status.as_str(),
        "degraded": lease.degraded,
        "created_at": row_date(lease.created_at),
        "updated_at": lease.updated_at.map(row_date),
        "reservations": lease.reservations.iter().map(|reservation| self::reservation(lease.id, reservation, version)).collect::<Vec<_>>(),
        "events": lease.events.iter().filter_map(|event| self::event(lease.id, event)).collect::<Vec<_>>(),
    });
    if version >= Microversion::V1_1 {
        shown["status_reason"] = match &lease.reason {
            Some(reason) => json!({"code": reason.code, "text": reason.text}),
            None => Value::Null,
        };
        let member = lease.series.as_deref();
        shown["series_id"] = json!(member.map(|member| member.id.to_string()));
        shown["occurrence"] = json!(member.map(|member| member.number));
        shown["offer"] = match lease.offer.as_deref() {
            Some(offer) => {
                json!({"expires_at": lease_date(offer.expires_at), "claimed_at": offer.claimed_at.map(row_date)})
            }
            None => Value::Null,
        };
        shown["wait"] = match lease.wait.as_deref() {
            Some(wait) => json!({"until": lease_date(wait.until), "latest_start_date": wait.latest.map(lease_date)}),
            None => Value::Null,
        };
        shown["priority"] = json!(lease.precedence.priority);
        shown["preemptible"] = json!(lease.precedence.preemptible);
        shown["expiry_s"] = json!(lease.expiry_s);
        shown["expires_at"] = json!(lease.expires_at().map(lease_date));
    }
    shown
}

fn event(lease_id: LeaseId, event: &Event) -> Option<Value> {
    Some(json!({
        "id": event.id.to_string(),
        "lease_id": lease_id.to_string(),
        "event_type": event.kind.blazar_name()?,
        "time": lease_date(event.time),
        "status": event.status.as_str(),
        "created_at": row_date(event.created_at),
        "updated_at": event.updated_at.map(row_date),
    }))
}

fn reservation(lease_id: LeaseId, reservation: &Reservation, version: Microversion) -> Value {
    let ResourceWish::Instance(wish) = &reservation.wish;
    let mut shown = json!({
        "id": reservation.id.to_string(),
        "lease_id": lease_id.to_string(),
        "resource_id": reservation.resource_id.to_string(),
        "resource_type": flavor::type_of(wish),
        "status": reservation.status.as_str(),
        "missing_resources": reservation.missing_resources,
        "resources_changed": reservation.resources_changed,
        "created_at": row_date(reservation.created_at),
        "updated_at": reservation.updated_at.map(row_date),
        "vcpus": wish.vcpus,
        "memory_mb": wish.memory_mb,
        "disk_gb": wish.disk_gb,
        "amount": wish.amount,
        "affinity": wish.affinity,
        "resource_properties": flavor::properties(wish),
        "flavor_id": reservation.flavor().to_string(),
        "aggregate_id": null,
        "server_group_id": reservation.server_group_id.map(|id| id.to_string()),
    });
    if version >= Microversion::V1_1 {
        add_1_1(&mut shown, reservation, wish);
    }
    shown
}

fn add_1_1(shown: &mut Value, reservation: &Reservation, wish: &InstanceWish) {
    shown["source_flavor_id"] = json!(wish.flavor.as_deref().map(|flavor| &flavor.id));
    shown["zone"] = json!(wish.zone);
    shown["pool"] = wish.pool.map_or(Value::Null, pool);
    shown["required_traits"] = json!(wish.required_traits);
    shown["forbidden_traits"] = json!(wish.forbidden_traits);
    shown["server_group_problem"] = json!(reservation.server_group_problem);
    shown["on_end"] = json!(match reservation.on_end {
        OnEnd::Delete => "delete",
        OnEnd::Shelve => "shelve",
        OnEnd::Snapshot => "snapshot",
    });
    shown["staging"] = reservation.staging.map_or(Value::Null, |Staging { window, park_margin_s }| {
        json!({"start_date": lease_date(window.start), "end_date": lease_date(window.end), "park_margin": park_margin_s})
    });
    let servers = reservation.adoption.iter().flat_map(|adoption| &adoption.servers);
    shown["servers"] = servers.map(|id| Value::String(id.to_string())).collect();
    shown["stage"] = json!(reservation.stage);
    shown["released"] = json!(reservation.expiry.map_or(0, Expiry::released));
}

fn pool(pool: PoolKind) -> Value {
    json!(match pool {
        PoolKind::Dedicated => "dedicated",
        PoolKind::Shared => "shared",
    })
}

/// Host, with one key per extra capability.
pub fn host(host: &Host, version: Microversion) -> Value {
    let about = &host.description;
    let mut shown = json!({
        "id": host.id.to_string(),
        "vcpus": about.vcpus,
        "cpu_info": about.cpu_info,
        "hypervisor_type": about.hypervisor_type,
        "hypervisor_version": about.hypervisor_version,
        "hypervisor_hostname": about.hypervisor_hostname,
        "service_name": about.service_name,
        "memory_mb": about.memory_mb,
        "local_gb": about.local_gb,
        "status": null,
        "availability_zone": about.zone,
        "trust_id": null,
        "reservable": host.reservable,
        "created_at": row_date(host.created_at),
        "updated_at": host.updated_at.map(row_date),
    });
    if version >= Microversion::V1_1 {
        shown["pool"] = pool(about.pool);
        shown["up"] = json!(host.observation.up);
        shown["overcommitted"] = json!(host.overcommitted);
        shown["upgrade"] = json!(host.upgrade.as_ref().map(upgrade));
    }
    for (key, value) in &host.properties {
        // A capability never hides a field.
        if shown.get(key).is_none() {
            shown[key] = json!(value);
        }
    }
    shown
}

/// Allocation.
pub fn allocation(allocation: &HostAllocation) -> Value {
    let reservations: Vec<Value> = allocation
        .reservations
        .iter()
        .map(|reserved| {
            json!({
                "id": reserved.reservation_id.to_string(),
                "lease_id": reserved.lease_id.to_string(),
                "start_date": lease_date(reserved.start),
                "end_date": lease_date(reserved.end),
            })
        })
        .collect();
    json!({"resource_id": allocation.host_id.to_string(), "reservations": reservations})
}

/// What is known of an idempotency key (architecture D18; 1.1).
pub fn key_state(state: &KeyState) -> Value {
    let mut shown = Map::new();
    let name = match state {
        KeyState::Applied { lease_id, rejection, ledger_index } => {
            shown.insert("lease_id".to_owned(), json!(lease_id.map(|id| id.to_string())));
            shown.insert("rejection".to_owned(), json!(rejection));
            shown.insert("ledger_index".to_owned(), json!(ledger_index));
            "applied"
        }
        KeyState::Pending { lease_id } => {
            shown.insert("lease_id".to_owned(), json!(lease_id.to_string()));
            "pending"
        }
        KeyState::Never => "never",
        KeyState::Expired => "expired",
    };
    shown.insert("state".to_owned(), json!(name));
    Value::Object(shown)
}
