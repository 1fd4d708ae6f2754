//! Whether lists show what is there: part of the witness.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::Lease;
use super::replay::Replay;
use super::shown::is_shown;
use crate::history::Operation;
use crate::record::Record;

/// Lists in the order of their indices. A row that is shown again is not compared again unless the lease changed in between.
#[derive(Default)]
pub struct Lists<'a> {
    /// By lease, what was last shown rightly, and the index of the change that it showed.
    right: BTreeMap<&'a str, (u64, &'a Value)>,
}

impl<'a> Lists<'a> {
    /// What is wrong with a list at the index that was gone to.
    pub fn problem(&mut self, replay: &Replay<'_>, record: &'a Record, operation: &'a Operation) -> Option<String> {
        let project = operation.body["request"]["project_id"].as_str()?;
        let Some(shown) = record.listed(operation) else { return Some("what the list showed is not kept".to_owned()) };
        let told: BTreeMap<&str, &Value> = shown.into_iter().filter_map(|lease| Some((lease["id"].as_str()?, lease))).collect();
        let series = &operation.body["request"]["series_id"];
        let is_asked_for = |lease: &Value| series.is_null() || lease["series"]["id"] == *series;
        let there = replay.rows().iter().filter(|(_, lease)| lease["project_id"] == project && is_asked_for(lease));
        // What is offered and not claimed, and what waits for room, is in lists of their own.
        let (offers, waiting) = (operation.op == "offers", operation.op == "waiting");
        let is_of = |lease: &Lease| lease.is_offer() == offers && lease.wait.is_some() == waiting;
        let there = there.filter(|(id, _)| replay.model().leases.get(**id).is_some_and(is_of));
        let there: BTreeMap<&str, &Value> = there.map(|(id, lease)| (*id, *lease)).collect();
        let missing: Vec<_> = there.keys().filter(|id| !told.contains_key(*id)).collect();
        let extra: Vec<_> = told.keys().filter(|id| !there.contains_key(*id)).collect();
        let known = told.iter().filter_map(|(id, lease)| Some((*id, *lease, *there.get(id)?)));
        let other: Vec<_> = known
            .filter(|(id, lease, row)| !self.is_right(record, (id, lease, row), replay.changed_at(id)))
            .map(|(id, ..)| id)
            .collect();
        let alike = missing.is_empty() && extra.is_empty() && other.is_empty();
        (!alike).then(|| format!("the list lacks {missing:?}, has {extra:?} too many, and others of {other:?}"))
    }

    fn is_right(&mut self, record: &Record, shown: (&'a str, &'a Value, &Value), changed_at: Option<u64>) -> bool {
        let (id, told, row) = shown;
        if self.right.get(id).is_some_and(|(at, known)| Some(*at) == changed_at && std::ptr::eq(*known, told)) {
            return true;
        }
        let right = is_shown(record, told, row);
        if let (true, Some(at)) = (right, changed_at) {
            self.right.insert(id, (at, told));
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, operation};
    use super::super::witness::judge;
    use super::*;
    use crate::check::model::tests::lease;
    use crate::history::Ending;
    use crate::report::Verdict;

    /// Lease a, renamed at 3; a list before and one after, which names rows by digest.
    fn record(rows: [&str; 2]) -> Record {
        let mut made = Made::default();
        let (old, mut new) = (lease("a", 100, 200, &[]), lease("a", 100, 200, &[]));
        new["name"] = json!("renamed");
        made.watch(2, json!({"lease": old}));
        made.watch(3, json!({"lease": new}));
        for (index, row) in (2..).zip(rows) {
            let list = json!({"request": {"project_id": "p"}, "reply": [row]});
            made.history.push(operation("list", Ending::Ok, Some(index), list));
        }
        let rows = [("old".to_owned(), old), ("new".to_owned(), new)].into();
        Record { rows, ..made.record() }
    }

    #[test]
    fn rows_by_digest_pass_when_they_are_what_is_there_and_fire_when_they_are_not() {
        let verdict = |rows| judge(&record(rows)).verdict;
        assert_eq!(verdict(["old", "new"]), Verdict::Pass);
        assert_eq!(verdict(["new", "new"]), Verdict::Violation);
        // Shown rightly before, and old by now.
        assert_eq!(verdict(["old", "old"]), Verdict::Violation);
        assert_eq!(verdict(["old", "unheard of"]), Verdict::Violation);
    }

    #[test]
    fn a_list_of_a_series_has_its_leases_and_no_others() {
        let listed = |of: &[&str]| {
            let mut made = Made::default();
            let member = |id: &str, series: &str| {
                let mut row = lease(id, 100, 200, &[]);
                row["series"] = json!({"id": series, "number": 1, "mode": "best_effort"});
                row
            };
            let rows = [member("a", "s"), member("b", "s"), member("c", "t"), lease("d", 100, 200, &[])];
            rows.iter().for_each(|row| made.watch(2, json!({"lease": row})));
            let shown: Vec<&Value> = rows.iter().filter(|row| of.iter().any(|id| row["id"] == *id)).collect();
            let request = json!({"project_id": "p", "series_id": "s"});
            made.history.push(operation("list_series", Ending::Ok, Some(2), json!({"request": request, "reply": shown})));
            judge(&made.record()).verdict
        };
        assert_eq!(listed(&["a", "b"]), Verdict::Pass);
        assert_eq!((listed(&["a"]), listed(&["a", "b", "c"])), (Verdict::Violation, Verdict::Violation));
    }

    #[test]
    fn a_lease_too_many_and_one_too_few_fire() {
        let listed = |reply: Value| {
            let mut made = Made::default();
            made.watch(2, json!({"lease": lease("a", 100, 200, &[])}));
            made.history.push(operation("list", Ending::Ok, Some(2), json!({"request": {"project_id": "p"}, "reply": reply})));
            made
        };
        let offered = |op: &str, claimed_at: Option<u64>| {
            let mut made = listed(json!([]));
            op.clone_into(&mut made.history[0].op);
            made.watches[0].change["lease"]["offer"] = json!({"expires_at": 100, "claimed_at": claimed_at});
            judge(&made.record()).verdict
        };
        assert_eq!((offered("list", None), offered("offers", None)), (Verdict::Pass, Verdict::Violation));
        assert_eq!((offered("list", Some(1)), offered("offers", Some(1))), (Verdict::Violation, Verdict::Pass));
        fires(judge, listed(json!([])), "lacks [\"a\"]");
        fires(judge, listed(json!([lease("a", 100, 200, &[]), lease("b", 100, 200, &[])])), "has [\"b\"] too many");
    }
}
