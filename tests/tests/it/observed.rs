//! What a real process tells of itself: metrics, health, and the thread of a request through the logs.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_client::command::StagingWish;
use leasehold_client::model::{Lease, LeaseStatus, Stage};
use leasehold_client::{Client, NewLease};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::cluster::Cluster;
use leasehold_tests::settings::{Auth, Settings, Timing};
use leasehold_tests::wait::wait_for;
use serde_json::json;

use crate::rig::{PATIENCE, Rig, bare, empty, from_now, rig_with, wish};

/// Status and text of one page.
async fn page(cluster: &Cluster, index: usize, path: &str) -> (u16, String) {
    let url = format!("{}{path}", cluster.nodes()[index].metrics_url());
    let answer = http_client().unwrap().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// All samples by name and labels.
async fn metrics(cluster: &Cluster, index: usize) -> BTreeMap<String, f64> {
    let (status, text) = page(cluster, index, "/metrics").await;
    assert_eq!(status, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[tokio::test]
async fn metrics_move_with_what_happens() {
    let (cluster, client) = bare(Timing::default()).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let before = metrics(&cluster, leader).await;
    let made = client.create_lease(client.new_key(), empty("a")).await.unwrap();
    let after = metrics(&cluster, leader).await;
    let of = |samples: &BTreeMap<String, f64>, name: &str| samples.get(name).copied().unwrap_or(0.0);
    for name in [
        "leasehold_proposals_total{ending=\"applied\"}",
        "leasehold_apply_batch_seconds_count",
        "leasehold_log_sync_seconds_count",
    ] {
        assert!(of(&after, name) > of(&before, name), "{name}");
    }
    assert!(of(&after, "leasehold_ledger_index") >= made.ledger_index as f64);
    let mut created = 0.0;
    for index in 0..cluster.nodes().len() {
        let samples = metrics(&cluster, index).await;
        assert_eq!(of(&samples, "leasehold_leader"), f64::from(u8::from(index == leader)));
        let name = "leasehold_request_duration_seconds_count{answer=\"ok\",edge=\"grpc\",operation=\"create_lease\"}";
        created += of(&samples, name);
    }
    assert_eq!(created, 1.0, "counted where it came in");
}

/// The sum over all nodes: what only a leader does is counted by whoever led.
async fn total(cluster: &Cluster, name: &str) -> f64 {
    let mut sum = 0.0;
    for index in 0..cluster.nodes().len() {
        sum += metrics(cluster, index).await.get(name).copied().unwrap_or(0.0);
    }
    sum
}

/// The sum over all labels and nodes.
async fn total_of_all(cluster: &Cluster, name: &str) -> f64 {
    let mut sum = 0.0;
    for index in 0..cluster.nodes().len() {
        let samples = metrics(cluster, index).await;
        sum += samples.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum::<f64>();
    }
    sum
}

/// A rig with one host, and a tenant of it.
async fn with_tenant() -> (Rig, Client) {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    (rig, client)
}

async fn until(client: &Client, lease: &Lease, what: &str, so: impl Fn(&Lease) -> bool) -> Lease {
    wait_for(what, Duration::from_secs(60), || async {
        let now = client.get_lease(lease.id).await.map_err(|error| error.to_string())?.value;
        if so(&now) { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await
    .unwrap()
}

const DELAYED: &str = "leasehold_actuations_delayed_total";
const OPEN: &str = "leasehold_actuations_open";
const OLDEST: &str = "leasehold_actuations_oldest_age_seconds";
const RECONCILED: &str = "leasehold_reconcile_age_seconds";

fn lateness(step: &str, of: &str) -> String {
    format!("leasehold_event_lateness_seconds_{of}{{step=\"{step}\"}}")
}

async fn no_row_is_open(cluster: &Cluster) {
    wait_for("no row to be open", PATIENCE, || async {
        let open = total(cluster, OPEN).await;
        (open == 0.0).then_some(()).ok_or(format!("{open} are"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn each_step_of_a_staged_lease_is_counted_once_with_its_lateness() {
    let (rig, client) = with_tenant().await;
    let mut staged: NewLease = wish("staged", from_now(12), from_now(15));
    staged.reservations[0].staging = Some(StagingWish { start: None, end: Some(from_now(6)), park_margin_s: 4 });
    let asked = std::time::Instant::now();
    let lease = client.create_lease(client.new_key(), staged).await.unwrap().value;
    until(&client, &lease, "the lease to be over", |lease| lease.status == LeaseStatus::Terminated).await;
    let lasted_s = asked.elapsed().as_secs_f64();
    for step in ["staging_open", "staging_close", "start", "end"] {
        assert_eq!(total(&rig.cluster, &lateness(step, "count")).await, 1.0, "{step}");
        let late_s = total(&rig.cluster, &lateness(step, "sum")).await;
        assert!(late_s < lasted_s, "{step}: {late_s} s late in {lasted_s} s");
    }
    let leader = rig.cluster.wait_leader(PATIENCE).await.unwrap();
    // The leader compared the cloud when it took over, and the others never did.
    for index in 0..rig.cluster.nodes().len() {
        let age = metrics(&rig.cluster, index).await[RECONCILED];
        let fed = if index == leader { age >= 0.0 } else { age == -1.0 };
        assert!(fed, "node {index}, leader {leader}: {age}");
    }
    no_row_is_open(&rig.cluster).await;
}

#[tokio::test]
async fn nova_down_at_a_start_shows_in_the_lease_and_in_the_metrics_and_mends_itself() {
    let (rig, client) = with_tenant().await;
    let lease = client.create_lease(client.new_key(), wish("late", from_now(8), from_now(3600))).await.unwrap().value;
    // Later the fault would be met by the preparation as well.
    until(&client, &lease, "its flavor to be made", |lease| lease.reservations[0].stage == Stage::Prepared).await;
    assert_eq!(total_of_all(&rig.cluster, DELAYED).await, 0.0);
    assert_eq!(total(&rig.cluster, &lateness("prepare", "count")).await, 1.0);
    rig.cloud.set_fault(&json!({"service": "compute", "kind": "error", "status": 503})).await.unwrap();
    let waiting = until(&client, &lease, "the lease to say why it waits", |lease| lease.reason.is_some()).await;
    let reason = waiting.reason.unwrap();
    assert!(waiting.status == LeaseStatus::Starting && reason.text.contains("503"), "{reason:?}");
    let (http, url) = (http_client().unwrap(), format!("{}/leases/{}", rig.cluster.nodes()[0].rest_url(), lease.id));
    let token = rig.cloud.tenant("demo").await.unwrap().token().to_owned();
    let request = http.get(url).header("X-Auth-Token", token).header("OpenStack-API-Version", "reservation 1.1");
    let shown: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert!(shown["lease"]["status_reason"].to_string().contains("503"), "{shown}");

    wait_for("the outage to show", PATIENCE, || async {
        let delayed = total_of_all(&rig.cluster, DELAYED).await;
        let (open, oldest) = (total(&rig.cluster, OPEN).await, total(&rig.cluster, OLDEST).await);
        let shows = delayed >= 1.0 && open == 1.0 && oldest > 2.0;
        shows.then_some(()).ok_or(format!("delayed {delayed}, open {open}, oldest {oldest}"))
    })
    .await
    .unwrap();
    assert_eq!(total(&rig.cluster, &lateness("start", "count")).await, 0.0);
    rig.cloud.clear_faults().await.unwrap();
    let active = until(&client, &lease, "the lease to start", |lease| lease.status == LeaseStatus::Active).await;
    assert_eq!(active.reason, None);
    assert_eq!(total(&rig.cluster, &lateness("start", "count")).await, 1.0);
    assert!(total(&rig.cluster, &lateness("start", "sum")).await > 2.0, "as late as the outage was long");
    no_row_is_open(&rig.cluster).await;
}

#[tokio::test]
async fn a_node_alone_is_alive_and_not_ready() {
    let mut cluster = Cluster::start(Settings::default(), None).await.unwrap();
    for index in 0..3 {
        assert_eq!(page(&cluster, index, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(page(&cluster, index, "/readyz").await, (200, "ready\n".to_owned()));
    }
    cluster.kill9(1);
    cluster.kill9(2);
    wait_for("node 1 to be not ready", PATIENCE, || async {
        let (status, text) = page(&cluster, 0, "/readyz").await;
        (status == 503 && text.starts_with("not ready: ")).then_some(()).ok_or(text)
    })
    .await
    .unwrap();
    assert_eq!(page(&cluster, 0, "/healthz").await.0, 200);
}

#[tokio::test]
async fn the_leader_logs_a_forwarded_request_under_the_id_that_its_caller_was_told() {
    let (mut cluster, _client) = bare(Timing::default()).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let follower = (leader + 1) % 3;
    let global = "req-7e57d004-2b97-4e7a-b45f-5387367791cd";
    let body = json!({"name": "a", "start_date": "2098-01-01 00:00", "end_date": "2098-01-02 00:00", "reservations": []});
    let request = http_client().unwrap().post(format!("{}/leases", cluster.nodes()[follower].rest_url()));
    let answer = request.header("x-openstack-request-id", global).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let id = answer.headers()["x-openstack-request-id"].to_str().unwrap().to_owned();
    assert_ne!(id, global, "a caller's id is kept beside ours");
    let lease: serde_json::Value = answer.json().await.unwrap();
    let lease_id = lease["lease"]["id"].as_str().unwrap().to_owned();
    let line = wait_for("the leader's line", PATIENCE, || {
        let log = cluster.node(leader).process().unwrap().log_text();
        let line = log.lines().find(|line| line.contains("lease created") && line.contains(&id)).map(str::to_owned);
        async move { line.ok_or("not logged".to_owned()) }
    })
    .await
    .unwrap();
    for part in [lease_id.as_str(), "project_id", "term", "log_index"] {
        assert!(line.contains(part), "{part} in {line}");
    }
}
