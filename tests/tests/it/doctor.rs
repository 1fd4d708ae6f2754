//! `leasehold doctor` as an operator runs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use leasehold_client::NewHost;
use leasehold_client::model::PoolKind;
use leasehold_tests::binaries;
use leasehold_tests::cloud::{CloudProcess, CloudSettings, Tenant};
use leasehold_tests::process::Process;
use leasehold_tests::settings::{Addresses, Auth, Settings, Timing};
use leasehold_tests::wait::wait_for;
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{PATIENCE, Rig, rig, rig_with};

async fn doctor(config: &Path, more: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binaries::leasehold().unwrap());
    command.env_clear().args(["doctor", "--config"]).arg(config).args(more).output().await.unwrap()
}

/// Exit code, and the checks by their subject: verdict and all that is told.
async fn checks(config: &Path) -> (i32, BTreeMap<String, (String, String)>) {
    checks_with(config, &[]).await
}

async fn checks_with(config: &Path, more: &[&str]) -> (i32, BTreeMap<String, (String, String)>) {
    let output = doctor(config, &[&["--output", "json", "--deadline", "5"], more].concat()).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let check = |check: &Value| (text(&check["subject"]), (text(&check["verdict"]), check.to_string()));
    (output.status.code().unwrap(), document["checks"].as_array().unwrap().iter().map(check).collect())
}

/// One host, shared with ordinary servers.
async fn shared() -> (Rig, Tenant) {
    let rig = rig(0).await;
    let host = NewHost { name: "cmp1".to_owned(), pool: PoolKind::Shared, properties: BTreeMap::new() };
    rig.client.register_host(rig.client.new_key(), host).await.unwrap();
    let admin = rig.cloud.tenant("admin").await.unwrap();
    (rig, admin)
}

/// An ordinary server that is shelved: Nova's two ways of counting differ by it.
async fn shelve_one(rig: &Rig, admin: &Tenant) {
    let flavor = admin.create_flavor("ordinary", 1, 512, 1).await.unwrap();
    let tenant = rig.cloud.tenant("demo").await.unwrap();
    let server = tenant.boot("one", &flavor, &tenant.image().await.unwrap()).await.unwrap().unwrap();
    for (status, action) in [("ACTIVE", Some("shelve")), ("SHELVED_OFFLOADED", None)] {
        wait_for(status, PATIENCE, || async {
            let seen = tenant.server(&server).await.unwrap().unwrap();
            if seen["status"] == status { Ok(()) } else { Err(seen["status"].to_string()) }
        })
        .await
        .unwrap();
        if let Some(action) = action {
            let path = format!("/servers/{server}/action");
            let (answered, body) = tenant.compute(Method::POST, &path, Some(&json!({ action: null }))).await.unwrap();
            assert!(answered.is_success(), "{body}");
        }
    }
}

#[tokio::test]
async fn a_healthy_cloud_is_all_ok_and_the_quota_mode_is_told_only_where_it_shows() {
    let (rig, admin) = shared().await;
    let config = rig.cluster.nodes()[0].config();
    let (code, found) = checks(&config).await;
    assert_eq!(code, 0, "{found:#?}");
    assert_eq!(found["nova: quota"].0, "unknown", "nothing shows it yet: {found:#?}");
    shelve_one(&rig, &admin).await;
    let (code, found) = checks(&config).await;
    assert_eq!(code, 0, "{found:#?}");
    let not_ok: Vec<_> = found.iter().filter(|(_, (verdict, _))| verdict != "ok").collect();
    assert!(not_ok.is_empty(), "{not_ok:#?}");
    let looked_at =
        ["configuration", "cluster", "keystone: token", "keystone: roles", "catalog: placement", "nova: microversion"];
    let of_hosts = ["flavors: grain on cmp1", "host cmp1: compute service", "host cmp1: hold", "host cmp1: tokens"];
    for subject in looked_at.iter().chain(&of_hosts).chain(&["nova: quota", "nova: clock", "leftovers: flavors"]) {
        assert!(found.contains_key(*subject), "{subject} in {found:#?}");
    }
    let table = doctor(&config, &[]).await;
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains("host cmp1: providers") && !text.contains("Next steps"), "{text}");
}

