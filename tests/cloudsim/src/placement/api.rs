//! Placement's HTTP interface: versions, providers, traits, classes, aggregates; the rest is next door.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Provider, Resources, Wish, allocation, candidates, inventory};
use crate::message::{API_VERSION, Request};
use crate::query::Query;
use crate::reply::{Api, Reply, ok, placement as error};
use crate::time;
use crate::world::{Call, Version, World};

/// The code of every error that has no code of its own.
pub(crate) const UNDEFINED: &str = "placement.undefined_code";
/// The code of a lost race: read again.
pub(crate) const CONCURRENT: &str = "placement.concurrent_update";

const LATEST: Version = (1, 39);

/// Serves one call; `path` is what follows `/placement`.
pub(crate) fn handle(world: &mut World, request: &Request, path: &str, body: &Value, request_id: &str) -> Reply {
    let asked = request
        .get(&API_VERSION)
        .and_then(|value| value.split(',').find_map(|part| part.trim().strip_prefix("placement ")))
        .unwrap_or("1.0")
        .trim();
    let version = match asked {
        "latest" => Some(LATEST),
        text => text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
            .filter(|version| *version >= (1, 0) && *version <= LATEST),
    };
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut reply = match version {
        None => {
            return Reply::new(
                406,
                json!({"errors": [{
                    "status": 406, "title": "Not Acceptable", "max_version": "1.39", "min_version": "1.0",
                    "detail": format!(
                        "The resource could not be generated that was acceptable to your browser (content of type \
                         application/json. \n\n Invalid microversion: Unacceptable version header: {asked}"
                    ),
                    "request_id": request_id,
                }]}),
            );
        }
        // The version document is for everyone.
        Some(_) if segments.is_empty() => Reply::new(200, versions()),
        Some(version) => match crate::keystone::authenticate(world, request) {
            Err(refused) => return refused,
            Ok(who) if !who.is_admin() && !who.has_role("service") => {
                let text = format!("Policy does not allow {} to be performed.", policy(request.method.as_str(), &segments));
                error(403, text, UNDEFINED).plain()
            }
            Ok(who) => {
                let call = Call {
                    request,
                    method: request.method.as_str(),
                    path: segments,
                    query: Query::parse(&request.query),
                    body,
                    version,
                    who,
                };
                route(world, &call).unwrap_or_else(|reply| reply)
            }
        },
    };
    if let Some(errors) = reply.body.as_mut().and_then(|body| body.get_mut("errors"))
        && errors[0].is_object()
    {
        errors[0]["request_id"] = json!(request_id);
        if version.is_none_or(|version| version < (1, 23))
            && let Some(fields) = errors[0].as_object_mut()
        {
            fields.remove("code");
        }
    }
    let (major, minor) = version.unwrap_or(LATEST);
    let named = format!("placement {major}.{minor}");
    if reply.plain {
        return reply.with("openstack-api-version", named);
    }
    reply.with("openstack-api-version", named).with("vary", "openstack-api-version")
}

/// The name of the policy that a call of a stranger meets.
fn policy(method: &str, path: &[&str]) -> String {
    let object = match path {
        ["resource_providers", _, part, ..] => format!("resource_providers:{part}"),
        [object, ..] => (*object).to_owned(),
        [] => String::new(),
    };
    let verb = match (method, path.len()) {
        ("GET", 1 | 3) => "list",
        ("GET", _) => "show",
        ("POST", _) => "create",
        ("DELETE", _) => "delete",
        _ => "update",
    };
    format!("placement:{object}:{verb}")
}

