//! What a real process tells of itself: metrics, health, and the thread of a request through the logs.

use std::collections::BTreeMap;

use leasehold_tests::cloud::http_client;
use leasehold_tests::cluster::Cluster;
use leasehold_tests::settings::{Settings, Timing};
use leasehold_tests::wait::wait_for;
use serde_json::json;

use crate::rig::{PATIENCE, bare, empty};

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
    assert!(line.contains(&lease_id) && line.contains("project_id"), "{line}");
}
