//! Quota against brute force: hour by hour, what projects have in a small world, and whether each refusal and each acceptance
//! is right.

use std::collections::BTreeMap;

use leasehold_ledger::command::*;
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{NoPlan, Overlay, Tell, plan_create, plan_update};
use leasehold_ledger::reply::Rejection;
use proptest::prelude::*;

use crate::world::World;

mod instead;

const HOUR_S: u32 = 3600;
/// Hours of the small world from its begin on: leases lie within.
const HOURS: usize = 120;

#[derive(Clone, Debug)]
enum Step {
    Create { project: bool, start: u8, length: u8, amount: u8, vcpus: u8, staged: bool },
    Update { lease: u8, start: Option<u8>, end: u8, amount: u8 },
    Delete { lease: u8 },
    Hours(u8),
    Set { project: Option<bool>, kind: u8, max: Option<u8> },
    Unset { project: Option<bool>, kind: u8 },
    Follow,
}

fn step() -> impl Strategy<Value = Step> {
    let whose = || prop_oneof![Just(None), any::<bool>().prop_map(Some)];
    prop_oneof![
        6 => (any::<bool>(), 0u8..40, 1u8..30, 1u8..5, 1u8..4, any::<bool>())
            .prop_map(|(project, start, length, amount, vcpus, staged)| Step::Create { project, start, length, amount, vcpus, staged }),
        4 => (any::<u8>(), prop_oneof![Just(None), (0u8..40).prop_map(Some)], 1u8..60, 1u8..6)
            .prop_map(|(lease, start, end, amount)| Step::Update { lease, start, end, amount }),
        2 => any::<u8>().prop_map(|lease| Step::Delete { lease }),
        3 => (1u8..9).prop_map(Step::Hours),
        3 => (whose(), 0u8..6, prop_oneof![4 => (0u8..12).prop_map(Some), 1 => Just(None)])
            .prop_map(|(project, kind, max)| Step::Set { project, kind, max }),
        1 => (whose(), 0u8..6).prop_map(|(project, kind)| Step::Unset { project, kind }),
        1 => Just(Step::Follow),
    ]
}

/// Instances and vCPUs, hour by hour.
type Use = Vec<(u32, u32)>;

struct Run {
    world: World,
    /// First hour of the world, of the calendar.
    origin: u32,
    now: usize,
    /// What each lease has, by lease.
    has: BTreeMap<LeaseId, (ProjectId, Use)>,
    /// What each project had in hours that are over.
    had: BTreeMap<ProjectId, Use>,
    limits: BTreeMap<Option<ProjectId>, Limits>,
    reached: BTreeMap<&'static str, u32>,
}

fn project(second: bool) -> ProjectId {
    ProjectId(if second { "q" } else { "p" }.into())
}

const KINDS: [LimitKind; 6] = [
    LimitKind::Slots,
    LimitKind::Vcpus,
    LimitKind::VcpuHours,
    LimitKind::StartAheadS,
    LimitKind::EndAheadS,
    LimitKind::DurationS,
];

impl Run {
    fn new() -> Run {
        let mut world = World::new();
        // Room for everything: only quotas refuse.
        world.register("h1", PoolKind::Dedicated, 100_000, 100_000);
        // At the begin of a day, so that hours of the world and periods of a day agree.
        let now = world.at.floor_to_second().0;
        let origin = (now / 86_400 + 1) * 24;
        world.at = Seconds(origin * HOUR_S).timestamp();
        let (has, had) = (BTreeMap::new(), BTreeMap::new());
        Run { world, origin, now: 0, has, had, limits: BTreeMap::new(), reached: BTreeMap::new() }
    }

    fn at(&self, hour: usize) -> Seconds {
        Seconds((self.origin + u32::try_from(hour).unwrap()) * HOUR_S)
    }

    fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    fn limit(&self, project: &ProjectId, kind: LimitKind) -> Option<u64> {
        let set = |of: Option<ProjectId>| self.limits.get(&of).and_then(|limits| limits.get(&kind)).copied();
        match set(Some(project.clone())).or_else(|| set(None)) {
            Some(Limit::Max(max)) => Some(u64::from(max)),
            _ => None,
        }
    }

    fn others(&self, project: &ProjectId, but: Option<LeaseId>, hour: usize) -> (u32, u32) {
        let of = self.has.iter().filter(|(id, (owner, _))| owner == project && Some(**id) != but);
        of.fold((0, 0), |sum, (_, (_, used))| (sum.0 + used[hour].0, sum.1 + used[hour].1))
    }

