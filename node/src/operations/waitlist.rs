//! Which new leases wait for room (docs/decisions/0019); the leader has them booked when there is some (`leader/waitlist.rs`).

use leasehold_ledger::command::{LeaseWish, PlannedReservation, StartWish, WaitWish};
use leasehold_ledger::model::{ReservationId, Seconds, Timestamp};
use leasehold_ledger::reply::Rejection;

use super::{OperationError, Operations, Result};

impl Operations {
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
    let may_come = matches!(refused, OperationError::NoRoom { .. } | OperationError::Rejected(Rejection::QuotaExceeded(_)));
    may_come && until(wish).is_some_and(|until| until.timestamp() > now)
}

/// The plan of what is bound to no host: the ids alone.
pub(super) fn unbound(ids: &[ReservationId]) -> Vec<PlannedReservation> {
    ids.iter().map(|id| PlannedReservation { reservation_id: *id, bindings: Vec::new() }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_ledger::listing::LeaseFilter;
    use leasehold_ledger::model::LeaseStatus;
    use uuid::Uuid;

    use super::*;
    use crate::config::WAIT_S_MAX;
    use crate::operations::tests::{Lone, actor, wish};
    use crate::operations::{Actor, Consistency};

    fn patient(amount: u32) -> LeaseWish {
        LeaseWish { wait: Some(WaitWish::UntilStart), ..wish(amount) }
    }

    async fn listed(operations: &Operations, actor: &Actor, statuses: &[LeaseStatus]) -> Vec<Uuid> {
        let filter = LeaseFilter { statuses: statuses.iter().copied().collect(), ..LeaseFilter::default() };
        let found = operations.list_leases(actor, filter, Consistency::Linearizable).await.unwrap().value;
        found.into_iter().map(|lease| lease.id.0).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_room_it_waits_is_listed_where_that_is_asked_for_and_is_deleted() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let first = operations.create_lease(&member, None, patient(3)).await.unwrap().value;
        assert_eq!((first.status, first.wait), (LeaseStatus::Pending, None));
        let refused = operations.create_lease(&member, None, wish(2)).await;
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
