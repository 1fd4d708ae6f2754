//! Who gives way to whom: only those who may, and none of them for nothing; and who is refused could not be helped.

use leasehold_ledger::apply::apply;

use super::steps::plain_create;
use super::*;

/// What is drawn for one create.
fn precedence() -> impl Strategy<Value = Precedence> {
    let of = |priority, preemptible, preempt| Precedence { priority, preemptible, preempt };
    prop_oneof![
        4 => Just(Precedence::default()),
        4 => (0u8..2).prop_map(move |priority| of(priority, true, false)),
        3 => (1u8..4, any::<bool>()).prop_map(move |(priority, preemptible)| of(priority, preemptible, true)),
        1 => (1u8..4).prop_map(move |priority| of(priority, false, false)),
    ]
}

/// Why it takes room from nobody, whatever it asks for.
fn takes_nothing(wish: &InstanceWish) -> bool {
    wish.affinity.is_some() || wish.pool == Some(PoolKind::Shared)
}

impl Run {
    /// Leases that may give way to one of this priority, as rows say.
    fn may_give_way(&self, priority: u8) -> Vec<LeaseId> {
        let soon = self.world.at.max(self.world.state.clock()).0 / 1000 + 10;
        let begins = |lease: &Lease| {
            let staged = lease.reservations[0].staging.map(|staging| staging.window.start);
            staged.unwrap_or(lease.start).min(lease.start).timestamp().0 / 1000
        };
        let may = |lease: &&Lease| {
            lease.precedence.preemptible
                && lease.precedence.priority < priority
                && lease.status == LeaseStatus::Pending
                && begins(lease) > soon
        };
        self.world.state.leases().filter(may).map(|lease| lease.id).collect()
    }

    /// The state as if these leases had never been.
    fn without(&self, gone: &[LeaseId]) -> State {
        let mut state = self.world.state.clone();
        for lease_id in gone {
            let command = Command::DeleteLease { lease_id: *lease_id };
            apply(&mut state, &Entry { key: None, proposed_at: self.world.at, command }).outcome.unwrap();
        }
        state
    }

    /// Whether all of a wish fits on dedicated hosts, counted minute by minute.
    fn fits(state: &State, wish: &LeaseWish) -> bool {
        let one = &wish.reservations[0];
        let instance = InstanceWish { pool: Some(PoolKind::Dedicated), ..one.resource.instance().clone() };
        let StartWish::At(start) = wish.start else { panic!("the small world has no now") };
        let amount = i64::from(instance.amount);
        ANCHORS.into_iter().any(|anchor| {
            let staged = one.staging.is_none_or(|staging| {
                let (from, until) = (staging.start.unwrap().0, staging.end.unwrap().0 + staging.park_margin_s);
                largest(state, &instance, anchor, from, until, None) >= amount
            });
            staged && largest(state, &instance, anchor, start.0, wish.end.0, None) >= amount
        })
    }

    /// A plan takes room of others exactly when there is none otherwise, and of nobody for nothing.
    pub(super) fn judge_victims(&mut self, wish: &LeaseWish, planned: &Planned) {
        let may = self.may_give_way(wish.precedence.priority);
        let helps = || !takes_nothing(wish.reservations[0].resource.instance()) && Self::fits(&self.without(&may), wish);
        match planned {
            Ok(planned) => {
                let victims: Vec<LeaseId> = planned.victims.iter().map(|one| one.lease_id).collect();
                assert!(victims.iter().all(|id| may.contains(id)), "{victims:?} of {may:?}");
                for (place, victim) in victims.iter().enumerate() {
                    let mut others = victims.clone();
                    others.remove(place);
                    assert!(!Self::fits(&self.without(&others), wish), "{victim} gives way for nothing to {wish:?}");
                }
                if !victims.is_empty() {
                    self.reach(if victims.len() > 1 { "judged several victims" } else { "judged a victim" });
                }
            }
            Err(NoPlan::Rejected(_)) => {}
            Err(NoPlan::NoRoom(no_room)) if wish.precedence.preempt => {
                assert!(!helps(), "{may:?} could have given way to {wish:?}");
                assert_eq!(no_room.preempts.leases, []);
                self.reach("judged a refusal that nobody could help");
            }
            Err(NoPlan::NoRoom(no_room)) => {
                assert_eq!(no_room.preempts.leases.is_empty(), !helps(), "{may:?} and {wish:?}");
                assert!(no_room.preempts.leases.iter().all(|id| may.contains(id)));
                if !no_room.preempts.leases.is_empty() {
                    self.reach("told who would give way");
                }
            }
        }
    }

    /// What those show who gave way, and that they have nothing left.
    pub(super) fn gave_way(&mut self, victims: &[Victim], by: LeaseId) {
        for Victim { lease_id, .. } in victims {
            let lease = self.world.state.lease(*lease_id).unwrap();
            assert_eq!((lease.status, lease.reason.as_ref().unwrap().code), (LeaseStatus::Error, ReasonCode::Preempted));
            assert_eq!(lease.preempted.as_ref().map(|preempted| preempted.by), Some(by));
            assert!(lease.reservations.iter().all(|one| one.status == ReservationStatus::Deleted));
            let prepared = lease.reservations.iter().any(|one| one.stage == Stage::Ended);
            self.promises.remove(lease_id);
            self.reach(if prepared { "gave way when prepared" } else { "gave way" });
        }
    }
}

/// In a cloud that is nearly full of leases that give way to each other, at all stages up to their start.
#[test]
fn whoever_gives_way_may_and_must() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    let clock = (0u8..3).prop_map(|minutes| Step::Clock { minutes, seconds: 0 });
    let outcome = (any::<u8>(), any::<u8>(), Just(false)).prop_map(|(row, how, old)| Step::Outcome { row, how, old });
    let pool = prop_oneof![2 => Just(None), 3 => Just(Some(PoolKind::Dedicated))];
    let create = (plain_create(), pool, any::<bool>(), precedence()).prop_map(|(create, pool, staged, precedence)| {
        let staging = create.staging.filter(|_| staged);
        Step::Create(Create { pool, staging, precedence, ..create })
    });
    let archive = super::archive::archive().prop_map(Step::Archive);
    let step = prop_oneof![16 => create, 4 => clock, 4 => outcome, 1 => archive].boxed();
    for _ in 0..600 {
        let steps = prop::collection::vec(step.clone(), 10..40).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        steps.iter().for_each(|step| run.play(step));
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in [
        "gave way",
        "gave way when prepared",
        "judged a victim",
        "judged several victims",
        "judged a refusal that nobody could help",
        "told who would give way",
    ] {
        assert!(reached.get(what).is_some_and(|times| *times >= 20), "{what}: too seldom in {reached:#?}");
    }
    let left = reached.get("gave way and left memory").copied().unwrap_or(0);
    assert!(left >= 5, "too seldom gave way and left memory: {left}");
}