    /// Which kind a lease goes beyond, by the rule itself: looked at hour by hour.
    fn beyond(&self, project: &ProjectId, id: Option<LeaseId>, old: &Use, new: &Use, at: [Option<u64>; 3]) -> Option<LimitKind> {
        for (kind, wanted) in [LimitKind::StartAheadS, LimitKind::EndAheadS, LimitKind::DurationS].into_iter().zip(at) {
            if wanted.is_some_and(|wanted| self.limit(project, kind).is_some_and(|limit| wanted > limit)) {
                return Some(kind);
            }
        }
        for (kind, of) in [(LimitKind::Slots, (|one| one.0) as fn((u32, u32)) -> u32), (LimitKind::Vcpus, |one| one.1)] {
            let Some(limit) = self.limit(project, kind) else { continue };
            let over = |hour: usize| {
                of(new[hour]) > of(old[hour]) && u64::from(of(self.others(project, id, hour)) + of(new[hour])) > limit
            };
            if (self.now..HOURS).any(over) {
                return Some(kind);
            }
        }
        let limit = self.limit(project, LimitKind::VcpuHours)?;
        let sum = |used: &Use, day: usize| {
            (day * 24..(day + 1) * 24).filter(|hour| *hour >= self.now).map(|hour| u64::from(used[hour].1)).sum::<u64>()
        };
        for day in self.now / 24..HOURS / 24 {
            let others: u64 = (day * 24..(day + 1) * 24)
                .map(|hour| match hour < self.now {
                    true => self.had.get(project).map_or(0, |had| u64::from(had[hour].1)),
                    false => u64::from(self.others(project, id, hour).1),
                })
                .sum();
            if sum(new, day) > sum(old, day) && others + sum(new, day) > limit {
                return Some(LimitKind::VcpuHours);
            }
        }
        None
    }

