//! Flavors, their extra specs, and who may use the private ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::Flavor;
use super::api::{admin, links};
use crate::keystone::Who;
use crate::reply::{Api, Reply, nova as error, nova_empty, ok};
use crate::world::{Call, Version, World};

/// All flavors, and all of them as they were last listed: there may be hundreds, and they are asked for more often than they
/// change.
#[derive(Debug, Default)]
pub(crate) struct Flavors {
    by_id: BTreeMap<String, Flavor>,
    listed: Option<(Version, Bytes)>,
}

impl Deref for Flavors {
    type Target = BTreeMap<String, Flavor>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl Flavors {
    /// To change one.
    fn change(&mut self) -> &mut BTreeMap<String, Flavor> {
        self.listed = None;
        &mut self.by_id
    }
}

/// `/flavors…`
pub(crate) fn handle(world: &mut World, call: &Call) -> Api {
    match (call.method, call.path.as_slice()) {
        ("GET", ["flavors"]) => list(world, call, false),
        ("GET", ["flavors", "detail"]) => list(world, call, true),
        ("POST", ["flavors"]) => create(world, call),
        ("GET", ["flavors", id]) => {
            let flavor = visible(world, &call.who, id).ok_or_else(|| missing(id))?;
            ok(json!({"flavor": view(world, call, flavor)}))
        }
        ("PUT", ["flavors", id]) => {
            admin(call, "os_compute_api:os-flavor-manage:update")?;
            let description = call.body["flavor"]["description"].as_str().map(str::to_owned);
            let flavor = world.nova.flavors.change().get_mut(*id).ok_or_else(|| missing(id))?;
            flavor.description = description;
            let flavor = flavor.clone();
            ok(json!({"flavor": view(world, call, &flavor)}))
        }
        ("DELETE", ["flavors", id]) => {
            admin(call, "os_compute_api:os-flavor-manage:delete")?;
            let flavor = world.nova.flavors.change().remove(*id).ok_or_else(|| missing(id))?;
            world.change("flavor.deleted", id, None, format!("flavor {} is gone", flavor.name), json!({"name": flavor.name}));
            nova_empty(202)
        }
        ("POST", ["flavors", id, "action"]) => access_action(world, call, id),
        ("GET", ["flavors", id, "os-flavor-access"]) => {
            admin(call, "os_compute_api:os-flavor-access")?;
            let flavor = world.nova.flavors.get(*id).ok_or_else(|| missing(id))?;
            if flavor.public {
                return Err(error(404, "Access list not available for public flavors."));
            }
            ok(access_list(flavor))
        }
        (_, ["flavors", id, "os-extra_specs", ..]) => extra_specs(world, call, id),
        _ => Err(error(404, "The resource could not be found.")),
    }
}

/// The flavor if it exists and `who` may use it.
pub(crate) fn visible<'a>(world: &'a World, who: &Who, id: &str) -> Option<&'a Flavor> {
    world.nova.flavors.get(id).filter(|flavor| flavor.public || who.is_admin() || flavor.access.contains(&who.project_id))
}

fn missing(id: &str) -> Reply {
    error(404, format!("Flavor {id} could not be found."))
}

fn list(world: &mut World, call: &Call, detail: bool) -> Api {
    let public = match call.query.get("is_public") {
        Some("None" | "none") if call.who.is_admin() => None,
        Some("false" | "False" | "0") if call.who.is_admin() => Some(false),
        _ => Some(true),
    };
    let flavors = world.nova.flavors.values().filter(|flavor| match public {
        None => true,
        Some(true) => flavor.public || flavor.access.contains(&call.who.project_id),
        Some(false) => !flavor.public,
    });
    if detail && public.is_none() {
        return Ok(Reply::written(200, all(world, call)));
    }
    if detail {
        return Ok(Reply::rendered(200, &Detailed { flavors: flavors.map(|flavor| shown(world, call, flavor)).collect() }));
    }
    let flavors: Vec<Value> = flavors
        .map(|flavor| {
            let mut short = json!({"id": flavor.id, "name": flavor.name, "links": links(world, "flavors", &flavor.id)});
            if call.at_least(2, 55) {
                short["description"] = json!(flavor.description);
            }
            short
        })
        .collect();
    ok(json!({"flavors": flavors}))
}

/// The list of all flavors.
fn all(world: &mut World, call: &Call) -> Bytes {
    if let Some((_, list)) = world.nova.flavors.listed.as_ref().filter(|(version, _)| *version == call.version) {
        return list.clone();
    }
    let flavors: Vec<Shown> = world.nova.flavors.values().map(|flavor| shown(world, call, flavor)).collect();
    let room = flavors.len() * 1024;
    let list = crate::reply::bytes_of(&Detailed { flavors }, room);
    world.nova.flavors.listed = Some((call.version, list.clone()));
    list
}

