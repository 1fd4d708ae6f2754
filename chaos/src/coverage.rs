//! What a run got to: operations by result, by the faults that were under way and by the role of the node that was asked; each
//! kind of fault by the part of a reservation's life it fell into; each named point at which a node ended. What is never got to
//! is not tested, however green a run is ([`goals`]).

pub mod goals;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::check::model::CALENDAR_UNIX_S;
use crate::history::Ending;
use crate::nemesis::members::GOES_ROUND;
use crate::nemesis::strike::SKIPPED;
use crate::plan::Fault;
use crate::record::{Probe, Record};

/// How often each thing was got to. The keys are words with spaces between them, as `create ok kill leader`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Operation, result, fault (`none`: no fault at all), role of the node that was asked first (`down`: it did not run).
    pub operations: BTreeMap<String, u64>,
    /// Fault and part of a reservation's life.
    pub phases: BTreeMap<String, u64>,
    /// How the cloud misbehaved, and part of a reservation's life.
    #[serde(default)]
    pub clouds: BTreeMap<String, u64>,
    /// Points at which a node ended.
    pub points: BTreeMap<String, u64>,
    /// What others did in the cloud, and how.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, u64>,
    /// What came of the expiries of reservations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expiries: BTreeMap<String, u64>,
    /// Leases that moved to hosts that are in use anyway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moves: BTreeMap<String, u64>,
    /// How it was asked, at the wire level: operation, result, door.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doors: BTreeMap<String, u64>,
    /// Operations in all.
    pub asked: u64,
    /// Terms in which somebody led, less the first.
    pub leader_changes: u64,
}

/// A fault that was under way, nanoseconds after the run's start.
struct Span {
    kind: String,
    from_ns: u64,
    until_ns: u64,
}

/// When calls to the cloud were struck by a fault of it, by how, nanoseconds after the run's start. A fault may be there for long, or for
/// few calls, and strike none.
type Struck<'r> = BTreeMap<&'r str, Vec<u64>>;

/// Parts of a reservation's life.
pub const PHASES: [&str; 5] = ["before_staging", "staging", "start", "running", "end"];
/// What counts as the start and the end: from the instant on, seconds.
const AROUND_S: u64 = 10;
/// How long a node that ended at a point is taken to be away, nanoseconds.
const ENDED_NS: u64 = 5_000_000_000;

impl Coverage {
    /// Of one run.
    pub fn of(record: &Record) -> Coverage {
        let (spans, struck) = (spans(record), struck(record));
        let mut coverage = Coverage { asked: record.history.len() as u64, ..Coverage::default() };
        let mut looks: BTreeMap<u64, Vec<&Probe>> = BTreeMap::new();
        for probe in &record.probes {
            looks.entry(probe.node).or_default().push(probe);
        }
        for operation in &record.history {
            let result = match operation.ending {
                Ending::Ok => "ok",
                Ending::Fail => "fail",
                Ending::Info => "info",
            };
            // What would wait for room, take that of others, or expire, is a goal of its own.
            let would_wait = operation.op == "create" && operation.body["request"]["wish"]["wait"].is_object();
            let would_preempt = operation.op == "create" && operation.body["request"]["wish"]["precedence"]["preempt"] == true;
            let would_expire = operation.op == "create" && operation.body["request"]["wish"]["expiry_s"].is_u64();
            let op = match (would_wait, would_preempt, would_expire) {
                (true, ..) => "wait",
                (false, true, _) => "preempt",
                (false, false, true) => "expire",
                (false, false, false) => &operation.op,
            };
            let asked = operation.body["attempts"][0]["node"].as_u64().unwrap_or_default();
            let role = role(&looks, asked, operation.invoke_ns);
            for kind in during(&spans, operation.invoke_ns, operation.return_ns) {
                *coverage.operations.entry(format!("{op} {result} {kind} {role}")).or_default() += 1;
            }
            if let Some(door) = operation.body["attempts"][0]["door"].as_str() {
                *coverage.doors.entry(format!("{} {result} {door}", operation.op)).or_default() += 1;
            }
            if operation.op == "create" && operation.ending == Ending::Ok {
                coverage.lease(record, (&spans, &struck), &operation.body["reply"], operation.return_ns);
            }
        }
        for incident in record.incidents.iter().filter(|incident| incident.what == "point") {
            *coverage.points.entry(incident.text.clone()).or_default() += 1;
        }
        for fault in happened(record).filter_map(|(_, fault)| goals::of_others(fault)) {
            *coverage.others.entry(fault).or_default() += 1;
        }
        coverage.expiries = crate::check::expire::reached(record);
        coverage.moves = crate::check::joined::reached(record);
        let not_on_purpose = record.incidents.iter().take_while(|incident| incident.text != GOES_ROUND);
        let terms: BTreeSet<&str> =
            not_on_purpose.filter(|incident| incident.what == "leads").map(|incident| incident.text.as_str()).collect();
        coverage.leader_changes = (terms.len() as u64).saturating_sub(1);
        coverage
    }

