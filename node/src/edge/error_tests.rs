//! Every failure once, with its row. The sample lists are checked for completeness by [`every_variant_has_a_sample`].
#![allow(clippy::unwrap_used)]

use leasehold_ledger::model::{
    ActuationId, Class, DowntimeId, Excess, HostId, LeaseId, LeaseStatus, LimitKind, ProjectId, ReservationId, SeriesId,
};
use uuid::Uuid;

use super::*;

const ID: Uuid = Uuid::from_u128(7);

/// Sample, gRPC code, HTTP status, retry.
type Sample<T> = (T, Code, u16, Retry);

fn excess() -> Excess {
    Excess { kind: LimitKind::Slots, limit: 4, used: 3, wanted: Some(2), at: None, fits: 1 }
}

fn rejections() -> Vec<Sample<Rejection>> {
    use Code::*;
    use Retry::*;
    let text = || "x".to_owned();
    vec![
        (Rejection::EndNotAfterStart, InvalidArgument, 400, No),
        (Rejection::StartInPast, InvalidArgument, 400, No),
        (Rejection::EndInPast, InvalidArgument, 400, No),
        (Rejection::AlreadyStarted, FailedPrecondition, 400, No),
        (Rejection::AlreadyEnded, FailedPrecondition, 400, No),
        (Rejection::BeforeEndOutside, InvalidArgument, 403, No),
        (Rejection::EndBeyondCalendar, InvalidArgument, 400, No),
        (Rejection::Invalid { field: text(), problem: text() }, InvalidArgument, 400, No),
        (Rejection::StagingOutside { problem: text() }, InvalidArgument, 400, No),
        (Rejection::QuotaExceeded(excess()), FailedPrecondition, 403, No),
        (Rejection::PlanStale { problem: text(), host: None, class: None }, Unavailable, 503, SameKey),
        (Rejection::LeaseNotFound(LeaseId(ID)), NotFound, 404, No),
        (Rejection::SeriesNotFound(SeriesId(ID)), NotFound, 404, No),
        (Rejection::ReservationNotFound(ReservationId(ID)), InvalidArgument, 400, No),
        (Rejection::WrongStatus { status: LeaseStatus::Starting }, FailedPrecondition, 409, No),
        (Rejection::NotAnOffer(LeaseId(ID)), FailedPrecondition, 409, No),
        (Rejection::OfferExpired(LeaseId(ID)), NotFound, 404, No),
        (Rejection::OfferUnclaimed(LeaseId(ID)), FailedPrecondition, 409, No),
        (Rejection::TooManyWaiting { waiting: 1, limit: 1, whose: text() }, ResourceExhausted, 429, No),
        (Rejection::CannotUpdate { field: text(), problem: text() }, FailedPrecondition, 409, No),
        (Rejection::HostNotFound(HostId(1)), NotFound, 404, No),
        (Rejection::DowntimeNotFound { host_id: HostId(1), downtime_id: DowntimeId(ID) }, NotFound, 404, No),
        (Rejection::UpgradeNotFound(HostId(1)), NotFound, 404, No),
        (Rejection::HostExists(text()), AlreadyExists, 409, No),
        (Rejection::HostInUse(HostId(1)), FailedPrecondition, 409, No),
        (Rejection::PropertyInUse { host_id: HostId(1), keys: text() }, FailedPrecondition, 409, No),
        (Rejection::ActuationNotOpen(ActuationId(1)), Internal, 500, No),
        (Rejection::RequestIdReused, FailedPrecondition, 409, No),
        (Rejection::KeyExpired, FailedPrecondition, 409, No),
        (Rejection::KeyForgotten, FailedPrecondition, 409, No),
        (Rejection::TooManyKeys(ProjectId(text().into())), ResourceExhausted, 429, No),
        (Rejection::ClusterInitialised, FailedPrecondition, 409, No),
        (Rejection::Withdrawn(text()), Unavailable, 503, SameKey),
    ]
}