fn create(world: &mut World, call: &Call) -> Api {
    admin(call, "os_compute_api:os-flavor-manage:create")?;
    let given = &call.body["flavor"];
    let number = |name: &str, least: u64| -> Result<u64, Reply> {
        // Nova takes numbers and strings of digits.
        let value = given.get(name).unwrap_or(&Value::Null);
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())).filter(|number| *number >= least).ok_or_else(
            || {
                error(
                    400,
                    format!(
                        "Invalid input for field/attribute {name}. Value: {value}. {value} is less than the minimum of {least}"
                    ),
                )
            },
        )
    };
    let optional = |name: &str| if given.get(name).is_none() { Ok(0) } else { number(name, 0) };
    let name = given["name"]
        .as_str()
        .filter(|name| !name.trim().is_empty() && name.len() <= 255)
        .ok_or_else(|| error(400, "Invalid input for field/attribute name. 'name' is a required property"))?
        .to_owned();
    let id = match given["id"].as_str() {
        None | Some("auto") => world.rng.uuid(),
        Some(id) => id.to_owned(),
    };
    if world.nova.flavors.contains_key(&id) {
        return Err(error(409, format!("Flavor with ID {id} already exists.")));
    }
    if world.nova.flavors.values().any(|flavor| flavor.name == name) {
        return Err(error(409, format!("Flavor with name {name} already exists.")));
    }
    let flavor = Flavor {
        id: id.clone(),
        row: world.nova.next_row(),
        name,
        vcpus: number("vcpus", 1)?,
        ram: number("ram", 1)?,
        disk: number("disk", 0)?,
        ephemeral: optional("OS-FLV-EXT-DATA:ephemeral")?,
        swap: optional("swap")?,
        public: given["os-flavor-access:is_public"].as_bool().unwrap_or(true),
        description: given["description"].as_str().map(str::to_owned),
        extra_specs: BTreeMap::new(),
        access: BTreeSet::new(),
    };
    let body = json!({"flavor": view(world, call, &flavor)});
    let facts =
        json!({"name": flavor.name, "vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk, "public": flavor.public});
    world.change("flavor.created", &id, None, format!("flavor {}", flavor.name), facts);
    world.nova.flavors.change().insert(id, flavor);
    ok(body)
}

fn view(world: &World, call: &Call, flavor: &Flavor) -> Value {
    json!(shown(world, call, flavor))
}

#[derive(Serialize)]
struct Detailed<'a> {
    flavors: Vec<Shown<'a>>,
}

/// A flavor as a microversion shows it.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    ram: u64,
    disk: u64,
    swap: Swap,
    #[serde(rename = "OS-FLV-EXT-DATA:ephemeral")]
    ephemeral: u64,
    #[serde(rename = "OS-FLV-DISABLED:disabled")]
    disabled: bool,
    vcpus: u64,
    #[serde(rename = "os-flavor-access:is_public")]
    public: bool,
    rxtx_factor: f64,
    links: [Link; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_specs: Option<&'a BTreeMap<String, String>>,
}

/// None was an empty text once.
#[derive(Serialize)]
#[serde(untagged)]
enum Swap {
    Text(&'static str),
    Size(u64),
}

#[derive(Serialize)]
struct Link {
    rel: &'static str,
    href: String,
}

fn shown<'a>(world: &World, call: &Call, flavor: &'a Flavor) -> Shown<'a> {
    let (base, id) = (world.base_url(), &flavor.id);
    let link = |rel, version| Link { rel, href: format!("{base}/compute/{version}flavors/{id}") };
    Shown {
        id,
        name: &flavor.name,
        ram: flavor.ram,
        disk: flavor.disk,
        swap: if flavor.swap == 0 && !call.at_least(2, 75) { Swap::Text("") } else { Swap::Size(flavor.swap) },
        ephemeral: flavor.ephemeral,
        disabled: false,
        vcpus: flavor.vcpus,
        public: flavor.public,
        rxtx_factor: 1.0,
        links: [link("self", "v2.1/"), link("bookmark", "")],
        description: call.at_least(2, 55).then_some(flavor.description.as_deref()),
        extra_specs: call.at_least(2, 61).then_some(&flavor.extra_specs),
    }
}

