//! `docs/openapi.json` is true: the server has exactly its paths, and every answer of a session is of the shape that stands there.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_tests::cloud::http_client;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Rig, rig};

mod queries;

const HEADER: &str = "openstack-api-version";

/// The document, and what a session showed of it.
struct Document {
    whole: Value,
    /// Operation and status, of each answer.
    seen: BTreeSet<(String, u16)>,
}

impl Document {
    fn read() -> Document {
        let text = include_str!("../../../docs/openapi.json");
        Document { whole: serde_json::from_str(text).unwrap(), seen: BTreeSet::new() }
    }

    /// Path template, method and operation.
    fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let methods = ["get", "post", "put", "delete", "patch"];
        let paths = self.whole["paths"].as_object().unwrap();
        let of = |item: &'_ Value, method: &str| item.get(method).is_some();
        let each = paths.iter().flat_map(|(path, item)| methods.into_iter().map(move |method| (path.as_str(), method, item)));
        each.filter(|(_, method, item)| of(item, method)).map(|(path, method, item)| (path, method, &item[method])).collect()
    }

    /// Follows a reference of the document.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.whole.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// What a schema of the document finds wrong with a value.
    fn problems(&self, schema: &Value, value: &Value) -> Vec<String> {
        let alone = json!({"allOf": [schema], "components": self.whole["components"]});
        let validator = jsonschema::options().should_validate_formats(true).build(&alone).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// The operation that serves a path; a template's part in braces stands for any.
    fn operation(&self, method: &Method, path: &str) -> &Value {
        let fits = |template: &str| {
            let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
            let (template, path) = (parts(template), parts(path));
            let same = |(one, other): (&String, &String)| one == other || one.starts_with('{');
            template.len() == path.len() && template.iter().zip(&path).all(same)
        };
        let method = method.as_str().to_lowercase();
        let mut found: Vec<_> =
            self.operations().into_iter().filter(|(template, of, _)| *of == method && fits(template)).collect();
        // `/os-hosts/allocations` before `/os-hosts/{id}`.
        found.sort_by_key(|(template, _, _)| template.contains('{'));
        found.first().unwrap_or_else(|| panic!("{method} {path} is not in the document")).2
    }

    /// Holds an exchange to the document.
    fn check(&mut self, method: &Method, path: &str, version: &str, sent: Option<&Value>, status: u16, body: &Value) {
        let operation = self.operation(method, path).clone();
        let what = format!("{method} {path} under {version}: {status} {body}");
        let answers = &operation["responses"];
        let answer = answers.get(status.to_string()).unwrap_or(&answers["default"]);
        let schema = self.resolve(answer).pointer("/content/application~1json/schema").cloned();
        match schema {
            Some(schema) => assert_eq!(self.problems(&schema, body), Vec::<String>::new(), "{what}"),
            None => assert_eq!(*body, Value::Null, "{what}"),
        }
        let taken = (200..300).contains(&status);
        if taken {
            assert_eq!(
                self.shown_since(&answer["content"]["application/json"]["schema"], body, version),
                Vec::<String>::new(),
                "{what}"
            );
            if let (Some(sent), Some(schema)) = (sent, operation.pointer("/requestBody/content/application~1json/schema")) {
                assert_eq!(self.problems(schema, sent), Vec::<String>::new(), "taken, so the document must allow it: {sent}");
            }
        }
        self.seen.insert((operation["operationId"].as_str().unwrap().to_owned(), status));
    }

    /// Keys that came with a later microversion than the one that was asked for, and those of the one asked for that are missing.
    fn shown_since(&self, schema: &Value, value: &Value, version: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        let mut wrong = Vec::new();
        if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
            for (key, property) in properties {
                let since = property["x-since"].as_str();
                let there = object.get(key);
                if since.is_some_and(|since| there.is_some() != (since <= version)) {
                    wrong.push(format!("{key} since {since:?}"));
                }
                let shown = there.map(|inner| self.shown_since(property, inner, version));
                wrong.extend(shown.into_iter().flatten());
            }
        }
        for item in value.as_array().into_iter().flatten() {
            wrong.extend(self.shown_since(&schema["items"], item, version));
        }
        wrong
    }
}

/// A caller of the first node that holds each exchange to the document.
struct Session {
    document: Document,
    client: reqwest::Client,
    url: String,
    version: &'static str,
}

