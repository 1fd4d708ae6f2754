//! Quotas over gRPC and the command line: set by an admin, seen by their project, held against leases.

use std::collections::BTreeSet;

use leasehold_client::command::{EndWish, LeaseChange, Recurrence, StartWish};
use leasehold_client::model::{Limit, LimitKind, Limits, ProjectId, SeriesMode};
use leasehold_client::{Error, NewLease, QuotaListing, RefusalKind};
use leasehold_tests::caller;
use leasehold_tests::settings::{Auth, Timing};

use crate::command_line::{json, says};
use crate::rig::{from_now, rig, rig_with, tomorrow};

#[tokio::test]
async fn a_project_has_what_its_quota_allows_and_no_more() {
    let rig = rig(1).await;
    let client = &rig.client;
    let limits: Limits = [(LimitKind::Slots, Limit::Max(1)), (LimitKind::EndAheadS, Limit::Max(200_000))].into();
    let set = client.set_quota(client.new_key(), "default".to_owned(), limits, BTreeSet::new()).await.unwrap().value;
    assert_eq!((set.project_id, set.used, set.in_force[&LimitKind::Slots]), (None, None, 1));

    let made = client.create_lease(client.new_key(), tomorrow("a")).await.unwrap().value;
    let own = client.quota(None).await.unwrap().value;
    let used = own.used.unwrap();
    assert_eq!((used.now.0, used.slots_peak), (0, (1, made.start)));

    let key = client.new_key();
    let Err(Error::Refused(refused)) = client.create_lease(key, tomorrow("b")).await else { panic!("it is too much") };
    assert_eq!((refused.kind, refused.code.as_str()), (RefusalKind::Conflict, "quota_exceeded"), "{refused:?}");
    assert!(
        refused.message.contains("1 of 1 are taken; 0 would fit; none fits this window; all of it fits from "),
        "{refused:?}"
    );
    let Err(Error::Refused(asked)) = client.what_if(tomorrow("b")).await else { panic!("it is too much") };
    assert_eq!(asked.code, "quota_exceeded");
    for offer in [refused.offer.unwrap(), asked.offer.unwrap()] {
        let quota = offer.quota.as_ref().unwrap();
        assert_eq!((quota.kind.as_str(), quota.limit, quota.used, quota.fits), ("slots", 1, 1, 0));
        assert_eq!((offer.largest_amount, offer.next_start()), (0, Some(made.end)), "{offer:?}");
    }
    // A start that is left open goes on to where the quota allows it.
    let open = StartWish::Earliest { from: Some(made.start), latest: made.end };
    let moved = client.create_lease(client.new_key(), NewLease { start: open, ..tomorrow("d") }).await.unwrap().value;
    assert_eq!(moved.start, made.end);
    client.delete_lease(client.new_key(), moved.id).await.unwrap();
    let longer = LeaseChange { end: Some(EndWish::At(from_now(300_000))), ..LeaseChange::default() };
    let Err(Error::Refused(late)) = client.update_lease(client.new_key(), made.id, longer).await else { panic!("too late") };
    assert_eq!(late.code, "quota_exceeded");

    let beyond = NewLease { ignore_quota: true, ..tomorrow("c") };
    client.create_lease(client.new_key(), beyond).await.unwrap();
    // The refusal did not use its key up.
    client.delete_lease(client.new_key(), made.id).await.unwrap();
    let own = Limits::from([(LimitKind::Slots, Limit::Unlimited)]);
    client.set_quota(client.new_key(), made.project_id.to_string(), own, BTreeSet::new()).await.unwrap();
    client.create_lease(key, tomorrow("b")).await.unwrap();
}

#[tokio::test]
async fn a_tenant_sees_his_own_quota_and_changes_none() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let tenant = rig.cloud.tenant("demo").await.unwrap();
    let client = caller::connect(&rig.cluster, Some(tenant.token())).unwrap();
    assert!(client.quota(None).await.unwrap().value.used.is_some());
    let forbidden =
        |result: Result<_, Error>| matches!(result, Err(Error::Refused(refused)) if refused.kind == RefusalKind::Forbidden);
    assert!(forbidden(client.quota(Some("another".to_owned())).await.map(drop)));
    let own = Limits::from([(LimitKind::Slots, Limit::Unlimited)]);
    assert!(forbidden(client.set_quota(client.new_key(), "default".to_owned(), own, BTreeSet::new()).await.map(drop)));
    let beyond = NewLease { ignore_quota: true, ..tomorrow("a") };
    assert!(forbidden(client.create_lease(client.new_key(), beyond.clone()).await.map(drop)));
    let daily = Recurrence { rule: "FREQ=DAILY;COUNT=2".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
    assert!(forbidden(client.create_series(client.new_key(), beyond.clone(), daily.clone()).await.map(drop)));
    assert!(forbidden(client.what_if_series(beyond, daily).await.map(drop)));
}

#[tokio::test]
async fn projects_with_limits_of_their_own_are_listed_as_is_asked() {
    let rig = rig(1).await;
    let client = &rig.client;
    for (project, kind) in [("a", LimitKind::Slots), ("b", LimitKind::Vcpus), ("c", LimitKind::Slots)] {
        let limits = Limits::from([(kind, Limit::Max(5))]);
        client.set_quota(client.new_key(), project.to_owned(), limits, BTreeSet::new()).await.unwrap();
    }
    let told = async |listing: QuotaListing| -> String {
        let found = client.list_quotas(listing).await.unwrap().value;
        found.into_iter().map(|one| one.project_id.unwrap().to_string()).collect()
    };
    assert_eq!(told(QuotaListing::default()).await, "abc");
    let slots = QuotaListing { set: [LimitKind::Slots].into(), descending: true, ..QuotaListing::default() };
    assert_eq!(told(slots.clone()).await, "ca");
    let first = QuotaListing { limit: Some(1), ..slots.clone() };
    assert_eq!(told(first).await, "c");
    assert_eq!(told(QuotaListing { after: Some(ProjectId("c".into())), ..slots }).await, "a");
    let page = says(&rig.cluster, &["quota", "list", "--set", "slots", "--reverse", "--limit", "1"]).await;
    assert!(page.contains("There may be more: --after c"), "{page}");
    let rest = json(&rig.cluster, &["quota", "list", "--set", "slots", "--reverse", "--after", "c"]).await;
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["project_id"]), (1, &"a".into()), "{rest}");
}
