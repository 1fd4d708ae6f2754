//! Calls that hang, services that are slow, and services that ask to be left alone: what is due comes all the same.

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, PoolKind, ReasonCode};

use super::ask::Ask;
use super::judge;
use super::world::World;

const HANG: FaultKind = FaultKind::Hang { applied: false };

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_in_the_preparation_does_not_delay_the_start() {
    let mut world = World::dedicated(&["cmp1"]).await;
    world.sim.lock().add_fault(Fault::on("PUT", "/resource_classes/*", HANG).times(1));
    let lease = world.ask(&Ask::new(1, 5, 600));
    world.until("it starts on time", 7, || world.is_active(lease)).await;
    world.boot_up(lease, "a").await;
    judge::hold_covers_tokens(&world);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_in_the_start_does_not_delay_the_end() {
    let mut world = World::dedicated(&["cmp1"]).await;
    world.sim.lock().add_fault(Fault::on("POST", "/flavors/*/action", HANG).with_body("addTenantAccess"));
    let lease = world.ask(&Ask::new(1, 5, 12));
    world.until("it is over on time", 14, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    world.pass(130).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn reads_of_placement_that_hang_for_a_moment_delay_no_lease_of_the_host_for_long() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let leases = [world.ask(&Ask::new(1, 60, 600)), world.ask(&Ask::new(1, 60, 600)), world.ask(&Ask::new(1, 60, 600))];
    // From before the host is read for the starts.
    world.pass(57).await;
    let fault = world.sim.lock().add_fault(Fault::on("GET", &format!("{}/inventories", world.tokens_path("cmp1")), HANG));
    world.pass(4).await;
    assert!(!leases.iter().any(|lease| world.is_active(*lease)), "the reads hang");
    world.sim.lock().remove_fault(fault);
    world.until("all start", 6, || leases.iter().all(|lease| world.is_active(*lease))).await;
}

#[tokio::test(start_paused = true)]
async fn ends_that_nova_does_not_answer_take_no_place_from_a_start() {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    world.kill().await;
    // Fewer places than ends: all are taken.
    world.config.parallel = 2;
    world.lead();
    let ending: Vec<LeaseId> = (0..4).map(|_| world.ask(&Ask { host: Some("cmp1"), ..Ask::new(1, 20, 60) })).collect();
    let starting = world.ask(&Ask { host: Some("cmp2"), ..Ask::new(1, 64, 600) });
    world.until("they are active", 25, || ending.iter().all(|lease| world.is_active(*lease))).await;
    for lease in &ending {
        world.boot_up(*lease, "a").await;
    }
    world.sim.lock().add_fault(Fault::on("DELETE", "/servers/*", HANG));
    let begin = world.now();
    world.until("it starts", 60, || world.is_active(starting)).await;
    let due = world.lease(starting).unwrap().start;
    assert!(world.now().unix_s() <= due.unix_s() + 2, "{begin:?}: {:?} for {due:?}", world.now());
    assert!(ending.iter().all(|lease| world.status(*lease) == Some(LeaseStatus::Terminating)));
    world.sim.lock().clear_faults();
    world.until("the others end", 70, || ending.iter().all(|lease| world.status(*lease) == Some(LeaseStatus::Terminated))).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_for_ten_minutes_of_peace_is_asked_again_for_a_start() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.ask(&Ask::new(1, 60, 900));
    world.pass(59).await;
    let busy = FaultKind::Error { status: 503, retry_after_s: Some(600) };
    world.sim.lock().add_fault(Fault::on("", "/resource_providers", busy));
    world.pass(5).await;
    world.sim.lock().clear_faults();
    world.until("it starts", 11, || world.is_active(lease)).await;
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_preparation_do_not_count_for_the_start() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let down = FaultKind::Error { status: 503, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("", "/resource_classes", down.clone()));
    world.sim.lock().add_fault(Fault::on("", "/resource_providers", down));
    let lease = world.ask(&Ask::new(1, 90, 900));
    tokio::time::sleep(std::time::Duration::from_millis(90_050)).await;
    world.sim.lock().clear_faults();
    world.until("it starts", 1, || world.is_active(lease)).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_start_tells_its_present_cause() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.ask(&Ask::new(1, 60, 900));
    world.pass(59).await;
    let tell = |status| FaultKind::Error { status, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("", "/resource_providers", tell(503)));
    let told = |world: &World, cause: &str| {
        let reason = world.lease(lease).unwrap().reason;
        reason.is_some_and(|reason| reason.code == ReasonCode::Late && reason.text.contains(cause))
    };
    world.until("the first cause is told", 15, || told(&world, "503")).await;
    let before = world.ledger.look(|state| state.ledger_index());
    world.sim.lock().clear_faults();
    world.sim.lock().add_fault(Fault::on("", "/resource_providers", tell(500)));
    world.until("the second cause is told", 45, || told(&world, "500")).await;
    let entries = world.ledger.look(|state| state.ledger_index()) - before;
    assert!(entries < 10, "{entries} entries for two causes");
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_nova_may_have_in_flight_hold_up_no_start() {
    let names: Vec<String> = (1..=15).map(|n| format!("cmp{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::dedicated(&names).await;
    let ending = world.ask(&Ask::new(70, 20, 60));
    let bound: Vec<_> = world.lease(ending).unwrap().reservations[0].bindings.iter().map(|one| one.host).collect();
    let free = world.ledger.look(|state| {
        let free = state.hosts().find(|host| !bound.contains(&host.id));
        free.map(|host| host.description.hypervisor_hostname.clone())
    });
    let free = free.unwrap();
    let starting = world.ask(&Ask { host: Some(&free), ..Ask::new(1, 64, 600) });
    world.until("it is active", 25, || world.is_active(ending)).await;
    for _ in 0..70 {
        world.boot(ending, "a").unwrap();
    }
    world.sim.lock().add_fault(Fault::on("DELETE", "/servers/*", HANG));
    world.until("the start comes", 60, || world.status(starting) != Some(LeaseStatus::Pending)).await;
    let hung = judge::writes(&world).iter().filter(|line| line.method == "DELETE").count();
    assert_eq!(hung, 64, "as many as may be in flight");
    world.until("it starts on time", 2, || world.is_active(starting)).await;
}

#[tokio::test(start_paused = true)]
async fn hints_that_are_lost_cost_a_second_and_no_start() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.ask(&Ask::new(1, 60, 600));
    world.pass(50).await;
    world.ledger.mute_effects(true);
    world.until("it starts", 12, || world.is_active(lease)).await;
}

#[tokio::test(start_paused = true)]
async fn commands_that_concern_no_open_row_wake_nobody_who_works_on_one() {
    let hosts: Vec<String> = (1..=10).map(|n| format!("cmp{n}")).collect();
    let mut world = World::dedicated(&hosts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let leases: Vec<LeaseId> = (0..50).map(|_| world.ask(&Ask::new(1, 60, 6_000))).collect();
    world.pass(55).await;
    world.sim.lock().add_fault(Fault::on("", "/", FaultKind::Error { status: 503, retry_after_s: None }));
    world.pass(60).await;
    assert!(leases.iter().all(|lease| world.status(*lease) == Some(LeaseStatus::Starting)));
    let before = world.ledger.looks();
    for _ in 0..400 {
        world.ledger.apply(Command::Probe { payload: Vec::new() }).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let looks = world.ledger.looks() - before;
    assert!(looks < 4_000, "{looks} looks at the state for 400 commands and 50 rows");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_call_survives_slowness_and_one_hang() {
    let calls = [
        ("PUT", "/resource_classes/*", ""),
        ("PUT", "/resource_providers/*/inventories", ""),
        ("POST", "/allocations", ""),
        ("POST", "/flavors", "\"flavor\""),
        ("POST", "/flavors/*/os-extra_specs", ""),
        ("POST", "/flavors/*/action", "addTenantAccess"),
        ("POST", "/flavors/*/action", "removeTenantAccess"),
        ("POST", "/servers/*/action", "\"shelve\""),
        ("POST", "/servers/*/action", "\"unshelve\""),
        ("POST", "/servers/*/action", "createImage"),
        ("PATCH", "*/images/*", ""),
        ("DELETE", "/servers/*", ""),
        ("DELETE", "/flavors/*", ""),
        ("DELETE", "/resource_classes/*", ""),
        ("GET", "/servers/detail", ""),
        ("GET", "*/allocations", ""),
    ];
    for kind in [HANG, FaultKind::Hang { applied: true }, FaultKind::Slow { after_ms: 2_500 }] {
        for on_end in [OnEnd::Delete, OnEnd::Snapshot] {
            let mut world = World::new(&["cmp1"]);
            world.onboard("cmp1", PoolKind::Dedicated).await;
            for call in &calls {
                world.sim.lock().add_fault(Fault::on(call.0, call.1, kind.clone()).times(1).with_body(call.2));
            }
            world.lead();
            let lease = world.ask(&Ask { staging: Some((40, 160)), on_end, ..Ask::new(1, 300, 420) });
            let flavor = world.flavor(lease);
            let begin = world.now();
            let mut server = None;
            world
                .until("the window opens", 150, || {
                    server = server.take().or_else(|| world.boot(lease, "a").ok());
                    server.is_some()
                })
                .await;
            let server = server.unwrap();
            world.until("it is active", 360, || world.is_active(lease)).await;
            assert_eq!(judge::unshelved(&world)[&server].len(), 1, "{kind:?}");
            world.until("it is over", 300, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
            let images = judge::count(&world, "image.queued");
            assert_eq!(images, if on_end == OnEnd::Snapshot { 2 } else { 1 }, "{kind:?}: a shelf, and a snapshot if asked for");
            world.pass(130).await;
            let windows = [(begin.plus(40), begin.plus(160)), (begin.plus(300), begin.plus(420))];
            judge::never_open_outside(&world, lease, &flavor, &windows);
            judge::hold_covers_tokens(&world);
            judge::clean_at_rest(&world, 1, 1);
            assert_eq!(world.tenant(Method::GET, "/servers", None).0, 200);
        }
    }
}
