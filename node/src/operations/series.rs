//! Booking and deleting a series: many leases, one entry of the log, one key.

use leasehold_client::{BookedSeries, DeletedSeries};
use leasehold_ledger::command::{Command, CreateSeries, LeaseWish, PlannedOccurrence, SeriesWish};
use leasehold_ledger::model::{
    EventId, Lease, LeaseId, LeftOut, LeftOutReason, Occurrence, Reason, ReasonCode, RequestKey, ReservationId, SeriesId,
    SeriesLease, SeriesMode, Timestamp,
};
use leasehold_ledger::plan::{OccurrencePlan, Overlay, SeriesPlan, Tell, Times, WhatIf, plan_series, what_if_series};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use uuid::Uuid;

use super::create_lease::{EVENTS, PLANS, PREPARING, gone};
use super::recurrence::{occurrences, occurrences_from};
use super::route::{Call, Request};
use super::{Actor, Answer, Consistency, OperationError, Operations, Result, Rule, Unavailable, flavors};
use crate::leader::names::Names;
use crate::seams::long;
use crate::telemetry::{metrics, request_id};

/// The ids of one occurrence, chosen once: a plan made again keeps them.
struct Ids {
    lease: LeaseId,
    events: Vec<EventId>,
    reservations: Vec<ReservationId>,
    resources: Vec<Uuid>,
}

impl Operations {
    /// Books the leases of a series and answers when all of them are final.
    pub async fn create_series(&self, actor: &Actor, key: Option<RequestKey>, wish: SeriesWish) -> Result<Answer<BookedSeries>> {
        actor.authorise(Rule::LeasesPost, Some(&wish.lease.project_id))?;
        self.may_ignore_quota(actor, wish.lease.ignore_quota)?;
        let (lease, said) = self.with_expiry_once(key.as_ref(), wish.lease)?;
        let (lease, asked) = self.with_flavors_once(key.as_ref(), lease).await?;
        let asked = said.or(asked).map(Box::new);
        let request = Request::CreateSeries { wish: SeriesWish { lease, ..wish }, asked };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.series()
    }

    pub(super) async fn create_series_here(
        &self,
        key: Option<RequestKey>,
        wish: SeriesWish,
        asked: Option<Box<LeaseWish>>,
    ) -> Result<Answer<BookedSeries>> {
        self.check_may_wait(&wish.lease)?;
        self.check_may_rank(&wish.lease)?;
        self.check_may_expire(&wish.lease)?;
        let series_id = SeriesId(self.inner.seams.rng.uuid_v4());
        let is_known = || Self::key_is_known(&self.inner.raft.state(), key.as_ref());
        let (mut times, mut ids) = (Vec::new(), self.ids_of(&wish, 0)?);
        let mut stale = OperationError::Unavailable(Unavailable::Busy);
        for _ in 0..PLANS {
            let mut plan = None;
            if !is_known() {
                flavors::check_looked_up(&wish.lease)?;
                // A rule that is refused was never booked under any key. A key that was known may be free again: what was booked
                // under it was withdrawn.
                if times.is_empty() {
                    times = long(|| occurrences(&wish))?;
                    ids = self.ids_of(&wish, times.len())?;
                }
                match self.plan_series(&wish, &times, &ids).await {
                    Ok(planned) => plan = Some(planned),
                    // The same key may have been on its way twice: its own first leases are what takes the room.
                    Err(_) if is_known() => {}
                    Err(refused) if Self::goes_into_the_log(&refused, key.as_ref()) => {
                        stale = refused;
                        plan = Some((unplanned(&times), None));
                    }
                    Err(refused) => return Err(refused),
                }
            }
            let (planned, booked) = plan.unzip();
            let command = Command::CreateSeries(Box::new(command(&wish, asked.clone(), series_id, planned, &ids)));
            let proposed = self.propose(key.clone(), command).await;
            // Only now: the entry is in the state, or will never be.
            drop(booked);
            let committed = proposed?;
            match committed.outcome {
                Ok(Reply::SeriesCreated { series_id, leases, left_out, prepared }) => {
                    let (ledger_index, project) = (committed.ledger_index, &wish.lease.project_id);
                    let (count, left) = (leases.len(), left_out.len());
                    tracing::info!(%series_id, project_id = %project, ledger_index, prepared, count, left, "series created");
                    return if prepared {
                        self.series_left_at(series_id, leases, left_out, ledger_index).await
                    } else {
                        self.series_settled(series_id, leases, left_out, ledger_index).await
                    };
                }
                Err(Rejection::PlanStale { .. }) => metrics::plan_stale(),
                Err(rejection) => return Err(rejection.into()),
                Ok(other) => return Err(OperationError::Internal(format!("create_series answered {other:?}"))),
            }
        }
        Err(stale)
    }

