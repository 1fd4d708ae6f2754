//! Every fault switch: what the caller sees, what the cloud did, what the record says.

use leasehold_cloudsim::{Fault, FaultKind, Kind, Record, Response};
use serde_json::{Value, json};

use crate::support::Lab;

/// A cloud with one running server.
fn running() -> (Lab, String) {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    (lab, server)
}

fn shelve(lab: &mut Lab, server: &str) -> Response {
    let token = lab.admin.clone();
    let target = format!("/compute/v2.1/servers/{server}/action");
    let request = lab.request(&token, "POST", &target, &json!({"shelve": null}));
    lab.send(request)
}

fn on_shelve(kind: FaultKind) -> Fault {
    Fault::on("POST", "/servers/*/action", kind).with_body("shelve").times(1)
}

fn last(lab: &Lab) -> Record {
    lab.cloud.record().last().unwrap().clone()
}

#[test]
fn an_error_before_the_effect_leaves_everything_as_it_was() {
    for (status, retry) in [(500, None), (503, Some(7)), (429, Some(2))] {
        let (mut lab, server) = running();
        lab.cloud.add_fault(on_shelve(FaultKind::Error { status, retry_after_s: retry }));
        let answer = shelve(&mut lab, &server).answer().unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("Retry-After").map(str::to_owned), retry.map(|seconds: u64| seconds.to_string()));
        let line = last(&lab);
        assert_eq!((line.applied_at, line.status, line.answered), (None, status, Some(lab.now)));
        assert_eq!(lab.settle(&server), "ACTIVE");
        // Once only.
        assert_eq!(shelve(&mut lab, &server).status(), Some(202));
    }
}

#[test]
fn a_lost_answer_hides_what_has_happened() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(on_shelve(FaultKind::LostAnswer { after_ms: 30 }));
    assert!(matches!(shelve(&mut lab, &server), Response::Lost { after_ms: 30 }));
    let line = last(&lab);
    assert_eq!((line.applied_at, line.status, line.answered), (Some(lab.now), 202, None));
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
}

#[test]
fn a_late_call_takes_effect_when_nobody_waits_any_more() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(on_shelve(FaultKind::Late { after_ms: 5000, status: Some(504) }));
    assert_eq!(shelve(&mut lab, &server).status(), Some(504));
    let request = last(&lab);
    assert_eq!(request.applied_at, None);
    lab.pass(4900);
    assert_eq!(lab.server(&server)["status"], "ACTIVE");
    lab.pass(200);
    let late = lab.cloud.record().iter().find(|line| line.kind == Kind::Late).unwrap().clone();
    assert_eq!(late.of, Some(request.n));
    assert_eq!(late.applied_at, Some(request.at_ms + 5000));
    assert_eq!((late.status, late.caller.as_str()), (202, "test"));
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
}

#[test]
fn a_late_call_is_refused_by_the_state_it_finds() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(on_shelve(FaultKind::Late { after_ms: 60_000, status: None }));
    assert!(matches!(shelve(&mut lab, &server), Response::Lost { .. }));
    assert_eq!(shelve(&mut lab, &server).status(), Some(202));
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    lab.pass(60_000);
    let late = lab.cloud.record().iter().find(|line| line.kind == Kind::Late).unwrap();
    assert_eq!((late.status, late.changes.len()), (409, 0));
}

#[test]
fn a_slow_answer_tells_what_was_true_when_it_was_made() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(on_shelve(FaultKind::Slow { after_ms: 900 }));
    let response = shelve(&mut lab, &server);
    assert!(matches!(&response, Response::Answer { after_ms: 900, answer } if answer.status == 202));
    assert_eq!(last(&lab).answered, Some(lab.now + 900));
}

#[test]
fn a_hanging_call_may_or_may_not_have_happened() {
    for (applied, status) in [(true, "SHELVED_OFFLOADED"), (false, "ACTIVE")] {
        let (mut lab, server) = running();
        lab.cloud.add_fault(on_shelve(FaultKind::Hang { applied }));
        assert!(matches!(shelve(&mut lab, &server), Response::Hang));
        assert_eq!((last(&lab).applied_at.is_some(), last(&lab).answered), (applied, None));
        assert_eq!(lab.settle(&server), status);
    }
}

