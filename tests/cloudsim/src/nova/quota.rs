//! Quotas and limits, counted the way Nova's default counts: every server that exists, shelved ones too.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::admin;
use super::{Flavor, Server};
use crate::reply::{Api, Reply, nova as error, nova_empty, ok};
use crate::world::{Call, World};

/// `/os-quota-sets…` and `/limits`
pub(crate) fn handle(world: &mut World, call: &Call) -> Api {
    match (call.method, call.path.as_slice()) {
        ("GET", ["limits"]) => {
            let project = call.query.get("tenant_id").filter(|_| call.who.is_admin()).unwrap_or(&call.who.project_id);
            let (limits, used) = (limits(world, project), usage(world, project));
            ok(json!({"limits": {"rate": [], "absolute": {
                "maxTotalCores": limits["cores"], "maxTotalInstances": limits["instances"],
                "maxTotalRAMSize": limits["ram"], "maxTotalKeypairs": 100, "maxServerMeta": 128, "maxServerGroups": limits["server_groups"],
                "maxServerGroupMembers": -1, "totalRAMUsed": used.ram, "totalCoresUsed": used.cores,
                "totalInstancesUsed": used.instances,
                "totalServerGroupsUsed": used.server_groups,
            }}}))
        }
        ("GET", ["os-quota-sets", project]) | ("GET", ["os-quota-sets", project, "defaults"]) => {
            let mut body = view(world, project);
            body["id"] = json!(project);
            ok(json!({"quota_set": body}))
        }
        ("PUT", ["os-quota-sets", project]) => {
            admin(call, "os_compute_api:os-quota-sets:update")?;
            let given = call.body["quota_set"].as_object().cloned().unwrap_or_default();
            let force = given.get("force").is_some_and(|force| *force == json!(true) || *force == json!("true"));
            let used = usage(world, project);
            let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
            for name in ["instances", "cores", "ram", "server_groups"] {
                let Some(value) = given.get(name) else { continue };
                let limit = value.as_i64().ok_or_else(|| error(400, format!("Invalid input for field/attribute {name}.")))?;
                let now = used.of(name);
                if !force && limit >= 0 && limit < now {
                    let text = format!(
                        "Quota limit {limit} for {name} must be greater than or equal to already used and reserved {now}."
                    );
                    return Err(error(400, text));
                }
                wanted.insert(name.to_owned(), limit);
            }
            world.nova.quotas.entry((*project).to_owned()).or_default().extend(wanted);
            ok(json!({"quota_set": view(world, project)}))
        }
        ("DELETE", ["os-quota-sets", project]) => {
            admin(call, "os_compute_api:os-quota-sets:delete")?;
            world.nova.quotas.remove(*project);
            nova_empty(202)
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

/// What a project uses.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    instances: i64,
    cores: i64,
    ram: i64,
    server_groups: i64,
}

impl Usage {
    fn of(self, name: &str) -> i64 {
        match name {
            "instances" => self.instances,
            "cores" => self.cores,
            "server_groups" => self.server_groups,
            _ => self.ram,
        }
    }
}

fn usage(world: &World, project: &str) -> Usage {
    let groups = world.nova.groups.values().filter(|group| group.project_id == project).count();
    let mut used = Usage { server_groups: groups as i64, ..Usage::default() };
    for server in world.nova.servers.values().filter(|server| server.project_id == project) {
        used.instances += 1;
        if !world.config.count_usage_from_placement {
            used.cores += server.flavor.vcpus as i64;
            used.ram += server.flavor.ram as i64;
        }
    }
    if world.config.count_usage_from_placement {
        for consumer in world.placement.consumers.values().filter(|consumer| consumer.project_id == project) {
            for (class, amount) in consumer.allocations.values().flatten() {
                match class.as_str() {
                    "VCPU" | "PCPU" => used.cores += *amount as i64,
                    "MEMORY_MB" => used.ram += *amount as i64,
                    _ => {}
                }
            }
        }
    }
    used
}

fn limits(world: &World, project: &str) -> BTreeMap<&'static str, i64> {
    let own = world.nova.quotas.get(project);
    let config = &world.config;
    let defaults = [
        ("instances", config.quota_instances),
        ("cores", config.quota_cores),
        ("ram", config.quota_ram),
        ("server_groups", config.quota_server_groups),
    ];
    let limit = |name, default| own.and_then(|own| own.get(name)).copied().unwrap_or(default);
    defaults.into_iter().map(|(name, default)| (name, limit(name, default))).collect()
}

/// 403 when one more server of this flavor goes over the project's quota.
pub(crate) fn check_boot(world: &World, project: &str, flavor: &Flavor) -> Result<(), Reply> {
    let (limits, used) = (limits(world, project), usage(world, project));
    for (name, amount) in [("instances", 1), ("cores", flavor.vcpus as i64), ("ram", flavor.ram as i64)] {
        let (limit, now) = (limits[name], used.of(name));
        if limit >= 0 && amount > 0 && now + amount > limit {
            let text = format!("Quota exceeded for {name}: Requested {amount}, but already used {now} of {limit} {name}");
            return Err(error(403, text));
        }
    }
    Ok(())
}

/// 403 when one more server group goes over the project's quota.
pub(crate) fn check_group(world: &World, project: &str) -> Result<(), Reply> {
    let limit = limits(world, project)["server_groups"];
    if limit >= 0 && usage(world, project).server_groups >= limit {
        return Err(error(403, "Quota exceeded, too many server groups."));
    }
    Ok(())
}

/// 403 when waking a server goes over the quota of its project. Nova adds it to what the *caller's* project uses (seen on
/// the lab).
pub(crate) fn check_wake(world: &World, caller: &str, server: &Server) -> Result<(), Reply> {
    let (limits, used) = (limits(world, &server.project_id), usage(world, caller));
    let wanted = [("cores", server.flavor.vcpus as i64), ("ram", server.flavor.ram as i64)];
    let is_over = |(name, amount): &(&'static str, i64)| limits[name] >= 0 && used.of(name) + amount > limits[name];
    let over: Vec<String> = wanted.iter().filter(|one| is_over(one)).map(|(name, _)| format!("'{name}'")).collect();
    if over.is_empty() { Ok(()) } else { Err(error(403, format!("Quota exceeded for resources: [{}]", over.join(", ")))) }
}

fn view(world: &World, project: &str) -> Value {
    let limits = limits(world, project);
    json!({
        "cores": limits["cores"], "instances": limits["instances"], "ram": limits["ram"], "key_pairs": 100,
        "metadata_items": 128, "server_group_members": -1, "server_groups": limits["server_groups"],
    })
}
