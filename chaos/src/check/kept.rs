//! S1: what was acknowledged is still there in the end, on every node, whatever failed in between.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Judgement, Sheet, waits};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let healed = record.incidents.iter().any(|incident| incident.what == "phase" && incident.text == "everything is healed");
    if record.finals.is_empty() && healed {
        // The disks of a majority were kept, and nobody can tell what was on them.
        let acknowledged = record.history.iter().filter(|one| one.ending == Ending::Ok && one.key.is_some()).count();
        sheet.must(acknowledged == 0, || {
            format!("everything was healed and no node runs: {acknowledged} acknowledged operations are nowhere")
        });
    } else if record.finals.is_empty() {
        sheet.unknown("no node ran in the end");
    }
    // What a lease is to be in the end: the operation that made it, and the last index that says whether it is there.
    let mut fate: BTreeMap<&str, (u64, u64, bool)> = BTreeMap::new();
    let mut unclear: Vec<&str> = Vec::new();
    // What was offered goes by itself unless it was claimed, and what waits unless it was promoted.
    let (mut offered, mut claimed): (BTreeSet<&str>, BTreeSet<&str>) = Default::default();
    for operation in &record.history {
        let applied = &operation.body["resolved"]["applied"];
        let request = operation.body["request"]["lease_id"].as_str();
        let (lease, index) = match (operation.op.as_str(), operation.ending) {
            (_, Ending::Fail) => continue,
            ("create_series" | "delete_series", _) => {
                let told = of_series(record, operation, &mut unclear);
                for (lease, told) in told {
                    let known = fate.entry(lease).or_insert(told);
                    *known = (*known).max(told);
                }
                continue;
            }
            ("create", Ending::Ok) => (operation.body["reply"]["id"].as_str(), operation.index),
            ("create", Ending::Info) if applied["rejection"].is_null() => {
                (applied["lease_id"].as_str(), applied["ledger_index"].as_u64())
            }
            ("claim", Ending::Ok) => {
                claimed.extend(request);
                (request, operation.index)
            }
            ("update" | "delete", Ending::Ok) => (request, operation.index),
            ("delete", Ending::Info) => {
                if operation.body["resolved"] != "never" && !applied["rejection"].is_string() {
                    unclear.extend(request);
                }
                continue;
            }
            _ => continue,
        };
        let (Some(lease), Some(index)) = (lease, index) else { continue };
        let wish = &operation.body["request"]["wish"];
        if wish["offer"].is_object() || (wish["wait"].is_object() && waits::ended_waiting(record, lease)) {
            offered.insert(lease);
        }
        let told = (index, operation.n, operation.op != "delete");
        let known = fate.entry(lease).or_insert(told);
        *known = (*known).max(told);
    }
    for (lease, (index, n, there)) in fate {
        for last in &record.finals {
            let row = last.leases.get(lease).filter(|row| row["deleted"] != true);
            let node = last.node;
            sheet.must(last.ledger_index >= index, || {
                format!("operation {n} was acknowledged at index {index}, node {node} ends at {}", last.ledger_index)
            });
            let may_go = unclear.contains(&lease) || (offered.contains(lease) && !claimed.contains(lease));
            if there && !may_go {
                sheet.must(row.is_some(), || {
                    format!("operation {n}: lease {lease} was acknowledged at index {index}, node {node} has it not")
                });
            } else if !there {
                sheet.must(row.is_none(), || {
                    format!("operation {n}: lease {lease} was deleted at index {index}, node {node} has it")
                });
            }
        }
    }
    sheet.close("S1")
}

