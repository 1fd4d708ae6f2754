//! Every changing call says whose work it is, and says so truly: without that nobody could tell of which term and of which row it
//! is, and A3, A4, A6 and A9 would not see it.
//!
//! A call of a leader's carries the uuid5 of work, term and attempt (architecture D6). The node says in the sending step of what
//! it has made the id; the id is made here a second time, no two calls have the same, and the term must be that of the tasks which
//! sent it, as the harness saw them begin. A line of the cloud that a node brought about must be of a call that was seen to leave.
//! What needs no id stands in [`ALLOWED`], with its reason.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::cloud::sent_by;
use super::{Judgement, Sheet};
use crate::record::{Call, Record};

/// Namespace of the ids of calls, as the product has it: a name for people, no secret.
const CALLS: Uuid = Uuid::from_u128(0x6c65_6173_6568_6f6c_642d_6361_6c6c_7301);

/// Calls that are nobody's work: method, the end of the path, and why.
const ALLOWED: &[(&str, &str, &str)] =
    &[("POST", "/identity/v3/auth/tokens", "whoever logs in has no work yet, and changes nothing but what he may do")];

/// Why a call needs no id; `None`: it needs one.
pub fn allowance(call: &Call) -> Option<&'static str> {
    let is_it = |(method, path, _): &&(&str, &str, &str)| call.method == *method && call.path.ends_with(path);
    ALLOWED.iter().find(is_it).map(|(_, _, why)| *why)
}

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    // Older records do not tell the method, nor whose work a call was.
    for (call, sent) in sent_by(record).into_iter().filter(|(call, _)| !call.method.is_empty()) {
        if allowance(call).is_some() {
            sheet.look();
            continue;
        }
        let id = call.global_request_id.as_str();
        let is_new = known.insert(id);
        let problem = problem(call, sent.term).or_else(|| {
            // One request of a client may want several groups.
            (!is_new && !call.for_client).then(|| "the id of a call before".to_owned())
        });
        let Call { at_ns, node, method, path, attempt, .. } = call;
        sheet.must(problem.is_none(), || {
            let problem = problem.unwrap_or_default();
            format!("node {node} sent {method} {path} at {at_ns} ns as '{id}' ({attempt:?}): {problem}")
        });
    }
    if !known.is_empty() {
        lines(record, &known, &mut sheet);
    }
    sheet.close("signed")
}

fn problem(call: &Call, term: Option<u64>) -> Option<String> {
    let id = call.global_request_id.as_str();
    if id.is_empty() {
        return Some("it says nothing of whose it is".to_owned());
    }
    if call.for_client {
        return call.attempt.is_some().then(|| "a client's call is no leader's work".to_owned());
    }
    let Some(attempt) = &call.attempt else { return Some("nobody said whose it is".to_owned()) };
    let made = format!("req-{}", Uuid::new_v5(&CALLS, attempt.as_bytes()));
    if made != id {
        return Some(format!("the id of what it says is {made}"));
    }
    let told = call.told_term();
    (told.is_none() || told != term)
        .then(|| format!("it says that it is of term {told:?}, and those who sent it are of {term:?}"))
}

/// What nodes brought about in the cloud.
fn lines(record: &Record, known: &BTreeSet<&str>, sheet: &mut Sheet) {
    for line in record.cloud.iter().filter(|line| line.caller.starts_with("node-")) {
        // Reads stand in the record where a fault held them back, and bring nothing about.
        let reads = line.method == "GET" && line.changes.is_empty();
        let logs_in = line.service == "identity" && line.global_request_id.is_empty();
        if reads || logs_in {
            continue;
        }
        sheet.must(known.contains(line.global_request_id.as_str()), || {
            let (n, id) = (line.n, &line.global_request_id);
            format!(
                "line {n}: {:?} {} {} by {} as '{id}', which nobody was seen to send",
                line.kind, line.method, line.path, line.caller
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use leasehold_cloudsim::Kind;
    use serde_json::json;

    use super::super::testing::{Made, fires, leads, line};
    use super::*;
    use crate::report::Verdict;

    /// Node 1 leads in term 4 from instant 5 on, and sends a call at 20 by tasks that are there since 10.
    fn made(change: impl FnOnce(&mut Call)) -> Made {
        let attempt = "row/17/1/500/4/0";
        let mut call = Call {
            at_ns: 20,
            node: 1,
            life: 1,
            method: "POST".to_owned(),
            path: "/compute/v2.1/servers/s/action".to_owned(),
            group_since_ns: Some(10),
            attempt: Some(attempt.to_owned()),
            global_request_id: format!("req-{}", Uuid::new_v5(&CALLS, attempt.as_bytes())),
            ..Call::default()
        };
        change(&mut call);
        Made { calls: vec![call], incidents: vec![leads(1, 4, 5)], ..Made::default() }
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
        assert!(judgement.looked_at > 0);
    }

    #[test]
    fn a_call_with_the_id_of_its_work_passes_and_one_without_or_with_another_fires() {
        passes(made(|_| ()));
        fires(judge, made(|call| call.global_request_id.clear()), "says nothing of whose it is");
        fires(judge, made(|call| call.attempt = None), "nobody said whose it is");
        fires(judge, made(|call| call.attempt = Some("row/18/1/500/4/0".to_owned())), "the id of what it says is req-");
        let mut twice = made(|_| ());
        twice.calls.push(twice.calls[0].clone());
        fires(judge, twice, "the id of a call before");
    }

    #[test]
    fn the_term_that_it_says_is_that_of_the_tasks_which_sent_it() {
        let mut newer = made(|_| ());
        newer.incidents = vec![leads(1, 5, 5)];
        fires(judge, newer, "of term Some(4), and those who sent it are of Some(5)");
        // The node leads anew, and the tasks are those of before.
        let mut outlived = made(|_| ());
        outlived.incidents.push(leads(1, 6, 15));
        passes(outlived);
        let mut alone = made(|call| call.group_since_ns = None);
        alone.incidents.push(leads(1, 6, 15));
        fires(judge, alone, "are of Some(6)");
    }

    #[test]
    fn who_logs_in_says_nothing_and_whoever_else_says_nothing_fires() {
        let login = |path: &str| {
            let path = path.to_owned();
            made(|call| (call.attempt, call.global_request_id, call.path) = (None, String::new(), path))
        };
        passes(login("/identity/v3/auth/tokens"));
        fires(judge, login("/identity/v3/users"), "says nothing");
    }

    #[test]
    fn a_client_s_call_has_the_id_of_his_request_and_may_have_it_twice() {
        let mut his = made(|call| (call.for_client, call.attempt) = (true, None));
        his.calls.push(his.calls[0].clone());
        passes(his);
        fires(judge, made(|call| call.for_client = true), "no leader's work");
    }

    #[test]
    fn what_the_cloud_saw_of_a_node_was_seen_to_leave_it() {
        let seen = |id: String, caller: &str, kind: Kind| {
            let mut made = made(|_| ());
            let mut one = line(1, 1, "server.deleted", "s", json!({}));
            (one.global_request_id, one.caller, one.kind) = (id, caller.to_owned(), kind);
            made.cloud = vec![one];
            made
        };
        let known = made(|_| ()).calls[0].global_request_id.clone();
        passes(seen(known, "node-1", Kind::Request));
        passes(seen(String::new(), "tenant", Kind::Request));
        for kind in [Kind::Request, Kind::Late, Kind::Event] {
            fires(judge, seen("req-other".to_owned(), "node-1", kind), "which nobody was seen to send");
            fires(judge, seen(String::new(), "node-1", kind), "which nobody was seen to send");
        }
    }
}
