//! Servers over HTTP, but for their actions: create, list, show, delete, tags, metadata, instance actions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::api::{admin, links};
use super::work::{Step, Work, begin, facts_of};
use super::{Group, Server, flavors, quota, view};
use crate::keystone::Who;
use crate::reply::{Api, Reply, nova as error, nova_empty, ok};
use crate::time;
use crate::world::{Call, World};

/// `/servers…` without `/servers/{id}/action`.
pub(crate) fn handle(world: &mut World, call: &Call) -> Api {
    match (call.method, call.path.as_slice()) {
        ("GET", ["servers"]) => list(world, call, false),
        ("GET", ["servers", "detail"]) => list(world, call, true),
        ("POST", ["servers"]) => create(world, call),
        ("GET", ["servers", id]) => {
            let server = found(world, &call.who, id)?;
            Ok(Reply::rendered(200, &view::One { server: view::server(world, call, server, true) }))
        }
        ("PUT", ["servers", id]) => {
            found(world, &call.who, id)?;
            let given = &call.body["server"];
            let now = world.now;
            if let Some(server) = world.nova.servers.get_mut(*id) {
                if let Some(name) = given["name"].as_str() {
                    server.name = name.to_owned();
                }
                if let Some(description) = given.get("description") {
                    server.description = description.as_str().map(str::to_owned);
                }
                server.updated_ms = now;
            }
            let server = found(world, &call.who, id)?;
            Ok(Reply::rendered(200, &view::One { server: view::server(world, call, server, true) }))
        }
        ("DELETE", ["servers", id]) => delete(world, call, id),
        (_, ["servers", id, "tags", ..]) => tags(world, call, id),
        (_, ["servers", id, "metadata", ..]) => metadata(world, call, id),
        ("GET", ["servers", id, "os-instance-actions"]) => actions(world, call, id, None),
        ("GET", ["servers", id, "os-instance-actions", request]) => actions(world, call, id, Some(request)),
        ("GET", ["servers", id, "os-interface"]) => {
            found(world, &call.who, id)?;
            ok(json!({"interfaceAttachments": []}))
        }
        ("GET", ["servers", id, "os-volume_attachments"]) => {
            found(world, &call.who, id)?;
            ok(json!({"volumeAttachments": []}))
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

/// The server if it exists and the caller may see it; another project's is as if it were not there.
pub(crate) fn found<'a>(world: &'a World, who: &Who, id: &str) -> Result<&'a Server, Reply> {
    world
        .nova
        .servers
        .get(id)
        .filter(|server| who.is_admin() || server.project_id == who.project_id)
        .ok_or_else(|| error(404, format!("Instance {id} could not be found.")))
}

fn create(world: &mut World, call: &Call) -> Api {
    let given = &call.body["server"];
    let bad = |text: String| error(400, text);
    let name = given["name"]
        .as_str()
        .filter(|name| !name.trim().is_empty() && name.len() <= 255)
        .ok_or_else(|| bad("Invalid input for field/attribute name. 'name' is a required property".to_owned()))?
        .to_owned();
    if call.at_least(2, 37) && given.get("networks").is_none() {
        return Err(bad(format!("Invalid input for field/attribute server. Value: {given}. 'networks' is a required property")));
    }
    let flavor_ref = given["flavorRef"]
        .as_str()
        .map(str::to_owned)
        .or_else(|| given["flavorRef"].as_u64().map(|id| id.to_string()))
        .ok_or_else(|| bad("Invalid input for field/attribute server. 'flavorRef' is a required property".to_owned()))?;
    let flavor_ref = flavor_ref.rsplit('/').next().unwrap_or_default().to_owned();
    let flavor = flavors::visible(world, &call.who, &flavor_ref)
        .ok_or_else(|| bad(format!("Flavor {flavor_ref} could not be found.")))?
        .clone();
    let image = given["imageRef"].as_str().filter(|image| !image.is_empty()).map(str::to_owned);
    if let Some(id) = &image {
        crate::glance::usable(world, &call.who, id, &flavor)?;
    }
    let (zone, forced_host) = zone_and_host(world, call, given)?;
    let hints = ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"]
        .iter()
        .find_map(|key| call.body.get(*key))
        .cloned()
        .unwrap_or_else(|| json!({}));
    let group = hints["group"].as_str().map(str::to_owned);
    // Nova finds a group by its project, whoever it was made for.
    let mine = |group: &Group| call.who.is_admin() || group.project_id == call.who.project_id;
    if let Some(group) = &group
        && !world.nova.groups.get(group).is_some_and(mine)
    {
        return Err(bad(format!("Instance group {group} could not be found.")));
    }
    quota::check_boot(world, &call.who.project_id, &flavor)?;
    let id = world.rng.uuid();
    let texts = |value: &Value| -> BTreeMap<String, String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    };
    let server = Server {
        id: id.clone(),
        row: world.nova.next_row(),
        name,
        project_id: call.who.project_id.clone(),
        user_id: call.who.user_id.clone(),
        flavor,
        image,
        vm_state: "building",
        task_state: Some("scheduling"),
        power_state: 0,
        host: None,
        created_ms: world.now,
        updated_ms: world.now,
        launched_ms: None,
        metadata: texts(&given["metadata"]),
        tags: given["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
        locked: false,
        locked_reason: None,
        locked_by_admin: false,
        fault: None,
        group: group.clone(),
        zone,
        forced_host,
        hints,
        description: given["description"].as_str().map(str::to_owned),
        reservation_id: format!("r-{}", &world.rng.hex_id()[..8]),
        shelved_image: None,
        epoch: 0,
        attempts: 0,
        tried: BTreeSet::new(),
    };
    if let Some(group) = group.and_then(|id| world.nova.groups.get_mut(&id)) {
        group.members.push(id.clone());
    }
    let facts = facts_of(&server, "create");
    world.change("server.building", &id, None, format!("server {} is accepted", server.name), facts);
    world.nova.servers.insert(id.clone(), server);
    let (epoch, action) = begin(world, &id, "create");
    let doomed = world.doomed;
    let delay = world.config.timings.schedule_ms;
    world.after(delay, Work::Server { id: id.clone(), epoch, action, step: Step::Build { doomed } });
    let admin_pass = world.rng.hex_id()[..12].to_owned();
    let body = json!({"server": {
        "id": id, "links": links(world, "servers", &id), "OS-DCF:diskConfig": "MANUAL",
        "security_groups": [{"name": "default"}], "adminPass": admin_pass,
    }});
    let location = format!("{}/compute/v2.1/servers/{id}", world.base_url());
    Ok(Reply::new(202, body).with("location", location))
}

/// `availability_zone` is a zone, or `zone:host` for admins, which forces the host.
fn zone_and_host(world: &World, call: &Call, given: &Value) -> Result<(Option<String>, Option<String>), Reply> {
    let host = given["host"].as_str().filter(|_| call.at_least(2, 74));
    if host.is_some() {
        admin(call, "compute:servers:create:requested_destination")?;
    }
    let Some(asked) = given["availability_zone"].as_str() else { return Ok((None, host.map(str::to_owned))) };
    let (zone, forced) = match asked.split_once(':') {
        Some((zone, host)) => {
            admin(call, "os_compute_api:servers:create:forced_host")?;
            (zone, Some(host))
        }
        None => (asked, host),
    };
    if !world.nova.hosts.keys().any(|host| world.nova.zone_of(host) == zone) {
        return Err(error(400, "The requested availability zone is not available"));
    }
    if let Some(host) = forced.filter(|host| !world.nova.hosts.contains_key(*host)) {
        return Err(error(400, format!("Compute host {host} could not be found.")));
    }
    Ok((Some(zone.to_owned()), forced.map(str::to_owned)))
}

fn delete(world: &mut World, call: &Call, id: &str) -> Api {
    let server = found(world, &call.who, id)?;
    refuse_locked(server, &call.who)?;
    if server.task_state == Some("deleting") {
        return nova_empty(204);
    }
    start_delete(world, id);
    nova_empty(204)
}

/// Accepts a deletion, whatever the server does.
pub(crate) fn start_delete(world: &mut World, id: &str) {
    // Nova confirms a resize that waits for it, or the source would keep the room.
    if world.nova.servers.get(id).is_some_and(|server| server.vm_state == "resized") {
        super::actions::confirm(world, id);
    }
    let (epoch, action) = begin(world, id, "delete");
    let Some(server) = world.nova.servers.get_mut(id) else { return };
    server.task_state = Some("deleting");
    server.updated_ms = world.now;
    let (facts, host) = (facts_of(server, "delete"), server.host.clone());
    world.change("server.deleting", id, host.as_deref(), "deletion is accepted".to_owned(), facts);
    let delay = world.config.timings.delete_ms;
    world.after(delay, Work::Server { id: id.to_owned(), epoch, action, step: Step::Delete });
}

/// 409 while a server is locked, for those who may not pass the lock.
pub(crate) fn refuse_locked(server: &Server, who: &Who) -> Result<(), Reply> {
    if server.locked && !who.is_admin() {
        return Err(error(409, format!("Instance {} is locked", server.id)));
    }
    Ok(())
}

fn list(world: &World, call: &Call, detail: bool) -> Api {
    let query = &call.query;
    let all = query.truth("all_tenants");
    if all {
        admin(call, "os_compute_api:servers:detail:get_all_tenants")?;
    }
    // An unknown flavor matches nothing, even if servers were made with it before it was deleted.
    if query.get("flavor").is_some_and(|id| !world.nova.flavors.contains_key(id)) {
        return ok(json!({"servers": []}));
    }
    let project = query.get("project_id").or_else(|| query.get("tenant_id")).filter(|_| all);
    let words =
        |name: &str| -> Option<Vec<String>> { query.get(name).map(|value| value.split(',').map(str::to_owned).collect()) };
    let (tags_all, tags_any, tags_not) = (words("tags"), words("tags-any"), words("not-tags"));
    // Looked up once: there are many servers.
    let [name, status, flavor, image, uuid, vm_state, user_id, host] =
        ["name", "status", "flavor", "image", "uuid", "vm_state", "user_id", "host"].map(|asked| query.get(asked));
    let mut servers: Vec<&Server> = world
        .nova
        .servers
        .values()
        .filter(|server| all || server.project_id == call.who.project_id)
        .filter(|server| project.is_none_or(|id| server.project_id == id))
        .filter(|server| name.is_none_or(|name| server.name.contains(&plain_pattern(name))))
        .filter(|server| status.is_none_or(|status| server.status().eq_ignore_ascii_case(status)))
        .filter(|server| flavor.is_none_or(|id| server.flavor.id == id))
        .filter(|server| image.is_none_or(|id| server.image.as_deref() == Some(id)))
        .filter(|server| uuid.is_none_or(|id| server.id == id))
        .filter(|server| vm_state.is_none_or(|state| server.vm_state == state))
        .filter(|server| user_id.is_none_or(|id| server.user_id == id))
        .filter(|server| !call.who.is_admin() || host.is_none_or(|host| server.host.as_deref() == Some(host)))
        .filter(|server| tags_all.as_ref().is_none_or(|tags| tags.iter().all(|tag| server.tags.contains(tag))))
        .filter(|server| tags_any.as_ref().is_none_or(|tags| tags.iter().any(|tag| server.tags.contains(tag))))
        .filter(|server| tags_not.as_ref().is_none_or(|tags| !tags.iter().all(|tag| server.tags.contains(tag))))
        .collect();
    servers.sort_by_key(|server| std::cmp::Reverse(server.row));
    if let Some(marker) = query.get("marker") {
        let at = servers
            .iter()
            .position(|server| server.id == marker)
            .ok_or_else(|| error(400, format!("marker [{marker}] not found")))?;
        servers.drain(..=at);
    }
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(1000usize).min(1000);
    let more = servers.len() > limit;
    servers.truncate(limit);
    let next = servers.last().filter(|_| more && limit > 0).map(|last| {
        let path = if detail { "servers/detail" } else { "servers" };
        let rest: Vec<&str> =
            call.request.query.split('&').filter(|part| !part.is_empty() && !part.starts_with("marker=")).collect();
        let rest = rest.iter().map(|part| format!("{part}&")).collect::<String>();
        let href = format!("{}/compute/v2.1/{path}?{rest}marker={}", world.base_url(), last.id);
        [view::Link { href, rel: "next" }]
    });
    let servers = servers.into_iter();
    Ok(if detail {
        let servers = servers.map(|server| view::server(world, call, server, false)).collect();
        Reply::rendered(200, &view::List::<view::Shown> { servers, servers_links: next })
    } else {
        let servers = servers.map(|server| view::brief(world, server)).collect();
        Reply::rendered(200, &view::List::<view::Brief> { servers, servers_links: next })
    })
}

/// Nova takes `name` as a regular expression; anchors are the part of it that clients use.
fn plain_pattern(name: &str) -> String {
    name.trim_start_matches('^').trim_end_matches('$').replace("\\-", "-").replace("\\.", ".")
}

fn tags(world: &mut World, call: &Call, id: &str) -> Api {
    found(world, &call.who, id)?;
    let tag = call.path.get(3).map(|tag| crate::query::decode(tag));
    let base = world.base_url().to_owned();
    let Some(server) = world.nova.servers.get_mut(id) else { return Err(error(404, "The resource could not be found.")) };
    let reply = match (call.method, tag) {
        ("GET", None) => return ok(json!({"tags": server.tags})),
        ("GET", Some(tag)) if server.tags.contains(&tag) => return nova_empty(204),
        ("PUT", None) => {
            let wanted: BTreeSet<String> =
                call.body["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
            if wanted.len() > 50 {
                return Err(error(400, "The number of tags exceeded the per-server limit 50"));
            }
            server.tags = wanted;
            ok(json!({"tags": server.tags}))
        }
        ("PUT", Some(tag)) => {
            let made = server.tags.insert(tag.clone());
            let location = format!("{base}/compute/v2.1/servers/{id}/tags/{tag}");
            let reply = Reply::empty(if made { 201 } else { 204 }).with("content-type", "text/html; charset=UTF-8");
            Ok(if made { reply.with("location", location) } else { reply })
        }
        ("DELETE", None) => {
            server.tags.clear();
            nova_empty(204)
        }
        ("DELETE", Some(tag)) if server.tags.remove(&tag) => nova_empty(204),
        (_, Some(tag)) => return Err(error(404, format!("Instance {id} has no tag '{tag}'"))),
        _ => return Err(error(405, "The method is not allowed for this resource.")),
    };
    let facts = json!({"tags": server.tags});
    world.change("server.tags_set", id, None, format!("tags {}", facts["tags"]), facts);
    reply
}

fn metadata(world: &mut World, call: &Call, id: &str) -> Api {
    found(world, &call.who, id)?;
    let Some(server) = world.nova.servers.get_mut(id) else { return Err(error(404, "The resource could not be found.")) };
    let given: BTreeMap<String, String> = ["metadata", "meta"]
        .iter()
        .filter_map(|key| call.body.get(*key)?.as_object())
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    match (call.method, call.path.get(3)) {
        ("GET", None) => {}
        ("POST", None) | ("PUT", Some(_)) => server.metadata.extend(given),
        ("PUT", None) => server.metadata = given,
        ("DELETE", Some(key)) => {
            server.metadata.remove(*key).ok_or_else(|| error(404, "Metadata item was not found"))?;
            return nova_empty(204);
        }
        _ => return Err(error(405, "The method is not allowed for this resource.")),
    }
    ok(json!({"metadata": server.metadata}))
}

fn actions(world: &World, call: &Call, id: &str, request: Option<&str>) -> Api {
    // From 2.21 on, those of a server that is gone can be read too.
    let project = world
        .nova
        .servers
        .get(id)
        .map(|server| &server.project_id)
        .or_else(|| world.nova.gone.get(id).filter(|_| call.at_least(2, 21)));
    if !project.is_some_and(|project| call.who.is_admin() || *project == call.who.project_id) {
        return Err(error(404, format!("Instance {id} could not be found.")));
    }
    let known = world.nova.actions.get(id).map(Vec::as_slice).unwrap_or_default();
    let head = |action: &super::InstanceAction| {
        json!({
            "action": action.action, "instance_uuid": id, "request_id": action.request_id,
            "user_id": action.user_id, "project_id": action.project_id, "start_time": time::column(action.start_ms),
            "message": action.message, "updated_at": time::column(action.updated_ms),
        })
    };
    let Some(request) = request else {
        let all: Vec<Value> = known.iter().rev().map(head).collect();
        return ok(json!({"instanceActions": all}));
    };
    let action = known
        .iter()
        .find(|action| action.request_id == request)
        .ok_or_else(|| error(404, format!("Action {request} not found")))?;
    let mut body = head(action);
    let events: Vec<Value> = action
        .events
        .iter()
        .rev()
        .map(|event| {
            json!({
                "event": event.event, "start_time": time::column(event.start_ms),
                "finish_time": time::column(event.finish_ms), "result": if event.success { "Success" } else { "Error" },
                "traceback": (!event.success && call.who.is_admin()).then_some("Traceback (most recent call last):\n ..."),
                "host": event.host, "hostId": crate::rng::digest(&event.host, 56), "details": event.details,
            })
        })
        .collect();
    body["events"] = json!(events);
    ok(json!({"instanceAction": body}))
}
