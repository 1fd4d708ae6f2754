//! The second ledger, and rows for the tests of checkers.

use serde_json::{Value, json};

use super::lease::Resource;
use super::*;

/// A dedicated host with so many vCPUs, and plenty of the rest.
pub fn host(id: u64, vcpus: u64) -> Value {
    json!({"id": id, "reservable": true, "overcommitted": false,
        "description": {"hypervisor_hostname": format!("cmp{id}"), "pool": "dedicated", "zone": "nova", "root_provider": format!("root{id}")},
        "observation": {"up": true, "traits": [], "firm": {"vcpus": 0, "memory_mb": 0, "disk_gb": 0, "slots": 0},
            "capacity": {"vcpus": vcpus, "memory_mb": 100_000, "disk_gb": 1_000, "slots": 255}}})
}

/// What a tenant may ask for: slots of one vCPU.
pub fn wish(amount: u64) -> Value {
    json!({"instance": {"vcpus": 1, "memory_mb": 512, "disk_gb": 1, "amount": amount, "affinity": null, "pool": null,
        "zone": null, "required_traits": [], "forbidden_traits": [], "requirements": [], "resource_properties": ""}})
}

/// A lease over `[start, end)` with slots on hosts.
pub fn lease(id: &str, start: u32, end: u32, on: &[(u64, u64)]) -> Value {
    let bindings: Vec<Value> = on.iter().map(|(host, slots)| json!({"phase": "main", "host": host, "slots": slots})).collect();
    json!({"id": id, "name": id, "project_id": "p", "start": start, "end": end, "status": "PENDING", "revision": 1,
        "deleted": false, "key": {"id": format!("key-{id}")}, "created_at": 0,
        "reservations": [{"id": format!("r-{id}"), "wish": wish(on.iter().map(|(_, slots)| slots).sum()), "staging": null,
            "on_end": "delete", "status": "pending", "stage": "booked", "bindings": bindings, "releasing": []}],
        "events": [{"kind": "start_lease", "time": start, "status": "UNDONE"},
            {"kind": "end_lease", "time": end, "status": "UNDONE"}]})
}

fn model(leases: &[Value]) -> Model {
    let mut model = Model::default();
    for id in 1..=2 {
        model.hosts.insert(id, serde_json::from_value(host(id, 4)).expect("it reads"));
    }
    for lease in leases {
        let lease: Lease = serde_json::from_value(lease.clone()).expect("it reads");
        model.leases.insert(lease.id.clone(), lease);
    }
    model
}

fn asked(amount: u64, affinity: Option<bool>) -> Wish {
    let resource: Resource = serde_json::from_value(wish(amount)).expect("it reads");
    Wish { affinity, ..resource.instance }
}

#[test]
fn room_is_counted_second_by_second_and_ends_meet_starts() {
    let model = model(&[lease("a", 100, 200, &[(1, 4)]), lease("b", 150, 300, &[(2, 3)])]);
    let span = |start, end| Span { start, end };
    assert!(model.feasible(&asked(8, None), span(0, 100), None, &[]));
    assert!(!model.feasible(&asked(8, None), span(0, 101), None, &[]));
    assert!(model.feasible(&asked(1, None), span(100, 300), None, &[]));
    assert!(!model.feasible(&asked(2, None), span(100, 300), None, &[]));
    assert!(model.feasible(&asked(5, None), span(200, 250), None, &[]));
    assert!(!model.feasible(&asked(5, Some(true)), span(200, 250), None, &[]));
    assert!(model.feasible(&asked(4, Some(true)), span(200, 250), None, &[]));
    assert!(!model.feasible(&asked(3, Some(false)), span(0, 10), None, &[]));
    assert!(model.feasible(&asked(8, None), span(120, 150), Some("a"), &[]));
}

#[test]
fn what_is_declared_not_to_be_had_is_not_there_and_only_then() {
    let mut model = model(&[lease("a", 100, 200, &[(1, 1)])]);
    let downtime = |start: u32, end: u32, withheld: Value| -> Downtime {
        let one = json!({"id": "d", "interval": {"start": start, "end": end}, "withheld": withheld});
        serde_json::from_value(one).expect("it reads")
    };
    let mut declare = |host: u64, one: Downtime| model.hosts.get_mut(&host).expect("it is there").downtimes.push(one);
    declare(1, downtime(150, 160, json!({"vcpus": 2})));
    declare(2, downtime(155, 300, json!({})));
    let span = |start, end| Span { start, end };
    assert_eq!(model.most(&asked(1, None), span(100, 150)), 7);
    assert_eq!(model.most(&asked(1, None), span(149, 151)), 5);
    assert_eq!(model.most(&asked(1, None), span(154, 156)), 1);
    assert_eq!(model.most(&asked(1, None), span(160, 200)), 3);
    assert!(model.feasible(&asked(4, None), span(200, 400), None, &[]));
    assert!(!model.feasible(&asked(5, None), span(200, 301), None, &[]));
    assert_eq!(model.hosts[&1].left(155), [2, 100_000, 1_000, 255]);
    assert_eq!(model.hosts[&2].left(155), [0; 4]);
}

