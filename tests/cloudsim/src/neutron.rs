//! Neutron: only as much as Nova's and Leasehold's clients ask of it; every list is empty but the networks.

use serde_json::{Value, json};

use crate::message::Request;
use crate::reply::Reply;
use crate::rng::digest;
use crate::world::World;

/// Serves one call; `path` is what follows `/network`.
pub(crate) fn handle(world: &World, request: &Request, path: &str) -> Reply {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if segments.is_empty() {
        let link = format!("{}/network/v2.0/", world.base_url());
        let versions = json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": link}]}]});
        return Reply::new(200, versions);
    }
    if let Err(refused) = crate::keystone::authenticate(world, request) {
        return refused;
    }
    let network = json!({
        "id": digest("network:private", 32), "name": "private", "status": "ACTIVE", "admin_state_up": true,
        "shared": true, "router:external": false, "subnets": [],
    });
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", ["v2.0", "networks"]) => Reply::new(200, json!({"networks": [network]})),
        ("GET", ["v2.0", "networks", id]) if network["id"] == *id => Reply::new(200, json!({"network": network})),
        (
            "GET",
            ["v2.0", kind @ ("ports" | "subnets" | "floatingips" | "routers" | "extensions" | "security-groups" | "agents")],
        ) => {
            let key = kind.replace('-', "_");
            Reply::new(200, json!({ key: Value::Array(Vec::new()) }))
        }
        _ => Reply::new(
            404,
            json!({"NeutronError": {
                "type": "HTTPNotFound", "message": "The resource could not be found.", "detail": "",
            }}),
        ),
    }
}
