//! One key, one effect, whatever dies on the way (architecture D18).

use leasehold_client::{Error, KeyState};
use leasehold_tests::settings::Timing;

use crate::rig::{PATIENCE, bare, empty};

#[tokio::test]
async fn a_key_sent_again_after_the_leader_died_gives_the_same_lease() {
    let (mut cluster, client) = bare(Timing::default()).await;
    let (key, wish) = (client.new_key(), empty("once"));
    let first = client.create_lease(key, wish.clone()).await.unwrap();
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    cluster.kill9(leader);
    let again = client.create_lease(key, wish).await.unwrap();
    assert_eq!(again.value.id, first.value.id);
    assert_eq!(client.list_leases(Default::default()).await.unwrap().value.len(), 1);
    let state = client.look_up_key(key).await.unwrap().value;
    assert!(matches!(state, KeyState::Applied { lease_id: Some(id), .. } if id == first.value.id), "{state:?}");
}

#[tokio::test]
async fn a_create_under_way_while_the_leader_dies_happens_once() {
    let (mut cluster, client) = bare(Timing::default()).await;
    let leader = cluster.wait_leader(PATIENCE).await.unwrap();
    let (count, mut calls) = (40, tokio::task::JoinSet::new());
    for n in 0..count {
        let client = client.clone();
        calls.spawn(async move { client.create_lease(client.new_key(), empty(&format!("lease-{n}"))).await });
        if n == count / 2 {
            cluster.kill9(leader);
        }
    }
    let mut acknowledged: Vec<_> = calls.join_all().await.into_iter().map(|answer| answer.unwrap().value.id).collect();
    let listed = client.list_leases(Default::default()).await.unwrap().value;
    let mut names: Vec<_> = listed.iter().map(|lease| lease.name.clone()).collect();
    let mut ids: Vec<_> = listed.iter().map(|lease| lease.id).collect();
    names.sort();
    names.dedup();
    acknowledged.sort();
    ids.sort();
    assert_eq!((names.len(), ids), (count, acknowledged));
}

#[tokio::test]
async fn a_key_with_another_wish_is_refused_and_one_that_was_looked_up_never_applies() {
    let (_cluster, client) = bare(Timing::default()).await;
    let key = client.new_key();
    client.create_lease(key, empty("a")).await.unwrap();
    let refused = client.create_lease(key, empty("b")).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");

    let peeked = client.new_key();
    assert_eq!(client.peek_key(peeked).await.unwrap().value, None);
    let made = client.create_lease(peeked, empty("peeked")).await.unwrap();
    let known = client.peek_key(peeked).await.unwrap();
    assert!(matches!(known.value, Some(KeyState::Applied { lease_id: Some(id), .. }) if id == made.value.id), "{known:?}");
    assert!(known.ledger_index >= made.ledger_index, "a peek is linearizable");

    let unused = client.new_key();
    assert_eq!(client.look_up_key(unused).await.unwrap().value, KeyState::Never);
    let refused = client.create_lease(unused, empty("c")).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    assert_eq!(client.peek_key(unused).await.unwrap().value, Some(KeyState::Never));
    assert_eq!(client.list_leases(Default::default()).await.unwrap().value.len(), 2);
}
