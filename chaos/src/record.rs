//! What a run left behind: all that the checkers judge by, and nothing else.
//!
//! True time everywhere: nanoseconds after the run's start ([`Record::epoch_ms`] is that instant as Unix time). The lines of
//! the cloud are the simulated cloud's own, in Unix milliseconds. Values of the product stand here as JSON, as its own
//! serialisation writes them, so that the checkers need none of its types:
//!
//! - `Operation.body` of the history is `{"request": …, "reply": …, "attempts": [{"node", "invoke_ns", "return_ns",
//!   "answer"}]}`. `request` by `op`: `create` has `{"wish": LeaseWish, "valid_until_ms"}`, `update`
//!   `{"lease_id", "change": LeaseChange, "valid_until_ms"}`, `claim`, `delete` and `get` `{"lease_id"}`, `list` and
//!   `offers` (a list of those that nobody has claimed) and `waiting` (of what waits for room) `{}`. `reply` is the lease, the digests of the listed leases ([`Record::listed`]), or null; of a failure `{"error": text, "kind": …}` (see [`Refusal`]).
//!   The actor's project is `request.project_id`; `body.number` is the client's own count of its operations (`Sim.operations`).
//!   Of what the ledger rejected, `rejection` is it. At the wire level an attempt also has its `door` (`rest`, `grpc`, `library`),
//!   and a lease is told as far as that door tells it.
//! - `repeat` asks for an operation that ended once more, with its old key, and `look_up` asks what that key holds: `body.of` is
//!   its number, `body.reply` and `body.resolved` (also `"pending"`) as below. A repeat has the first one's `request`.
//! - An operation whose ending was unclear is looked up by its key once everything is healed:
//!   `body.resolved` is then `{"applied": {"lease_id", "rejection", "ledger_index"}}`, `"never"`, `"expired"` or, where
//!   even that was unclear, absent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod calls;

pub use calls::{Call, CallEnd, Reads};
pub use leasehold_cloudsim::Record as CloudLine;

use crate::history::{self, Operation};
use crate::plan::Plan;

/// Everything a run left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was to happen.
    pub plan: Plan,
    /// Unix milliseconds of the run's start.
    pub epoch_ms: u64,
    /// How far a node's clock may be off while it acts, milliseconds.
    pub clock_tolerance_ms: u64,
    /// Hash over every frame, ack and fault with its time: equal seeds, equal hashes.
    pub trace_hash: String,
    /// What clients did and saw, by invocation.
    pub history: Vec<Operation>,
    /// What subscriptions delivered, in the order of delivery.
    pub watches: Vec<Watched>,
    /// What the client library's watch told one project, at the wire level.
    pub followed: Vec<Followed>,
    /// What was asked of the cloud and what changed in it.
    pub cloud: Vec<CloudLine>,
    /// Nodes over time.
    pub probes: Vec<Probe>,
    /// Each index of the ledger when it was first seen applied.
    #[serde(default)]
    pub audit: Vec<Audited>,
    /// Calls to the cloud when they left their node.
    #[serde(default)]
    pub calls: Vec<Call>,
    /// How much nodes read in the cloud, by second and node.
    #[serde(default)]
    pub reads: Vec<Reads>,
    /// Leases as lists showed them, by digest.
    #[serde(default)]
    pub rows: BTreeMap<String, Value>,
    /// How long small writes took, where that is measured.
    #[serde(default)]
    pub metered: Vec<Metered>,
    /// What really happened, faults and phases, by time.
    pub incidents: Vec<Incident>,
    /// Each node at the end; those that did not run are missing.
    pub finals: Vec<FinalState>,
    /// What the run itself found wrong, as it went.
    pub findings: Vec<Finding>,
    /// What it left in memory, if it was weighed.
    #[serde(default)]
    pub weight: Option<Weight>,
}

/// What a run left in memory when everything of it was gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Bytes.
    pub left_bytes: i64,
    /// How often somebody began to lead.
    pub elections: u64,
}

/// Why an operation failed, in one word: what `body.reply.kind` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The ledger refused it.
    Rejected,
    /// No room at the index that the operation carries; nothing is stored under the key.
    NoRoom,
    /// Placement refused what was booked.
    HoldRefused,
    /// Booked, not prepared in time, withdrawn.
    Withdrawn,
    /// Not allowed.
    Forbidden,
    /// Not proposed: no leader, no quorum, clocks, too busy, the node is down.
    Unavailable,
    /// Nobody knows.
    Unknown,
}

/// One change as a watch of the client library gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// When.
    pub at_ns: u64,
    /// A number of its own for each watch.
    pub watch: u32,
    /// Where it began.
    pub after: u64,
    /// Whose leases.
    pub project_id: String,
    /// `None`: the journal did not reach back so far.
    pub index: Option<u64>,
    /// `{"lease": …}` as far as it is told, or `{"lease_removed": id}`.
    pub change: Value,
}

