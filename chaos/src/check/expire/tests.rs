use serde_json::json;

use super::super::model::tests::{host, lease, wish};
use super::super::testing::{Made, fires, incident, line};
use super::*;
use crate::plan::{Plan, Planned};
use crate::record::CloudLine;
use crate::report::Verdict;

const S: u64 = 1_000_000_000;
const CLASS: &str = "CUSTOM_RESERVATION_R_A";

/// Lease `a` of three slots, active from second 10 to 200, that expires at second 70.
fn active(expiry: Value, event: &str) -> Value {
    let mut one = lease("a", 10, 200, &[(1, 3)]);
    (one["status"], one["expiry_s"]) = (json!("ACTIVE"), json!(60));
    let due = json!({"kind": "expiry", "time": 70, "status": event});
    one["events"].as_array_mut().expect("a list").push(due);
    let reservation = &mut one["reservations"][0];
    (reservation["status"], reservation["stage"], reservation["expiry"]) = (json!("active"), json!("open"), expiry);
    one
}

/// It keeps so many slots.
fn keeps(slots: u64) -> Value {
    let mut one = active(json!({"counted": {"at": 1, "released": 3 - slots}}), "DONE");
    let reservation = &mut one["reservations"][0];
    reservation["wish"] = wish(slots);
    reservation["bindings"] = json!([{"phase": "main", "host": 1, "slots": slots}]);
    if slots < 3 {
        reservation["releasing"] = json!([{"phase": "main", "host": 1, "slots": 3 - slots}]);
        one["reason"] = json!({"code": "EXPIRED", "text": ""});
    }
    one
}

/// It ends, as nothing is in use.
fn ends() -> Value {
    let mut one = active(json!({"counted": {"at": 1, "released": 3}}), "DONE");
    (one["status"], one["end"]) = (json!("TERMINATING"), json!(71));
    one["reason"] = json!({"code": "EXPIRED", "text": ""});
    let reservation = &mut one["reservations"][0];
    (reservation["stage"], reservation["booked_end"]) = (json!("ended"), json!(200));
    one
}

/// Tokens of the lease on host h: so many are open.
fn tokens(n: u64, at_ms: u64, open: u64) -> CloudLine {
    line(n, at_ms, "inventory.set", "rsv", json!({"class": CLASS, "total": 3, "reserved": 3 - open}))
}

fn has_token(n: u64, at_ms: u64, server: &str) -> CloudLine {
    line(n, at_ms, "allocation.set", server, json!({"consumer_type": "INSTANCE", "allocations": {"rsv": {CLASS: 1}}}))
}

fn is(n: u64, at_ms: u64, server: &str, what: &str, status: &str) -> CloudLine {
    line(n, at_ms, what, server, json!({"flavor_id": "r-a", "status": status}))
}

/// Of three tokens one is used by a server since second 20, and all are closed from a millisecond on.
fn used(closed_ms: u64) -> Vec<CloudLine> {
    vec![tokens(1, 10_000, 3), has_token(2, 20_000, "s"), is(3, 20_100, "s", "server.active", "ACTIVE"), tokens(4, closed_ms, 0)]
}

/// The lease is counted from second 70.2 to 71.
fn made(then: &Value, cloud: Vec<CloudLine>) -> Made {
    let mut made = Made { cloud, ..Made::default() };
    let mut on = host(1, 4);
    on["description"]["hypervisor_hostname"] = json!("h");
    made.watch(1, json!({"host": on}));
    made.create(2, &lease("a", 10, 200, &[(1, 3)]));
    made.watch(3, json!({"lease": active(Value::Null, "UNDONE")}));
    made.watch(4, json!({"lease": active(json!("counting"), "IN_PROGRESS")}));
    made.watch(5, json!({"lease": then}));
    for (index, at_ms) in [(1, 0), (2, 1_000), (3, 10_500), (4, 70_200), (5, 71_000)] {
        seen(&mut made, index, at_ms);
    }
    let before = &mut made.watches[1].change["lease"];
    before["expiry_s"] = json!(60);
    made
}