#[test]
fn a_call_delivered_twice_takes_effect_as_often_as_the_state_lets_it() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(on_shelve(FaultKind::Duplicate));
    assert_eq!(shelve(&mut lab, &server).status(), Some(202));
    let second = last(&lab);
    assert_eq!((second.kind, second.status), (Kind::Late, 409));
    // A verb that nothing refuses does happen twice.
    lab.cloud.add_fault(Fault::on("POST", "/compute/v2.1/servers", FaultKind::Duplicate).times(1));
    let flavor = lab.flavor("g", 1, 512, &json!({}));
    let before = lab.cloud.state()["servers"].as_object().unwrap().len();
    lab.boot(&flavor);
    assert_eq!(lab.cloud.state()["servers"].as_object().unwrap().len(), before + 2);
}

#[test]
fn a_conflict_by_state_can_be_ordered() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(on_shelve(FaultKind::Conflict));
    let answer = shelve(&mut lab, &server).answer().unwrap();
    assert_eq!(answer.status, 409);
    assert!(answer.json()["conflictingRequest"]["message"].as_str().unwrap().contains("Cannot 'shelve' instance"));
    lab.cloud.add_fault(Fault::on("PUT", "/resource_providers", FaultKind::Conflict).times(1));
    let root = lab.provider("cmp1");
    let body = json!({"resource_provider_generation": 2, "traits": []});
    let (status, body) = lab.admin("PUT", &format!("/placement/resource_providers/{root}/traits"), body);
    assert_eq!((status, body["errors"][0]["code"].as_str()), (409, Some("placement.concurrent_update")));
}

#[test]
fn garbage_is_no_json() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(Fault::on("GET", "/servers/", FaultKind::Garbage).times(1));
    let token = lab.admin.clone();
    let request = lab.request(&token, "GET", &format!("/compute/v2.1/servers/{server}"), &Value::Null);
    let answer = lab.answer(request);
    assert_eq!(answer.status, 200);
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
}

#[test]
fn an_answer_breaks_off_in_its_middle_and_one_without_a_body_is_whole() {
    let (mut lab, server) = running();
    lab.cloud.add_fault(Fault::on("GET", "/servers/", FaultKind::Truncated).times(1));
    let token = lab.admin.clone();
    let request = lab.request(&token, "GET", &format!("/compute/v2.1/servers/{server}"), &Value::Null);
    let (cut, whole) = (lab.answer(request.clone()), lab.answer(request));
    assert_eq!((cut.status, cut.body.len()), (200, whole.body.len() / 2));
    assert!(whole.body.starts_with(&cut.body) && serde_json::from_slice::<Value>(&cut.body).is_err());
    lab.cloud.add_fault(on_shelve(FaultKind::Truncated));
    let shelved = shelve(&mut lab, &server);
    assert_eq!(shelved.status(), Some(202));
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
}

#[test]
fn calls_that_are_held_back_are_counted_until_they_take_effect() {
    let (mut lab, server) = running();
    assert_eq!(lab.cloud.held_back(), 0);
    lab.cloud.add_fault(on_shelve(FaultKind::Late { after_ms: 1_000, status: None }));
    shelve(&mut lab, &server);
    assert_eq!(lab.cloud.held_back(), 1);
    let due = lab.cloud.now_ms() + 1_000;
    lab.cloud.advance(due);
    assert_eq!(lab.cloud.held_back(), 0);
}

#[test]
fn while_a_cell_is_down_lists_lack_its_servers_and_nothing_says_so() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let all: Vec<String> = (0..12).map(|_| lab.boot(&flavor)).collect();
    lab.cloud.add_fault(Fault::on("GET", "/servers", FaultKind::Partial).times(1));
    let mut listed = || {
        let (status, body) = lab.admin("GET", "/compute/v2.1/servers?all_tenants=1", Value::Null);
        assert_eq!(status, 200);
        body["servers"].as_array().unwrap().len()
    };
    let some = listed();
    assert!(0 < some && some < all.len(), "{some}");
    assert_eq!(listed(), all.len());
}

