//! Glance: images, who sees them, snapshots that Nova uploads.

mod api;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Peekable;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

use crate::keystone::Who;
use crate::nova::{Flavor, Server};
use crate::reply::{Reply, nova as nova_error};
use crate::rng::digest;
use crate::time;
use crate::world::World;

pub(crate) use api::handle;

/// One image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) owner: String,
    pub(crate) visibility: String,
    pub(crate) disk_format: Option<String>,
    pub(crate) container_format: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) min_disk: u64,
    pub(crate) min_ram: u64,
    pub(crate) protected: bool,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) properties: BTreeMap<String, String>,
    /// Member project to the state of its membership.
    pub(crate) members: BTreeMap<String, String>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    row: u64,
}

impl Image {
    fn is_shown_to(&self, who: &Who) -> bool {
        who.is_admin()
            || self.owner == who.project_id
            || matches!(self.visibility.as_str(), "public" | "community")
            || (self.visibility == "shared" && self.members.contains_key(&who.project_id))
    }

    fn is_owned_by(&self, who: &Who) -> bool {
        who.is_admin() || self.owner == who.project_id
    }

    /// As it is shown: its properties among its attributes.
    fn view(&self) -> Shown<'_> {
        Shown(self)
    }
}

/// An image, to be written.
struct Shown<'a>(&'a Image);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let image = self.0;
        let at = format!("/v2/images/{}", image.id);
        let sized = image.size.is_some();
        let mut body = serializer.serialize_map(None)?;
        let mut entries = Entries { body: &mut body, properties: image.properties.iter().peekable() };
        entries.write("checksum", &sized.then(|| digest(&image.id, 32)))?;
        entries.write("container_format", &image.container_format)?;
        entries.write("created_at", &time::seconds_z(image.created_ms))?;
        entries.write("disk_format", &image.disk_format)?;
        entries.write("file", &format_args!("{at}/file"))?;
        entries.write("id", &image.id)?;
        entries.write("min_disk", &image.min_disk)?;
        entries.write("min_ram", &image.min_ram)?;
        entries.write("name", &image.name)?;
        entries.write("os_hash_algo", &sized.then_some("sha512"))?;
        entries.write("os_hash_value", &sized.then(|| digest(&image.id, 128)))?;
        entries.write("os_hidden", &false)?;
        entries.write("owner", &image.owner)?;
        entries.write("protected", &image.protected)?;
        entries.write("schema", "/v2/schemas/image")?;
        entries.write("self", &at)?;
        entries.write("size", &image.size)?;
        entries.write("status", image.status)?;
        if image.status == "active" {
            entries.write("stores", "files")?;
        }
        entries.write("tags", &image.tags)?;
        entries.write("updated_at", &time::seconds_z(image.updated_ms))?;
        entries.write("virtual_size", &image.size)?;
        entries.write("visibility", &image.visibility)?;
        entries.rest()?;
        body.end()
    }
}

/// Writes attributes that come in the order of the alphabet, and properties where they stand between them.
struct Entries<'a, M: SerializeMap> {
    body: &'a mut M,
    properties: Peekable<btree_map::Iter<'a, String, String>>,
}

impl<M: SerializeMap> Entries<'_, M> {
    fn write(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        while let Some((key, property)) = self.properties.next_if(|(key, _)| key.as_str() <= name) {
            // An attribute hides a property of its name.
            if key != name {
                self.body.serialize_entry(key, property)?;
            }
        }
        self.body.serialize_entry(name, value)
    }

    fn rest(self) -> Result<(), M::Error> {
        for (key, property) in self.properties {
            self.body.serialize_entry(key, property)?;
        }
        Ok(())
    }
}

/// The state of Glance.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    pub(crate) images: BTreeMap<String, Image>,
    rows: u64,
}

/// The image every cloud has from the start.
pub(crate) fn seed(world: &mut World) {
    let owner = world.keystone.project_named("admin").unwrap_or_default();
    let id = blank(world, Some("cirros".to_owned()), &owner, "public");
    if let Some(image) = world.glance.images.get_mut(&id) {
        image.status = "active";
        image.size = Some(65_536);
        image.disk_format = Some("raw".to_owned());
        image.container_format = Some("bare".to_owned());
    }
}

fn blank(world: &mut World, name: Option<String>, owner: &str, visibility: &str) -> String {
    let id = world.rng.uuid();
    world.glance.rows += 1;
    let image = Image {
        id: id.clone(),
        name,
        status: "queued",
        owner: owner.to_owned(),
        visibility: visibility.to_owned(),
        disk_format: None,
        container_format: None,
        size: None,
        min_disk: 0,
        min_ram: 0,
        protected: false,
        tags: BTreeSet::new(),
        properties: BTreeMap::new(),
        members: BTreeMap::new(),
        created_ms: world.now,
        updated_ms: world.now,
        row: world.glance.rows,
    };
    world.glance.images.insert(id.clone(), image);
    id
}

