//! Which new leases give back what nobody uses (R-12, docs/decisions/0023): what the operator says for those that say nothing of it.

use leasehold_ledger::command::LeaseWish;
use leasehold_ledger::model::RequestKey;
use leasehold_ledger::reply::Rejection;

use super::{Operations, Result};

impl Operations {
    /// What a wish comes to: 0 is never, also where the operator says something for leases that say nothing.
    pub(super) fn with_expiry(&self, wish: LeaseWish) -> Result<LeaseWish> {
        // Without reservations there is nothing to give back.
        let default = self.inner.bounds.expiry_s_default.filter(|_| !wish.reservations.is_empty());
        let expiry_s = wish.expiry_s.or(default).filter(|seconds| *seconds > 0);
        let wish = LeaseWish { expiry_s, ..wish };
        self.check_may_expire(&wish)?;
        Ok(wish)
    }

    /// As [`Operations::with_expiry`], for a wish that is to be booked; with it the wish as it was asked for, where that is another:
    /// what the operator says may change from one try to the next, so this is the content of the key then.
    pub(super) fn with_expiry_once(&self, key: Option<&RequestKey>, wish: LeaseWish) -> Result<(LeaseWish, Option<LeaseWish>)> {
        // Where no lease expires members of an older release may read along, which do not know the field: never goes without saying.
        let keeps_asked = key.is_some() && self.inner.bounds.expiry && !wish.reservations.is_empty();
        let asked = keeps_asked.then(|| wish.clone());
        let wish = self.with_expiry(wish)?;
        let asked = asked.filter(|asked| asked.expiry_s != wish.expiry_s);
        Ok((wish, asked))
    }

    /// Refuses it where it is switched off, also under a key that is known: members of an older release do not know the field, so
    /// nothing with it may get into the log.
    pub(super) fn check_may_expire(&self, wish: &LeaseWish) -> Result<()> {
        if self.inner.bounds.expiry || wish.expiry_s.is_none() {
            return Ok(());
        }
        let problem = "no lease expires here (expiry is false); leave it out".to_owned();
        Err(Rejection::Invalid { field: "expiry_s".to_owned(), problem }.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use leasehold_ledger::command::{Recurrence, SeriesWish};
    use leasehold_ledger::model::{SeriesMode, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::operations::tests::{Lone, actor, wish};
    use crate::operations::{Actor, Bounds, OperationError};

    fn after(expiry_s: Option<u32>) -> LeaseWish {
        LeaseWish { expiry_s, ..wish(1) }
    }

    fn daily(lease: LeaseWish) -> SeriesWish {
        let rule = "FREQ=DAILY;COUNT=2".to_owned();
        SeriesWish { lease, recurrence: Recurrence { rule, time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing } }
    }

    /// Keys that are valid for as long as each other.
    fn keys(actor: &Actor) -> impl Fn(u128) -> Option<RequestKey> {
        let valid_until = Timestamp(chrono::Utc::now().timestamp_millis() as u64 + 600_000);
        let project_id = actor.project_id.clone();
        move |number| Some(RequestKey { project_id: project_id.clone(), id: Uuid::from_u128(number), valid_until })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_expiry_is_switched_off_nothing_of_it_is_proposed() {
        let lone = Lone::with(Bounds { expiry: false, ..Bounds::default() }).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let key = keys(&member);
        let before = operations.inner.raft.state().ledger_index();
        let asked = after(Some(600));
        for refused in [
            operations.create_lease(&member, None, asked.clone()).await.unwrap_err(),
            operations.create_here(None, asked.clone(), None, false).await.map(|_| ()).unwrap_err(),
            operations.what_if(&member, asked.clone()).await.unwrap_err(),
            operations.create_series(&member, None, daily(asked.clone())).await.unwrap_err(),
            operations.create_series_here(None, daily(asked.clone()), None).await.unwrap_err(),
            operations.what_if_series(&member, daily(asked)).await.unwrap_err(),
        ] {
            let text = refused.to_string();
            assert!(text.contains("expiry is false") && text.contains("expiry_s"), "{text}");
        }
        assert_eq!(operations.inner.raft.state().ledger_index(), before);
        let silent = operations.create_lease(&member, key(1), after(None)).await.unwrap().value;
        let never = operations.create_lease(&member, key(1), after(Some(0))).await.unwrap().value;
        assert_eq!((silent.expiry_s, never.id), (None, silent.id), "nothing else can be meant here");
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_operator_says_holds_of_leases_that_say_nothing() {
        let lone = Lone::with(Bounds { expiry_s_default: Some(900), ..Bounds::default() }).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let key = keys(&member);
        let create = async |number, asked| operations.create_lease(&member, key(number), after(asked)).await;
        for (number, asked, comes_to) in [(1, None, Some(900)), (2, Some(0), None), (3, Some(60), Some(60))] {
            let made = create(number, asked).await.unwrap().value;
            assert_eq!(made.expiry_s, comes_to, "{asked:?}");
            assert_eq!(create(number, asked).await.unwrap().value.id, made.id, "the same key, the same answer");
        }
        let other = create(1, Some(0)).await.unwrap_err();
        assert_eq!(other, OperationError::Rejected(Rejection::RequestIdReused), "never is not what nothing comes to");
        let other = create(2, None).await.unwrap_err();
        assert_eq!(other, OperationError::Rejected(Rejection::RequestIdReused));
        let refused = create(4, Some(59)).await.unwrap_err();
        assert!(refused.to_string().contains("expiry_s") && refused.to_string().contains("60"), "{refused}");

        let empty = LeaseWish { reservations: Vec::new(), ..wish(1) };
        let made = operations.create_lease(&member, key(5), empty).await.unwrap().value;
        assert_eq!(made.expiry_s, None, "there is nothing to give back");
        let series = operations.create_series(&member, key(6), daily(after(None))).await.unwrap().value;
        assert_eq!(series.first.expiry_s, Some(900));
        lone.end().await;
    }

    /// The entry of a lease that said nothing holds what it was asked with.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_stays_the_same_when_the_operator_says_something_else() {
        let lone = Lone::with(Bounds { expiry_s_default: Some(900), ..Bounds::default() }).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let key = keys(&member);
        let first = operations.create_lease(&member, key(1), wish(1)).await.unwrap();
        // As a node asks that says nothing.
        let again = operations.create_here(key(1), wish(1), None, false).await.unwrap().lease().unwrap();
        assert_eq!((again.value.id, again.value.expiry_s), (first.value.id, Some(900)));
        lone.end().await;
    }
}