    /// What [`Operations::create_series`] would come to now; nothing is booked.
    pub async fn what_if_series(&self, actor: &Actor, wish: SeriesWish) -> Result<Answer<WhatIf>> {
        actor.authorise(Rule::LeasesWhatIf, Some(&wish.lease.project_id))?;
        self.may_ignore_quota(actor, wish.lease.ignore_quota)?;
        let lease = self.with_expiry(wish.lease)?;
        let wish = SeriesWish { lease: self.with_flavors(lease).await?, ..wish };
        let occurrences = long(|| occurrences(&wish))?;
        self.read_barrier(Consistency::Linearizable).await?;
        let times = Times { asked: &occurrences, from: &|at| occurrences_from(&wish, at) };
        self.answer(|state, now| what_if_series(state, &wish, times, now)).await
    }

    /// Deletes the leases of a series that have not started.
    pub async fn delete_series(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        series_id: SeriesId,
    ) -> Result<Answer<DeletedSeries>> {
        let request = Request::DeleteSeries { series_id };
        let call = Call { request_id: request_id::current(), actor: actor.clone(), key, request };
        self.on_leader(call).await?.deleted_series()
    }

    pub(super) async fn delete_series_here(
        &self,
        actor: &Actor,
        key: Option<RequestKey>,
        series_id: SeriesId,
    ) -> Result<Answer<DeletedSeries>> {
        // A repeated delete may find the series gone; its stored answer must come before the question who may delete it.
        let is_final = || Self::key_is_final(&self.inner.raft.state(), key.as_ref());
        if !is_final() {
            match self.authorise_series(actor, series_id).await {
                Err(OperationError::Rejected(Rejection::SeriesNotFound(_))) if is_final() => {}
                authorised => authorised?,
            }
        }
        let committed = self.propose(key, Command::DeleteSeries { series_id }).await?;
        match committed.outcome {
            Ok(Reply::SeriesDeleted { deleted, kept }) => {
                let (ledger_index, count) = (committed.ledger_index, deleted.len());
                tracing::info!(%series_id, project_id = %actor.project_id, ledger_index, count, "series deleted");
                Ok(Answer { value: DeletedSeries { deleted, kept }, ledger_index })
            }
            Err(rejection) => Err(rejection.into()),
            Ok(other) => Err(OperationError::Internal(format!("delete_series answered {other:?}"))),
        }
    }

    /// Foreign is forbidden; what has no lease that users see is not found.
    async fn authorise_series(&self, actor: &Actor, series_id: SeriesId) -> Result<()> {
        self.confirmed_index().await?;
        let state = self.inner.raft.state();
        let owner = state.owner_of_series(series_id).ok_or(Rejection::SeriesNotFound(series_id))?;
        Ok(actor.authorise(Rule::LeasesDelete, Some(owner))?)
    }

    fn ids_of(&self, wish: &SeriesWish, count: usize) -> Result<Vec<Ids>> {
        let rng = &self.inner.seams.rng;
        let cluster_id = self.inner.raft.state().cluster_id();
        let names = Names::new(cluster_id.ok_or(OperationError::Unavailable(Unavailable::NoQuorum))?);
        let reservations = wish.lease.reservations.len();
        let ids = || Ids {
            lease: LeaseId(rng.uuid_v4()),
            events: (0..EVENTS).map(|_| EventId(rng.uuid_v4())).collect(),
            reservations: (0..reservations).map(|_| names.reservation(rng.uuid_v4())).collect(),
            resources: (0..reservations).map(|_| rng.uuid_v4()).collect(),
        };
        Ok((0..count).map(|_| ids()).collect())
    }

    async fn plan_series(
        &self,
        wish: &SeriesWish,
        occurrences: &[Occurrence],
        ids: &[Ids],
    ) -> Result<(SeriesPlan, Option<super::create_lease::Booked>)> {
        if wish.recurrence.mode == SeriesMode::BestEffort {
            // To leave something out is to refuse it, which is a linearizable read (architecture D2): what was freed before the
            // request came must be seen.
            self.confirmed_index().await?;
        }
        let reservations: Vec<Vec<ReservationId>> = ids.iter().map(|ids| ids.reservations.clone()).collect();
        let search = |state: &State, overlay: &Overlay, now: Timestamp, tell: Tell| {
            let times = Times { asked: occurrences, from: &|at| occurrences_from(wish, at) };
            long(|| plan_series(state, overlay, wish, times, &reservations, now, tell))
        };
        self.plan(self.inner.raft.now()?, search).await
    }

