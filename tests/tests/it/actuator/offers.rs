//! Offers in the cloud: held, and nothing more, until they are claimed; given back when they are not.

use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::{Command, OfferWish};
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, Seconds};
use leasehold_ledger::reply::Rejection;

use super::judge;
use super::world::World;

/// Calls that raise or lower a hold.
const HOLDS: (&str, &str) = ("POST", "/allocations");

/// One shared host, with a leader and a flavor for ordinary servers.
async fn shared() -> World {
    World::shared(&["cmp1"], &[("ord", 1)]).await
}

impl World {
    /// Books all of a host over `[start, end)` as an offer that expires after so many seconds.
    fn offer(&mut self, start: u32, end: u32, expires: u32) -> LeaseId {
        let mut wish = self.wish(5, (start, end), None, OnEnd::Delete, |_| {});
        wish.offer = Some(OfferWish::Until(self.now().plus(expires)));
        self.propose(wish, None).expect("there is room").expect("it is booked")
    }

    fn claim(&self, lease_id: LeaseId) -> Result<(), Rejection> {
        self.ledger.apply(Command::ClaimOffer { lease_id }).map(|_| ())
    }

    async fn until_held(&self, lease: LeaseId) {
        self.until("the hold is accepted", 9, || self.status(lease) == Some(LeaseStatus::Pending)).await;
    }
}

fn window(from: Seconds, start: u32, end: u32) -> [(Seconds, Seconds); 1] {
    [(from.plus(start), from.plus(end))]
}

#[tokio::test(start_paused = true)]
async fn an_offer_is_held_and_nothing_else_is_made_until_it_expires() {
    let mut world = shared().await;
    // Its preparation would be due at once.
    let (offer, begin) = (world.offer(300, 400, 200), world.now());
    world.until_held(offer).await;
    assert_eq!(world.boot_ordinary("ord").await, "ERROR");
    world.until("it is about to expire", 200, || world.now() >= begin.plus(199)).await;
    assert_eq!(judge::count(&world, "flavor.access_added"), 0);
    assert!(!world.state()["placement"].to_string().contains("CUSTOM_RESERVATION_"), "something was made for it");
    assert_eq!(world.status(offer), Some(LeaseStatus::Pending));
    world.until("it is dropped", 3, || world.lease(offer).is_none()).await;
    world.pass(3).await;
    assert_eq!(world.boot_ordinary("ord").await, "ACTIVE");
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_claimed_at_the_last_moment_starts_in_time() {
    let mut world = shared().await;
    let (offer, begin) = (world.offer(100, 160, 100), world.now());
    let flavor = world.flavor(offer);
    world.until_held(offer).await;
    world.until("the last second", 100, || world.now() >= begin.plus(99)).await;
    world.claim(offer).unwrap();
    world.until("it is active", 5, || world.is_active(offer)).await;
    world.claim(offer).unwrap();
    world.until("it is over", 90, || world.is_over(offer)).await;
    world.pass(3).await;
    judge::never_open_outside(&world, offer, &flavor, &window(begin, 100, 160));
    judge::hold_covers_tokens(&world);
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_claimed_at_the_instant_of_its_expiry_is_gone_and_never_opens() {
    let mut world = shared().await;
    let (offer, begin) = (world.offer(100, 160, 100), world.now());
    let flavor = world.flavor(offer);
    world.until_held(offer).await;
    world.until("its time is over", 101, || world.now() >= begin.plus(100)).await;
    let late = world.claim(offer).unwrap_err();
    assert!(matches!(late, Rejection::OfferExpired(_) | Rejection::LeaseNotFound(_)), "{late:?}");
    world.pass(100).await;
    assert_eq!(world.lease(offer), None);
    judge::never_open_outside(&world, offer, &flavor, &[]);
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn an_offer_whose_hold_is_refused_leaves_nothing() {
    let mut world = shared().await;
    // The ledger has not heard of it yet.
    assert_eq!(world.boot_ordinary("ord").await, "ACTIVE");
    let offer = world.offer(100, 160, 90);
    assert_eq!(world.status(offer), Some(LeaseStatus::Creating));
    assert!(matches!(world.claim(offer), Err(Rejection::LeaseNotFound(_))), "it was never offered");
    world.until("it is withdrawn", 12, || world.lease(offer).is_none()).await;
    world.pass(3).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_between_booking_and_hold_is_replaced_and_the_offer_stands() {
    let mut world = shared().await;
    world.kill().await;
    let offer = world.offer(100, 160, 90);
    world.pass(2).await;
    assert_eq!(world.status(offer), Some(LeaseStatus::Creating));
    world.lead();
    world.until_held(offer).await;
    world.kill().await;
    world.lead();
    world.claim(offer).unwrap();
    world.until("it is active", 110, || world.is_active(offer)).await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_expires_while_its_hold_is_raised_leaves_no_hold() {
    for kind in [
        FaultKind::Late { after_ms: 4_000, status: None },
        FaultKind::LostAnswer { after_ms: 3_000 },
        FaultKind::Error { status: 503, retry_after_s: None },
    ] {
        let mut world = shared().await;
        world.sim.lock().add_fault(Fault::on(HOLDS.0, HOLDS.1, kind.clone()).times(3));
        let offer = world.offer(100, 160, 2);
        world.until("it is gone", 4, || world.lease(offer).is_none()).await;
        world.pass(130).await;
        assert_eq!(world.boot_ordinary("ord").await, "ACTIVE", "{kind:?}");
        judge::clean_at_rest(&world, 1, 1);
    }
}
