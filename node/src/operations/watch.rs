//! Following changes from a ledger index on, in order and without gaps.

use std::collections::VecDeque;

use futures::stream::{self, BoxStream, StreamExt};
use leasehold_ledger::model::{LeaseStatus, ProjectId};
use leasehold_ledger::mutant;
use leasehold_ledger::state::{Change, ChangeSubject, JournalError};

use super::{Actor, OperationError, Operations, Result, Rule, Unavailable};

/// Changes read from the journal at a time.
const BATCH: usize = 256;

struct Follower {
    operations: Operations,
    /// `None`: an admin, who sees all projects and the hosts.
    project: Option<ProjectId>,
    after: u64,
    ready: VecDeque<Change>,
    ended: bool,
}

impl Operations {
    /// Changes the actor may see with an index above `after`, then those to come, in order, without gaps.
    ///
    /// Ends with an error when the node stops or the journal does not reach back any more; resume from the last index
    /// seen, on any node. An `after` above what this node has applied waits until it gets there.
    pub async fn watch(&self, actor: &Actor, after: u64) -> Result<BoxStream<'static, Result<Change>>> {
        // Planted bug: who goes on after an index is not told of the one that follows it.
        let after = after + u64::from(mutant!("N13") && after > 0);
        let project = (!actor.is_admin()).then(|| actor.project_id.clone());
        actor.authorise(Rule::LeasesGet, project.as_ref())?;
        self.inner.raft.state().changes_after(after, 1).map_err(unread)?;
        let follower = Follower { operations: self.clone(), project, after, ready: VecDeque::new(), ended: false };
        Ok(stream::unfold(follower, |mut follower| async move {
            if follower.ended {
                return None;
            }
            let item = follower.next().await;
            follower.ended = item.is_err();
            Some((item, follower))
        })
        .boxed())
    }
}

impl Follower {
    async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let mut applied = self.operations.inner.raft.applied();
            applied.borrow_and_update();
            let batch = self.operations.inner.raft.state().changes_after(self.after, BATCH).map_err(unread)?;
            if batch.is_empty() {
                applied.changed().await.map_err(|_| OperationError::Unavailable(Unavailable::Stopping))?;
                continue;
            }
            if let Some(last) = batch.last() {
                self.after = last.ledger_index;
            }
            let project = &self.project;
            self.ready.extend(batch.into_iter().filter(|change| may_see(project.as_ref(), &change.subject)));
        }
    }
}

fn may_see(project: Option<&ProjectId>, subject: &ChangeSubject) -> bool {
    // Planted bug: a lease that is being started is not told.
    if mutant!("N12") && matches!(subject, ChangeSubject::Lease(lease) if lease.status == LeaseStatus::Starting) {
        return false;
    }
    let Some(project) = project else { return true };
    match subject {
        ChangeSubject::Lease(lease) => lease.project_id == *project,
        ChangeSubject::LeaseRemoved { project_id, .. } => project_id == project,
        ChangeSubject::Host(_) | ChangeSubject::HostRemoved(_) => false,
    }
}

fn unread(error: JournalError) -> OperationError {
    match error {
        JournalError::TooOld { oldest } => OperationError::TooOld { oldest },
        JournalError::Codec(error) => error.into(),
    }
}
