//! A4: once a leader of a newer term has sent a changing call, no leader of an older term sends one, and none of an older
//! term's that is under way overtakes it (architecture D6).
//!
//! A call is of the term in which the tasks were begun of which one sent it, and not of the one in which its node leads when it
//! leaves: a task that outlives its term is found on a node that leads again, too. Of one term no tasks send after newer ones did
//! (a node that hands over in vain leads on with others).
//!
//! But for a leader whose machine stood still and counts nothing of that: for as long after it goes on as it may count on its followers it
//! believes that it leads, and nothing on its machine tells it otherwise (docs/decisions/0027). Whatever its node sends then is let through here,
//! also what nothing fences; what comes of it is the other checks' to judge.
//!
//! By kind of verb: what Placement carries out names a generation, so a newer term's write is never followed by an older
//! one's to the same object. Verbs that nothing fences (server delete, createImage, access taken away: docs/decisions/0005)
//! are sent by the holder of the logged actuation lease only, and a successor that finds one taken waits until it is over
//! at any rate: 15 s from its own election, because it cannot have been renewed after; one whose machine stood still may believe in it longer. State verbs are refused by state, or
//! what they do late is converged, which A5 and A8 judge.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::cloud::{Sent, asked, sendings, sent_by};
use super::{Judgement, Sheet, signed};
use crate::record::Record;
use crate::sim::STANDS_STILL;

/// How long the logged actuation lease lasts (architecture D6).
const ACTUATION_LEASE_NS: u64 = 15_000_000_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let sent = sendings(record);
    newer_only(record, &mut sheet);
    unfenced(record, &sent, &mut sheet);
    overtaken(record, &sent, &mut sheet);
    sheet.close("A4")
}

/// By the instants of sending. What is sent in the name of a client any node may send, and anybody logs in.
fn newer_only(record: &Record, sheet: &mut Sheet) {
    let mut calls = sent_by(record);
    calls.retain(|(call, _)| !call.for_client && signed::allowance(call).is_none());
    calls.sort_by_key(|(call, _)| call.at_ns);
    let stood_still = stood_still(record);
    let mut newest: Option<(u64, u64, u64)> = None;
    // Of the newest term: since when the newest tasks are there of which a call was seen, and when that one was sent.
    let mut tasks: Option<(u64, u64, u64)> = None;
    for (call, sent) in calls {
        let Some(term) = sent.term else {
            let (node, at_ns) = (call.node, call.at_ns);
            sheet.violation(format!("node {node} in life {} sent a call at {at_ns} ns and was never seen to lead", call.life));
            continue;
        };
        if let Some((highest, node, at_ns)) = newest {
            let knows_nothing = stood_still.iter().any(|(of, went_on)| *of == call.node && went_on.contains(&call.at_ns));
            sheet.must(term >= highest || knows_nothing, || {
                format!(
                    "node {} of term {term} sent {} at {} ns, after node {node} of term {highest} had sent one at {at_ns} ns",
                    call.node, call.global_request_id, call.at_ns
                )
            });
        } else {
            sheet.look();
        }
        if newest.is_none_or(|(highest, ..)| term > highest) {
            newest = Some((term, call.node, call.at_ns));
        }
        let Some(since_ns) = sent.tasks_since_ns else { continue };
        let newer = tasks.filter(|(of, ..)| *of == term);
        if let Some((_, last_ns, at_ns)) = newer {
            sheet.must(since_ns >= last_ns, || {
                format!(
                    "node {} sent {} at {} ns by tasks of term {term} that are there since {since_ns} ns, after newer ones, since {last_ns} ns, had sent one at {at_ns} ns",
                    call.node, call.global_request_id, call.at_ns
                )
            });
        }
        if tasks.is_none_or(|(of, last_ns, _)| (term, since_ns) > (of, last_ns)) {
            tasks = Some((term, since_ns, call.at_ns));
        }
    }
}

/// Nodes whose machines stood still, and when they could not know better for that: from when each went on, for as long as a leader counts
/// on its followers, and then some for clocks of different rate.
fn stood_still(record: &Record) -> Vec<(u64, RangeInclusive<u64>)> {
    let counts_on_ns = record.plan.sim.election_max_ms * 1_001_000;
    let mut still = BTreeSet::new();
    let mut spans = Vec::new();
    for one in &record.incidents {
        let Some(node) = one.node else { continue };
        if one.what == "pause" && one.text == STANDS_STILL {
            still.insert(node);
        } else if one.what == "resume" && still.remove(&node) {
            spans.push((node, one.at_ns..=one.at_ns + counts_on_ns));
        }
    }
    spans
}