    /// What the entry at `index` booked, which was visible at once, or long ago.
    async fn series_left_at(
        &self,
        id: SeriesId,
        leases: Vec<SeriesLease>,
        left_out: Vec<LeftOut>,
        index: u64,
    ) -> Result<Answer<BookedSeries>> {
        for one in &leases {
            match self.lease_left_at(one.lease_id, index).await {
                // The next one is shown in its place.
                Err(OperationError::Rejected(Rejection::LeaseNotFound(_))) => {}
                found => {
                    let Answer { value: first, ledger_index } = found?;
                    return Ok(Answer { value: BookedSeries { id, first, leases, left_out }, ledger_index });
                }
            }
        }
        // Deleted by someone else between commit and answer: for this caller it is gone, too.
        Err(Rejection::SeriesNotFound(id).into())
    }

    /// Waits until the series that was booked at `booked_at` is promised or was withdrawn. What made it visible is the answer.
    async fn series_settled(
        &self,
        id: SeriesId,
        booked: Vec<SeriesLease>,
        left_out: Vec<LeftOut>,
        booked_at: u64,
    ) -> Result<Answer<BookedSeries>> {
        let settled = |state: &State| {
            let waits = |one: &SeriesLease| state.lease(one.lease_id).is_some_and(|lease| !lease.visible() && !lease.deleted);
            if state.ledger_index() < booked_at || booked.iter().any(waits) {
                return None;
            }
            // The journal shows only what is visible.
            let left = |one: &SeriesLease| -> Result<Option<Lease>> {
                let left = state.lease_as_left(one.lease_id, booked_at, |_| true)?;
                Ok(left.or_else(|| state.lease(one.lease_id).filter(|lease| lease.visible()).cloned()))
            };
            Some(booked.iter().map(left).collect::<Result<Vec<Option<Lease>>>>())
        };
        let Some(seen) = self.wait_for(PREPARING, settled).await?.transpose()? else { return Err(OperationError::Unknown) };
        let reason = |id: LeaseId| self.withdrawn(id);
        let Some(first) = seen.iter().flatten().next().cloned() else {
            return Err(gone(booked.iter().find_map(|one| reason(one.lease_id))));
        };
        let (mut leases, mut left_out) = (Vec::new(), left_out);
        for (one, seen) in booked.iter().zip(&seen) {
            match seen {
                Some(_) => leases.push(*one),
                None => {
                    let reason = reason(one.lease_id).unwrap_or_else(|| Reason {
                        code: ReasonCode::CloudUnavailable,
                        text: "the cloud did not confirm the capacity in time".to_owned(),
                    });
                    left_out.push(LeftOut { occurrence: one.occurrence, reason: LeftOutReason::Withdrawn(reason) });
                }
            }
        }
        left_out.sort_by_key(|one| one.occurrence.number);
        let ledger_index = first.ledger_index;
        Ok(Answer { value: BookedSeries { id, first, leases, left_out }, ledger_index })
    }
}

/// All occurrences, and hosts for none: `apply` refuses them for what is wrong with the wish.
fn unplanned(times: &[Occurrence]) -> SeriesPlan {
    let occurrence = |occurrence: &Occurrence| OccurrencePlan { occurrence: *occurrence, reservations: Vec::new() };
    let occurrences = times.iter().map(occurrence).collect();
    SeriesPlan { occurrences, left_out: Vec::new(), planned_at: 0, bookings: Vec::new() }
}