fn versions() -> Value {
    json!({"versions": [{
        "id": "v1.0", "max_version": "1.39", "min_version": "1.0", "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }]})
}

fn route(world: &mut World, call: &Call) -> Api {
    let body_expected =
        matches!(call.method, "PUT" | "POST") && !matches!(call.path.as_slice(), ["resource_classes", _] | ["traits", _]);
    if body_expected && call.body.is_null() {
        return Err(error(400, "Malformed JSON: Expecting value", UNDEFINED));
    }
    match (call.method, call.path.as_slice()) {
        ("GET", ["resource_providers"]) => list(world, call),
        ("POST", ["resource_providers"]) => create(world, call),
        ("GET", ["resource_providers", uuid]) => {
            let provider = found(world, uuid)?;
            Ok(dated(Reply::rendered(200, &view(provider)), provider.updated_ms))
        }
        ("PUT", ["resource_providers", uuid]) => update(world, call, uuid),
        ("DELETE", ["resource_providers", uuid]) => delete(world, uuid),
        (_, ["resource_providers", uuid, "inventories"]) => inventory::handle(world, call, uuid, None),
        (_, ["resource_providers", uuid, "inventories", class]) => inventory::handle(world, call, uuid, Some(class)),
        ("GET", ["resource_providers", uuid, "usages"]) => {
            let provider = found(world, uuid)?;
            let usages: BTreeMap<&String, u64> =
                provider.inventories.keys().map(|class| (class, provider.used_of(class))).collect();
            let body = json!({"resource_provider_generation": provider.generation, "usages": usages});
            Ok(dated(Reply::new(200, body), world.now))
        }
        ("GET", ["resource_providers", uuid, "allocations"]) => allocation::of_provider(world, uuid),
        (_, ["resource_providers", uuid, "traits"]) => provider_traits(world, call, uuid),
        (_, ["resource_providers", uuid, "aggregates"]) => provider_aggregates(world, call, uuid),
        (_, ["allocations", consumer]) => allocation::of_consumer(world, call, consumer),
        ("POST", ["allocations"]) => allocation::of_many(world, call),
        ("GET", ["usages"]) => allocation::usages(world, call),
        ("GET", ["allocation_candidates"]) => {
            let wish = parse_wish(&call.query)?;
            let limit = call.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
            let body = candidates::list(&world.placement, &wish, limit, call.query.get("in_tree"));
            Ok(dated(Reply::new(200, body), world.now))
        }
        (_, ["resource_classes", ..]) => classes(world, call),
        (_, ["traits", ..]) => traits(world, call),
        _ => Err(error(404, "", UNDEFINED).plain()),
    }
}

/// The provider, or 404.
pub(crate) fn found<'a>(world: &'a World, uuid: &str) -> Result<&'a Provider, Reply> {
    world
        .placement
        .providers
        .get(uuid)
        .ok_or_else(|| error(404, format!("No resource provider with uuid {uuid} found"), UNDEFINED).plain())
}

/// A provider as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    generation: u64,
    links: [Link; 6],
    name: &'a str,
    parent_provider_uuid: Option<&'a str>,
    root_provider_uuid: &'a str,
    uuid: &'a str,
}

#[derive(Serialize)]
struct Link {
    href: String,
    rel: &'static str,
}

#[derive(Serialize)]
struct List<'a> {
    resource_providers: Vec<Shown<'a>>,
}

fn view(provider: &Provider) -> Shown<'_> {
    let at = format!("/resource_providers/{}", provider.uuid);
    let links = ["self", "inventories", "usages", "aggregates", "traits", "allocations"]
        .map(|rel| Link { href: if rel == "self" { at.clone() } else { format!("{at}/{rel}") }, rel });
    Shown {
        generation: provider.generation,
        links,
        name: &provider.name,
        parent_provider_uuid: provider.parent.as_deref(),
        root_provider_uuid: &provider.root,
        uuid: &provider.uuid,
    }
}

fn list(world: &World, call: &Call) -> Api {
    let wish = parse_wish(&call.query)?;
    let tree = call.query.get("in_tree").map(|uuid| world.placement.providers.get(uuid).map(|one| one.root.clone()));
    let members: Vec<Vec<&str>> =
        call.query.all("member_of").map(|value| value.strip_prefix("in:").unwrap_or(value).split(',').collect()).collect();
    let (name, uuid) = (call.query.get("name"), call.query.get("uuid"));
    let all = &world.placement.providers;
    // What is asked for by key is looked up; every filter is asked all the same.
    let near: Box<dyn Iterator<Item = &Provider>> = match (uuid, name, &tree) {
        (Some(uuid), _, _) => Box::new(all.get(uuid).into_iter()),
        (None, Some(name), _) => Box::new(all.named(name)),
        (None, None, Some(root)) => Box::new(root.iter().flat_map(|root| all.of_tree(root))),
        (None, None, None) => Box::new(all.values()),
    };
    let providers: Vec<&Provider> = near
        .filter(|provider| name.is_none_or(|name| provider.name == name))
        .filter(|provider| uuid.is_none_or(|uuid| provider.uuid == uuid))
        .filter(|provider| tree.as_ref().is_none_or(|root| root.as_deref() == Some(provider.root.as_str())))
        .filter(|provider| members.iter().all(|any| any.iter().any(|one| provider.aggregates.contains(*one))))
        .filter(|provider| wish.resources.iter().all(|(class, amount)| provider.has_room(class, *amount)))
        .filter(|provider| wish.required.is_subset(&provider.traits) && wish.forbidden.is_disjoint(&provider.traits))
        .collect();
    let modified = providers.iter().map(|provider| provider.updated_ms).max().unwrap_or(world.now);
    let list = List { resource_providers: providers.into_iter().map(view).collect() };
    Ok(dated(Reply::rendered(200, &list), modified))
}

