//! Leases that give way: what was made for one is undone while another has its room already, whatever happens to the calls.

use leasehold_cloudsim::Fault;
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, Precedence, ReasonCode};

use super::world::World;
use super::{TROUBLE, judge};

impl World {
    /// A lease of so many servers over `[start, end)` that may give way.
    fn book_preemptible(&mut self, amount: u32, window: (u32, u32)) -> LeaseId {
        let precedence = Precedence { preemptible: true, ..Precedence::default() };
        self.book_ranked(amount, window, precedence)
    }

    /// One that takes the room of such.
    fn preempt(&mut self, amount: u32, window: (u32, u32)) -> LeaseId {
        self.book_ranked(amount, window, Precedence { priority: 1, preemptible: false, preempt: true })
    }

    fn book_ranked(&mut self, amount: u32, window: (u32, u32), precedence: Precedence) -> LeaseId {
        let mut wish = self.wish(amount, window, None, OnEnd::Delete, |_| {});
        wish.precedence = precedence;
        self.propose(wish, None).expect("there is room, or room is taken").expect("it is accepted")
    }

    fn has_rows(&self, lease: LeaseId) -> bool {
        self.ledger.look(|state| state.actuations_of(lease).next().is_some())
    }

    /// It gave way, and says so.
    fn gave_way(&self, lease: LeaseId) -> bool {
        let lease = self.lease(lease).expect("it stays as a record");
        lease.status == LeaseStatus::Error && lease.reason.is_some_and(|reason| reason.code == ReasonCode::Preempted)
    }
}

/// The whole life of who took the room, and nothing left of who gave it.
async fn live_on(world: &mut World, victim: LeaseId, flavor: &str, taker: LeaseId) {
    assert!(world.gave_way(victim));
    world.until("the taker is active", 130, || world.is_active(taker)).await;
    world.boot_up(taker, "a").await;
    world.until("nothing is left to be done for the victim", 60, || !world.has_rows(victim)).await;
    assert!(world.gave_way(victim), "what came later changes nothing of that");
    let class = format!("CUSTOM_RESERVATION_{}", flavor.to_uppercase().replace('-', "_"));
    assert_eq!(judge::is_there(world, flavor, &class), (false, false));
    judge::hold_covers_tokens(world);
    world.until("it is over", 120, || world.is_over(taker)).await;
    world.pass(90).await;
    judge::clean_at_rest(world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_prepared_for_who_gives_way_is_gone_before_the_other_is() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let victim = world.book_preemptible(4, (100, 200));
    let flavor = world.flavor(victim);
    world.pass(30).await;
    assert!(world.state().to_string().contains(&flavor), "it was prepared");
    let taker = world.preempt(4, (100, 200));
    live_on(&mut world, victim, &flavor, taker).await;
    judge::never_open_outside(&world, victim, &flavor, &[]);
}

#[tokio::test(start_paused = true)]
async fn who_is_being_prepared_gives_way_and_leaves_nothing_behind() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let victim = world.book_preemptible(4, (100, 200));
    let flavor = world.flavor(victim);
    // Its row is open, and nothing came of it yet.
    world.ledger.apply(Command::AdvanceClock).expect("it is the clock");
    assert!(world.has_rows(victim));
    let taker = world.preempt(4, (100, 200));
    live_on(&mut world, victim, &flavor, taker).await;
}

#[tokio::test(start_paused = true)]
async fn trouble_on_the_way_out_delays_nobody_and_leaves_nothing() {
    for kind in TROUBLE {
        let mut world = World::dedicated(&["cmp1"]).await;
        let victim = world.book_preemptible(4, (100, 200));
        let flavor = world.flavor(victim);
        world.pass(30).await;
        for method in ["DELETE", "PUT"] {
            world.sim.lock().add_fault(Fault::on(method, "", kind.clone()).times(3));
        }
        let taker = world.preempt(4, (100, 200));
        world.pass(1).await;
        world.kill().await;
        world.lead();
        live_on(&mut world, victim, &flavor, taker).await;
    }
}
