//! Who leads, and for how long that is certain.
//!
//! A node leads, for the rest of the node, from when it has applied an entry of its own term: only then its rows are
//! those of its predecessors. [`Fence`] is what a call on the cloud is checked against (architecture D6).

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use leasehold_ledger::model::NodeId;
use leasehold_ledger::mutant;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{OptionalSend, OptionalSync};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

use super::runtime::NodeInstant;
use super::types::{Engine, TypeConfig};
use crate::seams::{Clock, Mono, Spawner};

/// Whether this node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It does, and its rows are complete.
    Leading {
        /// In this term.
        term: u64,
        /// From this point on this node's clock.
        since: Mono,
    },
    /// It does not, not yet, or it is handing over.
    Following {
        /// Who leads, if known and somebody else.
        leader: Option<NodeId>,
    },
}

impl Leadership {
    /// The term this node leads in, if it does.
    #[must_use]
    pub fn term(self) -> Option<u64> {
        match self {
            Self::Leading { term, .. } => Some(term),
            Self::Following { .. } => None,
        }
    }
}

/// The engine's metrics as they are now. The borrowed form must not live across an await (raft-notes §5.12).
pub(super) fn metrics(engine: &Engine) -> RaftMetrics<TypeConfig> {
    engine.metrics().borrow_watched().clone()
}

/// Looks at the engine's metrics as they are now, without a copy. Must not wait for anything.
pub(super) fn look<T>(engine: &Engine, look: impl FnOnce(&RaftMetrics<TypeConfig>) -> T) -> T {
    look(&engine.metrics().borrow_watched())
}

/// Follows the engine and tells the rest of the node.
pub(super) struct Watched {
    pub(super) leadership: Arc<watch::Sender<Leadership>>,
    handing_over: Arc<Mutex<Option<u64>>>,
}

impl Watched {
    pub(super) fn start(engine: &Engine, clock: Arc<dyn Clock>, spawner: &Spawner) -> Self {
        let leadership = Arc::new(watch::Sender::new(Leadership::Following { leader: None }));
        let handing_over = Arc::new(Mutex::new(None));
        let (told, handing) = (leadership.clone(), handing_over.clone());
        let (seen, server, applied) = (engine.metrics(), engine.server_metrics(), engine.watch_apply_progress());
        drop(spawner.spawn("leadership", async move {
            let signs = stream::unfold((server, applied), |(mut server, mut applied)| async move {
                let changed = tokio::select! {
                    biased;
                    changed = server.changed() => changed,
                    changed = applied.changed() => changed,
                };
                changed.is_ok().then_some(((), (server, applied)))
            });
            follow(seen, signs, |seen| tell(&told, seen, *handing.lock(), &*clock)).await;
            told.send_replace(Leadership::Following { leader: None });
        }));
        Self { leadership, handing_over }
    }

    /// From now on this node does not lead for the rest of the node, whatever the engine says of this term: until it is over, or
    /// what is returned is dropped without having gone through, because who asked for it has gone away.
    pub(super) fn begin_hand_over<'a>(&'a self, term: u64, engine: &'a Engine, clock: &'a dyn Clock) -> HandOver<'a> {
        *self.handing_over.lock() = Some(term);
        self.leadership.send_replace(Leadership::Following { leader: None });
        HandOver { watched: self, engine, clock, goes_through: AtomicBool::new(false) }
    }

    /// Whatever the engine says counts again.
    fn end_hand_over(&self, engine: &Engine, clock: &dyn Clock) {
        *self.handing_over.lock() = None;
        tell(&self.leadership, &metrics(engine), None, clock);
    }
}

/// A hand-over under way.
pub(super) struct HandOver<'a> {
    watched: &'a Watched,
    engine: &'a Engine,
    clock: &'a dyn Clock,
    goes_through: AtomicBool,
}

impl HandOver<'_> {
    /// The engine is told now: the others may elect another leader any moment, so this node does not lead in this term any more,
    /// also when nobody waits for it.
    pub(super) fn goes_through(&self) {
        self.goes_through.store(true, Ordering::Relaxed);
    }

    /// It was done, or has failed.
    pub(super) fn ends(self) {
        self.watched.end_hand_over(self.engine, self.clock);
    }
}

