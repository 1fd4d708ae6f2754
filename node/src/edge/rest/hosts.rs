//! `/v1/os-hosts` (blazar-api §9, without properties).

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use leasehold_ledger::model::HostId;
use serde_json::json;

use super::answer::{self, Answered, Refused, Result};
use super::gate::{Caller, Json, Pairs, Segment, pairs};
use super::{Rest, body, idempotency};
use crate::operations::Consistency;

/// `GET /v1/os-hosts`
pub async fn list(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    let listing = body::host_listing(pairs(query)?, caller.version)?;
    let found = rest.operations.list_hosts(&caller.actor, listing, Consistency::Linearizable).await?;
    let hosts: Vec<_> = found.value.iter().map(|host| body::host(host, caller.version)).collect();
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"hosts": hosts})))
}

/// `POST /v1/os-hosts`
pub async fn create(State(rest): State<Rest>, caller: Caller, headers: HeaderMap, Json(body): Json) -> Result {
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let request = body::host_create(&body, caller.version)?;
    let made = rest.operations.register_host(&caller.actor, key, request).await?;
    let host = body::host(&made.value, caller.version);
    Ok(Answered::at(made.ledger_index, StatusCode::CREATED, json!({"host": host})))
}

/// `GET /v1/os-hosts/{id}`
pub async fn show(State(rest): State<Rest>, caller: Caller, Segment(id): Segment) -> Result {
    let found = rest.operations.get_host(&caller.actor, host_id(&id)?, Consistency::Linearizable).await?;
    let host = body::host(&found.value, caller.version);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"host": host})))
}

/// `PUT /v1/os-hosts/{id}`
pub async fn update(
    State(rest): State<Rest>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Json(body): Json,
) -> Result {
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let id = host_id(&id)?;
    let body::HostUpdate { properties, reservable, pool } = body::host_update(&body, caller.version)?;
    if let Some(pool) = pool {
        let found = rest.operations.get_host(&caller.actor, id, Consistency::Linearizable).await?;
        if found.value.description.pool != pool {
            let text = "pool cannot be updated: delete the host and register it in the other pool".to_owned();
            return Err(answer::problem(StatusCode::CONFLICT, tonic::Code::FailedPrecondition, "cannot_update", text).into());
        }
    }
    let settled = rest.operations.update_host(&caller.actor, key, id, properties, reservable).await?;
    let host = body::host(&settled.value, caller.version);
    Ok(Answered::at(settled.ledger_index, StatusCode::OK, json!({"host": host})))
}

/// `DELETE /v1/os-hosts/{id}`
pub async fn delete(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, headers: HeaderMap) -> Result {
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let gone = rest.operations.delete_host(&caller.actor, key, host_id(&id)?).await?;
    Ok(Answered { status: StatusCode::NO_CONTENT, body: None, ledger_index: Some(gone.ledger_index) })
}

/// `GET /v1/os-hosts/allocations`
pub async fn allocations(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    let filter = body::allocation_listing(pairs(query)?, caller.version)?;
    let found = rest.operations.host_allocations(&caller.actor, filter).await?;
    let allocations: Vec<_> = found.value.iter().map(body::allocation).collect();
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"allocations": allocations})))
}

/// `GET /v1/os-hosts/{id}/allocation`
pub async fn allocation(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, query: Pairs) -> Result {
    let filter = body::host_allocation(host_id(&id)?, pairs(query)?, caller.version)?;
    let found = rest.operations.host_allocations(&caller.actor, filter).await?;
    // A host that is not there was refused.
    let allocation = found.value.first().map(body::allocation);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"allocation": allocation})))
}

/// What is no number names no host.
pub(super) fn host_id(text: &str) -> std::result::Result<HostId, Refused> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok().map(HostId)).flatten().ok_or_else(|| no_host(text))
}

fn no_host(text: &str) -> Refused {
    let message = format!("Object with {{'host_id': '{}'}} not found", body::cut(text));
    answer::problem(StatusCode::NOT_FOUND, tonic::Code::NotFound, "host_not_found", message).into()
}
