//! Series: planned as if each occurrence were asked for by itself, one after the other; booked as a whole; settled as a whole.

use leasehold_ledger::apply::apply;
use leasehold_ledger::plan::{NoRoom, SeriesPlan, Times, plan_series};
use leasehold_ledger::state::State;

use super::steps::Series;
use super::*;

impl Run {
    pub(super) fn create_series(&mut self, series: &Series) {
        let lease = self.wish(&series.first);
        let StartWish::At(first) = lease.start else { panic!("the small world has no now") };
        let length = lease.end.0 - first.0;
        let (every, many) = (u32::from(series.every) * 60, u32::from(series.times));
        let from = |first: Seconds| -> Vec<Occurrence> {
            let at = |place: u32| first.plus(place * every);
            (0..many).map(|place| Occurrence { number: place + 1, start: at(place), end: at(place).plus(length) }).collect()
        };
        let occurrences = from(first);
        let times = Times { asked: &occurrences, from: &|at| Some(from(at)) };
        let ids: Vec<Vec<ReservationId>> = occurrences.iter().map(|_| vec![ReservationId(self.world.uuid())]).collect();
        let rule = format!("FREQ=MINUTELY;INTERVAL={};COUNT={}", series.every, series.times);
        let recurrence = Recurrence { rule, time_zone: "UTC".to_owned(), mode: series.mode };
        let wish = SeriesWish { lease, recurrence };
        let planned = plan_series(&self.world.state, &Overlay::default(), &wish, times, &ids, self.world.at, Tell::WhatFits);
        self.judge_series(&wish, &occurrences, &planned);
        let planned = match planned {
            Ok(planned) => planned,
            Err(NoPlan::NoRoom(no_room)) => {
                self.check_smaller(&wish, &occurrences, &no_room);
                self.check_later(&wish, times, &no_room);
                return self.reach("series refused");
            }
            Err(NoPlan::Rejected(_)) => return,
        };
        self.book_series(series, wish, planned);
    }

    /// The plan is that of asking one after the other, on a copy of the state; what is left out has no room by counting, either.
    fn judge_series(&mut self, wish: &SeriesWish, occurrences: &[Occurrence], planned: &Result<SeriesPlan, NoPlan>) {
        let mut copy = self.world.state.clone();
        let mut without = Vec::new();
        for occurrence in occurrences {
            let one = wish.lease_at(*occurrence);
            let id = ReservationId(Uuid::from_u128(u128::MAX - u128::from(occurrence.number) * 20));
            match plan_create(&copy, &Overlay::default(), &one, &[id], self.world.at) {
                Ok(found) => book(&mut copy, self.world.at, one, found, occurrence.number),
                Err(NoPlan::NoRoom(_)) => {
                    if self.on_the_minute() {
                        let instance = one.reservations[0].resource.instance();
                        let (start, end) = (occurrence.start.0, occurrence.end.0);
                        let fits = |anchor| largest(&copy, instance, anchor, start, end, None) >= i64::from(instance.amount);
                        assert!(!ANCHORS.into_iter().any(fits), "occurrence {} has room", occurrence.number);
                    }
                    without.push(occurrence.number);
                }
                Err(NoPlan::Rejected(rejection)) => {
                    assert_eq!(planned, &Err(NoPlan::Rejected(rejection)));
                    return;
                }
            }
        }
        match (planned, wish.recurrence.mode) {
            (Ok(found), SeriesMode::AllOrNothing) => {
                assert_eq!((without.len(), found.occurrences.len()), (0, occurrences.len()));
            }
            (Ok(found), SeriesMode::BestEffort) => {
                let left: Vec<u32> = found.left_out.iter().map(|one| one.occurrence.number).collect();
                assert_eq!(left, without);
                assert_eq!(left.len() + found.occurrences.len(), occurrences.len());
            }
            (Err(NoPlan::NoRoom(no_room)), mode) => {
                assert_eq!(no_room.occurrence, without.first().copied());
                assert!(mode == SeriesMode::AllOrNothing || without.len() == occurrences.len());
            }
            (Err(NoPlan::Rejected(rejection)), _) => panic!("{rejection:?}, but each by itself is planned"),
        }
    }

