//! M1: what a node has promised or applied does not go back. Term, vote and what is on synced disk hold over its lives; what is
//! only in memory holds within one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Sheet};
use crate::record::{Probe, Record};

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut last: BTreeMap<u64, &Probe> = BTreeMap::new();
    elections(record, &mut sheet);
    for probe in &record.probes {
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
            // A vote that was given stays given. Whoever voted for one that lost follows whom the term elected, and the
            // engine shows that one as the vote, committed: that grants nothing.
            let follows = probe.vote_committed && !before.vote_committed;
            sheet.must(old == new || follows, || went_back("the vote of one term", old, new));
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

/// One term elects one node, and with a majority of votes: those who are seen to have voted for another did not vote for it.
fn elections(record: &Record, sheet: &mut Sheet) {
    let mut elected: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for probe in &record.probes {
        let leader = if probe.role == "leader" { Some(probe.node) } else { probe.vote.filter(|_| probe.vote_committed) };
        let Some(leader) = leader else { continue };
        let (first, voters) = elected.entry(probe.term).or_insert((leader, 0));
        sheet.must(*first == leader, || format!("nodes {first} and {leader} both lead in term {}", probe.term));
        *voters = (*voters).max(probe.voters.len());
    }
    let mut for_others: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for probe in record.probes.iter().filter(|probe| !probe.vote_committed) {
        let leader = elected.get(&probe.term).map(|(leader, _)| *leader);
        if leader.is_some() && probe.vote.is_some_and(|vote| Some(vote) != leader) {
            for_others.entry(probe.term).or_default().insert(probe.node);
        }
    }
    for (term, nodes) in for_others {
        let (leader, voters) = elected[&term];
        let votes_max = voters.saturating_sub(nodes.len());
        sheet.must(2 * votes_max > voters, || {
            format!("node {leader} leads in term {term} with at most {votes_max} of {voters} votes: nodes {nodes:?} gave theirs to others")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, probe};
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
    fn whoever_voted_for_one_that_lost_follows_whom_the_term_elected_and_nobody_else() {
        // Each look at node 1: its vote, and whether it is committed.
        let judged = |looks: &[(u64, bool)]| {
            let looks = looks.iter().enumerate().map(|(at, (vote, vote_committed))| Probe {
                vote: Some(*vote),
                vote_committed: *vote_committed,
                ..probe(1, at as u64)
            });
            judge(&Made { probes: looks.collect(), ..Made::default() }.record())
        };
        assert_eq!(judged(&[(1, false), (2, true), (2, true)]).verdict, Verdict::Pass);
        assert_eq!(judged(&[(1, false), (1, true)]).verdict, Verdict::Pass);
        // Given twice, given after a leader was followed, two leaders followed.
        assert_eq!(judged(&[(1, false), (2, false)]).verdict, Verdict::Violation);
        assert_eq!(judged(&[(1, true), (2, false)]).verdict, Verdict::Violation);
        assert_eq!(judged(&[(1, true), (2, true)]).verdict, Verdict::Violation);
    }

    #[test]
    fn who_leads_without_a_majority_of_votes_fires() {
        // Two of three voted for node 1, and node 3 leads.
        let mut probes = vec![probe(1, 0), probe(2, 0), probe(3, 0)];
        (probes[2].role, probes[2].vote, probes[2].vote_committed) = ("leader".to_owned(), Some(3), true);
        super::super::testing::fires(judge, Made { probes: probes.clone(), ..Made::default() }, "at most 1 of 3 votes");
        probes[1].vote = Some(3);
        assert_eq!(judge(&Made { probes, ..Made::default() }.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn leaders_of_one_term_that_are_followed_by_different_nodes_fire() {
        let mut probes = vec![probe(1, 0), probe(2, 0)];
        (probes[0].vote_committed, probes[1].vote_committed, probes[1].vote) = (true, true, Some(2));
        super::super::testing::fires(judge, Made { probes, ..Made::default() }, "both lead");
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
