//! V1: a whole majority commits, whatever became of the others. V2: once everything is healed there is one leader, everybody
//! follows, and all have one state.

use std::collections::BTreeMap;

use super::{Judgement, Sheet};
use crate::nemesis::members::GOES_ROUND;
use crate::record::{Probe, Record};

/// Elections at the longest timeout, what a restarted node waits before it may vote, and the agreement of the clocks.
const COMMIT_MS: u64 = 40_000;
/// From the healing until there is one cluster.
const HEAL_MS: u64 = 30_000;
/// Probes are this far apart.
const LOOK_NS: u64 = 1_000_000_000;

/// V1.
pub fn commits(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut waiting = None;
    for incident in record.incidents.iter().filter(|incident| incident.what == "phase") {
        if incident.text.starts_with("only ") {
            waiting = Some(incident);
        } else if let Some(ms) =
            incident.text.strip_prefix("the majority commits after ").and_then(|rest| rest.strip_suffix(" ms"))
        {
            let took: u64 = ms.parse().unwrap_or(u64::MAX);
            waiting = None;
            sheet.must(took <= COMMIT_MS, || {
                format!("a whole majority committed after {took} ms only, {COMMIT_MS} ms are allowed")
            });
        } else if let Some(began) = waiting.take() {
            sheet.violation(format!(
                "{} from {} ns on, and nothing was committed until {:?}",
                began.text, began.at_ns, incident.text
            ));
        }
    }
    if sheet.looked_at == 0 && sheet.violations.is_empty() {
        sheet.unknown("the run had no phase in which only a majority was whole");
    }
    sheet.close("V1")
}

/// V2.
pub fn heals(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let healed = record.incidents.iter().find(|incident| incident.what == "phase" && incident.text == "everything is healed");
    let Some(healed) = healed else {
        sheet.unknown("the run was never healed");
        return sheet.close("V2");
    };
    let from = healed.at_ns + HEAL_MS * 1_000_000;
    let mut looks: BTreeMap<u64, Vec<&Probe>> = BTreeMap::new();
    // While leadership is handed on on purpose there may be a moment without a leader.
    let goes_round = |incident: &&crate::record::Incident| incident.what == "phase" && incident.text == GOES_ROUND;
    let until = record.incidents.iter().find(goes_round).map_or(u64::MAX, |incident| incident.at_ns);
    for probe in record.probes.iter().filter(|probe| (from..until).contains(&probe.at_ns)) {
        looks.entry(probe.at_ns).or_default().push(probe);
    }
    if looks.is_empty() {
        sheet.unknown("nobody looked at the nodes after the healing");
    }
    let mut cluster: Vec<u64> = (1..=u64::from(record.plan.nodes)).collect();
    for (at_ns, probes) in looks {
        // Members of that moment, as the leader has them; who is no member and still runs does not count.
        if let Some(leader) = probes.iter().find(|probe| probe.role == "leader" && !probe.members.is_empty()) {
            cluster.clone_from(&leader.members);
        }
        let probes: Vec<&Probe> = probes.into_iter().filter(|probe| cluster.contains(&probe.node)).collect();
        let nodes = cluster.len();
        let leaders: Vec<u64> = probes.iter().filter(|probe| probe.role == "leader").map(|probe| probe.node).collect();
        sheet.must(leaders.len() == 1, || {
            format!("at {at_ns} ns, {} s after the healing, {leaders:?} lead", (at_ns - healed.at_ns) / LOOK_NS)
        });
        sheet.must(probes.len() == nodes, || format!("at {at_ns} ns only {} of {nodes} nodes run", probes.len()));
    }
    let states: Vec<(u64, u64, &str)> =
        record.finals.iter().map(|last| (last.node, last.ledger_index, last.state_hash.as_str())).collect();
    let nodes = cluster.len();
    let one = states.windows(2).all(|pair| (pair[0].1, pair[0].2) == (pair[1].1, pair[1].2));
    sheet.must(one && states.len() == nodes, || format!("at rest there is not one state on {nodes} nodes: {states:?}"));
    sheet.close("V2")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, incident, last, probe};
    use super::*;
    use crate::report::Verdict;

    fn phases(texts: &[&str]) -> Judgement {
        let incidents = (0..).zip(texts).map(|(at, text)| incident(None, at, "phase", text)).collect();
        commits(&Made { incidents, ..Made::default() }.record())
    }

    #[test]
    fn a_majority_that_commits_passes_and_one_that_does_not_fires() {
        let only = "only [1, 2] are whole";
        assert_eq!(phases(&[only, "the majority commits after 7000 ms", "everything is healed"]).verdict, Verdict::Pass);
        assert_eq!(phases(&[only, "the majority commits after 40001 ms"]).verdict, Verdict::Violation);
        assert_eq!(phases(&[only, "everything is healed"]).verdict, Verdict::Violation);
        assert_eq!(phases(&["everything is healed"]).verdict, Verdict::Unknown);
    }

    fn healed(change: impl FnOnce(&mut Made)) -> Verdict {
        let mut made = Made { incidents: vec![incident(None, 0, "phase", "everything is healed")], ..Made::default() };
        made.probes = (1..=3).map(|node| probe(node, HEAL_MS * 1_000_000)).collect();
        made.probes[1].role = "leader".to_owned();
        made.finals = (1..=3).map(|node| last(node, 7, &[])).collect();
        change(&mut made);
        heals(&made.record()).verdict
    }

    #[test]
    fn one_cluster_passes_and_anything_else_fires() {
        assert_eq!(healed(|_| ()), Verdict::Pass);
        assert_eq!(healed(|made| made.probes[0].role = "leader".to_owned()), Verdict::Violation);
        assert_eq!(healed(|made| made.probes[1].role = "follower".to_owned()), Verdict::Violation);
        assert_eq!(healed(|made| drop(made.probes.remove(0))), Verdict::Violation);
        assert_eq!(healed(|made| made.finals[2].state_hash = "other".to_owned()), Verdict::Violation);
        assert_eq!(healed(|made| drop(made.finals.pop())), Verdict::Violation);
        // Without a leader while it is handed on, but not before.
        let handed_on = |at_ns: u64| {
            move |made: &mut Made| {
                made.probes.extend((1..=3).map(|node| probe(node, HEAL_MS * 1_000_000 + LOOK_NS)));
                made.incidents.push(incident(None, at_ns, "phase", GOES_ROUND));
            }
        };
        assert_eq!(healed(handed_on(HEAL_MS * 1_000_000 + 1)), Verdict::Pass);
        assert_eq!(healed(handed_on(HEAL_MS * 1_000_000 + 2 * LOOK_NS)), Verdict::Violation);
        // The cluster is who is in it at that moment: a fourth that joined must be there, a third that left need not.
        let joined = |made: &mut Made| made.probes.iter_mut().for_each(|probe| probe.members = vec![1, 2, 3, 4]);
        assert_eq!(healed(joined), Verdict::Violation);
        let left = |made: &mut Made| {
            made.probes.iter_mut().for_each(|probe| probe.members = vec![1, 2]);
            made.probes.pop();
            made.finals.pop();
        };
        assert_eq!(healed(left), Verdict::Pass);
        assert_eq!(healed(|made| made.probes.clear()), Verdict::Unknown);
        assert_eq!(healed(|made| made.incidents.clear()), Verdict::Unknown);
    }
}
