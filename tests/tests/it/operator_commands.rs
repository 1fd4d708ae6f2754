//! The commands of operators, and those that follow what happens: hosts, members, clocks, watches, outcomes.

use std::process::Stdio;

use leasehold_tests::binaries;
use leasehold_tests::cluster::Cluster;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::command_line::{SIZE, fails, json, key, says};
use crate::rig::{PATIENCE, bare, rig};

#[tokio::test]
async fn a_host_is_added_changed_closed_and_removed() {
    let rig = rig(0).await;
    let cluster = &rig.cluster;
    let (code, told) = fails(cluster, &["host", "add", "no-such-host"]).await;
    assert!(code == 1 && told.contains("no-such-host"), "{code} {told}");
    let added = json(cluster, &["host", "add", "cmp1", "--pool", "shared", "--property", "gpu=a100"]).await;
    assert_eq!((added["hypervisor_hostname"].as_str(), added["pool"].as_str()), (Some("cmp1"), Some("shared")), "{added}");
    assert_eq!((&added["properties"]["gpu"], &added["reservable"]), (&Value::from("a100"), &Value::from(true)));
    let (code, told) = fails(cluster, &["host", "add", "cmp1"]).await;
    assert!(code == 1 && told.contains("registered already"), "{code} {told}");

    let set = json(cluster, &["host", "set", "cmp1", "--property", "rack=r1", "--reservable", "false"]).await;
    assert_eq!((&set["id"], &set["reservable"]), (&added["id"], &Value::from(false)), "{set}");
    assert_eq!((&set["properties"]["gpu"], &set["properties"]["rack"]), (&Value::from("a100"), &Value::from("r1")));
    assert_eq!(json(cluster, &["host", "show", &set["id"].to_string()]).await, set);
    let lease = [&["lease", "create", "closed", "--end", "+1h"], &SIZE[..]].concat();
    let (code, told) = fails(cluster, &lease).await;
    assert!(code == 1 && told.contains("Not enough hosts"), "{code} {told}");
    let (code, told) = fails(cluster, &["host", "set", "cmp1"]).await;
    assert!(code == 2 && told.contains("nothing to set"), "{code} {told}");

    assert!(says(cluster, &["host", "remove", "cmp1"]).await.contains("is removed"));
    assert_eq!(json(cluster, &["host", "list"]).await, Value::Array(Vec::new()));
    let providers = rig.cloud.state().await.unwrap()["placement"]["providers"].as_object().unwrap().len();
    assert_eq!(providers, 1, "what was made for the host is gone");
    let (code, told) = fails(cluster, &["host", "remove", "cmp1"]).await;
    assert!(code == 1 && told.contains("no host is called 'cmp1'"), "{code} {told}");
}

