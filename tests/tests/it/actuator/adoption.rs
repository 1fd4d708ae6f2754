//! Servers parked at the end of one lease, taken over by a later one (architecture D23, docs/decisions/0011).

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, PoolKind, Stage};
use serde_json::{Value, json};

use super::world::{Crash, World};
use super::{TROUBLE, judge};

/// A lease of two slots with servers that were parked at its end, about 130 s after the beginning.
async fn parked(world: &mut World) -> (LeaseId, Vec<String>) {
    let lease = world.book(2, 10, 120, None, OnEnd::Shelve);
    world.until("the first is active", 20, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let servers: Vec<String> = ["a", "b"].iter().map(|name| world.boot(lease, name).unwrap()).collect();
    world.until("both run", 10, || servers.iter().all(|id| world.server_status(id) == "ACTIVE")).await;
    world.until("the first is over", 160, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    assert!(servers.iter().all(|id| world.server_status(id) == "SHELVED_OFFLOADED"));
    (lease, servers)
}

async fn world(pool: PoolKind) -> World {
    let world = World::new(&["cmp1"]);
    world.onboard("cmp1", pool).await;
    world
}

/// Every server woke so often.
fn woke(world: &World, servers: &[String], times: usize) {
    let woken = judge::unshelved(world);
    for server in servers {
        assert_eq!(woken.get(server).map_or(0, Vec::len), times, "{server}");
    }
}

#[tokio::test(start_paused = true)]
async fn parked_servers_wake_once_in_the_lease_that_adopts_them_and_end_with_it() {
    for pool in [PoolKind::Dedicated, PoolKind::Shared] {
        let mut world = world(pool).await;
        world.lead();
        let begin = world.now();
        let (first, servers) = parked(&mut world).await;
        let flavor = world.flavor(first);
        let start = world.now().plus(100);
        let second = world.adopt(&servers, 3, 100, 400, OnEnd::Delete).await.unwrap();
        assert_eq!(world.lease(second).unwrap().reservations[0].flavor().to_string(), flavor);
        world.pass(50).await;
        woke(&world, &servers, 0);
        assert_eq!(world.boot(first, "early"), Err(400), "the flavor is private between the leases");
        world.until("the second is active", 70, || world.status(second) == Some(LeaseStatus::Active)).await;
        woke(&world, &servers, 1);
        assert!(servers.iter().all(|id| world.server_status(id) == "ACTIVE"));
        // A third one fits, with the same flavor; a fourth does not.
        let third = world.boot(first, "c").unwrap();
        let fourth = world.boot(first, "d").unwrap();
        world.until("the boots end", 20, || [&third, &fourth].iter().all(|id| world.server_status(id) != "BUILD")).await;
        let mut both = [world.server_status(&third), world.server_status(&fourth)];
        both.sort();
        assert_eq!(both, ["ACTIVE", "ERROR"]);
        world.until("the second is over", 400, || world.status(second) == Some(LeaseStatus::Terminated)).await;
        assert!(servers.iter().chain([&third, &fourth]).all(|id| world.server_status(id) == "gone"));
        world.pass(70).await;
        judge::never_open_outside(&world, second, &flavor, &[(begin.plus(10), begin.plus(120)), (start, start.plus(300))]);
        judge::hold_covers_tokens(&world);
        judge::clean_at_rest(&world, 1, 1);
        woke(&world, &servers, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_at_any_call_around_the_second_start_wakes_each_server_once() {
    // So many calls of the second leader, prepare and start together; one more is never made and must not crash.
    let mut crashed = 0;
    for at in 0..40 {
        for applied in [false, true] {
            let mut world = world(PoolKind::Dedicated).await;
            world.lead();
            let (_, servers) = parked(&mut world).await;
            world.pass(65).await;
            *world.crash.lock() = Some(Crash { at: world.writes.load(std::sync::atomic::Ordering::SeqCst) + at, applied });
            let second = world.adopt(&servers, 2, 30, 200, OnEnd::Delete).await.unwrap();
            let died = tokio::select! {
                () = world.crashed.notified() => true,
                () = world.until("it starts", 60, || world.status(second) == Some(LeaseStatus::Active)) => false,
            };
            if !died {
                *world.crash.lock() = None;
                assert!(at > 3, "prepare and start make more calls than {at}");
                assert!(crashed > 6);
                return;
            }
            crashed += 1;
            world.kill().await;
            *world.crash.lock() = None;
            world.lead();
            world.until("the next leader starts it", 90, || world.status(second) == Some(LeaseStatus::Active)).await;
            assert!(servers.iter().all(|id| world.server_status(id) == "ACTIVE"));
            world.pass(20).await;
            woke(&world, &servers, 1);
            world.until("it is over", 220, || world.status(second) == Some(LeaseStatus::Terminated)).await;
            assert!(servers.iter().all(|id| world.server_status(id) == "gone"));
            judge::hold_covers_tokens(&world);
        }
    }
    panic!("the start never ends without a crash");
}

#[tokio::test(start_paused = true)]
async fn a_series_hands_its_servers_on_and_a_server_that_its_owner_deletes_is_not_missed() {
    let mut world = world(PoolKind::Dedicated).await;
    world.lead();
    let (_, servers) = parked(&mut world).await;
    let second = world.adopt(&servers, 2, 60, 200, OnEnd::Shelve).await.unwrap();
    let taken = world.adopt(&servers, 2, 600, 700, OnEnd::Delete).await.unwrap_err();
    assert!(taken.contains("which is not over") && !taken.contains("stale"), "{taken}");
    // He has no room to wake it, but may delete it.
    assert_eq!(world.tenant(Method::DELETE, &format!("/servers/{}", servers[1]), None).0, 204);
    world.until("the second is active", 70, || world.status(second) == Some(LeaseStatus::Active)).await;
    woke(&world, &servers[..1], 1);
    world.until("the second is over", 250, || world.status(second) == Some(LeaseStatus::Terminated)).await;
    assert_eq!(world.server_status(&servers[0]), "SHELVED_OFFLOADED");
    let third = world.adopt(&servers[..1], 1, 60, 200, OnEnd::Delete).await.unwrap();
    world.until("the third is active", 70, || world.status(third) == Some(LeaseStatus::Active)).await;
    woke(&world, &servers[..1], 2);
    world.until("the third is over", 250, || world.status(third) == Some(LeaseStatus::Terminated)).await;
    world.pass(70).await;
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, 1, 1);
}

/// A lease that is long before its start and has adopted servers which their owner has deleted since, and its flavor.
async fn adopted_and_deleted() -> (World, LeaseId, String) {
    let mut world = world(PoolKind::Dedicated).await;
    world.lead();
    let (first, servers) = parked(&mut world).await;
    let flavor = world.flavor(first);
    let second = world.adopt(&servers, 2, 4_000, 4_100, OnEnd::Delete).await.unwrap();
    for server in &servers {
        world.tenant(Method::DELETE, &format!("/servers/{server}"), None);
    }
    (world, second, flavor)
}

#[tokio::test(start_paused = true)]
async fn all_servers_that_are_deleted_before_the_start_leave_a_lease_like_any_other() {
    let (world, second, flavor) = adopted_and_deleted().await;
    world.pass(200).await;
    assert!(has_flavor(&world, &flavor), "the flavor stays for the lease that is booked");
    world.until("the second is active", 4_000, || world.status(second) == Some(LeaseStatus::Active)).await;
    let fresh = {
        let image = world.any_image();
        let flavor = world.lease(second).unwrap().reservations[0].flavor().to_string();
        let body = json!({"server": {"name": "x", "flavorRef": flavor, "imageRef": image, "networks": "none"}});
        world.tenant(Method::POST, "/servers", Some(body)).1["server"]["id"].as_str().unwrap().to_owned()
    };
    world.until("a new one runs", 10, || world.server_status(&fresh) == "ACTIVE").await;
    world.until("the second is over", 150, || world.status(second) == Some(LeaseStatus::Terminated)).await;
    world.pass(70).await;
    judge::clean_at_rest(&world, 1, 1);
}

/// The flavor and its class are there.
fn has_flavor(world: &World, flavor: &str) -> bool {
    let state = world.state();
    let class = format!("CUSTOM_RESERVATION_{}", flavor.replace('-', "_").to_uppercase());
    state["flavors"].get(flavor).is_some() && state["placement"].to_string().contains(&class)
}

#[tokio::test(start_paused = true)]
async fn a_flavor_without_servers_goes_when_no_booked_lease_adopts_any_more() {
    let (world, second, flavor) = adopted_and_deleted().await;
    world.pass(130).await;
    assert!(has_flavor(&world, &flavor));
    world.ledger.apply(Command::DeleteLease { lease_id: second }).unwrap();
    world.pass(130).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn servers_that_never_woke_because_the_cloud_was_down_stay_parked() {
    for path in ["/", "/resource_providers", "/servers"] {
        let mut world = world(PoolKind::Dedicated).await;
        world.lead();
        let (_, servers) = parked(&mut world).await;
        let second = world.adopt(&servers, 2, 30, 200, OnEnd::Delete).await.unwrap();
        let down = Fault::on("", path, FaultKind::Error { status: 503, retry_after_s: None });
        let down = world.sim.lock().add_fault(down);
        world.until("its end is due", 220, || world.status(second) == Some(LeaseStatus::Terminating)).await;
        world.pass(60).await;
        world.sim.lock().remove_fault(down);
        world.until("it is over", 120, || world.status(second) == Some(LeaseStatus::Terminated)).await;
        world.pass(70).await;
        assert!(servers.iter().all(|id| world.server_status(id) == "SHELVED_OFFLOADED"), "{path}");
        woke(&world, &servers, 0);
        let third = world.adopt(&servers, 2, 30, 200, OnEnd::Delete).await.unwrap();
        world.until("the third is active", 60, || world.status(third) == Some(LeaseStatus::Active)).await;
        woke(&world, &servers, 1);
        world.until("the third is over", 250, || world.status(third) == Some(LeaseStatus::Terminated)).await;
        assert!(servers.iter().all(|id| world.server_status(id) == "gone"), "{path}");
        judge::hold_covers_tokens(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_deleted_before_its_start_leaves_the_servers_parked_for_another() {
    let mut world = world(PoolKind::Dedicated).await;
    world.lead();
    let (first, servers) = parked(&mut world).await;
    for prepared in [false, true] {
        let start = if prepared { 1_000 } else { 5_000 };
        let second = world.adopt(&servers, 2, start, 6_000, OnEnd::Delete).await.unwrap();
        world.pass(20).await;
        let stage = world.lease(second).unwrap().reservations[0].stage;
        assert_eq!(stage, if prepared { Stage::Prepared } else { Stage::Booked });
        world.ledger.apply(Command::DeleteLease { lease_id: second }).unwrap();
        world.until("it is gone", 60, || world.lease(second).is_none()).await;
        world.pass(70).await;
        assert!(servers.iter().all(|id| world.server_status(id) == "SHELVED_OFFLOADED"), "prepared: {prepared}");
    }
    // The first lease may be forgotten, too: the servers know what they are.
    world.ledger.apply(Command::DeleteLease { lease_id: first }).unwrap();
    let last = world.adopt(&servers, 2, 60, 200, OnEnd::Delete).await.unwrap();
    world.until("the last is active", 70, || world.status(last) == Some(LeaseStatus::Active)).await;
    woke(&world, &servers, 1);
}

#[tokio::test(start_paused = true)]
async fn servers_that_cannot_be_adopted_are_refused_with_the_reason() {
    let mut world = world(PoolKind::Dedicated).await;
    world.lead();
    let (first, servers) = parked(&mut world).await;
    let nobodys = world.number().to_string();
    let refused = |found: Result<LeaseId, String>, text: &str| {
        let found = found.unwrap_err();
        assert!(found.contains(text), "{text} is not in: {found}");
    };
    refused(world.adopt(std::slice::from_ref(&nobodys), 2, 60, 200, OnEnd::Delete).await, "has no server");
    let strange = world.adopt_with(&servers, 2, 60, 200, OnEnd::Delete, |wish| wish.project_id.0 = "other".into()).await;
    refused(strange, "has no server");
    refused(world.adopt(&servers[..1], 2, 60, 200, OnEnd::Delete).await, &servers[1]);
    refused(world.adopt(&servers, 1, 60, 200, OnEnd::Delete).await, "amount");
    let larger = |wish: &mut leasehold_ledger::command::LeaseWish| wish.reservations[0].resource.instance_mut().vcpus = 3;
    refused(world.adopt_with(&servers, 2, 60, 200, OnEnd::Delete, larger).await, "the same");
    // One that is of no reservation, and one that is not parked.
    let flavor = json!({"flavor": {"name": "ord", "vcpus": 2, "ram": 1024, "disk": 5, "id": "ord"}});
    world.admin(Method::POST, "/flavors", Some(flavor));
    assert_eq!(world.boot_ordinary("ord").await, "ERROR", "a dedicated host takes none, but Nova knows the server");
    let state = world.state();
    let all = state["servers"].as_object().unwrap();
    let ordinary = all.iter().find(|(_, server): &(&String, &Value)| server["name"] == "ordinary").unwrap().0.clone();
    refused(world.adopt(&[ordinary], 2, 60, 200, OnEnd::Delete).await, "flavor of a reservation");
    let second = world.adopt(&servers, 2, 30, 200, OnEnd::Delete).await.unwrap();
    world.until("the second is active", 60, || world.status(second) == Some(LeaseStatus::Active)).await;
    refused(world.adopt(&servers, 2, 300, 400, OnEnd::Delete).await, "must be SHELVED_OFFLOADED");
    assert!(world.lease(first).is_some());
}

#[tokio::test(start_paused = true)]
async fn whatever_the_cloud_does_to_the_calls_adopted_servers_wake_once() {
    let kinds = TROUBLE.into_iter().chain([FaultKind::AsyncFailure]);
    for kind in kinds {
        let mut world = world(PoolKind::Dedicated).await;
        world.lead();
        let (_, servers) = parked(&mut world).await;
        let second = world.adopt(&servers, 2, 30, 200, OnEnd::Delete).await.unwrap();
        let fault = Fault::on("POST", "/servers/*/action", kind.clone()).times(2).with_body("\"unshelve\"");
        world.sim.lock().add_fault(fault);
        world.until("the second is active", 90, || world.status(second) == Some(LeaseStatus::Active)).await;
        assert!(servers.iter().all(|id| world.server_status(id) == "ACTIVE"), "{kind:?}");
        woke(&world, &servers, 1);
        world.until("the second is over", 300, || world.status(second) == Some(LeaseStatus::Terminated)).await;
        assert!(servers.iter().all(|id| world.server_status(id) == "gone"), "{kind:?}");
        judge::hold_covers_tokens(&world);
    }
}
