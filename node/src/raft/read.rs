//! Linearizable reads, by ReadIndex, on any node: the leader confirms with a quorum how far the log is committed, and
//! this node waits until it has applied that far. No clock is trusted (raft-notes §5.8).

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::mutant;
use openraft::errors::{ForwardReason, LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;

use super::identity::Identity;
use super::leadership::metrics;
use super::peer::{Lane, Transport};
use super::peer_service::read_log_id;
use super::state_machine::{Progress, Shared};
use super::types::{Engine, LogId};
use crate::seams::Clock;

/// Nothing could be read that is certainly new enough. Nothing was changed; try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader is known.
    #[error("no leader is known")]
    NoLeader,
    /// The leader does not answer, or no quorum confirms it, or this node does not catch up.
    #[error("no quorum confirms the leader in time")]
    NoQuorum,
    /// The rows of this node's state are not written in time.
    #[error("the disk of this node is behind its state")]
    DiskBehind,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

/// What reads need.
pub(super) struct Reader {
    pub(super) engine: Engine,
    pub(super) identity: Arc<Identity>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) limit: Duration,
}

impl Reader {
    /// Waits until this node may answer, and tells the ledger index it then has at least.
    pub(super) async fn read_index(&self) -> Result<u64, ReadError> {
        // Planted bug: what this node has applied is new enough.
        if mutant!("M04") {
            return Ok(self.shared.progress.borrow().ledger_index);
        }
        let reading = async {
            let log_id = self.confirmed().await?;
            let mut progress = self.shared.progress.subscribe();
            let reached = |progress: &Progress| progress.next_log_index > log_id.index;
            let progress = progress.wait_for(reached).await.map_err(|_| ReadError::Stopping)?;
            Ok(progress.ledger_index)
        };
        self.clock.timeout(self.limit, reading).await.unwrap_or(Err(ReadError::NoQuorum))
    }

    async fn confirmed(&self) -> Result<LogId, ReadError> {
        let seen = metrics(&self.engine);
        let leader = seen.current_leader.ok_or(ReadError::NoLeader)?;
        if leader == seen.id {
            return confirm(&self.engine).await;
        }
        let member = seen.membership_config.get_node(&leader).ok_or(ReadError::NoLeader)?;
        let peer = self.transport.peer(&member.peer_address, Lane::Operations);
        let answer = peer.read_index(self.identity.route(leader)).await.map_err(|error| {
            tracing::debug!(leader, %error, "the leader did not confirm a read");
            ReadError::NoQuorum
        })?;
        read_log_id(&answer).map_err(|_| ReadError::NoQuorum)
    }
}

/// The last confirmation of each node, for the planted bug.
#[cfg(feature = "mutants")]
mod earlier {
    use super::LogId;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;

    static CONFIRMED: Mutex<BTreeMap<u64, LogId>> = Mutex::new(BTreeMap::new());

    pub(super) fn take(node: u64) -> Option<LogId> {
        CONFIRMED.lock().remove(&node)
    }

    pub(super) fn keep(node: u64, log_id: LogId) {
        CONFIRMED.lock().insert(node, log_id);
    }
}

/// On the leader: how far the log was committed when this was called, confirmed by a quorum afterwards.
pub(super) async fn confirm(engine: &Engine) -> Result<LogId, ReadError> {
    // Planted bug: what was confirmed for an earlier read is confirmed for this one, every other time.
    mutant!("M05", {
        if let Some(log_id) = earlier::take(metrics(engine).id) {
            return Ok(log_id);
        }
    });
    match engine.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => {
            let log_id = *linearizer.read_log_id().log_id();
            mutant!("M05", { earlier::keep(metrics(engine).id, log_id) });
            Ok(log_id)
        }
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => match forward.reason {
            ForwardReason::LeaseExpired => Err(ReadError::NoQuorum),
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => Err(ReadError::NoLeader),
        },
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum),
        Err(RaftError::Fatal(_)) => Err(ReadError::Stopping),
    }
}
