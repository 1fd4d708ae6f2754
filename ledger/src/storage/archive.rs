//! Reads leases that left memory (docs/decisions/0022), out of a frozen view of the rows.

use std::sync::Arc;

use super::codec::{CodecError, decode};
use super::disk::{DiskError, FrozenView, Row};
use crate::model::{Lease, LeaseId};
use crate::state::{Archived, row_hash};

/// Why a lease that left memory was not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The view has no such row: it is of before the lease left memory, or of after it was deleted or came back. Where the view is of
    /// the very rows that the state says are there, the disk has lost it.
    #[error("the disk has no row of lease {0}, which has ended and left memory")]
    Missing(LeaseId),
    /// The row is not the one that was written.
    #[error("the row of lease {0}, which has ended and left memory, is not the one that was written")]
    Damaged(LeaseId),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is the row that was written, and does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A view of rows, and what was read ahead of it.
pub struct ArchiveReader {
    view: Arc<dyn FrozenView>,
    /// The next one last.
    ahead: Vec<Row>,
    at_once: usize,
}

/// Rows of one step forward. Those of a project lie beside each other, and a listing that goes over all of them asks for one after
/// the other.
const AT_ONCE_MAX: usize = 64;

impl ArchiveReader {
    /// Over the rows of one moment.
    pub fn new(view: Arc<dyn FrozenView>) -> ArchiveReader {
        ArchiveReader { view, ahead: Vec::new(), at_once: 1 }
    }

    /// A lease. Asked in the order of the keys it reads more and more of them in one step.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn read(&mut self, which: &Archived) -> Result<Lease, ArchiveError> {
        let row = self.stored(which)?;
        Ok(decode("lease", &row)?)
    }

    /// Its row as it is stored, held against its hash.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn stored(&mut self, which: &Archived) -> Result<Vec<u8>, ArchiveError> {
        let key = which.key();
        // What was read ahead of a jump was read for nothing.
        let used_up = self.ahead.is_empty();
        while self.ahead.last().is_some_and(|(there, _)| *there < key) {
            self.ahead.pop();
        }
        if self.ahead.last().is_none_or(|(there, _)| *there != key) {
            self.at_once = if used_up { (self.at_once * 2).min(AT_ONCE_MAX) } else { 1 };
            self.ahead = self.view.scan(&key, self.at_once)?;
            self.ahead.reverse();
        }
        match self.ahead.pop() {
            Some((there, value)) if there == key => {
                if row_hash(&key, &value) == which.hash {
                    Ok(value)
                } else {
                    Err(ArchiveError::Damaged(which.id))
                }
            }
            _ => Err(ArchiveError::Missing(which.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::executor::block_on;

    use super::*;
    use crate::plan::crowd::Random;
    use crate::plan::crowd::twins::Twins;
    use crate::storage::disk::{Disk, RowChange};

    #[test]
    fn what_left_memory_is_read_back_in_any_order_and_never_silently_missed() {
        let twins = Twins::after(150, 1, 300, &mut Random(11));
        let mut which = twins.archived();
        assert!(which.len() > 40, "{}", which.len());
        for factor in [1, 0x9e37_79b9_7f4a_7c15, u128::MAX] {
            which.sort_by_key(|one| one.id.0.as_u128().wrapping_mul(factor));
            let mut reader = twins.reader();
            for one in &which {
                assert_eq!(reader.read(one).unwrap(), *twins.whole.lease(one.id).unwrap());
            }
        }

        let change = |key: Vec<u8>, value| block_on(twins.disk.write(vec![RowChange { key, value }], false)).unwrap();
        let mut bad = twins.disk.get(&which[0].key()).unwrap().unwrap();
        bad[20] ^= 1;
        change(which[0].key(), Some(bad));
        change(which[1].key(), None);
        let mut reader = twins.reader();
        assert!(matches!(reader.read(&which[0]), Err(ArchiveError::Damaged(id)) if id == which[0].id));
        assert!(matches!(reader.read(&which[1]), Err(ArchiveError::Missing(id)) if id == which[1].id));
        assert!(reader.read(&which[2]).is_ok());
        assert!(twins.store().open().err().unwrap().is_damage(), "and the state does not open with them");
    }
}
