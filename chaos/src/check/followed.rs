//! The client library's watch at the wire level: every change of its project once, none left out and none twice, on whatever
//! node it goes on when the one that served it is gone.

use std::collections::BTreeMap;

use serde_json::Value;

use super::shown::is_shown;
use super::{Judgement, Sheet};
use crate::record::{Followed, Record};

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let Some(first) = record.followed.first() else { return sheet.close("follow") };
    let there = changes(record, &first.project_id);
    let mut watches: Vec<(u32, u64, Vec<&Followed>)> = Vec::new();
    for line in &record.followed {
        match watches.last_mut().filter(|(number, ..)| *number == line.watch) {
            Some((.., lines)) => lines.push(line),
            None => watches.push((line.watch, line.after, vec![line])),
        }
    }
    let (mut reached, mut forgotten) = (first.after, false);
    for (number, after, lines) in watches {
        sheet.must(after <= reached || forgotten, || format!("watch {number} began after {after}, and {reached} was reached"));
        forgotten = lines.iter().any(|line| line.index.is_none());
        let told = lines.iter().filter_map(|line| Some((line.index?, &line.change)));
        let mut by_index: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        let mut last = after;
        for (index, change) in told {
            sheet.must(index >= last && index > after, || {
                format!("watch {number}, begun after {after}, was told index {index} after {last}")
            });
            last = last.max(index);
            by_index.entry(index).or_default().push(change);
        }
        for (index, rows) in there.range(after + 1..=last.max(after)) {
            let got = by_index.remove(index).unwrap_or_default();
            // The last index may be half told when a watch is given up; the next begins below it.
            let whole = *index == last || got.len() == rows.len();
            sheet.must(whole && are_some_of(record, &got, rows), || {
                format!("watch {number} was told {} of the {} changes at index {index}, or others", got.len(), rows.len())
            });
        }
        for index in by_index.keys() {
            sheet.violation(format!("watch {number} was told of index {index}, at which nothing of its project changed"));
        }
        reached = reached.max(last);
    }
    if let Some((end, _)) = there.last_key_value() {
        sheet.must(reached >= *end, || format!("nothing was told after index {reached}, and the last change is at {end}"));
    }
    sheet.close("follow")
}

/// What changed of a project's leases, by index, as subscriptions of the operations told it.
fn changes<'r>(record: &'r Record, project: &str) -> BTreeMap<u64, Vec<&'r Value>> {
    let mut there: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    // The subscription whose word is taken for an index, and whether a lease is the project's.
    let (mut by, mut own) = (BTreeMap::<u64, u32>::new(), BTreeMap::<&str, bool>::new());
    for line in &record.watches {
        let (Some(index), change) = (line.index, &line.change) else { continue };
        if let Some(id) = change["lease"]["id"].as_str() {
            own.insert(id, change["lease"]["project_id"] == project);
        }
        let id = change["lease"]["id"].as_str().or(change["lease_removed"].as_str());
        let is_own = id.and_then(|id| own.get(id)).is_some_and(|is_own| *is_own);
        if is_own && *by.entry(index).or_insert(line.subscription) == line.subscription {
            there.entry(index).or_default().push(change);
        }
    }
    there
}

/// Whether each of what was told is another one of the changes.
fn are_some_of(record: &Record, told: &[&Value], changes: &[&Value]) -> bool {
    let mut left: Vec<&Value> = changes.to_vec();
    told.iter().all(|one| match left.iter().position(|change| is_shown(record, one, change)) {
        Some(place) => {
            left.remove(place);
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::Made;
    use super::*;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    fn told(watch: u32, after: u64, index: Option<u64>, change: Value) -> Followed {
        Followed { at_ns: 0, watch, after, project_id: "p".to_owned(), index, change }
    }

    /// Lease a is booked at 2 and removed at 4, one of another project's booked at 3.
    fn record(followed: Vec<Followed>) -> Record {
        let mut made = Made::default();
        made.watch(2, json!({"lease": lease("a", 1, 2, &[(1, 1)])}));
        let mut other = lease("b", 1, 2, &[(1, 1)]);
        other["project_id"] = json!("q");
        made.watch(3, json!({"lease": other}));
        made.watch(4, json!({"lease_removed": "a"}));
        let mut record = made.record();
        (record.plan.sim.wire, record.followed) = (true, followed);
        record
    }

    fn says(followed: Vec<Followed>, with: &str) {
        let judgement = judge(&record(followed));
        assert_eq!(judgement.verdict, Verdict::Violation, "{with}: {judgement:?}");
        assert!(judgement.evidence.iter().any(|text| text.contains(with)), "{with}: {judgement:?}");
    }

    #[test]
    fn each_change_once_over_all_watches_passes_and_anything_else_fires() {
        let booked = || json!({"lease": {"id": "a", "project_id": "p"}});
        let removed = || json!({"lease_removed": "a"});
        let good = || vec![told(1, 0, Some(2), booked()), told(2, 1, Some(2), booked()), told(2, 1, Some(4), removed())];
        assert_eq!(judge(&record(good())).verdict, Verdict::Pass);
        assert_eq!(judge(&record(Vec::new())).looked_at, 0, "at the message level nobody follows");
        says(good()[..2].to_vec(), "nothing was told after index 2");
        says(vec![told(1, 0, Some(4), removed())], "0 of the 1 changes at index 2");
        says([good(), vec![told(2, 1, Some(4), removed())]].concat(), "2 of the 1 changes at index 4");
        says([vec![told(1, 0, Some(2), json!({"lease": {"id": "a", "name": "other"}}))], good()].concat(), "or others");
        says([good(), vec![told(2, 1, Some(5), booked())]].concat(), "nothing of its project changed");
        says(vec![good()[0].clone(), told(2, 3, Some(4), removed())], "watch 2 began after 3");
        let forgotten = told(1, 0, None, json!("gone"));
        let read_again = vec![good()[0].clone(), forgotten, told(2, 3, Some(4), removed())];
        assert_eq!(judge(&record(read_again)).verdict, Verdict::Pass);
    }
}
