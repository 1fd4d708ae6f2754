//! Booking a lease: plan on the leader, propose, wait until it is prepared (architecture D2, D24).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::{Command, CreateLease, LeaseWish, StartWish};
use leasehold_ledger::model::{
    Adoption, Amounts, EventId, Excess, HostId, Interval, Lease, LeaseId, ProjectId, Reason, ReasonCode, RequestKey,
    ReservationId, Timestamp,
};
use leasehold_ledger::mutant;
use leasehold_ledger::plan::{NoPlan, NoRoom, Overlay, Planned, SeriesPlan, Tell, check_servers, plan_adopting};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use parking_lot::Mutex;

use super::precedence::told_victims;
use super::route::{Call, Given, Request};
use super::{Actor, Answer, OperationError, Operations, Result, Rule, Unavailable, flavors, groups, waitlist};
use crate::config::Secret;
use crate::leader::adopt;
use crate::leader::names::Names;
use crate::seams::long;
use crate::telemetry::{metrics, request_id};

/// How often a stale plan is planned again (architecture D2).
pub(super) const PLANS: usize = 3;
/// How long the answer waits for the cloud: `AdvanceClock` withdraws after 10 s (architecture D24).
pub(super) const PREPARING: Duration = Duration::from_secs(14);
/// How long plans in flight may take to settle when only they forbid.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// Events a lease may need: start, end, before_end, prepare, and two for staging.
pub(super) const EVENTS: usize = 6;

/// What the overlay must know of a plan.
pub(super) trait Plan {
    /// What it books.
    fn bookings(&self) -> &[(HostId, Interval, Amounts)];

    /// Nothing of the wish was left out for lack of room.
    fn is_whole(&self) -> bool {
        true
    }
}

impl Plan for Planned {
    fn bookings(&self) -> &[(HostId, Interval, Amounts)] {
        &self.bookings
    }
}

impl Plan for SeriesPlan {
    fn bookings(&self) -> &[(HostId, Interval, Amounts)] {
        &self.bookings
    }

    fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }
}

/// What planning under the overlay found.
pub(super) enum Planning<T> {
    /// A plan, booked in the overlay for as long as the guard lives.
    Found(T, Option<Booked>),
    /// Only plans in flight forbid it; plan again when they have settled.
    InFlight,
    /// Refused or without room on the state alone.
    Not,
}

/// A plan's bookings in the overlay; they leave it when this is dropped.
///
/// A guard and no call, because the handler that planned may be dropped at any await: its caller hung up, or its time
/// was over. Bookings that nobody takes out would be refused to everybody until the process ends. When the command is
/// already on its way, a plan made in between may count on the same room; `apply` then answers `PlanStale` to one of them.
pub(super) struct Booked {
    overlay: Arc<Mutex<Overlay>>,
    number: u64,
}

impl Drop for Booked {
    fn drop(&mut self) {
        self.overlay.lock().remove(self.number);
    }
}

impl Operations {
    /// As [`Operations::create_lease_with`] for a caller without a token that services of the cloud know.
    pub async fn create_lease(&self, actor: &Actor, key: Option<RequestKey>, wish: LeaseWish) -> Result<Answer<Lease>> {
        self.create_lease_with(actor, None, key, wish).await
    }

    /// Books a lease, or puts one that would wait on the waitlist, and answers when it is final: at commit, or once the cloud has accepted what had to be prepared. With the
    /// caller's token this node makes the server groups that it wants (docs/decisions/0013).
    pub async fn create_lease_with(
        &self,
        actor: &Actor,
        token: Option<&Secret>,
        key: Option<RequestKey>,
        wish: LeaseWish,
    ) -> Result<Answer<Lease>> {
        actor.authorise(Rule::LeasesPost, Some(&wish.project_id))?;
        self.may_ignore_quota(actor, wish.ignore_quota)?;
        self.may_rank(actor, &wish)?;
        let (wish, said) = self.with_expiry_once(key.as_ref(), wish)?;
        // A group in another project would not be the owner's.
        let own = wish.project_id == actor.project_id && groups::wish_wants_group(&wish);
        let maker = self.group_maker(actor, token).filter(|_| own);
        let (wish, asked) = self.with_flavors_once(key.as_ref(), wish).await?;
        let asked = said.or(asked).map(Box::new);
        let request = Request::CreateLease { wish, caller_makes_groups: maker.is_some(), asked };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        match (self.on_leader(call).await?, maker) {
            (Given::Booked(booked), Some(maker)) => {
                maker.make(&booked.value).await;
                self.prepared(booked.value.id, booked.ledger_index).await
            }
            (given, _) => given.lease(),
        }
    }

