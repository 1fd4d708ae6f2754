//! Raft over real gRPC and RocksDB: commit, read, restart, take over, catch up, refuse.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod clocks;
mod cluster;
mod refusals;
mod repair;
mod security;

use std::sync::Arc;
use std::time::{Duration, Instant};

use leasehold_ledger::model::NodeId;
use leasehold_node::operations::ClusterChange;
use leasehold_node::raft::{ForwardError, Leadership, ProposeError};

use cluster::{Cluster, wait};

#[tokio::test(flavor = "multi_thread")]
async fn every_node_finds_the_leader_reads_linearizably_and_holds_the_same_state() {
    let cluster = Cluster::of(3).await;
    for id in cluster.ids() {
        let committed = cluster.write(id, "x").await;
        for reader in cluster.ids() {
            let read = cluster.node(reader).read_index().await.unwrap();
            assert!(read >= committed.ledger_index, "{read} < {}", committed.ledger_index);
        }
    }
    cluster.agree().await;
    let status = cluster.leader().await.status();
    assert_eq!(status.members.iter().filter(|member| member.voter).count(), 3);
    assert_eq!(status.clock_problem, None);
    assert!(status.members.iter().all(|member| member.matched_index.is_some()), "{status:?}");
    assert_eq!(cluster.leader().await.fence().map(|fence| fence.valid_now()), Some(true));
    assert!(cluster.node(cluster.follower_id().await).fence().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_share_entries_and_each_gets_its_own_number() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let command = || leasehold_ledger::command::Command::Probe { payload: vec![0; 500] };
    let committed = leader.propose_many((0..2000).map(|_| (None, command()))).await;
    let mut numbers: Vec<u64> = committed.iter().map(|one| one.as_ref().unwrap().ledger_index).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let mut entries: Vec<u64> = committed.iter().map(|one| one.as_ref().unwrap().log_index).collect();
    entries.sort_unstable();
    entries.dedup();
    assert!(entries.len() < 1000, "{} entries for 2000 commands", entries.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_stopped_goes_on_with_what_was_committed() {
    let mut cluster = Cluster::of(3).await;
    let last = cluster.write(1, "before").await;
    for id in cluster.ids() {
        cluster.stop(id).await;
    }
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    let next = cluster.write(1, "after").await;
    assert_eq!(next.ledger_index, last.ledger_index + 1);
    assert!(next.term >= last.term);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_leads_and_serves_writes_when_the_leader_is_gone() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader_id().await;
    let fence = cluster.node(leader).fence().unwrap();
    let before = cluster.write(leader, "before").await;
    cluster.stop(leader).await;
    let began = Instant::now();
    let after = cluster.write(cluster.ids()[0], "after").await;
    println!("a new leader served a write after {:?}", began.elapsed());
    assert!(after.ledger_index > before.ledger_index);
    assert!(!fence.valid_now());
    cluster.start(leader).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_quorum_refuses_writes_and_reads_and_its_fence_ends() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader_id().await;
    let fence = cluster.node(leader).fence().unwrap();
    for id in cluster.ids().into_iter().filter(|id| *id != leader) {
        cluster.stop(id).await;
    }
    wait("the fence to end", || (!fence.valid_now()).then_some(())).await;
    assert!(cluster.node(leader).read_index().await.is_err());
    let command = leasehold_ledger::command::Command::Probe { payload: Vec::new() };
    let refused = cluster.node(leader).propose(None, command).await.unwrap_err();
    let certain = matches!(refused, ProposeError::NoQuorum | ProposeError::NotLeader { .. } | ProposeError::ClockDisagrees);
    assert!(certain, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_after_the_leader_s_work_stopped() {
    let cluster = Cluster::of(3).await;
    let (leader, to) = (cluster.leader_id().await, cluster.follower_id().await);
    let node = cluster.node(leader);
    let leadership = node.leadership();
    let (stopped, was_stopped) = std::sync::mpsc::channel();
    node.on_hand_over(Arc::new(move || {
        let still_leading = matches!(*leadership.borrow(), Leadership::Leading { .. });
        stopped.send(still_leading).unwrap();
        Box::pin(std::future::ready(()))
    }));
    let began = Instant::now();
    node.change_cluster(ClusterChange::Transfer { to: Some(to) }).await.unwrap();
    cluster.write(to, "after").await;
    println!("handed over in {:?}", began.elapsed());
    assert!(!was_stopped.recv().unwrap(), "the node's leadership ends before its work is awaited");
    assert_eq!(cluster.leader_id().await, to);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_forwarded_and_one_that_cannot_be_is_told_apart() {
    let mut cluster = Cluster::of(2).await;
    let limit = Duration::from_secs(30);
    let early = cluster.node(1).forward(NodeId(2), b"x".to_vec(), limit).await;
    assert!(matches!(early, Err(ForwardError::NotSent(_))), "{early:?}");
    cluster.node(2).on_forward(Arc::new(|mut body| {
        Box::pin(async move {
            body.reverse();
            body
        })
    }));
    assert_eq!(cluster.node(1).forward(NodeId(2), b"abc".to_vec(), limit).await.unwrap(), b"cba");
    let nobody = cluster.node(1).forward(NodeId(9), b"x".to_vec(), limit).await;
    assert!(matches!(nobody, Err(ForwardError::NotSent(_))), "{nobody:?}");
    cluster.stop(2).await;
    assert!(cluster.node(1).forward(NodeId(2), b"x".to_vec(), limit).await.is_err());
}
