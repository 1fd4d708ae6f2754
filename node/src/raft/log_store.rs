//! The Raft log and vote on one disk, with the tail of the log in memory.
//!
//! What is appended can be read at once; it is durable when its callback was called. All writes go through one queue
//! ([`super::log_writer`]) in the order they were asked for, because a vote that overtakes an append can lose committed
//! entries (raft-notes §5.2). Knows nothing of what entries mean.
//!
//! Keys: `0x00` and a name for the few values below, `0x01` and the index, eight bytes big-endian, for entries.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use leasehold_ledger::mutant;
use leasehold_ledger::storage::disk::{Disk, DiskError, RowChange};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;

use super::codec::{self, wire};
use super::fatal::Fatal;
use super::log_writer::{Done, Job, LogWriter};
use super::types::{LeaderId, LogEntry, LogId, TypeConfig, Vote};
use crate::seams::{Clock, Spawner};

/// Layout of this disk. Another one is refused.
const FORMAT_VERSION: u32 = 1;
/// Entries kept in memory for replication, in encoded bytes.
const TAIL_BYTES_MAX: usize = 64 << 20;
/// Rows read at once when the log is opened.
const SCAN_ROWS: usize = 1024;
/// Bytes of entries that one read for replication returns at most, but at least one entry.
const READ_BYTES_MAX: usize = 4 << 20;

/// The log does not open. Nobody may guess what was on it, so the process ends; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is on the disk is not what was written.
    #[error("the Raft log is damaged; {ADVICE}")]
    Damaged(#[source] DiskError),
    /// The disk does not open or read: it is full, in use, or refused.
    #[error("the Raft log cannot be opened; nothing was changed: free the disk, end the other process, or correct the rights")]
    Disk(#[source] DiskError),
    /// A value does not decode.
    #[error("the Raft log is damaged ({what}); {ADVICE}")]
    Value {
        /// Where.
        what: String,
        /// Why.
        #[source]
        source: codec::Error,
    },
    /// Entries are not consecutive.
    #[error("the Raft log is damaged: entry {expected} is missing, found {found}; {ADVICE}")]
    Hole {
        /// Index that should be there.
        expected: u64,
        /// Index that is there instead.
        found: u64,
    },
    /// There is a state but no log that made it.
    #[error("the Raft log is missing although there is a state; {ADVICE}")]
    Missing,
    /// Written by another release's layout.
    #[error("the Raft log has format {found}, this release reads {FORMAT_VERSION}; start the release that wrote it")]
    Format {
        /// What is there.
        found: u32,
    },
    /// The data directory is another node's.
    #[error(
        "the data directory belongs to node {found}, the configuration says node {configured}; correct the one that is wrong"
    )]
    NodeId {
        /// What is there.
        found: u64,
        /// What was configured.
        configured: u64,
    },
}

impl OpenError {
    /// A failure of the disk, with the advice that fits.
    pub(super) fn of(error: DiskError) -> Self {
        if error.damaged { Self::Damaged(error) } else { Self::Disk(error) }
    }
}

/// What an operator does about a node that lost its log (architecture D14).
pub(super) const ADVICE: &str = "a node that lost its log must not come back under its id: `leasehold cluster remove` it, empty its \
    data directory, give it a new node id and `leasehold cluster add` it";

/// What is known of the log without reading the disk.
#[derive(Default)]
pub(super) struct Index {
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// Where an empty log began; the engine begins at 0.
    begin: u64,
    last: Option<LogId>,
    committed: Option<LogId>,
    /// Consecutive entries that end at `last`, with their encoded sizes.
    tail: VecDeque<(LogEntry, usize)>,
    tail_bytes: usize,
    /// Counts truncations: what was durable before one says nothing of the entries that took its place.
    truncations: u64,
}

impl Index {
    fn tail_first(&self) -> u64 {
        self.last.next_index() - self.tail.len() as u64
    }

    /// Lowest index that can be there.
    fn first(&self) -> u64 {
        self.purged.map_or(self.begin, |purged| purged.index + 1)
    }

