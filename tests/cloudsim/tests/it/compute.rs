//! Nova: the life of servers, the scheduler, who may do what.

use leasehold_cloudsim::{CloudConfig, HostSpec};
use serde_json::{Value, json};

use crate::support::Lab;

const HELD: &str = "CUSTOM_RESERVATION_X";

/// Extra specs that take a token and one megabyte of the root, as a held server does.
fn held_specs() -> Value {
    json!({
        "resources:VCPU": "0", "resources:MEMORY_MB": "1", "resources:DISK_GB": "0",
        "resources:CUSTOM_RESERVATION_X": "1", "hw:cpu_policy": "shared",
    })
}

#[test]
fn a_held_server_lives_only_while_its_tokens_are_open() {
    let mut lab = Lab::new();
    let root = lab.provider("cmp2");
    // All but a few megabytes of the host are held by a consumer.
    let hold = json!({
        "allocations": {&root: {"resources": {"VCPU": 10, "MEMORY_MB": 8000, "DISK_GB": 1000}}}, "project_id": "p",
        "user_id": "u", "consumer_generation": null, "consumer_type": "HOLD",
    });
    let consumer = "/placement/allocations/11111111-1111-4111-8111-111111111111";
    assert_eq!(lab.admin("PUT", consumer, hold).0, 204);
    let child = lab.tokens("cmp2", HELD, 1, false);
    let flavor = lab.flavor("held", 2, 512, &held_specs());

    let refused = lab.boot(&flavor);
    assert_eq!(lab.settle(&refused), "ERROR");
    assert_eq!(lab.server(&refused)["fault"]["message"], "No valid host was found. ");

    lab.set_tokens(&child, HELD, 1, true);
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.server(&server)["OS-EXT-SRV-ATTR:host"], "cmp2");
    let (_, allocations) = lab.admin("GET", &format!("/placement/allocations/{server}"), Value::Null);
    assert_eq!(allocations["allocations"][&root]["resources"], json!({"MEMORY_MB": 1}));
    assert_eq!(allocations["allocations"][&child]["resources"], json!({HELD: 1}));
    let second = lab.boot(&flavor);
    assert_eq!(lab.settle(&second), "ERROR");

    lab.set_tokens(&child, HELD, 1, false);
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    let (_, allocations) = lab.admin("GET", &format!("/placement/allocations/{server}"), Value::Null);
    assert_eq!(allocations["allocations"], json!({}));

    // Closed: accepted, then back again without a fault; only the action tells.
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    assert!(lab.server(&server).get("fault").is_none());
    let (_, actions) = lab.admin("GET", &format!("/compute/v2.1/servers/{server}/os-instance-actions"), Value::Null);
    assert_eq!(actions["instanceActions"][0]["action"], "unshelve");
    assert_eq!(actions["instanceActions"][0]["message"], "Error");

    lab.set_tokens(&child, HELD, 1, true);
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.demo("DELETE", &format!("/compute/v2.1/servers/{server}"), Value::Null).0, 204);
    lab.pass(1000);
    assert_eq!(lab.admin("GET", &format!("/compute/v2.1/servers/{server}"), Value::Null).0, 404);
    let (_, usages) = lab.admin("GET", &format!("/placement/resource_providers/{child}/usages"), Value::Null);
    assert_eq!(usages["usages"][HELD], 0);
}

#[test]
fn a_server_needs_the_root_provider_in_its_allocation() {
    let mut lab = Lab::new();
    lab.tokens("cmp1", HELD, 1, true);
    let mut specs = held_specs();
    specs["resources:MEMORY_MB"] = json!("0");
    let flavor = lab.flavor("rootless", 1, 512, &specs);
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ERROR");
}

#[test]
fn an_ordinary_server_is_refused_what_a_consumer_holds() {
    let mut lab = Lab::with(CloudConfig { hosts: vec![HostSpec::new("cmp1")], ..CloudConfig::default() });
    let root = lab.provider("cmp1");
    let flavor = lab.flavor("f", 4, 512, &json!({}));
    let hold = json!({
        "allocations": {&root: {"resources": {"VCPU": 7}}}, "project_id": "p", "user_id": "u",
        "consumer_generation": null, "consumer_type": "HOLD",
    });
    let consumer = "/placement/allocations/11111111-1111-4111-8111-111111111111";
    assert_eq!(lab.admin("PUT", consumer, hold).0, 204);
    let refused = lab.boot(&flavor);
    assert_eq!(lab.settle(&refused), "ERROR");
    assert_eq!(lab.admin("DELETE", consumer, Value::Null).0, 204);
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
}

