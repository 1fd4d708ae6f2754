//! Priorities: who may have one, who gives way, and what either is told; over gRPC and on the command line.

use leasehold_client::model::{Lease, LeaseId, LeaseStatus, Precedence, ReasonCode};
use leasehold_client::state::ChangeSubject;
use leasehold_client::{Client, Error, NewLease, RefusalKind, WhatIf};
use leasehold_tests::caller;
use leasehold_tests::settings::{Auth, Timing};

use crate::command_line::{fails, json, says};
use crate::rig::{PATIENCE, rig, rig_with, tomorrow};

const PREEMPTIBLE: Precedence = Precedence { priority: 0, preemptible: true, preempt: false };
const URGENT: Precedence = Precedence { priority: 1, preemptible: false, preempt: true };

/// A lease tomorrow that fills a host.
fn large(name: &str, amount: u32, precedence: Precedence) -> NewLease {
    let mut wish = NewLease { precedence, ..tomorrow(name) };
    wish.reservations[0].resource.instance_mut().amount = amount;
    wish
}

/// Of one host as many as there may be.
async fn most(client: &Client) -> u32 {
    match client.what_if(large("all", 5_000, Precedence::default())).await.unwrap().value {
        WhatIf::NoRoom(told) => told.largest_amount,
        other => panic!("{other:?}"),
    }
}

fn gave_way(lease: &Lease) -> bool {
    lease.status == LeaseStatus::Error && lease.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::Preempted)
}

#[tokio::test]
async fn who_allows_it_gives_way_and_every_node_and_every_watcher_is_told() {
    let mut rig = rig(1).await;
    let client = &rig.client.clone();
    let most = most(client).await;
    let victim = client.create_lease(client.new_key(), large("victim", most, PREEMPTIBLE)).await.unwrap();
    assert_eq!(victim.value.precedence, PREEMPTIBLE);
    let refused = match client.create_lease(client.new_key(), large("urgent", 1, Precedence { preempt: false, ..URGENT })).await {
        Err(Error::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!((refused.code.as_str(), refused.offer.unwrap().preempts), ("no_room", 1));
    let WhatIf::Fits { preempts, .. } = client.what_if(large("urgent", 1, URGENT)).await.unwrap().value else {
        panic!("it fits")
    };
    assert_eq!(preempts.leases, [victim.value.id], "everybody is an admin here");

    let mut watch = client.watch(victim.ledger_index);
    let key = client.new_key();
    let urgent = client.create_lease(key, large("urgent", 1, URGENT)).await.unwrap();
    assert_eq!(client.create_lease(key, large("urgent", 1, URGENT)).await.unwrap().value.id, urgent.value.id, "once and for all");
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            let change = watch.next().await.unwrap();
            if let ChangeSubject::Lease(lease) = change.subject
                && lease.id == victim.value.id
            {
                return (change.ledger_index, gave_way(&lease));
            }
        }
    });
    assert_eq!(told.await.unwrap(), (urgent.ledger_index, true), "in the entry that books the other");

    // A leader's end changes nothing of it.
    let leader = rig.cluster.wait_leader(PATIENCE).await.unwrap();
    rig.cluster.kill9(leader);
    let shown = client.get_lease(victim.value.id).await.unwrap().value;
    assert!(gave_way(&shown), "{shown:?}");
    let Err(Error::Refused(other)) = client.create_lease(client.new_key(), large("other", most, URGENT)).await else {
        panic!("nobody else gives way")
    };
    assert_eq!((other.code.as_str(), other.offer.unwrap().preempts), ("no_room", 0));
    client.create_lease(client.new_key(), large("rest", most - 1, Precedence::default())).await.unwrap();
    client.delete_lease(client.new_key(), victim.value.id).await.unwrap();
}

#[tokio::test]
async fn a_priority_is_for_admins_and_nobody_else_learns_whose_lease_gives_way() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let demo = rig.cloud.tenant("demo").await.unwrap();
    let tenant = caller::connect(&rig.cluster, Some(demo.token())).unwrap();
    let most = most(&tenant).await;
    let refused = tenant.create_lease(tenant.new_key(), large("mine", 1, URGENT)).await;
    let Err(Error::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.kind, RefusalKind::Forbidden);
    assert!(refused.message.contains("leasehold:leases:priority"), "{}", refused.message);
    assert!(matches!(tenant.what_if(large("mine", 1, URGENT)).await, Err(Error::Refused(_))));

    let victim = tenant.create_lease(tenant.new_key(), large("mine", most, PREEMPTIBLE)).await.unwrap().value;
    let admin = &rig.client;
    let urgent = admin.create_lease(admin.new_key(), large("urgent", 2, URGENT)).await.unwrap().value;
    let shown = tenant.get_lease(victim.id).await.unwrap().value;
    assert!(gave_way(&shown), "{shown:?}");
    assert!(!format!("{shown:?}").contains(&urgent.id.to_string()), "who has its room is not told");
}

#[tokio::test]
async fn priorities_are_given_and_shown_on_the_command_line() {
    let rig = rig(1).await;
    let (cluster, most) = (&rig.cluster, most(&rig.client).await.to_string());
    let create = |name: &str, amount: &str| -> Vec<String> {
        let line = ["lease", "create", name, "--start", "+24h", "--end", "+1h", "--vcpus", "1", "--memory-mb", "1024"];
        line.iter().chain(&["--disk-gb", "1", "--amount", amount]).map(|word| (*word).to_owned()).collect()
    };
    let with = |line: &[String], more: &[&str]| -> Vec<String> {
        line.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect()
    };
    fn words(line: &[String]) -> Vec<&str> {
        line.iter().map(String::as_str).collect()
    }
    let victim = json(cluster, &words(&with(&create("victim", &most), &["--preemptible"]))).await;
    assert_eq!((&victim["priority"], &victim["preemptible"]), (&0.into(), &true.into()), "{victim}");
    let urgent = with(&create("urgent", "1"), &["--priority", "3"]);
    let (code, told) = fails(cluster, &words(&urgent)).await;
    assert!(code == 1 && told.contains("--preempt"), "{told}");
    let instead = with(&urgent, &["--preempt"]);
    let told = says(cluster, &words(&with(&instead, &["--what-if"]))).await;
    assert!(told.contains("1 lease of a lower priority would give way"), "{told}");
    says(cluster, &words(&instead)).await;
    let shown = says(cluster, &["lease", "show", "victim"]).await;
    assert!(shown.contains("ERROR") && shown.contains("a lease of a higher priority took its room"), "{shown}");
    let shown = says(cluster, &["lease", "show", "urgent"]).await;
    assert!(shown.contains("priority"), "{shown}");
    let (code, told) = fails(cluster, &words(&with(&create("x", "1"), &["--preempt"]))).await;
    assert!(code == 1 && told.contains("preempt"), "{told}");
    let id: LeaseId = victim["id"].as_str().unwrap().parse().unwrap();
    rig.client.delete_lease(rig.client.new_key(), id).await.unwrap();
}
