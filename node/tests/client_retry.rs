//! The client against members that misbehave: a scripted server behind the generated service traits, over real sockets.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use leasehold_client::command::{BeforeEndWish, StartWish};
use leasehold_client::model::Seconds;
use leasehold_client::wire::v1;
use leasehold_client::wire::v1::lease_service_server::{LeaseService, LeaseServiceServer};
use leasehold_client::wire::v1::watch_service_server::{WatchService, WatchServiceServer};
use leasehold_client::{Client, Error, NewLease, RefusalKind, TokenError, TokenSource};
use tokio::net::TcpListener;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status};

/// What a member does with the next request.
enum Act {
    Answer,
    /// Answers as a follower that forwarded, with this hint.
    AnswerWithHint(String),
    /// A verdict of Leasehold's, marked with a code.
    Fail(Code, &'static str),
    /// Something in between fails; nothing marks it.
    Break(Code),
    /// Never answers.
    Hang,
    /// A watch stream of these indexes, which then breaks.
    Stream(Vec<u64>),
    /// The same, opened with this hint.
    StreamWithHint(Vec<u64>, String),
}

/// What a member has seen: request id and token, in order.
/// Calls as they came: method and request id.
type Seen = Vec<(String, Option<String>)>;

#[derive(Clone, Default)]
struct Member {
    script: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Seen>>,
    watched: Arc<Mutex<Vec<u64>>>,
}

impl Member {
    fn next(&self) -> Act {
        self.script.lock().unwrap().pop_front().unwrap_or(Act::Answer)
    }

