//! A state from its rows, in any order.

use super::change::row_hash;
use super::{Change, KeyRow, Meta, State};
use crate::model::{Actuation, Host, Lease};
use crate::mutant;
use crate::storage::codec::{CodecError, decode};
use crate::storage::keys::RowId;

/// Why rows make no state.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// A value does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A key names no row, or not the row it holds.
    #[error("row {0:02x?} is not where it belongs")]
    Misplaced(Vec<u8>),
}

impl State {
    /// Takes one row in. Everything derived follows it, but for the wide index, which [`loaded`](Self::loaded) builds.
    pub(crate) fn load_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let misplaced = || LoadError::Misplaced(key.to_vec());
        let hash = row_hash(key, value);
        let fits = match RowId::from_bytes(key).ok_or_else(misplaced)? {
            RowId::Meta => {
                self.meta = decode::<Meta>("meta", value)?;
                self.meta_hash = hash;
                true
            }
            RowId::Lease(id) => {
                let mut lease: Lease = decode("lease", value)?;
                let fits = lease.id == id;
                self.shared.take(&mut lease);
                self.calendar.begin_loading();
                self.reindex_lease(None, Some(&lease));
                self.leases.insert(id, lease, hash);
                fits
            }
            RowId::Host(id) => {
                let host: Host = decode("host", value)?;
                let fits = host.id == id;
                self.reindex_host(None, Some(&host));
                self.hosts.insert(id, host, hash);
                fits
            }
            RowId::Actuation(id) => {
                let row: Actuation = decode("actuation", value)?;
                let fits = row.id == id;
                self.open_rows.entry(row.lease_id).or_default().insert(id);
                self.actuations.insert(id, row, hash);
                fits
            }
            RowId::Key(project, id) => {
                let row: KeyRow = decode("idempotency key", value)?;
                self.key_expiry.insert((row.valid_until, project.clone(), id));
                *self.keys_of.entry(project.clone()).or_default() += 1;
                self.keys.insert((project, id), row, hash);
                true
            }
            RowId::Change(index, place) => {
                let change: Change = decode("change", value)?;
                let fits = change.ledger_index == index;
                self.changes.insert((index, place), change, hash);
                fits
            }
        };
        if !fits {
            return Err(misplaced());
        }
        self.hash = self.hash.wrapping_add(hash);
        Ok(())
    }

    /// After the last row.
    pub(crate) fn loaded(&mut self) {
        // Loading reuses the code that records changes; nothing of it is a change of an entry.
        self.recorder = super::Recorder::default();
        self.calendar.loaded();
        // Planted bug: what is due is forgotten.
        mutant!("M24", { self.due.clear() });
    }

    /// The same state as a restart makes it.
    #[cfg(test)]
    pub(crate) fn from_rows_of(state: &State) -> State {
        let mut loaded = State::default();
        for (key, value) in state.rows() {
            loaded.load_row(&key, &value).expect("rows of a state make a state");
        }
        loaded.loaded();
        loaded
    }
}
