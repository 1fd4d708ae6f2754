//! Tables for people, JSON for programs. JSON keys are those of `leasehold.v1`; times are RFC 3339.

use std::io::{self, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use leasehold_client::HostAllocation;
use leasehold_ledger::model::{EventKind, EventStatus, Expiry, Host, InstanceWish, Lease, PoolKind, Reservation, ResourceWish};
use serde_json::{Value, json};

use super::time::{rfc3339, rfc3339_ms, span, utc};

/// Where answers go.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub json: bool,
}

impl Output {
    /// One document: `value` for programs, `table` for people.
    pub fn print(self, value: Value, table: impl FnOnce() -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json { writeln!(out, "{value:#}") } else { writeln!(out, "{}", table()) }
    }

    /// One line of many.
    pub fn line(self, value: Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{value}")?
        } else {
            writeln!(out, "{}", text())?
        }
        out.flush()
    }
}

/// A table with a head, or `empty` when there are no rows.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>, empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// `1 host`, `2 hosts`.
pub(super) fn counted(number: u32, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Names and values below each other.
pub(super) fn fields(rows: Vec<(&str, String)>) -> String {
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| vec![name.to_owned(), value]);
    table(&["field", "value"], rows.collect(), "")
}

fn instance(wish: &ResourceWish) -> &InstanceWish {
    match wish {
        ResourceWish::Instance(instance) => instance,
    }
}

/// The stable spelling of a pool.
pub(super) fn pool(pool: PoolKind) -> &'static str {
    match pool {
        PoolKind::Dedicated => "dedicated",
        PoolKind::Shared => "shared",
    }
}

