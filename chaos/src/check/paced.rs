//! Part of A9: how often a node calls the cloud at most, whatever it is for. Bounds are generous: they are to find who reads or calls
//! in a loop, and not who is busy. What the product does was measured over seeds (docs/chaos.md, "How gentle is gentle").

use std::collections::BTreeMap;

use super::{Sheet, signed};
use crate::record::Record;

/// What one node reads in a second at most.
const READS_MAX: u64 = 1_000;
/// What one node reads of one thing in a second at most.
const READS_OF_ONE_MAX: u64 = 80;
/// Changing calls of one node in a second at most.
const CALLS_MAX: u64 = 800;
/// And of one piece of work (a row, a host).
const CALLS_OF_WORK_MAX: u64 = 60;

/// See the module.
pub fn look(record: &Record, sheet: &mut Sheet) {
    for one in &record.reads {
        let (at_s, node, (path, most)) = (one.at_s, one.node, &one.most);
        sheet.must(one.reads <= READS_MAX, || {
            format!("node {node} read {} times in second {at_s}, {READS_MAX} are the most; {most} times {path}", one.reads)
        });
        sheet.must(*most <= READS_OF_ONE_MAX, || {
            format!("node {node} read {path} {most} times in second {at_s}, {READS_OF_ONE_MAX} are the most")
        });
    }
    let mut calls: BTreeMap<(u64, u64), BTreeMap<&str, u64>> = BTreeMap::new();
    for call in record.calls.iter().filter(|call| !call.for_client && signed::allowance(call).is_none()) {
        let of_second = calls.entry((call.node, call.at_ns / 1_000_000_000)).or_default();
        *of_second.entry(call.work().unwrap_or_default()).or_default() += 1;
    }
    for ((node, at_s), works) in calls {
        let all: u64 = works.values().sum();
        sheet.must(all <= CALLS_MAX, || {
            format!("node {node} sent {all} changing calls in second {at_s}, {CALLS_MAX} are the most")
        });
        let most = works.into_iter().filter(|(work, _)| !work.is_empty()).max_by_key(|(_, many)| *many);
        if let Some((work, many)) = most {
            sheet.must(many <= CALLS_OF_WORK_MAX, || {
                format!("node {node} sent {many} changing calls for {work} in second {at_s}, {CALLS_OF_WORK_MAX} are the most")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, fires, sent};
    use super::*;
    use crate::check::Judgement;
    use crate::record::{Call, Reads};
    use crate::report::Verdict;

    fn judge(record: &Record) -> Judgement {
        let mut sheet = Sheet::default();
        look(record, &mut sheet);
        sheet.close("A9")
    }

    fn read(reads: u64, most: u64) -> Made {
        Made { reads: vec![Reads { at_s: 7, node: 2, reads, most: ("/placement/x".to_owned(), most) }], ..Made::default() }
    }

    #[test]
    fn who_reads_much_passes_and_who_reads_in_a_loop_fires() {
        assert_eq!(judge(&read(READS_MAX, READS_OF_ONE_MAX).record()).verdict, Verdict::Pass);
        fires(judge, read(READS_MAX + 1, 1), "node 2 read 1001 times in second 7");
        fires(judge, read(200, READS_OF_ONE_MAX + 1), "node 2 read /placement/x 81 times");
    }

    /// So many calls of node 2 in one second, for so many rows in turn.
    fn called(many: u64, rows: u64) -> Made {
        let call = |n: u64| Call { attempt: Some(format!("row/{}/1/{n}/4/0", n % rows)), ..sent(n, 2, 7_000_000_000 + n) };
        Made { calls: (0..many).map(call).collect(), ..Made::default() }
    }

    #[test]
    fn who_calls_much_passes_and_who_calls_in_a_loop_fires() {
        assert_eq!(judge(&called(CALLS_MAX, 20).record()).verdict, Verdict::Pass);
        fires(judge, called(CALLS_MAX + 1, 20), "801 changing calls in second 7");
        assert_eq!(judge(&called(CALLS_OF_WORK_MAX, 1).record()).verdict, Verdict::Pass);
        fires(judge, called(CALLS_OF_WORK_MAX + 1, 1), "61 changing calls for row/0");
        let mut beside = called(CALLS_MAX + 1, 20);
        beside.calls.iter_mut().for_each(|call| call.for_client = true);
        assert_eq!(judge(&beside.record()).verdict, Verdict::Pass);
    }
}
