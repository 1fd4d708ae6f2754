//! Nodes that missed or lost something get it back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold_node::operations::ClusterChange;
use leasehold_node::raft::{ChangeError, ProposeError};
use tokio::sync::Notify;

use crate::cluster::{Cluster, PATIENCE, wait};

fn snapshots_often() -> Cluster {
    let mut cluster = Cluster::empty();
    cluster.timing.snapshot_entries = 20;
    cluster.timing.keep_entries = 0;
    cluster
}

/// Writes until the leader's log does not reach back to its beginning.
async fn write_until_purged(cluster: &Cluster) {
    let leader = cluster.leader_id().await;
    for number in 0..60 {
        cluster.write(leader, &format!("value {number}")).await;
    }
    cluster.node(leader).snapshot().await.unwrap();
    wait("a snapshot", || cluster.node(leader).status().snapshot_index.filter(|index| *index > 40)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_everything_catches_up_by_snapshot() {
    let mut cluster = snapshots_often().with(2).await;
    write_until_purged(&cluster).await;
    cluster.start(3).await;
    cluster.add(3).await;
    cluster.agree().await;
    // What it received is durable: it comes back with it.
    cluster.stop(3).await;
    cluster.start(3).await;
    cluster.write(1, "after").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_comes_back_under_a_new_id() {
    let mut cluster = snapshots_often().with(3).await;
    write_until_purged(&cluster).await;
    let lost = cluster.follower_id().await;
    cluster.stop(lost).await;
    cluster.leader().await.change_cluster(ClusterChange::Remove { node_id: lost }).await.unwrap();
    cluster.start(4).await;
    cluster.add(4).await;
    cluster.write(4, "after").await;
    cluster.agree().await;
    let members: Vec<u64> = cluster.leader().await.status().members.iter().map(|member| member.node_id).collect();
    assert!(members.contains(&4) && !members.contains(&lost), "{members:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_under_its_old_id_ends_with_the_advice_and_a_used_id_is_not_added_again() {
    let mut cluster = Cluster::of(3).await;
    cluster.write(1, "kept").await;
    let wiped = cluster.follower_id().await;
    cluster.stop(wiped).await;
    cluster.wipe(wiped).await;
    cluster.start(wiped).await;
    let why = tokio::time::timeout(PATIENCE, cluster.node(wiped).fatal()).await.expect("the node ends itself");
    assert!(why.contains("was lost or replaced") && why.contains("new node id"), "{why}");
    cluster.stop(wiped).await;
    let leader = cluster.leader().await;
    leader.change_cluster(ClusterChange::Remove { node_id: wiped }).await.unwrap();
    let again = ClusterChange::Add { node_id: wiped, peer_address: "127.0.0.1:1".into(), grpc_address: None };
    let refused = leader.change_cluster(again).await.unwrap_err().to_string();
    assert!(refused.contains("was used before"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_to_be_removed_hands_leadership_over_first() {
    let cluster = Cluster::of(3).await;
    let removed = cluster.leader_id().await;
    let remove = ClusterChange::Remove { node_id: removed };
    let told = cluster.node(removed).change_cluster(remove.clone()).await.unwrap_err();
    assert!(told.to_string().contains("does not lead"), "{told}");
    let next = cluster.leader().await;
    assert_ne!(next.status().node_id, removed);
    next.change_cluster(remove).await.unwrap();
    let members: Vec<u64> = next.status().members.iter().map(|member| member.node_id).collect();
    assert!(members.len() == 2 && !members.contains(&removed), "{members:?}");
    cluster.write(next.status().node_id, "without it").await;
}

/// The change waits for a voter that is down, and who asked for it goes away: nobody is there to take its second step.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_left_halfway_is_completed_by_who_leads() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader_id().await;
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let (down, removed) = (others[0], others[1]);
    cluster.stop(down).await;
    let asked = cluster.node(leader);
    let removing = tokio::spawn(async move { asked.change_cluster(ClusterChange::Remove { node_id: removed }).await });
    wait("the first step", || cluster.node(leader).status().members_changing.then_some(())).await;
    removing.abort();
    assert!(removing.await.unwrap_err().is_cancelled());
    cluster.start(down).await;
    wait("the second step", || {
        let status = cluster.node(down).status();
        let voters: Vec<u64> = status.members.iter().filter(|member| member.voter).map(|member| member.node_id).collect();
        (!status.members_changing && !voters.contains(&removed) && voters.len() == 2).then_some(())
    })
    .await;
    cluster.stop(removed).await;
    cluster.write(cluster.leader_id().await, "without it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_hand_over_nobody_waits_for_any_more_leads_on() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.node(cluster.leader_id().await);
    let (begun, stopping) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, work) = (begun.clone(), stopping.clone());
    leader.on_hand_over(Arc::new(move || {
        let (tell, work) = (tell.clone(), work.clone());
        Box::pin(async move {
            tell.notify_one();
            work.notified().await;
        })
    }));
    let asked = leader.clone();
    let handing = tokio::spawn(async move { asked.change_cluster(ClusterChange::Transfer { to: None }).await });
    begun.notified().await;
    assert_eq!(leader.leadership().borrow().term(), None);
    handing.abort();
    assert!(handing.await.unwrap_err().is_cancelled());
    wait("leadership", || leader.leadership().borrow().term()).await;
    // And it can be handed over again.
    stopping.notify_one();
    leader.change_cluster(ClusterChange::Transfer { to: None }).await.unwrap();
}

/// Who does not lead may not know its members, or know more than is committed: it says neither that a node is no member nor that it
/// votes already.
#[tokio::test(flavor = "multi_thread")]
async fn only_who_leads_says_who_is_a_member() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader_id().await;
    let (follower, address) = (cluster.node(cluster.follower_id().await), cluster.node(leader).member().peer_address.clone());
    let there = ClusterChange::Add { node_id: leader, peer_address: address, grpc_address: None };
    for change in [ClusterChange::Remove { node_id: 99 }, there] {
        let refused = follower.change_cluster(change.clone()).await.unwrap_err();
        assert!(matches!(refused, ChangeError::Unavailable(ProposeError::NotLeader { .. })), "{refused:?}");
        let told = cluster.node(leader).change_cluster(change).await.unwrap_err();
        assert!(matches!(told, ChangeError::Conflict(_)), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_change_the_members_at_once_do_not_get_in_each_other_s_way() {
    let mut cluster = Cluster::of(1).await;
    cluster.start(2).await;
    let add = |cluster: &Cluster| {
        let (leader, address) = (cluster.node(1), cluster.node(2).member().peer_address.clone());
        tokio::spawn(async move {
            leader.change_cluster(ClusterChange::Add { node_id: 2, peer_address: address, grpc_address: None }).await
        })
    };
    let tries: Vec<_> = (0..8).map(|_| add(&cluster)).collect();
    let mut done = 0;
    for each in tries {
        match each.await.unwrap() {
            Ok(()) => done += 1,
            Err(error) => assert!(
                ["another change of the members is under way", "node 2 is a voter already"].contains(&error.to_string().as_str()),
                "{error}"
            ),
        }
    }
    assert_eq!(done, 1);
    cluster.write(2, "with it").await;
}

/// Entries reach followers before they are synced on the leader. In its old term a leader that lost such a tail would give
/// other entries the same log ids (docs/decisions/0007).
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_leader_never_goes_on_in_its_old_term() {
    for count in [1, 3] {
        let mut cluster = Cluster::of(count).await;
        let leader = cluster.leader_id().await;
        let before = cluster.write(leader, "before").await;
        cluster.stop(leader).await;
        cluster.start(leader).await;
        let after = cluster.write(leader, "after").await;
        assert!(after.term > before.term, "{count} nodes: {} after {}", after.term, before.term);
        cluster.agree().await;
    }
}

/// The folder with the state, and that of a state which another has just taken the place of: a node may be stopped before it is gone.
fn state_folders(cluster: &Cluster, id: u64) -> Vec<PathBuf> {
    let states: Vec<_> = std::fs::read_dir(cluster.data(id))
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("state-"))
        .collect();
    assert!((1..=2).contains(&states.len()), "{states:?}");
    states
}

/// Overwrites what RocksDB needs to open the state.
fn damage_state(cluster: &Cluster, id: u64) {
    for state in state_folders(cluster, id) {
        std::fs::write(state.join("CURRENT"), "MANIFEST-999999\n").unwrap();
    }
}

fn remove_state(cluster: &Cluster, id: u64) {
    state_folders(cluster, id).into_iter().for_each(|state| std::fs::remove_dir_all(state).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_made_again_from_the_log() {
    let mut cluster = Cluster::of(1).await;
    let last = cluster.write(1, "kept").await;
    let hash = cluster.node(1).state().hash();
    cluster.stop(1).await;
    damage_state(&cluster, 1);
    cluster.start(1).await;
    wait("the state to be made again", || {
        let node = cluster.node(1);
        let state = node.state();
        (state.ledger_index() >= last.ledger_index).then_some(())
    })
    .await;
    assert_eq!(cluster.node(1).state().hash(), hash);
}

/// A follower loses its state, by `lose`, after its log was purged.
async fn fetched_after(lose: impl Fn(&Cluster, u64)) {
    let mut cluster = snapshots_often().with(3).await;
    write_until_purged(&cluster).await;
    let broken = cluster.follower_id().await;
    wait("a snapshot there", || cluster.node(broken).status().snapshot_index.filter(|index| *index > 40)).await;
    cluster.agree().await;
    cluster.stop(broken).await;
    lose(&cluster, broken);
    cluster.start(broken).await;
    cluster.write(1, "after").await;
    cluster.agree().await;
    // What was fetched is in use on a disk that is there, and comes back.
    assert!(state_folders(&cluster, broken).iter().any(|state| state.join("CURRENT").exists()));
    cluster.stop(broken).await;
    cluster.start(broken).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_whose_log_was_purged_is_fetched_from_a_peer() {
    fetched_after(damage_state).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_state_whose_log_was_purged_is_fetched_from_a_peer() {
    fetched_after(remove_state).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_that_are_too_short_for_a_snapshot_do_not_keep_the_log_for_ever() {
    let mut cluster = snapshots_often().with(1).await;
    let (often, kept) = (cluster.timing.snapshot_entries, cluster.timing.keep_entries);
    for n in 0..2 * often {
        cluster.write(1, &format!("first {n}")).await;
    }
    let purged = |cluster: &Cluster| (cluster.node(1).held().log_entries <= often + kept).then_some(());
    wait("the log to be purged", || purged(&cluster)).await;
    for life in 0..6 {
        cluster.stop(1).await;
        cluster.start(1).await;
        for n in 0..often / 2 {
            cluster.write(1, &format!("{life} {n}")).await;
        }
    }
    // Between two purges a life adds what is too little for a snapshot.
    let held = cluster.node(1).held().log_entries;
    assert!(held <= 2 * often + kept, "{held} entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_that_are_down_do_not_keep_the_log() {
    let mut cluster = snapshots_often().with(5).await;
    write_until_purged(&cluster).await;
    let leader = cluster.leader_id().await;
    let down: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).take(2).collect();
    for id in &down {
        cluster.stop(*id).await;
    }
    let leader = cluster.leader_id().await;
    for n in 0..200 {
        cluster.write(leader, &format!("without them {n}")).await;
    }
    // Where a snapshot took longer than all of these writes the next one comes with the next write.
    let held = || async { cluster.leader().await.held().log_entries };
    for n in 0..1_000 {
        if held().await <= 60 {
            break;
        }
        cluster.write(leader, &format!("one more {n}")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(held().await <= 60, "{} entries are kept", held().await);
}
