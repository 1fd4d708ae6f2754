//! Commands that change a lease that is there: updates, claims, other hosts.

use leasehold_ledger::apply::apply;
use leasehold_ledger::plan::NoRoom;

use super::steps::plain_create;
use super::*;

impl Run {
    pub(super) fn update(&mut self, id: LeaseId, update: &Update) {
        let Update { start, end, amount, vcpus, now, .. } = *update;
        let Some(lease) = self.world.state.lease(id).cloned() else { return };
        let mut resource = lease.reservations[0].wish.clone();
        let instance = resource.instance_mut();
        instance.amount = amount.map_or(instance.amount, u32::from);
        instance.vcpus = vcpus.map_or(instance.vcpus, u32::from);
        if let Some(terms) = &update.terms {
            terms.put_on(instance);
        }
        let resized = amount.is_some() || vcpus.is_some() || update.terms.is_some();
        let change = LeaseChange {
            name: Some("other".to_owned()),
            start: start.map(|minute| StartWish::At(Seconds(self.minute(minute)))),
            end: if now && end.is_none() {
                Some(EndWish::Now)
            } else {
                end.map(|minute| EndWish::At(Seconds(self.minute(minute))))
            },
            before_end: None,
            ignore_quota: false,
            reservations: resized
                .then(|| ReservationChange { reservation_id: lease.reservations[0].id, resource: resource.clone(), on_end: None })
                .into_iter()
                .collect(),
        };
        let planned = plan_update(&self.world.state, &Overlay::default(), id, &change, self.world.at, Tell::WhatFits);
        let stage = lease.reservations[0].stage;
        if self.on_the_minute() && matches!(planned, Err(NoPlan::NoRoom(_))) && stage <= Stage::Prepared {
            self.reach("judged a refused update");
            // What is not open yet may move anywhere: a refusal means that there is no room anywhere.
            let from =
                change.start.map_or(lease.start, |start| if let StartWish::At(start) = start { start } else { lease.start });
            let until = match change.end {
                Some(EndWish::At(end)) => end,
                Some(EndWish::Now) => self.world.at.floor_to_second(),
                None => lease.end,
            };
            let instance = resource.instance();
            let state = &self.world.state;
            // Once its flavor is made a reservation keeps its kind of anchor.
            let has = state.host(lease.reservations[0].bindings[0].host).unwrap().description.anchor;
            let fits = ANCHORS.into_iter().filter(|anchor| stage == Stage::Booked || *anchor == has).any(|anchor| {
                let main = largest(state, instance, anchor, from.0, until.0, Some(&lease));
                let staging = lease.reservations[0].staging.map(|staging| {
                    largest(state, instance, anchor, staging.window.start.0, staging.booked().end.0, Some(&lease))
                });
                main.min(staging.unwrap_or(main)) >= i64::from(instance.amount)
            });
            assert!(!fits, "refused an update that fits: {planned:?} {change:?} {lease:?}");
        }
        if let Err(NoPlan::NoRoom(no_room)) = &planned {
            self.take_instead(&lease, &change, no_room);
        }
        let plan = match planned {
            Ok(planned) => planned.map(|planned| planned.reservations).unwrap_or_default(),
            Err(_) => return,
        };
        let update = UpdateLease { lease_id: id, change, plan, planned_at: 0, caller_makes_groups: false };
        let reply = self.world.send(None, Command::UpdateLease(Box::new(update))).expect("it was just planned");
        let after = self.world.state.lease(id).unwrap().clone();
        let one = &after.reservations[0];
        self.check_kind(one.wish.instance(), &one.bindings, Some(&lease.reservations[0]));
        if lease.reservations[0].wish.instance().zone != one.wish.instance().zone {
            self.reach("moved to another zone");
        }
        let promise = Promise {
            start: after.start.0,
            end: after.end.0,
            need: need_of(one.wish.instance()),
            main: main_of(&one.bindings),
            affinity: one.wish.instance().affinity,
        };
        self.reach(format!("updated at {stage:?}, {reply:?}").split(" lease_id").next().unwrap_or_default().to_owned());
        if lease.reservations[0].is_expiring() && !one.is_expiring() {
            assert_eq!(after.expires_at(), lease.expiry_s.map(|after| self.world.at.ceil_to_second().plus(after)));
            self.reach("counted anew");
        }
        match reply {
            Reply::LeaseUpdated { prepared: true, .. } => self.promises.insert(id, promise),
            Reply::LeaseUpdated { prepared: false, .. } => self.next_promises.insert(id, promise),
            other => panic!("{other:?}"),
        };
    }