    fn judge(&mut self, expected: Option<LimitKind>, planned: Option<&Rejection>, applied: Option<&Rejection>) {
        for found in [planned, applied] {
            match (expected, found) {
                (None, None) => {}
                (Some(kind), Some(Rejection::QuotaExceeded(excess))) => {
                    assert_eq!(excess.kind, kind);
                    let wanted = excess.wanted.unwrap();
                    assert!(wanted > excess.fits, "{excess:?}");
                    assert!(excess.used + excess.fits <= u64::from(excess.limit).max(excess.used), "{excess:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        self.reach(expected.map_or("granted", LimitKind::as_str));
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Create { project: second, start, length, amount, vcpus, staged } => {
                self.create(project(second), start, length, amount, vcpus, staged);
            }
            Step::Update { lease, start, end, amount } => self.update(lease, start, end, amount),
            Step::Delete { lease } => {
                if let Some(id) = self.pick(lease)
                    && self.world.send(None, Command::DeleteLease { lease_id: id }).is_ok()
                {
                    self.has.remove(&id);
                    self.reach("deleted");
                }
            }
            Step::Hours(hours) => (0..hours).for_each(|_| self.pass_an_hour()),
            Step::Set { project: whose, kind, max } => {
                let kind = KINDS[usize::from(kind)];
                let unit = match kind {
                    LimitKind::Slots | LimitKind::Vcpus => 1,
                    LimitKind::VcpuHours => 12,
                    _ => 4 * HOUR_S,
                };
                let limit = max.map_or(Limit::Unlimited, |max| Limit::Max(u32::from(max) * unit));
                self.set(whose.map(project), [(kind, limit)].into(), None);
            }
            Step::Unset { project: whose, kind } => self.set(whose.map(project), Limits::new(), Some(KINDS[usize::from(kind)])),
            Step::Follow => self.world.install_follower(),
        }
        // Whatever is owed to the cloud is done at once.
        loop {
            let Some(row) = self.world.state.actuations().next().cloned() else { break };
            let outcome = if row.step == leasehold_ledger::model::Step::Hold {
                Outcome::Held { server_group_id: None }
            } else {
                Outcome::Done
            };
            let command = Command::RecordOutcome { actuation_id: row.id, revision: row.revision, outcome };
            self.world.send(None, command).unwrap();
        }
    }

    fn set(&mut self, whose: Option<ProjectId>, set: Limits, unset: Option<LimitKind>) {
        let unset = unset.into_iter().collect();
        let limits = self.limits.entry(whose.clone()).or_default();
        limits.extend(set.clone());
        limits.retain(|kind, _| !std::collections::BTreeSet::contains(&unset, kind));
        // The period is a day throughout, as is counted here.
        self.world.send(None, Command::SetQuota { project_id: whose, set, unset }).unwrap();
    }

    fn pass_an_hour(&mut self) {
        if self.now + 70 >= HOURS {
            return;
        }
        for second in [false, true] {
            let project = project(second);
            let had = self.others(&project, None, self.now);
            self.had.entry(project).or_insert_with(|| vec![(0, 0); HOURS])[self.now] = had;
        }
        self.now += 1;
        self.world.at = self.at(self.now).timestamp();
        while self.world.state.next_due().is_some_and(|due| due <= self.world.at) {
            self.world.send(None, Command::AdvanceClock).unwrap();
        }
    }

    fn pick(&self, number: u8) -> Option<LeaseId> {
        let ids: Vec<LeaseId> = self.has.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[usize::from(number) % ids.len()])
    }

    fn create(&mut self, project: ProjectId, start: u8, length: u8, amount: u8, vcpus: u8, staged: bool) {
        let (from, amount, vcpus) = (self.now + usize::from(start), u32::from(amount), u32::from(vcpus));
        let until = from + usize::from(length);
        // An hour, and an hour to park, with the hour before the start left free.
        let staging = (staged && start >= 3).then(|| StagingWish {
            start: Some(self.at(from - 3)),
            end: Some(self.at(from - 2)),
            park_margin_s: HOUR_S,
        });
        let mut used = vec![(0, 0); HOURS];
        let hours = (from..until).chain(if staging.is_some() { from - 3..from - 1 } else { 0..0 });
        hours.for_each(|hour| used[hour] = (amount, amount * vcpus));
        let wish = LeaseWish {
            name: "n".to_owned(),
            project_id: project.clone(),
            user_id: UserId("u".into()),
            start: StartWish::At(self.at(from)),
            end: self.at(until),
            before_end: BeforeEndWish::Never,
            offer: None,
            wait: None,
            precedence: Default::default(),
            expiry_s: None,
            ignore_quota: false,
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(InstanceWish::anywhere(vcpus, 1, 0, amount).into()),
                staging,
                on_end: OnEnd::Delete,
                servers: Default::default(),
            }],
        };
        let seconds = |hours: u8| Some(u64::from(hours) * u64::from(HOUR_S));
        let at = [seconds(start), seconds(start + length), seconds(length)];
        let expected = self.beyond(&project, None, &vec![(0, 0); HOURS], &used, at);
        let id = ReservationId(self.world.uuid());
        let planned = match plan_create(&self.world.state, &Overlay::default(), &wish, &[id], self.world.at) {
            Ok(_) => None,
            Err(NoPlan::Rejected(rejection)) => Some(rejection),
            Err(NoPlan::NoRoom(no_room)) => {
                self.judge_instead(&wish, &no_room);
                Some(Rejection::QuotaExceeded(no_room.quota.unwrap()))
            }
        };
        let bound = |phase| Binding { phase, host: HostId(1), slots: amount };
        let bindings = staging.iter().map(|_| bound(Phase::Staging)).chain([bound(Phase::Main)]).collect();
        let lease_id = LeaseId(self.world.uuid());
        let command = Command::CreateLease(Box::new(CreateLease {
            wish,
            lease_id,
            event_ids: (0..6).map(|_| EventId(self.world.uuid())).collect(),
            plan: vec![PlannedReservation { reservation_id: id, bindings }],
            resource_ids: vec![self.world.uuid()],
            planned_at: self.world.state.ledger_index(),
            moved_to: None,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: false,
            asked: None,
            victims: Vec::new(),
        }));
        let applied = self.world.send(None, command);
        self.judge(expected, planned.as_ref(), applied.as_ref().err());
        if applied.is_ok() {
            self.has.insert(lease_id, (project, used));
            // What starts now is open before anything else happens.
            while self.world.state.next_due().is_some_and(|due| due <= self.world.at) {
                self.world.send(None, Command::AdvanceClock).unwrap();
            }
        }
    }

