//! A data directory that cannot be trusted: the node refuses to start and says what to do (architecture D14).

use std::path::Path;
use std::time::{Duration, Instant};

use leasehold_client::wire::v1::ProbeRequest;
use leasehold_tests::settings::Timing;

use crate::rig::{PATIENCE, bare, empty};

/// Writes over everything in a directory that holds data.
fn damage(folder: &Path) {
    let mut damaged = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.metadata().unwrap().len() > 0 {
            std::fs::write(&path, vec![0xA5; 4096]).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "nothing to damage in {}", folder.display());
}

#[tokio::test]
async fn a_damaged_log_keeps_the_node_from_starting_and_says_what_to_do() {
    let (mut cluster, client) = bare(Timing::default()).await;
    client.create_lease(client.new_key(), empty("a")).await.unwrap();
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let broken = (leader + 1) % 3;
    cluster.kill9(broken);
    damage(&cluster.node(broken).data_dir().join("log"));
    cluster.restart(broken).unwrap();
    let process = cluster.node(broken).process().unwrap();
    let status = process.ended(Duration::from_secs(20)).await.unwrap();
    assert!(!status.success());
    let log = process.log_text();
    assert!(log.contains("cluster remove") && log.contains("new node id"), "{}", process.tail(10));
    client.create_lease(client.new_key(), empty("the others go on")).await.unwrap();
}

#[tokio::test]
async fn a_damaged_state_is_rebuilt_from_log_or_peers() {
    let (mut cluster, client) = bare(Timing::default()).await;
    client.create_lease(client.new_key(), empty("a")).await.unwrap();
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let broken = (leader + 1) % 3;
    cluster.kill9(broken);
    // The state's directory carries its generation: state-1, state-2 after a snapshot was installed.
    let inside = std::fs::read_dir(cluster.node(broken).data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let states: Vec<_> = inside.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("state")).collect();
    assert_eq!(states.len(), 1, "{states:?}");
    damage(&states[0]);
    cluster.restart(broken).unwrap();
    cluster.wait_caught_up(broken, PATIENCE).await.unwrap();
    let (_, hashes) = cluster.hashes_at_rest(PATIENCE).await.unwrap();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test]
async fn a_full_disk_ends_the_node_with_the_reason_in_its_last_line_and_the_others_go_on() {
    let (mut cluster, client) = bare(Timing::default()).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let full = (leader + 1) % 3;
    cluster.kill9(full);
    cluster.restart_on_small_disk(full, 1024).unwrap();
    let give_up = Instant::now() + PATIENCE;
    while cluster.node(full).process().unwrap().is_running() {
        assert!(Instant::now() < give_up, "it lives on with a full disk\n{}", cluster.tails(10));
        cluster.cluster_service(leader).probe(ProbeRequest { payload: vec![7; 60_000] }).await.unwrap();
    }
    let process = cluster.node(full).process().unwrap();
    assert!(!process.ended(Duration::from_secs(20)).await.unwrap().success());
    let log = process.log_text();
    let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap();
    assert!(last.contains("this node must end") && last.contains("cannot be written"), "{}", process.tail(10));
    client.create_lease(client.new_key(), empty("the others go on")).await.unwrap();
    // With room again it comes back by itself.
    cluster.restart(full).unwrap();
    cluster.wait_caught_up(full, PATIENCE).await.unwrap();
}
