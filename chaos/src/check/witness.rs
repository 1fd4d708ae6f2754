//! Linearizability with `ledger_index` as the witness: the order that the product itself claims must be one that explains
//! every answer and agrees with real time. Linear in the history.

use std::collections::BTreeMap;

use serde_json::Value;

use super::closed::Takers;
use super::lists::Lists;
use super::model::{Host, Lease, Model, Span, Staging, Wish, calendar};
use super::replay::Replay;
use super::shown::is_shown;
use super::unseen::Unseen;
use super::{Judgement, Sheet, inquiries, keys, wanted};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// A read may be decided up to so many seconds after the ledger's clock, which stands still while nothing is written.
const CLOCK_SLACK_S: u32 = 3;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    real_time(record, &Replay::new(record), &mut sheet);
    keys::look(record, &mut sheet);
    answers(record, &mut sheet);
    sheet.close("witness")
}

/// Whether it changes the ledger.
fn writes(operation: &Operation) -> bool {
    matches!(operation.op.as_str(), "create" | "update" | "claim" | "delete" | "create_series" | "delete_series")
}

/// Whether several such operations may take effect at one index: what the cloud did not settle in time is left out of a series by
/// the clock, of all series at once.
fn shares_its_index(operation: &Operation) -> bool {
    let left_out = operation.body["reply"]["left_out"].as_array().into_iter().flatten();
    left_out.into_iter().any(|one| one["reason"]["withdrawn"].is_object())
}

/// The index at which an operation took place, and whether it changed something there. What is asked again under an old key took
/// place when it was asked first.
fn place(operation: &Operation) -> Option<(u64, bool)> {
    if keys::is_again(operation) {
        return None;
    }
    let resolved = &operation.body["resolved"]["applied"];
    // The answer tells what quota holds by then; its key, since when.
    if operation.op == "set_quota" && operation.ending != Ending::Fail {
        return resolved["ledger_index"].as_u64().map(|index| (index, resolved["rejection"].is_null()));
    }
    match operation.ending {
        Ending::Ok => operation.index.map(|index| (index, writes(operation))),
        Ending::Fail => operation.index.map(|index| (index, false)),
        Ending::Info => resolved["ledger_index"].as_u64().map(|index| (index, resolved["rejection"].is_null())),
    }
}

/// Indices of changes are unique; what began after something was answered comes after it; an answer is not from the future.
fn real_time(record: &Record, replay: &Replay<'_>, sheet: &mut Sheet) {
    let mut by_index: BTreeMap<u64, u64> = BTreeMap::new();
    let mut answered: Vec<(u64, u64, u64)> = Vec::new();
    for operation in &record.history {
        let n = operation.n;
        if operation.ending == Ending::Ok && operation.index.is_none() && !keys::is_again(operation) {
            sheet.violation(format!("operation {n}: acknowledged without an index"));
        }
        let Some((index, changed)) = place(operation) else { continue };
        if changed
            && !shares_its_index(operation)
            && let Some(other) = by_index.insert(index, n)
        {
            sheet.violation(format!("operations {other} and {n} both claim index {index}"));
        }
        if operation.ending != Ending::Info {
            answered.push((operation.return_ns, index, n));
            if let Some(applied) = replay.applied_ns(index) {
                sheet.must(applied <= operation.return_ns, || {
                    format!(
                        "operation {n} was answered at {} ns with index {index}, which was applied at {applied} ns",
                        operation.return_ns
                    )
                });
                sheet.must(!changed || applied >= operation.invoke_ns, || {
                    format!("operation {n} began at {} ns and claims index {index}, applied at {applied} ns", operation.invoke_ns)
                });
            }
        }
    }
    answered.sort_unstable();
    let (mut next, mut highest) = (0, (0, 0));
    let mut begun: Vec<&Operation> = record.history.iter().collect();
    begun.sort_by_key(|operation| operation.invoke_ns);
    for operation in begun {
        while let Some((returned, index, n)) = answered.get(next).filter(|(returned, ..)| *returned < operation.invoke_ns) {
            debug_assert!(*returned < operation.invoke_ns);
            highest = highest.max((*index, *n));
            next += 1;
        }
        if let Some((index, changed)) = place(operation) {
            let after = if changed { index > highest.0 } else { index >= highest.0 };
            sheet.must(after, || {
                format!(
                    "operation {} ({}) is at index {index}, but operation {} was answered at index {} before it began",
                    operation.n, operation.op, highest.1, highest.0
                )
            });
        }
    }
}

