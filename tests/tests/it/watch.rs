//! The stream of changes: in order, each once, whatever node serves it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use leasehold_client::Error;
use leasehold_client::state::{ChangeSubject, JOURNAL_ROWS_MAX};
use leasehold_tests::settings::Timing;

use crate::rig::{PATIENCE, bare, empty};

#[tokio::test]
async fn a_watch_sees_every_change_once_and_in_order_across_a_leader_change() {
    let (mut cluster, client) = bare(Timing::default()).await;
    let first = client.create_lease(client.new_key(), empty("first")).await.unwrap();
    let mut watch = client.watch(first.ledger_index);
    let (count, writer) = (60, client.clone());
    let writing = tokio::spawn(async move {
        let mut acknowledged = BTreeMap::new();
        for n in 0..count {
            let answer = writer.create_lease(writer.new_key(), empty(&format!("lease-{n}"))).await.unwrap();
            acknowledged.insert(answer.ledger_index, answer.value.id);
        }
        acknowledged
    });
    let (mut seen, mut last) = (BTreeMap::new(), first.ledger_index);
    while seen.len() < count {
        let change = tokio::time::timeout(Duration::from_secs(40), watch.next()).await.unwrap().unwrap();
        assert!(change.ledger_index >= last, "{} after {last}", change.ledger_index);
        last = change.ledger_index;
        if let ChangeSubject::Lease(lease) = change.subject {
            assert!(seen.insert(change.ledger_index, lease.id).is_none(), "{} twice", change.ledger_index);
        }
        if seen.len() == count / 3 {
            let leader = cluster.wait_leader(PATIENCE).await.unwrap();
            cluster.kill9(leader);
        }
    }
    assert_eq!(seen, writing.await.unwrap());
}

/// Who was away for too long is told so in a way of its own, and finds in by reading the leases.
#[tokio::test]
async fn a_watch_from_before_what_is_kept_is_told_where_it_can_begin() {
    let (_cluster, client) = bare(Timing::default()).await;
    let first = client.create_lease(client.new_key(), empty("first")).await.unwrap();
    futures::stream::iter(0..JOURNAL_ROWS_MAX)
        .for_each_concurrent(128, |n| {
            let client = client.clone();
            async move {
                client.create_lease(client.new_key(), empty(&format!("lease-{n}"))).await.unwrap();
            }
        })
        .await;
    let Err(Error::Refused(told)) = client.watch(first.ledger_index - 1).next().await else { panic!("it is forgotten") };
    assert_eq!(told.code, "changes_forgotten");
    assert!(told.message.contains("from index") && told.message.contains("read the leases again"), "{told:?}");
    let one = client.get_lease(first.value.id).await.unwrap();
    let next = client.create_lease(client.new_key(), empty("next")).await.unwrap();
    let seen = client.watch(one.ledger_index).next().await.unwrap();
    assert_eq!(seen.ledger_index, next.ledger_index);
}
