//! Glance's HTTP interface.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Image, Shown, blank};
use crate::keystone::Who;
use crate::message::Request;
use crate::query::Query;
use crate::reply::{Api, Reply, glance as error, ok};
use crate::time;
use crate::world::World;

/// Names in a list's query that are no properties.
const ATTRIBUTES: [&str; 22] = [
    "name",
    "owner",
    "status",
    "visibility",
    "id",
    "tag",
    "marker",
    "limit",
    "sort",
    "sort_key",
    "sort_dir",
    "member_status",
    "os_hidden",
    "size_min",
    "size_max",
    "created_at",
    "updated_at",
    "disk_format",
    "container_format",
    "min_disk",
    "min_ram",
    "protected",
];
const PATCH_TYPE: &str = "application/openstack-images-v2.1-json-patch";

/// Serves one call; `path` is what follows `/image`.
pub(crate) fn handle(world: &mut World, request: &Request, path: &str, body: &Value) -> Reply {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if segments.is_empty() || segments == ["versions"] {
        let link = format!("{}/image/v2/", world.base_url());
        let versions = json!({"versions": [{
            "id": "v2.16", "status": "CURRENT", "links": [{"rel": "self", "href": link}],
        }]});
        return Reply::new(if segments.is_empty() { 300 } else { 200 }, versions);
    }
    let who = match crate::keystone::authenticate(world, request) {
        Ok(who) => who,
        // Glance says it in its own words, but where to go in the middleware's.
        Err(refused) => {
            let text = "This server could not verify that you are authorized to access the document you requested. \
                        Either you supplied the wrong credentials (e.g., bad password), or your browser does not \
                        understand how to supply the credentials required.";
            let mut reply = error(401, text).unnamed();
            reply.headers.extend(refused.headers.into_iter().filter(|(name, _)| *name == "www-authenticate"));
            return reply;
        }
    };
    let (Some(&"v2"), rest) = (segments.first(), &segments[1..]) else {
        return error(404, "");
    };
    route(world, request, &who, rest, body).unwrap_or_else(|reply| reply)
}

fn route(world: &mut World, request: &Request, who: &Who, path: &[&str], body: &Value) -> Api {
    match (request.method.as_str(), path) {
        ("GET", ["images"]) => list(world, request, who),
        ("POST", ["images"]) => create(world, who, body),
        ("GET", ["images", id]) => Ok(Reply::rendered(200, &found(world, who, id)?.view())),
        ("PATCH", ["images", id]) => patch(world, request, who, id, body),
        ("DELETE", ["images", id]) => {
            let image = found(world, who, id).map_err(|_| error(404, format!("Failed to find image {id} to delete")))?;
            if !image.is_owned_by(who) {
                return Err(error(403, "You are not authorized to complete delete_image action.<br /><br />\n"));
            }
            if image.protected {
                return Err(error(403, format!("Image {id} is protected and cannot be deleted.")));
            }
            let facts = json!({"name": image.name, "owner": image.owner});
            world.glance.images.remove(*id);
            world.change("image.deleted", id, None, "image is gone".to_owned(), facts);
            Ok(Reply::empty(204).with("content-type", "text/html; charset=UTF-8"))
        }
        ("PUT", ["images", id, "file"]) => {
            let image = found(world, who, id)?;
            if !image.is_owned_by(who) {
                return Err(error(403, "You are not authorized to complete upload_image action.<br /><br />\n"));
            }
            if image.status != "queued" {
                return Err(error(409, format!("Image status transition from {} to saving is not allowed", image.status)));
            }
            let (size, now) = (request.body.len() as u64, world.now);
            if let Some(image) = world.glance.images.get_mut(*id) {
                image.size = Some(size);
                image.status = "active";
                image.updated_ms = now;
            }
            world.change("image.active", id, None, "image is uploaded".to_owned(), json!({}));
            Ok(Reply::empty(204).with("content-type", "text/html; charset=UTF-8"))
        }
        (_, ["images", id, "members", ..]) => members(world, request, who, id, path.get(3).copied(), body),
        ("GET", ["schemas", name]) => ok(json!({"name": name, "properties": {}, "additionalProperties": {"type": "string"}})),
        _ => Err(error(404, "")),
    }
}

fn found<'a>(world: &'a World, who: &Who, id: &str) -> Result<&'a Image, Reply> {
    world
        .glance
        .images
        .get(id)
        .filter(|image| image.is_shown_to(who))
        .ok_or_else(|| error(404, format!("No image found with ID {id}")))
}