/// One change as a subscription delivered it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// When.
    pub at_ns: u64,
    /// Which client.
    pub client: u32,
    /// A number of its own for each subscription: a resumed one is another.
    pub subscription: u32,
    /// From which node.
    pub node: u64,
    /// What it was opened after.
    pub after: u64,
    /// Index of the change; `None`: the subscription ended, `change` tells why.
    pub index: Option<u64>,
    /// `{"lease": Lease}`, `{"lease_removed": id}`, `{"host": Host}`, `{"host_removed": id}` or the error's text.
    pub change: Value,
}

/// One node at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When.
    pub at_ns: u64,
    /// Which node.
    pub node: u64,
    /// Its starts so far, from 1: what is only in memory may go back when this rises.
    pub life: u32,
    /// Raft term.
    pub term: u64,
    /// Voted for, or followed.
    pub vote: Option<u64>,
    /// Whether that is whom the term elected, as the node knows.
    pub vote_committed: bool,
    /// `leader`, `follower`, `candidate`, `learner`, `shutdown`.
    pub role: String,
    /// Last index in its log.
    pub last_log_index: Option<u64>,
    /// Committed as it knows.
    pub committed_index: Option<u64>,
    /// Applied.
    pub applied_index: Option<u64>,
    /// Commands applied.
    pub ledger_index: u64,
    /// State hash at `ledger_index`.
    pub state_hash: String,
    /// The ledger's clock, Unix milliseconds.
    pub ledger_clock_ms: u64,
    /// This node's wall clock, Unix milliseconds.
    pub wall_ms: u64,
    /// Open rows.
    pub open_actuations: u64,
    /// Voters as it knows them.
    pub voters: Vec<u64>,
    /// All members as it knows them; older records have none.
    #[serde(default)]
    pub members: Vec<u64>,
    /// What it holds: log entries, tasks, queues.
    #[serde(default)]
    pub held: BTreeMap<String, u64>,
}

/// The ledger when an index was first seen applied: what no subscription tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audited {
    /// When.
    pub at_ns: u64,
    /// By which node.
    pub node: u64,
    /// Commands applied.
    pub ledger_index: u64,
    /// The ledger's clock, Unix milliseconds.
    pub clock_ms: u64,
    /// Leases that users do not see, by id: being created, or deleted and not yet confirmed.
    pub hidden: BTreeMap<String, Arc<Value>>,
    /// Open rows.
    pub actuations: Vec<Arc<Value>>,
    /// Who may send calls that nothing fences: `{"node_id", "term"}`; null before anybody took that right.
    #[serde(default)]
    pub actuation_lease: Value,
    /// Visible leases whose status or events were others at the last index before that was seen:
    /// `{"status", "events": [[kind, status]]}` by id, null for those that users do not see any more.
    #[serde(default)]
    pub moved: BTreeMap<String, Value>,
}

/// One small write, measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// When it was asked for.
    pub at_ns: u64,
    /// How long until the answer.
    pub took_ns: u64,
    /// On which node; 0: nobody led.
    pub node: u64,
    /// One of many asked for at once.
    pub burst: bool,
    /// What was said.
    pub answer: Answered,
}

/// How a small write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Done.
    Ok,
    /// Certainly not done: nobody led, or there was too much to do.
    Refused,
    /// It may have been done.
    Unknown,
    /// No answer came.
    Never,
}

/// Something that happened to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When.
    pub at_ns: u64,
    /// Which node, if one.
    pub node: Option<u64>,
    /// `phase`, `start`, `crash`, `ended`, `pause`, `resume`, `link`, `clock`, `disk`, `cloud`, `transfer`, `leads`, `tenant`,
    /// `members` (a change of the cluster), `hosts` (what an operator does with one), `lost` and `damaged` (what a node keeps: `everything`, `log` or `state`, then how),
    /// `point` (a node ends at a named point), `power` (several at once), `happens` (a fault whose doing is told in other words),
    /// `skipped` (a fault beyond the budget, or with nothing to do).
    pub what: String,
    /// More.
    pub text: String,
    /// The place in the plan of the fault that this is the happening of, or the leaving out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
}

/// A node at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalState {
    /// Which node.
    pub node: u64,
    /// Commands applied.
    pub ledger_index: u64,
    /// State hash.
    pub state_hash: String,
    /// All leases, hidden ones too, by id.
    pub leases: BTreeMap<String, Value>,
    /// All hosts by id.
    pub hosts: BTreeMap<String, Value>,
    /// Open rows.
    pub actuations: Vec<Value>,
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// When.
    pub at_ns: u64,
    /// Which property, as `H1`, `S1`, `A1`, `V2` (chaos-design §7).
    pub check: String,
    /// What was seen.
    pub text: String,
}

/// The record's parts as files, so that large ones are written line by line.
const LINES: [&str; 6] = ["history.jsonl", "watches.jsonl", "cloud.jsonl", "probes.jsonl", "audit.jsonl", "calls.jsonl"];
/// A part of its own: older records have none.
const METERED: &str = "metered.jsonl";
/// What was read; older records have none.
const READS: &str = "reads.jsonl";
/// Another one.
const FOLLOWED: &str = "followed.jsonl";

