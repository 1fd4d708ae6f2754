//! Random sequences of commands: no sequence breaks a promise, every refusal is justified, replicas agree.

mod archive;
mod changes;
mod cloud;
mod defragment;
mod downtimes;
mod expire;
mod offers;
mod preempt;
mod promises;
mod questions;
mod series;
mod steps;
mod together;
mod upgrades;

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::command::*;
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{NoPlan, Overlay, Tell, plan_create, plan_rebind, plan_update};
use leasehold_ledger::reply::{Rejection, Reply};
use leasehold_ledger::state::State;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use uuid::Uuid;

use crate::brute_force::{ANCHORS, largest, of_the_kind, room, taken, used};
use crate::world::{ORIGIN_S, World};
use promises::{Promise, main_of, need_of, promise_of};
use steps::{Create, Step, Update, step, traits};

/// Minutes from now on in which leases of the small world begin and end.
const HORIZON: u32 = 80;

/// Traits that hosts have and leases ask for.
const TRAITS: [&str; 2] = ["CUSTOM_FAST", "CUSTOM_OLD"];

type Planned = Result<leasehold_ledger::plan::Planned, NoPlan>;

struct Run {
    world: World,
    promises: BTreeMap<LeaseId, Promise>,
    /// Of an update that waits for its hold.
    next_promises: BTreeMap<LeaseId, Promise>,
    /// What happened how often.
    reached: BTreeMap<String, u32>,
}

fn key(number: u8) -> RequestKey {
    RequestKey {
        project_id: ProjectId("p".into()),
        id: Uuid::from_u128(1_000_000 + u128::from(number)),
        valid_until: Seconds(ORIGIN_S + 20 * 60).timestamp(),
    }
}

impl Run {
    fn new() -> Run {
        let mut world = World::new();
        let mut host = |name, pool, anchor, (vcpus, slots), zone: Option<&str>, has| {
            world.register_with(name, pool, anchor, vcpus, slots, zone.map(str::to_owned), traits(has));
        };
        host("d1", PoolKind::Dedicated, Anchor::Memory, (4, 8), Some("a"), 0b01);
        host("d2", PoolKind::Dedicated, Anchor::Memory, (6, 3), Some("b"), 0b00);
        host("s1", PoolKind::Shared, Anchor::Memory, (4, 8), Some("a"), 0b10);
        host("s2", PoolKind::Shared, Anchor::Memory, (5, 8), None, 0b11);
        host("s3", PoolKind::Shared, Anchor::Class, (4, 5), Some("b"), 0b01);
        Run { world, promises: BTreeMap::new(), next_promises: BTreeMap::new(), reached: BTreeMap::new() }
    }

    /// Whether the clock stands at the begin of a minute: only then does the brute force see every instant.
    fn on_the_minute(&self) -> bool {
        self.world.at.0.is_multiple_of(60_000)
    }

    /// The second that begins so many minutes after the current minute.
    fn minute(&self, after: u8) -> u32 {
        self.world.at.floor_to_minute().0 + u32::from(after) * 60
    }

    /// The minutes that matter, from the current one on.
    fn minutes(&self) -> impl Iterator<Item = u32> + use<> {
        let now = self.minute(0);
        (0..HORIZON).map(move |minute| now + minute * 60)
    }

    fn reach(&mut self, what: impl Into<String>) {
        *self.reached.entry(what.into()).or_default() += 1;
    }

