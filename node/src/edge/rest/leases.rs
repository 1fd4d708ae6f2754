//! `/v1/leases` and `/v1/idempotency-keys` (blazar-api §6).

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use leasehold_ledger::command::SeriesWish;
use leasehold_ledger::listing::LeaseFilter;
use leasehold_ledger::model::{Lease, LeaseId, SeriesId};
use leasehold_ledger::reply::Rejection;
use serde_json::json;

use super::answer::{self, Answered, Refused, Result};
use super::gate::{Caller, Json, Pairs, Segment, pairs};
use super::microversion::Microversion;
use super::{Rest, body, idempotency};
use crate::edge::error::Problem;
use crate::operations::{Consistency, OperationError};
use crate::seams::long;

/// `GET /v1/leases`: offers that were not claimed are not among them (architecture D9), and what waits for room only where
/// that status is asked for.
pub async fn list(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    let filter = body::lease_filter(pairs(query)?, caller.version)?;
    listing(&rest, &caller, "leases", filter).await
}

/// `GET /v1/offers` (1.1): offers that were not claimed, with the queries of leases.
pub async fn offers(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    caller.since_1_1()?;
    let filter = body::lease_filter(pairs(query)?, caller.version)?;
    listing(&rest, &caller, "offers", LeaseFilter { offers: true, ..filter }).await
}

async fn listing(rest: &Rest, caller: &Caller, key: &str, filter: LeaseFilter) -> Result {
    let found = rest.operations.list_leases(&caller.actor, filter, Consistency::Linearizable).await?;
    let leases: Vec<_> = long(|| found.value.leases.iter().map(|lease| body::lease(lease, caller.version)).collect());
    let mut answer = json!({key: leases});
    if let Some(next) = found.value.next {
        answer["next"] = next.to_string().into();
    }
    Ok(Answered::at(found.ledger_index, StatusCode::OK, answer))
}

/// `POST /v1/leases/{id}/claim` (1.1): makes an offer a lease like any other.
pub async fn claim(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, headers: HeaderMap) -> Result {
    caller.since_1_1()?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let claimed = rest.operations.claim_offer(&caller.actor, key, lease_id(&id)?).await?;
    let lease = body::lease(&claimed.value, caller.version);
    Ok(Answered::at(claimed.ledger_index, StatusCode::OK, json!({"lease": lease})))
}

/// `GET /v1/leases/utilisation` (1.1)
pub async fn utilisation(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    caller.since_1_1()?;
    let wish = body::utilisation_wish(pairs(query)?, caller.version)?;
    let found = rest.operations.utilisation(&caller.actor, wish).await?;
    let utilisation = body::utilisation(&found.value);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"utilisation": utilisation})))
}

/// `POST /v1/leases`
pub async fn create(State(rest): State<Rest>, caller: Caller, headers: HeaderMap, Json(body): Json) -> Result {
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let wish = body::create(&body, caller.version, &caller.actor, rest.minutes_before_end)?;
    if let Some(recurrence) = body::recurrence(&body, caller.version)? {
        let wish = SeriesWish { lease: wish, recurrence };
        let made = rest.operations.create_series(&caller.actor, key, wish).await?;
        let (lease, series) = (body::lease(&made.value.first, caller.version), body::series(&made.value));
        let body = Some(json!({"lease": lease, "series": series}));
        return Ok(Answered { status: StatusCode::CREATED, body, ledger_index: Some(made.ledger_index) });
    }
    let made = rest.operations.create_lease_with(&caller.actor, caller.token.as_ref(), key, wish).await?;
    let lease = body::lease(&made.value, caller.version);
    Ok(Answered::at(made.ledger_index, StatusCode::CREATED, json!({"lease": lease})))
}

/// `GET /v1/leases/{id}`
pub async fn show(State(rest): State<Rest>, caller: Caller, Segment(id): Segment) -> Result {
    let id = lease_id(&id)?;
    let found = rest.operations.get_lease(&caller.actor, id, Consistency::Linearizable).await?;
    shown_to(&caller, &found.value)?;
    let lease = body::lease(&found.value, caller.version);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"lease": lease})))
}

