//! The stream of changes: in order, each once, whatever node serves it.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_client::state::ChangeSubject;
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