    fn pick(&self, number: u8) -> Option<LeaseId> {
        let ids: Vec<LeaseId> = self.world.state.leases().map(|lease| lease.id).collect();
        (!ids.is_empty()).then(|| ids[usize::from(number) % ids.len()])
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Create(create) => self.create(create, None),
            Step::CreateByHand(create, plan) => self.create(create, Some(plan)),
            Step::Update(update) => {
                if let Some(id) = self.pick(update.lease) {
                    self.update(id, update);
                }
            }
            Step::Rebind { lease, avoid } => {
                if let Some(id) = self.pick(*lease) {
                    self.rebind(id, *avoid);
                }
            }
            Step::Delete { lease } => {
                if let Some(id) = self.pick(*lease)
                    && self.world.send(None, Command::DeleteLease { lease_id: id }).is_ok()
                {
                    self.reach("deleted");
                    self.promises.remove(&id);
                    self.next_promises.remove(&id);
                }
            }
            Step::Series(series) => self.create_series(series),
            Step::DeleteSeries { lease } => {
                if let Some(id) = self.pick(*lease) {
                    self.delete_series(id);
                }
            }
            Step::Claim { lease } => {
                if let Some(id) = self.pick(*lease) {
                    self.claim(id);
                }
            }
            Step::Withdraw { lease } => {
                if let Some(lease_id) = self.pick(*lease) {
                    let reason = Reason { code: ReasonCode::CloudRefused, text: "no".to_owned() };
                    if self.world.send(None, Command::WithdrawLease { lease_id, reason }).is_ok() {
                        self.reach("withdrawn");
                    }
                    self.next_promises.remove(&lease_id);
                }
            }
            Step::Group { lease, affinity, group } => {
                if let Some(id) = self.pick(*lease) {
                    self.group(id, *affinity, *group);
                }
            }
            Step::Clock { minutes, seconds } => {
                let ms = (u64::from(*minutes) * 60 + u64::from(*seconds)) * 1000;
                self.world.at = self.world.at.plus_ms(ms);
                let offers = self.unclaimed();
                let downtimes = |run: &Run| run.world.state.hosts().map(|host| host.downtimes.len()).sum::<usize>();
                let before = downtimes(self);
                let upgrades = |run: &Run| run.world.state.hosts().filter(|host| host.upgrade.is_some()).count();
                let planned = upgrades(self);
                self.world.send(None, Command::AdvanceClock).unwrap();
                for (id, expires_at) in offers {
                    let left = self.world.state.lease(id).is_some();
                    assert!(!left || expires_at.timestamp() > self.world.at, "offer {id} stands after {expires_at:?}");
                    if expires_at.timestamp() <= self.world.at {
                        self.reach("offer expired");
                    }
                }
                let now = self.world.at.floor_to_second();
                let over = |host: &Host| host.downtimes.iter().any(|one| one.interval.end <= now);
                assert!(!self.world.state.hosts().any(over), "what is over is dropped");
                if downtimes(self) < before {
                    self.reach("downtime over");
                }
                let is_due = |host: &Host| host.upgrade.is_some_and(|upgrade| upgrade.start <= now);
                assert!(!self.world.state.hosts().any(is_due), "what is to have come is dropped");
                if upgrades(self) < planned {
                    self.reach("upgrade due");
                }
                let due = self.world.state.next_due();
                assert!(due.is_none_or(|due| due > self.world.at), "what is due is done in one entry in a small world");
            }
            Step::Outcome { row, how, old } => self.outcome(*row, *how, *old),
            Step::Observe { host, firm, up, traits } => self.observe(*host, *firm, *up, *traits),
            Step::Forget { key: number } => {
                if self.world.send(Some(key(*number)), Command::ForgetKey) == Ok(Reply::KeyForgotten) {
                    self.reach("key forgotten");
                }
            }
            Step::Downtime(downtime) => self.set_downtime(downtime),
            Step::DropDowntime { host, id } => self.drop_downtime(*host, *id),
            Step::Upgrade(upgrade) => self.set_upgrade(upgrade),
            Step::DropUpgrade { host } => self.drop_upgrade(*host),
            Step::Arrive { host, vcpus } => self.arrive(*host, *vcpus),
            Step::Archive(what) => self.of_archive(*what),
            Step::Follow => self.world.install_follower(),
        }
        self.settle_promises();
        self.check_promises();
        self.check_calendar();
        self.check_downtimes();
        self.check_holds();
    }

    fn wish(&self, create: &Create) -> LeaseWish {
        let start = self.minute(create.start);
        let staging = create.staging.map(|(from, length, margin)| {
            let from = self.minute(from);
            StagingWish {
                start: Some(Seconds(from)),
                end: Some(Seconds(from + u32::from(length) * 60)),
                park_margin_s: u32::from(margin) * 60,
            }
        });
        let requirement =
            |value: u8| Requirement { key: "vcpus".to_owned(), comparison: Comparison::AtLeast, value: value.to_string() };
        let mut wish = InstanceWish {
            affinity: create.affinity,
            pool: create.pool,
            requirements: create.at_least.map(requirement).into_iter().collect(),
            ..InstanceWish::anywhere(u32::from(create.vcpus), 100, 1, u32::from(create.amount))
        };
        create.terms.put_on(&mut wish);
        LeaseWish {
            name: "n".to_owned(),
            project_id: ProjectId("p".into()),
            user_id: UserId("u".into()),
            start: StartWish::At(Seconds(start)),
            end: Seconds(start + u32::from(create.length) * 60),
            before_end: BeforeEndWish::SecondsBefore(120),
            ignore_quota: false,
            wait: None,
            precedence: self.precedence(create),
            expiry_s: create.expiry_s,
            // One that expires before it starts, after now.
            offer: create.offer.filter(|_| create.start > 0).map(|after| {
                let minutes = 1 + after % create.start;
                OfferWish::Until(Seconds(self.minute(minutes)))
            }),
            reservations: vec![ReservationWish {
                resource: ResourceWish::Instance(wish.into()),
                staging,
                on_end: if create.on_end { OnEnd::Shelve } else { OnEnd::Delete },
                servers: Default::default(),
            }],
        }
    }

    /// What is drawn, where it makes sense.
    fn precedence(&self, create: &Create) -> Precedence {
        let offered = create.offer.is_some() && create.start > 0;
        let takes = create.affinity.is_none() && create.pool != Some(PoolKind::Shared);
        let Precedence { priority, preemptible, preempt } = create.precedence;
        Precedence { priority, preemptible: preemptible && !offered, preempt: preempt && !offered && takes }
    }

    /// Where there is no room but later, the same wish with an open start: it moves to the start that was offered, and no less will do.
    fn open_start(&mut self, wish: LeaseWish, id: ReservationId, planned: Planned) -> (LeaseWish, Planned) {
        let (Err(NoPlan::NoRoom(no_room)), StartWish::At(from)) = (&planned, wish.start) else { return (wish, planned) };
        let Some(next) = no_room.next_start.filter(|_| !no_room.staging && wish.reservations[0].staging.is_none()) else {
            return (wish, planned);
        };
        let open = |latest| LeaseWish { start: StartWish::Earliest { from: Some(from), latest }, ..wish.clone() };
        let plan = |wish: &LeaseWish| plan_create(&self.world.state, &Overlay::default(), wish, &[id], self.world.at);
        assert!(matches!(plan(&open(next.minus(1))), Err(NoPlan::NoRoom(_))), "{next:?} is the first start of {wish:?}");
        let (wish, planned) = (open(next), plan(&open(next)));
        assert_eq!(planned.as_ref().map(|planned| planned.moved_to), Ok(Some(next)), "{wish:?}");
        self.reach("moved to the start that was offered");
        (wish, planned)
    }

    fn create(&mut self, create: &Create, by_hand: Option<&Vec<(u8, u8)>>) {
        let mut wish = self.wish(create);
        if let Some(plan) = by_hand.filter(|plan| !plan.is_empty()) {
            // Mostly of the right size, so that what decides is the room.
            wish.reservations[0].resource.instance_mut().amount =
                plan.iter().map(|(_, slots)| u32::from(*slots)).sum::<u32>().max(1);
        }
        let id = ReservationId(self.world.uuid());
        let mut planned = plan_create(&self.world.state, &Overlay::default(), &wish, &[id], self.world.at);
        if self.on_the_minute() {
            self.judge(&wish, &planned);
            self.judge_victims(&wish, &planned);
            if let Err(NoPlan::NoRoom(no_room)) = &planned {
                self.take_offers(&wish, no_room);
            }
            self.reach(match &planned {
                Ok(_) => "judged a plan",
                Err(NoPlan::NoRoom(no_room)) if no_room.staging => "judged a refusal for staging",
                Err(NoPlan::NoRoom(no_room)) if no_room.next_start.is_some() => "judged a refusal with an offer",
                Err(NoPlan::NoRoom(_)) => "judged a refusal without an offer",
                Err(NoPlan::Rejected(_)) => "judged a rejection",
            });
        }
        if by_hand.is_none() {
            (wish, planned) = self.open_start(wish, id, planned);
        }
        let moved_to = planned.as_ref().ok().and_then(|planned| planned.moved_to).filter(|_| by_hand.is_none());
        let victims = planned.as_ref().map(|planned| planned.victims.clone()).unwrap_or_default();
        let plan = match (by_hand, &planned) {
            (Some(plan), _) => {
                // Right for a plan by hand by chance only, and then nothing is wrong with it.
                let mut bindings: Vec<Binding> = plan
                    .iter()
                    .map(|(host, slots)| Binding { phase: Phase::Main, host: HostId(u64::from(*host)), slots: u32::from(*slots) })
                    .collect();
                bindings.sort_by_key(|one| one.host);
                vec![PlannedReservation { reservation_id: id, bindings }]
            }
            (None, Ok(planned)) => planned.reservations.clone(),
            (None, Err(_)) => return,
        };
        let promise = promise_of(&wish, moved_to, &plan[0].bindings);
        let (instance, bindings) = (wish.reservations[0].resource.instance().clone(), plan[0].bindings.clone());
        let lease_id = LeaseId(self.world.uuid());
        let command = Command::CreateLease(Box::new(CreateLease {
            wish,
            lease_id,
            event_ids: (0..6).map(|_| EventId(self.world.uuid())).collect(),
            plan,
            resource_ids: vec![self.world.uuid()],
            planned_at: self.world.state.ledger_index(),
            moved_to,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: false,
            asked: None,
            victims: victims.clone(),
        }));
        match self.world.send(create.key.map(key), command) {
            Ok(Reply::LeaseCreated { lease_id: created, .. }) if created == lease_id => {
                if promise.main.iter().any(|(host, _)| *host == 5) {
                    self.reach("created on the class of anchors");
                }
                self.check_taken(&promise);
                self.gave_way(&victims, lease_id);
                self.promises.insert(lease_id, promise);
                self.check_kind(&instance, &bindings, None);
                self.reach(if by_hand.is_some() { "created by hand" } else { "created" });
            }
            Ok(Reply::LeaseCreated { .. }) => assert!(create.key.is_some(), "only a key gives an old answer"),
            Ok(other) => assert!(create.key.is_some(), "{other:?}"),
            Err(rejection) => {
                self.reach(match rejection {
                    Rejection::PlanStale { ref problem, .. } if problem.contains("anchors") => "plan with two anchors",
                    Rejection::PlanStale { ref problem, .. } if problem.contains("another zone") => "plan for another zone",
                    Rejection::PlanStale { ref problem, .. } if problem.contains("lacks a required") => "plan without the trait",
                    Rejection::PlanStale { ref problem, .. } if problem.contains("forbidden") => "plan with a forbidden trait",
                    Rejection::PlanStale { .. } => "plan stale",
                    Rejection::KeyForgotten => "forgotten key refused",
                    Rejection::RequestIdReused => "key reused",
                    Rejection::KeyExpired => "key expired",
                    _ => "create refused otherwise",
                });
                assert!(by_hand.is_some() || create.key.is_some(), "a plan that was just made was refused: {rejection:?}");
            }
        }
    }
}

