#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use http_body_util::BodyExt;
use leasehold_ledger::model::{ProjectId, Timestamp, UserId};
use leasehold_ledger::reply::Rejection;
use serde_json::{Value, json};

use super::answer::{self, Answered, Refused};
use super::microversion::Microversion;
use super::{idempotency, routes};
use crate::operations::{Actor, OperationError, Unavailable};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn microversions_are_read_as_blazar_reads_them() {
    let of = |value: &str| Microversion::of_request(&headers(&[("openstack-api-version", value)]));
    assert_eq!(Microversion::of_request(&HeaderMap::new()), Ok(Microversion::V1_0));
    assert_eq!(of("reservation 1.0"), Ok(Microversion::V1_0));
    assert_eq!(of("compute 2.96, Reservation 1.1"), Ok(Microversion::V1_1));
    assert_eq!(of("reservation latest"), Ok(Microversion::V1_1));
    assert_eq!(of("compute 2.96"), Ok(Microversion::V1_0));
    let unsupported = "Version 1.9 is not supported by the API. Minimum is 1.0 and maximum is 1.1.".to_owned();
    assert_eq!(of("reservation 1.9"), Err((StatusCode::NOT_ACCEPTABLE, unsupported)));
    let ill_formed = "API Version String abc is of invalid format. Must be of format MajorNum.MinorNum.".to_owned();
    assert_eq!(of("reservation abc"), Err((StatusCode::BAD_REQUEST, ill_formed)));
    for bad in ["reservation", "reservation 1.", "reservation 1.1.1", "reservation -1.0"] {
        assert_eq!(of(bad).unwrap_err().0, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[test]
fn the_json_suffix_is_taken_off_paths_of_the_api_only() {
    let stem = |text: &str| routes::without_json(&text.parse::<Uri>().unwrap()).map(|uri| uri.to_string());
    assert_eq!(stem("/v1/leases.json").as_deref(), Some("/v1/leases"));
    assert_eq!(stem("/v1/os-hosts/allocations.json?lease_id=x").as_deref(), Some("/v1/os-hosts/allocations?lease_id=x"));
    assert_eq!(stem("http://h:1234/v1/leases/x.json").as_deref(), Some("http://h:1234/v1/leases/x"));
    for other in ["/v1/leases", "/versions.json", "/v1/.json"] {
        assert_eq!(stem(other), None, "{other}");
    }
}

#[test]
fn an_idempotency_key_needs_a_validity_or_a_time_inside() {
    let actor = Actor { user_id: UserId("u".into()), project_id: ProjectId("p".into()), roles: BTreeSet::new() };
    let of = |pairs: &[(&'static str, &str)]| idempotency::of_request(&headers(pairs), &actor);
    assert_eq!(of(&[]).unwrap(), None);
    let v7 = uuid::Builder::from_unix_timestamp_millis(1_763_800_000_123, &[7; 10]).into_uuid().to_string();
    let key = of(&[("idempotency-key", &v7)]).unwrap().unwrap();
    assert_eq!((key.project_id.0.as_str(), key.valid_until), ("p", Timestamp(1_763_800_000_123 + 3_600_000)));
    let v4 = "c1a1b9a0-3c2b-4d8e-9f60-2f0f4d1f3a55";
    let undated = of(&[("idempotency-key", v4)]).unwrap_err().message;
    assert!(undated.contains("Idempotency-Valid-Until") && undated.contains("at most 24 hours ahead"), "{undated}");
    let dated = of(&[("idempotency-key", v4), ("idempotency-valid-until", "2026-11-22T10:36:30.5+01:00")]).unwrap().unwrap();
    assert_eq!(dated.valid_until, Timestamp(1_795_340_190_500));
    for (id, until) in [("7", "2026-11-22T10:36:30Z"), (v4, "tomorrow")] {
        let refused = of(&[("idempotency-key", id), ("idempotency-valid-until", until)]).unwrap_err();
        assert_eq!(refused.row.http, StatusCode::BAD_REQUEST);
    }
}

async fn shown(response: axum::response::Response) -> (u16, HeaderMap, Value) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    (parts.status.as_u16(), parts.headers, body)
}

#[tokio::test]
async fn errors_have_blazars_three_shapes() {
    let of = |refused: Refused| shown(refused.into_response());
    let ended = Refused::from(OperationError::Rejected(Rejection::AlreadyEnded));
    let (status, _, body) = of(ended).await;
    assert_eq!(
        (status, body),
        (400, json!({"error_code": 400, "error_message": "Terminated leases can only be renamed", "error_name": 400}))
    );

    let (status, headers, body) = of(Refused::Framework(StatusCode::NOT_FOUND, "where?".into())).await;
    assert_eq!((status, body), (404, json!({"error": 404, "error_message": "where?"})));
    assert_eq!(headers["content-type"], "application/json");

    let (status, _, body) = of(OperationError::Internal("the inside".into()).into()).await;
    let internal = json!({"error_code": 500, "error_message": "Internal Server Error", "error_name": "INTERNAL_SERVER_ERROR"});
    assert_eq!((status, body), (500, internal));

    let nothing =
        answer::problem(StatusCode::BAD_REQUEST, tonic::Code::InvalidArgument, answer::NO_DATA, "No data to update".into());
    let (status, _, body) = of(nothing.into()).await;
    assert_eq!((status, &body["error_name"]), (400, &json!("INTERNAL_SERVER_ERROR")));

    let (status, headers, _) = of(OperationError::Unavailable(Unavailable::NoQuorum).into()).await;
    assert_eq!((status, headers["retry-after"].as_bytes()), (503, &b"1"[..]));
}

#[tokio::test]
async fn a_deleted_lease_is_answered_without_a_body_and_with_its_index() {
    let gone = Answered { status: StatusCode::NO_CONTENT, body: None, ledger_index: Some(41) };
    let (status, headers, body) = shown(gone.into_response()).await;
    assert_eq!((status, body, headers["x-leasehold-ledger-index"].as_bytes()), (204, Value::Null, &b"41"[..]));
    assert!(!headers.contains_key("content-type"));
}
