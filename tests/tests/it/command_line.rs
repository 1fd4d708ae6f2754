//! The `leasehold` binary as a user runs it, against a cluster.

use std::process::Output;

use leasehold_tests::binaries;
use leasehold_tests::cluster::Cluster;
use serde_json::Value;

use crate::rig::rig;

/// Runs a command line against all nodes, and with nothing of the caller's environment.
pub(crate) async fn leasehold(cluster: &Cluster, line: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binaries::leasehold().unwrap());
    command.env_clear().args(line).args(["--endpoint", &cluster.endpoints().join(",")]).output().await.unwrap()
}

/// What it printed, as text; it must have succeeded.
pub(crate) async fn says(cluster: &Cluster, line: &[&str]) -> String {
    let output = leasehold(cluster, line).await;
    assert!(output.status.success(), "{line:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same with `--output json`.
pub(crate) async fn json(cluster: &Cluster, line: &[&str]) -> Value {
    let text = says(cluster, &[line, &["--output", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

/// What it said on standard error, and its exit code.
pub(crate) async fn fails(cluster: &Cluster, line: &[&str]) -> (i32, String) {
    let output = leasehold(cluster, line).await;
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A key as the command line prints it, made now and valid for ten minutes.
pub(crate) fn key() -> String {
    format!("{}@{}", uuid::Uuid::new_v4(), leasehold_tests::wait::wall_ms() + 600_000)
}

pub(crate) const SIZE: [&str; 6] = ["--vcpus", "1", "--memory-mb", "256", "--start", "+1h"];

#[tokio::test]
async fn leases_hosts_and_the_cluster_are_managed_from_the_command_line() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let made = json(cluster, &[&["lease", "create", "build", "--end", "+1h"], &SIZE[..]].concat()).await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((made["name"].as_str(), made["status"].as_str()), (Some("build"), Some("PENDING")), "{made}");

    let listed = json(cluster, &["lease", "list"]).await;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &made["id"]));
    for line in [&["lease", "list"][..], &["lease", "show", "build"], &["lease", "show", &id]] {
        let table = says(cluster, line).await;
        assert!(table.contains("build") && table.contains("PENDING"), "{table}");
    }

    let updated = json(cluster, &["lease", "update", "build", "--name", "test", "--amount", "2"]).await;
    assert_eq!((updated["id"].as_str(), updated["name"].as_str()), (Some(id.as_str()), Some("test")), "{updated}");

    let hosts = json(cluster, &["host", "list"]).await;
    assert_eq!(hosts.as_array().unwrap().len(), 1);
    assert!(says(cluster, &["host", "list"]).await.contains("cmp1"));
    let status = json(cluster, &["cluster", "status"]).await;
    assert_eq!(status["members"].as_array().unwrap().len(), 3, "{status}");
    assert!(says(cluster, &["cluster", "status"]).await.contains("leader"));

    assert!(says(cluster, &["lease", "delete", "test"]).await.contains("is deleted"));
    assert_eq!(json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 0);
    let (code, told) = fails(cluster, &["lease", "show", "test"]).await;
    assert!(code == 1 && told.contains("no lease is called 'test'"), "{code} {told}");
    let (code, told) = fails(cluster, &["lease", "create", "x", "--end", "now", "--vcpus", "1", "--memory-mb", "1"]).await;
    assert!(code == 2 && told.contains("a lease ends after its start"), "{code} {told}");
}

#[tokio::test]
async fn quotas_are_set_shown_and_unset_from_the_command_line() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let set = json(cluster, &["quota", "set", "--project", "default", "vcpus=200", "slots=unlimited"]).await;
    assert_eq!((&set["set"]["slots"], &set["in_force"]["vcpus"]), (&(-1).into(), &200.into()), "{set}");
    let told = says(cluster, &["quota", "show"]).await;
    assert!(told.contains("vcpus") && told.contains("200"), "{told}");
    let unset = json(cluster, &["quota", "unset", "--project", "default", "vcpus", "slots"]).await;
    assert_eq!(unset["set"], serde_json::json!({}), "{unset}");
}

#[tokio::test]
async fn offers_are_made_listed_claimed_and_dropped_from_the_command_line() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let offer = async |name: &str| {
        let made = json(cluster, &[&["offer", "create", name, "--valid", "+30m", "--end", "+1h"], &SIZE[..]].concat()).await;
        assert!(made["offer"]["expires_at"].is_string() && made["offer"]["claimed_at"].is_null(), "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let (held, other) = (offer("held").await, offer("other").await);
    assert_eq!(json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 0);
    let table = says(cluster, &["offer", "list"]).await;
    assert!(table.contains("stands until (UTC)") && table.contains(&held) && table.contains(&other), "{table}");
    assert!(says(cluster, &["offer", "show", "held"]).await.contains("offer until (UTC)"));
    let (code, told) = fails(cluster, &["lease", "show", "held"]).await;
    assert!(code == 1 && told.contains("leasehold offer list"), "{code} {told}");

    let keyed = key();
    for _ in 0..2 {
        assert!(says(cluster, &["offer", "drop", "other", "--key", &keyed]).await.contains("is dropped"));
    }
    let claimed = json(cluster, &["offer", "claim", "held"]).await;
    assert!(claimed["offer"]["claimed_at"].is_string(), "{claimed}");
    assert_eq!(json(cluster, &["offer", "claim", &held]).await["id"], claimed["id"]);
    assert_eq!(json(cluster, &["offer", "list"]).await.as_array().unwrap().len(), 0);
    // What was claimed is not deleted by a slip.
    let (code, told) = fails(cluster, &["offer", "drop", &held]).await;
    assert!(code == 1 && told.contains(&format!("leasehold lease delete {held}")), "{code} {told}");
    assert_eq!(json(cluster, &["lease", "list"]).await[0]["id"], claimed["id"]);
    let (code, told) =
        fails(cluster, &["offer", "create", "x", "--valid", "+1h", "--end", "+1h", "--vcpus", "1", "--memory-mb", "1"]).await;
    assert!(code == 2 && told.contains("--start"), "{code} {told}");
}

#[tokio::test]
async fn a_series_is_booked_listed_and_deleted_from_the_command_line() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let line = [&["lease", "create", "course", "--end", "+1h", "--repeat", "FREQ=DAILY;COUNT=3"], &SIZE[..]].concat();
    let made = json(cluster, &line).await;
    let id = made["series"]["id"].as_str().unwrap().to_owned();
    assert_eq!((made["series"]["leases"].as_array().unwrap().len(), &made["lease"]["series"]["occurrence"]), (3, &1.into()));
    let table = says(cluster, &[&line[..], &["--time-zone", "Europe/Berlin", "--best-effort"]].concat()).await;
    assert!(table.contains("3 leases booked, 0 left out") && table.contains("start (UTC)"), "{table}");
    assert_eq!(json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 6);
    assert_eq!(json(cluster, &["lease", "list", "--series", &id]).await.as_array().unwrap().len(), 3);
    let first = made["lease"]["id"].as_str().unwrap();
    assert!(says(cluster, &["lease", "show", first]).await.contains(&format!("{id}, occurrence 1")));
    assert_eq!(json(cluster, &[&line[..], &["--what-if"]].concat()).await["series"]["occurrences"].as_array().unwrap().len(), 3);
    let forever = [&["lease", "create", "course", "--end", "+1h", "--repeat", "FREQ=DAILY"], &SIZE[..]].concat();
    let (code, told) = fails(cluster, &forever).await;
    assert!(code == 1 && told.contains("it must say COUNT or UNTIL"), "{code} {told}");

    let gone = says(cluster, &["lease", "delete", "--series", &id]).await;
    assert!(gone.contains("3 leases deleted"), "{gone}");
    let (code, told) = fails(cluster, &["lease", "delete", "--series", &id]).await;
    assert!(code == 1 && told.contains("not found"), "{code} {told}");
}

#[tokio::test]
async fn the_same_command_with_its_key_does_nothing_twice_and_answers_alike() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let keyed = key();
    let create = [&["lease", "create", "once", "--end", "+1h", "--key", &keyed], &SIZE[..]].concat();
    let first = json(cluster, &create).await;
    // A second later `now` and `+1h` would be other times.
    leasehold_tests::wait::wait_for("the next second", std::time::Duration::from_secs(5), || async {
        let second = leasehold_tests::wait::wall_ms() / 1000;
        let made = keyed.split_once('@').unwrap().1.parse::<u64>().unwrap() / 1000 - 600;
        (second > made + 1).then_some(()).ok_or("not yet".to_owned())
    })
    .await
    .unwrap();
    assert_eq!(json(cluster, &create).await["id"], first["id"]);
    assert_eq!(json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 1);

    // The name that the first attempt looked for is gone when the second one looks.
    let keyed = key();
    let rename = ["lease", "update", "once", "--name", "renamed", "--end", "+3h", "--key", &keyed];
    let changed = json(cluster, &rename).await;
    assert_eq!(json(cluster, &rename).await["end"], changed["end"]);

    let keyed = key();
    let delete = ["lease", "delete", "renamed", "--key", &keyed];
    for _ in 0..2 {
        assert!(says(cluster, &delete).await.contains("is deleted"));
    }

    // A mistyped name does not use the key up.
    says(cluster, &[&["lease", "create", "more", "--end", "+1h"], &SIZE[..]].concat()).await;
    let keyed = key();
    let (code, told) = fails(cluster, &["lease", "delete", "mroe", "--key", &keyed]).await;
    assert!(code == 1 && told.contains("no lease is called 'mroe'"), "{code} {told}");
    assert!(says(cluster, &["lease", "delete", "more", "--key", &keyed]).await.contains("is deleted"));
}

#[tokio::test]
async fn what_waits_for_room_is_listed_by_its_status_shown_by_name_and_deleted() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let create = ["lease", "create", "large", "--end", "+1h", "--amount", "5000", "--wait"];
    let made = json(cluster, &[&create[..], &SIZE[..]].concat()).await;
    assert_eq!(made["status"], "WAITING", "{made}");
    assert_eq!(made["wait"]["until"], made["start"], "{made}");
    assert_eq!(json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 0);
    let listed = says(cluster, &["lease", "list", "--status", "waiting"]).await;
    assert!(listed.contains("large") && listed.contains("WAITING"), "{listed}");
    assert!(says(cluster, &["lease", "show", "large"]).await.contains("waits until (UTC)"));
    let (code, told) = fails(cluster, &["lease", "update", "large", "--name", "larger"]).await;
    assert!(code == 1 && told.contains("WAITING"), "{code} {told}");
    assert!(says(cluster, &["lease", "delete", "large"]).await.contains("is deleted"));
    assert_eq!(json(cluster, &["lease", "list", "--status", "waiting"]).await.as_array().unwrap().len(), 0);
}
