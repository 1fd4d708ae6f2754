//! A2: once everything is healed, every row is opened when it is due, and settled in time. An adjustment has time from when no
//! server uses any more what was taken off ([`crowded`]).

use super::rows::{Row, rows};
use super::{Judgement, Sheet, crowded};
use crate::record::Record;

/// Rows are opened by a leader, and there is one so soon after the healing (V2), milliseconds.
const OPEN_MS: u64 = 30_000;
/// The same while nothing has been done to the cluster.
const OPEN_CALM_MS: u64 = 2_000;
/// 30 s (chaos-design §7), and what the simulated cloud itself takes for the slowest step: parking, an image, a deletion.
const LIMIT_MS: u64 = 60_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let Some(healed_ms) = record.healed_ms() else {
        sheet.unknown("the run was never healed");
        return sheet.close("A2");
    };
    // Until something is done to a cluster nothing excuses it.
    let calm_until_ms = if record.plan.faults.is_empty() { record.phase_ms("the core is").unwrap_or(healed_ms) } else { 0 };
    let unix_ms = |at_ns: u64| record.epoch_ms + at_ns / 1_000_000;
    let over_ms = record.over_ms();
    for row in rows(record) {
        // A staging window that begins now is due before its lease has its hold, which takes up to ten seconds.
        let is_calm = row.ms("due") + LIMIT_MS <= calm_until_ms && row.step() != "staging_open";
        let (from_ms, limit_ms) = if is_calm { (0, OPEN_CALM_MS) } else { (healed_ms, OPEN_MS) };
        opened(&row, from_ms, limit_ms, &mut sheet);
        // The first index without it.
        let at_ms = row.gone.map_or(over_ms, |gone| unix_ms(gone.at_ns));
        let mut from = row.ms("due").max(row.ms("opened_at")).max(healed_ms);
        if row.step() == "adjust" && at_ms > from + LIMIT_MS {
            from = from.max(crowded::free_since(record, &row, at_ms).unwrap_or(at_ms));
        }
        settled(&row, from, at_ms, &mut sheet);
    }
    sheet.close("A2")
}

/// The steps of a lease's own times: others are due when they are opened, or were due before the lease was asked for.
fn opened(row: &Row<'_>, healed_ms: u64, limit_ms: u64, sheet: &mut Sheet) {
    if !matches!(row.step(), "staging_open" | "staging_close" | "start" | "expire" | "end") {
        return;
    }
    let (from, at_ms) = (row.ms("due").max(healed_ms), row.ms("opened_at"));
    sheet.must(at_ms <= from + limit_ms, || {
        format!("row {} ({} of lease {}) was opened {} ms after it was due", row.id, row.step(), row.lease(), at_ms - from)
    });
}

