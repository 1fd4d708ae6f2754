//! B1: what a node holds stays under declared caps, comes back to little at rest, and is all given back when the node is gone.

use std::collections::BTreeMap;

use super::{Judgement, Sheet};
use crate::plan::Fault;
use crate::record::{Probe, Record};

/// Caps at any time, however busy. Tasks: each client's operation, each peer's call and each lease's step has some.
const CAPS: [(&str, u64); 4] = [("tasks", 5_000), ("effects", 1_024), ("withdrawn", 4_096), ("followers", 2_000)];
/// Caps at rest, when nothing is owed and nobody asks. Clocks: of each node that belongs to the cluster, however many came and went.
const AT_REST: [(&str, u64); 4] = [("tasks", 300), ("effects", 16), ("followers", 50), ("clocks", 16)];
/// Tasks at rest more for each follower over the wire: its stream, and the connection that it keeps, are a few dozen tasks and
/// handles of their groups (38 were counted), where a message has one.
const TASKS_A_FOLLOWER: u64 = 40;
/// The log may grow while a snapshot is being made and followers are behind; so many times what is kept between two.
const LOG_TIMES: u64 = 4;
/// And so many entries more.
const LOG_MORE: u64 = 2_000;
/// What a run may leave, bytes, however long it was: what libraries and tables of names keep from their first use on.
const LEFT_BYTES: i64 = 64 << 10;
/// And with each election.
const LEFT_BYTES_AN_ELECTION: i64 = 256;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let sim = &record.plan.sim;
    let log_max = LOG_TIMES * (sim.snapshot_entries + sim.keep_entries) + LOG_MORE;
    let mut caps: BTreeMap<&str, u64> = CAPS.into_iter().chain([("log_entries", log_max)]).collect();
    // Calls of a burst stand in the node itself: there is no edge in between that takes only so many at a time.
    for planned in &record.plan.faults {
        if let Fault::Burst { many, .. } = planned.fault {
            *caps.entry("tasks").or_default() += 2 * u64::from(many);
        }
    }
    let mut last: BTreeMap<u64, &Probe> = BTreeMap::new();
    let mut worst: BTreeMap<(u64, &str), &Probe> = BTreeMap::new();
    for probe in &record.probes {
        last.insert(probe.node, probe);
        for (name, cap) in &caps {
            let held = probe.held.get(*name).copied().unwrap_or(0);
            sheet.look();
            if held > *cap {
                let most = worst.entry((probe.node, name)).or_insert(probe);
                if most.held.get(*name) < Some(&held) {
                    *most = probe;
                }
            }
        }
    }
    for ((node, name), probe) in worst {
        let (held, cap) = (probe.held.get(name), caps[name]);
        sheet.violation(format!("node {node} holds {held:?} {name} at {} ns, {cap} are the most", probe.at_ns));
    }
    if record.incidents.iter().any(|incident| incident.what == "phase" && incident.text == "drain") {
        let ended = record.probes.last().map_or(0, |probe| probe.at_ns);
        for (node, probe) in last.into_iter().filter(|(_, probe)| probe.at_ns == ended && probe.open_actuations == 0) {
            for (name, cap) in AT_REST {
                let held = probe.held.get(name).copied().unwrap_or(0);
                let followed = probe.held.get("followers").copied().unwrap_or(0);
                let cap = if sim.wire && name == "tasks" { cap + TASKS_A_FOLLOWER * followed } else { cap };
                sheet.must(held <= cap, || format!("node {node} holds {held} {name} at rest, {cap} are the most"));
            }
        }
    }
    if let Some(weight) = record.weight {
        let elections = i64::try_from(weight.elections).unwrap_or(i64::MAX);
        let most = LEFT_BYTES.saturating_add(LEFT_BYTES_AN_ELECTION.saturating_mul(elections));
        sheet.must(weight.left_bytes <= most, || {
            format!(
                "{} bytes are left in memory with everything gone, after {elections} elections; {most} are the most",
                weight.left_bytes
            )
        });
    }
    sheet.close("B1")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, fires, incident, probe};
    use super::*;
    use crate::record::Weight;
    use crate::report::Verdict;

    fn made(name: &str, many: u64, rest: bool) -> Made {
        let mut one = probe(1, 0);
        one.held.insert(name.to_owned(), many);
        let incidents = if rest { vec![incident(None, 0, "phase", "drain")] } else { Vec::new() };
        Made { probes: vec![one], incidents, ..Made::default() }
    }

    #[test]
    fn little_passes_and_more_than_the_cap_fires() {
        for (name, cap) in CAPS {
            assert_eq!(judge(&made(name, cap, false).record()).verdict, Verdict::Pass);
            fires(judge, made(name, cap + 1, false), name);
        }
        let log_max = LOG_TIMES * 600 + LOG_MORE;
        assert_eq!(judge(&made("log_entries", log_max, false).record()).verdict, Verdict::Pass);
        fires(judge, made("log_entries", log_max + 1, false), "log_entries");
    }

    #[test]
    fn what_is_fine_under_load_fires_at_rest() {
        for (name, cap) in AT_REST {
            assert_eq!(judge(&made(name, cap + 1, false).record()).verdict, Verdict::Pass);
            assert_eq!(judge(&made(name, cap, true).record()).verdict, Verdict::Pass);
            fires(judge, made(name, cap + 1, true), "at rest");
        }
    }

    #[test]
    fn over_the_wire_a_follower_may_have_its_connection_and_a_message_has_none() {
        let of = |wire, tasks| {
            let mut one = probe(1, 0);
            one.held.extend([("tasks".to_owned(), tasks), ("followers".to_owned(), 3)]);
            let mut record =
                Made { probes: vec![one], incidents: vec![incident(None, 0, "phase", "drain")], ..Made::default() }.record();
            record.plan.sim.wire = wire;
            judge(&record).verdict
        };
        assert_eq!([of(true, 420), of(true, 421)], [Verdict::Pass, Verdict::Violation]);
        assert_eq!([of(false, 300), of(false, 301)], [Verdict::Pass, Verdict::Violation]);
    }

    #[test]
    fn a_kilobyte_an_election_fires_and_a_little_once_passes() {
        let weighed = |left_bytes, elections| {
            let mut record = Made::default().record();
            record.weight = Some(Weight { left_bytes, elections });
            judge(&record)
        };
        assert_eq!(weighed(LEFT_BYTES, 0).verdict, Verdict::Pass);
        assert_eq!(weighed(LEFT_BYTES + 100 * LEFT_BYTES_AN_ELECTION, 100).verdict, Verdict::Pass);
        let judgement = weighed(LEFT_BYTES + 100 * 1_024, 100);
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("100 elections"), "{judgement:?}");
    }
}
