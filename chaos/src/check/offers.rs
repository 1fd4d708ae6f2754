//! O1: an offer stands until it is claimed, deleted or over, and no longer. By the ledger's clock nobody claims one that is over,
//! and none goes before that unless somebody deletes it; by true time nobody is told "expired" of one that is not; at rest none
//! that is over stands. That an offer takes its room, and lists have none, is the witness's and the search's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{CALENDAR_UNIX_S, calendar};
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// What clocks drift between two looks, beside their tolerance, milliseconds.
const DRIFT_MS: u64 = 250;
/// An offer that is over is dropped so soon, while there is a leader, milliseconds.
const DROPPED_MS: u64 = 10_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let expiries = followed(record, &mut sheet);
    refused(record, &expiries, &mut sheet);
    if !record.plan.is_beyond() {
        at_rest(record, &mut sheet);
    }
    sheet.close("O1")
}

/// Until when an offer stands that nobody has claimed, calendar seconds; `None`: it is none.
fn unclaimed(lease: &Value) -> Option<u64> {
    lease["offer"]["expires_at"].as_u64().filter(|_| lease["offer"]["claimed_at"].is_null())
}

/// Leases that an operation of this kind, unless it was refused, was for.
fn asked<'a>(record: &'a Record, op: &str) -> BTreeSet<&'a str> {
    let may_be = |one: &&Operation| one.op == op && one.ending != Ending::Fail;
    record.history.iter().filter(may_be).filter_map(|one| one.body["request"]["lease_id"].as_str()).collect()
}

/// How each offer goes on. Gives when each expires.
fn followed<'a>(record: &'a Record, sheet: &mut Sheet) -> BTreeMap<&'a str, u64> {
    let (claims, deletions) = (asked(record, "claim"), asked(record, "delete"));
    let replay = Replay::new(record);
    let mut standing: BTreeMap<&str, u64> = BTreeMap::new();
    let mut expiries = BTreeMap::new();
    for index in replay.indices() {
        for change in replay.changes_at(index) {
            let lease = &change["lease"];
            let (gone, there) = (change["lease_removed"].as_str(), lease["id"].as_str());
            if let Some(until) = gone.and_then(|id| standing.remove(id)) {
                let id = gone.unwrap_or_default();
                let by = u64::from(replay.clock_by_s(index));
                sheet.must(by >= until || deletions.contains(id), || {
                    format!("offer {id} was gone at index {index}, second {by}, stood until {until}, and nobody deleted it")
                });
                continue;
            }
            let Some(id) = there else { continue };
            if let Some(until) = unclaimed(lease) {
                let first = *expiries.entry(id).or_insert(until);
                sheet.must(first == until, || format!("offer {id} stood until {first}, at index {index} until {until}"));
                standing.insert(id, until);
            } else if let Some(until) = standing.remove(id) {
                let at_ms = lease["offer"]["claimed_at"].as_u64().unwrap_or(u64::MAX);
                sheet.must(claims.contains(id), || format!("offer {id} was a lease at index {index}, and nobody claimed it"));
                sheet.must(u64::from(calendar(at_ms)) < until, || {
                    format!("offer {id} stood until {until}, and was claimed at index {index}: {}", lease["offer"])
                });
            }
        }
    }
    expiries
}

/// Who was told that an offer has expired.
fn refused(record: &Record, expiries: &BTreeMap<&str, u64>, sheet: &mut Sheet) {
    for operation in record.history.iter().filter(|one| one.op == "claim" && one.ending == Ending::Fail) {
        let rejection = &operation.body["reply"]["rejection"];
        if rejection != "offer_expired" && rejection.get("offer_expired").is_none() {
            continue;
        }
        let Some(until) = operation.body["request"]["lease_id"].as_str().and_then(|id| expiries.get(id)) else {
            sheet.violation(format!("operation {}: expired is what nobody was told of as an offer", operation.n));
            continue;
        };
        let returned_ms = record.epoch_ms + operation.return_ns / 1_000_000;
        sheet.must(returned_ms + record.clock_tolerance_ms + DRIFT_MS >= (until + CALENDAR_UNIX_S) * 1_000, || {
            format!("operation {}: it was refused as expired at {returned_ms} ms, and stands until second {until}", operation.n)
        });
    }
}

