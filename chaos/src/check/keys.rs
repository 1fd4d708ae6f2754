//! What a key holds (architecture D18), a part of the witness: one key makes one lease at most, and whoever asks again, or looks
//! the key up, is told what was answered first. Nothing is stored that was no answer: a stale plan, a lack of room, a withdrawal.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Sheet;
use super::model::calendar;
use super::shown::agree;
use super::waits::ended_waiting;
use crate::history::{Ending, Operation};
use crate::record::Record;

/// Whether it only asks again for what was asked before: its request once more, or what its key holds.
pub fn is_again(operation: &Operation) -> bool {
    matches!(operation.op.as_str(), "repeat" | "look_up")
}

/// See the module.
pub fn look(record: &Record, sheet: &mut Sheet) {
    leases(record, sheet);
    let by_number: BTreeMap<u64, &Operation> = record.history.iter().map(|one| (one.n, one)).collect();
    for operation in &record.history {
        let found = &operation.body["resolved"];
        let first = if is_again(operation) {
            let Some(first) = operation.body["of"].as_u64().and_then(|n| by_number.get(&n)) else {
                sheet.unknown(format!("operation {} asks again for what nobody asked for", operation.n));
                continue;
            };
            first
        } else {
            operation
        };
        let problem = if !found.is_null() {
            held(first, found)
        } else if operation.op == "repeat" {
            repeated(first, operation, record)
        } else {
            continue;
        };
        sheet.look();
        if let Some(problem) = problem {
            let n = operation.n;
            sheet.violation(format!("operation {n} ({} of operation {}, {}): {problem}", operation.op, first.n, first.op));
        }
    }
}

/// What is wrong with what a key holds, given how the operation ended that it was made for.
fn held(first: &Operation, found: &Value) -> Option<String> {
    let applied = &found["applied"];
    let refused = applied["rejection"].as_str();
    if refused.is_some_and(|text| text.starts_with("the plan is stale")) {
        return Some(format!("its key holds a stale plan, which is no answer: {found}"));
    }
    match (first.ending, refused) {
        (Ending::Info, _) => None,
        // Found without the log, so that nothing is stored; or stored, and then it is this.
        (Ending::Fail, _) if found == "never" => None,
        (Ending::Fail, Some(text)) if first.body["reply"]["error"] == text => None,
        // Changed, and deleted by somebody else before the answer: for this caller it is gone.
        (Ending::Fail, None) if matches!(first.op.as_str(), "update" | "claim") && applied.is_object() && is_not_found(first) => {
            None
        }
        (Ending::Fail, _) => Some(format!("it failed with {}, its key holds {found}", first.body["reply"])),
        (Ending::Ok, None) if applied.is_object() => {
            // An answer that was made late tells what the lease had become, with that index.
            let index = applied["ledger_index"].as_u64().unwrap_or(u64::MAX);
            if first.index.is_none_or(|answered| {
                index > answered || (matches!(first.op.as_str(), "delete" | "delete_series") && index < answered)
            }) {
                return Some(format!("it was answered at index {:?}, its key holds index {index}", first.index));
            }
            let lease = lease_of(first);
            (applied["lease_id"].as_str() != lease).then(|| format!("it was about lease {lease:?}, its key holds {applied}"))
        }
        (Ending::Ok, _) => Some(format!("it was answered, its key holds {found}")),
    }
}

