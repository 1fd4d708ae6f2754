//! Hosts whose servers are anchored by a class of their own, because ordinary flavors leave no memory for it (architecture D21).

use http::Method;
use leasehold_cloudsim::CloudConfig;
use leasehold_ledger::model::{Anchor, LeaseStatus, OnEnd, PoolKind, Stage};
use leasehold_ledger::plan::NoPlan;
use serde_json::{Value, json};

use super::judge;
use super::world::World;

/// A cloud where `anchored` have four anchors each, and ordinary flavors with a grain of 4 MB.
fn world(hosts: &[&str], anchored: &[&str]) -> World {
    let world = World::with(hosts, |config: &mut CloudConfig| {
        // Nobody puts right what a test does to an inventory.
        config.timings.resource_update_ms = 100_000_000;
        for spec in config.hosts.iter_mut().filter(|spec| anchored.contains(&spec.name.as_str())) {
            spec.custom.insert("CUSTOM_LH_ANCHOR".into(), 4);
        }
    });
    ordinary(&world, "odd", 100);
    ordinary(&world, "ord", 512);
    world
}

fn ordinary(world: &World, id: &str, ram: u32) {
    let flavor = json!({"flavor": {"name": id, "vcpus": 1, "ram": ram, "disk": 1, "id": id}});
    world.admin(Method::POST, "/flavors", Some(flavor));
}

/// What a server has of Placement, by class, on all providers together.
fn allocated(world: &World, server: &str) -> Vec<String> {
    let state = world.state();
    let providers = state["placement"]["allocations"][server]["allocations"].as_object().cloned().unwrap_or_default();
    let mut classes: Vec<String> =
        providers.values().filter_map(Value::as_object).flat_map(|resources| resources.keys().cloned()).collect();
    classes.sort();
    classes
}

/// The tokens of a lease and its anchor, and nothing else.
fn anchored(world: &World, server: &str) -> bool {
    let classes = allocated(world, server);
    classes.len() == 2 && classes[0] == "CUSTOM_LH_ANCHOR" && classes[1].starts_with("CUSTOM_RESERVATION_")
}

#[tokio::test(start_paused = true)]
async fn a_shared_host_without_room_for_anchors_is_refused_and_taken_in_with_anchors_of_their_own() {
    let world = world(&["cmp1", "cmp2", "cmp3"], &["cmp2", "cmp3"]);
    let refused = world.try_take_in("cmp1", PoolKind::Shared).await.unwrap_err().to_string();
    for named in ["cmp1", "grain of 4 MB", "odd 100 MB", "provider.yaml", "CUSTOM_LH_ANCHOR"] {
        assert!(refused.contains(named), "{named} is not in: {refused}");
    }
    assert_eq!(world.state()["placement"].to_string().matches("\"leasehold_cmp1").count(), 0, "nothing is left of it");
    let shared = world.take_in("cmp2", PoolKind::Shared).await;
    let (host, seen) = (&shared.description, &shared.observation);
    assert_eq!((host.anchor, host.anchor_budget, host.memory_grain_mb), (Anchor::Class, 4, 0));
    assert_eq!((seen.capacity.slots, seen.capacity.memory_mb), (4, 8192), "no memory is kept for anchors");
    assert_eq!(world.state()["placement"].to_string().matches("LEASEHOLD_HOLD").count(), 0, "nothing is held of it");
    // On a dedicated host the whole hold keeps the memory safe.
    let dedicated = world.take_in("cmp3", PoolKind::Dedicated).await;
    assert_eq!((dedicated.description.anchor, dedicated.description.anchor_budget), (Anchor::Memory, 255));
}

