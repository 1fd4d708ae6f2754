//! Linearizability without any index: is there any order of all operations that agrees with real time and in which each gives
//! the answer that its client saw? The witness believes the product's own order; here it is not asked.
//!
//! - [`linear`]: the search, for any specification.
//! - [`ledger`]: the ledger's specification, as clients see it.
//! - [`state`]: what there is between two operations.
//! - [`room`]: whether a refusal for lack of room is right at its place.
//! - [`calls`]: what clients did, as calls of that specification.
//!
//! Partitioned by the pool of hosts: each operation counts in every pool that it concerns. A lease is of the pools that its
//! bindings are in; a list is cut into what it tells of each pool; a refusal that any pool could have met was right for each of
//! them. That allows more than the whole does (the parts of one list may take effect at different instants), so it raises no
//! false alarm.

mod calls;
mod ledger;
mod linear;
mod room;
mod state;
#[cfg(test)]
mod tests;

use super::{Judgement, Sheet};
use crate::record::Record;
use calls::{History, told};
use ledger::Ledger;
use linear::{Found, search};
use state::State;

/// Processor time for one pool; what takes longer is unknown.
const LIMIT_S: f64 = 60.0;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let history = History::new(record);
    for pool in history.pools() {
        let calls = history.calls(pool);
        let began = crate::cpu::used_s();
        let found = search(&Ledger, State::default(), &calls, || crate::cpu::used_s() - began > LIMIT_S);
        calls.iter().for_each(|_| sheet.look());
        match found {
            Found::Linearizable => {}
            Found::GaveUp => sheet.unknown(format!("pool {pool}: no verdict within {LIMIT_S} s")),
            Found::Broken { place, beside } => {
                let beside: Vec<u64> = beside.into_iter().map(|place| calls[place].n).collect();
                let what = told(&calls[place], &history);
                sheet.violation(format!(
                    "pool {pool}: no order of what happened explains operation {}: {what}; under way then: {beside:?}",
                    calls[place].n
                ));
            }
        }
    }
    sheet.close("search")
}

#[cfg(test)]
mod histories {
    use serde_json::{Value, json};

    use super::super::testing::{Made, fires, operation};
    use super::*;
    use crate::check::model::tests::{host, lease, wish};
    use crate::history::Ending;
    use crate::report::Verdict;

    fn get(lease: &Value) -> crate::history::Operation {
        operation("get", Ending::Ok, None, json!({"request": {"lease_id": lease["id"], "project_id": "p"}, "reply": lease}))
    }

    fn list(leases: &[Value]) -> crate::history::Operation {
        operation("list", Ending::Ok, None, json!({"request": {"project_id": "p"}, "reply": leases}))
    }

    fn delete(ending: Ending) -> crate::history::Operation {
        operation("delete", ending, None, json!({"request": {"lease_id": "a", "project_id": "p"}}))
    }

    fn absent() -> crate::history::Operation {
        let reply = json!({"kind": "rejected", "rejection": {"lease_not_found": "a"}});
        operation("get", Ending::Fail, None, json!({"request": {"lease_id": "a", "project_id": "p"}, "reply": reply}))
    }

    fn renamed() -> (crate::history::Operation, Value) {
        let mut after = lease("a", 100, 200, &[(1, 3)]);
        after["name"] = json!("new");
        let request = json!({"lease_id": "a", "project_id": "p", "change": {"name": "new", "reservations": []}});
        (operation("update", Ending::Ok, None, json!({"request": request, "reply": after})), after)
    }

    fn no_room(start: u64, amount: u64) -> crate::history::Operation {
        let asked = json!({"project_id": "p", "start": {"at": start}, "end": 260, "reservations": [{"resource": wish(amount)}]});
        operation("create", Ending::Fail, None, json!({"request": {"wish": asked}, "reply": {"kind": "no_room"}}))
    }