/// Unfenced verbs: under the sender's own right, and not before that of its predecessors is over.
fn unfenced(record: &Record, sent: &BTreeMap<&str, Sent>, sheet: &mut Sheet) {
    // Who was seen to hold it, and since when.
    let mut taken: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for one in &record.audit {
        let (node, term) = (one.actuation_lease["node_id"].as_u64(), one.actuation_lease["term"].as_u64());
        if let (Some(node), Some(term)) = (node, term) {
            let since = taken.entry((term, node)).or_insert(one.at_ns);
            *since = one.at_ns.min(*since);
        }
    }
    for line in &record.cloud {
        let Some(what) = asked(line).filter(|what| what.is_unfenced()) else { continue };
        let Some(Sent { at_ns, node, term: Some(term), since_ns, .. }) = sent.get(line.global_request_id.as_str()).copied()
        else {
            continue;
        };
        sheet.must(taken.get(&(term, node)).is_some_and(|since| *since <= at_ns), || {
            format!("line {}: node {node} of term {term} sent {what:?} at {at_ns} ns without the actuation lease", line.n)
        });
        // A right of this very node and term that was taken before it began to lead (again) is none of the tasks that send.
        let before =
            taken.iter().rfind(|((of, holder), since)| *of < term || ((*of, *holder) == (term, node) && **since < since_ns));
        if let Some(((of, holder), _)) = before {
            sheet.must(at_ns >= since_ns + ACTUATION_LEASE_NS, || {
                format!(
                    "line {}: node {node} of term {term} sent {what:?} {} ms after it began to lead, without waiting for the actuation lease of node {holder} of term {of}",
                    line.n,
                    (at_ns - since_ns) / 1_000_000
                )
            });
        }
    }
}

