//! The only way to write: commands are gathered into one log entry, stamped with the cluster's time, and their answers
//! handed back.
//!
//! A batch is closed when one of four places in flight is free: batches grow by themselves under load, and alone a
//! command waits for nobody (raft-notes §4).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use leasehold_ledger::command::{Command, Entry};
use leasehold_ledger::model::{NodeId, RequestKey, Timestamp};
use leasehold_ledger::mutant;
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::storage::codec::encode_entry;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::cluster_time::ClusterTime;
use super::types::{Batch, Engine, TypeConfig};
use crate::seams::{Clock, Spawner};
use crate::telemetry::metrics;

/// Log entries in flight.
const ENTRIES_IN_FLIGHT: usize = 4;
/// Commands in one log entry.
const COMMANDS_MAX: usize = 256;
/// Bytes of commands in one log entry, but at least one command.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Commands waiting for a place; more wait in [`Proposer::propose`].
const QUEUE: usize = 4096;

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Carried out or refused.
    pub outcome: Result<Reply, Rejection>,
    /// Its number in the ledger.
    pub ledger_index: u64,
    /// Raft index of its log entry, which it may share.
    pub log_index: u64,
    /// Term of its log entry.
    pub term: u64,
}

/// Nothing is known to be committed. All but [`Unknown`](Self::Unknown) are certain: it was not proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads, or nobody.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does and its peer address, if known.
        leader: Option<(NodeId, String)>,
    },
    /// This node leads but no quorum answers it.
    #[error("no quorum answers")]
    NoQuorum,
    /// Proposed, answer not seen: it may be committed, now or later. Only a retry with the same key tells.
    #[error("proposed, but the answer was not seen")]
    Unknown,
    /// The nodes' clocks disagree, so no time is stamped (architecture D4).
    #[error("the nodes' clocks disagree")]
    ClockDisagrees,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

/// Where a proposal stands; only one of batcher and waiting caller can move it on.
const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const GIVEN_UP: u8 = 2;

struct Proposal {
    key: Option<RequestKey>,
    command: Command,
    stage: Arc<AtomicU8>,
    answer: oneshot::Sender<Result<Committed, ProposeError>>,
}

impl Proposal {
    fn answer(self, answer: Result<Committed, ProposeError>) {
        // The caller may have stopped waiting; it then counts the outcome as unknown.
        drop(self.answer.send(answer));
    }
}

/// The queue to the batcher.
#[derive(Clone)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    clock: Arc<dyn Clock>,
    limit: Duration,
}

impl Proposer {
    pub(super) fn start(
        engine: Engine,
        time: Arc<ClusterTime>,
        clock: Arc<dyn Clock>,
        spawner: &Spawner,
        limit: Duration,
    ) -> Self {
        let (queue, proposals) = mpsc::channel(QUEUE);
        let batcher = Batcher { engine, time, spawner: spawner.clone() };
        drop(spawner.spawn("proposals", batcher.run(proposals)));
        Self { queue, clock, limit }
    }

    /// Proposes one command and waits until it is applied here.
    pub(super) async fn propose(&self, key: Option<RequestKey>, command: Command) -> Result<Committed, ProposeError> {
        // Planted bug: who finds too much going on gets no answer.
        mutant!("N18", {
            if self.queue.capacity() < QUEUE / 2 {
                std::future::pending::<()>().await;
            }
        });
        let (answer, answered) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(QUEUED));
        let proposal = Proposal { key, command, stage: stage.clone(), answer };
        let waiting = async {
            self.queue.send(proposal).await.map_err(|_| ProposeError::Stopping)?;
            answered.await.unwrap_or(Err(ProposeError::Unknown))
        };
        let in_time = self.clock.timeout(self.limit, waiting).await;
        let ended = in_time.unwrap_or_else(|_| {
            let given_up = stage.compare_exchange(QUEUED, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst);
            Err(if given_up.is_ok() { ProposeError::NoQuorum } else { ProposeError::Unknown })
        });
        metrics::proposal(ending(&ended));
        ended
    }
}

/// How a proposal ended, for the metrics.
fn ending(ended: &Result<Committed, ProposeError>) -> &'static str {
    match ended {
        Ok(Committed { outcome: Ok(_), .. }) => "applied",
        Ok(Committed { outcome: Err(_), .. }) => "rejected",
        Err(ProposeError::NotLeader { .. }) => "not_leader",
        Err(ProposeError::NoQuorum) => "no_quorum",
        Err(ProposeError::Unknown) => "unknown",
        Err(ProposeError::ClockDisagrees) => "clock",
        Err(ProposeError::Stopping) => "stopping",
    }
}

struct Batcher {
    engine: Engine,
    time: Arc<ClusterTime>,
    spawner: Spawner,
}

