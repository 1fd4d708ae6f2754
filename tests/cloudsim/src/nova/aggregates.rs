//! Host aggregates, mirrored into Placement as Nova does it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Aggregate;
use super::api::admin;
use crate::reply::{Api, Reply, nova as error, nova_empty, ok};
use crate::time;
use crate::world::{Call, World};

/// `/os-aggregates…`
pub(crate) fn handle(world: &mut World, call: &Call) -> Api {
    admin(call, "os_compute_api:os-aggregates")?;
    match (call.method, call.path.as_slice()) {
        ("GET", ["os-aggregates"]) => {
            let all: Vec<Value> = world.nova.aggregates.values().map(|aggregate| view(call, aggregate, true)).collect();
            ok(json!({"aggregates": all}))
        }
        ("POST", ["os-aggregates"]) => create(world, call),
        ("GET", ["os-aggregates", id]) => {
            let id = number(world, id)?;
            ok(json!({"aggregate": view(call, &world.nova.aggregates[&id], true)}))
        }
        ("PUT", ["os-aggregates", id]) => {
            let id = number(world, id)?;
            let given = call.body["aggregate"].clone();
            if let Some(zone) = given.get("availability_zone") {
                refuse_zone_change(world, id, zone.as_str(), "update")?;
            }
            if let Some(aggregate) = world.nova.aggregates.get_mut(&id) {
                if let Some(name) = given["name"].as_str() {
                    aggregate.name = name.to_owned();
                }
                set_zone(aggregate, &given);
            }
            ok(json!({"aggregate": view(call, &world.nova.aggregates[&id], true)}))
        }
        ("DELETE", ["os-aggregates", id]) => {
            let id = number(world, id)?;
            if !world.nova.aggregates[&id].hosts.is_empty() {
                let text = format!("Cannot remove host from aggregate {id}. Reason: Host aggregate is not empty.");
                return Err(error(400, text));
            }
            if let Some(gone) = world.nova.aggregates.remove(&id) {
                let facts = json!({"name": gone.name});
                world.change("aggregate.deleted", &id.to_string(), None, format!("aggregate {} is gone", gone.name), facts);
            }
            nova_empty(200)
        }
        ("POST", ["os-aggregates", id, "action"]) => {
            let id = number(world, id)?;
            act(world, call, id)
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

fn number(world: &World, id: &str) -> Result<u64, Reply> {
    id.parse()
        .ok()
        .filter(|id| world.nova.aggregates.contains_key(id))
        .ok_or_else(|| error(404, format!("Aggregate {id} could not be found.")))
}

fn create(world: &mut World, call: &Call) -> Api {
    let given = &call.body["aggregate"];
    let name = given["name"]
        .as_str()
        .filter(|name| !name.trim().is_empty() && name.len() <= 255)
        .ok_or_else(|| error(400, "Invalid input for field/attribute name. 'name' is a required property"))?
        .to_owned();
    if world.nova.aggregates.values().any(|aggregate| aggregate.name == name) {
        return Err(error(409, format!("Aggregate {name} already exists.")));
    }
    let id = world.nova.next_row();
    let mut aggregate = Aggregate {
        id,
        uuid: world.rng.uuid(),
        name: name.clone(),
        hosts: Vec::new(),
        metadata: BTreeMap::new(),
        created_ms: world.now,
    };
    set_zone(&mut aggregate, given);
    let body = json!({"aggregate": view(call, &aggregate, false)});
    world.nova.aggregates.insert(id, aggregate);
    world.change("aggregate.created", &id.to_string(), None, format!("aggregate {name}"), json!({"name": name}));
    ok(body)
}

fn set_zone(aggregate: &mut Aggregate, given: &Value) {
    match given.get("availability_zone") {
        Some(Value::String(zone)) => {
            aggregate.metadata.insert("availability_zone".to_owned(), zone.clone());
        }
        Some(Value::Null) => {
            aggregate.metadata.remove("availability_zone");
        }
        _ => {}
    }
}

fn act(world: &mut World, call: &Call, id: u64) -> Api {
    let mut updated = None;
    if let Some(given) = call.body.get("add_host") {
        let host = given["host"].as_str().unwrap_or_default().to_owned();
        if !world.nova.hosts.contains_key(&host) {
            return Err(error(404, format!("Compute host {host} could not be found.")));
        }
        let aggregate = &world.nova.aggregates[&id];
        if aggregate.hosts.contains(&host) {
            return Err(error(409, format!("Aggregate {id} already has host {host}.")));
        }
        if let Some(zone) = aggregate.zone().map(str::to_owned) {
            refuse_host_in_zone(world, id, &host, &zone)?;
        }
        join(world, id, &host);
    } else if let Some(given) = call.body.get("remove_host") {
        let host = given["host"].as_str().unwrap_or_default().to_owned();
        if !world.nova.aggregates[&id].hosts.contains(&host) {
            return Err(error(404, format!("Cannot remove host {host} in aggregate {id}")));
        }
        if world.nova.aggregates[&id].zone().is_some() && has_servers(world, &host) {
            let text =
                format!("Cannot remove host from aggregate {id}. Reason: One or more hosts contain instances in this zone.");
            return Err(error(409, text));
        }
        leave(world, id, &host);
    } else if let Some(given) = call.body.get("set_metadata") {
        let given = given["metadata"].as_object().cloned().unwrap_or_default();
        if let Some(zone) = given.get("availability_zone") {
            refuse_zone_change(world, id, zone.as_str(), "update")?;
        }
        updated = Some(world.now);
        if let Some(aggregate) = world.nova.aggregates.get_mut(&id) {
            for (key, value) in given {
                match value {
                    Value::Null => aggregate.metadata.remove(&key),
                    Value::String(value) => aggregate.metadata.insert(key, value),
                    other => aggregate.metadata.insert(key, other.to_string()),
                };
            }
            let facts = json!(aggregate.metadata);
            let text = format!("metadata of aggregate {}", aggregate.name);
            world.change("aggregate.metadata_set", &id.to_string(), None, text, facts);
        }
    } else {
        return Err(error(400, "There is no such action"));
    }
    let mut body = view(call, &world.nova.aggregates[&id], true);
    // Only the answer to the change itself tells when it was (seen on the lab).
    body["updated_at"] = json!(updated.map(time::micros));
    ok(json!({"aggregate": body}))
}

/// Adds a host and tells Placement.
pub(crate) fn join(world: &mut World, id: u64, host: &str) {
    let Some(aggregate) = world.nova.aggregates.get_mut(&id) else { return };
    aggregate.hosts.push(host.to_owned());
    let (uuid, name) = (aggregate.uuid.clone(), aggregate.name.clone());
    mirror(world, host, &uuid, true);
    let text = format!("host {host} is in aggregate {name}");
    world.change("aggregate.host_added", &id.to_string(), Some(host), text, json!({"name": name}));
}

fn leave(world: &mut World, id: u64, host: &str) {
    let Some(aggregate) = world.nova.aggregates.get_mut(&id) else { return };
    aggregate.hosts.retain(|known| known != host);
    let (uuid, name) = (aggregate.uuid.clone(), aggregate.name.clone());
    mirror(world, host, &uuid, false);
    let text = format!("host {host} is no longer in aggregate {name}");
    world.change("aggregate.host_removed", &id.to_string(), Some(host), text, json!({"name": name}));
}

fn mirror(world: &mut World, host: &str, aggregate: &str, add: bool) {
    let Some(node) = world.nova.hosts.get(host).map(|host| host.node_id.clone()) else { return };
    let now = world.now;
    if let Some(provider) = world.placement.providers.get_mut(&node) {
        if add {
            provider.aggregates.insert(aggregate.to_owned());
        } else {
            provider.aggregates.remove(aggregate);
        }
    }
    world.placement.bump(&node, now);
}

fn has_servers(world: &World, host: &str) -> bool {
    world.nova.servers.values().any(|server| server.host.as_deref() == Some(host))
}

fn refuse_host_in_zone(world: &World, id: u64, host: &str, zone: &str) -> Result<(), Reply> {
    let now = world.nova.zone_of(host);
    let why = if now != "nova" && now != zone {
        format!("Host already in availability zone \"{now}\"")
    } else if now != zone && has_servers(world, host) {
        "One or more hosts contain instances in this zone".to_owned()
    } else {
        return Ok(());
    };
    Err(error(409, format!("Cannot add host to aggregate {id}. Reason: {why}.")))
}

/// A zone cannot change under running servers.
fn refuse_zone_change(world: &World, id: u64, zone: Option<&str>, verb: &str) -> Result<(), Reply> {
    let aggregate = &world.nova.aggregates[&id];
    if aggregate.zone() != zone && aggregate.hosts.iter().any(|host| has_servers(world, host)) {
        let text = format!("Cannot {verb} aggregate {id}. Reason: One or more hosts contain instances in this zone.");
        return Err(error(400, text));
    }
    Ok(())
}

fn view(call: &Call, aggregate: &Aggregate, whole: bool) -> Value {
    let mut body = json!({
        "id": aggregate.id, "name": aggregate.name,
        "created_at": if whole { time::column(aggregate.created_ms) } else { time::micros(aggregate.created_ms) },
        "updated_at": null,
        "deleted_at": null, "deleted": false, "availability_zone": aggregate.zone(),
    });
    if call.at_least(2, 41) {
        body["uuid"] = json!(aggregate.uuid);
    }
    if whole {
        body["hosts"] = json!(aggregate.hosts);
        body["metadata"] = json!(aggregate.metadata);
    }
    body
}