/// An enumeration of the model as it spells itself.
fn spelled(value: impl serde::Serialize) -> Value {
    // Units of enums always have a name.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Servers that it takes over.
fn adopted(reservation: &Reservation) -> Vec<String> {
    reservation.adoption.iter().flat_map(|adoption| &adoption.servers).map(ToString::to_string).collect()
}

/// Instances of it that nobody used and that were given back.
fn released(reservation: &Reservation) -> u32 {
    reservation.expiry.map_or(0, Expiry::released)
}

fn reservation_json(reservation: &Reservation) -> Value {
    let wish = instance(&reservation.wish);
    json!({
        "id": reservation.id.to_string(),
        "resource_type": if wish.flavor.is_some() { "flavor:instance" } else { "virtual:instance" },
        "source_flavor": wish.flavor.as_ref().map(|flavor| json!({ "id": flavor.id, "name": flavor.name })),
        "flavor_id": reservation.flavor().to_string(),
        "servers": adopted(reservation),
        "server_group_id": reservation.server_group_id.map(|id| id.to_string()),
        "server_group_problem": reservation.server_group_problem,
        "status": reservation.status.as_str(),
        "stage": spelled(reservation.stage),
        "on_end": spelled(reservation.on_end),
        "vcpus": wish.vcpus, "memory_mb": wish.memory_mb, "disk_gb": wish.disk_gb, "amount": wish.amount,
        "affinity": wish.affinity, "zone": wish.zone, "pool": wish.pool.map(pool),
        "required_traits": wish.required_traits, "forbidden_traits": wish.forbidden_traits,
        "requirements": wish.requirements.iter().map(|term| json!([spelled(term.comparison), term.key, term.value])).collect::<Vec<_>>(),
        "staging": reservation.staging.map(|staging| json!({
            "start": rfc3339(staging.window.start), "end": rfc3339(staging.window.end), "park_margin_s": staging.park_margin_s,
        })),
        "bindings": reservation.bindings.iter().map(|binding| json!({
            "phase": spelled(binding.phase), "host_id": binding.host.0, "slots": binding.slots,
        })).collect::<Vec<_>>(),
        "missing_resources": reservation.missing_resources,
        "resources_changed": reservation.resources_changed,
        "released": released(reservation),
    })
}

/// A lease for programs.
pub(super) fn lease_json(lease: &Lease) -> Value {
    json!({
        "id": lease.id.to_string(), "name": lease.name, "project_id": lease.project_id.0, "user_id": lease.user_id.0,
        "start": rfc3339(lease.start), "end": rfc3339(lease.end), "status": lease.status.as_str(), "degraded": lease.degraded,
        "reason": lease.reason.as_ref().map(|reason| json!({ "code": spelled(reason.code), "text": reason.text })),
        "reservations": lease.reservations.iter().map(reservation_json).collect::<Vec<_>>(),
        "events": lease.events.iter().map(|event| json!({
            "id": event.id.to_string(), "kind": spelled(event.kind), "time": rfc3339(event.time), "status": event.status.as_str(),
        })).collect::<Vec<_>>(),
        "created_at": rfc3339_ms(lease.created_at), "updated_at": lease.updated_at.and_then(rfc3339_ms),
        "offer": lease.offer.as_ref().map(|offer| json!({
            "expires_at": rfc3339(offer.expires_at), "claimed_at": offer.claimed_at.and_then(rfc3339_ms),
        })),
        "wait": lease.wait.as_ref().map(|wait| json!({
            "until": rfc3339(wait.until), "latest_start": wait.latest.and_then(rfc3339), "since": wait.since,
        })),
        "priority": lease.precedence.priority,
        "preemptible": lease.precedence.preemptible,
        "expiry_s": lease.expiry_s,
        "expires_at": lease.expires_at().and_then(rfc3339),
        "series": lease.series.as_ref().map(|member| json!({ "id": member.id.to_string(), "occurrence": member.number })),
        "ledger_index": lease.ledger_index,
    })
}

/// Leases in a table.
pub(super) fn lease_table(leases: &[Lease]) -> String {
    let rows = leases.iter().map(|lease| {
        vec![lease.id.to_string(), lease.name.clone(), utc(lease.start), utc(lease.end), lease.status.as_str().to_owned()]
    });
    table(&["id", "name", "start (UTC)", "end (UTC)", "status"], rows.collect(), "No leases.")
}

/// Offers in a table.
pub(super) fn offer_table(offers: &[Lease]) -> String {
    let rows = offers.iter().map(|lease| {
        let until = lease.unclaimed_until().map(utc).unwrap_or_default();
        vec![lease.id.to_string(), lease.name.clone(), utc(lease.start), utc(lease.end), until]
    });
    table(&["id", "name", "start (UTC)", "end (UTC)", "stands until (UTC)"], rows.collect(), "No offers.")
}

/// When what nobody uses is given back, and how much was.
fn expiry(lease: &Lease) -> String {
    let Some(seconds) = lease.expiry_s else { return String::new() };
    let after = format!("{} after it is active", span(seconds));
    let (Some(event), Some(at)) = (lease.event(EventKind::Expiry), lease.expires_at().map(utc)) else { return after };
    match event.status {
        EventStatus::Undone => format!("{after}; to be counted {at} (UTC)"),
        EventStatus::InProgress => format!("{after}; being counted since {at} (UTC)"),
        EventStatus::Done | EventStatus::Error => {
            let count: u32 = lease.reservations.iter().map(released).fold(0, u32::saturating_add);
            let back = if count == 0 { "nothing".to_owned() } else { count.to_string() };
            format!("{after}; counted {at} (UTC), {back} given back")
        }
    }
}

/// What a reservation is, in a line.
fn summary(reservation: &Reservation) -> String {
    let wish = instance(&reservation.wish);
    let affinity = match wish.affinity {
        None => "",
        Some(true) => ", on one host",
        Some(false) => ", on different hosts",
    };
    let flavor = wish.flavor.as_ref().map(|flavor| format!(", like {}", flavor.name)).unwrap_or_default();
    format!("{} × {} vCPU, {} MiB, {} GiB{flavor}{affinity}", wish.amount, wish.vcpus, wish.memory_mb, wish.disk_gb)
}

/// One lease, whole.
pub(super) fn lease_details(lease: &Lease) -> String {
    let mut rows = vec![
        ("id", lease.id.to_string()),
        ("name", lease.name.clone()),
        ("project", lease.project_id.to_string()),
        ("start (UTC)", utc(lease.start)),
        ("end (UTC)", utc(lease.end)),
        ("status", lease.status.as_str().to_owned()),
        ("series", lease.series.as_ref().map(|one| format!("{}, occurrence {}", one.id, one.number)).unwrap_or_default()),
        ("offer until (UTC)", lease.unclaimed_until().map(utc).unwrap_or_default()),
        ("waits until (UTC)", lease.wait.as_ref().map(|wait| utc(wait.until)).unwrap_or_default()),
        ("starts by (UTC)", lease.wait.as_ref().and_then(|wait| wait.latest).map(utc).unwrap_or_default()),
        ("priority", Some(lease.precedence.priority).filter(|one| *one > 0).map(|one| one.to_string()).unwrap_or_default()),
        ("preemptible", if lease.precedence.preemptible { "yes" } else { "" }.to_owned()),
        ("expiry", expiry(lease)),
        ("reason", lease.reason.as_ref().map(|reason| reason.text.clone()).unwrap_or_default()),
        ("degraded", if lease.degraded { "yes" } else { "" }.to_owned()),
    ];
    for reservation in &lease.reservations {
        rows.push(("reservation", format!("{}: {}", reservation.status.as_str(), summary(reservation))));
        rows.push(("  boot with flavor", reservation.flavor().to_string()));
        rows.push(("  adopts", adopted(reservation).join(", ")));
        rows.push(("  in server group", reservation.server_group_id.map(|id| id.to_string()).unwrap_or_default()));
        rows.push(("  of which", reservation.server_group_problem.clone().unwrap_or_default()));
        if let Some(staging) = reservation.staging {
            rows.push(("  staging (UTC)", format!("{} to {}", utc(staging.window.start), utc(staging.window.end))));
        }
        let back = released(reservation);
        rows.push(("  given back", if back == 0 { String::new() } else { back.to_string() }));
        let hosts = reservation.bindings.iter().map(|binding| {
            let phase = spelled(binding.phase);
            format!("{} on host {} ({})", binding.slots, binding.host, phase.as_str().unwrap_or_default())
        });
        rows.push(("  hosts", hosts.collect::<Vec<_>>().join(", ")));
        rows.push(("  at the end", spelled(reservation.on_end).as_str().unwrap_or_default().to_owned()));
    }
    fields(rows)
}

/// A host for programs.
pub(super) fn host_json(host: &Host) -> Value {
    let (about, seen) = (&host.description, &host.observation);
    json!({
        "id": host.id.0, "hypervisor_hostname": about.hypervisor_hostname, "service_name": about.service_name,
        "root_provider": about.root_provider.to_string(), "hypervisor_type": about.hypervisor_type,
        "vcpus": about.vcpus, "memory_mb": about.memory_mb, "local_gb": about.local_gb, "zone": about.zone,
        "pool": pool(about.pool), "capacity": spelled(seen.capacity), "firm": spelled(seen.firm), "traits": seen.traits,
        "up": seen.up, "properties": host.properties, "reservable": host.reservable, "overcommitted": host.overcommitted,
        "downtime_count": host.downtimes.len(),
        "upgrade": host.upgrade.map(|one| json!({
            "start": rfc3339(one.start), "vcpus": one.vcpus, "memory_mb": one.memory_mb, "disk_gb": one.disk_gb,
        })),
        "created_at": rfc3339_ms(host.created_at), "updated_at": host.updated_at.and_then(rfc3339_ms),
    })
}

fn condition(host: &Host) -> String {
    let mut words = Vec::new();
    if !host.observation.up {
        words.push("down");
    }
    if !host.reservable {
        words.push("not reservable");
    }
    if host.overcommitted {
        words.push("overcommitted");
    }
    if words.is_empty() { "ok".to_owned() } else { words.join(", ") }
}

/// What a host is to have, and from when on.
fn upgrade_of(host: &Host) -> String {
    let Some(upgrade) = host.upgrade else { return String::new() };
    let named = [(upgrade.vcpus, "vCPU"), (upgrade.memory_mb, "MiB"), (upgrade.disk_gb, "GiB")];
    let amounts: Vec<String> =
        named.into_iter().filter_map(|(amount, unit)| amount.map(|amount| format!("{amount} {unit}"))).collect();
    format!("{} from {} (UTC) on", amounts.join(", "), utc(upgrade.start))
}

fn counted_downtimes(host: &Host) -> String {
    let number = u32::try_from(host.downtimes.len()).unwrap_or(u32::MAX);
    format!("{}; see: leasehold host downtime list {}", counted(number, "downtime"), host.id)
}

/// Hosts in a table.
pub(super) fn host_table(hosts: &[Host]) -> String {
    let rows = hosts.iter().map(|host| {
        let room = host.room();
        vec![
            host.id.to_string(),
            host.description.hypervisor_hostname.clone(),
            pool(host.description.pool).to_owned(),
            room.vcpus.to_string(),
            room.memory_mb.to_string(),
            room.disk_gb.to_string(),
            condition(host),
            upgrade_of(host),
        ]
    });
    let head = ["id", "name", "pool", "vCPUs for leases", "MiB", "GiB", "condition", "upgrade"];
    // A column that has nothing to tell is left out.
    let head = if hosts.iter().any(|host| host.upgrade.is_some()) { &head[..] } else { &head[..head.len() - 1] };
    let rows = rows.map(|row: Vec<String>| row.into_iter().take(head.len()).collect());
    table(head, rows.collect(), "No hosts. Add one: leasehold host add NAME")
}

/// One host, whole.
pub(super) fn host_details(host: &Host) -> String {
    let (about, seen, room) = (&host.description, &host.observation, host.room());
    let properties = host.properties.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    fields(vec![
        ("id", host.id.to_string()),
        ("name", about.hypervisor_hostname.clone()),
        ("pool", pool(about.pool).to_owned()),
        ("zone", about.zone.clone().unwrap_or_default()),
        ("physical", format!("{} vCPU, {} MiB, {} GiB", about.vcpus, about.memory_mb, about.local_gb)),
        ("for leases", format!("{} vCPU, {} MiB, {} GiB, {} servers", room.vcpus, room.memory_mb, room.disk_gb, room.slots)),
        ("properties", properties.join(", ")),
        ("traits", seen.traits.iter().cloned().collect::<Vec<_>>().join(", ")),
        ("condition", condition(host)),
        ("upgrade", upgrade_of(host)),
        ("downtimes", if host.downtimes.is_empty() { String::new() } else { counted_downtimes(host) }),
    ])
}

/// Allocations for programs.
pub(super) fn allocations_json(allocations: &[HostAllocation]) -> Value {
    let one = |allocation: &HostAllocation| {
        let reservations = allocation.reservations.iter().map(|reserved| {
            json!({
                "reservation_id": reserved.reservation_id.to_string(), "lease_id": reserved.lease_id.to_string(),
                "start": rfc3339(reserved.start), "end": rfc3339(reserved.end),
            })
        });
        json!({ "host_id": allocation.host_id.0, "reservations": reservations.collect::<Vec<_>>() })
    };
    Value::Array(allocations.iter().map(one).collect())
}

/// Allocations in a table.
pub(super) fn allocations_table(allocations: &[HostAllocation]) -> String {
    let rows = allocations.iter().flat_map(|allocation| {
        allocation.reservations.iter().map(|reserved| {
            vec![
                allocation.host_id.to_string(),
                reserved.lease_id.to_string(),
                reserved.reservation_id.to_string(),
                utc(reserved.start),
                utc(reserved.end),
            ]
        })
    });
    table(&["host", "lease", "reservation", "start (UTC)", "end (UTC)"], rows.collect(), "Nothing is reserved on any host.")
}
