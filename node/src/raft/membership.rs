//! Making a cluster, and changing who is in it: one change at a time, learner first (raft-notes §5.11).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use leasehold_ledger::command::Command;
use leasehold_ledger::model::NodeId;
use leasehold_ledger::reply::Rejection;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::raft::Precondition;
use parking_lot::Mutex;
use uuid::Uuid;

use super::cluster_time::ClusterTime;
use super::identity::Identity;
use super::leadership::{Leadership, Watched, look, metrics};
use super::peer::Transport;
use super::propose::{ProposeError, Proposer, forwarded};
use super::state_machine::Shared;
use super::types::{Engine, LogId, Member, Membership, StoredMembership, TypeConfig};
use crate::seams::{Clock, Rng};

/// Longest wait for a new node to catch up.
const CATCH_UP: Duration = Duration::from_secs(300);
/// Longest wait for a leader after a cluster was made, and for another one after leadership was handed over.
const ELECTION: Duration = Duration::from_secs(10);
/// Longest wait until a new node knows the disks of the others.
const INTRODUCE: Duration = Duration::from_secs(5);
/// Between two attempts to tell it.
const INTRODUCE_AGAIN: Duration = Duration::from_millis(100);
/// Between two looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Longest wait for the leader's work to stop before leadership is handed over.
const STOP_WORK: Duration = Duration::from_secs(5);

/// The cluster was not changed, but for [`Unknown`](Self::Unknown).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The change does not fit the cluster as it is.
    #[error("{0}")]
    Conflict(String),
    /// Try again, perhaps elsewhere.
    #[error(transparent)]
    Unavailable(ProposeError),
    /// It may have been carried out, now or later: look at the cluster's status.
    #[error("the change was begun, but its end was not seen; look at the cluster's status")]
    Unknown,
}

/// What is told to who asks while somebody else's change is carried out.
const UNDER_WAY: &str = "another change of the members is under way";

/// Stops and awaits the leader's work on the cloud (architecture D6).
pub type StopWork = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Held by who changes the members.
type Changing<'a> = tokio::sync::MutexGuard<'a, ()>;

