//! Requests as clients send them and answers as they read them, by what the body is about; here is what all of them need.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use leasehold_ledger::command::{BeforeEndWish, EndWish, LeaseChange, LeaseWish, OfferWish, StagingWish, StartWish};
use leasehold_ledger::listing::{HostAllocation, ReservedInterval};
use leasehold_ledger::model::{
    Adoption, Anchor, Comparison, Event, EventId, EventKind, Expiry, Host, HostDescription, HostId, InstanceWish, Lease, LeaseId,
    LeaseStatus, Observation, OnEnd, PoolKind, ProjectId, Requirement, ReservationId, ReservationStatus, ResourceWish, Seconds,
    SeriesId, SeriesMode, Timestamp, Upgrade, UserId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion::{self, V1_0, V1_1};
use crate::operations::{Actor, HostRequest, KeyState};

mod capacity;
mod create;
mod hosts;
mod listing;
mod show;
mod update;
mod whole_hosts;

fn actor() -> Actor {
    Actor { user_id: UserId("u1".into()), project_id: ProjectId("p1".into()), roles: BTreeSet::new() }
}

fn at(text: &str) -> Seconds {
    let date = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap();
    Seconds::from_unix_s(date.and_utc().timestamp()).unwrap()
}

fn stamp(text: &str) -> Timestamp {
    at(text).timestamp()
}

/// A request as `openstack reservation lease create` sends it, with `keys` of the lease and of its reservation replaced
/// (or removed, by null under the key `-key`).
fn request(lease_keys: Value, reservation_keys: Value) -> Value {
    let mut reservation = json!({"resource_type": "virtual:instance", "vcpus": 1, "memory_mb": 512, "disk_gb": 1, "amount": 1,
        "affinity": false, "resource_properties": ""});
    change(&mut reservation, &reservation_keys);
    let mut lease = json!({"name": "labcheck-x", "start_date": "2026-12-22 11:38", "end_date": "2026-12-22 12:38",
        "before_end_date": null, "reservations": [reservation], "events": []});
    change(&mut lease, &lease_keys);
    lease
}

fn change(object: &mut Value, keys: &Value) {
    let object = object.as_object_mut().unwrap();
    for (key, value) in keys.as_object().unwrap() {
        match key.strip_prefix('-') {
            Some(removed) => drop(object.remove(removed)),
            None => drop(object.insert(key.clone(), value.clone())),
        }
    }
}

fn created(body: &Value, version: Microversion) -> Result<LeaseWish, Problem> {
    create(body, version, &actor(), 60)
}

/// A server of Nova.
const SERVER: &str = "6c1ff1a8-2e9a-4c3c-9d0e-3a1d5f0f2b11";

fn refused<T: std::fmt::Debug>(result: Result<T, Problem>) -> (u16, String) {
    let problem = result.unwrap_err();
    (problem.row.http.as_u16(), problem.message)
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// The lease of blazar-api §22, with an instance reservation.
fn sample() -> Lease {
    let created_at = stamp("2026-11-22 10:36:30");
    let event = |n, kind, time: &str| json!({"id": id(n), "kind": kind, "time": at(time), "status": "UNDONE", "created_at": created_at, "updated_at": null});
    // From JSON, so that fields which REST does not show may come and go.
    serde_json::from_value(json!({
        "id": id(1), "name": "il", "project_id": "p2", "user_id": "u1",
        "start": at("2026-11-22 10:36:00"), "end": at("2026-11-22 13:36:00"), "status": "PENDING",
        "reason": {"code": "LATE", "text": "late"},
        "reservations": [{
            "id": id(2), "resource_id": id(3),
            "wish": {"instance": {"vcpus": 2, "memory_mb": 1024, "disk_gb": 10, "amount": 3, "affinity": false, "zone": "nova",
                                  "resource_properties": "[\">=\", \"$vcpus\", \"2\"]"}},
            "staging": {"window": {"start": at("2026-11-22 09:36:00"), "end": at("2026-11-22 10:06:00")}, "park_margin_s": 600},
            "on_end": "shelve", "status": "pending", "stage": "booked", "bindings": [], "server_group_id": id(4),
            "created_at": created_at, "updated_at": created_at,
        }],
        "events": [
            event(5, "start_lease", "2026-11-22 10:36:00"),
            event(6, "end_lease", "2026-11-22 13:36:00"),
            event(7, "before_end_lease", "2026-11-22 12:36:00"),
            event(8, "prepare", "2026-11-22 10:30:00"),
            event(9, "staging_open", "2026-11-22 10:31:00"),
        ],
        "revision": 0, "created_at": created_at, "updated_at": created_at, "ledger_index": 7,
    }))
    .unwrap()
}

fn updated(body: Value, version: Microversion, lease: &Lease) -> Result<Option<LeaseChange>, Problem> {
    update(&body, version, lease, false)
}
