//! Hosts that die or lose room: leases that have not begun move to others, and say that they lack a host where they cannot
//!

use std::time::Duration;

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{HostId, LeaseId, LeaseStatus, PoolKind, Stage};
use serde_json::json;

use super::ask::Ask;
use super::judge;
use super::world::World;

/// Names of the hosts of a lease, without repeats.
pub(super) fn hosts(world: &World, lease: LeaseId) -> Vec<String> {
    let lease = world.lease(lease).unwrap();
    let ids: std::collections::BTreeSet<HostId> = lease.reservations[0].bindings.iter().map(|binding| binding.host).collect();
    let name = |id: HostId| world.ledger.look(|state| state.host(id).unwrap().description.hypervisor_hostname.clone());
    ids.into_iter().map(name).collect()
}

pub(super) fn set_alive(world: &World, host: &str, alive: bool) {
    assert!(world.sim.lock().set_host_alive(host, alive));
}

pub(super) fn is_degraded(world: &World, lease: LeaseId) -> bool {
    let lease = world.lease(lease).unwrap();
    assert_eq!(lease.degraded, lease.reservations[0].missing_resources);
    lease.degraded
}

#[tokio::test(start_paused = true)]
async fn a_lease_moves_away_from_a_host_that_stays_down_and_starts_on_time_elsewhere() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.ask(&Ask::new(2, 300, 400));
    let is_prepared = |world: &World| world.lease(lease).unwrap().reservations[0].stage == Stage::Prepared;
    world.until("it is prepared", 10, || is_prepared(&world) && world.rows().is_empty()).await;
    assert_eq!(hosts(&world, lease), ["cmp1"]);
    set_alive(&world, "cmp1", false);
    world.until("it moves", 90, || hosts(&world, lease) == ["cmp2"]).await;
    // Never marked: what moves in time lacks nothing for longer than the round takes.
    world.until("it lacks nothing", 5, || !is_degraded(&world, lease)).await;
    world.pass(5).await;
    judge::hold_covers_tokens(&world);
    world.until("it is active", 300, || world.is_active(lease)).await;
    for name in ["a", "b"] {
        let server = world.boot_up(lease, name).await;
        assert_eq!(world.host_of(&server), "cmp2");
    }
    world.until("it is over", 120, || world.is_over(lease)).await;
    set_alive(&world, "cmp1", true);
    world.pass(90).await;
    judge::clean_at_rest(&world, 2, 2);
}

#[tokio::test(start_paused = true)]
async fn on_shared_hosts_the_hold_moves_with_the_lease() {
    let mut world = World::shared(&["cmp1", "cmp2"], &[("ord", 1)]).await;
    let lease = world.ask(&Ask::new(3, 300, 400));
    world.until("it is promised", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    let from = hosts(&world, lease);
    assert_eq!(from.len(), 1);
    set_alive(&world, &from[0], false);
    world.until("it moves", 90, || hosts(&world, lease) != from && world.status(lease) == Some(LeaseStatus::Pending)).await;
    world.pass(20).await;
    judge::hold_covers_tokens(&world);
    world.until("it is active", 300, || world.is_active(lease)).await;
    let server = world.boot_up(lease, "a").await;
    assert_ne!(world.host_of(&server), from[0]);
    world.until("it is over", 130, || world.is_over(lease)).await;
    set_alive(&world, &from[0], true);
    world.pass(90).await;
    judge::clean_at_rest(&world, 2, 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_moved_is_degraded_until_its_host_is_back() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let (soon, far) = (world.ask(&Ask::new(2, 900, 1_000)), world.ask(&Ask::new(1, 9_000, 9_100)));
    set_alive(&world, "cmp1", false);
    world.pass(40).await;
    assert!(!is_degraded(&world, soon), "a host that is away for less than the grace");
    world.until("it is degraded", 60, || is_degraded(&world, soon)).await;
    assert!(!is_degraded(&world, far), "what begins beyond the horizon");
    let marked = world.lease(soon).unwrap();
    world.pass(300).await;
    assert_eq!(world.lease(soon), Some(marked), "it is told once");
    set_alive(&world, "cmp1", true);
    world.until("it is well again", 30, || !is_degraded(&world, soon)).await;
    world.until("it is active", 600, || world.is_active(soon)).await;
    world.boot_up(soon, "a").await;
}

#[tokio::test(start_paused = true)]
async fn servers_whose_host_dies_stay_where_they_are_and_their_lease_is_degraded_while_it_lasts() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.ask(&Ask::new(2, 20, 600));
    world.until("it is active", 30, || world.is_active(lease)).await;
    let server = world.boot_up(lease, "a").await;
    set_alive(&world, "cmp1", false);
    world.until("it is degraded", 90, || is_degraded(&world, lease)).await;
    assert_eq!((hosts(&world, lease), world.host_of(&server)), (vec!["cmp1".to_owned()], "cmp1".to_owned()));
    set_alive(&world, "cmp1", true);
    world.until("it is well again", 30, || !is_degraded(&world, lease)).await;
}

#[tokio::test(start_paused = true)]
async fn who_begins_soon_moves_at_once_and_who_begins_at_once_stays() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let (soon, later) = (world.ask(&Ask::new(2, 55, 200)), world.ask(&Ask::new(2, 600, 700)));
    assert_eq!((hosts(&world, soon), hosts(&world, later)), (vec!["cmp1".to_owned()], vec!["cmp1".to_owned()]));
    set_alive(&world, "cmp1", false);
    world.until("it moves", 25, || hosts(&world, soon) == ["cmp2"]).await;
    assert_eq!(hosts(&world, later), ["cmp1"]);
    set_alive(&world, "cmp1", true);
    world.pass(120).await;
    assert_eq!(hosts(&world, later), ["cmp1"], "a host that was away for a moment");
    assert!(world.is_active(soon));
    let at_once = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(1, 20, 200) });
    world.pass(12).await;
    set_alive(&world, "cmp1", false);
    world.until("it is active", 30, || world.is_active(at_once)).await;
    assert_eq!(hosts(&world, at_once), ["cmp1"]);
}