/// The numbers of the members that vote.
fn voters(status: &Value) -> Vec<u64> {
    let members = status["members"].as_array().unwrap().iter();
    members.filter(|one| one["voter"] == true).map(|one| one["node_id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn leadership_is_handed_over_clocks_are_accepted_and_a_member_leaves() {
    let (cluster, _client) = bare(Default::default()).await;
    let leader = json(&cluster, &["cluster", "status"]).await["leader"].as_u64().unwrap();
    let next = leader % 3 + 1;
    let handed = json(&cluster, &["cluster", "transfer", "--to", &next.to_string()]).await;
    assert_eq!(handed["leader"].as_u64(), Some(next), "{handed}");
    let handed = json(&cluster, &["cluster", "transfer"]).await;
    let leader = handed["leader"].as_u64().unwrap();
    assert_ne!(leader, next, "to another one: {handed}");
    let (code, told) = fails(&cluster, &["cluster", "transfer", "--to", "9"]).await;
    assert!(code == 1 && told.contains('9'), "{code} {told}");

    let accepted = json(&cluster, &["cluster", "clock", "accept"]).await;
    assert_eq!((&accepted["clock_problem"], voters(&accepted).len()), (&Value::Null, 3), "{accepted}");

    let leaves = leader % 3 + 1;
    let smaller = json(&cluster, &["cluster", "remove", &leaves.to_string()]).await;
    let stay: Vec<u64> = (1..=3).filter(|id| *id != leaves).collect();
    assert_eq!(voters(&smaller), stay, "{smaller}");
    // Two of two: the rest still takes writes.
    says(&cluster, &["cluster", "probe"]).await;
    // Asked is who led: the one that left still tells what it knew.
    let status = cluster.status(usize::try_from(leader).unwrap() - 1).await.unwrap();
    let members: Vec<u64> = status.members.iter().filter(|one| one.voter).map(|one| one.node_id).collect();
    assert_eq!(members, stay);
}

/// `leasehold lease watch …`, while it runs.
struct Watching {
    lines: Lines<BufReader<ChildStdout>>,
    // Ends with its owner.
    _process: Child,
}

impl Watching {
    fn start(cluster: &Cluster, line: &[&str]) -> Watching {
        let mut command = tokio::process::Command::new(binaries::leasehold().unwrap());
        command.env_clear().args(["lease", "watch"]).args(line).args(["--endpoint", &cluster.endpoints().join(",")]);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Watching { lines, _process: process }
    }

    async fn next(&mut self) -> String {
        timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_watch_prints_what_happens_to_leases_as_it_happens() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let made = json(cluster, &[&["lease", "create", "watched", "--end", "+1h"], &SIZE[..]].concat()).await;
    let id = made["id"].as_str().unwrap();
    let mut all = Watching::start(cluster, &["--from", "0", "--output", "json"]);
    let mut other = Watching::start(cluster, &["--from", "0", "--lease", id]);
    loop {
        let line: Value = serde_json::from_str(&all.next().await).unwrap();
        assert!(line["ledger_index"].is_u64() && line["at"].is_string(), "{line}");
        if line["lease"]["id"] == made["id"] {
            break;
        }
        assert!(line["host"].is_object(), "before the lease there is the host: {line}");
    }
    assert!(other.next().await.contains("watched"), "the host's lines are left out");
    says(cluster, &[&["lease", "create", "unwatched", "--end", "+1h"], &SIZE[..]].concat()).await;
    says(cluster, &["lease", "delete", id]).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|line: &Value| line["lease_removed"] != made["id"]) {
        seen.push(serde_json::from_str(&all.next().await).unwrap());
    }
    assert!(seen.iter().any(|line| line["lease"]["name"] == "unwatched"), "{seen:?}");
    loop {
        let line = other.next().await;
        assert!(line.contains(id) && !line.contains("unwatched"), "{line}");
        if line.contains("removed") {
            break;
        }
    }
}

#[tokio::test]
async fn the_outcome_of_a_request_is_told_and_what_is_told_as_never_stays_undone() {
    let rig = rig(1).await;
    let cluster = &rig.cluster;
    let done = key();
    let made = json(cluster, &[&["lease", "create", "done", "--end", "+1h", "--key", &done], &SIZE[..]].concat()).await;
    let outcome = json(cluster, &["lease", "outcome", "--key", &done]).await;
    assert_eq!((&outcome["state"], &outcome["lease_id"]), (&Value::from("applied"), &made["id"]), "{outcome}");
    assert!(says(cluster, &["lease", "outcome", "--key", &done]).await.contains("It was done"));

    let lost = key();
    assert!(says(cluster, &["lease", "outcome", "--key", &lost]).await.contains("never will be"));
    let (code, told) = fails(cluster, &[&["lease", "create", "late", "--end", "+1h", "--key", &lost], &SIZE[..]].concat()).await;
    assert!(code == 1 && told.contains("will never apply"), "{code} {told}");
    assert_eq!(json(cluster, &["lease", "list"]).await.as_array().unwrap().len(), 1);
    let (code, told) = fails(cluster, &["lease", "outcome"]).await;
    assert!(code == 2 && told.contains("--key"), "{code} {told}");
}