fn seen(made: &mut Made, index: u64, at_ms: u64) {
    made.audit_at(index, at_ms * 1_000_000, &[]);
    made.audit.last_mut().expect("it was added").clock_ms = CALENDAR_UNIX_S * 1_000 + at_ms;
}

fn passes(made: Made) {
    let judgement = judge(&made.record());
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    assert!(judgement.looked_at > 0);
}

#[test]
fn what_is_in_use_is_kept_and_else_it_fires() {
    passes(made(&keeps(1), used(70_500)));
    passes(made(&keeps(3), used(70_500)));
    let mut two = used(70_500);
    two.insert(3, has_token(9, 70_400, "t"));
    fires(judge, made(&keeps(1), two.clone()), "keeps 1 of 3 slots on h at its expiry, and 2 are in use");
    passes(made(&keeps(2), two));
    fires(judge, made(&ends(), used(70_500)), "keeps 0 of 3 slots on h");
    // Gone by then, or there later.
    let mut gone = used(70_500);
    gone.push(line(5, 70_600, "allocation.removed", "s", json!({})));
    passes(made(&ends(), gone));
    let mut later = used(70_500);
    later.extend([tokens(5, 71_001, 3), has_token(6, 71_500, "t")]);
    passes(made(&keeps(1), later));
}

#[test]
fn who_is_parked_keeps_a_slot_and_who_is_gone_or_failed_does_not() {
    let parked = |then: &Value, status: &str| {
        let mut cloud = used(70_500);
        cloud.push(is(5, 40_000, "p", "server.shelved_offloaded", status));
        made(then, cloud)
    };
    passes(parked(&keeps(2), "SHELVED_OFFLOADED"));
    fires(judge, parked(&keeps(1), "SHELVED_OFFLOADED"), "of which 1 are in use, and [\"p\"] are parked");
    passes(parked(&keeps(1), "ERROR"));
    passes(parked(&keeps(1), "BUILD"));
    let mut deleted = parked(&keeps(1), "SHELVED_OFFLOADED");
    deleted.cloud.push(is(6, 50_000, "p", "server.deleted", "DELETED"));
    passes(deleted);
    // Of more than it had it keeps what it had.
    let mut many = used(70_500);
    many.extend(["p", "q", "r"].map(|server| is(5, 40_000, server, "server.shelved_offloaded", "SHELVED_OFFLOADED")));
    passes(made(&keeps(3), many));
    let only = vec![tokens(1, 10_000, 0), is(2, 20_000, "p", "server.shelved_offloaded", "SHELVED_OFFLOADED")];
    fires(judge, made(&ends(), only), "[\"p\"] are parked");
}

#[test]
fn it_is_counted_with_its_tokens_closed_and_else_it_fires() {
    fires(judge, made(&keeps(1), used(71_001)), "while its tokens were open, on h");
    // Opened again before anybody looked.
    let mut again = used(70_500);
    again.extend([tokens(5, 70_990, 1), has_token(6, 70_995, "t")]);
    passes(made(&keeps(1), again));
    // Those of a host that it does not have are another matter.
    let mut other = used(70_500);
    other[0].changes[0].host = Some("h".to_owned());
    let mut elsewhere = tokens(5, 30_000, 1);
    (elsewhere.changes[0].host, elsewhere.changes[0].id) = (Some("other".to_owned()), "rsv-of-other".to_owned());
    other.push(elsewhere);
    passes(made(&keeps(1), other));
}

#[test]
fn what_a_count_makes_of_a_lease_is_ruled() {
    let changed = |mut row: Value, change: fn(&mut Value)| {
        change(&mut row);
        made(&row, used(70_500))
    };
    fires(judge, changed(keeps(1), |row| row["reservations"][0]["releasing"] = json!([])), "before the cloud gave them back");
    fires(judge, changed(keeps(1), |row| row["reservations"][0]["wish"] = wish(2)), "gave back 2 of 3");
    fires(judge, changed(keeps(1), |row| row["end"] = json!(150)), "until 150 instead of 200");
    fires(judge, changed(keeps(1), |row| row["reason"] = Value::Null), "says null");
    let nobody = |change: fn(&mut Value)| {
        let mut row = ends();
        change(&mut row);
        made(&row, vec![tokens(1, 10_000, 3), tokens(2, 70_500, 0)])
    };
    passes(nobody(|_| ()));
    fires(judge, nobody(|row| row["end"] = json!(72)), "ends at 72 instead of 200");
    fires(judge, nobody(|row| row["reservations"][0]["booked_end"] = Value::Null), "ends at 71 instead of 200");
    fires(judge, nobody(|row| row["reservations"][0]["bindings"] = json!([])), "is not in use, and is another");
}

