//! A10: every change of a lease's status and events was told, in order, and nothing else.
//!
//! The product tells them by its watch streams, and has no other notices. At each index at which a node was looked at, what
//! the subscriptions had told up to that index must add up to the status and the events that the ledger had. An index is the
//! id of what was told at it: who is told it again drops it. That one subscription is told in the order of the indices, and
//! all are told the same, is the judgement `watch`.

use serde_json::{Value, json};

use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::{Audited, Record};

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut audit: Vec<&Audited> = record.audit.iter().filter(|look| !look.moved.is_empty()).collect();
    audit.sort_by_key(|look| look.ledger_index);
    let mut replay = Replay::new(record);
    for look in audit {
        let index = look.ledger_index;
        replay.go(index);
        for (id, is) in &look.moved {
            let told = replay.rows().get(id.as_str()).map_or(Value::Null, |lease| standing(lease));
            sheet.must(told == *is, || format!("at index {index} lease {id} is {is}, and told of it was {told}"));
        }
    }
    sheet.close("A10")
}

/// Status and events of a lease as it was told.
fn standing(lease: &Value) -> Value {
    let events: Vec<Value> =
        lease["events"].as_array().into_iter().flatten().map(|event| json!([event["kind"], event["status"]])).collect();
    json!({"status": lease["status"], "events": events})
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, fires};
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    /// Lease `a` is booked at index 1, starts at 2, is active at 3 and removed at 4; all that is told.
    fn made() -> Made {
        let mut made = Made::default();
        for (index, status, start) in [(1, "PENDING", "UNDONE"), (2, "STARTING", "IN_PROGRESS"), (3, "ACTIVE", "DONE")] {
            let mut one = lease("a", 10, 100, &[(1, 1)]);
            (one["status"], one["events"][0]["status"]) = (json!(status), json!(start));
            made.watch(index, json!({"lease": one}));
            made.audit_at(index, index, &[]);
            made.audit[index as usize - 1].moved.insert("a".to_owned(), standing(&one));
        }
        made.watch(4, json!({"lease_removed": "a"}));
        made.audit_at(4, 4, &[]);
        made.audit[3].moved.insert("a".to_owned(), Value::Null);
        made
    }

    #[test]
    fn all_that_is_told_passes() {
        let judgement = judge(&made().record());
        assert_eq!((judgement.verdict, judgement.looked_at), (Verdict::Pass, 4), "{judgement:?}");
    }

    #[test]
    fn what_was_not_told_fires_whatever_it_was() {
        for (missing, said) in [(0, "PENDING"), (1, "STARTING"), (2, "ACTIVE"), (3, "null")] {
            let mut made = made();
            made.watches.remove(missing);
            fires(judge, made, said);
        }
    }

    #[test]
    fn what_was_told_otherwise_or_in_another_order_fires() {
        let mut one = made();
        one.watches[2].change["lease"]["events"][0]["status"] = json!("ERROR");
        fires(judge, one, "ERROR");
        let mut one = made();
        let last = one.watches[2].change.clone();
        one.watches[2].change = std::mem::replace(&mut one.watches[1].change, last);
        fires(judge, one, "at index 2");
    }
}
