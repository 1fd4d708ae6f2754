//! What a run says in the end: a verdict, and `report.json` beside the record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::around::{self, Around};
use crate::check::{self, Board};
use crate::coverage::Coverage;
use crate::history::Ending;
use crate::hours::{self, Hour};
use crate::plan::Plan;
use crate::record::{Finding, Record};

/// The worst of all checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    Pass,
    /// Something was not decided.
    Unknown,
    /// A property did not hold.
    Violation,
    /// The harness itself failed: nothing is known of the product.
    HarnessFailure,
}

impl Verdict {
    /// The exit code of a run with this verdict; 3 is a failure of the harness, 64 a wrong command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Violation => 1,
            Verdict::Unknown => 2,
            Verdict::HarnessFailure => 3,
        }
    }
}

/// `report.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of this file's shape.
    pub version: u32,
    /// The worst of all checks.
    pub verdict: Verdict,
    /// Where all of it came from.
    pub seed: u64,
    /// The command that does it again.
    pub replay: String,
    /// Equal seeds, equal hashes.
    pub trace_hash: String,
    /// Simulated seconds.
    pub simulated_s: f64,
    /// Processor seconds it took, judging included.
    pub cpu_s: f64,
    /// How fast it was; 0 where that is not known ([`cluster_hours_per_cpu_minute`]).
    #[serde(default)]
    pub cluster_hours_per_cpu_minute: f64,
    /// Operations by kind and ending.
    pub operations: BTreeMap<String, u64>,
    /// Incidents by kind.
    pub incidents: BTreeMap<String, u64>,
    /// Operations whose outcome stayed unknown.
    pub unresolved: u64,
    /// What it got to.
    #[serde(default)]
    pub coverage: Coverage,
    /// What each whole hour of faults had of what every hour must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<Hour>,
    /// What clients saw before, during and after faults, by their kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub around: BTreeMap<String, Around>,
    /// What the checkers say.
    #[serde(default)]
    pub board: Board,
    /// What did not hold as the run went.
    pub findings: Vec<Finding>,
    /// What was to happen.
    pub plan: Plan,
}

/// Simulated hours of one cluster for each minute of processor time; 0 for no processor time.
pub fn cluster_hours_per_cpu_minute(simulated_s: f64, cpu_s: f64) -> f64 {
    if cpu_s > 0.0 { simulated_s / cpu_s / 60.0 } else { 0.0 }
}

impl Report {
    /// Sets what the run took in all.
    pub fn took(&mut self, cpu_s: f64) {
        self.cpu_s = cpu_s;
        self.cluster_hours_per_cpu_minute = cluster_hours_per_cpu_minute(self.simulated_s, cpu_s);
    }

    /// The checkers that found something, the earliest finding of the run itself first, then in the order of the board.
    pub fn failed(&self) -> Vec<String> {
        let mut found: Vec<(u64, &String)> = self.findings.iter().map(|finding| (finding.at_ns, &finding.check)).collect();
        found.sort_by_key(|(at_ns, _)| *at_ns);
        let violated = self.board.judgements.iter().filter(|one| one.verdict == Verdict::Violation);
        let mut failed: Vec<String> = Vec::new();
        for check in found.into_iter().map(|(_, check)| check).chain(violated.map(|one| &one.check)) {
            if !failed.contains(check) {
                failed.push(check.clone());
            }
        }
        failed
    }

    /// Of a record.
    pub fn of(record: &Record, simulated_s: f64, cpu_s: f64) -> Report {
        let mut operations: BTreeMap<String, u64> = BTreeMap::new();
        let mut unresolved = 0;
        for operation in &record.history {
            let ending = match operation.ending {
                Ending::Ok => "ok",
                Ending::Fail => "fail",
                Ending::Info => "info",
            };
            *operations.entry(format!("{} {ending}", operation.op)).or_default() += 1;
            if operation.ending == Ending::Info && operation.key.is_some() && operation.body.get("resolved").is_none() {
                unresolved += 1;
            }
        }
        let mut incidents: BTreeMap<String, u64> = BTreeMap::new();
        for incident in &record.incidents {
            *incidents.entry(incident.what.clone()).or_default() += 1;
        }
        let board = check::judge(record);
        let seen = if !record.findings.is_empty() {
            Verdict::Violation
        } else if unresolved > 0 {
            Verdict::Unknown
        } else {
            Verdict::Pass
        };
        let verdict = seen.max(board.verdict());
        let seconds = record.plan.sim.safety_ms / 1_000;
        Report {
            version: 1,
            verdict,
            seed: record.plan.seed,
            replay: format!("leasehold-chaos run sim --seed {} --seconds {seconds}", record.plan.seed),
            trace_hash: record.trace_hash.clone(),
            simulated_s,
            cpu_s,
            cluster_hours_per_cpu_minute: cluster_hours_per_cpu_minute(simulated_s, cpu_s),
            operations,
            incidents,
            unresolved,
            coverage: Coverage::of(record),
            hours: hours::of(record),
            around: around::of(record),
            board,
            findings: record.findings.clone(),
            plan: record.plan.clone(),
        }
    }
}