fn list(world: &World, request: &Request, who: &Who) -> Api {
    let query = Query::parse(&request.query);
    let member_status = query.get("member_status").unwrap_or("accepted");
    let listed = |image: &Image| {
        // A pending member finds an image by its id, not in its list.
        let as_member = image.visibility == "shared"
            && image.members.get(&who.project_id).is_some_and(|state| member_status == "all" || state == member_status);
        who.is_admin() || image.owner == who.project_id || image.visibility == "public" || as_member
    };
    // Looked up once: there are many images.
    let [name, owner, status, visibility, id] = ["name", "owner", "status", "visibility", "id"].map(|asked| query.get(asked));
    // What is no attribute is a property.
    let properties: Vec<(&str, &str)> = query.pairs().filter(|(key, _)| !ATTRIBUTES.contains(key)).collect();
    let mut images: Vec<&Image> = world
        .glance
        .images
        .values()
        .filter(|image| listed(image))
        .filter(|image| name.is_none_or(|name| image.name.as_deref() == Some(name)))
        .filter(|image| owner.is_none_or(|owner| image.owner == owner))
        .filter(|image| status.is_none_or(|status| image.status == status))
        .filter(|image| visibility.is_none_or(|one| one == "all" || image.visibility == one))
        .filter(|image| id.is_none_or(|ids| ids.trim_start_matches("in:").split(',').any(|id| id == image.id)))
        .filter(|image| properties.iter().all(|(key, value)| image.properties.get(*key).map(String::as_str) == Some(*value)))
        .filter(|image| query.all("tag").all(|tag| image.tags.contains(tag)))
        .collect();
    images.sort_by_key(|image| std::cmp::Reverse(image.row));
    if let Some(marker) = query.get("marker") {
        let at = images.iter().position(|image| image.id == marker);
        images.drain(..at.map_or(0, |at| at + 1));
    }
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(25usize);
    let more = images.len() > limit;
    images.truncate(limit);
    let next = images.last().filter(|_| more).map(|last| {
        let rest: String = request
            .query
            .split('&')
            .filter(|part| !part.is_empty() && !part.starts_with("marker="))
            .map(|part| format!("{part}&"))
            .collect();
        format!("/v2/images?{rest}marker={}", last.id)
    });
    let first = if request.query.is_empty() { "/v2/images".to_owned() } else { format!("/v2/images?{}", request.query) };
    let images = images.into_iter().map(Image::view).collect();
    Ok(Reply::rendered(200, &List { first, images, next, schema: "/v2/schemas/images" }))
}

#[derive(Serialize)]
struct List<'a> {
    first: String,
    images: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    schema: &'static str,
}

fn create(world: &mut World, who: &Who, body: &Value) -> Api {
    let visibility = body["visibility"].as_str().unwrap_or("shared").to_owned();
    if visibility == "public" && !who.is_admin() {
        return Err(error(403, "You are not authorized to complete publicize_image action.<br /><br />\n"));
    }
    let id = blank(world, body["name"].as_str().map(str::to_owned), &who.project_id, &visibility);
    if let (Some(image), Some(given)) = (world.glance.images.get_mut(&id), body.as_object()) {
        for (key, value) in given {
            set(image, key, Some(value));
        }
    }
    let image = &world.glance.images[&id];
    let (reply, name) = (Reply::rendered(201, &image.view()), image.name.clone());
    world.change("image.queued", &id, None, "image is made".to_owned(), json!({"name": name, "owner": who.project_id}));
    let location = format!("{}/image/v2/images/{id}", world.base_url());
    Ok(reply.with("location", location))
}

/// Sets or removes one attribute or property.
fn set(image: &mut Image, key: &str, value: Option<&Value>) {
    let text = value.and_then(Value::as_str).map(str::to_owned);
    match key {
        "name" => image.name = text,
        "owner" => image.owner = text.unwrap_or_default(),
        "visibility" => image.visibility = text.unwrap_or_default(),
        "disk_format" => image.disk_format = text,
        "container_format" => image.container_format = text,
        "min_disk" => image.min_disk = value.and_then(Value::as_u64).unwrap_or(0),
        "min_ram" => image.min_ram = value.and_then(Value::as_u64).unwrap_or(0),
        "protected" => image.protected = value.and_then(Value::as_bool).unwrap_or(false),
        "tags" => {
            let tags = value.and_then(Value::as_array).into_iter().flatten();
            image.tags = tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
        }
        "id" => {}
        _ => match text {
            Some(text) => {
                image.properties.insert(key.to_owned(), text);
            }
            None => {
                image.properties.remove(key);
            }
        },
    }
}