fn access_action(world: &mut World, call: &Call, id: &str) -> Api {
    let (verb, add) = if call.body.get("addTenantAccess").is_some() {
        ("addTenantAccess", true)
    } else if call.body.get("removeTenantAccess").is_some() {
        ("removeTenantAccess", false)
    } else {
        return Err(error(400, "There is no such action"));
    };
    admin(call, &format!("os_compute_api:os-flavor-access:{}", if add { "add_tenant_access" } else { "remove_tenant_access" }))?;
    let tenant = call.body[verb]["tenant"]
        .as_str()
        .ok_or_else(|| error(400, "Invalid input for field/attribute tenant. 'tenant' is a required property"))?
        .to_owned();
    if !world.keystone.projects.contains_key(&tenant) {
        return Err(error(400, format!("Project ID {tenant} is not a valid project.")));
    }
    let flavor = world.nova.flavors.change().get_mut(id).ok_or_else(|| missing(id))?;
    if add {
        if flavor.public {
            return Err(error(409, "Can not add access to a public flavor."));
        }
        if !flavor.access.insert(tenant.clone()) {
            let row = flavor.row;
            let text = format!("Flavor access already exists for flavor {row} and project {tenant} combination.");
            return Err(error(409, text));
        }
    } else if !flavor.access.remove(&tenant) {
        return Err(error(404, format!("Flavor access not found for {} / {tenant} combination.", flavor.row)));
    }
    let body = access_list(flavor);
    let (what, text) = if add { ("flavor.access_added", "may use") } else { ("flavor.access_removed", "may no longer use") };
    let text = format!("project {tenant} {text} flavor {}", flavor.name);
    world.change(what, id, None, text, json!({"project_id": tenant}));
    ok(body)
}

fn access_list(flavor: &Flavor) -> Value {
    let rows: Vec<Value> = flavor.access.iter().map(|tenant| json!({"flavor_id": flavor.id, "tenant_id": tenant})).collect();
    json!({"flavor_access": rows})
}

fn extra_specs(world: &mut World, call: &Call, id: &str) -> Api {
    let key = call.path.get(3).map(|key| crate::query::decode(key));
    if call.method != "GET" {
        admin(call, "os_compute_api:os-flavor-extra-specs:create")?;
    }
    let flavor = visible(world, &call.who, id).ok_or_else(|| missing(id))?.clone();
    let absent = |key: &str| error(404, format!("Flavor {id} has no extra specs with key {key}."));
    match (call.method, key) {
        ("GET", None) => ok(json!({"extra_specs": flavor.extra_specs})),
        ("GET", Some(key)) => {
            let value = flavor.extra_specs.get(&key).ok_or_else(|| absent(&key))?;
            ok(json!({ key: value }))
        }
        ("POST", None) => {
            let given = specs(call, &call.body["extra_specs"])?;
            set_specs(world, id, &given);
            ok(json!({"extra_specs": given}))
        }
        ("PUT", Some(key)) => {
            let given = specs(call, call.body)?;
            if !given.contains_key(&key) {
                return Err(error(400, "Request body and URI mismatch"));
            }
            set_specs(world, id, &given);
            ok(json!(given))
        }
        ("DELETE", Some(key)) => {
            let known = world.nova.flavors.change().get_mut(id).ok_or_else(|| missing(id))?;
            known.extra_specs.remove(&key).ok_or_else(|| absent(&key))?;
            nova_empty(200)
        }
        _ => Err(error(405, "The method is not allowed for this resource.")),
    }
}

fn set_specs(world: &mut World, id: &str, given: &BTreeMap<String, String>) {
    if let Some(flavor) = world.nova.flavors.change().get_mut(id) {
        flavor.extra_specs.extend(given.clone());
        let name = flavor.name.clone();
        world.change("flavor.extra_specs_set", id, None, format!("extra specs of flavor {name}"), json!(given));
    }
}

fn specs(call: &Call, given: &Value) -> Result<BTreeMap<String, String>, Reply> {
    let given = given.as_object().ok_or_else(|| error(400, "Invalid input for field/attribute extra_specs."))?;
    let mut specs = BTreeMap::new();
    for (key, value) in given {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(error(400, format!("Invalid input for field/attribute {key}. Value: {value}."))),
        };
        // Values are checked from 2.86 on.
        if call.at_least(2, 86) {
            if key.starts_with("resources:") && text.parse::<u64>().is_err() {
                return Err(error(400, format!("Validation failed; '{text}' is not a valid integer value.")));
            }
            if key.starts_with("trait:") && !matches!(text.as_str(), "required" | "forbidden") {
                return Err(error(400, format!("Validation failed; '{text}' is not one of 'required', 'forbidden'.")));
            }
        }
        specs.insert(key.clone(), text);
    }
    Ok(specs)
}
