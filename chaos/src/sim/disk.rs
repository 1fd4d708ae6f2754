//! Disks that lose what was not synced.
//!
//! A write takes effect at its own instant, in the order of the calls, as on the thread of the real one. A killed process
//! keeps what took effect; a power cut keeps what was synced and a drawn part of the rest, in order, of each disk by itself.
//! Batches are atomic because the write-ahead log's records are checksummed: a torn one is none, and what follows it, too.
//!
//! A row that rotted is refused when it is read, as the checksum of the block it stands in has it; one whose bits flipped before
//! it was written reads as it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::storage::disk::{Disk, DiskError, DiskFuture, FrozenView, Row, RowChange};
use leasehold_node::seams::{DiskUse, Disks};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::rng::{at, spread, stream};
use super::trace::Trace;

/// Bytes that what is live, what is durable and what is under way have in common.
type Bytes = Arc<[u8]>;
type Rows = BTreeMap<Bytes, Bytes>;
/// Keys of rows whose checksum is wrong.
type Rotten = BTreeSet<Bytes>;
/// Rows by key; `None`: it is removed.
type Batch = Vec<(Bytes, Option<Bytes>)>;

/// How a node's disks misbehave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// The next synced write fails.
    pub sync_error: bool,
    /// Every write fails.
    pub full: bool,
    /// The next synced write takes so much longer.
    pub hang: Option<Duration>,
    /// Every write takes so many times as long.
    pub slow: u32,
}

/// All disks of one node; they outlive its lives.
pub struct SimDisks {
    node: u64,
    seed: u64,
    trace: Arc<Trace>,
    lies: bool,
    inner: Arc<Mutex<Inner>>,
}

/// Which of a node's disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The Raft log and what stands beside it.
    Log,
    /// The rows of the state.
    State,
}

impl Part {
    fn has(self, name: &str) -> bool {
        (name == "log") == (self == Part::Log)
    }
}

#[derive(Default)]
struct Inner {
    /// The node is dead and may not know it yet: what its tasks still ask for, as they are dropped, is not done.
    off: bool,
    life: u64,
    disks: BTreeMap<String, Platter>,
    trouble: Trouble,
    writes: u64,
    /// The log is not what it was written as.
    log_lost: bool,
}

/// What a synced disk has of an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It, by its digest.
    Entry(u128),
    /// It was purged, or the state is beyond it.
    Later,
    /// Nothing.
    Nothing,
    /// The log was lost, or damaged.
    Lost,
}

/// One disk.
#[derive(Default)]
struct Platter {
    live: Arc<Rows>,
    /// Rows whose checksum is wrong.
    rotten: Arc<Rotten>,
    /// As of the last sync; rows of its own, so that a write after a sync need not copy everything.
    durable: Rows,
    /// What took effect since, in order.
    unsynced: Vec<Batch>,
    queue: VecDeque<Job>,
    last_due: Option<Instant>,
    number: u64,
}

struct Job {
    due: Instant,
    batch: Batch,
    sync: bool,
}

impl Platter {
    /// Lets everything take effect that is due.
    fn advance(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|job| job.due <= now) {
            if let Some(job) = self.queue.pop_front() {
                self.execute(job.batch, job.sync);
            }
        }
    }

    fn execute(&mut self, batch: Batch, sync: bool) {
        if !self.rotten.is_empty() && batch.iter().any(|(key, _)| self.rotten.contains(key)) {
            let rotten = Arc::make_mut(&mut self.rotten);
            for (key, _) in &batch {
                rotten.remove(key);
            }
        }
        change(Arc::make_mut(&mut self.live), &batch);
        self.unsynced.push(batch);
        if sync {
            for batch in self.unsynced.drain(..) {
                change(&mut self.durable, &batch);
            }
        }
    }
}

