//! W1: a lease that waits for room books nothing. It becomes an ordinary one with the reservations that it was asked for, on
//! hosts that may serve it, while its time is not over; and it goes when its time is over, or somebody deletes it, and not before.
//! Once everything is healed one for which there is room does not wait any longer than [`PROMOTED_S`], or where the cloud has not
//! agreed to it before [`RETRIED_S`] more, and none that is over stands. That a promotion takes no more than there is, is L1's; that lists have none that wait, the witness's and the search's.
//!
//! Who waits for room while an operator sets quotas may wait for those, and is not held to be late.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{CALENDAR_UNIX_S, Lease, Span, calendar, plan_problem};
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// What waits is gone so soon after its time is over, while there is a leader, seconds.
const DROPPED_S: u32 = 10;
/// Where there is room it is booked so soon, while there is a leader, seconds: a pass over all that wait, and an election.
const PROMOTED_S: u32 = 20;
/// One whose promotion the cloud has not agreed to is left alone for so long at most before it is tried again.
const RETRIED_S: u32 = 160;
/// There is a leader so soon after the healing (V2), milliseconds.
const LED_MS: u64 = 30_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    followed(record, &mut sheet);
    if !record.plan.is_beyond() {
        in_time(record, &mut sheet);
        at_rest(record, &mut sheet);
    }
    sheet.close("W1")
}

/// Whether a lease was last told of as one that waits.
pub fn ended_waiting(record: &Record, id: &str) -> bool {
    let last = record.watches.iter().rev().map(|line| &line.change["lease"]).find(|lease| lease["id"] == id);
    last.is_some_and(|lease| lease["wait"].is_object())
}

/// Until when a lease waits, or its promotion does, calendar seconds; `None`: it does not.
fn waits_until(lease: &Value) -> Option<u32> {
    lease["wait"]["until"].as_u64().and_then(|until| u32::try_from(until).ok())
}

/// What its owner asked for of each reservation.
fn asked(lease: &Value) -> Vec<[&Value; 3]> {
    let all = lease["reservations"].as_array().into_iter().flatten();
    all.map(|one| [&one["id"], &one["wish"], &one["on_end"]]).collect()
}

/// How each goes on.
fn followed(record: &Record, sheet: &mut Sheet) {
    let may_be = |one: &&Operation| one.op == "delete" && one.ending != Ending::Fail;
    let deleted: BTreeSet<&str> =
        record.history.iter().filter(may_be).filter_map(|one| one.body["request"]["lease_id"].as_str()).collect();
    let mut replay = Replay::new(record);
    // As each was told last.
    let mut standing: BTreeMap<&str, &Value> = BTreeMap::new();
    for index in replay.indices() {
        let (clock, by) = (replay.clock_s(index), replay.clock_by_s(index));
        replay.go(index);
        for change in replay.changes_at(index) {
            let lease = &change["lease"];
            if let Some((id, last)) = change["lease_removed"].as_str().and_then(|id| standing.remove_entry(id)) {
                let until = waits_until(last).unwrap_or_default();
                sheet.must(by >= until || deleted.contains(id), || {
                    format!("lease {id} was gone at index {index}, second {by}, waits until {until}, and nobody deleted it")
                });
                continue;
            }
            let Some(id) = lease["id"].as_str() else { continue };
            let before = standing.remove(id);
            let Ok(read) = serde_json::from_value::<Lease>(lease.clone()) else { continue };
            if let Some(until) = waits_until(lease) {
                let first = before.and_then(waits_until).unwrap_or(until);
                sheet.must(first == until, || format!("lease {id} waits until {first}, at index {index} until {until}"));
                standing.insert(id, lease);
            }
            if read.waits() {
                let is_bound = |one: &super::model::Reservation| !one.bindings.is_empty() || one.stage != "booked";
                sheet.must(!read.reservations.iter().any(is_bound), || {
                    format!("at index {index} lease {id} waits for room, and something is booked or done for it")
                });
                continue;
            }
            let Some(before) = before else { continue };
            let hosts = &replay.model().hosts;
            let problem = read.reservations.iter().find_map(|one| plan_problem(one, hosts));
            sheet.must(problem.is_none(), || {
                format!("at index {index} lease {id} was promoted: {}", problem.as_deref().unwrap_or_default())
            });
            sheet.must(asked(before) == asked(lease), || {
                format!("at index {index} lease {id} was promoted as something else than it waited as")
            });
            // What needs a hold of the cloud is booked in time and may get it later.
            if before["status"] == "WAITING" {
                let until = waits_until(before).unwrap_or_default();
                sheet.must(clock < until, || {
                    format!("lease {id} waits until {until}, and was promoted at index {index}, second {clock}")
                });
            }
        }
    }
}

/// Once everything is healed: whoever has room is booked soon, and whose time is over is gone.
fn in_time(record: &Record, sheet: &mut Sheet) {
    let Some(healed_ms) = record.healed_ms() else { return };
    let by_quota = record.history.iter().any(|one| one.op == "set_quota" && one.ending != Ending::Fail);
    let mut replay = Replay::new(record);
    // Since when each could be booked as it is, by what it is.
    let mut free: BTreeMap<String, (u32, u64)> = BTreeMap::new();
    let mut looks: Vec<_> = record.audit.iter().collect();
    looks.sort_by_key(|look| look.ledger_index);
    for look in looks {
        let at_ms = record.epoch_ms + look.at_ns / 1_000_000;
        if at_ms < healed_ms + LED_MS {
            continue;
        }
        let (now, index) = (calendar(at_ms), look.ledger_index);
        replay.go(index);
        let waiting: Vec<Lease> = replay.model().leases.values().filter(|lease| lease.waits()).cloned().collect();
        free.retain(|id, _| waiting.iter().any(|lease| lease.id == *id));
        for lease in waiting {
            let id = lease.id.clone();
            let until = lease.wait.map_or(u32::MAX, |wait| wait.until);
            sheet.must(now <= until.saturating_add(DROPPED_S), || {
                format!("lease {id} waits at index {index}, second {now}, and should have gone at {until}")
            });
            let [one] = lease.reservations.as_slice() else { continue };
            let span = Span { start: lease.start, end: lease.end };
            if by_quota || now >= until || !replay.model().feasible(&one.wish.instance, span, None, &[]) {
                free.remove(&id);
                continue;
            }
            // A try that the cloud refused begins anew.
            let tried = lease.updated_at.unwrap_or_default();
            let since = free.entry(id.clone()).or_insert((now, tried));
            if since.1 != tried {
                *since = (now, tried);
            }
            let since = since.0;
            // What waits takes no changes: it was updated by being promoted and withdrawn.
            let patience = PROMOTED_S + if tried == 0 { 0 } else { RETRIED_S };
            sheet.must(now.saturating_sub(since) <= patience, || {
                format!("lease {id} waits at index {index}, second {now}, and there is room for it since second {since}")
            });
        }
    }
}

/// What stands at rest.
fn at_rest(record: &Record, sheet: &mut Sheet) {
    let over_ms = record.over_ms();
    for last in &record.finals {
        for (id, lease) in &last.leases {
            let Some(until) = waits_until(lease) else { continue };
            sheet.must((u64::from(until + DROPPED_S) + CALENDAR_UNIX_S) * 1_000 > over_ms, || {
                format!("lease {id} on node {} waits at rest, and should have gone at second {until}", last.node)
            });
        }
    }
}

#[cfg(test)]
mod tests;
