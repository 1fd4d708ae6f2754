//! What every hour must have: operations and a change of the leader. Each whole hour of a run counts by itself, from the beginning of its
//! faults on; what comes after the faults is in none.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// Operations that an hour has at least in which something went on.
const OPERATIONS: u64 = 200;
/// And changes of the leader.
const LEADER_CHANGES: u64 = 1;

const HOUR_NS: u64 = 3_600_000_000_000;
/// The incident with which the faults begin.
pub(crate) const FAULTS: &str = "faults";

/// One hour of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Operations that clients and the operator began in it.
    pub operations: u64,
    /// Terms in which somebody led for the first time in it. In a cluster of one node that is the same node, started again.
    pub leader_changes: u64,
}

impl Hour {
    fn has_both(self) -> bool {
        self.operations >= OPERATIONS && self.leader_changes >= LEADER_CHANGES
    }
}

/// The whole hours of a run.
pub fn of(record: &Record) -> Vec<Hour> {
    let begins = record.incidents.iter().find(|incident| incident.what == "phase" && incident.text == FAULTS);
    let Some(begins_ns) = begins.map(|incident| incident.at_ns) else { return Vec::new() };
    let many = usize::try_from(record.plan.sim.safety_ms * 1_000_000 / HOUR_NS).unwrap_or(0);
    let mut hours = vec![Hour::default(); many];
    let place = |at_ns: u64| usize::try_from(at_ns.checked_sub(begins_ns)? / HOUR_NS).ok();
    for operation in &record.history {
        if let Some(hour) = place(operation.invoke_ns).and_then(|place| hours.get_mut(place)) {
            hour.operations += 1;
        }
    }
    let mut terms = BTreeSet::new();
    for led in record.incidents.iter().filter(|incident| incident.what == "leads") {
        // Who leads first takes nobody's place.
        let is_change = terms.insert(led.text.as_str()) && terms.len() > 1;
        if let Some(hour) = place(led.at_ns).filter(|_| is_change).and_then(|place| hours.get_mut(place)) {
            hour.leader_changes += 1;
        }
    }
    hours
}

/// The fewest of something in an hour, and the seed that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fewest {
    /// So many.
    pub many: u64,
    /// The first such seed.
    pub seed: u64,
}

/// The hours of many seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Seeds with a whole hour.
    pub seeds: u64,
    /// Of these, that passed and had both in each of their hours.
    pub seeds_passed_with_both: u64,
    /// Of these, whose cluster began with one node.
    pub of_one_node: u64,
    /// Whole hours of all of them.
    pub hours: u64,
    /// Of these, with operations enough and a change of the leader.
    pub hours_with_both: u64,
    /// Operations.
    pub fewest_operations: Option<Fewest>,
    /// Changes of the leader.
    pub fewest_leader_changes: Option<Fewest>,
}

impl Tally {
    /// Adds a seed; `nodes`: those that its cluster began with.
    pub fn add(&mut self, seed: u64, (passed, nodes): (bool, u32), hours: &[Hour]) {
        if hours.is_empty() {
            return;
        }
        self.seeds += 1;
        self.hours += hours.len() as u64;
        self.hours_with_both += hours.iter().filter(|hour| hour.has_both()).count() as u64;
        if passed && hours.iter().all(|hour| hour.has_both()) {
            self.seeds_passed_with_both += 1;
            self.of_one_node += u64::from(nodes == 1);
        }
        for hour in hours {
            let least = |before: &mut Option<Fewest>, many: u64| {
                let this = Fewest { many, seed };
                *before = Some(before.map_or(this, |before| before.min(this)));
            };
            least(&mut self.fewest_operations, hour.operations);
            least(&mut self.fewest_leader_changes, hour.leader_changes);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(operations), Some(changes)) = (self.fewest_operations, self.fewest_leader_changes) else {
            return f.write_str("no seed had a whole hour of faults");
        };
        let Tally { seeds, seeds_passed_with_both: both, of_one_node, hours, hours_with_both, .. } = self;
        write!(
            f,
            "{both} of {seeds} seeds passed with {OPERATIONS} operations and a change of the leader at least in each hour, {of_one_node} of \
             them of one node, which leads again; {hours_with_both} of {hours} hours have both; the fewest of an hour: {} operations \
             (seed {}), {} changes of the leader (seed {})",
            operations.many, operations.seed, changes.many, changes.seed
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::check::testing::{self, Made, operation};
    use crate::history::Ending;
    use crate::record::Incident;

    fn incident(at_s: u64, what: &str, text: &str) -> Incident {
        testing::incident(None, at_s * 1_000_000_000, what, text)
    }

    #[test]
    fn operations_and_changes_of_the_leader_are_those_of_their_whole_hour_of_faults() {
        let incidents = vec![
            incident(0, "leads", "term 1"),
            incident(10, "phase", FAULTS),
            incident(20, "leads", "term 2"),
            // Said once more, by another node that had heard of it, or after an answer that came late.
            incident(30, "leads", "term 2"),
            incident(3_700, "leads", "term 3"),
            incident(3_800, "leads", "term 5"),
            // Half an hour of the third.
            incident(7_300, "leads", "term 6"),
        ];
        let mut record = Made { incidents, ..Made::default() }.record();
        record.plan.sim.safety_ms = 9_000_000;
        for at_s in [5, 10, 3_609, 3_610, 7_300] {
            let mut asked = operation("get", Ending::Ok, None, Value::Null);
            asked.invoke_ns = at_s * 1_000_000_000;
            record.history.push(asked);
        }
        let hour = |operations, leader_changes| Hour { operations, leader_changes };
        assert_eq!(of(&record), [hour(2, 1), hour(1, 2)]);
        record.plan.sim.safety_ms = 600_000;
        assert!(of(&record).is_empty());
    }

    #[test]
    fn a_tally_tells_the_hours_with_both_and_the_fewest_of_any() {
        let mut tally = Tally::default();
        let hour = |operations, leader_changes| Hour { operations, leader_changes };
        assert_eq!(tally.to_string(), "no seed had a whole hour of faults");
        tally.add(1, (true, 3), &[]);
        tally.add(2, (true, 3), &[hour(200, 1), hour(512, 30)]);
        // Of one node; with too few operations in one of its hours; without a change; one that failed.
        tally.add(3, (true, 1), &[hour(300, 2)]);
        tally.add(4, (true, 3), &[hour(199, 2), hour(400, 2)]);
        tally.add(5, (true, 3), &[hour(400, 0)]);
        tally.add(6, (false, 3), &[hour(400, 3)]);
        tally.add(7, (true, 3), &[hour(199, 0)]);
        assert_eq!((tally.seeds, tally.seeds_passed_with_both, tally.of_one_node), (6, 2, 1));
        assert_eq!((tally.hours, tally.hours_with_both), (8, 5));
        assert_eq!(tally.fewest_operations, Some(Fewest { many: 199, seed: 4 }));
        assert_eq!(tally.fewest_leader_changes, Some(Fewest { many: 0, seed: 5 }));
        let text = tally.to_string();
        assert!(text.starts_with("2 of 6 seeds passed with 200 operations") && text.contains("1 of them of one node"), "{text}");
        assert!(
            text.contains("5 of 8 hours have both") && text.contains("199 operations (seed 4), 0 changes of the leader (seed 5)")
        );
    }
}
