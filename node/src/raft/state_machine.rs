//! The ledger's state under the log: apply each entry, queue its rows, send the replies, release the effects, await the rows.
//!
//! The rules are the ledger's; here is only the order of things. Rows are written unsynced, because the log makes them
//! again: a snapshot begins by syncing them, and the log is purged only below a snapshot. After a restart the engine
//! applies again from the position that the rows carry.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use futures::{Stream, StreamExt};
use leasehold_ledger::apply::apply;
use leasehold_ledger::command::{Command, Entry};
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{LeaseId, Reason, Timestamp};
use leasehold_ledger::mutant;
use leasehold_ledger::state::{Delta, State};
use leasehold_ledger::storage::disk::{Disk, FrozenView};
use leasehold_ledger::storage::memory::MemoryDisk as Nowhere;
use leasehold_ledger::storage::{self, Store, codec as rows};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use super::codec;
use super::log_store::{self, LogStore};
use super::snapshot::{Generations, Received, SnapshotData};
use super::types::{Answer, Answers, Batch, LogId, Membership, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::seams::Clock;
use crate::telemetry::metrics;

/// The log's value that names the disk in use.
const GENERATION: &str = "state_generation";
/// The log's copy of the last membership applied.
const MEMBERS: &str = "members";
/// Entries that share one batch on the disk at most.
const ENTRIES_MAX: usize = 128;
/// Effects kept for a listener that is slow; beyond that it is told that it missed some.
const EFFECTS_KEPT: usize = 1024;
/// Reasons of withdrawn leases kept in memory.
const WITHDRAWN_KEPT: usize = 4096;

/// How far the state has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Raft index of the last applied entry plus one; zero before the first.
    pub next_log_index: u64,
    /// Commands applied (architecture D17).
    pub ledger_index: u64,
}

/// What the rest of the node sees of the state machine.
pub(super) struct Shared {
    pub(super) state: RwLock<State>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) ledger_index: watch::Sender<u64>,
    /// Up to which command the rows are on the disk; the state is ahead of it by what is being written.
    pub(super) written: watch::Sender<u64>,
    /// Where they are. Who stops the node closes it.
    pub(super) disk: RwLock<Weak<dyn Disk>>,
    pub(super) effects: broadcast::Sender<Arc<[Effect]>>,
    /// Why leases were withdrawn lately, for those who wait for them here; oldest first.
    pub(super) withdrawn: Mutex<VecDeque<(LeaseId, Reason)>>,
}

impl Shared {
    /// A state that was read from a disk, all of whose rows are there.
    fn take_state(&self, taken: State, store: &Store) {
        let mut state = self.state.write();
        *state = taken;
        *self.disk.write() = store.disk();
        self.written.send_replace(state.ledger_index());
    }
}

