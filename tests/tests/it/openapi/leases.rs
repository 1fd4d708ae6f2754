//! What a session does with leases of each kind.

use reqwest::Method;
use serde_json::{Value, json};

use super::document::Session;

pub(super) fn instance(more: Value) -> Value {
    let mut instance = json!({"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 1024, "disk_gb": 1, "amount": 1,
        "affinity": null, "resource_properties": ""});
    instance.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    instance
}

pub(super) fn lease(reservation: Value) -> Value {
    json!({"name": "a", "start_date": "2098-01-01 10:00", "end_date": "2098-01-01 12:00", "reservations": [reservation], "events": []})
}

pub(super) async fn a_life(session: &mut Session, host: &str, more: Value) {
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

pub(super) async fn an_offer(session: &mut Session) {
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

pub(super) async fn a_waiting_lease(session: &mut Session) {
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

pub(super) async fn a_preempted_lease(session: &mut Session) {
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

pub(super) async fn an_expiring_lease(session: &mut Session) {
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

pub(super) async fn a_series(session: &mut Session) {
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

pub(super) async fn whole_hosts(session: &mut Session) {
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