fn no_room() -> NoRoom {
    NoRoom {
        reservation: 0,
        short_by: 3,
        tightest: Some(Class::Vcpu),
        largest_amount: 5,
        next_start: Seconds::from_unix_s(1_795_359_600),
        next_end: Seconds::from_unix_s(1_795_363_200),
        ..NoRoom::default()
    }
}

fn operation_errors() -> Vec<Sample<OperationError>> {
    use crate::operations::Unavailable as Why;
    use Code::*;
    use Retry::*;
    let text = || "x".to_owned();
    let unavailable = |why: Why| (OperationError::Unavailable(why), Unavailable, 503, SameKey);
    vec![
        (OperationError::NoRoom { offer: no_room(), ledger_index: 9, not_waiting: None }, FailedPrecondition, 409, No),
        (OperationError::TooOld { oldest: 7 }, OutOfRange, 410, No),
        (OperationError::Forbidden { rule: text() }, PermissionDenied, 403, No),
        (OperationError::ComputeHostNotFound(text()), NotFound, 404, No),
        (OperationError::FlavorNotFound(text()), NotFound, 404, No),
        (OperationError::Conflict(text()), FailedPrecondition, 409, No),
        (OperationError::HoldRefused(text()), FailedPrecondition, 409, No),
        (OperationError::CloudUnavailable(text()), Unavailable, 503, SameKey),
        unavailable(Why::NoLeader),
        unavailable(Why::NoQuorum),
        unavailable(Why::ClockDisagrees),
        unavailable(Why::Stopping),
        unavailable(Why::Busy),
        unavailable(Why::Overloaded),
        unavailable(Why::RightsChanged),
        unavailable(Why::DiskBehind),
        unavailable(Why::Withdrawn(text())),
        (OperationError::Unknown, DeadlineExceeded, 504, SameKey),
        (OperationError::Internal(text()), Internal, 500, No),
    ]
}

