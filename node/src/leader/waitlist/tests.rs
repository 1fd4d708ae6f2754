#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use leasehold_ledger::apply::apply;
use leasehold_ledger::command::{CreateLease, Entry, LeaseWish, Outcome, PlannedReservation, WaitWish};
use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{EventId, LeaseStatus, NodeId, PoolKind, Reason, ReasonCode, ReservationId};
use leasehold_ledger::state::State;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use super::*;
use crate::leader::ProposeError;
use crate::operations::tests::{host, wish};

/// A clock that goes on as it is told, and a ledger in memory of which every look takes its time by that.
#[derive(Default)]
struct Slow {
    now_ms: AtomicU64,
    look_ms: AtomicU64,
    looks: AtomicU64,
    state: Mutex<State>,
}

impl Clock for Slow {
    fn mono(&self) -> Mono {
        Mono(Duration::from_millis(self.now_ms.load(Ordering::SeqCst)))
    }
    fn wall_ms(&self) -> u64 {
        4_000_000_000_000 + self.now_ms.load(Ordering::SeqCst)
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        std::future::pending().boxed()
    }
}

impl LedgerPort for Slow {
    fn read(&self, look: &mut dyn FnMut(&State)) {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.pass(self.look_ms.load(Ordering::SeqCst));
        look(&self.state.lock());
    }
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Result<Reply, Rejection>, ProposeError>> {
        std::future::ready(Ok(self.apply(command))).boxed()
    }
    fn applied(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
    fn effects(&self) -> broadcast::Receiver<Arc<[Effect]>> {
        broadcast::channel(1).1
    }
    fn may_act(&self, _: u64) -> bool {
        true
    }
    fn node_id(&self) -> NodeId {
        NodeId(1)
    }
}

impl Slow {
    /// With one host of four vCPUs.
    fn with_host(pool: PoolKind) -> Slow {
        let slow = Slow::default();
        slow.apply(Command::RegisterHost(Box::new(host("h1", pool, 4)))).unwrap();
        slow
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn apply(&self, command: Command) -> Result<Reply, Rejection> {
        let entry = Entry { key: None, proposed_at: Timestamp(self.wall_ms()), command };
        apply(&mut self.state.lock(), &entry).outcome
    }

    /// A lease that waits for so many vCPUs.
    fn wait(&self, number: u128, amount: u32) -> LeaseId {
        let lease_id = LeaseId(Uuid::from_u128(number));
        let id = |of: u128| Uuid::from_u128(number * 1_000 + of);
        let create = CreateLease {
            wish: LeaseWish { wait: Some(WaitWish::UntilStart), ..wish(amount) },
            lease_id,
            event_ids: (0..6).map(|of| EventId(id(of))).collect(),
            plan: vec![PlannedReservation { reservation_id: ReservationId(id(10)), bindings: Vec::new() }],
            resource_ids: vec![id(11)],
            planned_at: 0,
            moved_to: None,
            adoptions: BTreeMap::new(),
            caller_makes_groups: false,
            waits: true,
            asked: None,
            victims: Vec::new(),
        };
        self.apply(Command::CreateLease(Box::new(create))).unwrap();
        lease_id
    }

    fn status(&self, id: LeaseId) -> LeaseStatus {
        self.state.lock().lease(id).unwrap().status
    }

    fn withdraw(&self, lease_id: LeaseId) {
        let reason = Reason { code: ReasonCode::CloudUnavailable, text: "it is silent".to_owned() };
        self.apply(Command::WithdrawLease { lease_id, reason }).unwrap();
    }

    async fn look(&self, memory: &mut Memory) {
        look(self, self, memory).await;
    }
}

#[tokio::test]
async fn a_round_ends_after_its_plans_or_its_time() {
    let (slow, mut memory) = (Slow::with_host(PoolKind::Dedicated), Memory::default());
    for number in 1..=40 {
        slow.wait(number, 9);
    }
    let looks = async |memory: &mut Memory| {
        let before = slow.looks.load(Ordering::SeqCst);
        slow.look(memory).await;
        slow.looks.load(Ordering::SeqCst) - before
    };
    assert_eq!(looks(&mut memory).await, 1 + LOOKS as u64, "a list of all, and as many plans as there may be");
    slow.look_ms.store(8, Ordering::SeqCst);
    assert_eq!(looks(&mut memory).await, 3);
    slow.look_ms.store(70, Ordering::SeqCst);
    assert_eq!(looks(&mut memory).await, 1);
    assert_eq!(memory.left.len(), 40 - LOOKS - 4, "the next round goes on there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn others_go_on_while_plans_are_made() {
    let (slow, mut memory) = (Slow::with_host(PoolKind::Dedicated), Memory::default());
    for number in 1..=8 {
        slow.wait(number, 9);
    }
    let beats = Arc::new(AtomicU64::new(0));
    let counted = beats.clone();
    let heart = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    // On a thread of the runtime, as the leader's tasks are.
    let beaten = tokio::spawn(async move {
        let before = beats.load(Ordering::SeqCst);
        slow.look(&mut memory).await;
        beats.load(Ordering::SeqCst) - before
    });
    assert!(beaten.await.unwrap() >= 7, "each plan lets others go on");
    heart.abort();
}

#[tokio::test]
async fn what_the_cloud_did_not_agree_to_is_left_alone_for_longer_each_time() {
    let (slow, mut memory) = (Slow::with_host(PoolKind::Shared), Memory::default());
    let (older, younger) = (slow.wait(1, 3), slow.wait(2, 3));
    slow.look(&mut memory).await;
    assert_eq!((slow.status(older), slow.status(younger)), (LeaseStatus::Updating, LeaseStatus::Waiting));
    for pause_s in [40, 80, 160, 160] {
        slow.withdraw(older);
        slow.pass(pause_s * 1_000 - 1);
        slow.look(&mut memory).await;
        assert_eq!(slow.status(older), LeaseStatus::Waiting, "{pause_s} s are not over");
        assert_eq!(slow.status(younger), LeaseStatus::Updating, "and who came later has his turn");
        slow.withdraw(younger);
        slow.pass(1);
        slow.look(&mut memory).await;
        assert_eq!(slow.status(older), LeaseStatus::Updating, "after {pause_s} s it is tried again");
        memory.tried.remove(&younger);
    }
}

#[tokio::test]
async fn a_lease_counts_as_booked_once_the_cloud_has_agreed() {
    let (slow, mut memory) = (Slow::with_host(PoolKind::Shared), Memory::default());
    let (kept, deleted) = (slow.wait(1, 2), slow.wait(2, 2));
    slow.look(&mut memory).await;
    assert_eq!((slow.status(kept), slow.status(deleted)), (LeaseStatus::Updating, LeaseStatus::Updating));
    assert_eq!(memory.agreed(&slow), []);
    slow.apply(Command::DeleteLease { lease_id: deleted }).unwrap();
    let row = slow.state.lock().actuations_of(kept).next().cloned().unwrap();
    let outcome = Outcome::Held { server_group_id: None };
    slow.apply(Command::RecordOutcome { actuation_id: row.id, revision: row.revision, outcome }).unwrap();
    assert_eq!(memory.agreed(&slow), [kept]);
    assert!(memory.tried.is_empty());
}
