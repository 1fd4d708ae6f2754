//! What a tenant does in the cloud with a lease: boots servers in its staging window, or one after its start. The rest is
//! the promise.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use leasehold_ledger::model::Lease;
use serde_json::json;

use crate::sim::world::World;

/// Between two attempts, at first.
const AGAIN: Duration = Duration::from_millis(500);
/// So often he asks at that pace: what opens late opens within seconds. After that, each wait is twice as long as the one before:
/// most who are refused for longer have a lease that was deleted since.
const EAGER: u32 = 8;
/// And at most so many times as long as the first.
const PATIENT: u32 = 16;

/// Lives with one reservation of a lease, by its place, until its servers are asked for, or its time is over.
pub async fn live(world: Arc<World>, user: &'static str, lease: Lease, place: usize) {
    let Some(reservation) = lease.reservations.get(place) else { return };
    let flavor = reservation.id.to_string();
    let (from, until, many) = match reservation.staging {
        Some(staging) => (staging.window.start, staging.window.end, reservation.wish.instance().amount),
        None => (lease.start, lease.end, 1),
    };
    // A tenant that comes with the last second cannot hope for anything.
    let (from_ms, until_ms) = (from.unix_s() * 1_000, until.unix_s().saturating_sub(2) * 1_000);
    tokio::time::sleep(Duration::from_millis(from_ms.saturating_sub(world.trace.now_ms()))).await;
    let mut token = log_in(&world, user).await;
    let image = image(&world, &token);
    let (mut booted, mut refused) = (0, 0_u32);
    while booted < many && world.trace.now_ms() < until_ms {
        let body = json!({"server": {
            "name": format!("{}-{place}-{booted}", lease.name), "flavorRef": flavor, "imageRef": image, "networks": "none"}});
        let (status, answer) = world.cloud.tenant(Method::POST, "/compute/v2.1/servers", &token, Some(&body));
        if status == 202 {
            (booted, refused) = (booted + 1, 0);
            let server = answer["server"]["id"].as_str().unwrap_or_default();
            world.trace.incident(None, "tenant", format!("{} booted {server} with {flavor}", lease.id));
            continue;
        }
        // Everybody's tokens end at times, those of tenants too.
        if status == 401 {
            token = log_in(&world, user).await;
        }
        refused += 1;
        tokio::time::sleep(AGAIN * 2_u32.saturating_pow(refused.saturating_sub(EAGER)).min(PATIENT)).await;
    }
}

/// A token; asked for until there is one.
async fn log_in(world: &World, user: &str) -> String {
    loop {
        if let Some(token) = world.cloud.token(user) {
            return token;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn image(world: &World, token: &str) -> String {
    let (_, answer) = world.cloud.tenant(Method::GET, "/image/v2/images?limit=1", token, None);
    answer["images"][0]["id"].as_str().unwrap_or_default().to_owned()
}