#[test]
fn what_a_host_is_to_have_is_there_from_its_second_on_and_not_twice() {
    let mut model = model(&[lease("a", 100, 200, &[(1, 1)])]);
    let mut is_to_have = |vcpus: u64| {
        let upgrade = serde_json::from_value(json!({"start": 150, "vcpus": vcpus})).expect("it reads");
        model.hosts.get_mut(&1).expect("it is there").upgrade = Some(upgrade);
        let span = |start, end| Span { start, end };
        [span(100, 160), span(149, 150), span(150, 160), span(200, 300)].map(|span| model.most(&asked(1, None), span))
    };
    assert_eq!(is_to_have(4), [7, 7, 7, 8]);
    assert_eq!(is_to_have(10), [7, 7, 13, 14]);
    assert_eq!((model.hosts[&1].room()[0], model.hosts[&1].left(150)[0], model.hosts[&1].left(149)[0]), (4, 10, 4));
}

#[test]
fn what_must_stay_stays() {
    let model = model(&[lease("a", 100, 200, &[(1, 2)]), lease("b", 200, 300, &[(1, 3)])]);
    let kept = [Binding { phase: "main".to_owned(), host: 1, slots: 2 }];
    let span = |end| Span { start: 100, end };
    assert!(model.feasible(&asked(2, None), span(200), Some("a"), &kept));
    assert!(!model.feasible(&asked(2, None), span(201), Some("a"), &kept));
    assert!(model.feasible(&asked(2, None), span(201), Some("a"), &[]));
}

#[test]
fn a_double_booking_is_seen_and_an_unfinished_update_counts_as_the_larger() {
    let mut other = lease("b", 199, 300, &[(1, 1)]);
    assert_eq!(model(&[lease("a", 100, 200, &[(1, 4)]), lease("b", 200, 300, &[(1, 1)])]).double_booked(0), BTreeMap::new());
    let both = [lease("a", 100, 200, &[(1, 4)]), other.clone()];
    let (text, booked) = &model(&both).double_booked(0)[&1];
    assert!(text.contains("second 199"));
    assert_eq!((booked[&100][0], booked[&199][0], booked[&200][0], booked[&300][0]), (4, 5, 1, 0));
    assert!(model(&both).double_booked(200).is_empty(), "what is over is over");
    other["reservations"][0]["previous"] = json!({"interval": {"start": 100, "end": 120}, "wish": wish(2), "staging": null,
        "bindings": [{"phase": "main", "host": 1, "slots": 2}]});
    let model = model(&[other]);
    let used = |second| used(&model.booking(0, None), 1, second)[0];
    assert_eq!((used(110), used(250)), (2, 1));
}

#[test]
fn a_plan_is_held_against_its_wish() {
    let hosts = model(&[]).hosts;
    let one = |value: Value| -> Reservation { serde_json::from_value(value["reservations"][0].clone()).expect("it reads") };
    assert_eq!(plan_problem(&one(lease("a", 1, 2, &[(1, 2), (2, 1)])), &hosts), None);
    let changed = |path: &str, to: Value| {
        let mut lease = lease("a", 1, 2, &[(1, 2), (2, 1)]);
        lease["reservations"][0]["wish"]["instance"][path] = to;
        plan_problem(&one(lease), &hosts).unwrap_or_default()
    };
    assert!(changed("amount", json!(4)).contains("3 slots"));
    assert!(changed("affinity", json!(true)).contains("one host"));
    assert!(changed("affinity", json!(false)).contains("not different"));
    assert!(changed("pool", json!("shared")).contains("kind"));
    assert!(changed("required_traits", json!(["T"])).contains("kind"));
    assert!(plan_problem(&one(lease("a", 1, 2, &[(9, 1)])), &hosts).expect("it reads").contains("not there"));
}
