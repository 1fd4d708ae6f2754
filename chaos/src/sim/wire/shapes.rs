//! What the edges say, in the words of the record: a lease with the fields that were told and no others, a refusal by its code.

use chrono::{DateTime, NaiveDateTime};
use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, LeaseWish, OfferWish, Recurrence, ReservationWish, SeriesWish, StagingWish, StartWish,
    WaitWish,
};
use leasehold_ledger::model::{InstanceWish, LEDGER_EPOCH_UNIX_S, Lease, OnEnd, PoolKind, Precedence, Seconds};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::world::json as as_json;

/// What gRPC does not tell of a lease.
const UNTOLD: [&str; 4] = ["deleted", "key", "update_key", "before_update"];
/// And of a reservation.
const UNTOLD_OF_RESERVATIONS: [&str; 4] = ["previous", "booked_end", "releasing", "group_awaited"];

/// A lease as gRPC told it.
pub fn of_grpc(lease: &Lease) -> Value {
    let mut told = as_json(lease);
    let drop = |value: &mut Value, names: &[&str]| {
        if let Some(object) = value.as_object_mut() {
            names.iter().for_each(|name| drop(object.remove(*name)));
        }
    };
    drop(&mut told, &UNTOLD);
    for one in told["reservations"].as_array_mut().into_iter().flatten() {
        drop(one, &UNTOLD_OF_RESERVATIONS);
        drop(&mut one["adoption"], &["opened"]);
        // Since when it is, is not told.
        if one["expiry"].is_object() {
            drop(&mut one["expiry"]["counted"], &["at"]);
        }
    }
    told
}

/// A lease as REST told it, from microversion 1.1 on; and as a client may go on with it, where what was not told is nothing.
///
/// # Errors
/// What is not as it should be.
pub fn of_rest(shown: &Value) -> Result<(Value, Lease), String> {
    let mut told = Map::new();
    for name in ["id", "name", "user_id", "project_id", "status", "degraded"] {
        told.insert(name.to_owned(), shown[name].clone());
    }
    for (name, date) in [("start", "start_date"), ("end", "end_date")] {
        told.insert(name.to_owned(), second(&shown[date])?);
    }
    told.insert("reason".to_owned(), shown["status_reason"].clone());
    told.insert("offer".to_owned(), offer(&shown["offer"])?);
    told.insert("wait".to_owned(), wait(&shown["wait"])?);
    // A row says nothing of what is as it is without a word.
    let ranks = [("priority", json!(0)), ("preemptible", json!(false))];
    let said = ranks.iter().filter(|(name, plain)| shown[*name] != *plain);
    let said: Map<String, Value> = said.map(|(name, _)| ((*name).to_owned(), shown[*name].clone())).collect();
    if !said.is_empty() {
        told.insert("precedence".to_owned(), Value::Object(said));
    }
    if !shown["expiry_s"].is_null() {
        told.insert("expiry_s".to_owned(), shown["expiry_s"].clone());
    }
    let reservations = list(shown, "reservations")?.iter().map(reservation).collect::<Result<Vec<_>, _>>()?;
    let events = list(shown, "events")?.iter().map(|event| {
        let time = second(&event["time"])?;
        Ok::<_, String>(json!({"id": event["id"], "kind": event["event_type"], "time": time, "status": event["status"]}))
    });
    told.insert("reservations".to_owned(), reservations.into());
    told.insert("events".to_owned(), events.collect::<Result<Vec<_>, _>>()?.into());
    let told = Value::Object(told);
    let mut whole = told.clone();
    if whole["wait"].is_object() {
        (whole["wait"]["first"], whole["wait"]["since"]) = (told["start"].clone(), json!(0));
    }
    (whole["revision"], whole["created_at"]) = (json!(0), json!(0));
    // That is no event of Blazar's, so that only its time is told.
    if !shown["expires_at"].is_null() {
        let expiry = json!({"id": Uuid::nil(), "kind": "expiry", "time": second(&shown["expires_at"])?, "status": "UNDONE"});
        whole["events"].as_array_mut().into_iter().for_each(|events| events.push(expiry.clone()));
    }
    for one in whole["events"].as_array_mut().into_iter().flatten() {
        one["created_at"] = json!(0);
    }
    for one in whole["reservations"].as_array_mut().into_iter().flatten() {
        (one["bindings"], one["created_at"]) = (json!([]), json!(0));
        if one["expiry"].is_object() {
            one["expiry"]["counted"]["at"] = json!(0);
        }
    }
    let lease = serde_json::from_value(whole).map_err(|error| format!("{error} in {shown}"))?;
    Ok((told, lease))
}

/// Where it stands on the waitlist REST does not tell.
fn wait(shown: &Value) -> Result<Value, String> {
    if shown.is_null() {
        return Ok(Value::Null);
    }
    let latest = Some(&shown["latest_start_date"]).filter(|date| !date.is_null()).map(second).transpose()?;
    Ok(json!({"until": second(&shown["until"])?, "latest": latest}))
}

