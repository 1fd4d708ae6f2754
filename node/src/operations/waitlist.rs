//! Which new leases wait for room (docs/decisions/0019); the leader has them booked when there is some (`leader/waitlist.rs`).

use leasehold_ledger::command::{LeaseWish, PlannedReservation, StartWish, WaitWish};
use leasehold_ledger::model::{Excess, LimitKind, ReservationId, Seconds, Timestamp};
use leasehold_ledger::reply::Rejection;

use super::{OperationError, Operations, Result};

impl Operations {
    /// Refuses to wait at all where that is switched off, also under a key that is known: members of an older release do not
    /// know the field, so nothing with it may get into the log.
    pub(super) fn check_may_wait(&self, wish: &LeaseWish) -> Result<()> {
        if self.inner.bounds.wait_s_max > 0 || wish.wait.is_none() {
            return Ok(());
        }
        let problem = "no lease waits for room here (wait_s_max is 0)".to_owned();
        Err(Rejection::Invalid { field: "wait".to_owned(), problem }.into())
    }

    /// Refuses to wait for longer than this cluster allows; the ledger judges the rest.
    pub(super) fn check_wait(&self, wish: &LeaseWish, now: Timestamp) -> Result<()> {
        let max_s = self.inner.bounds.wait_s_max;
        let Some(until) = until(wish) else { return Ok(()) };
        let asked_s = until.0.saturating_sub(now.floor_to_second().0);
        if asked_s <= max_s {
            return Ok(());
        }
        let problem = format!("the lease would wait for {asked_s} s; here it may for {max_s} s at most (wait_s_max)");
        Err(Rejection::Invalid { field: "wait.until".to_owned(), problem }.into())
    }
}

/// Until when a lease would wait; `None`: not at all.
fn until(wish: &LeaseWish) -> Option<Seconds> {
    match (wish.wait?, wish.start) {
        (WaitWish::Until(until), _) => Some(until),
        (WaitWish::UntilStart, StartWish::At(latest) | StartWish::Earliest { latest, .. }) => Some(latest),
        (WaitWish::UntilStart, StartWish::Now) => None,
    }
}

/// Whether what is refused now waits instead: what it lacks may come, and there is time for that.
pub(super) fn waits(wish: &LeaseWish, refused: &OperationError, now: Timestamp) -> bool {
    let may_come = match refused {
        OperationError::NoRoom { offer, .. } => offer.quota.as_ref().is_none_or(frees_itself),
        OperationError::Rejected(Rejection::QuotaExceeded(excess)) => frees_itself(excess),
        _ => false,
    };
    may_come && until(wish).is_some_and(|until| until.timestamp() > now)
}

/// Whether a quota may have room for it some day as it is set now: others' use goes and time passes, but nobody's lease gets shorter
/// or smaller by waiting.
fn frees_itself(excess: &Excess) -> bool {
    match excess.kind {
        LimitKind::DurationS => false,
        LimitKind::Slots | LimitKind::Vcpus => excess.wanted.is_some_and(|wanted| wanted <= u64::from(excess.limit)),
        _ => true,
    }
}

/// What is answered where the waitlist is full: the refusal that was to be waited out, which says what would fit, with the
/// reason for which it is not.
pub(super) fn not_on(full: Rejection, refused: Option<OperationError>) -> OperationError {
    match refused {
        Some(OperationError::NoRoom { offer, ledger_index, .. }) => {
            OperationError::NoRoom { offer, ledger_index, not_waiting: Some(full.to_string()) }
        }
        _ => full.into(),
    }
}

