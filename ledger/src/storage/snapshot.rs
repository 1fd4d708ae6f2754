//! A snapshot: the sorted rows of a frozen view in checksummed chunks, then a trailer (architecture D3).
//!
//! The same bytes in simulation and production. A chunk is at most [`CHUNK_BYTES`] unless one row is larger.
#![allow(unused_variables)]
use std::sync::Arc;

use super::disk::{DiskError, FrozenView, Row};

/// Chunk size aimed at.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// Reads a frozen view chunk by chunk. `next_chunk` gives encoded bytes with a checksum; the last one is the trailer with
/// row count and total hash; `None` after it.
pub struct SnapshotReader {}

impl SnapshotReader {
    /// From the first row on.
    pub fn new(view: Arc<dyn FrozenView>) -> SnapshotReader {
        unimplemented!()
    }
    /// The next chunk.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, DiskError> {
        unimplemented!()
    }
}

/// Why a snapshot was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// A checksum, a length or the order is wrong.
    #[error("snapshot is damaged: {0}")]
    Damaged(String),
    /// The trailer did not come.
    #[error("snapshot is incomplete")]
    Incomplete,
}

/// Checks chunks one by one and gives their rows.
#[derive(Default)]
pub struct SnapshotWriter {}

impl SnapshotWriter {
    /// The rows of one chunk; empty for the trailer.
    pub fn accept(&mut self, chunk: &[u8]) -> Result<Vec<Row>, SnapshotError> {
        unimplemented!()
    }
    /// After the last chunk: everything was there and agrees with the trailer.
    pub fn finish(self) -> Result<(), SnapshotError> {
        unimplemented!()
    }
}
