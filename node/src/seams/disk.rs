//! The disks of one node: RocksDB behind the ledger's [`Disk`], one instance per name below the data directory.
//!
//! Each disk has one thread that carries out the batches in the order of the calls and completes them. Grouping of
//! writes is a matter of the caller; reads are answered where they are asked.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};

use leasehold_ledger::storage::disk::{Disk, DiskError, DiskFuture, FrozenView, Row, RowChange};
use rocksdb::{DB, DBRecoveryMode, ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use tokio::sync::oneshot;

/// What a disk is for; decides how it is tuned, not what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskUse {
    /// Small ordered appends, every one synced, read back only after a restart or by a slow follower. A damaged
    /// write-ahead log must not open: taking its intact beginning for the whole would lose acknowledged entries.
    Log,
    /// Rows of the state; unsynced, because the log makes them again.
    State,
}

/// Opens, lists and removes disks. A disk's name is a plain word.
pub trait Disks: Send + Sync + 'static {
    /// Opens a disk, making it if it is not there.
    ///
    /// # Errors
    /// When it is damaged, in use by another process, or the system refuses.
    fn open(&self, name: &str, used: DiskUse) -> Result<Arc<dyn Disk>, DiskError>;

    /// Names of the disks that are there, sorted.
    ///
    /// # Errors
    /// When the system refuses.
    fn names(&self) -> Result<Vec<String>, DiskError>;

    /// Removes a disk and everything on it; nothing happens if it is not there. Nobody may use it any more.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, name: &str) -> Result<(), DiskError>;
}

/// RocksDB instances in the folders of one data directory.
#[derive(Clone, Debug)]
pub struct RocksDisks {
    folder: PathBuf,
}

impl RocksDisks {
    /// Disks below `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder).map_err(|error| failed("create data directory", &error))?;
        Ok(Self { folder })
    }
}

impl Disks for RocksDisks {
    fn open(&self, name: &str, used: DiskUse) -> Result<Arc<dyn Disk>, DiskError> {
        Ok(Arc::new(RocksDisk::open(&self.folder.join(name), used)?))
    }

