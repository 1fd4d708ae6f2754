//! The REST edge over TCP, on a cluster of one node without a cloud: statuses, shapes and headers as Blazar has them
//! (blazar-api §1–§3, §6), and what bad input and bad days look like from outside.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]

mod capacity;
mod policy;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leasehold_ledger::model::{NodeId, ProjectId, UserId};
use leasehold_node::config::{ApiSection, Secret};
use leasehold_node::edge::auth::{AuthError, Authenticator};
use leasehold_node::edge::rest;
use leasehold_node::operations::{Actor, Bounds, Operations};
use leasehold_node::raft::{Member, RaftConfig, RaftHandle, RaftNode, Timing};
use leasehold_node::seams::{HttpOptions, Seams};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Knows the tokens `<project>/<role>`; `down` is answered as if Keystone were.
struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, token: Option<&str>) -> Result<Actor, AuthError> {
        let token = token.ok_or(AuthError::Missing)?;
        if token == "down" {
            return Err(AuthError::Unavailable("Keystone answered 503".into()));
        }
        let (project, role) = token.split_once('/').ok_or(AuthError::Invalid)?;
        Ok(Actor {
            user_id: UserId("user".into()),
            project_id: ProjectId(project.into()),
            roles: BTreeSet::from([role.to_owned()]),
        })
    }

    fn for_cloud(&self, _: Option<&str>) -> Option<Secret> {
        None
    }
}

