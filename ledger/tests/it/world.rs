//! A small cluster state that is driven command by command, with everything checked after each.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use futures::executor::block_on;
use leasehold_ledger::apply::apply;
use leasehold_ledger::command::{Command, Entry, RegisterHost};
use leasehold_ledger::listing::{Draft, LeaseFilter, LeaseList, LeaseOrder, Reads};
use leasehold_ledger::model::{
    Amounts, Anchor, HostDescription, Lease, LeaseStatus, Observation, PoolKind, RequestKey, Seconds, SeriesId, Timestamp,
};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::{Among, State, invariants};
use leasehold_ledger::storage::Store;
use leasehold_ledger::storage::archive::ArchiveReader;
use leasehold_ledger::storage::disk::{Disk, RowChange};
use leasehold_ledger::storage::memory::MemoryDisk;
use leasehold_ledger::storage::snapshot::{SnapshotReader, SnapshotWriter};
use uuid::Uuid;

/// Second of the calendar at which the world begins: a full minute.
pub const ORIGIN_S: u32 = 216_000_000;

/// One replica, and perhaps a second one that came by snapshot.
pub struct World {
    pub state: State,
    pub store: Store,
    pub log: Vec<Entry>,
    pub follower: Option<State>,
    /// Had the same commands, but no lease has left its memory.
    pub whole: State,
    pub at: Timestamp,
    ids: u128,
}

impl World {
    pub fn new() -> World {
        World {
            state: State::default(),
            store: Store::new(Arc::new(MemoryDisk::default())),
            log: Vec::new(),
            follower: None,
            whole: State::default(),
            at: Seconds(ORIGIN_S).timestamp(),
            ids: 0,
        }
    }

    /// One that begins with what another came to; it has no log of it.
    pub fn after(other: &World) -> World {
        World { state: other.state.clone(), whole: other.whole.clone(), at: other.at, ids: other.ids, ..World::new() }
    }

