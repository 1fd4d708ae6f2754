//! Compute hosts: how one comes into being, its service, its zone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::api::admin;
use super::work::Work;
use super::{Aggregate, Host};
use crate::config::HostSpec;
use crate::placement::{Inventory, Provider, Resources};
use crate::reply::{Api, Reply, nova as error, nova_empty, ok};
use crate::time;
use crate::world::{Call, World};

/// The binary of a compute host's service.
const COMPUTE: &str = "nova-compute";

/// The traits that the lab's computes report.
const COMPUTE_TRAITS: [&str; 16] = [
    "COMPUTE_ACCELERATORS",
    "COMPUTE_ADDRESS_SPACE_EMULATED",
    "COMPUTE_ADDRESS_SPACE_PASSTHROUGH",
    "COMPUTE_DEVICE_TAGGING",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_MEM_BACKING_FILE",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
    "COMPUTE_NODE",
    "COMPUTE_SECURITY_STATELESS_FIRMWARE",
    "COMPUTE_STORAGE_VIRTIO_FS",
    "COMPUTE_TRUSTED_CERTS",
    "COMPUTE_VOLUME_ATTACH_WITH_TAG",
    "COMPUTE_VOLUME_EXTEND",
    "COMPUTE_VOLUME_MULTI_ATTACH",
    "OWNER_NOVA",
];

/// Adds a compute host: service, root provider, inventories, and the aggregate of its zone.
pub(crate) fn add(world: &mut World, spec: &HostSpec) {
    let (node_id, service_id) = (world.rng.uuid(), world.rng.uuid());
    let mut traits: BTreeSet<String> = COMPUTE_TRAITS.iter().map(|name| (*name).to_owned()).collect();
    traits.extend(spec.traits.iter().cloned());
    world.placement.traits.extend(traits.iter().cloned());
    world.placement.classes.extend(spec.custom.keys().cloned());
    let provider = Provider {
        uuid: node_id.clone(),
        name: spec.name.clone(),
        generation: 2,
        parent: None,
        root: node_id.clone(),
        inventories: inventories_of(spec),
        traits,
        aggregates: BTreeSet::new(),
        used: Resources::new(),
        consumers: BTreeSet::new(),
        updated_ms: world.now,
    };
    world.placement.providers.insert(provider);
    let host = Host {
        spec: spec.clone(),
        node_id,
        service_id,
        row: world.nova.next_row(),
        enabled: true,
        disabled_reason: None,
        forced_down: false,
        alive: true,
        broken_until_ms: 0,
    };
    world.nova.hosts.insert(spec.name.clone(), host);
    if spec.zone != "nova" && !spec.zone.is_empty() {
        let existing =
            world.nova.aggregates.values().find(|aggregate| aggregate.zone() == Some(&spec.zone)).map(|found| found.id);
        let id = existing.unwrap_or_else(|| {
            let id = world.nova.next_row();
            let aggregate = Aggregate {
                id,
                uuid: world.rng.uuid(),
                name: spec.zone.clone(),
                hosts: Vec::new(),
                metadata: BTreeMap::from([("availability_zone".to_owned(), spec.zone.clone())]),
                created_ms: world.now,
            };
            world.nova.aggregates.insert(id, aggregate);
            id
        });
        super::aggregates::join(world, id, &spec.name);
    }
}

/// What a compute reports of itself.
fn inventories_of(spec: &HostSpec) -> BTreeMap<String, Inventory> {
    let inventory = |total: u64, ratio: f64| Inventory { max_unit: total, allocation_ratio: ratio, ..Inventory::of(total) };
    let mut all = BTreeMap::from([
        ("VCPU".to_owned(), inventory(spec.vcpus, spec.cpu_ratio)),
        ("MEMORY_MB".to_owned(), inventory(spec.memory_mb, spec.ram_ratio)),
        ("DISK_GB".to_owned(), inventory(spec.disk_gb, 1.0)),
    ]);
    all.extend(spec.custom.iter().map(|(class, total)| (class.clone(), inventory(*total, 1.0))));
    all
}

/// Somebody wrote into a provider of a host. In its own inventory the compute soon puts things right (seen on the lab).
pub(crate) fn inventory_changed(world: &mut World, host: &str, provider: &str) {
    let Some(known) = world.nova.hosts.get(host).filter(|known| known.node_id == provider) else { return };
    let differs = world.placement.providers.get(provider).is_some_and(|one| one.inventories != inventories_of(&known.spec));
    if differs {
        let after = world.config.timings.resource_update_ms;
        world.after(after, Work::RestoreInventory { host: host.to_owned() });
    }
}

/// A compute writes its own inventory. A class in use stays, as Placement would refuse to drop it.
pub(crate) fn restore_inventory(world: &mut World, host: &str) {
    let Some(known) = world.nova.hosts.get(host).filter(|known| known.alive) else { return };
    let (node, mut wanted) = (known.node_id.clone(), inventories_of(&known.spec));
    let Some(provider) = world.placement.providers.get(&node) else { return };
    for (class, inventory) in &provider.inventories {
        if !wanted.contains_key(class) && provider.used_of(class) > 0 {
            wanted.insert(class.clone(), inventory.clone());
        }
    }
    if provider.inventories != wanted {
        crate::placement::store_inventories(world, &node, wanted);
    }
}

