//! Inventories of one provider over HTTP, with the generation as compare-and-swap.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::api::{CONCURRENT, UNDEFINED, found};
use super::{Inventory, Provider};
use crate::reply::{Api, Reply, placement as error};
use crate::time;
use crate::world::{Call, World};

/// `…/resource_providers/{uuid}/inventories[/{class}]`
pub(crate) fn handle(world: &mut World, call: &Call, uuid: &str, class: Option<&str>) -> Api {
    match (call.method, class) {
        ("GET", None) => {
            let provider = found(world, uuid)?;
            Ok(all(provider))
        }
        ("GET", Some(class)) => {
            let provider = found(world, uuid)?;
            let inventory = provider
                .inventories
                .get(class)
                .ok_or_else(|| error(404, format!("No inventory of class {class} for {uuid}"), UNDEFINED))?;
            Ok(one(200, provider, inventory))
        }
        ("PUT", None) => set_all(world, call, uuid),
        ("PUT", Some(class)) => set_one(world, call, uuid, class),
        ("POST", None) => add_one(world, call, uuid),
        ("DELETE", None) => {
            let provider = found(world, uuid)?;
            if let Some(class) = provider.inventories.keys().find(|class| provider.used_of(class) > 0) {
                return Err(error(409, in_use(class, uuid), "placement.inventory.inuse"));
            }
            store(world, uuid, BTreeMap::new());
            Ok(Reply::empty(204))
        }
        ("DELETE", Some(class)) => delete_one(world, uuid, class),
        _ => Err(error(405, format!("The method {} is not allowed for this resource.", call.method), UNDEFINED)),
    }
}

fn set_all(world: &mut World, call: &Call, uuid: &str) -> Api {
    let provider = found(world, uuid)?;
    check_generation(provider, call.body, "resource provider generation conflict")?;
    let given = call.body["inventories"].as_object().ok_or_else(|| malformed("'inventories' is a required property"))?;
    let mut wanted = BTreeMap::new();
    for (class, fields) in given {
        wanted.insert(class.clone(), parse(class, uuid, fields)?);
    }
    if let Some(unknown) = wanted.keys().find(|class| !world.placement.classes.contains(*class)) {
        let detail =
            format!("Unknown resource class in inventory for resource provider {uuid}: No such resource class {unknown}.");
        return Err(error(400, detail, UNDEFINED));
    }
    let dropped_in_use = provider.inventories.keys().find(|class| !wanted.contains_key(*class) && provider.used_of(class) > 0);
    if let Some(class) = dropped_in_use {
        return Err(error(409, format!("update conflict: {}", in_use(class, uuid)), "placement.inventory.inuse"));
    }
    store(world, uuid, wanted);
    Ok(all(found(world, uuid)?))
}

fn set_one(world: &mut World, call: &Call, uuid: &str, class: &str) -> Api {
    let provider = found(world, uuid)?;
    check_generation(provider, call.body, "resource provider generation conflict")?;
    if !provider.inventories.contains_key(class) {
        let detail =
            format!("No inventory record with resource class for resource provider {uuid}: No inventory of class {class} found.");
        return Err(error(400, detail, UNDEFINED));
    }
    let inventory = parse(class, uuid, call.body)?;
    let mut wanted = provider.inventories.clone();
    wanted.insert(class.to_owned(), inventory.clone());
    store(world, uuid, wanted);
    Ok(one(200, found(world, uuid)?, &inventory))
}

fn add_one(world: &mut World, call: &Call, uuid: &str) -> Api {
    let provider = found(world, uuid)?;
    let class =
        call.body["resource_class"].as_str().ok_or_else(|| malformed("'resource_class' is a required property"))?.to_owned();
    check_generation(
        provider,
        call.body,
        "Update conflict: Another thread concurrently updated the data. Please retry your update",
    )?;
    if !world.placement.classes.contains(&class) {
        let detail = format!("Unable to create inventory for resource provider {uuid}: No such resource class {class}.");
        return Err(error(400, detail, UNDEFINED));
    }
    if provider.inventories.contains_key(&class) {
        return Err(error(409, "Update conflict: (duplicate entry)", CONCURRENT));
    }
    let inventory = parse(&class, uuid, call.body)?;
    let mut wanted = provider.inventories.clone();
    wanted.insert(class.clone(), inventory.clone());
    store(world, uuid, wanted);
    let location = format!("{}/placement/resource_providers/{uuid}/inventories/{class}", world.base_url());
    Ok(one(201, found(world, uuid)?, &inventory).with("location", location))
}