fn check(problem: &Problem, grpc: Code, http: u16, retry: Retry) {
    assert_eq!((problem.row.grpc, problem.row.http.as_u16(), problem.row.retry), (grpc, http, retry), "{problem:?}");
    assert!(!problem.message.is_empty(), "{problem:?}");
    assert!(problem.row.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{problem:?}");
}

#[test]
fn every_failure_has_its_statuses() {
    for (rejection, grpc, http, retry) in rejections() {
        check(&OperationError::Rejected(rejection).into(), grpc, http, retry);
    }
    for (error, grpc, http, retry) in operation_errors() {
        check(&error.into(), grpc, http, retry);
    }
    check(&AuthError::Missing.into(), Code::Unauthenticated, 401, Retry::No);
    check(&AuthError::Invalid.into(), Code::Unauthenticated, 401, Retry::No);
    check(&AuthError::Unavailable("x".into()).into(), Code::Unavailable, 503, Retry::SameKey);
}

#[test]
fn every_variant_has_a_sample() {
    // The codes of the table are one per variant, so as many different codes as variants means that each has a sample.
    // The numbers are those of the matches in `error.rs`, which the compiler keeps complete.
    let mut codes: Vec<_> = rejections().into_iter().map(|(r, ..)| of_rejection(&r).code).collect();
    codes.sort_unstable();
    codes.dedup();
    let rows = include_str!("error.rs").lines().filter(|line| line.trim_start().starts_with("Rejection::")).count();
    assert_eq!(codes.len(), rows, "a rejection without a sample here, or two that share a code: {codes:?}");

    let mut codes: Vec<_> = operation_errors().into_iter().map(|(e, ..)| Problem::from(e).row.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let table = include_str!("error.rs");
    let rows = |prefix: &str| table.lines().filter(|line| line.trim_start().starts_with(prefix)).count();
    // `Rejected` and `Unavailable` pass on to tables of their own.
    assert_eq!(codes.len(), rows("OperationError::") - 2 + rows("Unavailable::"), "{codes:?}");
}

#[test]
fn only_unavailable_and_unknown_outcomes_are_sent_again() {
    let samples = rejections()
        .into_iter()
        .map(|(r, ..)| OperationError::Rejected(r))
        .chain(operation_errors().into_iter().map(|(e, ..)| e));
    for error in samples {
        let problem = Problem::from(&error);
        let retried = matches!(problem.row.grpc, Code::Unavailable | Code::DeadlineExceeded);
        assert_eq!(problem.row.retry == Retry::SameKey, retried, "{problem:?}");
    }
}

#[test]
fn no_room_tells_why_it_does_not_wait() {
    let not_waiting = Some("100 leases wait".to_owned());
    let problem = Problem::from(OperationError::NoRoom { offer: no_room(), ledger_index: 9, not_waiting });
    assert!(problem.message.ends_with("15:00:00 UTC; it does not wait: 100 leases wait"), "{}", problem.message);
}

#[test]
fn where_the_start_is_fixed_no_other_is_told_of() {
    let told = |latest_end| {
        let offer = NoRoom { next_start: None, next_end: None, latest_end, start_is_fixed: true, ..no_room() };
        Problem::from(OperationError::NoRoom { offer, ledger_index: 9, not_waiting: None })
    };
    let problem = told(Seconds::from_unix_s(1_795_359_600));
    assert!(problem.message.ends_with("amount 5 fits this window; all of it fits until 2026-11-22 15:00:00 UTC"), "{problem:?}");
    let json = serde_json::to_string(&problem.offer.unwrap()).unwrap();
    assert!(json.contains(r#""next_start":null,"latest_end":1795359600,"start_is_fixed":true"#), "{json}");
    let problem = told(None);
    assert!(problem.message.ends_with("; amount 5 fits this window"), "{problem:?}");
}

#[test]
fn what_is_beyond_the_quota_tells_what_would_fit() {
    let at = Seconds::from_unix_s(1_795_356_000);
    let offer = NoRoom { quota: Some(Excess { at, ..excess() }), short_by: 1, largest_amount: 1, tightest: None, ..no_room() };
    let told = OperationError::NoRoom { offer: offer.clone(), ledger_index: 9, not_waiting: None };
    let problem = Problem::from(&told);
    check(&problem, Code::FailedPrecondition, 403, Retry::No);
    assert_eq!(problem.row, of_rejection(&Rejection::QuotaExceeded(excess())));
    assert_eq!(
        problem.message,
        "quota of instances at a time exceeded: 2 wanted at 2026-11-22T14:00:00Z, when 3 of 4 are taken; 1 would fit; \
         amount 1 fits this window; all of it fits from 2026-11-22 15:00:00 UTC"
    );
    let json = serde_json::to_value(problem.offer.unwrap()).unwrap();
    let quota = serde_json::json!({"kind": "slots", "limit": 4, "used": 3, "wanted": 2, "at": 1_795_356_000, "fits": 1});
    assert_eq!((&json["quota"], &json["next_start"], &json["tightest"]), (&quota, &1_795_359_600.into(), &().into()));
    // Clients of this version read it, and those of the one before ignore what they do not know.
    let read: leasehold_client::Offer = serde_json::from_value(json).unwrap();
    assert_eq!(read.quota.unwrap().at, Some(1_795_356_000));
}

#[test]
fn no_room_tells_what_would_fit() {
    let problem = Problem::from(OperationError::NoRoom { offer: no_room(), ledger_index: 9, not_waiting: None });
    assert_eq!(
        problem.message,
        "Not enough hosts available: reservation 0 is 3 instances short (VCPU is the tightest); amount 5 fits this window; \
         all of it fits from 2026-11-22 15:00:00 UTC"
    );
    assert_eq!(
        serde_json::to_string(&problem.offer.unwrap()).unwrap(),
        r#"{"reservation":0,"short_by":3,"tightest":"VCPU","largest_amount":5,"next_start":1795359600,"next_end":1795363200,"staging":false,"ledger_index":9}"#
    );
}