    pub fn uuid(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// Applies a command everywhere and checks everything.
    pub fn send(&mut self, key: Option<RequestKey>, command: Command) -> Result<Reply, Rejection> {
        let entry = Entry { key, proposed_at: self.at, command };
        let before = self.state.ledger_index();
        let applied = apply(&mut self.state, &entry);
        assert_eq!(applied.ledger_index, before + 1);
        assert_eq!(self.state.ledger_index(), before + 1);
        let violations = invariants::check(&self.state);
        assert!(violations.is_empty(), "{violations:?} after {entry:#?}");
        if matches!(entry.command, Command::ArchiveLeases { .. } | Command::RecallLease { .. }) {
            apply(&mut self.whole, &Entry { command: Command::Probe { payload: Vec::new() }, ..entry.clone() });
        } else {
            assert_eq!(apply(&mut self.whole, &entry).outcome, applied.outcome, "of one with all leases in memory");
        }
        if let Some(follower) = &mut self.follower {
            let followed = apply(follower, &entry);
            assert_eq!(followed.outcome, applied.outcome);
            assert_eq!(followed.delta, applied.delta);
            assert_eq!(followed.effects, applied.effects);
        }
        self.log.push(entry);
        block_on(self.store.commit(vec![applied.delta], b"p", false)).unwrap();
        applied.outcome
    }

    pub fn register(&mut self, name: &str, pool: PoolKind, vcpus: u32, slots: u32) {
        self.register_with(name, pool, Anchor::Memory, vcpus, slots, None, BTreeSet::new());
    }

    #[expect(clippy::too_many_arguments)]
    pub fn register_with(
        &mut self,
        name: &str,
        pool: PoolKind,
        anchor: Anchor,
        vcpus: u32,
        slots: u32,
        zone: Option<String>,
        traits: BTreeSet<String>,
    ) {
        let capacity = Amounts { vcpus, memory_mb: 8192, disk_gb: 100, slots };
        let description = HostDescription {
            hypervisor_hostname: name.to_owned(),
            service_name: name.to_owned(),
            root_provider: Uuid::nil(),
            hypervisor_type: "QEMU".to_owned(),
            hypervisor_version: 1,
            cpu_info: String::new(),
            vcpus,
            memory_mb: 8192,
            local_gb: 100,
            zone,
            pool,
            anchor_budget: slots,
            memory_grain_mb: 0,
            anchor,
        };
        let observation = Observation { capacity, firm: Amounts::default(), max_unit: capacity, traits, up: true };
        let register = RegisterHost { description, observation, properties: Default::default() };
        self.send(None, Command::RegisterHost(Box::new(register))).unwrap();
    }

    /// From now on a second replica, installed from a snapshot of the first one's rows, applies every entry too.
    pub fn install_follower(&mut self) {
        let disk = MemoryDisk::default();
        let (mut reader, mut writer) = (SnapshotReader::new(self.store.freeze()), SnapshotWriter::default());
        while let Some(chunk) = reader.next_chunk().unwrap() {
            let rows = writer.accept(&chunk).unwrap();
            let batch = rows.into_iter().map(|(key, value)| RowChange { key, value: Some(value) }).collect();
            block_on(disk.write(batch, false)).unwrap();
        }
        writer.finish().unwrap();
        let opened = Store::new(Arc::new(disk)).open().unwrap();
        assert_eq!(opened.position.as_deref(), (self.state.ledger_index() > 0).then_some(&b"p"[..]));
        self.follower = Some(opened.state);
    }

    /// A reopened store, a replay from the first entry and the follower all have the same state.
    pub fn check_replicas(&self) {
        let opened = self.store.open().unwrap().state;
        assert_same(&opened, &self.state);
        if let Some(follower) = &self.follower {
            assert_same(follower, &self.state);
        }
        let mut replayed = State::default();
        for entry in &self.log {
            apply(&mut replayed, entry);
        }
        assert_same(&replayed, &self.state);
        self.check_lists();
    }

    /// Lists show what they show of a state with all leases in memory.
    fn check_lists(&self) {
        self.check_list(&LeaseFilter::default());
        for status in [LeaseStatus::Terminated, LeaseStatus::Error] {
            self.check_list(&LeaseFilter { statuses: [status].into(), ..LeaseFilter::default() });
        }
        let series: BTreeSet<SeriesId> = self.whole.leases().filter_map(Lease::series_id).collect();
        for series in series {
            self.check_list(&LeaseFilter { series: Some(series), ..LeaseFilter::default() });
        }
    }

    fn check_list(&self, filter: &LeaseFilter) {
        for order in [LeaseOrder::Id, LeaseOrder::Name, LeaseOrder::End] {
            for (limit, descending) in [(None, false), (Some(2), false), (Some(3), true)] {
                let mut after = None;
                loop {
                    let page = |state: &State, after| {
                        let filter = LeaseFilter { order, limit, descending, after, ..filter.clone() };
                        let mut reader = ArchiveReader::new(self.store.freeze());
                        let list = LeaseList::begin(state, &filter, Reads { named: 1_000, most: 1_000 }).unwrap();
                        list.finish(&mut |which| reader.read(which)).unwrap().unwrap().leases
                    };
                    let (found, expected) = (page(&self.state, after), page(&self.whole, after));
                    assert_eq!(found, expected);
                    after = found.last().map(|lease| lease.id);
                    if limit.is_none_or(|limit| found.len() < limit as usize) {
                        break;
                    }
                }
            }
        }
    }
}

fn assert_same(a: &State, b: &State) {
    assert_eq!(a.hash(), b.hash());
    assert_eq!(a.meta(), b.meta());
    assert_eq!(a.calendar(), b.calendar());
    assert_eq!(a.next_due(), b.next_due());
    assert!(a.leases().eq(b.leases()));
    let all = (Bound::Unbounded, Bound::Unbounded);
    assert!(a.archived_in(&Among::default(), all).eq(b.archived_in(&Among::default(), all)));
    assert!(a.hosts().eq(b.hosts()));
    assert!(a.actuations().eq(b.actuations()));
    let from = a.meta().journal_from;
    assert_eq!(a.changes_after(from, usize::MAX).unwrap(), b.changes_after(from, usize::MAX).unwrap());
}