/// Every answer is what the ledger at its index gives.
fn answers(record: &Record, sheet: &mut Sheet) {
    let mut placed: Vec<(u64, &Operation)> = record
        .history
        .iter()
        .filter(|operation| operation.ending != Ending::Info)
        .filter_map(|operation| Some((operation.index?, operation)))
        .collect();
    placed.sort_by_key(|(index, operation)| (*index, operation.n));
    let mut replay = Replay::new(record);
    let (mut lists, unseen) = (Lists::default(), Unseen::new(record));
    let takers = Takers::new(&replay);
    for (index, operation) in placed {
        let touched = operation.body["reply"]["id"].as_str().is_none_or(|lease| replay.touches(index, lease));
        let clock = replay.clock_s(index);
        replay.go(index);
        let model = replay.model();
        sheet.look();
        let problem = match (operation.ending, operation.op.as_str()) {
            (Ending::Ok, "create" | "update" | "claim") if !touched => {
                Some("nothing changed of the lease at this index".to_owned())
            }
            (Ending::Ok, "create") => {
                let made = || model.leases.get(operation.body["reply"]["id"].as_str()?).map(|lease| &lease.reservations);
                let from = replay.applied_by(operation.invoke_ns);
                let closed = || takers.problem(made()?, from.min(index), index);
                same(record, &replay, operation).or_else(|| wanted::created(model, operation)).or_else(closed)
            }
            (Ending::Ok, "update") => same(record, &replay, operation).or_else(|| wanted::updated(operation)),
            (Ending::Ok, "claim") => same(record, &replay, operation).or_else(|| wanted::claimed(operation)),
            (Ending::Ok, "get") => same(record, &replay, operation),
            (Ending::Ok, "delete") => wanted::deleted(model, operation),
            (Ending::Ok, "what_if") => inquiries::what_if(model, (index, clock), &unseen, record, operation),
            (Ending::Ok, "density") => inquiries::density(model, (index, clock), &unseen, record, operation),
            (Ending::Ok, "list" | "offers" | "waiting" | "list_series") => lists.problem(&replay, record, operation),
            (Ending::Fail, "create") => refused_create(model, clock, record, operation),
            (Ending::Fail, "update") => refused_update(model, clock, record, operation),
            _ => None,
        };
        if let Some(problem) = problem {
            sheet.violation(format!("operation {} ({}) at index {index}: {problem}", operation.n, operation.op));
        }
    }
    for text in replay.unreadable {
        sheet.unknown(format!("the model does not read a change: {text}"));
    }
}

/// The answer is the row.
fn same(record: &Record, replay: &Replay<'_>, operation: &Operation) -> Option<String> {
    let reply = &operation.body["reply"];
    let id = reply["id"].as_str().unwrap_or_default();
    match replay.rows().get(id) {
        None => Some(format!("lease {id} is not there")),
        Some(row) if is_shown(record, reply, row) => None,
        Some(row) => {
            let fields = reply.as_object().into_iter().flatten();
            let other = fields.filter(|(name, value)| !row.get(*name).is_some_and(|row| is_shown(record, value, row)));
            let other: Vec<&String> = other.map(|(name, _)| name).collect();
            Some(format!("lease {id} was answered with other {other:?} than it has"))
        }
    }
}

/// The seconds at which a refusal may have been decided.
pub(super) fn moments(clock: u32, record: &Record, operation: &Operation) -> std::ops::RangeInclusive<u32> {
    let returned = calendar(record.epoch_ms + operation.return_ns / 1_000_000);
    clock.saturating_sub(1)..=clock.max(returned).saturating_add(CLOCK_SLACK_S)
}

/// A refusal for lack of room is right when no plan is found: it is wrong only when there is one whichever moment of the
/// request was its "now".
fn refused_create(model: &Model, clock: u32, record: &Record, operation: &Operation) -> Option<String> {
    if operation.body["reply"]["kind"] != "no_room" {
        return None;
    }
    let fits = inquiries::fits(model, &operation.body["request"]["wish"])?;
    moments(clock, record, operation).all(fits).then(|| "there was room".to_owned())
}

