//! Leases of several reservations that are unlike: a refusal is justified by every way to place them, and what it offers instead works
//! when it is taken at once.

use leasehold_ledger::plan::NoRoom;

use super::steps::{Terms, plain_create, terms};
use super::*;
use crate::brute_force::{Slots, fits_together};

/// Amount, vCPUs, affinity, pool and what the hosts must be.
type Part = (u8, u8, Option<bool>, Option<PoolKind>, Terms);

/// Times in minutes.
#[derive(Clone, Debug)]
struct Several {
    start: u8,
    length: u8,
    staging: Option<(u8, u8)>,
    parts: Vec<Part>,
}

fn several() -> impl Strategy<Value = Several> {
    let affinity = prop_oneof![3 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let pool = prop_oneof![4 => Just(None), 1 => Just(Some(PoolKind::Dedicated))];
    let terms = prop_oneof![2 => Just(Terms::default()), 3 => terms()];
    let part = (1u8..4, 1u8..5, affinity, pool, terms);
    let staging = prop_oneof![4 => Just(None), 1 => (0u8..4, 1u8..3).prop_map(Some)];
    (8u8..14, 1u8..6, staging, prop::collection::vec(part, 1..4)).prop_map(|(start, length, staging, parts)| Several {
        start,
        length,
        staging,
        parts,
    })
}

impl Run {
    fn wish_of_several(&self, several: &Several) -> LeaseWish {
        let start = self.minute(several.start);
        let staging = several.staging.map(|(from, length)| {
            let (from, until) = (self.minute(from), self.minute(from + length));
            StagingWish { start: Some(Seconds(from)), end: Some(Seconds(until)), park_margin_s: 60 }
        });
        let reservation = |(amount, vcpus, affinity, pool, terms): &Part| {
            let mut wish = InstanceWish {
                affinity: *affinity,
                pool: *pool,
                ..InstanceWish::anywhere(u32::from(*vcpus), 100, 1, u32::from(*amount))
            };
            terms.put_on(&mut wish);
            ReservationWish {
                resource: ResourceWish::Instance(wish.into()),
                staging,
                on_end: OnEnd::Delete,
                servers: Default::default(),
            }
        };
        LeaseWish {
            name: "n".to_owned(),
            project_id: ProjectId("p".into()),
            user_id: UserId("u".into()),
            start: StartWish::At(Seconds(start)),
            end: Seconds(start + u32::from(several.length) * 60),
            before_end: BeforeEndWish::Never,
            ignore_quota: false,
            wait: None,
            precedence: Precedence::default(),
            expiry_s: None,
            offer: None,
            reservations: several.parts.iter().map(reservation).collect(),
        }
    }

    /// Whether there is any way to place all of a lease that begins at a minute.
    fn can_be_placed(&self, wish: &LeaseWish, start: u32) -> bool {
        let StartWish::At(wanted) = wish.start else { panic!("the small world has no now") };
        let mut windows = vec![(start, start + wish.end.0 - wanted.0)];
        let mut slots = Vec::new();
        for (reservation, one) in wish.reservations.iter().enumerate() {
            let instance = one.resource.instance();
            if let Some(staging) = one.staging {
                windows.truncate(1);
                windows.push((staging.start.unwrap().0, staging.end.unwrap().0 + staging.park_margin_s));
                assert!(windows[1].1 <= windows[0].0, "staging is over before the lease begins");
                slots.push(Slots { reservation, wish: instance, window: 1 });
            }
            slots.push(Slots { reservation, wish: instance, window: 0 });
        }
        fits_together(&self.world.state, &windows, &slots)
    }

    fn create_several(&mut self, several: &Several) {
        let wish = self.wish_of_several(several);
        let kind = if several.parts.len() > 1 { "several" } else { "one" };
        let StartWish::At(start) = wish.start else { panic!("the small world has no now") };
        let ids: Vec<ReservationId> = wish.reservations.iter().map(|_| ReservationId(self.world.uuid())).collect();
        let can_be = self.can_be_placed(&wish, start.0);
        match plan_create(&self.world.state, &Overlay::default(), &wish, &ids, self.world.at) {
            Ok(planned) => {
                assert!(can_be, "{planned:?} for {wish:?}");
                self.reach(format!("planned {kind}"));
                self.take_several(&wish, planned);
            }
            Err(NoPlan::NoRoom(no_room)) => {
                assert!(!can_be, "{no_room:?}, though there is room for {wish:?}");
                self.reach(format!("refused {kind}"));
                self.check_instead(&wish, &no_room, kind);
            }
            Err(NoPlan::Rejected(rejection)) => panic!("{rejection} for {wish:?}"),
        }
    }

    /// The amount and the start that are named work, and no larger and no earlier one would.
    fn check_instead(&mut self, wish: &LeaseWish, no_room: &NoRoom, kind: &str) {
        let StartWish::At(start) = wish.start else { panic!("the small world has no now") };
        let with = |amount: u32| {
            let mut fewer = wish.clone();
            fewer.reservations[no_room.reservation].resource.instance_mut().amount = amount;
            fewer
        };
        let wanted = wish.reservations[no_room.reservation].resource.instance().amount;
        assert_eq!(no_room.short_by, wanted - no_room.largest_amount);
        for amount in no_room.largest_amount + 1..wanted {
            assert!(!self.can_be_placed(&with(amount), start.0), "{amount} fit, {no_room:?} for {wish:?}");
        }
        if no_room.largest_amount > 0 {
            self.take_alternative(&with(no_room.largest_amount));
            self.reach(format!("took the amount, {kind}"));
        }
        if no_room.staging {
            return;
        }
        let length = wish.end.0 - start.0;
        let later = |start: Seconds| LeaseWish { start: StartWish::At(start), end: start.plus(length), ..wish.clone() };
        let last = self.minutes().last().unwrap();
        let first = (start.0..last).step_by(60).find(|second| self.can_be_placed(wish, *second));
        let named = no_room.next_start.map(|start| start.0).filter(|start| *start < last);
        assert_eq!(named, first, "{no_room:?} for {wish:?}");
        let Some(next) = no_room.next_start else { return self.reach(format!("no start, {kind}")) };
        self.take_alternative(&later(next));
        self.reach(format!("took the start, {kind}"));
        if wish.reservations[0].staging.is_none() {
            let open = LeaseWish { start: StartWish::Earliest { from: Some(start), latest: next }, ..wish.clone() };
            let planned = plan_create(&self.world.state, &Overlay::default(), &open, &[], self.world.at);
            assert_eq!(planned.map(|planned| planned.moved_to), Ok(Some(next)), "{open:?}");
        }
    }

    fn take_alternative(&mut self, wish: &LeaseWish) {
        let ids: Vec<ReservationId> = wish.reservations.iter().map(|_| ReservationId(self.world.uuid())).collect();
        let planned = plan_create(&self.world.state, &Overlay::default(), wish, &ids, self.world.at);
        let planned = planned.unwrap_or_else(|refused| panic!("{refused:?} for {wish:?}"));
        let (mut copy, command) = (self.world.state.clone(), self.command_of(wish, planned));
        let applied = leasehold_ledger::apply::apply(&mut copy, &Entry { key: None, proposed_at: self.world.at, command });
        assert!(matches!(applied.outcome, Ok(Reply::LeaseCreated { .. })), "{:?} for {wish:?}", applied.outcome);
    }

    fn take_several(&mut self, wish: &LeaseWish, planned: leasehold_ledger::plan::Planned) {
        let command = self.command_of(wish, planned);
        let outcome = self.world.send(None, command);
        assert!(matches!(outcome, Ok(Reply::LeaseCreated { .. })), "{outcome:?} for {wish:?}");
    }

    fn command_of(&mut self, wish: &LeaseWish, planned: leasehold_ledger::plan::Planned) -> Command {
        Command::CreateLease(Box::new(CreateLease {
            wish: wish.clone(),
            lease_id: LeaseId(self.world.uuid()),
            event_ids: (0..6).map(|_| EventId(self.world.uuid())).collect(),
            plan: planned.reservations,
            resource_ids: wish.reservations.iter().map(|_| self.world.uuid()).collect(),
            planned_at: planned.planned_at,
            moved_to: planned.moved_to,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: false,
            asked: None,
            victims: Vec::new(),
        }))
    }
}

/// Which lease and reservation, how many more, start and end.
type Larger = (u8, u8, u8, Option<u8>, Option<u8>);

fn larger() -> impl Strategy<Value = Larger> {
    let minute = |from, until| prop_oneof![2 => Just(None), 1 => (from..until).prop_map(Some)];
    (any::<u8>(), any::<u8>(), 0u8..4, minute(8u8, 14), minute(14u8, 20))
}

impl Run {
    fn change_several(&mut self, (lease, reservation, more, start, end): Larger) {
        let Some(lease) = self.pick(lease).and_then(|id| self.world.state.lease(id)).cloned() else { return };
        let one = &lease.reservations[usize::from(reservation) % lease.reservations.len()];
        let mut resource = one.wish.clone();
        resource.instance_mut().amount += u32::from(more);
        let change = LeaseChange {
            name: None,
            start: start.map(|minute| StartWish::At(Seconds(self.minute(minute)))),
            end: end.map(|minute| EndWish::At(Seconds(self.minute(minute)))),
            before_end: None,
            ignore_quota: false,
            reservations: vec![ReservationChange { reservation_id: one.id, resource, on_end: None }],
        };
        let plan = |tell| plan_update(&self.world.state, &Overlay::default(), lease.id, &change, self.world.at, tell);
        let planned = plan(Tell::WhatFits);
        let kind = if lease.reservations.len() > 1 { "several" } else { "one" };
        match (&planned, plan(Tell::Shortage)) {
            (Err(NoPlan::NoRoom(no_room)), Err(NoPlan::NoRoom(_))) => {
                self.take_instead(&lease, &change, no_room);
                self.reach(format!("refused a change of {kind}"));
                if no_room.next_start.is_some() {
                    self.reach(format!("refused with a later start a change of {kind}"));
                }
            }
            (planned, bare) => assert_eq!(*planned, bare),
        }
    }
}

#[test]
fn the_next_start_that_a_refused_change_names_is_the_first() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        let creates = prop::collection::vec(plain_create(), 0..8).new_tree(&mut runner).unwrap().current();
        let leases = prop::collection::vec(several(), 1..6).new_tree(&mut runner).unwrap().current();
        let changes = prop::collection::vec(larger(), 8).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        creates.iter().for_each(|create| run.create(create, None));
        leases.iter().for_each(|several| run.create_several(several));
        // What shared hosts hold was taken.
        (0..30).for_each(|row| run.outcome(row, 4, false));
        changes.into_iter().for_each(|change| run.change_several(change));
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in ["refused", "refused with a later start"] {
        for kind in ["several", "one"] {
            let what = format!("{what} a change of {kind}");
            assert!(reached.get(&what).is_some_and(|times| *times >= 20), "{what}: too seldom in {reached:#?}");
        }
    }
}

#[test]
fn a_lease_of_unlike_reservations_is_refused_only_where_no_way_to_place_it_is_left() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        let creates = prop::collection::vec(plain_create(), 0..12).new_tree(&mut runner).unwrap().current();
        let leases = prop::collection::vec(several(), 1..6).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        creates.iter().for_each(|create| run.create(create, None));
        leases.iter().for_each(|several| run.create_several(several));
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in ["planned", "refused", "took the amount,", "took the start,", "no start,"] {
        for kind in ["several", "one"] {
            let what = format!("{what} {kind}");
            assert!(reached.get(&what).is_some_and(|times| *times >= 10), "{what}: too seldom in {reached:#?}");
        }
    }
}