    /// What is named instead is booked when it is asked for, and nothing larger is.
    fn check_smaller(&mut self, wish: &SeriesWish, occurrences: &[Occurrence], no_room: &NoRoom) {
        let asked = wish.lease.reservations[no_room.reservation].resource.instance().amount;
        let ids: Vec<Vec<ReservationId>> = occurrences.iter().map(|_| vec![ReservationId(self.world.uuid())]).collect();
        let is_booked = |amount: u32| {
            let mut smaller = wish.clone();
            smaller.lease.reservations[no_room.reservation].resource.instance_mut().amount = amount;
            self.series_is_booked(&smaller, occurrences, &ids)
        };
        let most = (1..asked).rev().find(|amount| is_booked(*amount)).unwrap_or(0);
        assert_eq!(no_room.largest_amount, most, "{no_room:?} of {wish:?}");
        if no_room.quota.is_some() {
            self.reach("series beyond the quota");
        }
        if most > 0 {
            self.reach("smaller series named");
        }
    }

    fn series_is_booked(&self, wish: &SeriesWish, occurrences: &[Occurrence], ids: &[Vec<ReservationId>]) -> bool {
        let times = Times { asked: occurrences, from: &|_| None };
        plan_series(&self.world.state, &Overlay::default(), wish, times, ids, self.world.at, Tell::Shortage).is_ok()
    }

    /// From the start that is named on all of it is booked, and from none before that, minute by minute, where its leases are not in each
    /// other's way. None is named only where none in sight is good.
    fn check_later(&mut self, wish: &SeriesWish, times: Times<'_>, no_room: &NoRoom) {
        let ids: Vec<Vec<ReservationId>> = times.asked.iter().map(|_| vec![ReservationId(self.world.uuid())]).collect();
        let recurrence = Recurrence { mode: SeriesMode::AllOrNothing, ..wish.recurrence.clone() };
        let whole = SeriesWish { recurrence, ..wish.clone() };
        let is_booked = |start: Seconds| {
            let occurrences = (times.from)(start).unwrap();
            self.series_is_booked(&whole.started_at(start), &occurrences, &ids)
        };
        let (first, is_named) = (times.asked[0].start, no_room.next_start.is_some());
        let alone = times.asked.windows(2).all(|pair| pair[0].end <= pair[1].start);
        if let Some(start) = no_room.next_start {
            assert!(start > first && is_booked(start), "{no_room:?} of {wish:?}");
            assert_eq!(no_room.next_end, Some(start.plus(times.asked[0].end.0 - first.0)));
        }
        // What all of them use together is limited beside each of them, and moves are.
        let limits = |project| self.world.state.quota(project).is_some();
        let is_limited = limits(None) || limits(Some(&wish.lease.project_id));
        if self.on_the_minute() && alone && !is_limited {
            let before =
                (1..).map(|minute| first.plus(minute * 60)).take_while(|at| no_room.next_start.is_none_or(|start| *at < start));
            let sooner = before.take(usize::try_from(HORIZON).unwrap()).find(|at| is_booked(*at));
            assert_eq!(sooner, None, "{no_room:?} of {wish:?}");
            if is_named {
                self.reach("first start of a series named");
            }
        }
        if is_named {
            self.reach("later series named");
        }
    }

    fn book_series(&mut self, series: &Series, wish: SeriesWish, planned: SeriesPlan) {
        let left_out = planned.left_out;
        let occurrences: Vec<PlannedOccurrence> = (planned.occurrences.into_iter())
            .map(|one| PlannedOccurrence {
                occurrence: one.occurrence,
                lease_id: LeaseId(self.world.uuid()),
                event_ids: (0..6).map(|_| EventId(self.world.uuid())).collect(),
                resource_ids: vec![self.world.uuid()],
                plan: one.reservations,
            })
            .collect();
        let promises: Vec<(LeaseId, Promise)> = (occurrences.iter())
            .map(|one| (one.lease_id, promise_of(&wish.lease_at(one.occurrence), None, &one.plan[0].bindings)))
            .collect();
        let series_id = SeriesId(self.world.uuid());
        let planned_at = planned.planned_at;
        let create = CreateSeries { wish, asked: None, series_id, occurrences, left_out: left_out.clone(), planned_at };
        let key = series.first.key.map(key);
        let keyed = key.is_some();
        match self.world.send(key, Command::CreateSeries(Box::new(create))) {
            Ok(Reply::SeriesCreated { series_id: made, leases, left_out: told, .. }) if made == series_id => {
                assert_eq!(told, left_out);
                assert!(leases.iter().map(|lease| lease.lease_id).eq(promises.iter().map(|(id, _)| *id)));
                self.reach("series booked");
                if !told.is_empty() {
                    self.reach("series with something left out");
                }
                self.promises.extend(promises);
            }
            other => assert!(keyed, "{other:?}"),
        }
    }

