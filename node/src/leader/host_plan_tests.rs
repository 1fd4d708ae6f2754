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
    let (hold, tokens) = (slots(hold), tokens.iter().map(token).collect());
    HostWish { host: HostId(1), hold, sought: hold, max_unit: most, anchors: 255, tokens }
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
        settled: true,
    }
}

/// Carries a write out as Placement would, and checks P1 afterwards.
fn carry(read: &mut HostRead, wish: &HostWish, write: Write) {
    match write {
        Write::Inventories(next) => {
            assert_eq!(next.generation, read.inventories.generation);
            read.inventories = Inventories { generation: next.generation + 1, ..next };
            read.settled = true;
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
    let backed = read.backed(wish);
    assert!(backed.slots <= wish.anchors, "{} anchors of {}", backed.slots, wish.anchors);
    let backed = Amounts { slots: 0, ..backed };
    assert!(backed.fits_in(read.held()), "P1: {backed:?} backed by {:?}", read.held());
}

/// Writes until nothing is left to do.
fn settle(read: &mut HostRead, wish: &HostWish) -> Vec<&'static str> {
    settle_with(read, wish, false)
}

/// The same on a host that is full: Placement lets the hold sink only.
fn settle_full(read: &mut HostRead, wish: &HostWish) -> Vec<&'static str> {
    settle_with(read, wish, true)
}

fn settle_with(read: &mut HostRead, wish: &HostWish, full: bool) -> Vec<&'static str> {
    let mut order = Vec::new();
    while let Some(write) = next_write(&ours(), wish, read, full) {
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
fn tokens_are_written_again_before_the_hold_sinks_while_an_older_write_may_be_under_way() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    // A third is opened; nobody knows whether that was carried out. Then it is not wanted any more.
    let more = wish(3, &[(1, 3, Gate::Open)]);
    let hold = next_write(&ours(), &more, &read, false).unwrap();
    carry(&mut read, &more, hold);
    let Some(Write::Inventories(late)) = next_write(&ours(), &more, &read, false) else { panic!("it opens the third") };
    let less = wish(2, &[(1, 2, Gate::Open)]);
    read.settled = false;
    let again = next_write(&ours(), &less, &read, false).unwrap();
    assert_eq!(again, Write::Inventories(read.inventories.clone()));
    carry(&mut read, &less, again);
    read.settled = true;
    assert!(late.generation < read.inventories.generation, "it is too late now");
    assert_eq!(settle(&mut read, &less), ["hold"]);
    // A hold that grows waits for nothing.
    read.settled = false;
    assert!(matches!(next_write(&ours(), &more, &read, false), Some(Write::Hold(_))));
}

#[test]
fn a_start_on_a_full_host_waits_until_what_ended_there_is_unused() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 2);
    let both = wish(2, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]);
    settle_full(&mut read, &both);
    assert!(!read.is_open(&class(2)));
    assert_eq!(read.lingering(&both).collect::<Vec<_>>(), [class(1)]);
    read.usage.insert(class(1), 1);
    assert_eq!(settle_full(&mut read, &both), Vec::<&str>::new());
    read.usage.clear();
    assert_eq!(settle_full(&mut read, &both), ["tokens"], "the ended class goes and the next opens in one write");
    assert!(read.is_open(&class(2)) && !read.inventories.inventories.contains_key(&class(1)));
}

#[test]
fn where_a_host_has_room_a_start_beside_what_ended_there_raises_the_hold_until_that_is_gone() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 1);
    let both = wish(2, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]);
    assert_eq!(settle(&mut read, &both), ["tokens", "hold", "tokens"]);
    assert!(read.is_open(&class(2)) && !read.is_open(&class(1)));
    assert_eq!(read.held(), slots(3), "what is booked, and what is still used");
    read.usage.clear();
    assert_eq!(settle(&mut read, &both), ["tokens", "hold"]);
    assert_eq!(read.held(), slots(2));
}

#[test]
fn the_hold_is_not_raised_for_a_start_that_waits_for_more_than_the_hold() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 2);
    let few = HostWish { anchors: 3, ..wish(2, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]) };
    settle(&mut read, &few);
    assert_eq!(read.held(), slots(2), "four servers would need four anchors");
    settle(&mut read, &wish(2, &[(2, 2, Gate::Open)]));
    assert_eq!(read.held(), slots(2), "what a stranger's token backs is not known");
}

#[test]
fn what_is_booked_is_held_first_whatever_else_would_be_held_too() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 2);
    // Another slot was booked, too: the first write asks for no more than that.
    let more = wish(3, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]);
    let tokens = next_write(&ours(), &more, &read, false).unwrap();
    carry(&mut read, &more, tokens);
    let first = next_write(&ours(), &more, &read, false).unwrap();
    carry(&mut read, &more, first);
    assert_eq!(read.held(), slots(3));
    assert!(read.holds(&more));
    assert_eq!(next_write(&ours(), &more, &read, true), None, "the rest was refused");
    assert_eq!(settle(&mut read, &more), ["hold", "tokens"]);
}

