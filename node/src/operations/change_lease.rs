//! Changing a lease, all or nothing.

use std::time::Duration;

use leasehold_ledger::command::{Command, LeaseChange, UpdateLease};
use leasehold_ledger::model::{Lease, LeaseId, LeaseStatus, ProjectId, Reason, ReasonCode, RequestKey, Timestamp};
use leasehold_ledger::plan::{Overlay, Planned, Tell, plan_update};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::{KeyLookup, State};

use super::route::{Call, Given, Request};
use super::{Actor, Answer, OperationError, Operations, Result, Rule, Unavailable, groups};
use crate::config::Secret;
use crate::seams::long;
use crate::telemetry::{metrics, request_id};

/// How often a stale plan is planned again (architecture D2).
const PLANS: usize = 3;
/// How long the answer waits for the cloud to accept the new hold.
const PREPARING: Duration = Duration::from_secs(14);

impl Operations {
    /// As [`Operations::update_lease_with`] for a caller without a token that services of the cloud know.
    pub async fn update_lease(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        lease_id: LeaseId,
        change: LeaseChange,
    ) -> Result<Answer<Lease>> {
        self.update_lease_with(actor, None, key, lease_id, change).await
    }

    /// Changes a lease, all or nothing. With the caller's token this node makes the server groups that another affinity wants
    /// (docs/decisions/0013).
    pub async fn update_lease_with(
        &self,
        actor: &Actor,
        token: Option<&Secret>,
        key: Option<RequestKey>,
        lease_id: LeaseId,
        change: LeaseChange,
    ) -> Result<Answer<Lease>> {
        self.may_ignore_quota(actor, change.ignore_quota)?;
        let maker = self.group_maker(actor, token).filter(|_| groups::change_wants_group(&change));
        let request = Request::UpdateLease { lease_id, change, caller_makes_groups: maker.is_some() };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key: key.clone(), request };
        match (self.on_leader(call).await?, maker) {
            (Given::Booked(booked), Some(maker)) => {
                maker.make(&booked.value).await;
                self.settled(lease_id, key, booked.ledger_index).await
            }
            (given, _) => given.lease(),
        }
    }

    pub(super) async fn update_here(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        lease_id: LeaseId,
        change: LeaseChange,
        caller_makes_groups: bool,
    ) -> Result<Given> {
        let owner = self.authorise_lease(actor, Rule::LeasesPut, lease_id).await?;
        // A group in an administrator's own project would not be the owner's.
        let caller_makes_groups = caller_makes_groups && owner == actor.project_id;
        let mut stale = OperationError::Unavailable(Unavailable::Busy);
        for _ in 0..PLANS {
            if !Self::key_is_known(&self.inner.raft.state(), key.as_ref()) {
                self.recall(lease_id).await?;
            }
            let now = self.inner.raft.now()?;
            let (plan, planned_at, booked) = if Self::key_is_known(&self.inner.raft.state(), key.as_ref()) {
                (Vec::new(), 0, None)
            } else {
                let search = |state: &State, overlay: &Overlay, now: Timestamp, tell: Tell| {
                    let plan = || plan_update(state, overlay, lease_id, &change, now, tell);
                    // How several go together, or what fits instead, takes its time to find out.
                    let has_several = state.lease(lease_id).is_some_and(|lease| lease.reservations.len() > 1);
                    let planned = if has_several || tell == Tell::WhatFits { long(plan) } else { plan() };
                    planned.map(|planned| match planned {
                        Some(planned) => planned,
                        None => Planned {
                            reservations: Vec::new(),
                            moved_to: None,
                            victims: Vec::new(),
                            planned_at: state.ledger_index(),
                            bookings: Vec::new(),
                        },
                    })
                };
                match self.plan(now, search).await {
                    Ok((planned, booked)) => (planned.reservations, planned.planned_at, booked),
                    // The same key may have been on its way twice, and the first have taken the room.
                    Err(_) if Self::key_is_known(&self.inner.raft.state(), key.as_ref()) => (Vec::new(), 0, None),
                    // It has left memory again.
                    Err(_) if self.inner.raft.state().archived(lease_id).is_some() => continue,
                    Err(refused) if Self::goes_into_the_log(&refused, key.as_ref()) => {
                        stale = refused;
                        (Vec::new(), 0, None)
                    }
                    Err(refused) => return Err(refused),
                }
            };
            let command = Command::UpdateLease(Box::new(UpdateLease {
                lease_id,
                change: change.clone(),
                plan,
                planned_at,
                caller_makes_groups,
            }));
            let proposed = self.propose(key.clone(), command).await;
            // Only now: the entry is in the state, or will never be.
            drop(booked);
            let committed = proposed?;
            match committed.outcome {
                Ok(Reply::LeaseUpdated { lease_id, prepared }) => {
                    let ledger_index = committed.ledger_index;
                    tracing::info!(%lease_id, project_id = %actor.project_id, ledger_index, prepared, "lease updated");
                    return if prepared {
                        self.lease_left_at(lease_id, ledger_index).await.map(Given::Lease)
                    } else if let Some(booked) = self.booked(lease_id, ledger_index).filter(|_| caller_makes_groups) {
                        Ok(Given::Booked(booked))
                    } else {
                        self.settled(lease_id, key, ledger_index).await.map(Given::Lease)
                    };
                }
                Err(Rejection::PlanStale { .. }) => metrics::plan_stale(),
                Err(rejection) => return Err(rejection.into()),
                Ok(other) => return Err(OperationError::Internal(format!("update_lease answered {other:?}"))),
            }
        }
        Err(stale)
    }

    /// Waits until the cloud has accepted or refused the hold of a change booked at `booked_at`, or had too long. The answer is
    /// what ended the waiting (index j of architecture D24), whatever came after.
    async fn settled(&self, lease_id: LeaseId, key: Option<RequestKey>, booked_at: u64) -> Result<Answer<Lease>> {
        // Asked after every entry, and entries are read once.
        let mut unread = booked_at;
        let settled = self
            .wait_for(PREPARING, |state| {
                if state.ledger_index() < booked_at {
                    return None;
                }
                let left = match state.lease_as_left(lease_id, unread, |lease| lease.status != LeaseStatus::Updating) {
                    Ok(left) => left,
                    Err(error) => return Some(Err(error)),
                };
                unread = state.ledger_index() + 1;
                match left.or_else(|| state.lease(lease_id).filter(|lease| !lease.deleted).cloned()) {
                    Some(lease) if lease.status == LeaseStatus::Updating => None,
                    Some(lease) => {
                        let took = took(known(state, key.as_ref()), lease.reason.as_ref());
                        Some(Ok(Some((Box::new(lease), took))))
                    }
                    None => Some(Ok(None)),
                }
            })
            .await?
            .transpose()?;
        match settled {
            Some(Some((lease, true))) => Ok(Answer { ledger_index: lease.ledger_index, value: *lease }),
            Some(Some((lease, false))) => Err(match lease.reason {
                Some(Reason { code: ReasonCode::CloudRefused, text }) => OperationError::HoldRefused(text),
                reason => OperationError::Unavailable(Unavailable::Withdrawn(
                    reason.map_or_else(|| "the cloud did not accept the change in time".to_owned(), |reason| reason.text),
                )),
            }),
            Some(None) => Err(Rejection::LeaseNotFound(lease_id).into()),
            None => Err(OperationError::Unknown),
        }
    }

    /// Checks a rule against the lease's owner at a confirmed index, and gives him: foreign is forbidden, unknown and hidden
    /// not found.
    pub(super) async fn authorise_lease(&self, actor: &Actor, rule: Rule, lease_id: LeaseId) -> Result<ProjectId> {
        self.confirmed_index().await?;
        let state = self.inner.raft.state();
        let archived = state.archived(lease_id).map(|archived| archived.project_id);
        let there = || state.lease(lease_id).filter(|lease| lease.visible()).map(|lease| lease.project_id.clone());
        let owner = archived.or_else(there).ok_or(Rejection::LeaseNotFound(lease_id))?;
        actor.authorise(rule, Some(&owner))?;
        Ok(owner)
    }
}

fn known(state: &State, key: Option<&RequestKey>) -> Option<KeyLookup> {
    key.map(|key| state.key(key))
}

/// Whether a change that had to wait was carried out. Its key says so while it is valid; without one, and when its validity
/// passed while the change waited, the lease tells: a withdrawn change leaves its reason there and one that took clears it.
fn took(key: Option<KeyLookup>, reason: Option<&Reason>) -> bool {
    match key {
        Some(KeyLookup::Answered { .. }) => true,
        Some(KeyLookup::Unknown | KeyLookup::Pending { .. } | KeyLookup::Forgotten) => false,
        Some(KeyLookup::Expired) | None => reason.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_whose_key_ran_out_while_it_waited_is_judged_by_the_lease() {
        let refused = Reason { code: ReasonCode::CloudRefused, text: "no".to_owned() };
        for (key, withdrawn, through) in [
            (None, false, true),
            (Some(KeyLookup::Expired), false, true),
            (Some(KeyLookup::Unknown), false, false),
            (Some(KeyLookup::Answered { outcome: Ok(Reply::Done), ledger_index: 1 }), true, true),
        ] {
            assert_eq!((took(key.clone(), Some(&refused)), took(key.clone(), None)), (withdrawn, through), "{key:?}");
        }
    }
}
