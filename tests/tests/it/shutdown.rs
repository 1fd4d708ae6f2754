//! A friendly stop.

use std::time::{Duration, Instant};

use leasehold_tests::settings::Timing;

use crate::rig::{PATIENCE, bare, empty};

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_leadership_over_and_ends_well() {
    let (mut cluster, client) = bare(Timing { election_min_ms: 3_000, election_max_ms: 4_000, ..Timing::default() }).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let term = cluster.state_probe(leader).await.unwrap().term;
    let stopped = Instant::now();
    cluster.node(leader).process().unwrap().terminate().unwrap();
    let booked = client.create_lease(client.new_key(), empty("meanwhile")).await.unwrap();
    let gap = stopped.elapsed();
    let status = cluster.node(leader).process().unwrap().ended(Duration::from_secs(15)).await.unwrap();
    assert!(status.success(), "{status}");
    // Followers give no vote for 4 s and stand 3 s later at the earliest; a hand-over waits for neither.
    assert!(gap < Duration::from_secs(3), "no write for {gap:?}");
    let next = cluster.wait_leader(PATIENCE).await.unwrap();
    assert_ne!(next, leader);
    assert!(cluster.state_probe(next).await.unwrap().term > term);
    assert_eq!(client.get_lease(booked.value.id).await.unwrap().value.id, booked.value.id);
}
