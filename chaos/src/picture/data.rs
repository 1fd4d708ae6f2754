//! A run as the picture draws it: made of the record, small enough to travel inside the page. Times are whole microseconds
//! after the run's start; what repeats (words) stands once in [`Data::words`] and is meant by its number.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::focus::{Focus, Places};
use super::reservations::{self, Call, Reserved};
use crate::check::model::CALENDAR_UNIX_S;
use crate::history::{Ending, Operation};
use crate::nemesis::strike::HAPPENS;
use crate::record::{Incident, Record};
use crate::report::{Report, Verdict};

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// The end of the run.
    pub end: u64,
    /// `[at, what begins]`.
    pub phases: Vec<(u64, String)>,
    /// Nodes over time.
    pub nodes: Vec<Node>,
    /// What was done to the cluster and to the cloud.
    pub faults: Vec<Fault>,
    /// What else happened: starts, ends, leaders, each `[at, node or 0, what, text]`.
    pub incidents: Vec<(u64, u64, String, String)>,
    /// What clients did; see [`Row`].
    pub operations: Vec<Row>,
    /// `[from, until]`: no client got an answer, and at least one tried.
    pub unavailable: Vec<(u64, u64)>,
    /// What was booked, and what became of it in the cloud.
    pub reservations: Vec<Reserved>,
    /// Calls of nodes that belong to no reservation.
    pub calls: Vec<Call>,
    /// `[at, index]`: when each index of the ledger was first seen applied.
    pub indices: Vec<(u64, u64)>,
    /// What did not hold, the first to be opened first.
    pub findings: Vec<Focus>,
    /// What repeats.
    pub words: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// `[from, until, state, term]` without gaps; state: `leader`, `follower`, `candidate`, `learner`, `down`, `paused`.
    pub spans: Vec<(u64, u64, String, u64)>,
}

/// A fault as it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// From.
    pub from: u64,
    /// Until.
    pub until: u64,
    /// Which node; 0: several or none.
    pub node: u64,
    /// Whether it was the cloud's.
    pub cloud: bool,
    /// In a word or two.
    pub name: String,
    /// All its figures.
    pub text: String,
}

/// One operation: number, client, what, invoked, answered, ending (0 done, 1 refused, 2 unknown), index, answering node,
/// why not (a word), lease (a word), what was asked, and the attempts `[node, from, until, why not]` if there was more than one.
pub type Row =
    (u64, u32, usize, u64, u64, u8, Option<u64>, u64, Option<usize>, Option<usize>, String, Vec<(u64, u64, u64, Option<usize>)>);

/// Words by number.
#[derive(Debug, Default)]
pub struct Words {
    known: BTreeMap<String, usize>,
    all: Vec<String>,
}

impl Words {
    /// The number of a word.
    pub fn number(&mut self, word: &str) -> usize {
        if let Some(number) = self.known.get(word) {
            return *number;
        }
        self.known.insert(word.to_owned(), self.all.len());
        self.all.push(word.to_owned());
        self.all.len() - 1
    }
}

impl Data {
    /// Of a run and its report.
    #[must_use]
    pub fn of(record: &Record, report: &Report) -> Data {
        let end = end_us(record);
        let mut words = Words::default();
        let (reservations, calls) = reservations::of(record, &mut words);
        let mut ids = BTreeMap::new();
        for one in &reservations {
            ids.insert(one.id.clone(), (one.lease.clone(), Some(one.start)));
            ids.insert(one.lease.clone(), (one.lease.clone(), Some(one.start)));
        }
        let places = Places::new(record, ids);
        let phases = record.incidents.iter().filter(|one| one.what == "phase");
        let phases: Vec<_> = phases.map(|one| (one.at_ns / 1_000, one.text.clone())).collect();
        let faults = faults(record, end);
        let other =
            |one: &&Incident| !matches!(one.what.as_str(), "phase" | "pause" | "resume" | HAPPENS) && planned(one).is_none();
        let incidents = record.incidents.iter().filter(other);
        let operations = record.history.iter().map(|operation| row(operation, record, &mut words)).collect();
        Data {
            end,
            phases,
            nodes: nodes(record, end),
            faults,
            incidents: incidents
                .map(|one| (one.at_ns / 1_000, one.node.unwrap_or(0), one.what.clone(), one.text.clone()))
                .collect(),
            operations,
            unavailable: unavailable(&record.history),
            reservations,
            calls,
            indices: record.audit.iter().map(|one| (one.at_ns / 1_000, one.ledger_index)).collect(),
            findings: findings(report, &places),
            words: words.all,
        }
    }
}

