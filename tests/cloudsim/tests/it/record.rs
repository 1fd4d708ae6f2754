//! The cloud's own record: enough to judge lateness, duplicates and double bookings by.

use http::Method;
use leasehold_cloudsim::{Cloud, CloudConfig, Fault, FaultKind, Kind, Record, Request};
use serde_json::{Value, json};

use crate::support::{Lab, START_MS};

/// A little life with faults; answers the record.
fn story(seed: u64) -> Vec<Record> {
    let mut lab = Lab::with(CloudConfig { seed, ..CloudConfig::default() });
    let mut fault = Fault::on("", "/servers", FaultKind::Error { status: 503, retry_after_s: None });
    fault.probability = 0.2;
    lab.cloud.add_fault(fault);
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    for round in 0..20 {
        let image = lab.image();
        let body = json!({"server": {"name": format!("vm{round}"), "imageRef": image, "flavorRef": flavor, "networks": "none"}});
        let (status, body) = lab.demo("POST", "/compute/v2.1/servers", body);
        lab.pass(250);
        if let (202, Some(id)) = (status, body["server"]["id"].as_str()) {
            lab.act(id, json!({"shelve": null}));
            lab.pass(400);
            lab.act(id, json!({"unshelve": null}));
        }
    }
    lab.pass(10_000);
    lab.cloud.record().to_vec()
}

#[test]
fn one_seed_is_one_record() {
    let (one, again, other) = (story(7), story(7), story(8));
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!(one.iter().any(|line| line.fault.is_some()));
}

#[test]
fn lines_are_numbered_in_order_of_time() {
    let record = story(3);
    for (at, line) in record.iter().enumerate() {
        assert_eq!(line.n, at as u64 + 1);
        assert!(at == 0 || line.at_ms >= record[at - 1].at_ms);
    }
}

#[test]
fn an_unshelve_can_be_followed_from_its_call_to_its_host() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    let token = lab.admin.clone();
    let target = format!("/compute/v2.1/servers/{server}/action");
    let request = lab
        .request(&token, "POST", &target, &json!({"unshelve": null}))
        .caller("")
        .header("X-Leasehold-Node", "node-2")
        .header("X-Openstack-Request-Id", "req-0f0f");
    let asked_at = lab.now + 1;
    let own_id = lab.answer(request).header("x-openstack-request-id").unwrap().to_owned();
    let host = {
        assert_eq!(lab.settle(&server), "ACTIVE");
        lab.server(&server)["OS-EXT-SRV-ATTR:host"].as_str().unwrap().to_owned()
    };
    let record = lab.cloud.record();
    let call = record.iter().find(|line| line.kind == Kind::Request && line.body == json!({"unshelve": null})).unwrap();
    assert_eq!((call.received_at, call.applied_at, call.answered), (Some(asked_at), Some(asked_at), Some(asked_at)));
    assert_eq!((call.caller.as_str(), call.user.as_str(), call.status), ("node-2", "leasehold", 202));
    assert_eq!((call.global_request_id.as_str(), &call.request_id), ("req-0f0f", &own_id));
    let of_it: Vec<_> = record
        .iter()
        .filter(|line| line.of == Some(call.n))
        .flat_map(|line| line.changes.iter().map(move |one| (line, one)))
        .collect();
    let (line, active) = of_it.iter().find(|(_, change)| change.what == "server.active").unwrap();
    assert_eq!((active.id.as_str(), active.host.as_deref()), (server.as_str(), Some(host.as_str())));
    assert_eq!((&active.facts["action"], &active.facts["vcpus"]), (&json!("unshelve"), &json!(1)));
    assert_eq!(line.global_request_id, "req-0f0f");
    assert!(line.at_ms > asked_at && line.at_ms < asked_at + 1000);
    assert!(of_it.iter().any(|(_, change)| change.what == "allocation.set" && change.id == server));
    // Nova's own list of actions names the same call.
    let (_, actions) = lab.admin("GET", &format!("/compute/v2.1/servers/{server}/os-instance-actions"), Value::Null);
    assert_eq!(actions["instanceActions"][0]["request_id"], own_id);
}

#[test]
fn what_is_allocated_can_be_summed_from_the_record_alone() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 3, 512, &json!({}));
    for _ in 0..14 {
        lab.boot(&flavor);
        lab.pass(300);
    }
    let mut held = std::collections::BTreeMap::new();
    for change in lab.cloud.record().iter().flat_map(|line| &line.changes) {
        match change.what.as_str() {
            "allocation.set" => {
                held.insert(change.id.clone(), change.facts["allocations"].clone());
            }
            "allocation.removed" => {
                held.remove(&change.id);
            }
            _ => {}
        }
    }
    let state = lab.cloud.state();
    assert_eq!(held.len(), 12, "three of three CPUs on each of four hosts with ten");
    for (consumer, allocations) in held {
        assert_eq!(state["placement"]["allocations"][&consumer]["allocations"], allocations);
    }
}

#[test]
fn the_record_never_carries_a_password_or_token() {
    let record = story(5);
    let text = serde_json::to_string(&record).unwrap();
    assert!(!text.contains("oslab"));
    assert!(!text.contains("gAAAA"));
}

#[test]
fn reads_can_be_left_out() {
    let mut cloud = Cloud::new(CloudConfig { record_reads: false, ..CloudConfig::default() });
    let before = cloud.record().len();
    cloud.handle(START_MS, Request::new(Method::GET, "/identity/v3"));
    assert_eq!(cloud.record().len(), before);
    cloud.handle(START_MS, Request::new(Method::POST, "/identity/v3/auth/tokens"));
    assert_eq!(cloud.record().len(), before + 1);
}
