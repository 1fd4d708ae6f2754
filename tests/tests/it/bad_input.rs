//! Bad input over REST: the right status, a text that helps, nothing changed.

use std::time::{Duration, Instant};

use leasehold_tests::cloud::http_client;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::rig::{Rig, rig};

/// A lease that would be booked, with one thing changed.
fn lease(change: impl FnOnce(&mut Value)) -> String {
    let mut body = json!({
        "name": "a", "start_date": "2098-01-01 00:00", "end_date": "2098-01-02 00:00", "events": [],
        "reservations": [{"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 1,
                          "affinity": null, "resource_properties": ""}],
    });
    change(&mut body);
    body.to_string()
}

fn reservation(key: &'static str, value: Value) -> String {
    lease(|body| body["reservations"][0][key] = value)
}

const NO_LEASE: &str = "/leases/00000000-0000-4000-8000-000000000000";

/// Method, path, body, the status, and what the text must contain.
fn cases() -> Vec<(&'static str, &'static str, String, u16, &'static str)> {
    vec![
        ("POST", "/leases", "{".to_owned(), 400, ""),
        ("POST", "/leases", String::new(), 400, ""),
        ("POST", "/leases", "[]".to_owned(), 400, ""),
        ("POST", "/leases", "null".to_owned(), 400, ""),
        ("POST", "/leases", "{}".to_owned(), 400, "name"),
        ("POST", "/leases", lease(|body| body["name"] = json!(7)), 400, "name"),
        ("POST", "/leases", lease(|body| body["name"] = json!("")), 400, "name"),
        ("POST", "/leases", lease(|body| body["name"] = json!("x".repeat(10_000))), 400, "name"),
        ("POST", "/leases", lease(|body| body["start_date"] = json!("tomorrow")), 400, "tomorrow is an invalid date"),
        ("POST", "/leases", lease(|body| body["start_date"] = json!(12)), 400, "date"),
        ("POST", "/leases", lease(|body| body["start_date"] = json!("2001-01-01 00:00")), 400, "later than current date"),
        ("POST", "/leases", lease(|body| body["end_date"] = json!("2097-01-01 00:00")), 400, "later than start date"),
        ("POST", "/leases", lease(|body| body["reservations"] = json!("all of them")), 400, "reservations"),
        ("POST", "/leases", lease(|body| body["reservations"] = json!([7])), 400, "reservation"),
        ("POST", "/leases", reservation("amount", json!(0)), 400, "amount"),
        ("POST", "/leases", reservation("amount", json!(-1)), 400, "amount"),
        ("POST", "/leases", reservation("amount", json!("two")), 400, "amount"),
        ("POST", "/leases", reservation("amount", json!(1_000_000_000)), 400, "from 1 to 10000"),
        ("POST", "/leases", reservation("vcpus", json!(0)), 400, "vcpus"),
        ("POST", "/leases", reservation("vcpus", json!({})), 400, "vcpus"),
        ("POST", "/leases", reservation("memory_mb", json!(1.5)), 400, "memory_mb"),
        ("POST", "/leases", reservation("affinity", json!("maybe")), 400, "affinity"),
        ("POST", "/leases", reservation("resource_properties", json!("[\"or\", 1]")), 400, ""),
        ("POST", "/leases", reservation("resource_type", json!("virtual:moon")), 400, "virtual:moon"),
        // Paths of 1.1 say so, whatever is asked.
        ("GET", "/capacity?steps=0", String::new(), 404, "reservation 1.1"),
        ("GET", "/capacity/density", String::new(), 404, "reservation 1.1"),
        ("POST", "/leases/what-if", lease(|_| {}), 404, "reservation 1.1"),
        ("GET", NO_LEASE, String::new(), 404, "not found"),
        ("GET", "/leases/nonsense", String::new(), 404, "not found"),
        ("PUT", NO_LEASE, json!({"name": "b"}).to_string(), 404, "not found"),
        ("DELETE", NO_LEASE, String::new(), 404, "not found"),
        ("PATCH", "/leases", String::new(), 405, ""),
        ("GET", "/nothing", String::new(), 404, ""),
        ("GET", "/os-hosts/999", String::new(), 404, "not found"),
        ("POST", "/os-hosts", json!({"name": "no-such-host"}).to_string(), 404, "no-such-host"),
        ("POST", "/floatingips", "{}".to_owned(), 501, ""),
    ]
}

/// What the ledger holds, to see that nothing was changed.
async fn everything(rig: &Rig) -> (usize, usize) {
    let leases = rig.client.list_leases(Default::default()).await.unwrap().value;
    (leases.len(), rig.client.list_hosts(Default::default()).await.unwrap().value.len())
}

#[tokio::test]
async fn bad_input_is_answered_with_the_right_status_and_a_text_and_changes_nothing() {
    let rig = rig(1).await;
    let (http, url) = (http_client().unwrap(), rig.cluster.nodes()[0].rest_url());
    let mut wrong = Vec::new();
    for (method, path, body, wanted, text) in cases() {
        let request = http.request(method.parse().unwrap(), format!("{url}{path}"));
        let answer = request.header("Content-Type", "application/json").body(body.clone()).send().await.unwrap();
        let status = answer.status().as_u16();
        let said = answer.text().await.unwrap();
        // Clients read `error_message` and nothing else.
        let message =
            serde_json::from_str::<Value>(&said).ok().and_then(|body| body["error_message"].as_str().map(str::to_owned));
        let short: String = body.chars().take(120).collect();
        match message {
            Some(message) if status == wanted && message.contains(text) && !message.is_empty() => {}
            _ => wrong.push(format!("{method} {path} {short}\n    wanted {wanted} with {text:?}, got {status} {said}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(everything(&rig).await, (0, 1));
}

#[tokio::test]
async fn headers_that_make_no_sense_are_refused() {
    let rig = rig(1).await;
    let (http, url) = (http_client().unwrap(), rig.cluster.nodes()[0].rest_url());
    let whole = lease(|_| {});
    for (name, value, wanted) in [
        ("OpenStack-API-Version", "reservation 1.9", 406),
        ("OpenStack-API-Version", "reservation abc", 400),
        ("Content-Type", "text/plain", 400),
        ("Idempotency-Key", "not a uuid", 400),
        // Version 4 has no time inside, so it needs a validity of its own (architecture D18).
        ("Idempotency-Key", "7e57d004-2b97-4e7a-b45f-5387367791cd", 400),
    ] {
        let request = http.post(format!("{url}/leases")).header(name, value).body(whole.clone());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), wanted, "{name}: {value}");
    }
    assert_eq!(everything(&rig).await, (0, 1));
}

#[tokio::test]
async fn ten_megabytes_and_a_thousand_idle_connections_do_not_hold_up_others() {
    let rig = rig(1).await;
    let node = &rig.cluster.nodes()[0];
    let (http, url) = (http_client().unwrap(), node.rest_url());
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(TcpStream::connect(node.at.rest).await.unwrap());
    }
    let large = lease(|body| body["name"] = json!("x".repeat(10 << 20)));
    // The server reads on to the end of the body, so that the answer is not lost.
    let answer = http.post(format!("{url}/leases")).header("Content-Type", "application/json").body(large).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 413);
    let asked = Instant::now();
    let answer = http.get(format!("{url}/leases")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(idle.len(), 1000);
    assert_eq!(everything(&rig).await, (0, 1));
}
