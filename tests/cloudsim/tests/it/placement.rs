//! Placement: generations, capacity, transactions.

use serde_json::{Value, json};

use crate::support::Lab;

const HOLD: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

fn wish(provider: &str, vcpus: u64, generation: Option<u64>) -> Value {
    json!({
        "allocations": {provider: {"resources": {"VCPU": vcpus}}}, "project_id": "p", "user_id": "u",
        "consumer_generation": generation, "consumer_type": "HOLD",
    })
}

fn code(body: &Value) -> &str {
    body["errors"][0]["code"].as_str().unwrap_or("")
}

#[test]
fn of_two_who_read_the_same_generation_only_the_first_may_write() {
    let mut lab = Lab::new();
    let child = lab.tokens("cmp1", "CUSTOM_A", 2, false);
    let generation = lab.generation(&child);
    let target = format!("/placement/resource_providers/{child}/inventories");
    let body = |total: u64| json!({"resource_provider_generation": generation, "inventories": {"CUSTOM_A": {"total": total}}});
    assert_eq!(lab.admin("PUT", &target, body(3)).0, 200);
    let (status, answer) = lab.admin("PUT", &target, body(4));
    assert_eq!((status, code(&answer)), (409, "placement.concurrent_update"));
    assert_eq!(lab.generation(&child), generation + 1);
}

#[test]
fn every_boot_moves_the_generation_of_its_providers() {
    let mut lab = Lab::new();
    let child = lab.tokens("cmp1", "CUSTOM_A", 2, true);
    let flavor = lab.flavor("f", 1, 512, &json!({"resources:CUSTOM_A": "1"}));
    let root = lab.provider("cmp1");
    let before = (lab.generation(&root), lab.generation(&child));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!((lab.generation(&root), lab.generation(&child)), (before.0 + 1, before.1 + 1));
}

#[test]
fn a_consumer_changes_only_under_the_generation_it_has() {
    let mut lab = Lab::new();
    let root = lab.provider("cmp1");
    let target = format!("/placement/allocations/{HOLD}");
    assert_eq!(lab.admin("PUT", &target, wish(&root, 2, Some(1))).0, 409);
    assert_eq!(lab.admin("PUT", &target, wish(&root, 2, None)).0, 204);
    let (status, answer) = lab.admin("PUT", &target, wish(&root, 3, None));
    assert_eq!((status, code(&answer)), (409, "placement.concurrent_update"));
    assert_eq!(lab.admin("PUT", &target, wish(&root, 3, Some(1))).0, 204);
    let (_, body) = lab.admin("GET", &target, Value::Null);
    assert_eq!(body["consumer_generation"], 2);
    assert_eq!(body["allocations"][&root]["resources"]["VCPU"], 3);
    assert_eq!(lab.admin("DELETE", &target, Value::Null).0, 204);
    assert_eq!(lab.admin("DELETE", &target, Value::Null).0, 404);
}

#[test]
fn what_does_not_fit_is_refused_and_not_as_a_lost_race() {
    let mut lab = Lab::new();
    let root = lab.provider("cmp1");
    let target = format!("/placement/allocations/{HOLD}");
    assert_eq!(lab.admin("PUT", &target, wish(&root, 8, None)).0, 204);
    // 8 of 10 are gone: 3 exceed the capacity, 11 also the largest unit.
    for vcpus in [3, 11] {
        let (status, answer) = lab.admin("PUT", &format!("/placement/allocations/{OTHER}"), wish(&root, vcpus, None));
        assert_eq!((status, code(&answer)), (409, "placement.undefined_code"), "{answer}");
    }
    // Its own allocation does not count against a consumer.
    assert_eq!(lab.admin("PUT", &target, wish(&root, 10, Some(1))).0, 204);
}

