//! What the read-back removes, what it brings back, and what it never touches.

use std::collections::BTreeSet;

use http::Method;
use leasehold_cloudsim::{Fault, FaultKind};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{LeaseId, LeaseStatus, OnEnd, PoolKind, ReservationId};
use leasehold_node::leader::host_monitor;
use leasehold_node::leader::names::{self, Names};
use serde_json::{Value, json};
use uuid::Uuid;

use super::judge;
use super::world::{Crash, World};

/// The service user that all clusters of these tests share, and the operator.
const SERVICE: (&str, &str) = ("leasehold", "service");
const OPERATOR: (&str, &str) = ("admin", "admin");

/// The root provider of a compute host.
fn root(world: &World, host: &str) -> Uuid {
    let state = world.state();
    let mut providers = state["placement"]["providers"].as_object().unwrap().iter();
    let found = providers.find(|(_, provider)| provider["name"] == host).map(|(id, _)| id.parse().unwrap());
    found.unwrap()
}

/// Names of the providers below a compute host.
fn children(world: &World, host: &str) -> Vec<String> {
    let (root, state) = (root(world, host).to_string(), world.state());
    let providers = state["placement"]["providers"].as_object().unwrap().values();
    let below = providers.filter(|provider| provider["parent"] == root.as_str());
    below.map(|provider| provider["name"].as_str().unwrap().to_owned()).collect()
}

/// What our holds have of a host's root, by class.
fn held(world: &World, host: &str) -> Option<Value> {
    let (root, state) = (root(world, host).to_string(), world.state());
    let consumers = state["placement"]["allocations"].as_object().unwrap().values();
    let mut holds = consumers.filter(|one| one["consumer_type"] == "LEASEHOLD_HOLD").map(|one| one["allocations"][&root].clone());
    holds.find(|resources| !resources.is_null())
}

fn flavor_with(world: &World, id: &str, specs: Value) {
    let body = json!({"flavor": {"name": id, "vcpus": 1, "ram": 512, "disk": 1, "id": id, "os-flavor-access:is_public": false}});
    world.admin(Method::POST, "/flavors", Some(body));
    world.admin(Method::POST, &format!("/flavors/{id}/os-extra_specs"), Some(json!({"extra_specs": specs})));
}

fn group(world: &World, name: &str) -> String {
    let body = json!({"server_group": {"name": name, "policy": "affinity"}});
    let (_, answer) = world.call(SERVICE, Method::POST, "/compute/v2.1/os-server-groups", Some(body));
    answer["server_group"]["id"].as_str().unwrap().to_owned()
}

fn class(world: &World, name: &str) {
    world.call(OPERATOR, Method::PUT, &format!("/placement/resource_classes/{name}"), None);
}

/// An active image of the service project with these properties.
fn image(world: &World, properties: Value) -> String {
    let mut body = json!({"name": "made by a late call", "disk_format": "raw", "container_format": "bare"});
    body.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    let (_, answer) = world.call(SERVICE, Method::POST, "/image/v2/images", Some(body));
    let id = answer["id"].as_str().unwrap().to_owned();
    world.call(SERVICE, Method::PUT, &format!("/image/v2/images/{id}/file"), Some(json!("bits")));
    id
}

fn reservation(number: u128) -> ReservationId {
    ReservationId(Uuid::from_u128(number))
}

