//! Moves that set hosts free: each does, none leads to moves without end, and all that was promised stays so.

use leasehold_ledger::plan::{Terms, plan_tighter, scattered};

use super::steps::{Update, plain_create, update};
use super::*;

const TERMS: Terms = Terms { lead_s: 60, gain_s: 60 };

impl Run {
    /// Minutes for which dedicated hosts are in use, counted minute by minute.
    fn host_minutes(&self) -> usize {
        let dedicated = self.world.state.hosts().filter(|host| host.description.pool == PoolKind::Dedicated);
        let busy =
            |host: &Host| self.minutes().filter(|minute| used(&self.world.state, host.id.0, *minute, None) != [0; 4]).count();
        dedicated.map(busy).sum()
    }

    /// Moves whoever may, until nobody can any more.
    fn tighten(&mut self) {
        let mut before = self.host_minutes();
        for _ in 0..100 {
            let (found, rest) = scattered(&self.world.state, self.world.at, TERMS, HostId(0), 10);
            assert_eq!(rest, None);
            let found = found.into_iter().find_map(|id| Some((id, plan_tighter(&self.world.state, self.world.at, TERMS, id)?)));
            let Some((lease_id, tighter)) = found else { return };
            let moves = tighter.planned.reservations.clone();
            self.world.send(None, Command::Rebind { lease_id, moves }).expect("it was just planned");
            let lease = self.world.state.lease(lease_id).unwrap();
            if let Some(promise) = self.promises.get_mut(&lease_id) {
                promise.main = main_of(&lease.reservations[0].bindings);
            }
            let after = self.host_minutes();
            assert_eq!((before - after) as u64 * 60, tighter.freed_s, "{lease:?}");
            before = after;
            self.reach("tightened");
            self.check_promises();
            self.check_calendar();
        }
        panic!("it never comes to rest");
    }
}

#[test]
fn every_move_sets_hosts_free_and_there_is_an_end_of_it() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut tightened = 0;
    let clock = (0u8..3).prop_map(|minutes| Step::Clock { minutes, seconds: 0 });
    let outcome = (any::<u8>(), 4u8..16, Just(false)).prop_map(|(row, how, old)| Step::Outcome { row, how, old });
    let delete = any::<u8>().prop_map(|lease| Step::Delete { lease });
    let update = update().prop_map(|update| {
        let amount = update.amount.map(|amount| 1 + amount % 2);
        Step::Update(Update { end: update.end.map(|end| end % 30), amount, vcpus: None, terms: None, now: false, ..update })
    });
    let observe = (1u8..3, prop::bool::weighted(0.7)).prop_map(|(host, up)| Step::Observe { host, firm: 0, up, traits: None });
    let create = (plain_create(), any::<bool>()).prop_map(|(create, staged)| {
        let staging = create.staging.filter(|_| staged);
        let (amount, vcpus) = (1 + create.amount % 2, 1);
        Step::Create(Create { staging, amount, vcpus, pool: Some(PoolKind::Dedicated), ..create })
    });
    let step = prop_oneof![12 => create, 2 => clock, 2 => outcome, 6 => delete, 2 => update, 1 => observe].boxed();
    for _ in 0..1_000 {
        let steps = prop::collection::vec(step.clone(), 4..20).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        for step in &steps {
            run.play(step);
            run.tighten();
        }
        tightened += run.reached.get("tightened").copied().unwrap_or(0);
    }
    assert!(tightened >= 50, "{tightened}");
}
