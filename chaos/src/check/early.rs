//! A1: nothing is opened before the time that the ledger recorded for it, in true time, less the tolerance of clocks.

use std::collections::BTreeMap;

use super::cloud::{Cloud, opens};
use super::model::CALENDAR_UNIX_S;
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// What clocks drift between two looks, beside their tolerance, milliseconds.
const DRIFT_MS: u64 = 250;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut replay = Replay::new(record);
    let mut cloud = Cloud::default();
    let mut opening: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let tolerance = record.clock_tolerance_ms + DRIFT_MS;
    for line in &record.cloud {
        let at_ns = (line.at_ms.saturating_sub(record.epoch_ms) + 1) * 1_000_000;
        replay.go(replay.applied_by(at_ns));
        let news = replay.news();
        let model = replay.model();
        for lease in news.iter().flat_map(|id| [model.leases.get(id), model.hidden.get(id)]).flatten() {
            for one in &lease.reservations {
                let from = one.staging.map_or(lease.start, |staging| staging.window.start.min(lease.start));
                opening.insert(one.id.clone(), (lease.id.clone(), (u64::from(from) + CALENDAR_UNIX_S) * 1_000));
            }
        }
        for change in &line.changes {
            if let Some(reservation) = opens(&cloud, line, change) {
                match opening.get(&reservation) {
                    None => {
                        sheet.violation(format!("line {}: {} opens {reservation}, which was never booked", line.n, line.caller))
                    }
                    Some((lease, from)) => sheet.must(line.at_ms + tolerance >= *from, || {
                        let early = from - line.at_ms;
                        format!("line {}: {} ({}) opens lease {lease} {early} ms too early", line.n, change.what, line.caller)
                    }),
                }
            }
            cloud.follow(line, change);
        }
    }
    sheet.close("A1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, line};
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    fn opened(at_s: u64, what: &str, facts: serde_json::Value) -> Judgement {
        let mut made = Made::default();
        made.watch(2, json!({"lease": lease("a", 100, 200, &[(1, 1)])}));
        made.audit_at(2, 0, &[]);
        made.cloud = vec![line(1, at_s * 1_000, what, "r-a", facts)];
        judge(&made.record())
    }

    #[test]
    fn on_time_passes_and_too_early_fires() {
        assert_eq!(opened(100, "flavor.access_added", json!({})).verdict, Verdict::Pass);
        let judgement = opened(99, "flavor.access_added", json!({}));
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("1000 ms too early"), "{judgement:?}");
        let tokens = json!({"class": "CUSTOM_RESERVATION_R_A", "total": 1, "reserved": 0});
        assert_eq!(opened(99, "inventory.set", tokens).verdict, Verdict::Violation);
        let closed = json!({"class": "CUSTOM_RESERVATION_R_A", "total": 1, "reserved": 1});
        assert_eq!(opened(99, "inventory.set", closed).verdict, Verdict::Pass);
        let woken = json!({"action": "unshelve", "flavor_id": "r-a"});
        assert_eq!(opened(99, "server.accepted", woken.clone()).verdict, Verdict::Violation);
        assert_eq!(opened(101, "server.accepted", woken).verdict, Verdict::Pass);
    }

    #[test]
    fn what_was_never_booked_is_never_opened() {
        let cloud = vec![line(1, 100_000, "flavor.access_added", "r-x", json!({}))];
        let made = Made { cloud, ..Made::default() };
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
    }
}
