//! Declared downtimes: leases that have not begun move away at once, whatever is far off; who cannot says that it lacks a
//! host until the downtime is dropped or over.

use leasehold_ledger::command::{Command, StartWish};
use leasehold_ledger::model::{DowntimeId, HostId, Withheld};
use uuid::Uuid;

use super::ask::Ask;
use super::healing::{hosts, is_degraded, set_alive, without_healing};
use super::judge;
use super::world::World;

const ALL: Withheld = Withheld::ALL;

fn host(world: &World, name: &str) -> HostId {
    world.ledger.look(|state| state.host_by_name(name).unwrap().id)
}

/// From and to in seconds from now.
fn declare(world: &World, name: &str, (from, to): (u32, u32), withheld: Withheld) {
    let (start, end) = (Some(StartWish::At(world.now().plus(from))), world.now().plus(to));
    let downtime_id = DowntimeId(Uuid::from_u128(1));
    let command = Command::SetDowntime { host_id: host(world, name), downtime_id, start, end, withheld };
    world.ledger.apply(command).unwrap();
}

fn take_back(world: &World, name: &str) {
    let command = Command::DropDowntime { host_id: host(world, name), downtime_id: DowntimeId(Uuid::from_u128(1)) };
    world.ledger.apply(command).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_has_not_begun_moves_at_once_and_starts_elsewhere() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let before = world.ask(&Ask::new(2, 100, 200));
    let leases = [world.ask(&Ask::new(2, 300, 400)), world.ask(&Ask::new(1, 50_000, 60_000))];
    assert_eq!(hosts(&world, leases[0]), ["cmp1"]);
    declare(&world, "cmp1", (250, 55_000), ALL);
    world.until("they move", 15, || leases.iter().all(|lease| hosts(&world, *lease) == ["cmp2"])).await;
    assert_eq!(hosts(&world, before), ["cmp1"], "it is over by then");
    world.until("they lack nothing", 10, || leases.iter().all(|lease| !is_degraded(&world, *lease))).await;
    world.until("the first is active", 400, || world.is_active(leases[0])).await;
    let server = world.boot_up(leases[0], "a").await;
    assert_eq!(world.host_of(&server), "cmp2");
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_move_is_degraded_until_the_downtime_is_dropped() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let (lease, other) = (world.ask(&Ask::new(2, 600, 700)), world.ask(&Ask::new(2, 900, 1_000)));
    declare(&world, "cmp1", (650, 800), ALL);
    world.until("it is degraded", 15, || is_degraded(&world, lease)).await;
    assert!(!is_degraded(&world, other));
    world.pass(100).await;
    take_back(&world, "cmp1");
    world.until("it is well again", 15, || !is_degraded(&world, lease)).await;

    // And again, until it is over: who begins there says so while it lasts, and no longer.
    declare(&world, "cmp1", (0, 540), ALL);
    world.until("it is degraded", 15, || is_degraded(&world, lease)).await;
    world.until("it is active", 600, || world.is_active(lease)).await;
    assert!(is_degraded(&world, lease));
    world.until("it is well again", 150, || !is_degraded(&world, lease)).await;
    world.until("it is dropped", 30, || world.ledger.look(|state| state.hosts().all(|host| host.downtimes.is_empty()))).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_begun_stays() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.ask(&Ask::new(2, 20, 600));
    world.until("it is active", 30, || world.is_active(lease)).await;
    let server = world.boot_up(lease, "a").await;
    declare(&world, "cmp1", (100, 300), ALL);
    world.until("it is degraded", 15, || is_degraded(&world, lease)).await;
    world.pass(60).await;
    assert_eq!((hosts(&world, lease), world.host_of(&server)), (vec!["cmp1".to_owned()], "cmp1".to_owned()));
    world.until("it is well again", 300, || !is_degraded(&world, lease)).await;
}

#[tokio::test(start_paused = true)]
async fn of_what_is_taken_in_part_no_more_moves_than_must() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    // Side by side on the first host: each takes two of its CPUs for each server.
    let (first, second) = (world.ask(&Ask::new(2, 300, 900)), world.ask(&Ask::new(1, 400, 900)));
    assert_eq!((hosts(&world, first), hosts(&world, second)), (vec!["cmp1".to_owned()], vec!["cmp1".to_owned()]));
    let capacity = world.ledger.look(|state| state.host_by_name("cmp1").unwrap().room().vcpus);
    // Four of its CPUs are left, which is what the first has.
    declare(&world, "cmp1", (350, 2_000), Withheld { vcpus: Some(capacity - 4), ..ALL });
    world.until("the second moves", 30, || hosts(&world, second) == ["cmp2"]).await;
    world.pass(60).await;
    assert_eq!(hosts(&world, first), ["cmp1"]);
    assert!(!is_degraded(&world, first) && !is_degraded(&world, second));
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_successor_moves_what_the_leader_left_when_it_died() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let leases = [world.ask(&Ask::new(2, 600, 700)), world.ask(&Ask::new(2, 700, 800))];
    world.kill().await;
    declare(&world, "cmp1", (500, 900), ALL);
    world.pass(50).await;
    assert_eq!(hosts(&world, leases[0]), ["cmp1"], "nobody leads");
    world.lead();
    world.until("they move", 20, || leases.iter().all(|lease| hosts(&world, *lease) == ["cmp2"])).await;
    world.until("the first is active", 700, || world.is_active(leases[0])).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn nobody_moves_where_no_healing_is_wanted_also_of_a_host_that_is_down() {
    let mut world = without_healing().await;
    let lease = world.ask(&Ask::new(2, 300, 400));
    let from = hosts(&world, lease);
    declare(&world, &from[0], (200, 500), ALL);
    set_alive(&world, &from[0], false);
    world.pass(280).await;
    assert_eq!(hosts(&world, lease), from);
    assert!(!is_degraded(&world, lease));
}
