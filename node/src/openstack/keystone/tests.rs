#![allow(clippy::unwrap_used)]
use std::time::Duration;

use super::fake::{FakeKeystone, issued, status, valid};
use super::*;

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_token_until_it_is_nearly_over() {
    let keystone = FakeKeystone::new(vec![issued("first", 3600), issued("second", 3600)]);
    let (source, clock) = keystone.source();
    let tokens = futures::future::join_all((0..1000).map(|_| source.token())).await;
    assert!(tokens.iter().all(|token| token.as_ref().unwrap().token.reveal() == "first"));
    assert_eq!(keystone.calls(), ["POST http://keystone:5000/v3/auth/tokens"]);
    let token = source.token().await.unwrap();
    assert_eq!((token.user_id.as_str(), token.project_id.as_str()), ("service-user", "service-project"));
    clock.sleep(Duration::from_secs(3600 - 122)).await;
    assert_eq!(source.token().await.unwrap().token.reveal(), "first");
    clock.sleep(Duration::from_secs(2)).await;
    assert_eq!(source.token().await.unwrap().token.reveal(), "second");
}

#[tokio::test(start_paused = true)]
async fn callers_that_waited_for_a_failed_attempt_share_its_failure_and_the_next_caller_tries_again() {
    let keystone = FakeKeystone::new(vec![status(503), issued("late", 3600)]);
    let (source, _) = keystone.source();
    let tokens = futures::future::join_all((0..100).map(|_| source.token())).await;
    assert!(tokens.iter().all(|token| matches!(token, Err(Error::Status { status: 503, .. }))));
    assert_eq!(keystone.calls().len(), 1);
    assert_eq!(source.token().await.unwrap().token.reveal(), "late");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_is_used_until_it_expires_and_keystone_is_not_asked_for_every_call() {
    let down = || status(503);
    let keystone = FakeKeystone::new(vec![issued("first", 3600), down(), down(), down(), issued("second", 3600)]);
    let (source, clock) = keystone.source();
    source.token().await.unwrap();
    clock.sleep(Duration::from_secs(3600 - 100)).await;
    for _ in 0..50 {
        assert_eq!(source.token().await.unwrap().token.reveal(), "first");
    }
    assert_eq!(keystone.calls().len(), 2, "one attempt for fifty callers");
    clock.sleep(Duration::from_secs(11)).await;
    assert_eq!(source.token().await.unwrap().token.reveal(), "first");
    assert_eq!(keystone.calls().len(), 3, "and another one a little later");
    clock.sleep(Duration::from_secs(90)).await;
    assert!(matches!(source.token().await, Err(Error::Status { status: 503, .. })), "an expired token is no token");
    assert_eq!(source.token().await.unwrap().token.reveal(), "second");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_renewal_while_the_old_token_serves() {
    let keystone = FakeKeystone::new(vec![issued("first", 3600), issued("second", 3600)]);
    let (source, clock) = keystone.source();
    source.token().await.unwrap();
    clock.sleep(Duration::from_secs(3600 - 100)).await;
    let beside = async {
        let begun = clock.mono();
        (source.token().await.unwrap(), clock.mono().since(begun))
    };
    let (renewed, (meanwhile, waited)) = futures::join!(source.token(), beside);
    assert_eq!(renewed.unwrap().token.reveal(), "second");
    assert_eq!((meanwhile.token.reveal(), waited), ("first", Duration::ZERO));
    assert_eq!(keystone.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_cloud_refused_is_not_fallen_back_to() {
    let keystone = FakeKeystone::new(vec![issued("first", 3600), status(503)]);
    let (source, _) = keystone.source();
    let first = source.token().await.unwrap();
    source.refuse(&first);
    assert!(source.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_and_only_if_it_is_still_the_current_one() {
    let keystone = FakeKeystone::new(vec![issued("first", 3600), issued("second", 3600)]);
    let (source, _) = keystone.source();
    let first = source.token().await.unwrap();
    source.refuse(&first);
    assert_eq!(source.token().await.unwrap().token.reveal(), "second");
    source.refuse(&first);
    assert_eq!(source.token().await.unwrap().token.reveal(), "second");
    assert_eq!(keystone.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_from_the_configuration_first_and_else_from_region_and_interface_of_the_catalog() {
    let keystone = FakeKeystone::new(vec![issued("t", 3600)]);
    let (source, _) = keystone.source();
    assert_eq!(source.endpoint(Service::Glance).await.unwrap(), "http://elsewhere:9292");
    assert!(keystone.calls().is_empty());
    assert_eq!(source.endpoint(Service::Nova).await.unwrap(), "http://one:8774/v2.1");
    let missing = source.endpoint(Service::Placement).await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        "no internal endpoint of type `placement` in RegionOne; add one to the catalog or to the configuration"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_says_so_and_never_shows_the_password() {
    let keystone = FakeKeystone::new(vec![status(401)]);
    let (source, _) = keystone.source();
    let refused = source.token().await.unwrap_err();
    assert_eq!(refused, Error::CredentialsRefused { status: 401 });
    assert!(!format!("{source:?} {refused:?} {refused}").contains("hunter2"));
    let sent = String::from_utf8(keystone.requests()[0].body.to_vec()).unwrap();
    let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["auth"]["identity"]["password"]["user"]["password"], "hunter2");
    assert_eq!(sent["auth"]["scope"]["project"]["domain"]["name"], "Default");
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_gives_its_facts_and_an_unknown_one_nothing() {
    let keystone = FakeKeystone::new(vec![issued("own", 3600), valid("u1", "p1", &["member", "reader"], 60), status(404)]);
    let (source, _) = keystone.source();
    let facts = source.validate(&Secret::new("theirs")).await.unwrap().unwrap();
    assert_eq!((facts.user_id.as_str(), facts.project_id.as_deref()), ("u1", Some("p1")));
    assert!(facts.roles.contains("member") && facts.roles.contains("reader"));
    assert_eq!(source.validate(&Secret::new("other")).await.unwrap(), None);
    assert_eq!(source.validate(&Secret::new("with\nnewline")).await.unwrap(), None);
    assert_eq!(keystone.calls()[1..], ["GET http://keystone:5000/v3/auth/tokens?nocatalog"; 2]);
    assert_eq!(keystone.requests()[1].headers["x-auth-token"], "own");
    assert_eq!(keystone.requests()[1].headers["x-subject-token"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn a_service_token_that_died_early_is_renewed_within_the_validation_but_only_once() {
    let keystone = FakeKeystone::new(vec![issued("a", 3600), status(401), issued("b", 3600), valid("u", "p", &[], 60)]);
    let (source, _) = keystone.source();
    assert!(source.validate(&Secret::new("theirs")).await.unwrap().is_some());
    assert_eq!(keystone.requests()[3].headers["x-auth-token"], "b");

    let keystone = FakeKeystone::new(vec![issued("a", 3600), status(401), issued("b", 3600), status(401)]);
    let (source, _) = keystone.source();
    let refused = source.validate(&Secret::new("theirs")).await.unwrap_err();
    assert_eq!(refused, Error::CredentialsRefused { status: 401 });
}

/// Requests of clients wait for both, many for one: a Keystone that does not answer must not hold them up for as long as a slow verb may take.
#[tokio::test(start_paused = true)]
async fn keystone_is_given_up_as_early_as_other_services() {
    let keystone = FakeKeystone::new(vec![issued("own", 3600), valid("alice", "demo", &["member"], 600)]);
    let (source, _) = keystone.source();
    source.validate(&Secret::new("hers")).await.unwrap().unwrap();
    let timeouts = keystone.requests().into_iter().map(|request| (request.method.to_string(), request.timeout.as_secs_f64()));
    let (issue, validate) = (10.0 / 2.0, (Duration::from_secs(10) / 6).as_secs_f64());
    assert_eq!(timeouts.collect::<Vec<_>>(), [("POST".to_owned(), issue), ("GET".to_owned(), validate)]);
}
