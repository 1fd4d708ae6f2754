//! Who may do what over REST (blazar-api §13), and what a node does not take on.

use leasehold_ledger::command::{Command, RegisterHost};
use leasehold_ledger::model::{Amounts, Anchor, HostDescription, Observation, PoolKind};

use super::*;

/// Method, path and body of every change of the lease.
fn changes(path: &str) -> [(&'static str, String, Value); 2] {
    [("PUT", path.to_owned(), json!({"name": "stolen"})), ("DELETE", path.to_owned(), Value::Null)]
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_readers_change_nothing() {
    let edge = Edge::start(true).await;
    let made = edge.send("POST", "/v1/leases", lease(json!({}))).await;
    let path = format!("/v1/leases/{}", made.body["lease"]["id"].as_str().unwrap());
    for (token, verb) in [("p2/member", "get"), ("p1/reader", "")] {
        for (method, path, body) in changes(&path) {
            let refused = Answer::of(edge.ask_as(token, method, &path).json(&body)).await;
            let rule = if verb.is_empty() { method.to_ascii_lowercase() } else { verb.to_owned() };
            let text = format!("Policy doesn't allow blazar:leases:{rule} to be performed");
            assert_eq!(refused.message(), (403, text.as_str()), "{token} {method}");
        }
    }
    let read = Answer::of(edge.ask_as("p1/reader", "GET", &path)).await;
    assert_eq!(read.body, made.body);
    let others = Answer::of(edge.ask_as("p2/member", "GET", "/v1/leases")).await;
    assert_eq!(others.body["leases"], json!([]));
    let all = Answer::of(edge.ask_as("p3/admin", "GET", "/v1/leases")).await;
    assert_eq!(all.body["leases"], json!([made.body["lease"]]));
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_whatever_the_body() {
    let edge = Edge::start(false).await;
    let no_lease = "/v1/leases/00000000-0000-4000-8000-000000000000";
    let cases = [
        ("p1/reader", "POST", "/v1/leases", "leases:post"),
        ("p1/reader", "PUT", no_lease, "leases:put"),
        ("p1/member", "POST", "/v1/os-hosts", "oshosts:post"),
        ("p1/member", "PUT", "/v1/os-hosts/1", "oshosts:put"),
    ];
    for (token, method, path, rule) in cases {
        let refused = Answer::of(edge.ask_as(token, method, path).body("{nope")).await;
        let text = format!("Policy doesn't allow blazar:{rule} to be performed");
        assert_eq!(refused.message(), (403, text.as_str()), "{method} {path}");
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_limit_are_asked_to_come_again() {
    let edge = Edge::limited(false, ApiSection { requests_max: 1, ..ApiSection::default() }).await;
    // Waits for a leader, and keeps the only place meanwhile.
    let mut waiting = tokio::spawn(edge.ask("GET", "/v1/leases").send());
    let began = std::time::Instant::now();
    loop {
        let next = edge.get("/versions").await;
        if next.status == 503 {
            assert_eq!(next.message(), (503, "too many requests in flight; try again later"));
            assert_eq!(next.header("retry-after"), Some("1"));
            break;
        }
        // The place was this loop's when it came: refused itself, it is sent again.
        if waiting.is_finished() {
            waiting = tokio::spawn(edge.ask("GET", "/v1/leases").send());
        }
        assert!(began.elapsed() < Duration::from_secs(5), "no request was ever refused");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    edge.raft.initialise().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status().as_u16(), 200);
    assert_eq!(edge.get("/versions").await.status, 300);
    edge.end().await;
}

pub fn host() -> RegisterHost {
    let capacity = Amounts { vcpus: 4, memory_mb: 4096, disk_gb: 10, slots: 8 };
    let description = HostDescription {
        hypervisor_hostname: "h1".to_owned(),
        service_name: "h1".to_owned(),
        root_provider: uuid::Uuid::from_u128(1),
        hypervisor_type: "QEMU".to_owned(),
        hypervisor_version: 8,
        cpu_info: "{}".to_owned(),
        vcpus: 4,
        memory_mb: 4096,
        local_gb: 10,
        zone: None,
        pool: PoolKind::Shared,
        anchor_budget: 8,
        memory_grain_mb: 0,
        anchor: Anchor::Memory,
    };
    let observation = Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits: BTreeSet::new(), up: true };
    RegisterHost { description, observation, properties: Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_be_sent_back_its_pool_and_no_other() {
    let edge = Edge::start(true).await;
    assert_eq!(edge.get("/v1/leases").await.status, 200, "it leads");
    edge.raft.propose(None, Command::RegisterHost(Box::new(host()))).await.unwrap().outcome.unwrap();
    let put = |body: Value| {
        let request = edge.ask_as("p1/admin", "PUT", "/v1/os-hosts/1").header("openstack-api-version", "reservation 1.1");
        Answer::of(request.json(&body))
    };
    let same = put(json!({"pool": "shared", "rack": "r1"})).await;
    assert_eq!((same.status, &same.body["host"]["rack"], &same.body["host"]["pool"]), (200, &json!("r1"), &json!("shared")));
    let moved = put(json!({"pool": "dedicated", "rack": "r2"})).await;
    assert!(moved.status == 409 && moved.message().1.starts_with("pool cannot be updated"), "{moved:?}");
    let member = Answer::of(edge.ask("GET", "/v1/os-hosts/1")).await;
    assert_eq!(member.status, 403);
    edge.end().await;
}
