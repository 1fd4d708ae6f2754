//! Leases that move or change: refused holds, withdrawn creations, amounts that grow and shrink, server groups, quotas.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseStatus, OnEnd, PoolKind, ReasonCode, Stage};
use serde_json::json;

use super::ask::Ask;
use super::judge;
use super::world::World;

const DOWN: FaultKind = FaultKind::Error { status: 503, retry_after_s: None };

/// Shared hosts of a cloud with a flavor of eight CPUs and one of one.
async fn shared(hosts: &[&str]) -> World {
    World::shared(hosts, &[("big", 8), ("ord", 1)]).await
}

/// CPUs that holds have by the cloud's own state.
pub(super) fn held_cpus(world: &World) -> u64 {
    let state = world.state();
    let consumers = state["placement"]["allocations"].as_object().unwrap().values();
    let ours = consumers.filter(|facts| facts["consumer_type"] == "LEASEHOLD_HOLD");
    let cpus = |facts: &serde_json::Value| {
        let providers = facts["allocations"].as_object().unwrap().values();
        providers.map(|one| one["resources"]["VCPU"].as_u64().or(one["VCPU"].as_u64()).unwrap_or(0)).sum::<u64>()
    };
    ours.map(cpus).sum()
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_hold_is_refused_moves_to_another_host() {
    let mut world = shared(&["cmp1", "cmp2"]).await;
    // The ledger does not know yet that the first host is taken.
    let ordinary = json!({"server": {"name": "o", "flavorRef": "big", "imageRef": world.any_image(), "networks": "none",
        "availability_zone": "nova:cmp1"}});
    world.admin(Method::POST, "/servers", Some(ordinary));
    world.pass(1).await;
    let lease = world.ask(&Ask::new(5, 300, 400));
    let host = |world: &World| {
        let host = world.lease(lease).unwrap().reservations[0].bindings[0].host;
        world.ledger.look(|state| state.host(host).unwrap().description.hypervisor_hostname.clone())
    };
    assert_eq!(host(&world), "cmp1");
    world.until("it is promised", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    assert_eq!(host(&world), "cmp2");
    world.until("its hold is there alone", 15, || held_cpus(&world) == 10).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_hold_is_refused_everywhere_is_withdrawn_and_holds_nothing() {
    let mut world = shared(&["cmp1"]).await;
    assert_eq!(world.boot_ordinary("big").await, "ACTIVE");
    let lease = world.ask(&Ask::new(5, 300, 400));
    world.until("it is withdrawn", 5, || world.lease(lease).is_none()).await;
    world.until("nothing is held for it", 15, || held_cpus(&world) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_not_answered_in_ten_seconds_is_withdrawn_and_lowered_if_it_comes_late() {
    let mut world = shared(&["cmp1"]).await;
    world
        .sim
        .lock()
        .add_fault(Fault::on("POST", "/allocations", FaultKind::Late { after_ms: 14_000, status: Some(503) }).times(1));
    world.sim.lock().add_fault(Fault::on("POST", "/allocations", DOWN));
    let lease = world.ask(&Ask::new(5, 300, 400));
    world.pass(9).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Creating));
    world.until("it is withdrawn", 3, || world.lease(lease).is_none()).await;
    world.sim.lock().clear_faults();
    world.until("the late hold comes", 5, || held_cpus(&world) == 10).await;
    world.until("and goes", 130, || held_cpus(&world) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_amount_that_grows_opens_more_and_one_that_shrinks_waits_for_the_servers_to_go() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.ask(&Ask::new(2, 20, 3_000));
    world.until("it is active", 25, || world.is_active(lease)).await;
    let mut servers = vec![world.boot_up(lease, "a").await, world.boot_up(lease, "b").await];
    world.resize(lease, &Ask { amount: 4, ..Ask::new(4, 20, 3_000) }).unwrap();
    world.until("it follows", 5, || world.rows().is_empty()).await;
    servers.extend([world.boot_up(lease, "c").await, world.boot_up(lease, "d").await]);
    world.resize(lease, &Ask::new(1, 20, 3_000)).unwrap();
    world.pass(20).await;
    assert_eq!(world.lease(lease).unwrap().reason.unwrap().code, ReasonCode::WaitingForEnd);
    assert!(servers.iter().all(|server| world.server_status(server) == "ACTIVE"), "nothing is taken from a running server");
    for server in &servers[1..] {
        assert_eq!(world.tenant(Method::DELETE, &format!("/servers/{server}"), None).0, 204);
    }
    world.until("it follows", 15, || world.rows().is_empty()).await;
    let id = world.boot(lease, "e").unwrap();
    world.until("there is no token for it", 10, || world.server_status(&id) == "ERROR").await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn of_more_parked_servers_than_slots_as_many_wake_as_have_room_and_the_lease_is_active() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let staged = Ask { staging: Some((20, 60)), ..Ask::new(3, 130, 900) };
    let lease = world.ask(&staged);
    world.pass(30).await;
    let servers = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await, world.boot_up(lease, "c").await];
    let count = |world: &World, status: &str| servers.iter().filter(|one| world.server_status(one) == status).count();
    world.until("they are parked", 90, || world.lease(lease).unwrap().reservations[0].stage == Stage::Parked).await;
    assert_eq!(count(&world, "SHELVED_OFFLOADED"), 3);
    world.resize(lease, &Ask { amount: 1, ..staged }).unwrap();
    world.until("it is active", 70, || world.is_active(lease)).await;
    assert_eq!(world.lease(lease).unwrap().reason, None);
    assert_eq!((count(&world, "ACTIVE"), count(&world, "SHELVED_OFFLOADED")), (1, 2));
    // Neither this leader nor the next asks Nova for what has no room.
    world.pass(150).await;
    world.kill().await;
    world.lead();
    world.pass(150).await;
    let asked = |world: &World| judge::writes(world).iter().filter(|line| line.body.get("unshelve").is_some()).count();
    assert_eq!(asked(&world), 1);
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_server_group_is_there_once_with_the_promise_and_goes_with_the_lease() {
    for (affinity, policy) in [(true, "affinity"), (false, "anti-affinity")] {
        let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
        let lease = world.ask(&Ask { affinity: Some(affinity), ..Ask::new(2, 20, 60) });
        assert_eq!(world.status(lease), Some(LeaseStatus::Creating));
        world.until("it is promised", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
        let group = world.lease(lease).unwrap().reservations[0].server_group_id.unwrap().to_string();
        let state = world.state();
        let groups = state["groups"].as_object().unwrap();
        assert_eq!(groups.keys().collect::<Vec<_>>(), [&group]);
        assert!(groups[&group].to_string().contains(&format!("\"{policy}\"")), "{}", groups[&group]);
        world.until("it is active", 30, || world.is_active(lease)).await;
        let hosts = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await].map(|server| world.host_of(&server));
        assert_eq!(hosts[0] == hosts[1], affinity, "{hosts:?}");
        world.until("it is over", 60, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
        world.pass(5).await;
        judge::clean_at_rest(&world, 2, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_at_its_quota_is_told_and_his_servers_wake_once_it_is_raised() {
    let mut world = World::with(&["cmp1"], |config| config.count_usage_from_placement = true);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.ask(&Ask { staging: Some((20, 60)), ..Ask::new(2, 130, 900) });
    world.pass(30).await;
    let servers = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await];
    world.pass(60).await;
    let path = format!("/os-quota-sets/{}", world.tenant_project);
    world.admin(Method::PUT, &path, Some(json!({"quota_set": {"cores": 0, "force": true}})));
    world.pass(60).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Starting));
    let reason = world.lease(lease).unwrap().reason.unwrap();
    assert_eq!(reason.code, ReasonCode::Quota, "{}", reason.text);
    world.admin(Method::PUT, &path, Some(json!({"quota_set": {"cores": 100}})));
    world.until("they wake", 15, || world.is_active(lease)).await;
    assert!(servers.iter().all(|server| world.server_status(server) == "ACTIVE"));
    assert_eq!(world.lease(lease).unwrap().reason, None);
}

#[tokio::test(start_paused = true)]
async fn what_leasehold_holds_itself_is_no_tenants_usage_when_it_wakes_his_servers() {
    let mut world = World::with(&["cmp1"], |config| config.count_usage_from_placement = true);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let path = format!("/os-quota-sets/{}", world.tenant_project);
    // Two servers of two; ten are held.
    world.admin(Method::PUT, &path, Some(json!({"quota_set": {"cores": 4}})));
    let lease = world.ask(&Ask { staging: Some((20, 60)), ..Ask::new(2, 130, 900) });
    world.pass(30).await;
    let servers = [world.boot_up(lease, "a").await, world.boot_up(lease, "b").await];
    world.until("it starts", 110, || world.is_active(lease)).await;
    assert!(servers.iter().all(|server| world.server_status(server) == "ACTIVE"));
    let refused = judge::writes(&world).into_iter().filter(|call| call.status == 403).count();
    assert_eq!(refused, 0);
}

#[tokio::test(start_paused = true)]
async fn nova_alone_down_until_the_end_of_a_lease_leaves_nothing_once_it_is_back() {
    for on_end in [OnEnd::Delete, OnEnd::Snapshot] {
        let mut world = World::dedicated(&["cmp1"]).await;
        let lease = world.ask(&Ask { staging: Some((20, 60)), on_end, ..Ask::new(2, 130, 190) });
        let next = world.ask(&Ask::new(5, 190, 900));
        world.pass(30).await;
        let server = world.boot_up(lease, "a").await;
        let mut down = Fault::on("", "/", DOWN);
        down.when.service = "compute".into();
        down.when.caller = "leasehold".into();
        world.sim.lock().add_fault(down);
        world.pass(120).await;
        assert_eq!(world.status(lease), Some(LeaseStatus::Starting));
        assert_eq!(world.lease(lease).unwrap().reason.unwrap().code, ReasonCode::Late);
        world.pass(70).await;
        assert_eq!(world.status(lease), Some(LeaseStatus::Terminating));
        assert!(!world.is_active(next), "the server of the first still stands there");
        world.sim.lock().clear_faults();
        world.until("the next is active", 30, || world.is_active(next)).await;
        world.until("the first is over", 60, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
        assert_eq!(world.server_status(&server), "gone");
        world.ledger.apply(Command::DeleteLease { lease_id: next }).unwrap();
        world.pass(140).await;
        judge::hold_covers_tokens(&world);
        judge::clean_at_rest(&world, 1, 1);
    }
}