    pub(super) async fn create_here(
        &self,
        key: Option<RequestKey>,
        wish: LeaseWish,
        asked: Option<Box<LeaseWish>>,
        caller_makes_groups: bool,
    ) -> Result<Given> {
        self.check_may_wait(&wish)?;
        self.check_may_rank(&wish)?;
        self.check_may_expire(&wish)?;
        let rng = &self.inner.seams.rng;
        // Chosen once: a plan made again keeps the ids.
        let lease_id = LeaseId(rng.uuid_v4());
        tracing::Span::current().record("lease_id", tracing::field::display(lease_id));
        let cluster_id = self.inner.raft.state().cluster_id();
        let names = Names::new(cluster_id.ok_or(OperationError::Unavailable(Unavailable::NoQuorum))?);
        let reservation_ids: Vec<_> = wish.reservations.iter().map(|_| names.reservation(rng.uuid_v4())).collect();
        let resource_ids: Vec<_> = wish.reservations.iter().map(|_| rng.uuid_v4()).collect();
        let event_ids: Vec<_> = (0..EVENTS).map(|_| EventId(rng.uuid_v4())).collect();

        let is_known = Self::key_is_known(&self.inner.raft.state(), key.as_ref());
        let adoptions =
            if is_known { BTreeMap::new() } else { self.adoptions_for(key.as_ref(), &wish, &reservation_ids).await? };
        let mut stale = OperationError::Unavailable(Unavailable::Busy);
        for _ in 0..PLANS {
            self.check_free(key.as_ref(), &wish.project_id, &adoptions).await?;
            let now = self.inner.raft.now()?;
            // What a lease that goes on the waitlist would have been refused with.
            let mut short = None;
            let mut victims = Vec::new();
            let (plan, moved_to, planned_at, booked) = if Self::key_is_known(&self.inner.raft.state(), key.as_ref()) {
                (Vec::new(), None, 0, None)
            } else {
                flavors::check_looked_up(&wish)?;
                self.check_offer(wish.offer, now)?;
                self.check_wait(&wish, now)?;
                let search = |state: &State, overlay: &Overlay, now: Timestamp, tell: Tell| {
                    let plan = || plan_adopting(state, overlay, &wish, &reservation_ids, &adoptions, now, tell);
                    // Who is to give way, how several go together, when a quota has room, or what fits instead takes its time to find out.
                    let is_open = matches!(wish.start, StartWish::Earliest { .. });
                    let is_hard = wish.precedence.priority > 0 || wish.reservations.len() > 1 || is_open;
                    if is_hard || tell == Tell::WhatFits { long(plan) } else { plan() }
                };
                match self.plan(now, search).await {
                    Ok((planned, booked)) => {
                        victims = planned.victims;
                        (planned.reservations, planned.moved_to, planned.planned_at, booked)
                    }
                    // The same key may have been on its way twice: its own first lease is what takes the room.
                    Err(_) if Self::key_is_known(&self.inner.raft.state(), key.as_ref()) => (Vec::new(), None, 0, None),
                    Err(refused) if waitlist::waits(&wish, &refused, now) => {
                        short = Some(refused);
                        (waitlist::unbound(&reservation_ids), None, 0, None)
                    }
                    Err(refused) if Self::goes_into_the_log(&refused, key.as_ref()) => {
                        stale = refused;
                        (waitlist::unbound(&reservation_ids), None, 0, None)
                    }
                    Err(refused) => return Err(refused),
                }
            };
            let waits = short.is_some();
            let command = Command::CreateLease(Box::new(CreateLease {
                wish: wish.clone(),
                asked: asked.clone(),
                lease_id,
                event_ids: event_ids.clone(),
                plan,
                resource_ids: resource_ids.clone(),
                planned_at,
                moved_to,
                adoptions: adoptions.clone(),
                caller_makes_groups: caller_makes_groups && !waits,
                waits,
                victims: victims.clone(),
            }));
            let proposed = self.propose(key.clone(), command).await;
            // Only now: the entry is in the state, or will never be.
            drop(booked);
            let committed = proposed?;
            match committed.outcome {
                Ok(Reply::LeaseCreated { lease_id: created, prepared }) => {
                    if created == lease_id {
                        told_victims(lease_id, &victims);
                    }
                    let lease_id = created;
                    let (ledger_index, project) = (committed.ledger_index, &wish.project_id);
                    tracing::info!(%lease_id, project_id = %project, ledger_index, prepared, waits, "lease created");
                    return if prepared {
                        self.lease_left_at(lease_id, ledger_index).await.map(Given::Lease)
                    } else if let Some(booked) = self.booked(lease_id, ledger_index).filter(|_| caller_makes_groups) {
                        Ok(Given::Booked(booked))
                    } else {
                        self.prepared(lease_id, ledger_index).await.map(Given::Lease)
                    };
                }
                Err(Rejection::PlanStale { .. }) => metrics::plan_stale(),
                // Another of the project's came first: it may have to begin later now, or to wait, or is told what fits instead.
                Err(beyond @ Rejection::QuotaExceeded(Excess { at: Some(_), .. })) => stale = beyond.into(),
                Err(full @ Rejection::TooManyWaiting { .. }) => return Err(waitlist::not_on(full, short)),
                Err(rejection) => return Err(rejection.into()),
                Ok(other) => return Err(OperationError::Internal(format!("create_lease answered {other:?}"))),
            }
        }
        Err(stale)
    }

