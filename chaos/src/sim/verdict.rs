//! What can be judged at once; the full checks read the record.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Ending, Operation};
use crate::record::{CloudLine, FinalState};
use crate::sim::trace::Trace;

/// How much too early a call may be: the tolerance of the clocks, and what they drift between two looks.
const EARLY_MS: u64 = 500;

/// Looks at a run that is over.
pub fn judge(trace: &Trace, history: &[Operation], cloud: &[CloudLine], finals: &[FinalState]) {
    one_state(trace, finals);
    kept(trace, history, finals);
    woken_once(trace, cloud, finals);
}

/// H1 at rest: the same index has the same hash everywhere.
fn one_state(trace: &Trace, finals: &[FinalState]) {
    let mut hashes: BTreeMap<u64, &FinalState> = BTreeMap::new();
    for state in finals {
        let first = *hashes.entry(state.ledger_index).or_insert(state);
        if first.state_hash != state.state_hash {
            let (index, one, other) = (state.ledger_index, first.node, state.node);
            trace.finding("H1", format!("at rest at index {index} nodes {one} and {other} differ"));
        }
    }
}

/// S1: what was acknowledged is there.
fn kept(trace: &Trace, history: &[Operation], finals: &[FinalState]) {
    let deleted: BTreeSet<&str> = history
        .iter()
        .filter(|operation| operation.op == "delete" && operation.ending != Ending::Fail)
        .filter_map(|operation| operation.body["request"]["lease_id"].as_str())
        .collect();
    for operation in history.iter().filter(|operation| operation.op == "create") {
        let lease = match operation.ending {
            Ending::Ok => operation.body["reply"]["id"].as_str(),
            Ending::Info => {
                let applied = &operation.body["resolved"]["applied"];
                applied["lease_id"].as_str()
            }
            Ending::Fail => None,
        };
        let Some(lease) = lease.filter(|lease| !deleted.contains(lease)) else { continue };
        for state in finals.iter().filter(|state| !state.leases.contains_key(lease)) {
            let (n, node) = (operation.n, state.node);
            trace.finding("S1", format!("operation {n}: lease {lease} was acknowledged, node {node} has it not"));
        }
    }
}

/// A1, A5: no staged server wakes before its lease starts, and none twice without having been parked in between.
fn woken_once(trace: &Trace, cloud: &[CloudLine], finals: &[FinalState]) {
    let Some(state) = finals.first() else { return };
    let mut starts = BTreeMap::new();
    for lease in state.leases.values() {
        let Some(start) = lease["start"].as_u64() else { continue };
        for reservation in lease["reservations"].as_array().into_iter().flatten() {
            if let Some(id) = reservation["id"].as_str() {
                starts.insert(id.to_owned(), (start + leasehold_ledger::model::LEDGER_EPOCH_UNIX_S) * 1_000);
            }
        }
    }
    let mut awake: BTreeSet<String> = BTreeSet::new();
    for line in cloud {
        for change in &line.changes {
            match change.what.as_str() {
                "server.shelved_offloaded" => {
                    awake.remove(&change.id);
                }
                "server.active" if change.facts["action"] == "unshelve" => {
                    if !awake.insert(change.id.clone()) {
                        trace.finding("A5", format!("line {}: server {} woke twice", line.n, change.id));
                    }
                    let flavor = change.facts["flavor_id"].as_str().unwrap_or_default();
                    if let Some(start) = starts.get(flavor)
                        && line.at_ms + EARLY_MS < *start
                    {
                        let early = start - line.at_ms;
                        trace.finding("A1", format!("line {}: server {} woke {early} ms too early", line.n, change.id));
                    }
                }
                _ => {}
            }
        }
    }
}
