//! Leases of whole hosts, which are asked about.

use leasehold_ledger::model::{LeftOut, LeftOutReason, Occurrence};
use leasehold_ledger::plan::{HostAmount, HostFilter, HostReservation, OccurrenceHosts, WhatIfHosts};

use super::*;

fn asked(reservations: Value) -> Result<(LeaseWish, Vec<HostReservation>), Problem> {
    asked_about(&request(json!({"reservations": reservations}), json!({})), V1_1, &actor(), 60)
}

fn hosts(keys: Value) -> Value {
    let mut reservation = json!({"resource_type": "physical:host", "min": 2, "max": "4"});
    change(&mut reservation, &keys);
    reservation
}

#[test]
fn whole_hosts_are_asked_about_with_the_keys_of_blazar_and_of_instances() {
    let bare = HostReservation { min: 2, max: 4, filter: HostFilter::default() };
    let (lease, found) = asked(json!([hosts(json!({}))])).unwrap();
    assert_eq!((lease.reservations.len(), found), (0, vec![bare.clone()]));
    let placed = hosts(json!({
        "zone": "north", "pool": "dedicated", "required_traits": ["CUSTOM_A"], "forbidden_traits": ["CUSTOM_B"], "before_end": "default",
        "hypervisor_properties": "[\">=\", \"$vcpus\", \"16\"]", "resource_properties": "[\"==\", \"$gpu\", \"a100\"]",
    }));
    let (lease, found) = asked(json!([placed, request(json!({}), json!({}))["reservations"][0]])).unwrap();
    assert_eq!(lease.reservations.len(), 1, "that it is mixed, the ledger tells");
    let filter = &found[0].filter;
    assert_eq!((filter.zone.as_deref(), filter.pool), (Some("north"), Some(PoolKind::Dedicated)));
    assert_eq!((filter.required_traits.len(), filter.forbidden_traits.len()), (1, 1));
    let keys: Vec<&str> = filter.requirements.iter().map(|term| term.key.as_str()).collect();
    assert_eq!(keys, ["vcpus", "gpu"]);
    let created = create(&request(json!({"reservations": [hosts(json!({}))]}), json!({})), V1_1, &actor(), 60).unwrap_err();
    assert_eq!(created.row.http.as_u16(), 501);

    for (keys, text) in [
        (json!({"-min": 0}), "Missing parameter min"),
        (json!({"-max": 0, "-min": 0}), "Missing parameter min, max"),
        (json!({"min": 0}), "min must be >= 1"),
        (json!({"min": null}), "reservations[0].min is null; it must be a whole number from 1 to 10000"),
        (json!({"max": 10_001}), "reservations[0].max is 10001; it must be a whole number from 1 to 10000"),
        (json!({"min": 5}), "reservations[0].max is 4; it must be at least min, which is 5"),
        (json!({"min": "few"}), "reservations[0].min is \"few\"; it must be a whole number from 1 to 10000"),
        (json!({"vcpus": 4}), "reservations[0].vcpus is unknown; known are "),
        (json!({"amount": 4}), "reservations[0].amount is unknown; known are "),
        (json!({"before_end": "reboot"}), "reservations[0].before_end is \"reboot\"; it must be one of , default, snapshot"),
        (
            json!({"hypervisor_properties": "[1]"}),
            "reservations[0].hypervisor_properties is \"[1]\"; it must be an expression: Malformed requirements [1]",
        ),
        (
            json!({"resource_properties": "[1]"}),
            "reservations[0].resource_properties is \"[1]\"; it must be an expression: Malformed requirements [1]",
        ),
        (json!({"hypervisor_properties": ["=="]}), "reservations[0].hypervisor_properties is [\"==\"]; it must be a string"),
        (json!({"required_traits": "A"}), "reservations[0].required_traits is \"A\"; it must be a list"),
        (json!({"pool": "other"}), "reservations[0].pool is \"other\"; it must be one of dedicated, shared"),
    ] {
        let refused = asked(json!([hosts(keys.clone())])).unwrap_err();
        assert!(refused.message.starts_with(text) && refused.row.http.as_u16() == 400, "{keys}: {}", refused.message);
    }
    let many = |count: usize| format!("[\"and\"{}]", r#", ["!=", "$id", "7"]"#.repeat(count));
    let both = |of_hypervisor: usize| json!({"hypervisor_properties": many(of_hypervisor), "resource_properties": many(4)});
    assert_eq!(asked(json!([hosts(both(60))])).unwrap().1[0].filter.requirements.len(), 64);
    let refused = asked(json!([hosts(both(61))])).unwrap_err().message;
    assert!(refused.starts_with("reservations[0].hypervisor_properties is "), "{refused}");
    assert!(refused.ends_with("; it must have, with those of resource_properties, at most 64 terms"), "{refused}");
    // What is too long in a term is told of the expression that has it.
    let term = |chars: usize| format!(r#"["==", "$gpu", "{}"]"#, "x".repeat(chars));
    for key in ["hypervisor_properties", "resource_properties"] {
        assert!(asked(json!([hosts(json!({key: term(1_024)}))])).is_ok());
        let refused = asked(json!([hosts(json!({key: term(1_025)}))])).unwrap_err().message;
        assert!(refused.starts_with(&format!("reservations[0].{key} is ")), "{refused}");
        assert!(refused.ends_with("; it must have names and values of at most 1024 characters"), "{refused}");
    }
}

#[test]
fn what_whole_hosts_would_come_to_is_shown_in_the_shape_of_instances() {
    let amounts = || vec![HostAmount { count: 2, hosts: vec![HostId(1), HostId(7)] }, HostAmount { count: 1, hosts: Vec::new() }];
    let shown = json!([
        {"hosts": 2, "staging_hosts": 0, "host_ids": ["1", "7"]},
        {"hosts": 1, "staging_hosts": 0, "host_ids": []},
    ]);
    let fits = WhatIfHosts::Fits { moved_to: Some(at("2026-12-01 08:00:00")), reservations: amounts() };
    assert_eq!(
        what_if_hosts(&fits, 7),
        json!({"fits": true, "reservations": shown, "start_date": "2026-12-01T08:00:00.000000", "offer": null})
    );
    let occurrence = |number: u32| Occurrence { number, start: at("2026-12-01 08:00:00"), end: at("2026-12-01 09:00:00") };
    let reason = LeftOutReason::NoRoom { reservation: 0, short_by: 2, largest_amount: 1, tightest: None };
    let series = WhatIfHosts::SeriesFits {
        occurrences: vec![OccurrenceHosts { occurrence: occurrence(1), reservations: amounts() }],
        left_out: vec![LeftOut { occurrence: occurrence(2), reason }],
    };
    let told = what_if_hosts(&series, 7);
    assert_eq!((&told["fits"], &told["reservations"]), (&json!(true), &Value::Null));
    assert_eq!(told["series"]["occurrences"][0]["reservations"], shown);
    assert_eq!(told["series"]["left_out"][0]["reason"]["text"], "reservation 0 is 2 hosts short");
}