    /// What the cloud knows of the servers that the reservations are to take over; nothing when the key was answered meanwhile.
    ///
    /// A refusal is final for the caller, so it is a linearizable read (architecture D2, D18): the same key may have been sent
    /// before, by way of another leader too, and the lease that it made may have woken the servers already.
    pub(super) async fn adoptions_for(
        &self,
        key: Option<&RequestKey>,
        wish: &LeaseWish,
        ids: &[ReservationId],
    ) -> Result<BTreeMap<ReservationId, Adoption>> {
        match self.adoptions(wish, ids).await {
            Ok(adoptions) => Ok(adoptions),
            Err(refused) => {
                self.confirmed_index().await?;
                if Self::key_is_known(&self.inner.raft.state(), key) { Ok(BTreeMap::new()) } else { Err(refused) }
            }
        }
    }

    /// Whether nobody has the flavors of the servers. `apply` would call the plan stale for it, since it passes; a refusal is a
    /// linearizable read, as in [`Operations::adoptions_for`].
    pub(super) async fn check_free(
        &self,
        key: Option<&RequestKey>,
        project: &ProjectId,
        adoptions: &BTreeMap<ReservationId, Adoption>,
    ) -> Result<()> {
        let look = || adopt::check_free(&self.inner.raft.state(), project, adoptions.values());
        if look().is_ok() {
            return Ok(());
        }
        self.confirmed_index().await?;
        if Self::key_is_known(&self.inner.raft.state(), key) { Ok(()) } else { Ok(look()?) }
    }

    /// What the cloud knows of the servers.
    async fn adoptions(&self, wish: &LeaseWish, ids: &[ReservationId]) -> Result<BTreeMap<ReservationId, Adoption>> {
        let mut adoptions = BTreeMap::new();
        for (id, one) in ids.iter().zip(&wish.reservations).filter(|(_, one)| !one.servers.is_empty()) {
            // What nothing in the cloud can mend is refused before it is asked.
            check_servers(one)?;
            let Some(cloud) = &self.inner.cloud else {
                return Err(OperationError::CloudUnavailable("no cloud is configured ([cloud] in the configuration)".to_owned()));
            };
            let cluster_id = self.inner.raft.state().cluster_id();
            let Some(cluster_id) = cluster_id else { return Err(OperationError::Internal("the cluster has no id".to_owned())) };
            let found = adopt::adoption(cloud, &Names::new(cluster_id), &wish.project_id, one).await?;
            adoptions.extend(found.map(|adoption| (*id, adoption)));
        }
        Ok(adoptions)
    }

    /// Plans over the state and the plans in flight; books what it finds in the overlay.
    ///
    /// A refusal for lack of room is a linearizable read, decided at a confirmed index without the overlay. If only the
    /// overlay forbids, those entries are waited for and it is planned again (architecture D2).
    pub(super) async fn plan<P: Plan, F>(&self, now: Timestamp, search: F) -> Result<(P, Option<Booked>)>
    where
        F: Fn(&State, &Overlay, Timestamp, Tell) -> std::result::Result<P, NoPlan>,
    {
        let clock = self.inner.seams.clock.clone();
        let give_up = clock.mono().after(IN_FLIGHT);
        let mut has_again = false;
        loop {
            match self.plan_once(now, &search) {
                Planning::Found(planned, booked) => return Ok((planned, booked)),
                Planning::InFlight if clock.mono() >= give_up => return Err(OperationError::Unavailable(Unavailable::Busy)),
                Planning::InFlight => self.plans_settle().await,
                Planning::Not => {
                    self.confirmed_index().await?;
                    let (found, index) = {
                        let state = self.inner.raft.state();
                        // The index of what was searched: entries may have come since the read was confirmed.
                        (search(&state, &Overlay::default(), now, Tell::WhatFits), state.ledger_index())
                    };
                    match found {
                        // Room came up in between: plan again beside the plans in flight.
                        Ok(_) if !has_again => has_again = true,
                        // Or only these were in the way.
                        Ok(_) if clock.mono() >= give_up => return Err(OperationError::Unavailable(Unavailable::Busy)),
                        Ok(_) => self.plans_settle().await,
                        // There is room, but not for old and new beside each other: a later try may succeed. No plan was made
                        // that could be stale, and so that is no answer.
                        Err(NoPlan::Rejected(Rejection::PlanStale { .. })) => {
                            return Err(OperationError::Unavailable(Unavailable::Busy));
                        }
                        Err(NoPlan::Rejected(rejection)) => return Err(rejection.into()),
                        Err(NoPlan::NoRoom(offer)) => return Err(no_room(offer, index)),
                    }
                }
            }
        }
    }

