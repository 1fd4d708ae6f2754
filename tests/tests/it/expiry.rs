//! What nobody uses is given back: who asks for it, how, and what he is shown; over REST, gRPC and on the command line. What the count
//! does is in `actuator/`.

use leasehold_client::command::{Recurrence, StartWish};
use leasehold_client::model::{EventKind, EventStatus, LeaseStatus, SeriesMode};
use leasehold_client::{Error, NewLease};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use reqwest::Method;
use serde_json::{Value, json};

use crate::command_line::{fails, json as cli, says};
use crate::rig::{PATIENCE, Rig, from_now, rig, rig_set, rig_with, tomorrow, wish};

fn after(name: &str, expiry_s: Option<u32>) -> NewLease {
    NewLease { expiry_s, ..tomorrow(name) }
}

/// A lease over REST, far ahead, with these keys beside.
fn body(more: Value) -> Value {
    let reservation = json!({"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 1,
        "affinity": null, "resource_properties": ""});
    let mut body = json!({"name": "a", "start_date": "2098-01-01 10:00", "end_date": "2098-01-01 12:00",
        "reservations": [reservation], "events": []});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn rest(rig: &Rig, version: &str, method: Method, path: &str, sent: Option<Value>) -> (u16, Value) {
    rest_as("", rig, version, method, path, sent).await
}

/// As the owner of a token.
async fn rest_as(token: &str, rig: &Rig, version: &str, method: Method, path: &str, sent: Option<Value>) -> (u16, Value) {
    let url = format!("{}{path}", rig.cluster.nodes()[0].rest_url());
    let request = http_client().unwrap().request(method, url).header("openstack-api-version", format!("reservation {version}"));
    let request = if token.is_empty() { request } else { request.header("x-auth-token", token) };
    let request = match &sent {
        Some(sent) => request.json(sent),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn create(rig: &Rig, version: &str, more: Value) -> (u16, Value) {
    rest(rig, version, Method::POST, "/leases", Some(body(more))).await
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> (String, String) {
    match answer {
        Err(Error::Refused(refused)) => (refused.code, refused.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_expiry_is_asked_for_and_shown_over_rest_grpc_and_on_the_command_line() {
    let rig = rig(1).await;
    let (client, cluster) = (&rig.client, &rig.cluster);
    let (status, made) = create(&rig, "1.1", json!({"expiry_s": 900})).await;
    assert_eq!((status, &made["lease"]["expiry_s"], &made["lease"]["expires_at"]), (201, &json!(900), &Value::Null), "{made}");
    assert_eq!(made["lease"]["reservations"][0]["released"], json!(0), "{made}");
    let id = made["lease"]["id"].as_str().unwrap();
    let shown = client.get_lease(id.parse().unwrap()).await.unwrap().value;
    assert_eq!((shown.expiry_s, shown.event(EventKind::Expiry)), (Some(900), None), "it is counted from when it is active");
    let shown = cli(cluster, &["lease", "show", id]).await;
    assert_eq!((&shown["expiry_s"], &shown["expires_at"]), (&json!(900), &Value::Null), "{shown}");

    for (asked, comes_to) in [(None, None), (Some(0), None), (Some(60), Some(60))] {
        assert!(client.what_if(after("b", asked)).await.is_ok());
        let key = client.new_key();
        let made = client.create_lease(key, after("b", asked)).await.unwrap().value;
        assert_eq!(made.expiry_s, comes_to, "{asked:?}");
        assert_eq!(client.create_lease(key, after("b", asked)).await.unwrap().value.id, made.id);
        let (_, shown) = rest(&rig, "1.1", Method::GET, &format!("/leases/{}", made.id), None).await;
        assert_eq!(shown["lease"]["expiry_s"], json!(comes_to), "{shown}");
    }
    for seconds in [1, 59] {
        for (code, message) in [
            refused(client.create_lease(client.new_key(), after("c", Some(seconds))).await.map(|_| ())),
            refused(client.what_if(after("c", Some(seconds))).await.map(|_| ())),
        ] {
            assert!(code == "invalid" && message.contains("expiry_s"), "{code}: {message}");
            assert!(message.contains(&seconds.to_string()) && message.contains("60"), "{message}");
        }
        let (status, told) = create(&rig, "1.1", json!({"expiry_s": seconds})).await;
        let right = format!("expiry_s is {seconds}; it must be a whole number of seconds from 60 to 4294967295, or 0: never");
        assert_eq!((status, &told["error_message"]), (400, &json!(right)), "{told}");
    }
    let (status, told) = create(&rig, "1.0", json!({"expiry_s": 900})).await;
    assert!(status == 400 && told["error_message"].as_str().unwrap().contains("needs microversion 1.1"), "{told}");
    let (status, told) = rest(&rig, "1.1", Method::PUT, &format!("/leases/{id}"), Some(json!({"expiry_s": 60}))).await;
    assert!(status == 400 && told["error_message"].as_str().unwrap().contains("stands from creation on"), "{told}");

    let line = ["lease", "create", "seat", "--start", "+24h", "--end", "+1h", "--vcpus", "1", "--memory-mb", "1024"];
    let made = cli(cluster, &[&line[..], &["--expiry", "15m"]].concat()).await;
    assert_eq!((&made["expiry_s"], &made["reservations"][0]["released"]), (&json!(900), &json!(0)), "{made}");
    let shown = says(cluster, &["lease", "show", "seat"]).await;
    assert!(shown.contains("expiry") && shown.contains("15m after it is active"), "{shown}");
    let (code, told) = fails(cluster, &[&line[..], &["--expiry", "30s"]].concat()).await;
    assert!(code == 2 && told.contains("'30s' is shorter than 1m"), "{code}: {told}");
}

#[tokio::test]
async fn an_active_lease_says_when_it_is_counted_and_1_0_has_nothing_of_it() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let client = &caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let asked = NewLease { start: StartWish::Now, expiry_s: Some(3600), ..wish("now", from_now(0), from_now(7200)) };
    let id = client.create_lease(client.new_key(), asked).await.unwrap().value.id;
    let shown = wait_for("the lease to be active", PATIENCE, async || {
        let lease = client.get_lease(id).await.map_err(|error| error.to_string())?.value;
        if lease.status == LeaseStatus::Active && lease.expires_at().is_some() { Ok(lease) } else { Err(format!("{lease:?}")) }
    })
    .await
    .unwrap();
    let event = shown.event(EventKind::Expiry).unwrap();
    assert_eq!(event.status, EventStatus::Undone);
    assert!(event.time >= shown.start.plus(3600) && event.time <= from_now(3601), "{shown:?}");

    let (path, id) = (format!("/leases/{id}"), id.to_string());
    let get = async |version| rest_as(demo.token(), &rig, version, Method::GET, &path, None).await.1;
    let told = get("1.1").await;
    let line = ["lease", "show", &id, "--token", demo.token()];
    let at = cli(&rig.cluster, &line).await["expires_at"].as_str().unwrap().to_owned();
    assert_eq!(told["lease"]["expires_at"], json!(at.replace('Z', ".000000")), "{told}");
    let kinds = |told: &Value| -> Vec<String> {
        let events = told["lease"]["events"].as_array().unwrap().iter();
        events.map(|event| event["event_type"].as_str().unwrap().to_owned()).collect()
    };
    assert!(kinds(&told).iter().all(|kind| kind != "expiry"), "{told}");
    let old = get("1.0").await;
    assert_eq!(kinds(&old), kinds(&told));
    assert!(!old.to_string().contains("expir") && !old.to_string().contains("released"), "{old}");
    let shown = says(&rig.cluster, &line).await;
    assert!(shown.contains("1h after it is active; to be counted"), "{shown}");
}

#[tokio::test]
async fn what_the_operator_says_holds_of_whoever_says_nothing() {
    let rig = rig_set(1, "[api]\nexpiry_s_default = 900\n").await;
    let client = &rig.client;
    for (asked, comes_to) in [(None, Some(900)), (Some(0), None), (Some(60), Some(60))] {
        let made = client.create_lease(client.new_key(), after("a", asked)).await.unwrap().value;
        assert_eq!(made.expiry_s, comes_to, "{asked:?}");
    }
    // One of Blazar's clients says nothing, and is shown nothing.
    let (status, made) = create(&rig, "1.0", json!({})).await;
    assert!(status == 201 && !made.to_string().contains("expir"), "{made}");
    let shown = client.get_lease(made["lease"]["id"].as_str().unwrap().parse().unwrap()).await.unwrap().value;
    assert_eq!(shown.expiry_s, Some(900));
    for (more, comes_to) in
        [(json!({}), json!(900)), (json!({"expiry_s": null}), json!(900)), (json!({"expiry_s": 0}), Value::Null)]
    {
        let (status, made) = create(&rig, "1.1", more).await;
        assert_eq!((status, &made["lease"]["expiry_s"]), (201, &comes_to), "{made}");
    }
    let start = from_now(86_400);
    let first = NewLease { start: StartWish::At(start), end: start.plus(3600), ..tomorrow("b") };
    let rule = Recurrence { rule: "FREQ=DAILY;COUNT=2".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
    let series = client.create_series(client.new_key(), first, rule).await.unwrap().value;
    assert_eq!(series.first.expiry_s, Some(900));
    let line =
        ["lease", "create", "c", "--start", "+24h", "--end", "+1h", "--vcpus", "1", "--memory-mb", "1024", "--expiry", "never"];
    assert_eq!(cli(&rig.cluster, &line).await["expiry_s"], Value::Null);
}

#[tokio::test]
async fn where_it_is_switched_off_no_lease_expires() {
    let rig = rig_set(1, "[api]\nexpiry = false\n").await;
    let client = &rig.client;
    for (code, message) in [
        refused(client.create_lease(client.new_key(), after("a", Some(900))).await.map(|_| ())),
        refused(client.what_if(after("a", Some(900))).await.map(|_| ())),
    ] {
        assert!(code == "invalid" && message.contains("expiry_s") && message.contains("expiry is false"), "{code}: {message}");
    }
    let (status, told) = create(&rig, "1.1", json!({"expiry_s": 900})).await;
    assert!(status == 400 && told["error_message"].as_str().unwrap().contains("expiry is false"), "{told}");
    for never in [None, Some(0)] {
        assert_eq!(client.create_lease(client.new_key(), after("a", never)).await.unwrap().value.expiry_s, None);
    }
}
