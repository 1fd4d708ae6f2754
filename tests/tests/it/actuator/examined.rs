//! What the doctor says of hosts and leftovers. The leader is gone while it looks, so that nothing is mended meanwhile.

use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{LeaseStatus, OnEnd, PoolKind};
use leasehold_node::doctor::{Ledger, Report, Verdict, examine};

use super::world::World;

/// All that is not as it should be: subject, verdict, what was seen.
async fn complaints(world: &World) -> Vec<(String, Verdict, String)> {
    let (hosts, leases) = world.ledger.look(|state| (state.hosts().cloned().collect(), state.leases().cloned().collect()));
    let ledger = Ledger { cluster_id: world.cluster_id, hosts, leases, now: world.now() };
    let (work, mut report) = (world.work(), Report::default());
    examine(&work.cloud, work.clock.as_ref(), work.clock.wall_ms(), Some(&ledger), &mut report).await;
    assert!(report.checks.iter().any(|check| check.subject == "leftovers: holds"), "it looks to the end: {report:#?}");
    let wrong = report.checks.into_iter().filter(|check| matches!(check.verdict, Verdict::Warn | Verdict::Fail));
    wrong
        .map(|check| {
            assert!(check.next.is_some(), "{check:?}");
            (check.subject, check.verdict, check.seen)
        })
        .collect()
}

/// Two hosts of the ledger, a lease that runs on them, and a third host that is not its own.
async fn running() -> World {
    let mut world = World::new(&["cmp1", "cmp2", "cmp3"]);
    for host in ["cmp1", "cmp2"] {
        world.onboard(host, PoolKind::Dedicated).await;
    }
    world.lead();
    let lease = world.book(2, 20, 2_000, None, OnEnd::Delete);
    world.until("it runs", 30, || world.status(lease) == Some(LeaseStatus::Active)).await;
    world.boot_up(lease, "a").await;
    world.kill().await;
    world
}

fn subjects(complaints: &[(String, Verdict, String)]) -> Vec<(&str, Verdict)> {
    complaints.iter().map(|(subject, verdict, _)| (subject.as_str(), *verdict)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_running_lease_gives_no_complaint_and_lost_holds_and_children_do() {
    let world = running().await;
    assert_eq!(complaints(&world).await, []);
    world.drop_holds();
    let wrong = complaints(&world).await;
    assert_eq!(subjects(&wrong), [("host cmp1: hold", Verdict::Fail), ("host cmp2: hold", Verdict::Fail)], "{wrong:#?}");

    let unused = world.ledger.look(|state| state.hosts().map(|host| host.id).find(|id| state.leases_on(*id).next().is_none()));
    let name = world.ledger.look(|state| state.host(unused.unwrap()).unwrap().description.hypervisor_hostname.clone());
    world.remove_tokens_of(&name);
    let wrong = complaints(&world).await;
    assert!(subjects(&wrong).contains(&(format!("host {name}: providers").as_str(), Verdict::Fail)), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_onboarding_left_behind_is_told_as_ours() {
    let world = running().await;
    world.take_in("cmp3", PoolKind::Dedicated).await;
    let wrong = complaints(&world).await;
    assert_eq!(subjects(&wrong), [("leftovers: providers", Verdict::Warn), ("leftovers: holds", Verdict::Warn)], "{wrong:#?}");
    assert!(wrong.iter().all(|(_, _, seen)| seen.contains("of ours, for no lease") && seen.contains("cmp3")), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_fails_its_checks_and_hides_no_others() {
    let world = running().await;
    let mut down = Fault::on("GET", "*", FaultKind::Error { status: 503, retry_after_s: None });
    down.when.service = "compute".into();
    world.sim.lock().add_fault(down);
    let wrong = complaints(&world).await;
    let failed = subjects(&wrong);
    for subject in ["nova: microversion", "nova: quota", "hosts: compute services", "leftovers: flavors"] {
        assert!(failed.contains(&(subject, Verdict::Fail)), "{subject}: {wrong:#?}");
    }
    assert!(wrong.iter().all(|(subject, ..)| !subject.contains("placement")), "{wrong:#?}");
}
