//! Histories written by hand, for the tests of the checkers.

use serde_json::{Value, json};

use super::Judgement;
use crate::history::{Ending, Operation};
use crate::plan::Plan;
use crate::record::{Audited, Call, CloudLine, FinalState, Incident, Probe, Reads, Record, Watched};
use crate::report::Verdict;

/// A record in the making. Operations follow each other in the order they are pushed.
#[derive(Default)]
pub struct Made {
    pub history: Vec<Operation>,
    pub watches: Vec<Watched>,
    pub audit: Vec<Audited>,
    pub cloud: Vec<CloudLine>,
    pub calls: Vec<Call>,
    pub reads: Vec<Reads>,
    pub probes: Vec<Probe>,
    pub incidents: Vec<Incident>,
    pub finals: Vec<FinalState>,
}

/// The checker finds a violation in the record, and says `with` of it.
pub fn fires(judge: fn(&Record) -> Judgement, made: Made, with: &str) {
    let judgement = judge(&made.record());
    assert_eq!(judgement.verdict, Verdict::Violation, "{with}: {judgement:?}");
    assert!(judgement.evidence.iter().any(|text| text.contains(with)), "{with}: {judgement:?}");
}

/// An operation without its times.
pub fn operation(op: &str, ending: Ending, index: Option<u64>, body: Value) -> Operation {
    Operation { n: 0, client: 0, op: op.to_owned(), key: None, invoke_ns: 0, ending, return_ns: 0, index, body }
}

impl Made {
    /// A change that a subscription told.
    pub fn watch(&mut self, index: u64, change: Value) {
        let at_ns = self.watches.len() as u64;
        self.watches.push(Watched { at_ns, client: 0, subscription: 1, node: 1, after: 0, index: Some(index), change });
    }

    /// A lease that was asked for, made and told of.
    pub fn create(&mut self, index: u64, lease: &Value) {
        self.watch(index, json!({"lease": lease}));
        let one = &lease["reservations"][0];
        let mut wish = json!({"name": lease["name"], "project_id": lease["project_id"], "start": {"at": lease["start"]},
            "end": lease["end"], "reservations": [{"resource": one["wish"], "on_end": one["on_end"], "staging": null}]});
        if lease["offer"].is_object() {
            wish["offer"] = json!({"until": lease["offer"]["expires_at"]});
        }
        if lease["wait"].is_object() {
            wish["wait"] = json!({"until": lease["wait"]["until"]});
        }
        let mut made = operation("create", Ending::Ok, Some(index), json!({"request": {"wish": wish}, "reply": lease}));
        made.key = lease["key"]["id"].as_str().map(str::to_owned);
        made.return_ns = (self.history.len() as u64) * 10 + 5;
        self.history.push(made);
    }

    /// An index as it was first seen.
    pub fn audit_at(&mut self, ledger_index: u64, at_ns: u64, hidden: &[Value]) {
        let hidden =
            hidden.iter().map(|lease| (lease["id"].as_str().unwrap_or_default().to_owned(), lease.clone().into())).collect();
        let (actuations, actuation_lease, moved) = Default::default();
        self.audit.push(Audited { at_ns, node: 1, ledger_index, clock_ms: 0, hidden, actuations, actuation_lease, moved });
    }

    /// A row is open at the last index: `(id, reservation, step)` of lease `a`, due and opened at a calendar second.
    pub fn row(&mut self, id: u64, reservation: &str, step: &str, due_s: u64) {
        let due = (super::model::CALENDAR_UNIX_S + due_s) * 1_000;
        let row = json!({"id": id, "lease_id": "a", "reservation_id": reservation, "step": step, "revision": 1, "due": due, "opened_at": due});
        self.audit.last_mut().expect("an index before").actuations.push(row.into());
    }

