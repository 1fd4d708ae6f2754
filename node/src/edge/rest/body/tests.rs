#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use leasehold_ledger::command::{BeforeEndWish, EndWish, LeaseChange, LeaseWish, StagingWish, StartWish};
use leasehold_ledger::model::{
    Adoption, Anchor, Comparison, Host, HostDescription, HostId, InstanceWish, Lease, LeaseId, LeaseStatus, Observation, OnEnd,
    PoolKind, ProjectId, Requirement, ReservationId, ReservationStatus, ResourceWish, Seconds, Timestamp, UserId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion::{self, V1_0, V1_1};
use crate::operations::{Actor, HostAllocation, HostRequest, KeyState, ReservedInterval};

fn actor() -> Actor {
    Actor { user_id: UserId("u1".into()), project_id: ProjectId("p1".into()), roles: BTreeSet::new() }
}

fn at(text: &str) -> Seconds {
    let date = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
    Seconds::from_unix_s(date.and_utc().timestamp()).unwrap()
}

fn stamp(text: &str) -> Timestamp {
    at(text).timestamp()
}

/// A request as `openstack reservation lease create` sends it, with `keys` of the lease and of its reservation replaced
/// (or removed, by null under the key `-key`).
fn request(lease_keys: Value, reservation_keys: Value) -> Value {
    let mut reservation = json!({"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 512, "disk_gb": 1, "amount": 1,
        "affinity": false, "resource_properties": ""});
    change(&mut reservation, &reservation_keys);
    let mut lease = json!({"name": "labcheck-x", "start_date": "2026-12-22 11:38", "end_date": "2026-12-22 12:38",
        "before_end_date": null, "reservations": [reservation], "events": []});
    change(&mut lease, &lease_keys);
    lease
}

fn change(object: &mut Value, keys: &Value) {
    let object = object.as_object_mut().unwrap();
    for (key, value) in keys.as_object().unwrap() {
        match key.strip_prefix('-') {
            Some(removed) => drop(object.remove(removed)),
            None => drop(object.insert(key.clone(), value.clone())),
        }
    }
}

fn created(body: &Value, version: Microversion) -> Result<LeaseWish, Problem> {
    create(body, version, &actor(), 60)
}

/// A server of Nova.
const SERVER: &str = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";

fn refused<T: std::fmt::Debug>(result: Result<T, Problem>) -> (u16, String) {
    let problem = result.unwrap_err();
    (problem.row.http.as_u16(), problem.message)
}

#[test]
fn a_request_of_the_command_line_becomes_a_wish() {
    let wish = created(&request(json!({}), json!({"amount": "3", "affinity": "None"})), V1_0).unwrap();
    let instance = InstanceWish {
        vcpus: 1,
        memory_mb: 512,
        disk_gb: 1,
        amount: 3,
        affinity: None,
        zone: None,
        pool: None,
        required_traits: BTreeSet::new(),
        forbidden_traits: BTreeSet::new(),
        requirements: vec![],
        resource_properties: String::new(),
    };
    assert_eq!(wish.reservations.len(), 1);
    assert_eq!(wish.reservations[0].resource, ResourceWish::Instance(instance));
    assert_eq!((wish.reservations[0].staging, wish.reservations[0].on_end), (None, OnEnd::Delete));
    assert_eq!((wish.start, wish.end), (StartWish::At(at("2026-12-22 11:38:00")), at("2026-12-22 12:38:00")));
    assert_eq!(wish.before_end, BeforeEndWish::SecondsBefore(3600));
    assert_eq!((wish.name.as_str(), wish.project_id.0.as_str(), wish.user_id.0.as_str()), ("labcheck-x", "p1", "u1"));
    assert_eq!(create(&request(json!({}), json!({})), V1_0, &actor(), 0).unwrap().before_end, BeforeEndWish::Never);
}

#[test]
fn what_blazar_takes_beside_the_rule_is_taken() {
    for body in [
        request(json!({"-reservations": null}), json!({})),
        request(json!({"reservations": []}), json!({})),
        request(json!({"colour": "blue", "id": "x", "degraded": true}), json!({})),
        request(json!({}), json!({"colour": "blue"})),
        request(json!({"events": [{"event_type": "x"}]}), json!({})),
        request(json!({"start_date": "now"}), json!({"affinity": true})),
        request(json!({"start_date": "2026-1-2 3:4"}), json!({"affinity": "true"})),
        request(json!({"end_date": "9999-12-31 23:59"}), json!({"affinity": null})),
    ] {
        created(&body, V1_0).unwrap();
    }
    assert_eq!(created(&request(json!({"start_date": "now"}), json!({})), V1_0).unwrap().start, StartWish::Now);
    assert_eq!(created(&request(json!({"end_date": "9999-12-31 23:59"}), json!({})), V1_0).unwrap().end, Seconds::OPEN_END);
    let warned = created(&request(json!({"before_end_date": "2026-12-22 12:00"}), json!({})), V1_0).unwrap();
    assert_eq!(warned.before_end, BeforeEndWish::At(at("2026-12-22 12:00:00")));
}

/// Texts of blazar-api §6 and §7 and of the recorded exchanges, or ours where Blazar answers 500.
#[test]
fn every_bad_lease_is_refused_with_a_text_that_helps() {
    let long = "x".repeat(10_000);
    let none = || json!({});
    let cases: Vec<(Value, u16, &str)> = vec![
        (json!({}), 400, "Missing parameter name, start_date, end_date"),
        (json!([]), 400, "the body is []; it must be a JSON object"),
        (json!("lease"), 400, "the body is \"lease\"; it must be a JSON object"),
        (request(json!({"-name": 0}), none()), 400, "Missing parameter name"),
        (request(json!({"-start_date": 0}), none()), 400, "Missing parameter start_date"),
        (request(json!({"-end_date": 0}), none()), 400, "Missing parameter end_date"),
        (
            request(json!({"end_date": null}), none()),
            400,
            "Missing parameter end_date: a lease without end needs microversion 1.1 (header OpenStack-API-Version: reservation 1.1)",
        ),
        (request(json!({"name": null}), none()), 400, "Missing parameter name"),
        (request(json!({"name": 7}), none()), 400, "name is 7; it must be a string"),
        (request(json!({"name": ""}), none()), 400, "name has 0 characters; it must have 1 to 80"),
        (request(json!({"name": long}), none()), 400, "name has 10000 characters; it must have 1 to 80"),
        (request(json!({"name": "a\u{0}b"}), none()), 400, "name holds control characters; it must hold none"),
        (request(json!({"start_date": "soon"}), none()), 400, "soon is an invalid date. Required format: %Y-%m-%d %H:%M"),
        (
            request(json!({"start_date": "Bogus-date 13:13"}), none()),
            400,
            "Bogus-date 13:13 is an invalid date. Required format: %Y-%m-%d %H:%M",
        ),
        (
            request(json!({"start_date": "2026-12-22 11:38:00"}), none()),
            400,
            "2026-12-22 11:38:00 is an invalid date. Required format: %Y-%m-%d %H:%M",
        ),
        (
            request(json!({"start_date": "2031-01-01T00:00"}), none()),
            400,
            "2031-01-01T00:00 is an invalid date. Required format: %Y-%m-%d %H:%M",
        ),
        (
            request(json!({"start_date": "2026-02-30 11:38"}), none()),
            400,
            "2026-02-30 11:38 is an invalid date. Required format: %Y-%m-%d %H:%M",
        ),
        (
            request(json!({"start_date": "+2026-12-22 11:38"}), none()),
            400,
            "+2026-12-22 11:38 is an invalid date. Required format: %Y-%m-%d %H:%M",
        ),
        (
            request(json!({"start_date": 1_766_000_000}), none()),
            400,
            "1766000000 is an invalid date. Required format: %Y-%m-%d %H:%M",
        ),
        (request(json!({"start_date": {"a": 1}}), none()), 400, "{\"a\":1} is an invalid date. Required format: %Y-%m-%d %H:%M"),
        (request(json!({"start_date": "2019-01-01 00:00"}), none()), 400, "Start date must be later than current date"),
        (request(json!({"end_date": "2019-01-01 00:00"}), none()), 400, "End date must be later than start date."),
        (request(json!({"end_date": "now"}), none()), 400, "End date must be later than start date."),
        (
            request(json!({"end_date": "2150-01-01 00:00"}), none()),
            400,
            "end date lies beyond the calendar, which ends 100 years after 2020-01-01; leave it open instead",
        ),
        (request(json!({"before_end_date": "soon"}), none()), 400, "soon is an invalid date. Required format: %Y-%m-%d %H:%M"),
        (request(json!({"before_end_date": "now"}), none()), 400, "now is an invalid date. Required format: %Y-%m-%d %H:%M"),
        (request(json!({"before_end_date": "1999-01-01 00:00"}), none()), 403, "Datetime is out of lease limits"),
        (request(json!({"reservations": {}}), none()), 400, "reservations is {}; it must be a list of objects"),
        (request(json!({"reservations": [7]}), none()), 400, "reservations[0] is 7; it must be an object"),
        (
            request(json!({"reservations": vec![json!({}); 65]}), none()),
            400,
            "reservations has 65 elements; at most 64 are allowed",
        ),
        (request(json!({"events": "x"}), none()), 400, "events is \"x\"; it must be a list of objects"),
        (request(none(), json!({"-resource_type": 0})), 400, "Missing parameter resource_type"),
        (
            request(none(), json!({"resource_type": 7})),
            400,
            "reservations[0].resource_type is 7; it must be a string, as in \"virtual:instance\"",
        ),
        (request(none(), json!({"resource_type": "no:such"})), 400, "The no:such resource type is not supported"),
        (
            request(none(), json!({"resource_type": "physical:host"})),
            501,
            "The physical:host resource type is not supported by this version of Leasehold, virtual:instance is",
        ),
        (request(none(), json!({"-amount": 0})), 400, "Missing parameter amount"),
        (request(none(), json!({"-vcpus": 0, "-affinity": 0})), 400, "Missing parameter vcpus, affinity"),
        (request(none(), json!({"amount": null})), 400, "Missing parameter amount"),
        (request(none(), json!({"amount": 0})), 400, "amount must be >= 1"),
        (request(none(), json!({"amount": -5})), 400, "amount must be >= 1"),
        (
            request(none(), json!({"amount": 1_000_000_000})),
            400,
            "reservations[0].amount is 1000000000; it must be a whole number from 1 to 10000",
        ),
        (
            request(none(), json!({"amount": 18_446_744_073_709_551_615_u64})),
            400,
            "reservations[0].amount is 18446744073709551615; it must be a whole number from 1 to 10000",
        ),
        (
            request(none(), json!({"amount": 1.5})),
            400,
            "reservations[0].amount is 1.5; it must be a whole number from 1 to 10000",
        ),
        (
            request(none(), json!({"amount": "many"})),
            400,
            "reservations[0].amount is \"many\"; it must be a whole number from 1 to 10000",
        ),
        (
            request(none(), json!({"vcpus": true})),
            400,
            "reservations[0].vcpus is true; it must be a whole number from 1 to 2147483647",
        ),
        (request(none(), json!({"memory_mb": 0})), 400, "memory_mb must be >= 1"),
        (request(none(), json!({"disk_gb": -1})), 400, "disk_gb must be >= 0"),
        (request(none(), json!({"affinity": "maybe"})), 400, "Malformed parameter affinity (must be a bool value or None)"),
        (request(none(), json!({"affinity": 1})), 400, "Malformed parameter affinity (must be a bool value or None)"),
        (
            request(none(), json!({"resource_properties": ["==", "$a", "b"]})),
            400,
            "reservations[0].resource_properties is [\"==\",\"$a\",\"b\"]; it must be a string",
        ),
        (request(none(), json!({"resource_properties": "not json"})), 400, "Malformed requirements not json (not JSON)"),
        (
            request(none(), json!({"staging": {}})),
            400,
            "reservations[0].staging needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
        (
            request(none(), json!({"on_end": "shelve"})),
            400,
            "reservations[0].on_end needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
    ];
    for (body, status, text) in cases {
        assert_eq!(refused(created(&body, V1_0)), (status, text.to_owned()), "{}", fields::shown(&body));
    }
}

#[test]
fn every_key_of_1_1_is_refused_by_name_under_1_0_and_read_under_1_1() {
    let keys = [
        ("staging", json!({})),
        ("on_end", json!("snapshot")),
        ("zone", json!("nova")),
        ("pool", json!("shared")),
        ("required_traits", json!(["HW_A"])),
        ("forbidden_traits", json!(["CUSTOM_B"])),
        ("servers", json!([SERVER])),
    ];
    for (key, value) in &keys {
        let (status, text) = refused(created(&request(json!({}), json!({*key: value})), V1_0));
        assert!(status == 400 && text.contains(key) && text.contains("1.1"), "{text}");
    }
    let all: serde_json::Map<String, Value> = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let mut body = request(json!({"-end_date": 0, "start_date": "2027-01-31T09:30:15Z"}), Value::Object(all));
    change(&mut body["reservations"][0], &json!({"-affinity": 0, "-resource_properties": 0}));
    let wish = created(&body, V1_1).unwrap();
    assert_eq!((wish.start, wish.end), (StartWish::At(at("2027-01-31 09:30:15")), Seconds::OPEN_END));
    let reservation = &wish.reservations[0];
    assert_eq!(reservation.staging, Some(StagingWish { start: None, end: None, park_margin_s: 600 }));
    assert_eq!(reservation.on_end, OnEnd::Snapshot);
    assert_eq!(reservation.servers, [Uuid::parse_str(SERVER).unwrap()].into());
    let ResourceWish::Instance(instance) = &reservation.resource;
    assert_eq!((instance.zone.as_deref(), instance.pool), (Some("nova"), Some(PoolKind::Shared)));
    assert!(instance.required_traits.contains("HW_A") && instance.forbidden_traits.contains("CUSTOM_B"));
}

#[test]
fn a_staging_window_may_name_its_times_and_its_margin() {
    let staging = json!({"start_date": "2026-12-22 10:00", "end_date": "2026-12-22T10:20:30", "park_margin": 90});
    let wish = created(&request(json!({}), json!({"staging": staging})), V1_1).unwrap();
    let asked = StagingWish { start: Some(at("2026-12-22 10:00:00")), end: Some(at("2026-12-22 10:20:30")), park_margin_s: 90 };
    assert_eq!(wish.reservations[0].staging, Some(asked));
    let bad = [
        (json!({"park_margin": -1}), "park_margin must be >= 0"),
        (
            json!({"park_margin": 100_000}),
            "reservations[0].staging.park_margin is 100000; it must be a whole number from 0 to 86400",
        ),
        (json!({"end_date": "now"}), "staging: window and park margin must lie between now and the start (its end is now)"),
        (json!({"until": "now"}), "reservations[0].staging.until is unknown; known are end_date, park_margin, start_date"),
        (json!(true), "reservations[0].staging is true; it must be an object; {} takes all defaults"),
    ];
    for (staging, text) in bad {
        assert_eq!(refused(created(&request(json!({}), json!({"staging": staging})), V1_1)), (400, text.to_owned()));
    }
}

#[test]
fn under_1_1_unknown_keys_and_odd_values_are_refused() {
    let cases = [
        (
            request(json!({"colour": 1}), json!({})),
            "colour is unknown; known are before_end_date, end_date, events, name, reservations, start_date",
        ),
        (
            request(json!({}), json!({"on_end": "burn"})),
            "reservations[0].on_end is \"burn\"; it must be one of delete, shelve, snapshot",
        ),
        (
            request(json!({}), json!({"servers": SERVER})),
            "reservations[0].servers is \"6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11\"; it must be a list of UUIDs of servers, each once",
        ),
        (
            request(json!({}), json!({"servers": ["x"]})),
            "reservations[0].servers[0] is \"x\"; it must be the UUID of a server, each once",
        ),
        (
            request(json!({}), json!({"servers": [SERVER, SERVER]})),
            "reservations[0].servers[1] is \"6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11\"; it must be the UUID of a server, each once",
        ),
        (request(json!({}), json!({"pool": 3})), "reservations[0].pool is 3; it must be one of dedicated, shared"),
        (request(json!({}), json!({"zone": ""})), "zone is \"\"; it must have 1 to 255 characters"),
        (
            request(json!({}), json!({"required_traits": ["low"]})),
            "reservations[0].required_traits is [\"low\"]; it must be a list of at most 64 trait names, as in [\"HW_CPU_X86_AVX2\"]",
        ),
        (
            request(json!({"start_date": "2027-01-31T09:30:15.5Z"}), json!({})),
            "2027-01-31T09:30:15.5Z is an invalid date. Required format: %Y-%m-%d %H:%M or an ISO 8601 date with whole seconds, as in 2027-01-31T09:30:00Z",
        ),
    ];
    for (body, text) in cases {
        assert_eq!(refused(created(&body, V1_1)), (400, text.to_owned()));
    }
    assert!(
        refused(created(&request(json!({}), json!({"colour": 1})), V1_1))
            .1
            .starts_with("reservations[0].colour is unknown; known are")
    );
}

#[test]
fn what_is_echoed_of_a_caller_is_short() {
    let body = request(json!({"start_date": "9".repeat(10_000)}), json!({}));
    let (_, text) = refused(created(&body, V1_0));
    assert!(text.len() < 200, "{}", text.len());
}

#[test]
fn property_expressions_become_terms_that_must_all_hold() {
    let term = |key: &str, comparison, value: &str| Requirement { key: key.into(), comparison, value: value.into() };
    let cases: Vec<(&str, Vec<Requirement>)> = vec![
        ("", vec![]),
        ("[]", vec![]),
        (r#"["==", "$gpu", "True"]"#, vec![term("gpu", Comparison::Equal, "True")]),
        (r#"["=", "$gpu", ""]"#, vec![term("gpu", Comparison::Equal, "")]),
        (
            r#"["and", [">=", "$vcpus", "2"], ["!=", "$rack", "r1"]]"#,
            vec![term("vcpus", Comparison::AtLeast, "2"), term("rack", Comparison::NotEqual, "r1")],
        ),
        // Blazar would drop the last two terms.
        (
            r#"["and", ["<", "$a", "1"], ["and", [">", "$b", "2"], ["<=", "$c", "3"]]]"#,
            vec![term("a", Comparison::Below, "1"), term("b", Comparison::Above, "2"), term("c", Comparison::AtMost, "3")],
        ),
    ];
    for (text, terms) in cases {
        assert_eq!(expression::parse(text).unwrap(), terms, "{text}");
    }
    let wish = created(&request(json!({}), json!({"resource_properties": r#"["=",   "$gpu", "1"]"#})), V1_0).unwrap();
    assert_eq!(wish.reservations[0].resource.instance().resource_properties, r#"["=",   "$gpu", "1"]"#);
    assert_eq!(wish.reservations[0].resource.instance().requirements.len(), 1);
}

#[test]
fn malformed_expressions_are_refused_with_their_fault() {
    let nested = |depth: usize| format!("{}{}{}", "[\"and\",".repeat(depth), r#"["=","$a","b"]"#, "]".repeat(depth));
    let many = format!("[\"and\"{}]", r#",["=","$a","b"]"#.repeat(65));
    let shape = r#"a term is ["<op>", "$<key>", "<value>"] or ["and", term, …]"#;
    let cases: Vec<(String, String)> = vec![
        ("not json".into(), "not JSON".into()),
        ("7".into(), shape.into()),
        ("{}".into(), shape.into()),
        (r#"[">=", "$a"]"#.into(), shape.into()),
        (r#"[">=", "$a", 5]"#.into(), shape.into()),
        (r#"[">=", "$a", "1", "2"]"#.into(), shape.into()),
        (r#"["and"]"#.into(), "`and` without terms".into()),
        (r#"["and", []]"#.into(), shape.into()),
        (r#"["~", "$a", "1"]"#.into(), "operator ~ is unknown; known are = == != >= <= > < and".into()),
        (r#"["or", ["=", "$a", "1"]]"#.into(), "operator or is unknown; known are = == != >= <= > < and".into()),
        (r#"["=", "a", "1"]"#.into(), "the key must begin with $".into()),
        (r#"["=", "$", "1"]"#.into(), "the key must begin with $".into()),
        (many, "more than 64 terms".into()),
        (nested(9), "more than 8 `and` inside each other".into()),
        ("[".repeat(100_000), "longer than 16 KiB".into()),
        ("[".repeat(10_000), "not JSON".into()),
    ];
    for (text, fault) in cases {
        let told = expression::parse(&text).unwrap_err();
        assert!(told.starts_with("Malformed requirements ") && told.ends_with(&format!("({fault})")), "{told}");
    }
    assert_eq!(expression::parse(&nested(8)).unwrap().len(), 1);
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// The lease of blazar-api §22, with an instance reservation.
fn sample() -> Lease {
    let created_at = stamp("2026-11-22 10:36:30");
    let event = |n, kind, time: &str| json!({"id": id(n), "kind": kind, "time": at(time), "status": "UNDONE", "created_at": created_at, "updated_at": null});
    // From JSON, so that fields which REST does not show may come and go.
    serde_json::from_value(json!({
        "id": id(1), "name": "il", "project_id": "p2", "user_id": "u1",
        "start": at("2026-11-22 10:36:00"), "end": at("2026-11-22 13:36:00"), "status": "PENDING",
        "reason": {"code": "LATE", "text": "late"},
        "reservations": [{
            "id": id(2), "resource_id": id(3),
            "wish": {"instance": {"vcpus": 2, "memory_mb": 1024, "disk_gb": 10, "amount": 3, "affinity": false, "zone": "nova",
                                  "resource_properties": "[\">=\", \"$vcpus\", \"2\"]"}},
            "staging": {"window": {"start": at("2026-11-22 09:36:00"), "end": at("2026-11-22 10:06:00")}, "park_margin_s": 600},
            "on_end": "shelve", "status": "pending", "stage": "booked", "bindings": [], "server_group_id": id(4),
            "created_at": created_at, "updated_at": created_at,
        }],
        "events": [
            event(5, "start_lease", "2026-11-22 10:36:00"),
            event(6, "end_lease", "2026-11-22 13:36:00"),
            event(7, "before_end_lease", "2026-11-22 12:36:00"),
            event(8, "prepare", "2026-11-22 10:30:00"),
            event(9, "staging_open", "2026-11-22 10:31:00"),
        ],
        "revision": 0, "created_at": created_at, "updated_at": created_at, "ledger_index": 7,
    }))
    .unwrap()
}

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
    let recorded: Value = serde_json::from_str(include_str!("../../../../tests/data/blazar-lease-create-instance.json")).unwrap();
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
        Some(Adoption { flavor_of, anchor: Anchor::Memory, servers: [server].into(), opened: false });
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

fn updated(body: Value, version: Microversion, lease: &Lease) -> Result<Option<LeaseChange>, Problem> {
    update(&body, version, lease, false)
}

#[test]
fn an_update_holds_only_what_is_to_change() {
    let lease = sample();
    assert_eq!(updated(json!({}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"colour": "blue", "project_id": "stolen", "degraded": true}), V1_0, &lease).unwrap(), None);
    let same = json!({"name": "il", "start_date": "2026-11-22 10:36", "reservations": [{"id": id(2).to_string(), "amount": 3}]});
    assert_eq!(updated(same, V1_0, &lease).unwrap(), None);
    let change =
        updated(json!({"name": "new", "end_date": "2026-11-22 15:00", "before_end_date": null}), V1_0, &lease).unwrap().unwrap();
    let wanted =
        LeaseChange { name: Some("new".into()), end: Some(EndWish::At(at("2026-11-22 15:00:00"))), ..LeaseChange::default() };
    assert_eq!(change, wanted);
    let change = updated(json!({"end_date": "now"}), V1_0, &lease).unwrap().unwrap();
    assert_eq!(change.end, Some(EndWish::Now));
    assert_eq!(updated(json!({"end_date": null}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"end_date": null}), V1_1, &lease).unwrap().unwrap().end, Some(EndWish::At(Seconds::OPEN_END)));
}

#[test]
fn changed_fields_of_a_reservation_are_merged_onto_its_wish() {
    let lease = sample();
    let body = json!({"reservations": [{"id": id(2).to_string(), "amount": 5, "resource_type": "virtual:instance"}]});
    let change = updated(body.clone(), V1_0, &lease).unwrap().unwrap();
    let wish = change.reservations[0].resource.instance();
    let current = lease.reservations[0].wish.instance();
    assert_eq!(*wish, InstanceWish { amount: 5, ..current.clone() });
    // Sent again with its key after it was carried out, it is the same request.
    let mut done = lease.clone();
    done.reservations[0].wish = change.reservations[0].resource.clone();
    assert_eq!(updated(body.clone(), V1_0, &done).unwrap(), None);
    assert_eq!(update(&body, V1_0, &done, true).unwrap().unwrap(), update(&body, V1_0, &lease, true).unwrap().unwrap());
}

#[test]
fn a_started_lease_may_be_sent_back_the_start_it_was_shown() {
    let mut lease = sample();
    lease.start = at("2026-11-22 10:36:41");
    lease.status = LeaseStatus::Active;
    assert_eq!(updated(json!({"start_date": "2026-11-22 10:36"}), V1_0, &lease).unwrap(), None);
    assert_eq!(updated(json!({"start_date": "2026-11-22T10:36:41.000000"}), V1_1, &lease).unwrap(), None);
    assert!(updated(json!({"start_date": "2026-11-22 10:37"}), V1_0, &lease).unwrap().is_some());
    lease.status = LeaseStatus::Pending;
    assert!(updated(json!({"start_date": "2026-11-22 10:36"}), V1_0, &lease).unwrap().is_some());
}

#[test]
fn a_keyed_update_of_the_start_is_the_same_wish_when_it_was_carried_out() {
    let before = sample();
    let body = json!({"start_date": "2026-11-22 11:00"});
    let first = update(&body, V1_0, &before, true).unwrap().unwrap();
    assert_eq!(first.start, Some(StartWish::At(at("2026-11-22 11:00:00"))));
    let mut done = before;
    done.start = at("2026-11-22 11:00:00");
    for status in [LeaseStatus::Pending, LeaseStatus::Active, LeaseStatus::Terminated] {
        done.status = status;
        assert_eq!(update(&body, V1_0, &done, true).unwrap().as_ref(), Some(&first), "{status:?}");
    }
    // Begun with seconds: the minute that 1.0 can say means the start as it is.
    done.status = LeaseStatus::Active;
    done.start = at("2026-11-22 11:00:23");
    assert_eq!(update(&body, V1_0, &done, true).unwrap().unwrap().start, Some(StartWish::At(done.start)));
}

#[test]
fn a_staging_window_may_be_sent_back_as_it_was_shown_and_not_otherwise() {
    let before = sample();
    let body = |change: Value| {
        let mut staging = lease(&before, V1_1)["reservations"][0]["staging"].clone();
        staging.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"reservations": [{"id": id(2).to_string(), "staging": staging}]})
    };
    assert_eq!(updated(body(json!({})), V1_1, &before).unwrap(), None);
    let others = [json!({"park_margin": 601}), json!({"start_date": "now"}), json!({"end_date": "2026-11-22 10:05"})];
    for other in others {
        let (status, text) = refused(updated(body(other), V1_1, &before));
        assert!(status == 409 && text.contains("staging cannot be updated"), "{status} {text}");
    }
    let mut without = before.clone();
    without.reservations[0].staging = None;
    assert_eq!(refused(updated(body(json!({})), V1_1, &without)).0, 409);
}

#[test]
fn every_bad_update_is_refused_with_blazars_text() {
    let lease = sample();
    let of = |keys: Value| {
        let mut reservation = json!({"id": id(2).to_string()});
        change(&mut reservation, &keys);
        json!({"reservations": [reservation]})
    };
    let cases = vec![
        (json!({"end_date": "soon"}), V1_0, 400, "soon is an invalid date. Required format: %Y-%m-%d %H:%M"),
        (json!({"start_date": "2019-01-01 00:00"}), V1_0, 400, "Start date must be later than current date"),
        (json!({"end_date": "2019-01-01 00:00"}), V1_0, 400, "End date must be later than current and start date"),
        (json!({"reservations": [{"amount": 2}]}), V1_0, 400, "Missing parameter reservation ID"),
        (
            json!({"reservations": [{"id": "nope"}, {"id": 7}]}),
            V1_0,
            400,
            "Please enter valid reservation IDs. Invalid reservation IDs are: nope,7",
        ),
        (of(json!({"amount": 0})), V1_0, 400, "amount must be >= 1"),
        (of(json!({"resource_type": "physical:host"})), V1_0, 409, "resource_type cannot be updated"),
        (
            of(json!({"zone": "az2"})),
            V1_0,
            400,
            "reservations[0].zone needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
        (
            of(json!({"staging": {}})),
            V1_1,
            409,
            "staging cannot be updated: a staging window stands from creation on; delete the lease and make another",
        ),
        (
            json!({"prolong_for": "1h"}),
            V1_1,
            400,
            "prolong_for is unknown; known are before_end_date, created_at, degraded, end_date, events, id, name, project_id, reservations, start_date, status, status_reason, trust_id, updated_at, user_id",
        ),
    ];
    for (body, version, status, text) in cases {
        assert_eq!(refused(updated(body, version, &lease)), (status, text.to_owned()));
    }
    let twice = json!({"reservations": [{"id": id(2).to_string()}, {"id": id(2).to_string()}]});
    assert!(refused(updated(twice, V1_0, &lease)).1.contains("named twice"));
}

#[test]
fn under_1_0_an_active_reservation_only_grows_and_under_1_1_the_ledger_decides() {
    let mut lease = sample();
    lease.reservations[0].status = ReservationStatus::Active;
    let of = |keys: Value| {
        let mut reservation = json!({"id": id(2).to_string()});
        change(&mut reservation, &keys);
        json!({"reservations": [reservation]})
    };
    assert!(updated(of(json!({"amount": 4})), V1_0, &lease).unwrap().is_some());
    assert_eq!(updated(of(json!({"vcpus": 2})), V1_0, &lease).unwrap(), None);
    let shrunk = refused(updated(of(json!({"amount": 2})), V1_0, &lease));
    assert_eq!(shrunk, (409, "Instance reservation doesn't allow to reduce/replace reserved instance slots when the reservation is in active status.".to_owned()));
    let resized = refused(updated(of(json!({"vcpus": 4})), V1_0, &lease));
    assert_eq!(resized, (409, "An active reservation only accepts to update amount.".to_owned()));
    assert!(updated(of(json!({"amount": 2})), V1_1, &lease).unwrap().is_some());
    lease.reservations[0].status = ReservationStatus::Error;
    assert_eq!(refused(updated(of(json!({"amount": 4})), V1_0, &lease)).0, 409);
}

#[test]
fn hosts_and_their_capabilities_are_read_as_blazar_reads_them() {
    let body = json!({"name": "cmp1", "rack": "r1", "gpu": true, "slots": 3, "vcpus": 99, "id": "x"});
    let request = host_create(&body, V1_0).unwrap();
    let properties = [("rack", "r1"), ("gpu", "1"), ("slots", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(request, HostRequest { name: "cmp1".into(), pool: PoolKind::Dedicated, properties: properties.into() });
    assert_eq!(host_create(&json!({"id": "cmp2", "pool": "shared"}), V1_1).unwrap().pool, PoolKind::Shared);
    let update = host_update(&json!({"rack": "r2", "reservable": false}), V1_1).unwrap();
    assert_eq!((update.properties.len(), update.reservable), (1, Some(false)));
    assert_eq!(host_update(&json!({"reservable": false}), V1_0).unwrap().reservable, None);
    let cases = vec![
        (refused(host_create(&json!({}), V1_0)), 403, "Invalid values for host {}"),
        (refused(host_create(&json!({"name": 5}), V1_0)), 400, "name is 5; it must be a string"),
        (
            refused(host_create(&json!({"name": "a", "pool": "shared"}), V1_0)),
            400,
            "pool needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
        (refused(host_create(&json!({"name": "a", "k".repeat(65): "v"}), V1_0)), 400, "Extra capability key too long"),
        (refused(host_create(&json!({"name": "a", "k": []}), V1_0)), 400, "k is []; it must be a string, a number or a boolean"),
        (refused(host_update(&json!({}), V1_0)), 400, "No data to update"),
        (refused(host_update(&json!({"reservable": 1}), V1_1)), 400, "reservable is 1; it must be true or false"),
        (
            refused(host_update(&json!({"pool": "shared"}), V1_0)),
            400,
            "pool needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
    ];
    for (told, status, text) in cases {
        assert_eq!(told, (status, text.to_owned()));
    }
}

#[test]
fn a_host_is_shown_exactly_as_blazar_shows_it() {
    let sample = Host {
        id: HostId(1),
        description: HostDescription {
            hypervisor_hostname: "compute-1".into(),
            service_name: "compute-1".into(),
            root_provider: id(1),
            hypervisor_type: "QEMU".into(),
            hypervisor_version: 8_002_002,
            cpu_info: "{}".into(),
            vcpus: 8,
            memory_mb: 16384,
            local_gb: 200,
            zone: Some("nova".into()),
            pool: PoolKind::Shared,
            anchor_budget: 63,
            memory_grain_mb: 64,
            anchor: Anchor::Memory,
        },
        observation: Observation { up: true, ..Observation::default() },
        properties: [("gpu".to_owned(), "True".to_owned()), ("vcpus".to_owned(), "lies".to_owned())].into(),
        reservable: true,
        overcommitted: false,
        created_at: stamp("2026-11-22 10:36:30"),
        updated_at: None,
    };
    let golden = json!({"id": "1", "vcpus": 8, "cpu_info": "{}", "hypervisor_type": "QEMU", "hypervisor_version": 8_002_002,
        "hypervisor_hostname": "compute-1", "service_name": "compute-1", "memory_mb": 16384, "local_gb": 200, "status": null,
        "availability_zone": "nova", "trust_id": null, "reservable": true, "created_at": "2026-11-22 10:36:30", "updated_at": null,
        "gpu": "True"});
    assert_eq!(host(&sample, V1_0), golden);
    let more = host(&sample, V1_1);
    assert_eq!((&more["pool"], &more["up"], &more["overcommitted"]), (&json!("shared"), &json!(true), &json!(false)));
}

#[test]
fn allocations_and_keys_are_shown() {
    let reserved = ReservedInterval {
        reservation_id: ReservationId(id(2)),
        lease_id: LeaseId(id(1)),
        start: at("2026-11-22 10:36:00"),
        end: Seconds::OPEN_END,
    };
    let shown = allocation(&HostAllocation { host_id: HostId(7), reservations: vec![reserved] });
    assert_eq!(
        shown,
        json!({"resource_id": "7", "reservations": [{"id": id(2).to_string(), "lease_id": id(1).to_string(),
        "start_date": "2026-11-22T10:36:00.000000", "end_date": "9999-12-31T23:59:59.000000"}]})
    );
    let applied = KeyState::Applied { lease_id: Some(LeaseId(id(1))), rejection: None, ledger_index: 9 };
    assert_eq!(
        key_state(&applied),
        json!({"state": "applied", "lease_id": id(1).to_string(), "rejection": null, "ledger_index": 9})
    );
    assert_eq!(key_state(&KeyState::Never), json!({"state": "never"}));
}
