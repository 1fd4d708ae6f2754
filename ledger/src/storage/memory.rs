//! A disk in memory that loses nothing: for tests of what runs above a disk. The one that loses is in `chaos`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskError, DiskFuture, FrozenView, Row, RowChange};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    rows: Arc<Mutex<Arc<Rows>>>,
}

impl MemoryDisk {
    fn lock(&self) -> MutexGuard<'_, Arc<Rows>> {
        // A panic while holding the lock leaves whole rows: writes below do not panic half-way.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    fn write(&self, batch: Vec<RowChange>, _sync: bool) -> DiskFuture<()> {
        let mut guard = self.lock();
        let rows = Arc::make_mut(&mut guard);
        for change in batch {
            match change.value {
                Some(value) => rows.insert(change.key, value),
                None => rows.remove(&change.key),
            };
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.lock().get(key).cloned())
    }

    fn freeze(&self) -> Arc<dyn FrozenView> {
        Arc::new(Frozen(self.lock().clone()))
    }
}

struct Frozen(Arc<Rows>);

impl FrozenView for Frozen {
    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<Row>, DiskError> {
        Ok(self.0.range(from.to_vec()..).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
