//! Counters that clients, nemesis and verdict share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What has happened so far.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    creates: AtomicU64,
    writes: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    last_write_ms: AtomicU64,
    longest_gap_ms: AtomicU64,
    hashes: Mutex<BTreeMap<u64, (u64, String)>>,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            begun: Instant::now(),
            creates: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_write_ms: AtomicU64::new(0),
            longest_gap_ms: AtomicU64::new(0),
            hashes: Mutex::new(BTreeMap::new()),
        }
    }
}

impl Progress {
    /// A write was acknowledged; `create`: a new lease.
    pub fn acknowledged(&self, create: bool) {
        self.creates.fetch_add(u64::from(create), Ordering::Relaxed);
        self.writes.fetch_add(1, Ordering::Relaxed);
        let now = self.elapsed_ms();
        let before = self.last_write_ms.fetch_max(now, Ordering::Relaxed);
        self.longest_gap_ms.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }

    /// The outcome of a write stayed unknown to its client.
    pub fn unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
    }

    /// A write was refused.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Acknowledged new leases.
    pub fn creates(&self) -> u64 {
        self.creates.load(Ordering::Relaxed)
    }

    /// Acknowledged writes.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// How long no write has been acknowledged until now.
    pub fn silence(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_write_ms.load(Ordering::Relaxed)))
    }

    /// The longest time between two acknowledged writes.
    pub fn longest_gap(&self) -> Duration {
        Duration::from_millis(self.longest_gap_ms.load(Ordering::Relaxed)).max(self.silence())
    }

    /// A node's state hash at a ledger index; answers who else showed another one there.
    pub fn seen_hash(&self, node: u64, index: u64, hash: &str) -> Option<u64> {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let (other, known) = hashes.entry(index).or_insert_with(|| (node, hash.to_owned()));
        (known != hash).then_some(*other)
    }

    /// One line of figures.
    pub fn summary(&self) -> String {
        format!(
            "{} leases and {} writes acknowledged, {} refused, {} unknown",
            self.creates(),
            self.writes(),
            self.refused.load(Ordering::Relaxed),
            self.unknown.load(Ordering::Relaxed)
        )
    }

    /// Tells one thing.
    pub fn say(&self, line: &str) {
        println!("{:6.1} s  {line}", self.begun.elapsed().as_secs_f64());
    }

    fn elapsed_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}
