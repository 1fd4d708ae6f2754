//! What is asked for where there is no room: that others give way, and changes of leases that are there.

use std::time::Instant;

use leasehold_ledger::command::{EndWish, LeaseChange, LeaseWish, ReservationChange, StartWish};
use leasehold_ledger::model::{Interval, Precedence};
use leasehold_ledger::plan::{NoPlan, Overlay, Tell, plan_create, plan_update, try_plan, what_fits};

use crate::measure::question;
use crate::report::{Budget, Row};
use crate::world::{DAY_S, Progress, Random, World};

/// All figures of it.
pub fn all(world: &World, samples: usize) -> Vec<Row> {
    let mut rows = preempting(world, (samples / 4).max(1));
    rows.push(changes(world, (samples / 4).max(1)));
    rows
}

/// Leases that are a few instances short, and others that have no room, with a higher priority than most.
fn preempting(world: &World, samples: usize) -> Vec<Row> {
    let (mut random, mut took) = (Random(79), Vec::new());
    let mut progress = Progress::new("leases that others may give way to", samples as u64);
    // In a roomy world nothing is short.
    for _ in 0..samples * 20 {
        if took.len() == samples {
            break;
        }
        let mut wish = question(world, &mut random, true);
        if took.len() % 2 == 0 {
            let StartWish::At(start) = wish.start else { panic!("questions say when") };
            let window = Interval { start, end: wish.end };
            let instance = wish.reservations[0].resource.instance_mut();
            let fits = what_fits(&world.state, instance, None, window, world.now()).largest_amount;
            // What asks for more hosts than there are is no question of leases.
            instance.amount = fits + 1 + random.below(4) as u32;
        }
        if try_plan(&world.state, &Overlay::default(), &wish, &[], &Default::default(), world.now()) != Ok(None) {
            continue;
        }
        let precedence = Precedence { priority: 1, preempt: true, ..wish.precedence };
        let urgent = LeaseWish { precedence, ..wish };
        let begin = Instant::now();
        let planned = plan_create(&world.state, &Overlay::default(), &urgent, &[], world.now());
        took.push((begin.elapsed().as_nanos() as u64, planned.is_ok()));
        progress.at(took.len() as u64);
    }
    progress.done();
    let taken = |whether: bool| took.iter().filter(|(_, taken)| *taken == whether).map(|(took, _)| *took).collect();
    vec![
        Row::times("plan with room that others give way with, one lease in eight may", taken(true))
            .with(Budget::p99_us(106_000.0, "our own: as refuse with the next window, which it replaces")),
        Row::times("refuse, though leases that may give way were tried", taken(false))
            .with(Budget::p99_us(212_000.0, "our own: both")),
    ]
}

/// Leases of all of the time that want to be larger and to last longer, where that has no room.
fn changes(world: &World, samples: usize) -> Row {
    let mut random = Random(80);
    let apart = (world.state.leases().count() / samples / 4).max(1);
    let mut took = Vec::new();
    let mut progress = Progress::new("changes", samples as u64);
    for lease in world.state.leases().step_by(apart) {
        let one = &lease.reservations[0];
        let mut resource = one.wish.clone();
        resource.instance_mut().amount = random.one_of(&[512, 2048, 4096]);
        let change = LeaseChange {
            end: Some(EndWish::At(lease.end.plus(random.one_of(&[1, 7, 30]) * DAY_S))),
            reservations: vec![ReservationChange { reservation_id: one.id, resource, on_end: None }],
            ..LeaseChange::default()
        };
        let begin = Instant::now();
        let planned = plan_update(&world.state, &Overlay::default(), lease.id, &change, world.now(), Tell::WhatFits);
        let elapsed = begin.elapsed().as_nanos() as u64;
        if matches!(planned, Err(NoPlan::NoRoom(_))) {
            took.push(elapsed);
        }
        if took.len() == samples {
            break;
        }
        progress.at(took.len() as u64);
    }
    progress.done();
    Row::times("refuse a change, name largest amount and next window", took)
        .with(Budget::p99_us(106_000.0, "our own: as of a create"))
}
