//! Reservations of servers like a flavor of the cloud (`flavor:instance`), over every face (docs/decisions/0018).

use leasehold_client::command::StartWish;
use leasehold_client::model::SourceFlavor;
use leasehold_client::{DensityWish, Error, NewLease, RefusalKind, WindowWish};
use leasehold_cloudsim::Record;
use leasehold_tests::caller;
use leasehold_tests::cloud::{CloudSettings, Tenant, http_client};
use leasehold_tests::settings::{Auth, Timing};
use leasehold_tests::wait::wait_for;
use reqwest::Method;
use serde_json::{Value, json};

use crate::command_line;
use crate::rig::{PATIENCE, Rig, from_now, rig_on, rig_with, tomorrow};

async fn ask(rig: &Rig, node: usize, tenant: &Tenant, version: &str, what: (Method, &str, Value)) -> (u16, Value) {
    let (method, path, body) = what;
    let request = http_client().unwrap().request(method, format!("{}/{path}", rig.cluster.nodes()[node].rest_url()));
    let request = request.header("X-Auth-Token", tenant.token()).header("OpenStack-API-Version", version);
    let answer = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

const V1_0: &str = "reservation 1.0";
const V1_1: &str = "reservation 1.1";

/// A new lease of two servers like a flavor, from now on.
fn like(flavor: &str, more: Value) -> Value {
    let mut reservation = json!({"resource_type": "flavor:instance", "flavor_id": flavor, "amount": 2, "affinity": null});
    reservation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"name": "like", "start_date": "now", "end_date": "2099-01-01 00:00", "reservations": [reservation], "events": []})
}

/// A flavor of the cloud with a second disk and extra specs; its id.
async fn flavor(admin: &Tenant, name: &str, public: bool, specs: Value) -> String {
    let body = json!({"flavor": {"name": name, "vcpus": 2, "ram": 2048, "disk": 3, "OS-FLV-EXT-DATA:ephemeral": 2,
                                 "os-flavor-access:is_public": public}});
    let (status, made) = admin.compute(Method::POST, "/flavors", Some(&body)).await.unwrap();
    assert!(status.is_success(), "{made}");
    let id = made["flavor"]["id"].as_str().unwrap().to_owned();
    let path = format!("/flavors/{id}/os-extra_specs");
    let (status, made) = admin.compute(Method::POST, &path, Some(&json!({"extra_specs": specs}))).await.unwrap();
    assert!(status.is_success(), "{made}");
    id
}