#[test]
fn while_a_cell_is_down_the_list_of_services_knows_its_computes_by_name_alone() {
    let mut lab = Lab::new();
    let listed = |lab: &mut Lab| {
        let (status, body) = lab.admin("GET", "/compute/v2.1/os-services?binary=nova-compute", Value::Null);
        assert_eq!(status, 200);
        body["services"].as_array().unwrap().clone()
    };
    let all = listed(&mut lab);
    lab.cloud.add_fault(Fault::on("GET", "/os-services", FaultKind::Partial).times(1));
    let some = listed(&mut lab);
    assert_eq!(some.len(), all.len());
    let (silent, well): (Vec<_>, Vec<_>) = some.iter().partition(|service| service["status"] == "UNKNOWN");
    assert!(!silent.is_empty() && !well.is_empty());
    assert!(silent.iter().all(|service| service.as_object().unwrap().len() == 3));
    assert!(well.iter().all(|service| all.contains(service)));
}

#[test]
fn what_was_accepted_may_fail_afterwards() {
    let (mut lab, server) = running();
    assert_eq!(shelve(&mut lab, &server).status(), Some(202));
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    lab.cloud.add_fault(on_shelve(FaultKind::AsyncFailure).with_body("unshelve"));
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "ACTIVE");
    lab.cloud.add_fault(Fault::on("POST", "/compute/v2.1/servers", FaultKind::AsyncFailure).times(1));
    let flavor = lab.flavor("g", 1, 512, &json!({}));
    let second = lab.boot(&flavor);
    assert_eq!(lab.settle(&second), "ERROR");
}

#[test]
fn all_tokens_can_end_at_once_and_roles_can_be_lost() {
    let (mut lab, _) = running();
    lab.cloud.expire_tokens();
    assert_eq!(lab.demo("GET", "/compute/v2.1/servers", Value::Null).0, 401);
    lab.demo = lab.login("demo", "demo");
    lab.admin = lab.login("leasehold", "service");
    assert_eq!(lab.demo("GET", "/compute/v2.1/servers", Value::Null).0, 200);
    assert!(lab.cloud.revoke_role("leasehold", "admin"));
    assert_eq!(lab.admin("GET", "/compute/v2.1/os-aggregates", Value::Null).0, 403);
    assert_eq!(lab.admin("GET", "/placement/resource_providers", Value::Null).0, 403);
}

#[test]
fn a_dead_host_finishes_its_work_when_it_is_back() {
    let (mut lab, server) = running();
    let host = lab.server(&server)["OS-EXT-SRV-ATTR:host"].as_str().unwrap().to_owned();
    assert!(lab.cloud.set_host_alive(&host, false));
    assert_eq!(shelve(&mut lab, &server).status(), Some(202));
    lab.pass(30_000);
    assert_eq!(lab.server(&server)["OS-EXT-STS:task_state"], "shelving");
    let (_, services) = lab.admin("GET", &format!("/compute/v2.1/os-services?host={host}"), Value::Null);
    assert_eq!(services["services"][0]["state"], "down");
    assert!(lab.cloud.set_host_alive(&host, true));
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
}

#[test]
fn a_fault_strikes_as_often_as_told_and_whom_it_was_told() {
    let (mut lab, _) = running();
    let mut fault = Fault::on("GET", "/servers", FaultKind::Error { status: 503, retry_after_s: None }).times(2);
    fault.skip = 1;
    let id = lab.cloud.add_fault(fault.clone());
    let statuses: Vec<u16> = (0..5).map(|_| lab.demo("GET", "/compute/v2.1/servers", Value::Null).0).collect();
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
    assert!(lab.cloud.remove_fault(id));
    assert!(!lab.cloud.remove_fault(id));
    fault = Fault::on("GET", "/servers", FaultKind::Error { status: 503, retry_after_s: None });
    fault.when.caller = "node-2".to_owned();
    lab.cloud.add_fault(fault.clone());
    assert_eq!(lab.demo("GET", "/compute/v2.1/servers", Value::Null).0, 200);
    lab.cloud.clear_faults();
    fault.when.caller.clear();
    fault.probability = 0.5;
    lab.cloud.add_fault(fault);
    let struck = (0..200).filter(|_| lab.demo("GET", "/compute/v2.1/servers", Value::Null).0 == 503).count();
    assert!((60..140).contains(&struck), "{struck} of 200");
}
