//! A server as each microversion shows it, to its owner and to admins.
//!
//! Written as it is sent, key by key in the order of the alphabet: lists of servers are asked for again and again, and a tree
//! of values that is made for each of them costs several times as much.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use super::{Flavor, Server};
use crate::rng::digest;
use crate::time;
use crate::world::{Call, World};

/// One server, to be written.
pub(crate) struct Shown<'a> {
    world: &'a World,
    call: &'a Call<'a>,
    server: &'a Server,
    alone: bool,
}

/// The answer of one server.
#[derive(Serialize)]
pub(crate) struct One<'a> {
    pub(crate) server: Shown<'a>,
}

/// The answer of a list, with the way to the rest of it.
#[derive(Serialize)]
pub(crate) struct List<T> {
    pub(crate) servers: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) servers_links: Option<[Link; 1]>,
}

/// One server in a list without details.
#[derive(Serialize)]
pub(crate) struct Brief<'a> {
    id: &'a str,
    links: [Link; 2],
    name: &'a str,
}

pub(crate) fn brief<'a>(world: &World, server: &'a Server) -> Brief<'a> {
    Brief { id: &server.id, links: links(world.base_url(), &server.id), name: &server.name }
}

/// The body of one server; `alone` when it is not part of a list.
pub(crate) fn server<'a>(world: &'a World, call: &'a Call, server: &'a Server, alone: bool) -> Shown<'a> {
    Shown { world, call, server, alone }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { world, call, server, alone } = *self;
        let (base, admin, status) = (world.base_url(), call.who.is_admin(), server.status());
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("OS-DCF:diskConfig", "MANUAL")?;
        let zone = server.host.as_ref().map_or("", |host| world.nova.zone_of(host));
        body.serialize_entry("OS-EXT-AZ:availability_zone", zone)?;
        if admin {
            body.serialize_entry("OS-EXT-SRV-ATTR:host", &server.host)?;
        }
        if call.at_least(2, 90) || admin && call.at_least(2, 3) {
            body.serialize_entry("OS-EXT-SRV-ATTR:hostname", &server.name.to_lowercase())?;
        }
        if admin {
            body.serialize_entry("OS-EXT-SRV-ATTR:hypervisor_hostname", &server.host)?;
            body.serialize_entry("OS-EXT-SRV-ATTR:instance_name", &format_args!("instance-{:08x}", server.row))?;
        }
        if admin && call.at_least(2, 3) {
            body.serialize_entry("OS-EXT-SRV-ATTR:kernel_id", "")?;
            body.serialize_entry("OS-EXT-SRV-ATTR:launch_index", &0)?;
            body.serialize_entry("OS-EXT-SRV-ATTR:ramdisk_id", "")?;
            body.serialize_entry("OS-EXT-SRV-ATTR:reservation_id", &server.reservation_id)?;
            body.serialize_entry("OS-EXT-SRV-ATTR:root_device_name", &server.launched_ms.map(|_| "/dev/sda"))?;
            body.serialize_entry("OS-EXT-SRV-ATTR:user_data", &())?;
        }
        body.serialize_entry("OS-EXT-STS:power_state", &server.power_state)?;
        body.serialize_entry("OS-EXT-STS:task_state", &server.task_state)?;
        body.serialize_entry("OS-EXT-STS:vm_state", server.vm_state)?;
        body.serialize_entry("OS-SRV-USG:launched_at", &server.launched_ms.map(time::column))?;
        body.serialize_entry("OS-SRV-USG:terminated_at", &())?;
        body.serialize_entry("accessIPv4", "")?;
        body.serialize_entry("accessIPv6", "")?;
        body.serialize_entry("addresses", &Empty {})?;
        body.serialize_entry("config_drive", "")?;
        body.serialize_entry("created", &time::seconds_z(server.created_ms))?;
        if call.at_least(2, 19) {
            body.serialize_entry("description", &server.description)?;
        }
        if let (Some(fault), "ERROR" | "DELETED") = (&server.fault, status) {
            let details = admin.then_some("Traceback (most recent call last):\n ...");
            let created = time::seconds_z(fault.created_ms);
            body.serialize_entry("fault", &Fault { code: fault.code, created, details, message: &fault.message })?;
        }
        if call.at_least(2, 47) {
            body.serialize_entry("flavor", &Embedded::of(&server.flavor))?;
        } else {
            let href = format!("{base}/compute/flavors/{}", server.flavor.id);
            body.serialize_entry("flavor", &json!({"id": server.flavor.id, "links": [{"rel": "bookmark", "href": href}]}))?;
        }
        let host_id = |host: &String| digest(&format!("{}{host}", server.project_id), 56);
        body.serialize_entry("hostId", &server.host.as_ref().map_or_else(String::new, host_id))?;
        if admin && call.at_least(2, 16) {
            body.serialize_entry("host_status", host_status(world, server))?;
        }
        body.serialize_entry("id", &server.id)?;
        match &server.image {
            None => body.serialize_entry("image", "")?,
            Some(id) => {
                let links = [Link { href: format!("{base}/compute/images/{id}"), rel: "bookmark" }];
                let properties = call.at_least(2, 98).then(|| crate::glance::hardware_properties(world, id));
                body.serialize_entry("image", &Image { id, links, properties })?;
            }
        }
        body.serialize_entry("key_name", &())?;
        body.serialize_entry("links", &links(base, &server.id))?;
        if call.at_least(2, 9) {
            body.serialize_entry("locked", &server.locked)?;
        }
        if call.at_least(2, 73) {
            body.serialize_entry("locked_reason", &server.locked_reason)?;
        }
        body.serialize_entry("metadata", &server.metadata)?;
        body.serialize_entry("name", &server.name)?;
        body.serialize_entry("os-extended-volumes:volumes_attached", &[(); 0])?;
        if call.at_least(2, 96) {
            body.serialize_entry("pinned_availability_zone", &server.zone)?;
        }
        if matches!(status, "ACTIVE" | "BUILD" | "REBUILD" | "RESIZE" | "VERIFY_RESIZE" | "MIGRATING") {
            body.serialize_entry("progress", &0)?;
        }
        if call.at_least(2, 100) {
            if server.hints.is_object() {
                body.serialize_entry("scheduler_hints", &server.hints)?;
            } else {
                body.serialize_entry("scheduler_hints", &Empty {})?;
            }
        }
        if alone && call.at_least(2, 71) {
            body.serialize_entry("server_groups", server.group.as_slice())?;
        }
        body.serialize_entry("status", status)?;
        if call.at_least(2, 26) {
            body.serialize_entry("tags", &server.tags)?;
        }
        body.serialize_entry("tenant_id", &server.project_id)?;
        if call.at_least(2, 63) {
            body.serialize_entry("trusted_image_certificates", &())?;
        }
        body.serialize_entry("updated", &time::seconds_z(server.updated_ms))?;
        body.serialize_entry("user_id", &server.user_id)?;
        body.end()
    }
}

