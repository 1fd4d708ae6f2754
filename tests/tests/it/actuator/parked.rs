//! What the read-back does about parked servers: it wakes those that were shelved late, leaves all others, and lets their flavors
//! go with them.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind, Record};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, PoolKind, Stage};
use leasehold_node::leader::names;
use serde_json::json;

use super::judge;
use super::world::World;

/// A staged lease with a server, whose first leader dies while its shelve is on its way for `late_ms`; answers the server.
/// The lease runs from 130 to 600 s after the beginning.
async fn parked_by_two_leaders(world: &mut World, late_ms: u64) -> (LeaseId, String) {
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 130, 600, Some((20, 60)), OnEnd::Delete);
    world.until("the window opens", 25, || judge::count(world, "flavor.access_added") == 1).await;
    let server = world.boot(lease, "a").unwrap();
    let fault = Fault::on("POST", "/servers/*/action", FaultKind::Late { after_ms: late_ms, status: None });
    world.sim.lock().add_fault(fault.times(1).with_body("\"shelve\""));
    world.until("the shelve is sent", 45, || judge::writes(world).iter().any(|line| line.body.get("shelve").is_some())).await;
    world.kill().await;
    world.lead();
    world.until("the successor parks", 30, || world.lease(lease).unwrap().reservations[0].stage == Stage::Parked).await;
    world.until("and starts", 80, || world.status(lease) == Some(LeaseStatus::Active)).await;
    assert_eq!(world.server_status(&server), "ACTIVE");
    (lease, server)
}

#[tokio::test(start_paused = true)]
async fn a_shelve_that_takes_effect_after_the_start_is_found_by_the_second_look_and_the_server_woken() {
    let mut world = World::new(&["cmp1"]);
    let (lease, server) = parked_by_two_leaders(&mut world, 90_000).await;
    world.until("the late shelve takes effect", 30, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Active));
    world.until("it is woken", 60, || world.server_status(&server) == "ACTIVE").await;
    let woken = judge::unshelved(&world);
    assert_eq!(woken[&server].len(), 2, "at the start and after the late shelve, once each");
    world.pass(100).await;
    assert_eq!(world.server_status(&server), "ACTIVE");
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_shelve_that_takes_effect_before_a_takeover_is_found_by_its_first_look() {
    let mut world = World::new(&["cmp1"]);
    let (_, server) = parked_by_two_leaders(&mut world, 200_000).await;
    // The successor's second look has passed when it takes effect; the next takeover finds it.
    world.until("the late shelve takes effect", 150, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    world.kill().await;
    world.lead();
    world.until("it is woken", 5, || world.server_status(&server) == "ACTIVE").await;
}

#[tokio::test(start_paused = true)]
async fn a_tenants_own_shelve_is_respected_by_every_look() {
    let mut world = World::new(&["cmp1"]);
    let (_, server) = parked_by_two_leaders(&mut world, 1).await;
    let (status, _) = world.tenant(Method::POST, &format!("/servers/{server}/action"), Some(json!({"shelve": null})));
    assert_eq!(status, 202);
    world.until("it is parked", 20, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    world.pass(140).await;
    assert_eq!(world.server_status(&server), "SHELVED_OFFLOADED");
    world.kill().await;
    world.lead();
    world.pass(140).await;
    assert_eq!(world.server_status(&server), "SHELVED_OFFLOADED");
    assert_eq!(judge::unshelved(&world)[&server].len(), 1, "it woke at the start alone");
}

#[tokio::test(start_paused = true)]
async fn a_server_shelved_late_that_does_not_wake_is_tried_five_times_with_longer_pauses_and_then_left() {
    let mut world = World::new(&["cmp1"]);
    let (lease, server) = parked_by_two_leaders(&mut world, 90_000).await;
    world.until("the late shelve takes effect", 30, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    let tried = |world: &World| {
        let wakes = |line: &&Record| line.body.get("unshelve").is_some();
        judge::writes(world).iter().filter(wakes).map(|line| line.at_ms).collect::<Vec<_>>()
    };
    let before = tried(&world).len();
    let refused = Fault::on("POST", "/servers/*/action", FaultKind::Error { status: 409, retry_after_s: None });
    world.sim.lock().add_fault(refused.with_body("unshelve"));
    world.pass(390).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Active), "the lease goes on without the server");
    let tried = tried(&world).split_off(before);
    let pauses: Vec<u64> = tried.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert_eq!(tried.len(), 5, "{pauses:?}");
    for (pause, least) in pauses.iter().zip([5, 10, 20, 40]) {
        assert!((least..least + 3).contains(pause), "{pauses:?}");
    }
    assert_eq!(world.server_status(&server), "SHELVED_OFFLOADED");
}

/// Found on a real cloud: whether the flavor went in time hung on when the last round had looked.
#[tokio::test(start_paused = true)]
async fn the_flavor_of_a_parked_server_goes_within_a_round_of_the_server_and_its_lease() {
    // Wherever between two rounds they are deleted.
    for offset in [5, 20, 35, 50, 65, 80, 95, 110] {
        let mut world = World::dedicated(&["cmp1"]).await;
        let lease = world.book(1, 10, 40, None, OnEnd::Shelve);
        let flavor = world.flavor(lease);
        let class = names::class(flavor.parse().unwrap());
        world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
        let server = world.boot_up(lease, "a").await;
        world.until("it is over", 60, || world.is_over(lease)).await;
        world.pass(150 + offset).await;
        assert!(judge::is_there(&world, &flavor, &class).0, "the parked server needs it");
        world.admin(Method::DELETE, &format!("/servers/{server}"), None);
        world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
        world.until("both are gone", 65, || judge::is_there(&world, &flavor, &class) == (false, false)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_server_is_never_deleted_or_woken_by_a_read_back() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 1_000, 1_100, Some((20, 60)), OnEnd::Shelve);
    world.until("the window opens", 25, || judge::count(&world, "flavor.access_added") == 1).await;
    let server = world.boot(lease, "a").unwrap();
    world.until("it is parked", 90, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    let flavor = world.flavor(lease);
    // Twice longer than all looks and two sweeps of a new leader: before the start, and after the end.
    for (stage, wait_s) in [("parked", 0), ("over", 900)] {
        world.pass(wait_s).await;
        if stage == "over" {
            world.until("the lease is over", 200, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
        }
        let wakes = |world: &World| judge::unshelved(world).get(&server).map_or(0, Vec::len);
        let woken = wakes(&world);
        world.kill().await;
        world.lead();
        world.pass(if stage == "parked" { 600 } else { 800 }).await;
        assert_eq!(world.server_status(&server), "SHELVED_OFFLOADED", "{stage}");
        assert_eq!(wakes(&world), woken, "{stage}");
        assert!(
            judge::is_there(&world, &flavor, &names::class(flavor.parse().unwrap())).0,
            "{stage}: it needs its flavor to wake"
        );
    }
    let deletes = judge::writes(&world).into_iter().filter(|line| line.method == "DELETE" && line.path.contains("/servers/"));
    assert_eq!(deletes.count(), 0);
}