fn create(world: &mut World, call: &Call) -> Api {
    let name = call.body["name"]
        .as_str()
        .filter(|name| !name.is_empty() && name.len() <= 200)
        .ok_or_else(|| error(400, "JSON does not validate: 'name' is a required property", UNDEFINED))?
        .to_owned();
    let uuid = match call.body["uuid"].as_str() {
        None => world.rng.uuid(),
        Some(given) => uuid::Uuid::parse_str(given)
            .map_err(|_| {
                let text = format!(
                    "JSON does not validate: '{given}' is not a 'uuid'  Failed validating 'format' in \
                     schema['properties']['uuid']:     {{'type': 'string', 'format': 'uuid'}}  On instance['uuid']:     '{given}'"
                );
                error(400, text, UNDEFINED)
            })?
            .to_string(),
    };
    let taken =
        |what: String| error(409, format!("Conflicting resource provider {what} already exists."), "placement.duplicate_name");
    if world.placement.providers.contains_key(&uuid) {
        return Err(taken(format!("uuid: {uuid}")));
    }
    if world.placement.providers.named(&name).next().is_some() {
        return Err(taken(format!("name: {name}")));
    }
    let parent = call.body["parent_provider_uuid"].as_str().map(str::to_owned);
    let root = match &parent {
        None => uuid.clone(),
        Some(parent) => world.placement.providers.get(parent).map(|one| one.root.clone()).ok_or_else(|| {
            let detail = format!(
                "Unable to create resource provider \"{name}\", {uuid}: Object action create failed because: parent \
                 provider UUID does not exist."
            );
            error(400, detail, UNDEFINED)
        })?,
    };
    let provider = Provider {
        uuid: uuid.clone(),
        name: name.clone(),
        generation: 0,
        parent,
        root: root.clone(),
        inventories: BTreeMap::new(),
        traits: BTreeSet::new(),
        aggregates: BTreeSet::new(),
        used: Resources::new(),
        consumers: BTreeSet::new(),
        updated_ms: world.now,
    };
    let host = world.placement.providers.get(&root).map(|root| root.name.clone());
    let reply = if call.at_least(1, 20) { Reply::rendered(200, &view(&provider)) } else { Reply::empty(201) };
    world.placement.providers.insert(provider);
    world.change("provider.created", &uuid, host.as_deref(), format!("provider {name}"), json!({"name": name, "root": root}));
    let location = format!("{}/placement/resource_providers/{uuid}", world.base_url());
    Ok(dated(reply, world.now).with("location", location))
}

fn update(world: &mut World, call: &Call, uuid: &str) -> Api {
    found(world, uuid)?;
    let name = call.body["name"].as_str().unwrap_or_default().to_owned();
    if world.placement.providers.named(&name).any(|provider| provider.uuid != uuid) {
        let detail = format!("Conflicting resource provider {name} already exists.");
        return Err(error(409, detail, "placement.duplicate_name"));
    }
    let now = world.now;
    world.placement.providers.rename(uuid, &name);
    if let Some(provider) = world.placement.providers.get_mut(uuid) {
        provider.updated_ms = now;
    }
    Ok(Reply::rendered(200, &view(found(world, uuid)?)))
}

