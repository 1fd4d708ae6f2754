//! Cells of Nova that do not answer: their servers are missing from lists without a word, and are there all the same.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind, Match};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, ReasonCode};
use leasehold_node::leader::names;

use super::judge;
use super::world::World;

/// From now on a cell is silent, with `cmp1` and the servers for which this holds.
fn silence(world: &World) -> u64 {
    let when = Match { service: "compute".to_owned(), method: "GET".to_owned(), ..Match::default() };
    let fault = Fault { when, kind: FaultKind::Partial, skip: 0, count: None, probability: 1.0 };
    world.sim.lock().add_fault(fault)
}

fn is_silent(server: &&String) -> bool {
    server.bytes().last().is_some_and(|byte| byte % 2 == 1)
}

/// So many servers of a lease, some of them in the cell that will be silent.
async fn boot(world: &mut World, lease: LeaseId, many: usize) -> Vec<String> {
    let mut servers = Vec::new();
    for number in 0..many {
        servers.push(world.boot_up(lease, &number.to_string()).await);
    }
    let silent = servers.iter().filter(is_silent).count();
    assert!(0 < silent && silent < many, "{servers:?}");
    servers
}

fn are(world: &World, servers: &[String], status: impl Fn(&String) -> &'static str) -> bool {
    servers.iter().all(|server| world.server_status(server) == status(server))
}

#[tokio::test(start_paused = true)]
async fn a_start_is_recorded_once_the_cell_is_back_in_which_parked_servers_may_be() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.book(8, 200, 700, Some((20, 60)), OnEnd::Delete);
    world.until("the window opens", 25, || judge::count(&world, "flavor.access_added") == 1).await;
    let servers = boot(&mut world, lease, 8).await;
    world.until("all are parked", 120, || are(&world, &servers, |_| "SHELVED_OFFLOADED")).await;
    let fault = silence(&world);
    let woken = |server: &String| if is_silent(&server) { "SHELVED_OFFLOADED" } else { "ACTIVE" };
    world.until("those of the other cell wake", 220, || are(&world, &servers, woken)).await;
    world.pass(60).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Starting));
    let reason = world.lease(lease).unwrap().reason.unwrap();
    assert!(matches!(reason.code, ReasonCode::CloudUnavailable | ReasonCode::Late) && reason.text.contains("cmp1"), "{reason:?}");
    assert!(are(&world, &servers, woken));
    world.sim.lock().remove_fault(fault);
    world.until("it is active", 15, || world.status(lease) == Some(LeaseStatus::Active)).await;
    assert!(are(&world, &servers, |_| "ACTIVE"));
}

#[tokio::test(start_paused = true)]
async fn an_end_waits_for_the_cell_in_which_a_parked_server_may_be_and_its_flavor_stays_so_long() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.book(6, 10, 100, None, OnEnd::Delete);
    let flavor = world.flavor(lease);
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let servers = boot(&mut world, lease, 6).await;
    for server in &servers {
        world.act(server, serde_json::json!({"shelve": null}));
    }
    world.until("their tenant parked them", 30, || are(&world, &servers, |_| "SHELVED_OFFLOADED")).await;
    let fault = silence(&world);
    world.pass(160).await;
    assert!(!world.is_over(lease));
    assert!(are(&world, &servers, |server| if is_silent(&server) { "SHELVED_OFFLOADED" } else { "gone" }));
    assert!(judge::is_there(&world, &flavor, &names::class(flavor.parse().unwrap())).0);
    world.sim.lock().remove_fault(fault);
    world.until("it is over", 30, || world.is_over(lease)).await;
    assert!(are(&world, &servers, |_| "gone"));
}

#[tokio::test(start_paused = true)]
async fn a_flavor_without_a_lease_stays_while_a_cell_is_silent_in_which_a_parked_server_of_it_may_be() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.book(6, 10, 100, None, OnEnd::Shelve);
    let flavor = world.flavor(lease);
    let class = names::class(flavor.parse().unwrap());
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let servers = boot(&mut world, lease, 6).await;
    world.until("it is over", 150, || world.is_over(lease)).await;
    world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
    let delete = |world: &World, server: &String| world.admin(Method::DELETE, &format!("/servers/{server}"), None);
    for server in servers.iter().filter(|server| !is_silent(server)) {
        delete(&world, server);
    }
    world.pass(5).await;
    let fault = silence(&world);
    world.pass(400).await;
    assert!(judge::is_there(&world, &flavor, &class).0, "its servers could not be woken without it");
    world.sim.lock().remove_fault(fault);
    for server in servers.iter().filter(is_silent) {
        delete(&world, server);
    }
    world.until("both are gone", 180, || judge::is_there(&world, &flavor, &class) == (false, false)).await;
}

#[tokio::test(start_paused = true)]
async fn hosts_of_other_cells_are_looked_at_while_one_is_silent() {
    let world = World::dedicated(&["cmp1", "cmp2"]).await;
    let up = |world: &World| world.ledger.look(|state| state.hosts().map(|host| host.observation.up).collect::<Vec<_>>());
    let fault = silence(&world);
    world.until("one is taken for down", 60, || up(&world) == [false, true]).await;
    world.sim.lock().set_host_alive("cmp2", false);
    world.until("the other is seen to be down", 60, || up(&world) == [false, false]).await;
    world.sim.lock().remove_fault(fault);
    world.until("the first is back", 60, || up(&world) == [true, false]).await;
}

#[tokio::test(start_paused = true)]
async fn many_leases_that_end_together_share_their_looks_at_the_cells() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let leases: Vec<LeaseId> = (0..10).map(|_| world.book(1, 10, 60, None, OnEnd::Delete)).collect();
    world.until("they are active", 25, || leases.iter().all(|lease| world.is_active(*lease))).await;
    world.until("they are over", 90, || leases.iter().all(|lease| world.is_over(*lease))).await;
    assert!(most_in_a_second(&world) <= 11);
}

#[tokio::test(start_paused = true)]
async fn looks_at_the_cells_that_fail_are_paced_too() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let leases: Vec<LeaseId> = (0..10).map(|_| world.book(1, 10, 60, None, OnEnd::Delete)).collect();
    world.until("they are active", 25, || leases.iter().all(|lease| world.is_active(*lease))).await;
    let fault = world.sim.lock().add_fault(Fault::on("GET", "/os-services", FaultKind::Garbage));
    world.pass(90).await;
    assert!(leases.iter().all(|lease| !world.is_over(*lease)), "nobody knows whether all of their servers are gone");
    world.sim.lock().remove_fault(fault);
    world.until("they are over", 60, || leases.iter().all(|lease| world.is_over(*lease))).await;
    assert!(most_in_a_second(&world) <= 11);
}

/// The most of our looks at the compute services within a second.
fn most_in_a_second(world: &World) -> u32 {
    let sim = world.sim.lock();
    let looks =
        sim.record().iter().filter(|line| line.path.starts_with("/v2.1/os-services") && line.caller.starts_with("leasehold/"));
    let mut by_second: std::collections::BTreeMap<u64, u32> = std::collections::BTreeMap::new();
    looks.for_each(|line| *by_second.entry(line.at_ms / 1_000).or_default() += 1);
    assert!(by_second.len() > 3, "{by_second:?}");
    by_second.into_values().max().unwrap_or(0)
}