impl Session {
    /// `path`: without `/v1`.
    async fn ask(&mut self, method: Method, path: &str, sent: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
        request = request.header(HEADER, format!("reservation {}", self.version));
        if let Some(body) = &sent {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        let without_query = path.split('?').next().unwrap_or_default();
        self.document.check(&method, &format!("/v1{without_query}"), self.version, sent.as_ref(), status, &body);
        (status, body)
    }

    async fn get(&mut self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.1
    }

    async fn send(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.ask(method, path, Some(body)).await
    }
}

fn instance(more: Value) -> Value {
    let mut instance = json!({"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 1,
        "affinity": null, "resource_properties": ""});
    instance.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    instance
}

fn lease(reservation: Value) -> Value {
    json!({"name": "a", "start_date": "2098-01-01 10:00", "end_date": "2098-01-01 12:00", "reservations": [reservation], "events": []})
}

async fn a_life(session: &mut Session, host: &str, more: Value) {
    let (status, made) = session.send(Method::POST, "/leases", lease(instance(more))).await;
    assert_eq!(status, 201, "{made}");
    let id = made["lease"]["id"].as_str().unwrap().to_owned();
    let reservation = made["lease"]["reservations"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(session.get("/leases").await["leases"].as_array().unwrap().len(), 1);
    assert_eq!(session.get(&format!("/leases/{id}")).await["lease"]["id"], json!(id));
    let change = json!({"name": "b", "reservations": [{"id": reservation, "amount": 2}]});
    assert_eq!(session.send(Method::PUT, &format!("/leases/{id}"), change).await.0, 200);
    let (_, listed) = session.ask(Method::GET, &format!("/os-hosts/allocations?lease_id={id}"), None).await;
    assert_eq!(listed["allocations"][0]["reservations"][0]["lease_id"], json!(id));
    assert_eq!(session.get(&format!("/os-hosts/{host}/allocation")).await["allocation"]["resource_id"], json!(host));
    assert_eq!(session.send(Method::POST, "/leases", lease(instance(json!({"amount": 5_000})))).await.0, 409);
    assert_eq!(session.send(Method::POST, "/leases", json!({"name": 5})).await.0, 400);
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{id}"), None).await.0, 204);
    assert_eq!(session.ask(Method::GET, &format!("/leases/{id}"), None).await.0, 404);
}

async fn an_offer(session: &mut Session) {
    let mut asked = lease(instance(json!({})));
    asked["offer"] = json!({"valid_s": 3600});
    let (status, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &made["lease"]["offer"]["claimed_at"]), (201, &Value::Null), "{made}");
    let id = made["lease"]["id"].as_str().unwrap().to_owned();
    assert_eq!(session.get("/leases").await["leases"], json!([]));
    assert_eq!(session.get("/offers").await["offers"][0]["id"], json!(id));
    session.version = "1.0";
    assert_eq!(session.ask(Method::GET, &format!("/leases/{id}"), None).await.0, 404);
    assert_eq!(session.get("/leases").await["leases"], json!([]));
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!(status, 400);
    assert!(refused["error_message"].as_str().unwrap().contains("1.1"), "{refused}");
    session.version = "1.1";
    assert_eq!(session.send(Method::PUT, &format!("/leases/{id}"), json!({"name": "b"})).await.0, 409);
    for _ in 0..2 {
        let (status, claimed) = session.ask(Method::POST, &format!("/leases/{id}/claim"), None).await;
        assert_eq!((status, &claimed["lease"]["status"]), (200, &json!("PENDING")), "{claimed}");
        assert!(claimed["lease"]["offer"]["claimed_at"].is_string(), "{claimed}");
    }
    assert_eq!(session.get("/offers").await["offers"], json!([]));
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{id}"), None).await.0, 204);
    assert_eq!(session.ask(Method::POST, &format!("/leases/{id}/claim"), None).await.0, 404);
    for (offer, field) in [
        (json!({"expires_at": "2098-01-01 10:01"}), "offer.expires_at"),
        (json!({"expires_at": "2020-02-01 10:00"}), "offer.expires_at"),
        (json!({"valid_s": 604_801}), "offer.valid_s"),
        (json!({"valid_s": 0}), "valid_s"),
        (json!({}), "offer"),
        (json!({"valid_s": 1, "expires_at": "2098-01-01 10:00"}), "offer"),
    ] {
        asked["offer"] = offer;
        let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error_message"].as_str().unwrap().contains(field), "{refused}");
    }
}

/// A date so many hours from now.
fn in_hours(hours: i64) -> String {
    (chrono::Utc::now() + chrono::Duration::hours(hours)).format("%Y-%m-%d %H:%M").to_string()
}

async fn a_waiting_lease(session: &mut Session) {
    let mut asked = lease(instance(json!({"amount": 5_000})));
    asked["wait"] = json!({"until": in_hours(5)});
    session.version = "1.0";
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("1.1"), "{refused}");
    session.version = "1.1";
    let (status, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &made["lease"]["status"]), (201, &json!("WAITING")), "{made}");
    assert_eq!(made["lease"]["wait"]["latest_start_date"], Value::Null, "{made}");
    let id = made["lease"]["id"].as_str().unwrap().to_owned();
    assert_eq!(session.get("/leases").await["leases"], json!([]));
    assert_eq!(session.get("/leases?status=WAITING").await["leases"][0]["id"], json!(id));
    assert_eq!(session.send(Method::PUT, &format!("/leases/{id}"), json!({"name": "b"})).await.0, 409);
    session.version = "1.0";
    assert_eq!(session.ask(Method::GET, &format!("/leases/{id}"), None).await.0, 404);
    assert_eq!(session.get("/leases").await["leases"], json!([]));
    session.version = "1.1";
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{id}"), None).await.0, 204);

    // With room it is a lease like any other.
    asked["reservations"][0]["amount"] = json!(1);
    let (_, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((&made["lease"]["status"], &made["lease"]["wait"]), (&json!("PENDING"), &Value::Null), "{made}");
    let id = made["lease"]["id"].as_str().unwrap().to_owned();
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{id}"), None).await.0, 204);
    for (wait, field) in [
        (json!({"until": "2098-01-01 10:01"}), "wait.until"),
        (json!({"until": "2019-02-01 10:00"}), "wait.until"),
        (json!({}), "wait.until"),
        (json!({"until": "now"}), "wait.until"),
        (json!({"for": 3}), "for"),
    ] {
        asked["wait"] = wait;
        let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error_message"].as_str().unwrap().contains(field), "{refused}");
    }
}

