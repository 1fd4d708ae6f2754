//! How leases are shown.

use super::*;

#[test]
fn a_lease_is_shown_exactly_as_blazar_shows_it() {
    let event = |n: u128, kind: &str, time: &str| {
        json!({"id": id(n).to_string(), "lease_id": id(1).to_string(), "event_type": kind, "time": time, "status": "UNDONE",
               "created_at": "2026-11-22 10:36:30", "updated_at": null})
    };
    let golden = json!({
        "id": id(1).to_string(), "name": "il", "user_id": "u1", "project_id": "p2",
        "start_date": "2026-11-22T10:36:00.000000", "end_date": "2026-11-22T13:36:00.000000",
        "trust_id": null, "status": "PENDING", "degraded": false,
        "created_at": "2026-11-22 10:36:30", "updated_at": "2026-11-22 10:36:30",
        "reservations": [{
            "id": id(2).to_string(), "lease_id": id(1).to_string(), "resource_id": id(3).to_string(),
            "resource_type": "virtual:instance", "status": "pending", "missing_resources": false, "resources_changed": false,
            "created_at": "2026-11-22 10:36:30", "updated_at": "2026-11-22 10:36:30",
            "vcpus": 2, "memory_mb": 1024, "disk_gb": 10, "amount": 3, "affinity": false,
            "resource_properties": "[\">=\", \"$vcpus\", \"2\"]", "flavor_id": id(2).to_string(), "aggregate_id": null,
            "server_group_id": id(4).to_string(),
        }],
        "events": [
            event(5, "start_lease", "2026-11-22T10:36:00.000000"),
            event(6, "end_lease", "2026-11-22T13:36:00.000000"),
            event(7, "before_end_lease", "2026-11-22T12:36:00.000000"),
        ],
    });
    assert_eq!(lease(&sample(), V1_0), golden);
}

/// Keys of the recorded answer of Blazar itself (virtual:instance, `POST /v1/leases`).
#[test]
fn no_key_that_blazar_shows_is_missing() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../../../../tests/data/blazar-lease-create-instance.json")).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let (ours, theirs) = (lease(&sample(), V1_0), &recorded["lease"]);
    assert_eq!(keys(&ours), keys(theirs));
    assert_eq!(keys(&ours["reservations"][0]), keys(&theirs["reservations"][0]));
    assert_eq!(keys(&ours["events"][0]), keys(&theirs["events"][0]));
    for (key, value) in theirs.as_object().unwrap() {
        let same_kind = std::mem::discriminant(value) == std::mem::discriminant(&ours[key]);
        assert!(same_kind || key == "trust_id", "{key}: {value} was {}", ours[key]);
    }
}

#[test]
fn under_1_1_a_lease_shows_more() {
    let mut open = sample();
    open.end = Seconds::OPEN_END;
    let shown = lease(&open, V1_1);
    assert_eq!(shown["end_date"], "9999-12-31T23:59:59.000000");
    assert_eq!(shown["status_reason"], json!({"code": "LATE", "text": "late"}));
    let reservation = &shown["reservations"][0];
    assert_eq!(
        reservation["staging"],
        json!({"start_date": "2026-11-22T09:36:00.000000", "end_date": "2026-11-22T10:06:00.000000", "park_margin": 600})
    );
    assert_eq!(
        (&reservation["on_end"], &reservation["zone"], &reservation["pool"], &reservation["stage"]),
        (&json!("shelve"), &json!("nova"), &Value::Null, &json!("booked"))
    );
}

#[test]
fn a_reservation_that_adopts_servers_names_them_and_their_flavor() {
    let plain = sample();
    let mut adopting = plain.clone();
    let (flavor_of, server) = (ReservationId(Uuid::from_u128(77)), Uuid::parse_str(SERVER).unwrap());
    adopting.reservations[0].adoption =
        Some(Box::new(Adoption { flavor_of, anchor: Anchor::Memory, servers: [server].into(), opened: false }));
    let shown = &lease(&adopting, V1_1)["reservations"][0];
    assert_eq!((&shown["flavor_id"], &shown["servers"]), (&json!(flavor_of.to_string()), &json!([SERVER])));
    assert_eq!(lease(&adopting, V1_0)["reservations"][0]["flavor_id"], json!(flavor_of.to_string()));
    assert_eq!(lease(&plain, V1_1)["reservations"][0]["servers"], json!([]));
    let given = |servers: Value| json!({"reservations": [{"id": shown["id"], "servers": servers}]});
    assert_eq!(updated(given(json!([SERVER])), V1_1, &adopting).unwrap(), None);
    let (status, text) = refused(updated(given(json!([])), V1_1, &adopting));
    assert!(status == 409 && text.contains("when a lease is created"), "{text}");
    let (status, text) = refused(updated(given(json!([SERVER])), V1_0, &adopting));
    assert!(status == 400 && text.contains("1.1"), "{text}");
}

#[test]
fn under_1_1_a_lease_says_when_it_expires_and_what_was_given_back() {
    let plain = sample();
    let shown = lease(&plain, V1_1);
    assert_eq!((&shown["expiry_s"], &shown["expires_at"]), (&Value::Null, &Value::Null));
    assert_eq!(shown["reservations"][0]["released"], json!(0));
    let booked = Lease { expiry_s: Some(900), ..plain.clone() };
    let shown = lease(&booked, V1_1);
    assert_eq!((&shown["expiry_s"], &shown["expires_at"]), (&json!(900), &Value::Null), "it is counted from when it is active");

    let mut counted = booked;
    let start = counted.events[0].clone();
    counted.events.push(Event { id: EventId(id(10)), kind: EventKind::Expiry, time: at("2026-11-22 10:51:02"), ..start });
    counted.reservations[0].expiry = Some(Expiry::Counted { at: stamp("2026-11-22 10:51:03"), released: 2 });
    let shown = lease(&counted, V1_1);
    assert_eq!(shown["expires_at"], json!("2026-11-22T10:51:02.000000"));
    assert_eq!(shown["reservations"][0]["released"], json!(2));
    assert_eq!(shown["events"], lease(&plain, V1_1)["events"], "Blazar has no such event");
    counted.reservations[0].expiry = Some(Expiry::Counting);
    assert_eq!(lease(&counted, V1_1)["reservations"][0]["released"], json!(0), "not yet");
    assert_eq!(lease(&counted, V1_0).to_string(), lease(&plain, V1_0).to_string(), "1.0 shows nothing of it, byte by byte");
}
