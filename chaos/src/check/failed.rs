//! Part of A5: nothing is given up without need. An event, a reservation or a lease that is told as ERROR counts as settled, so that
//! there must be a reason of the cloud's for it: since its row was opened a call for that row was refused for good, or a server of
//! the reservation broke. What passes by itself (no answer, an error of the service's own, a conflict, a token that is not valid any
//! more, a request to come later) is no reason: it is tried again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Sheet;
use super::cloud::flavor_of;
use super::replay::Replay;
use super::rows::{Row, rows};
use crate::record::{Call, Record};

/// Refusals that pass: not authenticated, too slow, a conflict, too many requests.
const PASSING: [u16; 4] = [401, 408, 409, 429];

/// See the module.
pub fn look(record: &Record, sheet: &mut Sheet) {
    let replay = Replay::new(record);
    let (mut rows_of, broken) = (BTreeMap::<&str, Vec<Row<'_>>>::new(), broken(record));
    let all = rows(record);
    for row in &all {
        let lease = row.opened["lease_id"].as_str().unwrap_or_default();
        rows_of.entry(lease).or_default().push(*row);
    }
    let refused = refused(record);
    let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for index in replay.indices() {
        for change in replay.changes_at(index) {
            let lease = &change["lease"];
            let Some(id) = lease["id"].as_str() else { continue };
            let failed = failed(lease);
            let before = known.insert(id, failed.clone()).unwrap_or_default();
            // Whether a lease was to give way to another is Y1's.
            if lease["preempted"].is_object() {
                continue;
            }
            let told_ns = replay.applied_ns(index).unwrap_or(u64::MAX);
            for what in failed.difference(&before) {
                let of_step = |row: &&Row<'_>| row.from_ns <= told_ns && (what.is_empty() || row.step() == what);
                let has_reason = rows_of.get(id).into_iter().flatten().filter(of_step).any(|row| {
                    let within = |at_ns: &u64| row.from_ns <= *at_ns && *at_ns <= told_ns;
                    let mut breaks = broken.get(flavor(lease, row.reservation())).into_iter().flatten();
                    refused.get(&row.id).into_iter().flatten().any(within) || breaks.any(|at_ms| within(&ns(record, *at_ms)))
                });
                sheet.must(has_reason, || {
                    let what = if what.is_empty() { "it" } else { what };
                    format!(
                        "lease {id}: at index {index} {what} failed, and the cloud had refused nothing for good: {}",
                        lease["reason"]
                    )
                });
            }
        }
    }
}

/// The steps that failed; an empty one: the lease or a reservation, whatever the step.
fn failed(lease: &Value) -> BTreeSet<String> {
    let events = lease["events"].as_array().into_iter().flatten().filter(|event| event["status"] == "ERROR");
    let step = |event: &Value| Some(event["kind"].as_str()?.trim_end_matches("_lease").to_owned());
    let mut steps: BTreeSet<String> = events.filter_map(step).collect();
    let mut reservations = lease["reservations"].as_array().into_iter().flatten();
    if lease["status"] == "ERROR" || reservations.any(|one| one["status"] == "error") {
        steps.insert(String::new());
    }
    steps
}

fn flavor<'a>(lease: &'a Value, reservation: &'a str) -> &'a str {
    let mut all = lease["reservations"].as_array().into_iter().flatten();
    all.find(|one| one["id"] == reservation).and_then(flavor_of).unwrap_or(reservation)
}

/// Calls that were refused for good, by row.
fn refused(record: &Record) -> BTreeMap<u64, Vec<u64>> {
    let mut refused: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let for_good = |call: &Call| {
        let ended =
            call.ended.filter(|end| end.status.is_some_and(|status| (400..500).contains(&status) && !PASSING.contains(&status)));
        let row = call.work()?.strip_prefix("row/")?.parse().ok()?;
        Some((row, ended?.at_ns))
    };
    for (row, at_ns) in record.calls.iter().filter_map(for_good) {
        refused.entry(row).or_default().push(at_ns);
    }
    refused
}

/// When servers of each flavor broke, Unix milliseconds.
fn broken(record: &Record) -> BTreeMap<&str, Vec<u64>> {
    let mut broken: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in &record.cloud {
        for change in line.changes.iter().filter(|change| change.what.starts_with("server.") && change.facts["status"] == "ERROR")
        {
            broken.entry(change.facts["flavor_id"].as_str().unwrap_or_default()).or_default().push(line.at_ms);
        }
    }
    broken
}

fn ns(record: &Record, at_ms: u64) -> u64 {
    at_ms.saturating_sub(record.epoch_ms) * 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::testing::{Made, fires, line, sent};
    use super::*;
    use crate::check::Judgement;
    use crate::check::model::tests::lease;
    use crate::record::CallEnd;
    use crate::report::Verdict;

    const S: u64 = 1_000_000_000;

    fn judge(record: &Record) -> Judgement {
        let mut sheet = Sheet::default();
        look(record, &mut sheet);
        sheet.close("A5")
    }

    /// The start of lease `a`, opened at second 10 as row 7, is told as failed at second 20; a call for a row was answered at a
    /// second.
    fn made(work: &str, answered_s: u64, status: Option<u16>) -> Made {
        let mut made = Made::default();
        let mut one = lease("a", 10, 100, &[(1, 1)]);
        made.watch(1, json!({"lease": one}));
        one["events"][0]["status"] = json!("ERROR");
        one["reason"] = json!("broken");
        made.watch(3, json!({"lease": one}));
        made.audit_at(2, 10 * S, &[]);
        made.row(7, "r-a", "start", 10);
        made.audit_at(3, 20 * S, &[]);
        let ended = Some(CallEnd { at_ns: answered_s * S, status, retry_after_s: None });
        made.calls = vec![crate::record::Call { attempt: Some(format!("{work}/1/500/4/0")), ended, ..sent(1, 1, 11 * S) }];
        made
    }

    #[test]
    fn what_was_refused_for_good_has_failed_and_what_passes_has_not() {
        for status in [400, 403, 404] {
            let judged = judge(&made("row/7", 15, Some(status)).record());
            assert_eq!((judged.verdict, judged.looked_at), (Verdict::Pass, 1), "{judged:?}");
        }
        for status in [None, Some(202), Some(401), Some(409), Some(429), Some(500), Some(503)] {
            fires(judge, made("row/7", 15, status), "at index 3 start failed");
        }
        fires(judge, made("row/8", 15, Some(403)), "refused nothing for good: \"broken\"");
        fires(judge, made("row/7", 9, Some(403)), "refused nothing");
        fires(judge, made("row/7", 21, Some(403)), "refused nothing");
        let mut other = made("row/7", 15, Some(403));
        Arc::make_mut(&mut other.audit[0].actuations[0])["step"] = json!("end");
        fires(judge, other, "refused nothing");
    }

    #[test]
    fn who_gave_way_to_another_did_not_fail() {
        let mut gave_way = made("row/7", 15, Some(500));
        gave_way.watches[1].change["lease"]["preempted"] = json!({"by": "b"});
        assert_eq!(judge(&gave_way.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn a_server_that_broke_is_a_reason() {
        let broke = |flavor: &str, at_s: u64| {
            let mut made = made("row/7", 15, None);
            made.cloud = vec![line(1, at_s * 1_000, "server.error", "s", json!({"flavor_id": flavor, "status": "ERROR"}))];
            made
        };
        assert_eq!(judge(&broke("r-a", 15).record()).verdict, Verdict::Pass);
        fires(judge, broke("r-b", 15), "refused nothing");
        fires(judge, broke("r-a", 9), "refused nothing");
    }

    #[test]
    fn a_reservation_or_a_lease_in_error_counts_too() {
        for change in [
            |one: &mut Value| one["status"] = json!("ERROR"),
            |one: &mut Value| one["reservations"][0]["status"] = json!("error"),
        ] {
            let mut made = made("row/7", 15, Some(500));
            let mut one = lease("a", 10, 100, &[(1, 1)]);
            change(&mut one);
            made.watches[1].change = json!({"lease": one});
            fires(judge, made, "at index 3 it failed");
        }
    }
}
