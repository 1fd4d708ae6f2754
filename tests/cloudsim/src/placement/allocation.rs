//! Allocations over HTTP: of one consumer, of several in one transaction, of one provider.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::api::{CONCURRENT, UNDEFINED, found};
use super::{Allocations, Claim, Refusal, Resources};
use crate::reply::{Api, Reply, ok, placement as error};
use crate::time;
use crate::world::{Call, World};

/// `GET`, `PUT` and `DELETE /allocations/{consumer}`
pub(crate) fn of_consumer(world: &mut World, call: &Call, consumer: &str) -> Api {
    match call.method {
        "GET" => Ok(show(world, call, consumer)),
        "PUT" => {
            if uuid::Uuid::parse_str(consumer).is_err() {
                return Err(error(400, format!("Malformed consumer_uuid: {consumer}"), UNDEFINED));
            }
            let claim = parse(call, consumer, call.body)?;
            replace(world, call, &[claim])
        }
        "DELETE" => {
            let had = world
                .placement
                .forget(consumer)
                .ok_or_else(|| error(404, format!("No allocations for consumer '{consumer}'"), UNDEFINED))?;
            note_removed(world, consumer, &had);
            Ok(Reply::empty(204))
        }
        _ => Err(error(405, format!("The method {} is not allowed for this resource.", call.method), UNDEFINED)),
    }
}

/// `POST /allocations`: all consumers or none.
pub(crate) fn of_many(world: &mut World, call: &Call) -> Api {
    let given =
        call.body.as_object().filter(|given| !given.is_empty()).ok_or_else(|| malformed("{} does not have enough properties"))?;
    let mut claims = Vec::new();
    for (consumer, body) in given {
        claims.push(parse(call, consumer, body)?);
    }
    replace(world, call, &claims)
}

/// `GET /resource_providers/{uuid}/allocations`
pub(crate) fn of_provider(world: &World, uuid: &str) -> Api {
    let provider = found(world, uuid)?;
    let has = |id| {
        let consumer = world.placement.consumers.get(id)?;
        let resources = consumer.allocations.get(uuid)?;
        Some((id, OfProvider { consumer_generation: consumer.generation, resources }))
    };
    let body = AllOfProvider {
        allocations: provider.consumers.iter().filter_map(has).collect(),
        resource_provider_generation: provider.generation,
    };
    Ok(dated(Reply::rendered(200, &body), provider.updated_ms))
}

/// Who has what of a provider, as it is shown.
#[derive(Serialize)]
struct AllOfProvider<'a> {
    allocations: BTreeMap<&'a String, OfProvider<'a>>,
    resource_provider_generation: u64,
}

#[derive(Serialize)]
struct OfProvider<'a> {
    consumer_generation: u64,
    resources: &'a Resources,
}

/// `GET /usages?project_id=…`
pub(crate) fn usages(world: &World, call: &Call) -> Api {
    let project = call.query.get("project_id").ok_or_else(|| malformed("'project_id' is a required property"))?;
    let mut by_kind: BTreeMap<String, (u64, Resources)> = BTreeMap::new();
    for consumer in world.placement.consumers.values() {
        let wanted = consumer.project_id == project && call.query.get("user_id").is_none_or(|user| consumer.user_id == user);
        if !wanted {
            continue;
        }
        let kind = if call.at_least(1, 38) { consumer.kind.clone() } else { String::new() };
        let (count, sum) = by_kind.entry(kind).or_default();
        *count += 1;
        for (class, amount) in consumer.allocations.values().flatten() {
            *sum.entry(class.clone()).or_insert(0) += amount;
        }
    }
    if !call.at_least(1, 38) {
        let sum = by_kind.remove("").unwrap_or_default().1;
        return ok(json!({"usages": sum}));
    }
    let usages: BTreeMap<String, Value> = by_kind
        .into_iter()
        .map(|(kind, (count, sum))| {
            let mut body = json!(sum);
            body["consumer_count"] = json!(count);
            (kind, body)
        })
        .collect();
    ok(json!({"usages": usages}))
}

fn show(world: &World, call: &Call, id: &str) -> Reply {
    let Some(consumer) = world.placement.consumers.get(id) else {
        return dated(Reply::new(200, json!({"allocations": {}})), world.now);
    };
    let allocations: BTreeMap<&String, Value> = consumer
        .allocations
        .iter()
        .map(|(uuid, resources)| {
            let generation = world.placement.providers.get(uuid).map(|provider| provider.generation);
            (uuid, json!({"resources": resources, "generation": generation}))
        })
        .collect();
    let mut body = json!({"allocations": allocations});
    if call.at_least(1, 12) {
        body["project_id"] = json!(consumer.project_id);
        body["user_id"] = json!(consumer.user_id);
    }
    if call.at_least(1, 28) {
        body["consumer_generation"] = json!(consumer.generation);
    }
    if call.at_least(1, 38) {
        body["consumer_type"] = json!(consumer.kind);
    }
    dated(Reply::new(200, body), consumer.updated_ms)
}

