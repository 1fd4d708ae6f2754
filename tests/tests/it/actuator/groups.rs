//! Server groups of affinity: the node that took the request makes them with the tenant's token (here: the test), the leader
//! what is missing (docs/decisions/0013).

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::{Command, FoundGroup};
use leasehold_ledger::model::{LeaseId, LeaseStatus};
use leasehold_ledger::reply::Reply;
use leasehold_node::leader::names::Names;
use serde_json::{Value, json};

use super::ask::Ask;
use super::judge;
use super::world::World;

/// A world whose leases are asked for with a token that Nova knows.
async fn world() -> World {
    let mut world = World::dedicated(&["cmp1", "cmp2"]).await;
    world.callers = true;
    world
}

fn ask(start: u32, end: u32) -> Ask<'static> {
    Ask { affinity: Some(true), ..Ask::new(2, start, end) }
}

/// What the node makes with the tenant's token.
fn make(world: &World, lease: LeaseId) -> String {
    let reservation = world.lease(lease).unwrap().reservations[0].clone();
    let name = Names::new(world.cluster_id).server_group(lease, reservation.id);
    let policy = if reservation.wish.instance().affinity == Some(true) { "affinity" } else { "anti-affinity" };
    let body = json!({"server_group": {"name": name, "policy": policy}});
    let (status, answer) = world.tenant(Method::POST, "/os-server-groups", Some(body));
    assert_eq!(status, 200, "{answer}");
    answer["server_group"]["id"].as_str().unwrap().to_owned()
}

/// What the node tells the ledger; answers whether the lease has that group now.
fn tell(world: &World, lease: LeaseId, group: Result<&str, &str>) -> bool {
    let reservation = world.lease(lease).unwrap().reservations[0].clone();
    let affinity = reservation.wish.instance().affinity.unwrap();
    let (server_group_id, problem) = (group.ok().map(|id| id.parse().unwrap()), group.err().map(str::to_owned));
    let groups = [(reservation.id, FoundGroup { affinity, server_group_id, problem })].into();
    match world.ledger.apply(Command::RecordServerGroups { lease_id: lease, groups }).unwrap() {
        Reply::ServerGroupsRecorded { refused } => refused.is_empty(),
        other => panic!("{other:?}"),
    }
}

/// The group that the lease names, if any, and what is wrong with it.
fn group(world: &World, lease: LeaseId) -> (Option<String>, Option<String>) {
    let reservation = world.lease(lease).unwrap().reservations[0].clone();
    (reservation.server_group_id.map(|id| id.to_string()), reservation.server_group_problem)
}

/// Groups in the cloud, with their projects.
fn groups(world: &World) -> Vec<(String, Value)> {
    let state = world.state();
    state["groups"].as_object().unwrap().iter().map(|(id, group)| (id.clone(), group["project_id"].clone())).collect()
}

/// Groups that we made or deleted ourselves.
fn group_calls(world: &World, method: &str) -> usize {
    judge::writes(world).iter().filter(|line| line.method == method && line.path.contains("/os-server-groups")).count()
}

/// What Nova answers to a boot with the group as the tenant's hint.
fn boot_with(world: &World, lease: LeaseId, group: &str) -> (u16, Value) {
    let body = json!({
        "server": {"name": "hinted", "flavorRef": world.flavor(lease), "imageRef": world.any_image(), "networks": "none"},
        "os:scheduler_hints": {"group": group},
    });
    world.tenant(Method::POST, "/servers", Some(body))
}

fn is_pending(world: &World, lease: LeaseId) -> bool {
    world.status(lease) == Some(LeaseStatus::Pending)
}

