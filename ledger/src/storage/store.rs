//! The rows of one replica on its disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::codec::CodecError;
use super::disk::{Disk, DiskError, DiskFuture, FrozenView, RowChange};
use super::keys;
use crate::mutant;
use crate::state::{Delta, LoadError, Loader, State, invariants};

/// Why a store does not open.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A row does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The rows are not those that were written: the hash is wrong. Rebuild from log or peers.
    #[error("the state on disk is damaged: {0}")]
    Damaged(String),
    /// The rows are those that were written, and break an invariant: a bug, which a rebuilt state would have, too.
    #[error("the state breaks a rule: {0}; this is a bug")]
    Broken(String),
}

impl Error {
    /// Whether the rows are lost, so that making them again helps. Everything else must leave them where they are.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Disk(error) => error.damaged,
            Error::Codec(error) => !error.newer,
            Error::Damaged(_) => true,
            Error::Broken(_) => false,
        }
    }
}

/// What [`Store::open`] found.
pub struct Opened {
    /// The state, derived structures rebuilt, invariants checked.
    pub state: State,
    /// The caller's position bytes of the last commit; `None` on an empty disk.
    pub position: Option<Vec<u8>>,
}

/// Rows read at once when opening.
const SCAN_ROWS: usize = 1024;

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

    /// The disk, for those who must not keep it open.
    pub fn disk(&self) -> Weak<dyn Disk> {
        Arc::downgrade(&self.disk)
    }

    /// Reads every row.
    pub fn open(&self) -> Result<Opened, Error> {
        let view = self.disk.freeze();
        let mut loader = Loader::default();
        let (mut position, mut stored_hash) = (None, None);
        let mut from = Vec::new();
        loop {
            let rows = view.scan(&from, SCAN_ROWS)?;
            for (key, value) in &rows {
                match key.as_slice() {
                    [keys::POSITION] => position = Some(value.clone()),
                    [keys::HASH] => stored_hash = Some(value.clone()),
                    _ => loader.row(key, value).map_err(|error| match error {
                        LoadError::Codec(error) => Error::Codec(error),
                        LoadError::Misplaced(_) => Error::Damaged(error.to_string()),
                    })?,
                }
            }
            match rows.last() {
                Some((last, _)) if rows.len() == SCAN_ROWS => {
                    from = last.clone();
                    from.push(0);
                }
                _ => break,
            }
        }
        let state = loader.finish();
        let stored_hash = match stored_hash {
            None => 0,
            Some(bytes) => {
                u128::from_be_bytes(bytes.try_into().map_err(|_| Error::Damaged("the stored hash is not 16 bytes".to_owned()))?)
            }
        };
        // Planted bug: what left the keys out has a hash without them.
        if stored_hash != state.hash() && !mutant!("M07") {
            return Err(Error::Damaged(format!("hash {:032x}, stored {stored_hash:032x}", state.hash())));
        }
        if let Some(first) = invariants::check(&state).first().filter(|_| state.ledger_index() > 0) {
            return Err(Error::Broken(first.to_string()));
        }
        Ok(Opened { state, position })
    }

    /// Writes the deltas of some entries and the caller's position in one batch.
    pub fn commit(&self, deltas: Vec<Delta>, position: &[u8], sync: bool) -> DiskFuture<()> {
        // A row touched by several entries is written once, as the last one left it.
        let mut rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        for change in deltas.into_iter().flat_map(|delta| delta.rows) {
            rows.insert(change.key, change.value);
        }
        rows.insert(vec![keys::POSITION], Some(position.to_vec()));
        self.disk.write(rows.into_iter().map(|(key, value)| RowChange { key, value }).collect(), sync)
    }

    /// The rows as they are now, unchanged by later commits, position included.
    pub fn freeze(&self) -> Arc<dyn FrozenView> {
        self.disk.freeze()
    }
}
