//! What each node knew when: the indices that it was seen to have applied.

use std::collections::BTreeMap;

use crate::record::Record;

/// By node: when it was seen to have applied an index. Starts of the node are zero.
pub struct Applied(BTreeMap<u64, Vec<(u64, u64)>>);

impl Applied {
    /// Out of the looks at indices and at nodes.
    pub fn new(record: &Record) -> Applied {
        let mut applied: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for one in &record.audit {
            applied.entry(one.node).or_default().push((one.at_ns, one.ledger_index));
        }
        for one in &record.probes {
            applied.entry(one.node).or_default().push((one.at_ns, one.ledger_index));
        }
        for one in record.incidents.iter().filter(|one| one.what == "start") {
            applied.entry(one.node.unwrap_or_default()).or_default().push((one.at_ns, 0));
        }
        applied.values_mut().for_each(|of_node| of_node.sort_unstable());
        Applied(applied)
    }

    /// The highest index that a node was seen to have applied in the life that it was in at an instant, before it.
    pub fn before(&self, node: u64, at_ns: u64) -> u64 {
        let looks = self.0.get(&node).map_or(&[][..], Vec::as_slice);
        let looks = &looks[..looks.partition_point(|(seen_ns, _)| *seen_ns < at_ns)];
        let life = looks.iter().rposition(|(_, index)| *index == 0).map_or(looks, |start| &looks[start..]);
        life.iter().map(|(_, index)| *index).max().unwrap_or(0)
    }
}
