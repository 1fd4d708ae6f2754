//! Ended leases leave memory, come back and are deleted; a twin that has them all in memory answers alike (`world.rs`).

use std::ops::Bound;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::Timestamp;
use leasehold_ledger::storage::archive::ArchiveReader;

use proptest::prelude::*;

use super::Run;

/// What is done with the leases that left memory.
#[derive(Clone, Copy, Debug)]
pub enum OfArchive {
    /// More of them leave.
    More { minutes: u8 },
    /// One comes back.
    Recall { number: u8 },
    /// One is deleted.
    Delete { number: u8 },
}

pub fn archive() -> impl Strategy<Value = OfArchive> {
    prop_oneof![
        2 => (0u8..6).prop_map(|minutes| OfArchive::More { minutes }),
        1 => any::<u8>().prop_map(|number| OfArchive::Recall { number }),
        1 => any::<u8>().prop_map(|number| OfArchive::Delete { number }),
    ]
}

impl Run {
    pub(super) fn of_archive(&mut self, what: OfArchive) {
        let archived: Vec<_> = self.world.state.archived_in(None, (Bound::Unbounded, Bound::Unbounded)).collect();
        let pick = |number: u8| archived.get(usize::from(number) % archived.len().max(1)).cloned();
        match what {
            OfArchive::More { minutes } => {
                let ended_before = Timestamp(self.world.at.0 - u64::from(minutes) * 60_000);
                self.world.send(None, Command::ArchiveLeases { ended_before }).unwrap();
                if self.world.state.archived_len() > archived.len() {
                    self.reach("left memory");
                }
            }
            OfArchive::Recall { number } => {
                let Some(one) = pick(number) else { return };
                let row = ArchiveReader::new(self.world.store.freeze()).stored(&one).unwrap();
                self.world.send(None, Command::RecallLease { lease_id: one.id, row }).unwrap();
                assert!(self.world.state.lease(one.id).is_some());
                self.reach("came back to memory");
            }
            OfArchive::Delete { number } => {
                let Some(one) = pick(number) else { return };
                self.world.send(None, Command::DeleteLease { lease_id: one.id }).unwrap();
                self.reach("deleted out of memory");
            }
        }
    }
}
