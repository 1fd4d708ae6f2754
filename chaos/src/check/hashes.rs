//! H1: the same index has the same state, on whichever node, in whichever life, whenever it is looked at.

use std::collections::BTreeMap;

use super::{Judgement, Sheet};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut seen: BTreeMap<u64, (&str, String)> = BTreeMap::new();
    let probes = record.probes.iter().map(|probe| {
        let who = format!("node {} in life {} at {} ns", probe.node, probe.life, probe.at_ns);
        (probe.ledger_index, probe.state_hash.as_str(), who)
    });
    let finals =
        record.finals.iter().map(|last| (last.ledger_index, last.state_hash.as_str(), format!("node {} at rest", last.node)));
    for (index, hash, who) in probes.chain(finals) {
        let (first, by) = seen.entry(index).or_insert_with(|| (hash, who.clone()));
        sheet.must(*first == hash, || format!("at index {index} {who} has {hash}, {by} had {first}"));
    }
    sheet.close("H1")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Made, probe};
    use super::*;
    use crate::report::Verdict;

    #[test]
    fn equal_states_pass_and_another_hash_at_the_same_index_fires() {
        let mut made = Made { probes: vec![probe(1, 0), probe(2, 0)], ..Made::default() };
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
        made = Made { probes: vec![probe(1, 0), probe(2, 0)], ..Made::default() };
        made.probes[1].state_hash = "other".to_owned();
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Violation);
        assert!(judgement.evidence[0].contains("node 2"), "{judgement:?}");
    }
}
