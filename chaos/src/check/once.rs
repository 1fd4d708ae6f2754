//! A5: every step that was not cancelled reaches its end, what was recorded as done is done ([`outcome`](super::outcome)), what
//! was recorded as failed had failed ([`failed`](super::failed)), and what would double happens once: no server is woken twice
//! without having been parked in between.

use std::collections::BTreeSet;

use super::{Judgement, Sheet};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut awake: BTreeSet<&str> = BTreeSet::new();
    for line in &record.cloud {
        for change in &line.changes {
            match change.what.as_str() {
                "server.shelved_offloaded" => drop(awake.remove(change.id.as_str())),
                "server.active" if change.facts["action"] == "unshelve" => {
                    sheet.must(awake.insert(&change.id), || format!("line {}: server {} woke twice", line.n, change.id));
                }
                _ => {}
            }
        }
    }
    super::outcome::look(record, &mut sheet);
    super::failed::look(record, &mut sheet);
    let over = record.over_ms();
    for last in &record.finals {
        for row in &last.actuations {
            let node = last.node;
            sheet.violation(format!("node {node} still owes {} of lease {} at rest", row["step"], row["lease_id"]));
        }
        for (id, lease) in &last.leases {
            let end = lease["end"].as_u64().map_or(u64::MAX, |end| (end + super::model::CALENDAR_UNIX_S) * 1_000);
            if end > over {
                continue;
            }
            let open = |event: &&serde_json::Value| event["status"] != "DONE" && event["status"] != "ERROR";
            let open: Vec<&str> = lease["events"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(open)
                .filter_map(|event| event["kind"].as_str())
                .collect();
            let status = &lease["status"];
            // What gave way to another stays as it was left.
            let settled = if lease["preempted"].is_object() { "ERROR" } else { "TERMINATED" };
            sheet.must(status == settled && open.is_empty(), || {
                format!("lease {id} on node {} is {status} at rest, not done: {open:?}, reason {}", last.node, lease["reason"])
            });
        }
    }
    sheet.close("A5")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, incident, last, line};
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    fn woken(between: &str) -> Judgement {
        let woke = |n| line(n, n, "server.active", "s", json!({"action": "unshelve"}));
        let cloud = vec![woke(1), line(2, 2, between, "s", json!({})), woke(3)];
        judge(&Made { cloud, ..Made::default() }.record())
    }

    #[test]
    fn parked_in_between_passes_and_woken_twice_fires() {
        assert_eq!(woken("server.shelved_offloaded").verdict, Verdict::Pass);
        assert_eq!(woken("server.tagged").verdict, Verdict::Violation);
    }

    fn at_rest(change: impl FnOnce(&mut serde_json::Value)) -> Judgement {
        let mut one = lease("a", 100, 200, &[(1, 1)]);
        one["status"] = json!("TERMINATED");
        one["events"].as_array_mut().expect("it reads").iter_mut().for_each(|event| event["status"] = json!("DONE"));
        change(&mut one);
        let incidents = vec![incident(None, 300_000_000_000, "phase", "over")];
        judge(&Made { finals: vec![last(1, 5, &[one])], incidents, ..Made::default() }.record())
    }

    #[test]
    fn what_is_over_is_done() {
        assert_eq!(at_rest(|_| ()).verdict, Verdict::Pass);
        assert_eq!(at_rest(|lease| lease["status"] = json!("ACTIVE")).verdict, Verdict::Violation);
        assert_eq!(at_rest(|lease| lease["events"][1]["status"] = json!("UNDONE")).verdict, Verdict::Violation);
        assert_eq!(at_rest(|lease| (lease["end"], lease["status"]) = (json!(400), json!("ACTIVE"))).verdict, Verdict::Pass);
        let gave_way =
            |status: &str| at_rest(|lease| (lease["status"], lease["preempted"]) = (json!(status), json!({"by": "b"}))).verdict;
        assert_eq!((gave_way("ERROR"), gave_way("TERMINATED")), (Verdict::Pass, Verdict::Violation));
        assert_eq!(at_rest(|lease| lease["status"] = json!("ERROR")).verdict, Verdict::Violation);
    }

    #[test]
    fn what_is_owed_at_rest_fires() {
        let mut state = last(1, 5, &[]);
        state.actuations.push(json!({"step": "end", "lease_id": "a"}));
        assert_eq!(judge(&Made { finals: vec![state], ..Made::default() }.record()).verdict, Verdict::Violation);
    }
}
