//! Questions about capacity, and what a lease would come to.

use leasehold_ledger::model::{Class, Interval};
use leasehold_ledger::plan::{
    Capacity, CapacityWish, Density, DensityWish, HostCount, HostFilter, NoRoom, Piece, Preempts, WhatFits, WhatIf, WindowWish,
};

use super::*;

pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
    text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn show(text: &str) -> Result<CapacityWish, Problem> {
    capacity_wish(query(text), V1_1)
}

fn count(text: &str) -> Result<DensityWish, Problem> {
    density_wish(query(text), V1_1)
}

#[test]
fn a_query_about_capacity_is_read_with_the_keys_of_a_reservation() {
    let window = WindowWish { start: StartWish::Now, end: Seconds::OPEN_END };
    assert_eq!(show("").unwrap(), CapacityWish { filter: HostFilter::default(), window, steps_max: 1 });
    let wish = show(
        "start_date=2026-12-01 08:00&end_date=2026-12-02T08:00:05Z&steps=24&zone=north&pool=shared&hosts=1, 3\
         &required_traits=CUSTOM_A,CUSTOM_B&forbidden_traits=CUSTOM_C&resource_properties=[\">=\",\"$vcpus\",\"16\"]",
    )
    .unwrap();
    let filter = HostFilter {
        zone: Some("north".into()),
        pool: Some(PoolKind::Shared),
        hosts: Some([HostId(1), HostId(3)].into()),
        required_traits: ["CUSTOM_A".into(), "CUSTOM_B".into()].into(),
        forbidden_traits: ["CUSTOM_C".into()].into(),
        requirements: vec![Requirement { key: "vcpus".into(), comparison: Comparison::AtLeast, value: "16".into() }],
    };
    let window = WindowWish { start: StartWish::At(at("2026-12-01 08:00:00")), end: at("2026-12-02 08:00:05") };
    assert_eq!(wish, CapacityWish { filter, window, steps_max: 24 });
}

#[test]
fn a_query_about_density_names_the_size_and_may_ask_when_so_many_fit() {
    let wish = count("vcpus=4&memory_mb=8192").unwrap();
    let instance = &wish.instance;
    assert_eq!((instance.vcpus, instance.memory_mb, instance.disk_gb, instance.amount, wish.seek), (4, 8192, 0, 1, false));
    assert_eq!(wish.among, None);
    let wish = count("vcpus=4&memory_mb=8192&disk_gb=20&amount=7&affinity=true&hosts=2&zone=north&end_date=9999-12-31 23:59");
    let wish = wish.unwrap();
    assert_eq!((wish.instance.disk_gb, wish.instance.amount, wish.instance.affinity, wish.seek), (20, 7, Some(true), true));
    assert_eq!((wish.among, wish.instance.zone), (Some([HostId(2)].into()), Some("north".into())));
}

#[test]
fn a_query_about_whole_hosts_names_no_size() {
    let wish = count("resource_type=physical:host&amount=3&zone=north&resource_properties=[\"==\",\"$gpu\",\"a100\"]").unwrap();
    assert_eq!((wish.whole_hosts, wish.seek, wish.instance.amount), (true, true, 3));
    assert_eq!((wish.instance.vcpus, wish.instance.memory_mb, wish.instance.disk_gb), (0, 0, 0));
    assert_eq!((wish.instance.zone.as_deref(), wish.instance.requirements.len()), (Some("north"), 1));
    assert!(!count("resource_type=virtual:instance&vcpus=1&memory_mb=1").unwrap().whole_hosts);
    for (query, text) in [
        ("resource_type=physical:host&vcpus=4", "vcpus is unknown"),
        ("resource_type=physical:host&affinity=true", "affinity is unknown"),
        ("resource_type=host", "resource_type is \"host\"; it must be one of virtual:instance, physical:host"),
    ] {
        let told = refused(count(query));
        assert!(told.0 == 400 && told.1.starts_with(text), "{query}: {told:?}");
    }
}

