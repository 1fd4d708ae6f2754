//! The one writer of the log: takes everything that was asked for, in order, writes it as one synced batch, and tells.
//!
//! Under load batches grow by themselves; alone, a write waits for nobody. The first write that fails is the last: what
//! a disk holds after a failed sync is not known, so the node ends (architecture D14).

use std::io;
use std::sync::Arc;

use leasehold_ledger::mutant;
use leasehold_ledger::storage::disk::{Disk, DiskError, RowChange};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::fatal::Fatal;
use super::log_store::Index;
use super::types::TypeConfig;
use crate::seams::{Clock, Spawner};
use crate::telemetry::metrics;

/// A batch is closed when it reaches this size.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Rows to write and whom to tell.
pub(super) struct Job {
    pub(super) rows: Vec<RowChange>,
    pub(super) done: Done,
}

/// Whom to tell when the rows are durable.
pub(super) enum Done {
    /// The engine, and the tail in memory that may now shrink: after how many truncations, up to which index.
    Appended { callback: IOFlushed<TypeConfig>, upto: Option<(u64, u64)> },
    /// Someone who waits.
    Synced(oneshot::Sender<Result<(), io::Error>>),
}

impl Done {
    fn tell(self, written: &Result<(), DiskError>) {
        let result = written.clone().map_err(io::Error::other);
        match self {
            Self::Appended { callback, .. } => callback.io_completed(result),
            // Whoever waited may have gone; the rows are durable all the same.
            Self::Synced(answer) => drop(answer.send(result)),
        }
    }
}

/// The queue to the writer.
#[derive(Clone)]
pub(super) struct LogWriter {
    jobs: mpsc::UnboundedSender<Job>,
}

impl LogWriter {
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        index: Arc<Mutex<Index>>,
        spawner: &Spawner,
        fatal: Fatal,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        // The task's end is the group's end.
        drop(spawner.spawn("log writer", write_all(disk, index, queue, fatal, clock)));
        Self { jobs }
    }

    /// Queues rows. Unbounded here; the engine bounds what it has in flight.
    pub(super) fn push(&self, job: Job) {
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(job) {
            job.done.tell(&Err(DiskError { what: "write", cause: "the log writer is gone".into(), damaged: false }));
        }
    }
}

async fn write_all(
    disk: Arc<dyn Disk>,
    index: Arc<Mutex<Index>>,
    mut queue: mpsc::UnboundedReceiver<Job>,
    fatal: Fatal,
    clock: Arc<dyn Clock>,
) {
    let mut failed: Option<DiskError> = None;
    while let Some(first) = queue.recv().await {
        let mut bytes = size(&first.rows);
        let mut jobs = vec![first];
        while bytes < BATCH_BYTES_MAX
            && let Ok(job) = queue.try_recv()
        {
            bytes += size(&job.rows);
            jobs.push(job);
        }
        let mut rows: Vec<RowChange> = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.rows)).collect();
        rows.extend(index.lock().committed_row());
        let begun = clock.mono();
        crate::fault_point!("raft.log.before_append");
        // Planted bug: entries are appended without a sync.
        let sync = !(mutant!("M01") && jobs.iter().all(|job| matches!(job.done, Done::Appended { .. })));
        let written = match &failed {
            Some(error) => Err(error.clone()),
            None => disk.write(rows, sync).await,
        };
        crate::fault_point!("raft.log.after_append");
        match &written {
            Ok(()) => {
                metrics::synced_log(clock.mono().since(begun).as_secs_f64());
                let mut durable = jobs.iter().filter_map(|job| match &job.done {
                    Done::Appended { upto, .. } => *upto,
                    Done::Synced(_) => None,
                });
                if let Some(durable) = durable.next_back() {
                    index.lock().became_durable(durable);
                }
            }
            Err(error) => {
                fatal.raise(format!("the Raft log cannot be written: {error}"));
                failed = Some(error.clone());
            }
        }
        for job in jobs {
            job.done.tell(&written);
        }
    }
}

fn size(rows: &[RowChange]) -> usize {
    rows.iter().map(|row| row.key.len() + row.value.as_ref().map_or(0, Vec::len)).sum()
}
