//! What users ask before they ask for a lease: what is free, how many fit, what a create would come to. Answered by the node that
//! was asked, at a confirmed index, without a log entry and without the plans in flight.

use leasehold_ledger::command::{LeaseWish, SeriesWish};
use leasehold_ledger::model::{ReservationId, Timestamp};
use leasehold_ledger::plan::{
    Capacity, CapacityWish, Density, DensityWish, HostReservation, WhatIf, WhatIfHosts, ask_capacity, ask_density, what_if,
    what_if_hosts, what_if_hosts_series,
};
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::state::State;

use super::create_lease::no_room;
use super::recurrence::occurrences;
use super::{Actor, Answer, Consistency, Operations, Result, Rule};
use crate::seams::long;

impl Operations {
    /// What hosts have, and what of it is reserved and available over a window. It tells of the whole cloud, so the policy has
    /// it for those who may list hosts.
    pub async fn capacity(&self, actor: &Actor, wish: CapacityWish) -> Result<Answer<Capacity>> {
        actor.authorise(Rule::CapacityGet, None)?;
        self.read_barrier(Consistency::Linearizable).await?;
        self.answer(|state, now| ask_capacity(state, &wish, now)).await
    }

    /// How many instances of one kind fit into a window: what a refused create would tell.
    pub async fn density(&self, actor: &Actor, wish: DensityWish) -> Result<Answer<Density>> {
        actor.authorise(Rule::CapacityDensity, Some(&actor.project_id))?;
        let wish = DensityWish { instance: self.with_flavor(&actor.project_id, &wish.instance).await?, ..wish };
        self.read_barrier(Consistency::Linearizable).await?;
        self.answer(|state, now| ask_density(state, &wish, now)).await
    }

    /// What [`Operations::create_lease`] would come to now; nothing is booked. Servers that it would take over are looked at in
    /// the cloud.
    pub async fn what_if(&self, actor: &Actor, wish: LeaseWish) -> Result<Answer<WhatIf>> {
        actor.authorise(Rule::LeasesWhatIf, Some(&wish.project_id))?;
        self.may_ignore_quota(actor, wish.ignore_quota)?;
        self.may_rank(actor, &wish)?;
        let wish = self.with_flavors(self.with_expiry(wish)?).await?;
        self.read_barrier(Consistency::Linearizable).await?;
        // Made for the question alone: they join reservations and what they adopt.
        let rng = &self.inner.seams.rng;
        let ids: Vec<_> = wish.reservations.iter().map(|_| ReservationId(rng.uuid_v4())).collect();
        let adoptions = self.adoptions_for(None, &wish, &ids).await?;
        self.check_free(None, &wish.project_id, &adoptions).await?;
        self.check_offer(wish.offer, self.inner.raft.now()?)?;
        let found = self.answer(|state, now| what_if(state, &wish, &ids, &adoptions, now)).await?;
        // What a create would be refused for otherwise than for room is refused here in the same way.
        if let WhatIf::NoRoom(beyond) = &found.value
            && beyond.quota.is_some()
        {
            return Err(no_room(beyond.clone(), found.ledger_index));
        }
        Ok(if actor.is_admin() { found } else { Answer { value: found.value.without_leases(), ..found } })
    }

    /// What a lease of whole hosts would come to now; nothing of it can be booked. Which hosts it would have, only operators are told.
    pub async fn what_if_hosts(
        &self,
        actor: &Actor,
        wish: LeaseWish,
        reservations: Vec<HostReservation>,
    ) -> Result<Answer<WhatIfHosts>> {
        actor.authorise(Rule::LeasesWhatIf, Some(&wish.project_id))?;
        self.may_ignore_quota(actor, wish.ignore_quota)?;
        self.read_barrier(Consistency::Linearizable).await?;
        let found = self.answer(|state, now| what_if_hosts(state, &wish, &reservations, now)).await?;
        Ok(told(actor, found))
    }

    /// The same of a series.
    pub async fn what_if_hosts_series(
        &self,
        actor: &Actor,
        wish: SeriesWish,
        reservations: Vec<HostReservation>,
    ) -> Result<Answer<WhatIfHosts>> {
        actor.authorise(Rule::LeasesWhatIf, Some(&wish.lease.project_id))?;
        self.may_ignore_quota(actor, wish.lease.ignore_quota)?;
        let occurrences = long(|| occurrences(&wish))?;
        self.read_barrier(Consistency::Linearizable).await?;
        let found = self.answer(|state, now| what_if_hosts_series(state, &wish, &reservations, &occurrences, now)).await?;
        Ok(told(actor, found))
    }

    /// Answers from the state as it is, which is as new as the read barrier before. One question at a time: each may take a while,
    /// and nothing is applied meanwhile.
    pub(super) async fn answer<T>(
        &self,
        answer: impl FnOnce(&State, Timestamp) -> std::result::Result<T, Rejection>,
    ) -> Result<Answer<T>> {
        let _asking = self.inner.asking.lock().await;
        let now = self.inner.raft.now()?;
        long(|| {
            let state = self.inner.raft.state();
            Ok(Answer { value: answer(&state, now)?, ledger_index: state.ledger_index() })
        })
    }
}

fn told(actor: &Actor, found: Answer<WhatIfHosts>) -> Answer<WhatIfHosts> {
    if actor.is_admin() { found } else { Answer { value: found.value.without_hosts(), ..found } }
}
