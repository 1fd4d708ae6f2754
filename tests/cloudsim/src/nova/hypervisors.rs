//! Hypervisors and migrations: read only.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Host;
use super::api::admin;
use crate::reply::{Api, nova as error, ok};
use crate::time;
use crate::world::{Call, World};

/// `/os-hypervisors…`
pub(crate) fn handle(world: &World, call: &Call) -> Api {
    admin(call, "os_compute_api:os-hypervisors:list")?;
    let all = || world.nova.hosts.values();
    match (call.method, call.path.as_slice()) {
        ("GET", ["os-hypervisors"]) => list(world, call, false),
        ("GET", ["os-hypervisors", "detail"]) => list(world, call, true),
        ("GET", ["os-hypervisors", "statistics"]) => {
            let count = all().count();
            let sum = |of: fn(&Host) -> u64| all().map(of).sum::<u64>();
            ok(json!({"hypervisor_statistics": {
                "count": count, "vcpus": sum(|host| host.spec.vcpus), "memory_mb": sum(|host| host.spec.memory_mb),
                "local_gb": sum(|host| host.spec.disk_gb), "running_vms": world.nova.servers.len(),
            }}))
        }
        ("GET", ["os-hypervisors", pattern, "search"]) => {
            let found: Vec<Value> = matching(world, pattern).map(|host| short(call, host)).collect();
            if found.is_empty() {
                return Err(error(404, format!("No hypervisor matching '{pattern}' could be found.")));
            }
            ok(json!({"hypervisors": found}))
        }
        ("GET", ["os-hypervisors", pattern, "servers"]) => {
            let found: Vec<Value> = matching(world, pattern).map(|host| with_servers(world, call, host)).collect();
            if found.is_empty() {
                return Err(error(404, format!("No hypervisor matching '{pattern}' could be found.")));
            }
            ok(json!({"hypervisors": found}))
        }
        ("GET", ["os-hypervisors", id]) | ("GET", ["os-hypervisors", id, "uptime"]) => {
            let host = all()
                .find(|host| if call.at_least(2, 53) { host.node_id == *id } else { host.row.to_string() == *id })
                .ok_or_else(|| error(404, format!("Hypervisor with ID '{id}' could not be found.")))?;
            let mut body = long(call, host, &used_of(world, |on| on == host.spec.name));
            if call.query.truth("with_servers") {
                body["servers"] = with_servers(world, call, host)["servers"].clone();
            }
            ok(json!({"hypervisor": body}))
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

fn list(world: &World, call: &Call, detail: bool) -> Api {
    let pattern = call.query.get("hypervisor_hostname_pattern").filter(|_| call.at_least(2, 53));
    let found: Vec<&Host> = match pattern {
        Some(pattern) => matching(world, pattern).collect(),
        None => world.nova.hosts.values().collect(),
    };
    if let (true, Some(pattern)) = (found.is_empty(), pattern) {
        return Err(error(404, format!("No hypervisor matching '{pattern}' could be found.")));
    }
    // Once for all hosts: each would go through all servers.
    let used = if detail { used_of(world, |_| true) } else { BTreeMap::new() };
    let bodies: Vec<Value> = found
        .into_iter()
        .map(|host| {
            let mut body = if detail { long(call, host, &used) } else { short(call, host) };
            if call.query.truth("with_servers") {
                let servers = with_servers(world, call, host)["servers"].clone();
                // From 2.75 on an empty list is shown.
                if servers.is_array() {
                    body["servers"] = servers;
                } else if call.at_least(2, 75) {
                    body["servers"] = json!([]);
                }
            }
            body
        })
        .collect();
    ok(json!({"hypervisors": bodies}))
}

fn matching<'a>(world: &'a World, pattern: &'a str) -> impl Iterator<Item = &'a Host> {
    world.nova.hosts.values().filter(move |host| host.spec.name.contains(pattern))
}

fn short(call: &Call, host: &Host) -> Value {
    json!({
        "id": if call.at_least(2, 53) { json!(host.node_id) } else { json!(host.row) },
        "hypervisor_hostname": host.spec.name,
        "state": if host.is_up() { "up" } else { "down" },
        "status": if host.enabled { "enabled" } else { "disabled" },
    })
}

fn with_servers(world: &World, call: &Call, host: &Host) -> Value {
    let mut body = short(call, host);
    let servers: Vec<Value> = world
        .nova
        .servers
        .values()
        .filter(|server| server.host.as_deref() == Some(host.spec.name.as_str()))
        .map(|server| json!({"uuid": server.id, "name": format!("instance-{:08x}", server.row)}))
        .collect();
    if !servers.is_empty() {
        body["servers"] = json!(servers);
    }
    body
}

/// What the servers of one host have, by their flavors.
#[derive(Default)]
struct Used {
    vcpus: u64,
    memory_mb: u64,
    disk_gb: u64,
    servers: usize,
}

/// The computes' own count, by host: what the servers' flavors say, not what Placement says. A host without servers is not in it.
fn used_of(world: &World, wanted: impl Fn(&str) -> bool) -> BTreeMap<&str, Used> {
    let mut used: BTreeMap<&str, Used> = BTreeMap::new();
    for server in world.nova.servers.values() {
        let Some(host) = server.host.as_deref().filter(|host| wanted(host)) else { continue };
        let used = used.entry(host).or_default();
        used.vcpus += server.flavor.vcpus;
        used.memory_mb += server.flavor.ram;
        used.disk_gb += server.flavor.disk;
        used.servers += 1;
    }
    used
}

fn long(call: &Call, host: &Host, used: &BTreeMap<&str, Used>) -> Value {
    let mut body = short(call, host);
    let spec = &host.spec;
    body["hypervisor_type"] = json!("fake");
    body["hypervisor_version"] = json!(1000);
    body["host_ip"] = json!("127.0.0.1");
    body["service"] = json!({
        "id": if call.at_least(2, 53) { json!(host.service_id) } else { json!(host.row) },
        "host": spec.name, "disabled_reason": host.disabled_reason,
    });
    if call.at_least(2, 88) {
        body["uptime"] = Value::Null;
        return body;
    }
    let none = Used::default();
    let used = used.get(spec.name.as_str()).unwrap_or(&none);
    let cpu_info = json!({
        "arch": "x86_64", "model": "Nehalem", "vendor": "Intel", "features": ["pge", "clflush"],
        "topology": {"cores": 1, "threads": 1, "sockets": 4},
    });
    for (name, value) in [
        ("vcpus", json!(spec.vcpus)),
        ("memory_mb", json!(spec.memory_mb)),
        ("local_gb", json!(spec.disk_gb)),
        ("vcpus_used", json!(used.vcpus)),
        ("memory_mb_used", json!(used.memory_mb)),
        ("local_gb_used", json!(used.disk_gb)),
        ("free_ram_mb", json!(spec.memory_mb as i64 - used.memory_mb as i64)),
        ("free_disk_gb", json!(spec.disk_gb as i64 - used.disk_gb as i64)),
        ("current_workload", json!(0)),
        ("running_vms", json!(used.servers)),
        ("disk_available_least", json!(0)),
        // A string before 2.28.
        ("cpu_info", if call.at_least(2, 28) { cpu_info } else { json!(cpu_info.to_string()) }),
    ] {
        body[name] = value;
    }
    body
}

/// `GET /os-migrations`
pub(crate) fn migrations(world: &World, call: &Call) -> Api {
    admin(call, "os_compute_api:os-migrations:index")?;
    let found: Vec<Value> = world
        .nova
        .migrations
        .iter()
        .rev()
        .filter(|one| call.query.get("instance_uuid").is_none_or(|id| one.server == id))
        .map(|one| {
            json!({
                "id": one.id, "uuid": one.uuid, "source_compute": one.source, "dest_compute": one.dest,
                "source_node": one.source, "dest_node": one.dest, "dest_host": null, "old_instance_type_id": 1,
                "new_instance_type_id": 1, "instance_uuid": one.server, "status": one.status,
                "migration_type": one.kind, "user_id": one.user_id, "project_id": one.project_id,
                "created_at": time::column(one.created_ms), "updated_at": time::column(one.updated_ms),
            })
        })
        .collect();
    ok(json!({"migrations": found}))
}