impl Batcher {
    async fn run(self, mut proposals: mpsc::Receiver<Proposal>) {
        let places = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
        let mut gathered = Vec::with_capacity(COMMANDS_MAX);
        loop {
            // Never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            if proposals.recv_many(&mut gathered, COMMANDS_MAX).await == 0 {
                return;
            }
            let taken = |proposal: &Proposal| {
                let taken = proposal.stage.compare_exchange(QUEUED, TAKEN, Ordering::SeqCst, Ordering::SeqCst);
                taken.is_ok()
            };
            let batch: Vec<Proposal> = gathered.drain(..).filter(taken).collect();
            let mut place = Some(place);
            for (waiting, commands) in self.encode(batch) {
                let place = match place.take() {
                    Some(place) => place,
                    None => match places.clone().acquire_owned().await {
                        Ok(place) => place,
                        Err(_) => return,
                    },
                };
                let writing = write(self.engine.clone(), waiting, commands, place);
                drop(self.spawner.spawn("log entry", writing));
            }
        }
    }

    /// Stamps and encodes; more than one group only if the bytes do not fit into one entry.
    fn encode(&self, batch: Vec<Proposal>) -> Vec<(Vec<Proposal>, Vec<Bytes>)> {
        let stamp = self.time.stamp();
        let mut groups: Vec<(Vec<Proposal>, Vec<Bytes>)> = Vec::new();
        let mut bytes = ENTRY_BYTES_MAX;
        for mut proposal in batch {
            let proposed_at = match stamp {
                Ok(stamp) => stamp,
                Err(_) if !reads_time(&proposal.command) => self.time.stored(),
                Err(_) => {
                    proposal.answer(Err(ProposeError::ClockDisagrees));
                    continue;
                }
            };
            // The command is not needed any more once it is encoded.
            let command = std::mem::replace(&mut proposal.command, Command::AdvanceClock);
            let entry = Entry { key: proposal.key.take(), proposed_at, command };
            let encoded = Bytes::from(encode_entry(&entry));
            if bytes + encoded.len() > ENTRY_BYTES_MAX {
                groups.push((Vec::new(), Vec::new()));
                bytes = 0;
            }
            bytes += encoded.len();
            if let Some((waiting, commands)) = groups.last_mut() {
                waiting.push(proposal);
                commands.push(encoded);
            }
        }
        groups
    }
}

/// Whether a command's meaning depends on its time. What the leader learns from the cloud does not, and is written even
/// while no time can be stamped (architecture D4).
fn reads_time(command: &Command) -> bool {
    !matches!(
        command,
        Command::RecordOutcome { .. } | Command::RecordServerGroups { .. } | Command::ReportHost { .. } | Command::Probe { .. }
    )
}

/// Writes one log entry and answers everyone in it.
async fn write(engine: Engine, waiting: Vec<Proposal>, commands: Vec<Bytes>, place: OwnedSemaphorePermit) {
    let written = engine.client_write(Batch { commands }).await;
    mutant!("N17", {
        if let Ok(response) = &written {
            by_all(&engine, response.log_id.index).await;
        }
    });
    drop(place);
    match written {
        Ok(response) => {
            let (log_index, term) = (response.log_id.index, response.log_id.leader_id.term);
            let answers = response.data.0;
            assert_eq!(answers.len(), waiting.len(), "one answer for each command");
            for (proposal, answer) in waiting.into_iter().zip(answers) {
                let super::types::Answer { outcome, ledger_index } = answer;
                proposal.answer(Ok(Committed { outcome, ledger_index, log_index, term }));
            }
        }
        Err(error) => {
            let error = told(error);
            for proposal in waiting {
                proposal.answer(Err(error.clone()));
            }
        }
    }
}

/// Planted bug: a write waits for the last of the members.
#[cfg(feature = "mutants")]
async fn by_all(engine: &Engine, index: u64) {
    use openraft::async_runtime::watch::WatchReceiver;
    let mut metrics = engine.metrics();
    let has = |metrics: &openraft::metrics::RaftMetrics<TypeConfig>| {
        let mut matched = metrics.replication.iter().flat_map(|all| all.values());
        matched.all(|one| one.as_ref().is_some_and(|log_id| log_id.index >= index))
    };
    loop {
        if has(&metrics.borrow_watched()) || metrics.changed().await.is_err() {
            return;
        }
    }
}

fn told(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => forwarded(forward),
        // Appended here, then overwritten or not by another leader: nobody knows yet.
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_) => ProposeError::Unknown,
        // Only changes of the membership have these.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
            ProposeError::Unknown
        }
    }
}

pub(super) fn forwarded(forward: ForwardToLeader<TypeConfig>) -> ProposeError {
    match forward.reason {
        ForwardReason::LeaseExpired => ProposeError::NoQuorum,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
            let address = forward.leader_node.map(|member| member.peer_address);
            ProposeError::NotLeader { leader: forward.leader_id.map(NodeId).zip(address) }
        }
    }
}

/// A time for whoever wants to know what would be stamped: never below the ledger's.
pub(super) fn now(time: &ClusterTime) -> Result<Timestamp, ProposeError> {
    time.now().map_err(|_| ProposeError::ClockDisagrees)
}
