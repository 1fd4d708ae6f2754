//! A2: once everything is healed, every row is settled in time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Judgement, Sheet};
use crate::record::Record;

/// 30 s (chaos-design §7), and what the simulated cloud itself takes for the slowest step: parking, an image, a deletion.
const LIMIT_MS: u64 = 60_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let healed = record.incidents.iter().find(|incident| incident.what == "phase" && incident.text == "everything is healed");
    let Some(healed) = healed else {
        sheet.unknown("the run was never healed");
        return sheet.close("A2");
    };
    let healed_ms = record.epoch_ms + healed.at_ns / 1_000_000;
    // Rows in the order of the ledger: a row is settled at the first index without it.
    let mut audit: Vec<_> = record.audit.iter().collect();
    audit.sort_by_key(|one| one.ledger_index);
    let mut open: BTreeMap<u64, &Value> = BTreeMap::new();
    for one in audit {
        let now: BTreeMap<u64, &Value> = one.actuations.iter().filter_map(|row| Some((row["id"].as_u64()?, row))).collect();
        let at_ms = record.epoch_ms + one.at_ns / 1_000_000;
        for (id, row) in open.iter().filter(|(id, _)| !now.contains_key(id)) {
            settled(*id, row, healed_ms, at_ms, &mut sheet);
        }
        open = now;
    }
    let over_ms = record.incidents.last().map_or(0, |last| record.epoch_ms + last.at_ns / 1_000_000);
    for (id, row) in open {
        settled(id, row, healed_ms, over_ms, &mut sheet);
    }
    sheet.close("A2")
}

fn settled(id: u64, row: &Value, healed_ms: u64, at_ms: u64, sheet: &mut Sheet) {
    let due = |name: &str| row[name].as_u64().unwrap_or(0);
    let from = due("due").max(due("opened_at")).max(healed_ms);
    sheet.must(at_ms <= from + LIMIT_MS, || {
        format!("row {id} ({} of lease {}) took {} ms from when it could be done", row["step"], row["lease_id"], at_ms - from)
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, incident};
    use super::*;
    use crate::check::model::CALENDAR_UNIX_S;
    use crate::report::Verdict;

    /// A row due at second 100, gone at a second; all is healed at a second.
    fn row(healed_s: u64, gone_s: u64) -> Verdict {
        let mut made = Made::default();
        let due = (CALENDAR_UNIX_S + 100) * 1_000;
        made.incidents = vec![incident(None, healed_s * 1_000_000_000, "phase", "everything is healed")];
        made.audit_at(2, 100_000_000_000, &[]);
        made.audit_at(3, gone_s * 1_000_000_000, &[]);
        made.audit[0].actuations = vec![json!({"id": 1, "step": "start", "lease_id": "a", "due": due, "opened_at": due})];
        judge(&made.record()).verdict
    }

    #[test]
    fn in_time_passes_late_fires_and_time_counts_from_the_healing() {
        assert_eq!(row(0, 130), Verdict::Pass);
        assert_eq!(row(0, 161), Verdict::Violation);
        assert_eq!(row(150, 200), Verdict::Pass);
        assert_eq!(row(150, 211), Verdict::Violation);
    }

    #[test]
    fn without_healing_nothing_is_known() {
        assert_eq!(judge(&Made::default().record()).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_row_that_is_never_settled_fires() {
        let mut made = Made::default();
        made.audit_at(2, 0, &[]);
        made.audit[0].actuations = vec![json!({"id": 1, "due": 0, "opened_at": 0})];
        made.incidents =
            vec![incident(None, 0, "phase", "everything is healed"), incident(None, 61_000_000_000, "phase", "over")];
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
    }
}
