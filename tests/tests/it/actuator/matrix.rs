//! A leader that dies at every call, and every kind of call that goes wrong, in lives of every shape: what is kept at the
//! end, shared hosts, several hosts, server groups.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{LeaseStatus, OnEnd, PoolKind};
use serde_json::json;

use super::ask::Ask;
use super::world::{Crash, World};
use super::{TROUBLE, judge};

/// A lease of two servers, staged over 20..60, over 130..190.
#[derive(Clone, Copy, Debug)]
struct Life {
    hosts: &'static [&'static str],
    pool: PoolKind,
    on_end: OnEnd,
    affinity: Option<bool>,
    /// Nova takes shelved servers off their hosts only when told to.
    keeps_shelved: bool,
}

const PLAIN: Life =
    Life { hosts: &["cmp1"], pool: PoolKind::Dedicated, on_end: OnEnd::Delete, affinity: None, keeps_shelved: false };

/// Lives it through, and judges it by the cloud's record. Answers how many mutating calls there were.
async fn live_through(life: Life, crash: Option<Crash>, faults: &[Fault]) -> u64 {
    let mut world = World::with(life.hosts, |config| {
        if life.keeps_shelved {
            config.timings.offload_after_ms = -1;
        }
    });
    if life.pool == PoolKind::Shared {
        let ordinary = json!({"flavor": {"name": "ordinary", "vcpus": 1, "ram": 512, "disk": 1, "id": "ord"}});
        world.admin(Method::POST, "/flavors", Some(ordinary));
    }
    for host in life.hosts {
        world.onboard(host, life.pool).await;
    }
    world.writes.store(0, Ordering::SeqCst);
    *world.crash.lock() = crash;
    for fault in faults {
        world.sim.lock().add_fault(fault.clone());
    }
    world.lead();
    let begin = world.now();
    let (on_end, affinity) = (life.on_end, life.affinity);
    let lease = world.ask(&Ask { staging: Some((20, 60)), on_end, affinity, ..Ask::new(2, 130, 190) });
    let flavor = world.flavor(lease);
    let mut servers: Vec<String> = Vec::new();
    let mut dead_until = None;
    while world.status(lease) != Some(LeaseStatus::Terminated) {
        assert!(world.now() < begin.plus(400), "{life:?} {crash:?}: it never ended: {:#?}", world.rows());
        if servers.len() < 2 && world.now() > begin.plus(30) && world.now() < begin.plus(55) {
            servers.extend(world.boot(lease, ["a", "b"][servers.len()]).ok());
        }
        let tick = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            biased;
            () = world.crashed.notified() => {
                world.kill().await;
                dead_until = Some(tokio::time::Instant::now() + Duration::from_secs(2));
            }
            () = tick => {}
        }
        if dead_until.is_some_and(|until| tokio::time::Instant::now() >= until) {
            dead_until = None;
            world.lead();
        }
    }
    let calls = world.writes.load(Ordering::SeqCst);
    let windows = [(begin.plus(20), begin.plus(60)), (begin.plus(130), begin.plus(190))];
    judge::never_open_outside(&world, lease, &flavor, &windows);
    let woken = judge::unshelved(&world);
    assert_eq!(woken.len(), 2, "{life:?} {crash:?} {faults:?}: both servers woke");
    assert!(woken.values().all(|at| at.len() == 1), "{life:?} {crash:?} {faults:?}: each woke once: {woken:?}");
    world.pass(130).await;
    let state = world.state();
    let owned = |image: &&serde_json::Value| image["owner"] == world.tenant_project.as_str();
    let images = state["images"].as_object().unwrap().values().filter(owned).count();
    match life.on_end {
        OnEnd::Delete => assert_eq!(images, 0, "{life:?} {crash:?}: no image is left"),
        OnEnd::Snapshot => assert_eq!(images, 2, "{life:?} {crash:?} {faults:?}: one image of each server"),
        OnEnd::Shelve => {
            for server in &servers {
                assert_eq!(world.server_status(server), "SHELVED_OFFLOADED", "{life:?} {crash:?} {faults:?}");
                assert_eq!(world.tenant(Method::DELETE, &format!("/servers/{server}"), None).0, 204);
            }
            world.pass(130).await;
        }
    }
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, life.hosts.len(), life.hosts.len());
    calls
}

/// Lives it through once for every call, with the leader dying there.
async fn die_everywhere(life: Life, applied: &[bool]) {
    let calls = live_through(life, None, &[]).await;
    assert!(calls > 15, "{calls}");
    for applied in applied {
        for at in 0..calls {
            live_through(life, Some(Crash { at, applied: *applied }), &[]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_around_any_call_of_a_shelving_end_shelves_each_server() {
    die_everywhere(Life { on_end: OnEnd::Shelve, keeps_shelved: true, ..PLAIN }, &[false, true]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_any_call_of_a_snapshot_end_makes_each_image_once() {
    die_everywhere(Life { on_end: OnEnd::Snapshot, ..PLAIN }, &[false]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_before_any_call_on_two_shared_hosts_is_replaced_without_a_trace() {
    die_everywhere(Life { hosts: &["cmp1", "cmp2"], pool: PoolKind::Shared, affinity: Some(false), ..PLAIN }, &[false]).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_after_any_call_on_two_shared_hosts_is_replaced_without_a_second_effect() {
    die_everywhere(Life { hosts: &["cmp1", "cmp2"], pool: PoolKind::Shared, affinity: Some(false), ..PLAIN }, &[true]).await;
}

#[tokio::test(start_paused = true)]
async fn holds_groups_images_and_offloads_survive_lost_answers_late_effects_errors_and_conflicts() {
    let calls = [
        ("POST", "/allocations", ""),
        ("POST", "/os-server-groups", ""),
        ("DELETE", "/os-server-groups/*", ""),
        ("POST", "/servers/*/action", "shelveOffload"),
        ("POST", "/servers/*/action", "createImage"),
        ("PATCH", "*/images/*", ""),
    ];
    let kinds = TROUBLE.into_iter().chain([FaultKind::Garbage, FaultKind::Slow { after_ms: 1_500 }]);
    for kind in kinds {
        for (on_end, affinity) in [(OnEnd::Shelve, Some(true)), (OnEnd::Snapshot, Some(true))] {
            let struck = |call: &(&str, &str, &str)| Fault::on(call.0, call.1, kind.clone()).times(1).with_body(call.2);
            let faults: Vec<Fault> = calls.iter().map(struck).collect();
            let life = Life { pool: PoolKind::Shared, on_end, affinity, keeps_shelved: true, ..PLAIN };
            live_through(life, None, &faults).await;
        }
    }
}
