//! V1: a core of nodes that are well, and of which one sees a majority, commits, whatever became of the others. V2: once everything is healed there is one leader, everybody
//! follows, and all have one state.

use std::collections::BTreeMap;

use super::{Judgement, Sheet};
use crate::nemesis::members::GOES_ROUND;
use crate::record::{Probe, Record};

/// What a core may need beside its elections, milliseconds: a node that ended by itself is started again after a second, a
/// connection that hung over a cut is given up after 4 s and made anew within 2 s, clocks are compared every second and a node
/// that was just started asks the others first, and whether something commits is looked at every 200 ms.
const SETTLING_MS: u64 = 10_000;
/// From the healing until there is one cluster.
const HEAL_MS: u64 = 30_000;
/// Probes are this far apart.
const LOOK_NS: u64 = 1_000_000_000;

/// How long a core may take, milliseconds.
///
/// The longest election timeout is twice `election_max`: for the one a follower refuses its vote to others, within the other
/// it stands itself. V1 (chaos-design §7) allows two of them after a clean split and four in every other topology. A node that
/// voted and is started again waits for `election_max` before it may vote.
fn core_ms(record: &Record, whole: bool) -> u64 {
    let longest = record.plan.sim.election_max_ms;
    let elections = if whole { 2 } else { 4 };
    elections * 2 * longest + longest + SETTLING_MS
}

/// V1.
pub fn commits(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut waiting = None;
    for incident in record.incidents.iter().filter(|incident| incident.what == "phase") {
        let took = incident.text.strip_prefix("the core commits after ").and_then(|rest| rest.strip_suffix(" ms"));
        if incident.text.starts_with("the core is ") {
            waiting = Some(incident);
        } else if let (Some(ms), Some(began)) = (took, waiting) {
            let (took_ms, limit_ms) = (ms.parse().unwrap_or(u64::MAX), core_ms(record, began.text.ends_with(", whole")));
            waiting = None;
            stays(record, incident.at_ns, &mut sheet);
            sheet.must(took_ms <= limit_ms, || {
                format!("{}: it committed after {took_ms} ms only, {limit_ms} ms are allowed", began.text)
            });
        } else if let Some(began) = waiting.take() {
            sheet.violation(format!(
                "{} from {} ns on, and nothing was committed until {:?}",
                began.text, began.at_ns, incident.text
            ));
        }
    }
    if sheet.looked_at == 0 && sheet.violations.is_empty() {
        sheet.unknown("the run had no phase in which only a core was well");
    }
    sheet.close("V1")
}

/// From its first commit on the core stays as it is until the next phase: who does not hear the leader must not stand for
/// election over and over, raise the term, and depose it in the end. Each higher term is that of a new leader.
fn stays(record: &Record, from_ns: u64, sheet: &mut Sheet) {
    let next = record.incidents.iter().find(|incident| incident.what == "phase" && incident.at_ns > from_ns);
    let within = |at_ns: u64| from_ns <= at_ns && next.is_none_or(|next| at_ns < next.at_ns);
    let mut terms: BTreeMap<u64, u64> = BTreeMap::new();
    for probe in record.probes.iter().filter(|probe| within(probe.at_ns)) {
        let highest = terms.entry(probe.at_ns).or_default();
        *highest = probe.term.max(*highest);
    }
    let (Some(first), Some(last)) = (terms.values().next(), terms.values().max()) else { return };
    let elected = record.incidents.iter().filter(|incident| incident.what == "leads" && within(incident.at_ns)).count() as u64;
    sheet.must(last - first <= elected, || {
        format!("terms grew from {first} to {last} in a core that had committed, with {elected} new leaders")
    });
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
    let leads = |probe: &&Probe| probe.role == "leader" && !probe.members.is_empty();
    if let Some(leader) = record.probes.iter().rfind(|probe| probe.at_ns < from && leads(probe)) {
        cluster.clone_from(&leader.members);
    }
    for (at_ns, probes) in looks {
        // Members of that moment, as the leader has them; who is no member and still runs does not count.
        if let Some(leader) = probes.iter().copied().find(leads) {
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
    use super::super::testing::{Made, incident, last, leads, probe};
    use super::*;
    use crate::report::Verdict;

    fn phases(texts: &[&str]) -> Judgement {
        let incidents = (0..).zip(texts).map(|(at, text)| incident(None, at, "phase", text)).collect();
        commits(&Made { incidents, ..Made::default() }.record())
    }

    #[test]
    fn a_core_that_commits_in_time_passes_and_one_that_does_not_fires() {
        // The plan's election timeouts are 1 to 2 s: 8 s for two elections, 16 s for four, 2 s before a vote, 10 s.
        for (shape, limit_ms) in [("whole", 20_000), ("a bridge", 28_000), ("a ring", 28_000)] {
            let core = format!("the core is [1, 2], {shape}");
            let after = |ms: u64| phases(&[&core, &format!("the core commits after {ms} ms"), "everything is healed"]).verdict;
            assert_eq!(after(limit_ms), Verdict::Pass, "{shape}");
            assert_eq!(after(limit_ms + 1), Verdict::Violation, "{shape}");
            assert_eq!(phases(&[&core, "everything is healed"]).verdict, Verdict::Violation);
        }
        assert_eq!(phases(&["everything is healed"]).verdict, Verdict::Unknown);
    }

    #[test]
    fn terms_that_grow_without_a_leader_fire() {
        let grown = |to: u64, elected: &[u64]| {
            let phase = |at_ns, text| incident(None, at_ns, "phase", text);
            let incidents = vec![
                phase(0, "the core is [1, 2], a bridge"),
                phase(10, "the core commits after 0 ms"),
                phase(90, "everything is healed"),
            ];
            let mut made = Made { incidents, ..Made::default() };
            made.incidents.extend(elected.iter().map(|at_ns| leads(1, to, *at_ns)));
            // Before and after is another matter.
            made.probes = [(5, 1), (10, 5), (50, to), (90, 99)].map(|(at_ns, term)| Probe { term, ..probe(2, at_ns) }).into();
            commits(&made.record()).verdict
        };
        assert_eq!(grown(5, &[]), Verdict::Pass);
        assert_eq!(grown(6, &[20]), Verdict::Pass);
        assert_eq!(grown(6, &[]), Verdict::Violation);
        assert_eq!(grown(6, &[5]), Verdict::Violation);
        assert_eq!(grown(7, &[20]), Verdict::Violation);
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
        // Nobody looked late enough: who the members are is known from before (seed 8 of the profile members).
        let early = |made: &mut Made| {
            made.probes.iter_mut().for_each(|probe| (probe.at_ns, probe.members) = (1, vec![1, 2, 3, 4]));
            made.finals.push(last(4, 7, &[]));
        };
        assert_eq!(healed(early), Verdict::Unknown);
        assert_eq!(healed(|made| made.incidents.clear()), Verdict::Unknown);
    }
}