#[test]
fn a_shelve_goes_through_novas_states_in_novas_order() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    let mut seen = Vec::new();
    for _ in 0..400 {
        let body = lab.server(&server);
        let state = (body["status"].clone(), body["OS-EXT-STS:task_state"].clone());
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    let expected = [
        json!(["ACTIVE", "shelving"]),
        json!(["ACTIVE", "shelving_image_pending_upload"]),
        json!(["ACTIVE", "shelving_image_uploading"]),
        json!(["SHELVED", "shelving_offloading"]),
        json!(["SHELVED_OFFLOADED", null]),
    ];
    assert_eq!(json!(seen), json!(expected));
}

#[test]
fn a_verb_that_the_state_forbids_is_refused_in_novas_words() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    let refused = |lab: &mut Lab, verb: &str, state: &str| {
        let (status, body) = lab.act(&server, json!({ verb: null }));
        let text = format!("Cannot '{verb}' instance {server} while it is in {state}");
        assert_eq!((status, body["conflictingRequest"]["message"].as_str()), (409, Some(text.as_str())));
    };
    refused(&mut lab, "shelve", "vm_state building");
    assert_eq!(lab.settle(&server), "ACTIVE");
    refused(&mut lab, "unshelve", "vm_state active");
    refused(&mut lab, "shelveOffload", "vm_state active");
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    refused(&mut lab, "shelve", "task_state shelving");
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    refused(&mut lab, "shelve", "vm_state shelved_offloaded");
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    refused(&mut lab, "unshelve", "task_state unshelving");
}