/// Changes the cluster.
pub(super) struct Changer {
    pub(super) engine: Engine,
    pub(super) identity: Arc<Identity>,
    pub(super) proposer: Proposer,
    pub(super) watched: Arc<Watched>,
    pub(super) shared: Arc<Shared>,
    pub(super) time: Arc<ClusterTime>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) itself: Member,
    pub(super) stop_work: Mutex<Option<StopWork>>,
    /// Held from the first to the last step of a change. The engine carries a change out in two steps and takes another's single
    /// step in between; then the second of the first fails (found by the simulation).
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl Changer {
    /// Makes a cluster of these voters, this node among them, and names it in the ledger. May be repeated after it was
    /// interrupted.
    pub(super) async fn initialise(&self, mut voters: BTreeMap<u64, Member>) -> Result<Uuid, ChangeError> {
        if let Some(cluster_id) = self.shared.state.read().cluster_id() {
            return Err(ChangeError::Conflict(format!("this node belongs to cluster {cluster_id} already")));
        }
        voters.insert(self.identity.node_id(), self.itself.clone());
        // 1. The name is kept here first: peers learn it from the first call. 2. Then the members. 3. Then the name in
        // the ledger. Each step may be found done by a repetition.
        let fresh = self.rng.uuid_v4();
        self.identity.adopt(fresh).await.map_err(|error| ChangeError::Conflict(error.to_string()))?;
        let cluster_id = self.identity.cluster_id().unwrap_or(fresh);
        match self.engine.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(ChangeError::Conflict(error.to_string())),
        }
        let named = async {
            loop {
                match self.proposer.propose(None, Command::InitCluster { cluster_id }).await {
                    Ok(committed) => return committed.outcome,
                    // No leader yet, or another voter was elected first: then whoever makes the cluster repeats there.
                    Err(_) => self.clock.sleep(Duration::from_millis(20)).await,
                }
            }
        };
        match self.clock.timeout(ELECTION, named).await {
            // Refused: an earlier attempt, counted as failed, was committed after all.
            Ok(Ok(_) | Err(Rejection::ClusterInitialised)) => Ok(cluster_id),
            Ok(Err(rejection)) => Err(ChangeError::Conflict(rejection.to_string())),
            Err(_) => Err(ChangeError::Unknown),
        }
    }

    /// Adds a node: as learner, and as voter once it has caught up.
    pub(super) async fn add(&self, node_id: u64, member: Member) -> Result<(), ChangeError> {
        self.leads()?;
        let voter = || ChangeMembers::AddVoterIds(BTreeSet::from([node_id]));
        let seen = metrics(&self.engine);
        let members = seen.membership_config.membership();
        if members.voter_ids().any(|id| id == node_id) && is_half_changed(members) {
            return self.change(voter()).await;
        }
        addable(&seen, node_id, &member)?;
        self.introduce(node_id, &member, members.get_node(&node_id).is_some()).await?;
        let learns_from = {
            let _changing = self.changing()?;
            // Another may have been through since.
            addable(&metrics(&self.engine), node_id, &member)?;
            let adding = self.engine.add_learner(node_id, member.clone(), false);
            self.clock.timeout(ELECTION, adding).await.map_err(|_| ChangeError::Unknown)?.map_err(told)?.log_id
        };
        self.caught_up(node_id, learns_from).await?;
        let changing = self.changing()?;
        addable(&metrics(&self.engine), node_id, &member)?;
        self.change_under(&changing, voter()).await
    }

    /// Only who leads, and has all that was committed before, knows who is a member: one that was just started may know of nobody.
    fn leads(&self) -> Result<(), ChangeError> {
        let leads = self.watched.leadership.borrow().term().is_some();
        leads.then_some(()).ok_or(ChangeError::Unavailable(ProposeError::NotLeader { leader: None }))
    }

    /// Nobody else changes the members while the guard lives.
    fn changing(&self) -> Result<Changing<'_>, ChangeError> {
        self.changing.try_lock().map_err(|_| ChangeError::Conflict(UNDER_WAY.into()))
    }

    /// Waits until a learner has what made it one, and all before.
    async fn caught_up(&self, node_id: u64, learns_from: LogId) -> Result<(), ChangeError> {
        let caught_up = async {
            loop {
                let now = metrics(&self.engine);
                let Some(matched) = now.replication else {
                    return Err(ChangeError::Unavailable(ProposeError::NotLeader { leader: None }));
                };
                let knows = *now.membership_config.log_id() >= Some(learns_from);
                if knows && now.membership_config.get_node(&node_id).is_none() {
                    return Err(ChangeError::Conflict(format!("node {node_id} was removed meanwhile")));
                }
                if knows && matched.get(&node_id).copied().flatten() >= Some(learns_from) {
                    return Ok(());
                }
                self.clock.sleep(LOOK_AGAIN).await;
            }
        };
        self.clock.timeout(CATCH_UP, caught_up).await.unwrap_or(Err(ChangeError::Unknown))
    }

    /// Makes up for the second step of a change whose leader died between its two. To be called now and then: does nothing
    /// elsewhere than on the leader, while a change is carried out, and where none was left halfway.
    ///
    /// # Errors
    /// It stays as it was; see [`ChangeError`].
    pub(super) async fn complete(&self) -> Result<(), ChangeError> {
        let left = |seen: &RaftMetrics<TypeConfig>| is_half_changed(seen.membership_config.membership());
        if self.watched.leadership.borrow().term().is_none() || !look(&self.engine, left) || self.changing().is_err() {
            return Ok(());
        }
        let members = metrics(&self.engine).membership_config;
        tracing::warn!(members = %members.membership(), "a change of the members was left halfway; completing it");
        let stays =
            members.membership().get_joint_config().last().is_some_and(|voters| voters.contains(&self.identity.node_id()));
        if !stays {
            // As in `remove`: who leads then completes it.
            return self.transfer(None).await;
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await
    }

    /// Before anybody else speaks to a new node its disk must be known, or it could lose that and come back unnoticed; and it must
    /// know everybody else's, or another could come back to it with an empty one (found by the simulation).
    async fn introduce(&self, node_id: u64, member: &Member, is_member: bool) -> Result<(), ChangeError> {
        // A node that was met before does not answer if it has another disk now.
        let used = self.identity.has_met(node_id) && !is_member;
        let asked = async {
            while !self.time.ask(node_id, member.clone(), &*self.transport, &self.identity).await {
                self.clock.sleep(INTRODUCE_AGAIN).await;
            }
        };
        if self.clock.timeout(INTRODUCE, asked).await.is_ok() && self.identity.has_met(node_id) {
            return Ok(());
        }
        Err(ChangeError::Conflict(if used {
            format!(
                "node id {node_id} was used before, and nobody with its disk answers at {}; empty the node's data directory and \
                 give it an id that never was",
                member.peer_address
            )
        } else {
            format!("node {node_id} does not answer at {}; start it, then add it again", member.peer_address)
        }))
    }

    /// Refuses to take a voter away while too few of the others answer, now or a moment ago.
    async fn enough_stay(&self, node_id: u64, members: &StoredMembership) -> Result<(), ChangeError> {
        let stay: Vec<u64> = members.voter_ids().filter(|id| *id != node_id).collect();
        let lately = self.time.answering();
        let silent = stay.iter().filter(|id| !lately.contains(id)).filter_map(|id| Some((*id, members.get_node(id)?.clone())));
        let asked = silent.map(|(id, member)| self.time.ask(id, member, &*self.transport, &self.identity));
        futures::future::join_all(asked).await;
        enough(&stay, &self.time.answering())
    }

    /// Removes a node. Its id must never be used again.
    pub(super) async fn remove(&self, node_id: u64) -> Result<(), ChangeError> {
        self.leads()?;
        let seen = metrics(&self.engine);
        if seen.membership_config.get_node(&node_id).is_none() {
            return Err(already(&seen, format!("node {node_id} is no member")));
        }
        let members = seen.membership_config;
        if node_id == self.identity.node_id() && self.leads_others() {
            // Its work on the cloud stops first, and who leads then carries the change out: a leader outside of its own
            // cluster would go on acting (architecture D6).
            self.transfer(None).await?;
            return Err(ChangeError::Unavailable(ProposeError::NotLeader { leader: None }));
        }
        let which = BTreeSet::from([node_id]);
        if members.voter_ids().any(|id| id == node_id) {
            self.enough_stay(node_id, &members).await?;
            self.change(ChangeMembers::RemoveVoters(which)).await
        } else {
            self.change(ChangeMembers::RemoveNodes(which)).await
        }
    }

    async fn change(&self, change: ChangeMembers<u64, Member>) -> Result<(), ChangeError> {
        self.change_under(&self.changing()?, change).await
    }

    async fn change_under(&self, _: &Changing<'_>, change: ChangeMembers<u64, Member>) -> Result<(), ChangeError> {
        let based_on = *metrics(&self.engine).membership_config.log_id();
        let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: based_on };
        let changing = self.engine.change_membership_if(change, false, [unchanged]);
        self.clock.timeout(ELECTION, changing).await.map_err(|_| ChangeError::Unknown)?.map_err(told)?;
        Ok(())
    }

    /// Stops the leader's work, then hands leadership over; to the voter that has most of the log, if not said to whom.
    pub(super) async fn transfer(&self, to: Option<u64>) -> Result<(), ChangeError> {
        let seen = metrics(&self.engine);
        let not_leading = ProposeError::NotLeader { leader: None };
        let Some(term) = self.watched.leadership.borrow().term() else {
            return Err(ChangeError::Unavailable(not_leading));
        };
        let matched = seen.replication.unwrap_or_default();
        let others = seen.membership_config.voter_ids().filter(|id| *id != seen.id);
        let best = others.max_by_key(|id| matched.get(id).copied().flatten().map(|log_id| log_id.index));
        let to = match (to, best) {
            (Some(to), _) if to == seen.id => return Err(ChangeError::Conflict("this node leads already".into())),
            (Some(to), _) if !seen.membership_config.voter_ids().any(|id| id == to) => {
                return Err(ChangeError::Conflict(format!("node {to} is no voter")));
            }
            (Some(to), _) | (None, Some(to)) => to,
            (None, None) => return Err(ChangeError::Conflict("there is no other voter".into())),
        };
        let handing = self.watched.begin_hand_over(term, &self.engine, &*self.clock);
        let stop_work = self.stop_work.lock().clone();
        if let Some(stop_work) = stop_work
            && self.clock.timeout(STOP_WORK, stop_work()).await.is_err()
        {
            return Err(ChangeError::Conflict("the leader's work did not stop in time; leadership stays".into()));
        }
        handing.goes_through();
        let handed = async {
            if self.engine.trigger().transfer_leader(to).await.is_err() {
                return Err(ChangeError::Unavailable(ProposeError::Stopping));
            }
            loop {
                let now = metrics(&self.engine);
                if now.current_term > term && now.current_leader.is_some() {
                    return Ok(());
                }
                self.clock.sleep(LOOK_AGAIN).await;
            }
        };
        let handed = self.clock.timeout(ELECTION, handed).await;
        handing.ends();
        handed.unwrap_or(Err(ChangeError::Unknown))
    }

    pub(super) fn itself(&self) -> &Member {
        &self.itself
    }

    /// Leads here or not, for the caller that stops.
    pub(super) fn leads_others(&self) -> bool {
        let leads = matches!(*self.watched.leadership.borrow(), Leadership::Leading { .. });
        leads && metrics(&self.engine).membership_config.voter_ids().count() > 1
    }

    /// The node that leads, as far as known.
    pub(super) fn leader(&self) -> Option<(NodeId, String)> {
        let seen = metrics(&self.engine);
        let leader = seen.current_leader?;
        let member = seen.membership_config.get_node(&leader)?;
        Some((NodeId(leader), member.peer_address.clone()))
    }

    /// Where clients reach a member, if it announced an address.
    pub(super) fn client_address(&self, member: NodeId) -> Option<String> {
        let seen = metrics(&self.engine);
        let member = seen.membership_config.get_node(&member.0)?;
        Some(member.grpc_address.clone()).filter(|address| !address.is_empty())
    }
}