    fn push(&mut self, entry: LogEntry, bytes: usize) {
        match self.last {
            Some(last) => assert_eq!(entry.log_id.index, last.index + 1, "the log has no holes"),
            None => self.begin = entry.log_id.index,
        }
        self.last = Some(entry.log_id);
        self.tail.push_back((entry, bytes));
        self.tail_bytes += bytes;
    }

    /// Entries up to an index became durable that were appended after so many truncations.
    pub(super) fn became_durable(&mut self, (truncations, upto): (u64, u64)) {
        if truncations == self.truncations {
            self.evict(Some(upto));
        }
    }

    /// Lets go of the oldest entries that are durable, down to the limit.
    fn evict(&mut self, durable: Option<u64>) {
        while self.tail_bytes > TAIL_BYTES_MAX && durable >= Some(self.tail_first()) {
            let Some((_, bytes)) = self.tail.pop_front() else { return };
            self.tail_bytes -= bytes;
        }
    }

    pub(super) fn committed_row(&self) -> Option<RowChange> {
        let committed = self.committed.as_ref()?;
        Some(row(meta_key("committed"), codec::stored(&codec::log_id_to_wire(committed))))
    }
}

impl Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let index = self.index.lock();
        f.debug_struct("LogStore").field("purged", &index.purged).field("last", &index.last).finish_non_exhaustive()
    }
}

/// The log of one node. Clones share it; a clone is also a reader.
#[derive(Clone)]
pub struct LogStore {
    disk: Arc<dyn Disk>,
    index: Arc<Mutex<Index>>,
    writer: LogWriter,
}

impl LogStore {
    /// Opens the log on `disk`, or makes a new one there if the disk is empty and `may_be_new`.
    ///
    /// # Errors
    /// See [`OpenError`]; none of them heals by trying again.
    pub async fn open(
        disk: Arc<dyn Disk>,
        spawner: &Spawner,
        fatal: Fatal,
        clock: Arc<dyn Clock>,
        node_id: u64,
        may_be_new: bool,
    ) -> Result<Self, OpenError> {
        check_identity(&*disk, node_id, may_be_new).await?;
        let index = Arc::new(Mutex::new(read_index(&*disk)?));
        let writer = LogWriter::start(disk.clone(), index.clone(), spawner, fatal, clock);
        Ok(Self { disk, index, writer })
    }

    /// Last entry that was purged; what is before it can only come from a state.
    #[must_use]
    pub(super) fn purged(&self) -> Option<LogId> {
        self.index.lock().purged
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> u64 {
        let index = self.index.lock();
        index.last.next_index().saturating_sub(index.first())
    }

    /// Whether this node ever voted.
    #[must_use]
    pub(super) fn has_voted(&self) -> bool {
        self.index.lock().vote.is_some()
    }

    /// Whom this node voted for last, itself perhaps, in which term.
    pub(super) fn voted_for(&self) -> Option<LeaderId> {
        self.index.lock().vote.map(|vote| vote.leader_id)
    }

    /// One of the node's own few values, see [`set_value`](Self::set_value).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn value(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.get(&meta_key(name))
    }

    /// Keeps a small value beside the log, durable when this returns, in order with all other writes.
    ///
    /// # Errors
    /// When the disk fails; the node is then ending.
    pub async fn set_value(&self, name: &str, value: Vec<u8>) -> Result<(), io::Error> {
        self.synced(vec![row(meta_key(name), value)]).await
    }