/// Since when it is claimed REST tells in whole seconds.
fn offer(shown: &Value) -> Result<Value, String> {
    if shown.is_null() {
        return Ok(Value::Null);
    }
    let claimed_at = shown["claimed_at"].as_str().map(|text| {
        let read = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").map_err(|error| format!("{text}: {error}"))?;
        Ok::<_, String>(read.and_utc().timestamp_millis())
    });
    Ok(json!({"expires_at": second(&shown["expires_at"])?, "claimed_at": claimed_at.transpose()?}))
}

fn list<'v>(of: &'v Value, name: &str) -> Result<&'v Vec<Value>, String> {
    of[name].as_array().ok_or_else(|| format!("{name} is no list in {of}"))
}

fn reservation(shown: &Value) -> Result<Value, String> {
    let fields = [
        "id",
        "resource_id",
        "status",
        "missing_resources",
        "resources_changed",
        "server_group_id",
        "server_group_problem",
        "on_end",
        "stage",
    ];
    let mut told: Map<String, Value> = fields.iter().map(|name| ((*name).to_owned(), shown[*name].clone())).collect();
    let fields = [
        "vcpus",
        "memory_mb",
        "disk_gb",
        "amount",
        "affinity",
        "resource_properties",
        "zone",
        "pool",
        "required_traits",
        "forbidden_traits",
    ];
    let mut instance: Map<String, Value> = fields.iter().map(|name| ((*name).to_owned(), shown[*name].clone())).collect();
    if shown["resource_properties"] == "" {
        instance.insert("requirements".to_owned(), json!([]));
    }
    told.insert("wish".to_owned(), json!({ "instance": instance }));
    let staging = &shown["staging"];
    let staging = match staging {
        Value::Null => Value::Null,
        window => json!({
            "window": {"start": second(&window["start_date"])?, "end": second(&window["end_date"])?},
            "park_margin_s": window["park_margin"],
        }),
    };
    told.insert("staging".to_owned(), staging);
    if shown["released"].as_u64().is_some_and(|released| released > 0) {
        told.insert("expiry".to_owned(), json!({"counted": {"released": shown["released"]}}));
    }
    Ok(Value::Object(told))
}

/// A date of an answer as a second of the calendar.
fn second(date: &Value) -> Result<Value, String> {
    let text = date.as_str().ok_or_else(|| format!("{date} is no date"))?;
    if text.starts_with("9999-") {
        return Ok(as_json(&Seconds::OPEN_END));
    }
    let read = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map_err(|error| format!("{text}: {error}"))?;
    let since = u64::try_from(read.and_utc().timestamp()).ok().and_then(|unix_s| unix_s.checked_sub(LEDGER_EPOCH_UNIX_S));
    since.map(Value::from).ok_or_else(|| format!("{text} lies before the calendar"))
}

