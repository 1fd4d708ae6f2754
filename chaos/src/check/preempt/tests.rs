use serde_json::json;

use super::super::model::CALENDAR_UNIX_S;
use super::super::model::tests::{host, lease};
use super::super::testing::{Made, fires};
use super::*;
use crate::report::Verdict;

/// Lease `a`, which may give way.
fn victim() -> Value {
    let mut one = lease("a", 100, 200, &[(1, 3)]);
    one["precedence"] = json!({"preemptible": true});
    one["reservations"][0]["stage"] = json!("prepared");
    one
}

/// The same after `b` took its room.
fn gave_way() -> Value {
    let mut one = victim();
    (one["status"], one["preempted"]) = (json!("ERROR"), json!({"at": 1, "by": "b", "cleaned": false}));
    one["reason"] = json!({"code": "PREEMPTED", "text": ""});
    (one["reservations"][0]["status"], one["reservations"][0]["stage"]) = (json!("deleted"), json!("ended"));
    one
}

/// Lease `b`, of three slots, which takes room.
fn taker() -> Value {
    let mut one = lease("b", 150, 250, &[(1, 3)]);
    one["precedence"] = json!({"priority": 1, "preempt": true});
    one
}

/// A host of four vCPUs, and at index 3, by a second of the ledger's clock, one for the other.
fn made(victim: &Value, gone: &Value, taker: &Value, at_s: u64) -> Made {
    let mut made = Made::default();
    made.watch(1, json!({"host": host(1, 4)}));
    made.create(2, victim);
    made.history[0].body["request"]["wish"]["precedence"] = victim["precedence"].clone();
    made.watch(3, json!({"lease": gone}));
    made.watch(3, json!({"lease": taker}));
    for index in [2, 3] {
        made.audit_at(index, index, &[]);
        made.audit.last_mut().expect("it was added").clock_ms = (CALENDAR_UNIX_S + at_s) * 1_000;
    }
    made
}

fn passes(made: Made) {
    let judgement = judge(&made.record());
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    assert!(judgement.looked_at > 0);
}

#[test]
fn one_that_allows_it_gives_way_in_time_and_else_it_fires() {
    passes(made(&victim(), &gave_way(), &taker(), 89));
    fires(judge, made(&victim(), &gave_way(), &taker(), 90), "began 100");
    let mut silent = gave_way();
    silent["reason"] = json!({"code": "CLOUD_REFUSED", "text": ""});
    fires(judge, made(&victim(), &silent, &taker(), 89), "says \"CLOUD_REFUSED\"");
    let mut unwilling = victim();
    unwilling["precedence"] = json!({"priority": 0});
    fires(judge, made(&unwilling, &gave_way(), &taker(), 50), "did not allow that");
    // It is the owner's word that counts, whatever the row says.
    let mut asked = made(&victim(), &gave_way(), &taker(), 50);
    asked.history[0].body["request"]["wish"]["precedence"] = Value::Null;
    fires(judge, asked, "did not allow that");
    let mut begun = victim();
    begun["reservations"][0]["stage"] = json!("open");
    fires(judge, made(&begun, &gave_way(), &taker(), 50), "gave way, was PENDING");
}

#[test]
fn who_takes_room_has_a_higher_priority_asked_for_it_and_needs_it_and_else_it_fires() {
    let mut equal = taker();
    equal["precedence"]["priority"] = json!(0);
    fires(judge, made(&victim(), &gave_way(), &equal, 50), "of priority 0 gave way to b of 0");
    let mut modest = taker();
    modest["precedence"]["preempt"] = json!(false);
    fires(judge, made(&victim(), &gave_way(), &modest, 50), "which asked for it: false");
    let other = lease("c", 150, 250, &[(1, 3)]);
    fires(judge, made(&victim(), &gave_way(), &other, 50), "which was not booked then");
    for (start, end, slots) in [(150, 250, 1), (200, 250, 3)] {
        let mut fits = lease("b", start, end, &[(1, slots)]);
        fits["precedence"] = taker()["precedence"].clone();
        fires(judge, made(&victim(), &gave_way(), &fits, 50), "for nothing");
    }
}

#[test]
fn what_gave_way_has_nothing_and_stays_so() {
    let mut left = gave_way();
    left["reservations"][0]["status"] = json!("pending");
    fires(judge, made(&victim(), &left, &taker(), 50), "with something left");
    let mut back = made(&victim(), &gave_way(), &taker(), 50);
    back.watch(4, json!({"lease": victim()}));
    fires(judge, back, "is back that gave way");
    let mut deleted = made(&victim(), &gave_way(), &taker(), 50);
    deleted.watch(4, json!({"lease": gave_way()}));
    deleted.watch(5, json!({"lease_removed": "a"}));
    passes(deleted);
}