#[test]
fn what_is_sought_is_held_beside_all_else_and_is_not_let_go() {
    let sought = |hold, sought, tokens: &[(u128, u32, Gate)]| HostWish { sought: slots(sought), ..wish(hold, tokens) };
    let mut read = nothing();
    let few = sought(1, 4, &[(1, 1, Gate::Open)]);
    assert_eq!(settle(&mut read, &few), ["tokens", "hold", "tokens"]);
    assert_eq!(read.held(), slots(1), "nobody waits for more");
    let more = more_write(&ours(), &few, &read).unwrap();
    carry(&mut read, &few, more);
    assert_eq!((read.held(), more_write(&ours(), &few, &read)), (slots(4), None));
    // An upgrade is declared for what is held, or it shows that there is less: no more than that is let go.
    for full in [true, false] {
        settle_with(&mut read, &sought(0, 3, &[]), full);
        assert_eq!(read.held(), slots(3));
    }
    // More must be held than there is: as much of it as there is.
    let lost = sought(5, 4, &[]);
    assert_eq!(next_write(&ours(), &lost, &read, true), None);
    let more = more_write(&ours(), &lost, &read).unwrap();
    carry(&mut read, &lost, more);
    assert_eq!((read.held(), read.holds(&lost)), (slots(4), false));
    settle(&mut read, &wish(2, &[]));
    assert_eq!(read.held(), slots(2));
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

#[test]
fn a_start_does_not_wait_for_what_ended_where_the_hold_covers_both() {
    let mut read = nothing();
    settle(&mut read, &wish(4, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 2);
    let both = wish(4, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]);
    assert_eq!(settle(&mut read, &both), ["tokens"]);
    assert!(read.is_open(&class(2)) && !read.is_open(&class(1)));
    assert_eq!(read.held(), slots(4));
}

#[test]
fn a_start_waits_for_what_ended_where_anchors_are_short_or_the_used_tokens_are_nobodys() {
    let mut read = nothing();
    settle(&mut read, &wish(4, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 2);
    let few = HostWish { anchors: 3, ..wish(4, &[(1, 2, Gate::Ended), (2, 2, Gate::Open)]) };
    settle(&mut read, &few);
    assert!(!read.is_open(&class(2)), "four servers would need four anchors");
    let unknown = wish(4, &[(2, 2, Gate::Open)]);
    settle(&mut read, &unknown);
    assert!(!read.is_open(&class(2)), "what a stranger's token backs is not known");
    read.usage.clear();
    settle(&mut read, &unknown);
    assert!(read.is_open(&class(2)));
}

/// A small generator of its own: the same cases in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn small(&mut self, n: u32) -> u32 {
        u32::try_from(self.below(u64::from(n))).unwrap()
    }
}

/// What a ledger could want next: at most `CAPACITY` slots are booked by what is not ended, and the rest of the host, if it
/// is dedicated, is held as well.
const CAPACITY: u32 = 6;

fn any_wish(draw: &mut Draw) -> HostWish {
    let mut booked = 0;
    let mut tokens = Vec::new();
    for id in 1..=4 {
        let gate = [Gate::Closed, Gate::Counted, Gate::Open, Gate::Ended][usize::try_from(draw.below(4)).unwrap()];
        let total = (1 + draw.small(3)).min(CAPACITY - booked);
        if total == 0 || draw.below(4) == 0 {
            continue;
        }
        booked += if gate == Gate::Ended { 0 } else { total };
        tokens.push((id, total, gate));
    }
    let hold = if draw.below(2) == 0 { CAPACITY } else { booked };
    // Behind an upgrade more may be booked than must be held, and where room was lost more must be than there is.
    let sought = slots(draw.small(CAPACITY + 1));
    HostWish { sought, anchors: CAPACITY, ..wish(hold, &tokens) }
}

