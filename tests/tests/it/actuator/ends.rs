//! Ends that do not go as asked: what was not answered, what cannot be done, and what is done then.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, PoolKind, ReasonCode};
use leasehold_node::leader::names;
use serde_json::json;

use super::ask::Ask;
use super::world::World;
use super::{TROUBLE, judge};

/// A lease of five servers, of which two run, over 20..60; another needs the whole host from 60 on.
async fn running(world: &mut World, on_end: OnEnd) -> (LeaseId, LeaseId, [String; 2]) {
    let lease = world.ask(&Ask { on_end, ..Ask::new(5, 20, 60) });
    let next = world.ask(&Ask::new(5, 60, 3_000));
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let servers = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await];
    (lease, next, servers)
}

#[tokio::test(start_paused = true)]
async fn nobody_is_parked_while_the_staging_window_cannot_be_closed() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.book(1, 400, 700, Some((10, 40)), OnEnd::Delete);
    let flavor = world.flavor(lease);
    world.until("the window opens", 20, || judge::count(&world, "flavor.access_added") == 1).await;
    let server = world.boot_up(lease, "a").await;
    let down = FaultKind::Error { status: 503, retry_after_s: None };
    let fault = world.sim.lock().add_fault(Fault::on("PUT", "/resource_providers/*/inventories", down));
    world.pass(60).await;
    assert_eq!(world.server_status(&server), "ACTIVE", "whoever boots now would take the place of one that was parked");
    world.sim.lock().remove_fault(fault);
    world.until("it is parked", 60, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    world.until("the lease is over", 700, || world.is_over(lease)).await;
    world.pass(2).await;
    assert!(!world.state()["flavors"].as_object().unwrap().contains_key(&flavor));
}

#[tokio::test(start_paused = true)]
async fn a_rescued_server_that_is_to_be_shelved_is_told_and_deleted_after_a_while() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let (lease, next, servers) = running(&mut world, OnEnd::Shelve).await;
    world.act(&servers[0], json!({"rescue": null}));
    world.pass(100).await;
    let reason = world.lease(lease).unwrap().reason.unwrap();
    assert_eq!(reason.code, ReasonCode::ServerFailed);
    assert!(reason.text.contains(&servers[0]) && reason.text.contains("RESCUE"), "{}", reason.text);
    assert_eq!(world.server_status(&servers[0]), "RESCUE");
    assert_eq!(world.server_status(&servers[1]), "SHELVED_OFFLOADED", "the other is treated as asked");
    world.until("it is over", 300, || world.is_over(lease)).await;
    assert_eq!(world.server_status(&servers[0]), "gone");
    assert_eq!(world.server_status(&servers[1]), "SHELVED_OFFLOADED");
    world.until("the next starts", 15, || world.status(next) == Some(LeaseStatus::Active)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_waits_for_a_migration_to_be_confirmed_does_not_hold_up_a_snapshot_end_for_ever() {
    let mut world = World::new(&["cmp1", "cmp2"]);
    for host in ["cmp1", "cmp2"] {
        world.onboard(host, PoolKind::Dedicated).await;
    }
    world.lead();
    let lease = world.ask(&Ask { on_end: OnEnd::Snapshot, ..Ask::new(8, 20, 60) });
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let server = world.boot_up(lease, "a").await;
    world.act(&server, json!({"migrate": null}));
    world.until("it waits", 10, || world.server_status(&server) == "VERIFY_RESIZE").await;
    world.until("it is over", 400, || world.is_over(lease)).await;
    assert_eq!(world.server_status(&server), "gone");
}

#[tokio::test(start_paused = true)]
async fn a_shelve_that_nova_never_gets_done_ends_in_a_delete() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let (lease, next, servers) = running(&mut world, OnEnd::Shelve).await;
    // The compute process is dead: the shelve is accepted and stays in the queue.
    world.sim.lock().set_host_alive("cmp1", false);
    world.pass(800).await;
    assert_eq!(world.lease(lease).unwrap().reason.unwrap().code, ReasonCode::ServerFailed);
    assert!(!world.is_over(lease));
    world.until("it is over", 250, || world.is_over(lease)).await;
    assert!(servers.iter().all(|server| world.server_status(server) == "gone"));
    world.until("the next starts", 15, || world.status(next) == Some(LeaseStatus::Active)).await;
}