fn delete(world: &mut World, uuid: &str) -> Api {
    let provider = world
        .placement
        .providers
        .get(uuid)
        .ok_or_else(|| error(404, format!("No resource provider with uuid {uuid} found for delete"), UNDEFINED))?;
    if world.placement.providers.of_tree(&provider.root).any(|one| one.parent.as_deref() == Some(uuid)) {
        let detail = format!("Unable to delete parent resource provider {uuid}: It has child resource providers.");
        return Err(error(409, detail, "placement.resource_provider.cannot_delete_parent"));
    }
    if !provider.used.is_empty() {
        let detail = format!("Unable to delete resource provider {uuid}: Resource provider has allocations.");
        return Err(error(409, detail, "placement.resource_provider.inuse"));
    }
    let (name, root) = (provider.name.clone(), provider.root.clone());
    let host = world.placement.providers.get(&root).map(|root| root.name.clone());
    world.placement.providers.remove(uuid);
    if root != uuid
        && let Some(host) = &host
    {
        crate::nova::hosts::child_removed(world, host);
    }
    world.change("provider.deleted", uuid, host.as_deref(), format!("provider {name} is gone"), json!({"name": name}));
    Ok(Reply::empty(204))
}

fn provider_traits(world: &mut World, call: &Call, uuid: &str) -> Api {
    let provider = found(world, uuid)?;
    let wanted: BTreeSet<String> = match call.method {
        "GET" => {
            let body = json!({"traits": provider.traits, "resource_provider_generation": provider.generation});
            return Ok(dated(Reply::new(200, body), provider.updated_ms));
        }
        "PUT" => {
            if call.body["resource_provider_generation"].as_u64() != Some(provider.generation) {
                let detail = "Resource provider's generation already changed. Please update the generation and try again.";
                return Err(error(409, detail, CONCURRENT));
            }
            call.body["traits"].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        }
        "DELETE" => BTreeSet::new(),
        _ => return Err(error(405, "The method is not allowed for this resource.", UNDEFINED)),
    };
    if let Some(unknown) = wanted.iter().find(|name| !world.placement.traits.contains(*name)) {
        return Err(error(400, format!("No such trait {unknown}"), UNDEFINED));
    }
    let now = world.now;
    let mut body = json!({"traits": wanted});
    if let Some(provider) = world.placement.providers.get_mut(uuid) {
        provider.traits = wanted;
    }
    world.placement.bump(uuid, now);
    body["resource_provider_generation"] = json!(world.placement.providers[uuid].generation);
    world.change("traits.set", uuid, None, "traits set".to_owned(), body.clone());
    if call.method == "DELETE" {
        return Ok(Reply::empty(204));
    }
    Ok(dated(Reply::new(200, body), now))
}

fn provider_aggregates(world: &mut World, call: &Call, uuid: &str) -> Api {
    let provider = found(world, uuid)?;
    if call.method == "PUT" {
        if call.body["resource_provider_generation"].as_u64() != Some(provider.generation) {
            return Err(error(409, "Generation conflict for resource provider", CONCURRENT));
        }
        let wanted =
            call.body["aggregates"].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect();
        let now = world.now;
        if let Some(provider) = world.placement.providers.get_mut(uuid) {
            provider.aggregates = wanted;
        }
        world.placement.bump(uuid, now);
    }
    let provider = found(world, uuid)?;
    let body = json!({"aggregates": provider.aggregates, "resource_provider_generation": provider.generation});
    Ok(dated(Reply::new(200, body), world.now))
}