    /// Until something is applied, or a moment passes.
    async fn plans_settle(&self) {
        let mut applied = self.inner.raft.applied();
        applied.borrow_and_update();
        let pause = self.inner.seams.clock.sleep(Duration::from_millis(20));
        tokio::select! {
            biased;
            _ = applied.changed() => {}
            () = pause => {}
        }
    }

    fn plan_once<P: Plan, F>(&self, now: Timestamp, search: &F) -> Planning<P>
    where
        F: Fn(&State, &Overlay, Timestamp, Tell) -> std::result::Result<P, NoPlan>,
    {
        // The overlay is taken before the state: a plan leaves the overlay only after its entry is in the state, so a
        // booking may be seen twice for a moment, but never not at all.
        let mut overlay = self.inner.overlay.lock();
        let state = self.inner.raft.state();
        match search(&state, &overlay, now, Tell::Shortage) {
            // What is left out is refused: that must not be for what may never be booked.
            Ok(planned) if !planned.is_whole() && !overlay.is_empty() => Planning::InFlight,
            Ok(planned) => {
                // Planted bugs of what follows a stale plan: plans in flight are not known, so that plans are stale.
                let known = !(mutant!("M09") || mutant!("N03") || mutant!("C04"));
                let booked = (known && !planned.bookings().is_empty())
                    .then(|| Booked { overlay: self.inner.overlay.clone(), number: overlay.add(&state, planned.bookings()) });
                Planning::Found(planned, booked)
            }
            Err(NoPlan::NoRoom(_)) if !overlay.is_empty() => Planning::InFlight,
            Err(_) => Planning::Not,
        }
    }

    pub(super) fn withdrawn(&self, lease_id: LeaseId) -> Option<Reason> {
        let reason = self.inner.raft.withdrawn_reason(lease_id);
        tracing::info!(%lease_id, reason = reason.as_ref().map(|reason| reason.text.as_str()), "lease withdrawn");
        reason
    }

    /// Waits until a lease booked at `booked_at` is PENDING or was withdrawn, on any node. The answer is what made it visible (index j of
    /// architecture D24), whatever came after.
    async fn prepared(&self, lease_id: LeaseId, booked_at: u64) -> Result<Answer<Lease>> {
        enum Settled {
            Visible(Box<Lease>),
            Gone,
        }
        let settled = self
            .wait_for(PREPARING, |state| {
                if state.ledger_index() < booked_at {
                    return None;
                }
                // The journal shows only what is visible.
                let now = state.lease(lease_id);
                if now.is_some_and(|lease| !lease.visible() && !lease.deleted) {
                    return None;
                }
                Some(state.lease_as_left(lease_id, booked_at, |_| true).map(|left| {
                    match left.or_else(|| now.filter(|lease| lease.visible()).cloned()) {
                        Some(lease) => Settled::Visible(Box::new(lease)),
                        None => Settled::Gone,
                    }
                }))
            })
            .await?
            .transpose()?;
        match settled {
            Some(Settled::Visible(lease)) => Ok(Answer { ledger_index: lease.ledger_index, value: *lease }),
            Some(Settled::Gone) => Err(gone(self.withdrawn(lease_id))),
            None => Err(OperationError::Unknown),
        }
    }
}

/// Withdrawn for this reason; without one its time was over.
pub(super) fn gone(reason: Option<Reason>) -> OperationError {
    match reason {
        Some(reason) if reason.code == ReasonCode::CloudRefused => OperationError::HoldRefused(reason.text),
        Some(reason) => OperationError::Unavailable(Unavailable::Withdrawn(reason.text)),
        None => OperationError::Unavailable(Unavailable::Withdrawn("the cloud did not accept its capacity in time".to_owned())),
    }
}

pub(super) fn no_room(mut offer: NoRoom, ledger_index: u64) -> OperationError {
    if offer.quota.is_none() {
        metrics::refused_no_room();
    }
    // Whose they are is told to those alone who ask and may know.
    offer.preempts.leases.clear();
    OperationError::NoRoom { offer, ledger_index, not_waiting: None }
}
