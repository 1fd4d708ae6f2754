//! What others do in the cloud, as [`Meddling`] and its neighbours name it: by the tenants' and the operator's own tokens, on the
//! network that never fails.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::strike::Strike;
use crate::plan::Meddling;
use crate::sim::cloud::SimCloud;
use crate::sim::world::World;
use crate::workload::USERS;

/// The operator.
const OPERATOR: &str = "admin";

/// A tenant does something with a server of his. False: he has none.
pub fn meddle(world: &World, strike: &Strike<'_>, how: Meddling, pick: u64) -> bool {
    let user = USERS[usize::try_from(pick % USERS.len() as u64).unwrap_or(0)];
    let Some(token) = world.cloud.token(user) else { return false };
    let (_, listed) = world.cloud.tenant(Method::GET, "/compute/v2.1/servers", &token, None);
    let servers = listed["servers"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let chosen =
        usize::try_from(pick >> 8).unwrap_or(0).checked_rem(servers.len()).and_then(|place| servers[place]["id"].as_str());
    let Some(server) = chosen else { return false };
    strike.happens();
    let path = format!("/compute/v2.1/servers/{server}");
    let act = |verb: &str| world.cloud.tenant(Method::POST, &format!("{path}/action"), &token, Some(&json!({ verb: null })));
    let (status, _) = match how {
        Meddling::Delete => world.cloud.tenant(Method::DELETE, &path, &token, None),
        Meddling::Stop => act("os-stop"),
        Meddling::Shelve => act("shelve"),
        Meddling::Unshelve => act("unshelve"),
        Meddling::Lock => act("lock"),
        Meddling::Rename => {
            let renamed = json!({"server": {"name": format!("renamed-{}", pick % 1_000)}});
            world.cloud.tenant(Method::PUT, &path, &token, Some(&renamed))
        }
    };
    world.trace.incident(None, "tenant", format!("{user} asks for {how:?} of {server}: {status}"));
    true
}

/// Writes what is there already to the providers of all hosts, round after round.
pub async fn storm(world: &World, every: Duration, long: Duration) {
    let until = tokio::time::Instant::now() + long;
    while tokio::time::Instant::now() < until {
        if let Some(token) = world.cloud.token(OPERATOR) {
            for provider in providers(&world.cloud, &token) {
                let path = format!("/placement/resource_providers/{provider}/aggregates");
                let (_, mut body) = world.cloud.tenant(Method::GET, &path, &token, None);
                // The generation comes with it, and goes up with the write.
                world.cloud.tenant(Method::PUT, &path, &token, Some(&body.take()));
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Removes our holds from some hosts.
pub fn audit(world: &World, pick: u64) {
    let Some(token) = world.cloud.token(OPERATOR) else { return };
    for (place, provider) in providers(&world.cloud, &token).into_iter().enumerate() {
        if pick >> (place % 64) & 1 == 0 {
            continue;
        }
        let path = format!("/placement/resource_providers/{provider}/allocations");
        let (_, listed) = world.cloud.tenant(Method::GET, &path, &token, None);
        for consumer in listed["allocations"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            let path = format!("/placement/allocations/{consumer}");
            let (_, claim) = world.cloud.tenant(Method::GET, &path, &token, None);
            if claim["consumer_type"] == "LEASEHOLD_HOLD" {
                let (status, _) = world.cloud.tenant(Method::DELETE, &path, &token, None);
                world.trace.incident(None, "audit", format!("hold {consumer} removed from {provider}: {status}"));
            }
        }
    }
}

/// All of them, roots and ours.
fn providers(cloud: &SimCloud, token: &str) -> Vec<String> {
    let (_, listed) = cloud.tenant(Method::GET, "/placement/resource_providers", token, None);
    let all = listed["resource_providers"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    all.iter().filter_map(|provider| provider["uuid"].as_str().map(str::to_owned)).collect()
}