    /// The parts of a lease's life as it was booked, and what fell into them.
    fn lease(&mut self, record: &Record, (spans, struck): (&[Span], &Struck<'_>), lease: &serde_json::Value, made_ns: u64) {
        let epoch_s = record.epoch_ms / 1_000;
        let at = |value: &serde_json::Value| {
            let second = value.as_u64()? + CALENDAR_UNIX_S;
            Some(second.saturating_sub(epoch_s) * 1_000_000_000)
        };
        let (Some(start), Some(end)) = (at(&lease["start"]), at(&lease["end"])) else { return };
        let window = &lease["reservations"][0]["staging"]["window"];
        let staging = at(&window["start"]).zip(at(&window["end"]));
        let around = AROUND_S * 1_000_000_000;
        let parts = [
            staging.map(|(opens, _)| (made_ns, opens)),
            staging,
            Some((start, start + around)),
            Some((start + around, end)),
            Some((end, end + around)),
        ];
        for (phase, part) in PHASES.iter().zip(parts) {
            let Some((from, until)) = part.filter(|(from, until)| from < until) else { continue };
            for kind in during(spans, from, until).into_iter().filter(|kind| kind != "none") {
                *self.phases.entry(format!("{kind} {phase}")).or_default() += 1;
            }
            let strikes = |at: &Vec<u64>| at.get(at.partition_point(|at_ns| *at_ns < from)).is_some_and(|at_ns| *at_ns <= until);
            for (how, _) in struck.iter().filter(|(_, at)| strikes(at)) {
                *self.clouds.entry(format!("{how} {phase}")).or_default() += 1;
            }
        }
    }

    /// Operations by the door they came through, at the wire level.
    pub fn by_door(&self) -> BTreeMap<&str, u64> {
        let mut sum = BTreeMap::new();
        for (name, many) in &self.doors {
            *sum.entry(name.rsplit(' ').next().unwrap_or_default()).or_default() += many;
        }
        sum
    }

    /// Adds another run.
    pub fn add(&mut self, other: &Coverage) {
        let maps = [
            (&mut self.operations, &other.operations),
            (&mut self.phases, &other.phases),
            (&mut self.clouds, &other.clouds),
            (&mut self.points, &other.points),
            (&mut self.others, &other.others),
            (&mut self.expiries, &other.expiries),
            (&mut self.moves, &other.moves),
            (&mut self.doors, &other.doors),
        ];
        for (mine, theirs) in maps {
            theirs.iter().for_each(|(name, many)| *mine.entry(name.clone()).or_default() += many);
        }
        self.asked += other.asked;
        self.leader_changes += other.leader_changes;
    }
}

/// The faults of the plan that happened, each with when it did.
pub(crate) fn happened(record: &Record) -> impl Iterator<Item = (u64, &Fault)> {
    let happened = record.incidents.iter().filter(|incident| incident.what != SKIPPED);
    happened.filter_map(|incident| {
        let place = usize::try_from(incident.fault?).ok()?;
        Some((incident.at_ns, &record.plan.faults.get(place)?.fault))
    })
}

fn spans(record: &Record) -> Vec<Span> {
    let span = |(from_ns, fault): (u64, &Fault)| Span { kind: fault.kind(), from_ns, until_ns: from_ns + lasts_ns(fault) };
    happened(record).map(span).collect()
}

/// How long a fault goes on from when it happened, nanoseconds: a node ends at a point when it gets there, however long that was
/// waited for.
pub(crate) fn lasts_ns(fault: &Fault) -> u64 {
    match fault {
        Fault::CrashAt { .. } => ENDED_NS,
        fault => fault.lasts_ms() * 1_000_000,
    }
}

fn struck(record: &Record) -> Struck<'_> {
    let mut struck = Struck::default();
    for line in &record.cloud {
        // The kind comes first, then its figures.
        if let Some(how) = line.fault.as_deref().and_then(|fault| fault.split(' ').next()) {
            let at_ns = line.at_ms.saturating_sub(record.epoch_ms) * 1_000_000;
            struck.entry(how).or_default().push(at_ns);
        }
    }
    struck.values_mut().for_each(|at| at.sort_unstable());
    struck
}