    fn update(&mut self, number: u8, start: Option<u8>, end: u8, amount: u8) {
        let Some(id) = self.pick(number) else { return };
        let lease = self.world.state.lease(id).unwrap().clone();
        let reservation = &lease.reservations[0];
        let (amount, until) = (u32::from(amount), self.now + usize::from(end));
        // A staging window that is over stays as it was: left to the tests by script.
        let settled = matches!(lease.status, LeaseStatus::Pending | LeaseStatus::Active);
        // What is to begin is moved to an hour that is to come.
        let moved =
            start.filter(|_| lease.status == LeaseStatus::Pending).map(|start| self.at(self.now + 1 + usize::from(start)));
        let begins = moved.unwrap_or(lease.start);
        if !settled || reservation.staging.is_some() || self.at(until) <= begins || lease.end <= self.at(self.now) {
            return;
        }
        let (project, old) = self.has[&id].clone();
        let mut resource = reservation.wish.clone();
        resource.instance_mut().amount = amount;
        let vcpus = resource.instance().vcpus;
        let mut new = vec![(0, 0); HOURS];
        for (hour, used) in new.iter_mut().enumerate().take(until) {
            if self.at(hour) >= begins {
                *used = (amount, amount * vcpus);
            }
        }
        let (later, ahead) = (self.at(until) > lease.end, u64::from(self.at(until).0 - self.at(self.now).0));
        let lasts = self.at(until).0 - begins.0;
        let longer = (lasts > lease.end.0 - lease.start.0).then_some(u64::from(lasts));
        let start_ahead = (begins > lease.start).then(|| u64::from(begins.0 - self.at(self.now).0));
        let expected = self.beyond(&project, Some(id), &old, &new, [start_ahead, later.then_some(ahead), longer]);
        let change = LeaseChange {
            start: moved.map(StartWish::At),
            end: Some(EndWish::At(self.at(until))),
            reservations: vec![ReservationChange { reservation_id: reservation.id, resource, on_end: None }],
            ..LeaseChange::default()
        };
        let (planned, plan) =
            match plan_update(&self.world.state, &Overlay::default(), id, &change, self.world.at, Tell::WhatFits) {
                Ok(planned) => (None, planned.map(|planned| planned.reservations).unwrap_or_default()),
                Err(refused) => {
                    let rejection = match refused {
                        NoPlan::Rejected(rejection) => rejection,
                        NoPlan::NoRoom(no_room) => {
                            self.judge_instead_of_change(&lease, &change, &no_room);
                            Rejection::QuotaExceeded(no_room.quota.unwrap())
                        }
                    };
                    let bindings = vec![Binding { phase: Phase::Main, host: HostId(1), slots: amount }];
                    (Some(rejection), vec![PlannedReservation { reservation_id: reservation.id, bindings }])
                }
            };
        let planned_at = self.world.state.ledger_index();
        let update = UpdateLease { lease_id: id, change, plan, planned_at, caller_makes_groups: false };
        let applied = self.world.send(None, Command::UpdateLease(Box::new(update)));
        self.judge(expected, planned.as_ref(), applied.as_ref().err());
        if applied.is_ok() {
            self.reach("changed");
            self.has.insert(id, (project, new));
        }
    }
}

fn run(steps: &[Step]) -> BTreeMap<&'static str, u32> {
    let mut run = Run::new();
    let day: Limits = [(LimitKind::PeriodS, Limit::Max(86_400)), (LimitKind::VcpuHours, Limit::Max(1_000_000))].into();
    // Counted from the begin on, so that what was used is known whenever a real limit is set.
    run.set(None, day.clone(), None);
    for whose in [false, true] {
        run.set(Some(project(whose)), day.clone(), None);
    }
    for step in steps {
        // A budget that is taken back forgets what was used: another test.
        let forgets = matches!(step, Step::Unset { kind: 2, .. } | Step::Set { kind: 2, max: None, .. });
        if !forgets {
            run.play(step);
        }
    }
    run.reached
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn quotas_are_what_hour_by_hour_says(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}

#[test]
fn every_limit_refuses_and_grants_in_some_random_world() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<&'static str, u32> = BTreeMap::new();
    for _ in 0..400 {
        let steps = prop::collection::vec(step(), 40..60).new_tree(&mut runner).unwrap().current();
        run(&steps).into_iter().for_each(|(what, times)| *reached.entry(what).or_default() += times);
    }
    let named = [
        "next start",
        "next start within an hour",
        "no next start",
        "fewer",
        "none",
        "latest end",
        "next start of a change",
        "open start of a staged lease",
    ];
    for what in ["granted", "changed", "deleted"].into_iter().chain(named).chain(KINDS.map(LimitKind::as_str)) {
        assert!(reached.get(what).is_some_and(|times| *times >= 10), "{what} too seldom: {reached:?}");
    }
}