/// A child provider of a host's compute node was deleted: the compute process remembers it, so builds fail for a while.
pub(crate) fn child_removed(world: &mut World, host: &str) {
    let until = world.now + world.config.timings.child_removal_ms;
    if let Some(host) = world.nova.hosts.get_mut(host) {
        host.broken_until_ms = until;
    }
}

/// Sets whether a compute process answers; a fault switch.
pub(crate) fn set_alive(world: &mut World, name: &str, alive: bool) -> bool {
    let Some(host) = world.nova.hosts.get_mut(name) else { return false };
    host.alive = alive;
    let what = if alive { "host.up" } else { "host.down" };
    world.change(what, name, Some(name), format!("compute of {name} is {}", if alive { "up" } else { "down" }), json!({}));
    true
}

/// A compute has other CPUs from now on, and reports them at once if it runs; a switch.
pub(crate) fn set_vcpus(world: &mut World, name: &str, vcpus: u64) -> bool {
    let Some(host) = world.nova.hosts.get_mut(name) else { return false };
    host.spec.vcpus = vcpus;
    world.change("host.size", name, Some(name), format!("{name} has {vcpus} CPUs"), json!({"vcpus": vcpus}));
    restore_inventory(world, name);
    true
}

/// `/os-services…` and `/os-availability-zone…`
pub(crate) fn handle(world: &mut World, call: &Call) -> Api {
    match (call.method, call.path.as_slice()) {
        ("GET", ["os-services"]) => {
            admin(call, "os_compute_api:os-services:list")?;
            Ok(Reply::rendered(200, &Services { services: listed(world, call, &time::column(world.now)) }))
        }
        ("PUT", ["os-services", verb @ ("enable" | "disable" | "disable-log-reason" | "force-down")])
            if !call.at_least(2, 53) =>
        {
            admin(call, "os_compute_api:os-services:update")?;
            let name = call.body["host"].as_str().unwrap_or_default().to_owned();
            let wish = match *verb {
                "enable" => json!({"status": "enabled"}),
                "force-down" => json!({"forced_down": call.body["forced_down"]}),
                _ => json!({"status": "disabled", "disabled_reason": call.body["disabled_reason"]}),
            };
            set_service(world, &name, &wish)?;
            let host = &world.nova.hosts[&name];
            ok(json!({"service": service(world, call, host, &time::column(world.now))}))
        }
        ("PUT", ["os-services", id]) => {
            admin(call, "os_compute_api:os-services:update")?;
            let name = by_service_id(world, id)?;
            set_service(world, &name, call.body)?;
            let host = &world.nova.hosts[&name];
            ok(json!({"service": service(world, call, host, &time::column(world.now))}))
        }
        ("DELETE", ["os-services", id]) => {
            admin(call, "os_compute_api:os-services:delete")?;
            let name = by_service_id(world, id)?;
            if world.nova.servers.values().any(|server| server.host.as_deref() == Some(name.as_str())) {
                return Err(error(
                    409,
                    "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.",
                ));
            }
            let node = world.nova.hosts[&name].node_id.clone();
            let in_use = world.placement.tree(&node).iter().any(|provider| !provider.used.is_empty() || provider.uuid != node);
            if in_use {
                return Err(error(409, "Unable to delete compute service because its resource provider is in use."));
            }
            world.placement.providers.remove(&node);
            world.nova.hosts.remove(&name);
            world.change("host.removed", &name, Some(&name), format!("host {name} is gone"), json!({}));
            nova_empty(204)
        }
        ("GET", ["os-availability-zone"]) => ok(json!({"availabilityZoneInfo": zones(world, false)})),
        ("GET", ["os-availability-zone", "detail"]) => {
            admin(call, "os_compute_api:os-availability-zone:detail")?;
            ok(json!({"availabilityZoneInfo": zones(world, true)}))
        }
        _ => Err(error(404, "The resource could not be found.")),
    }
}

fn by_service_id(world: &World, id: &str) -> Result<String, Reply> {
    world
        .nova
        .hosts
        .values()
        .find(|host| host.service_id == *id || host.row.to_string() == *id)
        .map(|host| host.spec.name.clone())
        .ok_or_else(|| error(404, format!("Compute service {id} could not be found.")))
}

