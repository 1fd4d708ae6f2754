//! S2: who lost what he promised to keep says so and does not come back; a cluster that lost too much refuses to serve and
//! invents nothing. V5: a damaged state is made again without an operator, a damaged log ends the node with advice.

use super::{Judgement, Sheet};
use crate::history::Ending;
use crate::record::{Incident, Record};

/// What the last line of a node says that must be removed and added again.
const ADVICE: &str = "leasehold cluster remove";
/// A node that starts has found out by then what is wrong with its disk.
const FOUND_OUT_NS: u64 = 5_000_000_000;

/// S2.
pub fn refuses(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut lost: Vec<(u64, u64)> = Vec::new();
    for incident in record.incidents.iter().filter(|incident| incident.what == "lost") {
        let Some(node) = incident.node else { continue };
        sheet.look();
        lost.push((node, incident.at_ns));
        for probe in record.probes.iter().filter(|probe| probe.node == node && probe.at_ns > incident.at_ns) {
            // With an empty disk it is a node that nobody knows yet, until somebody calls it by the disk it had. It must give
            // nothing under its id: no vote, no place in a log. With a damaged one it must not even start.
            let bare = incident.text == "everything" && probe.last_log_index.is_none() && probe.vote.is_none();
            if !bare {
                sheet.violation(format!(
                    "node {node} lost its {} at {} ns, and runs at {} ns, life {}, vote {:?}, with a log up to {:?}",
                    incident.text, incident.at_ns, probe.at_ns, probe.life, probe.vote, probe.last_log_index
                ));
                break;
            }
        }
    }
    beyond(record, &lost, &mut sheet);
    sheet.close("S2")
}

/// When fewer than a majority of the voters kept everything, nothing more is acknowledged, and nothing is shown that was not.
fn beyond(record: &Record, lost: &[(u64, u64)], sheet: &mut Sheet) {
    for (at, (_, at_ns)) in lost.iter().enumerate() {
        let gone: Vec<u64> = lost[..=at].iter().map(|(node, _)| *node).collect();
        let seen = record.probes.iter().filter(|probe| probe.at_ns <= *at_ns && !probe.voters.is_empty());
        let Some(voters) = seen.max_by_key(|probe| (probe.at_ns, probe.last_log_index)).map(|probe| &probe.voters) else {
            continue;
        };
        let kept = voters.iter().filter(|voter| !gone.contains(voter)).count();
        if 2 * kept > voters.len() {
            continue;
        }
        // What was under way may have been committed before.
        let after = record.history.iter().filter(|one| one.invoke_ns > *at_ns);
        for one in after {
            sheet.must(one.ending != Ending::Ok, || {
                format!(
                    "operation {} ({}) was answered though {gone:?} of the voters {voters:?} lost what they kept",
                    one.n, one.op
                )
            });
        }
        let shown = record.audit.iter().filter(|one| one.at_ns > at_ns + FOUND_OUT_NS).map(|one| one.ledger_index).min();
        sheet.must(shown.is_none(), || format!("a new index {shown:?} of the ledger was applied after {gone:?} were lost"));
        return;
    }
}