fn change(rows: &mut Rows, batch: &[(Bytes, Option<Bytes>)]) {
    for (key, value) in batch {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

impl SimDisks {
    /// Empty disks. Those that lie say that they have synced, and have not.
    pub fn new(node: u64, seed: u64, trace: Arc<Trace>, lies: bool) -> SimDisks {
        SimDisks { node, seed, trace, lies, inner: Arc::default() }
    }

    /// No orders are taken until [`power_on`](Self::power_on).
    pub fn power_off(&self) {
        self.trace.set_diskless(self.node, true);
        self.inner.lock().off = true;
    }

    /// Orders are taken.
    pub fn power_on(&self) {
        self.trace.set_diskless(self.node, false);
        self.inner.lock().off = false;
    }

    /// Whether they do.
    #[cfg(test)]
    pub fn take_orders(&self) -> bool {
        !self.inner.lock().off
    }

    /// The process died: what is under way may or may not take effect, what took effect stays.
    pub fn kill(&self) {
        self.trace.set_diskless(self.node, true);
        let mut inner = self.inner.lock();
        inner.life += 1;
        inner.off = true;
        let life = inner.life;
        for (name, platter) in &mut inner.disks {
            platter.advance(Instant::now());
            let kept = self.part(name, life, platter.queue.len());
            let under_way: Vec<Job> = platter.queue.drain(..).take(kept).collect();
            for job in under_way {
                platter.execute(job.batch, job.sync);
            }
        }
    }

    /// The power went: what was not synced is kept in part, from its beginning.
    pub fn power_cut(&self) {
        self.kill();
        let mut inner = self.inner.lock();
        let life = inner.life;
        for (name, platter) in &mut inner.disks {
            let kept = self.part(name, life + (1 << 32), platter.unsynced.len());
            let lost = platter.unsynced.split_off(kept);
            for batch in platter.unsynced.drain(..) {
                change(&mut platter.durable, &batch);
            }
            // Only what was lost is other than it was: a copy of all rows is much more work.
            let live = Arc::make_mut(&mut platter.live);
            for (key, _) in lost.into_iter().flatten() {
                match platter.durable.get(&key) {
                    Some(value) => live.insert(key, value.clone()),
                    None => live.remove(&key),
                };
            }
        }
    }

    /// How many of `whole` survive: none, all, or some, each a third of the time.
    fn part(&self, name: &str, life: u64, whole: usize) -> usize {
        let drawn = at(self.seed, stream(name, &[self.node, 0xC4A5]), life);
        match drawn % 3 {
            0 => 0,
            1 => whole,
            _ => (drawn / 3) as usize % (whole + 1),
        }
    }

    /// One part is gone, or both. The node must be down.
    pub fn lose(&self, part: Option<Part>) {
        let mut inner = self.inner.lock();
        inner.log_lost |= part != Some(Part::State);
        inner.disks.retain(|name, _| part.is_some_and(|part| !part.has(name)));
    }

    /// A bit of one row flips. The node must be down. `seen`: the disk's checksum tells; else only what reads the row can tell,
    /// and the row is one whose reader does: an entry of the log, in the byte that says how to read it, or a row under the
    /// state's hash. Says which row it was; `None`: there is none.
    pub fn rot(&self, part: Part, pick: u64, seen: bool) -> Option<String> {
        let mut inner = self.inner.lock();
        inner.log_lost |= part == Part::Log;
        let (name, platter) = inner.disks.iter_mut().rfind(|(name, platter)| part.has(name) && !platter.live.is_empty())?;
        let under_hash = |key: &&Bytes| match part {
            Part::Log => key.first() == Some(&1),
            Part::State => key.len() > 1,
        };
        // The copy of the members is read only when the state is damaged, too; until then its damage is none.
        let matters = |key: &&Bytes| key.as_ref() != b"\0members" && (seen || under_hash(key));
        let keys: Vec<&Bytes> = platter.live.keys().filter(matters).collect();
        let key = (*keys.get(pick as usize % keys.len().max(1))?).clone();
        if seen {
            Arc::make_mut(&mut platter.rotten).insert(key.clone());
        } else {
            let flip = |value: &mut Bytes| {
                let mut bytes = value.to_vec();
                let at = if part == Part::Log { 0 } else { 1 + (pick >> 32) as usize % (bytes.len().max(2) - 1) };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 0x80;
                }
                *value = bytes.into();
            };
            Arc::make_mut(&mut platter.live).entry(key.clone()).and_modify(flip);
            platter.durable.entry(key.clone()).and_modify(flip);
        }
        Some(format!("{name} row {}", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    /// What of an entry of the log would be there if the power went now, whatever is drawn.
    pub fn entry(&self, index: u64) -> Kept {
        let mut inner = self.inner.lock();
        if inner.log_lost {
            return Kept::Lost;
        }
        let Some((_, platter)) = inner.disks.iter_mut().find(|(name, _)| Part::Log.has(name)) else { return Kept::Nothing };
        platter.advance(Instant::now());
        // As the product keys its entries (`node/src/raft/log_store.rs`).
        let from = [&[1][..], &index.to_be_bytes()].concat();
        let is_entry = |key: &Bytes| key.first() == Some(&1);
        let next =
            platter.durable.range::<[u8], _>((Bound::Included(&from[..]), Bound::Unbounded)).find(|(key, _)| is_entry(key));
        match next {
            Some((key, value)) if key.as_ref() == from => Kept::Entry(xxhash_rust::xxh3::xxh3_128(value)),
            Some(_) => Kept::Later,
            // A log without any entry was purged up to where the state is, and what came then would be there.
            None if platter.durable.contains_key(&b"\0purged"[..]) && !platter.durable.keys().any(is_entry) => Kept::Later,
            None => Kept::Nothing,
        }
    }

    /// Whether every write fails for want of space.
    pub fn are_full(&self) -> bool {
        self.inner.lock().trouble.full
    }

    /// Sets what is wrong with them.
    pub fn trouble(&self, set: impl FnOnce(&mut Trouble)) {
        set(&mut self.inner.lock().trouble);
    }
}

impl Disks for SimDisks {
    fn open(&self, name: &str, _: DiskUse) -> Result<Arc<dyn Disk>, DiskError> {
        let mut inner = self.inner.lock();
        if inner.off {
            return Err(failed("open", "the process is gone"));
        }
        inner.disks.entry(name.to_owned()).or_default();
        let (name, life) = (name.to_owned(), inner.life);
        let latency = stream(&name, &[self.node]);
        let trace = self.trace.clone();
        let (node, seed, lies) = (self.node, self.seed, self.lies);
        Ok(Arc::new(SimDisk { node, seed, lies, latency, name, life, inner: self.inner.clone(), trace }))
    }

    fn names(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.inner.lock().disks.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut inner = self.inner.lock();
        if inner.off {
            return Err(failed("remove", "the process is gone"));
        }
        inner.disks.remove(name);
        Ok(())
    }
}

/// A disk as opened in one life.
struct SimDisk {
    node: u64,
    seed: u64,
    lies: bool,
    latency: u64,
    name: String,
    life: u64,
    inner: Arc<Mutex<Inner>>,
    trace: Arc<Trace>,
}

fn failed(what: &'static str, cause: &str) -> DiskError {
    DiskError { what, cause: cause.to_owned(), damaged: false }
}

impl SimDisk {
    /// The disk as it is now; an error if it was removed, or opened by another life.
    fn with<T>(&self, what: &'static str, look: impl FnOnce(&mut Platter) -> T) -> Result<T, DiskError> {
        let mut inner = self.inner.lock();
        if inner.life != self.life {
            return Err(failed(what, "the process that opened it is gone"));
        }
        let platter = inner.disks.get_mut(&self.name).ok_or_else(|| failed(what, "removed"))?;
        platter.advance(Instant::now());
        Ok(look(platter))
    }
}

impl Disk for SimDisk {
    fn write(&self, batch: Vec<RowChange>, sync: bool) -> DiskFuture<()> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.writes += 1;
        let trouble = inner.trouble;
        if sync {
            inner.trouble.sync_error = false;
            inner.trouble.hang = None;
        }
        let broken = trouble.full || (sync && trouble.sync_error);
        let Some(platter) = inner.disks.get_mut(&self.name) else {
            return Box::pin(std::future::ready(Err(failed("write", "removed"))));
        };
        platter.number += 1;
        let number = platter.number;
        let drawn = at(self.seed, self.latency, number);
        let mut takes = if sync { spread(60, 600, drawn) } else { spread(5, 50, drawn) };
        // Every hundredth waits for the device.
        if drawn.rotate_left(20).is_multiple_of(100) {
            takes += Duration::from_millis(5);
        }
        takes *= trouble.slow.max(1);
        if sync {
            takes += trouble.hang.unwrap_or_default();
        }
        let due = platter.last_due.map_or(now, |last| last.max(now)) + takes;
        platter.last_due = Some(due);
        if !broken {
            let batch = batch.into_iter().map(|RowChange { key, value }| (key.into(), value.map(Bytes::from))).collect();
            platter.queue.push_back(Job { due, batch, sync: sync && !self.lies });
        }
        drop(inner);
        let this = SimDisk { name: self.name.clone(), inner: self.inner.clone(), trace: self.trace.clone(), ..*self };
        Box::pin(async move {
            tokio::time::sleep_until(due).await;
            if broken {
                let cause = if trouble.full { "No space left on device" } else { "Input/output error" };
                this.trace.note("disk failed", this.node, 0, number);
                this.trace.set_diskless(this.node, true);
                return Err(failed("write", cause));
            }
            this.with("write", |_| ())?;
            this.trace.note(if sync { "disk sync" } else { "disk write" }, this.node, this.latency, number);
            Ok(())
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.with("get", |platter| match platter.rotten.contains(key) {
            true => Err(rotten("get")),
            false => Ok(platter.live.get(key).map(|value| value.to_vec())),
        })?
    }

    fn freeze(&self) -> Arc<dyn FrozenView> {
        Arc::new(Frozen(self.with("freeze", |platter| (platter.live.clone(), platter.rotten.clone()))))
    }
}

fn rotten(what: &'static str) -> DiskError {
    DiskError { what, cause: "Corruption: block checksum mismatch".to_owned(), damaged: true }
}

struct Frozen(Result<(Arc<Rows>, Arc<Rotten>), DiskError>);

impl FrozenView for Frozen {
    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<Row>, DiskError> {
        let (rows, bad) = self.0.as_ref().map_err(Clone::clone)?;
        let found = rows.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).take(limit);
        if !bad.is_empty() && found.clone().any(|(key, _)| bad.contains(key)) {
            return Err(rotten("scan"));
        }
        Ok(found.map(|(key, value)| (key.to_vec(), value.to_vec())).collect())
    }
}
