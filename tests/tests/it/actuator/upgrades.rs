//! Planned upgrades: what a host is to have is promised before it is there, held as soon as Placement has it, and what does not
//! come makes the leases that were promised it move.

use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{HostId, LeaseStatus, PoolKind, Upgrade};

use super::ask::Ask;
use super::healing::hosts;
use super::judge;
use super::moves::held_cpus;
use super::world::World;

/// The vCPUs that a host has at first, and is to have; a server has two.
const HAS: u32 = 4;
const GETS: u32 = 8;

fn vcpus(world: &World, name: &str) -> u32 {
    world.ledger.look(|state| state.host_by_name(name).unwrap().room().vcpus)
}

/// In so many seconds it is to have so many vCPUs.
fn declare(world: &World, name: &str, in_s: u32, vcpus: u32) -> HostId {
    let host_id = world.ledger.look(|state| state.host_by_name(name).unwrap().id);
    let upgrade = Upgrade { start: world.now().plus(in_s), vcpus: Some(vcpus), memory_mb: None, disk_gb: None };
    world.ledger.apply(Command::SetUpgrade { host_id, upgrade }).unwrap();
    host_id
}

/// It has so many from now on, and Placement is told.
fn comes(world: &World, name: &str, vcpus: u32) {
    assert!(world.sim.lock().set_host_vcpus(name, vcpus.into()), "{name} is not there");
}