    fn names(&self) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for item in std::fs::read_dir(&self.folder).map_err(|error| failed("list data directory", &error))? {
            let item = item.map_err(|error| failed("list data directory", &error))?;
            if item.path().is_dir() {
                names.push(item.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        match std::fs::remove_dir_all(self.folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove disk", &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// One batch on its way to the thread.
struct Job {
    batch: Vec<RowChange>,
    sync: bool,
    done: oneshot::Sender<Result<(), DiskError>>,
}

/// One RocksDB instance.
pub struct RocksDisk {
    db: Arc<DB>,
    // Taken when dropped: the thread ends when it is gone.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl RocksDisk {
    /// Opens or makes the instance in `folder`.
    ///
    /// # Errors
    /// When it is damaged, in use by another process, or the system refuses.
    pub fn open(folder: &Path, used: DiskUse) -> Result<Self, DiskError> {
        let db = Arc::new(DB::open(&options(used), folder).map_err(|error| refused("open", &error))?);
        let (jobs, queue) = mpsc::channel();
        let executor = db.clone();
        let writer = std::thread::Builder::new()
            .name("disk-writer".into())
            .spawn(move || execute(&executor, &queue))
            .map_err(|error| failed("start writer thread", &error))?;
        Ok(Self { db, jobs: Some(jobs), writer: Some(writer) })
    }
}

impl Drop for RocksDisk {
    fn drop(&mut self) {
        // The thread must be gone before the process runs RocksDB's destructors (raft-notes §5.12).
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the disk's writer thread panicked");
        }
    }
}

impl Disk for RocksDisk {
    fn write(&self, batch: Vec<RowChange>, sync: bool) -> DiskFuture<()> {
        let (done, answer) = oneshot::channel();
        // A job that the thread cannot take drops `done`, which the answer below tells.
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { batch, sync, done }).is_ok());
        Box::pin(async move {
            let gone = || DiskError { what: "write", cause: "the writer thread is gone".into(), damaged: false };
            if sent { answer.await.map_err(|_| gone())? } else { Err(gone()) }
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.db.get(key).map_err(|error| refused("get", &error))
    }

    fn freeze(&self) -> Arc<dyn FrozenView> {
        let (asks, asked) = sync_channel(0);
        let (taken, ready) = sync_channel(0);
        let db = self.db.clone();
        let started = std::thread::Builder::new().spawn(move || hold_snapshot(&db, &taken, &asked));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for a view of the disk");
        }
        // The view must be of now, not of whenever the thread starts. If it did not, or died, every scan tells.
        let _ = ready.recv();
        Arc::new(RocksView { asks })
    }
}

/// Carries out batches until the disk is dropped.
fn execute(db: &DB, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        let mut batch = WriteBatch::default();
        for change in job.batch {
            match change.value {
                Some(value) => batch.put(change.key, value),
                None => batch.delete(change.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(job.sync);
        let written = if job.sync && batch.is_empty() {
            // RocksDB answers an empty batch without touching its log; what was written before has to be durable.
            db.flush_wal(true)
        } else {
            db.write_opt(batch, &options)
        };
        // Whoever asked may have stopped waiting; the write is done all the same.
        drop(job.done.send(written.map_err(|error| refused("write", &error))));
    }
}

/// How RocksDB is set up for each use (raft-notes §7).
fn options(used: DiskUse) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_max_total_wal_size(256 << 20);
    match used {
        DiskUse::Log => {
            options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
            options.set_recycle_log_file_num(0);
            options.set_compression_type(rocksdb::DBCompressionType::None);
            options.set_write_buffer_size(64 << 20);
            options.set_max_write_buffer_number(3);
        }
        DiskUse::State => {
            // Written all the time, read only when a node starts or sends a snapshot: few rewrites matter more than few
            // files, and only what has settled is worth compressing.
            options.set_compaction_style(rocksdb::DBCompactionStyle::Universal);
            options.set_compression_type(rocksdb::DBCompressionType::None);
            options.set_bottommost_compression_type(rocksdb::DBCompressionType::Lz4);
            options.set_level_zero_file_num_compaction_trigger(8);
            options.set_write_buffer_size(32 << 20);
        }
    }
    options
}

/// One question to the thread that holds a snapshot.
struct Scan {
    from: Vec<u8>,
    limit: usize,
    rows: SyncSender<Result<Vec<Row>, DiskError>>,
}

/// A RocksDB snapshot borrows its database, so a thread of its own keeps both and answers.
struct RocksView {
    asks: SyncSender<Scan>,
}

impl FrozenView for RocksView {
    fn scan(&self, from: &[u8], limit: usize) -> Result<Vec<Row>, DiskError> {
        let gone = || DiskError { what: "scan", cause: "the view's thread is gone".into(), damaged: false };
        let (rows, answer) = sync_channel(1);
        self.asks.send(Scan { from: from.to_vec(), limit, rows }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

/// Holds a snapshot until its view is dropped.
fn hold_snapshot(db: &DB, taken: &SyncSender<()>, asked: &Receiver<Scan>) {
    let snapshot = db.snapshot();
    if taken.send(()).is_err() {
        return;
    }
    while let Ok(Scan { from, limit, rows }) = asked.recv() {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let found = snapshot
            .iterator_opt(IteratorMode::From(&from, rocksdb::Direction::Forward), options)
            .take(limit)
            .map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec())))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refused("scan", &error));
        // The asker may be gone; the next one is not.
        drop(rows.send(found));
    }
}

fn failed(what: &'static str, cause: &dyn std::error::Error) -> DiskError {
    DiskError { what, cause: cause.to_string(), damaged: false }
}

/// A failure of RocksDB. A file that is missing or no file of its own is damage; a lock that is held, a full disk or
/// missing rights are none.
fn refused(what: &'static str, error: &rocksdb::Error) -> DiskError {
    let damaged = match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotFound => true,
        ErrorKind::IOError => error.as_ref().contains("No such file"),
        _ => false,
    };
    DiskError { damaged, ..failed(what, error) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn put(key: &str, value: &str) -> RowChange {
        RowChange { key: key.into(), value: Some(value.into()) }
    }

    #[tokio::test]
    async fn a_frozen_view_does_not_see_later_batches_and_a_reopened_disk_sees_all() {
        let folder = tempfile::tempdir().unwrap();
        let disks = RocksDisks::new(folder.path()).unwrap();
        let disk = disks.open("state-1", DiskUse::State).unwrap();
        disk.write(vec![put("a", "1"), put("b", "1"), put("c", "1")], true).await.unwrap();
        let view = disk.freeze();
        disk.write(vec![put("a", "2"), RowChange { key: b"b".to_vec(), value: None }], false).await.unwrap();
        disk.write(Vec::new(), true).await.unwrap();
        let rows = view.scan(b"a", 2).unwrap();
        assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())]);
        assert_eq!(view.scan(b"b", 9).unwrap().len(), 2);
        assert_eq!(disk.get(b"a").unwrap(), Some(b"2".to_vec()));
        assert!(!disks.open("state-1", DiskUse::State).err().unwrap().damaged, "in use is not damaged");
        drop((view, disk));
        // RocksDB gives its lock back when its last user is gone, which another thread may still be for a moment.
        let give_up = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let disk = loop {
            match disks.open("state-1", DiskUse::State) {
                Ok(disk) => break disk,
                Err(error) => assert!(std::time::Instant::now() < give_up, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(disk.get(b"b").unwrap(), None);
        assert_eq!(disks.names().unwrap(), ["state-1"]);
        drop(disk);
        disks.remove("state-1").unwrap();
        disks.remove("state-1").unwrap();
        assert!(disks.names().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_log_with_a_flipped_byte_in_the_middle_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let disks = RocksDisks::new(folder.path()).unwrap();
        let disk = disks.open("log", DiskUse::Log).unwrap();
        for number in 0..50 {
            disk.write(vec![put(&format!("{number:04}"), &"x".repeat(500))], true).await.unwrap();
        }
        drop(disk);
        let wal = std::fs::read_dir(folder.path().join("log"))
            .unwrap()
            .map(|item| item.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "log"))
            .unwrap();
        let mut bytes = std::fs::read(&wal).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&wal, bytes).unwrap();
        assert!(disks.open("log", DiskUse::Log).err().unwrap().damaged);
    }
}