async fn a_preempted_lease(session: &mut Session) {
    let mut asked = lease(instance(json!({})));
    asked["preemptible"] = json!(true);
    session.version = "1.0";
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("1.1"), "{refused}");
    session.version = "1.1";
    // All that is there, whatever a host has.
    let (_, told) = session.send(Method::POST, "/leases", lease(instance(json!({"amount": 5_000})))).await;
    let most = told["offer"]["largest_amount"].clone();
    asked["reservations"] = json!([instance(json!({"amount": most}))]);
    let (status, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &made["lease"]["preemptible"], &made["lease"]["priority"]), (201, &json!(true), &json!(0)), "{made}");
    let id = made["lease"]["id"].clone();

    let mut urgent = lease(instance(json!({})));
    urgent["priority"] = json!(2);
    let (status, refused) = session.send(Method::POST, "/leases", urgent.clone()).await;
    assert_eq!((status, &refused["offer"]["preempts"]), (409, &json!(1)), "{refused}");
    assert_eq!(refused["offer"]["preempts_leases"], Value::Null, "whose is not told: {refused}");
    let (_, told) = session.send(Method::POST, "/leases/what-if", urgent.clone()).await;
    assert_eq!((&told["what_if"]["fits"], &told["what_if"]["offer"]["preempts_leases"]), (&json!(false), &json!([id])), "{told}");
    urgent["preempt"] = json!(true);
    let (_, told) = session.send(Method::POST, "/leases/what-if", urgent.clone()).await;
    assert_eq!((&told["what_if"]["preempts"], &told["what_if"]["preempts_leases"]), (&json!(1), &json!([id])), "{told}");
    let (status, made) = session.send(Method::POST, "/leases", urgent.clone()).await;
    assert_eq!((status, &made["lease"]["priority"], &made["lease"]["status"]), (201, &json!(2), &json!("PENDING")), "{made}");

    let path = format!("/leases/{}", id.as_str().unwrap());
    let victim = session.get(&path).await["lease"].clone();
    assert_eq!((&victim["status"], &victim["status_reason"]["code"]), (&json!("ERROR"), &json!("PREEMPTED")), "{victim}");
    assert!(!victim.to_string().contains(made["lease"]["id"].as_str().unwrap()), "who has its room is not told: {victim}");
    session.version = "1.0";
    assert_eq!(session.get(&path).await["lease"]["status"], json!("ERROR"));
    session.version = "1.1";
    assert_eq!(session.send(Method::PUT, &path, json!({"end_date": "2098-01-01 13:00"})).await.0, 400);
    assert_eq!(session.ask(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{}", made["lease"]["id"].as_str().unwrap()), None).await.0, 204);
    for (field, value) in [("priority", json!(10)), ("priority", json!("high")), ("preempt", json!(true))] {
        let mut senseless = lease(instance(json!({})));
        senseless[field] = value;
        let (status, refused) = session.send(Method::POST, "/leases", senseless).await;
        assert!(status == 400 && refused["error_message"].as_str().unwrap().contains(field), "{refused}");
    }
}

async fn an_expiring_lease(session: &mut Session) {
    let mut asked = lease(instance(json!({})));
    asked["expiry_s"] = json!(900);
    session.version = "1.0";
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("1.1"), "{refused}");
    session.version = "1.1";
    let (_, told) = session.send(Method::POST, "/leases/what-if", asked.clone()).await;
    assert_eq!(told["what_if"]["fits"], json!(true), "{told}");
    let (status, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &made["lease"]["expiry_s"], &made["lease"]["expires_at"]), (201, &json!(900), &Value::Null), "{made}");
    assert_eq!(made["lease"]["reservations"][0]["released"], json!(0), "{made}");
    let path = format!("/leases/{}", made["lease"]["id"].as_str().unwrap());
    assert_eq!(session.get(&path).await["lease"], made["lease"]);
    let (status, refused) = session.send(Method::PUT, &path, json!({"expiry_s": 1800})).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("expiry_s"), "{refused}");
    // The answer of 1.0 has nothing of it, or it would not be as the document says.
    session.version = "1.0";
    assert_eq!(session.get(&path).await["lease"]["expiry_s"], Value::Null);
    session.version = "1.1";
    assert_eq!(session.ask(Method::DELETE, &path, None).await.0, 204);

    asked["expiry_s"] = json!(0);
    let (status, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &made["lease"]["expiry_s"]), (201, &Value::Null), "{made}");
    let path = format!("/leases/{}", made["lease"]["id"].as_str().unwrap());
    assert_eq!(session.ask(Method::DELETE, &path, None).await.0, 204);
    for value in [json!(1), json!(59), json!(-1), json!(1.5), json!("900"), json!(true)] {
        asked["expiry_s"] = value.clone();
        for call in ["/leases", "/leases/what-if"] {
            let (status, refused) = session.send(Method::POST, call, asked.clone()).await;
            assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("expiry_s is "), "{refused}");
        }
    }
}