fn classes(world: &mut World, call: &Call) -> Api {
    let valid = |name: &str| {
        let fits = name.strip_prefix("CUSTOM_").is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        });
        if fits && name.len() <= 255 {
            return Ok(());
        }
        let detail = format!(
            "JSON does not validate: '{name}' does not match '^CUSTOM_[A-Z0-9_]+$'  Failed validating 'pattern' in \
             schema['properties']['name']:     {{'type': 'string', 'pattern': '^CUSTOM_[A-Z0-9_]+$', 'maxLength': 255}}  \
             On instance['name']:     '{name}'"
        );
        Err(error(400, detail, UNDEFINED))
    };
    match (call.method, call.path.get(1).copied()) {
        ("GET", None) => {
            let names: Vec<Value> = world
                .placement
                .classes
                .iter()
                .map(|name| json!({"name": name, "links": [{"rel": "self", "href": format!("/resource_classes/{name}")}]}))
                .collect();
            ok(json!({"resource_classes": names}))
        }
        ("GET", Some(name)) if world.placement.classes.contains(name) => {
            let body = json!({"name": name, "links": [{"rel": "self", "href": format!("/resource_classes/{name}")}]});
            Ok(dated(Reply::new(200, body), world.now))
        }
        ("POST", None) => {
            let name = call.body["name"].as_str().unwrap_or_default().to_owned();
            valid(&name)?;
            if !world.placement.classes.insert(name.clone()) {
                return Err(error(409, format!("Conflicting resource class already exists: {name}"), UNDEFINED));
            }
            world.change("class.created", &name, None, format!("resource class {name}"), json!({}));
            let location = format!("{}/placement/resource_classes/{name}", world.base_url());
            Ok(Reply::empty(201).with("location", location))
        }
        ("PUT", Some(name)) => {
            valid(name)?;
            let made = world.placement.classes.insert(name.to_owned());
            if made {
                world.change("class.created", name, None, format!("resource class {name}"), json!({}));
            }
            let location = format!("{}/placement/resource_classes/{name}", world.base_url());
            Ok(Reply::empty(if made { 201 } else { 204 }).with("location", location))
        }
        ("DELETE", Some(name)) if world.placement.classes.contains(name) => {
            if !name.starts_with("CUSTOM_") {
                let detail = format!("Error in delete resource class: Cannot delete standard resource class {name}.");
                return Err(error(400, detail, UNDEFINED));
            }
            if world.placement.providers.values().any(|provider| provider.inventories.contains_key(name)) {
                let detail =
                    format!("Error in delete resource class: Cannot delete resource class {name}. Class is in use in inventory.");
                return Err(error(409, detail, UNDEFINED));
            }
            world.placement.classes.remove(name);
            world.change("class.deleted", name, None, format!("resource class {name} is gone"), json!({}));
            Ok(Reply::empty(204))
        }
        (_, Some(name)) => Err(error(404, format!("No such resource class {name}."), UNDEFINED).plain()),
        _ => Err(error(405, "The method is not allowed for this resource.", UNDEFINED)),
    }
}

fn traits(world: &mut World, call: &Call) -> Api {
    match (call.method, call.path.get(1).copied()) {
        ("GET", None) => {
            let filter = call.query.get("name").and_then(|value| value.split_once(':'));
            let names: Vec<&String> = world
                .placement
                .traits
                .iter()
                .filter(|name| match filter {
                    Some(("startswith", prefix)) => name.starts_with(prefix),
                    Some(("in", list)) => list.split(',').any(|one| one == name.as_str()),
                    _ => true,
                })
                .collect();
            ok(json!({"traits": names}))
        }
        ("GET", Some(name)) if world.placement.traits.contains(name) => Ok(dated(Reply::empty(204), world.now)),
        ("PUT", Some(name)) => {
            if !name.starts_with("CUSTOM_") || name.len() > 255 {
                let detail = "The trait is invalid. A valid trait must be no longer than 255 characters, start with \
                              the prefix \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" and \"_\"";
                return Err(error(400, detail, UNDEFINED));
            }
            let made = world.placement.traits.insert(name.to_owned());
            let location = format!("{}/placement/traits/{name}", world.base_url());
            Ok(dated(Reply::empty(if made { 201 } else { 204 }), world.now).with("location", location))
        }
        ("DELETE", Some(name)) if world.placement.traits.contains(name) => {
            if world.placement.providers.values().any(|provider| provider.traits.contains(name)) {
                return Err(error(409, format!("The trait {name} is in use by a resource provider."), UNDEFINED));
            }
            world.placement.traits.remove(name);
            Ok(Reply::empty(204))
        }
        (_, Some(name)) => Err(error(404, format!("No such trait(s): {name}."), UNDEFINED)),
        _ => Err(error(405, "The method is not allowed for this resource.", UNDEFINED)),
    }
}

fn parse_wish(query: &Query) -> Result<Wish, Reply> {
    let mut wish = Wish::default();
    for part in query.get("resources").into_iter().flat_map(|value| value.split(',')) {
        let parsed = part.split_once(':').and_then(|(class, amount)| Some((class, amount.parse().ok()?)));
        let (class, amount) = parsed.ok_or_else(|| {
            error(400, format!("Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: {part}."), UNDEFINED)
        })?;
        wish.resources.insert(class.to_owned(), amount);
    }
    for part in query.all("required").flat_map(|value| value.split(',')) {
        match part.strip_prefix('!') {
            Some(name) => wish.forbidden.insert(name.to_owned()),
            None => wish.required.insert(part.to_owned()),
        };
    }
    Ok(wish)
}

fn dated(reply: Reply, ms: u64) -> Reply {
    reply.with("last-modified", time::http_date(ms)).with("cache-control", "no-cache")
}