/// What becomes of the leases of a series, as an acknowledged operation says; those that one of unclear outcome may have deleted are
/// unclear.
fn of_series<'a>(record: &'a Record, operation: &'a Operation, unclear: &mut Vec<&'a str>) -> Vec<(&'a str, (u64, u64, bool))> {
    let (n, reply) = (operation.n, &operation.body["reply"]);
    let told = |field: &str, id: fn(&'a Value) -> &'a Value, there: bool| {
        let all = reply[field].as_array().into_iter().flatten().filter_map(move |one| id(one).as_str());
        all.filter_map(|lease| Some((lease, (operation.index?, n, there)))).collect()
    };
    match (operation.op.as_str(), operation.ending) {
        ("create_series", Ending::Ok) => told("leases", |one| &one["lease_id"], true),
        ("delete_series", Ending::Ok) => told("deleted", |one| one, false),
        ("delete_series", Ending::Info) if operation.body["resolved"] != "never" => {
            let series = &operation.body["request"]["series_id"];
            let rows = record.watches.iter().map(|line| &line.change["lease"]);
            unclear.extend(rows.filter(|row| row["series"]["id"] == *series).filter_map(|row| row["id"].as_str()));
            Vec::new()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, last, operation};
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    fn made(leases: &[Value], index: u64) -> Made {
        let mut made = Made::default();
        made.create(2, &lease("a", 1, 2, &[(1, 1)]));
        made.create(3, &lease("b", 1, 2, &[(1, 1)]));
        made.history.push(operation("delete", Ending::Ok, Some(4), json!({"request": {"lease_id": "b"}})));
        made.finals = vec![last(1, index, leases)];
        made
    }

    #[test]
    fn what_was_kept_passes() {
        assert_eq!(judge(&made(&[lease("a", 1, 2, &[(1, 1)])], 4).record()).verdict, Verdict::Pass);
    }

    #[test]
    fn so_are_the_leases_of_a_series_and_their_deletion() {
        let ends = |leases: &[Value]| {
            let mut made = Made::default();
            let booked = json!([{"lease_id": "a"}, {"lease_id": "b"}]);
            let deleted = json!({"deleted": ["b"], "kept": ["a"]});
            made.history.push(operation("create_series", Ending::Ok, Some(2), json!({"reply": {"leases": booked}})));
            made.history.push(operation("delete_series", Ending::Ok, Some(3), json!({"reply": deleted})));
            made.finals = vec![last(1, 4, leases)];
            judge(&made.record()).verdict
        };
        let (a, b) = (lease("a", 1, 2, &[(1, 1)]), lease("b", 1, 2, &[(1, 1)]));
        assert_eq!(ends(std::slice::from_ref(&a)), Verdict::Pass);
        assert_eq!((ends(&[]), ends(&[a, b])), (Verdict::Violation, Verdict::Violation));
    }

    #[test]
    fn a_lost_lease_fires_and_so_do_a_lost_deletion_and_a_lost_index() {
        for (leases, index, with) in [
            (vec![], 4, "has it not"),
            (vec![lease("a", 1, 2, &[(1, 1)]), lease("b", 1, 2, &[(1, 1)])], 4, "was deleted"),
            (vec![lease("a", 1, 2, &[(1, 1)])], 3, "ends at 3"),
        ] {
            let judgement = judge(&made(&leases, index).record());
            assert_eq!(judgement.verdict, Verdict::Violation);
            assert!(judgement.evidence.iter().all(|text| text.contains(with)), "{with}: {judgement:?}");
        }
    }

    #[test]
    fn an_unclear_deletion_excuses_a_missing_lease_unless_it_never_happened() {
        let mut one = made(&[], 4);
        one.history.push(operation("delete", Ending::Info, None, json!({"request": {"lease_id": "a"}})));
        assert_eq!(judge(&one.record()).verdict, Verdict::Pass);
        let mut one = made(&[], 4);
        let never = json!({"request": {"lease_id": "a"}, "resolved": "never"});
        one.history.push(operation("delete", Ending::Info, None, never));
        assert_eq!(judge(&one.record()).verdict, Verdict::Violation);
    }

    #[test]
    fn an_offer_may_go_by_itself_unless_it_was_claimed() {
        let offered = || {
            let mut one = made(&[], 4);
            one.history[0].body["request"]["wish"]["offer"] = json!({"until": 1});
            one
        };
        assert_eq!(judge(&offered().record()).verdict, Verdict::Pass);
        let mut one = offered();
        one.history.push(operation("claim", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        super::super::testing::fires(judge, one, "has it not");
    }

    #[test]
    fn without_nodes_nothing_is_known_unless_they_should_run() {
        assert_eq!(judge(&Made::default().record()).verdict, Verdict::Unknown);
        let mut one = made(&[], 4);
        one.finals.clear();
        one.history[0].key = Some("k".to_owned());
        assert_eq!(judge(&one.record()).verdict, Verdict::Unknown);
        let mut one = made(&[], 4);
        one.finals.clear();
        one.history[0].key = Some("k".to_owned());
        one.incidents.push(super::super::testing::incident(None, 0, "phase", "everything is healed"));
        super::super::testing::fires(judge, one, "are nowhere");
    }
}
