//! Real tokens at both edges: whose they are, what they allow, and when they end.

use leasehold_client::command::LeaseChange;
use leasehold_client::state::ChangeSubject;
use leasehold_client::{Error, LeaseFilter, RefusalKind};
use leasehold_tests::caller;
use leasehold_tests::cloud::http_client;
use leasehold_tests::settings::{Auth, Timing};
use serde_json::json;

use crate::rig::{Rig, empty, rig_with};

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> RefusalKind {
    match result {
        Err(Error::Refused(refusal)) => refusal.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_foreign_project_changes_nothing_and_watches_nothing() {
    let rig = rig_with(1, Auth::Keystone, Timing::default()).await;
    let (owner, stranger) = (rig.cloud.tenant("demo").await.unwrap(), rig.cloud.tenant("alt_demo").await.unwrap());
    let own = caller::connect(&rig.cluster, Some(owner.token())).unwrap();
    let foreign = caller::connect(&rig.cluster, Some(stranger.token())).unwrap();
    let made = own.create_lease(own.new_key(), empty("a")).await.unwrap().value;
    let change = LeaseChange { name: Some("b".to_owned()), ..LeaseChange::default() };
    assert_eq!(kind(foreign.get_lease(made.id).await), RefusalKind::Forbidden);
    assert_eq!(kind(foreign.update_lease(foreign.new_key(), made.id, change).await), RefusalKind::Forbidden);
    assert_eq!(kind(foreign.delete_lease(foreign.new_key(), made.id).await), RefusalKind::Forbidden);
    assert_eq!(kind(foreign.list_hosts(Default::default()).await), RefusalKind::Forbidden);
    let theirs = LeaseFilter { project_id: Some(made.project_id.clone()), ..LeaseFilter::default() };
    assert_eq!(kind(foreign.list_leases(theirs).await), RefusalKind::Forbidden);

    let (http, url) = (http_client().unwrap(), format!("{}/leases/{}", rig.cluster.nodes()[0].rest_url(), made.id));
    for request in [http.get(&url), http.put(&url).json(&json!({"name": "b"})), http.delete(&url)] {
        let answer = request.header("X-Auth-Token", stranger.token()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403);
    }
    assert_eq!(own.get_lease(made.id).await.unwrap().value, made);

    let first = foreign.create_lease(foreign.new_key(), empty("theirs")).await.unwrap().value;
    match foreign.watch(0).next().await.unwrap().subject {
        ChangeSubject::Lease(lease) => assert_eq!(lease.id, first.id),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_at_both_edges() {
    let Rig { cluster, cloud, .. } = rig_with(1, Auth::Keystone, Timing::default()).await;
    let tenant = cloud.tenant("demo").await.unwrap();
    cloud.set_fault(&json!({"kind": "expire_tokens"})).await.unwrap();
    let client = caller::connect(&cluster, Some(tenant.token())).unwrap();
    assert_eq!(kind(client.list_leases(LeaseFilter::default()).await), RefusalKind::Unauthenticated);
    let url = format!("{}/leases", cluster.nodes()[0].rest_url());
    let answer = http_client().unwrap().get(url).header("X-Auth-Token", tenant.token()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    assert!(answer.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn a_host_is_deleted_though_the_cloud_does_not_follow() {
    let rig = crate::rig::rig(1).await;
    let host = rig.client.list_hosts(Default::default()).await.unwrap().value[0].id;
    rig.cloud.set_fault(&json!({"service": "placement", "method": "DELETE", "kind": "error", "status": 503})).await.unwrap();
    rig.client.delete_host(rig.client.new_key(), host).await.unwrap();
    let providers = rig.cloud.state().await.unwrap()["placement"]["providers"].as_object().unwrap().len();
    assert!(providers > 1, "the cloud kept what was to be deleted");
    assert!(rig.client.list_hosts(Default::default()).await.unwrap().value.is_empty());
}
