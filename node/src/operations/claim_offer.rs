//! Claiming an offer, and how long one may stand.

use leasehold_ledger::command::{Command, OfferWish};
use leasehold_ledger::model::{Lease, LeaseId, RequestKey, Timestamp};
use leasehold_ledger::reply::{Rejection, Reply};

use super::create_lease::PLANS;
use super::route::{Call, Request};
use super::{Actor, Answer, OperationError, Operations, Result, Rule, Unavailable};
use crate::telemetry::{metrics, request_id};

impl Operations {
    /// Makes an offer a lease like any other: what is due of it is done at once. Harmless when repeated.
    ///
    /// Errors: foreign is `Forbidden`; `Rejected(LeaseNotFound)` when it was dropped, `OfferExpired`, `NotAnOffer`.
    pub async fn claim_offer(&self, actor: &Actor, key: Option<RequestKey>, lease_id: LeaseId) -> Result<Answer<Lease>> {
        let request = Request::ClaimOffer { lease_id };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.lease()
    }

    pub(super) async fn claim_here(&self, actor: &Actor, key: Option<RequestKey>, lease_id: LeaseId) -> Result<Answer<Lease>> {
        self.authorise_lease(actor, Rule::LeasesPut, lease_id).await?;
        for _ in 0..PLANS {
            if !Self::key_is_known(&self.inner.raft.state(), key.as_ref()) {
                self.recall(lease_id).await?;
            }
            let committed = self.propose(key.clone(), Command::ClaimOffer { lease_id }).await?;
            match committed.outcome {
                Ok(Reply::OfferClaimed { lease_id }) => {
                    let ledger_index = committed.ledger_index;
                    tracing::info!(%lease_id, project_id = %actor.project_id, ledger_index, "offer claimed");
                    return self.lease_left_at(lease_id, ledger_index).await;
                }
                // It has left memory again.
                Err(Rejection::PlanStale { .. }) => metrics::plan_stale(),
                Err(rejection) => return Err(rejection.into()),
                Ok(other) => return Err(OperationError::Internal(format!("claim_offer answered {other:?}"))),
            }
        }
        Err(OperationError::Unavailable(Unavailable::Busy))
    }

    /// Refuses an offer that would stand for longer than this cluster allows; the ledger judges the rest.
    pub(super) fn check_offer(&self, offer: Option<OfferWish>, now: Timestamp) -> Result<()> {
        let max_s = self.inner.bounds.offer_valid_s_max;
        let (field, asked_s) = match offer {
            None => return Ok(()),
            Some(OfferWish::For(seconds)) => ("offer.valid_s", seconds),
            Some(OfferWish::Until(at)) => ("offer.expires_at", at.0.saturating_sub(now.floor_to_second().0)),
        };
        if asked_s <= max_s {
            return Ok(());
        }
        let problem = format!("the offer would stand for {asked_s} s; here it may for {max_s} s at most (offer_valid_s_max)");
        Err(Rejection::Invalid { field: field.to_owned(), problem }.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leasehold_ledger::command::LeaseWish;
    use leasehold_ledger::model::ProjectId;

    use super::*;
    use crate::config::OFFER_VALID_S_MAX;
    use crate::operations::tests::{Lone, actor, wish};
    use leasehold_ledger::listing::LeaseFilter;

    use crate::operations::Consistency;

    fn offer(amount: u32, valid_s: u32) -> LeaseWish {
        LeaseWish { offer: Some(OfferWish::For(valid_s)), ..wish(amount) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_offer_takes_room_is_listed_apart_and_is_claimed_by_its_own_project() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let made = operations.create_lease(&member, None, offer(3, 60)).await.unwrap().value;
        assert!(matches!(operations.create_lease(&member, None, wish(2)).await, Err(OperationError::NoRoom { .. })));
        let list = async |offers| {
            let filter = LeaseFilter { offers, ..LeaseFilter::default() };
            let listed = operations.list_leases(&member, filter, Consistency::Linearizable).await.unwrap().value.leases;
            listed.into_iter().map(|lease| lease.id).collect::<Vec<_>>()
        };
        assert_eq!((list(false).await, list(true).await), (vec![], vec![made.id]));

        let stranger = Actor { project_id: ProjectId("q".into()), ..actor("member") };
        let denied = OperationError::Forbidden { rule: "blazar:leases:put".to_owned() };
        assert_eq!(operations.claim_offer(&stranger, None, made.id).await.unwrap_err(), denied);
        let claimed = operations.claim_offer(&member, None, made.id).await.unwrap();
        assert_eq!(claimed.value.unclaimed_until(), None);
        let again = operations.claim_offer(&member, None, made.id).await.unwrap();
        assert_eq!(again.value, claimed.value);
        assert_eq!((list(false).await, list(true).await), (vec![made.id], vec![]));
        operations.delete_lease(&member, None, made.id).await.unwrap();
        let gone = OperationError::Rejected(Rejection::LeaseNotFound(made.id));
        assert_eq!(operations.claim_offer(&member, None, made.id).await.unwrap_err(), gone);
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_offer_stands_for_no_longer_than_the_configuration_allows() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        for asked in [OfferWish::For(OFFER_VALID_S_MAX + 1), OfferWish::Until(wish(1).end.minus(3600))] {
            let wish = LeaseWish { offer: Some(asked), ..wish(1) };
            let refused = operations.create_lease(&member, None, wish.clone()).await.unwrap_err();
            assert!(refused.to_string().contains("604800 s at most"), "{refused}");
            assert_eq!(operations.what_if(&member, wish).await.unwrap_err().to_string(), refused.to_string());
        }
        operations.create_lease(&member, None, offer(1, OFFER_VALID_S_MAX)).await.unwrap();
        lone.end().await;
    }
}