/// Each thing that did not hold: of the checker that failed first, first.
fn findings(report: &Report, places: &Places<'_>) -> Vec<Focus> {
    let mut findings = Vec::new();
    for check in report.failed() {
        for finding in report.findings.iter().filter(|finding| finding.check == check) {
            findings.push(places.focus(&check, &finding.text, Some(finding.at_ns)));
        }
        let judged = report.board.judgements.iter().filter(|one| one.check == check && one.verdict == Verdict::Violation);
        findings.extend(judged.flat_map(|one| &one.evidence).map(|text| places.focus(&check, text, None)));
    }
    findings
}

fn end_us(record: &Record) -> u64 {
    let last = record.incidents.iter().map(|one| one.at_ns).max().unwrap_or(0);
    let answered = record.history.iter().map(|operation| operation.return_ns).max().unwrap_or(0);
    last.max(answered).max(1_000_000) / 1_000
}

/// Each node's states: what happened to it at its time, and its role as the looks of each second tell it.
fn nodes(record: &Record, end: u64) -> Vec<Node> {
    enum Change<'a> {
        State(&'a str),
        Role(&'a str, u64),
        Paused(bool),
    }
    let one = |id: u64| {
        let mut changes: Vec<(u64, Change<'_>)> = Vec::new();
        for incident in record.incidents.iter().filter(|incident| incident.node == Some(id)) {
            let change = match incident.what.as_str() {
                "start" => Change::State("follower"),
                "crash" | "ended" => Change::State("down"),
                "pause" => Change::Paused(true),
                "resume" => Change::Paused(false),
                "leads" => match incident.text.strip_prefix("term ").and_then(|term| term.parse().ok()) {
                    Some(term) => Change::Role("leader", term),
                    None => continue,
                },
                _ => continue,
            };
            changes.push((incident.at_ns / 1_000, change));
        }
        let looks = record.probes.iter().filter(|probe| probe.node == id);
        changes.extend(looks.map(|probe| (probe.at_ns / 1_000, Change::Role(&probe.role, probe.term))));
        changes.sort_by_key(|(at, _)| *at);
        let (mut state, mut term, mut paused) = ("down", 0, false);
        let mut spans: Vec<(u64, u64, String, u64)> = vec![(0, end, state.to_owned(), term)];
        for (at, change) in changes {
            match change {
                Change::State(new) => (state, paused) = (new, false),
                Change::Role(role, in_term) if state != "down" => (state, term) = (role, in_term),
                Change::Role(..) => {}
                Change::Paused(now) => paused = now,
            }
            let shown = if paused && state != "down" { "paused" } else { state };
            let last = spans.last_mut().expect("there is always one");
            if last.2 == shown && last.3 == term {
                continue;
            }
            last.1 = at;
            if last.0 == at {
                spans.pop();
            }
            spans.push((at, end, shown.to_owned(), term));
        }
        Node { id, spans }
    };
    (1..=u64::from(record.plan.nodes)).map(one).collect()
}

/// The fault that an incident carries out.
fn planned(incident: &Incident) -> Option<Value> {
    let value: Value = serde_json::from_str(&incident.text).ok()?;
    value.get("kind").and_then(Value::as_str)?;
    Some(value)
}

fn faults(record: &Record, end: u64) -> Vec<Fault> {
    let healed = record.incidents.iter().find(|one| one.what == "phase" && one.text == "everything is healed");
    let healed = healed.map_or(end, |one| one.at_ns / 1_000);
    let after = |from: usize, what: &str| {
        let node = record.incidents[from].node;
        let next = record.incidents[from..].iter().find(|one| one.node == node && one.what == what);
        next.map_or(end, |one| one.at_ns / 1_000)
    };
    let mut faults = Vec::new();
    for (at, incident) in record.incidents.iter().enumerate() {
        let from = incident.at_ns / 1_000;
        let node = incident.node.unwrap_or(0);
        let (until, name, text) = match (incident.what.as_str(), planned(incident)) {
            ("crash", _) => (after(at, "start"), incident.text.to_lowercase(), String::new()),
            ("pause", _) => (after(at, "resume"), "pause".to_owned(), String::new()),
            ("skipped", Some(fault)) => (from, format!("left out: {}", name(&fault)), told(&fault)),
            (_, Some(fault)) => {
                let until = fault["for_ms"].as_u64().map_or(from, |for_ms| from + for_ms * 1_000);
                (until.min(healed.max(from)), name(&fault), told(&fault))
            }
            _ => continue,
        };
        faults.push(Fault { from, until, node, cloud: incident.what == "cloud", name, text });
    }
    faults
}

fn name(fault: &Value) -> String {
    let kind = fault["kind"].as_str().unwrap_or_default().replace('_', " ");
    let how = &fault["how"];
    let how = how.as_str().or_else(|| how.as_object().and_then(|how| how.keys().next().map(String::as_str)));
    match how {
        Some(how) => format!("{kind}: {}", how.replace('_', " ")),
        None => kind,
    }
}

/// The figures of a fault.
fn told(fault: &Value) -> String {
    let members = fault.as_object().into_iter().flatten().filter(|(name, _)| *name != "kind");
    members.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// A calendar second as microseconds of the run.
pub(super) fn calendar_us(second: &Value, epoch_ms: u64) -> Option<u64> {
    let second = second.as_u64().filter(|second| *second != u64::from(u32::MAX))?;
    Some(((second + CALENDAR_UNIX_S) * 1_000).saturating_sub(epoch_ms) * 1_000)
}

fn row(operation: &Operation, record: &Record, words: &mut Words) -> Row {
    let body = &operation.body;
    let request = &body["request"];
    let ending = match operation.ending {
        Ending::Ok => 0,
        Ending::Fail => 1,
        Ending::Info => 2,
    };
    let why = body["reply"]["kind"].as_str().map(|kind| words.number(kind));
    let lease = body["reply"]["id"].as_str().or(request["lease_id"].as_str()).map(|id| words.number(id));
    let attempts = body["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    let attempts = attempts.iter().filter(|_| attempts.len() > 1).map(|one| {
        let us = |name: &str| one[name].as_u64().unwrap_or(0) / 1_000;
        let why = one["answer"].as_str().map(|why| words.number(why));
        (one["node"].as_u64().unwrap_or(0), us("invoke_ns"), us("return_ns"), why)
    });
    let attempts = attempts.collect();
    (
        operation.n,
        operation.client,
        words.number(&operation.op),
        operation.invoke_ns / 1_000,
        operation.return_ns / 1_000,
        ending,
        operation.index,
        body["node"].as_u64().unwrap_or(0),
        why,
        lease,
        asked(&operation.op, request, record.epoch_ms),
        attempts,
    )
}

/// What was asked for, in a few words.
pub(crate) fn asked(op: &str, request: &Value, epoch_ms: u64) -> String {
    let at = |value: &Value| calendar_us(value, epoch_ms).map_or_else(|| "now".to_owned(), |us| format!("{} s", us / 1_000_000));
    match op {
        "create" => {
            let wish = &request["wish"];
            let amount = wish["reservations"][0]["resource"]["instance"]["amount"].as_u64().unwrap_or(0);
            let staged = if wish["reservations"][0]["staging"].is_object() { ", staged" } else { "" };
            let offered = if wish["offer"].is_object() { ", an offer" } else { "" };
            let name = wish["name"].as_str().unwrap_or_default();
            format!("{name}, {amount} from {} to {}{staged}{offered}", at(&wish["start"]["at"]), at(&wish["end"]))
        }
        "create_series" => {
            let (lease, recurrence) = (&request["wish"]["lease"], &request["wish"]["recurrence"]);
            let text = |field: &str| recurrence[field].as_str().unwrap_or_default();
            let first = asked("create", &json!({"wish": lease}), epoch_ms);
            format!("{first}, {} {} in {}", text("mode"), text("rule"), text("time_zone"))
        }
        "set_quota" => {
            let set = request["set"].as_object().into_iter().flatten().map(|(kind, limit)| format!("{kind} {}", limit["max"]));
            let unset = request["unset"].as_array().map_or(0, Vec::len);
            let of = request["of"].as_str().unwrap_or("all");
            format!("of {of}, {}, {unset} taken back", set.collect::<Vec<_>>().join(", "))
        }
        "update" => {
            let change = request["change"].as_object();
            let fields = change.into_iter().flatten().filter(|(_, value)| !value.is_null() && **value != json!([]));
            fields.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

/// From the first attempt without an answer to the next answer, whoever's.
fn unavailable(history: &[Operation]) -> Vec<(u64, u64)> {
    let mut attempts: Vec<(u64, u64, bool)> = Vec::new();
    for attempt in history.iter().filter_map(|operation| operation.body["attempts"].as_array()).flatten() {
        let us = |name: &str| attempt[name].as_u64().map(|ns| ns / 1_000);
        let (Some(from), Some(until)) = (us("invoke_ns"), us("return_ns")) else { continue };
        let silent = matches!(attempt["answer"].as_str(), Some("unavailable" | "unknown"));
        attempts.push((until, from, !silent));
    }
    attempts.sort_unstable();
    let mut spans: Vec<(u64, u64)> = Vec::new();
    let (mut open, mut answered): (Option<u64>, u64) = (None, 0);
    for (until, from, told) in attempts {
        if told {
            if let Some(begun) = open.take() {
                spans.push((begun, until));
            }
            answered = until;
        } else if from >= answered {
            open = Some(open.map_or(from, |begun| begun.min(from)));
        }
    }
    // A hundredth of a second without an answer is nothing that anybody notices.
    spans.extend(open.map(|begun| (begun, history.iter().map(|one| one.return_ns / 1_000).max().unwrap_or(begun))));
    spans.retain(|(from, until)| until - from > 10_000);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::{Made, incident, leads, operation, probe};

    #[test]
    fn a_nodes_states_follow_each_other_without_a_gap() {
        let s = 1_000_000_000;
        let mut made = Made {
            incidents: vec![
                incident(Some(1), s, "start", "life 1"),
                leads(1, 5, 2 * s),
                incident(Some(1), 4 * s, "pause", ""),
                incident(Some(1), 5 * s, "resume", ""),
                incident(Some(1), 6 * s, "crash", "Kill"),
                incident(Some(1), 8 * s, "start", "life 2"),
                incident(None, 9 * s, "phase", "over"),
            ],
            ..Made::default()
        };
        made.probes = vec![probe(1, 3 * s)];
        made.probes[0].role = "leader".to_owned();
        let record = made.record();
        let node = &nodes(&record, 9_000_000)[0];
        let told: Vec<_> = node
            .spans
            .iter()
            .map(|(from, until, state, term)| (*from / 1_000_000, *until / 1_000_000, state.as_str(), *term))
            .collect();
        assert_eq!(
            told,
            [
                (0, 1, "down", 0),
                (1, 2, "follower", 0),
                (2, 4, "leader", 5),
                (4, 5, "paused", 5),
                (5, 6, "leader", 5),
                (6, 8, "down", 5),
                (8, 9, "follower", 5)
            ]
        );
        let faults = faults(&record, 9_000_000);
        let told: Vec<_> =
            faults.iter().map(|fault| (fault.from / 1_000_000, fault.until / 1_000_000, fault.name.as_str())).collect();
        assert_eq!(told, [(4, 5, "pause"), (6, 8, "kill")]);
    }

    #[test]
    fn a_fault_ends_when_its_time_is_over_or_everything_is_healed() {
        let s = 1_000_000_000;
        let cut = r#"{"kind":"cloud_cut","target":"leader","way":"in","for_ms":3000}"#;
        let late = r#"{"kind":"cloud","how":{"late":{"after_ms":9}},"body":"","permille":50,"for_ms":60000}"#;
        let incidents = vec![
            incident(Some(2), s, "link", cut),
            incident(None, 2 * s, "cloud", late),
            incident(None, 9 * s, "phase", "everything is healed"),
            incident(None, 20 * s, "phase", "over"),
        ];
        let record = Made { incidents, ..Made::default() }.record();
        let faults = faults(&record, 20_000_000);
        assert_eq!((faults[0].from, faults[0].until, faults[0].cloud), (1_000_000, 4_000_000, false));
        assert_eq!((faults[1].until, faults[1].cloud, faults[1].name.as_str()), (9_000_000, true, "cloud: late"));
    }

    #[test]
    fn nobody_is_answered_from_the_first_silence_to_the_next_answer() {
        let attempt = |from_ms: u64, until_ms: u64, answer: Value| json!({"node": 1, "invoke_ns": from_ms * 1_000_000, "return_ns": until_ms * 1_000_000, "answer": answer});
        let silent = json!("unavailable");
        let body = json!({"attempts": [
            attempt(0, 10, Value::Null), attempt(100, 200, silent.clone()), attempt(150, 900, silent), attempt(950, 1000, json!("rejected"))]});
        let history = vec![operation("get", Ending::Ok, None, body)];
        assert_eq!(unavailable(&history), [(100_000, 1_000_000)]);
    }
}