impl Drop for HandOver<'_> {
    fn drop(&mut self) {
        if !self.goes_through.load(Ordering::Relaxed) {
            self.watched.end_hand_over(self.engine, self.clock);
        }
    }
}

/// Looks at all metrics whenever what matters here changes, until the engine ends. The engine tells all its metrics with each of
/// its ticks, twenty times a second; who leads changes with the server's and with what is applied, which are told just before the
/// rest of the same change. So what is there on waking may be of before it, and what comes next is not.
async fn follow<T: OptionalSend + OptionalSync>(
    mut seen: WatchReceiverOf<TypeConfig, T>,
    signs: impl Stream<Item = ()>,
    mut look: impl FnMut(&T),
) {
    let mut signs = pin!(signs);
    look(&seen.borrow_and_update());
    while signs.next().await.is_some() {
        look(&seen.borrow_and_update());
        if seen.changed().await.is_err() {
            return;
        }
        look(&seen.borrow_and_update());
    }
}

/// A leader that a change of the members takes out leads on until the others have that change, and then the engine lets them
/// off their promise to vote for nobody else: from when it knows of the change it does not lead for the rest of the node.
fn leads_as_voter(seen: &RaftMetrics<TypeConfig>) -> bool {
    seen.state == ServerState::Leader && seen.membership_config.voter_ids().any(|id| id == seen.id)
}

fn tell(leadership: &watch::Sender<Leadership>, seen: &RaftMetrics<TypeConfig>, handing_over: Option<u64>, clock: &dyn Clock) {
    let term = seen.current_term;
    let complete = seen.last_applied.is_some_and(|last| last.leader_id.term == term);
    let leads = leads_as_voter(seen) && complete && handing_over != Some(term);
    let leader = seen.current_leader.filter(|leader| *leader != seen.id).map(NodeId);
    leadership.send_if_modified(|told| {
        let same = match *told {
            Leadership::Leading { term: told, .. } => leads && told == term,
            Leadership::Following { leader: told } => !leads && told == leader,
        };
        if same {
            return false;
        }
        if leads {
            crate::fault_point!("raft.leadership.gained");
            tracing::info!(term, "this node leads");
            // Planted bug: a kilobyte is lost with every election.
            mutant!("M27", { leasehold_ledger::mutants::remembered(27, |kept| kept.extend([0; 1024])) });
            *told = Leadership::Leading { term, since: clock.mono() };
        } else {
            crate::fault_point!("raft.leadership.lost");
            tracing::info!(term, ?leader, "this node follows");
            *told = Leadership::Following { leader };
        }
        true
    });
}

/// Certainty of leading in one term: until it ends no follower votes for another.
///
/// Counted from the *sending* of the last heartbeat that a quorum acknowledged, on the monotonic clock, less a margin
/// for clocks of different rate. Check [`valid_now`](Self::valid_now) in the same poll that sends.
#[derive(Clone)]
pub struct Fence {
    engine: Engine,
    term: u64,
    lease: Duration,
    clock: Arc<dyn Clock>,
}

impl Fence {
    pub(super) fn new(engine: Engine, term: u64, refuse_votes: Duration, margin: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { engine, term, lease: refuse_votes.saturating_sub(margin), clock }
    }

    /// The term it is of.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Whether nobody else can lead at this moment.
    #[must_use]
    pub fn valid_now(&self) -> bool {
        look(&self.engine, |seen| certain(seen, self.term, self.lease, &*self.clock))
    }
}