/// Whether a server may boot from the image: Nova's checks of sight, state and of properties against the flavor.
pub(crate) fn usable(world: &World, who: &Who, id: &str, flavor: &Flavor) -> Result<(), Reply> {
    let refuse = |text: String| Err(nova_error(400, text));
    let Some(image) = world.glance.images.get(id).filter(|image| image.is_shown_to(who)) else {
        return refuse("Can not find requested image".to_owned());
    };
    if image.status != "active" {
        return refuse(format!("Image {id} is not active."));
    }
    if image.min_disk > flavor.disk && flavor.disk > 0 {
        return refuse("Flavor's disk is smaller than the minimum size specified in image metadata.".to_owned());
    }
    let spec = |name: &str| flavor.extra_specs.get(name).map(String::as_str);
    let property = |name: &str| image.properties.get(name).map(String::as_str);
    if spec("hw:cpu_policy") == Some("shared") && property("hw_cpu_policy") == Some("dedicated") {
        return refuse(
            "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor".to_owned(),
        );
    }
    if let (Some(_), Some(_)) = (spec("hw:numa_nodes"), property("hw_numa_nodes")) {
        return refuse(
            "Image property 'hw_numa_nodes' is not permitted to override NUMA configuration set against the flavor".to_owned(),
        );
    }
    if let Some(size) = property("hw_mem_page_size")
        && !matches!(spec("hw:mem_page_size"), Some("any" | "large"))
    {
        let against = spec("hw:mem_page_size").unwrap_or("<empty>");
        return refuse(format!("Page size {size} forbidden against '{against}'"));
    }
    Ok(())
}

/// The properties of an image that concern hardware, as Nova shows them in a server.
pub(crate) fn hardware_properties(world: &World, id: &str) -> Value {
    let known = world.glance.images.get(id).map(|image| &image.properties);
    known
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("hw_"))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect()
}

/// Makes the queued image of a snapshot or a shelve. It belongs to the project of whoever asks; when that is not the
/// server's own, the server's project is only a pending member of it.
pub(crate) fn snapshot(world: &mut World, who: &Who, server: &Server, name: &str) -> String {
    let foreign = who.project_id != server.project_id;
    let id = blank(world, Some(name.to_owned()), &who.project_id, if foreign { "shared" } else { "private" });
    let user = world.keystone.users.get(&server.user_id).map(|user| user.name.clone()).unwrap_or_default();
    let project = world.keystone.projects.get(&server.project_id).map(|project| project.name.clone()).unwrap_or_default();
    let roles = world.keystone.roles_of(&server.user_id, &server.project_id).join(",");
    if let Some(image) = world.glance.images.get_mut(&id) {
        image.min_disk = server.flavor.disk;
        if foreign {
            image.members.insert(server.project_id.clone(), "pending".to_owned());
        }
        for (key, value) in [
            ("base_image_ref", server.image.clone().unwrap_or_default()),
            ("owner_user_name", user),
            ("owner_project_name", project),
            ("boot_roles", roles),
            ("instance_uuid", server.id.clone()),
            ("user_id", who.user_id.clone()),
            ("image_type", "snapshot".to_owned()),
        ] {
            image.properties.insert(key.to_owned(), value);
        }
    }
    let facts = json!({"name": name, "owner": who.project_id, "server_id": server.id});
    world.change("image.queued", &id, server.host.as_deref(), format!("image {name} of server {}", server.id), facts);
    id
}

/// Adds what `createImage` carries as metadata.
pub(crate) fn add_properties(world: &mut World, id: &str, given: &Value) {
    if let (Some(image), Some(given)) = (world.glance.images.get_mut(id), given.as_object()) {
        for (key, value) in given {
            if let Some(value) = value.as_str() {
                image.properties.insert(key.clone(), value.to_owned());
            }
        }
    }
}

/// The compute begins to upload.
pub(crate) fn start_upload(world: &mut World, id: &str) {
    let now = world.now;
    let Some(image) = world.glance.images.get_mut(id) else { return };
    image.status = "saving";
    image.disk_format = Some("raw".to_owned());
    image.container_format = Some("bare".to_owned());
    image.updated_ms = now;
    let server = image.properties.get("instance_uuid").cloned().unwrap_or_default();
    let project = world.nova.servers.get(&server).map(|server| server.project_id.clone()).unwrap_or_default();
    for (key, value) in [("image_location", "snapshot"), ("image_state", "available"), ("owner_id", project.as_str())] {
        image.properties.insert(key.to_owned(), value.to_owned());
    }
    world.change("image.saving", id, None, "upload begins".to_owned(), json!({"server_id": server}));
}

/// The upload is complete.
pub(crate) fn finish_upload(world: &mut World, id: &str) {
    let now = world.now;
    let Some(image) = world.glance.images.get_mut(id) else { return };
    image.status = "active";
    image.size = Some(1024);
    image.updated_ms = now;
    let facts = json!({"name": image.name, "owner": image.owner, "server_id": image.properties.get("instance_uuid")});
    world.change("image.active", id, None, "upload is complete".to_owned(), facts);
}

/// Nova removes an image that could not be uploaded.
pub(crate) fn drop_failed(world: &mut World, id: &str) {
    if let Some(image) = world.glance.images.remove(id) {
        world.change(
            "image.deleted",
            id,
            None,
            "its upload failed".to_owned(),
            json!({"name": image.name, "owner": image.owner}),
        );
    }
}

/// Nova removes the image of a shelve with the rights of whoever unshelves or deletes; without them it stays behind
/// (seen on the lab).
pub(crate) fn drop_shelved(world: &mut World, id: &str) {
    let (admin, project) = (world.cause.admin, world.cause.project_id.clone());
    let allowed = world.glance.images.get(id).is_some_and(|image| admin || image.owner == project);
    if allowed && let Some(image) = world.glance.images.remove(id) {
        let facts = json!({"name": image.name, "owner": image.owner});
        world.change("image.deleted", id, None, "image of a shelve is gone".to_owned(), facts);
    }
}
