//! Bodies that create a lease.

use super::*;

#[test]
fn a_request_of_the_command_line_becomes_a_wish() {
    let wish = created(&request(json!({}), json!({"amount": "3", "affinity": "None"})), V1_0).unwrap();
    let instance = InstanceWish::anywhere(1, 512, 1, 3);
    assert_eq!(wish.reservations.len(), 1);
    assert_eq!(wish.reservations[0].resource, ResourceWish::Instance(instance.into()));
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
    let open = created(&request(json!({"latest_start_date": "2026-12-24 12:00"}), json!({})), V1_1).unwrap();
    assert!(matches!(open.start, StartWish::Earliest { from: Some(_), latest } if latest == at("2026-12-24 12:00:00")));
    let open = created(&request(json!({"start_date": "now", "latest_start_date": "2026-12-24 12:00"}), json!({})), V1_1).unwrap();
    assert_eq!(open.start, StartWish::Earliest { from: None, latest: at("2026-12-24 12:00:00") });
    let offer = |offer: Value| created(&request(json!({"offer": offer}), json!({})), V1_1).unwrap().offer;
    assert_eq!(offer(json!({"valid_s": 60})), Some(OfferWish::For(60)));
    assert_eq!(offer(json!({"expires_at": "2026-12-22 11:00"})), Some(OfferWish::Until(at("2026-12-22 11:00:00"))));
    assert_eq!(offer(Value::Null), None);
    let warned = created(&request(json!({"before_end_date": "2026-12-22 12:00"}), json!({})), V1_0).unwrap();
    assert_eq!(warned.before_end, BeforeEndWish::At(at("2026-12-22 12:00:00")));
}

#[test]
fn a_recurrence_is_read_beside_its_first_lease() {
    let read = |recurrence: Value| {
        let body = request(json!({"recurrence": recurrence}), json!({}));
        created(&body, V1_1).unwrap();
        crate::edge::rest::body::recurrence(&body, V1_1).map_err(|problem| problem.message)
    };
    let asked = read(json!({"rule": "FREQ=DAILY;COUNT=2"})).unwrap().unwrap();
    assert_eq!(
        (asked.rule.as_str(), asked.time_zone.as_str(), asked.mode),
        ("FREQ=DAILY;COUNT=2", "UTC", SeriesMode::AllOrNothing)
    );
    let asked = read(json!({"rule": "x", "time_zone": "Europe/Berlin", "mode": "best_effort"})).unwrap().unwrap();
    assert_eq!((asked.time_zone.as_str(), asked.mode), ("Europe/Berlin", SeriesMode::BestEffort));
    assert_eq!(read(Value::Null), Ok(None));
    assert!(read(json!({})).unwrap_err().contains("recurrence.rule is missing; it must be a rule as in FREQ=WEEKLY"));
    assert!(read(json!({"rule": 5})).unwrap_err().contains("rule is 5; it must be a string"));
    assert!(read(json!({"rule": "x", "mode": "maybe"})).unwrap_err().contains("mode is \"maybe\""));
    assert!(read(json!({"rule": "x", "zone": "y"})).unwrap_err().contains("zone is unknown"));
    let old = created(&request(json!({"recurrence": {"rule": "x"}}), json!({})), V1_0).unwrap_err();
    assert!(old.message.contains("recurrence needs microversion 1.1"), "{}", old.message);
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
        (
            request(json!({"latest_start_date": "2026-12-24 12:00"}), none()),
            400,
            "latest_start_date needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
        (
            request(json!({"offer": {"valid_s": 60}}), none()),
            400,
            "offer needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1",
        ),
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
        (
            request(none(), json!({"resource_type": "no:such"})),
            400,
            "The no:such resource type is not supported, virtual:instance and flavor:instance are",
        ),
        (
            request(none(), json!({"resource_type": "physical:host"})),
            501,
            "The physical:host resource type is not supported by this version of Leasehold, virtual:instance and flavor:instance are; POST /v1/leases/what-if tells whether there would be hosts",
        ),
        (
            request(none(), json!({"resource_type": "virtual:floatingip"})),
            501,
            "The virtual:floatingip resource type is not supported by this version of Leasehold, virtual:instance and flavor:instance are",
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
            "colour is unknown; known are before_end_date, end_date, events, expiry_s, ignore_quota, latest_start_date, name, offer, preempt, preemptible, priority, recurrence, reservations, start_date, wait",
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
fn an_expiry_is_a_time_in_seconds_or_never() {
    let read = |value: Value| created(&request(json!({"expiry_s": value}), json!({})), V1_1).map(|wish| wish.expiry_s);
    for (value, asked) in [
        (Value::Null, None),
        (json!(0), Some(0)),
        (json!(60), Some(60)),
        (json!(900), Some(900)),
        (json!(4_294_967_295_u32), Some(u32::MAX)),
    ] {
        assert_eq!(read(value).unwrap(), asked);
    }
    assert_eq!(created(&request(json!({}), json!({})), V1_1).unwrap().expiry_s, None);
    for value in [
        json!(1),
        json!(59),
        json!(-1),
        json!(4_294_967_296_u64),
        json!(900.5),
        json!("900"),
        json!("never"),
        json!(true),
        json!([]),
    ] {
        let text = format!("expiry_s is {value}; it must be a whole number of seconds from 60 to 4294967295, or 0: never");
        assert_eq!(refused(read(value)), (400, text));
    }
    let text = "expiry_s needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1";
    assert_eq!(refused(created(&request(json!({"expiry_s": 900}), json!({})), V1_0)), (400, text.to_owned()));
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