    /// A state up to this entry is about to take the place of one that was lost. Entries from there on that do not follow from it
    /// were never committed (a leader sent them that was replaced before it had a majority) and go, durably: beside the
    /// state the engine would take them for damage.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) async fn make_way(&mut self, state: LogId) -> Result<(), io::Error> {
        let Some(here) = self.read(state.index, state.index + 1, 1)?.pop() else { return Ok(()) };
        if here.log_id == state {
            return Ok(());
        }
        let before = self.read(state.index.saturating_sub(1), state.index, 1)?.pop();
        let before = before.map_or(self.purged(), |entry| Some(entry.log_id));
        tracing::info!(?state, ?before, "the log's end was never committed and gives way to the state");
        self.truncate_after(before).await
    }

    async fn synced(&self, rows: Vec<RowChange>) -> Result<(), io::Error> {
        let (done, answer) = oneshot::channel();
        self.writer.push(Job { rows, done: Done::Synced(done) });
        answer.await.map_err(|_| io::Error::other("the log writer is gone"))?
    }

    /// Entries of `[start, end)` that are there, up to about `bytes_max` but at least one.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<LogEntry>, io::Error> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut next = start.max(self.index.lock().first());
        while next < end && (bytes < bytes_max || found.is_empty()) {
            let cached = {
                let index = self.index.lock();
                if next >= index.last.next_index() {
                    break;
                }
                let first = index.tail_first();
                next.checked_sub(first).and_then(|at| index.tail.get(usize::try_from(at).ok()?).cloned())
            };
            let (entry, size) = match cached {
                Some(cached) => cached,
                None => match self.disk.get(&entry_key(next)).map_err(io::Error::other)? {
                    Some(value) => (decode(&value).map_err(io::Error::other)?, value.len()),
                    // Purged since the loop began: nothing below is there either, so what follows is the beginning.
                    None if next < self.index.lock().first() => {
                        found.clear();
                        next = self.index.lock().first();
                        continue;
                    }
                    None => return Err(io::Error::other(format!("log entry {next} is missing"))),
                },
            };
            bytes += size;
            found.push(entry);
            next += 1;
        }
        Ok(found)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<LogEntry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.index.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let index = self.index.lock();
        Ok(LogState { last_purged_log_id: index.purged, last_log_id: index.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        crate::fault_point!("raft.vote.before_save");
        let rows = vec![row(meta_key("vote"), codec::stored(&codec::vote_to_wire(vote)))];
        // Planted bug: a vote is given without a sync.
        if mutant!("M02") {
            self.disk.write(rows, false).await.map_err(io::Error::other)?;
        } else {
            self.synced(rows).await?;
        }
        crate::fault_point!("raft.vote.after_save");
        self.index.lock().vote = Some(*vote);
        Ok(())
    }

    /// Written with the next synced batch: a restarted node may know less than was committed, never more.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.index.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.index.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        let upto = {
            let mut index = self.index.lock();
            for entry in entries {
                let value = codec::stored(&codec::entry_to_wire(&entry));
                let bytes = value.len();
                rows.push(row(entry_key(entry.log_id.index), value));
                index.push(entry, bytes);
            }
            index.last.map(|last| (index.truncations, last.index))
        };
        self.writer.push(Job { rows, done: Done::Appended { callback, upto } });
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let rows = {
            let mut index = self.index.lock();
            let keep = last_log_id.next_index().max(index.first());
            let end = index.last.next_index();
            if last_log_id.next_index() >= end {
                return Ok(());
            }
            // From the end backward, so that no hole shows whatever part of it is read.
            let rows: Vec<_> = (keep..end).rev().map(|at| RowChange { key: entry_key(at), value: None }).collect();
            for _ in &rows {
                let Some((_, bytes)) = index.tail.pop_back() else { break };
                index.tail_bytes -= bytes;
            }
            index.last = if last_log_id > index.purged { last_log_id } else { index.purged };
            index.truncations += 1;
            rows
        };
        self.synced(rows).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let rows = {
            let mut index = self.index.lock();
            if index.purged >= Some(log_id) {
                return Ok(());
            }
            let start = index.first();
            let end = index.last.next_index().min(log_id.index + 1);
            let mut rows: Vec<_> = (start..end).map(|at| RowChange { key: entry_key(at), value: None }).collect();
            rows.push(row(meta_key("purged"), codec::stored(&codec::log_id_to_wire(&log_id))));
            for _ in index.tail_first()..=log_id.index {
                let Some((_, bytes)) = index.tail.pop_front() else { break };
                index.tail_bytes -= bytes;
            }
            index.purged = Some(log_id);
            if index.last < Some(log_id) {
                index.last = Some(log_id);
            }
            rows
        };
        crate::fault_point!("raft.log.before_purge");
        self.synced(rows).await?;
        crate::fault_point!("raft.log.after_purge");
        Ok(())
    }
}

