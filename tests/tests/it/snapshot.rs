//! Who missed everything catches up by a snapshot.

use std::time::Duration;

use leasehold_client::wire::v1;
use leasehold_tests::settings::Timing;
use leasehold_tests::wait::wait_for;

use crate::rig::{PATIENCE, bare, empty};

/// Snapshots often, and hardly any log behind them.
const OFTEN: Timing =
    Timing { heartbeat_ms: 100, election_min_ms: 900, election_max_ms: 1500, snapshot_entries: 60, keep_entries: 5 };

#[tokio::test]
async fn a_follower_that_missed_everything_catches_up_by_snapshot() {
    let (mut cluster, client) = bare(OFTEN).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let follower = (leader + 1) % 3;
    let missed_from = cluster.state_probe(follower).await.unwrap().last_log_index.unwrap();
    cluster.kill9(follower);
    for n in 0..200 {
        client.create_lease(client.new_key(), empty(&format!("lease-{n}"))).await.unwrap();
    }
    wait_for("a snapshot beyond what the follower has", PATIENCE, || async {
        let probe = cluster.state_probe(leader).await.map_err(|error| error.to_string())?;
        (probe.snapshot_index > Some(missed_from + 20)).then_some(()).ok_or_else(|| format!("{:?}", probe.snapshot_index))
    })
    .await
    .unwrap();
    cluster.restart(follower).unwrap();
    cluster.wait_caught_up(follower, PATIENCE).await.unwrap();
    let probe = cluster.state_probe(follower).await.unwrap();
    assert!(probe.snapshot_index > Some(missed_from), "{:?}", probe.snapshot_index);
    let (_, hashes) = cluster.hashes_at_rest(PATIENCE).await.unwrap();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test]
async fn a_wiped_node_is_replaced_under_a_new_id() {
    let (mut cluster, client) = bare(OFTEN).await;
    for n in 0..150 {
        client.create_lease(client.new_key(), empty(&format!("lease-{n}"))).await.unwrap();
    }
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let lost = (leader + 1) % 3;
    cluster.kill9(lost);
    std::fs::remove_dir_all(cluster.node(lost).data_dir()).unwrap();
    let node_id = cluster.nodes()[lost].id;
    cluster.cluster_service(leader).remove(v1::RemoveRequest { node_id }).await.unwrap();
    let new = cluster.configure(4).unwrap();
    cluster.restart(new).unwrap();
    cluster.wait_answers(new).await.unwrap();
    cluster.add(new).await.unwrap();
    cluster.wait_caught_up(new, PATIENCE).await.unwrap();
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let mut voters: Vec<u64> =
        cluster.status(leader).await.unwrap().members.iter().filter(|member| member.voter).map(|member| member.node_id).collect();
    voters.sort_unstable();
    let wanted: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != node_id).collect();
    assert_eq!(voters, wanted);
    // The new one is as good as the others: with it and one more there is a majority.
    let third = (0..3).find(|index| *index != leader && *index != lost).unwrap();
    cluster.kill9(third);
    let written = client.create_lease(client.new_key(), empty("on two")).await;
    assert!(written.is_ok(), "{written:?}");
    let (_, hashes) = cluster.hashes_at_rest(Duration::from_secs(30)).await.unwrap();
    assert!(hashes.len() == 2 && hashes[0] == hashes[1], "{hashes:?}");
}