/// The plan of what is bound to no host, because it waits or is to be refused: the ids alone.
pub(super) fn unbound(ids: &[ReservationId]) -> Vec<PlannedReservation> {
    ids.iter().map(|id| PlannedReservation { reservation_id: *id, bindings: Vec::new() }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use leasehold_ledger::listing::LeaseFilter;
    use leasehold_ledger::model::LeaseStatus;
    use leasehold_ledger::plan::NoRoom;
    use uuid::Uuid;

    use super::*;
    use crate::config::WAIT_S_MAX;
    use crate::operations::tests::{Lone, actor, wish};
    use crate::operations::{Actor, Bounds, Consistency};

    /// From tomorrow on: not for as long may be waited as others are far ahead.
    fn patient(amount: u32) -> LeaseWish {
        let start = Seconds::from_unix_s(chrono::Utc::now().timestamp() + 86_400).unwrap();
        LeaseWish { wait: Some(WaitWish::UntilStart), start: StartWish::At(start), end: start.plus(3_600), ..wish(amount) }
    }

    async fn listed(operations: &Operations, actor: &Actor, statuses: &[LeaseStatus]) -> Vec<Uuid> {
        let filter = LeaseFilter { statuses: statuses.iter().copied().collect(), ..LeaseFilter::default() };
        let found = operations.list_leases(actor, filter, Consistency::Linearizable).await.unwrap().value.leases;
        found.into_iter().map(|lease| lease.id.0).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_room_it_waits_is_listed_where_that_is_asked_for_and_is_deleted() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let first = operations.create_lease(&member, None, patient(3)).await.unwrap().value;
        assert_eq!((first.status, first.wait), (LeaseStatus::Pending, None));
        let refused = operations.create_lease(&member, None, LeaseWish { wait: None, ..patient(2) }).await;
        assert!(matches!(refused, Err(OperationError::NoRoom { .. })), "it did not ask to wait");
        let second = operations.create_lease(&member, None, patient(2)).await.unwrap().value;
        assert_eq!((second.status, second.wait.map(|wait| wait.until)), (LeaseStatus::Waiting, Some(second.start)));
        assert_eq!(listed(&operations, &member, &[]).await, [first.id.0]);
        assert_eq!(listed(&operations, &member, &[LeaseStatus::Waiting]).await, [second.id.0]);
        let seen = operations.get_lease(&member, second.id, Consistency::Linearizable).await.unwrap().value;
        assert_eq!(seen.status, LeaseStatus::Waiting);
        operations.delete_lease(&member, None, second.id).await.unwrap();
        assert_eq!(listed(&operations, &member, &[LeaseStatus::Waiting]).await, Vec::<Uuid>::new());
        lone.end().await;
    }

    #[test]
    fn only_what_others_or_time_may_bring_is_waited_for() {
        let over = |kind, limit, wanted| {
            let excess = Excess { kind, limit, used: 0, wanted, at: None, fits: 0 };
            let offer = NoRoom { quota: Some(excess), ..NoRoom::default() };
            let told = OperationError::NoRoom { offer, ledger_index: 0, not_waiting: None };
            let waits = |refused| waits(&patient(1), &refused, Timestamp(0));
            let may_come = waits(OperationError::Rejected(Rejection::QuotaExceeded(excess)));
            assert_eq!(waits(told), may_come, "{excess:?}");
            may_come
        };
        for (kind, wanted, may_come) in [
            (LimitKind::Slots, Some(4), true),
            (LimitKind::Slots, Some(5), false),
            (LimitKind::Vcpus, Some(4), true),
            (LimitKind::Vcpus, Some(5), false),
            (LimitKind::DurationS, Some(5), false),
            (LimitKind::DurationS, None, false),
            (LimitKind::StartAheadS, Some(5), true),
            (LimitKind::EndAheadS, Some(5), true),
            (LimitKind::VcpuHours, Some(4), true),
        ] {
            assert_eq!(over(kind, 4, wanted), may_come, "{kind:?} {wanted:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_the_waitlist_is_full_it_is_told_what_would_fit() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        for _ in 0..100 {
            operations.create_lease(&member, None, patient(9)).await.unwrap();
        }
        match operations.create_lease(&member, None, patient(5)).await.unwrap_err() {
            OperationError::NoRoom { offer, not_waiting: Some(why), .. } => {
                assert_eq!(offer.largest_amount, 4);
                assert!(why.contains("100 leases wait for room already"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_waiting_is_switched_off_nothing_of_it_is_proposed() {
        let lone = Lone::with(Bounds { wait_s_max: 0, ..Bounds::default() }).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let index = || operations.inner.raft.state().ledger_index();
        let before = index();
        let now = LeaseWish { start: StartWish::Now, ..patient(1) };
        for asked in [patient(1), patient(9), LeaseWish { wait: Some(WaitWish::Until(Seconds(1))), ..patient(1) }, now] {
            let refused = operations.create_lease(&member, None, asked).await.unwrap_err();
            assert!(refused.to_string().contains("wait_s_max is 0"), "{refused}");
        }
        assert_eq!(index(), before);
        operations.create_lease(&member, None, wish(1)).await.unwrap();
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_waits_for_no_longer_than_the_configuration_allows() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let mut far = patient(9);
        let StartWish::At(start) = far.start else { panic!("it has a date") };
        far.start = StartWish::At(start.plus(WAIT_S_MAX));
        far.end = far.end.plus(WAIT_S_MAX);
        let refused = operations.create_lease(&member, None, far.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("7776000 s at most"), "{refused}");
        let near = LeaseWish { wait: Some(WaitWish::Until(start)), ..far };
        assert_eq!(operations.create_lease(&member, None, near).await.unwrap().value.status, LeaseStatus::Waiting);
        lone.end().await;
    }
}
