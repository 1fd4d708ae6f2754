//! A server as each microversion shows it, to its owner and to admins.

use serde_json::{Value, json};

use super::Server;
use super::api::links;
use crate::rng::digest;
use crate::time;
use crate::world::{Call, World};

/// The body of one server; `alone` when it is not part of a list.
pub(crate) fn server(world: &World, call: &Call, server: &Server, alone: bool) -> Value {
    let base = world.base_url();
    let status = server.status();
    let offloaded = server.host.is_none();
    let host_id = server.host.as_ref().map_or_else(String::new, |host| digest(&format!("{}{host}", server.project_id), 56));
    let image = server.image.as_ref().map_or_else(
        || json!(""),
        |id| {
            let mut body = json!({"id": id, "links": [{"rel": "bookmark", "href": format!("{base}/compute/images/{id}")}]});
            if call.at_least(2, 98) {
                body["properties"] = crate::glance::hardware_properties(world, id);
            }
            body
        },
    );
    let mut body = json!({
        "accessIPv4": "", "accessIPv6": "", "addresses": {}, "created": time::seconds_z(server.created_ms),
        "flavor": flavor(world, call, server), "hostId": host_id, "id": server.id, "image": image,
        "links": links(world, "servers", &server.id), "metadata": server.metadata, "name": server.name,
        "status": status, "tenant_id": server.project_id, "user_id": server.user_id,
        "updated": time::seconds_z(server.updated_ms), "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone":
            server.host.as_ref().map_or("", |host| world.nova.zone_of(host)),
        "config_drive": "", "key_name": null,
        "OS-SRV-USG:launched_at": server.launched_ms.map(time::column), "OS-SRV-USG:terminated_at": null,
        "OS-EXT-STS:task_state": server.task_state, "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:power_state": server.power_state, "os-extended-volumes:volumes_attached": [],
    });
    if matches!(status, "ACTIVE" | "BUILD" | "REBUILD" | "RESIZE" | "VERIFY_RESIZE" | "MIGRATING") {
        body["progress"] = json!(0);
    }
    if let (Some(fault), "ERROR" | "DELETED") = (&server.fault, status) {
        body["fault"] = json!({
            "code": fault.code, "created": time::seconds_z(fault.created_ms), "message": fault.message,
        });
        if call.who.is_admin() {
            body["fault"]["details"] = json!("Traceback (most recent call last):\n ...");
        }
    }
    if call.who.is_admin() {
        admin_part(world, call, server, offloaded, &mut body);
    }
    for (version, name, value) in [
        (9, "locked", json!(server.locked)),
        (19, "description", json!(server.description)),
        (26, "tags", json!(server.tags)),
        (63, "trusted_image_certificates", Value::Null),
        (73, "locked_reason", json!(server.locked_reason)),
        (96, "pinned_availability_zone", json!(server.zone)),
        (100, "scheduler_hints", hints(server)),
    ] {
        if call.at_least(2, version) {
            body[name] = value;
        }
    }
    if call.at_least(2, 90) {
        body["OS-EXT-SRV-ATTR:hostname"] = json!(server.name.to_lowercase());
    }
    if alone && call.at_least(2, 71) {
        body["server_groups"] = json!(server.group.iter().collect::<Vec<_>>());
    }
    body
}

fn flavor(world: &World, call: &Call, server: &Server) -> Value {
    let flavor = &server.flavor;
    if !call.at_least(2, 47) {
        let href = format!("{}/compute/flavors/{}", world.base_url(), flavor.id);
        return json!({"id": flavor.id, "links": [{"rel": "bookmark", "href": href}]});
    }
    json!({
        "vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk, "ephemeral": flavor.ephemeral,
        "swap": flavor.swap, "original_name": flavor.name, "extra_specs": flavor.extra_specs,
    })
}

fn hints(server: &Server) -> Value {
    if server.hints.is_object() { server.hints.clone() } else { json!({}) }
}

fn admin_part(world: &World, call: &Call, server: &Server, offloaded: bool, body: &mut Value) {
    body["OS-EXT-SRV-ATTR:host"] = json!(server.host);
    body["OS-EXT-SRV-ATTR:hypervisor_hostname"] = json!(server.host);
    body["OS-EXT-SRV-ATTR:instance_name"] = json!(format!("instance-{:08x}", server.row));
    if call.at_least(2, 3) {
        for (name, value) in [
            ("hostname", json!(server.name.to_lowercase())),
            ("kernel_id", json!("")),
            ("launch_index", json!(0)),
            ("ramdisk_id", json!("")),
            ("reservation_id", json!(server.reservation_id)),
            ("root_device_name", if server.launched_ms.is_some() { json!("/dev/sda") } else { Value::Null }),
            ("user_data", Value::Null),
        ] {
            body[format!("OS-EXT-SRV-ATTR:{name}")] = value;
        }
    }
    if call.at_least(2, 16) {
        let status = match server.host.as_ref().and_then(|host| world.nova.hosts.get(host)) {
            _ if offloaded => "",
            None => "UNKNOWN",
            Some(host) if host.forced_down || !host.alive => "DOWN",
            Some(host) if !host.enabled => "MAINTENANCE",
            Some(_) => "UP",
        };
        body["host_status"] = json!(status);
    }
}
