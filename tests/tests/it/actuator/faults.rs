//! Leaders that die at every call, answers that are lost, calls that come late, errors and conflicts.

use std::sync::atomic::Ordering;

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, PoolKind, ReasonCode};

use super::world::{Crash, World};
use super::{TROUBLE, judge};

/// Lives one staged lease with two servers through, killing the leader at `crash` if that call is reached. Answers how
/// many mutating calls there were.
async fn live_through(crash: Option<Crash>, on_end: OnEnd, faults: &[Fault]) -> (World, LeaseId, u64) {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.writes.store(0, Ordering::SeqCst);
    *world.crash.lock() = crash;
    for fault in faults {
        world.sim.lock().add_fault(fault.clone());
    }
    world.lead();
    let begin = world.now();
    let lease = world.book(2, 130, 190, Some((20, 60)), on_end);
    let flavor = world.flavor(lease);
    let mut servers: Vec<String> = Vec::new();
    let limit = begin.plus(400);
    let mut dead_until = None;
    while world.status(lease) != Some(LeaseStatus::Terminated) {
        assert!(world.now() < limit, "crash {crash:?}: the lease never ended; rows {:#?}", world.rows());
        // The tenant tries until he is let in; with faults the window opens late, never early.
        if servers.len() < 2 && world.now() > begin.plus(30) && world.now() < begin.plus(55) {
            let name = if servers.is_empty() { "a" } else { "b" };
            servers.extend(world.boot(lease, name).ok());
        }
        let tick = tokio::time::sleep(std::time::Duration::from_millis(100));
        tokio::select! {
            biased;
            () = world.crashed.notified() => {
                world.kill().await;
                // An election takes a moment.
                dead_until = Some(tokio::time::Instant::now() + std::time::Duration::from_secs(2));
            }
            () = tick => {}
        }
        if dead_until.is_some_and(|until| tokio::time::Instant::now() >= until) {
            dead_until = None;
            world.lead();
        }
    }
    let windows = [(begin.plus(20), begin.plus(60)), (begin.plus(130), begin.plus(190))];
    judge::never_open_outside(&world, lease, &flavor, &windows);
    judge::hold_covers_tokens(&world);
    let woken = judge::unshelved(&world);
    assert_eq!(woken.len(), 2, "crash {crash:?}: both servers woke");
    for (server, at) in &woken {
        assert_eq!(at.len(), 1, "crash {crash:?}: {server} woke once");
        // The start itself never waits for a predecessor's actuation lease: an election, a call, Nova's own time.
        let late = at[0] - begin.plus(130).unix_s() * 1000;
        let allowed = if faults.is_empty() { 4_000 } else { 30_000 };
        assert!(late < allowed, "crash {crash:?}: {server} woke {late} ms late");
    }
    let calls = world.writes.load(Ordering::SeqCst);
    (world, lease, calls)
}

