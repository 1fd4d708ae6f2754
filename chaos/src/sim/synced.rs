//! Part of M1: what is committed lies on the synced disks of a majority of the voters, and never changes there.
//!
//! Once a second the last entry that the leader knows as committed is looked for on the disks themselves. Nodes that have lost
//! what they kept, or of whose log a row rotted, count as if they had it: they had, or were not needed. While the voters change,
//! the leader shows those of before and after together, and half of them are enough.

use std::collections::BTreeMap;

use super::disk::{Kept, SimDisks};

/// So many entries are looked for again.
const AGAIN: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Synced {
    /// Entries that were committed, by index.
    committed: BTreeMap<u64, u128>,
}

impl Synced {
    /// Looks at the disks of the voters; what is wrong.
    pub fn look(&mut self, leader: u64, committed: u64, voters: &BTreeMap<u64, &SimDisks>) -> Vec<String> {
        let mut problems = Vec::new();
        let kept: BTreeMap<u64, Kept> = voters.iter().map(|(node, disks)| (*node, disks.entry(committed))).collect();
        let beside = kept.values().filter(|one| matches!(one, Kept::Later | Kept::Lost)).count();
        let mut alike: BTreeMap<u128, usize> = BTreeMap::new();
        for one in kept.values() {
            if let Kept::Entry(entry) = one {
                *alike.entry(*entry).or_default() += 1;
            }
        }
        let most = alike.iter().max_by_key(|(_, many)| **many);
        let have = most.map_or(0, |(_, many)| *many) + beside;
        if 2 * have < voters.len() {
            problems.push(format!(
                "node {leader} has committed entry {committed}, and of the voters' synced disks only {have} have it: {kept:?}"
            ));
        }
        if let Some((entry, many)) = most
            && 2 * many > voters.len()
        {
            self.committed.entry(committed).or_insert(*entry);
        }
        while self.committed.len() > AGAIN {
            self.committed.pop_first();
        }
        // Whoever knows them as committed has them as they were. What a leader that is cut off has beyond is not.
        if let Some(disks) = voters.get(&leader) {
            for (index, entry) in self.committed.range(..=committed) {
                match disks.entry(*index) {
                    Kept::Entry(now) if now != *entry => {
                        problems.push(format!(
                            "entry {index} was committed, and is another one on the disk of node {leader}, which knows it as committed"
                        ));
                    }
                    _ => {}
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leasehold_ledger::storage::disk::RowChange;
    use leasehold_node::seams::{DiskUse, Disks};

    use super::*;
    use crate::sim::trace::Trace;

    struct Made(Vec<SimDisks>);

    impl Made {
        fn new() -> Made {
            let trace = Arc::new(Trace::new(None, 3));
            Made((1..=3).map(|node| SimDisks::new(node, 1, trace.clone(), false)).collect())
        }

        async fn write(&self, node: usize, index: u64, value: &[u8], sync: bool) {
            let disk = self.0[node - 1].open("log", DiskUse::Log).expect("it opens");
            let key = [&[1][..], &index.to_be_bytes()].concat();
            disk.write(vec![RowChange { key, value: Some(value.to_vec()) }], sync).await.expect("it writes");
        }

        fn look(&self, synced: &mut Synced, committed: u64) -> Vec<String> {
            synced.look(1, committed, &(1..).zip(&self.0).collect())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn committed_is_what_a_majority_has_synced() {
        let (made, mut synced) = (Made::new(), Synced::default());
        made.write(1, 7, b"a", true).await;
        made.write(2, 7, b"a", false).await;
        made.write(3, 7, b"b", true).await;
        assert!(made.look(&mut synced, 7)[0].contains("only 1 have it"));
        made.write(2, 7, b"a", true).await;
        assert_eq!(made.look(&mut synced, 7), [] as [String; 0]);
        // Purged up to something later.
        made.write(1, 9, b"c", true).await;
        made.write(3, 9, b"c", true).await;
        assert_eq!(made.look(&mut synced, 8), [] as [String; 0]);
        made.0[0].lose(None);
        made.0[1].lose(None);
        assert_eq!(made.look(&mut synced, 9), [] as [String; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_committed_entry_stays_what_it_is() {
        let (made, mut synced) = (Made::new(), Synced::default());
        for node in 1..=3 {
            made.write(node, 7, b"a", true).await;
        }
        assert_eq!(made.look(&mut synced, 7), [] as [String; 0]);
        made.write(2, 7, b"b", true).await;
        assert_eq!(made.look(&mut synced, 7), [] as [String; 0], "it does not lead, and will be told");
        made.write(1, 7, b"b", true).await;
        assert_eq!(made.look(&mut synced, 6), [] as [String; 0], "it is cut off, and does not know it as committed");
        assert!(made.look(&mut synced, 7)[0].contains("entry 7 was committed, and is another one"));
    }
}
