//! Whole lives of leases without faults.

use http::Method;
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseStatus, OnEnd, PoolKind, ReasonCode, Stage};
use serde_json::json;

use super::judge;
use super::world::World;

async fn world(hosts: &[&str], pool: PoolKind) -> World {
    let world = World::new(hosts);
    for host in hosts {
        world.onboard(host, pool).await;
    }
    world
}

#[tokio::test(start_paused = true)]
async fn staged_servers_are_parked_and_wake_once_at_the_start_and_nothing_is_left_at_the_end() {
    let mut world = world(&["cmp1"], PoolKind::Dedicated).await;
    world.lead();
    let begin = world.now();
    let lease = world.book(2, 400, 700, Some((100, 200)), OnEnd::Delete);
    let flavor = world.flavor(lease);
    world.until("the staging window opens", 110, || judge::count(&world, "flavor.access_added") == 1).await;
    let servers = [world.boot(lease, "a").unwrap(), world.boot(lease, "b").unwrap()];
    world.until("both run", 10, || servers.iter().all(|id| world.server_status(id) == "ACTIVE")).await;
    world
        .until("both are parked", 120, || {
            servers.iter().all(|id| world.server_status(id) == "SHELVED_OFFLOADED")
                && world.lease(lease).unwrap().reservations[0].stage == Stage::Parked
        })
        .await;
    assert_eq!(world.boot(lease, "early"), Err(400), "the flavor is private while the lease is parked");
    world.until("the lease is active", 300, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let start = begin.plus(400);
    let woken = judge::unshelved(&world);
    assert_eq!(woken.len(), 2);
    for (server, at) in &woken {
        assert_eq!(at.len(), 1, "{server} woke once");
        assert!((start.unix_s() * 1000..start.unix_s() * 1000 + 1000).contains(&at[0]), "{} after the start", at[0]);
    }
    world.until("the lease is over", 320, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    assert!(servers.iter().all(|id| world.server_status(id) == "gone"));
    world.pass(2).await;
    judge::never_open_outside(&world, lease, &flavor, &[(begin.plus(100), begin.plus(200)), (start, begin.plus(700))]);
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, 1, 1);
    let shelves = world.state()["images"].as_object().unwrap().len();
    assert_eq!(shelves, 1, "only the cloud's own image is left");
}

#[tokio::test(start_paused = true)]
async fn a_shared_host_is_held_from_admission_until_the_end_is_confirmed() {
    let mut world = World::new(&["cmp1"]);
    let admin = json!({"flavor": {"name": "ordinary", "vcpus": 1, "ram": 512, "disk": 1, "id": "ord"}});
    world.admin(Method::POST, "/flavors", Some(admin));
    world.onboard("cmp1", PoolKind::Shared).await;
    world.lead();
    world.pass(1).await;
    let lease = world.book(5, 5_000, 5_100, None, OnEnd::Delete);
    assert_eq!(world.status(lease), Some(LeaseStatus::Creating));
    world.until("the hold is accepted", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    // Ten CPUs are held for five slots of two: nothing ordinary fits any more.
    assert_eq!(world.boot_ordinary("ord").await, "ERROR");
    world.until("the lease is over", 5_200, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    world.pass(2).await;
    assert_eq!(world.boot_ordinary("ord").await, "ACTIVE");
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn back_to_back_leases_of_one_host_open_after_the_first_is_gone_and_say_why() {
    let mut world = world(&["cmp1"], PoolKind::Dedicated).await;
    world.lead();
    let first = world.book(5, 60, 120, None, OnEnd::Delete);
    let second = world.book(5, 120, 180, None, OnEnd::Delete);
    world.until("the first is active", 70, || world.status(first) == Some(LeaseStatus::Active)).await;
    let server = world.boot(first, "a").unwrap();
    world.until("it runs", 10, || world.server_status(&server) == "ACTIVE").await;
    let mut waited = false;
    world
        .until("the second is active", 70, || {
            let lease = world.lease(second).unwrap();
            waited |= lease.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::WaitingForEnd);
            lease.status == LeaseStatus::Active
        })
        .await;
    assert!(waited, "the wait was told");
    assert_eq!(world.server_status(&server), "gone");
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_belongs_to_the_tenant_before_the_server_goes() {
    let mut world = world(&["cmp1"], PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 120, None, OnEnd::Snapshot);
    world.until("the lease is active", 70, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let server = world.boot(lease, "a").unwrap();
    world.until("it runs", 10, || world.server_status(&server) == "ACTIVE").await;
    world.until("the lease is over", 100, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    let state = world.state();
    let owned = |image: &&serde_json::Value| image["owner"] == world.tenant_project.as_str();
    let images: Vec<_> = state["images"].as_object().unwrap().values().filter(owned).collect();
    assert_eq!(images.len(), 1, "{}", state["images"]);
    assert_eq!(world.server_status(&server), "gone");
    world.pass(2).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn servers_shelved_at_the_end_keep_their_flavor_and_their_image_is_the_tenants() {
    let mut world = world(&["cmp1"], PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 120, None, OnEnd::Shelve);
    world.until("the lease is active", 70, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let flavor = world.flavor(lease);
    let server = world.boot(lease, "a").unwrap();
    world.until("it runs", 10, || world.server_status(&server) == "ACTIVE").await;
    world.until("the lease is over", 100, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    assert_eq!(world.server_status(&server), "SHELVED_OFFLOADED");
    // Several read-backs later it is still so.
    world.pass(300).await;
    let state = world.state();
    assert!(state["flavors"].get(&flavor).is_some(), "the parked server needs its flavor");
    let shelf = state["servers"][&server]["shelved_image"].as_str().unwrap();
    assert_eq!(state["images"][shelf]["owner"], world.tenant_project.as_str());
    assert_eq!(world.tenant(Method::DELETE, &format!("/servers/{server}"), None).0, 204);
    world.until("the flavor goes with the last server", 150, || world.state()["flavors"].get(&flavor).is_none()).await;
    world.pass(130).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_lease_never_opens_and_leaves_nothing() {
    let mut world = world(&["cmp1"], PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(2, 60, 120, None, OnEnd::Delete);
    world.until("it is prepared", 10, || judge::count(&world, "flavor.created") == 1).await;
    let flavor = world.flavor(lease);
    world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
    world.until("it is forgotten", 30, || world.lease(lease).is_none()).await;
    world.pass(120).await;
    judge::never_open_outside(&world, lease, &flavor, &[]);
    judge::clean_at_rest(&world, 1, 1);
}
