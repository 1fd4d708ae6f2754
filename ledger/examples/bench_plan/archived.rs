//! What leases that left memory take of it, and how long a restart with them takes: a world of their own.

use std::sync::Arc;
use std::time::Instant;

use futures::executor::block_on;
use leasehold_ledger::apply::{ARCHIVED_PER_ENTRY, apply};
use leasehold_ledger::command::{BeforeEndWish, Command, CreateLease, Entry, LeaseWish, StartWish};
use leasehold_ledger::model::*;
use leasehold_ledger::state::{JOURNAL_ROWS_MAX, State};
use leasehold_ledger::storage::Store;
use leasehold_ledger::storage::memory::MemoryDisk;

use crate::ALLOCATED;
use crate::report::{Row, Unit};
use crate::world::Random;

/// Projects that they belong to.
const PROJECTS: u64 = 200;

struct Ended {
    state: State,
    store: Store,
    at: Timestamp,
}

impl Ended {
    fn send(&mut self, command: Command) {
        let applied = apply(&mut self.state, &Entry { key: None, proposed_at: self.at, command });
        applied.outcome.unwrap();
        block_on(self.store.commit(vec![applied.delta], b"position", false)).unwrap();
    }
}

/// Memory of each, grown one after the other and as a restart makes it, and what that restart takes.
pub fn measure(leases: u64, seed: u64) -> Vec<Row> {
    let mut random = Random(seed);
    let projects: Vec<ProjectId> = (0..PROJECTS).map(|_| ProjectId(random.uuid().simple().to_string().into())).collect();
    let disk = MemoryDisk::default();
    let mut world = Ended { state: State::default(), store: Store::new(Arc::new(disk)), at: Timestamp(1_793_836_800_000) };
    // Those that are deleted fill the journal with rows that no longer hold a lease.
    let more = JOURNAL_ROWS_MAX as u64;
    let mut ids = Vec::new();
    for _ in 0..leases + more {
        let lease_id = LeaseId(random.uuid());
        ids.push(lease_id);
        let wish = LeaseWish {
            name: "ended".to_owned(),
            project_id: projects[random.below(PROJECTS) as usize].clone(),
            user_id: UserId("user".into()),
            start: StartWish::Now,
            end: Seconds::from_unix_s(i64::try_from(world.at.0 / 1000).unwrap()).unwrap().plus(1),
            before_end: BeforeEndWish::Never,
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: Vec::new(),
        };
        let event_ids = (0..6).map(|_| EventId(random.uuid())).collect();
        world.send(Command::CreateLease(Box::new(CreateLease {
            wish,
            asked: None,
            lease_id,
            event_ids,
            plan: Vec::new(),
            resource_ids: Vec::new(),
            planned_at: 0,
            moved_to: None,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: false,
            victims: Vec::new(),
        })));
        if ids.len().is_multiple_of(ARCHIVED_PER_ENTRY / 2) {
            end(&mut world);
        }
    }
    end(&mut world);
    assert_eq!((world.state.leases_len(), world.state.archived_len()), (0, ids.len()));
    for lease_id in ids.drain(..usize::try_from(more).unwrap()) {
        world.send(Command::DeleteLease { lease_id });
    }
    let (begin, before) = (Instant::now(), ALLOCATED.allocated());
    let opened = world.store.open().unwrap().state;
    let open_s = begin.elapsed().as_secs_f64();
    let loaded = ALLOCATED.allocated() - before;
    assert_eq!(opened.hash(), world.state.hash());
    drop(opened);
    let grown = bytes_of(world.state.clone());
    for lease_id in ids.drain(..) {
        world.send(Command::DeleteLease { lease_id });
    }
    let without = bytes_of(world.state.clone());
    let each = |with: usize| (with as f64 - without as f64) / leases as f64;
    vec![
        Row::single("memory of a lease that left it, as a restart makes it", Unit::BytesPerLease, each(loaded)),
        Row::single("the same, as they left one after the other", Unit::BytesPerLease, each(grown)),
        Row::single(&format!("restart with {leases} of them and no other lease"), Unit::Seconds, open_s),
    ]
}

fn end(world: &mut Ended) {
    world.at = world.at.plus_ms(2_000);
    while world.state.next_due().is_some_and(|due| due <= world.at) {
        world.send(Command::AdvanceClock);
    }
    while world.state.archivable(world.at).next().is_some() {
        let ended_before = world.at;
        world.send(Command::ArchiveLeases { ended_before });
    }
}

/// What a value takes: what is given back when it goes.
fn bytes_of<T>(value: T) -> usize {
    let with = ALLOCATED.allocated();
    drop(value);
    with - ALLOCATED.allocated()
}