    /// A host of four vCPUs, and lease a of three of them.
    fn good() -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.audit_at(1, 0, &[]);
        made.create(2, &lease("a", 100, 200, &[(1, 3)]));
        made.audit_at(2, 2, &[]);
        made
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
        assert!(judgement.looked_at > 0);
    }

    #[test]
    fn a_good_history_passes_without_any_index() {
        let mut made = good();
        made.history.iter_mut().for_each(|one| one.index = None);
        let (update, after) = renamed();
        made.history.extend([list(&[lease("a", 100, 200, &[(1, 3)])]), no_room(150, 2), update, get(&after), list(&[after])]);
        made.history.extend([delete(Ending::Ok), absent(), list(&[])]);
        passes(made);
    }

    /// Lease `a` is counted at index 3, and has one slot of three from index 4 on, seen at 22 ns; it is read before and after.
    fn expired(reads: [u64; 2]) -> Made {
        let so = |slots: u64, expiry: Value| {
            let mut one = lease("a", 100, 200, &[(1, slots)]);
            one["expiry_s"] = json!(60);
            one["events"].as_array_mut().expect("a list").push(json!({"kind": "expiry", "time": 0, "status": "DONE"}));
            one["reservations"][0]["expiry"] = expiry;
            one
        };
        let mut made = good();
        made.watch(3, json!({"lease": so(3, json!("counting"))}));
        made.watch(4, json!({"lease": so(1, json!({"counted": {"at": 1, "released": 2}}))}));
        made.audit_at(3, 12, &[]);
        made.audit_at(4, 22, &[]);
        made.history.extend(reads.map(|slots| get(&so(slots, Value::Null))));
        made.history.push(list(&[so(1, Value::Null)]));
        made
    }

    #[test]
    fn what_an_expiry_gave_back_is_explained_and_is_given_back_once() {
        passes(expired([3, 1]));
        passes(expired([1, 1]));
        fires(judge, expired([1, 3]), "was seen as");
        fires(judge, expired([3, 2]), "was seen as");
        let mut untold = expired([3, 1]);
        untold.watches.pop();
        fires(judge, untold, "was seen as");
    }

    #[test]
    fn reads_from_the_past_fire() {
        let mut made = good();
        made.history.push(list(&[]));
        fires(judge, made, "a list of []");
        let mut made = good();
        made.history.push(absent());
        fires(judge, made, "was not there");
        let mut made = good();
        let (update, _) = renamed();
        made.history.extend([update, get(&lease("a", 100, 200, &[(1, 3)]))]);
        fires(judge, made, "was seen as");
        let mut made = good();
        made.history.extend([delete(Ending::Ok), list(&[lease("a", 100, 200, &[(1, 3)])])]);
        fires(judge, made, "a list of");
    }

    #[test]
    fn two_reads_that_go_back_fire_although_each_might_be_right() {
        let row = lease("a", 100, 200, &[(1, 3)]);
        for (first, second, passing) in [(list(std::slice::from_ref(&row)), list(&[]), true), (list(&[]), list(&[row]), false)] {
            let mut made = good();
            made.history.extend([delete(Ending::Info), first, second]);
            made.history[1].body["resolved"] = json!("expired");
            if passing { passes(made) } else { fires(judge, made, "a list of") }
        }
    }

    #[test]
    fn what_was_resolved_has_happened_or_has_not() {
        for (resolved, rest, passing) in [
            (json!({"applied": {"ledger_index": 3, "rejection": null}}), list(&[]), true),
            (json!("never"), list(&[]), false),
            (json!({"applied": {"ledger_index": 3, "rejection": "no"}}), list(&[]), false),
            (json!("never"), list(&[lease("a", 100, 200, &[(1, 3)])]), true),
        ] {
            let mut made = good();
            made.history.extend([delete(Ending::Info), rest]);
            made.history[1].body["resolved"] = resolved;
            if passing { passes(made) } else { fires(judge, made, "a list of") }
        }
        // It has happened at the latest in the end.
        let mut made = good();
        let applied = json!({"applied": {"ledger_index": 3, "rejection": null}});
        made.history.extend([delete(Ending::Info), delete(Ending::Ok)]);
        made.history[1].body["resolved"] = applied;
        fires(judge, made, "was deleted");
    }

    #[test]
    fn a_lease_that_nobody_asked_for_fires() {
        let mut made = good();
        made.history.push(list(&[lease("a", 100, 200, &[(1, 3)]), lease("b", 300, 400, &[(1, 1)])]));
        fires(judge, made, "a list of");
    }

    /// A host of four vCPUs, and an offer of three of them until a second.
    fn offered(until: u64) -> (Made, Value, Value) {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.audit_at(1, 0, &[]);
        let (mut offer, mut claimed) = (lease("a", 100, 200, &[(1, 3)]), lease("a", 100, 200, &[(1, 3)]));
        offer["offer"] = json!({"expires_at": until});
        claimed["offer"] = json!({"expires_at": until, "claimed_at": 1});
        made.create(2, &offer);
        made.audit_at(2, 2, &[]);
        (made, offer, claimed)
    }

    fn claim(ending: Ending, claimed: &Value) -> crate::history::Operation {
        operation("claim", ending, None, json!({"request": {"lease_id": "a", "project_id": "p"}, "reply": claimed}))
    }

    #[test]
    fn an_offer_is_in_no_list_until_it_is_claimed_and_takes_room() {
        let (mut made, offer, claimed) = offered(100);
        made.history.extend([
            list(&[]),
            get(&offer),
            no_room(150, 2),
            claim(Ending::Ok, &claimed),
            list(std::slice::from_ref(&claimed)),
        ]);
        passes(made);
        let (mut made, offer, _) = offered(100);
        made.history.push(list(&[offer]));
        fires(judge, made, "a list of");
        let (mut made, _, claimed) = offered(100);
        made.history.extend([claim(Ending::Ok, &claimed), list(&[])]);
        fires(judge, made, "a list of []");
        let offers = |leases: &[Value]| crate::history::Operation { op: "offers".to_owned(), ..list(leases) };
        let (mut made, offer, claimed) = offered(100);
        made.history.extend([offers(&[offer]), claim(Ending::Ok, &claimed), offers(&[])]);
        passes(made);
        let (mut made, ..) = offered(100);
        made.history.push(offers(&[]));
        fires(judge, made, "a list of []");
        let (mut made, _, claimed) = offered(100);
        made.history.push(get(&claimed));
        fires(judge, made, "was seen as");
    }

    #[test]
    fn an_offer_goes_by_itself_from_its_expiry_on_and_not_when_it_was_claimed() {
        let (mut made, ..) = offered(0);
        made.history.extend([absent(), list(&[])]);
        passes(made);
        let (mut made, ..) = offered(1);
        made.history.push(absent());
        fires(judge, made, "was not there");
        let (mut made, _, claimed) = offered(0);
        made.history.extend([claim(Ending::Ok, &claimed), absent()]);
        fires(judge, made, "was not there");
        let (mut made, _, claimed) = offered(0);
        made.history.extend([absent(), claim(Ending::Ok, &claimed)]);
        fires(judge, made, "was claimed");
    }

    #[test]
    fn a_refusal_is_justified_at_its_place_or_fires() {
        let mut made = good();
        made.history.push(no_room(200, 4));
        fires(judge, made, "there was no room");
        let mut made = good();
        made.history.extend([delete(Ending::Ok), no_room(150, 2)]);
        made.watch(3, json!({"lease_removed": "a"}));
        made.audit_at(3, 12, &[]);
        fires(judge, made, "there was no room");
        // What the cloud still holds of it takes room unseen.
        let mut made = good();
        made.history.extend([delete(Ending::Ok), no_room(150, 2)]);
        made.watch(3, json!({"lease_removed": "a"}));
        let mut row = lease("a", 100, 200, &[(1, 3)]);
        row["deleted"] = json!(true);
        made.audit_at(3, 12, &[row]);
        passes(made);
    }
}
