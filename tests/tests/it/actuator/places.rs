//! Leases over several hosts, and staging on other hosts than the lease's own.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, Phase, ReasonCode};
use leasehold_node::leader::names;
use serde_json::json;

use super::ask::Ask;
use super::judge;
use super::world::World;

const DOWN: FaultKind = FaultKind::Error { status: 503, retry_after_s: None };

/// A lease that is staged on `cmp1` over 20..60, parked by 120, and runs on `cmp2` over 130..`end`; who needs all of
/// `cmp1` from 130 on comes with it.
async fn staged_elsewhere(world: &mut World, end: u32, on_end: OnEnd) -> (LeaseId, LeaseId) {
    let next = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(5, 130, 3_000) });
    world.ask(&Ask { host: Some("cmp2"), ..Ask::new(5, 10, 125) });
    let lease = world.ask(&Ask { staging: Some((20, 60)), on_end, ..Ask::new(2, 130, end) });
    let bindings = world.lease(lease).unwrap().reservations[0].bindings.clone();
    let of = |phase| bindings.iter().filter(move |one| one.phase == phase).map(|one| one.host).collect::<Vec<_>>();
    assert_ne!(of(Phase::Staging), of(Phase::Main));
    (lease, next)
}

#[tokio::test(start_paused = true)]
async fn servers_staged_on_another_host_are_parked_there_and_wake_on_the_leases_own() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let (lease, next) = staged_elsewhere(&mut world, 300, OnEnd::Delete).await;
    world.pass(30).await;
    let servers = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await];
    assert!(servers.iter().all(|server| world.host_of(server) == "cmp1"));
    world.until("both leases are active", 105, || world.is_active(lease) && world.is_active(next)).await;
    assert!(servers.iter().all(|server| world.host_of(server) == "cmp2" && world.server_status(server) == "ACTIVE"));
    assert!(judge::unshelved(&world).values().all(|at| at.len() == 1));
    world.until("it is over", 200, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_parked_by_the_start_leaves_the_staging_host_and_wakes_on_the_leases_own() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let (lease, next) = staged_elsewhere(&mut world, 300, OnEnd::Delete).await;
    world.pass(30).await;
    let servers = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await];
    // Nova is down over the whole margin and the start.
    let mut down = Fault::on("POST", "/servers/*", DOWN);
    down.when.service = "compute".into();
    world.sim.lock().add_fault(down);
    world.pass(105).await;
    assert!(servers.iter().all(|server| world.host_of(server) == "cmp1" && world.server_status(server) == "ACTIVE"));
    assert!(!world.is_active(lease) && !world.is_active(next));
    assert_eq!(world.lease(next).unwrap().reason.unwrap().code, ReasonCode::Late);
    world.sim.lock().clear_faults();
    world.until("both leases are active", 15, || world.is_active(lease) && world.is_active(next)).await;
    assert!(servers.iter().all(|server| world.host_of(server) == "cmp2" && world.server_status(server) == "ACTIVE"));
    assert!(judge::unshelved(&world).values().all(|at| at.len() == 1));
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn tokens_in_use_by_no_server_on_a_host_that_is_left_are_told_and_the_lease_starts_once_they_are_back() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let (lease, _) = staged_elsewhere(&mut world, 300, OnEnd::Delete).await;
    world.pass(30).await;
    let server = world.boot_up(lease, "a").await;
    // Somebody has one of the tokens who is no server: an allocation that a failed migration forgot, for example.
    let reservation = world.lease(lease).unwrap().reservations[0].id;
    let child = world.tokens_path("cmp1").rsplit('/').next().unwrap().to_owned();
    let consumer = world.number();
    let body = json!({"allocations": {child: {"resources": {names::class(reservation): 1}}}, "consumer_type": "INSTANCE",
        "project_id": "p", "user_id": "u", "consumer_generation": null});
    let at = format!("/placement/allocations/{consumer}");
    assert_eq!(world.call(("admin", "admin"), Method::PUT, &at, Some(body)).0, 204);
    world.pass(110).await;
    let reason = |world: &World| world.lease(lease).unwrap().reason.map(|reason| reason.text).unwrap_or_default();
    assert_eq!(reason(&world), "", "a moment is left for Nova to give tokens back");
    world.until("it is told", 60, || reason(&world).contains("by no server that Nova lists: 1 on host cmp1")).await;
    assert!(!world.is_active(lease));
    assert_eq!(world.host_of(&server), "cmp2", "nobody else waits for it");
    world.call(("admin", "admin"), Method::DELETE, &at, None);
    world.until("the lease is active", 15, || world.is_active(lease)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn where_more_servers_are_left_than_the_lease_has_slots_the_rest_moves_on() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    // From 130 on both hosts have room for two more; the staging finds room on the first alone.
    let others = ["cmp1", "cmp2"].map(|host| world.ask(&Ask { host: Some(host), ..Ask::new(3, 130, 3_000) }));
    world.ask(&Ask { host: Some("cmp2"), ..Ask::new(5, 10, 125) });
    let lease = world.ask(&Ask { staging: Some((20, 60)), ..Ask::new(4, 130, 1_000) });
    world.pass(30).await;
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        servers.push(world.boot_up(lease, name).await);
    }
    let on = |world: &World, host: &str| servers.iter().filter(|server| world.host_of(server) == host).count();
    assert_eq!(on(&world, "cmp1"), 4);
    let mut down = Fault::on("POST", "/servers/*", DOWN);
    down.when.service = "compute".into();
    world.sim.lock().add_fault(down);
    world.pass(105).await;
    world.sim.lock().clear_faults();
    world.until("all are active", 30, || world.is_active(lease) && others.iter().all(|other| world.is_active(*other))).await;
    assert_eq!((on(&world, "cmp1"), on(&world, "cmp2")), (2, 2));
    assert!(servers.iter().all(|server| world.server_status(server) == "ACTIVE"));
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_shelved_off_a_staging_host_goes_in_the_end() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let (lease, next) = staged_elsewhere(&mut world, 2_000, OnEnd::Delete).await;
    world.pass(30).await;
    let server = world.boot_up(lease, "a").await;
    world.act(&server, serde_json::json!({"rescue": null}));
    world.pass(200).await;
    assert_eq!(world.server_status(&server), "RESCUE");
    world.until("both leases are active", 320, || world.is_active(lease) && world.is_active(next)).await;
    assert_eq!(world.server_status(&server), "gone");
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn of_several_servers_in_error_each_that_holds_a_token_goes_at_the_end_of_the_margin() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.ask(&Ask { staging: Some((20, 60)), ..Ask::new(3, 1_000, 1_200) });
    world.pass(30).await;
    let mut servers = Vec::new();
    for name in ["a", "b", "c"] {
        // Two never found a host; the one between them ran, and still holds a token.
        if name != "b" {
            world.sim.lock().add_fault(Fault::on("POST", "/servers", FaultKind::AsyncFailure).times(1));
        }
        servers.push(world.boot(lease, name).unwrap());
        world.pass(2).await;
        world.sim.lock().clear_faults();
    }
    world.act(&servers[1], serde_json::json!({"os-resetState": {"state": "error"}}));
    assert!(servers.iter().all(|server| world.server_status(server) == "ERROR"));
    world.pass(80).await;
    assert_eq!(world.server_status(&servers[1]), "ERROR", "the margin is the tenant's");
    world.until("its token is free", 10, || world.server_status(&servers[1]) == "gone").await;
    assert!(world.now() >= world.lease(lease).unwrap().reservations[0].staging.unwrap().booked().end);
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_keeps_neither_the_others_start_nor_their_end() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.ask(&Ask::new(8, 60, 200));
    world.pass(50).await;
    let path = world.tokens_path("cmp2");
    world.sim.lock().add_fault(Fault::on("", &path, DOWN));
    world.pass(12).await;
    let mut servers = vec![world.boot_up(lease, "a").await];
    assert_eq!(world.host_of(&servers[0]), "cmp1", "what is ready is published");
    assert_eq!(world.status(lease), Some(LeaseStatus::Starting));
    world.sim.lock().clear_faults();
    world.until("all of it is there", 15, || world.is_active(lease)).await;
    while servers.len() < 8 {
        servers.push(world.boot_up(lease, "b").await);
    }
    world.until("the end is near", 150, || world.now() >= world.lease(lease).unwrap().end.minus(5)).await;
    world.sim.lock().add_fault(Fault::on("", &path, DOWN));
    world.until("the servers go", 25, || servers.iter().all(|server| world.server_status(server) == "gone")).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Terminating));
    world.sim.lock().clear_faults();
    world.until("it is over", 30, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_over_where_placement_does_not_know_the_host_any_more() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.ask(&Ask::new(8, 60, 120));
    world.until("it is active", 70, || world.is_active(lease)).await;
    world.remove_tokens_of("cmp2");
    world.until("it is over", 90, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_what_ended_on_its_host_where_there_is_room_for_both() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let first = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(2, 60, 120) });
    let second = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(2, 120, 400) });
    world.until("the first is active", 70, || world.is_active(first)).await;
    let server = world.boot_up(first, "a").await;
    world.sim.lock().add_fault(Fault::on("DELETE", "/servers/*", DOWN));
    world.until("the second is active", 70, || world.is_active(second)).await;
    assert!(world.now() <= world.lease(second).unwrap().start.plus(1), "{:?}", world.now());
    assert_eq!(world.server_status(&server), "ACTIVE");
    judge::hold_covers_tokens(&world);
}
