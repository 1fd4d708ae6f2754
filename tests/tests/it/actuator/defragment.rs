//! Leases that have a host to themselves join others before they begin, whatever was made for them already.

use std::time::Duration;

use leasehold_cloudsim::Fault;
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, OnEnd, PoolKind, Stage};
use leasehold_ledger::plan::Terms;
use leasehold_node::leader::LeaderConfig;

use super::ask::Ask;
use super::healing::hosts;
use super::world::World;
use super::{TROUBLE, judge};

/// A lease that has the first host to itself, and one that must be on the second.
fn scattered(world: &mut World) -> (LeaseId, LeaseId) {
    let moves = world.ask(&Ask::new(2, 600, 700));
    let stays = world.ask(&Ask { host: Some("cmp2"), ..Ask::new(1, 590, 710) });
    assert_eq!((hosts(world, moves), hosts(world, stays)), (vec!["cmp1".to_owned()], vec!["cmp2".to_owned()]));
    (moves, stays)
}

/// Short leases are worth a move, in these tests.
async fn world(gain_s: u32) -> World {
    world_with(|config| config.defragment_terms.gain_s = gain_s).await
}

async fn world_with(set: impl FnOnce(&mut LeaderConfig)) -> World {
    let mut world = World::new(&["cmp1", "cmp2"]);
    set(&mut world.config);
    for host in ["cmp1", "cmp2"] {
        world.onboard(host, PoolKind::Dedicated).await;
    }
    world.lead();
    world
}

#[tokio::test(start_paused = true)]
async fn a_prepared_lease_moves_with_what_was_made_for_it_and_lives_there() {
    for kind in TROUBLE.into_iter().map(Some).chain([None]) {
        let mut world = world(100).await;
        let (moves, _) = scattered(&mut world);
        let is_prepared = |world: &World| world.lease(moves).unwrap().reservations[0].stage == Stage::Prepared;
        world.until("it is prepared", 10, || is_prepared(&world) && world.rows().is_empty()).await;
        if let Some(kind) = kind {
            world.sim.lock().add_fault(Fault::on("PUT", "*/inventories", kind).times(3));
        }
        world.until("it joins the other", 70, || hosts(&world, moves) == ["cmp2"]).await;
        world.kill().await;
        world.lead();
        world.until("both hosts follow", 60, || world.rows().is_empty()).await;
        world.until("it is active", 600, || world.is_active(moves)).await;
        for name in ["a", "b"] {
            let server = world.boot_up(moves, name).await;
            assert_eq!(world.host_of(&server), "cmp2");
        }
        judge::hold_covers_tokens(&world);
        world.until("it is over", 130, || world.is_over(moves)).await;
        world.pass(120).await;
        judge::clean_at_rest(&world, 2, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_moves_for_less_than_it_is_worth_or_who_begins_soon_or_where_it_is_not_wanted() {
    let too_little = |config: &mut LeaderConfig| config.defragment_terms.gain_s = 101;
    let too_late = |config: &mut LeaderConfig| config.defragment_terms = Terms { lead_s: 580, gain_s: 100 };
    let unwanted = |config: &mut LeaderConfig| {
        config.defragment_terms.gain_s = 100;
        config.defragment_period = Duration::ZERO;
    };
    for set in [&too_little as &dyn Fn(&mut LeaderConfig), &too_late, &unwanted] {
        let mut world = world_with(set).await;
        let (moves, _) = scattered(&mut world);
        world.pass(590).await;
        assert_eq!(hosts(&world, moves), ["cmp1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_set_free_can_be_taken_as_a_whole() {
    let mut world = world(100).await;
    let (moves, _) = scattered(&mut world);
    let all = |world: &mut World| world.try_book(5, 600, 700, None, OnEnd::Delete, |instance| instance.affinity = Some(true));
    assert!(all(&mut world).is_err(), "no host has room for all");
    world.until("it joins the other", 70, || hosts(&world, moves) == ["cmp2"]).await;
    let whole = all(&mut world).expect("one host is free");
    world.ledger.apply(Command::AdvanceClock).expect("it is the clock");
    world.until("all are active", 620, || world.is_active(moves) && world.is_active(whole)).await;
    judge::hold_covers_tokens(&world);
}