#[tokio::test(start_paused = true)]
async fn a_used_up_image_quota_holds_up_the_next_lease_for_minutes_not_for_ever() {
    for status in [403, 413] {
        let mut world = World::dedicated(&["cmp1"]).await;
        let (lease, next, servers) = running(&mut world, OnEnd::Snapshot).await;
        let refused = FaultKind::Error { status, retry_after_s: None };
        world.sim.lock().add_fault(Fault::on("POST", "/servers/*/action", refused).with_body("createImage"));
        world.pass(150).await;
        let reason = world.lease(lease).unwrap().reason.unwrap();
        assert!(reason.text.contains(&format!("answered {status}")), "{}", reason.text);
        world.until("it is over", 300, || world.is_over(lease)).await;
        assert!(servers.iter().all(|server| world.server_status(server) == "gone"));
        world.until("the next starts", 15, || world.status(next) == Some(LeaseStatus::Active)).await;
        judge::hold_covers_tokens(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn images_that_are_accepted_and_never_stored_hold_up_the_next_lease_for_minutes_not_for_ever() {
    for (on_end, verb) in [(OnEnd::Snapshot, "createImage"), (OnEnd::Shelve, "\"shelve\"")] {
        let mut world = World::dedicated(&["cmp1"]).await;
        let (lease, next, servers) = running(&mut world, on_end).await;
        world.sim.lock().add_fault(Fault::on("POST", "/servers/*/action", FaultKind::AsyncFailure).with_body(verb));
        // The lease ended about 40 s from here.
        world.pass(85).await;
        let reason = world.lease(lease).unwrap().reason.expect("it is told");
        assert_eq!(reason.code, ReasonCode::ServerFailed, "{verb}");
        world.until("it is over", 960, || world.is_over(lease)).await;
        assert!(servers.iter().all(|server| world.server_status(server) == "gone"), "{verb}");
        world.until("the next starts", 15, || world.status(next) == Some(LeaseStatus::Active)).await;
        judge::hold_covers_tokens(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_mended_before_it_was_deleted_is_treated_as_asked() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let (lease, _, servers) = running(&mut world, OnEnd::Shelve).await;
    world.act(&servers[0], json!({"rescue": null}));
    world.until("the lease ends", 60, || world.status(lease) == Some(LeaseStatus::Terminating)).await;
    // It is given up after five minutes, and no delete can be sent.
    world.ledger.refuse_actuation_lease(true);
    world.pass(330).await;
    world.act(&servers[0], json!({"unrescue": null}));
    world.until("it is parked", 30, || world.server_status(&servers[0]) == "SHELVED_OFFLOADED").await;
    world.ledger.refuse_actuation_lease(false);
    world.until("it is over", 30, || world.is_over(lease)).await;
    assert_eq!(world.server_status(&servers[0]), "SHELVED_OFFLOADED");
}

#[tokio::test(start_paused = true)]
async fn create_image_makes_one_image_whatever_becomes_of_its_answer() {
    let kinds = TROUBLE.into_iter().chain([FaultKind::Garbage]);
    for kind in kinds {
        let mut world = World::dedicated(&["cmp1"]).await;
        let (lease, _, servers) = running(&mut world, OnEnd::Snapshot).await;
        world.sim.lock().add_fault(Fault::on("POST", "/servers/*/action", kind.clone()).times(2).with_body("createImage"));
        world.until("it is over", 100, || world.is_over(lease)).await;
        assert!(servers.iter().all(|server| world.server_status(server) == "gone"), "{kind:?}");
        let state = world.state();
        let owned = |image: &&serde_json::Value| image["owner"] == world.tenant_project.as_str();
        let images = state["images"].as_object().unwrap().values().filter(owned).count();
        assert_eq!(images, 2, "{kind:?}: one of each server");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_in_any_status_leaves_nothing() {
    // Seconds after booking: prepared, staging, parking, parked, starting, active, terminating.
    for after in [5, 30, 62, 100, 130, 150, 190] {
        for boots in [false, true] {
            let mut world = World::dedicated(&["cmp1"]).await;
            let begin = world.now();
            let lease = world.ask(&Ask { staging: Some((20, 60)), ..Ask::new(2, 130, 190) });
            let flavor = world.flavor(lease);
            if boots && after > 25 {
                world.pass(25).await;
                world.boot_up(lease, "a").await;
            }
            world.until("the moment comes", 200, || world.now() >= begin.plus(after) || world.now() >= begin.plus(129)).await;
            if after == 130 {
                // So that the delete finds the start at work.
                let slow = FaultKind::Slow { after_ms: 4_000 };
                world.sim.lock().add_fault(Fault::on("PUT", "/resource_providers/*/inventories", slow));
                world.until("it starts", 5, || world.status(lease) == Some(LeaseStatus::Starting)).await;
                world.sim.lock().clear_faults();
            }
            world.until("the moment comes", 200, || world.now() >= begin.plus(after)).await;
            world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
            let deleted = world.now().plus(1);
            world.until("it is forgotten", 60, || world.lease(lease).is_none()).await;
            world.pass(130).await;
            let until = |end: u32| begin.plus(end).min(deleted);
            let windows = [(begin.plus(20), until(60)), (begin.plus(130), until(190))];
            judge::never_open_outside(&world, lease, &flavor, &windows);
            judge::hold_covers_tokens(&world);
            judge::clean_at_rest(&world, 1, 1);
            assert_eq!(world.tenant(Method::GET, "/servers", None).1["servers"].as_array().unwrap().len(), 0, "after {after} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_does_not_wait_for_a_host_that_the_lease_was_moved_from_and_that_was_let_go() {
    let mut world = World::new(&["cmp1", "cmp2"]);
    let left = world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.ask(&Ask::new(1, 30, 50));
    let (flavor, class) = (world.flavor(lease), names::class(world.flavor(lease).parse().unwrap()));
    world
        .until("it is prepared", 5, || judge::is_there(&world, &flavor, &class) == (true, true) && world.rows().is_empty())
        .await;
    world.kill().await;
    world.onboard("cmp2", PoolKind::Dedicated).await;
    // The lease moves, and nobody leads who would tell Placement; the calls that were to follow the host's removal never come.
    let close = Command::UpdateHost { host_id: left, properties: Default::default(), reservable: Some(false) };
    world.ledger.apply(close).unwrap();
    world.resize(lease, &Ask::new(2, 30, 50)).unwrap();
    world.ledger.apply(Command::RemoveHost { host_id: left }).unwrap();
    world.lead();
    world.until("it is active", 30, || world.is_active(lease)).await;
    world.until("it is over", 25, || world.is_over(lease)).await;
    assert_eq!(judge::is_there(&world, &flavor, &class), (false, true), "the host that was let go still has the class");
    world.until("that host is tidied up", 130, || judge::is_there(&world, &flavor, &class) == (false, false)).await;
    judge::clean_at_rest(&world, 1, 1);
}