fn delete_one(world: &mut World, uuid: &str, class: &str) -> Api {
    let provider = found(world, uuid)?;
    if !provider.inventories.contains_key(class) {
        let detail = format!("No inventory of class {class} found for delete: No inventory of class {class} found.");
        return Err(error(404, detail, UNDEFINED));
    }
    if provider.used_of(class) > 0 {
        // The same code as a lost race (seen on the lab), so a client that only retries never ends.
        let detail = format!("Unable to delete inventory of class {class}: {}", in_use(class, uuid));
        return Err(error(409, detail, CONCURRENT));
    }
    let mut wanted = provider.inventories.clone();
    wanted.remove(class);
    store(world, uuid, wanted);
    Ok(Reply::empty(204))
}

/// Stores inventories, moves the generation and notes what each class became.
pub(crate) fn store(world: &mut World, uuid: &str, wanted: BTreeMap<String, Inventory>) {
    let now = world.now;
    let Some(provider) = world.placement.providers.get_mut(uuid) else { return };
    let old = std::mem::replace(&mut provider.inventories, wanted);
    provider.generation += 1;
    provider.updated_ms = now;
    let (name, generation) = (provider.name.clone(), provider.generation);
    let host = world.placement.providers[uuid].root.clone();
    let host = world.placement.providers.get(&host).map(|root| root.name.clone());
    let new = world.placement.providers[uuid].inventories.clone();
    for class in old.keys().filter(|class| !new.contains_key(*class)) {
        let facts = json!({"provider": name, "class": class, "generation": generation});
        world.change("inventory.removed", uuid, host.as_deref(), format!("{class} of {name} is gone"), facts);
    }
    for (class, inventory) in &new {
        if old.get(class) == Some(inventory) {
            continue;
        }
        let mut facts = json!(inventory);
        facts["provider"] = json!(name);
        facts["class"] = json!(class);
        facts["generation"] = json!(generation);
        let text = format!("{class} of {name}: total {}, reserved {}", inventory.total, inventory.reserved);
        world.change("inventory.set", uuid, host.as_deref(), text, facts);
    }
    if let Some(host) = host {
        crate::nova::hosts::inventory_changed(world, &host, uuid);
    }
}

fn parse(class: &str, uuid: &str, fields: &Value) -> Result<Inventory, Reply> {
    let number = |name: &str, default: u64, least: u64| -> Result<u64, Reply> {
        match fields.get(name) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|number| (least..=2_147_483_647).contains(number))
                .ok_or_else(|| malformed(&format!("{value} is less than the minimum of {least}"))),
        }
    };
    if fields.get("total").is_none() {
        return Err(malformed("'total' is a required property"));
    }
    let inventory = Inventory {
        total: number("total", 0, 1)?,
        reserved: number("reserved", 0, 0)?,
        min_unit: number("min_unit", 1, 1)?,
        max_unit: number("max_unit", 2_147_483_647, 1)?,
        step_size: number("step_size", 1, 1)?,
        allocation_ratio: match fields.get("allocation_ratio") {
            None => 1.0,
            Some(value) => value
                .as_f64()
                .filter(|ratio| *ratio > 0.0)
                .ok_or_else(|| malformed(&format!("{value} is not a valid 'allocation_ratio'")))?,
        },
    };
    if inventory.reserved > inventory.total {
        let detail = format!(
            "Unable to update inventory for resource provider {uuid}: Invalid inventory for '{class}' on resource \
             provider '{uuid}'. The reserved value is greater than total."
        );
        return Err(error(400, detail, UNDEFINED));
    }
    Ok(inventory)
}

fn check_generation(provider: &Provider, body: &Value, detail: &str) -> Result<(), Reply> {
    let given = body["resource_provider_generation"]
        .as_u64()
        .ok_or_else(|| malformed("'resource_provider_generation' is a required property"))?;
    if given == provider.generation { Ok(()) } else { Err(error(409, detail, CONCURRENT)) }
}

fn malformed(why: &str) -> Reply {
    error(400, format!("JSON does not validate: {why}"), UNDEFINED)
}

fn in_use(class: &str, uuid: &str) -> String {
    format!("Inventory for '{class}' on resource provider '{uuid}' in use.")
}

fn all(provider: &Provider) -> Reply {
    let body = All { inventories: &provider.inventories, resource_provider_generation: provider.generation };
    let reply = Reply::rendered(200, &body).with("cache-control", "no-cache");
    if provider.inventories.is_empty() {
        return reply;
    }
    reply.with("last-modified", time::http_date(provider.updated_ms))
}

fn one(status: u16, provider: &Provider, inventory: &Inventory) -> Reply {
    let mut body = json!(inventory);
    body["resource_provider_generation"] = json!(provider.generation);
    Reply::new(status, body).with("last-modified", time::http_date(provider.updated_ms)).with("cache-control", "no-cache")
}

/// All inventories of a provider, as they are shown.
#[derive(Serialize)]
struct All<'a> {
    inventories: &'a BTreeMap<String, Inventory>,
    resource_provider_generation: u64,
}
