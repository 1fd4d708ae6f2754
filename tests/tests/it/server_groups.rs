//! Server groups over both edges, with real tokens: a tenant boots with the group that his lease names, and a lease stands
//! where Nova makes none for him (docs/decisions/0013).

use std::path::Path;

use leasehold_client::model::{Lease, ReservationStatus};
use leasehold_client::{LeaseFilter, NewLease};
use leasehold_tests::caller;
use leasehold_tests::cloud::{Tenant, http_client};
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{PATIENCE, Rig, rig, rig_with, tomorrow};

/// `POST /v1/leases` of two servers with affinity from now on, in 1.1.
async fn post(rig: &Rig, node: usize, token: &str, key: Uuid) -> (StatusCode, Value) {
    let body = json!({
        "name": "together", "start_date": "now", "end_date": "2099-01-01 00:00", "events": [],
        "reservations": [{"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 2,
                          "affinity": true, "resource_properties": ""}],
    });
    let request = http_client()
        .unwrap()
        .post(format!("{}/leases", rig.cluster.nodes()[node].rest_url()))
        .header("X-Auth-Token", token)
        .header("OpenStack-API-Version", "reservation 1.1")
        .header("Idempotency-Key", key.to_string());
    let answer = request.json(&body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// The one reservation of a lease that was made.
fn reservation((status, answer): (StatusCode, Value)) -> Value {
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer["lease"]["reservations"][0].clone()
}

fn together(name: &str) -> NewLease {
    let mut lease = tomorrow(name);
    lease.reservations[0].resource.instance_mut().affinity = Some(true);
    lease
}

/// Server groups in the cloud: id and project.
async fn groups(rig: &Rig) -> Vec<(String, String)> {
    let state = rig.cloud.state().await.unwrap();
    let groups = state["groups"].as_object().unwrap().iter();
    groups.map(|(id, group)| (id.clone(), group["project_id"].as_str().unwrap().to_owned())).collect()
}

/// What Nova answers to the tenant's boot with a group as his hint, once he has the flavor.
async fn boot_with(tenant: &Tenant, reservation: &Value) -> (StatusCode, String) {
    let (flavor, group) = (reservation["flavor_id"].as_str().unwrap(), &reservation["server_group_id"]);
    wait_for("the flavor", PATIENCE, || async {
        let (status, _) = tenant.compute(Method::GET, &format!("/flavors/{flavor}"), None).await.unwrap();
        if status.is_success() { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();
    let image = tenant.image().await.unwrap();
    let body = json!({
        "server": {"name": "vm", "flavorRef": flavor, "imageRef": image, "networks": "none"},
        "os:scheduler_hints": {"group": group},
    });
    let (status, answer) = tenant.compute(Method::POST, "/servers", Some(&body)).await.unwrap();
    (status, answer["badRequest"]["message"].as_str().unwrap_or_default().to_owned())
}

/// Whether a text stands in any file below a folder.
fn stands_in(folder: &Path, text: &str) -> Option<String> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = stands_in(&path, text) {
                return Some(found);
            }
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|part| part == text.as_bytes())
        {
            return Some(path.display().to_string());
        }
    }
    None
}

#[tokio::test]
async fn a_tenant_boots_with_the_group_that_his_lease_names_whichever_node_answered() {
    let rig = rig_with(2, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    for node in 0..3 {
        let reservation = reservation(post(&rig, node, demo.token(), Uuid::now_v7()).await);
        let group = reservation["server_group_id"].as_str().unwrap().to_owned();
        assert_eq!(reservation["server_group_problem"], Value::Null);
        assert_eq!(groups(&rig).await, [(group, demo.project_id().to_owned())], "node {node}");
        assert_eq!(boot_with(&demo, &reservation).await, (StatusCode::ACCEPTED, String::new()));
        let lease = reservation["lease_id"].as_str().unwrap().parse().unwrap();
        client.delete_lease(client.new_key(), lease).await.unwrap();
        assert_eq!(groups(&rig).await, []);
    }
    let made = client.create_lease(client.new_key(), together("over gRPC")).await.unwrap().value;
    let group = made.reservations[0].server_group_id.unwrap().to_string();
    assert_eq!(groups(&rig).await, [(group, demo.project_id().to_owned())]);
    assert_eq!(client.get_lease(made.id).await.unwrap().value, made);
    // The token was used, and is nowhere: no log, no row, no entry of the Raft log.
    assert_eq!(stands_in(rig.cluster.folder(), demo.token()), None);
}

#[tokio::test]
async fn a_lease_stands_where_nova_makes_no_group_for_the_tenant_and_says_so() {
    let rig = rig_with(4, Auth::Keystone, Timing::default()).await;
    let (demo, admin) = (rig.cloud.tenant("demo").await.unwrap(), rig.cloud.tenant("admin").await.unwrap());
    let once = |kind: Value| {
        let mut fault = json!({"method": "POST", "path": "/os-server-groups", "count": 1});
        fault.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
        fault
    };
    let quota = format!("/os-quota-sets/{}", demo.project_id());
    for (fault, problem) in [
        (None, "too many server groups"),
        (Some(json!({"kind": "error", "status": 500})), "500"),
        (Some(json!({"kind": "hang"})), "no answer within 5 s"),
    ] {
        match &fault {
            Some(kind) => rig.cloud.set_fault(&once(kind.clone())).await.unwrap(),
            None => {
                let none = json!({"quota_set": {"server_groups": 0}});
                assert_eq!(admin.compute(Method::PUT, &quota, Some(&none)).await.unwrap().0, StatusCode::OK);
            }
        }
        let reservation = reservation(post(&rig, 1, demo.token(), Uuid::now_v7()).await);
        let told = reservation["server_group_problem"].as_str().unwrap();
        assert!(told.contains(problem), "{told}");
        let group = reservation["server_group_id"].as_str().unwrap();
        let found = groups(&rig).await;
        assert!(found.iter().any(|(id, project)| id == group && project != demo.project_id()), "{found:?}");
        let refused = format!("Instance group {group} could not be found.");
        assert_eq!(boot_with(&demo, &reservation).await, (StatusCode::BAD_REQUEST, refused));
        rig.cloud.clear_faults().await.unwrap();
        admin.compute(Method::DELETE, &quota, None).await.unwrap();
    }
    // The answer alone was lost: the group is there, and his.
    rig.cloud.set_fault(&once(json!({"kind": "lost_answer"}))).await.unwrap();
    let reservation = reservation(post(&rig, 2, demo.token(), Uuid::now_v7()).await);
    assert_eq!(reservation["server_group_problem"], Value::Null);
    let own: Vec<String> = groups(&rig).await.into_iter().filter(|(_, of)| of == demo.project_id()).map(|(id, _)| id).collect();
    assert_eq!(own, [reservation["server_group_id"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_create_that_is_sent_twice_at_once_has_one_group() {
    let rig = rig_with(2, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    // The first waits for Nova while the second comes.
    rig.cloud.set_fault(&json!({"method": "POST", "path": "/os-server-groups", "kind": "slow", "after_ms": 700})).await.unwrap();
    let key = Uuid::now_v7();
    let (one, other) = tokio::join!(post(&rig, 0, demo.token(), key), post(&rig, 1, demo.token(), key));
    let (one, other) = (reservation(one), reservation(other));
    assert_eq!((&one["id"], &one["server_group_id"]), (&other["id"], &other["server_group_id"]));
    let group = one["server_group_id"].as_str().unwrap().to_owned();
    let made = rig.cloud.record().await.unwrap().into_iter().flat_map(|line| line.changes);
    assert_eq!(made.filter(|change| change.what == "group.created").count(), 2, "both nodes were asked to make one");
    assert_eq!(groups(&rig).await, [(group, demo.project_id().to_owned())]);
    assert_eq!(one, reservation(post(&rig, 2, demo.token(), key).await));
}

#[tokio::test]
async fn a_lease_stands_though_its_node_died_before_it_could_tell_of_the_group() {
    let mut rig = rig_with(2, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let leader = rig.cluster.wait_leader(PATIENCE).await.unwrap();
    let doomed = (leader + 1) % 3;
    rig.cloud.set_fault(&json!({"method": "POST", "path": "/os-server-groups", "kind": "hang", "count": 1})).await.unwrap();
    {
        let lost = post(&rig, doomed, demo.token(), Uuid::now_v7());
        let asked = wait_for("Nova to be asked", PATIENCE, || async {
            let asked = rig.cloud.record().await.unwrap().iter().any(|line| line.path.contains("/os-server-groups"));
            asked.then_some(()).ok_or_else(|| "not yet".to_owned())
        });
        tokio::select! {
            biased;
            asked = asked => asked.unwrap(),
            answer = lost => panic!("{answer:?}"),
        }
    }
    rig.cluster.kill9(doomed);
    let lease: Lease = wait_for("the lease", PATIENCE, || async {
        let listed = rig.client.list_leases(LeaseFilter::default()).await.unwrap().value;
        listed.into_iter().next().ok_or_else(|| "no lease is to be seen".to_owned())
    })
    .await
    .unwrap();
    assert_ne!(lease.reservations[0].status, ReservationStatus::Error);
    let problem = lease.reservations[0].server_group_problem.clone().unwrap();
    assert!(problem.contains("did not say"), "{problem}");
    let group = lease.reservations[0].server_group_id.unwrap().to_string();
    assert_eq!(groups(&rig).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [group]);
}

#[tokio::test]
async fn without_keystone_s_tokens_the_group_is_the_service_user_s() {
    let rig = rig(1).await;
    let made = rig.client.create_lease(rig.client.new_key(), together("noauth")).await.unwrap().value;
    let group = made.reservations[0].server_group_id.unwrap().to_string();
    assert!(made.reservations[0].server_group_problem.is_some(), "Nova refuses it as the tenant's hint");
    let service = rig.cloud.tenant_in("leasehold", "service").await.unwrap();
    assert_eq!(groups(&rig).await, [(group, service.project_id().to_owned())]);
}
