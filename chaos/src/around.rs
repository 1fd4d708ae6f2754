//! What clients saw around faults: how many of their operations were answered, and how soon, in the half minute before a fault,
//! while it lasted, and in the half minute after it; and how long it was from its beginning to the next write that was accepted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::coverage::{happened, lasts_ns};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// How long before and after a fault is looked at, nanoseconds.
const BESIDE_NS: u64 = 30_000_000_000;
/// Operations that write.
const WRITES: [&str; 6] = ["create", "update", "claim", "delete", "create_series", "delete_series"];

/// All faults of one kind together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Around {
    /// How many happened.
    pub faults: u64,
    /// Half a minute before each.
    pub before: Seen,
    /// While it lasted, as planned.
    pub during: Seen,
    /// Half a minute after it.
    pub after: Seen,
    /// From the beginning of a fault to the answer of the first write that was asked for after it and accepted; of faults after which
    /// there was one.
    pub to_next_write: Times,
}

/// Operations that were asked for in some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many.
    pub operations: u64,
    /// Of a thousand, those that were answered, whatever the answer; the others ended without one. Empty without operations.
    pub answered_permille: Option<u64>,
    /// How long the answers took.
    pub latency: Times,
}

/// Milliseconds; empty where nothing was timed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Half of them took no longer.
    pub p50_ms: Option<u64>,
    /// 99 of a hundred took no longer.
    pub p99_ms: Option<u64>,
    /// None took longer.
    pub max_ms: Option<u64>,
}

impl Times {
    fn of(mut all_ns: Vec<u64>) -> Times {
        all_ns.sort_unstable();
        let at = |percent: usize| all_ns.get((all_ns.len() * percent).div_ceil(100).saturating_sub(1)).map(|ns| ns / 1_000_000);
        Times { p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

/// Operations by when they were asked for, and those of a kind of fault that fell into its times.
#[derive(Default)]
struct Sum {
    asked: u64,
    took_ns: Vec<u64>,
}

impl Sum {
    fn add(&mut self, operations: &[&Operation]) {
        self.asked += operations.len() as u64;
        let answered = operations.iter().filter(|one| one.ending != Ending::Info);
        self.took_ns.extend(answered.map(|one| one.return_ns - one.invoke_ns));
    }

    fn seen(self) -> Seen {
        let answered_permille = (self.took_ns.len() as u64 * 1_000).checked_div(self.asked);
        Seen { operations: self.asked, answered_permille, latency: Times::of(self.took_ns) }
    }
}

/// By kind of fault.
pub fn of(record: &Record) -> BTreeMap<String, Around> {
    let mut history: Vec<&Operation> = record.history.iter().collect();
    history.sort_by_key(|one| one.invoke_ns);
    let between = |from_ns: u64, until_ns: u64| {
        let first = history.partition_point(|one| one.invoke_ns < from_ns);
        &history[first..history.partition_point(|one| one.invoke_ns < until_ns).max(first)]
    };
    let is_write = |one: &&&Operation| one.ending == Ending::Ok && WRITES.contains(&one.op.as_str());
    let mut kinds: BTreeMap<String, (u64, [Sum; 3], Vec<u64>)> = BTreeMap::new();
    for (from_ns, fault) in happened(record) {
        let until_ns = from_ns + lasts_ns(fault);
        let (faults, sums, next) = kinds.entry(fault.kind()).or_default();
        *faults += 1;
        let times = [(from_ns.saturating_sub(BESIDE_NS), from_ns), (from_ns, until_ns), (until_ns, until_ns + BESIDE_NS)];
        for (sum, (from_ns, until_ns)) in sums.iter_mut().zip(times) {
            sum.add(between(from_ns, until_ns));
        }
        next.extend(between(from_ns, u64::MAX).iter().find(is_write).map(|one| one.return_ns - from_ns));
    }
    let around = |(faults, [before, during, after], next): (u64, [Sum; 3], Vec<u64>)| Around {
        faults,
        before: before.seen(),
        during: during.seen(),
        after: after.seen(),
        to_next_write: Times::of(next),
    };
    kinds.into_iter().map(|(kind, sums)| (kind, around(sums))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::check::testing::{Made, of_fault, operation};
    use crate::nemesis::strike::HAPPENS;
    use crate::plan::{Fault, Planned, Target};

    /// An operation that is asked for at a second and ends so many milliseconds later.
    fn asked(op: &str, at_s: u64, took_ms: u64, ending: Ending) -> Operation {
        let invoke_ns = at_s * 1_000_000_000;
        Operation { invoke_ns, return_ns: invoke_ns + took_ms * 1_000_000, ..operation(op, ending, None, Value::Null) }
    }

    #[test]
    fn operations_count_where_they_were_asked_for_and_the_next_write_ends_the_outage() {
        // A pause from second 100 to 110.
        let mut record = Made { incidents: vec![of_fault(0, 100_000_000_000, HAPPENS)], ..Made::default() }.record();
        record.history = vec![
            asked("create", 60, 5, Ending::Ok),
            asked("create", 80, 10, Ending::Ok),
            asked("get", 99, 20, Ending::Fail),
            asked("get", 100, 30, Ending::Ok),
            asked("create", 101, 9_000, Ending::Info),
            asked("update", 105, 2_000, Ending::Ok),
            asked("create", 112, 40, Ending::Ok),
            asked("create", 140, 40, Ending::Ok),
        ];
        record.plan.faults = vec![Planned {
            at_ms: 1,
            fault: Fault::Pause { target: Target::Node(0), for_ms: 10_000, behind_ms: None, deaf_ms: None },
        }];
        let around = &of(&record)["pause"];
        let seen = |operations, answered, p50_ms, max_ms| Seen {
            operations,
            answered_permille: Some(answered),
            latency: Times { p50_ms: Some(p50_ms), p99_ms: Some(max_ms), max_ms: Some(max_ms) },
        };
        assert_eq!(around.faults, 1);
        assert_eq!(around.before, seen(2, 1_000, 10, 20));
        assert_eq!(around.during, seen(3, 666, 30, 2_000));
        assert_eq!(around.after, seen(1, 1_000, 40, 40));
        assert_eq!(around.to_next_write.max_ms, Some(7_000));
    }

    #[test]
    fn a_node_that_ended_at_a_point_is_away_from_then_on_and_not_for_as_long_as_that_was_waited_for() {
        let mut record = Made { incidents: vec![of_fault(0, 100_000_000_000, HAPPENS)], ..Made::default() }.record();
        record.history = vec![asked("get", 104, 5, Ending::Ok), asked("get", 106, 5, Ending::Ok)];
        let (target, point, nth, power, all) = (Target::Node(0), "p".to_owned(), 1, false, false);
        let fault = Fault::CrashAt { target, point, nth, power, all, for_ms: 600_000, down_ms: 1_000 };
        record.plan.faults = vec![Planned { at_ms: 1, fault }];
        let around = &of(&record)["crash_at"];
        assert_eq!((around.during.operations, around.after.operations), (1, 1));
    }

    #[test]
    fn without_operations_nothing_is_said_of_them() {
        let mut record = Made { incidents: vec![of_fault(0, 0, HAPPENS)], ..Made::default() }.record();
        assert!(of(&record).is_empty());
        record.plan.faults = vec![Planned {
            at_ms: 1,
            fault: Fault::Pause { target: Target::Node(0), for_ms: 10, behind_ms: None, deaf_ms: None },
        }];
        assert_eq!(of(&record)["pause"], Around { faults: 1, ..Around::default() });
    }
}