#[tokio::test]
async fn a_tenant_reserves_by_a_flavor_and_boots_servers_like_it() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let (admin, demo) = (rig.cloud.tenant("admin").await.unwrap(), rig.cloud.tenant("demo").await.unwrap());
    let source = flavor(&admin, "m1.course", true, json!({"hw_rng:allowed": "true", "hw:cpu_policy": "shared"})).await;
    let (status, made) = ask(&rig, 1, &demo, V1_0, (Method::POST, "leases", like(&source, json!({})))).await;
    assert_eq!(status, 201, "{made}");
    let reservation = &made["lease"]["reservations"][0];
    for (key, value) in [
        ("resource_type", json!("flavor:instance")),
        ("vcpus", json!(2)),
        ("memory_mb", json!(2048)),
        ("disk_gb", json!(5)),
        ("amount", json!(2)),
        ("affinity", Value::Null),
        ("server_group_id", Value::Null),
        ("flavor_id", reservation["id"].clone()),
    ] {
        assert_eq!(reservation[key], value, "{key}");
    }
    let told: Value = serde_json::from_str(reservation["resource_properties"].as_str().unwrap()).unwrap();
    assert_eq!(
        told,
        json!({"id": source, "name": "m1.course", "vcpus": 2, "ram": 2048, "disk": 3, "OS-FLV-EXT-DATA:ephemeral": 2, "swap": "",
               "extra_specs": {"hw_rng:allowed": "true"}})
    );
    // What was written is read again, by each node and over gRPC.
    let path = format!("leases/{}", made["lease"]["id"].as_str().unwrap());
    for node in 0..3 {
        let (_, read) = ask(&rig, node, &demo, V1_1, (Method::GET, &path, Value::Null)).await;
        assert_eq!(read["lease"]["reservations"][0]["source_flavor_id"], json!(source), "node {node}");
    }
    let lease = rig.client.get_lease(made["lease"]["id"].as_str().unwrap().parse().unwrap()).await.unwrap().value;
    assert_eq!(lease.reservations[0].wish.instance().flavor.as_ref().unwrap().name, "m1.course");

    // The tenant's servers have what the flavor has.
    let own = reservation["flavor_id"].as_str().unwrap();
    let shown = wait_for("the flavor", PATIENCE, || async {
        let (status, shown) = demo.compute(Method::GET, &format!("/flavors/{own}"), None).await.unwrap();
        if status.is_success() { Ok(shown) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();
    let flavor = &shown["flavor"];
    assert_eq!((&flavor["disk"], &flavor["OS-FLV-EXT-DATA:ephemeral"]), (&json!(3), &json!(2)));
    let (_, specs) = admin.compute(Method::GET, &format!("/flavors/{own}/os-extra_specs"), None).await.unwrap();
    assert_eq!(specs["extra_specs"]["hw_rng:allowed"], json!("true"), "{specs}");
    let image = demo.image().await.unwrap();
    for name in ["a", "b"] {
        demo.boot(name, own, &image).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_a_flavor_cannot_be_is_told_and_nothing_is_booked() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let (admin, demo) = (rig.cloud.tenant("admin").await.unwrap(), rig.cloud.tenant("demo").await.unwrap());
    let public = flavor(&admin, "m1.public", true, json!({})).await;
    let private = flavor(&admin, "m1.private", false, json!({})).await;
    let pinned = flavor(&admin, "m1.pinned", true, json!({"hw:cpu_policy": "dedicated"})).await;
    for (body, status, text) in [
        (like("no-such", json!({})), 404, "Flavor no-such could not be found."),
        (like("../servers", json!({})), 404, "could not be found"),
        (like("..", json!({})), 404, "could not be found"),
        // Under 1.0 an id is asked for.
        (like("m1.public", json!({})), 404, "Flavor m1.public could not be found."),
        // Another's flavor is as unknown as one that is not there.
        (like(&private, json!({})), 404, "could not be found"),
        (like(&pinned, json!({})), 400, "m1.pinned has the extra spec hw:cpu_policy=dedicated"),
        (like(&public, json!({"affinity": true})), 409, "Affinity not supported yet"),
        (like(&public, json!({"amount": 0})), 400, "amount must be >= 1"),
        (like(&public, json!({"amount": null})), 400, "Missing parameter amount"),
        (like(&public, json!({"flavor_id": null})), 400, "Missing parameter flavor_id"),
        (like(&public, json!({"flavor_id": 7})), 400, "flavor_id is 7; it must be a string"),
        (like("", json!({})), 400, "it must be the id or the name of a flavor"),
        (like(&public, json!({"vcpus": 4})), 400, "vcpus is that of the flavor"),
    ] {
        let (told_status, told) = ask(&rig, 2, &demo, V1_0, (Method::POST, "leases", body.clone())).await;
        assert_eq!(told_status, status, "{body}: {told}");
        assert!(told["error_message"].as_str().unwrap().contains(text), "{body}: {told}");
    }
    // As Blazar: under 1.0 affinity is named, if only as null.
    let mut silent = like(&public, json!({}));
    silent["reservations"][0].as_object_mut().unwrap().remove("affinity");
    let (status, told) = ask(&rig, 0, &demo, V1_0, (Method::POST, "leases", silent)).await;
    assert_eq!((status, &told["error_message"]), (400, &json!("Missing parameter affinity")));
    let servers = json!({"servers": ["7a5e9b6c-6c39-4d0c-8f4c-6a7a39dbb6d1"]});
    let (status, told) = ask(&rig, 0, &demo, V1_1, (Method::POST, "leases", like(&public, servers))).await;
    assert_eq!(status, 400, "{told}");
    let (_, listed) = ask(&rig, 0, &demo, V1_0, (Method::GET, "leases", Value::Null)).await;
    assert_eq!(listed["leases"], json!([]));
    // Nobody sees a reservation's own flavor as one to be like.
    let (_, made) = ask(&rig, 0, &demo, V1_0, (Method::POST, "leases", like(&public, json!({})))).await;
    let own = made["lease"]["reservations"][0]["flavor_id"].as_str().unwrap();
    wait_for("the flavor", PATIENCE, || async {
        let (status, told) = ask(&rig, 0, &demo, V1_0, (Method::POST, "leases", like(own, json!({})))).await;
        if status == 400 { Ok(()) } else { Err(format!("{status} {told}")) }
    })
    .await
    .unwrap();
    // While Nova is away nobody says that a flavor is not there.
    rig.cloud.set_fault(&json!({"method": "GET", "path": "/flavors*", "kind": "error", "status": 503})).await.unwrap();
    let (status, told) = ask(&rig, 0, &demo, V1_0, (Method::POST, "leases", like(&public, json!({})))).await;
    assert_eq!(status, 503, "{told}");
}

#[tokio::test]
async fn of_a_lease_by_a_flavor_only_the_name_changes_in_1_0_and_the_amount_and_dates_too_in_1_1() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let (admin, demo) = (rig.cloud.tenant("admin").await.unwrap(), rig.cloud.tenant("demo").await.unwrap());
    let source = flavor(&admin, "m1.course", true, json!({})).await;
    let mut body = like("m1.course", json!({}));
    body["start_date"] = json!("2098-01-01 00:00");
    let (status, made) = ask(&rig, 0, &demo, V1_1, (Method::POST, "leases", body)).await;
    assert_eq!(status, 201, "a name will do: {made}");
    let lease = &made["lease"];
    let path = format!("leases/{}", lease["id"].as_str().unwrap());
    let put = |version, body: Value| ask(&rig, 0, &demo, version, (Method::PUT, &path, body));
    let (status, told) = put(V1_0, json!({"end_date": "2099-02-01 00:00"})).await;
    let blazars = "Updating leases for 'flavor:instance' type reservations is not yet supported.";
    assert_eq!((status, &told["error_message"]), (409, &json!(blazars)));
    assert_eq!(put(V1_0, json!({"name": "other"})).await.0, 200);
    let id = &lease["reservations"][0]["id"];
    // What was shown may be sent back.
    let shown = &lease["reservations"][0]["resource_properties"];
    let more = json!({"end_date": "2099-02-01 00:00", "reservations": [{"id": id, "amount": 3, "resource_properties": shown,
                      "resource_type": "flavor:instance", "vcpus": 2, "flavor_id": id, "source_flavor_id": source}]});
    let (status, told) = put(V1_1, more).await;
    assert_eq!(status, 200, "{told}");
    let reservation = &told["lease"]["reservations"][0];
    assert_eq!((&reservation["amount"], &reservation["source_flavor_id"]), (&json!(3), &json!(source)));
    for change in [
        json!({"vcpus": 3}),
        json!({"resource_properties": "[\"=\", \"$vcpus\", \"2\"]"}),
        json!({"resource_type": "virtual:instance"}),
        json!({"flavor_id": "m1.other"}),
        json!({"source_flavor_id": id}),
        json!({"zone": "nova"}),
        json!({"required_traits": ["HW_CPU_X86_AVX2"]}),
    ] {
        let mut reservation = json!({"id": id});
        reservation.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, told) = put(V1_1, json!({"reservations": [reservation]})).await;
        assert_eq!(status, 409, "{change}: {told}");
    }
}

#[tokio::test]
async fn how_many_more_like_a_flavor_fit_is_told_over_every_face() {
    let rig = rig_with(2, Auth::Keystone, Timing::default()).await;
    let (admin, demo) = (rig.cloud.tenant("admin").await.unwrap(), rig.cloud.tenant("demo").await.unwrap());
    let source = flavor(&admin, "m1.course", true, json!({})).await;
    let sizes = "capacity/density?start_date=now&vcpus=2&memory_mb=2048&disk_gb=5";
    let (_, by_size) = ask(&rig, 0, &demo, V1_1, (Method::GET, sizes, Value::Null)).await;
    let fits = by_size["density"]["largest_amount"].as_u64().unwrap();
    assert!(fits > 1, "{by_size}");
    for named in [source.as_str(), "m1.course"] {
        let by_flavor = format!("capacity/density?start_date=now&flavor_id={named}");
        // It has to have heard from the other's clock, which takes a moment after its start.
        let (status, told) = wait_for("the node to know the time", PATIENCE, async || {
            let (status, told) = ask(&rig, 1, &demo, V1_1, (Method::GET, &by_flavor, Value::Null)).await;
            if status == 503 { Err(told.to_string()) } else { Ok((status, told)) }
        })
        .await
        .unwrap();
        assert_eq!((status, &told["density"]["largest_amount"]), (200, &json!(fits)), "{told}");
    }
    let (status, told) = ask(&rig, 0, &demo, V1_1, (Method::GET, "capacity/density?flavor_id=x&vcpus=1", Value::Null)).await;
    assert_eq!(status, 400, "{told}");

    let client = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let mut wish: NewLease = tomorrow("like");
    let instance = wish.reservations[0].resource.instance_mut();
    (instance.vcpus, instance.memory_mb, instance.disk_gb) = (0, 0, 0);
    instance.flavor = Some(SourceFlavor { name: "m1.course".to_owned(), ..SourceFlavor::default() }.into());
    let window = WindowWish { start: StartWish::At(from_now(86_400)), end: from_now(90_000) };
    let density = DensityWish { instance: instance.clone(), whole_hosts: false, seek: false, among: None, window };
    assert_eq!(u64::from(client.density(density).await.unwrap().value.fits.largest_amount), fits);
    let made = client.create_lease(client.new_key(), wish.clone()).await.unwrap().value;
    let instance = made.reservations[0].wish.instance();
    assert_eq!((instance.vcpus, instance.disk_gb, instance.flavor.as_ref().unwrap().id.as_str()), (2, 5, source.as_str()));
    wish.reservations[0].resource.instance_mut().flavor =
        Some(SourceFlavor { id: "no-such".to_owned(), ..SourceFlavor::default() }.into());
    match client.create_lease(client.new_key(), wish).await {
        Err(Error::Refused(refused)) => assert_eq!(refused.kind, RefusalKind::NotFound, "{refused:?}"),
        other => panic!("{other:?}"),
    }

    let with_token = async |line: &[&str]| command_line::json(&rig.cluster, &[line, &["--token", demo.token()]].concat()).await;
    let made = with_token(&["lease", "create", "cli", "--flavor", "m1.course", "--end", "+1h"]).await;
    let reservation = &made["reservations"][0];
    assert_eq!((&reservation["resource_type"], &reservation["vcpus"]), (&json!("flavor:instance"), &json!(2)), "{made}");
    assert_eq!(reservation["source_flavor"], json!({"id": source, "name": "m1.course"}));
    let told = with_token(&["capacity", "density", "--flavor", &source]).await;
    assert_eq!(told["largest_amount"], json!(fits - 1), "{told}");
}

/// The answer to a create under a key.
async fn keyed(rig: &Rig, node: usize, tenant: &Tenant, (key, until): (&str, &str), body: &Value) -> (u16, Value) {
    let request = http_client().unwrap().post(format!("{}/leases", rig.cluster.nodes()[node].rest_url()));
    let request = request.header("X-Auth-Token", tenant.token()).header("OpenStack-API-Version", V1_1);
    let request = request.header("Idempotency-Key", key).header("Idempotency-Valid-Until", until);
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn in_ten_minutes() -> String {
    let at = chrono::DateTime::from_timestamp(from_now(600).unix_s() as i64, 0).unwrap();
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[tokio::test]
async fn a_create_that_is_repeated_under_its_key_is_answered_whatever_became_of_the_flavor_and_of_nova() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let (admin, demo) = (rig.cloud.tenant("admin").await.unwrap(), rig.cloud.tenant("demo").await.unwrap());
    let source = flavor(&admin, "m1.course", true, json!({"hw_rng:allowed": "true"})).await;
    // How long a key is valid is part of what is repeated.
    let until = in_ten_minutes();
    let key = |id: &'static str| (id, until.as_str());
    let (lease, series) = (key("9b2c7c62-0d3b-4a43-8b5b-0a86c1c2b001"), key("9b2c7c62-0d3b-4a43-8b5b-0a86c1c2b002"));
    let mut one = like("m1.course", json!({"amount": 1}));
    one["start_date"] = json!("2098-01-01 00:00");
    let mut many = one.clone();
    many["end_date"] = json!("2098-01-01 01:00");
    many["recurrence"] = json!({"rule": "FREQ=DAILY;COUNT=2"});
    let (status, made) = keyed(&rig, 0, &demo, lease, &one).await;
    assert_eq!(status, 201, "{made}");
    let (status, booked) = keyed(&rig, 0, &demo, series, &many).await;
    assert_eq!(status, 201, "{booked}");
    let again = async |what: &str| {
        for node in 0..3 {
            let (status, told) = keyed(&rig, node, &demo, lease, &one).await;
            assert_eq!((status, &told["lease"]["id"]), (201, &made["lease"]["id"]), "{what}: {told}");
            let (status, told) = keyed(&rig, node, &demo, series, &many).await;
            assert_eq!((status, &told["series"]), (201, &booked["series"]), "{what}: {told}");
        }
        let (status, told) = keyed(&rig, 1, &demo, lease, &like("m1.course", json!({"amount": 3}))).await;
        assert_eq!(status, 409, "{what}, another content: {told}");
    };
    again("as it was").await;
    let specs = format!("/flavors/{source}/os-extra_specs");
    let (status, told) =
        admin.compute(Method::POST, &specs, Some(&json!({"extra_specs": {"hw:cpu_policy": "dedicated"}}))).await.unwrap();
    assert!(status.is_success(), "{told}");
    again("changed").await;
    rig.cloud.set_fault(&json!({"method": "GET", "path": "/flavors*", "kind": "error", "status": 503})).await.unwrap();
    again("Nova is away").await;
    let fresh = key("9b2c7c62-0d3b-4a43-8b5b-0a86c1c2b003");
    let (status, told) = keyed(&rig, 0, &demo, fresh, &one).await;
    assert_eq!(status, 503, "a key that nobody knows: {told}");
    rig.cloud.clear_faults().await.unwrap();
    let (status, told) = admin.compute(Method::DELETE, &format!("/flavors/{source}"), None).await.unwrap();
    assert!(status.is_success(), "{told}");
    again("deleted").await;
}

#[tokio::test]
async fn a_flavor_is_looked_up_once_a_request() {
    let rig =
        rig_on(CloudSettings { hosts: 1, record_reads: true, ..CloudSettings::default() }, Auth::Keystone, Timing::default())
            .await;
    let (admin, demo) = (rig.cloud.tenant("admin").await.unwrap(), rig.cloud.tenant("demo").await.unwrap());
    let source = flavor(&admin, "m1.course", true, json!({})).await;
    let other = flavor(&admin, "m1.other", true, json!({})).await;
    let looked_up = async |id: &str| {
        let path = format!("/flavors/{id}");
        let is_lookup = |record: &&Record| record.method == "GET" && record.path.ends_with(&path);
        rig.cloud.record().await.unwrap().iter().filter(is_lookup).count()
    };
    let before = looked_up(&source).await;
    let mut body = like(&source, json!({"amount": 1}));
    let one = body["reservations"][0].clone();
    let mut second = one.clone();
    second["flavor_id"] = json!(other);
    body["reservations"] = json!([one, one, second, one]);
    body["start_date"] = json!("2098-01-01 00:00");
    let (status, made) = ask(&rig, 0, &demo, V1_1, (Method::POST, "leases", body)).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!((looked_up(&source).await - before, looked_up(&other).await), (1, 1));
}