    /// The whole.
    pub fn record(self) -> Record {
        let mut history = self.history;
        for (n, operation) in history.iter_mut().enumerate() {
            operation.n = n as u64;
            (operation.invoke_ns, operation.return_ns) = (n as u64 * 10, n as u64 * 10 + 5);
        }
        Record {
            plan: Plan::kills(1, 3, 0),
            epoch_ms: super::model::CALENDAR_UNIX_S * 1_000,
            clock_tolerance_ms: 250,
            trace_hash: String::new(),
            history,
            watches: self.watches,
            followed: Vec::new(),
            cloud: self.cloud,
            probes: self.probes,
            audit: self.audit,
            calls: self.calls,
            reads: self.reads,
            rows: Default::default(),
            metered: Vec::new(),
            incidents: self.incidents,
            finals: self.finals,
            findings: Vec::new(),
            weight: None,
        }
    }
}

/// A look at a node, in term 5 at index 10.
pub fn probe(node: u64, at_ns: u64) -> Probe {
    Probe {
        at_ns,
        node,
        life: 1,
        term: 5,
        vote: Some(1),
        vote_committed: false,
        role: "follower".to_owned(),
        last_log_index: Some(10),
        committed_index: Some(10),
        applied_index: Some(10),
        ledger_index: 9,
        state_hash: "h".to_owned(),
        ledger_clock_ms: 1_000,
        wall_ms: 1_000,
        open_actuations: 0,
        voters: vec![1, 2, 3],
        members: vec![1, 2, 3],
        held: Default::default(),
    }
}

/// A node at the end.
pub fn last(node: u64, ledger_index: u64, leases: &[Value]) -> FinalState {
    let leases = leases.iter().map(|lease| (lease["id"].as_str().unwrap_or_default().to_owned(), lease.clone())).collect();
    FinalState { node, ledger_index, state_hash: "h".to_owned(), leases, hosts: Default::default(), actuations: Vec::new() }
}

/// A line of the cloud with one change on host h, by node 1; milliseconds after the run's start.
pub fn line(n: u64, at_ms: u64, what: &str, id: &str, facts: Value) -> CloudLine {
    CloudLine {
        n,
        at_ms: super::model::CALENDAR_UNIX_S * 1_000 + at_ms,
        kind: leasehold_cloudsim::Kind::Request,
        of: None,
        received_at: None,
        applied_at: None,
        answered: None,
        service: String::new(),
        method: String::new(),
        path: String::new(),
        status: 200,
        caller: "node-1".to_owned(),
        user: String::new(),
        global_request_id: format!("req-{n}"),
        request_id: String::new(),
        body: Value::Null,
        fault: None,
        changes: vec![leasehold_cloudsim::Change {
            what: what.to_owned(),
            id: id.to_owned(),
            host: Some("h".to_owned()),
            text: String::new(),
            facts,
        }],
    }
}

/// A call to Nova by node 1, one second after the run's start for each number.
pub fn compute(n: u64, method: &str, path: &str, body: Value) -> CloudLine {
    let mut made = line(n, n * 1_000, "", "", Value::Null);
    made.changes.clear();
    (made.service, made.method, made.path, made.body) = ("compute".to_owned(), method.to_owned(), path.to_owned(), body);
    made
}

/// The call of a line as it left its node.
pub fn sent(n: u64, node: u64, at_ns: u64) -> Call {
    Call { at_ns, node, life: 1, global_request_id: format!("req-{n}"), ..Call::default() }
}

/// Something that happened.
pub fn incident(node: Option<u64>, at_ns: u64, what: &str, text: &str) -> Incident {
    Incident { at_ns, node, what: what.to_owned(), text: text.to_owned(), fault: None }
}

/// The fault at this place in the plan happened, or was left out.
pub fn of_fault(fault: u64, at_ns: u64, what: &str) -> Incident {
    Incident { fault: Some(fault), ..incident(None, at_ns, what, "") }
}

/// A node begins to lead.
pub fn leads(node: u64, term: u64, at_ns: u64) -> Incident {
    incident(Some(node), at_ns, "leads", &format!("term {term}"))
}
