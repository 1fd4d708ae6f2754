//! `docs/openapi.json` is true: the server has exactly its paths, and every answer of a session is of the shape that stands there.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_tests::cloud::http_client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Rig, rig};
use document::{Document, HEADER, Session};
use leases::{a_life, a_preempted_lease, a_series, a_waiting_lease, an_expiring_lease, an_offer, instance, lease, whole_hosts};

mod document;
mod leases;
mod queries;

async fn a_quota(session: &mut Session) {
    let asked = json!({"slots": 0, "vcpus": -1, "period_s": 86_400});
    let (status, set) = session.send(Method::PUT, "/quotas/default", asked).await;
    assert_eq!((status, &set["quota"]["in_force"]), (200, &json!({"slots": 0, "period_s": 86_400})), "{set}");
    assert_eq!((&set["quota"]["set"]["vcpus"], &set["quota"]["used"]), (&json!(-1), &Value::Null), "{set}");
    let asked = lease(instance(json!({})));
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!(status, 403, "{refused}");
    assert!(refused["error_message"].as_str().unwrap().contains("0 would fit"), "{refused}");
    assert_eq!(
        (&refused["offer"]["quota"]["kind"], &refused["offer"]["next_start"]),
        (&json!("slots"), &Value::Null),
        "{refused}"
    );
    let (status, told) = session.send(Method::POST, "/leases/what-if", asked.clone()).await;
    assert_eq!((status, &told["offer"]["quota"]), (403, &refused["offer"]["quota"]), "{told}");
    let mut beyond = asked.clone();
    beyond["ignore_quota"] = json!(true);
    let (status, made) = session.send(Method::POST, "/leases", beyond).await;
    assert_eq!(status, 201, "{made}");
    let (id, project) =
        (made["lease"]["id"].as_str().unwrap().to_owned(), made["lease"]["project_id"].as_str().unwrap().to_owned());
    let grown = json!({"name": "b", "end_date": "2098-01-03 10:00"});
    let (status, refused) = session.send(Method::PUT, &format!("/leases/{id}"), grown).await;
    assert_eq!((status, &refused["offer"]["quota"]["limit"]), (400, &json!(0)), "{refused}");
    let (_, set) = session.send(Method::PUT, &format!("/quotas/{project}"), json!({"vcpus": 900})).await;
    assert_eq!(set["quota"]["set"], json!({"vcpus": 900}));
    let listed = session.get("/quotas?limit=5").await;
    let own = &listed["quotas"][0];
    assert_eq!((&own["project_id"], &own["set"], &own["used"]), (&json!(project), &json!({"vcpus": 900}), &Value::Null));
    assert_eq!(own["in_force"], json!({"slots": 0, "vcpus": 900, "period_s": 86_400}), "with the defaults");
    assert_eq!(session.get(&format!("/quotas?marker={project}")).await, json!({"quotas": []}));
    assert_eq!(session.get("/quotas?set=slots,vcpus&sort_key=project_id&sort_dir=desc").await, listed);
    assert_eq!(session.get("/quotas?set=slots").await, json!({"quotas": []}), "which is the default's");
    let (status, refused) = session.ask(Method::GET, "/quotas?set=slots,rooms", None).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("of slots, vcpus, vcpu_hours"), "{refused}");
    session.send(Method::PUT, &format!("/quotas/{project}"), json!({"vcpus": null})).await;
    assert_eq!(session.get("/quotas").await, json!({"quotas": []}));
    let shown = session.get(&format!("/quotas/{project}")).await;
    assert!(shown["quota"]["used"]["peak"]["slots"].as_u64().unwrap() >= 1, "{shown}");
    assert_eq!(shown["quota"]["set"], json!({}));
    for (asked, field) in [(json!({"slots": -2}), "slots"), (json!({"period_s": 5}), "period_s"), (json!({"rooms": 1}), "rooms")]
    {
        let (status, refused) = session.send(Method::PUT, "/quotas/default", asked).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error_message"].as_str().unwrap().contains(field), "{refused}");
    }
    let (status, gone) =
        session.send(Method::PUT, "/quotas/default", json!({"slots": null, "vcpus": null, "period_s": null})).await;
    assert_eq!((status, &gone["quota"]["set"]), (200, &json!({})), "{gone}");
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{id}"), None).await.0, 204);
}