/// What is wrong with a second answer to an operation that was answered.
fn repeated(first: &Operation, again: &Operation, record: &Record) -> Option<String> {
    let reply = &again.body["reply"];
    match again.ending {
        Ending::Ok => {
            let (answered, index) = (first.index.unwrap_or(0), again.index.unwrap_or(0));
            if index < answered && reply["ledger_index"].as_u64().is_none_or(|of_row| of_row != index) {
                return Some(format!("it was answered at index {answered}, and again at {index}"));
            }
            let (was, is) = (&first.body["reply"], reply);
            if matches!(first.op.as_str(), "delete" | "delete_series") {
                return (index != answered || was != is)
                    .then(|| format!("it was answered at index {answered} with {was}, and again at {index} with {is}"));
            }
            // What was booked of a series, and what was left out, stays what it was; its first lease is as it then is.
            let kept = ["series_id", "leases", "left_out"];
            if first.op == "create_series" && kept.iter().any(|field| was[*field] != is[*field]) {
                return Some(format!("it was answered with {was}, and again with {is}"));
            }
            let (was, is) = if first.op == "create_series" { (&was["first"], &is["first"]) } else { (was, is) };
            if was["id"] != is["id"] && first.op != "create_series" {
                return Some(format!("it was answered with lease {}, and again with {}", was["id"], is["id"]));
            }
            let same = was["id"] == is["id"];
            (index == answered && same && !agree(record, was, is))
                .then(|| format!("index {index} was answered otherwise than before"))
        }
        Ending::Fail => {
            let deleted = || lease_of(first).is_some_and(|lease| was_deleted(lease, again, record));
            let gone = is_not_found(again) && (deleted() || has_expired(first, again, record));
            // Of a series nothing is left once all of its leases are deleted.
            let all_deleted = || {
                let mut leases = first.body["reply"]["leases"].as_array().into_iter().flatten();
                leases.all(|one| one["lease_id"].as_str().is_some_and(|lease| was_deleted(lease, again, record)))
            };
            let is_gone = reply["rejection"].get("series_not_found").is_some();
            let gone = gone || (first.op == "create_series" && is_gone && all_deleted());
            let unclear = matches!(reply["kind"].as_str(), Some("unavailable" | "unknown"));
            (!gone && !unclear).then(|| format!("it was answered, and again refused: {reply}"))
        }
        Ending::Info => None,
    }
}

/// Whether an operation failed because its lease is not there.
pub fn is_not_found(operation: &Operation) -> bool {
    operation.body["reply"]["rejection"].get("lease_not_found").is_some()
}

fn lease_of(operation: &Operation) -> Option<&str> {
    let Operation { op, body, .. } = operation;
    match op.as_str() {
        "create" => body["reply"]["id"].as_str(),
        // A key names the first one.
        "create_series" => body["reply"]["leases"][0]["lease_id"].as_str(),
        _ => body["request"]["lease_id"].as_str(),
    }
}

/// Whether somebody may have deleted a lease, by itself or with its series, by the time that an operation was asked for again.
fn was_deleted(lease: &str, again: &Operation, record: &Record) -> bool {
    let rows = || record.watches.iter().map(|line| &line.change["lease"]);
    let series = || rows().find(|row| row["id"] == lease).map(|row| &row["series"]["id"]);
    record.history.iter().filter(|other| other.invoke_ns <= again.return_ns).any(|other| {
        match (other.op.as_str(), other.ending) {
            (_, Ending::Fail) => false,
            ("delete", _) => lease_of(other) == Some(lease),
            ("delete_series", Ending::Ok) => {
                other.body["reply"]["deleted"].as_array().is_some_and(|all| all.iter().any(|id| id == lease))
            }
            // Which of them it took nobody was told.
            ("delete_series", Ending::Info) => series().is_some_and(|series| other.body["request"]["series_id"] == *series),
            _ => false,
        }
    })
}

/// Whether an operation made an offer that nobody claimed, or what waited for room and found none, and that was over by the time that it was asked for again.
fn has_expired(first: &Operation, again: &Operation, record: &Record) -> bool {
    let wish = &first.body["request"]["wish"];
    let waits = || wish["wait"]["until"].as_u64().filter(|_| lease_of(first).is_some_and(|lease| ended_waiting(record, lease)));
    let until = wish["offer"]["until"].as_u64().or_else(waits);
    let returned = calendar(record.epoch_ms + again.return_ns / 1_000_000 + record.clock_tolerance_ms);
    let lease = lease_of(first);
    let claimed = || record.history.iter().any(|one| one.op == "claim" && one.ending == Ending::Ok && lease_of(one) == lease);
    until.is_some_and(|until| until <= u64::from(returned)) && !claimed()
}