/// Whether a node may be made a voter: it is none, and nobody else has its address.
fn addable(seen: &RaftMetrics<TypeConfig>, node_id: u64, member: &Member) -> Result<(), ChangeError> {
    let members = seen.membership_config.membership();
    if members.voter_ids().any(|id| id == node_id) {
        return Err(already(seen, format!("node {node_id} is a voter already")));
    }
    let mut nodes = members.nodes();
    match nodes.find(|(id, there)| **id != node_id && there.peer_address == member.peer_address) {
        Some((id, _)) => Err(ChangeError::Conflict(format!("{} is the peer address of node {id}", member.peer_address))),
        None => Ok(()),
    }
}

/// What is asked for is so already: told only of what is committed. The rest may be lost with this leader, and an operator who took a
/// node for removed would switch off a voter.
fn already(seen: &RaftMetrics<TypeConfig>, text: String) -> ChangeError {
    let committed = *seen.membership_config.log_id() <= seen.last_applied;
    ChangeError::Conflict(if committed { text } else { UNDER_WAY.to_owned() })
}

/// Between the two steps of a change majorities of the voters before and after it are needed. Where its leader died there it stays
/// so until somebody makes up for the second step, and a lost node of either may end the cluster (found by the simulation).
pub(super) fn is_half_changed(members: &Membership) -> bool {
    members.get_joint_config().len() > 1
}