/// A date of a request.
fn date(at: Seconds) -> Value {
    let unix_s = i64::try_from(at.unix_s()).unwrap_or(i64::MAX);
    let date = DateTime::from_timestamp(unix_s, 0).expect("clients ask for times of this century");
    json!(date.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The body of `POST /v1/leases`.
pub fn create(wish: &LeaseWish) -> Value {
    let start = match wish.start {
        StartWish::Now => json!("now"),
        StartWish::At(at) | StartWish::Earliest { latest: at, .. } => date(at),
    };
    let mut body = json!({
        "name": wish.name,
        "start_date": start,
        "end_date": date(wish.end),
        "reservations": wish.reservations.iter().map(reservation_wish).collect::<Vec<_>>(),
    });
    match wish.offer {
        None => {}
        Some(OfferWish::Until(at)) => body["offer"] = json!({"expires_at": date(at)}),
        Some(OfferWish::For(seconds)) => body["offer"] = json!({"valid_s": seconds}),
    }
    match wish.wait {
        None => {}
        Some(WaitWish::UntilStart) => body["wait"] = json!({}),
        Some(WaitWish::Until(at)) => body["wait"] = json!({"until": date(at)}),
    }
    let Precedence { priority, preemptible, preempt } = wish.precedence;
    if !wish.precedence.ordinary() {
        (body["priority"], body["preemptible"], body["preempt"]) = (json!(priority), json!(preemptible), json!(preempt));
    }
    if let Some(expiry_s) = wish.expiry_s {
        body["expiry_s"] = json!(expiry_s);
    }
    match wish.before_end {
        BeforeEndWish::Never => {}
        BeforeEndWish::SecondsBefore(seconds) => body["before_end_date"] = date(Seconds(wish.end.0.saturating_sub(seconds))),
        BeforeEndWish::At(at) => body["before_end_date"] = date(at),
    }
    body
}

/// The same with a recurrence.
pub fn create_series(wish: &SeriesWish) -> Value {
    let mut body = create(&wish.lease);
    let Recurrence { rule, time_zone, mode } = &wish.recurrence;
    body["recurrence"] = json!({"rule": rule, "time_zone": time_zone, "mode": as_json(mode)});
    body
}

/// A series as REST told it was booked, and its first lease as a client may go on with it.
///
/// # Errors
/// What is not as it should be.
pub fn of_series(body: &Value) -> Result<(Value, Lease), String> {
    let (first, lease) = of_rest(&body["lease"])?;
    let occurrence = |shown: &Value| {
        let (start, end) = (second(&shown["start_date"])?, second(&shown["end_date"])?);
        Ok::<_, String>(json!({"number": shown["occurrence"], "start": start, "end": end}))
    };
    let series = &body["series"];
    let leases = list(series, "leases")?
        .iter()
        .map(|one| Ok::<_, String>(json!({"lease_id": one["id"], "occurrence": occurrence(one)?})))
        .collect::<Result<Vec<_>, _>>()?;
    let left_out = list(series, "left_out")?
        .iter()
        .map(|one| {
            let reason = if one["reason"]["code"] == "no_room" { "no_room" } else { "withdrawn" };
            Ok::<_, String>(json!({"occurrence": occurrence(one)?, "reason": {reason: one["reason"]}}))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((json!({"series_id": series["id"], "first": first, "leases": leases, "left_out": left_out}), lease))
}

/// The body of `PUT /v1/leases/{id}`.
pub fn update(change: &LeaseChange) -> Value {
    let mut body = Map::new();
    if let Some(name) = &change.name {
        body.insert("name".to_owned(), json!(name));
    }
    if let Some(start) = change.start {
        let start = match start {
            StartWish::Now => json!("now"),
            StartWish::At(at) | StartWish::Earliest { latest: at, .. } => date(at),
        };
        body.insert("start_date".to_owned(), start);
    }
    if let Some(end) = change.end {
        let end = match end {
            EndWish::Now => json!("now"),
            EndWish::At(at) => date(at),
        };
        body.insert("end_date".to_owned(), end);
    }
    let reservations: Vec<Value> = change
        .reservations
        .iter()
        .map(|one| {
            let mut asked = instance(one.resource.instance());
            asked["id"] = json!(one.reservation_id);
            if let Some(end) = one.on_end {
                asked["on_end"] = on_end(end);
            }
            asked
        })
        .collect();
    if !reservations.is_empty() {
        body.insert("reservations".to_owned(), reservations.into());
    }
    Value::Object(body)
}

fn reservation_wish(wish: &ReservationWish) -> Value {
    let mut asked = instance(wish.resource.instance());
    asked["resource_type"] = json!("virtual:instance");
    asked["on_end"] = on_end(wish.on_end);
    if let Some(StagingWish { start, end, park_margin_s }) = wish.staging {
        asked["staging"] = json!({"start_date": start.map(date), "end_date": end.map(date), "park_margin": park_margin_s});
    }
    asked
}

fn on_end(end: OnEnd) -> Value {
    json!(match end {
        OnEnd::Delete => "delete",
        OnEnd::Shelve => "shelve",
        OnEnd::Snapshot => "snapshot",
    })
}

fn instance(wish: &InstanceWish) -> Value {
    let pool = wish.pool.map(|pool| match pool {
        PoolKind::Dedicated => "dedicated",
        PoolKind::Shared => "shared",
    });
    json!({
        "vcpus": wish.vcpus,
        "memory_mb": wish.memory_mb,
        "disk_gb": wish.disk_gb,
        "amount": wish.amount,
        "affinity": wish.affinity,
        "zone": wish.zone,
        "pool": pool,
        "required_traits": wish.required_traits,
        "forbidden_traits": wish.forbidden_traits,
        "resource_properties": wish.resource_properties,
    })
}

/// What the ledger rejected, as far as checks must know.
pub fn rejection(code: &str, text: &str) -> Value {
    if matches!(code, "lease_not_found" | "series_not_found") {
        let id = text.split('\'').nth(3).unwrap_or_default();
        return json!({ code: id });
    }
    json!(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lease_that_is_not_there_is_named() {
        let text = "Object with {'lease_id': '0f-1'} not found";
        assert_eq!(rejection("lease_not_found", text), json!({"lease_not_found": "0f-1"}));
        assert_eq!(rejection("start_in_past", "no"), json!("start_in_past"));
    }

    #[test]
    fn dates_are_told_as_they_are_asked_for() {
        let at = Seconds(190_000_001);
        let asked = date(at).as_str().unwrap().replace('Z', ".000000");
        assert_eq!(second(&json!(asked)), Ok(as_json(&at)));
        assert_eq!(second(&json!("9999-12-31T23:59:59.000000")), Ok(as_json(&Seconds::OPEN_END)));
        assert!(second(&json!("yesterday")).is_err());
    }
}