/// One key, at most one lease, or the leases of one series; a key that will never apply has none, and neither has what failed.
fn leases(record: &Record, sheet: &mut Sheet) {
    let mut made: BTreeMap<&str, &str> = BTreeMap::new();
    for line in &record.watches {
        let lease = &line.change["lease"];
        let id = lease["series"]["id"].as_str().or(lease["id"].as_str());
        if let (Some(id), Some(key)) = (id, lease["key"]["id"].as_str()) {
            let first = *made.entry(key).or_insert(id);
            sheet.must(first == id, || format!("key {key} made two leases, {first} and {id}"));
        }
    }
    let creates = |operation: &&Operation| matches!(operation.op.as_str(), "create" | "create_series");
    for operation in record.history.iter().filter(creates) {
        let (n, key) = (operation.n, operation.key.as_deref().unwrap_or_default());
        let found = made.get(key).copied();
        let resolved = &operation.body["resolved"];
        match operation.ending {
            Ending::Ok => {
                let reply = &operation.body["reply"];
                let said = reply["id"].as_str().or(reply["series_id"].as_str());
                sheet.must(found.is_none() || found == said, || format!("operation {n}: made {found:?}, answered {said:?}"));
            }
            Ending::Fail => sheet.must(found.is_none(), || format!("operation {n}: refused, but its key made {found:?}")),
            Ending::Info if resolved == "never" => {
                sheet.must(found.is_none(), || format!("operation {n}: its key will never apply, but it made {found:?}"));
            }
            Ending::Info => {}
        }
    }
    for operation in record.history.iter().filter(|one| one.ending == Ending::Info && one.key.is_some()) {
        let resolved = &operation.body["resolved"];
        if resolved.is_null() || resolved == "expired" {
            sheet.unknown(format!("operation {}: nobody knows what became of it", operation.n));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, operation};
    use super::super::witness::judge;
    use super::*;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    fn good() -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.create(2, &lease("a", 100, 200, &[(1, 3)]));
        made
    }

    fn again(ending: Ending, index: Option<u64>, reply: Value) -> Operation {
        let mut again = operation("repeat", ending, index, json!({"of": 0, "request": {}, "reply": reply}));
        again.key = Some("key-a".to_owned());
        again
    }

    fn look_up(resolved: Value) -> Operation {
        operation("look_up", Ending::Ok, None, json!({"of": 0, "resolved": resolved}))
    }

    fn verdict(made: Made) -> Verdict {
        judge(&made.record()).verdict
    }

    #[test]
    fn an_offer_that_is_over_may_be_gone_when_it_is_asked_for_again() {
        let offered = |until: u64| {
            let mut made = good();
            made.history[0].body["request"]["wish"]["offer"] = json!({"until": until});
            for row in [&mut made.watches[1].change["lease"], &mut made.history[0].body["reply"]] {
                row["offer"] = json!({"expires_at": until});
            }
            let gone = json!({"kind": "rejected", "rejection": {"lease_not_found": "a"}});
            made.history.push(again(Ending::Fail, None, gone));
            made
        };
        assert_eq!(verdict(offered(0)), Verdict::Pass);
        assert_eq!(verdict(offered(50)), Verdict::Violation);
        let mut claimed = offered(0);
        claimed.history.push(operation("claim", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        assert_eq!(verdict(claimed), Verdict::Violation);
    }

    #[test]
    fn the_same_answer_again_passes_and_another_fires() {
        let row = lease("a", 100, 200, &[(1, 3)]);
        let mut made = good();
        made.history.push(again(Ending::Ok, Some(2), row.clone()));
        made.history.push(again(Ending::Fail, None, json!({"kind": "unavailable"})));
        made.history.push(look_up(json!({"applied": {"lease_id": "a", "rejection": null, "ledger_index": 2}})));
        assert_eq!(verdict(made), Verdict::Pass);
        let mut other = row.clone();
        other["id"] = json!("b");
        for (reply, index, with) in [(other, 2, "and again with"), (row.clone(), 1, "and again at 1")] {
            let mut made = good();
            made.history.push(again(Ending::Ok, Some(index), reply));
            fires(judge, made, with);
        }
        let mut renamed = row;
        renamed["name"] = json!("other");
        let mut made = good();
        made.history.push(again(Ending::Ok, Some(2), renamed));
        fires(judge, made, "answered otherwise");
    }

    #[test]
    fn an_answer_that_is_refused_when_it_is_asked_for_again_fires() {
        for reply in [json!({"kind": "no_room"}), json!({"kind": "rejected", "rejection": "key_forgotten"})] {
            let mut made = good();
            made.history.push(again(Ending::Fail, None, reply));
            fires(judge, made, "again refused");
        }
        let gone = json!({"kind": "rejected", "rejection": {"lease_not_found": "a"}});
        let mut made = good();
        made.history.push(again(Ending::Fail, None, gone.clone()));
        fires(judge, made, "again refused");
        // Of a deleted lease there is nothing to tell.
        let mut made = good();
        made.watch(3, json!({"lease_removed": "a"}));
        made.history.push(operation("delete", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        made.history.push(again(Ending::Fail, None, gone));
        assert_eq!(verdict(made), Verdict::Pass);
    }

    #[test]
    fn a_lease_may_go_with_its_series() {
        let gone = |deleted: &[&str], ending: Ending, of: &str| {
            let mut made = good();
            made.watches[1].change["lease"]["series"] = json!({"id": "s", "number": 1, "mode": "best_effort"});
            made.history[0].body["reply"] = made.watches[1].change["lease"].clone();
            // As if it had been looked at: under the key itself a series was booked.
            (made.history[0].op, made.history[0].key) = ("update".to_owned(), None);
            made.history[0].body["request"]["lease_id"] = json!("a");
            made.history[0].body["request"]["change"] = json!({"reservations": []});
            made.watch(3, json!({"lease_removed": "a"}));
            let index = (ending == Ending::Ok).then_some(3);
            let body = json!({"request": {"series_id": of}, "reply": {"deleted": deleted, "kept": []}, "resolved": null});
            made.history.push(operation("delete_series", ending, index, body));
            let reply = json!({"kind": "rejected", "rejection": {"lease_not_found": "a"}});
            made.history.push(again(Ending::Fail, None, reply));
            verdict(made)
        };
        assert_eq!(gone(&["a"], Ending::Ok, "s"), Verdict::Pass);
        assert_eq!(gone(&["b"], Ending::Ok, "s"), Verdict::Violation);
        assert_eq!(gone(&[], Ending::Info, "s"), Verdict::Pass);
        assert_eq!(gone(&[], Ending::Info, "t"), Verdict::Violation);
    }

    #[test]
    fn a_series_is_answered_again_as_it_was() {
        let booked = |leases: &[&str], left_out: &[u64]| {
            let leases: Vec<Value> = leases.iter().map(|id| json!({"lease_id": id})).collect();
            json!({"series_id": "s", "first": lease("a", 100, 200, &[(1, 3)]), "leases": leases, "left_out": left_out})
        };
        let asked = |answer: Value, index: u64| {
            let mut made = good();
            made.watches[1].change["lease"]["series"] = json!({"id": "s", "number": 1, "mode": "best_effort"});
            made.history[0].op = "create_series".to_owned();
            made.history[0].body = json!({"request": {}, "reply": booked(&["a", "b"], &[3])});
            made.history.push(again(Ending::Ok, Some(index), answer));
            made
        };
        assert_eq!(verdict(asked(booked(&["a", "b"], &[3]), 2)), Verdict::Pass);
        fires(judge, asked(booked(&["a"], &[3]), 2), "and again with");
        fires(judge, asked(booked(&["a", "b"], &[]), 2), "and again with");
        fires(judge, asked(booked(&["a", "b"], &[3]), 1), "and again at 1");
        let refused = |deleted: &[&str]| {
            let mut made = asked(Value::Null, 2);
            made.history.pop();
            let reply = json!({"deleted": deleted, "kept": []});
            made.history.push(operation("delete_series", Ending::Ok, Some(3), json!({"request": {}, "reply": reply})));
            let gone = json!({"kind": "rejected", "rejection": {"series_not_found": "s"}});
            made.history.push(again(Ending::Fail, None, gone));
            verdict(made)
        };
        assert_eq!((refused(&["a", "b"]), refused(&["a"])), (Verdict::Pass, Verdict::Violation));
        // One key, one series, however many leases it has.
        let mut twin = asked(booked(&["a", "b"], &[3]), 2);
        let mut other = twin.watches[1].change["lease"].clone();
        (other["id"], other["series"]["id"]) = (json!("c"), json!("t"));
        twin.watch(4, json!({"lease": other}));
        fires(judge, twin, "made two leases");
    }

    #[test]
    fn a_key_that_holds_another_answer_fires() {
        for (resolved, with) in [
            (json!("never"), "it was answered"),
            (json!("pending"), "it was answered"),
            (json!({"applied": {"lease_id": "b", "rejection": null, "ledger_index": 2}}), "it was about lease"),
            (json!({"applied": {"lease_id": "a", "rejection": null, "ledger_index": 3}}), "holds index 3"),
            (json!({"applied": {"lease_id": null, "rejection": "no", "ledger_index": 2}}), "it was answered"),
        ] {
            let mut made = good();
            made.history.push(look_up(resolved));
            fires(judge, made, with);
        }
    }

    #[test]
    fn what_failed_left_nothing_or_its_own_refusal() {
        let failed = |kind: &str, resolved: Value| {
            let mut made = good();
            let reply = json!({"kind": kind, "error": "no"});
            made.history.push(operation("update", Ending::Fail, None, json!({"request": {"lease_id": "a"}, "reply": reply})));
            made.history.push(look_up(resolved));
            made.history[2].body["of"] = json!(1);
            made
        };
        let stored = |text: &str| json!({"applied": {"lease_id": null, "rejection": text, "ledger_index": 2}});
        assert_eq!(verdict(failed("rejected", json!("never"))), Verdict::Pass);
        assert_eq!(verdict(failed("rejected", stored("no"))), Verdict::Pass);
        fires(judge, failed("rejected", stored("other")), "its key holds");
        let applied = json!({"applied": {"lease_id": "a", "rejection": null, "ledger_index": 2}});
        fires(judge, failed("unavailable", applied), "its key holds");
        fires(judge, failed("unavailable", stored("the plan is stale: no room")), "stale plan");
    }

    #[test]
    fn a_stale_plan_as_the_answer_to_what_ended_unclear_fires() {
        let mut made = good();
        let resolved = json!({"applied": {"lease_id": null, "rejection": "the plan is stale: x", "ledger_index": 2}});
        let mut unclear = operation("create", Ending::Info, None, json!({"resolved": resolved}));
        unclear.key = Some("key-z".to_owned());
        made.history.push(unclear);
        fires(judge, made, "stale plan");
    }

    #[test]
    fn one_key_with_two_leases_fires_and_so_does_a_refused_key_with_one() {
        let mut made = good();
        let mut twin = lease("b", 300, 400, &[(1, 1)]);
        twin["key"]["id"] = json!("key-a");
        made.watch(3, json!({"lease": twin}));
        fires(judge, made, "made two leases");
        let mut made = good();
        made.history[0].ending = Ending::Fail;
        made.history[0].index = None;
        fires(judge, made, "refused, but its key made");
    }

    #[test]
    fn what_nobody_knows_is_unknown() {
        let mut made = good();
        let mut unclear = operation("create", Ending::Info, None, json!({}));
        unclear.key = Some("key-z".to_owned());
        made.history.push(unclear);
        assert_eq!(judge(&made.record()).verdict, Verdict::Unknown);
    }
}
