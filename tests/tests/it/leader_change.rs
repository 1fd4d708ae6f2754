//! The leader dies or stands still: another goes on.

use std::time::{Duration, Instant};

use leasehold_tests::settings::Timing;
use leasehold_tests::wait::wait_for;

use crate::rig::{PATIENCE, bare, empty};

#[tokio::test]
async fn writes_go_on_after_the_leader_was_killed_and_nothing_is_lost() {
    let (mut cluster, client) = bare(Timing::default()).await;
    let before = client.create_lease(client.new_key(), empty("before")).await.unwrap();
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    cluster.kill9(leader);
    let killed = Instant::now();
    let after = client.create_lease(client.new_key(), empty("after")).await.unwrap();
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    let mut ids: Vec<_> = client.list_leases(Default::default()).await.unwrap().value.iter().map(|lease| lease.id).collect();
    let mut wanted = vec![before.value.id, after.value.id];
    ids.sort();
    wanted.sort();
    assert_eq!(ids, wanted);
    cluster.restart(leader).unwrap();
    cluster.wait_caught_up(leader, PATIENCE).await.unwrap();
    let (_, hashes) = cluster.hashes_at_rest(PATIENCE).await.unwrap();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test]
async fn a_leader_that_stood_still_is_replaced_and_follows_afterwards() {
    let (cluster, client) = bare(Timing::default()).await;
    let old = cluster.wait_leader(PATIENCE).await.unwrap();
    cluster.pause(old).unwrap();
    let booked = client.create_lease(client.new_key(), empty("meanwhile")).await.unwrap();
    cluster.resume(old).unwrap();
    wait_for("the old leader to follow", PATIENCE, || async {
        let probe = cluster.state_probe(old).await.map_err(|error| error.to_string())?;
        let there = probe.role == "follower" && probe.ledger_index >= booked.ledger_index;
        there.then_some(()).ok_or_else(|| format!("{} at {}", probe.role, probe.ledger_index))
    })
    .await
    .unwrap();
}