fn patch(world: &mut World, request: &Request, who: &Who, id: &str, body: &Value) -> Api {
    let kind = request.get("Content-Type").unwrap_or_default();
    if !kind.starts_with("application/openstack-images-v2") {
        let text = format!(
            "The request media type {kind} is not supported by this server.\n<br /><br />\nImage PATCH expects \
             Content-Type one of: application/openstack-images-v2.0-json-patch, {PATCH_TYPE}"
        );
        let body = json!({"code": "415 Unsupported Media Type", "message": text, "title": "Unsupported Media Type"});
        return Err(Reply::new(415, body));
    }
    let image = found(world, who, id)?;
    let gives_away = body.as_array().into_iter().flatten().any(|one| one["path"] == "/owner");
    if gives_away && !who.is_admin() {
        return Err(error(403, "Owner can't be updated by non admin."));
    }
    if !image.is_owned_by(who) {
        return Err(error(403, "You are not authorized to complete modify_image action.<br /><br />\n"));
    }
    let operations = body.as_array().ok_or_else(|| error(400, "Request body must be a JSON array of operation objects."))?;
    let mut changed = image.clone();
    for operation in operations {
        let key = operation["path"].as_str().unwrap_or_default().trim_start_matches('/').replace("~1", "/");
        if matches!(key.as_str(), "id" | "status" | "size" | "created_at" | "checksum") {
            return Err(error(403, format!("Attribute '{key}' is read-only.")));
        }
        match operation["op"].as_str() {
            Some("add" | "replace") => set(&mut changed, &key, Some(&operation["value"])),
            Some("remove") => set(&mut changed, &key, None),
            _ => return Err(error(400, "Operations must be JSON objects with a known 'op'.")),
        }
    }
    changed.updated_ms = world.now;
    let (reply, facts) = (Reply::rendered(200, &changed.view()), json!({"name": changed.name, "owner": changed.owner}));
    world.glance.images.insert(id.to_owned(), changed);
    world.change("image.changed", id, None, format!("image is changed: {body}"), facts);
    Ok(reply)
}

fn members(world: &mut World, request: &Request, who: &Who, id: &str, member: Option<&str>, body: &Value) -> Api {
    let image = found(world, who, id)?;
    let mine = image.is_owned_by(who);
    let now = world.now;
    let view = |project: &str, state: &str| {
        json!({
            "member_id": project, "image_id": id, "status": state, "created_at": time::seconds_z(image.created_ms),
            "updated_at": time::seconds_z(now), "schema": "/v2/schemas/member",
        })
    };
    let denied = || error(403, "You are not authorized to complete this action.<br /><br />\n");
    let (project, state, reply) = match (request.method.as_str(), member) {
        ("GET", None) => {
            let shown: Vec<Value> = image
                .members
                .iter()
                .filter(|(project, _)| mine || **project == who.project_id)
                .map(|(project, state)| view(project, state))
                .collect();
            return ok(json!({"members": shown, "schema": "/v2/schemas/members"}));
        }
        ("POST", None) if mine => {
            let project = body["member"].as_str().ok_or_else(|| error(400, "Expected {\"member\": \"image_id\"}"))?;
            if image.members.contains_key(project) {
                return Err(error(409, format!("Member {project} is already associated with image {id}")));
            }
            (project.to_owned(), Some("pending".to_owned()), ok(view(project, "pending")))
        }
        ("PUT", Some(project)) if who.project_id == project || who.is_admin() => {
            let state = body["status"]
                .as_str()
                .filter(|state| matches!(*state, "accepted" | "rejected" | "pending"))
                .ok_or_else(|| error(400, "Invalid membership status"))?;
            if !image.members.contains_key(project) {
                return Err(error(404, format!("{project} not found in the member list of the image {id}.")));
            }
            (project.to_owned(), Some(state.to_owned()), ok(view(project, state)))
        }
        ("DELETE", Some(project)) if mine => {
            if !image.members.contains_key(project) {
                return Err(error(404, format!("{project} not found in the member list of the image {id}.")));
            }
            (project.to_owned(), None, Ok(Reply::empty(204)))
        }
        ("POST" | "PUT" | "DELETE", _) => return Err(denied()),
        _ => return Err(error(405, "")),
    };
    if let Some(image) = world.glance.images.get_mut(id) {
        match state {
            Some(state) => image.members.insert(project, state),
            None => image.members.remove(&project),
        };
    }
    reply
}
