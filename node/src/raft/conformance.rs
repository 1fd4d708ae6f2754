//! openraft's own suite against our log and state machine, on real RocksDB.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use futures::{FutureExt, stream};
use leasehold_ledger::command::{Command, Entry};
use leasehold_ledger::model::Timestamp;
use leasehold_ledger::storage::codec::encode_entry;
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{EntryPayload, StorageError};
use tempfile::TempDir;

use super::fatal::Fatal;
use super::log_store::{LogStore, OpenError};
use super::runtime::scoped;
use super::snapshot::Generations;
use super::state_machine::StateMachine;
use super::types::{Batch, LogEntry, LogId, Membership, TypeConfig};
use crate::seams::clock::SystemClock;
use crate::seams::rng::SystemRng;
use crate::seams::{Clock, DiskUse, Disks, RocksDisks, Spawner};

struct Fresh;

async fn open(folder: &std::path::Path, node_id: u64, may_be_new: bool) -> Result<LogStore, OpenError> {
    let disk = RocksDisks::new(folder).unwrap().open("log", DiskUse::Log).unwrap();
    LogStore::open(disk, &Spawner::new(), Fatal::default(), Arc::new(SystemClock::new()), node_id, may_be_new).await
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), 1, true).await.unwrap();
        let generations = Generations::new(Arc::new(RocksDisks::new(folder.path()).unwrap())).unwrap();
        let machine = StateMachine::open(log.clone(), generations, Arc::new(SystemClock::new())).await.unwrap();
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_and_state_machine_pass_the_engine_s_suite() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    scoped(&Spawner::new(), &clock, &SystemRng, Suite::test_all(Fresh)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_node_or_without_its_beginning_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), 7, true).await.unwrap());
    let disk = loop {
        // The writer task of the first log lets go of the disk when the runtime next runs it.
        match RocksDisks::new(folder.path()).unwrap().open("log", DiskUse::Log) {
            Ok(disk) => break disk,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let spawner = Spawner::new();
    let other = LogStore::open(disk, &spawner, Fatal::default(), Arc::new(SystemClock::new()), 8, true).await.unwrap_err();
    assert!(matches!(other, OpenError::NodeId { found: 7, configured: 8 }), "{other}");
    let empty = tempfile::tempdir().unwrap();
    let missing = open(empty.path(), 7, false).await.unwrap_err();
    assert!(missing.to_string().contains("new node id and `leasehold cluster add` it"), "{missing}");
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// A node that had entries of a leader that was replaced gets its lost state from a peer; with them it would not start.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_fetched_state_contradicts_gives_way_to_it() {
    let (folder, mut log, _machine) = Fresh.build().await.unwrap();
    log.blocking_append([id(1, 0), id(1, 1), id(2, 2), id(2, 3), id(2, 4)].map(LogEntry::new_blank)).await.unwrap();
    let last = async |log: &mut LogStore| log.get_log_state().await.unwrap().last_log_id;
    // It has the state's last entry, or does not reach to it.
    for state in [id(2, 3), id(4, 5)] {
        log.make_way(state).await.unwrap();
        assert_eq!(last(&mut log).await, Some(id(2, 4)), "{state}");
    }
    log.make_way(id(3, 3)).await.unwrap();
    assert_eq!(last(&mut log).await, Some(id(2, 2)));
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap().last().map(|entry| entry.log_id), Some(id(2, 2)));
    // The first there is.
    log.purge(id(1, 1)).await.unwrap();
    log.make_way(id(3, 2)).await.unwrap();
    assert_eq!(last(&mut log).await, Some(id(1, 1)));
    drop(folder);
}

/// Seed 1188: a node that had its members only by a state that it was sent knew nobody to ask when that state was damaged, and never
/// started again.
#[tokio::test(flavor = "multi_thread")]
async fn who_got_its_state_from_another_knows_whom_to_ask_for_a_new_one() {
    let (_theirs, _log, mut sender) = Fresh.build().await.unwrap();
    let (ours, _log, mut machine) = Fresh.build().await.unwrap();
    let members = Membership::new_with_defaults(vec![[1, 2].into()], []);
    let change = LogEntry { log_id: id(1, 0), payload: EntryPayload::Membership(members.clone()) };
    sender.apply(stream::iter([Ok((change, None))])).await.unwrap();
    let sent = sender.get_snapshot_builder().await.build_snapshot().await.unwrap();
    assert_eq!(machine.known_members().unwrap(), Membership::default());
    machine.install_snapshot(&sent.meta, sent.snapshot).await.unwrap();
    assert_eq!(machine.known_members().unwrap(), members);
    drop(ours);
}

/// Seeds 3028 and 3103: beside a change of the members, what the state showed had been told to nobody for as long as the log's disk
/// took.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_state_shows_was_told_before_anything_is_waited_for() {
    let (folder, _log, mut machine) = Fresh.build().await.unwrap();
    let probe = Entry { key: None, proposed_at: Timestamp(1), command: Command::AdvanceClock };
    let batch = Batch { commands: vec![encode_entry(&probe).into()] };
    let change = Membership::new_with_defaults(vec![[1].into()], []);
    let payloads = [EntryPayload::Normal(batch), EntryPayload::Membership(change)];
    let entries = (0..).zip(payloads).map(|(index, payload)| Ok((LogEntry { log_id: id(1, index), payload }, None)));
    let shared = machine.shared();
    let mut applying = Box::pin(machine.apply(stream::iter(entries)));
    let waits = applying.as_mut().now_or_never().is_none();
    let (shown, told) = (shared.state.read().ledger_index(), *shared.ledger_index.borrow());
    assert!(waits && shown == 1 && told == 1, "waits {waits}, shows {shown}, told {told}");
    applying.await.unwrap();
    drop(folder);
}