/// `PUT /v1/leases/{id}`: first the GET, with its policy, as Blazar does; then the change, merged onto what was found.
pub async fn update(
    State(rest): State<Rest>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Json(body): Json,
) -> Result {
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let id = lease_id(&id)?;
    let found = rest.operations.get_lease(&caller.actor, id, Consistency::Linearizable).await?;
    shown_to(&caller, &found.value)?;
    let settled = match body::update(&body, caller.version, &found.value, key.is_some())? {
        Some(change) => {
            let changed = rest.operations.update_lease_with(&caller.actor, caller.token.as_ref(), key, id, change).await;
            changed.map_err(of_change)?
        }
        None => found,
    };
    let lease = body::lease(&settled.value, caller.version);
    Ok(Answered::at(settled.ledger_index, StatusCode::OK, json!({"lease": lease})))
}

/// What Blazar's version lists nowhere it does not show either.
fn shown_to(caller: &Caller, lease: &Lease) -> std::result::Result<(), Refused> {
    let unknown_to_blazar = lease.unclaimed_until().is_some() || lease.wait.is_some();
    if unknown_to_blazar && caller.version < Microversion::V1_1 {
        return Err(OperationError::from(Rejection::LeaseNotFound(lease.id)).into());
    }
    Ok(())
}

/// Blazar answers 403 to a new lease that its enforcement refuses, and 400 to a change (blazar-api §14).
fn of_change(error: OperationError) -> Refused {
    let mut problem = Problem::from(error);
    if problem.row.code == "quota_exceeded" {
        problem.row.http = StatusCode::BAD_REQUEST;
    }
    problem.into()
}

/// `DELETE /v1/leases/{id}`
pub async fn delete(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, headers: HeaderMap) -> Result {
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let id = lease_id(&id)?;
    match rest.operations.get_lease(&caller.actor, id, Consistency::Linearizable).await {
        Ok(_) => {}
        // With a key this may be the retry of a delete that was carried out: its stored answer decides.
        Err(OperationError::Rejected(Rejection::LeaseNotFound(_))) if key.is_some() => {}
        Err(error) => return Err(error.into()),
    }
    let gone = rest.operations.delete_lease(&caller.actor, key, id).await?;
    Ok(Answered { status: StatusCode::NO_CONTENT, body: None, ledger_index: Some(gone.ledger_index) })
}

/// `DELETE /v1/series/{id}` (1.1): its leases that have not started.
pub async fn delete_series(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, headers: HeaderMap) -> Result {
    caller.since_1_1()?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let id = series_id(&id)?;
    let gone = rest.operations.delete_series(&caller.actor, key, id).await?;
    let body = json!({"series": body::deleted_series(id, &gone.value)});
    Ok(Answered { status: StatusCode::OK, body: Some(body), ledger_index: Some(gone.ledger_index) })
}

/// `GET /v1/idempotency-keys/{uuid}` (1.1): what became of a request. When nothing is known of the key and it is still
/// valid, it is stated in the log that it never will apply.
pub async fn key(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, headers: HeaderMap) -> Result {
    caller.since_1_1()?;
    let key = idempotency::key(&id, &headers, &caller.actor)?;
    let known = rest.operations.look_up_key(&caller.actor, key).await?;
    let state = body::key_state(&known.value);
    Ok(Answered::at(known.ledger_index, StatusCode::OK, json!({"idempotency_key": state})))
}

/// What is no UUID names no lease.
fn lease_id(text: &str) -> std::result::Result<LeaseId, Refused> {
    let not_found = |_| {
        let message = format!("Object with {{'lease_id': '{}'}} not found", body::cut(text));
        answer::problem(StatusCode::NOT_FOUND, tonic::Code::NotFound, "lease_not_found", message)
    };
    Ok(text.parse().map_err(not_found)?)
}

/// As [`lease_id`].
fn series_id(text: &str) -> std::result::Result<SeriesId, Refused> {
    let not_found = |_| {
        let message = format!("Object with {{'series_id': '{}'}} not found", body::cut(text));
        answer::problem(StatusCode::NOT_FOUND, tonic::Code::NotFound, "series_not_found", message)
    };
    Ok(text.parse().map_err(not_found)?)
}