    /// What a refusal of a change names works when it is taken at once, and nothing sooner or longer does.
    pub(super) fn take_instead(&mut self, before: &Lease, change: &LeaseChange, no_room: &NoRoom) {
        let StartWish::At(start) = change.start.unwrap_or(StartWish::At(before.start)) else {
            panic!("no now in the small world")
        };
        let end = match change.end {
            Some(EndWish::At(end)) => end,
            Some(EndWish::Now) => self.world.at.floor_to_second(),
            None => before.end,
        };
        if no_room.largest_amount > 0 {
            let mut fewer = change.clone();
            let short = &before.reservations[no_room.reservation];
            if !fewer.reservations.iter().any(|one| one.reservation_id == short.id) {
                let resource = short.wish.clone();
                fewer.reservations.push(ReservationChange { reservation_id: short.id, resource, on_end: None });
            }
            let one = fewer.reservations.iter_mut().find(|one| one.reservation_id == short.id).unwrap();
            one.resource.instance_mut().amount = no_room.largest_amount;
            assert!(self.works(before.id, &fewer), "{no_room:?} of {change:?} of {before:?}");
            self.reach("fewer after all");
        }
        let started_at = |at: Seconds| {
            let end = at.plus(end.0 - start.0);
            LeaseChange { start: Some(StartWish::At(at)), end: Some(EndWish::At(end)), ..change.clone() }
        };
        let has_begun = before.status != LeaseStatus::Pending || before.start <= self.world.at.floor_to_second();
        assert_eq!(no_room.start_is_fixed, has_begun || no_room.staging);
        if let Some(next) = no_room.next_start {
            assert!(self.works(before.id, &started_at(next)), "{no_room:?} of {change:?} of {before:?}");
            assert_eq!(no_room.next_end, Some(next.plus(end.0 - start.0)));
            self.reach("changed later");
        }
        if !has_begun && !no_room.staging && self.on_the_minute() {
            let last = no_room.next_start.unwrap_or(Seconds(u32::MAX));
            let sooner = self.minutes().map(Seconds).filter(|at| start <= *at && *at < last);
            let sooner = sooner.into_iter().find(|at| self.works(before.id, &started_at(*at)));
            assert_eq!(sooner, None, "{no_room:?} of {change:?} of {before:?}");
        }
        let until = |end: Seconds| LeaseChange { end: Some(EndWish::At(end)), ..change.clone() };
        match no_room.latest_end {
            Some(latest) => {
                assert!(has_begun && before.end <= latest && latest < end);
                assert!(self.works(before.id, &until(latest)), "{no_room:?} of {change:?} of {before:?}");
                assert!(!self.works(before.id, &until(latest.plus(1))), "{no_room:?} of {change:?} of {before:?}");
                self.reach("until an earlier end");
            }
            None if has_begun && end > before.end => {
                let any = [before.end.plus(1), before.end.plus(60)].into_iter().find(|end| self.works(before.id, &until(*end)));
                assert_eq!(any, None, "{no_room:?} of {change:?} of {before:?}");
            }
            None => {}
        }
    }

    /// Whether a change is planned, and accepted on a copy of the state.
    fn works(&self, lease_id: LeaseId, change: &LeaseChange) -> bool {
        let planned = plan_update(&self.world.state, &Overlay::default(), lease_id, change, self.world.at, Tell::WhatFits);
        let Ok(planned) = planned else { return false };
        let plan = planned.map(|planned| planned.reservations).unwrap_or_default();
        let update = UpdateLease { lease_id, change: change.clone(), plan, planned_at: 0, caller_makes_groups: false };
        let command = Command::UpdateLease(Box::new(update));
        let applied = apply(&mut self.world.state.clone(), &Entry { key: None, proposed_at: self.world.at, command });
        assert!(matches!(applied.outcome, Ok(Reply::LeaseUpdated { .. })), "{:?} of {change:?}", applied.outcome);
        true
    }

