//! The rows of the state as they are on this node's disk, for what the state does not have in memory.

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::storage::archive::ArchiveReader;

use super::read::ReadError;
use super::state_machine::Shared;
use crate::seams::{Clock, long};

/// How long rows may take to be written; they are, entry by entry, as the state goes on.
const WRITTEN: Duration = Duration::from_secs(5);

/// Rows of one moment.
pub struct Rows {
    /// They are of this ledger index, or of a later one.
    pub ledger_index: u64,
    /// Reads those of leases that left memory.
    pub reader: ArchiveReader,
}

/// The rows as they are now.
pub(super) fn now(shared: &Shared) -> Result<Rows, ReadError> {
    // In this order: what is written meanwhile is in the view, too.
    let ledger_index = *shared.written.borrow();
    let disk = shared.disk.read().upgrade().ok_or(ReadError::Stopping)?;
    // Other tasks of this thread go on while the disk is waited for.
    Ok(Rows { ledger_index, reader: ArchiveReader::new(long(|| disk.freeze())) })
}

/// As [`now`], once they are of an index that the state has.
pub(super) async fn at(shared: &Shared, clock: &Arc<dyn Clock>, ledger_index: u64) -> Result<Rows, ReadError> {
    let mut written = shared.written.subscribe();
    let reached = written.wait_for(|written| *written >= ledger_index);
    match clock.timeout(WRITTEN, reached).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(ReadError::Stopping),
        Err(_) => return Err(ReadError::DiskBehind),
    }
    now(shared)
}