fn under_way(spans: &[Span], from_ns: u64, until_ns: u64) -> impl Iterator<Item = &Span> {
    spans.iter().filter(move |span| span.from_ns <= until_ns && from_ns <= span.until_ns)
}

/// Kinds of faults that were under way at some time of `[from, until]`; `none` if there was none.
fn during(spans: &[Span], from_ns: u64, until_ns: u64) -> BTreeSet<String> {
    let mut kinds: BTreeSet<String> = under_way(spans, from_ns, until_ns).map(|span| span.kind.clone()).collect();
    if kinds.is_empty() {
        kinds.insert("none".to_owned());
    }
    kinds
}

/// What a node was when it was last looked at, if that is not too long ago for it to run.
fn role<'r>(looks: &BTreeMap<u64, Vec<&'r Probe>>, node: u64, at_ns: u64) -> &'r str {
    let looks = looks.get(&node).map_or(&[][..], Vec::as_slice);
    let before = looks.partition_point(|probe| probe.at_ns <= at_ns);
    let last = before.checked_sub(1).and_then(|last| looks.get(last));
    last.filter(|probe| at_ns - probe.at_ns <= 1_500_000_000).map_or("down", |probe| probe.role.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::model::tests::lease;
    use crate::check::testing::{Made, line, of_fault, operation, probe};
    use crate::nemesis::strike::HAPPENS;
    use crate::plan::{CloudFault, Meddling, Planned, Target};

    fn record(at_ms: u64) -> Record {
        let mut made = Made { incidents: vec![of_fault(0, at_ms * 1_000_000, HAPPENS)], ..Made::default() };
        let mut booked = lease("a", 30, 90, &[(1, 1)]);
        booked["reservations"][0]["staging"] = json!({"window": {"start": 10, "end": 20}, "park_margin_s": 5});
        made.history.push(operation("create", Ending::Ok, Some(1), json!({"reply": booked, "attempts": [{"node": 2}]})));
        made.probes = vec![probe(2, 0)];
        let mut record = made.record();
        record.plan.faults = vec![Planned {
            at_ms,
            fault: Fault::Pause { target: Target::Node(0), for_ms: 1_000, behind_ms: None, deaf_ms: None },
        }];
        record
    }

    #[test]
    fn an_operation_counts_with_fault_and_role() {
        let coverage = Coverage::of(&record(0));
        assert_eq!(coverage.operations, BTreeMap::from([("create ok pause follower".to_owned(), 1)]));
        let coverage = Coverage::of(&record(5));
        assert_eq!(coverage.operations, BTreeMap::from([("create ok none follower".to_owned(), 1)]));
    }

    #[test]
    fn a_fault_counts_in_the_part_of_a_reservation_that_it_falls_into() {
        for (at_s, phase) in [(3, "before_staging"), (15, "staging"), (35, "start"), (60, "running"), (95, "end")] {
            let coverage = Coverage::of(&record(at_s * 1_000));
            assert_eq!(coverage.phases, BTreeMap::from([(format!("pause {phase}"), 1)]));
        }
        assert!(Coverage::of(&record(200_000)).phases.is_empty());
    }

    #[test]
    fn a_fault_that_was_skipped_counts_nowhere_and_takes_no_other_that_looks_alike_with_it() {
        let mut record = record(15_000);
        let alike = Planned { at_ms: 60_000, ..record.plan.faults[0].clone() };
        record.plan.faults.push(alike);
        record.incidents[0].what = SKIPPED.to_owned();
        assert!(Coverage::of(&record).phases.is_empty());
        record.incidents.push(of_fault(1, 60_000_000_000, HAPPENS));
        assert_eq!(Coverage::of(&record).phases, BTreeMap::from([("pause running".to_owned(), 1)]));
    }

    #[test]
    fn a_fault_that_nothing_is_known_of_did_not_happen() {
        let mut record = record(15_000);
        record.incidents.clear();
        assert!(Coverage::of(&record).phases.is_empty());
    }

    #[test]
    fn how_the_cloud_misbehaved_counts_by_itself_and_where_it_struck() {
        let mut record = record(15_000);
        let how = CloudFault::Late { after_ms: 5 };
        let (body, service) = Default::default();
        record.plan.faults[0].fault = Fault::Cloud { how, body, service, permille: 1_000, for_ms: 1_000 };
        let coverage = Coverage::of(&record);
        assert_eq!(coverage.phases, BTreeMap::from([("cloud staging".to_owned(), 1)]));
        assert!(coverage.clouds.is_empty(), "it struck nothing");
        let mut struck = line(1, 0, "", "", serde_json::Value::Null);
        (struck.at_ms, struck.fault) = (record.epoch_ms + 15_500, Some("late after_ms=5".to_owned()));
        record.cloud.push(struck);
        let coverage = Coverage::of(&record);
        assert_eq!(coverage.clouds, BTreeMap::from([("late staging".to_owned(), 1)]));
        let mut sum = coverage.clone();
        sum.add(&coverage);
        assert_eq!(sum.clouds["late staging"], 2);
    }

    #[test]
    fn what_others_do_counts_by_what_it_was() {
        let mut record = record(15_000);
        assert!(Coverage::of(&record).others.is_empty());
        record.plan.faults[0].fault = Fault::Meddle { how: Meddling::Lock, pick: 1 };
        assert_eq!(Coverage::of(&record).others, BTreeMap::from([("meddle lock".to_owned(), 1)]));
        record.incidents[0].what = SKIPPED.to_owned();
        assert!(Coverage::of(&record).others.is_empty());
    }

    #[test]
    fn how_it_was_asked_counts_at_the_wire_level() {
        assert!(Coverage::of(&record(0)).doors.is_empty());
        let mut record = record(0);
        record.history[0].body["attempts"][0]["door"] = json!("rest");
        let coverage = Coverage::of(&record);
        assert_eq!(coverage.doors, BTreeMap::from([("create ok rest".to_owned(), 1)]));
        assert_eq!(coverage.by_door(), BTreeMap::from([("rest", 1)]));
    }

    #[test]
    fn runs_add_up() {
        let mut sum = Coverage::of(&record(0));
        sum.add(&Coverage::of(&record(0)));
        assert_eq!((sum.asked, sum.operations["create ok pause follower"]), (2, 2));
    }
}