/// The voters that stay must be able to carry the change out: of three with one dead, taking away one that lives would end the
/// cluster for good (found by the simulation).
fn enough(stay: &[u64], answering: &BTreeSet<u64>) -> Result<(), ChangeError> {
    let there = stay.iter().filter(|id| answering.contains(id)).count();
    if 2 * there > stay.len() {
        return Ok(());
    }
    Err(ChangeError::Conflict(format!(
        "of the {} voters that would stay only {there} answer: remove those that do not first, or start them",
        stay.len()
    )))
}

fn told(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => ChangeError::Unavailable(forwarded(forward)),
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ChangeError::Unknown,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))) => {
            ChangeError::Conflict(UNDER_WAY.into())
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => ChangeError::Conflict(error.to_string()),
        RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => {
            ChangeError::Conflict("the members changed meanwhile; look at the cluster's status".into())
        }
        RaftError::Fatal(_) => ChangeError::Unavailable(ProposeError::Stopping),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_is_to_be_done_is_said_only_of_what_is_committed() {
        let mut seen = RaftMetrics::new_initial(1);
        let log_id = |index| LogId::new(openraft::vote::leader_id_std::CommittedLeaderId::new(3), index);
        seen.membership_config = Arc::new(StoredMembership::new(Some(log_id(9)), Membership::default()));
        for (applied, told) in [(8, UNDER_WAY), (9, "node 4 is no member"), (10, "node 4 is no member")] {
            seen.last_applied = Some(log_id(applied));
            assert_eq!(already(&seen, "node 4 is no member".to_owned()), ChangeError::Conflict(told.to_owned()));
        }
    }

    #[test]
    fn a_voter_leaves_only_while_those_that_stay_answer() {
        let check = |stay: &[u64], answering: &[u64]| {
            enough(stay, &answering.iter().copied().collect()).map_err(|error| error.to_string())
        };
        // The dead one goes.
        assert_eq!(check(&[2, 3], &[2, 3]), Ok(()));
        // One that lives does not, while another is dead.
        assert!(check(&[1, 3], &[2, 3]).is_err_and(|text| text.contains("only 1 answer")));
        assert_eq!(check(&[1, 2, 3, 4], &[1, 2, 3]), Ok(()));
        assert!(check(&[1, 2, 3, 4], &[1, 2]).is_err());
        assert_eq!(check(&[1], &[1]), Ok(()));
    }
}