/// One life with a crash, judged to the end.
async fn survives(crash: Crash, on_end: OnEnd) {
    let (world, _, _) = live_through(Some(crash), on_end, &[]).await;
    world.pass(130).await;
    match on_end {
        OnEnd::Delete => {}
        OnEnd::Snapshot => {
            let state = world.state();
            let owned = |image: &&serde_json::Value| image["owner"] == world.tenant_project.as_str();
            let images = state["images"].as_object().unwrap().values().filter(owned).count();
            assert_eq!(images, 2, "crash {crash:?}: one image of each server: {}", state["images"]);
        }
        OnEnd::Shelve => unreachable!("not asked for here"),
    }
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_any_call_is_carried_out_is_replaced_without_a_trace() {
    let (_, _, calls) = live_through(None, OnEnd::Delete, &[]).await;
    assert!(calls > 15, "{calls}");
    for at in 0..calls {
        survives(Crash { at, applied: false }, OnEnd::Delete).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_after_any_call_was_carried_out_is_replaced_without_a_second_effect() {
    let (_, _, calls) = live_through(None, OnEnd::Delete, &[]).await;
    for at in 0..calls {
        survives(Crash { at, applied: true }, OnEnd::Delete).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_around_any_call_makes_no_second_image() {
    let (_, _, calls) = live_through(None, OnEnd::Snapshot, &[]).await;
    for at in 0..calls {
        survives(Crash { at, applied: true }, OnEnd::Snapshot).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_call_survives_lost_answers_late_effects_errors_and_conflicts() {
    let calls = [
        ("PUT", "/resource_classes/*", ""),
        ("PUT", "/resource_providers/*/inventories", ""),
        ("POST", "/flavors", "\"flavor\""),
        ("POST", "/flavors/*/os-extra_specs", ""),
        ("POST", "/flavors/*/action", "addTenantAccess"),
        ("POST", "/flavors/*/action", "removeTenantAccess"),
        ("POST", "/servers/*/action", "\"shelve\""),
        ("POST", "/servers/*/action", "\"unshelve\""),
        ("PATCH", "*/images/*", ""),
        ("DELETE", "/servers/*", ""),
        ("DELETE", "/flavors/*", ""),
        ("DELETE", "/resource_classes/*", ""),
    ];
    let kinds = TROUBLE.into_iter().chain([FaultKind::Duplicate, FaultKind::Garbage]);
    for kind in kinds {
        // A 409 to these means that it is done already, which the cloud does not say falsely.
        let is_done = |call: &(&str, &str, &str)| call.1 == "/flavors" || call.2 == "addTenantAccess";
        let mut faults: Vec<Fault> = Vec::new();
        for call in &calls {
            if kind != FaultKind::Conflict || !is_done(call) {
                faults.push(Fault::on(call.0, call.1, kind.clone()).times(1).with_body(call.2));
            }
        }
        let (world, _, _) = live_through(None, OnEnd::Delete, &faults).await;
        world.pass(130).await;
        judge::clean_at_rest(&world, 1, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unshelve_without_room_is_tried_again_until_there_is() {
    let fault = Fault::on("POST", "/servers/*/action", FaultKind::AsyncFailure).times(3).with_body("\"unshelve\"");
    let (world, _, _) = live_through(None, OnEnd::Delete, &[fault]).await;
    assert_eq!(judge::count(&world, "server.unshelve_failed"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_is_down_at_the_start_is_tried_again_and_told() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 600, None, OnEnd::Delete);
    world.pass(50).await;
    world.sim.lock().add_fault(Fault::on("", "/", FaultKind::Error { status: 503, retry_after_s: None }));
    world.pass(40).await;
    let told = world.lease(lease).unwrap().reason.unwrap();
    assert_eq!(told.code, ReasonCode::Late, "{}", told.text);
    assert!(told.text.contains("503"), "{}", told.text);
    let before = judge::writes(&world).len();
    world.pass(60).await;
    let tries = judge::writes(&world).len() - before;
    assert!(tries < 30, "{tries} calls in a minute of a cloud that is down");
    world.sim.lock().clear_faults();
    world.until("it starts after all", 15, || world.status(lease) == Some(LeaseStatus::Active)).await;
    assert_eq!(world.lease(lease).unwrap().reason, None);
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_that_its_compute_does_not_carry_out_is_told_and_is_not_sent_again() {
    let mut world = World::with(&["cmp1"], |config| config.timings.spawn_ms = 5_000);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let begin = world.now();
    let lease = world.book(1, 130, 900, Some((20, 60)), OnEnd::Delete);
    world.pass(30).await;
    let server = world.boot(lease, "a").unwrap();
    world.until("it runs", 10, || world.server_status(&server) == "ACTIVE").await;
    world.until("it is parked", 60, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    world.until("Nova is waking it", 80, || world.now() >= begin.plus(132)).await;
    world.sim.lock().set_host_alive("cmp1", false);
    world.pass(20).await;
    assert_eq!(world.lease(lease).unwrap().reason, None, "it may take a while");
    world.pass(20).await;
    let told = world.lease(lease).unwrap().reason.expect("it is told");
    assert_eq!((told.code, world.status(lease)), (ReasonCode::Late, Some(LeaseStatus::Starting)), "{}", told.text);
    assert!(told.text.contains(&server) && told.text.contains("makes no progress"), "{}", told.text);
    world.sim.lock().set_host_alive("cmp1", true);
    world.until("it starts after all", 15, || world.status(lease) == Some(LeaseStatus::Active)).await;
    assert_eq!(world.lease(lease).unwrap().reason, None);
    let woken = judge::unshelved(&world);
    assert_eq!(woken.get(&server).map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_renewed_without_a_failure() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 120, None, OnEnd::Delete);
    world.pass(59).await;
    world.sim.lock().expire_tokens();
    world.until("it starts", 4, || world.status(lease) == Some(LeaseStatus::Active)).await;
    assert_eq!(world.lease(lease).unwrap().reason, None);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_sends_nothing_more() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 120, None, OnEnd::Delete);
    world.pass(59).await;
    // Another node leads; this one does not know yet, and its tasks run on.
    world.ledger.term.fetch_add(1, Ordering::SeqCst);
    let before = judge::writes(&world).len();
    world.pass(30).await;
    assert_eq!(judge::writes(&world).len(), before);
    assert_eq!(world.status(lease), Some(LeaseStatus::Starting));
    let (status, _) = world.tenant(Method::GET, "/servers", None);
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_send_does_not_read_for_it_either_and_goes_on_when_it_may_again() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.book(2, 10, 60, None, OnEnd::Delete);
    world.until("it is active", 25, || world.is_active(lease)).await;
    world.boot_up(lease, "a").await;
    // So many looks at the lease's servers were recorded.
    let looks = |world: &World| {
        let wanted = format!("flavor={}", world.flavor(lease));
        world.sim.lock().record().iter().filter(|line| line.method == "GET" && line.path.contains(&wanted)).count()
    };
    // Its tokens are closed already, and its server is still there.
    let busy = FaultKind::Error { status: 503, retry_after_s: None };
    let fault = world.sim.lock().add_fault(Fault::on("DELETE", "/servers/*", busy));
    let until_end = u64::from(world.lease(lease).unwrap().end.0 - world.now().0);
    world.pass(until_end + 2).await;
    world.sim.lock().remove_fault(fault);
    // Its right to act lapses for a while: the majority does not answer.
    world.ledger.term.fetch_add(1, Ordering::SeqCst);
    let before = looks(&world);
    assert!(before > 0, "looks are recorded");
    world.pass(12).await;
    let in_vain = looks(&world) - before;
    assert!(in_vain <= 1, "{in_vain} looks in vain");
    world.ledger.term.fetch_sub(1, Ordering::SeqCst);
    world.until("it is over", 30, || world.is_over(lease)).await;
}

#[tokio::test(start_paused = true)]
async fn an_inventory_that_somebody_opened_or_a_hold_that_somebody_removed_is_mended() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    world.pass(1).await;
    let held = |world: &World| world.state()["placement"].to_string().matches("LEASEHOLD_HOLD").count();
    assert_eq!(held(&world), 1);
    world.drop_holds();
    assert_eq!(held(&world), 0);
    world.until("the hold is back", 70, || held(&world) == 1).await;
}
