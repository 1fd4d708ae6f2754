//! Server groups. One belongs to the project of the token that made it; Nova finds it for nobody else but administrators.

use serde_json::{Value, json};

use super::Group;
use crate::reply::{Api, nova as error, nova_empty, ok};
use crate::world::{Call, World};

/// `/os-server-groups…`
pub(crate) fn handle(world: &mut World, call: &Call) -> Api {
    let missing = |id: &str| error(404, format!("Instance group {id} could not be found."));
    let mine = |group: &Group| call.who.is_admin() || group.project_id == call.who.project_id;
    match (call.method, call.path.as_slice()) {
        ("GET", ["os-server-groups"]) => {
            let all = call.who.is_admin() && call.query.has("all_projects");
            let groups: Vec<Value> = world
                .nova
                .groups
                .values()
                .filter(|group| all || group.project_id == call.who.project_id)
                .map(|group| view(world, call, group))
                .collect();
            ok(json!({"server_groups": groups}))
        }
        ("POST", ["os-server-groups"]) => {
            let given = &call.body["server_group"];
            let name = given["name"]
                .as_str()
                .filter(|name| !name.trim().is_empty())
                .ok_or_else(|| error(400, "Invalid input for field/attribute name. 'name' is a required property"))?;
            let policy = if call.at_least(2, 64) { given["policy"].as_str() } else { given["policies"][0].as_str() };
            let policy = policy.unwrap_or_default();
            if !matches!(policy, "affinity" | "anti-affinity" | "soft-affinity" | "soft-anti-affinity") {
                let text = format!(
                    "Invalid input for field/attribute policy. Value: {policy}. '{policy}' is not one of \
                     ['anti-affinity', 'affinity', 'soft-anti-affinity', 'soft-affinity']"
                );
                return Err(error(400, text));
            }
            super::quota::check_group(world, &call.who.project_id)?;
            let group = Group {
                id: world.rng.uuid(),
                name: name.to_owned(),
                policy: policy.to_owned(),
                max_per_host: given["rules"]["max_server_per_host"].as_u64(),
                members: Vec::new(),
                project_id: call.who.project_id.clone(),
                user_id: call.who.user_id.clone(),
            };
            let body = json!({"server_group": view(world, call, &group)});
            let facts = json!({"name": group.name, "policy": group.policy});
            world.change("group.created", &group.id.clone(), None, format!("server group {}", group.name), facts);
            world.nova.groups.insert(group.id.clone(), group);
            ok(body)
        }
        ("GET", ["os-server-groups", id]) => {
            let group = world.nova.groups.get(*id).filter(|group| mine(group)).ok_or_else(|| missing(id))?;
            ok(json!({"server_group": view(world, call, group)}))
        }
        ("DELETE", ["os-server-groups", id]) => {
            world.nova.groups.get(*id).filter(|group| mine(group)).ok_or_else(|| missing(id))?;
            world.nova.groups.remove(*id);
            world.change("group.deleted", id, None, "server group is gone".to_owned(), json!({}));
            nova_empty(204)
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

fn view(world: &World, call: &Call, group: &Group) -> Value {
    // Members that are gone are not shown.
    let members: Vec<&String> = group.members.iter().filter(|id| world.nova.servers.contains_key(*id)).collect();
    let mut body = json!({"id": group.id, "name": group.name, "members": members});
    if call.at_least(2, 64) {
        body["policy"] = json!(group.policy);
        body["rules"] = group.max_per_host.map_or_else(|| json!({}), |max| json!({"max_server_per_host": max}));
    } else {
        body["policies"] = json!([group.policy]);
        body["metadata"] = json!({});
    }
    if call.at_least(2, 13) {
        body["project_id"] = json!(group.project_id);
        body["user_id"] = json!(group.user_id);
    }
    body
}
