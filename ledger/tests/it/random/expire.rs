//! What nobody uses: leases that last long enough to be counted, at all stages of it.

use super::steps::{Update, plain_create, update};
use super::*;

/// What is in use is kept, and no more is given back than what is not; the checks after each step see to the promises.
#[test]
fn what_is_in_use_is_kept_whatever_comes_in_between() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    let clock = (0u8..3).prop_map(|minutes| Step::Clock { minutes, seconds: 0 });
    let outcome = (any::<u8>(), any::<u8>(), prop::bool::weighted(0.1));
    let outcome = outcome.prop_map(|(row, how, old)| Step::Outcome { row, how, old });
    let create = (plain_create(), 0u8..2, 6u8..16, 1u32..3).prop_map(|(create, start, length, minutes)| {
        Step::Create(Create { start, length, staging: None, expiry_s: Some(60 * minutes), ..create })
    });
    let update = update().prop_map(|update| {
        let end = update.end.map(|end| end % 30);
        Step::Update(Update { start: None, end, vcpus: None, terms: None, now: false, ..update })
    });
    let step = prop_oneof![2 => create, 8 => clock, 10 => outcome, 2 => update].boxed();
    for _ in 0..400 {
        let steps = prop::collection::vec(step.clone(), 20..60).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        steps.iter().for_each(|step| run.play(step));
        for (what, times) in run.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    for what in ["Used of Expire", "Failed of Expire", "nothing in use", "some in use", "all in use", "counted anew"] {
        assert!(reached.get(what).is_some_and(|times| *times >= 20), "{what}: too seldom in {reached:#?}");
    }
}
