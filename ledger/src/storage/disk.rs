//! The disk as the ledger needs it: an ordered map of bytes with atomic batches. RocksDB in production, memory in the
//! simulation, where it loses what was not synced.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What a disk answers later.
pub type DiskFuture<T> = Pin<Box<dyn Future<Output = Result<T, DiskError>> + Send>>;
/// Key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The disk failed. The caller must stop: memory would be ahead of disk.
#[derive(Debug, Clone, thiserror::Error)]
#[error("disk: {what}: {cause}")]
pub struct DiskError {
    /// The operation.
    pub what: &'static str,
    /// As the disk tells it.
    pub cause: String,
    /// What is on the disk is not what was written: a checksum is wrong or a file is missing. Otherwise the disk is full,
    /// in use by somebody else or refused, and what is on it may be whole.
    pub damaged: bool,
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// See [`super::keys`].
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// An ordered map of bytes.
pub trait Disk: Send + Sync + 'static {
    /// Applies all changes or none. With `sync` it returns when they are durable, earlier unsynced batches included.
    /// Batches take effect in the order of the calls.
    fn write(&self, batch: Vec<RowChange>, sync: bool) -> DiskFuture<()>;
    /// One value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;
    /// A view that later writes do not change.
    fn freeze(&self) -> Arc<dyn FrozenView>;
}

/// An unchanging view of a disk.
pub trait FrozenView: Send + Sync {
    /// At most `limit` rows with `from <= key`, in order of their keys.
    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<Row>, DiskError>;
}