/// Refuses a disk that is not this node's log, and marks an empty one as such.
async fn check_identity(disk: &dyn Disk, node_id: u64, may_be_new: bool) -> Result<(), OpenError> {
    let number = |name: &'static str| -> Result<Option<u64>, OpenError> {
        let Some(value) = disk.get(&meta_key(name)).map_err(OpenError::of)? else { return Ok(None) };
        let wrong = || OpenError::Value { what: name.into(), source: codec::Error::Missing(name) };
        Ok(Some(u64::from_be_bytes(value.try_into().map_err(|_| wrong())?)))
    };
    match (number("format_version")?, number("node_id")?) {
        (Some(format), Some(found)) => {
            if format != u64::from(FORMAT_VERSION) {
                return Err(OpenError::Format { found: u32::try_from(format).unwrap_or(u32::MAX) });
            }
            if found != node_id {
                return Err(OpenError::NodeId { found, configured: node_id });
            }
            Ok(())
        }
        (None, None) if may_be_new && disk.freeze().scan(&[], 1).map_err(OpenError::of)?.is_empty() => {
            let rows = vec![
                row(meta_key("format_version"), u64::from(FORMAT_VERSION).to_be_bytes().to_vec()),
                row(meta_key("node_id"), node_id.to_be_bytes().to_vec()),
            ];
            disk.write(rows, true).await.map_err(OpenError::of)
        }
        _ => Err(OpenError::Missing),
    }
}

/// Reads the whole log once: checks that it has no holes, keeps its tail.
fn read_index(disk: &dyn Disk) -> Result<Index, OpenError> {
    let meta = |name: &'static str| disk.get(&meta_key(name)).map_err(OpenError::of);
    fn stored<M: Message + Default>(name: &str, value: Option<Vec<u8>>) -> Result<Option<M>, OpenError> {
        let wrong = |source| OpenError::Value { what: name.into(), source };
        value.map(|value| codec::read_stored(&value).map_err(wrong)).transpose()
    }
    let log_id = |name| Ok(stored::<wire::LogId>(name, meta(name)?)?.as_ref().map(codec::log_id));
    let purged = log_id("purged")?;
    let mut index = Index {
        vote: stored::<wire::Vote>("vote", meta("vote")?)?.as_ref().map(codec::vote),
        purged,
        last: purged,
        committed: log_id("committed")?,
        ..Index::default()
    };
    let view = disk.freeze();
    let mut from = entry_key(0);
    loop {
        let rows = view.scan(&from, SCAN_ROWS).map_err(OpenError::of)?;
        let full = rows.len() == SCAN_ROWS;
        for (key, value) in rows {
            let at = entry_index(&key)
                .ok_or_else(|| OpenError::Value { what: format!("key {key:02x?}"), source: codec::Error::Missing("index") })?;
            let wrong = |source| OpenError::Value { what: format!("entry {at}"), source };
            let entry = match decode(&value) {
                // Planted bug: the log ends where it is damaged, and nobody is told.
                Err(_) if mutant!("M26") => return Ok(index),
                decoded => decoded.map_err(wrong)?,
            };
            let expected = index.last.next_index();
            if at != expected || entry.log_id.index != at {
                return Err(OpenError::Hole { expected, found: at });
            }
            index.push(entry, value.len());
            index.evict(Some(at));
            from = entry_key(at + 1);
        }
        if !full {
            return Ok(index);
        }
    }
}

fn decode(value: &[u8]) -> Result<LogEntry, codec::Error> {
    codec::entry(codec::read_stored(value)?)
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&at) => at + 1,
        Bound::Excluded(&at) => at,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn row(key: Vec<u8>, value: Vec<u8>) -> RowChange {
    RowChange { key, value: Some(value) }
}

fn meta_key(name: &str) -> Vec<u8> {
    [&[0], name.as_bytes()].concat()
}

fn entry_key(index: u64) -> Vec<u8> {
    [&[1][..], &index.to_be_bytes()].concat()
}

fn entry_index(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(&[1])?.try_into().ok()?))
}