/// Hosts that have four vCPUs.
async fn small(names: &[&str], pool: PoolKind) -> World {
    let world = match pool {
        PoolKind::Dedicated => World::dedicated(names).await,
        PoolKind::Shared => World::shared(names, &[("small", 2)]).await,
    };
    names.iter().for_each(|name| comes(&world, name, HAS));
    let is_small = |world: &World| names.iter().all(|name| vcpus(world, name) == HAS);
    world.until("it is seen", 120, || is_small(&world)).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_what_is_to_come_starts_on_it() {
    let mut world = small(&["cmp1"], PoolKind::Dedicated).await;
    declare(&world, "cmp1", 300, GETS);
    let lease = world.ask(&Ask::new(4, 320, 600));
    assert_eq!(world.status(lease), Some(LeaseStatus::Pending));
    world.pass(200).await;
    comes(&world, "cmp1", GETS);
    world.until("it is seen", 60, || vcpus(&world, "cmp1") == GETS).await;
    world.until("it is active", 200, || world.is_active(lease)).await;
    for number in 0..4 {
        world.boot_up(lease, &format!("s{number}")).await;
    }
    judge::hold_covers_tokens(&world);
    assert!(world.ledger.look(|state| state.hosts().all(|host| host.upgrade.is_none() && !host.overcommitted)));
    world.until("it is over", 400, || world.is_over(lease)).await;
}

#[tokio::test(start_paused = true)]
async fn on_a_shared_host_what_comes_is_held_at_once() {
    let mut world = small(&["cmp1"], PoolKind::Shared).await;
    declare(&world, "cmp1", 300, GETS);
    let lease = world.ask(&Ask::new(3, 320, 600));
    world.until("it is promised", 10, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    // The rest would not be had from Placement.
    world.until("all that there is is held for it", 5, || held_cpus(&world) == 4).await;
    world.pass(150).await;
    // The answer to the first hold that would cover it is lost, and the next write fails.
    let path = "/placement/allocations";
    world.sim.lock().add_fault(Fault::on("POST", path, FaultKind::LostAnswer { after_ms: 0 }).times(1));
    world.sim.lock().add_fault(Fault::on("POST", path, FaultKind::Error { status: 500, retry_after_s: None }).times(1));
    comes(&world, "cmp1", GETS);
    world.until("all of it is held", 60, || held_cpus(&world) == 6).await;
    assert!(world.now() < world.lease(lease).unwrap().start.minus(60), "well before it begins");
    world.until("it is active", 300, || world.is_active(lease)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn who_was_promised_it_before_has_it_if_nothing_comes() {
    let mut world = small(&["cmp1"], PoolKind::Shared).await;
    let lease = world.ask(&Ask::new(2, 320, 600));
    world.until("it is promised", 10, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    declare(&world, "cmp1", 300, GETS);
    world.pass(60).await;
    assert_eq!((held_cpus(&world), world.boot_ordinary("small").await.as_str()), (4, "ERROR"), "nothing of it is anybody's");
    world.until("it is due", 300, || world.ledger.look(|state| state.hosts().all(|host| host.upgrade.is_none()))).await;
    assert_eq!(held_cpus(&world), 4);
    world.until("it is active", 60, || world.is_active(lease)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn who_is_promised_what_is_to_come_waits_for_nothing_that_others_have() {
    let mut world = small(&["cmp1"], PoolKind::Shared).await;
    declare(&world, "cmp1", 300, GETS);
    // The ledger does not know yet.
    assert_eq!(world.boot_ordinary("small").await, "ACTIVE");
    let lease = world.ask(&Ask::new(3, 320, 600));
    world.until("it is promised", 5, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    assert_eq!(held_cpus(&world), 2, "it must be, and no more is to be had");
    world.pass(200).await;
    assert_eq!(held_cpus(&world), 2);
    comes(&world, "cmp1", GETS);
    world.until("all of it is held", 90, || held_cpus(&world) == 6).await;
    world.until("it is active", 300, || world.is_active(lease)).await;
    judge::hold_covers_tokens(&world);
}

/// Between two looks of the monitor, which are a minute apart here.
#[tokio::test(start_paused = true)]
async fn what_comes_just_in_time_is_seen_in_time() {
    for pool in [PoolKind::Dedicated, PoolKind::Shared] {
        let mut world = small(&["cmp1", "cmp2"], pool).await;
        let start = world.now().plus(200);
        declare(&world, "cmp1", 200, GETS);
        let lease = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(4, 210, 600) });
        world.until("it is promised", 10, || world.status(lease) == Some(LeaseStatus::Pending)).await;
        // The first look after that finds nobody there, and is made again.
        world.until("it is about to be due", 200, || world.now() >= start.minus(9)).await;
        comes(&world, "cmp1", GETS);
        world
            .sim
            .lock()
            .add_fault(Fault::on("GET", "/placement", FaultKind::Error { status: 500, retry_after_s: None }).times(3));
        let is_well = |world: &World| world.ledger.look(|state| state.hosts().all(|host| !host.overcommitted));
        let is_due = |world: &World| world.ledger.look(|state| state.hosts().all(|host| host.upgrade.is_none()));
        world
            .until("it is due", 20, || {
                assert!(is_well(&world));
                is_due(&world)
            })
            .await;
        world.until("it is active", 20, || world.is_active(lease)).await;
        judge::hold_covers_tokens(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_seconds_late_is_seen_at_once() {
    let mut world = small(&["cmp1", "cmp2"], PoolKind::Dedicated).await;
    declare(&world, "cmp1", 200, GETS);
    let lease = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(4, 260, 600) });
    world.until("it is due", 210, || world.ledger.look(|state| state.hosts().any(|host| host.overcommitted))).await;
    comes(&world, "cmp1", GETS);
    world.until("it is seen", 4, || world.ledger.look(|state| state.hosts().all(|host| !host.overcommitted))).await;
    world.until("it is active", 70, || world.is_active(lease)).await;
}

#[tokio::test(start_paused = true)]
async fn a_successor_holds_what_came_while_nobody_led() {
    let mut world = small(&["cmp1"], PoolKind::Shared).await;
    declare(&world, "cmp1", 120, GETS);
    let lease = world.ask(&Ask::new(4, 200, 600));
    world.until("it is promised", 10, || world.status(lease) == Some(LeaseStatus::Pending)).await;
    world.kill().await;
    comes(&world, "cmp1", GETS);
    world.pass(130).await;
    world.lead();
    world.until("all of it is held", 30, || held_cpus(&world) == 8).await;
    world.until("it is active", 120, || world.is_active(lease)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn who_was_promised_what_does_not_come_moves() {
    for pool in [PoolKind::Dedicated, PoolKind::Shared] {
        let mut world = small(&["cmp1", "cmp2"], pool).await;
        declare(&world, "cmp1", 200, GETS);
        let ask = Ask { host: Some("cmp1"), ..Ask::new(2, 600, 900) };
        let first = world.ask(&ask);
        world.until("it is promised", 10, || world.status(first) == Some(LeaseStatus::Pending)).await;
        let second = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(2, 600, 900) });
        world.until("it is promised", 10, || world.status(second) == Some(LeaseStatus::Pending)).await;
        world.until("it is due", 210, || world.ledger.look(|state| state.hosts().any(|host| host.overcommitted))).await;
        // Neither may go elsewhere.
        world.pass(100).await;
        assert_eq!((hosts(&world, first), hosts(&world, second)), (vec!["cmp1".to_owned()], vec!["cmp1".to_owned()]));
        comes(&world, "cmp1", GETS);
        world.until("it came after all", 120, || world.ledger.look(|state| state.hosts().all(|host| !host.overcommitted))).await;
        for lease in [first, second] {
            world.until("it is active", 400, || world.is_active(lease)).await;
        }
        judge::hold_covers_tokens(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_go_elsewhere_does() {
    let mut world = small(&["cmp1", "cmp2"], PoolKind::Dedicated).await;
    let id = declare(&world, "cmp1", 2_000, GETS);
    // Who could be elsewhere is there only while that is taken.
    let other = world.ask(&Ask { host: Some("cmp2"), ..Ask::new(2, 2_600, 2_900) });
    let first = world.ask(&Ask { host: Some("cmp1"), ..Ask::new(2, 2_600, 2_900) });
    let second = world.ask(&Ask::new(2, 2_650, 2_900));
    world.ledger.apply(Command::DeleteLease { lease_id: other }).unwrap();
    assert_eq!((hosts(&world, first), hosts(&world, second)), (vec!["cmp1".to_owned()], vec!["cmp1".to_owned()]));
    world.ledger.apply(Command::DropUpgrade { host_id: id }).unwrap();
    world.until("the second moves", 300, || hosts(&world, second) == ["cmp2"]).await;
    assert_eq!(hosts(&world, first), ["cmp1"]);
    for lease in [first, second] {
        world.until("it is active", 3_000, || world.is_active(lease)).await;
    }
    judge::hold_covers_tokens(&world);
}