#[tokio::test(start_paused = true)]
async fn the_leader_waits_for_the_tenants_own_group_which_is_a_hint_for_him_and_goes_with_the_lease() {
    let mut world = world().await;
    let lease = world.ask(&ask(20, 60));
    world.pass(4).await;
    assert_eq!((world.status(lease), groups(&world).len()), (Some(LeaseStatus::Creating), 0));
    let own = make(&world, lease);
    assert!(tell(&world, lease, Ok(&own)));
    world.until("it is promised", 1, || is_pending(&world, lease)).await;
    assert_eq!(group(&world, lease), (Some(own.clone()), None));
    assert_eq!(groups(&world), [(own.clone(), json!(world.tenant_project))]);
    assert_eq!(group_calls(&world, "POST"), 0);
    world.until("it is active", 30, || world.is_active(lease)).await;
    let (status, answer) = boot_with(&world, lease, &own);
    assert_eq!(status, 202, "{answer}");
    world.until("it is over", 60, || world.is_over(lease)).await;
    assert_eq!(group_calls(&world, "DELETE"), 1);
    world.pass(5).await;
    judge::clean_at_rest(&world, 2, 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_died_leaves_the_group_to_the_leader_and_why_it_is_no_hint_is_told() {
    let mut world = world().await;
    let lease = world.ask(&ask(20, 60));
    world.pass(5).await;
    assert_eq!(world.status(lease), Some(LeaseStatus::Creating), "it may still come");
    world.until("it is promised", 3, || is_pending(&world, lease)).await;
    let (id, problem) = group(&world, lease);
    let (id, problem) = (id.unwrap(), problem.unwrap());
    assert!(problem.contains("did not say"), "{problem}");
    assert_ne!(groups(&world), [(id.clone(), json!(world.tenant_project))]);
    assert_eq!(groups(&world).len(), 1);
    world.until("it is active", 30, || world.is_active(lease)).await;
    let (status, answer) = boot_with(&world, lease, &id);
    assert_eq!((status, &answer["badRequest"]["message"]), (400, &json!(format!("Instance group {id} could not be found."))));
    world.boot_up(lease, "without").await;
    // Too late: another is recorded.
    let late = make(&world, lease);
    assert!(!tell(&world, lease, Ok(&late)));
    assert_eq!(group(&world, lease), (Some(id), Some(problem)));
    world.until("it is over", 60, || world.is_over(lease)).await;
    world.until("the late one goes", 130, || groups(&world).is_empty()).await;
    judge::clean_at_rest(&world, 2, 2);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_the_tenant_has_and_nobody_told_of_is_taken() {
    let mut world = world().await;
    // Its answer was lost on the way, or the node died with it.
    for told in [None, Some(Err("nova gave no answer: lost"))] {
        let lease = world.ask(&ask(20, 60));
        let own = make(&world, lease);
        if let Some(told) = told {
            tell(&world, lease, told);
        }
        world.until("it is promised", 8, || is_pending(&world, lease)).await;
        assert_eq!(group(&world, lease), (Some(own), None));
        assert_eq!(group_calls(&world, "POST"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_group_nova_refuses_gets_one_of_ours_at_once_and_is_told_why() {
    let mut world = world().await;
    let lease = world.ask(&ask(20, 60));
    tell(&world, lease, Err("Quota exceeded, too many server groups."));
    world.until("it is promised", 1, || is_pending(&world, lease)).await;
    let (id, problem) = group(&world, lease);
    assert_eq!(problem.as_deref(), Some("Quota exceeded, too many server groups."));
    assert_eq!(groups(&world).into_iter().map(|(id, _)| Some(id)).collect::<Vec<_>>(), [id]);
}

#[tokio::test(start_paused = true)]
async fn a_nova_that_makes_no_groups_takes_no_promise_back_and_is_made_up_for() {
    for kind in [
        FaultKind::Error { status: 503, retry_after_s: Some(1) },
        FaultKind::Error { status: 503, retry_after_s: Some(60) },
        FaultKind::Error { status: 500, retry_after_s: None },
        FaultKind::Hang { applied: false },
    ] {
        for method in ["GET", "POST"] {
            let mut world = world().await;
            world.sim.lock().add_fault(Fault::on(method, "/os-server-groups", kind.clone()));
            let lease = world.ask(&ask(15, 900));
            tell(&world, lease, Err("nova answered nothing good"));
            world.until("it is promised", 10, || is_pending(&world, lease)).await;
            assert_eq!(group(&world, lease), (None, Some("nova answered nothing good".to_owned())), "{kind:?}");
            world.until("it is active", 20, || world.is_active(lease)).await;
            world.sim.lock().clear_faults();
            world.until("there is a group", 180, || group(&world, lease).0.is_some()).await;
            assert_eq!(group(&world, lease).1.as_deref(), Some("nova answered nothing good"));
            assert_eq!(groups(&world).len(), 1, "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_who_makes_the_group_because_nobody_else_was_to_says_why_it_is_no_hint() {
    let mut world = world().await;
    world.callers = false;
    let lease = world.ask(&ask(20, 60));
    world.until("it is promised", 3, || is_pending(&world, lease)).await;
    let (id, problem) = group(&world, lease);
    assert!(id.is_some() && problem.as_deref().is_some_and(|text| text.contains("without a token")), "{id:?} {problem:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_removed_keeps_no_other_from_going() {
    let world = world().await;
    let names = Names::new(world.cluster_id);
    let orphan = |number: u128| {
        let lease = LeaseId(uuid::Uuid::from_u128(number));
        let name = names.server_group(lease, names.reservation(uuid::Uuid::from_u128(number + 1)));
        let body = json!({"server_group": {"name": name, "policy": "affinity"}});
        world.tenant(Method::POST, "/os-server-groups", Some(body)).1["server_group"]["id"].as_str().unwrap().to_owned()
    };
    let made = [0xa10, 0xa20, 0xa30].map(orphan);
    // The first in Nova's list: what stops there reaches no other.
    let stays = made.iter().min().unwrap();
    let refused = FaultKind::Error { status: 403, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("DELETE", &format!("/os-server-groups/{stays}"), refused));
    let left = |world: &World| groups(world).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    world.until("the others are gone", 130, || left(&world) == [stays.clone()]).await;
}

#[tokio::test(start_paused = true)]
async fn groups_that_nobody_takes_go_from_any_project_and_those_of_others_stay() {
    let mut world = world().await;
    let lease = world.ask(&ask(20, 2_000));
    let (own, second) = (make(&world, lease), make(&world, lease));
    assert!(tell(&world, lease, Ok(&own)));
    assert!(!tell(&world, lease, Ok(&second)));
    let named = |name: String| {
        let body = json!({"server_group": {"name": name, "policy": "affinity"}});
        world.tenant(Method::POST, "/os-server-groups", Some(body)).1["server_group"]["id"].as_str().unwrap().to_owned()
    };
    let names = Names::new(world.cluster_id);
    let (gone, id) = (LeaseId(uuid::Uuid::from_u128(0xabc)), names.reservation(uuid::Uuid::from_u128(0xabd)));
    let forgotten = named(names.server_group(gone, id));
    let foreign = named(Names::new(uuid::Uuid::from_u128(78)).server_group(gone, id));
    let web = named("web".to_owned());
    world.until("both are gone", 130, || groups(&world).len() == 3).await;
    let left: Vec<String> = groups(&world).into_iter().map(|(id, _)| id).collect();
    for kept in [&own, &foreign, &web] {
        assert!(left.contains(kept), "{left:?} without {second} and {forgotten}");
    }
    world.pass(400).await;
    assert_eq!(groups(&world).len(), 3);
}

// Its maker died before it told, and the leader saw no groups for as long as the lease lived.
#[tokio::test(start_paused = true)]
async fn a_group_that_was_never_recorded_goes_when_its_lease_is_over() {
    let mut world = world().await;
    let lease = world.ask(&ask(20, 60));
    let own = make(&world, lease);
    let blind = FaultKind::Error { status: 503, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("GET", "/os-server-groups", blind));
    world.until("it is promised", 10, || is_pending(&world, lease)).await;
    world.until("it is active", 30, || world.is_active(lease)).await;
    world.until("it is over", 60, || world.is_over(lease)).await;
    assert_eq!(group(&world, lease).0, None);
    assert_eq!(groups(&world), [(own, json!(world.tenant_project))]);
    world.sim.lock().clear_faults();
    world.until("it goes", 130, || groups(&world).is_empty()).await;
    judge::clean_at_rest(&world, 2, 2);
}

#[tokio::test(start_paused = true)]
async fn another_affinity_has_another_group_and_more_servers_keep_theirs() {
    let mut world = world().await;
    let lease = world.ask(&ask(7_200, 9_000));
    let own = make(&world, lease);
    assert!(tell(&world, lease, Ok(&own)));
    world.until("it is promised", 1, || is_pending(&world, lease)).await;
    world.resize(lease, &Ask { amount: 3, ..ask(7_200, 9_000) }).unwrap();
    assert_eq!(group(&world, lease).0.as_ref(), Some(&own));
    world.resize(lease, &Ask { affinity: Some(false), ..ask(7_200, 9_000) }).unwrap();
    assert_eq!((world.status(lease), group(&world, lease).0), (Some(LeaseStatus::Updating), None));
    let apart = make(&world, lease);
    assert!(tell(&world, lease, Ok(&apart)));
    world.until("it is changed", 1, || is_pending(&world, lease)).await;
    assert_eq!(group(&world, lease), (Some(apart.clone()), None));
    world.until("the old one goes", 130, || groups(&world).len() == 1).await;
    assert_eq!(groups(&world)[0].0, apart);
    world.resize(lease, &Ask { affinity: None, ..ask(7_200, 9_000) }).unwrap();
    assert_eq!(group(&world, lease), (None, None));
    world.until("no group is left", 130, || groups(&world).is_empty()).await;
    assert!(is_pending(&world, lease));
}