/// The window that a wish for staging means.
pub(super) fn staging(wish: &Value, start: u32, now: u32) -> Option<Staging> {
    let margin = u32::try_from(wish["park_margin_s"].as_u64()?).ok()?;
    let second = |value: &Value| value.as_u64().and_then(|second| u32::try_from(second).ok());
    let from = second(&wish["start"]).unwrap_or(now);
    let until = second(&wish["end"]).unwrap_or((from + 1_800).min(start.saturating_sub(margin)));
    Some(Staging { window: Span { start: from, end: until }, park_margin_s: margin })
}

fn refused_update(model: &Model, clock: u32, record: &Record, operation: &Operation) -> Option<String> {
    if operation.body["reply"]["kind"] != "no_room" {
        return None;
    }
    let request = &operation.body["request"];
    let change = &request["change"];
    let before: &Lease = model.leases.get(request["lease_id"].as_str()?)?;
    let [one] = before.reservations.as_slice() else { return None };
    let asked = change["reservations"].as_array().and_then(|changes| changes.first());
    let asked: Wish = match asked {
        Some(asked) => serde_json::from_value(asked["resource"]["instance"].clone()).ok()?,
        None => one.wish.instance.clone(),
    };
    let second = |field: &str, old: u32| change[field]["at"].as_u64().and_then(|at| u32::try_from(at).ok()).unwrap_or(old);
    let (start, end) = (second("start", before.start), second("end", before.end));
    // What is open stays where it is; what is staged, or was, is not planned again.
    let open = matches!(one.stage.as_str(), "open" | "ended") || before.status != "PENDING";
    let kept = if open { one.bindings.iter().filter(|binding| binding.phase == "main").cloned().collect() } else { Vec::new() };
    let longer = open && end > before.end;
    if open && asked.amount < one.wish.instance.amount && !longer {
        return Some("it gives slots back".to_owned());
    }
    // To be open for longer is to take more of one's hosts, and only those that accept bookings give more.
    if longer && !kept.iter().all(|binding| model.hosts.get(&binding.host).is_some_and(Host::takes_more)) {
        return None;
    }
    let fits = |now: u32| {
        let start = if change["start"] == "now" { now } else { start };
        // Of an open lease only what is to come counts.
        let from = if open { now } else { start };
        let main = model.feasible(&asked, Span { start: from, end }, Some(&before.id), &kept);
        let staging = one.staging.filter(|_| !open);
        main && staging.is_none_or(|staging| model.feasible(&asked, staging.booked(), Some(&before.id), &[]))
    };
    if !moments(clock, record, operation).all(fits) {
        return None;
    }
    let whole = Span { start: before.start, end };
    let over = open && !model.feasible(&asked, whole, Some(&before.id), &kept);
    Some(if over { "there was room: only what is over stands in the way" } else { "there was room" }.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, operation};
    use super::*;
    use crate::check::model::tests::{host, lease, wish};
    use crate::report::Verdict;

    /// A host of four vCPUs at 1, lease a at 2, read at 2.
    fn good() -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        let a = lease("a", 100, 200, &[(1, 3)]);
        made.create(2, &a);
        made.history.push(operation("get", Ending::Ok, Some(2), json!({"request": {"lease_id": "a"}, "reply": a})));
        made
    }

    #[test]
    fn a_good_history_passes() {
        let mut made = good();
        let asked = json!({"request": {"wish": {"start": {"at": 150}, "end": 160, "reservations": [{"resource": wish(2)}]}},
            "reply": {"kind": "no_room"}});
        made.history.push(operation("create", Ending::Fail, Some(2), asked));
        made.watch(3, json!({"lease_removed": "a"}));
        made.history.push(operation("delete", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        made.history.push(operation("list", Ending::Ok, Some(3), json!({"request": {"project_id": "p"}, "reply": []})));
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
        assert!(judgement.looked_at > 10);
    }

    #[test]
    fn a_read_from_the_past_fires() {
        let mut made = good();
        made.history.push(operation("list", Ending::Ok, Some(1), json!({"request": {"project_id": "p"}, "reply": []})));
        fires(judge, made, "before it began");
    }

    #[test]
    fn an_answer_that_is_not_the_row_fires() {
        let mut made = good();
        made.history[1].body["reply"]["name"] = json!("other");
        fires(judge, made, "other [\"name\"]");
    }

    #[test]
    fn a_claim_passes_and_one_that_claims_nothing_or_what_was_no_offer_fires() {
        let claimed = || {
            let mut made = Made::default();
            made.watch(1, json!({"host": host(1, 4)}));
            let mut a = lease("a", 100, 200, &[(1, 3)]);
            a["offer"] = json!({"expires_at": 100});
            made.create(2, &a);
            a["offer"]["claimed_at"] = json!(1);
            made.watch(3, json!({"lease": a}));
            made.history.push(operation("claim", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}, "reply": a})));
            made
        };
        assert_eq!(judge(&claimed().record()).verdict, Verdict::Pass);
        let mut made = claimed();
        made.history[1].body["reply"]["offer"] = json!({"expires_at": 100});
        fires(judge, made, "other [\"offer\"]");
        let mut made = claimed();
        for told in [&mut made.history[1].body["reply"], &mut made.watches[2].change["lease"]] {
            told["offer"] = json!({"expires_at": 100});
        }
        fires(judge, made, "was to be claimed");
        // Nobody asked for an offer.
        let mut made = claimed();
        made.history[0].body["request"]["wish"]["offer"] = json!(null);
        fires(judge, made, "was asked for");
    }

    #[test]
    fn a_list_that_lacks_a_lease_fires() {
        let mut made = good();
        made.history.push(operation("list", Ending::Ok, Some(2), json!({"request": {"project_id": "p"}, "reply": []})));
        fires(judge, made, "lacks");
    }

    #[test]
    fn two_changes_at_one_index_fire() {
        let mut made = good();
        let again = made.history[0].clone();
        made.history.push(again);
        fires(judge, made, "both claim index 2");
    }

    #[test]
    fn a_refusal_although_there_is_room_fires() {
        let mut made = good();
        let asked = json!({"request": {"wish": {"start": {"at": 200}, "end": 260, "reservations": [{"resource": wish(4)}]}},
            "reply": {"kind": "no_room"}});
        made.history.push(operation("create", Ending::Fail, Some(2), asked));
        fires(judge, made, "there was room");
    }

    /// The lease is open on its host, which accepts bookings still or not any more; an update is refused for lack of room.
    fn refused(accepts: bool, change: serde_json::Value) -> Made {
        let mut made = Made::default();
        let mut there = host(1, 4);
        made.watch(1, json!({"host": there}));
        let mut a = lease("a", 100, 200, &[(1, 3)]);
        a["status"] = json!("ACTIVE");
        a["reservations"][0]["stage"] = json!("open");
        made.create(2, &a);
        there["reservable"] = json!(accepts);
        made.watch(3, json!({"host": there}));
        let asked = json!({"request": {"lease_id": "a", "change": change}, "reply": {"kind": "no_room"}});
        made.history.push(operation("update", Ending::Fail, Some(3), asked));
        made
    }

    #[test]
    fn an_open_lease_need_not_be_longer_on_a_host_that_accepts_no_bookings() {
        let longer = json!({"end": {"at": 300}});
        let judgement = judge(&refused(false, longer.clone()).record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
        fires(judge, refused(true, longer), "there was room");
        let smaller = json!({"reservations": [{"resource": wish(2)}]});
        fires(judge, refused(false, smaller), "it gives slots back");
    }

    #[test]
    fn another_lease_than_asked_for_fires() {
        let mut made = good();
        made.history[0].body["request"]["wish"]["end"] = json!(201);
        fires(judge, made, "end 201 was asked for");
    }

    #[test]
    fn what_is_still_there_after_its_deletion_fires() {
        let mut made = good();
        made.history.push(operation("delete", Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        fires(judge, made, "after its deletion");
    }

    #[test]
    fn an_answer_from_the_future_fires() {
        let mut made = good();
        let late = made.history[0].return_ns + 1;
        made.audit_at(2, late, &[]);
        fires(judge, made, "which was applied at");
    }
}