fn certain(seen: &RaftMetrics<TypeConfig>, term: u64, lease: Duration, clock: &dyn Clock) -> bool {
    if !leads_as_voter(seen) || seen.current_term != term {
        return false;
    }
    if seen.membership_config.voter_ids().eq([seen.id]) {
        return true;
    }
    // The time of the acknowledgement is read before now: a pause in between makes it older, never younger.
    let since = |acked| openraft::Instant::saturating_duration_since(&NodeInstant::of(clock), acked);
    seen.last_quorum_acked.is_some_and(|acked| since(*acked) < lease)
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fence").field("term", &self.term).field("lease", &self.lease).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::type_config::TypeConfigExt;

    use super::super::types::{LogId, Member, Membership, StoredMembership};
    use super::*;

    const LEASE: Duration = Duration::from_millis(800);

    /// What node 1, leader of term 3, sees when these are the voters and a quorum has just acknowledged it.
    fn leader_among(voters: &[u64]) -> RaftMetrics<TypeConfig> {
        let log_id = LogId::new(openraft::vote::leader_id_std::CommittedLeaderId::new(3), 9);
        let members: BTreeMap<u64, Member> = voters.iter().map(|id| (*id, Member::default())).collect();
        let voters: BTreeSet<u64> = voters.iter().copied().collect();
        let membership = Membership::new(vec![voters], members).expect("voters are members");
        let mut seen = RaftMetrics::new_initial(1);
        seen.current_term = 3;
        seen.state = ServerState::Leader;
        seen.last_applied = Some(log_id);
        seen.membership_config = Arc::new(StoredMembership::new(Some(log_id), membership));
        seen.last_quorum_acked = Some(TypeConfig::now().into());
        seen
    }

    #[test]
    fn a_leader_that_a_change_takes_out_leads_nobody_to_the_cloud() {
        let clock = crate::seams::clock::SystemClock::default();
        for (voters, leads) in [(&[1, 2, 3][..], true), (&[2, 3], false)] {
            let seen = leader_among(voters);
            let told = watch::Sender::new(Leadership::Following { leader: None });
            tell(&told, &seen, None, &clock);
            assert_eq!(told.borrow().term(), leads.then_some(3), "{voters:?}");
            assert_eq!(certain(&seen, 3, LEASE, &clock), leads, "{voters:?}");
        }
    }

    #[tokio::test]
    async fn what_is_told_after_the_sign_of_it_is_seen_whatever_else_was_told_before() {
        use openraft::async_runtime::watch::{Watch, WatchSender};
        use tokio_stream::wrappers::ReceiverStream;
        type Engines = <super::super::runtime::Runtime as openraft_rt::AsyncRuntime>::Watch;
        let (all, seen) = Engines::channel(0);
        let (sign, signs) = tokio::sync::mpsc::channel(1);
        let looked = Arc::new(Mutex::new(Vec::new()));
        let into = looked.clone();
        let following = tokio::spawn(follow(seen, ReceiverStream::new(signs), move |seen: &u32| into.lock().push(*seen)));
        let settle = || async {
            for _ in 0..10 {
                tokio::task::yield_now().await
            }
        };
        settle().await;
        // A tick that nobody waits for; then the sign of a change, and the change only once the sign has been taken.
        all.send(1).unwrap();
        sign.send(()).await.unwrap();
        settle().await;
        all.send(2).unwrap();
        settle().await;
        assert_eq!(looked.lock().last(), Some(&2));
        sign.send(()).await.unwrap();
        all.send(3).unwrap();
        settle().await;
        assert_eq!(looked.lock().last(), Some(&3));
        drop((all, sign));
        following.await.unwrap();
    }

    #[test]
    fn certainty_is_of_one_term_and_ends_with_the_lease() {
        let clock = crate::seams::clock::SystemClock::default();
        let certain = |seen: &RaftMetrics<TypeConfig>, term, lease| certain(seen, term, lease, &clock);
        let seen = leader_among(&[1, 2, 3]);
        assert!(!certain(&seen, 2, LEASE));
        assert!(!certain(&seen, 3, Duration::ZERO));
        let mut unheard = leader_among(&[1, 2, 3]);
        unheard.last_quorum_acked = None;
        assert!(!certain(&unheard, 3, LEASE));
        let mut alone = leader_among(&[1]);
        alone.last_quorum_acked = None;
        assert!(certain(&alone, 3, LEASE));
    }
}