fn set_service(world: &mut World, name: &str, wish: &Value) -> Result<(), Reply> {
    let host = world
        .nova
        .hosts
        .get_mut(name)
        .ok_or_else(|| error(404, format!("Could not find binary nova-compute on host {name}.")))?;
    match wish["status"].as_str() {
        Some("enabled") => {
            host.enabled = true;
            host.disabled_reason = None;
        }
        Some("disabled") => {
            host.enabled = false;
            host.disabled_reason = wish["disabled_reason"].as_str().map(str::to_owned);
        }
        _ => {}
    }
    if let Some(forced) = wish["forced_down"].as_bool() {
        host.forced_down = forced;
    }
    let (node, enabled, forced) = (host.node_id.clone(), host.enabled, host.forced_down);
    // nova-compute mirrors its status as a trait, which moves the provider's generation.
    let now = world.now;
    if let Some(provider) = world.placement.providers.get_mut(&node) {
        let had = provider.traits.contains("COMPUTE_STATUS_DISABLED");
        if enabled {
            provider.traits.remove("COMPUTE_STATUS_DISABLED");
        } else {
            provider.traits.insert("COMPUTE_STATUS_DISABLED".to_owned());
        }
        if had == enabled {
            world.placement.bump(&node, now);
        }
    }
    let facts = json!({"enabled": enabled, "forced_down": forced});
    world.change("service.set", name, Some(name), format!("service of {name}: {facts}"), facts);
    Ok(())
}

/// A service as it is shown.
#[derive(Serialize)]
struct Service<'a> {
    binary: &'a str,
    disabled_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_down: Option<bool>,
    host: &'a str,
    id: ServiceId<'a>,
    state: &'a str,
    status: &'a str,
    updated_at: &'a str,
    zone: &'a str,
}

/// A UUID since microversion 2.53, a number before.
#[derive(Serialize)]
#[serde(untagged)]
enum ServiceId<'a> {
    Uuid(Cow<'a, str>),
    Row(u64),
}

#[derive(Serialize)]
struct Services<'a> {
    services: Vec<Service<'a>>,
}

/// The services that a list asks for, those of the controller first. One host is looked up, and only what is asked for is made: a
/// cloud may have thousands.
fn listed<'a>(world: &'a World, call: &Call, now: &'a str) -> Vec<Service<'a>> {
    let (binary, host) = (call.query.get("binary"), call.query.get("host"));
    let mut services = control_services(call, now);
    services.retain(|one| binary.is_none_or(|binary| one.binary == binary) && host.is_none_or(|host| one.host == host));
    if binary.is_none_or(|binary| binary == COMPUTE) {
        match host {
            Some(host) => services.extend(world.nova.hosts.get(host).map(|host| service(world, call, host, now))),
            None => services.extend(world.nova.hosts.values().map(|host| service(world, call, host, now))),
        }
    }
    services
}

/// The service of one host.
fn service<'a>(world: &'a World, call: &Call, host: &'a Host, now: &'a str) -> Service<'a> {
    Service {
        binary: COMPUTE,
        disabled_reason: host.disabled_reason.as_deref(),
        forced_down: call.at_least(2, 11).then_some(host.forced_down),
        host: &host.spec.name,
        id: if call.at_least(2, 53) { ServiceId::Uuid((&host.service_id).into()) } else { ServiceId::Row(host.row) },
        state: if host.is_up() { "up" } else { "down" },
        status: if host.enabled { "enabled" } else { "disabled" },
        updated_at: now,
        zone: world.nova.zone_of(&host.spec.name),
    }
}

fn control_services<'a>(call: &Call, now: &'a str) -> Vec<Service<'a>> {
    let control = |(row, binary): (u64, &'static str)| {
        let id = crate::rng::digest(binary, 32);
        let id = format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..]);
        Service {
            binary,
            disabled_reason: None,
            forced_down: Some(false),
            host: super::CONTROL_HOST,
            id: if call.at_least(2, 53) { ServiceId::Uuid(id.into()) } else { ServiceId::Row(row) },
            state: "up",
            status: "enabled",
            updated_at: now,
            zone: "internal",
        }
    };
    [(900_000, "nova-scheduler"), (900_001, "nova-conductor")].map(control).into()
}

fn zones(world: &World, detail: bool) -> Vec<Value> {
    let mut by_zone: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut available: BTreeSet<&str> = BTreeSet::new();
    for host in world.nova.hosts.values() {
        let zone = world.nova.zone_of(&host.spec.name);
        if host.enabled {
            available.insert(zone);
        }
        let service = json!({"nova-compute": {
            "available": host.enabled, "active": host.is_up(), "updated_at": time::column(world.now),
        }});
        by_zone.entry(zone).or_default().insert(host.spec.name.clone(), service);
    }
    let mut zones: Vec<Value> = by_zone
        .into_iter()
        .map(|(zone, hosts)| {
            let hosts = if detail { Value::Object(hosts) } else { Value::Null };
            json!({"zoneName": zone, "zoneState": {"available": available.contains(zone)}, "hosts": hosts})
        })
        .collect();
    if detail {
        let up = json!({"available": true, "active": true, "updated_at": time::column(world.now)});
        zones.insert(
            0,
            json!({
                "zoneName": "internal", "zoneState": {"available": true},
                "hosts": {super::CONTROL_HOST: {"nova-scheduler": up, "nova-conductor": up}},
            }),
        );
    }
    zones
}