    pub(super) fn delete_series(&mut self, of: LeaseId) {
        let Some(series_id) = self.world.state.lease(of).and_then(Lease::series_id) else { return };
        // Of those that left memory, too.
        let before: Vec<Lease> = self.world.whole.leases_of_series(series_id).filter(|lease| lease.visible()).cloned().collect();
        if !self.world.state.archived_of_series(series_id).is_empty() {
            self.reach("series deleted after a lease of it left memory");
        }
        match self.world.send(None, Command::DeleteSeries { series_id }) {
            Ok(Reply::SeriesDeleted { deleted, kept }) => {
                assert_eq!(deleted.len() + kept.len(), before.len());
                for lease in before {
                    let started = lease.event(EventKind::StartLease).unwrap().status != EventStatus::Undone;
                    assert_eq!(kept.contains(&lease.id), started);
                    let now = self.world.whole.lease(lease.id);
                    assert_eq!(now.is_some_and(Lease::visible), started);
                }
                if !kept.is_empty() && !deleted.is_empty() {
                    self.reach("series deleted in part");
                }
            }
            refused => {
                assert_eq!((refused, before.len()), (Err(Rejection::SeriesNotFound(series_id)), 0));
            }
        }
    }

    /// The leases that wait to be promised with this one.
    pub(super) fn waiting_in_series(&self, of: LeaseId) -> Vec<Lease> {
        let series = self.world.state.lease(of).and_then(Lease::series_id);
        let leases = series.into_iter().flat_map(|series| self.world.state.leases_of_series(series));
        leases.filter(|lease| lease.status == LeaseStatus::Creating).cloned().collect()
    }

    /// A series that waited is promised in one entry, and with all or nothing withdrawn in one.
    pub(super) fn check_series_settled(&mut self, of: LeaseId, before: &[Lease]) {
        let Some(member) = before.first().and_then(|lease| lease.series.as_deref().copied()) else { return };
        let left: Vec<&Lease> = before.iter().filter_map(|lease| self.world.state.lease(lease.id)).collect();
        let (gone, seen) = (before.len() - left.len(), left.iter().filter(|lease| lease.visible()).count());
        assert!(seen == 0 || seen == left.len(), "promised in part");
        match member.mode {
            SeriesMode::AllOrNothing => assert!(gone == 0 || left.is_empty(), "withdrawn in part"),
            SeriesMode::BestEffort => assert!(gone <= 1 && (gone == 0 || self.world.state.lease(of).is_none())),
        }
        if seen > 0 {
            self.reach("series promised by the cloud");
        }
        if gone > 1 {
            self.reach("series withdrawn as a whole");
        }
        if gone == 1 && before.len() > 1 {
            self.reach("lease left out by the cloud");
        }
    }
}

fn book(state: &mut State, at: Timestamp, wish: LeaseWish, found: leasehold_ledger::plan::Planned, number: u32) {
    let id = |place: u32| Uuid::from_u128(u128::MAX - u128::from(number) * 20 - u128::from(place));
    let command = Command::CreateLease(Box::new(CreateLease {
        wish,
        lease_id: LeaseId(id(1)),
        event_ids: (2..8).map(|place| EventId(id(place))).collect(),
        plan: found.reservations,
        resource_ids: vec![id(9)],
        planned_at: found.planned_at,
        moved_to: None,
        adoptions: Default::default(),
        caller_makes_groups: false,
        waits: false,
        asked: None,
        victims: Vec::new(),
    }));
    let applied = apply(state, &Entry { key: None, proposed_at: at, command });
    assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
}
