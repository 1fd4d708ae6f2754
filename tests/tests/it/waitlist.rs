//! The waitlist over REST (docs/decisions/0019).

use reqwest::Method;
use serde_json::{Value, json};

use leasehold_tests::cloud::http_client;

use crate::rig::{Rig, rig};

async fn ask(rig: &Rig, version: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = http_client().unwrap().request(method, format!("{}/{path}", rig.cluster.nodes()[0].rest_url()));
    let request = request.header("OpenStack-API-Version", version);
    let answer = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn lease(amount: u32, more: Value) -> Value {
    let reservation = json!({"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 64, "disk_gb": 1, "amount": amount,
                             "affinity": null});
    let mut lease = json!({"name": "one", "start_date": "2098-01-01 00:00", "end_date": "2098-01-02 00:00", "events": [],
                           "reservations": [reservation]});
    lease.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    lease
}

#[tokio::test]
async fn under_1_0_what_waits_and_what_is_only_offered_is_neither_shown_nor_changed() {
    const V1_0: &str = "reservation 1.0";
    const V1_1: &str = "reservation 1.1";
    let rig = rig(1).await;
    let until = chrono::DateTime::from_timestamp(crate::rig::from_now(600).unix_s() as i64, 0).unwrap();
    let until = until.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let waiting = lease(9_000, json!({"wait": {"until": until}}));
    let offer = lease(1, json!({"offer": {"valid_s": 600}}));
    for (body, status) in [(waiting, "WAITING"), (offer, "PENDING")] {
        let (made_status, made) = ask(&rig, V1_1, Method::POST, "leases", body).await;
        assert_eq!((made_status, &made["lease"]["status"]), (201, &json!(status)), "{made}");
        let path = format!("leases/{}", made["lease"]["id"].as_str().unwrap());
        for (method, body) in [(Method::GET, Value::Null), (Method::PUT, json!({})), (Method::PUT, json!({"name": "two"}))] {
            let (told_status, told) = ask(&rig, V1_0, method, &path, body).await;
            assert_eq!(told_status, 404, "{told}");
        }
        let (shown, told) = ask(&rig, V1_1, Method::PUT, &path, json!({})).await;
        assert_eq!((shown, &told["lease"]["status"]), (200, &json!(status)), "{told}");
    }
}
