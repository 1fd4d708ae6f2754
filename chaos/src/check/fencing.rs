//! A4: once a leader of a newer term has sent a changing call, no leader of an older term sends one (architecture D6).

use super::cloud::sendings;
use super::{Judgement, Sheet};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let sent = sendings(record);
    let mut calls: Vec<_> =
        record.calls.iter().filter_map(|call| Some((call, sent.get(call.global_request_id.as_str())?))).collect();
    calls.sort_by_key(|(call, _)| call.at_ns);
    let mut newest: Option<(u64, u64, u64)> = None;
    for (call, sent) in calls {
        let Some(term) = sent.term else {
            let (node, at_ns) = (call.node, call.at_ns);
            sheet.violation(format!("node {node} in life {} sent a call at {at_ns} ns and was never seen to lead", call.life));
            continue;
        };
        if let Some((highest, node, at_ns)) = newest {
            sheet.must(term >= highest, || {
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
    }
    sheet.close("A4")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, leads, sent};
    use super::*;
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
}
