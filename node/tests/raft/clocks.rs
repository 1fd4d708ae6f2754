//! Which time is stamped, and by whom, when clocks are wrong (architecture D4).

use std::sync::atomic::Ordering;

use leasehold_ledger::command::Command;
use leasehold_node::operations::ClusterChange;
use leasehold_node::raft::ProposeError;

use crate::cluster::{Cluster, wait};

const HOUR_MS: u64 = 3_600_000;

/// Moves the ledger's clock at whoever leads.
async fn stamp(cluster: &Cluster) -> u64 {
    loop {
        let leader = cluster.leader().await;
        if leader.propose(None, Command::AdvanceClock).await.is_ok() {
            return leader.state().clock().0;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_is_the_odd_one_out_stamps_nothing_says_so_and_hands_leadership_over() {
    let mut cluster = Cluster::of(3).await;
    let before = stamp(&cluster).await;
    let wrong = cluster.leader_id().await;
    cluster.clock(wrong).ahead_ms.store(HOUR_MS, Ordering::SeqCst);
    // Its clock jumped by itself, so it knows without asking anybody.
    let refused = cluster.node(wrong).propose(None, Command::AdvanceClock).await;
    assert_eq!(refused.unwrap_err(), ProposeError::ClockDisagrees);
    let node = cluster.node(wrong);
    let problem = wait("the node to say so", || node.status().clock_problem).await;
    assert!(problem.contains("jumped ahead") || problem.contains("a majority is needed"), "{problem}");
    wait("another leader", || {
        let leads = |id: &u64| *id != wrong && cluster.node(*id).leadership().borrow().term().is_some();
        cluster.ids().into_iter().find(leads)
    })
    .await;
    let after = stamp(&cluster).await;
    assert!(after >= before && after < before + HOUR_MS, "{before} {after}");
    assert_eq!(cluster.leader().await.status().clock_problem, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_that_all_clocks_make_waits_for_an_operator() {
    let mut cluster = Cluster::of(3).await;
    let before = stamp(&cluster).await;
    for id in cluster.ids() {
        cluster.clock(id).ahead_ms.store(HOUR_MS, Ordering::SeqCst);
    }
    let leader = cluster.leader().await;
    assert_eq!(leader.propose(None, Command::AdvanceClock).await.unwrap_err(), ProposeError::ClockDisagrees);
    // What does not read the time is written all the same.
    leader.propose(None, Command::Probe { payload: b"probe".to_vec() }).await.unwrap();
    assert!(leader.state().clock().0 < before + HOUR_MS);
    leader.change_cluster(ClusterChange::AcceptClock).await.unwrap();
    assert!(stamp(&cluster).await >= before + HOUR_MS);
}

fn set_all(cluster: &mut Cluster, ahead_ms: u64) {
    for id in cluster.ids() {
        cluster.clock(id).ahead_ms.store(ahead_ms, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_were_ahead_and_set_right_may_not_jump_there_again() {
    let mut cluster = Cluster::of(3).await;
    let jump_ms = 7_000;
    let before = stamp(&cluster).await;
    set_all(&mut cluster, jump_ms);
    cluster.leader().await.change_cluster(ClusterChange::AcceptClock).await.unwrap();
    assert!(stamp(&cluster).await >= before + jump_ms);
    // Right again: no stamp until the clocks are less than five seconds behind the ledger's.
    set_all(&mut cluster, 0);
    let refused = cluster.leader().await.propose(None, Command::AdvanceClock).await;
    assert_eq!(refused.unwrap_err(), ProposeError::ClockDisagrees);
    let first = stamp(&cluster).await;
    while stamp(&cluster).await == first {}
    set_all(&mut cluster, jump_ms);
    let refused = cluster.leader().await.propose(None, Command::AdvanceClock).await;
    assert_eq!(refused.unwrap_err(), ProposeError::ClockDisagrees);
    // The others learn from the leader what it expects.
    for id in cluster.ids() {
        let node = cluster.node(id);
        wait("every node calls it a jump", || node.status().clock_problem.filter(|problem| problem.contains("jumped ahead")))
            .await;
    }
}
