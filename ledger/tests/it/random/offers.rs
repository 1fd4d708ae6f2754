//! What a refusal offers instead works when it is taken at once, and what it names is what binds.

use leasehold_ledger::apply::apply;
use leasehold_ledger::plan::NoRoom;

use super::steps::plain_create;
use super::*;
use crate::brute_force::suits;

impl Run {
    /// Takes each offer of a refusal, on a copy of the state.
    pub(super) fn take_offers(&mut self, wish: &LeaseWish, no_room: &NoRoom) {
        let one = &wish.reservations[0];
        if no_room.largest_amount > 0 {
            let mut fewer = wish.clone();
            fewer.reservations[0].resource.instance_mut().amount = no_room.largest_amount;
            self.take(&fewer, "took the largest amount");
        }
        if let Some(start) = no_room.next_start {
            let mut later = wish.clone();
            if no_room.staging {
                let mut staging = one.staging.unwrap();
                let length = staging.end.unwrap().0 - staging.start.unwrap().0;
                staging = StagingWish { start: Some(start), end: Some(start.plus(length)), ..staging };
                later.reservations[0].staging = Some(staging);
                self.take(&later, "took the next staging window");
            } else {
                let StartWish::At(wanted) = wish.start else { panic!("the small world has no now") };
                later = LeaseWish { start: StartWish::At(start), end: start.plus(wish.end.0 - wanted.0), ..later };
                self.take(&later, "took the next start");
            }
        }
        if !no_room.staging {
            self.check_tightest(wish, no_room);
        }
    }

    fn take(&mut self, wish: &LeaseWish, what: &str) {
        let mut state = self.world.state.clone();
        let id = ReservationId(Uuid::from_u128(u128::MAX));
        let planned = plan_create(&state, &Overlay::default(), wish, &[id], self.world.at);
        let planned = planned.unwrap_or_else(|refused| panic!("{what}: {refused:?} for {wish:?}"));
        let number = |number: u128| Uuid::from_u128(u128::MAX - number);
        let command = Command::CreateLease(Box::new(CreateLease {
            wish: wish.clone(),
            lease_id: LeaseId(number(1)),
            event_ids: (2..8).map(|one| EventId(number(one))).collect(),
            plan: planned.reservations,
            resource_ids: vec![number(9)],
            planned_at: planned.planned_at,
            moved_to: None,
            adoptions: Default::default(),
            caller_makes_groups: false,
            waits: false,
            asked: None,
            victims: Vec::new(),
        }));
        let applied = apply(&mut state, &Entry { key: None, proposed_at: self.world.at, command });
        assert!(matches!(applied.outcome, Ok(Reply::LeaseCreated { .. })), "{what}: {:?} for {wish:?}", applied.outcome);
        self.reach(what);
    }

    /// The class that is named is the one of which, counted minute by minute, most hosts of the kind have the fewest slots left, among
    /// hosts of one kind of anchor.
    fn check_tightest(&mut self, wish: &LeaseWish, no_room: &NoRoom) {
        let (instance, state) = (wish.reservations[0].resource.instance(), &self.world.state);
        let StartWish::At(start) = wish.start else { panic!("the small world has no now") };
        let need = need_of(instance);
        let mut by_anchor = ANCHORS.map(|anchor| (anchor, [0; 4]));
        for host in state.hosts().filter(|host| suits(host, instance)) {
            let mut least = [i64::MAX; 4];
            for second in (start.0..wish.end.0).step_by(60) {
                let (have, used) = (room(host, second), taken(state, host, second, None));
                least = std::array::from_fn(|class| least[class].min(have[class] - used[class]));
            }
            let left = |class: usize| least[class].max(0) / need[class];
            if let Some(class) = (0..4).filter(|class| need[*class] > 0).min_by_key(|class| left(*class)) {
                let of_anchor = by_anchor.iter_mut().find(|(anchor, _)| *anchor == host.description.anchor);
                of_anchor.unwrap().1[class] += 1;
            }
        }
        match no_room.tightest {
            None => assert!(
                by_anchor.iter().all(|(_, binding)| *binding == [0; 4]),
                "{by_anchor:?} bind, none was named for {wish:?}"
            ),
            Some(class) => {
                let place = Class::ALL.iter().position(|one| *one == class).unwrap();
                let binds = |binding: &[i32; 4]| binding[place] > 0 && Some(&binding[place]) == binding.iter().max();
                let some = by_anchor.iter().any(|(_, binding)| binds(binding));
                assert!(some, "{class:?} was named, {by_anchor:?} bind for {wish:?}");
                self.reach(format!("named {}", class.name()));
            }
        }
    }
}

/// In a cloud that is nearly full, of leases of which something else would fit.
#[test]
fn what_is_offered_in_place_of_what_is_refused_works() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        let creates = prop::collection::vec(plain_create(), 5..25).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        creates.iter().for_each(|create| run.create(create, None));
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in ["took the largest amount", "took the next start", "took the next staging window"] {
        assert!(reached.get(what).is_some_and(|times| *times >= 20), "{what}: too seldom in {reached:#?}");
    }
}
