//! A9: nodes are gentle. A call that fails is not sent again and again without a pause, a conflict is not answered with the same action
//! before anybody can have looked, what ended unclear is looked up before the next call for the same object, and who asks
//! for a pause gets it. Nobody reads or calls without end ([`paced`](super::paced)).
//!
//! Calls are told apart by service, method, path and body, and counted as they left their nodes: the network may bring together
//! what was sent apart. Unclear is what was not answered, or with an error of the service's own. Looked up are servers:
//! what is named by its caller (flavors, classes, access) is made and removed without a look, and exists or is gone if it was
//! done already, and Placement refuses who does not know the generation (architecture D6). `Retry-After` is judged for servers, whose calls have one sender, and for
//! whatever else a row's worker calls for, by row: a host's providers are written for whoever needs them.

use std::collections::BTreeMap;

use leasehold_cloudsim::Kind;

use super::cloud::{Asked, asked, sendings};
use super::{Judgement, Sheet};
use crate::record::{Call, CallEnd, Record};

/// Equal calls that failed, of one node within a second: several rows may need the same host, each with a pause of its own.
const A_SECOND_MAX: usize = 10;
/// Nobody reads a server and decides in less, nanoseconds; the product looks every 250 ms and waits half a second.
const LOOK_NS: u64 = 50_000_000;
/// So long a service may put off what a tenant waits for, at most, seconds.
const PAUSE_S_MAX: u64 = 10;

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
    unclear(record, &mut sheet);
    pauses(record, &mut sheet);
    super::paced::look(record, &mut sheet);
    sheet.close("A9")
}

/// After an unclear end comes a look.
fn unclear(record: &Record, sheet: &mut Sheet) {
    for call in &record.calls {
        sheet.must(call.unsure_since_ns.is_none(), || {
            let Call { node, global_request_id, at_ns, unsure_since_ns, .. } = call;
            let since = unsure_since_ns.unwrap_or_default();
            format!(
                "node {node} sent {global_request_id} at {at_ns} ns without a look at what an earlier call for the same object, unclear since {since} ns, had done"
            )
        });
    }
}

/// `Retry-After` is heeded.
fn pauses(record: &Record, sheet: &mut Sheet) {
    let lines: BTreeMap<&str, (bool, String)> = record
        .cloud
        .iter()
        .filter(|line| line.kind == Kind::Request)
        .map(|line| {
            let of_server = matches!(asked(line), Some(Asked::Act { .. } | Asked::Delete { .. }));
            (
                line.global_request_id.as_str(),
                (of_server, format!("{} {} {} {}", line.service, line.method, line.path, line.body)),
            )
        })
        .collect();
    let mut asked_for: BTreeMap<(u64, u32, &str, &str), u64> = BTreeMap::new();
    for call in &record.calls {
        let Some((of_server, what)) = lines.get(call.global_request_id.as_str()) else { continue };
        // A server is its reservation's alone, whichever row is at it.
        // What is to be done anew, by another revision, is another row's.
        let row = call.attempt.as_deref().filter(|attempt| attempt.starts_with("row/"));
        let row = row.map(|attempt| attempt.match_indices('/').nth(2).map_or(attempt, |(at, _)| &attempt[..at]));
        let Some(of_row) = (if *of_server { Some("") } else { row }) else { continue };
        let whose = (call.node, call.life, of_row, what.as_str());
        if let Some(until_ns) = asked_for.remove(&whose) {
            sheet.must(call.at_ns >= until_ns, || {
                let early_ms = (until_ns - call.at_ns) / 1_000_000;
                format!("node {} sent at {} ns, {early_ms} ms before it was to try again: {what}", call.node, call.at_ns)
            });
        }
        if let Some(CallEnd { at_ns, retry_after_s: Some(pause_s), .. }) = call.ended {
            asked_for.insert(whose, at_ns + pause_s.min(PAUSE_S_MAX) * 1_000_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use leasehold_cloudsim::Record as CloudLine;
    use serde_json::json;

    use super::super::testing::{Made, compute, fires, sent};
    use super::*;
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
            let (global_request_id, at_ns) = (format!("g{place}"), at_ms * 1_000_000);
            record.calls.push(Call { global_request_id, ..sent(0, 1, at_ns) });
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

    #[test]
    fn what_ended_unclear_is_looked_up() {
        let mut made = Made { calls: vec![sent(1, 1, 10)], ..Made::default() };
        assert_eq!(judge(&Made { calls: made.calls.clone(), ..Made::default() }.record()).verdict, Verdict::Pass);
        made.calls[0].unsure_since_ns = Some(5);
        fires(judge, made, "without a look");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_made() {
        let again = |pause_s: u64, at_ms: u64| {
            let act = |n| compute(n, "POST", "/servers/s/action", json!({"unshelve": null}));
            let mut made = Made {
                cloud: vec![act(1), act(2)],
                calls: vec![sent(1, 1, 0), sent(2, 1, at_ms * 1_000_000)],
                ..Made::default()
            };
            made.calls[0].ended = Some(CallEnd { at_ns: 1_000_000_000, status: Some(503), retry_after_s: Some(pause_s) });
            made
        };
        assert_eq!(judge(&again(5, 6_000).record()).verdict, Verdict::Pass);
        fires(judge, again(5, 5_999), "1 ms before");
        assert_eq!(judge(&again(60, 11_000).record()).verdict, Verdict::Pass);
        fires(judge, again(60, 10_999), "1 ms before");
    }

    #[test]
    fn a_row_makes_the_pause_for_what_is_no_server_s_too_and_others_need_not() {
        let again = |works: [&str; 2]| {
            let make = |n| compute(n, "POST", "/flavors", json!({"flavor": {"id": "f"}}));
            let call = |n: u64, work: &str, at_ns| Call { attempt: Some(format!("{work}/1/{n}/4/0")), ..sent(n, 1, at_ns) };
            let mut made = Made {
                cloud: vec![make(1), make(2)],
                calls: vec![call(1, works[0], 0), call(2, works[1], 3_000_000_000)],
                ..Made::default()
            };
            made.calls[0].ended = Some(CallEnd { at_ns: 1_000_000_000, status: Some(503), retry_after_s: Some(5) });
            made
        };
        fires(judge, again(["row/7", "row/7"]), "3000 ms before");
        assert_eq!(judge(&again(["row/7", "row/8"]).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&again(["host/7", "host/7"]).record()).verdict, Verdict::Pass);
    }
}