    fn ids(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }
}

fn verdict(code: Code, rejection: &'static str) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("leasehold-rejection", MetadataValue::from_static(rejection));
    if rejection == "no_room" {
        let offer = r#"{"reservation":0,"short_by":1,"tightest":"VCPU","largest_amount":2,"next_start":null,"staging":false,"ledger_index":4}"#;
        metadata.insert("leasehold-offer", MetadataValue::from_static(offer));
    }
    Status::with_metadata(code, rejection, metadata)
}

fn lease() -> v1::Lease {
    let id = "7e57d004-2b97-4e7a-b45f-5387367791cd".to_owned();
    v1::Lease { id, name: "x".into(), start: 1_800_000_000, status: v1::LeaseStatus::Pending.into(), ..Default::default() }
}

#[tonic::async_trait]
impl LeaseService for Member {
    async fn create_lease(&self, request: Request<v1::CreateLeaseRequest>) -> Result<Response<v1::CreateLeaseResponse>, Status> {
        let token = request.metadata().get("x-auth-token").map(|token| token.to_str().unwrap().to_owned());
        self.seen.lock().unwrap().push((request.into_inner().request_id, token));
        let mut answer = Response::new(v1::CreateLeaseResponse { lease: Some(lease()), ledger_index: 9, series: None });
        match self.next() {
            Act::Answer | Act::Stream(_) | Act::StreamWithHint(..) => {}
            Act::AnswerWithHint(leader) => {
                answer.metadata_mut().insert("leasehold-leader", MetadataValue::try_from(leader).unwrap());
            }
            Act::Fail(code, rejection) => return Err(verdict(code, rejection)),
            Act::Break(code) => return Err(Status::new(code, "broken on the way")),
            Act::Hang => std::future::pending().await,
        }
        Ok(answer)
    }
    async fn get_lease(&self, _: Request<v1::GetLeaseRequest>) -> Result<Response<v1::GetLeaseResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn list_leases(&self, _: Request<v1::ListLeasesRequest>) -> Result<Response<v1::ListLeasesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn utilisation(&self, _: Request<v1::UtilisationRequest>) -> Result<Response<v1::UtilisationResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn update_lease(&self, _: Request<v1::UpdateLeaseRequest>) -> Result<Response<v1::UpdateLeaseResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn claim_offer(&self, _: Request<v1::ClaimOfferRequest>) -> Result<Response<v1::ClaimOfferResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn delete_lease(&self, _: Request<v1::DeleteLeaseRequest>) -> Result<Response<v1::DeleteLeaseResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn delete_series(&self, _: Request<v1::DeleteSeriesRequest>) -> Result<Response<v1::DeleteSeriesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn look_up_key(&self, _: Request<v1::LookUpKeyRequest>) -> Result<Response<v1::LookUpKeyResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn peek_key(&self, _: Request<v1::PeekKeyRequest>) -> Result<Response<v1::PeekKeyResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn what_if(&self, _: Request<v1::WhatIfRequest>) -> Result<Response<v1::WhatIfResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

#[tonic::async_trait]
impl WatchService for Member {
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let after = request.into_inner().after;
        self.watched.lock().unwrap().push(after);
        let mut hint = None;
        let indexes = match self.next() {
            Act::Stream(indexes) => indexes,
            Act::StreamWithHint(indexes, leader) => {
                hint = Some(leader);
                indexes
            }
            Act::Fail(code, rejection) => return Err(verdict(code, rejection)),
            _ => Vec::new(),
        };
        // Host numbers count the changes, so that a change given twice or left out is seen.
        let changes = indexes.into_iter().enumerate().filter(move |(_, index)| *index > after).map(|(number, index)| {
            let subject = v1::watch_response::Subject::HostRemoved(number as u64);
            Ok(v1::WatchResponse { ledger_index: index, at_ms: 1, subject: Some(subject) })
        });
        let end = stream::once(async { Err(verdict(Code::Unavailable, "stopping")) });
        let mut answer = Response::new(stream::iter(changes.collect::<Vec<_>>()).chain(end).boxed());
        if let Some(leader) = hint {
            answer.metadata_mut().insert("leasehold-leader", MetadataValue::try_from(leader).unwrap());
        }
        Ok(answer)
    }
}

/// Starts a member; answers it and its address.
async fn member(script: Vec<Act>) -> (Member, String) {
    let member = Member { script: Arc::new(Mutex::new(script.into())), ..Member::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections =
        stream::unfold(listener, |listener| async move { Some((listener.accept().await.map(|(io, _)| io), listener)) });
    let server = tonic::transport::Server::builder()
        .add_service(LeaseServiceServer::new(member.clone()))
        .add_service(WatchServiceServer::new(member.clone()))
        .serve_with_incoming(connections);
    tokio::spawn(server);
    (member, address)
}

fn client(addresses: &[&str]) -> Client {
    let builder = Client::builder(addresses.iter().copied()).deadline(Duration::from_secs(20));
    builder.attempt_timeout(Duration::from_secs(5)).build().unwrap()
}

fn wish() -> NewLease {
    NewLease {
        name: "x".into(),
        start: StartWish::Now,
        end: Seconds::OPEN_END,
        before_end: BeforeEndWish::Never,
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
        reservations: Vec::new(),
    }
}

/// An address that nobody listens at.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn the_key_is_kept_through_every_retry_and_every_server() {
    let (first, a) = member(vec![Act::Fail(Code::Unavailable, "no_leader"), Act::Break(Code::Unknown)]).await;
    let (second, b) = member(vec![Act::Fail(Code::DeadlineExceeded, "outcome_unknown"), Act::Answer]).await;
    let client = client(&[&nobody().await, &a, &b]);
    let key = client.new_key();
    let answer = client.create_lease(key, wish()).await.unwrap();
    assert_eq!((answer.value.name.as_str(), answer.ledger_index), ("x", 9));
    let ids = [first.ids(), second.ids()].concat();
    assert!(ids.len() >= 3, "{ids:?}");
    assert!(ids.iter().all(|id| *id == key.id.to_string()), "{ids:?}");
    assert_ne!(client.new_key().id, key.id);
}

#[tokio::test]
async fn a_leader_hint_is_followed_by_the_next_call() {
    let (leader, b) = member(vec![]).await;
    let (follower, a) = member(vec![Act::AnswerWithHint(b)]).await;
    let client = client(&[&a]);
    client.create_lease(client.new_key(), wish()).await.unwrap();
    client.create_lease(client.new_key(), wish()).await.unwrap();
    assert_eq!((follower.ids().len(), leader.ids().len()), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_brings_what_would_fit() {
    let (member, address) = member(vec![Act::Fail(Code::FailedPrecondition, "no_room")]).await;
    let client = client(&[&address]);
    let Err(Error::Refused(refusal)) = client.create_lease(client.new_key(), wish()).await else { panic!("not refused") };
    assert_eq!((refusal.kind, refusal.code.as_str()), (RefusalKind::Conflict, "no_room"));
    assert_eq!(refusal.offer.unwrap().largest_amount, 2);
    assert_eq!(member.ids().len(), 1);
}

#[tokio::test]
async fn no_room_after_an_attempt_that_may_have_been_done_is_no_final_answer() {
    let refused = || Act::Fail(Code::FailedPrecondition, "no_room");
    let (member, address) =
        member(vec![Act::Break(Code::Unknown), refused(), Act::Fail(Code::Unavailable, "no_leader"), refused()]).await;
    let client = client(&[&address]);
    let key = client.new_key();
    let unknown = Error::OutcomeUnknown { key: Some(key), attempts: 2, last: "no_room".to_owned() };
    assert_eq!(client.create_lease(key, wish()).await.unwrap_err(), unknown);
    let surely_not_done = client.create_lease(client.new_key(), wish()).await.unwrap_err();
    assert!(matches!(surely_not_done, Error::Refused(_)), "{surely_not_done}");
    assert_eq!(member.ids().len(), 4);
}

#[tokio::test]
async fn at_the_deadline_a_request_that_may_have_been_done_is_unknown_and_another_is_unavailable() {
    let quick = |address: &str| {
        let builder = Client::builder([address]).deadline(Duration::from_millis(400));
        builder.attempt_timeout(Duration::from_millis(150)).build().unwrap()
    };
    let (hanging, address) = member(vec![Act::Hang, Act::Hang, Act::Hang, Act::Hang]).await;
    let client = quick(&address);
    let key = client.new_key();
    match client.create_lease(key, wish()).await {
        Err(Error::OutcomeUnknown { key: told, attempts, .. }) => {
            assert_eq!(told, Some(key));
            assert!(attempts >= 2, "{attempts}");
        }
        other => panic!("{other:?}"),
    }
    assert!(hanging.ids().len() >= 2);
    let client = quick(&nobody().await);
    match client.create_lease(client.new_key(), wish()).await {
        Err(Error::Unavailable { attempts, .. }) => assert!(attempts >= 2, "{attempts}"),
        other => panic!("{other:?}"),
    }
}

/// Gives a new token for each one that was rejected.
struct Renewing;

#[tonic::async_trait]
impl TokenSource for Renewing {
    async fn token(&self, rejected: Option<&str>) -> Result<Option<String>, TokenError> {
        Ok(Some(if rejected.is_some() { "new" } else { "old" }.to_owned()))
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let refused = || Act::Fail(Code::Unauthenticated, "token_invalid");
    let (member, address) = member(vec![refused(), Act::Answer, refused(), refused()]).await;
    let client = Client::builder([address]).tokens(Renewing).build().unwrap();
    client.create_lease(client.new_key(), wish()).await.unwrap();
    let tokens: Vec<_> = member.seen.lock().unwrap().iter().map(|(_, token)| token.clone().unwrap()).collect();
    assert_eq!(tokens, ["old", "new"]);
    let Err(Error::Refused(refusal)) = client.create_lease(client.new_key(), wish()).await else { panic!("not refused") };
    assert_eq!(refusal.kind, RefusalKind::Unauthenticated);
    assert_eq!(member.ids().len(), 4);
}

#[tokio::test]
async fn a_watch_goes_on_without_gap_or_repetition_inside_one_command() {
    // The first member breaks after one of the three changes of index 7; the second one has them all.
    let (first, a) = member(vec![Act::Stream(vec![5, 7])]).await;
    let (second, b) = member(vec![Act::Stream(vec![5, 7, 7, 7, 8])]).await;
    let client = client(&[&a, &b]);
    let mut watch = client.watch(3);
    let mut seen = Vec::new();
    for _ in 0..5 {
        let change = watch.next().await.unwrap();
        seen.push((change.ledger_index, format!("{:?}", change.subject)));
    }
    let numbers: Vec<String> = (0..5).map(|number| format!("HostRemoved(HostId({number}))")).collect();
    assert_eq!(seen.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [5, 7, 7, 7, 8]);
    assert_eq!(seen.iter().map(|(_, subject)| subject.clone()).collect::<Vec<_>>(), numbers);
    assert_eq!(*first.watched.lock().unwrap(), [3]);
    assert_eq!(*second.watched.lock().unwrap(), [6], "opened again one below the last index seen");
    assert_eq!(watch.position(), 7);
}

#[tokio::test]
async fn a_watch_blames_the_member_that_served_it_and_goes_where_its_hint_pointed() {
    let (leader, b) = member(vec![Act::Stream(vec![5, 6])]).await;
    let (follower, a) = member(vec![Act::StreamWithHint(vec![5], b)]).await;
    let client = client(&[&a]);
    let mut watch = client.watch(4);
    for index in [5, 6] {
        assert_eq!(watch.next().await.unwrap().ledger_index, index);
    }
    assert_eq!((follower.watched.lock().unwrap().len(), leader.watched.lock().unwrap().len()), (1, 1));
}

/// Never gives a token.
struct Hanging;

#[tonic::async_trait]
impl TokenSource for Hanging {
    async fn token(&self, _: Option<&str>) -> Result<Option<String>, TokenError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn the_deadline_covers_the_token() {
    let (member, address) = member(vec![]).await;
    let client = Client::builder([address]).tokens(Hanging).deadline(Duration::from_millis(200)).build().unwrap();
    let late = tokio::time::timeout(Duration::from_secs(10), client.create_lease(client.new_key(), wish())).await.unwrap();
    assert!(matches!(late, Err(Error::Unavailable { attempts: 0, .. })), "{late:?}");
    assert!(member.ids().is_empty());
}

#[tokio::test]
async fn a_watch_that_is_refused_says_so() {
    let (_, address) = member(vec![Act::Fail(Code::FailedPrecondition, "too_old")]).await;
    let client = client(&[&address]);
    assert!(matches!(client.watch(0).next().await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_call_that_an_older_member_does_not_know_is_told_as_that() {
    let (_, address) = member(vec![]).await;
    let client = client(&[&address]);
    let Err(Error::Refused(refusal)) = client.peek_key(client.new_key()).await else { panic!("not refused") };
    assert_eq!(refusal.kind, RefusalKind::Unimplemented);
}
