//! Snapshots: the rows of a frozen view, sent in checksummed chunks (architecture D3).
//!
//! There is no snapshot file: the synced state is the snapshot, and a frozen view of it is what is sent. What is
//! received is written to a disk of its own, beside the one in use; installing it is one synced write of its number in
//! the log ([`super::state_machine`]). A disk whose number was never written is removed at the next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_ledger::storage::disk::{Disk, DiskError, FrozenView, RowChange};
use leasehold_ledger::storage::snapshot::{SnapshotError, SnapshotReader, SnapshotWriter};

use crate::seams::{DiskUse, Disks};

/// Names of disks that hold a state begin with this.
const NAME: &str = "state-";

/// The disk of a generation: `state-7`.
pub(super) fn disk_name(generation: u64) -> String {
    format!("{NAME}{generation}")
}

/// The inverse of [`disk_name`].
pub(super) fn generation(name: &str) -> Option<u64> {
    name.strip_prefix(NAME)?.parse().ok()
}

/// A snapshot on its way.
pub enum SnapshotData {
    /// Of this node's own state.
    View(Arc<dyn FrozenView>),
    /// Received and checked, waiting to be installed.
    Received(Received),
}

impl std::fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::View(_) => f.write_str("View"),
            Self::Received(received) => write!(f, "Received({})", received.generation),
        }
    }
}

/// A snapshot could not be received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("a received snapshot cannot be written")]
    Disk(#[from] DiskError),
    /// What was sent is no good.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Gives out new disks for states, each number once.
#[derive(Clone)]
pub(super) struct Generations {
    disks: Arc<dyn Disks>,
    next: Arc<AtomicU64>,
}

impl Generations {
    /// Numbers above all that are there.
    pub(super) fn new(disks: Arc<dyn Disks>) -> Result<Self, DiskError> {
        let highest = disks.names()?.iter().filter_map(|name| generation(name)).max().unwrap_or(0);
        Ok(Self { disks, next: Arc::new(AtomicU64::new(highest + 1)) })
    }

    /// A new, empty disk.
    pub(super) fn begin(&self) -> Result<Receiver, DiskError> {
        let generation = self.next.fetch_add(1, Ordering::SeqCst);
        let disk = self.disks.open(&disk_name(generation), DiskUse::State)?;
        let received = Received { disks: self.disks.clone(), generation, disk: Some(disk), keep: false };
        Ok(Receiver { received, checks: SnapshotWriter::default() })
    }

    /// Opens the disk of a generation, if it is there. Opening makes a disk that is missing: an empty one would then be in use under
    /// a number that is still to be given out (found by the simulation).
    pub(super) fn open(&self, generation: u64) -> Result<Option<Arc<dyn Disk>>, DiskError> {
        let name = disk_name(generation);
        if !self.disks.names()?.contains(&name) {
            return Ok(None);
        }
        self.disks.open(&name, DiskUse::State).map(Some)
    }

    /// Removes every disk of a state but one.
    pub(super) fn remove_others(&self, keep: Option<u64>) -> Result<(), DiskError> {
        for name in self.disks.names()? {
            if generation(&name).is_some_and(|found| Some(found) != keep) {
                self.disks.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes the disk of a generation.
    pub(super) fn remove(&self, generation: u64) -> Result<(), DiskError> {
        self.disks.remove(&disk_name(generation))
    }

    /// Copies a frozen view to a new disk, through the same chunks that are sent.
    pub(super) async fn copy(&self, view: Arc<dyn FrozenView>) -> Result<Received, Error> {
        let mut reader = SnapshotReader::new(view);
        let mut receiver = self.begin()?;
        while let Some(chunk) = reader.next_chunk()? {
            receiver.accept(&chunk).await?;
        }
        receiver.finish().await
    }
}

/// Takes chunks of a snapshot to a new disk. Dropped before the end, it leaves nothing.
pub(super) struct Receiver {
    received: Received,
    checks: SnapshotWriter,
}

impl Receiver {
    /// Checks one chunk and writes its rows, unsynced.
    pub(super) async fn accept(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let rows = self.checks.accept(chunk)?;
        let batch = rows.into_iter().map(|(key, value)| RowChange { key, value: Some(value) }).collect();
        Ok(self.received.disk().write(batch, false).await?)
    }

    /// Ends without any row: the state before the first entry.
    pub(super) async fn finish_empty(self) -> Result<Received, DiskError> {
        self.received.disk().write(Vec::new(), true).await?;
        Ok(self.received)
    }

    /// After the last chunk: everything is there, agrees with the trailer, and is durable.
    pub(super) async fn finish(self) -> Result<Received, Error> {
        self.checks.finish()?;
        self.received.disk().write(Vec::new(), true).await?;
        Ok(self.received)
    }
}

/// A complete state on a disk that is not in use yet. Dropped without being installed, its disk goes.
pub struct Received {
    disks: Arc<dyn Disks>,
    generation: u64,
    disk: Option<Arc<dyn Disk>>,
    keep: bool,
}

impl Received {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone().expect("the disk is taken only when this is dropped")
    }

    /// The disk is in use now and must stay.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Closed before its folder goes.
        drop(self.disk.take());
        if !self.keep
            && let Err(error) = self.disks.remove(&disk_name(self.generation))
        {
            tracing::warn!(generation = self.generation, %error, "a discarded snapshot stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::seams::RocksDisks;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_state_that_is_gone_is_not_made_by_looking_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let generations = Generations::new(Arc::new(RocksDisks::new(folder.path()).unwrap())).unwrap();
        assert!(generations.open(1).unwrap().is_none());
        let made = generations.begin().unwrap().finish_empty().await.unwrap();
        assert_eq!(made.generation(), 1);
        made.keep();
        assert!(generations.open(1).unwrap().is_some());
    }
}
