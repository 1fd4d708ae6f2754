//! P1 as a property of every sequence of writes.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use leasehold_ledger::model::{Amounts, HostId, ReservationId};
use uuid::Uuid;

use super::*;
use crate::leader::desired::{HostWish, TokenWish};
use crate::leader::names;

const NEED: Amounts = Amounts { vcpus: 2, memory_mb: 1024, disk_gb: 5, slots: 1 };

fn ours() -> Names {
    Names::new(Uuid::from_u128(9))
}

fn slots(n: u32) -> Amounts {
    Amounts { slots: 0, ..NEED.checked_mul(n).unwrap() }
}

fn wish(hold: u32, tokens: &[(u128, u32, Gate)]) -> HostWish {
    let token = |(id, total, gate): &(u128, u32, Gate)| {
        let reservation = ReservationId(Uuid::from_u128(*id));
        (names::class(reservation), TokenWish { reservation, need: NEED, total: *total, gate: *gate })
    };
    let most = Amounts { vcpus: 4, memory_mb: 100_000, disk_gb: 1000, slots: 0 };
    HostWish { host: HostId(1), hold: slots(hold), max_unit: most, tokens: tokens.iter().map(token).collect() }
}

fn class(id: u128) -> String {
    names::class(ReservationId(Uuid::from_u128(id)))
}

fn nothing() -> HostRead {
    HostRead {
        root: Uuid::from_u128(1),
        inventories: Inventories { generation: 0, inventories: BTreeMap::new() },
        usage: BTreeMap::new(),
        shards: Vec::new(),
    }
}

/// Carries a write out as Placement would, and checks P1 afterwards.
fn carry(read: &mut HostRead, wish: &HostWish, write: Write) {
    match write {
        Write::Inventories(next) => {
            assert_eq!(next.generation, read.inventories.generation);
            read.inventories = Inventories { generation: next.generation + 1, ..next };
        }
        Write::Hold(writes) => {
            for write in writes {
                let number = (0..).find(|n| ours().hold(read.root, *n) == write.consumer).unwrap();
                if read.shards.len() <= number {
                    read.shards.resize(number + 1, Shard::default());
                }
                let shard = &mut read.shards[number];
                assert_eq!(write.generation, shard.generation);
                shard.amounts = amounts(&write.resources);
                let gone = shard.amounts == Amounts::default();
                shard.generation = (!gone).then(|| shard.generation.unwrap_or(0) + 1);
                assert!(shard.amounts.fits_in(wish.max_unit), "no consumer exceeds max_unit");
            }
        }
    }
    let backed = Amounts { slots: 0, ..read.backed(wish) };
    assert!(backed.fits_in(read.held()), "P1: {backed:?} backed by {:?}", read.held());
}

/// Writes until nothing is left to do.
fn settle(read: &mut HostRead, wish: &HostWish) -> Vec<&'static str> {
    let mut order = Vec::new();
    while let Some(write) = next_write(&ours(), wish, read, false) {
        order.push(if matches!(write, Write::Hold(_)) { "hold" } else { "tokens" });
        carry(read, wish, write);
        assert!(order.len() < 8, "it never settles: {order:?}");
    }
    order
}

#[test]
fn tokens_open_only_after_the_hold_covers_them_and_the_hold_sinks_only_after_they_closed() {
    let mut read = nothing();
    let opening = wish(3, &[(1, 3, Gate::Open)]);
    assert_eq!(settle(&mut read, &opening), ["tokens", "hold", "tokens"]);
    assert!(read.is_open(&class(1)));
    assert_eq!(read.held(), slots(3));
    assert_eq!(read.shards.len(), 2, "6 VCPU at 4 per consumer");
    // Nothing is booked any more, but a server still uses a token.
    read.usage.insert(class(1), 1);
    let ending = wish(0, &[(1, 3, Gate::Ended)]);
    assert_eq!(settle(&mut read, &ending), ["tokens", "hold"]);
    assert!(!read.is_open(&class(1)));
    assert_eq!(read.held(), slots(1), "the used token stays backed");
    read.usage.clear();
    assert_eq!(settle(&mut read, &ending), ["tokens", "hold"]);
    assert_eq!(read.held(), Amounts::default());
    assert!(read.inventories.inventories.is_empty());
}

#[test]
fn a_start_waits_until_what_ended_on_the_host_is_unused() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 2);
    let both = wish(2, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]);
    settle(&mut read, &both);
    assert!(!read.is_open(&class(2)));
    assert_eq!(read.lingering(&both).collect::<Vec<_>>(), [class(1)]);
    read.usage.insert(class(1), 1);
    assert_eq!(settle(&mut read, &both), Vec::<&str>::new());
    read.usage.clear();
    assert_eq!(settle(&mut read, &both), ["tokens"], "the ended class goes and the next opens in one write");
    assert!(read.is_open(&class(2)) && !read.inventories.inventories.contains_key(&class(1)));
}

#[test]
fn a_refused_hold_leaves_what_it_does_not_cover_closed_and_opens_the_rest() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Closed)]));
    // A third slot was booked since, and Placement has no room for it.
    let more = wish(3, &[(1, 2, Gate::Open), (2, 1, Gate::Open)]);
    let write = next_write(&ours(), &more, &read, true).unwrap();
    carry(&mut read, &more, write);
    assert!(read.is_open(&class(1)) && !read.is_open(&class(2)));
    assert_eq!(next_write(&ours(), &more, &read, true), None);
    assert!(matches!(next_write(&ours(), &more, &read, false), Some(Write::Hold(_))));
    assert!(!read.holds(&more));
}

#[test]
fn a_grown_amount_raises_the_hold_before_the_tokens_and_a_used_stranger_is_closed_not_dropped() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    let grown = wish(4, &[(1, 4, Gate::Open)]);
    assert_eq!(settle(&mut read, &grown), ["hold", "tokens"]);
    assert_eq!(read.inventories.inventories[&class(1)].total, 4);
    let shrunk = wish(1, &[(1, 1, Gate::Open)]);
    assert_eq!(settle(&mut read, &shrunk), ["tokens", "hold"]);
    read.usage.insert(class(1), 1);
    let unknown = wish(1, &[]);
    settle(&mut read, &unknown);
    assert!(!read.is_open(&class(1)) && read.inventories.inventories.contains_key(&class(1)));
}
