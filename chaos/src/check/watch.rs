//! Subscriptions: in order, without gaps over all resumptions, the same to everybody, and in the end what they told is what
//! is there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut streams: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut told: BTreeMap<(u64, u32), Vec<&Value>> = BTreeMap::new();
    for line in &record.watches {
        let Some(index) = line.index else { continue };
        let number = line.subscription;
        let (last, _) = streams.entry(number).or_insert((line.after, line.node));
        sheet.must(index > line.after, || format!("subscription {number} after {} was told index {index}", line.after));
        sheet.must(index >= *last, || format!("subscription {number} was told index {index} after {last}"));
        *last = index;
        told.entry((index, number)).or_default().push(&line.change);
    }
    // Two that were told of one index were told the same.
    let mut first: BTreeMap<u64, (u32, &Vec<&Value>)> = BTreeMap::new();
    for ((index, number), changes) in &told {
        let (other, known) = *first.entry(*index).or_insert((*number, changes));
        sheet.must(known == changes, || format!("index {index} was told otherwise to subscriptions {other} and {number}"));
    }
    gaps(record, &streams, &told, &mut sheet);
    agrees(record, &mut sheet);
    sheet.close("watch")
}

/// What one subscription was told inside its span, every other whose span covers it was told too.
fn gaps(record: &Record, streams: &BTreeMap<u32, (u64, u64)>, told: &BTreeMap<(u64, u32), Vec<&Value>>, sheet: &mut Sheet) {
    let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for line in &record.watches {
        let last = streams.get(&line.subscription).map_or(line.after, |(last, _)| *last);
        spans.insert(line.subscription, (line.after, last));
    }
    let mut indices: Vec<u64> = told.keys().map(|(index, _)| *index).collect();
    indices.dedup();
    for (number, (after, last)) in spans {
        for index in indices.iter().filter(|index| after < **index && **index <= last) {
            sheet.must(told.contains_key(&(*index, number)), || format!("subscription {number} was not told of index {index}"));
        }
    }
}

/// The sum of all changes is what the nodes have.
fn agrees(record: &Record, sheet: &mut Sheet) {
    let mut replay = Replay::new(record);
    let Some(end) = replay.indices().last().copied() else { return sheet.unknown("no subscription was told anything") };
    replay.go(end);
    for last in &record.finals {
        let node = last.node;
        let visible = |row: &Value| row["deleted"] != true && row["status"] != "CREATING";
        for (id, row) in last.leases.iter().filter(|(_, row)| visible(row)) {
            match replay.rows().get(id.as_str()) {
                Some(told) => {
                    sheet.must(*told == row, || format!("the last change of lease {id} told is not what node {node} has"))
                }
                None => sheet.violation(format!("lease {id} of node {node} was told to nobody, or as removed")),
            }
        }
        for id in replay.rows().keys().filter(|id| !last.leases.get(**id).is_some_and(visible)) {
            sheet.violation(format!("lease {id} is gone from node {node}, and nobody was told"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, last};
    use super::*;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    fn made() -> Made {
        let mut made = Made::default();
        let a = lease("a", 1, 2, &[(1, 1)]);
        made.watch(1, json!({"host": host(1, 4)}));
        made.watch(2, json!({"lease": a}));
        made.watch(4, json!({"lease": lease("b", 1, 2, &[(1, 1)])}));
        made.watch(5, json!({"lease_removed": "b"}));
        made.finals = vec![last(1, 5, &[a])];
        made
    }

    #[test]
    fn a_good_stream_passes_resumed_too() {
        let mut made = made();
        (2..4).for_each(|line| (made.watches[line].subscription, made.watches[line].after) = (2, 2));
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn disorder_fires_and_what_was_told_before() {
        let mut one = made();
        one.watches.swap(1, 2);
        fires(judge, one, "was told index 2 after 4");
        let mut one = made();
        one.watches[3].after = 5;
        fires(judge, one, "after 5 was told index 5");
    }

    #[test]
    fn a_gap_fires() {
        let mut one = made();
        let mut again = one.watches.clone();
        again.remove(2);
        again.iter_mut().for_each(|line| line.subscription = 2);
        one.watches.extend(again);
        fires(judge, one, "subscription 2 was not told of index 4");
    }

    #[test]
    fn another_truth_for_another_fires() {
        let mut one = made();
        let mut again = one.watches[1].clone();
        (again.subscription, again.change["lease"]["name"]) = (2, json!("other"));
        one.watches.push(again);
        fires(judge, one, "told otherwise");
    }

    #[test]
    fn what_nobody_was_told_fires() {
        let mut one = made();
        one.watches.remove(3);
        fires(judge, one, "nobody was told");
        let mut one = made();
        one.watches.remove(1);
        fires(judge, one, "told to nobody");
        let mut one = made();
        one.watches[1].change["lease"]["name"] = json!("old");
        fires(judge, one, "the last change");
    }
}