async fn an_upgrade(session: &mut Session, host: &str) {
    let path = format!("/os-hosts/{host}/upgrade");
    let asked = json!({"start_date": "2098-02-01 10:00", "vcpus": 5000, "memory_mb": null});
    for _ in 0..2 {
        let (status, set) = session.send(Method::PUT, &path, asked.clone()).await;
        let shown = json!({"start_date": "2098-02-01T10:00:00.000000", "vcpus": 5000, "memory_mb": null, "disk_gb": null});
        assert_eq!((status, &set["host"]["upgrade"]), (200, &shown), "{set}");
    }
    let window = "start_date=2098-02-01%2009:00&end_date=2098-02-01%2011:00&steps=5";
    let shown = session.get(&format!("/capacity?{window}&hosts={host}")).await;
    let steps = &shown["capacity"]["steps"];
    let total = shown["capacity"]["total"]["VCPU"].as_u64().unwrap();
    assert_eq!((&steps[0]["added"]["VCPU"], &steps[1]["added"]["VCPU"]), (&json!(0), &json!(5000 - total)), "{shown}");
    for (asked, told) in [
        (json!({"vcpus": 6000}), "start_date"),
        (json!({"start_date": "now", "vcpus": 6000}), "start_date"),
        (json!({"start_date": "2026-01-01 10:00", "vcpus": 6000}), "start"),
        (json!({"start_date": "2098-02-01 10:00"}), "vcpus"),
        (json!({"start_date": "2098-02-01 10:00", "vcpus": 1}), "vcpus"),
        (json!({"start_date": "2098-02-01 10:00", "vcpus": 6000, "end_date": "2098-02-02 10:00"}), "end_date"),
    ] {
        let (status, refused) = session.send(Method::PUT, &path, asked).await;
        assert!(status == 400 && refused["error_message"].as_str().unwrap().contains(told), "{refused}");
    }
    assert_eq!(session.send(Method::PUT, "/os-hosts/999/upgrade", asked).await.0, 404);
    assert_eq!(session.ask(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(session.ask(Method::DELETE, &path, None).await.0, 404);
    assert_eq!(session.get(&format!("/os-hosts/{host}")).await["host"]["upgrade"], json!(null));
}

async fn a_downtime(session: &mut Session, host: &str) {
    let path = format!("/os-hosts/{host}/downtimes");
    let one = format!("{path}/00000000-0000-4000-8000-000000000001");
    assert_eq!(session.get(&path).await, json!({"downtimes": []}));
    let asked = json!({"start_date": "2098-01-01 10:00", "end_date": "2098-01-01 12:00", "vcpus": 1});
    for _ in 0..2 {
        let (status, set) = session.send(Method::PUT, &one, asked.clone()).await;
        let shown = &set["downtimes"][0];
        assert_eq!((status, &shown["vcpus"], &shown["memory_mb"]), (200, &json!(1), &Value::Null), "{set}");
        assert_eq!(shown["end_date"], json!("2098-01-01T12:00:00.000000"), "{set}");
    }
    let listed =
        session.get(&format!("/os-hosts/downtimes?hosts={host}&start_date=2098-01-01%2011:00&sort_key=start_date")).await;
    let shown = &listed["downtimes"][0];
    assert_eq!((&shown["host_id"], &shown["vcpus"]), (&json!(host), &json!(1)), "{listed}");
    let marker = format!("{host}/{}", shown["id"].as_str().unwrap());
    assert_eq!(session.get(&format!("/os-hosts/downtimes?marker={marker}")).await, json!({"downtimes": []}));
    assert_eq!(session.get("/os-hosts/downtimes?end_date=2098-01-01%2010:00").await, json!({"downtimes": []}));
    let id = shown["id"].as_str().unwrap();
    let all = session.get(&path).await;
    assert_eq!(all["downtimes"].as_array().unwrap().len(), 1, "{all}");
    for query in ["start_date=2098-01-01%2011:00", "end_date=2098-01-01%2011:00&sort_key=end_date&sort_dir=desc&limit=5"] {
        assert_eq!(session.get(&format!("{path}?{query}")).await, all, "{query}");
    }
    for query in [format!("marker={id}"), format!("marker={marker}"), "end_date=2098-01-01%2010:00".to_owned()] {
        assert_eq!(session.get(&format!("{path}?{query}")).await, json!({"downtimes": []}), "{query}");
    }
    for (query, told) in [
        ("marker=00000000-0000-4000-8000-000000000002", "is not there (any more)"),
        ("marker=x", "it must be the id of the last downtime of the page before"),
        ("hosts=1", "hosts is unknown; known are end_date, limit"),
    ] {
        let (status, refused) = session.ask(Method::GET, &format!("{path}?{query}"), None).await;
        assert!(status == 400 && refused["error_message"].as_str().unwrap().contains(told), "{query}: {refused}");
    }
    assert_eq!(session.ask(Method::GET, "/os-hosts/999/downtimes?limit=1", None).await.0, 404);
    // What is not said stays, but for the end; another one takes all of the host.
    let (_, set) = session.send(Method::PUT, &one, json!({})).await;
    let shown = &set["downtimes"][0];
    assert_eq!((&shown["start_date"], &shown["vcpus"]), (&json!("2098-01-01T10:00:00.000000"), &json!(1)), "{set}");
    assert_eq!(session.ask(Method::DELETE, &one, None).await.0, 204);
    let (_, set) = session.send(Method::PUT, &one, json!({"start_date": "2098-01-01 10:00"})).await;
    assert_eq!((&set["downtimes"][0]["vcpus"], set["downtimes"].as_array().unwrap().len()), (&Value::Null, 1), "{set}");
    let window = "start_date=2098-01-01%2010:00&end_date=2098-01-01%2012:00";
    let shown = session.get(&format!("/capacity?{window}&hosts={host}")).await;
    let step = &shown["capacity"]["steps"][0];
    assert_eq!((&step["withheld"], &step["available"]["VCPU"]), (&shown["capacity"]["total"], &json!(0)), "{shown}");
    assert_eq!(session.get(&path).await["downtimes"][0]["end_date"], json!("9999-12-31T23:59:59.000000"));
    for (asked, field) in [
        (json!({"vcpus": 50_000}), "vcpus"),
        (json!({"vcpus": 0}), "vcpus"),
        (json!({"memory_mb": "much"}), "memory_mb"),
        (json!({"start_date": "2020-02-01 10:00"}), "Start date"),
        (json!({"rooms": 1}), "rooms"),
    ] {
        let (status, refused) = session.send(Method::PUT, &one, asked).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error_message"].as_str().unwrap().contains(field), "{refused}");
    }
    assert_eq!(session.send(Method::PUT, &format!("{path}/x"), json!({})).await.0, 400);
    assert_eq!(session.send(Method::PUT, &one.replace(&path, "/os-hosts/999/downtimes"), json!({})).await.0, 404);
    assert_eq!(session.ask(Method::DELETE, &one, None).await.0, 204);
    assert_eq!(session.ask(Method::DELETE, &one, None).await.0, 404);
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let Rig { cluster, cloud: _cloud, client: _client } = rig(1).await;
    let url = cluster.nodes()[0].rest_url();
    let mut session = Session { document: Document::read(), client: http_client().unwrap(), url, version: "1.0" };
    let hosts = session.get("/os-hosts").await;
    let host = hosts["hosts"][0]["id"].as_str().unwrap().to_owned();
    let gpu = json!({"gpu": "yes"});
    assert_eq!(session.send(Method::PUT, &format!("/os-hosts/{host}"), gpu).await.1["host"]["gpu"], json!("yes"));
    a_life(&mut session, &host, json!({})).await;
    assert_eq!(session.ask(Method::GET, "/idempotency-keys/x", None).await.0, 404);

    session.version = "1.1";
    session.get("/os-hosts").await;
    let staged = json!({"start_date": "2098-01-01 08:00", "end_date": "2098-01-01 09:00", "park_margin": 600});
    a_life(&mut session, &host, json!({"staging": staged, "on_end": "shelve", "required_traits": [], "pool": "dedicated"})).await;
    an_offer(&mut session).await;
    a_waiting_lease(&mut session).await;
    a_preempted_lease(&mut session).await;
    an_expiring_lease(&mut session).await;
    a_series(&mut session).await;
    whole_hosts(&mut session).await;
    a_quota(&mut session).await;
    a_downtime(&mut session, &host).await;
    an_upgrade(&mut session, &host).await;
    let mut open = lease(instance(json!({})));
    open["latest_start_date"] = json!("2098-01-01 20:00");
    let (_, told) = session.send(Method::POST, "/leases/what-if", open.clone()).await;
    assert_eq!((&told["what_if"]["fits"], &told["what_if"]["start_date"]), (&json!(true), &Value::Null));
    open["reservations"][0]["amount"] = json!(5_000);
    assert_eq!(session.send(Method::POST, "/leases/what-if", open).await.1["what_if"]["fits"], json!(false));
    let window = "start_date=2098-01-01%2010:00&end_date=2098-01-01%2012:00";
    let shown = session.get(&format!("/capacity?{window}&steps=3")).await;
    assert_eq!(shown["capacity"]["steps"][0]["reserved"]["SLOT"], json!(0));
    let shown = session.get(&format!("/capacity/density?{window}&vcpus=1&memory_mb=1024&amount=3")).await;
    assert_eq!(shown["density"]["earliest_start_date"], json!("2098-01-01T10:00:00.000000"));
    let shown = session.get(&format!("/leases/utilisation?{window}&steps=3&status=PENDING")).await;
    assert_eq!(shown["utilisation"]["leases"], json!(0));
    assert_eq!(session.get("/leases?status=PENDING&sort_key=name&limit=5").await["leases"], json!([]));
    assert_eq!(session.get("/os-hosts?sort_key=hypervisor_hostname&limit=1").await["hosts"].as_array().unwrap().len(), 1);
    let key = "00000000-0000-4000-8000-000000000001";
    let valid = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let request = session.client.get(format!("{}/idempotency-keys/{key}", session.url)).header(HEADER, "reservation 1.1");
    let answer = request.header("idempotency-valid-until", valid.to_rfc3339()).send().await.unwrap();
    let (status, body) = (answer.status().as_u16(), answer.json().await.unwrap());
    assert_eq!(status, 200, "{body}");
    session.document.check(&Method::GET, &format!("/v1/idempotency-keys/{key}"), "1.1", None, status, &body);

    session.get(&format!("/os-hosts/{host}")).await;
    assert_eq!(session.ask(Method::DELETE, &format!("/os-hosts/{host}"), None).await.0, 204);
    let (status, again) = session.send(Method::POST, "/os-hosts", json!({"name": "cmp1", "pool": "shared"})).await;
    assert_eq!((status, &again["host"]["pool"]), (201, &json!("shared")));

    // Nothing of the document was left out but the page of versions, which has no `/v1`.
    let root = session.url.trim_end_matches("/v1").to_owned();
    for path in ["/", "/versions"] {
        let answer = session.client.get(format!("{root}{path}")).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json().await.unwrap());
        session.document.check(&Method::GET, path, "1.0", None, status, &body);
    }
    let mut left: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for (_, _, operation) in session.document.operations() {
        let id = operation["operationId"].as_str().unwrap();
        let stated = operation["responses"].as_object().unwrap().keys().filter_map(|status| status.parse().ok());
        let unseen = stated.filter(|status| *status != 401 && !session.document.seen.contains(&(id.to_owned(), *status)));
        left.insert(id, unseen.collect());
    }
    left.retain(|_, statuses| !statuses.is_empty());
    assert!(left.is_empty(), "never seen: {left:?}");
}

/// The server's table of paths names each operation, for the metrics; the document must have those and no other.
#[test]
fn the_document_has_the_paths_of_the_server() {
    let router = include_str!("../../../node/src/edge/rest/routes.rs");
    let named = router.split("named(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let served: BTreeSet<&str> = named.filter(|name| *name != "not_implemented").collect();
    let document = Document::read();
    let all: BTreeSet<&str> =
        document.operations().iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
    let under_v1: BTreeSet<&str> = all.iter().copied().filter(|id| !id.starts_with("versions")).collect();
    assert_eq!(under_v1, served);
    for (path, _, _) in document.operations() {
        assert!(router.contains(&format!("\"{path}\"")), "{path}");
    }
}
