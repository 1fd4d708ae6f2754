//! `/_sim/…`: what no real cloud has: the record, the faults, the whole state. These calls need no token, take no faults,
//! and do not stand in the record.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::faults::Wish;
use crate::message::{Answer, Request};
use crate::query::Query;
use crate::reply::Reply;
use crate::world::World;

/// Serves one control call.
pub(crate) fn handle(cloud: &mut Cloud, request: &Request) -> Answer {
    let segments: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).skip(1).collect();
    let query = Query::parse(&request.query);
    let reply = match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["record"]) => return record(cloud, &query),
        ("GET", ["state"]) => Reply::new(200, cloud.state()),
        ("GET", [] | ["health"]) => {
            let body = json!({
                "now_ms": cloud.now_ms(), "auth_url": cloud.auth_url(), "records": cloud.record().len(),
                "hosts": cloud.hosts(),
            });
            Reply::new(200, body)
        }
        ("GET", ["faults"]) => {
            let set: Vec<Value> = cloud.faults().list().iter().filter_map(|fault| serde_json::to_value(fault).ok()).collect();
            Reply::new(200, json!({"faults": set}))
        }
        ("POST", ["faults"]) => match serde_json::from_slice(&request.body) {
            Ok(Wish::Fault(fault)) => {
                let id = cloud.add_fault(fault);
                Reply::new(201, json!({"id": id}))
            }
            Ok(Wish::Switch(switch)) => {
                if cloud.switch(switch) {
                    Reply::new(200, json!({}))
                } else {
                    Reply::new(404, json!({"error": "no such host or user"}))
                }
            }
            Err(why) => Reply::new(400, json!({"error": format!("not a fault: {why}")})),
        },
        ("DELETE", ["faults"]) => {
            cloud.clear_faults();
            Reply::empty(204)
        }
        ("DELETE", ["faults", id]) => {
            if id.parse().is_ok_and(|id| cloud.remove_fault(id)) {
                Reply::empty(204)
            } else {
                Reply::new(404, json!({"error": "no such fault"}))
            }
        }
        ("POST", ["endpoints"]) => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            match (body["service_type"].as_str(), body["url"].as_str()) {
                (Some(kind), Some(url)) => {
                    cloud.set_endpoint(kind, body["name"].as_str().unwrap_or(kind), url);
                    Reply::new(200, json!({}))
                }
                _ => Reply::new(400, json!({"error": "service_type and url are needed"})),
            }
        }
        _ => Reply::new(404, json!({"error": "no such control"})),
    };
    reply.finish()
}

fn record(cloud: &Cloud, query: &Query) -> Answer {
    let from = query.get("from").and_then(|from| from.parse::<usize>().ok()).unwrap_or(1).max(1);
    let lines = cloud.record().get(from - 1..).unwrap_or_default();
    let text: String = lines.iter().filter_map(|line| serde_json::to_string(line).ok()).map(|line| line + "\n").collect();
    Answer { status: 200, headers: vec![("content-type", "application/x-ndjson".to_owned())], body: Bytes::from(text) }
}

/// The whole state.
pub(crate) fn state(world: &World) -> Value {
    let servers: BTreeMap<&String, Value> = world
        .nova
        .servers
        .iter()
        .map(|(id, server)| {
            (
                id,
                json!({
                    "name": server.name, "project_id": server.project_id, "user_id": server.user_id,
                    "status": server.status(), "vm_state": server.vm_state, "task_state": server.task_state,
                    "host": server.host, "flavor_id": server.flavor.id, "flavor_name": server.flavor.name,
                    "vcpus": server.flavor.vcpus, "ram": server.flavor.ram, "disk": server.flavor.disk,
                    "extra_specs": server.flavor.extra_specs, "tags": server.tags, "locked": server.locked,
                    "group": server.group, "image": server.image, "shelved_image": server.shelved_image,
                    "fault": server.fault.as_ref().map(|fault| &fault.message),
                }),
            )
        })
        .collect();
    let flavors: BTreeMap<&String, Value> = world
        .nova
        .flavors
        .iter()
        .map(|(id, flavor)| {
            (
                id,
                json!({
                    "name": flavor.name, "vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk,
                    "public": flavor.public, "extra_specs": flavor.extra_specs, "access": flavor.access,
                }),
            )
        })
        .collect();
    let aggregates: BTreeMap<u64, Value> = world
        .nova
        .aggregates
        .iter()
        .map(|(id, one)| (*id, json!({"name": one.name, "uuid": one.uuid, "hosts": one.hosts, "metadata": one.metadata})))
        .collect();
    let groups: BTreeMap<&String, Value> = world
        .nova
        .groups
        .iter()
        .map(|(id, group)| {
            (id, json!({"name": group.name, "policy": group.policy, "members": group.members, "project_id": group.project_id}))
        })
        .collect();
    let hosts: BTreeMap<&String, Value> = world
        .nova
        .hosts
        .iter()
        .map(|(name, host)| {
            (
                name,
                json!({
                    "node_id": host.node_id, "service_id": host.service_id, "zone": world.nova.zone_of(name),
                    "enabled": host.enabled, "forced_down": host.forced_down, "alive": host.alive,
                    "vcpus": host.spec.vcpus, "memory_mb": host.spec.memory_mb, "disk_gb": host.spec.disk_gb,
                }),
            )
        })
        .collect();
    let projects: BTreeMap<&String, &String> = world.keystone.projects.iter().map(|(id, project)| (id, &project.name)).collect();
    json!({
        "now_ms": world.now, "servers": servers, "flavors": flavors, "aggregates": aggregates, "groups": groups,
        "hosts": hosts, "projects": projects, "placement": placement(world), "images": images(world),
    })
}

fn placement(world: &World) -> Value {
    let providers: BTreeMap<&String, Value> = world
        .placement
        .providers
        .iter()
        .map(|(id, provider)| {
            let inventories: BTreeMap<&String, Value> =
                provider.inventories.iter().map(|(class, inventory)| (class, json!(inventory))).collect();
            (
                id,
                json!({
                    "name": provider.name, "parent": provider.parent, "root": provider.root,
                    "generation": provider.generation, "inventories": inventories, "used": provider.used,
                    "traits": provider.traits, "aggregates": provider.aggregates,
                }),
            )
        })
        .collect();
    let consumers: BTreeMap<&String, Value> = world
        .placement
        .consumers
        .iter()
        .map(|(id, consumer)| {
            (
                id,
                json!({
                    "generation": consumer.generation, "consumer_type": consumer.kind, "project_id": consumer.project_id,
                    "user_id": consumer.user_id, "allocations": consumer.allocations,
                }),
            )
        })
        .collect();
    let custom = |names: &std::collections::BTreeSet<String>| -> Vec<String> {
        names.iter().filter(|name| name.starts_with("CUSTOM_")).cloned().collect()
    };
    json!({
        "providers": providers, "allocations": consumers, "classes": custom(&world.placement.classes),
        "traits": custom(&world.placement.traits),
    })
}

fn images(world: &World) -> Value {
    world
        .glance
        .images
        .iter()
        .map(|(id, image)| {
            (
                id.clone(),
                json!({
                    "name": image.name, "status": image.status, "owner": image.owner, "visibility": image.visibility,
                    "members": image.members, "properties": image.properties,
                }),
            )
        })
        .collect::<serde_json::Map<String, Value>>()
        .into()
}