#[test]
fn a_bad_query_is_refused_with_the_field_its_value_and_what_would_be_right() {
    let told = |result: Result<CapacityWish, Problem>| refused(result);
    let hosts = "it must be at most 1000 numbers of hosts separated by commas, as in hosts=1,2";
    let thousand_and_one = format!("hosts={}", (1..=1001).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    for (query, text) in [
        ("steps=0", "steps must be >= 1".to_owned()),
        ("steps=1001", "steps is \"1001\"; it must be a whole number from 1 to 1000".to_owned()),
        ("steps=few", "steps is \"few\"; it must be a whole number from 1 to 1000".to_owned()),
        ("hosts=one", format!("hosts is [\"one\"]; {hosts}")),
        ("hosts=", format!("hosts is [\"\"]; {hosts}")),
        ("hosts=-1", format!("hosts is [\"-1\"]; {hosts}")),
        ("pool=mine", "pool is \"mine\"; it must be one of dedicated, shared".to_owned()),
        ("zone=", "zone is \"\"; it must have 1 to 255 characters".to_owned()),
        ("zone=a&zone=b", "zone is given twice; it must be given once, lists separated by commas".to_owned()),
        (
            "required_traits=low",
            "required_traits is [\"low\"]; it must be a list of at most 64 trait names, as in [\"HW_CPU_X86_AVX2\"]".to_owned(),
        ),
        ("end_date=now", "End date must be later than start date.".to_owned()),
        ("start_date=9999-12-31 23:59", "End date must be later than start date.".to_owned()),
        ("start_date=1999-01-01 00:00", "Start date must be later than current date".to_owned()),
    ] {
        assert_eq!(told(show(query)), (400, text), "{query}");
    }
    assert!(told(show(&thousand_and_one)).1.ends_with(hosts));
    let unknown = told(show("flavour=x")).1;
    assert!(unknown.starts_with("flavour is unknown; known are end_date, forbidden_traits, hosts, pool,"), "{unknown}");
    assert!(told(show("vcpus=1")).1.starts_with("vcpus is unknown"), "a size is density's");
    assert!(told(show("start_date=soon")).1.starts_with("soon is an invalid date"));
    assert!(told(show("resource_properties=x")).1.contains("not JSON"));

    let told = |query: &str| refused(count(query));
    assert_eq!(told("vcpus=4"), (400, "Missing parameter memory_mb".to_owned()));
    assert_eq!(told("vcpus=0&memory_mb=1"), (400, "vcpus must be >= 1".to_owned()));
    let many = "amount is \"10001\"; it must be a whole number from 1 to 10000".to_owned();
    assert_eq!(told("vcpus=1&memory_mb=1&amount=10001"), (400, many));
    assert!(told("vcpus=1&memory_mb=1&steps=2").1.starts_with("steps is unknown"));
}

#[test]
fn answers_about_capacity_are_shown_class_by_class_and_step_by_step() {
    let piece = |start: &str, reserved| Piece {
        start: at(start),
        reserved: [reserved; 4],
        available: [8 - reserved; 4],
        withheld: [2; 4],
        added: [6; 4],
    };
    let shown = capacity(&Capacity {
        hosts: 2,
        open_hosts: 1,
        total: [12, 24, 36, 48],
        firm: [1, 2, 3, 4],
        window: Interval { start: at("2026-12-01 08:00:00"), end: Seconds::OPEN_END },
        pieces: vec![piece("2026-12-01 08:00:00", 3), piece("2026-12-01 09:00:00", 4)],
    });
    let all = |n: u64| json!({"VCPU": n, "MEMORY_MB": n, "DISK_GB": n, "SLOT": n});
    let (first, second, open) = ("2026-12-01T08:00:00.000000", "2026-12-01T09:00:00.000000", "9999-12-31T23:59:59.000000");
    assert_eq!(
        shown,
        json!({
            "start_date": first, "end_date": open, "hosts": 2, "open_hosts": 1,
            "total": {"VCPU": 12, "MEMORY_MB": 24, "DISK_GB": 36, "SLOT": 48},
            "used": {"VCPU": 1, "MEMORY_MB": 2, "DISK_GB": 3, "SLOT": 4},
            "steps": [
                {"start_date": first, "end_date": second, "reserved": all(3), "available": all(5), "withheld": all(2), "added": all(6)},
                {"start_date": second, "end_date": open, "reserved": all(4), "available": all(4), "withheld": all(2), "added": all(6)},
            ],
        })
    );
    let found = Density {
        window: Interval { start: at("2026-12-01 08:00:00"), end: at("2026-12-01 09:00:00") },
        fits: WhatFits { largest_amount: 5, tightest: Some(Class::DiskGb) },
        earliest_start: None,
    };
    let shown = density(&found);
    assert_eq!(
        shown,
        json!({"start_date": first, "end_date": second, "largest_amount": 5, "tightest": "DISK_GB", "earliest_start_date": null})
    );
    let later = density(&Density { earliest_start: Some(at("2026-12-01 09:00:00")), ..found });
    assert_eq!(later["earliest_start_date"], second);
}

#[test]
fn what_a_lease_would_come_to_is_shown_as_its_booking_or_as_its_refusal() {
    for (moved_to, shown) in [(None, json!(null)), (Some(at("2026-12-01 08:00:00")), json!("2026-12-01T08:00:00.000000"))] {
        let fits = what_if(
            &WhatIf::Fits { moved_to, preempts: Preempts::default(), reservations: vec![HostCount { main: 3, staging: 2 }] },
            7,
        );
        let reservations = json!([{"hosts": 3, "staging_hosts": 2}]);
        assert_eq!(fits, json!({"fits": true, "reservations": reservations, "start_date": shown, "offer": null}));
    }
    let no_room = NoRoom {
        reservation: 0,
        short_by: 2,
        tightest: Some(Class::MemoryMb),
        largest_amount: 1,
        next_start: Some(at("2026-12-01 08:00:00")),
        ..NoRoom::default()
    };
    let refused = what_if(&WhatIf::NoRoom(no_room), 7);
    assert_eq!(
        refused,
        json!({"fits": false, "reservations": null, "start_date": null, "offer": {
            "reservation": 0, "short_by": 2, "tightest": "MEMORY_MB", "largest_amount": 1, "next_start": 1_796_112_000,
            "staging": false, "ledger_index": 7,
        }})
    );
}
