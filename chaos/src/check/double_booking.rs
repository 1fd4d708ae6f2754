//! L1: at no index and at no instant from then on is more of a host booked than there is.

use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut replay = Replay::new(record);
    let mut indices = replay.indices();
    indices.extend(record.audit.iter().map(|one| one.ledger_index));
    indices.sort_unstable();
    indices.dedup();
    for index in indices {
        let clock = replay.clock_by_s(index);
        let over = replay.go(index).double_booked(clock);
        sheet.must(over.is_empty(), || format!("at index {index}: {}", over.join("; ")));
    }
    for text in replay.unreadable {
        sheet.unknown(format!("the model does not read a change: {text}"));
    }
    sheet.close("L1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::Made;
    use super::*;
    use crate::check::model::CALENDAR_UNIX_S;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    fn made() -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.watch(2, json!({"lease": lease("a", 100, 200, &[(1, 3)])}));
        made
    }

    #[test]
    fn a_host_that_goes_while_it_is_booked_fires() {
        let mut made = made();
        made.watch(3, json!({"host_removed": 1}));
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
        let mut over = self::made();
        over.watch(3, json!({"lease_removed": "a"}));
        over.watch(4, json!({"host_removed": 1}));
        assert_eq!(judge(&over.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn back_to_back_passes() {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 200, 300, &[(1, 4)])}));
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }

    /// `a` is over at 200; `b` is booked from 190 on at index 3, which nobody saw, and somebody sees index 4 at a second.
    fn grown_beside(seen_s: u64) -> Made {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 190, 300, &[(1, 2)])}));
        for (index, at_s) in [(2, 195), (4, seen_s)] {
            made.audit_at(index, at_s * 1_000_000_000, &[]);
            made.audit.last_mut().expect("it was pushed").clock_ms = (CALENDAR_UNIX_S + at_s) * 1_000;
        }
        made
    }

    #[test]
    fn what_was_over_when_somebody_looked_next_is_in_nobodys_way() {
        assert_eq!(judge(&grown_beside(200).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&grown_beside(199).record()).verdict, Verdict::Violation);
    }

    #[test]
    fn two_leases_on_one_slot_fire() {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 150, 300, &[(1, 2)])}));
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("at index 3") && judgement.evidence[0].contains("second 150"), "{judgement:?}");
    }

    #[test]
    fn a_booking_that_nobody_sees_counts() {
        let mut made = made();
        let mut hidden = lease("b", 150, 300, &[(1, 2)]);
        hidden["status"] = json!("CREATING");
        made.audit_at(3, 0, &[hidden]);
        assert_eq!(judge(&made.record()).verdict, Verdict::Violation);
    }

    #[test]
    fn what_lies_before_the_ledgers_clock_is_over() {
        let mut made = made();
        made.watch(3, json!({"lease": lease("b", 150, 300, &[(1, 2)])}));
        made.audit_at(3, 0, &[]);
        made.audit[0].clock_ms = (crate::check::model::CALENDAR_UNIX_S + 200) * 1_000;
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }
}
