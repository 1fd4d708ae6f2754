//! `/v1/capacity` and `POST /v1/leases/what-if` (1.1): what is asked before a lease is.

use axum::extract::State;
use http::StatusCode;
use leasehold_ledger::command::SeriesWish;
use serde_json::json;

use super::answer::{Answered, Result};
use super::gate::{Caller, Json, Pairs, pairs};
use super::{Rest, body};

/// `GET /v1/capacity`
pub async fn show(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    caller.since_1_1()?;
    let wish = body::capacity_wish(pairs(query)?, caller.version)?;
    let found = rest.operations.capacity(&caller.actor, wish).await?;
    let capacity = body::capacity(&found.value);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"capacity": capacity})))
}

/// `GET /v1/capacity/density`
pub async fn density(State(rest): State<Rest>, caller: Caller, query: Pairs) -> Result {
    caller.since_1_1()?;
    let wish = body::density_wish(pairs(query)?, caller.version)?;
    let found = rest.operations.density(&caller.actor, wish).await?;
    let density = body::density(&found.value);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"density": density})))
}

/// `POST /v1/leases/what-if`: the body is that of `POST /v1/leases`, or one of whole hosts.
pub async fn what_if(State(rest): State<Rest>, caller: Caller, Json(body): Json) -> Result {
    caller.since_1_1()?;
    let (wish, hosts) = body::asked_about(&body, caller.version, &caller.actor, rest.minutes_before_end)?;
    let recurrence = body::recurrence(&body, caller.version)?;
    if !hosts.is_empty() {
        let found = match recurrence {
            Some(recurrence) => {
                rest.operations.what_if_hosts_series(&caller.actor, SeriesWish { lease: wish, recurrence }, hosts).await?
            }
            None => rest.operations.what_if_hosts(&caller.actor, wish, hosts).await?,
        };
        let what_if = body::what_if_hosts(&found.value, found.ledger_index);
        return Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"what_if": what_if})));
    }
    let found = match recurrence {
        Some(recurrence) => rest.operations.what_if_series(&caller.actor, SeriesWish { lease: wish, recurrence }).await?,
        None => rest.operations.what_if(&caller.actor, wish).await?,
    };
    let what_if = body::what_if(&found.value, found.ledger_index);
    Ok(Answered::at(found.ledger_index, StatusCode::OK, json!({"what_if": what_if})))
}