async fn a_series(session: &mut Session) {
    let mut asked = lease(instance(json!({})));
    asked["recurrence"] = json!({"rule": "FREQ=DAILY;COUNT=3", "time_zone": "Europe/Berlin", "mode": "all_or_nothing"});
    session.version = "1.0";
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("1.1"), "{refused}");
    session.version = "1.1";
    let (_, told) = session.send(Method::POST, "/leases/what-if", asked.clone()).await;
    assert_eq!(told["what_if"]["series"]["occurrences"].as_array().unwrap().len(), 3, "{told}");
    let (status, made) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &made["lease"]["occurrence"]), (201, &json!(1)), "{made}");
    assert_eq!(made["series"]["leases"][1]["start_date"], json!("2098-01-02T10:00:00.000000"), "{made}");
    let id = made["series"]["id"].as_str().unwrap().to_owned();
    assert_eq!(made["lease"]["series_id"], json!(id));
    assert_eq!(session.get(&format!("/leases?series_id={id}")).await["leases"].as_array().unwrap().len(), 3);

    // On the second day nothing more fits.
    let mut large = lease(instance(json!({"amount": 5_000})));
    large["start_date"] = json!("2098-01-02 10:00");
    large["end_date"] = json!("2098-01-02 12:00");
    let (_, told) = session.send(Method::POST, "/leases/what-if", large.clone()).await;
    large["reservations"][0]["amount"] = told["what_if"]["offer"]["largest_amount"].clone();
    let (status, large) = session.send(Method::POST, "/leases", large).await;
    assert_eq!(status, 201, "{large}");
    let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert!(status == 409 && refused.to_string().contains("occurrence 2"), "{refused}");
    asked["recurrence"]["mode"] = json!("best_effort");
    let (status, part) = session.send(Method::POST, "/leases", asked.clone()).await;
    assert_eq!((status, &part["series"]["left_out"][0]["occurrence"]), (201, &json!(2)), "{part}");
    assert_eq!(part["series"]["left_out"][0]["reason"]["code"], json!("no_room"), "{part}");
    for (series, leases) in [(&id, 3), (&part["series"]["id"].as_str().unwrap().to_owned(), 2)] {
        let (status, gone) = session.ask(Method::DELETE, &format!("/series/{series}"), None).await;
        assert_eq!((status, gone["series"]["deleted"].as_array().unwrap().len()), (200, leases), "{gone}");
        assert_eq!(session.ask(Method::DELETE, &format!("/series/{series}"), None).await.0, 404);
    }
    assert_eq!(session.ask(Method::DELETE, "/series/x", None).await.0, 404);
    let large = large["lease"]["id"].as_str().unwrap();
    assert_eq!(session.ask(Method::DELETE, &format!("/leases/{large}"), None).await.0, 204);
    for (recurrence, field) in [
        (json!({"rule": "FREQ=DAILY"}), "recurrence.rule"),
        (json!({"rule": "FREQ=DAILY;COUNT=2", "time_zone": "Nowhere"}), "recurrence.time_zone"),
        (json!({"rule": "FREQ=DAILY;COUNT=2", "mode": "maybe"}), "mode"),
        (json!({}), "recurrence.rule"),
        (json!({"rule": "FREQ=YEARLY;BYMONTH=5;COUNT=2"}), "start"),
    ] {
        asked["recurrence"] = recurrence;
        let (status, refused) = session.send(Method::POST, "/leases", asked.clone()).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused["error_message"].as_str().unwrap().contains(field), "{refused}");
    }
}

