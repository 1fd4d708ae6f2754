//! A friendly stop.

use std::time::{Duration, Instant};

use leasehold_tests::settings::Timing;

use crate::rig::{PATIENCE, bare, empty};

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_leadership_over_and_ends_well() {
    let (mut cluster, client) = bare(Timing::default()).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let term = cluster.state_probe(leader).await.unwrap().term;
    let stopped = Instant::now();
    cluster.node(leader).process().unwrap().terminate().unwrap();
    let booked = client.create_lease(client.new_key(), empty("meanwhile")).await.unwrap();
    let gap = stopped.elapsed();
    let status = cluster.node(leader).process().unwrap().ended(Duration::from_secs(15)).await.unwrap();
    assert!(status.success(), "{status}");
    // An election by timeout takes at least 900 ms; a hand-over does not wait for it.
    assert!(gap < Duration::from_millis(900), "no write for {gap:?}");
    let next = cluster.wait_leader(PATIENCE).await.unwrap();
    assert_ne!(next, leader);
    assert!(cluster.state_probe(next).await.unwrap().term > term);
    assert_eq!(client.get_lease(booked.value.id).await.unwrap().value.id, booked.value.id);
}