/// One node that serves REST.
struct Edge {
    address: SocketAddr,
    raft: RaftHandle,
    stop: CancellationToken,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Edge {
    /// Started; without a leader unless `initialised`.
    async fn start(initialised: bool) -> Edge {
        Edge::limited(initialised, ApiSection::default()).await
    }

    /// With other limits.
    async fn limited(initialised: bool, api: ApiSection) -> Edge {
        let folder = tempfile::tempdir().unwrap();
        let seams = Seams::system(&HttpOptions::default()).unwrap();
        let config = RaftConfig {
            node_id: NodeId(1),
            cluster_id: None,
            data_dir: folder.path().to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            member: Member::default(),
            tls: None,
            timing: Timing::default(),
        };
        let raft = RaftNode::start(config, &seams).await.unwrap();
        if initialised {
            raft.initialise().await.unwrap();
        }
        let operations = Operations::new(raft.clone(), None, NodeId(1), Bounds::default(), seams.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = rest::serve(listener, None, operations, Arc::new(Tokens), api, seams.clone(), stop.clone());
        drop(seams.spawner.spawn("rest", serving));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Edge { address, raft, stop, client, _folder: folder }
    }

    async fn end(self) {
        self.stop.cancel();
        self.raft.stop().await;
    }

    fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.ask_as("p1/member", method, path)
    }

    fn ask_as(&self, token: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.address)).header("x-auth-token", token)
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.ask("GET", path)).await
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        Answer::of(self.ask(method, path).json(&body)).await
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status, headers, body }
    }

    fn message(&self) -> (u16, &str) {
        (self.status, self.body["error_message"].as_str().unwrap_or_default())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn lease(keys: Value) -> Value {
    let mut lease =
        json!({"name": "a", "start_date": "2100-01-01 10:00", "end_date": "2100-01-01 12:00", "reservations": [], "events": []});
    lease.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    lease
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_reaches_an_operation_is_answered_as_blazar_does() {
    let edge = Edge::start(false).await;

    let nobody = Answer::of(edge.client.get(format!("http://{}/v1/leases", edge.address))).await;
    assert_eq!((nobody.status, &nobody.body["error"]["code"]), (401, &json!(401)));
    assert!(nobody.header("www-authenticate").is_some() && nobody.header("x-openstack-request-id").unwrap().starts_with("req-"));
    let stranger = Answer::of(edge.ask_as("x", "GET", "/")).await;
    assert_eq!(stranger.status, 401);
    let down = Answer::of(edge.ask_as("down", "GET", "/v1/leases")).await;
    assert_eq!(down.message(), (503, "tokens cannot be checked now: Keystone answered 503"));

    for path in ["/", "/versions"] {
        let versions = edge.get(path).await;
        assert_eq!(versions.status, 300);
        let href = format!("http://{}/v1", edge.address);
        assert_eq!(
            versions.body,
            json!({"versions": [{"id": "v1.0", "status": "CURRENT", "links": [{"href": href, "rel": "self"}],
            "min_version": "1.0", "max_version": "1.1"}]})
        );
    }
    for path in ["/v1", "/v1/", "/v1/nothing-here", "/v1/leases/", "/v2/leases", "/v1/leases/a/b"] {
        let lost = edge.get(path).await;
        assert_eq!((lost.status, &lost.body["error"]), (404, &json!(404)), "{path}");
        assert!(lost.header("openstack-api-version").is_none(), "{path}");
    }
    let method = edge.send("PATCH", "/v1/leases", json!({})).await;
    assert_eq!((method.status, &method.body["error"]), (405, &json!(405)));
    for path in ["/v1/plugins", "/v1/floatingips", "/v1/floatingips/x", "/v1/os-hosts/properties", "/v1/os-hosts/properties/gpu"]
    {
        let later = edge.get(path).await;
        assert_eq!((later.status, &later.body["error_code"]), (501, &json!(501)), "{path}");
    }

    let unknown = edge.get("/v1/leases/no-such-lease").await;
    assert_eq!(unknown.message(), (404, "Object with {'lease_id': 'no-such-lease'} not found"));
    assert_eq!(unknown.header("openstack-api-version"), Some("reservation 1.0"));
    assert_eq!(unknown.header("vary"), Some("OpenStack-API-Version"));
    let newer = Answer::of(edge.ask("GET", "/v1/leases/x.json").header("openstack-api-version", "reservation 1.1")).await;
    assert_eq!(newer.message(), (404, "Object with {'lease_id': 'x'} not found"));
    assert_eq!(newer.header("openstack-api-version"), Some("reservation 1.1"));
    let future = Answer::of(edge.ask("GET", "/v1/leases").header("openstack-api-version", "reservation 1.9")).await;
    assert_eq!(future.message(), (406, "Version 1.9 is not supported by the API. Minimum is 1.0 and maximum is 1.1."));
    assert_eq!(edge.get("/v1/os-hosts/cmp1").await.message(), (404, "Object with {'host_id': 'cmp1'} not found"));
    assert_eq!(edge.get("/v1/idempotency-keys/x").await.status, 404);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_with_a_text_and_the_connection_lives_on() {
    let edge = Edge::start(false).await;
    let post = || edge.ask("POST", "/v1/leases");
    let text = Answer::of(post().header("content-type", "text/plain").body("x")).await;
    assert_eq!(text.message(), (400, "Content type 'text/plain' isn't supported"));
    let broken = Answer::of(post().header("content-type", "application/json; charset=utf-8").body("{nope")).await;
    assert!(broken.status == 400 && broken.message().1.starts_with("the body is not JSON"), "{broken:?}");
    assert_eq!(Answer::of(post().body("")).await.message(), (400, "the body is empty; it must be JSON"));
    let deep = Answer::of(post().body("[".repeat(100_000))).await;
    assert!(deep.status == 400 && deep.message().1.contains("recursion limit"), "{deep:?}");
    let giant = Answer::of(post().body(vec![b' '; 10 * 1024 * 1024])).await;
    assert_eq!(giant.message(), (413, "the body is longer than 1048576 bytes, the longest that is read"));
    let name = edge.send("POST", "/v1/leases", lease(json!({"name": "x".repeat(10_000)}))).await;
    assert_eq!(name.message(), (400, "name has 10000 characters; it must have 1 to 80"));
    assert_eq!(edge.send("POST", "/v1/leases", json!({})).await.message(), (400, "Missing parameter name, start_date, end_date"));
    let keyed = Answer::of(post().header("idempotency-key", "7").json(&lease(json!({})))).await;
    assert_eq!(keyed.message(), (400, "Idempotency-Key is \"7\"; it must be a UUID"));
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_leader_says_so_and_may_be_asked_again() {
    let edge = Edge::start(false).await;
    let (read, write) = tokio::join!(edge.get("/v1/leases"), edge.send("POST", "/v1/leases", lease(json!({}))));
    for answer in [read, write] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
        assert!(answer.message().1.contains("leader"), "{answer:?}");
    }
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lives_through_rest() {
    let edge = Edge::start(true).await;
    let made = edge.send("POST", "/v1/leases", lease(json!({}))).await;
    assert_eq!((made.status, &made.body["lease"]["status"]), (201, &json!("PENDING")), "{made:?}");
    assert!(made.header("x-leasehold-ledger-index").is_some());
    let path = format!("/v1/leases/{}", made.body["lease"]["id"].as_str().unwrap());
    assert_eq!(edge.get(&path).await.body, made.body);
    assert_eq!(edge.get("/v1/leases").await.body["leases"], json!([made.body["lease"]]));

    let foreign = Answer::of(edge.ask_as("p2/member", "GET", &path)).await;
    assert_eq!(foreign.message(), (403, "Policy doesn't allow blazar:leases:get to be performed"));

    let renamed = edge.send("PUT", &path, json!({"name": "b", "end_date": "2100-01-01 14:00"})).await;
    assert_eq!((renamed.status, &renamed.body["lease"]["name"]), (200, &json!("b")), "{renamed:?}");
    assert_eq!(renamed.body["lease"]["end_date"], "2100-01-01T14:00:00.000000");
    assert_eq!(edge.send("PUT", &path, json!({})).await.body, renamed.body);
    let bad = edge.send("PUT", &path, json!({"end_date": "2099-01-01 00:00"})).await;
    assert_eq!(bad.status, 400, "{bad:?}");

    let full = json!({"reservations": [{"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1, "disk_gb": 1, "amount": 1,
        "affinity": null, "resource_properties": ""}]});
    let full = edge.send("POST", "/v1/leases", lease(full)).await;
    assert!(full.status == 409 && full.message().1.starts_with("Not enough hosts available"), "{full:?}");
    assert_eq!(full.body["offer"]["largest_amount"], 0);

    let gone = edge.send("DELETE", &path, Value::Null).await;
    assert_eq!((gone.status, gone.body), (204, Value::Null));
    assert_eq!(edge.get(&path).await.status, 404);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_a_key_makes_one_lease() {
    let edge = Edge::start(true).await;
    let key = edge_key();
    let create = |name: &str| edge.ask("POST", "/v1/leases").header("idempotency-key", &key).json(&lease(json!({"name": name})));
    let first = Answer::of(create("once")).await;
    let again = Answer::of(create("once")).await;
    assert_eq!((first.status, again.status), (201, 201), "{first:?} {again:?}");
    assert_eq!(first.body["lease"]["id"], again.body["lease"]["id"]);
    assert_eq!(Answer::of(create("other")).await.status, 409);
    assert_eq!(edge.get("/v1/leases").await.body["leases"].as_array().unwrap().len(), 1);
    let look = edge.ask("GET", &format!("/v1/idempotency-keys/{key}")).header("openstack-api-version", "reservation 1.1");
    let known = Answer::of(look).await;
    assert_eq!(known.body["idempotency_key"]["state"], "applied", "{known:?}");
    assert_eq!(known.body["idempotency_key"]["lease_id"], first.body["lease"]["id"]);
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_change_of_the_start_with_a_key_is_answered_as_the_first_time() {
    let edge = Edge::start(true).await;
    let made = edge.send("POST", "/v1/leases", lease(json!({}))).await;
    let path = format!("/v1/leases/{}", made.body["lease"]["id"].as_str().unwrap());
    let key = edge_key();
    let body = json!({"start_date": "2100-01-01 11:00", "name": "moved"});
    let change = || Answer::of(edge.ask("PUT", &path).header("idempotency-key", &key).json(&body));
    let (first, again) = (change().await, change().await);
    assert_eq!((first.status, again.status), (200, 200), "{first:?} {again:?}");
    assert_eq!(again.body, first.body);
    assert_eq!(again.body["lease"]["start_date"], "2100-01-01T11:00:00.000000");
    edge.end().await;
}

/// A UUIDv7 of now.
fn edge_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_leave_room_for_the_next() {
    let edge = Edge::start(false).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(TcpStream::connect(edge.address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), edge.get("/versions")).await.unwrap();
    assert_eq!(answer.status, 300);
    edge.end().await;
}