/// The state does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refuses.
    #[error("the state's disk does not open")]
    Disk(#[from] leasehold_ledger::storage::disk::DiskError),
    /// The log, which names the disk in use, fails.
    #[error("the log does not tell which state is in use")]
    Log(#[from] io::Error),
    /// The log does not give back which state is in use: as damaged as if it were an entry.
    #[error(transparent)]
    Lost(#[from] log_store::OpenError),
    /// It is there and cannot be used, which no rebuilding mends.
    #[error("the state cannot be used: {0}. Nothing was changed; mend the cause, or start the release that wrote it")]
    Unusable(#[source] storage::Error),
}

/// The engine's state machine.
pub struct StateMachine {
    shared: Arc<Shared>,
    /// For how long applying took; the rules never see it.
    clock: Arc<dyn Clock>,
    log: LogStore,
    generations: Generations,
    generation: u64,
    store: Store,
    applied: SnapshotMeta,
    /// The view last built, as long as somebody sends it.
    built: Option<(SnapshotMeta, Weak<dyn FrozenView>)>,
}

impl StateMachine {
    /// Opens the state in use. A damaged one is thrown away and begins empty: the log or a peer makes it again.
    pub(super) async fn open(log: LogStore, generations: Generations, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let named = log.value(GENERATION).map_err(log_store::OpenError::of)?;
        let named = named.and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?)));
        generations.remove_others(named)?;
        let shared = Arc::new(Shared {
            state: RwLock::new(State::default()),
            progress: watch::Sender::new(Progress::default()),
            ledger_index: watch::Sender::new(0),
            written: watch::Sender::new(0),
            disk: RwLock::new(Weak::<Nowhere>::new()),
            effects: broadcast::Sender::new(EFFECTS_KEPT),
            withdrawn: Mutex::default(),
        });
        if let Some(generation) = named {
            match open_generation(&generations, generation) {
                Ok(None) => tracing::error!(generation, "the state is missing; it is made again from the log or a peer"),
                Ok(Some((store, state, applied))) => {
                    let members = applied.last_membership.membership();
                    // Left by a build that did not remember them with a state that it was sent.
                    if log.value(MEMBERS).map_err(log_store::OpenError::of)?.is_none() && *members != Membership::default() {
                        log.set_value(MEMBERS, codec::stored(&codec::membership_to_wire(members))).await?;
                    }
                    shared.take_state(state, &store);
                    let machine = Self { shared, clock, log, generations, generation, store, applied, built: None };
                    machine.tell_progress();
                    return Ok(machine);
                }
                Err(problem) if problem.is_damage() && !mutant!("N19") => {
                    tracing::error!(%problem, "the state is damaged; it is made again from the log or a peer");
                }
                // A full disk, a held lock, a newer release's rows: whole, perhaps, and the last ones there are.
                Err(problem) => return Err(OpenError::Unusable(problem)),
            }
        }
        let empty = generations.begin()?.finish_empty().await?;
        log.set_value(GENERATION, empty.generation().to_be_bytes().to_vec()).await?;
        let (generation, store) = (empty.generation(), Store::new(empty.disk()));
        shared.take_state(State::default(), &store);
        empty.keep();
        generations.remove_others(Some(generation))?;
        let applied = SnapshotMeta::default();
        Ok(Self { shared, clock, log, generations, generation, store, applied, built: None })
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// The last entry applied.
    pub(super) fn last_applied(&self) -> Option<LogId> {
        self.applied.last_log_id
    }

    /// The members as last applied, from the log's copy.
    pub(super) fn known_members(&self) -> io::Result<Membership> {
        let copy = self.log.value(MEMBERS).map_err(io::Error::other)?;
        let decode = |bytes: Vec<u8>| codec::membership(codec::read_stored(&bytes)?);
        Ok(copy.map(decode).transpose().map_err(io::Error::other)?.unwrap_or_default())
    }

    fn tell_progress(&self) {
        let next_log_index = self.applied.last_log_id.map_or(0, |last| last.index + 1);
        let ledger_index = self.shared.state.read().ledger_index();
        self.shared.progress.send_replace(Progress { next_log_index, ledger_index });
        self.shared.ledger_index.send_replace(ledger_index);
        metrics::ledger_index(ledger_index);
    }

    fn position(&self) -> Vec<u8> {
        codec::stored(&codec::position_to_wire(&self.applied))
    }

    /// Applies the commands of one entry in memory.
    fn apply_batch(&self, batch: &Batch, deltas: &mut Vec<Delta>, effects: &mut Vec<Effect>) -> io::Result<Answers> {
        let mut answers = Vec::with_capacity(batch.commands.len());
        let mut state = self.shared.state.write();
        for command in &batch.commands {
            // A committed command that this release cannot read: going on without it would make this replica differ.
            let entry = rows::decode_entry(command).map_err(io::Error::other)?;
            // Planted bug: the time is this node's, not the entry's.
            let entry = if mutant!("M20") { Entry { proposed_at: Timestamp(self.clock.wall_ms()), ..entry } } else { entry };
            let applied = apply(&mut state, &entry);
            if let (Command::WithdrawLease { lease_id, reason }, Ok(_)) = (&entry.command, &applied.outcome) {
                let mut withdrawn = self.shared.withdrawn.lock();
                withdrawn.push_back((*lease_id, reason.clone()));
                if withdrawn.len() > WITHDRAWN_KEPT {
                    withdrawn.pop_front();
                }
            }
            deltas.push(applied.delta);
            effects.extend(applied.effects);
            // A repeated key is answered with the index of the first time: that is the one a watch shows.
            answers.push(Answer { outcome: applied.outcome, ledger_index: applied.answered_at });
        }
        Ok(Answers(answers))
    }

    /// Makes the rows durable and freezes them. Nothing is applied meanwhile, so view and position agree.
    async fn freeze(&mut self) -> io::Result<(SnapshotMeta, Arc<dyn FrozenView>)> {
        // Planted bug: the log is purged below a state that is not synced.
        let sync = !mutant!("M25");
        self.store.commit(Vec::new(), &self.position(), sync).await.map_err(io::Error::other)?;
        let view = self.store.freeze();
        self.built = Some((self.applied.clone(), Arc::downgrade(&view)));
        Ok((self.applied.clone(), view))
    }

    /// Takes a received state into use: one synced write of its number is the instant of the change.
    pub(super) async fn install(&mut self, meta: &SnapshotMeta, received: Received) -> io::Result<()> {
        let opened = Store::new(received.disk()).open().map_err(io::Error::other)?;
        let applied = decode_position(opened.position.as_deref()).map_err(io::Error::other)?;
        if applied != *meta {
            return Err(io::Error::other(format!("a snapshot said to be {meta} is {applied}")));
        }
        crate::fault_point!("raft.snapshot.before_install");
        // As with a change of the members that is applied: with this state damaged it tells whom to ask for another (seed 1188).
        let members = applied.last_membership.membership();
        self.log.set_value(MEMBERS, codec::stored(&codec::membership_to_wire(members))).await?;
        self.log.set_value(GENERATION, received.generation().to_be_bytes().to_vec()).await?;
        crate::fault_point!("raft.snapshot.after_install");
        let before = std::mem::replace(&mut self.generation, received.generation());
        self.store = Store::new(received.disk());
        self.built = None;
        self.applied = applied;
        received.keep();
        self.shared.take_state(opened.state, &self.store);
        self.tell_progress();
        // Nobody listening is no fault; a listener that was there looks at everything after a gap.
        drop(self.shared.effects.send(Arc::new([])));
        if let Err(error) = self.generations.remove(before) {
            tracing::warn!(%error, "the state before the snapshot stays until the next start");
        }
        Ok(())
    }
}

type OpenGeneration = (Store, State, SnapshotMeta);

fn open_generation(generations: &Generations, generation: u64) -> Result<Option<OpenGeneration>, storage::Error> {
    let Some(disk) = generations.open(generation)? else { return Ok(None) };
    let store = Store::new(disk);
    let opened = store.open()?;
    let damaged = |error: codec::Error| storage::Error::Damaged(error.to_string());
    let applied = decode_position(opened.position.as_deref()).map_err(damaged)?;
    Ok(Some((store, opened.state, applied)))
}

fn decode_position(bytes: Option<&[u8]>) -> Result<SnapshotMeta, codec::Error> {
    match bytes {
        None => Ok(SnapshotMeta::default()),
        Some(bytes) => codec::position(codec::read_stored(bytes)?),
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Frozen;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied.last_log_id, self.applied.last_membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            crate::fault_point!("raft.apply.before");
            let begun = self.clock.mono();
            let (mut deltas, mut effects, mut replies, mut members) = (Vec::new(), Vec::new(), Vec::new(), None);
            // Nothing is awaited before all is told: who reads the state would see what nobody has been told of.
            for item in chunk {
                let (entry, responder) = item?;
                let answers = match entry.payload {
                    EntryPayload::Blank => Answers::default(),
                    EntryPayload::Normal(batch) => self.apply_batch(&batch, &mut deltas, &mut effects)?,
                    EntryPayload::Membership(membership) => {
                        members = Some(codec::stored(&codec::membership_to_wire(&membership)));
                        self.applied.last_membership = StoredMembership::new(Some(entry.log_id), membership);
                        Answers::default()
                    }
                };
                self.applied.last_log_id = Some(entry.log_id);
                replies.extend(responder.map(|responder| (responder, answers)));
            }
            // The answer needs the entry in the log, which it is, and not these rows.
            self.tell_progress();
            for (responder, answers) in replies {
                responder.send(answers);
            }
            if !effects.is_empty() {
                // Effects are hints; a node with nobody listening does not lead.
                drop(self.shared.effects.send(effects.into()));
            }
            if let Some(copy) = members {
                // A copy beside the log: with the state damaged it tells whom to ask for another. Never older than the state.
                self.log.set_value(MEMBERS, copy).await?;
            }
            // Memory is ahead of the disk now; if that stays so, the node ends.
            self.store.commit(deltas, &self.position(), false).await.map_err(io::Error::other)?;
            self.shared.written.send_replace(*self.shared.ledger_index.borrow());
            metrics::applied_batch(self.clock.mono().since(begun).as_secs_f64());
            crate::fault_point!("raft.apply.after");
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Frozen> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Frozen {
        crate::fault_point!("raft.snapshot.before_build");
        Frozen(Some(self.freeze().await))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        let received = match data {
            SnapshotData::Received(received) => received,
            SnapshotData::View(view) => self.generations.copy(view).await.map_err(io::Error::other)?,
        };
        self.install(meta, received).await?;
        // What was installed is this node's snapshot from now on.
        self.freeze().await.map(drop)
    }

    /// The view that is being sent already, or a new one of the state as it is, if a snapshot was ever built.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some((meta, view)) = &self.built else { return Ok(None) };
        let (meta, view) = match view.upgrade() {
            Some(view) => (meta.clone(), view),
            None => self.freeze().await?,
        };
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::View(view) }))
    }
}

/// A frozen state on its way to being a snapshot.
pub struct Frozen(Option<io::Result<(SnapshotMeta, Arc<dyn FrozenView>)>>);

impl RaftSnapshotBuilder<TypeConfig> for Frozen {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let frozen = self.0.take().ok_or_else(|| io::Error::other("a builder builds once"))?;
        let (meta, view) = frozen?;
        crate::fault_point!("raft.snapshot.after_build");
        Ok(Snapshot { meta, snapshot: SnapshotData::View(view) })
    }
}