#[tokio::test(start_paused = true)]
async fn what_an_offboarding_left_behind_is_removed_and_the_host_beside_it_stays() {
    let mut world = World::new(&["cmp1", "cmp2"]);
    let host = world.onboard("cmp1", PoolKind::Dedicated).await;
    world.onboard("cmp2", PoolKind::Dedicated).await;
    world.lead();
    world.pass(1).await;
    // The ledger let it go; the call that was to follow never came.
    world.ledger.apply(Command::RemoveHost { host_id: host }).unwrap();
    // The second look sees them first.
    world.pass(125).await;
    assert_eq!(children(&world, "cmp1").len(), 2, "nothing is removed at first sight");
    world.until("its traces are gone", 320, || children(&world, "cmp1").is_empty() && held(&world, "cmp1").is_none()).await;
    assert_eq!(children(&world, "cmp2").len(), 2);
    assert!(held(&world, "cmp2").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_an_onboarding_left_behind_is_removed_unless_the_host_was_registered_meanwhile() {
    let mut world = World::new(&["cmp1", "cmp2", "cmp3"]);
    // The leader of both died before the ledger heard of them; one is asked for again.
    world.take_in("cmp1", PoolKind::Dedicated).await;
    let again = world.take_in("cmp2", PoolKind::Dedicated).await;
    world.lead();
    world.pass(30).await;
    world.register(again);
    world.until("the traces of the other are gone", 200, || children(&world, "cmp1").is_empty()).await;
    assert!(held(&world, "cmp1").is_none());
    assert_eq!(children(&world, "cmp2").len(), 2);
    // Long after the sweep a hold raised late by a leader of before is found too.
    let late = world.take_in("cmp3", PoolKind::Dedicated).await;
    let names = Names::new(world.cluster_id);
    for child in [names.reservation_provider(late.description.root_provider), names.loan_provider(late.description.root_provider)]
    {
        world.call(OPERATOR, Method::DELETE, &format!("/placement/resource_providers/{child}"), None);
    }
    world.until("the hold is lowered", 700, || held(&world, "cmp3").is_none()).await;
    assert!(held(&world, "cmp2").is_some());
    assert_eq!(children(&world, "cmp2").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_taken_in_again_keeps_what_it_holds() {
    let mut world = World::new(&["cmp1"]);
    // Nobody has promised the first hold; it is kept all the same.
    world.take_in("cmp1", PoolKind::Dedicated).await;
    let all = held(&world, "cmp1");
    world.onboard("cmp1", PoolKind::Shared).await;
    assert_eq!(held(&world, "cmp1"), all);
    world.lead();
    world.book(2, 20, 600, None, OnEnd::Delete);
    world.pass(10).await;
    let booked = held(&world, "cmp1").expect("a hold for two servers");
    assert_eq!(booked["VCPU"], 4);
    world.kill().await;
    let writes = judge::writes(&world).len();
    world.take_in("cmp1", PoolKind::Shared).await;
    assert_eq!(held(&world, "cmp1"), Some(booked));
    assert_eq!(judge::writes(&world).len(), writes, "the host is the leader's tasks'");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_somebody_removed_comes_back() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    world.pass(1).await;
    let child = Names::new(world.cluster_id).reservation_provider(root(&world, "cmp1"));
    world.call(OPERATOR, Method::DELETE, &format!("/placement/resource_providers/{child}"), None);
    world.until("it is back", 70, || children(&world, "cmp1").len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_never_touched() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    let other = Names::new(Uuid::from_u128(78));
    let (root, stranger) = (root(&world, "cmp1"), reservation(0xf00));
    // Flavors: one without a mark that looks like a reservation's, one of another cluster.
    flavor_with(&world, &reservation(0xf01).to_string(), json!({"resources:VCPU": "0"}));
    flavor_with(&world, &stranger.to_string(), json!({names::FLAVOR_MARK: other.mark()}));
    // Classes: that flavor's, one of another cluster's reservation, Blazar's, anybody's.
    let elsewhere = other.reservation(Uuid::from_u128(0xf06));
    let classes = [stranger, elsewhere, reservation(0xf02)].map(names::class);
    for name in classes.into_iter().chain(["CUSTOM_ANY".to_owned()]) {
        class(&world, &name);
    }
    // Server groups in the service project that we share with another cluster.
    let lease = LeaseId(Uuid::from_u128(0xf03));
    let groups = [other.server_group(lease, stranger), format!("leasehold:{lease}:{stranger}"), "web".to_owned()];
    let groups: Vec<String> = groups.iter().map(|name| group(&world, name)).collect();
    // Another cluster's child on our host, with a user.
    let child = other.reservation_provider(root);
    let body = json!({"name": "other_cmp1", "uuid": child, "parent_provider_uuid": root});
    world.call(OPERATOR, Method::POST, "/placement/resource_providers", Some(body));
    let inventory = json!({"total": 4, "reserved": 0, "min_unit": 1, "max_unit": 4, "step_size": 1, "allocation_ratio": 1.0});
    let body = json!({"resource_provider_generation": 0, "inventories": {"CUSTOM_ANY": inventory}});
    world.call(OPERATOR, Method::PUT, &format!("/placement/resource_providers/{child}/inventories"), Some(body));
    let consumer = Uuid::from_u128(0xf04);
    let body = json!({"allocations": {child.to_string(): {"resources": {"CUSTOM_ANY": 1}}}, "consumer_type": "LEASEHOLD_HOLD",
        "project_id": "p", "user_id": "u", "consumer_generation": null});
    world.call(OPERATOR, Method::PUT, &format!("/placement/allocations/{consumer}"), Some(body));
    // Images: one of an end that our ledger does not know, twice; one without a mark.
    let server = Uuid::from_u128(0xf05).to_string();
    let marked = json!({"leasehold_end_of": stranger.to_string(), "instance_uuid": server});
    let images = [image(&world, marked.clone()), image(&world, marked), image(&world, json!({"instance_uuid": server}))];

    let before = world.state();
    world.lead();
    let lease = world.book(1, 60, 200, None, OnEnd::Delete);
    world.until("a lease of ours lives beside them", 70, || world.status(lease) == Some(LeaseStatus::Active)).await;
    world.until("and ends", 200, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    world.pass(700).await;

    let after = world.state();
    for flavor in [reservation(0xf01), stranger] {
        assert_eq!(after["flavors"][flavor.to_string()], before["flavors"][flavor.to_string()]);
    }
    for group in groups {
        assert!(after["groups"][&group].is_object(), "{group} is gone");
    }
    for image in images {
        assert_eq!(after["images"][&image], before["images"][&image], "{image}");
    }
    let placement =
        |state: &Value| (state["placement"]["classes"].clone(), state["placement"]["providers"][child.to_string()].clone());
    assert_eq!(placement(&after), placement(&before));
    let user = |state: &Value| state["placement"]["allocations"][consumer.to_string()].clone();
    assert_eq!(user(&after), user(&before));
    let ours: BTreeSet<String> = judge::writes(&world).into_iter().map(|line| line.path).collect();
    let foreign = [stranger.to_string(), names::class(stranger), child.to_string(), consumer.to_string()];
    assert!(!ours.iter().any(|path| foreign.iter().any(|id| path.contains(id.as_str()))), "{ours:?}");
    judge::hold_covers_tokens(&world);
}

/// A flavor, a class and a server group of ours that no reservation of the ledger wants.
fn orphans(world: &World) -> (String, String) {
    let names = Names::new(world.cluster_id);
    let id = reservation(0xabc);
    flavor_with(world, &id.to_string(), json!({names::FLAVOR_MARK: names.mark()}));
    class(world, &names::class(id));
    group(world, &names.server_group(LeaseId(Uuid::from_u128(0xabd)), id));
    (id.to_string(), names::class(id))
}

#[tokio::test(start_paused = true)]
async fn orphans_of_ours_go_and_the_class_before_its_flavor() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    let (flavor, class) = orphans(&world);
    world.lead();
    world.until("they are gone", 5, || judge::is_there(&world, &flavor, &class) == (false, false)).await;
    // The group goes in the same round.
    world.pass(1).await;
    judge::clean_at_rest(&world, 1, 1);
    let sim = world.sim.lock();
    let changes: Vec<_> = sim.record().iter().flat_map(|line| &line.changes).collect();
    let at = |what: &str, id: &str| changes.iter().position(|change| change.what == what && change.id == id).unwrap();
    assert!(at("class.deleted", &class) < at("flavor.deleted", &flavor));
}

#[tokio::test(start_paused = true)]
async fn no_failure_between_class_and_flavor_leaves_one_of_them_behind() {
    let faults = [
        vec![Fault::on("DELETE", "/resource_classes/*", FaultKind::Conflict).times(1)],
        vec![Fault::on("DELETE", "/resource_classes/*", FaultKind::Error { status: 500, retry_after_s: None }).times(1)],
        vec![Fault::on("DELETE", "/flavors/*", FaultKind::Error { status: 503, retry_after_s: None }).times(1)],
        vec![Fault::on("DELETE", "/flavors/*", FaultKind::LostAnswer { after_ms: 5 }).times(1)],
    ];
    for faults in faults {
        let mut world = World::new(&["cmp1"]);
        world.onboard("cmp1", PoolKind::Dedicated).await;
        let (flavor, class) = orphans(&world);
        for fault in &faults {
            world.sim.lock().add_fault(fault.clone());
        }
        world.lead();
        world.until("the next round mends it", 130, || judge::is_there(&world, &flavor, &class) == (false, false)).await;
    }
    // And a leader that dies before or after any of its first calls.
    for at in 0..4 {
        for applied in [false, true] {
            let mut world = World::new(&["cmp1"]);
            world.onboard("cmp1", PoolKind::Dedicated).await;
            let (flavor, class) = orphans(&world);
            world.writes.store(0, std::sync::atomic::Ordering::SeqCst);
            *world.crash.lock() = Some(Crash { at, applied });
            world.lead();
            world.pass(5).await;
            world.kill().await;
            *world.crash.lock() = None;
            world.lead();
            world.until("the next leader mends it", 10, || judge::is_there(&world, &flavor, &class) == (false, false)).await;
        }
    }
}

/// A class of ours whose reservation the ledger has forgotten, alone.
fn late_class(world: &World) -> String {
    let name = names::class(Names::new(world.cluster_id).reservation(Uuid::from_u128(0xabe)));
    class(world, &name);
    name
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_made_when_its_lease_is_forgotten_goes() {
    let mut world = World::dedicated(&["cmp1"]).await;
    // The call that makes it is not answered, is made again, and comes through when all is over.
    let late = FaultKind::Late { after_ms: 30_000, status: None };
    world.sim.lock().add_fault(Fault::on("PUT", "/resource_classes/*", late).times(1));
    let lease = world.book(1, 60, 600, None, OnEnd::Delete);
    let name = names::class(world.flavor(lease).parse().unwrap());
    let is_class = |world: &World| world.state()["placement"]["classes"].as_array().unwrap().contains(&json!(name));
    world.until("it is prepared", 5, || is_class(&world) && world.rows().is_empty()).await;
    world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
    world.until("it is forgotten", 20, || world.lease(lease).is_none() && !is_class(&world)).await;
    world.until("the class comes late", 31, || is_class(&world)).await;
    world.until("and goes", 70, || !is_class(&world)).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_flavor_that_is_made_when_its_lease_is_forgotten_goes_though_it_has_no_mark() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let late = FaultKind::Late { after_ms: 30_000, status: None };
    world.sim.lock().add_fault(Fault::on("POST", "/flavors", late).times(1));
    let lease = world.book(1, 60, 600, None, OnEnd::Delete);
    let id = world.flavor(lease);
    let is_there = |world: &World| world.state()["flavors"].get(&id).is_some();
    world.until("it is prepared", 5, || is_there(&world) && world.rows().is_empty()).await;
    world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
    world.until("it is forgotten", 20, || world.lease(lease).is_none() && !is_there(&world)).await;
    world.until("the flavor comes late", 31, || is_there(&world)).await;
    world.until("and goes", 70, || !is_there(&world)).await;
    judge::clean_at_rest(&world, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_flavor_that_lost_its_mark_is_made_whole_again_while_it_is_wanted() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.book(1, 60, 600, None, OnEnd::Delete);
    world.until("it is active", 65, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let path = format!("/compute/v2.1/flavors/{}/os-extra_specs", world.flavor(lease));
    let specs = |world: &World| world.call(OPERATOR, Method::GET, &path, None).1["extra_specs"].clone();
    let before = specs(&world);
    for name in before.as_object().unwrap().keys() {
        world.call(OPERATOR, Method::DELETE, &format!("{path}/{name}"), None);
    }
    assert_eq!(specs(&world), json!({}));
    world.until("it is as it was", 70, || specs(&world) == before).await;
}

#[tokio::test(start_paused = true)]
async fn no_failure_of_its_removal_leaves_a_late_class() {
    let is_class = |world: &World, name: &str| world.state()["placement"]["classes"].as_array().unwrap().contains(&json!(name));
    for kind in super::TROUBLE {
        let mut world = World::new(&["cmp1"]);
        world.onboard("cmp1", PoolKind::Dedicated).await;
        let name = late_class(&world);
        world.sim.lock().add_fault(Fault::on("DELETE", "/resource_classes/*", kind.clone()).times(1));
        world.lead();
        world.until("the next round mends it", 130, || !is_class(&world, &name)).await;
    }
    for applied in [false, true] {
        let mut world = World::new(&["cmp1"]);
        world.onboard("cmp1", PoolKind::Dedicated).await;
        let name = late_class(&world);
        world.writes.store(0, std::sync::atomic::Ordering::SeqCst);
        *world.crash.lock() = Some(Crash { at: 0, applied });
        world.lead();
        world.pass(5).await;
        world.kill().await;
        *world.crash.lock() = None;
        world.lead();
        world.until("the next leader mends it", 10, || !is_class(&world, &name)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_class_that_somebody_needs_stays_though_its_flavor_is_gone() {
    let mut world = World::dedicated(&["cmp1"]).await;
    let lease = world.book(1, 60, 90, None, OnEnd::Shelve);
    world.until("it is active", 65, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let server = world.boot(lease, "a").unwrap();
    world.until("its server is parked", 60, || world.server_status(&server) == "SHELVED_OFFLOADED").await;
    world.until("it is over", 20, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    let flavor = world.flavor(lease);
    world.ledger.apply(Command::DeleteLease { lease_id: lease }).unwrap();
    world.admin(Method::DELETE, &format!("/flavors/{flavor}"), None);
    world.pass(130).await;
    assert_eq!(judge::is_there(&world, &flavor, &names::class(flavor.parse().unwrap())), (false, true));
}

#[tokio::test(start_paused = true)]
async fn access_that_somebody_took_comes_back_and_access_that_somebody_gave_goes() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 600, None, OnEnd::Delete);
    world.until("the lease is active", 70, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let (flavor, tenant) = (world.flavor(lease), world.tenant_project.clone());
    let path = format!("/flavors/{flavor}/action");
    world.admin(Method::POST, &path, Some(json!({"removeTenantAccess": {"tenant": tenant}})));
    let projects = world.state()["projects"].as_object().unwrap().clone();
    let other = projects.keys().find(|id| **id != tenant).unwrap();
    world.admin(Method::POST, &path, Some(json!({"addTenantAccess": {"tenant": other}})));
    world.until("it is as it was", 70, || world.state()["flavors"][&flavor]["access"] == json!([tenant])).await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_host_is_held_to_its_grain_before_it_is_registered_and_again_after_a_placement_audit() {
    let mut world = World::new(&["cmp1"]);
    world.admin(
        Method::POST,
        "/flavors",
        Some(json!({"flavor": {"name": "ord", "vcpus": 1, "ram": 512, "disk": 1, "id": "ord"}})),
    );
    let register = world.take_in("cmp1", PoolKind::Shared).await;
    let free = register.observation.capacity.memory_mb;
    let grain = register.description.memory_grain_mb;
    assert_eq!(grain, 512);
    assert_ne!(free % grain, 0, "there is a remainder to be held");
    let remainder = json!({"MEMORY_MB": free % grain});
    assert_eq!(held(&world, "cmp1"), Some(remainder.clone()), "the anchors' memory is out of reach at once");
    world.register(register);
    world.lead();
    world.pass(1).await;
    world.drop_holds();
    assert_eq!(held(&world, "cmp1"), None);
    world.until("the hold is back", 70, || held(&world, "cmp1") == Some(remainder.clone())).await;
}

#[tokio::test(start_paused = true)]
async fn a_flavor_that_leaves_no_room_for_anchors_is_found_at_the_next_full_look() {
    let mut world = World::new(&["cmp1", "cmp2"]);
    world.admin(
        Method::POST,
        "/flavors",
        Some(json!({"flavor": {"name": "ord", "vcpus": 1, "ram": 512, "disk": 1, "id": "ord"}})),
    );
    let shared = world.onboard("cmp1", PoolKind::Shared).await;
    world.onboard("cmp2", PoolKind::Dedicated).await;
    world.lead();
    let work = world.work();
    assert!(host_monitor::small_grains(&work).await.unwrap().is_empty());
    world.admin(
        Method::POST,
        "/flavors",
        Some(json!({"flavor": {"name": "odd", "vcpus": 1, "ram": 1000, "disk": 1, "id": "odd"}})),
    );
    let small = host_monitor::small_grains(&work).await.unwrap();
    assert_eq!(small.into_iter().map(|(host, small)| (host, small.grain_mb)).collect::<Vec<_>>(), [(shared, 8)]);
    world.admin(Method::DELETE, "/flavors/odd", None);
    assert!(host_monitor::small_grains(&work).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn keystone_may_be_down_when_the_token_is_renewed() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    // Tokens of this cloud live for four hours: the leader's is due for renewal 14,280 s after the beginning.
    let lease = world.book(1, 14_340, 15_000, None, OnEnd::Delete);
    world.pass(14_200).await;
    let down = FaultKind::Error { status: 503, retry_after_s: None };
    world.sim.lock().add_fault(Fault::on("POST", "/auth/tokens", down));
    world.pass(139).await;
    assert!(world.sim.lock().record().iter().any(|line| line.path.ends_with("/auth/tokens") && line.status == 503));
    world.until("the lease starts in time", 3, || world.status(lease) == Some(LeaseStatus::Active)).await;
    assert_eq!(world.lease(lease).unwrap().reason, None);
}

#[tokio::test(start_paused = true)]
async fn of_two_images_of_one_server_the_tenants_stays() {
    let mut world = World::new(&["cmp1"]);
    world.onboard("cmp1", PoolKind::Dedicated).await;
    world.lead();
    let lease = world.book(1, 60, 120, None, OnEnd::Snapshot);
    world.until("the lease is active", 70, || world.status(lease) == Some(LeaseStatus::Active)).await;
    let reservation = world.flavor(lease);
    let server = world.boot(lease, "a").unwrap();
    world.until("it runs", 10, || world.server_status(&server) == "ACTIVE").await;
    world.until("the lease is over", 100, || world.status(lease) == Some(LeaseStatus::Terminated)).await;
    let mark = json!({"leasehold_end_of": reservation, "instance_uuid": server});
    let second = image(&world, mark.clone());
    let of_server = |world: &World| {
        let state = world.state();
        let images = state["images"].as_object().unwrap().clone();
        images.into_iter().filter(|(_, image)| image["properties"]["instance_uuid"] == server.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of_server(&world).len(), 2);
    world.until("the second one is gone", 310, || world.state()["images"].get(&second).is_none()).await;
    let left = of_server(&world);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1["owner"], world.tenant_project.as_str());
}
