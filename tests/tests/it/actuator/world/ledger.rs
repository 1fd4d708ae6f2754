//! A ledger in memory, and how each node has it.

use super::*;

/// A ledger in memory: what Raft would replicate.
pub struct MemoryLedger {
    pub(super) state: Mutex<State>,
    pub(super) clock: Arc<TestClock>,
    pub(super) applied: watch::Sender<u64>,
    pub(super) effects: broadcast::Sender<Arc<[Effect]>>,
    /// Who leads.
    pub term: AtomicU64,
    pub(super) no_actuation_lease: AtomicBool,
    pub(super) no_effects: AtomicBool,
    pub(super) looks: AtomicU64,
}

impl MemoryLedger {
    /// From now on nobody's actuation lease is committed, or again.
    pub fn refuse_actuation_lease(&self, refuse: bool) {
        self.no_actuation_lease.store(refuse, Ordering::SeqCst);
    }

    /// From now on nobody is told what was applied, or again.
    pub fn mute_effects(&self, mute: bool) {
        self.no_effects.store(mute, Ordering::SeqCst);
    }

    /// How often leaders looked at the state.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    pub fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    pub fn apply(&self, command: Command) -> Result<Reply, Rejection> {
        let mut state = self.state.lock();
        let entry = Entry { key: None, proposed_at: Timestamp(self.clock.wall_ms()), command };
        let applied = apply(&mut state, &entry);
        drop(state);
        self.applied.send_replace(applied.ledger_index);
        if !applied.effects.is_empty() && !self.no_effects.load(Ordering::SeqCst) {
            drop(self.effects.send(applied.effects.into()));
        }
        applied.outcome
    }
}

/// The ledger as one node has it.
pub(super) struct NodeLedger {
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) node: u64,
}

impl LedgerPort for NodeLedger {
    fn read(&self, look: &mut dyn FnMut(&State)) {
        self.ledger.looks.fetch_add(1, Ordering::SeqCst);
        look(&self.ledger.state.lock());
    }
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Result<Reply, Rejection>, ProposeError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let is_lease = matches!(command, Command::HoldActuationLease { .. });
            if is_lease && self.ledger.no_actuation_lease.load(Ordering::SeqCst) {
                return Err(ProposeError("no quorum".into()));
            }
            Ok(self.ledger.apply(command))
        })
    }
    fn applied(&self) -> watch::Receiver<u64> {
        self.ledger.applied.subscribe()
    }
    fn effects(&self) -> broadcast::Receiver<Arc<[Effect]>> {
        self.ledger.effects.subscribe()
    }
    fn may_act(&self, term: u64) -> bool {
        self.ledger.term.load(Ordering::SeqCst) == term
    }
    fn node_id(&self) -> NodeId {
        NodeId(self.node)
    }
}
