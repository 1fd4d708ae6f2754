//! M1: what a node has promised or applied does not go back. Term, vote and what is on synced disk hold over its lives; what is
//! only in memory holds within one.

use std::collections::BTreeMap;

use super::{Judgement, Sheet};
use crate::record::{Probe, Record};

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut last: BTreeMap<u64, &Probe> = BTreeMap::new();
    let mut leaders: BTreeMap<u64, u64> = BTreeMap::new();
    for probe in &record.probes {
        if probe.role == "leader" {
            let first = *leaders.entry(probe.term).or_insert(probe.node);
            sheet.must(first == probe.node, || format!("nodes {first} and {} both lead in term {}", probe.node, probe.term));
        }
        let Some(before) = last.insert(probe.node, probe) else { continue };
        let (node, from, to) = (probe.node, before.at_ns, probe.at_ns);
        // What a node forgets that lost its disk is not its to forget any more (S2).
        let lost = |incident: &&crate::record::Incident| incident.what == "lost" && incident.node == Some(node);
        if record.incidents.iter().filter(lost).any(|incident| incident.at_ns >= from && incident.at_ns < to) {
            continue;
        }
        let went_back = |what: &str, old: u64, new: u64| {
            format!("node {node}: {what} was {old} at {from} ns (life {}), {new} at {to} ns (life {})", before.life, probe.life)
        };
        sheet.must(probe.term >= before.term, || went_back("term", before.term, probe.term));
        if let (Some(old), Some(new)) = (before.vote, probe.vote)
            && before.term == probe.term
        {
            // A candidate that lost takes over the vote of whom the term elected: that grants nothing.
            let elected = record.incidents.iter().any(|incident| {
                incident.what == "leads" && incident.node == Some(new) && incident.text == format!("term {}", probe.term)
            });
            sheet.must(old == new || elected, || went_back("the vote of one term", old, new));
        }
        if probe.life != before.life {
            continue;
        }
        let indices = [
            ("committed", before.committed_index.unwrap_or(0), probe.committed_index.unwrap_or(0)),
            ("applied", before.applied_index.unwrap_or(0), probe.applied_index.unwrap_or(0)),
            ("ledger index", before.ledger_index, probe.ledger_index),
            ("ledger time", before.ledger_clock_ms, probe.ledger_clock_ms),
        ];
        for (what, old, new) in indices {
            sheet.must(new >= old, || went_back(what, old, new));
        }
    }
    // One index of the ledger has one time, and later ones no earlier.
    let mut by_index: Vec<_> = record.audit.iter().map(|one| (one.ledger_index, one.clock_ms, one.node)).collect();
    by_index.sort_unstable();
    for pair in by_index.windows(2) {
        let ((low, before, _), (high, after, node)) = (pair[0], pair[1]);
        sheet.must(before <= after, || format!("ledger time is {before} at index {low}, {after} at {high} on node {node}"));
    }
    sheet.close("M1")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, leads, probe};
    use super::*;
    use crate::report::Verdict;

    fn fires(change: impl FnOnce(&mut Probe), with: &str) {
        let mut probes = vec![probe(1, 0), probe(1, 1)];
        change(&mut probes[1]);
        super::super::testing::fires(judge, Made { probes, ..Made::default() }, with);
    }

    #[test]
    fn going_on_passes_and_going_back_fires() {
        let made = Made { probes: vec![probe(1, 0), probe(2, 0), probe(1, 1)], ..Made::default() };
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
        fires(|probe| probe.term = 4, "term was 5");
        fires(|probe| probe.vote = Some(2), "vote of one term");
        fires(|probe| probe.committed_index = Some(1), "committed");
        fires(|probe| probe.applied_index = Some(1), "applied");
        fires(|probe| probe.ledger_index = 1, "ledger index");
        fires(|probe| probe.ledger_clock_ms = 1, "ledger time");
    }

    #[test]
    fn memory_may_go_back_with_a_new_life_but_the_term_may_not() {
        let mut probes = vec![probe(1, 0), probe(1, 1)];
        (probes[1].life, probes[1].applied_index) = (2, Some(1));
        assert_eq!(judge(&Made { probes: probes.clone(), ..Made::default() }.record()).verdict, Verdict::Pass);
        probes[1].term = 4;
        assert_eq!(judge(&Made { probes, ..Made::default() }.record()).verdict, Verdict::Violation);
    }

    #[test]
    fn a_node_that_lost_its_disk_begins_anew() {
        let mut probes = vec![probe(1, 0), probe(1, 5)];
        (probes[1].life, probes[1].term) = (2, 0);
        let made = |at_ns| Made {
            probes: probes.clone(),
            incidents: vec![super::super::testing::incident(Some(1), at_ns, "lost", "everything")],
            ..Made::default()
        };
        assert_eq!(judge(&made(3).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&made(7).record()).verdict, Verdict::Violation);
    }

    #[test]
    fn a_candidate_that_lost_follows_whom_the_term_elected() {
        let mut probes = vec![probe(1, 0), probe(1, 1)];
        probes[1].vote = Some(2);
        let elected = |term| Made { probes: probes.clone(), incidents: vec![leads(2, term, 0)], ..Made::default() };
        assert_eq!(judge(&elected(5).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&elected(4).record()).verdict, Verdict::Violation);
    }

    #[test]
    fn two_leaders_in_one_term_fire() {
        let mut probes = vec![probe(1, 0), probe(2, 0)];
        probes.iter_mut().for_each(|probe| probe.role = "leader".to_owned());
        assert!(judge(&Made { probes, ..Made::default() }.record()).evidence[0].contains("both lead"));
    }

    #[test]
    fn time_that_goes_back_from_one_index_to_the_next_fires() {
        let mut made = Made::default();
        made.audit_at(1, 0, &[]);
        made.audit_at(2, 1, &[]);
        made.audit[0].clock_ms = 7;
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
    }
}