/// Placement refuses who does not know the last write. With its last allocation it forgets a consumer, and what was written of
/// it: a call to make the consumer that is under way then makes it again, whoever sent it. What it makes, A8 wants gone.
fn overtaken(record: &Record, sent: &BTreeMap<&str, Sent>, sheet: &mut Sheet) {
    let mut written: BTreeMap<&str, u64> = BTreeMap::new();
    for line in record.cloud.iter().filter(|line| line.service == "placement" && line.caller.starts_with("node-")) {
        let Some(term) = sent.get(line.global_request_id.as_str()).and_then(|sent| sent.term) else { continue };
        for change in &line.changes {
            if !(change.what.starts_with("inventory.") || change.what.starts_with("allocation.")) {
                continue;
            }
            let last = written.entry(&change.id).or_insert(term);
            sheet.must(term >= *last, || {
                format!("line {}: {} of {} by term {term} took effect after one by term {last}", line.n, change.what, change.id)
            });
            *last = term.max(*last);
            if change.what == "allocation.removed" {
                written.remove(change.id.as_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Made, compute, fires, leads, line, sent};
    use super::*;
    use crate::record::Incident;
    use crate::report::Verdict;

    fn made(last_by: u64) -> Made {
        Made {
            incidents: vec![leads(1, 1, 0), leads(2, 2, 10)],
            calls: vec![sent(1, 1, 5), sent(2, 2, 15), sent(3, last_by, 16)],
            ..Made::default()
        }
    }

    #[test]
    fn the_newer_term_passes_the_older_fires_and_so_does_who_never_led() {
        assert_eq!(judge(&made(2).record()).verdict, Verdict::Pass);
        let judgement = judge(&made(1).record());
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("node 1 of term 1"), "{judgement:?}");
        assert!(judge(&made(3).record()).evidence[0].contains("never seen to lead"));
    }

    /// Node 1 of term 1 is held still and goes on at second 20, node 2 leads in term 2 by then, and node 1 sends something later.
    fn goes_on(text: &str, resumes: u64, later_ms: u64) -> Verdict {
        let incident = |what: &str, text: &str, node, at_ns| Incident {
            at_ns,
            node: Some(node),
            what: what.to_owned(),
            text: text.to_owned(),
            fault: None,
        };
        let mut made = Made { incidents: vec![leads(1, 1, 0), leads(2, 2, 10 * S)], ..Made::default() };
        made.incidents.insert(1, incident("pause", text, 1, 5 * S));
        made.incidents.push(incident("resume", "", resumes, 20 * S));
        made.calls = vec![sent(1, 1, 4 * S), sent(2, 2, 15 * S), sent(3, 1, 20 * S + later_ms * 1_000_000)];
        judge(&made.record()).verdict
    }

    #[test]
    fn a_leader_whose_machine_stood_still_may_not_know_better_for_as_long_as_it_counts_on_the_others() {
        let most_ms = Made::default().record().plan.sim.election_max_ms;
        assert_eq!(goes_on(STANDS_STILL, 1, 0), Verdict::Pass);
        assert_eq!(goes_on(STANDS_STILL, 1, most_ms), Verdict::Pass);
        assert_eq!(goes_on(STANDS_STILL, 1, most_ms + most_ms / 500), Verdict::Violation);
        assert_eq!(goes_on("", 1, 0), Verdict::Violation, "whose clocks went on knows");
        assert_eq!(goes_on(STANDS_STILL, 2, 0), Verdict::Violation);
    }

    #[test]
    fn in_a_clients_name_any_node_may_send() {
        let mut made = made(3);
        made.calls[2].for_client = true;
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }

    const S: u64 = 1_000_000_000;

    /// Node 1 of term 1 holds the right from second 1 on; node 2 leads in term 2 from second 10 on, takes it, and sends a call
    /// at a second.
    fn successor(at_s: u64, what: (&str, &str, Value), taken: bool) -> Made {
        let mut made = Made { incidents: vec![leads(1, 1, 0), leads(2, 2, 10 * S)], ..Made::default() };
        made.audit_at(2, S, &[]);
        made.audit[0].actuation_lease = json!({"node_id": 1, "term": 1});
        if taken {
            made.audit_at(3, 11 * S, &[]);
            made.audit[1].actuation_lease = json!({"node_id": 2, "term": 2});
        }
        made.cloud = vec![compute(1, what.0, what.1, what.2)];
        made.calls = vec![sent(1, 2, at_s * S)];
        made
    }

    #[test]
    fn a_successor_waits_for_the_right_of_its_predecessor_with_unfenced_verbs_only() {
        for (what, unfenced) in [
            (("DELETE", "/servers/s", Value::Null), true),
            (("POST", "/servers/s/action", json!({"createImage": {}})), true),
            (("POST", "/flavors/f/action", json!({"removeTenantAccess": {}})), true),
            (("POST", "/flavors/f/action", json!({"addTenantAccess": {}})), false),
            (("POST", "/servers/s/action", json!({"shelve": null})), false),
        ] {
            assert_eq!(judge(&successor(25, what.clone(), true).record()).verdict, Verdict::Pass, "{what:?}");
            let early = successor(24, what.clone(), true);
            if unfenced {
                fires(judge, early, "without waiting for the actuation lease of node 1");
                fires(judge, successor(25, what, false), "without the actuation lease");
            } else {
                assert_eq!(judge(&early.record()).verdict, Verdict::Pass, "{what:?}");
                assert_eq!(judge(&successor(25, what.clone(), false).record()).verdict, Verdict::Pass, "{what:?}");
            }
        }
    }

    #[test]
    fn the_first_holder_waits_for_nobody_and_who_leads_again_in_its_term_waits_for_itself() {
        let alone = |also_at_s: Option<u64>, sent_s: u64| {
            let mut made = Made { incidents: vec![leads(1, 1, 0)], ..Made::default() };
            made.incidents.extend(also_at_s.map(|at_s| leads(1, 1, at_s * S)));
            made.audit_at(2, S, &[]);
            made.audit[0].actuation_lease = json!({"node_id": 1, "term": 1});
            made.cloud = vec![compute(1, "DELETE", "/servers/s", Value::Null)];
            made.calls = vec![sent(1, 1, sent_s * S)];
            judge(&made.record()).verdict
        };
        assert_eq!(alone(None, 2), Verdict::Pass);
        assert_eq!(alone(Some(5), 6), Verdict::Violation);
        assert_eq!(alone(Some(5), 20), Verdict::Pass);
    }

    #[test]
    fn a_late_write_of_an_older_term_fires() {
        let written = |by: [u64; 2]| {
            let mut made = Made { incidents: vec![leads(1, 1, 0), leads(2, 2, 10)], ..Made::default() };
            made.cloud = vec![line(1, 1, "inventory.set", "p", json!({})), line(2, 2, "inventory.set", "p", json!({}))];
            made.cloud.iter_mut().for_each(|line| line.service = "placement".to_owned());
            made.calls = vec![sent(1, by[0], 5 + 10 * by[0]), sent(2, by[1], 5 + 10 * by[1])];
            made
        };
        assert_eq!(judge(&written([1, 2]).record()).verdict, Verdict::Pass);
        fires(judge, written([2, 1]), "took effect after one by term 2");
    }

    #[test]
    fn a_consumer_that_is_gone_may_be_made_again_by_a_late_call_and_one_that_is_there_is_not_touched() {
        let late_after = |what: [&str; 2]| {
            let mut made = Made { incidents: vec![leads(1, 1, 0), leads(2, 2, 10)], ..Made::default() };
            made.cloud = vec![
                line(1, 1, "allocation.set", "hold", json!({})),
                line(2, 2, what[0], "hold", json!({})),
                line(3, 3, what[1], "hold", json!({})),
            ];
            made.cloud.iter_mut().for_each(|line| line.service = "placement".to_owned());
            made.calls = vec![sent(1, 1, 5), sent(2, 2, 25), sent(3, 1, 6)];
            made
        };
        assert_eq!(judge(&late_after(["allocation.removed", "allocation.set"]).record()).verdict, Verdict::Pass);
        fires(judge, late_after(["allocation.set", "allocation.set"]), "took effect after one by term 2");
        fires(judge, late_after(["allocation.set", "allocation.removed"]), "took effect after one by term 2");
    }
}