#[tokio::test(start_paused = true)]
async fn a_successor_moves_what_the_leader_left_when_it_died() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let leases = [world.ask(&Ask::new(2, 600, 700)), world.ask(&Ask::new(2, 700, 800))];
    set_alive(&world, "cmp1", false);
    world.pass(50).await;
    world.kill().await;
    world.lead();
    world.until("they move", 100, || leases.iter().all(|lease| hosts(&world, *lease) == ["cmp2"])).await;
    world.until("the first is active", 600, || world.is_active(leases[0])).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_refused_brings_the_lease_back_and_is_not_asked_for_without_end() {
    let mut world = World::shared(&["cmp1", "cmp2"], &[("ord", 1)]).await;
    let lease = world.ask(&Ask::new(3, 1_200, 1_300));
    world.until("it is promised", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    let from = hosts(&world, lease);
    world.pass(20).await;
    let refused = FaultKind::Error { status: 409, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("POST", "/allocations", refused));
    let holds = |world: &World| judge::writes(world).iter().filter(|line| line.path == "/allocations").count();
    let asked = holds(&world);
    set_alive(&world, &from[0], false);
    world.until("it is degraded", 120, || is_degraded(&world, lease)).await;
    world.pass(300).await;
    assert_eq!(hosts(&world, lease), from);
    let asked = holds(&world) - asked;
    assert!((1..150).contains(&asked), "{asked} holds were asked for in seven minutes");
    world.sim.lock().clear_faults();
    world.until("it moves", 60, || hosts(&world, lease) != from && world.status(lease) == Some(LeaseStatus::Pending)).await;
    world.until("it lacks nothing", 10, || !is_degraded(&world, lease)).await;
    world.until("it is active", 900, || world.is_active(lease)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn of_what_a_host_promises_too_much_the_last_to_begin_moves() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    // Side by side on the first host: each takes two of its CPUs for each server.
    let first = world.ask(&Ask::new(2, 300, 900));
    let second = world.ask(&Ask::new(1, 400, 900));
    assert_eq!((hosts(&world, first), hosts(&world, second)), (vec!["cmp1".to_owned()], vec!["cmp1".to_owned()]));
    let host = world.ledger.look(|state| state.host_by_name("cmp1").unwrap().clone());
    let total = host.observation.capacity.vcpus;
    let root = host.description.root_provider;
    let path = format!("/placement/resource_providers/{root}/inventories/VCPU");
    let generation = world.state()["placement"]["providers"][root.to_string()]["generation"].clone();
    let inventory =
        json!({"resource_provider_generation": generation, "total": total, "reserved": total - 4, "allocation_ratio": 1.0});
    world.call(("admin", "admin"), Method::PUT, &path, Some(inventory));
    world.until("it is seen", 120, || world.ledger.look(|state| state.host(host.id).unwrap().overcommitted)).await;
    world.until("the second moves", 100, || hosts(&world, second) == ["cmp2"]).await;
    assert_eq!(hosts(&world, first), ["cmp1"]);
    assert!(world.ledger.look(|state| state.host(host.id).unwrap().accepts_bookings()));
    for lease in [first, second] {
        assert!(!is_degraded(&world, lease));
        world.until("it is active", 400, || world.is_active(lease)).await;
    }
}

/// Two dedicated hosts, where no healing is wanted.
pub(super) async fn without_healing() -> World {
    let mut world = World::new(&["cmp1", "cmp2"]);
    world.config.healing_horizon = Duration::ZERO;
    for host in ["cmp1", "cmp2"] {
        world.onboard(host, PoolKind::Dedicated).await;
    }
    world.lead();
    world
}

#[tokio::test(start_paused = true)]
async fn nobody_moves_where_no_healing_is_wanted() {
    let mut world = without_healing().await;
    let lease = world.ask(&Ask::new(2, 300, 400));
    let from = hosts(&world, lease);
    set_alive(&world, &from[0], false);
    world.pass(280).await;
    assert_eq!(hosts(&world, lease), from);
    assert!(!is_degraded(&world, lease));
}
