//! The waitlist: a lease that waits has nothing in the cloud, and is booked by whoever leads when there is room for it.

use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::{Command, CreateLease, PlannedReservation, StartWish, WaitWish};
use leasehold_ledger::model::{EventId, InstanceWish, LeaseId, LeaseStatus, OnEnd, PoolKind};
use leasehold_node::leader::names::Names;

use super::judge;
use super::world::World;

/// Calls that raise or lower a hold.
const HOLDS: (&str, &str) = ("POST", "/allocations");

impl World {
    /// A lease of so many servers over `[start, end)` that waits until `until`, seconds from now.
    fn wait(&mut self, amount: u32, (start, end): (u32, u32), latest: Option<u32>, until: u32) -> LeaseId {
        self.wait_with(amount, (start, end), latest, until, |_| {})
    }

    /// The same, of another wish.
    fn wait_with(
        &mut self,
        amount: u32,
        (start, end): (u32, u32),
        latest: Option<u32>,
        until: u32,
        set: impl FnOnce(&mut InstanceWish),
    ) -> LeaseId {
        let now = self.now();
        let mut wish = self.wish(amount, (start, end), None, OnEnd::Delete, set);
        wish.wait = Some(WaitWish::Until(now.plus(until)));
        if let Some(latest) = latest {
            wish.start = StartWish::Earliest { from: Some(now.plus(start)), latest: now.plus(latest) };
        }
        let lease_id = LeaseId(self.number());
        let reservation_id = Names::new(self.cluster_id).reservation(self.number());
        let create = CreateLease {
            wish,
            lease_id,
            event_ids: (0..6).map(|_| EventId(self.number())).collect(),
            plan: vec![PlannedReservation { reservation_id, bindings: Vec::new() }],
            resource_ids: vec![self.number()],
            planned_at: 0,
            moved_to: None,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: true,
            asked: None,
            victims: Vec::new(),
        };
        self.ledger.apply(Command::CreateLease(Box::new(create))).expect("it may wait");
        assert_eq!(self.status(lease_id), Some(LeaseStatus::Waiting));
        lease_id
    }

    fn delete(&self, lease_id: LeaseId) {
        self.ledger.apply(Command::DeleteLease { lease_id }).expect("it is there");
    }

    fn is_pending(&self, lease_id: LeaseId) -> bool {
        self.status(lease_id) == Some(LeaseStatus::Pending)
    }

