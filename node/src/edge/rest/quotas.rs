//! `/v1/quotas` and `/v1/quotas/{project_id}` (1.1); `default` stands for projects without limits of their own.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use leasehold_client::wire::convert::quota_project;
use serde_json::json;

use super::answer::{Answered, Result};
use super::gate::{Caller, Json, Pairs, Segment, pairs};
use super::{Rest, body, idempotency};

/// `GET /v1/quotas`: the projects that have limits of their own, filtered, page by page.
pub async fn list(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    caller.since_1_1()?;
    let listing = body::quota_listing(pairs(query)?, caller.version)?;
    let found = rest.operations.list_quotas(&caller.actor, &listing).await?;
    let quotas: Vec<_> = found.value.iter().map(body::quota).collect();
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"quotas": quotas})))
}

/// `GET /v1/quotas/{project_id}`
pub async fn show(State(rest): State<Rest>, caller: Caller, Segment(id): Segment) -> Result {
    caller.since_1_1()?;
    let found = rest.operations.get_quota(&caller.actor, quota_project(&id)).await?;
    let quota = body::quota(&found.value);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"quota": quota})))
}

/// `PUT /v1/quotas/{project_id}`: a number sets a limit, -1 sets none, null leaves it to the default; others stay.
pub async fn update(
    State(rest): State<Rest>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Json(body): Json,
) -> Result {
    caller.since_1_1()?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let (set, unset) = body::quota_change(&body, caller.version)?;
    let settled = rest.operations.set_quota(&caller.actor, key, quota_project(&id), set, unset).await?;
    let quota = body::quota(&settled.value);
    Ok(Answered::at(settled.ledger_index, StatusCode::OK, json!({"quota": quota})))
}
