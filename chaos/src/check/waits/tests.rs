use serde_json::json;

use super::super::model::tests::{host, lease};
use super::super::testing::{Made, fires, incident, last, operation};
use super::*;
use crate::report::Verdict;

const S: u64 = 1_000_000_000;

/// Lease `a`, from second 100 to 200, as it waits until a second.
fn waiting(until: u64) -> Value {
    let mut one = lease("a", 100, 200, &[(1, 2)]);
    (one["status"], one["wait"]) = (json!("WAITING"), json!({"until": until, "first": 100, "since": 2}));
    one["reservations"][0]["bindings"] = json!([]);
    one
}

/// It waits from index 2 on, beside a host of four vCPUs.
fn made() -> Made {
    let mut made = Made::default();
    made.watch(1, json!({"host": host(1, 4)}));
    made.create(2, &waiting(100));
    made
}

/// At index 3 it is this, or gone, at a second of the ledger's clock.
fn then(mut made: Made, lease: Option<Value>, at_s: u64) -> Made {
    made.watch(3, lease.map_or(json!({"lease_removed": "a"}), |lease| json!({"lease": lease})));
    made.audit_at(3, 0, &[]);
    made.audit[0].clock_ms = (CALENDAR_UNIX_S + at_s) * 1_000;
    made
}

fn passes(made: Made) {
    let judgement = judge(&made.record());
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    assert!(judgement.looked_at > 0);
}

fn delete(ending: Ending) -> Made {
    let mut made = made();
    made.history.push(operation("delete", ending, Some(3), json!({"request": {"lease_id": "a"}})));
    made
}

#[test]
fn it_goes_when_its_time_is_over_or_it_is_deleted_and_else_it_fires() {
    passes(then(made(), None, 100));
    fires(judge, then(made(), None, 99), "nobody deleted it");
    passes(then(delete(Ending::Ok), None, 50));
    passes(then(delete(Ending::Info), None, 50));
    fires(judge, then(delete(Ending::Fail), None, 50), "nobody deleted it");
}

#[test]
fn it_is_promoted_as_it_was_asked_for_in_time_and_else_it_fires() {
    let booked = || lease("a", 100, 200, &[(1, 2)]);
    passes(then(made(), Some(booked()), 99));
    fires(judge, then(made(), Some(booked()), 100), "was promoted at index 3, second 100");
    fires(judge, then(made(), Some(lease("a", 100, 200, &[(1, 3)])), 99), "something else than it waited as");
    let mut less = booked();
    less["reservations"][0]["bindings"][0]["slots"] = json!(1);
    fires(judge, then(made(), Some(less), 99), "1 slots in main, 2 wanted");
    fires(judge, then(made(), Some(lease("a", 100, 200, &[(9, 2)])), 99), "host 9 of main is not there");
    // While the cloud is asked it has its hosts, and may wait again.
    let mut asked = booked();
    (asked["status"], asked["wait"]) = (json!("UPDATING"), waiting(100)["wait"].clone());
    let mut again = then(made(), Some(asked.clone()), 50);
    again.watch(4, json!({"lease": waiting(100)}));
    passes(again);
    let mut held = then(made(), Some(asked), 50);
    held.watch(4, json!({"lease": booked()}));
    passes(held);
}

#[test]
fn what_waits_has_nothing_and_waits_for_as_long_as_at_first() {
    let mut bound = waiting(100);
    bound["reservations"][0]["bindings"] = json!([{"phase": "main", "host": 1, "slots": 2}]);
    fires(judge, then(made(), Some(bound), 50), "something is booked");
    let mut begun = waiting(100);
    begun["reservations"][0]["stage"] = json!("prepared");
    fires(judge, then(made(), Some(begun), 50), "something is booked or done");
    fires(judge, then(made(), Some(waiting(101)), 50), "at index 3 until 101");
}

/// All is healed at second 10; beside what waits until a second, lease `b` has all or nothing. Looked at each second up to 70.
fn healed(until: u64, crowded: bool) -> Made {
    let mut made = made();
    made.watches[1].change = json!({"lease": waiting(until)});
    if crowded {
        made.watch(3, json!({"lease": lease("b", 0, 300, &[(1, 4)])}));
    }
    made.incidents = vec![incident(None, 10 * S, "phase", crate::sim::HEALED)];
    (40..=70).for_each(|at_s| made.audit_at(at_s, at_s * S, &[]));
    made
}

#[test]
fn who_has_room_is_booked_soon_once_everything_is_healed() {
    passes(healed(100, true));
    fires(judge, healed(100, false), "there is room for it since second 40");
    // Where an operator sets quotas it may be those.
    let mut limited = healed(100, false);
    limited.history.push(operation("set_quota", Ending::Ok, Some(2), json!({"request": {}})));
    passes(limited);
    // Each try that the cloud refuses is one.
    let mut refused = healed(100, false);
    let mut again = waiting(100);
    again["updated_at"] = json!(1);
    refused.watch(55, json!({"lease": again}));
    passes(refused);
    // And is tried again.
    let looked_until = |end_s: u64| {
        let mut made = healed(400, false);
        let mut again = waiting(400);
        again["updated_at"] = json!(1);
        made.watches[1].change = json!({"lease": again});
        (71..=end_s).for_each(|at_s| made.audit_at(at_s, at_s * S, &[]));
        made
    };
    passes(looked_until(220));
    fires(judge, looked_until(221), "there is room for it since second 40");
}

#[test]
fn whose_time_is_over_does_not_wait_any_more() {
    fires(judge, healed(50, true), "should have gone at 50");
    let at_rest = |until: u64| {
        let incidents = vec![incident(None, 300 * S, "phase", "drained")];
        Made { finals: vec![last(1, 5, &[waiting(until)])], incidents, ..Made::default() }
    };
    fires(judge, at_rest(289), "waits at rest");
    passes(at_rest(291));
}

#[test]
fn who_was_told_of_last_as_waiting_ended_so() {
    let record = made().record();
    assert!(ended_waiting(&record, "a") && !ended_waiting(&record, "b"));
    let promoted = then(made(), Some(lease("a", 100, 200, &[(1, 2)])), 50).record();
    assert!(!ended_waiting(&promoted, "a"));
}