#[test]
fn offloading_can_be_left_to_the_caller() {
    let mut config = CloudConfig::default();
    config.timings.offload_after_ms = -1;
    let mut lab = Lab::with(config);
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED");
    let (_, allocations) = lab.admin("GET", &format!("/placement/allocations/{server}"), Value::Null);
    assert_ne!(allocations["allocations"], json!({}));
    assert_eq!(lab.act(&server, json!({"shelveOffload": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
}

#[test]
fn a_private_flavor_is_for_those_who_were_given_it() {
    let mut lab = Lab::new();
    let body = json!({"flavor": {
        "id": "rid", "name": "reservation:rid", "vcpus": 1, "ram": 512, "disk": 1, "os-flavor-access:is_public": false,
    }});
    assert_eq!(lab.admin("POST", "/compute/v2.1/flavors", body.clone()).0, 200);
    assert_eq!(lab.admin("POST", "/compute/v2.1/flavors", body).0, 409);
    assert_eq!(lab.demo("GET", "/compute/v2.1/flavors/rid", Value::Null).0, 404);
    let image = lab.image();
    let boot = json!({"server": {"name": "vm", "imageRef": image, "flavorRef": "rid", "networks": "none"}});
    assert_eq!(lab.demo("POST", "/compute/v2.1/servers", boot.clone()).0, 400);
    let (_, projects) = lab.admin("GET", "/identity/v3/projects?name=demo", Value::Null);
    let action = json!({"addTenantAccess": {"tenant": projects["projects"][0]["id"]}});
    assert_eq!(lab.admin("POST", "/compute/v2.1/flavors/rid/action", action.clone()).0, 200);
    assert_eq!(lab.admin("POST", "/compute/v2.1/flavors/rid/action", action.clone()).0, 409);
    let (status, body) = lab.demo("POST", "/compute/v2.1/servers", boot);
    assert_eq!(status, 202);
    let server = body["server"]["id"].as_str().unwrap().to_owned();
    assert_eq!(lab.settle(&server), "ACTIVE");
    // A parked server wakes without access and even without its flavor.
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    let remove = json!({"removeTenantAccess": {"tenant": projects["projects"][0]["id"]}});
    assert_eq!(lab.admin("POST", "/compute/v2.1/flavors/rid/action", remove.clone()).0, 200);
    assert_eq!(lab.admin("POST", "/compute/v2.1/flavors/rid/action", remove).0, 404);
    let listed = |lab: &mut Lab| {
        let (_, body) = lab.admin("GET", "/compute/v2.1/servers?all_tenants=1&flavor=rid", Value::Null);
        body["servers"].as_array().unwrap().len()
    };
    assert_eq!(listed(&mut lab), 1);
    assert_eq!(lab.admin("DELETE", "/compute/v2.1/flavors/rid", Value::Null).0, 202);
    assert_eq!(listed(&mut lab), 0, "Nova does not list by a flavor that is gone");
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "ACTIVE");
}

#[test]
fn servers_keep_apart_or_together_as_their_group_says() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    for (policy, hosts) in [("anti-affinity", 4), ("affinity", 1)] {
        let body = json!({"server_group": {"name": policy, "policy": policy}});
        let (status, body) = lab.demo("POST", "/compute/v2.1/os-server-groups", body);
        assert_eq!(status, 200);
        let group = body["server_group"]["id"].clone();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let server = lab.boot_with(&flavor, json!({}), json!({"group": group}));
            assert_eq!(lab.settle(&server), "ACTIVE");
            seen.insert(lab.server(&server)["OS-EXT-SRV-ATTR:host"].to_string());
        }
        assert_eq!(seen.len(), hosts, "{policy}");
        if policy == "anti-affinity" {
            let fifth = lab.boot_with(&flavor, json!({}), json!({"group": group}));
            assert_eq!(lab.settle(&fifth), "ERROR");
        }
    }
}

#[test]
fn a_group_of_another_project_is_no_hint_for_a_member() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let body = json!({"server_group": {"name": "theirs", "policy": "affinity"}});
    let (status, body) = lab.admin("POST", "/compute/v2.1/os-server-groups", body);
    assert_eq!(status, 200);
    let group = body["server_group"]["id"].as_str().unwrap().to_owned();
    let image = lab.image();
    let server = json!({
        "server": {"name": "vm", "imageRef": image, "flavorRef": flavor, "networks": "none"},
        "os:scheduler_hints": {"group": group},
    });
    let (status, body) = lab.demo("POST", "/compute/v2.1/servers", server.clone());
    assert_eq!(status, 400);
    assert_eq!(body["badRequest"]["message"], format!("Instance group {group} could not be found."));
    assert_eq!(lab.admin("POST", "/compute/v2.1/servers", server).0, 202);
}

#[test]
fn groups_count_against_the_quota_of_their_project_and_administrators_delete_those_of_all() {
    let mut lab = Lab::new();
    let body = || json!({"server_group": {"name": "mine", "policy": "affinity"}});
    let (status, made) = lab.demo("POST", "/compute/v2.1/os-server-groups", body());
    assert_eq!(status, 200);
    let project = made["server_group"]["project_id"].as_str().unwrap().to_owned();
    let quota = format!("/compute/v2.1/os-quota-sets/{project}");
    let (status, set) = lab.admin("PUT", &quota, json!({"quota_set": {"server_groups": 1}}));
    assert_eq!((status, &set["quota_set"]["server_groups"]), (200, &json!(1)));
    let (status, refused) = lab.demo("POST", "/compute/v2.1/os-server-groups", body());
    assert_eq!((status, &refused["forbidden"]["message"]), (403, &json!("Quota exceeded, too many server groups.")));
    assert_eq!(lab.admin("POST", "/compute/v2.1/os-server-groups", body()).0, 200, "another project's");
    let listed = |lab: &mut Lab, query: &str| {
        let (_, body) = lab.admin("GET", &format!("/compute/v2.1/os-server-groups{query}"), Value::Null);
        body["server_groups"].as_array().unwrap().len()
    };
    assert_eq!((listed(&mut lab, ""), listed(&mut lab, "?all_projects=True")), (1, 2));
    let path = format!("/compute/v2.1/os-server-groups/{}", made["server_group"]["id"].as_str().unwrap());
    assert_eq!(lab.admin("DELETE", &path, Value::Null).0, 204);
    assert_eq!(lab.demo("POST", "/compute/v2.1/os-server-groups", body()).0, 200);
}

