//! The rows of one replica on its disk.
#![allow(unused_variables)]
use std::sync::Arc;

use super::codec::CodecError;
use super::disk::{Disk, DiskError, DiskFuture, FrozenView};
use crate::state::{Delta, State};

/// Why a store does not open.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A row does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The rows do not fit together: the hash or an invariant is wrong. Rebuild from log or peers.
    #[error("the state on disk is damaged: {0}")]
    Damaged(String),
}

/// What [`Store::open`] found.
pub struct Opened {
    /// The state, derived structures rebuilt, invariants checked.
    pub state: State,
    /// The caller's position bytes of the last commit; `None` on an empty disk.
    pub position: Option<Vec<u8>>,
}

/// Rows on a disk.
#[derive(Clone)]
pub struct Store {
    disk: Arc<dyn Disk>,
}

impl Store {
    /// Wraps a disk; reads nothing.
    pub fn new(disk: Arc<dyn Disk>) -> Store {
        Store { disk }
    }
    /// Reads every row.
    pub fn open(&self) -> Result<Opened, Error> {
        unimplemented!()
    }
    /// Writes the deltas of some entries and the caller's position in one batch.
    pub fn commit(&self, deltas: Vec<Delta>, position: &[u8], sync: bool) -> DiskFuture<()> {
        unimplemented!()
    }
    /// The rows as they are now, unchanged by later commits, position included.
    pub fn freeze(&self) -> Arc<dyn FrozenView> {
        unimplemented!()
    }
}
