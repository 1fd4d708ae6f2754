//! What a tenant does in the cloud with a lease: boots servers in its staging window, or one after its start. Of one that expires he
//! uses none, some or all, and parks some of what he has. The rest is the promise.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use leasehold_ledger::model::Lease;
use serde_json::{Value, json};

use crate::plan::Draw;
use crate::sim::rng::stream;
use crate::sim::world::World;

/// Between two attempts, at first.
const AGAIN: Duration = Duration::from_millis(500);
/// So often he asks at that pace: what opens late opens within seconds. After that, each wait is twice as long as the one before:
/// most who are refused for longer have a lease that was deleted since.
const EAGER: u32 = 8;
/// And at most so many times as long as the first.
const PATIENT: u32 = 16;
/// So often he asks for an action that the server is not ready for.
const ACTS: u32 = 12;

/// What he makes of a reservation.
struct Use {
    /// Servers that he boots.
    boots: u32,
    /// When he begins, Unix milliseconds, if not as soon as he may.
    late_ms: Option<u64>,
    /// Those that he parks again.
    parks: usize,
    /// When, Unix milliseconds.
    parks_ms: u64,
    /// When he wakes them, if he does.
    wakes_ms: Option<u64>,
}

impl Use {
    /// As drawn for one reservation of a lease, by its place, that has so many slots.
    fn drawn(world: &World, lease: &Lease, place: usize, amount: u32, is_staged: bool) -> Use {
        let plain = Use { boots: if is_staged { amount } else { 1 }, late_ms: None, parks: 0, parks_ms: 0, wakes_ms: None };
        let Some(expiry_s) = lease.expiry_s else { return plain };
        let (high, low) = lease.id.0.as_u64_pair();
        let draw = &mut Draw::new(world.plan.seed, stream("use", &[high, low, place as u64]));
        let start_ms = lease.start.unix_s() * 1_000;
        let expiry_ms = u64::from(expiry_s) * 1_000;
        let part = u32::try_from(draw.between(1, u64::from(amount))).unwrap_or(1).min(amount);
        let kind = draw.below(8);
        let boots = match kind {
            _ if is_staged => amount,
            0..=1 => 0,
            // As it is counted, or just before that.
            2 => 1,
            3 | 7 => part,
            _ => amount,
        };
        let late_ms = (kind == 2 && !is_staged).then(|| start_ms + expiry_ms + draw.between(0, 3_000));
        let parks = match kind {
            5 | 7 => boots,
            6 => part,
            _ => 0,
        };
        let parks = usize::try_from(parks).unwrap_or(0);
        // Most are parked by the time that they are counted.
        let parks_ms = start_ms + draw.between(2_000, expiry_ms + 2_000);
        let wakes_ms = (draw.below(3) == 0).then(|| start_ms + expiry_ms + draw.between(0, 40_000));
        Use { boots, late_ms, parks, parks_ms, wakes_ms }
    }
}

/// Lives with one reservation of a lease, by its place, until its servers are asked for, or its time is over.
pub async fn live(world: Arc<World>, user: &'static str, lease: Lease, place: usize) {
    let Some(reservation) = lease.reservations.get(place) else { return };
    let flavor = reservation.id.to_string();
    let (from, until) = match reservation.staging {
        Some(staging) => (staging.window.start, staging.window.end),
        None => (lease.start, lease.end),
    };
    let uses = Use::drawn(&world, &lease, place, reservation.wish.instance().amount, reservation.staging.is_some());
    // A tenant that comes with the last second cannot hope for anything.
    let (from_ms, until_ms) = (from.unix_s() * 1_000, until.unix_s().saturating_sub(2) * 1_000);
    sleep_until(&world, uses.late_ms.unwrap_or(from_ms)).await;
    let mut token = log_in(&world, user).await;
    let image = image(&world, &token);
    let (mut booted, mut refused) = (Vec::new(), 0_u32);
    while booted.len() < uses.boots as usize && world.trace.now_ms() < until_ms {
        let body = json!({"server": {
            "name": format!("{}-{place}-{}", lease.name, booted.len()), "flavorRef": flavor, "imageRef": image, "networks": "none"}});
        let (status, answer) = world.cloud.tenant(Method::POST, "/compute/v2.1/servers", &token, Some(&body));
        if status == 202 {
            refused = 0;
            let server = answer["server"]["id"].as_str().unwrap_or_default();
            world.trace.incident(None, "tenant", format!("{} booted {server} with {flavor}", lease.id));
            booted.push(server.to_owned());
            continue;
        }
        // Everybody's tokens end at times, those of tenants too.
        if status == 401 {
            token = log_in(&world, user).await;
        }
        refused += 1;
        tokio::time::sleep(AGAIN * 2_u32.saturating_pow(refused.saturating_sub(EAGER)).min(PATIENT)).await;
    }
    let parked = &booted[..uses.parks.min(booted.len())];
    if parked.is_empty() {
        return;
    }
    sleep_until(&world, uses.parks_ms).await;
    for server in parked {
        act(&world, user, server, "shelve").await;
    }
    let Some(wakes_ms) = uses.wakes_ms else { return };
    sleep_until(&world, wakes_ms).await;
    for server in parked {
        act(&world, user, server, "unshelve").await;
    }
}

async fn sleep_until(world: &World, at_ms: u64) {
    tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(world.trace.now_ms()))).await;
}

/// Has something done with a server, once it is ready for that.
async fn act(world: &World, user: &str, server: &str, verb: &str) {
    let path = format!("/compute/v2.1/servers/{server}/action");
    for _ in 0..ACTS {
        let token = log_in(world, user).await;
        let (status, _) = world.cloud.tenant(Method::POST, &path, &token, Some(&json!({ verb: Value::Null })));
        if status == 202 {
            world.trace.incident(None, "tenant", format!("{user} asks for {verb} of {server}"));
        }
        // Another answer than that it is not ready stays what it is.
        if !matches!(status, 401 | 409) {
            return;
        }
        tokio::time::sleep(2 * AGAIN).await;
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