/// A random test that never reaches something proves nothing about it.
#[test]
fn random_sequences_reach_everything_that_matters() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2500 {
        let steps = prop::collection::vec(step(), 20..60).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        for (seed, step) in (0..).zip(&steps) {
            run.play(step);
            run.check_questions(seed);
        }
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in [
        "created",
        "created by hand",
        "plan stale",
        "plan for another zone",
        "plan without the trait",
        "plan with a forbidden trait",
        "moved to another zone",
        "plan with two anchors",
        "created on the class of anchors",
        "deleted",
        "withdrawn",
        "series booked",
        "series refused",
        "smaller series named",
        "later series named",
        "first start of a series named",
        "series with something left out",
        "series withdrawn as a whole",
        "lease left out by the cloud",
        "series promised by the cloud",
        "series deleted in part",
        "claimed",
        "claimed again",
        "offer expired",
        "group taken",
        "group refused",
        "rebound",
        "overcommitted",
        "key forgotten",
        "forgotten key refused",
        "key reused",
        "judged a plan",
        "judged a refusal with an offer",
        "judged a refusal without an offer",
        "judged a refusal for staging",
        "whole hosts at once",
        "whole hosts later or never",
        "took the largest amount",
        "took the next start",
        "named VCPU",
        "named SLOT",
        "judged a refused update",
        "fewer after all",
        "changed later",
        "Held of Hold",
        "HoldRefused of Hold",
        "Done of Prepare",
        "Done of StagingOpen",
        "Done of StagingClose",
        "Done of Start",
        "Done of Adjust",
        "Done of End",
        "Used of Expire",
        "Failed of Start",
        "Failed of End",
        "Done of Start too late",
        "fits at once",
        "fits later or never",
        "capacity in pieces",
        "downtime set",
        "downtime replaced",
        "downtime dropped",
        "downtime over",
        "short because of a downtime",
        "moved away from a downtime",
        "booked beside a downtime",
        "upgrade set",
        "upgrade replaced",
        "upgrade dropped",
        "upgrade due",
        "upgrade came early",
        "promised beyond what there is yet",
        "left memory",
        "failed and left memory",
        "parked servers and left memory",
        "series deleted after a lease of it left memory",
        "came back to memory",
        "deleted out of memory",
    ] {
        assert!(reached.get(what).is_some_and(|times| *times >= 3), "{what}: too seldom in {reached:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_breaks_a_promise(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        for step in &steps {
            run.play(step);
        }
        run.world.check_replicas();
    }
}