    pub(super) fn unclaimed(&self) -> Vec<(LeaseId, Seconds)> {
        self.world.state.leases().filter_map(|lease| Some((lease.id, lease.unclaimed_until()?))).collect()
    }

    /// What is claimed keeps what it has; whether it can be is a matter of time alone.
    pub(super) fn claim(&mut self, id: LeaseId) {
        let Some(before) = self.world.state.lease(id).cloned() else { return };
        let claimed = self.world.send(None, Command::ClaimOffer { lease_id: id });
        let after = self.world.state.lease(id).unwrap();
        assert_eq!((&after.reservations, after.status), (&before.reservations, before.status));
        match (claimed, before.offer.as_deref()) {
            (Ok(Reply::OfferClaimed { .. }), Some(offer)) => {
                assert_eq!(after.unclaimed_until(), None);
                assert!(offer.claimed_at.is_some() || offer.expires_at.timestamp() > self.world.at);
                self.reach(if offer.claimed_at.is_some() { "claimed again" } else { "claimed" });
            }
            (Err(Rejection::OfferExpired(_)), Some(offer)) => assert!(offer.expires_at.timestamp() <= self.world.at),
            (Err(Rejection::LeaseNotFound(_)), _) => assert!(!before.visible()),
            (Err(Rejection::NotAnOffer(_)), None) => {}
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn rebind(&mut self, id: LeaseId, avoid: u8) {
        let avoid = [HostId(u64::from(avoid))];
        let Some(before) = self.world.state.lease(id).cloned() else { return };
        let Ok(planned) = plan_rebind(&self.world.state, &Overlay::default(), id, &avoid) else { return };
        let bindings: Vec<_> = planned.reservations.iter().map(|one| one.bindings.clone()).collect();
        let moved = self.world.send(None, Command::Rebind { lease_id: id, moves: planned.reservations });
        if moved.is_err() || bindings.is_empty() {
            return;
        }
        self.reach("rebound");
        let old = &before.reservations[0];
        self.check_kind(old.wish.instance(), &bindings[0], Some(old));
        let updating = self.world.state.lease(id).is_some_and(|lease| lease.status == LeaseStatus::Updating);
        let main = main_of(&bindings[0]);
        if let Some(mut next) = self.next_promises.remove(&id) {
            next.main = main;
            // Where nothing is to be held any more the update is settled.
            if updating {
                self.next_promises.insert(id, next)
            } else {
                self.promises.insert(id, next)
            };
        } else if let Some(promise) = self.promises.get(&id).cloned() {
            let promise = Promise { main, ..promise };
            if updating {
                self.next_promises.insert(id, promise)
            } else {
                self.promises.insert(id, promise)
            };
        }
    }
}

/// Of leases that have begun beside others that are to come, longer; some have their servers by then, some not.
#[test]
fn the_latest_end_that_a_refused_extension_names_is_the_latest() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    let steps =
        (prop::collection::vec(plain_create(), 5..25), 9u8..20, 0u8..30, prop::collection::vec((any::<u8>(), 1u8..30), 10));
    for _ in 0..300 {
        let (creates, minutes, done, longer) = steps.new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        creates.iter().for_each(|create| run.create(create, None));
        run.play(&Step::Clock { minutes, seconds: 0 });
        for row in 0..done {
            run.outcome(row, 5, false);
        }
        for (lease, end) in longer {
            let update = Update { lease, start: None, end: Some(end), amount: None, vcpus: None, terms: None, now: false };
            run.pick(lease).into_iter().for_each(|id| run.update(id, &update));
        }
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in ["until an earlier end", "updated at Open, LeaseUpdated {", "updated at Prepared, LeaseUpdated {"] {
        assert!(reached.get(what).is_some_and(|times| *times >= 20), "{what}: too seldom in {reached:#?}");
    }
}