async fn whole_hosts(session: &mut Session) {
    let hosts = |min: u32, max: u32| json!({"resource_type": "physical:host", "min": min, "max": max, "resource_properties": ""});
    let (status, refused) = session.send(Method::POST, "/leases", lease(hosts(1, 2))).await;
    assert!(status == 501 && refused["error_message"].as_str().unwrap().contains("/v1/leases/what-if"), "{refused}");
    let (_, told) = session.send(Method::POST, "/leases/what-if", lease(hosts(1, 9))).await;
    let given = &told["what_if"]["reservations"][0];
    assert_eq!((&told["what_if"]["fits"], &given["host_ids"]), (&json!(true), &json!(["1"])), "{told}");
    let (_, told) = session.send(Method::POST, "/leases/what-if", lease(hosts(2, 9))).await;
    let offer = &told["what_if"]["offer"];
    assert_eq!(
        (&offer["short_by"], &offer["largest_amount"], &offer["next_start"]),
        (&json!(1), &json!(1), &Value::Null),
        "{told}"
    );
    let mut daily = lease(hosts(1, 1));
    daily["end_date"] = json!("2098-01-02 12:00");
    daily["recurrence"] = json!({"rule": "FREQ=DAILY;COUNT=3", "mode": "best_effort"});
    let (_, told) = session.send(Method::POST, "/leases/what-if", daily).await;
    let series = &told["what_if"]["series"];
    assert_eq!(series["occurrences"][1]["reservations"][0]["hosts"], json!(1), "{told}");
    assert_eq!(series["left_out"][0]["occurrence"], json!(2), "each overlaps the next one: {told}");
    let mut mixed = lease(hosts(1, 1));
    mixed["reservations"].as_array_mut().unwrap().push(instance(json!({})));
    let (status, refused) = session.send(Method::POST, "/leases/what-if", mixed).await;
    assert!(status == 400 && refused["error_message"].as_str().unwrap().contains("ask about two leases"), "{refused}");
}

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