#[test]
fn no_sequence_of_wishes_boots_and_deletions_ever_breaks_p1_or_the_anchor_budget() {
    let (mut opened_beside, mut sought) = (0, 0);
    for seed in 1..=400 {
        let mut draw = Draw(seed * 0x9e37_79b9);
        let mut read = nothing();
        for _ in 0..40 {
            let mut wish = any_wish(&mut draw);
            // The ledger knows a reservation for as long as its tokens are used.
            for (id, _) in (1..=4).map(|id| (id, ())).filter(|(id, ())| read.used(&class(*id)) > 0) {
                let used = u32::try_from(read.used(&class(id))).unwrap();
                let token =
                    TokenWish { reservation: ReservationId(Uuid::from_u128(id)), need: NEED, total: used, gate: Gate::Ended };
                wish.tokens.entry(class(id)).or_insert(token);
            }
            let refused = draw.below(4) == 0;
            for _ in 0..8 {
                let Some(write) = next_write(&ours(), &wish, &read, refused) else { break };
                if refused && matches!(write, Write::Hold(_)) && !read.holds(&wish) {
                    break;
                }
                carry(&mut read, &wish, write);
                let more = more_write(&ours(), &wish, &read).filter(|_| draw.below(3) == 0);
                if let Some(more) = more {
                    carry(&mut read, &wish, more);
                    assert!(Amounts { slots: 0, ..wish.sought }.fits_in(read.held()));
                    sought += 1;
                }
                // Between two writes servers come where tokens are open, and go anywhere.
                let id = class(u128::from(1 + draw.below(4)));
                let used = read.used(&id);
                let room = read.inventories.inventories.get(&id).map_or(0, |there| there.total - there.reserved);
                let next = if draw.below(2) == 0 && used < room { used + 1 } else { used.saturating_sub(1) };
                read.usage.insert(id, next);
                read.usage.retain(|_, used| *used > 0);
            }
            let lingers = read.lingering(&wish).next().is_some();
            opened_beside += usize::from(lingers && wish.tokens.keys().any(|class| read.is_open(class)));
        }
    }
    assert!(opened_beside > 100, "the rule is used: {opened_beside}");
    assert!(sought > 100, "more is sought: {sought}");
}

/// A write whose answer was lost may open what looks closed, until the next one makes it too late.
#[test]
fn what_is_counted_is_closed_and_known_to_be() {
    let mut read = nothing();
    settle(&mut read, &wish(2, &[(1, 2, Gate::Open)]));
    read.usage.insert(class(1), 1);
    let counting = wish(2, &[(1, 2, Gate::Counted)]);
    assert_eq!(settle(&mut read, &counting), ["tokens"]);
    assert!(!read.is_open(&class(1)));
    assert_eq!(settle(&mut read, &counting), [""; 0]);
    let generation = read.inventories.generation;
    read.settled = false;
    assert_eq!(settle(&mut read, &counting), ["tokens"]);
    assert_eq!((read.inventories.generation, read.is_open(&class(1))), (generation + 1, false));
    // Nobody counts what is closed for its end, so that is left as it is.
    read.settled = false;
    assert_eq!(settle(&mut read, &wish(2, &[(1, 2, Gate::Closed)])), [""; 0]);
}

/// Of four slots two are counted, none of them in use, and two that ended are still used: whoever starts has to wait for those.
#[test]
fn nobody_else_opens_where_what_is_counted_is_to_open_again() {
    let mut read = nothing();
    settle(&mut read, &wish(4, &[(1, 2, Gate::Open), (2, 2, Gate::Open)]));
    read.usage.insert(class(2), 2);
    let starting = |gate| wish(4, &[(1, 2, gate), (2, 2, Gate::Ended), (3, 2, Gate::Open)]);
    settle_full(&mut read, &starting(Gate::Counted));
    assert_eq!([1, 2, 3].map(|id| read.is_open(&class(id))), [false; 3]);
    settle_full(&mut read, &starting(Gate::Open));
    assert_eq!([1, 2, 3].map(|id| read.is_open(&class(id))), [true, false, false]);
    // Once it is known that nothing of it is in use its room is to be had.
    settle_full(&mut read, &starting(Gate::Closed));
    assert_eq!([1, 2, 3].map(|id| read.is_open(&class(id))), [false, false, true]);
}

#[test]
fn holds_are_found_among_others_whatever_their_numbers() {
    let root = Uuid::from_u128(1);
    let mut users = ProviderAllocations { generation: 1, allocations: BTreeMap::new() };
    let there = |generation| ConsumerOnProvider { resources: Resources::new(), consumer_generation: Some(generation) };
    // Servers, which have random names, and a stranger's name made as ours are.
    for number in 0..8u128 {
        users.allocations.insert(uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid(), there(0));
    }
    users.allocations.insert(Names::new(Uuid::from_u128(8)).hold(root, 0), there(0));
    assert!(shards_read(&ours(), root, &users).is_empty());
    users.allocations.insert(ours().hold(root, 2), there(7));
    users.allocations.insert(ours().hold(root, SHARDS_MAX - 1), there(8));
    let shards = shards_read(&ours(), root, &users);
    assert_eq!(shards.len(), SHARDS_MAX);
    let found: Vec<_> = shards.iter().enumerate().filter_map(|(number, shard)| Some((number, shard.generation?))).collect();
    assert_eq!(found, [(2, 7), (SHARDS_MAX - 1, 8)]);
}