#[test]
fn it_is_counted_when_it_is_due_and_not_before() {
    let mut early = made(&keeps(1), used(70_500));
    for place in [2, 3] {
        early.watches[place + 1].change["lease"]["events"][2]["time"] = json!(60);
    }
    early.watches[2].change["lease"]["events"][2]["time"] = json!(60);
    early.audit[1].clock_ms = (CALENDAR_UNIX_S + 9) * 1_000;
    fires(judge, early, "to expire at 60, not before 69");
    // Until the clock has looked at it, its time is that of its making.
    let mut unseen = made(&keeps(1), used(70_500));
    let event = &mut unseen.watches[2].change["lease"]["events"][2];
    (event["time"], event["created_at"]) = (json!(10), json!((CALENDAR_UNIX_S + 10) * 1_000));
    passes(unseen);
    let mut hasty = made(&keeps(1), used(70_500));
    hasty.audit[3].clock_ms = (CALENDAR_UNIX_S + 69) * 1_000;
    fires(judge, hasty, "second 69, lease a is counted, which is to expire at 70");
}

/// All is healed at second 30; the count of the lease is over at a second.
fn counted_at(at_s: u64) -> Made {
    let mut made = made(&keeps(1), used(70_500));
    made.incidents = vec![incident(None, 30 * S, "phase", "everything is healed"), incident(None, 400 * S, "phase", "over")];
    made.audit.last_mut().expect("it was added").at_ns = at_s * S;
    made
}

#[test]
fn once_all_is_well_it_is_counted_in_time() {
    passes(counted_at(130));
    fires(judge, counted_at(131), "was to be counted at");
    // Not at all.
    let mut never = counted_at(71);
    never.watches.pop();
    fires(judge, never, "was not until");
    // Who ends it meanwhile has it counted no more.
    let mut ended = counted_at(100);
    ended.watches[4].change["lease"] = active(Value::Null, "DONE");
    ended.watches[4].change["lease"]["status"] = json!("TERMINATING");
    passes(ended);
    // Before the healing nothing is promised, unless nothing was done to the cluster.
    let late = |faults: Vec<Planned>| {
        let mut made = counted_at(200);
        made.incidents[0].at_ns = 150 * S;
        let mut record = made.record();
        record.plan.faults = faults;
        judge(&record).verdict
    };
    assert_eq!(late(Plan::kills(1, 3, 60_000).faults), Verdict::Pass);
    assert_eq!(late(Vec::new()), Verdict::Violation);
}

#[test]
fn what_expiries_come_to_is_counted_for_the_goals() {
    let came = |then: &Value| reached(&made(then, Vec::new()).record()).into_keys().collect::<Vec<_>>();
    assert_eq!(came(&keeps(1)), ["some in use"]);
    assert_eq!(came(&keeps(3)), ["all in use"]);
    assert_eq!(came(&ends()), ["none in use"]);
    let mut anew = active(Value::Null, "UNDONE");
    anew["events"][2]["time"] = json!(131);
    assert_eq!(came(&anew), ["changed meanwhile"]);
    assert!(came(&active(Value::Null, "DONE")).is_empty(), "what could not be counted");
}

#[test]
fn what_is_given_back_is_told_with_what_was_before() {
    let record = made(&keeps(1), Vec::new()).record();
    let all = shrinks(&record);
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].lease, &all[0].amounts[..], all[0].end, all[0].expiry_s), ("a", &[(0, 3, 1)][..], None, 70));
    let record = made(&ends(), Vec::new()).record();
    assert_eq!(shrinks(&record)[0].end, Some((200, 71)));
    assert!(shrinks(&made(&keeps(3), Vec::new()).record()).is_empty());
}
