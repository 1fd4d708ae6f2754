//! `/v1/os-hosts/downtimes` and `/v1/os-hosts/{id}/downtimes` (1.1): what is declared not to be had of a host for a time; and
//! `/v1/os-hosts/{id}/upgrade`: what it is to have from a second on.

use axum::extract::State;
use http::{HeaderMap, StatusCode};
use leasehold_ledger::model::{DowntimeId, Host, HostId};
use serde_json::{Value, json};

use super::answer::{Answered, Refused, Result};
use super::gate::{Caller, Json, Pairs, Segment, Segments, pairs};
use super::hosts::host_id;
use super::{Rest, body, idempotency};
use crate::edge::error::Problem;
use crate::operations::Consistency;

/// `GET /v1/os-hosts/{id}/downtimes`: filtered, sorted, page by page; all of them by begin without a query.
pub async fn list(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, query: Pairs) -> Result {
    caller.since_1_1()?;
    let listing = body::host_downtimes(host_id(&id)?, pairs(query)?, caller.version)?;
    let found = rest.operations.list_downtimes(&caller.actor, listing, Consistency::Linearizable).await?;
    let downtimes: Vec<_> = found.value.iter().map(|one| body::downtime(&one.downtime)).collect();
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"downtimes": downtimes})))
}

/// `GET /v1/os-hosts/downtimes`: of all hosts, filtered, sorted, page by page.
pub async fn of_all(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    caller.since_1_1()?;
    let listing = body::downtime_listing(pairs(query)?, caller.version)?;
    let found = rest.operations.list_downtimes(&caller.actor, listing, Consistency::Linearizable).await?;
    let downtimes: Vec<_> = found.value.iter().map(body::host_downtime).collect();
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"downtimes": downtimes})))
}

/// `PUT /v1/os-hosts/{id}/downtimes/{downtime_id}`: declares it, or replaces what was declared under the id.
pub async fn update(
    State(rest): State<Rest>,
    caller: Caller,
    Segments(host, id): Segments,
    headers: HeaderMap,
    Json(body): Json,
) -> Result {
    caller.since_1_1()?;
    let (host, id) = named(&host, &id)?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let (window, withheld) = body::downtime_wish(&body, caller.version)?;
    let settled = rest.operations.set_downtime(&caller.actor, key, host, id, window, withheld).await?;
    Ok(Answered::at(settled.ledger_index, StatusCode::OK, of_host(&settled.value)))
}

/// `DELETE /v1/os-hosts/{id}/downtimes/{downtime_id}`
pub async fn delete(State(rest): State<Rest>, caller: Caller, Segments(host, id): Segments, headers: HeaderMap) -> Result {
    caller.since_1_1()?;
    let (host, id) = named(&host, &id)?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let gone = rest.operations.drop_downtime(&caller.actor, key, host, id).await?;
    Ok(Answered { status: StatusCode::NO_CONTENT, body: None, ledger_index: Some(gone.ledger_index) })
}

/// `PUT /v1/os-hosts/{id}/upgrade`: declares it, instead of the one that the host has.
pub async fn upgrade(
    State(rest): State<Rest>,
    caller: Caller,
    Segment(id): Segment,
    headers: HeaderMap,
    Json(body): Json,
) -> Result {
    caller.since_1_1()?;
    let id = host_id(&id)?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let wish = body::upgrade_wish(&body, caller.version)?;
    let settled = rest.operations.set_upgrade(&caller.actor, key, id, wish).await?;
    let host = body::host(&settled.value, caller.version);
    Ok(Answered::at(settled.ledger_index, StatusCode::OK, json!({"host": host})))
}

/// `DELETE /v1/os-hosts/{id}/upgrade`
pub async fn drop_upgrade(State(rest): State<Rest>, caller: Caller, Segment(id): Segment, headers: HeaderMap) -> Result {
    caller.since_1_1()?;
    let id = host_id(&id)?;
    let key = idempotency::of_request(&headers, &caller.actor)?;
    let gone = rest.operations.drop_upgrade(&caller.actor, key, id).await?;
    Ok(Answered { status: StatusCode::NO_CONTENT, body: None, ledger_index: Some(gone.ledger_index) })
}

/// All downtimes of a host, by begin.
fn of_host(host: &Host) -> Value {
    json!({"downtimes": host.downtimes.iter().map(body::downtime).collect::<Vec<_>>()})
}

fn named(host: &str, id: &str) -> std::result::Result<(HostId, DowntimeId), Refused> {
    let wrong = || Problem::malformed(format!("the id of the downtime is {}; it must be a UUID", body::cut(id)));
    Ok((host_id(host)?, id.parse().map_err(|_| wrong())?))
}
