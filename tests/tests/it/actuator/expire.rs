//! What nobody uses after its start is given back; what is in use, or would be missed, never, whatever happens to the calls.

use std::sync::atomic::Ordering;

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind, Match};
use leasehold_ledger::command::{Command, EndWish, LeaseChange, UpdateLease};
use leasehold_ledger::model::{Expiry, LeaseId, LeaseStatus, OnEnd, PoolKind, ReasonCode, ReservationStatus, Step, Timestamp};
use leasehold_ledger::plan::{Overlay, Tell, plan_update};
use leasehold_node::seams::Clock;
use serde_json::json;

use super::ask::Ask;
use super::world::{Crash, World};
use super::{TROUBLE, judge};

/// Seconds from a start to its expiry, in all of these.
const EXPIRY_S: u32 = 60;

impl World {
    /// A lease of so many servers from 10 s from now to `end`, which expires.
    fn book_expiring(&mut self, amount: u32, end: u32) -> LeaseId {
        let mut wish = self.wish(amount, (10, end), None, OnEnd::Delete, |_| {});
        wish.expiry_s = Some(EXPIRY_S);
        self.propose(wish, None).expect("there is room").expect("it is accepted")
    }

    fn amount(&self, lease: LeaseId) -> u32 {
        self.lease(lease).unwrap().reservations[0].wish.instance().amount
    }

    fn expiry(&self, lease: LeaseId) -> Option<Expiry> {
        self.lease(lease)?.reservations[0].expiry
    }

    /// It was counted, and what is kept is open again.
    fn is_settled(&self, lease: LeaseId) -> bool {
        matches!(self.expiry(lease), Some(Expiry::Counted { .. })) && !self.has_row(lease)
    }

    fn has_row(&self, lease: LeaseId) -> bool {
        self.ledger.look(|state| state.actuations_of(lease).next().is_some())
    }

    fn is_counting(&self, lease: LeaseId) -> bool {
        self.ledger.look(|state| state.actuations_of(lease).any(|row| row.step == Step::Expire))
    }

    /// Moves the end of a lease, as its tenant would.
    fn move_end(&self, lease: LeaseId, after: u32) {
        let change = LeaseChange { end: Some(EndWish::At(self.now().plus(after))), ..LeaseChange::default() };
        let now = Timestamp(self.clock.wall_ms());
        let planned = self.ledger.look(|state| plan_update(state, &Overlay::default(), lease, &change, now, Tell::WhatFits));
        let planned = planned.expect("there is room").expect("it books anew");
        let update = UpdateLease {
            lease_id: lease,
            change,
            plan: planned.reservations,
            planned_at: planned.planned_at,
            caller_makes_groups: false,
        };
        self.ledger.apply(Command::UpdateLease(Box::new(update))).expect("it is accepted");
    }