#[tokio::test]
async fn what_breaks_a_host_fails_and_what_another_cluster_left_is_told() {
    let (rig, admin) = shared().await;
    let config = rig.cluster.nodes()[0].config();
    admin.create_flavor("odd", 1, 100, 1).await.unwrap();
    let (code, found) = checks(&config).await;
    let (verdict, told) = &found["flavors: grain on cmp1"];
    assert!(code == 1 && verdict == "fail" && told.contains("odd 100 MB"), "{code} {told}");

    let foreign = admin.create_flavor("reservation:elsewhere", 1, 512, 1).await.unwrap();
    let specs = json!({"extra_specs": {"leasehold:cluster": "00000000-0000-0000-0000-000000000001"}});
    let path = format!("/flavors/{foreign}/os-extra_specs");
    assert!(admin.compute(Method::POST, &path, Some(&specs)).await.unwrap().0.is_success());
    let (_, services) = admin.compute(Method::GET, "/os-services?binary=nova-compute", None).await.unwrap();
    let service = format!("/os-services/{}", services["services"][0]["id"].as_str().unwrap());
    let down = json!({"forced_down": true});
    assert!(admin.compute(Method::PUT, &service, Some(&down)).await.unwrap().0.is_success());
    let (code, found) = checks(&config).await;
    let (verdict, told) = &found["leftovers: flavors"];
    assert!(verdict == "warn" && told.contains("reservation:elsewhere"), "{told}");
    let (verdict, told) = &found["host cmp1: compute service"];
    assert!(code == 1 && verdict == "fail" && told.contains("forced down") && told.contains("next"), "{code} {told}");
    assert_eq!(found["host cmp1: hold"].0, "ok", "{found:#?}");
}