#[test]
fn disabled_and_dead_hosts_get_no_servers() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let (_, services) = lab.admin("GET", "/compute/v2.1/os-services?binary=nova-compute", Value::Null);
    let services = services["services"].as_array().unwrap().clone();
    assert_eq!(services.len(), 4);
    let put = |lab: &mut Lab, number: usize, body: Value| {
        let id = services[number]["id"].as_str().unwrap();
        assert_eq!(lab.admin("PUT", &format!("/compute/v2.1/os-services/{id}"), body).0, 200);
    };
    put(&mut lab, 0, json!({"status": "disabled", "disabled_reason": "test"}));
    put(&mut lab, 1, json!({"forced_down": true}));
    assert!(lab.cloud.set_host_alive("cmp3", false));
    for _ in 0..3 {
        let server = lab.boot(&flavor);
        assert_eq!(lab.settle(&server), "ACTIVE");
        assert_eq!(lab.server(&server)["OS-EXT-SRV-ATTR:host"], "cmp4");
    }
    put(&mut lab, 0, json!({"status": "enabled"}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.server(&server)["OS-EXT-SRV-ATTR:host"], "cmp1");
}

#[test]
fn aggregates_make_zones_and_keep_tenants_apart() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let make = |lab: &mut Lab, body: Value, host: &str, metadata: Value| -> u64 {
        let (_, body) = lab.admin("POST", "/compute/v2.1/os-aggregates", json!({"aggregate": body}));
        let id = body["aggregate"]["id"].as_u64().unwrap();
        let target = format!("/compute/v2.1/os-aggregates/{id}/action");
        assert_eq!(lab.admin("POST", &target, json!({"add_host": {"host": host}})).0, 200);
        assert_eq!(lab.admin("POST", &target, json!({"add_host": {"host": host}})).0, 409);
        assert_eq!(lab.admin("POST", &target, json!({"set_metadata": {"metadata": metadata}})).0, 200);
        id
    };
    make(&mut lab, json!({"name": "z", "availability_zone": "east"}), "cmp4", json!({}));
    for host in ["cmp1", "cmp2"] {
        make(&mut lab, json!({"name": format!("own-{host}")}), host, json!({"filter_tenant_id": "someone-else"}));
    }
    let east = lab.boot_with(&flavor, json!({"availability_zone": "east"}), json!({}));
    assert_eq!(lab.settle(&east), "ACTIVE");
    assert_eq!(lab.server(&east)["OS-EXT-SRV-ATTR:host"], "cmp4");
    assert_eq!(lab.server(&east)["OS-EXT-AZ:availability_zone"], "east");
    let nova = lab.boot_with(&flavor, json!({"availability_zone": "nova"}), json!({}));
    assert_eq!(lab.settle(&nova), "ACTIVE");
    assert_eq!(lab.server(&nova)["OS-EXT-SRV-ATTR:host"], "cmp3");
}

#[test]
fn removing_a_child_provider_breaks_boots_on_its_host_for_a_while() {
    let mut lab = Lab::with(CloudConfig { hosts: vec![HostSpec::new("cmp1")], ..CloudConfig::default() });
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let child = lab.tokens("cmp1", HELD, 1, true);
    assert_eq!(lab.admin("DELETE", &format!("/placement/resource_providers/{child}"), Value::Null).0, 204);
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ERROR");
    lab.pass(300_000);
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
}

#[test]
fn quotas_refuse_a_boot_but_never_an_unshelve_by_default() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
    let (_, projects) = lab.admin("GET", "/identity/v3/projects?name=demo", Value::Null);
    let target = format!("/compute/v2.1/os-quota-sets/{}", projects["projects"][0]["id"].as_str().unwrap());
    assert_eq!(lab.admin("PUT", &target, json!({"quota_set": {"instances": 0}})).0, 400);
    assert_eq!(lab.admin("PUT", &target, json!({"quota_set": {"instances": 0, "force": true}})).0, 200);
    let image = lab.image();
    let boot = json!({"server": {"name": "vm", "imageRef": image, "flavorRef": flavor, "networks": "none"}});
    let (status, body) = lab.demo("POST", "/compute/v2.1/servers", boot);
    assert_eq!(status, 403);
    let text = "Quota exceeded for instances: Requested 1, but already used 1 of 0 instances";
    assert_eq!(body["forbidden"]["message"], text);
    assert_eq!(lab.act(&server, json!({"unshelve": null})).0, 202);
    assert_eq!(lab.settle(&server), "ACTIVE");
}

