//! The door of Nova's HTTP interface: version, token, then the right module.

use serde_json::{Value, json};

use super::{actions, aggregates, flavors, groups, hosts, hypervisors, quota, servers};
use crate::message::{API_VERSION, Request};
use crate::query::Query;
use crate::reply::{Api, Reply, nova as error, ok};
use crate::world::{Call, Version, World};

/// The newest microversion of the Nova that the captures come from.
const LATEST: Version = (2, 104);

/// Serves one call; `path` is what follows `/compute`.
pub(crate) fn handle(world: &mut World, request: &Request, path: &str, body: Option<&Value>, request_id: &str) -> Reply {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if segments.is_empty() {
        let old = json!({
            "id": "v2.0", "status": "DEPRECATED", "version": "", "min_version": "", "updated": "2025-07-04T12:00:00Z",
            "links": [{"rel": "self", "href": format!("{}/compute/v2/", world.base_url())}],
        });
        return Reply::new(200, json!({"versions": [old, version_document(world, false)]})).unnamed();
    }
    let reply = versioned(world, request, &segments, body);
    reply.with("x-openstack-request-id", request_id).with("x-compute-request-id", request_id)
}

fn versioned(world: &mut World, request: &Request, segments: &[&str], body: Option<&Value>) -> Reply {
    let (Some(&"v2.1"), rest) = (segments.first(), &segments[1..]) else {
        return unknown_path();
    };
    let asked = asked_version(request);
    let version = match asked.as_str() {
        "latest" => Some(LATEST),
        text => text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
            .filter(|version| *version >= (2, 1) && *version <= LATEST),
    };
    let who = match crate::keystone::authenticate(world, request) {
        Ok(who) => who,
        // The version document of v2.1 is for everyone.
        Err(_) if rest.is_empty() => return Reply::new(200, json!({"version": version_document(world, true)})),
        Err(refused) => return refused,
    };
    let Some(version) = version else {
        let text =
            format!("Version {asked} is not supported by the API. Minimum is 2.1 and maximum is {}.{}.", LATEST.0, LATEST.1);
        let mut reply = error(406, text);
        if let Some(fault) =
            reply.body.as_mut().and_then(|body| body.as_object_mut()).and_then(|body| body.remove("computeFault"))
        {
            reply.body = Some(json!({"computeFault": fault}));
        }
        return tagged(reply, &asked);
    };
    let reply = match body {
        None if needs_body(request, rest) => error(400, "Malformed request body"),
        body => {
            let call = Call {
                request,
                method: request.method.as_str(),
                path: rest.to_vec(),
                query: Query::parse(&request.query),
                body: body.unwrap_or(&Value::Null),
                version,
                who,
            };
            route(world, &call).unwrap_or_else(|reply| reply)
        }
    };
    tagged(reply, &format!("{}.{}", version.0, version.1))
}

fn needs_body(request: &Request, path: &[&str]) -> bool {
    let tag = request.method == http::Method::PUT && matches!(path, ["servers", _, "tags", _]);
    matches!(request.method.as_str(), "POST" | "PUT") && !tag
}

/// The answer for a path that Nova does not know at all; it comes from the part in front of the versions.
fn unknown_path() -> Reply {
    let body = json!({
        "code": "404 Not Found", "message": "The resource could not be found.<br /><br />\n\n\n", "title": "Not Found",
    });
    Reply::new(404, body).plain()
}

fn tagged(reply: Reply, version: &str) -> Reply {
    if reply.plain {
        return reply;
    }
    reply
        .with("openstack-api-version", format!("compute {version}"))
        .with("x-openstack-nova-api-version", version)
        .with("vary", "X-OpenStack-Nova-API-Version")
}

fn asked_version(request: &Request) -> String {
    request
        .get(&API_VERSION)
        .and_then(|value| value.split(',').find_map(|part| part.trim().strip_prefix("compute ")))
        .or_else(|| request.get("X-OpenStack-Nova-API-Version"))
        .unwrap_or("2.1")
        .trim()
        .to_owned()
}

fn version_document(world: &World, long: bool) -> Value {
    let mut document = json!({
        "id": "v2.1", "status": "CURRENT", "version": format!("{}.{}", LATEST.0, LATEST.1), "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{}/compute/v2.1/", world.base_url())}],
    });
    if long {
        document["media-types"] =
            json!([{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}]);
    }
    document
}

fn route(world: &mut World, call: &Call) -> Api {
    match (call.method, call.path.as_slice()) {
        ("GET", []) => ok(json!({"version": version_document(world, true)})),
        ("POST", ["servers", id, "action"]) => actions::handle(world, call, id),
        (_, ["servers", ..]) => servers::handle(world, call),
        (_, ["flavors", ..]) => flavors::handle(world, call),
        (_, ["os-aggregates", ..]) => aggregates::handle(world, call),
        (_, ["os-server-groups", ..]) => groups::handle(world, call),
        (_, ["os-services", ..] | ["os-availability-zone", ..]) => hosts::handle(world, call),
        (_, ["os-hypervisors", ..]) => hypervisors::handle(world, call),
        (_, ["os-quota-sets", ..] | ["limits"]) => quota::handle(world, call),
        ("GET", ["os-migrations"]) => hypervisors::migrations(world, call),
        ("GET", ["extensions"]) => ok(json!({"extensions": []})),
        ("GET", ["os-keypairs"]) => ok(json!({"keypairs": []})),
        _ => Err(unknown_path()),
    }
}

/// 403 unless the caller is an admin.
pub(crate) fn admin(call: &Call, policy: &str) -> Result<(), Reply> {
    if call.who.is_admin() {
        return Ok(());
    }
    Err(error(403, format!("Policy doesn't allow {policy} to be performed.")))
}

/// A link of Nova's kind.
pub(crate) fn links(world: &World, kind: &str, id: &str) -> Value {
    let base = world.base_url();
    json!([
        {"rel": "self", "href": format!("{base}/compute/v2.1/{kind}/{id}")},
        {"rel": "bookmark", "href": format!("{base}/compute/{kind}/{id}")},
    ])
}
