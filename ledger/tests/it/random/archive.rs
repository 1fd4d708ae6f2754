//! Ended leases leave memory, come back and are deleted; a twin that has them all in memory answers alike (`world.rs`).

use std::ops::Bound;

use leasehold_ledger::command::{Command, Outcome};
use leasehold_ledger::model::{Reason, ReasonCode, Step as Owed, Timestamp};
use leasehold_ledger::state::Among;
use leasehold_ledger::storage::archive::ArchiveReader;

use proptest::prelude::*;

use super::Run;
use super::steps::Step;

/// What is done with the leases that left memory.
#[derive(Clone, Copy, Debug)]
pub enum OfArchive {
    /// Time passes, the cloud catches up, and more of them leave.
    More { minutes: u8 },
    /// One comes back.
    Recall { number: u8 },
    /// One is deleted.
    Delete { number: u8 },
}

pub fn archive() -> impl Strategy<Value = OfArchive> {
    prop_oneof![
        3 => (0u8..12).prop_map(|minutes| OfArchive::More { minutes }),
        2 => any::<u8>().prop_map(|number| OfArchive::Recall { number }),
        1 => any::<u8>().prop_map(|number| OfArchive::Delete { number }),
    ]
}

impl Run {
    /// What is owed to the cloud is done, but for what it must agree to and for some starts, which fail.
    fn catch_up(&mut self) {
        let owed = self.world.state.actuations().filter(|row| row.step != Owed::Hold);
        let rows: Vec<_> = owed.map(|row| (row.id, row.revision, row.step)).collect();
        for (actuation_id, revision, step) in rows {
            let outcome = match step {
                Owed::Expire => Outcome::Used { tokens: std::collections::BTreeMap::new(), parked: 0 },
                Owed::Start if actuation_id.0 % 4 == 0 => {
                    Outcome::Failed { reason: Reason { code: ReasonCode::CloudRefused, text: "broken".to_owned() } }
                }
                _ => Outcome::Done,
            };
            let kind = if matches!(outcome, Outcome::Failed { .. }) { "Failed" } else { "Done" };
            self.reach(format!("{kind} of {step:?}"));
            self.world.send(None, Command::RecordOutcome { actuation_id, revision, outcome }).unwrap();
        }
    }

    pub(super) fn of_archive(&mut self, what: OfArchive) {
        let archived: Vec<_> = self.world.state.archived_in(&Among::default(), (Bound::Unbounded, Bound::Unbounded)).collect();
        let pick = |number: u8| archived.get(usize::from(number) % archived.len().max(1)).cloned();
        match what {
            OfArchive::More { minutes } => {
                // Begun, and over.
                for _ in 0..2 {
                    self.play(&Step::Clock { minutes: 5 + minutes, seconds: 0 });
                    self.catch_up();
                }
                let ended_before = Timestamp(self.world.at.0 - u64::from(minutes / 4) * 60_000);
                self.world.send(None, Command::ArchiveLeases { ended_before }).unwrap();
                if self.world.state.archived_len() > archived.len() {
                    self.reach("left memory");
                }
                let left: Vec<_> =
                    self.world.state.archived_in(&Among::default(), (Bound::Unbounded, Bound::Unbounded)).collect();
                for one in left.iter().filter(|one| !archived.contains(one)) {
                    if one.mark.failed {
                        let gave_way = self.world.whole.lease(one.id).unwrap().preempted.is_some();
                        self.reach(if gave_way { "gave way and left memory" } else { "failed and left memory" });
                    }
                    if !one.mark.flavors.is_empty() {
                        self.reach("parked servers and left memory");
                    }
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
