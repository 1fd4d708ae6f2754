//! The ledger as the leader's tasks see it: read what is owed, propose what was learnt, ask whether one may act.
//!
//! The adapter over Raft stands in the node's wiring; tests put a ledger in memory here.

use std::sync::Arc;

use futures::future::BoxFuture;
use leasehold_ledger::command::Command;
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::NodeId;
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use tokio::sync::{broadcast, watch};

/// A proposal whose end was not seen: it may or may not be in the log. Every command the leader proposes may come twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not proposed, or its end was not seen: {0}")]
pub struct ProposeError(pub String);

/// The ledger of this node.
pub trait LedgerPort: Send + Sync + 'static {
    /// Shows the state as this node has applied it. Short: writers wait meanwhile.
    fn read(&self, look: &mut dyn FnMut(&State));

    /// Has a command committed and applied.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Result<Reply, Rejection>, ProposeError>>;

    /// The ledger index as it rises with every command applied here.
    fn applied(&self) -> watch::Receiver<u64>;

    /// Hints of what was applied here, from now on. Missed ones cost time, never work; an empty list means: look at everything.
    fn effects(&self) -> broadcast::Receiver<Arc<[Effect]>>;

    /// Whether this node may send mutating calls right now, as leader of `term` (architecture D6).
    fn may_act(&self, term: u64) -> bool;

    /// This node.
    fn node_id(&self) -> NodeId;
}

impl dyn LedgerPort {
    /// What `look` makes of the state.
    pub fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let (mut look, mut seen) = (Some(look), None);
        self.read(&mut |state| seen = look.take().map(|look| look(state)));
        seen.expect("the port shows the state once")
    }
}
