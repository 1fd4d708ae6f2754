//! Two states that had the same commands, but that ended leases left the memory of one.

use std::ops::Bound;
use std::sync::Arc;

use futures::executor::block_on;

use uuid::Uuid;

use super::{DAY_S, ORIGIN_S, Random, crowded, lease, now};
use crate::apply::apply;
use crate::command::*;
use crate::model::*;
use crate::plan::{OccurrencePlan, Overlay, Tell, Times, plan_series};
use crate::reply::{Rejection, Reply};
use crate::state::{Among, Archived, State, invariants};
use crate::storage::Store;
use crate::storage::archive::ArchiveReader;
use crate::storage::disk::{Disk, RowChange};
use crate::storage::memory::MemoryDisk;

/// See the module.
pub(crate) struct Twins {
    /// Every lease is in memory.
    pub whole: State,
    /// Those that ended long ago are not.
    pub state: State,
    /// Of `state`.
    pub disk: MemoryDisk,
    pub at: Timestamp,
}

/// A few leases some days apart, as far as there is room for them.
fn book_series(state: &mut State, random: &mut Random) {
    let start = Seconds(ORIGIN_S + 60 + random.below(60 * DAY_S));
    let length = 1 + random.below(5 * DAY_S);
    let mut wish = lease(random, InstanceWish::anywhere(1, 1_000, 1, 1), length);
    (wish.start, wish.end) = (StartWish::At(start), start.plus(length));
    wish.reservations[0].on_end = random.one_of(&[OnEnd::Delete, OnEnd::Shelve, OnEnd::Snapshot]);
    let every = 1 + random.below(20 * DAY_S);
    let at = |number: u32| {
        let start = start.plus((number - 1) * every);
        Occurrence { number, start, end: start.plus(length) }
    };
    let occurrences: Vec<Occurrence> = (1..=2 + random.below(4)).map(at).collect();
    let ids: Vec<Vec<ReservationId>> = occurrences.iter().map(|_| vec![ReservationId(random.uuid())]).collect();
    let mode = SeriesMode::BestEffort;
    let wish = SeriesWish { lease: wish, recurrence: Recurrence { rule: "x".to_owned(), time_zone: "UTC".to_owned(), mode } };
    let times = Times { asked: &occurrences, from: &|_| None };
    let Ok(planned) = plan_series(state, &Overlay::default(), &wish, times, &ids, now(), Tell::WhatFits) else { return };
    let occurrence = |one: OccurrencePlan| PlannedOccurrence {
        occurrence: one.occurrence,
        lease_id: LeaseId(random.uuid()),
        event_ids: (0..6).map(|_| EventId(random.uuid())).collect(),
        resource_ids: vec![random.uuid()],
        plan: one.reservations,
    };
    let create = CreateSeries {
        wish,
        asked: None,
        series_id: SeriesId(Uuid::from_u128(state.ledger_index().into())),
        occurrences: planned.occurrences.into_iter().map(occurrence).collect(),
        left_out: planned.left_out,
        planned_at: planned.planned_at,
    };
    let command = Command::CreateSeries(Box::new(create));
    apply(state, &Entry { key: None, proposed_at: now(), command }).outcome.unwrap();
}

impl Twins {
    /// A crowded cloud after so many days; all that had ended by then, but for the last of `young` days, left memory.
    pub fn after(days: u32, young: u32, leases: u32, random: &mut Random) -> Twins {
        let mut whole = crowded(leases / 6 + 40, leases, random);
        for _ in 0..leases / 20 {
            book_series(&mut whole, random);
        }
        let broken = Reason { code: ReasonCode::CloudRefused, text: "broken".to_owned() };
        let disk = MemoryDisk::default();
        let rows = whole.rows().into_iter().map(|(key, value)| RowChange { key, value: Some(value) });
        block_on(disk.write(rows.collect(), false)).unwrap();
        let mut twins = Twins { state: State::from_rows_of(&whole), whole, disk, at: now() };
        for day in (0..=days).step_by(5) {
            twins.at = Seconds(ORIGIN_S + day * DAY_S).timestamp();
            for _ in 0..3 {
                twins.both(Command::AdvanceClock).unwrap();
                let rows: Vec<_> = twins.whole.actuations().map(|row| (row.id, row.revision, row.step)).collect();
                for (actuation_id, revision, step) in rows {
                    let outcome = match step {
                        Step::Hold => Outcome::Held { server_group_id: Some(random.uuid()) },
                        Step::Start if random.below(5) == 0 => Outcome::Failed { reason: broken.clone() },
                        _ => Outcome::Done,
                    };
                    twins.both(Command::RecordOutcome { actuation_id, revision, outcome }).unwrap();
                }
            }
            twins.name_some(random);
        }
        let ended_before = Seconds(ORIGIN_S + (days - young) * DAY_S).timestamp();
        twins.one(Command::ArchiveLeases { ended_before });
        assert!(invariants::check(&twins.state).is_empty());
        assert!(twins.state.archived_len() > 10, "{}", twins.state.archived_len());
        twins
    }

    /// Names that more than one lease has.
    fn name_some(&mut self, random: &mut Random) {
        let ids: Vec<LeaseId> = self.whole.leases().map(|lease| lease.id).collect();
        for lease_id in ids {
            if random.below(20) > 0 {
                continue;
            }
            let name = random.one_of(&["one", "two", "three"]).to_owned();
            let change = LeaseChange { name: Some(name), ..LeaseChange::default() };
            let update = UpdateLease { lease_id, change, plan: Vec::new(), planned_at: 0, caller_makes_groups: false };
            drop(self.both(Command::UpdateLease(Box::new(update))));
        }
    }

    /// Both answer alike.
    pub fn both(&mut self, command: Command) -> Result<Reply, Rejection> {
        let entry = Entry { key: None, proposed_at: self.at, command };
        let expected = apply(&mut self.whole, &entry).outcome;
        assert_eq!(self.apply(&entry), expected, "{entry:?}");
        expected
    }

    /// One alone; the other one counts the entry.
    pub fn one(&mut self, command: Command) {
        let (key, proposed_at) = (None, self.at);
        apply(&mut self.whole, &Entry { key: None, proposed_at, command: Command::AdvanceClock }).outcome.unwrap();
        self.apply(&Entry { key, proposed_at, command }).unwrap();
    }

    fn apply(&mut self, entry: &Entry) -> Result<Reply, Rejection> {
        let applied = apply(&mut self.state, entry);
        block_on(self.store().commit(vec![applied.delta], b"position", false)).unwrap();
        applied.outcome
    }

    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.disk.clone()))
    }

    pub fn reader(&self) -> ArchiveReader {
        ArchiveReader::new(self.store().freeze())
    }

    /// All that left memory, by id.
    pub fn archived(&self) -> Vec<Archived> {
        self.state.archived_in(&Among::default(), (Bound::Unbounded, Bound::Unbounded)).collect()
    }
}
