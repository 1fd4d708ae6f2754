//! The same cloud over HTTP, with the faults that only a connection can show.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_cloudsim::{Clock, Cloud, CloudConfig, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::password;

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = CloudConfig { base_url: format!("http://{address}"), ..CloudConfig::default() };
    let clock: Clock = Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64);
    tokio::spawn(serve(Arc::new(Mutex::new(Cloud::new(config))), listener, clock));
    address
}

/// One call on a connection of its own; what comes back until the other side closes.
async fn call(at: SocketAddr, method: &str, target: &str, token: &str, body: &Value) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nX-Auth-Token: {token}\r\n\
         OpenStack-API-Version: compute 2.96\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn json_of(answer: &str) -> Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

async fn login(at: SocketAddr) -> String {
    let answer = call(at, "POST", "/identity/v3/auth/tokens", "", &password("admin", "admin")).await;
    let name = "x-subject-token: ";
    answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

#[tokio::test]
async fn a_client_finds_all_services_through_the_catalog() {
    let at = start().await;
    let answer = call(at, "POST", "/identity/v3/auth/tokens", "", &password("admin", "admin")).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let body = json_of(&answer);
    for kind in ["compute", "placement", "image", "network", "identity"] {
        let service = body["token"]["catalog"].as_array().unwrap().iter().find(|one| one["type"] == kind).unwrap();
        let url = service["endpoints"][0]["url"].as_str().unwrap();
        let target = url.strip_prefix(&format!("http://{at}")).unwrap();
        let answer = call(at, "GET", target, "", &Value::Null).await;
        assert!(answer.starts_with("HTTP/1.1 2") || answer.starts_with("HTTP/1.1 300"), "{kind}: {answer}");
    }
}

#[tokio::test]
async fn faults_are_set_over_http_and_the_record_is_read_there() {
    let at = start().await;
    let token = login(at).await;
    let fault = json!({"kind": "error", "status": 503, "retry_after_s": 1, "path": "/servers", "count": 1});
    assert!(call(at, "POST", "/_sim/faults", "", &fault).await.starts_with("HTTP/1.1 201"));
    let answer = call(at, "GET", "/compute/v2.1/servers", &token, &Value::Null).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    assert!(
        call(at, "POST", "/_sim/faults", "", &json!({"kind": "lost_answer", "path": "/servers", "count": 1}))
            .await
            .contains(" 201 ")
    );
    let answer = call(at, "GET", "/compute/v2.1/servers", &token, &Value::Null).await;
    assert_eq!(answer, "", "the connection ends without an answer");
    assert!(call(at, "POST", "/_sim/faults", "", &json!({"kind": "host_down", "host": "cmp1"})).await.contains(" 200 "));
    assert!(call(at, "POST", "/_sim/faults", "", &json!({"kind": "host_down", "host": "nowhere"})).await.contains(" 404 "));
    assert!(call(at, "POST", "/_sim/faults", "", &json!({"kind": "no such thing"})).await.contains(" 400 "));
    assert!(call(at, "POST", "/_sim/faults", "", &json!({"kind": "expire_tokens"})).await.contains(" 200 "));
    assert!(call(at, "GET", "/compute/v2.1/servers", &token, &Value::Null).await.contains(" 401 "));
    let set = json_of(&call(at, "GET", "/_sim/faults", "", &Value::Null).await);
    assert_eq!((set["faults"][0]["struck"].as_u64(), set["faults"][1]["struck"].as_u64()), (Some(1), Some(1)));
    assert!(call(at, "DELETE", "/_sim/faults", "", &Value::Null).await.contains(" 204 "));
    let answer = call(at, "GET", "/_sim/record?from=2", "", &Value::Null).await;
    let lines: Vec<Value> =
        answer.split("\r\n\r\n").nth(1).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["n"], 2);
    assert!(lines.iter().any(|line| line["changes"][0]["what"] == "host.down"));
    let state = json_of(&call(at, "GET", "/_sim/state", "", &Value::Null).await);
    assert_eq!(state["hosts"]["cmp1"]["alive"], false);
}

#[tokio::test]
async fn a_hanging_call_keeps_its_connection_and_the_others_go_on() {
    let at = start().await;
    let token = login(at).await;
    assert!(
        call(at, "POST", "/_sim/faults", "", &json!({"kind": "hang", "path": "/servers", "count": 1})).await.contains(" 201 ")
    );
    let hanging = tokio::spawn(async move { call(at, "GET", "/compute/v2.1/servers", "", &Value::Null).await });
    // Once it stands in the record it has been taken up.
    loop {
        if call(at, "GET", "/_sim/record", "", &Value::Null).await.contains("\"fault\":\"hang") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(call(at, "GET", "/compute/v2.1/servers", &token, &Value::Null).await.contains(" 200 "));
    assert!(!hanging.is_finished());
    hanging.abort();
}