    /// When the tokens of a lease were opened, by the cloud's record.
    fn opened_at(&self, flavor: &str) -> Vec<u64> {
        let class = format!("CUSTOM_RESERVATION_{}", flavor.to_uppercase().replace('-', "_"));
        let sim = self.sim.lock();
        let changes = sim.record().iter().flat_map(|line| line.changes.iter().map(move |change| (line.at_ms, change)));
        let opens = changes.filter(|(_, change)| {
            change.what == "inventory.set"
                && change.facts["class"] == class.as_str()
                && change.facts["reserved"].as_u64() < change.facts["total"].as_u64()
        });
        opens.map(|(at, _)| at).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_uses_ends_and_leaves_nothing() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let begin = world.now();
    let lease = world.book_expiring(3, 600);
    let flavor = world.flavor(lease);
    world.until("it is over", 90, || world.is_over(lease)).await;
    let over = world.lease(lease).unwrap();
    assert!(over.end >= begin.plus(10 + EXPIRY_S) && over.end <= begin.plus(15 + EXPIRY_S), "{:?}", over.end);
    assert_eq!(over.reason.unwrap().code, ReasonCode::Expired);
    assert_eq!(over.reservations[0].expiry.map(Expiry::released), Some(3));
    let next = world.book(5, 5, 60, None, OnEnd::Delete);
    world.until("another has its room", 20, || world.is_active(next)).await;
    world.until("and is over", 80, || world.is_over(next)).await;
    world.pass(90).await;
    judge::never_open_outside(&world, lease, &flavor, &[(begin.plus(10), begin.plus(10 + EXPIRY_S))]);
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn what_runs_and_what_its_tenant_parked_is_kept_and_the_rest_is_given_back() {
    for pool in [PoolKind::Dedicated, PoolKind::Shared] {
        let mut world = World::new(&["cmp1"]);
        world.onboard("cmp1", pool).await;
        world.lead();
        world.pass(1).await;
        let lease = world.book_expiring(4, 600);
        world.until("it is active", 20, || world.is_active(lease)).await;
        let runs = world.boot_up(lease, "a").await;
        let parked = world.boot_up(lease, "b").await;
        world.act(&parked, json!({"shelve": null}));
        world.until("its tenant parked it", 20, || world.server_status(&parked) == "SHELVED_OFFLOADED").await;
        world.until("it is counted", 80, || world.is_settled(lease)).await;
        assert_eq!((world.amount(lease), world.status(lease)), (2, Some(LeaseStatus::Active)));
        assert_eq!(world.lease(lease).unwrap().reason.unwrap().code, ReasonCode::Expired);
        // What is left can be used, and no more.
        world.act(&parked, json!({"unshelve": null}));
        world.until("it is back", 20, || world.server_status(&parked) == "ACTIVE").await;
        let third = world.boot(lease, "c").expect("Nova takes the request");
        world.until("there is no place for it", 20, || world.server_status(&third) == "ERROR").await;
        assert_eq!(world.server_status(&runs), "ACTIVE");
        let next = world.book(3, 5, 60, None, OnEnd::Delete);
        world.until("another has what was given back", 20, || world.is_active(next)).await;
        judge::hold_covers_tokens(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_runs_from_when_the_lease_is_active() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let fault =
        world.sim.lock().add_fault(Fault::on("", "/resource_providers/*", FaultKind::Error { status: 503, retry_after_s: None }));
    let lease = world.book_expiring(1, 600);
    world.pass(80).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Starting));
    world.sim.lock().remove_fault(fault);
    world.until("it is active", 20, || world.is_active(lease)).await;
    world.pass(u64::from(EXPIRY_S) - 5).await;
    assert!(world.is_active(lease) && world.expiry(lease).is_none());
    world.boot_up(lease, "a").await;
    world.until("it is counted", 20, || world.is_settled(lease)).await;
    assert_eq!((world.amount(lease), world.expiry(lease).map(Expiry::released)), (1, Some(0)));
    assert_eq!(world.lease(lease).unwrap().reason, None);
}

/// Uses two of four, one of them parked, on two hosts, and has it counted.
async fn live_through(crash: Option<Crash>, faults: &[Fault]) -> u64 {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.book_expiring(7, 300);
    world.until("it is active", 20, || world.is_active(lease)).await;
    let mut servers = Vec::new();
    for name in ["a", "b", "c"] {
        servers.push(world.boot_up(lease, name).await);
    }
    world.act(&servers[2], json!({"shelve": null}));
    world.pass(30).await;
    world.writes.store(0, Ordering::SeqCst);
    *world.crash.lock() = crash;
    for fault in faults {
        world.sim.lock().add_fault(fault.clone());
    }
    let limit = world.now().plus(120);
    let mut dead_until = None;
    while !world.is_settled(lease) {
        assert!(world.now() < limit, "{crash:?} {faults:?}: it was never counted: {:#?}", world.rows());
        let tick = tokio::time::sleep(std::time::Duration::from_millis(100));
        tokio::select! {
            biased;
            () = world.crashed.notified() => {
                world.kill().await;
                dead_until = Some(world.now().plus(2));
            }
            () = tick => {}
        }
        if dead_until.is_some_and(|until| world.now() >= until) {
            dead_until = None;
            world.lead();
        }
    }
    let calls = world.writes.load(Ordering::SeqCst);
    assert_eq!((world.amount(lease), world.status(lease)), (3, Some(LeaseStatus::Active)), "{crash:?} {faults:?}");
    world.act(&servers[2], json!({"unshelve": null}));
    let running = |world: &World| servers.iter().all(|server| world.server_status(server) == "ACTIVE");
    world.until("all of them run", 40, || running(&world)).await;
    judge::hold_covers_tokens(&world);
    world.until("it is over", 300, || world.is_over(lease)).await;
    world.pass(130).await;
    judge::clean_at_rest(&world, 2, 2);
    calls
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_around_any_call_of_the_count_takes_nothing_from_whoever_uses_it() {
    let calls = live_through(None, &[]).await;
    assert!(calls >= 4, "two hosts are closed and opened: {calls}");
    for applied in [false, true] {
        for at in 0..calls {
            live_through(Some(Crash { at, applied }), &[]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_with_any_call_delays_the_count_and_changes_nothing_of_it() {
    for kind in TROUBLE.into_iter().chain([FaultKind::Garbage]) {
        for (method, path) in
            [("PUT", "*/inventories"), ("GET", "*/inventories"), ("GET", "*/allocations"), ("GET", "/servers/detail*")]
        {
            live_through(None, &[Fault::on(method, path, kind.clone()).times(3)]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_look_at_every_host_and_cell_nothing_is_given_back() {
    let unread = |world: &World| {
        let failing = FaultKind::Error { status: 503, retry_after_s: None };
        world.sim.lock().add_fault(Fault::on("GET", "*/allocations", failing))
    };
    let silent = |world: &World| {
        let when = Match { service: "compute".to_owned(), method: "GET".to_owned(), ..Match::default() };
        world.sim.lock().add_fault(Fault { when, kind: FaultKind::Partial, skip: 0, count: None, probability: 1.0 })
    };
    for strike in [&unread as &dyn Fn(&World) -> u64, &silent] {
        let mut world = World::dedicated(&["cmp1"]).await;
        let lease = world.book_expiring(2, 900);
        world.until("it is active", 20, || world.is_active(lease)).await;
        let fault = strike(&world);
        world.until("it is being counted", 80, || world.is_counting(lease)).await;
        world.pass(30).await;
        assert!(world.is_counting(lease) && world.amount(lease) == 2);
        assert_eq!(world.lease(lease).unwrap().reason.unwrap().code, ReasonCode::CloudUnavailable);
        // Nobody is kept from his tokens for long.
        world.until("the count is given up", 60, || !world.is_counting(lease)).await;
        world.pass(200).await;
        assert_eq!((world.amount(lease), world.is_active(lease)), (2, true));
        world.sim.lock().remove_fault(fault);
        world.until("it is over", 150, || world.is_over(lease)).await;
    }
}

/// A lease was made smaller, and its servers stand on the host of which nothing is left to it: nothing is taken from who runs.
#[tokio::test(start_paused = true)]
async fn servers_that_stand_where_a_lease_has_no_slots_any_more_are_in_use() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let lease = world.book_expiring(7, 600);
    world.until("it is active", 20, || world.is_active(lease)).await;
    let mut servers = Vec::new();
    for number in 0..7 {
        servers.push(world.boot_up(lease, &number.to_string()).await);
    }
    let kept = world.lease(lease).unwrap().reservations[0].bindings[0].host;
    let kept = world.ledger.look(|state| state.host(kept).unwrap().description.hypervisor_hostname.clone());
    let (gone, left): (Vec<String>, Vec<String>) = servers.into_iter().partition(|server| world.host_of(server) == kept);
    assert!(!gone.is_empty() && !left.is_empty());
    for server in &gone {
        assert_eq!(world.tenant(Method::DELETE, &format!("/servers/{server}"), None).0, 204);
    }
    let fewer = u32::try_from(left.len()).unwrap();
    world.resize(lease, &Ask::new(fewer, 0, 600)).expect("it is accepted");
    world.pass(3 * u64::from(EXPIRY_S)).await;
    assert!(left.iter().all(|server| world.server_status(server) == "ACTIVE"));
    assert_eq!((world.amount(lease), world.is_active(lease)), (fewer, true));
    assert!(!world.is_counting(lease), "it is not counted before they are gone");
}

/// A count is given up for a change, and the write that opens the tokens again is on its way for longer than the leader that sent it
/// lives, and than the time to the next count.
#[tokio::test(start_paused = true)]
async fn nothing_is_counted_before_what_was_closed_for_the_last_count_is_open_again() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.book_expiring(2, 900);
    let flavor = world.flavor(lease);
    world.until("it is active", 20, || world.is_active(lease)).await;
    let silent = Fault::on("GET", "/servers/detail*", FaultKind::Error { status: 503, retry_after_s: None });
    let unseen = world.sim.lock().add_fault(silent);
    world.until("it is being counted", 80, || world.is_counting(lease)).await;
    world.pass(5).await;
    let late = Fault::on("PUT", "*/inventories", FaultKind::Late { after_ms: 66_000, status: None });
    world.sim.lock().add_fault(late.times(1));
    let sent = judge::writes(&world).len();
    world.move_end(lease, 800);
    world.until("its tokens are to be opened again", 5, || judge::writes(&world).len() > sent).await;
    let opened_before = world.opened_at(&flavor).len();
    world.kill().await;
    world.sim.lock().remove_fault(unseen);
    world.pass(u64::from(EXPIRY_S) + 2).await;
    // Nobody led meanwhile. They are opened first, and its tenant has all of his time again.
    world.lead();
    world.pass(u64::from(EXPIRY_S) - 5).await;
    assert!(world.is_active(lease) && world.expiry(lease).is_none());
    world.until("it is over", 30, || world.is_over(lease)).await;
    let opened = world.opened_at(&flavor);
    assert_eq!(opened.len(), opened_before + 1, "once more, and the late write does nothing: {opened:?}");
}

#[tokio::test(start_paused = true)]
async fn an_expired_reservation_ends_beside_one_that_is_used() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let mut wish = world.wish(1, (10, 300), None, OnEnd::Delete, |_| {});
    wish.expiry_s = Some(EXPIRY_S);
    wish.reservations.push(wish.reservations[0].clone());
    let lease = world.propose(wish, None).expect("there is room").expect("it is accepted");
    world.until("it is active", 20, || world.is_active(lease)).await;
    let server = world.boot_up(lease, "a").await;
    let status = |world: &World| world.lease(lease).unwrap().reservations.iter().map(|one| one.status).collect::<Vec<_>>();
    world.until("the other one is over", 90, || status(&world) == [ReservationStatus::Active, ReservationStatus::Deleted]).await;
    assert!(world.is_active(lease));
    let other = world.lease(lease).unwrap().reservations[1].id.to_string();
    assert!(world.state()["flavors"].get(&other).is_none(), "its flavor is gone");
    world.pass(60).await;
    assert_eq!(world.server_status(&server), "ACTIVE");
    world.until("it is over", 200, || world.is_over(lease)).await;
    world.pass(90).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_boots_while_it_is_counted_is_refused_and_may_come_again() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.book_expiring(2, 600);
    world.until("it is active", 20, || world.is_active(lease)).await;
    let first = world.boot_up(lease, "a").await;
    let unseen = Fault::on("GET", "/servers/detail*", FaultKind::Error { status: 503, retry_after_s: None });
    let fault = world.sim.lock().add_fault(unseen);
    world.until("it is being counted", 80, || world.is_counting(lease)).await;
    world.pass(5).await;
    let refused = world.boot(lease, "b").expect("Nova takes the request");
    world.until("there is no place for it", 20, || world.server_status(&refused) == "ERROR").await;
    let (status, _) = world.tenant(Method::DELETE, &format!("/servers/{refused}"), None);
    assert_eq!(status, 204);
    // He asks for his lease to last, and so has it counted anew.
    world.move_end(lease, 700);
    world.sim.lock().remove_fault(fault);
    world.until("his tokens are open again", 20, || !world.has_row(lease)).await;
    world.boot_up(lease, "c").await;
    world.until("it is counted", 80, || world.is_settled(lease)).await;
    assert_eq!((world.amount(lease), world.server_status(&first)), (2, "ACTIVE".to_owned()));
}