#[tokio::test(start_paused = true)]
async fn a_staged_lease_lives_on_anchors_of_their_own_and_its_servers_are_nobodys_firm_usage() {
    let mut world = world(&["cmp1"], &["cmp1"]);
    let host = world.onboard("cmp1", PoolKind::Shared).await;
    world.lead();
    let begin = world.now();
    let lease = world.book(4, 400, 700, Some((100, 200)), OnEnd::Delete);
    let flavor = world.flavor(lease);
    world.until("the staging window opens", 110, || judge::count(&world, "flavor.access_added") == 1).await;
    let specs = world.state()["flavors"][&flavor]["extra_specs"].clone();
    assert_eq!((&specs["resources:MEMORY_MB"], &specs["resources:CUSTOM_LH_ANCHOR"]), (&json!("0"), &json!("1")));
    let servers: Vec<String> = ["a", "b"].iter().map(|name| world.boot(lease, name).unwrap()).collect();
    world.until("both run", 10, || servers.iter().all(|id| world.server_status(id) == "ACTIVE")).await;
    assert!(servers.iter().all(|id| anchored(&world, id)), "{:?}", allocated(&world, &servers[0]));
    let parked = |world: &World| servers.iter().all(|id| world.server_status(id) == "SHELVED_OFFLOADED");
    world
        .until("both are parked", 120, || parked(&world) && world.lease(lease).unwrap().reservations[0].stage == Stage::Parked)
        .await;
    world.until("the lease is active", 300, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let woken = judge::unshelved(&world);
    assert_eq!((woken.len(), woken.values().map(Vec::len).max()), (2, Some(1)), "each woke once");
    assert!(servers.iter().all(|id| anchored(&world, id)));
    // A full look at the host while they run.
    world.pass(100).await;
    let seen = world.ledger.look(|state| state.host(host).unwrap().clone());
    assert_eq!(seen.observation.firm, Default::default());
    assert!(seen.accepts_bookings());
    // Two of four slots run, all four are held: two ordinary CPUs are left.
    assert_eq!([world.boot_ordinary("ord").await, world.boot_ordinary("odd").await], ["ACTIVE", "ACTIVE"]);
    assert_eq!(world.boot_ordinary("odd").await, "ERROR");
    world.until("the lease is over", 320, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    world.pass(2).await;
    judge::never_open_outside(&world, lease, &flavor, &[(begin.plus(100), begin.plus(200)), (begin.plus(400), begin.plus(700))]);
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, 1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_never_mixes_kinds_of_anchor() {
    let mut world = world(&["cmp1", "cmp2"], &["cmp2"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.onboard("cmp2", PoolKind::Shared).await;
    world.lead();
    // Five slots of two CPUs fit on the dedicated host, four on the shared one: nine on both.
    let together = |amount: u32, world: &mut World| world.try_book(amount, 60, 300, None, OnEnd::Delete, |_| {});
    match together(6, &mut world) {
        Err(NoPlan::NoRoom(short)) => assert_eq!((short.largest_amount, short.short_by), (5, 1)),
        other => panic!("{other:?}"),
    }
    // Different hosts there are, but of different kinds.
    let apart = world.try_book(2, 60, 300, None, OnEnd::Delete, |wish| wish.affinity = Some(false));
    match apart {
        Err(NoPlan::NoRoom(short)) => assert_eq!(short.largest_amount, 1),
        other => panic!("{other:?}"),
    }
    let on_memory = world.try_book(3, 60, 300, None, OnEnd::Delete, |wish| wish.affinity = Some(true)).unwrap();
    let on_class = world.try_book(3, 60, 300, None, OnEnd::Delete, |wish| wish.affinity = Some(true)).unwrap();
    for lease in [on_memory, on_class] {
        world.until("it is active", 70, || world.status(lease) == Some(LeaseStatus::Active)).await;
    }
    let specs = |lease| world.state()["flavors"][&world.flavor(lease)]["extra_specs"].clone();
    assert_eq!(specs(on_memory)["resources:MEMORY_MB"], "1");
    assert!(specs(on_memory).get("resources:CUSTOM_LH_ANCHOR").is_none());
    assert_eq!(specs(on_class)["resources:MEMORY_MB"], "0");
    assert_eq!(specs(on_class)["resources:CUSTOM_LH_ANCHOR"], "1");
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn anchors_that_go_are_seen_and_not_promised_again() {
    let mut world = world(&["cmp1"], &["cmp1"]);
    let host = world.onboard("cmp1", PoolKind::Shared).await;
    world.lead();
    let lease = world.book(3, 2_000, 3_000, None, OnEnd::Delete);
    world.until("the hold is accepted", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    let seen = |world: &World| world.ledger.look(|state| state.host(host).unwrap().clone());
    let set = |world: &World, total: u64| {
        let root = seen(world).description.root_provider;
        let path = format!("/placement/resource_providers/{root}/inventories/CUSTOM_LH_ANCHOR");
        let generation = world.state()["placement"]["providers"][root.to_string()]["generation"].clone();
        let inventory = json!({"resource_provider_generation": generation, "total": total});
        world.call(("admin", "admin"), Method::PUT, &path, Some(inventory));
    };
    set(&world, 3);
    world.until("one less is seen", 400, || seen(&world).observation.capacity.slots == 3).await;
    assert!(seen(&world).accepts_bookings(), "three are promised, three are there");
    assert!(world.try_book(1, 2_000, 3_000, None, OnEnd::Delete, |_| {}).is_err());
    set(&world, 2);
    world.until("too few are seen", 400, || seen(&world).overcommitted).await;
    set(&world, 400);
    world.until("all are back", 400, || !seen(&world).overcommitted).await;
    assert_eq!(seen(&world).observation.capacity.slots, 4, "never more than it was taken in with");
}
