//! What the doctor says of hosts and leftovers. The leader is gone while it looks, so that nothing is mended meanwhile.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::model::{LeaseStatus, OnEnd, PoolKind};
use leasehold_node::doctor::{Ledger, Report, Rows, Verdict, examine};

use super::world::World;

/// Rows as they are read one time after the other; the last ones for ever.
struct Readings(Mutex<VecDeque<Result<Ledger, String>>>);

impl Readings {
    fn of(readings: impl IntoIterator<Item = Result<Ledger, String>>) -> Readings {
        Readings(Mutex::new(readings.into_iter().collect()))
    }
}

#[async_trait]
impl Rows for Readings {
    async fn read(&self) -> Result<Ledger, String> {
        let mut readings = self.0.lock().unwrap();
        if readings.len() > 1 { readings.pop_front().unwrap() } else { readings[0].clone() }
    }
}

/// The rows as they are now.
fn rows(world: &World) -> Ledger {
    let (hosts, leases) = world.ledger.look(|state| (state.hosts().cloned().collect(), state.leases().cloned().collect()));
    Ledger { cluster_id: world.cluster_id, hosts, leases, now: world.now() }
}

async fn examined(world: &World, rows: &Readings) -> Report {
    let (work, mut report) = (world.work(), Report::default());
    examine(&work.cloud, work.clock.as_ref(), work.clock.wall_ms(), Some(rows), &mut report).await;
    report
}

/// All that is not as it should be: subject, verdict, what was seen.
async fn complaints(world: &World) -> Vec<(String, Verdict, String)> {
    complaints_of(examined(world, &Readings::of([Ok(rows(world))])).await)
}

fn complaints_of(report: Report) -> Vec<(String, Verdict, String)> {
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

#[tokio::test(start_paused = true)]
async fn a_ledger_that_is_older_than_the_cloud_is_read_again_before_anything_is_told() {
    let world = running().await;
    let now = rows(&world);
    // As it was before the lease was made.
    let before = Ledger { leases: Vec::new(), ..now.clone() };
    let stale = complaints_of(examined(&world, &Readings::of([Ok(before.clone())])).await);
    assert!(stale.iter().any(|(subject, ..)| subject.starts_with("host cmp")), "it differs: {stale:#?}");
    let wrong = complaints_of(examined(&world, &Readings::of([Ok(before.clone()), Ok(now)])).await);
    assert_eq!(wrong, []);
    let unread = complaints_of(examined(&world, &Readings::of([Ok(before), Err("nobody leads".to_owned())])).await);
    assert!(subjects(&unread).contains(&("cluster: rows", Verdict::Fail)), "{unread:#?}");
    assert!(unread.iter().any(|(subject, ..)| subject.starts_with("host cmp")), "what was seen stays: {unread:#?}");
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_read_fail_and_nobody_is_said_to_be_out_of_reach() {
    let world = running().await;
    let report = examined(&world, &Readings::of([Err("not allowed".to_owned())])).await;
    assert!(!report.nothing_failed());
    let rows = report.checks.iter().find(|check| check.subject == "cluster: rows").unwrap();
    assert_eq!((rows.verdict, rows.seen.as_str()), (Verdict::Fail, "not allowed"));
    assert!(report.checks.iter().all(|check| !check.seen.contains("reached")), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_parked_servers_of_a_forgotten_lease_is_no_leftover() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 20, 200, None, OnEnd::Shelve);
    world.until("it runs", 30, || world.status(lease) == Some(LeaseStatus::Active)).await;
    world.boot_up(lease, "a").await;
    world.until("it has ended", 600, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    world.kill().await;
    let forgotten = Ledger { leases: Vec::new(), ..rows(&world) };
    let report = examined(&world, &Readings::of([Ok(forgotten)])).await;
    let of = |subject: &str| report.checks.iter().filter(|check| check.subject == subject).collect::<Vec<_>>();
    let flavors = of("leftovers: flavors");
    assert_eq!(flavors.len(), 1, "{report:#?}");
    assert!(flavors[0].verdict == Verdict::Ok && flavors[0].seen.contains("kept for 1 parked servers"), "{flavors:#?}");
    let classes = of("leftovers: resource classes");
    assert!(classes.len() == 1 && classes[0].verdict == Verdict::Ok, "{classes:#?}");
}