/// V5.
pub fn rebuilds(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let of = |incident: &Incident, what: &str, text: &str| incident.what == what && incident.text.contains(text);
    for incident in &record.incidents {
        let Some(node) = incident.node else { continue };
        let later = || record.incidents.iter().filter(move |one| one.node == Some(node) && one.at_ns >= incident.at_ns);
        let started = later().find(|one| one.what == "start");
        if incident.what == "damaged" {
            // Unless it was lost or taken out in the meantime.
            let out =
                later().any(|one| one.what == "lost" || of(one, "members", "is switched off") || of(one, "members", "is out of"));
            if !out {
                sheet.must(record.finals.iter().any(|last| last.node == node), || {
                    format!("node {node} ({} at {} ns) does not run in the end", incident.text, incident.at_ns)
                });
            }
            let told = later().find(|one| of(one, "ended", ADVICE));
            sheet.must(told.is_none() || out, || {
                format!("node {node} ({} at {} ns) wants an operator: {told:?}", incident.text, incident.at_ns)
            });
        }
        if let Some(started) = started
            && incident.what == "lost"
            && incident.text != "everything"
        {
            // A node that is killed or held before it has looked has nothing to say.
            let ended = later().find(|one| one.what == "ended" && one.at_ns >= started.at_ns);
            let stopped = later().any(|one| one.what == "crash" && one.at_ns >= started.at_ns);
            let over = record.incidents.last().is_some_and(|last| last.at_ns < started.at_ns + FOUND_OUT_NS);
            if ended.is_none() && (stopped || over) {
                continue;
            }
            sheet.must(ended.is_some_and(|one| one.text.contains(ADVICE)), || {
                format!("node {node} lost its {} and does not say what to do: {ended:?}", incident.text)
            });
        }
    }
    sheet.close("V5")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, incident, last, operation, probe};
    use super::*;
    use crate::report::Verdict;

    const SAID: &str = "does not start: the Raft log is damaged; `leasehold cluster remove` it";

    fn damaged_log() -> Made {
        let incidents = vec![
            incident(Some(1), 10, "lost", "log: value of row 0105"),
            incident(Some(1), 20, "start", "life 2"),
            incident(Some(1), 20, "ended", SAID),
        ];
        Made { incidents, probes: vec![probe(1, 5), probe(2, 30)], ..Made::default() }
    }

    #[test]
    fn a_node_that_stops_passes_and_one_that_comes_back_fires() {
        assert_eq!(refuses(&damaged_log().record()).verdict, Verdict::Pass);
        assert_eq!(rebuilds(&damaged_log().record()).verdict, Verdict::Pass);
        let mut made = damaged_log();
        made.probes.push(probe(1, 40));
        fires(refuses, made, "node 1 lost its log");
    }

    #[test]
    fn a_damaged_log_without_advice_fires() {
        let mut made = damaged_log();
        made.incidents[2].text = "does not start: oh".to_owned();
        fires(rebuilds, made, "does not say what to do");
    }

    #[test]
    fn an_empty_node_may_be_there_but_may_give_nothing() {
        let mut bare = probe(1, 20);
        (bare.last_log_index, bare.vote) = (None, None);
        let made =
            |probe| Made { incidents: vec![incident(Some(1), 10, "lost", "everything")], probes: vec![probe], ..Made::default() };
        assert_eq!(refuses(&made(bare.clone()).record()).verdict, Verdict::Pass);
        bare.vote = Some(2);
        fires(refuses, made(bare.clone()), "vote Some(2)");
        (bare.last_log_index, bare.vote) = (Some(1), None);
        fires(refuses, made(bare), "with a log up to Some(1)");
    }

    fn majority_lost(ending: Ending) -> Made {
        let mut made = damaged_log();
        made.incidents.push(incident(Some(2), 25, "lost", "log: missing"));
        made.probes.pop();
        // Begun before, between, and after.
        for _ in 0..4 {
            made.history.push(operation("create", Ending::Fail, None, json!({})));
        }
        made.history[3].ending = ending;
        made
    }

    #[test]
    fn a_cluster_that_lost_too_much_and_refuses_passes_and_one_that_answers_fires() {
        assert_eq!(refuses(&majority_lost(Ending::Fail).record()).verdict, Verdict::Pass);
        assert_eq!(refuses(&majority_lost(Ending::Info).record()).verdict, Verdict::Pass);
        fires(refuses, majority_lost(Ending::Ok), "was answered though");
        let mut made = majority_lost(Ending::Fail);
        made.audit_at(7, 26 + FOUND_OUT_NS, &[]);
        fires(refuses, made, "a new index");
        // One of three is no majority.
        let mut made = majority_lost(Ending::Ok);
        made.incidents.pop();
        assert_eq!(refuses(&made.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn a_state_that_is_made_again_passes_and_one_that_is_not_fires() {
        let made = || Made {
            incidents: vec![incident(Some(1), 10, "damaged", "state: missing"), incident(Some(1), 20, "start", "life 2")],
            finals: vec![last(1, 7, &[])],
            ..Made::default()
        };
        assert_eq!(rebuilds(&made().record()).verdict, Verdict::Pass);
        let mut one = made();
        one.finals.clear();
        fires(rebuilds, one, "does not run in the end");
        for out in ["is switched off", "is out of the cluster"] {
            let mut one = made();
            one.finals.clear();
            one.incidents.push(incident(Some(1), 30, "members", out));
            assert_eq!(rebuilds(&one.record()).verdict, Verdict::Pass, "{out}");
        }
        let mut one = made();
        one.incidents.push(incident(Some(1), 20, "ended", SAID));
        fires(rebuilds, one, "wants an operator");
    }
}
