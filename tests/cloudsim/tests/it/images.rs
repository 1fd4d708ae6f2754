//! Glance: snapshots, whose they are, and what becomes of the image of a shelve.

use serde_json::{Value, json};

use crate::support::Lab;

/// A running server of the tenant and the id of its project.
fn running() -> (Lab, String, String) {
    let mut lab = Lab::new();
    let flavor = lab.flavor("f", 1, 512, &json!({}));
    let server = lab.boot(&flavor);
    assert_eq!(lab.settle(&server), "ACTIVE");
    let project = lab.server(&server)["tenant_id"].as_str().unwrap().to_owned();
    (lab, server, project)
}

fn give(lab: &mut Lab, token: &str, image: &str, project: &str) -> u16 {
    let body = json!([{"op": "replace", "path": "/owner", "value": project}]);
    let request = lab
        .request(token, "PATCH", &format!("/image/v2/images/{image}"), &body)
        .header("Content-Type", "application/openstack-images-v2.1-json-patch");
    lab.answer(request).status
}

fn listed(lab: &mut Lab, name: &str) -> usize {
    let (_, body) = lab.demo("GET", &format!("/image/v2/images?name={name}"), Value::Null);
    body["images"].as_array().unwrap().len()
}

#[test]
fn a_snapshot_by_the_service_user_is_the_tenants_only_once_given() {
    let (mut lab, server, project) = running();
    let (status, body) = lab.act(&server, json!({"createImage": {"name": "snap", "metadata": {"key": "k1"}}}));
    assert_eq!(status, 202);
    let image = body["image_id"].as_str().unwrap().to_owned();
    let at = format!("/image/v2/images/{image}");
    let mut seen = Vec::new();
    for _ in 0..300 {
        let status = lab.admin("GET", &at, Value::Null).1["status"].clone();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
    }
    assert_eq!(json!(seen), json!(["queued", "saving", "active"]));
    let shown = lab.demo("GET", &at, Value::Null).1;
    assert_eq!((&shown["visibility"], &shown["instance_uuid"], &shown["key"]), (&json!("shared"), &json!(server), &json!("k1")));
    assert_eq!(listed(&mut lab, "snap"), 0, "a pending member finds it by id only");
    let (admin, demo) = (lab.admin.clone(), lab.demo.clone());
    assert_eq!(give(&mut lab, &demo, &image, &project), 403);
    assert_eq!(lab.demo("DELETE", &at, Value::Null).0, 403);
    assert_eq!(give(&mut lab, &admin, &image, &project), 200);
    assert_eq!(listed(&mut lab, "snap"), 1);
    assert_eq!(lab.demo("DELETE", &at, Value::Null).0, 204);
}

#[test]
fn the_image_of_a_shelve_goes_with_the_rights_of_whoever_unshelves() {
    for (given, left) in [(true, 0), (false, 1)] {
        let (mut lab, server, project) = running();
        assert_eq!(lab.act(&server, json!({"shelve": null})).0, 202);
        assert_eq!(lab.settle(&server), "SHELVED_OFFLOADED");
        let images = |lab: &mut Lab| {
            let (_, body) = lab.admin("GET", "/image/v2/images?name=vm-shelved", Value::Null);
            body["images"].as_array().unwrap().clone()
        };
        let image = images(&mut lab)[0]["id"].as_str().unwrap().to_owned();
        let admin = lab.admin.clone();
        if given {
            assert_eq!(give(&mut lab, &admin, &image, &project), 200);
        }
        let target = format!("/compute/v2.1/servers/{server}/action");
        assert_eq!(lab.demo("POST", &target, json!({"unshelve": null})).0, 202);
        assert_eq!(lab.settle(&server), "ACTIVE");
        assert_eq!(images(&mut lab).len(), left, "given: {given}");
    }
}

#[test]
fn an_image_can_be_uploaded_and_booted_from() {
    let (mut lab, _, _) = running();
    let body = json!({"name": "mine", "disk_format": "raw", "container_format": "bare"});
    let (status, body) = lab.demo("POST", "/image/v2/images", body);
    assert_eq!((status, &body["status"]), (201, &json!("queued")));
    let id = body["id"].as_str().unwrap().to_owned();
    let flavor = lab.flavor("g", 1, 512, &json!({}));
    let boot = json!({"server": {"name": "vm2", "imageRef": id, "flavorRef": flavor, "networks": "none"}});
    assert_eq!(lab.demo("POST", "/compute/v2.1/servers", boot.clone()).0, 400, "not active yet");
    let token = lab.demo.clone();
    let mut upload = lab.request(&token, "PUT", &format!("/image/v2/images/{id}/file"), &Value::Null);
    upload.body = bytes::Bytes::from_static(b"\x00\x01\x02");
    assert_eq!(lab.answer(upload).status, 204);
    assert_eq!(lab.demo("POST", "/compute/v2.1/servers", boot).0, 202);
}
