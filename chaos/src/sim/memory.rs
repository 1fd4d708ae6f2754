//! What a run leaves in memory when everything of it is gone: what the product keeps behind its nodes' backs (B1).
//!
//! Nodes of a run share one process, so that a node's own memory cannot be told from another's, or from the harness's. But
//! when all of them are dropped, nothing is to be left. Libraries keep a little from their first use on; so a small run
//! goes first, in a thread of its own.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use cap::Cap;
use mimalloc::MiMalloc;
use serde_json::Value;

use super::{Options, simulate};
use crate::plan::{Fault, Plan, Planned, Sim, Target};
use crate::record::{Record, Weight};

/// A run is a million small allocations of simulated nodes.
#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

fn allocated() -> i64 {
    i64::try_from(ALLOCATOR.allocated()).unwrap_or(i64::MAX)
}

/// Runs a plan and weighs what it leaves.
///
/// # Errors
/// As [`super::run`].
pub(super) fn weighed(plan: &Plan, options: Options) -> Result<Record> {
    let first = small(plan.seed);
    std::thread::spawn(move || simulate(first, Options::default()).map(drop))
        .join()
        .map_err(|_| anyhow!("the run that goes first panicked"))??;
    let before = allocated();
    let (record, runtime) = simulate(plan.clone(), options)?;
    drop(runtime);
    // What the record itself weighs is what its copy adds.
    let with_record = allocated();
    let mut copy = whole(&record);
    let size = allocated() - with_record;
    drop(record);
    let elections = copy.incidents.iter().filter(|incident| incident.what == "leads").count() as u64;
    copy.weight = Some(Weight { left_bytes: allocated() - before - size, elections });
    Ok(copy)
}

/// A copy that has nothing in common with what it is a copy of: rows of many indices are one in memory.
fn whole(record: &Record) -> Record {
    let mut copy = record.clone();
    let rows = copy.audit.iter_mut().flat_map(|one| one.hidden.values_mut().chain(&mut one.actuations));
    rows.for_each(|row| *row = Arc::new(Value::clone(row)));
    copy
}

/// A bit of everything.
fn small(seed: u64) -> Plan {
    let kill = Planned { at_ms: 10_000, fault: Fault::Kill { target: Target::Leader, down_ms: 2_000 } };
    let transfer = Planned { at_ms: 20_000, fault: Fault::Transfer };
    let sim = Sim { safety_ms: 30_000, clients: 3, gap_ms: 2_000, snapshot_entries: 50, keep_entries: 10, ..Sim::default() };
    Plan { seed, nodes: 3, faults: vec![kill, transfer], sim }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::testing::Made;

    #[test]
    fn a_copy_is_as_large_as_what_it_is_a_copy_of() {
        let mut made = Made::default();
        made.audit_at(1, 1, &[json!({"id": "a"})]);
        made.row(1, "r", "start", 100);
        let record = made.record();
        let copy = whole(&record);
        assert_eq!(copy, record);
        let (one, other) = (&copy.audit[0], &record.audit[0]);
        assert!(!Arc::ptr_eq(&one.hidden["a"], &other.hidden["a"]) && !Arc::ptr_eq(&one.actuations[0], &other.actuations[0]));
    }
}