fn settled(row: &Row<'_>, from: u64, at_ms: u64, sheet: &mut Sheet) {
    sheet.must(at_ms <= from + LIMIT_MS, || {
        format!("row {} ({} of lease {}) took {} ms from when it could be done", row.id, row.step(), row.lease(), at_ms - from)
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::testing::{Made, fires, incident, line};
    use super::*;
    use crate::check::model::CALENDAR_UNIX_S;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    /// A row due at second 100, gone at a second; all is healed at a second.
    fn row(healed_s: u64, gone_s: u64) -> Verdict {
        let mut made = Made::default();
        let due = (CALENDAR_UNIX_S + 100) * 1_000;
        made.incidents = vec![incident(None, healed_s * 1_000_000_000, "phase", "everything is healed")];
        made.audit_at(2, 100_000_000_000, &[]);
        made.audit_at(3, gone_s * 1_000_000_000, &[]);
        made.audit[0].actuations = vec![json!({"id": 1, "step": "start", "lease_id": "a", "due": due, "opened_at": due}).into()];
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
    fn a_row_that_is_opened_late_fires_counted_from_the_healing_too() {
        let opened = |healed_s: u64, opened_s: u64| {
            let incidents = vec![incident(None, healed_s * 1_000_000_000, "phase", "everything is healed")];
            let mut made = Made { incidents, ..Made::default() };
            made.audit_at(2, opened_s * 1_000_000_000, &[]);
            made.row(1, "r-a", "start", 100);
            Arc::make_mut(&mut made.audit[0].actuations[0])["opened_at"] = json!((CALENDAR_UNIX_S + opened_s) * 1_000);
            made.audit_at(3, (opened_s + 1) * 1_000_000_000, &[]);
            judge(&made.record()).verdict
        };
        assert_eq!(opened(0, 101), Verdict::Pass);
        assert_eq!(opened(0, 131), Verdict::Violation);
        assert_eq!(opened(110, 140), Verdict::Pass);
        assert_eq!(opened(110, 141), Verdict::Violation);
    }

    #[test]
    fn while_nothing_is_done_to_the_cluster_nothing_excuses_it() {
        let late = |faults: bool, opened_s: u64| {
            let phase = |at_s: u64, text| incident(None, at_s * 1_000_000_000, "phase", text);
            let mut made = Made {
                incidents: vec![phase(500, "the core is [1, 2], whole"), phase(600, "everything is healed")],
                ..Made::default()
            };
            made.audit_at(2, opened_s * 1_000_000_000, &[]);
            made.row(1, "r-a", "start", 100);
            Arc::make_mut(&mut made.audit[0].actuations[0])["opened_at"] = json!((CALENDAR_UNIX_S + opened_s) * 1_000);
            made.audit_at(3, (opened_s + 1) * 1_000_000_000, &[]);
            let mut record = made.record();
            record.plan.faults = if faults { crate::plan::Plan::kills(1, 3, 60_000).faults } else { Vec::new() };
            judge(&record).verdict
        };
        assert_eq!(late(false, 102), Verdict::Pass);
        assert_eq!(late(false, 103), Verdict::Violation);
        assert_eq!(late(true, 400), Verdict::Pass);
    }

    /// A row that takes one slot of two off at second 100, and is gone at second 200. Of its two servers one is gone at a
    /// second, if ever.
    fn adjusted(left_s: Option<u64>) -> Made {
        let mut made = Made { incidents: vec![incident(None, 0, "phase", "everything is healed")], ..Made::default() };
        let mut there = host(1, 4);
        there["description"]["hypervisor_hostname"] = json!("h");
        made.watch(1, json!({"host": there}));
        let class = "CUSTOM_RESERVATION_R_A";
        let boot = |n: u64, at_s: u64, id| line(n, at_s * 1_000, "allocation.set", id, json!({"allocations": {"p": {class: 1}}}));
        made.cloud = vec![boot(1, 50, "one"), boot(2, 51, "other")];
        made.cloud.extend(left_s.map(|at_s| line(3, at_s * 1_000, "allocation.removed", "other", json!({}))));
        for (index, at_s, slots) in [(2, 40_u64, 2), (3, 100, 1)] {
            made.watch(index, json!({"lease": lease("a", 30, 300, &[(1, slots)])}));
            made.audit_at(index, at_s * 1_000_000_000, &[]);
        }
        made.row(1, "r-a", "adjust", 100);
        made.audit_at(4, 200_000_000_000, &[]);
        made
    }

    #[test]
    fn an_adjustment_waits_for_its_tenant_and_not_for_the_leader() {
        assert_eq!(judge(&adjusted(None).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&adjusted(Some(150)).record()).verdict, Verdict::Pass);
        fires(judge, adjusted(Some(139)), "took 61000 ms");
        fires(judge, adjusted(Some(90)), "took 100000 ms");
    }

    #[test]
    fn without_healing_nothing_is_known() {
        assert_eq!(judge(&Made::default().record()).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_row_that_is_never_settled_fires() {
        let mut made = Made::default();
        made.audit_at(2, 0, &[]);
        made.audit[0].actuations = vec![json!({"id": 1, "due": 0, "opened_at": 0}).into()];
        made.incidents =
            vec![incident(None, 0, "phase", "everything is healed"), incident(None, 61_000_000_000, "phase", "over")];
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
    }
}