/// What stands at rest.
fn at_rest(record: &Record, sheet: &mut Sheet) {
    let over_ms = record.over_ms();
    for last in &record.finals {
        for (id, lease) in &last.leases {
            let Some(until) = unclaimed(lease) else { continue };
            sheet.must((until + CALENDAR_UNIX_S) * 1_000 + DROPPED_MS > over_ms, || {
                format!("offer {id} on node {} is over and stands at rest: {}", last.node, lease["offer"])
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, incident, last, operation};
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    fn offer(until: u64, claimed_at_s: Option<u64>) -> Value {
        let mut lease = lease("a", 100, 200, &[(1, 3)]);
        lease["offer"] = json!({"expires_at": until, "claimed_at": claimed_at_s.map(|at| (CALENDAR_UNIX_S + at) * 1_000)});
        lease
    }

    /// An offer until second 100, and an operation about it.
    fn made(op: &str, ending: Ending, reply: Value) -> Made {
        let mut made = Made::default();
        made.create(2, &offer(100, None));
        made.history.push(operation(op, ending, None, json!({"request": {"lease_id": "a"}, "reply": reply})));
        made
    }

    /// It is gone by a second of the ledger's clock.
    fn gone(mut made: Made, by_s: u64) -> Made {
        made.watch(3, json!({"lease_removed": "a"}));
        made.audit_at(3, 0, &[]);
        made.audit[0].clock_ms = (CALENDAR_UNIX_S + by_s) * 1_000;
        made
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    }

    #[test]
    fn an_offer_goes_when_it_is_over_or_deleted_and_else_it_fires() {
        passes(gone(made("get", Ending::Ok, json!(null)), 100));
        fires(judge, gone(made("get", Ending::Ok, json!(null)), 99), "nobody deleted it");
        passes(gone(made("delete", Ending::Ok, json!(null)), 50));
        passes(gone(made("delete", Ending::Info, json!(null)), 50));
        fires(judge, gone(made("delete", Ending::Fail, json!(null)), 50), "nobody deleted it");
    }

    #[test]
    fn a_claim_in_time_passes_a_late_one_fires_and_so_does_one_that_nobody_made() {
        let claimed = |op: &str, at_s: u64| {
            let mut made = made(op, Ending::Info, json!(null));
            made.watch(3, json!({"lease": offer(100, Some(at_s))}));
            made
        };
        passes(claimed("claim", 99));
        fires(judge, claimed("claim", 100), "was claimed at index 3");
        fires(judge, claimed("get", 99), "nobody claimed it");
        // What was claimed goes as any lease does.
        passes(gone(claimed("claim", 99), 50));
    }

    #[test]
    fn an_offer_that_stands_for_another_time_than_at_first_fires() {
        let mut moved = made("get", Ending::Ok, json!(null));
        moved.watch(3, json!({"lease": offer(101, None)}));
        fires(judge, moved, "at index 3 until 101");
    }

    #[test]
    fn a_refusal_as_expired_is_right_when_it_is_over_and_else_it_fires() {
        let refused = |rejection: Value, until: u64| {
            let mut made = made("claim", Ending::Fail, json!({"kind": "rejected", "rejection": rejection}));
            made.watches[0].change = json!({"lease": offer(until, None)});
            made
        };
        for rejection in [json!("offer_expired"), json!({"offer_expired": "a"})] {
            passes(refused(rejection.clone(), 0));
            fires(judge, refused(rejection, 1), "refused as expired");
        }
        passes(refused(json!({"lease_not_found": "a"}), 1));
        let mut unknown = refused(json!("offer_expired"), 0);
        unknown.watches.clear();
        fires(judge, unknown, "nobody was told of");
    }

    #[test]
    fn an_offer_that_is_over_does_not_stand_at_rest() {
        let at_rest = |lease: Value| {
            let incidents = vec![incident(None, 300_000_000_000, "phase", "drained")];
            Made { finals: vec![last(1, 5, &[lease])], incidents, ..Made::default() }
        };
        fires(judge, at_rest(offer(289, None)), "stands at rest");
        passes(at_rest(offer(291, None)));
        passes(at_rest(offer(100, Some(1))));
    }
}