fn replace(world: &mut World, call: &Call, claims: &[Claim]) -> Api {
    match world.placement.replace(world.now, claims) {
        Ok(()) => {
            for claim in claims {
                note_set(world, claim);
            }
            Ok(Reply::empty(204))
        }
        Err(Refusal::Provider(uuid)) => {
            Err(error(400, format!("Allocation for resource provider '{uuid}' that does not exist."), UNDEFINED))
        }
        Err(Refusal::Generation { expected, got }) => {
            let text = |generation: Option<u64>| generation.map_or_else(|| "null".to_owned(), |one| one.to_string());
            // Placement is a Python program, and a wrong null shows.
            let got = got.map_or_else(|| "None".to_owned(), |one| one.to_string());
            let detail = format!("consumer generation conflict - expected {} but got {got}", text(expected));
            Err(error(409, detail, CONCURRENT))
        }
        Err(Refusal::Class(class)) => {
            let whom = if call.method == "PUT" { format!(" for consumer {}:", claims[0].consumer) } else { String::new() };
            Err(error(400, format!("Unable to allocate inventory{whom} No such resource class {class}."), UNDEFINED))
        }
        Err(Refusal::Inventory(why)) => Err(error(409, format!("Unable to allocate inventory: {why}"), UNDEFINED)),
    }
}

/// Notes in the record what a consumer has from now on.
pub(crate) fn note_set(world: &mut World, claim: &Claim) {
    if claim.allocations.is_empty() {
        note_removed(world, &claim.consumer, &Allocations::new());
        return;
    }
    let host = host_of(world, &claim.allocations);
    let text = format!("consumer {} has {}", claim.consumer, words(world, &claim.allocations));
    let facts = json!({
        "allocations": claim.allocations, "project_id": claim.project_id, "consumer_type": claim.kind,
    });
    world.change("allocation.set", &claim.consumer, host.as_deref(), text, facts);
}

/// Notes in the record that a consumer has nothing any more.
pub(crate) fn note_removed(world: &mut World, consumer: &str, had: &Allocations) {
    let host = host_of(world, had);
    let text = format!("consumer {consumer} has nothing any more");
    world.change("allocation.removed", consumer, host.as_deref(), text, json!({"had": had}));
}

fn host_of(world: &World, allocations: &Allocations) -> Option<String> {
    let uuid = allocations.keys().next()?;
    let root = &world.placement.providers.get(uuid)?.root;
    world.placement.providers.get(root).map(|provider| provider.name.clone())
}

fn words(world: &World, allocations: &Allocations) -> String {
    let mut words = Vec::new();
    for (uuid, resources) in allocations {
        let name = world.placement.providers.get(uuid).map_or(uuid.as_str(), |provider| provider.name.as_str());
        for (class, amount) in resources {
            words.push(format!("{amount} {class} of {name}"));
        }
    }
    words.join(", ")
}

fn parse(call: &Call, consumer: &str, body: &Value) -> Result<Claim, Reply> {
    let text = |name: &str| -> Result<String, Reply> {
        body[name]
            .as_str()
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| malformed(&format!("'{name}' is a required property")))
    };
    let given = body["allocations"].as_object().ok_or_else(|| malformed("'allocations' is a required property"))?;
    let mut allocations = Allocations::new();
    for (uuid, entry) in given {
        let resources = entry["resources"]
            .as_object()
            .filter(|resources| !resources.is_empty())
            .ok_or_else(|| malformed("'resources' is a required property"))?;
        for (class, amount) in resources {
            let amount = amount
                .as_u64()
                .filter(|amount| *amount > 0)
                .ok_or_else(|| malformed(&format!("{amount} is less than the minimum of 1")))?;
            allocations.entry(uuid.clone()).or_default().insert(class.clone(), amount);
        }
    }
    let generation = if call.at_least(1, 28) {
        match body.get("consumer_generation") {
            None => return Err(malformed("'consumer_generation' is a required property")),
            Some(Value::Null) => Some(None),
            Some(value) => {
                Some(Some(value.as_u64().ok_or_else(|| malformed(&format!("{value} is not of type 'integer', 'null'")))?))
            }
        }
    } else if allocations.is_empty() {
        return Err(malformed("{} does not have enough properties"));
    } else {
        None
    };
    let kind = if call.at_least(1, 38) {
        let kind = text("consumer_type")?;
        let fits = kind.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !fits && kind != "unknown" {
            return Err(malformed(&format!("'{kind}' does not match '^[A-Z0-9_]+$'")));
        }
        kind
    } else {
        "unknown".to_owned()
    };
    Ok(Claim {
        consumer: consumer.to_owned(),
        project_id: text("project_id")?,
        user_id: text("user_id")?,
        kind,
        allocations,
        generation,
    })
}

fn malformed(why: &str) -> Reply {
    error(400, format!("JSON does not validate: {why}"), UNDEFINED)
}

fn dated(reply: Reply, ms: u64) -> Reply {
    reply.with("last-modified", time::http_date(ms)).with("cache-control", "no-cache")
}