/// Without a plan only the wish counts: the key is known, and `apply` answers what it answered.
fn command(
    wish: &SeriesWish,
    asked: Option<Box<LeaseWish>>,
    series_id: SeriesId,
    planned: Option<SeriesPlan>,
    ids: &[Ids],
) -> CreateSeries {
    let Some(planned) = planned else {
        let (occurrences, left_out) = (Vec::new(), Vec::new());
        return CreateSeries { wish: wish.clone(), asked, series_id, occurrences, left_out, planned_at: 0 };
    };
    let occurrence = |one: OccurrencePlan| {
        let ids = &ids[one.occurrence.number as usize - 1];
        PlannedOccurrence {
            occurrence: one.occurrence,
            lease_id: ids.lease,
            event_ids: ids.events.clone(),
            resource_ids: ids.resources.clone(),
            plan: one.reservations,
        }
    };
    CreateSeries {
        wish: wish.clone(),
        asked,
        series_id,
        occurrences: planned.occurrences.into_iter().map(occurrence).collect(),
        left_out: planned.left_out,
        planned_at: planned.planned_at,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use leasehold_ledger::command::{BeforeEndWish, LeaseChange, Recurrence, StartWish};
    use leasehold_ledger::listing::LeaseFilter;
    use leasehold_ledger::model::{PoolKind, ProjectId, Timestamp};

    use super::*;
    use crate::operations::tests::{Lone, actor, wish};

    fn daily(amount: u32, count: u32, mode: SeriesMode) -> SeriesWish {
        let rule = format!("FREQ=DAILY;COUNT={count}");
        let recurrence = Recurrence { rule, time_zone: "Europe/Berlin".to_owned(), mode };
        SeriesWish { lease: wish(amount), recurrence }
    }

    fn key_of(number: u128) -> Option<RequestKey> {
        let valid_until = Timestamp(chrono::Utc::now().timestamp_millis() as u64 + 600_000);
        Some(RequestKey { project_id: ProjectId("p".into()), id: Uuid::from_u128(number), valid_until })
    }

    fn numbers(booked: &BookedSeries) -> (Vec<u32>, Vec<u32>) {
        let leases = booked.leases.iter().map(|one| one.occurrence.number).collect();
        (leases, booked.left_out.iter().map(|one| one.occurrence.number).collect())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_series_is_booked_once_under_its_key_listed_and_deleted() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let (key, asked) = (key_of(1), daily(3, 3, SeriesMode::AllOrNothing));
        let made = operations.create_series(&member, key.clone(), asked.clone()).await.unwrap();
        let again = operations.create_series(&member, key.clone(), asked.clone()).await.unwrap();
        assert_eq!((again.value.id, again.ledger_index), (made.value.id, made.ledger_index));
        assert_eq!(again.value, made.value);
        assert_eq!(numbers(&made.value), (vec![1, 2, 3], vec![]));
        let filter = LeaseFilter { series: Some(made.value.id), ..LeaseFilter::default() };
        let listed =
            async || operations.list_leases(&member, filter.clone(), Consistency::Linearizable).await.unwrap().value.leases;
        assert_eq!(listed().await.len(), 3);
        // One goes its own way: the key still answers what was booked.
        operations.delete_lease(&member, None, made.value.first.id).await.unwrap();
        let again = operations.create_series(&member, key.clone(), asked.clone()).await.unwrap().value;
        assert_eq!(again, made.value);
        let renamed = LeaseChange { name: Some("b".to_owned()), ..LeaseChange::default() };
        operations.update_lease(&member, None, made.value.leases[1].lease_id, renamed).await.unwrap();

        let stranger = Actor { project_id: ProjectId("q".into()), ..actor("member") };
        let denied = OperationError::Forbidden { rule: "blazar:leases:delete".to_owned() };
        assert_eq!(operations.delete_series(&stranger, None, made.value.id).await.unwrap_err(), denied);
        let to_delete = key_of(2);
        for _ in 0..2 {
            let gone = operations.delete_series(&member, to_delete.clone(), made.value.id).await.unwrap().value;
            assert_eq!(gone.deleted, [made.value.leases[1].lease_id, made.value.leases[2].lease_id]);
        }
        assert_eq!(listed().await, []);
        let not_found = OperationError::Rejected(Rejection::SeriesNotFound(made.value.id));
        assert_eq!(operations.delete_series(&member, None, made.value.id).await.unwrap_err(), not_found);
        assert_eq!(operations.create_series(&member, key, asked).await.unwrap().value, made.value);
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_does_not_fit_refuses_all_or_is_left_out_and_what_if_says_the_same() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let second = wish(3);
        let StartWish::At(start) = second.start else { panic!("it has a date") };
        let (start, end) = (start.plus(86_400), second.end.plus(86_400));
        let second =
            leasehold_ledger::command::LeaseWish { start: StartWish::At(start), end, before_end: BeforeEndWish::Never, ..second };
        operations.create_lease(&member, None, second).await.unwrap();

        let whole = daily(2, 3, SeriesMode::AllOrNothing);
        match operations.create_series(&member, None, whole.clone()).await {
            Err(OperationError::NoRoom { offer, .. }) => {
                // The second lease begins where the other one ends.
                assert_eq!((offer.occurrence, offer.short_by, offer.next_start), (Some(2), 1, Some(whole.lease.end)));
                let asked = operations.what_if_series(&member, whole.clone()).await.unwrap().value;
                assert_eq!(asked, WhatIf::NoRoom(offer.clone()));
                let later = SeriesWish {
                    lease: LeaseWish {
                        start: StartWish::At(whole.lease.end),
                        end: offer.next_end.unwrap(),
                        ..whole.lease.clone()
                    },
                    ..whole
                };
                let made = operations.create_series(&member, None, later).await.unwrap().value;
                assert_eq!(numbers(&made), (vec![1, 2, 3], vec![]));
                operations.delete_series(&member, None, made.id).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
        let part = daily(2, 3, SeriesMode::BestEffort);
        let asked = operations.what_if_series(&member, part.clone()).await.unwrap().value;
        let key = key_of(1);
        let made = operations.create_series(&member, key.clone(), part.clone()).await.unwrap().value;
        assert_eq!(numbers(&made), (vec![1, 3], vec![2]));
        let occurrences = made.leases.iter().map(|one| one.occurrence).collect();
        assert_eq!(asked, WhatIf::SeriesFits { occurrences, left_out: made.left_out.clone() });
        assert_eq!(operations.create_series(&member, key, part).await.unwrap().value, made);
        let nothing = operations.create_series(&member, None, daily(5, 2, SeriesMode::BestEffort)).await;
        assert!(matches!(nothing, Err(OperationError::NoRoom { offer, .. }) if offer.occurrence == Some(1)));
        let forever = SeriesWish {
            recurrence: Recurrence { rule: "FREQ=DAILY".to_owned(), ..daily(1, 1, SeriesMode::BestEffort).recurrence },
            lease: wish(1),
        };
        let refused = operations.create_series(&member, None, forever).await.unwrap_err().to_string();
        assert!(refused.contains("it never ends"), "{refused}");
        lone.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_left_out_for_a_plan_that_is_in_flight() {
        let lone = Lone::with_host(4).await;
        let (operations, member) = (lone.operations.clone(), actor("member"));
        let first = daily(4, 1, SeriesMode::BestEffort);
        let bookings = {
            let ids = [vec![ReservationId(Uuid::from_u128(1))]];
            let occurrences = occurrences(&first).unwrap();
            let now = operations.inner.raft.now().unwrap();
            let times = Times { asked: &occurrences, from: &|_| None };
            plan_series(&operations.inner.raft.state(), &Overlay::default(), &first, times, &ids, now, Tell::WhatFits)
                .unwrap()
                .bookings
        };
        let number = operations.inner.overlay.lock().add(&operations.inner.raft.state(), &bookings);
        let booking = operations.create_series(&member, None, daily(4, 2, SeriesMode::BestEffort));
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            operations.inner.overlay.lock().remove(number);
        };
        let (made, ()) = tokio::join!(booking, release);
        assert_eq!(numbers(&made.unwrap().value), (vec![1, 2], vec![]));
        lone.end().await;
    }

    fn in_pool(mut asked: SeriesWish, pool: PoolKind) -> SeriesWish {
        for one in &mut asked.lease.reservations {
            one.resource.instance_mut().pool = Some(pool);
        }
        asked
    }

    /// Under a key whose command waits for the cloud a delete is judged like any other: the key may be free by the time it is applied.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_that_waits_for_the_cloud_opens_nothing_of_others() {
        let lone = Lone::with_host(4).await;
        lone.add_shared_host(4).await;
        let (operations, member, key) = (lone.operations.clone(), actor("member"), key_of(1));
        let stranger = Actor { project_id: ProjectId("q".into()), ..actor("member") };
        let mut foreign = in_pool(daily(1, 2, SeriesMode::AllOrNothing), PoolKind::Dedicated);
        foreign.lease.project_id = stranger.project_id.clone();
        let foreign = operations.create_series(&stranger, None, foreign).await.unwrap().value;
        let own = in_pool(daily(1, 2, SeriesMode::AllOrNothing), PoolKind::Shared);
        let waiting = operations.create_series(&member, key.clone(), own);
        let asking = async {
            while !Operations::key_is_known(&operations.inner.raft.state(), key.as_ref()) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let denied = Err(OperationError::Forbidden { rule: "blazar:leases:delete".to_owned() });
            assert_eq!(operations.delete_series(&member, key.clone(), foreign.id).await, denied);
            assert_eq!(operations.delete_lease(&member, key.clone(), foreign.first.id).await.map(drop), denied.map(drop));
        };
        tokio::select! {
            biased;
            () = asking => {}
            made = waiting => panic!("nobody made its hold: {made:?}"),
        }
        lone.end().await;
    }
}