#[test]
fn a_tenant_sees_and_does_only_what_is_its_own() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    let other = lab.login("alt_demo", "alt_demo");
    let at = format!("/compute/v2.1/servers/{server}");
    assert_eq!(lab.call(&other, "GET", &at, Value::Null).0, 404);
    assert_eq!(lab.call(&other, "DELETE", &at, Value::Null).0, 404);
    assert_eq!(lab.call(&other, "POST", &format!("{at}/action"), json!({"shelve": null})).0, 404);
    for target in ["/compute/v2.1/os-aggregates", "/compute/v2.1/os-hypervisors", "/compute/v2.1/servers?all_tenants=1"] {
        assert_eq!(lab.demo("GET", target, Value::Null).0, 403, "{target}");
    }
    assert!(lab.demo("GET", &at, Value::Null).1["server"].get("OS-EXT-SRV-ATTR:host").is_none());
    assert_eq!(lab.act(&server, json!({"lock": {"locked_reason": "test"}})).0, 202);
    assert_eq!(lab.demo("POST", &format!("{at}/action"), json!({"os-stop": null})).0, 409);
    assert_eq!(lab.act(&server, json!({"os-stop": null})).0, 202, "the lock does not hold an admin");
}

#[test]
fn tags_find_servers() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let (one, two) = (lab.boot(&flavor), lab.boot(&flavor));
    let put =
        |lab: &mut Lab, id: &str, tag: &str| lab.admin("PUT", &format!("/compute/v2.1/servers/{id}/tags/{tag}"), Value::Null).0;
    assert_eq!(put(&mut lab, &one, "parked"), 201);
    assert_eq!(put(&mut lab, &one, "parked"), 204);
    assert_eq!(put(&mut lab, &two, "other"), 201);
    for (query, found) in [("tags=parked", &one), ("tags-any=other,third", &two), ("not-tags=parked", &two)] {
        let (_, body) = lab.admin("GET", &format!("/compute/v2.1/servers?all_tenants=1&{query}"), Value::Null);
        assert_eq!(body["servers"].as_array().unwrap().len(), 1, "{query}");
        assert_eq!(body["servers"][0]["id"], **found, "{query}");
    }
}

#[test]
fn tokens_end_at_their_time() {
    let mut lab = Lab::with(CloudConfig { token_ttl_s: 60, ..CloudConfig::default() });
    assert_eq!(lab.demo("GET", "/compute/v2.1/servers", Value::Null).0, 200);
    lab.pass(61_000);
    assert_eq!(lab.demo("GET", "/compute/v2.1/servers", Value::Null).0, 401);
    assert_eq!(lab.admin("GET", "/placement/traits", Value::Null).0, 401);
    assert_eq!(lab.demo("GET", "/image/v2/images", Value::Null).0, 401);
}

#[test]
fn a_server_can_move_between_hosts() {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    let first = lab.server(&server)["OS-EXT-SRV-ATTR:host"].clone();
    assert_eq!(lab.act(&server, json!({"os-migrateLive": {"host": null, "block_migration": "auto"}})).0, 202);
    assert_eq!(lab.settle(&server), "ACTIVE");
    let second = lab.server(&server)["OS-EXT-SRV-ATTR:host"].clone();
    assert_ne!(first, second);
    assert_eq!(lab.act(&server, json!({"migrate": null})).0, 202);
    assert_eq!(lab.settle(&server), "VERIFY_RESIZE");
    // Both ends are held until it is confirmed.
    let held = lab.cloud.state()["placement"]["allocations"].as_object().unwrap().len();
    assert_eq!(held, 2);
    assert_eq!(lab.act(&server, json!({"confirmResize": null})).0, 204);
    assert_eq!(lab.cloud.state()["placement"]["allocations"].as_object().unwrap().len(), 1);
}