#[test]
fn several_consumers_are_written_all_or_none() {
    let mut lab = Lab::new();
    let root = lab.provider("cmp1");
    let both = |first: u64, second: u64, generation: Option<u64>| json!({HOLD: wish(&root, first, generation), OTHER: wish(&root, second, generation)});
    assert_eq!(lab.admin("POST", "/placement/allocations", both(6, 5, None)).0, 409);
    let (_, usages) = lab.admin("GET", &format!("/placement/resource_providers/{root}/usages"), Value::Null);
    assert_eq!(usages["usages"]["VCPU"], 0);
    assert_eq!(lab.admin("POST", "/placement/allocations", both(6, 4, None)).0, 204);
    // Moving room from one to the other is one transaction too.
    assert_eq!(lab.admin("POST", "/placement/allocations", both(4, 6, Some(1))).0, 204);
}

#[test]
fn inventory_may_fall_below_its_use_but_not_vanish() {
    let mut lab = Lab::new();
    let child = lab.tokens("cmp1", "CUSTOM_A", 2, true);
    let flavor = lab.flavor("f", 1, 512, &json!({"resources:CUSTOM_A": "1"}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    lab.set_tokens(&child, "CUSTOM_A", 2, false);
    let one = format!("/placement/resource_providers/{child}/inventories/CUSTOM_A");
    let (status, answer) = lab.admin("DELETE", &one, Value::Null);
    assert_eq!((status, code(&answer)), (409, "placement.concurrent_update"));
    let generation = lab.generation(&child);
    let empty = json!({"resource_provider_generation": generation, "inventories": {}});
    let (status, answer) = lab.admin("PUT", &format!("/placement/resource_providers/{child}/inventories"), empty);
    assert_eq!((status, code(&answer)), (409, "placement.inventory.inuse"));
    let (status, answer) = lab.admin("DELETE", &format!("/placement/resource_providers/{child}"), Value::Null);
    assert_eq!((status, code(&answer)), (409, "placement.resource_provider.inuse"));
}

#[test]
fn a_compute_takes_back_its_own_inventory_but_leaves_its_children_alone() {
    let mut lab = Lab::new();
    let child = lab.tokens("cmp1", "CUSTOM_A", 2, true);
    let root = lab.provider("cmp1");
    let generation = lab.generation(&root);
    let body = json!({"resource_class": "CUSTOM_A", "resource_provider_generation": generation, "total": 5});
    assert_eq!(lab.admin("POST", &format!("/placement/resource_providers/{root}/inventories"), body).0, 201);
    lab.pass(75_000);
    let classes = |lab: &mut Lab, provider: &str| -> Vec<String> {
        let (_, body) = lab.admin("GET", &format!("/placement/resource_providers/{provider}/inventories"), Value::Null);
        body["inventories"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(classes(&mut lab, &root), ["DISK_GB", "MEMORY_MB", "VCPU"]);
    assert_eq!(classes(&mut lab, &child), ["CUSTOM_A"]);
}

#[test]
fn overcommit_multiplies_capacity_but_not_the_largest_unit() {
    let mut config = leasehold_cloudsim::CloudConfig::default();
    config.hosts[0].cpu_ratio = 4.0;
    let mut lab = Lab::with(config);
    let root = lab.provider("cmp1");
    for number in 0..4 {
        let target = format!("/placement/allocations/33333333-3333-4333-8333-33333333333{number}");
        assert_eq!(lab.admin("PUT", &target, wish(&root, 10, None)).0, 204);
    }
    assert_eq!(lab.admin("PUT", &format!("/placement/allocations/{HOLD}"), wish(&root, 1, None)).0, 409);
}

#[test]
fn strangers_and_wrong_versions_are_refused() {
    let mut lab = Lab::new();
    assert_eq!(lab.demo("GET", "/placement/resource_providers", Value::Null).0, 403);
    assert_eq!(lab.call("nonsense", "GET", "/placement/resource_providers", Value::Null).0, 401);
    let token = lab.admin.clone();
    let request = lab.request(&token, "GET", "/placement/resource_providers", &Value::Null);
    let request = request.header("OpenStack-API-Version", "placement 1.999");
    assert_eq!(lab.answer(request).status, 406);
}