fn host_status(world: &World, server: &Server) -> &'static str {
    let Some(host) = &server.host else { return "" };
    match world.nova.hosts.get(host) {
        None => "UNKNOWN",
        Some(host) if host.forced_down || !host.alive => "DOWN",
        Some(host) if !host.enabled => "MAINTENANCE",
        Some(_) => "UP",
    }
}

/// `{}`
#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Fault<'a> {
    code: u16,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'static str>,
    message: &'a str,
}

/// A server's flavor, from 2.47 on.
#[derive(Serialize)]
struct Embedded<'a> {
    disk: u64,
    ephemeral: u64,
    extra_specs: &'a BTreeMap<String, String>,
    original_name: &'a str,
    ram: u64,
    swap: u64,
    vcpus: u64,
}

impl<'a> Embedded<'a> {
    fn of(flavor: &'a Flavor) -> Self {
        Self {
            disk: flavor.disk,
            ephemeral: flavor.ephemeral,
            extra_specs: &flavor.extra_specs,
            original_name: &flavor.name,
            ram: flavor.ram,
            swap: flavor.swap,
            vcpus: flavor.vcpus,
        }
    }
}

#[derive(Serialize)]
struct Image<'a> {
    id: &'a str,
    links: [Link; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Value>,
}

#[derive(Serialize)]
pub(crate) struct Link {
    pub(crate) href: String,
    pub(crate) rel: &'static str,
}

fn links(base: &str, id: &str) -> [Link; 2] {
    [("self", "v2.1/"), ("bookmark", "")]
        .map(|(rel, version)| Link { href: format!("{base}/compute/{version}servers/{id}"), rel })
}
