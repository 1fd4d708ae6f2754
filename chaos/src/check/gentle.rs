//! A9: nodes are gentle. A call that fails is not sent again and again without a pause, and a conflict is not answered with the same action
//! before anybody can have looked.
//!
//! Calls are told apart by service, method, path and body, and counted as they left their nodes: the network may bring together
//! what was sent apart.

use std::collections::BTreeMap;

use leasehold_cloudsim::Kind;

use super::cloud::sendings;
use super::{Judgement, Sheet};
use crate::record::Record;

/// Equal calls that failed, of one node within a second: several rows may need the same host, each with a pause of its own.
const A_SECOND_MAX: usize = 10;
/// Nobody reads a server and decides in less, nanoseconds; the product looks every 250 ms and waits half a second.
const LOOK_NS: u64 = 50_000_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let sent = sendings(record);
    let mut calls = BTreeMap::new();
    for line in record.cloud.iter().filter(|line| line.kind == Kind::Request && line.caller.starts_with("node-")) {
        let Some(sent) = sent.get(line.global_request_id.as_str()) else { continue };
        let what = format!("{} {} {} {} {}", line.caller, line.service, line.method, line.path, line.body);
        // What is delivered twice was sent once; the first answer is the caller's.
        calls.entry((what, sent.at_ns)).or_insert(line.status);
    }
    let mut before: Option<(&str, u64, u16)> = None;
    let mut failed: Vec<u64> = Vec::new();
    for ((what, at_ns), status) in &calls {
        sheet.look();
        let same = before.filter(|(last, _, _)| last == what);
        if same.is_none() {
            failed.clear();
        }
        if let Some((_, last_ns, 409)) = same
            && what.contains("/action ")
            && at_ns - last_ns < LOOK_NS
        {
            let after_us = (at_ns - last_ns) / 1_000;
            sheet.violation(format!("at {at_ns} ns, {after_us} us after a conflict, without a look: {what}"));
        }
        if *status >= 400 {
            failed.retain(|earlier| at_ns - earlier < 1_000_000_000);
            failed.push(*at_ns);
            if failed.len() > A_SECOND_MAX {
                sheet.violation(format!("{} times within a second until {at_ns} ns, failing each time: {what}", failed.len()));
                failed.clear();
            }
        }
        before = Some((what, *at_ns, *status));
    }
    sheet.close("A9")
}

#[cfg(test)]
mod tests {
    use leasehold_cloudsim::Record as CloudLine;
    use serde_json::json;

    use super::super::testing::Made;
    use super::*;
    use crate::record::Call;
    use crate::report::Verdict;

    /// Equal calls of node 1, each with its sending in milliseconds and its status.
    fn judged(calls: &[(u64, u16)]) -> Verdict {
        let mut record = Made::default().record();
        for (place, (at_ms, status)) in calls.iter().enumerate() {
            let line: CloudLine = serde_json::from_value(json!({
                "n": place + 1, "at_ms": at_ms, "kind": "request", "of": null, "received_at": at_ms, "applied_at": null,
                "answered": at_ms, "service": "compute", "method": "POST", "path": "/servers/x/action", "status": status,
                "caller": "node-1", "user": "leasehold", "global_request_id": format!("g{place}"), "request_id": "",
                "body": {"unshelve": null}, "fault": null, "changes": []}))
            .expect("a line decodes");
            record.cloud.push(line);
            record.calls.push(Call { at_ns: at_ms * 1_000_000, node: 1, life: 1, global_request_id: format!("g{place}") });
        }
        judge(&record).verdict
    }

    #[test]
    fn a_conflict_may_be_answered_after_a_look_and_not_before() {
        assert_eq!(judged(&[(0, 409), (500, 202)]), Verdict::Pass);
        assert_eq!(judged(&[(0, 409), (20, 202)]), Verdict::Violation);
        assert_eq!(judged(&[(0, 202), (20, 202)]), Verdict::Pass);
    }

    #[test]
    fn failures_are_paced() {
        let every = |gap_ms: u64| (0..20).map(|place| (place * gap_ms, 503)).collect::<Vec<_>>();
        assert_eq!(judged(&every(150)), Verdict::Pass);
        assert_eq!(judged(&every(20)), Verdict::Violation);
    }
}