    fn waits(&self, lease_id: LeaseId) -> bool {
        self.status(lease_id) == Some(LeaseStatus::Waiting)
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_has_nothing_in_the_cloud_and_is_booked_when_another_is_deleted() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let first = world.book(4, 300, 400, None, OnEnd::Delete);
    // Its preparation would be due at once.
    let second = world.wait(3, (300, 400), None, 200);
    let flavor = world.flavor(second);
    world.pass(100).await;
    assert!(world.waits(second));
    assert!(!world.state().to_string().contains(&flavor.to_uppercase().replace('-', "_")), "something was made for it");
    world.delete(first);
    world.until("it is booked", 3, || world.is_pending(second)).await;
    assert_eq!(world.flavor(second), flavor, "its reservation keeps its id");
    world.until("it is active", 210, || world.is_active(second)).await;
    world.boot_up(second, "a").await;
    world.until("it is over", 110, || world.is_over(second)).await;
    world.pass(90).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn it_begins_when_another_has_ended_if_its_start_is_left_open() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let first = world.book(4, 0, 600, None, OnEnd::Delete);
    let second = world.wait(3, (10, 70), Some(400), 400);
    world.until("the first is active", 5, || world.is_active(first)).await;
    world.pass(60).await;
    assert!(world.waits(second));
    world.delete(first);
    world.until("the second is active", 20, || world.is_active(second)).await;
    let lease = world.lease(second).unwrap();
    assert_eq!(lease.end.0 - lease.start.0, 60, "it is as long as it was asked for");
    world.until("it is over", 70, || world.is_over(second)).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_brings_room_and_who_waited_longer_has_it_first() {
    let mut world = World::new(&["cmp1", "cmp2"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let _first = world.book(4, 300, 400, None, OnEnd::Delete);
    let large = world.wait(40, (300, 400), None, 200);
    let (second, third) = (world.wait(4, (300, 400), None, 200), world.wait(4, (300, 400), None, 200));
    world.pass(40).await;
    assert!(world.waits(large) && world.waits(second) && world.waits(third));
    world.onboard("cmp2", PoolKind::Dedicated).await;
    world.until("the second is booked", 3, || world.is_pending(second)).await;
    world.pass(40).await;
    assert!(world.waits(third), "who came later waits still");
    assert!(world.waits(large), "and who is too large was passed over");
    world.until("they are dropped", 200, || world.lease(third).is_none() && world.lease(large).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_too_long_is_dropped_and_what_is_deleted_is_gone() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let first = world.book(4, 300, 400, None, OnEnd::Delete);
    let (second, third) = (world.wait(3, (300, 400), None, 50), world.wait(3, (300, 400), None, 200));
    let begin = world.now();
    world.until("its last second", 60, || world.now() >= begin.plus(49)).await;
    assert!(world.waits(second));
    world.until("it is dropped", 3, || world.lease(second).is_none()).await;
    world.delete(third);
    assert_eq!(world.lease(third), None);
    world.delete(first);
    world.pass(60).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_followed_by_one_that_books_what_waits() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let first = world.book(4, 300, 400, None, OnEnd::Delete);
    let second = world.wait(3, (300, 400), None, 200);
    world.pass(5).await;
    world.kill().await;
    world.delete(first);
    world.pass(5).await;
    assert!(world.waits(second), "nobody leads");
    world.lead();
    world.until("it is booked", 3, || world.is_pending(second)).await;
    world.kill().await;
    world.lead();
    world.until("it is active", 300, || world.is_active(second)).await;
}

#[tokio::test(start_paused = true)]
async fn on_a_shared_host_the_cloud_must_agree_and_it_waits_on_when_that_refuses() {
    let mut world = World::shared(&["cmp1"], &[("ord", 1)]).await;
    let first = world.book(5, 300, 400, None, OnEnd::Delete);
    world.until("the first is held", 9, || world.is_pending(first)).await;
    let second = world.wait(5, (300, 400), None, 250);
    world.pass(10).await;
    world.delete(first);
    // A leader that dies while the hold is raised.
    world.sim.lock().add_fault(Fault::on(HOLDS.0, HOLDS.1, FaultKind::LostAnswer { after_ms: 3_000 }).times(1));
    world.until("its hold is asked for", 5, || world.status(second) == Some(LeaseStatus::Updating)).await;
    world.kill().await;
    world.lead();
    world.until("it is booked", 9, || world.is_pending(second)).await;
    assert_eq!(world.boot_ordinary("ord").await, "ERROR", "its hold is there");
    world.delete(second);
    world.pass(5).await;

    // The ledger has not heard of the server.
    assert_eq!(world.boot_ordinary("ord").await, "ACTIVE");
    let third = world.wait(5, (300, 400), None, 100);
    world.until("the cloud refuses", 15, || world.lease(third).is_some_and(|lease| lease.reason.is_some())).await;
    assert!(world.waits(third));
    world.until("it is dropped", 100, || world.lease(third).is_none()).await;
    world.pass(60).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_is_deleted_while_its_hold_is_raised_leaves_no_hold() {
    for kind in [FaultKind::Late { after_ms: 4_000, status: None }, FaultKind::LostAnswer { after_ms: 3_000 }] {
        let mut world = World::shared(&["cmp1"], &[("ord", 1)]).await;
        world.sim.lock().add_fault(Fault::on(HOLDS.0, HOLDS.1, kind.clone()).times(3));
        let lease = world.wait(5, (300, 400), None, 200);
        world.until("its hold is asked for", 5, || world.status(lease) == Some(LeaseStatus::Updating)).await;
        world.delete(lease);
        assert_eq!(world.lease(lease), None);
        world.pass(130).await;
        assert_eq!(world.boot_ordinary("ord").await, "ACTIVE", "{kind:?}");
        judge::clean_at_rest(&world, 1, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn affinity_is_kept_and_no_server_group_is_made_for_what_waits() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    let first = world.book(8, 300, 400, None, OnEnd::Delete);
    let second = world.wait_with(2, (300, 400), None, 200, |wish| wish.affinity = Some(false));
    world.pass(130).await;
    assert!(world.waits(second));
    assert_eq!(judge::count(&world, "group.created"), 0, "nothing is made for it");
    world.delete(first);
    world.until("it is booked", 10, || world.is_pending(second)).await;
    assert!(world.lease(second).unwrap().reservations[0].server_group_id.is_some());
}
