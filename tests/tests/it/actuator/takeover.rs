//! Calls that nothing in the cloud fences: a successor waits its predecessor's actuation lease out, and nothing is sent
//! without one.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{LeaseStatus, OnEnd, PoolKind};
use leasehold_node::seams::Clock;

use super::ask::Ask;
use super::judge;
use super::world::World;

/// Calls of a leader that only the actuation lease may let through: when they arrived.
fn unfenced(world: &World, leader: u64) -> Vec<u64> {
    let caller = format!("leasehold/{leader}");
    let is_unfenced = |line: &&leasehold_cloudsim::Record| {
        let body = line.body.to_string();
        let deletes_server = line.method == "DELETE" && line.path.contains("/servers/");
        line.caller == caller && (deletes_server || body.contains("createImage") || body.contains("removeTenantAccess"))
    };
    judge::writes(world).iter().filter(is_unfenced).map(|line| line.received_at.unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_late_image_of_a_dead_leader_stays_the_only_one_because_the_next_leader_waits() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.ask(&Ask { on_end: OnEnd::Snapshot, ..Ask::new(1, 20, 60) });
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let server = world.boot_up(lease, "a").await;
    // The call is on its way for ten seconds, and the leader dies meanwhile.
    let late = FaultKind::Late { after_ms: 10_000, status: None };
    world.sim.lock().add_fault(Fault::on("POST", "/servers/*/action", late).times(1).with_body("createImage"));
    world
        .until("it is asked for", 50, || judge::writes(&world).iter().any(|line| line.body.to_string().contains("createImage")))
        .await;
    world.kill().await;
    world.pass(2).await;
    let elected = world.clock.wall_ms();
    world.lead();
    world.until("it is over", 60, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    assert_eq!(world.server_status(&server), "gone");
    let state = world.state();
    let owned = |image: &&serde_json::Value| image["owner"] == world.tenant_project.as_str();
    assert_eq!(state["images"].as_object().unwrap().values().filter(owned).count(), 1);
    let first = unfenced(&world, 2).into_iter().min().unwrap();
    assert!(first >= elected + 15_000, "{} ms after the election", first - elected);
}

#[tokio::test(start_paused = true)]
async fn a_late_delete_of_a_dead_leader_hits_nothing_that_the_next_leader_has_done() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.ask(&Ask::new(1, 20, 60));
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let server = world.boot_up(lease, "a").await;
    let late = FaultKind::Late { after_ms: 12_000, status: None };
    world.sim.lock().add_fault(Fault::on("DELETE", "/servers/*", late).times(1));
    world.until("it is asked for", 50, || !unfenced(&world, 1).is_empty()).await;
    world.kill().await;
    let elected = world.clock.wall_ms();
    world.lead();
    world.until("it is over", 60, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    assert_eq!(world.server_status(&server), "gone");
    // The late one did it; the next leader had no server to delete any more, and did nothing else before its time.
    let deletes = judge::writes(&world).into_iter().filter(|line| line.method == "DELETE" && line.path.contains("/servers/"));
    assert_eq!(deletes.count(), 1);
    assert!(unfenced(&world, 2).into_iter().all(|at| at >= elected + 15_000));
    assert_eq!(world.tenant(Method::GET, "/servers", None).0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_actuation_lease_ran_out_sends_nothing_unfenced() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.ask(&Ask::new(1, 20, 60));
    world.until("it is active", 25, || world.status(lease) == Some(LeaseStatus::Active)).await;
    world.boot_up(lease, "a").await;
    world.ledger.refuse_actuation_lease(true);
    world.pass(60).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Terminating));
    assert!(unfenced(&world, 1).is_empty(), "{:?}", unfenced(&world, 1));
    world.ledger.refuse_actuation_lease(false);
    world.until("it is over", 15, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
}

#[tokio::test(start_paused = true)]
async fn an_actuation_lease_that_runs_out_while_a_call_waits_for_its_token_lets_nothing_through() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let begin = world.now();
    // The end of the first has the actuation lease taken at 60 s; it may be used until 73 s, and is fresh enough at 67 s.
    let leases = [world.ask(&Ask::new(1, 20, 60)), world.ask(&Ask::new(1, 20, 67))];
    world.until("they are active", 25, || leases.iter().all(|id| world.status(*id) == Some(LeaseStatus::Active))).await;
    for lease in leases {
        world.boot_up(lease, "a").await;
    }
    world.until("the first is over", 50, || world.status(leases[0]) == Some(LeaseStatus::Terminated)).await;
    // The token is refused at the delete, and Keystone takes nine seconds for another.
    let refused = FaultKind::Error { status: 401, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("DELETE", "/servers/*", refused).times(1));
    world.sim.lock().add_fault(Fault::on("POST", "/auth/tokens", FaultKind::Slow { after_ms: 9_000 }));
    world.until("the second ends", 10, || world.now() >= begin.plus(68)).await;
    world.ledger.refuse_actuation_lease(true);
    world.until("a while passed", 30, || world.now() >= begin.plus(90)).await;
    let since = begin.plus(68).unix_s() * 1000;
    assert!(unfenced(&world, 1).iter().any(|at| (since - 1_000..since).contains(at)), "the delete was on its way");
    assert!(unfenced(&world, 1).iter().all(|at| *at < since), "{:?} after {since}", unfenced(&world, 1));
    world.ledger.refuse_actuation_lease(false);
    world.until("the second is over", 30, || world.status(leases[1]) == Some(LeaseStatus::Terminated)).await;
}

#[tokio::test(start_paused = true)]
async fn no_two_calls_have_one_id_whoever_takes_a_host_in_again_or_leads_on() {
    let mut world = World::new(&["cmp1"]);
    // Taken in twice: the first time nobody told the ledger.
    world.take_in("cmp1", PoolKind::Dedicated).await;
    world.drop_holds();
    world.onboard("cmp1", PoolKind::Dedicated).await;
    let ids: Vec<String> = judge::writes(&world).into_iter().map(|line| line.global_request_id).collect();
    assert!(ids.len() > 3 && ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1), "{ids:?}");
    // Its hand-over was in vain, and it leads on in the same term with other tasks.
    world.lead();
    let before = world.work();
    let numbers: Vec<u64> = (0..100).map(|_| before.number()).collect();
    world.pass(1).await;
    let after = world.work();
    assert!((0..100).all(|_| !numbers.contains(&after.number())));
}