#[tokio::test]
async fn a_keystone_that_is_not_there_or_refuses_is_told_without_any_secret() {
    let rig = rig(0).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("leasehold.toml");
    let at = Addresses::free().unwrap();
    let file = |auth_url: String| {
        let settings = Settings { auth_url: Some(auth_url), ..Settings::default() };
        settings.file(1, folder.path(), &at).replace("password = \"oslab\"", "password = \"hunter2-of-the-service\"")
    };
    for (auth_url, expected) in [
        (format!("http://{}/v3", at.metrics), "cannot be reached"),
        (rig.cloud.auth_url().to_owned(), "refuses the service user (401)"),
    ] {
        std::fs::write(&config, file(auth_url)).unwrap();
        let (code, found) = checks(&config).await;
        let (verdict, told) = &found["keystone: token"];
        assert!(code == 1 && verdict == "fail" && told.contains(expected), "{code} {told}");
        assert_eq!(found["cluster"].0, "fail", "no node runs there: {found:#?}");
        let output = doctor(&config, &["--deadline", "1"]).await;
        assert!(!format!("{output:?} {found:?}").contains("hunter2"), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Next steps") && text.contains("fail keystone: token"), "{text}");
    }
    std::fs::write(&config, "[node]\nid = 0\n").unwrap();
    let (code, found) = checks(&config).await;
    assert!(code == 1 && found["configuration"].1.contains("node.id"), "{code} {found:#?}");
}

#[tokio::test]
async fn the_service_users_token_stays_on_this_machine_and_a_cluster_that_is_not_reached_fails() {
    let rig = rig_with(0, Auth::Keystone, Timing::default()).await;
    let node = &rig.cluster.nodes()[0];
    let (_, found) = checks(&node.config()).await;
    assert_eq!(found["cluster"].0, "ok", "over loopback it comes as the service user: {found:#?}");
    let elsewhere = ["--endpoint", &node.at.grpc.to_string(), "--endpoint", "192.0.2.1:1235"];
    let (code, found) = checks_with(&node.config(), &elsewhere).await;
    let (verdict, told) = &found["cluster"];
    assert!(code == 1 && verdict == "fail" && told.contains("not sent to 192.0.2.1:1235"), "{code} {told}");
    assert!(told.contains("give --token or --ca-file"), "{told}");
    assert_eq!(found["hosts, flavors, leftovers"].0, "skipped", "{found:#?}");

    let nobody = leasehold_tests::ports::free().unwrap().to_string();
    let (code, found) = checks_with(&node.config(), &["--endpoint", &nobody]).await;
    let (verdict, told) = &found["cluster"];
    assert!(code == 1 && verdict == "fail" && told.contains("next"), "all else is well: {code} {told}");
    assert_eq!(found.values().filter(|(verdict, _)| verdict == "fail").count(), 1, "{found:#?}");
}

#[tokio::test]
async fn a_member_with_a_certificate_is_asked_over_tls_as_the_configuration_has_it() {
    let cloud = CloudProcess::start(&CloudSettings { hosts: 1, ..CloudSettings::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = Addresses::free().unwrap();
    let file = |name: &str| folder.path().join(name);
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), issued.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    let more = format!("[tls]\napi_certificate = {:?}\napi_key = {:?}\n", file("cert.pem"), file("key.pem"));
    let settings = Settings { auth: Auth::Keystone, auth_url: Some(cloud.auth_url().to_owned()), more, ..Settings::default() };
    let config = file("leasehold.toml");
    std::fs::write(&config, settings.file(1, &file("data"), &at)).unwrap();
    let mut server = std::process::Command::new(binaries::leasehold().unwrap());
    server.env_clear().args(["server", "--config"]).arg(&config);
    let _server = Process::start("node 1", server, &file("log")).unwrap();
    let admin = cloud.tenant("admin").await.unwrap();
    let (cert, grpc) = (file("cert.pem"), at.grpc.to_string());
    let init = || async {
        let mut command = tokio::process::Command::new(binaries::leasehold().unwrap());
        command.env_clear().args(["cluster", "init", "--endpoint", &grpc, "--token", admin.token(), "--ca-file"]).arg(&cert);
        let output = command.output().await.unwrap();
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    };
    wait_for("the cluster", PATIENCE, init).await.unwrap();
    let led = || async {
        let (_, found) = checks(&config).await;
        if found["cluster"].0 == "ok" && found.contains_key("hosts") { Ok(()) } else { Err(format!("{found:#?}")) }
    };
    wait_for("the doctor to see it", PATIENCE, led).await.unwrap();
}

/// Gives cmp1 so many anchors of a class of their own, as nova-compute does from a `provider.yaml`.
async fn give_anchors(admin: &Tenant, total: u32) {
    let (_, found) = admin.placement(Method::GET, "/resource_providers?name=cmp1", None).await.unwrap();
    let root = &found["resource_providers"][0];
    let path = format!("/resource_providers/{}/inventories", root["uuid"].as_str().unwrap());
    let (_, mut inventories) = admin.placement(Method::GET, &path, None).await.unwrap();
    inventories["inventories"]["CUSTOM_LH_ANCHOR"] = json!({"total": total});
    let (status, body) = admin.placement(Method::PUT, &path, Some(&inventories)).await.unwrap();
    assert!(status.is_success(), "{body}");
}

#[tokio::test]
async fn a_host_with_anchors_of_their_own_stands_flavors_of_any_memory_and_tells_when_anchors_go() {
    let rig = rig(0).await;
    let config = rig.cluster.nodes()[0].config();
    let admin = rig.cloud.tenant("admin").await.unwrap();
    let (status, body) = admin.placement(Method::PUT, "/resource_classes/CUSTOM_LH_ANCHOR", None).await.unwrap();
    assert!(status.is_success(), "{body}");
    admin.create_flavor("odd", 1, 513, 1).await.unwrap();
    give_anchors(&admin, 6).await;
    let host = NewHost { name: "cmp1".to_owned(), pool: PoolKind::Shared, properties: BTreeMap::new() };
    rig.client.register_host(rig.client.new_key(), host).await.unwrap();
    let (code, found) = checks(&config).await;
    let (verdict, told) = &found["flavors: grain on cmp1"];
    assert!(code == 0 && verdict == "ok" && told.contains("6 anchors of a class of their own"), "{code} {told}");
    assert!(!found.contains_key("host cmp1: anchors"), "{found:#?}");

    give_anchors(&admin, 4).await;
    // The monitor looks every half minute, and the cloud's own compute may have taken all of them away by then.
    let told = wait_for("the missing anchors being told", 2 * PATIENCE, || async {
        let (code, found) = checks(&config).await;
        match found.get("host cmp1: anchors") {
            Some((verdict, told)) => {
                assert_eq!((code, verdict.as_str()), (0, "warn"), "nothing is promised on them: {told}");
                Ok(told.clone())
            }
            None => Err(format!("{found:#?}")),
        }
    })
    .await
    .unwrap();
    assert!(told.contains("of the 6 anchors") && told.contains("provider.yaml"), "{told}");
}
