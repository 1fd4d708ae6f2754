//! Histories that pass, and those that must not.

use serde_json::json;

use super::*;
use crate::check::model::tests::{host, lease, wish};
use crate::check::testing::{Made, fires, operation};
use crate::report::Verdict;

/// Of project p, or of all, at an index.
fn quota(of: Option<&str>, index: u64, set: Value) -> Operation {
    let request = json!({"of": of, "set": set, "unset": [], "project_id": "o"});
    let resolved = json!({"applied": {"ledger_index": index, "rejection": null, "lease_id": null}});
    operation("set_quota", Ending::Ok, None, json!({"request": request, "resolved": resolved, "reply": {}}))
}

/// Four instances at once for p from index 2 on; lease a of three of them from 100 to 200 at 3.
fn good() -> Made {
    let mut made = Made::default();
    made.watch(1, json!({"host": host(1, 9)}));
    made.audit_at(1, 0, &[]);
    made.history.push(quota(None, 2, json!({"slots": {"max": 4}})));
    made.audit_at(2, 5, &[]);
    made.create(3, &lease("a", 100, 200, &[(1, 3)]));
    made.history[1].body["request"]["project_id"] = json!("p");
    made.audit_at(3, 16, &[]);
    made
}

fn create(made: &mut Made, index: u64, lease: &Value) {
    made.create(index, lease);
    made.audit_at(index, index * 10, &[]);
    made.history.last_mut().expect("it was made").body["request"]["project_id"] = json!("p");
}

fn passes(made: Made) {
    let judgement = judge(&made.record());
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    assert!(judgement.looked_at > 2, "{judgement:?}");
}

#[test]
fn what_is_within_the_quota_passes_and_what_is_beyond_fires() {
    let mut made = good();
    create(&mut made, 4, &lease("b", 150, 250, &[(1, 1)]));
    create(&mut made, 5, &lease("c", 200, 250, &[(1, 3)]));
    passes(made);
    let mut made = good();
    create(&mut made, 4, &lease("b", 150, 250, &[(1, 2)]));
    fires(judge, made, "2 slots were accepted at second 150 beside 3, 4 are allowed");
    // Its own limit goes before that of all, and none is one too.
    for (own, passing) in [(json!({"max": 9}), true), (json!("unlimited"), true), (json!({"max": 4}), false)] {
        let mut made = good();
        made.history.push(quota(Some("p"), 4, json!({"slots": own})));
        create(&mut made, 5, &lease("b", 150, 250, &[(1, 2)]));
        if passing { passes(made) } else { fires(judge, made, "were accepted") }
    }
}

#[test]
fn how_far_and_how_long_a_lease_reaches_is_limited_too() {
    for (kind, max, with) in [
        ("duration_s", 99, "duration_s 100"),
        ("start_ahead_s", 149, "start_ahead_s 150"),
        ("end_ahead_s", 249, "end_ahead_s 250"),
    ] {
        let made = |max: u64| {
            let mut made = good();
            made.history.push(quota(Some("p"), 4, json!({kind: {"max": max}})));
            create(&mut made, 5, &lease("b", 150, 250, &[(1, 1)]));
            made
        };
        passes(made(max + 1));
        fires(judge, made(max), with);
    }
}

#[test]
fn a_budget_counts_what_is_to_come() {
    let made = |slots: u64| {
        let mut made = good();
        let period = json!({"slots": "unlimited", "vcpu_hours": {"max": 1}, "period_s": {"max": 86_400}});
        made.history.push(quota(Some("p"), 4, period));
        create(&mut made, 5, &lease("b", 1_000, 1_300, &[(1, slots)]));
        made
    };
    passes(made(11));
    fires(judge, made(12), "3600 vCPU seconds were accepted beside 300");
}

#[test]
fn a_change_is_held_against_what_it_adds() {
    let changed = |amount: u64| {
        let mut made = good();
        create(&mut made, 4, &lease("b", 300, 400, &[(1, 4)]));
        made.history.push(quota(Some("p"), 5, json!({"slots": {"max": 2}})));
        let mut after = lease("b", 300, 400, &[(1, amount)]);
        after["name"] = json!("renamed");
        made.watch(6, json!({"lease": after}));
        made.audit_at(6, 60, &[]);
        let request = json!({"lease_id": "b", "project_id": "p", "change": {}});
        made.history.push(operation("update", Ending::Ok, Some(6), json!({"request": request, "reply": after})));
        made
    };
    passes(changed(4));
    passes(changed(3));
    fires(judge, changed(5), "5 slots were accepted");
}

fn refused(excess: Value) -> Made {
    let mut made = good();
    let asked = json!({"start": {"at": 150}, "end": 250, "reservations": [{"resource": wish(2), "staging": null}]});
    let reply = json!({"kind": "rejected", "rejection": {"quota_exceeded": excess}});
    let body = json!({"request": {"wish": asked, "project_id": "p"}, "reply": reply});
    made.history.push(operation("create", Ending::Fail, None, body));
    made
}

#[test]
fn a_refusal_is_what_would_have_been_too_much() {
    let excess = |limit: u64, used: u64, wanted: u64, at: u64| json!({"kind": "slots", "limit": limit, "used": used, "wanted": wanted, "at": at, "fits": limit.saturating_sub(used)});
    passes(refused(excess(4, 3, 2, 150)));
    fires(judge, refused(excess(3, 3, 2, 150)), "holds");
    fires(judge, refused(excess(4, 4, 2, 150)), "others have 3 to 3");
    fires(judge, refused(excess(4, 3, 2, 200)), "others have 0 to 0");
    fires(judge, refused(excess(4, 3, 3, 150)), "does not take that");
    fires(judge, refused(excess(4, 2, 2, 150)), "within the limit");
    // It may have come before the other was deleted, and not after.
    let mut late = refused(excess(4, 3, 2, 150));
    late.watch(4, json!({"lease_removed": "a"}));
    late.audit_at(4, 18, &[]);
    fires(judge, late, "others have 0 to 0");
    let mut meanwhile = refused(excess(4, 3, 2, 150));
    meanwhile.watch(4, json!({"lease_removed": "a"}));
    meanwhile.audit_at(4, 22, &[]);
    passes(meanwhile);
}

#[test]
fn a_quota_is_read_as_it_is() {
    let read = |set: Value, peak: u64| {
        let mut made = good();
        let used = json!({"slots_peak": [peak, 100], "vcpus_peak": [peak, 100]});
        let reply = json!({"project_id": "p", "set": set, "in_force": {"slots": 4}, "used": used});
        made.history.push(operation(
            "quota",
            Ending::Ok,
            Some(3),
            json!({"request": {"of": "p", "project_id": "o"}, "reply": reply}),
        ));
        made
    };
    passes(read(json!({}), 3));
    fires(judge, read(json!({"slots": {"max": 4}}), 3), "is set");
    fires(judge, read(json!({}), 4), "is reserved");
    let mut other = read(json!({}), 3);
    other.history[2].body["reply"]["in_force"] = json!({"slots": 5});
    fires(judge, other, "holds");
}

#[test]
fn without_the_index_of_a_change_nothing_can_be_said() {
    let mut made = good();
    made.history[0].body["resolved"] = Value::Null;
    assert_eq!(judge(&made.record()).verdict, Verdict::Unknown);
}