/// Lines of digest and lease; older records have none.
const ROWS: &str = "rows.jsonl";

/// All that is small.
#[derive(Serialize, Deserialize)]
struct Rest {
    plan: Plan,
    epoch_ms: u64,
    clock_tolerance_ms: u64,
    trace_hash: String,
    incidents: Vec<Incident>,
    finals: Vec<FinalState>,
    findings: Vec<Finding>,
    #[serde(default)]
    weight: Option<Weight>,
}

impl Record {
    /// When a phase began whose text begins so, milliseconds since 1970.
    pub fn phase_ms(&self, text: &str) -> Option<u64> {
        let phase = self.incidents.iter().find(|incident| incident.what == "phase" && incident.text.starts_with(text));
        phase.map(|phase| self.epoch_ms + phase.at_ns / 1_000_000)
    }

    /// When everything was healed, milliseconds since 1970; `None`: it never was.
    pub fn healed_ms(&self) -> Option<u64> {
        self.phase_ms(crate::sim::HEALED)
    }

    /// When the run was over, milliseconds since 1970.
    pub fn over_ms(&self) -> u64 {
        self.incidents.last().map_or(0, |last| self.epoch_ms + last.at_ns / 1_000_000)
    }

    /// The leases that a list showed; older records have them in the reply itself. `None`: it is no list, or a row is missing.
    pub fn listed<'a>(&'a self, operation: &'a Operation) -> Option<Vec<&'a Value>> {
        let row = |shown: &'a Value| match shown {
            Value::String(digest) => self.rows.get(digest),
            lease => Some(lease),
        };
        operation.body["reply"].as_array()?.iter().map(row).collect()
    }

    /// Writes the record into a folder, which is made.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), history::Error> {
        fs::create_dir_all(folder)?;
        let [operations, watches, cloud, probes, audit, calls] = LINES.map(|name| folder.join(name));
        let mut file = BufWriter::new(fs::File::create(operations)?);
        for operation in &self.history {
            history::append(&mut file, operation)?;
        }
        file.flush()?;
        write_lines(&watches, &self.watches)?;
        write_lines(&cloud, &self.cloud)?;
        write_lines(&probes, &self.probes)?;
        write_lines(&audit, &self.audit)?;
        write_lines(&calls, &self.calls)?;
        write_lines(&folder.join(ROWS), &self.rows.iter().collect::<Vec<_>>())?;
        write_lines(&folder.join(METERED), &self.metered)?;
        write_lines(&folder.join(READS), &self.reads)?;
        write_lines(&folder.join(FOLLOWED), &self.followed)?;
        let rest = Rest {
            plan: self.plan.clone(),
            epoch_ms: self.epoch_ms,
            clock_tolerance_ms: self.clock_tolerance_ms,
            trace_hash: self.trace_hash.clone(),
            incidents: self.incidents.clone(),
            finals: self.finals.clone(),
            findings: self.findings.clone(),
            weight: self.weight,
        };
        let text = serde_json::to_vec_pretty(&rest).map_err(io::Error::from)?;
        Ok(fs::write(folder.join("run.json"), text)?)
    }

    /// Reads what [`save`](Self::save) wrote, so that an old run can be judged again.
    ///
    /// # Errors
    /// When a file is missing or does not read.
    pub fn load(folder: &Path) -> Result<Record, history::Error> {
        let [operations, watches, cloud, probes, audit, calls] = LINES.map(|name| folder.join(name));
        let rest: Rest = serde_json::from_slice(&fs::read(folder.join("run.json"))?).map_err(io::Error::from)?;
        Ok(Record {
            plan: rest.plan,
            epoch_ms: rest.epoch_ms,
            clock_tolerance_ms: rest.clock_tolerance_ms,
            trace_hash: rest.trace_hash,
            history: history::read(BufReader::new(fs::File::open(operations)?))?,
            watches: read_lines(&watches)?,
            followed: if folder.join(FOLLOWED).exists() { read_lines(&folder.join(FOLLOWED))? } else { Vec::new() },
            cloud: read_lines(&cloud)?,
            probes: read_lines(&probes)?,
            audit: read_lines(&audit)?,
            calls: read_lines(&calls)?,
            reads: if folder.join(READS).exists() { read_lines(&folder.join(READS))? } else { Vec::new() },
            rows: if folder.join(ROWS).exists() {
                read_lines(&folder.join(ROWS))?.into_iter().collect()
            } else {
                BTreeMap::new()
            },
            metered: if folder.join(METERED).exists() { read_lines(&folder.join(METERED))? } else { Vec::new() },
            incidents: rest.incidents,
            finals: rest.finals,
            findings: rest.findings,
            weight: rest.weight,
        })
    }
}

fn write_lines<T: Serialize>(path: &Path, lines: &[T]) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn read_lines<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Vec<T>> {
    let text = fs::read_to_string(path)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}
