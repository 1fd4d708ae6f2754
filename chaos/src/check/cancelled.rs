//! A3: after a deletion was acknowledged nobody sends a call that opens anything of the lease.

use std::collections::BTreeMap;

use super::cloud::{Cloud, opens, sendings};
use super::{Judgement, Sheet};
use crate::history::Ending;
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut of_lease: BTreeMap<&str, &str> = BTreeMap::new();
    for lease in record.watches.iter().map(|line| &line.change["lease"]) {
        for one in lease["reservations"].as_array().into_iter().flatten() {
            if let (Some(reservation), Some(lease)) = (one["id"].as_str(), lease["id"].as_str()) {
                of_lease.insert(reservation, lease);
            }
        }
    }
    let gone: BTreeMap<&str, (u64, u64)> = record
        .history
        .iter()
        .filter(|operation| operation.op == "delete" && operation.ending == Ending::Ok)
        .filter_map(|operation| Some((operation.body["request"]["lease_id"].as_str()?, (operation.return_ns, operation.n))))
        .collect();
    let sent = sendings(record);
    let mut cloud = Cloud::default();
    for line in &record.cloud {
        for change in &line.changes {
            let opened = opens(&cloud, line, change);
            cloud.follow(line, change);
            let Some(reservation) = opened else { continue };
            let lease = of_lease.get(reservation.as_str());
            let Some(call) = sent.get(line.global_request_id.as_str()) else {
                sheet.unknown(format!("line {}: nobody is known to have sent it", line.n));
                continue;
            };
            sheet.look();
            if let Some((returned, n)) = lease.and_then(|lease| gone.get(lease))
                && call.at_ns > *returned
            {
                sheet.violation(format!(
                    "line {}: {} of reservation {reservation} was sent by node {} at {} ns, its lease's deletion was acknowledged at {returned} ns (operation {n})",
                    line.n, change.what, call.node, call.at_ns
                ));
            }
        }
    }
    sheet.close("A3")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, line, operation, sent};
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    fn opened(sent_ns: u64) -> Judgement {
        let mut made = Made::default();
        made.watch(2, json!({"lease": lease("a", 100, 200, &[(1, 1)])}));
        made.history.push(operation("delete", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        made.cloud = vec![line(1, 0, "flavor.access_added", "r-a", json!({}))];
        made.calls = vec![sent(1, 1, sent_ns)];
        judge(&made.record())
    }

    #[test]
    fn a_call_in_flight_passes_and_one_sent_after_the_answer_fires() {
        assert_eq!(opened(4).verdict, Verdict::Pass);
        assert_eq!(opened(6).verdict, Verdict::Violation);
    }
}
