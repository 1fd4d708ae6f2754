//! The cluster as this node sees it.

use openraft::ServerState;

use super::leadership::metrics;
use super::membership::is_half_changed;
use super::types::Vote;
use super::{RaftHandle, codec};
use crate::operations::{ClusterStatus, MemberStatus};

/// What this node holds and what comes and goes with what happens to it; each has an end, and at rest each is small (B1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Log entries on its disk.
    pub log_entries: u64,
    /// Tasks, and handles of their groups.
    pub tasks: u64,
    /// Lists of effects that a slow listener has not taken yet.
    pub effects: u64,
    /// Who follows the ledger's index: watch streams, and operations that wait for one.
    pub followers: u64,
    /// Reasons of withdrawn leases.
    pub withdrawn: u64,
    /// Clocks of peers.
    pub clocks: u64,
}

impl RaftHandle {
    /// See [`Held`].
    #[must_use]
    pub fn held(&self) -> Held {
        let shared = &self.parts.shared;
        Held {
            // Its own word: the engine tells of a snapshot that it installed before it tells what it purged for it.
            log_entries: self.parts.log.entries(),
            tasks: self.parts.group.open() as u64,
            effects: shared.effects.len() as u64,
            followers: shared.ledger_index.receiver_count() as u64,
            withdrawn: shared.withdrawn.lock().len() as u64,
            clocks: self.parts.time.clocks() as u64,
        }
    }

    /// For `leasehold cluster status` and `StateProbe` (chaos-design §2). Asks nobody.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let process = &self.parts.process;
        ClusterStatus { resident_bytes: process.resident_bytes(), open_files: process.open_files(), ..self.status_of_raft() }
    }

    /// The same without what the operating system would have to be asked for: that is 0.
    #[must_use]
    pub fn status_of_raft(&self) -> ClusterStatus {
        let seen = metrics(&self.parts.engine);
        let matched = seen.replication.unwrap_or_default();
        let voters: Vec<u64> = seen.membership_config.voter_ids().collect();
        let members = seen.membership_config.nodes().map(|(id, member)| MemberStatus {
            node_id: *id,
            peer_address: member.peer_address.clone(),
            grpc_address: Some(member.grpc_address.clone()).filter(|address| !address.is_empty()),
            voter: voters.contains(id),
            matched_index: matched.get(id).copied().flatten().map(|log_id| log_id.index),
        });
        let role = match seen.state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner => "learner",
            ServerState::Shutdown => "shutdown",
        };
        let (vote, vote_committed) = synced_vote(seen.current_term, &seen.vote);
        // Asked before the state is locked: it looks at the state itself, and a second reader behind a waiting writer would
        // wait for ever (found by the kill run: the node stopped answering).
        let clock_problem = self.parts.time.problem().map(|problem| problem.to_string());
        let state = self.state();
        ClusterStatus {
            cluster_id: state.cluster_id().or_else(|| self.parts.identity.cluster_id()),
            node_id: seen.id,
            term: seen.current_term,
            vote,
            vote_committed,
            role: role.into(),
            leader: seen.current_leader,
            last_log_index: seen.last_log_index,
            committed_index: seen.local_committed.map(|log_id| log_id.index),
            applied_index: seen.last_applied.map(|log_id| log_id.index),
            snapshot_index: seen.snapshot.map(|log_id| log_id.index),
            ledger_index: state.ledger_index(),
            state_hash: format!("{:032x}", state.hash()),
            open_actuations: state.actuations().count() as u64,
            members: members.collect(),
            members_changing: is_half_changed(seen.membership_config.membership()),
            clock_problem,
            resident_bytes: 0,
            open_files: 0,
            build: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// Whom a node voted for or follows in its term, and whether that is whom the term elected. The engine tells the term as it is in
/// memory and the vote as it was synced last: while a vote waits for the disk, that is one of an earlier term, and none of this.
fn synced_vote(term: u64, synced: &Vote) -> (Option<u64>, bool) {
    let vote = codec::vote_to_wire(synced);
    let of_term = vote.term > 0 && vote.term == term;
    (of_term.then_some(vote.voted_for), of_term && vote.committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_that_waits_for_the_disk_is_none_yet_and_not_the_one_before() {
        assert_eq!(synced_vote(73, &Vote::new_committed(73, 19)), (Some(19), true));
        assert_eq!(synced_vote(74, &Vote::new_committed(73, 19)), (None, false));
        assert_eq!(synced_vote(74, &Vote::new(74, 17)), (Some(17), false));
        assert_eq!(synced_vote(0, &Vote::new(0, 17)), (None, false), "before the first term");
    }
}
