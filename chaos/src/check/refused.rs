//! A refusal names a reason that is true: at some index between the call and its answer, and at some second of that time. For want
//! of room the [witness](super::witness) judges and [series](super::series), for a quota [quota](super::quota), for keys
//! [keys](super::keys); here is the rest.
//!
//! What each reason means is written here a second time. A reason that is not known here is a violation: who adds one to the
//! product says here when it holds.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value;

use super::leases::{Leases, told};
use super::replay::Replay;
use super::witness::{moments, staging};
use super::{Judgement, Sheet};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// A look at what a node has applied may come so long after the answer, nanoseconds.
const LOOK_NS: u64 = 50_000_000;
/// Reasons that say something of a key, or of what nobody asks for here.
const OTHERS: [&str; 5] = ["request_id_reused", "key_expired", "key_forgotten", "too_many_keys", "before_end_outside"];

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let (replay, leases) = (Replay::new(record), told(record));
    let refused = |one: &&Operation| one.ending == Ending::Fail && one.body["reply"]["kind"] == "rejected";
    for operation in record.history.iter().filter(refused) {
        let rejection = &operation.body["reply"]["rejection"];
        // An edge tells the reason's name alone, and REST for Blazar's clients its text.
        let name = rejection.as_str().or_else(|| rejection.as_object()?.keys().next().map(String::as_str)).unwrap_or_default();
        if OTHERS.contains(&name) || name == "quota_exceeded" || (record.plan.sim.wire && !rejection.is_object()) {
            continue;
        }
        let (from, to) = (replay.applied_by(operation.invoke_ns), replay.applied_by(operation.return_ns + LOOK_NS));
        let request = &operation.body["request"];
        let lease = request["lease_id"].as_str().and_then(|id| leases.get(id));
        let seen = match request["series_id"].as_str() {
            Some(series) => of_series(&leases, series, from, to),
            None => lease.map(|changes| between(changes, from, to)),
        };
        let seconds = moments(replay.clock_s(from), record, operation);
        let call = Call {
            request,
            known: seen.is_some(),
            lease: seen.unwrap_or_default(),
            first_s: *seconds.start(),
            last_s: *seconds.end(),
        };
        sheet.must(call.bears(operation, name, &rejection[name]).unwrap_or(false), || {
            let statuses: Vec<&Value> =
                call.lease.iter().map(|lease| lease.map_or(&Value::Null, |lease| &lease["status"])).collect();
            let Operation { n, op, .. } = operation;
            format!("operation {n} ({op}) was refused with {rejection}; from index {from} to {to} its lease was {statuses:?}")
        });
    }
    sheet.close("reasons")
}

/// What a lease was at any index of a time; `None`: nothing that anybody may see.
fn between<'a>(changes: &BTreeMap<u64, Option<&'a Value>>, from: u64, to: u64) -> Vec<Option<&'a Value>> {
    let seen = |lease: Option<&'a Value>| lease.filter(|lease| lease["deleted"] != true && lease["status"] != "CREATING");
    let before = changes.range(..=from).next_back().and_then(|(_, lease)| seen(*lease));
    let within = changes.range((Bound::Excluded(from), Bound::Included(to.max(from)))).map(|(_, lease)| seen(*lease));
    std::iter::once(before).chain(within).collect()
}

/// Of a series, some lease that is to be seen at any index of a time; `None`: nobody ever saw one of it.
fn of_series<'a>(leases: &Leases<'a>, series: &str, from: u64, to: u64) -> Option<Vec<Option<&'a Value>>> {
    let is_one =
        |changes: &&BTreeMap<u64, Option<&Value>>| changes.values().flatten().any(|lease| lease["series"]["id"] == series);
    let own: Vec<_> = leases.values().filter(is_one).collect();
    let within = (Bound::Excluded(from), Bound::Included(to.max(from)));
    let indices = own.iter().flat_map(|changes| changes.range(within)).map(|(index, _)| *index).chain([from]);
    let at = |index: u64| own.iter().find_map(|changes| between(changes, index, index)[0]);
    (!own.is_empty()).then(|| indices.map(at).collect())
}

/// A call as the ledger may have seen it.
struct Call<'a> {
    request: &'a Value,
    /// Its lease, at each index of the time.
    lease: Vec<Option<&'a Value>>,
    /// Anybody ever saw its lease.
    known: bool,
    /// The first and the last second that may have been its "now".
    first_s: u32,
    last_s: u32,
}

impl Call<'_> {
    /// Whether the reason holds; `None`: it is not known here.
    fn bears(&self, operation: &Operation, name: &str, more: &Value) -> Option<bool> {
        let creates = matches!(operation.op.as_str(), "create" | "create_series" | "what_if" | "density");
        let any = |holds: &dyn Fn(&Value) -> bool| self.lease.iter().flatten().any(|lease| holds(lease));
        let reservations = |lease: &Value, holds: &dyn Fn(&Value) -> bool| {
            lease["reservations"].as_array().is_some_and(|all| all.iter().any(holds))
        };
        let last_s = u64::from(self.last_s);
        let ends_by = |lease: &Value| lease["end"].as_u64().is_some_and(|end| end <= last_s);
        Some(match name {
            "lease_not_found" | "series_not_found" => self.is_hidden(),
            // Being created it is nobody's to see yet.
            "wrong_status" => {
                any(&|lease| lease["status"] == more["status"]) || (self.is_hidden() && more["status"] == "CREATING")
            }
            "already_ended" => any(&|lease| {
                matches!(lease["status"].as_str(), Some("TERMINATED")) || lease["preempted"].is_object() || ends_by(lease)
            }),
            "already_started" => any(&|lease| {
                let start = lease["start"].as_u64().unwrap_or_default();
                let other = self.request["change"]["start"]["at"].as_u64() != Some(start);
                other && (lease["status"] != "PENDING" || start <= last_s)
            }),
            "start_in_past" => self.asked("start").is_some_and(|start| start < last_s / 60 * 60),
            "end_not_after_start" => creates && self.ends_before(self.asked("start"), self.asked("end")),
            "end_in_past" if creates => {
                self.ends_before(self.asked("start"), self.asked("end")) || self.asked("end").is_some_and(|end| end <= last_s)
            }
            "end_in_past" => any(&|lease| {
                let end = self.asked("end");
                let past = end.is_some_and(|end| end < last_s / 60 * 60);
                let start = self.asked("start").or(lease["start"].as_u64());
                past || self.ends_before(start, end.or(lease["end"].as_u64())) || self.request["change"]["end"] == "now"
            }),
            "staging_outside" if creates => self.stages_outside(),
            "staging_outside" => any(&|lease| reservations(lease, &|one| self.ends_staging_after(one))),
            "invalid" if more["field"] == "offer.expires_at" => self.expires_outside(),
            "invalid" if more["field"] == "wait.until" => self.waits_outside(),
            "reservation_not_found" => any(&|lease| {
                let asked = self.request["change"]["reservations"].as_array().into_iter().flatten();
                asked.map(|one| &one["reservation_id"]).any(|id| !reservations(lease, &|own| own["id"] == *id))
            }),
            "offer_unclaimed" => any(&|lease| lease["offer"].is_object() && lease["offer"]["claimed_at"].is_null()),
            "offer_expired" => any(&|lease| lease["offer"]["expires_at"].as_u64().is_some_and(|at| at <= last_s)),
            "not_an_offer" => any(&|lease| lease["offer"].is_null()),
            "cannot_update" => {
                let problem = more["problem"].as_str()?;
                let (statuses, stages): (&[&str], &[&str]) = match problem {
                    "its servers are being staged" => (&[], &["staging", "parking"]),
                    "the reservation has ended" => (&[], &["ended"]),
                    "the reservation is in error" => (&["error"], &[]),
                    "An active reservation only accepts to update amount." => (&[], &["open"]),
                    "its flavor is made already, only the amount can change" => (&[], &["prepared", "parked"]),
                    _ => return None,
                };
                let among = |value: &Value, all: &[&str]| value.as_str().is_some_and(|text| all.contains(&text));
                any(&|lease| reservations(lease, &|one| among(&one["status"], statuses) || among(&one["stage"], stages)))
            }
            _ => return None,
        })
    }

    /// There is a moment at which its caller may not see the lease.
    fn is_hidden(&self) -> bool {
        let foreign = |lease: &Value| lease["project_id"] != self.request["project_id"];
        !self.known || self.lease.iter().any(|lease| lease.is_none_or(foreign))
    }

    /// A second that a create or a change names; of a series, for its first lease.
    fn asked(&self, field: &str) -> Option<u64> {
        let wish = &self.request["wish"];
        let parts = [&wish["lease"], wish, &self.request["change"]];
        let part = parts.into_iter().find(|part| part.is_object())?;
        part[field]["at"].as_u64().or(part[field].as_u64())
    }

    /// From a start, or now, on.
    fn ends_before(&self, start: Option<u64>, end: Option<u64>) -> bool {
        end.is_some_and(|end| end <= start.unwrap_or(u64::from(self.last_s)))
    }

    /// A window that begins before now, that is none, or that ends too late for the start.
    fn stages_outside(&self) -> bool {
        let start = self.asked("start").and_then(|start| u32::try_from(start).ok()).unwrap_or(self.last_s);
        let wishes = self.request["wish"]["reservations"].as_array().into_iter().flatten();
        wishes.filter_map(|one| staging(&one["staging"], start, self.last_s)).any(|staging| {
            let (window, booked) = (staging.window, staging.booked());
            window.start < self.last_s || window.end <= window.start || booked.end > start
        })
    }

    fn ends_staging_after(&self, reservation: &Value) -> bool {
        let (staging, start) = (&reservation["staging"], self.asked("start"));
        let end = staging["window"]["end"].as_u64().zip(staging["park_margin_s"].as_u64());
        end.zip(start).is_some_and(|((end, margin), start)| end + margin > start)
    }

    /// It would wait until before now, or after the start.
    fn waits_outside(&self) -> bool {
        let start = self.asked("start").unwrap_or(u64::from(self.first_s));
        let until = self.request["wish"]["wait"]["until"].as_u64();
        until.is_some_and(|until| until <= u64::from(self.last_s) || until > start)
    }

    /// An offer that ends before now, or after the start.
    fn expires_outside(&self) -> bool {
        let wish = &self.request["wish"];
        let latest = wish["start"]["earliest"]["latest"].as_u64().or(self.asked("start")).unwrap_or(u64::from(self.first_s));
        wish["offer"]["until"].as_u64().is_some_and(|until| until <= u64::from(self.last_s) || until > latest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, operation};
    use super::*;
    use crate::check::model::CALENDAR_UNIX_S;
    use crate::check::model::tests::lease;
    use crate::report::Verdict;

    const S: u64 = 1_000_000_000;

    /// Lease `a`, from second 100 to 200, is booked at index 2, begins to start at 3 and is removed at 4, at seconds 10, 100 and
    /// 150. A call from `from_s` to `to_s` is refused.
    fn refused(op: &str, (from_s, to_s): (u64, u64), request: Value, rejection: Value) -> Record {
        let mut made = Made::default();
        let mut one = lease("a", 100, 200, &[(1, 1)]);
        one["project_id"] = json!("p");
        made.watch(2, json!({"lease": one}));
        (one["status"], one["reservations"][0]["stage"]) = (json!("STARTING"), json!("open"));
        made.watch(3, json!({"lease": one}));
        made.watch(4, json!({"lease_removed": "a"}));
        for (index, at_s) in [(1, 0), (2, 10), (3, 100), (4, 150)] {
            made.audit_at(index, at_s * S, &[]);
            made.audit[index as usize - 1].clock_ms = (CALENDAR_UNIX_S + at_s) * 1_000;
        }
        let mut call = operation(op, Ending::Fail, None, json!({"request": request}));
        call.body["reply"] = json!({"kind": "rejected", "rejection": rejection});
        made.history.push(call);
        let mut record = made.record();
        (record.history[0].invoke_ns, record.history[0].return_ns) = (from_s * S, to_s * S);
        record
    }

    fn of(lease: &str) -> Value {
        json!({"lease_id": lease, "project_id": "p", "change": {"start": null, "end": null, "reservations": []}})
    }

    fn passes(record: Record) {
        let judgement = judge(&record);
        assert_eq!((judgement.verdict, judgement.looked_at), (Verdict::Pass, 1), "{judgement:?}");
    }

    fn fires(record: Record, with: &str) {
        let judgement = judge(&record);
        assert_eq!(judgement.verdict, Verdict::Violation, "{judgement:?}");
        assert!(judgement.evidence[0].contains(with), "{judgement:?}");
    }

    #[test]
    fn a_lease_is_not_there_before_it_is_and_after() {
        let absent = |span, id: &str| refused("get", span, of(id), json!({"lease_not_found": "a"}));
        passes(absent((5, 6), "a"));
        passes(absent((145, 151), "a"));
        passes(absent((20, 30), "other"));
        fires(absent((20, 30), "a"), "lease_not_found");
        let mut foreign = absent((20, 30), "a");
        foreign.history[0].body["request"]["project_id"] = json!("q");
        passes(foreign);
    }

    #[test]
    fn a_series_is_not_there_while_no_lease_of_it_is() {
        let absent = |span, id: &str| {
            let request = json!({"series_id": id, "project_id": "p"});
            let mut record = refused("delete_series", span, request, json!({"series_not_found": id}));
            for line in record.watches.iter_mut().filter(|line| line.change["lease"].is_object()) {
                line.change["lease"]["series"] = json!({"id": "s", "number": 1, "mode": "best_effort"});
            }
            record
        };
        passes(absent((5, 6), "s"));
        passes(absent((145, 151), "s"));
        passes(absent((20, 30), "other"));
        fires(absent((20, 30), "s"), "series_not_found");
    }

    #[test]
    fn a_status_is_one_that_it_had_meanwhile() {
        let wrong = |span, status: &str| refused("update", span, of("a"), json!({"wrong_status": {"status": status}}));
        passes(wrong((99, 101), "STARTING"));
        fires(wrong((90, 95), "STARTING"), "wrong_status");
        fires(wrong((99, 101), "TERMINATING"), "wrong_status");
    }

    #[test]
    fn times_are_those_of_the_call() {
        let late = |span, change: Value, reason: &str| {
            let mut request = of("a");
            request["change"] = change;
            refused("update", span, request, json!(reason))
        };
        passes(late((96, 97), json!({"start": {"at": 150}}), "already_started"));
        fires(late((20, 30), json!({"start": {"at": 150}}), "already_started"), "already_started");
        fires(late((110, 111), json!({"start": {"at": 100}}), "already_started"), "already_started");
        passes(late((20, 30), json!({"start": {"at": 200}}), "end_in_past"));
        fires(late((20, 30), json!({"start": {"at": 150}}), "end_in_past"), "end_in_past");
        fires(late((20, 30), json!({"start": {"at": 150}}), "already_ended"), "already_ended");
        let mut gave_way = late((20, 30), json!({"end": {"at": 150}}), "already_ended");
        gave_way.watches[0].change["lease"]["preempted"] = json!({"by": "b"});
        passes(gave_way);
        let create = |start: u64, reason: &str| {
            refused("create", (130, 131), json!({"wish": {"start": {"at": start}, "end": 300}}), json!(reason))
        };
        passes(create(119, "start_in_past"));
        fires(create(120, "start_in_past"), "start_in_past");
        passes(create(300, "end_not_after_start"));
        fires(create(299, "end_not_after_start"), "end_not_after_start");
    }

    #[test]
    fn an_offer_and_a_staging_window_must_be_wrong_as_they_are_asked_for() {
        let wish = |more: (&str, Value), rejection| {
            let mut wish = json!({"start": {"at": 400}, "end": 500, "reservations": []});
            wish[more.0] = more.1;
            refused("create", (130, 131), json!({"wish": wish}), rejection)
        };
        let offer = |until: u64| wish(("offer", json!({"until": until})), json!({"invalid": {"field": "offer.expires_at"}}));
        passes(offer(130));
        passes(offer(401));
        fires(offer(300), "offer.expires_at");
        let staged = |from: u64, to: u64| {
            let staging = json!({"start": from, "end": to, "park_margin_s": 20});
            wish(("reservations", json!([{"staging": staging}])), json!({"staging_outside": {"problem": ""}}))
        };
        passes(staged(100, 300));
        passes(staged(200, 381));
        fires(staged(200, 380), "staging_outside");
    }

    #[test]
    fn what_cannot_be_updated_is_in_that_stage_and_unknown_reasons_fire() {
        let cannot = |problem: &str| json!({"cannot_update": {"field": "amount", "problem": problem}});
        passes(refused("update", (110, 111), of("a"), cannot("An active reservation only accepts to update amount.")));
        fires(refused("update", (110, 111), of("a"), cannot("its servers are being staged")), "staged");
        fires(refused("update", (110, 111), of("a"), cannot("it is Monday")), "Monday");
        fires(refused("update", (110, 111), of("a"), json!("not_today")), "not_today");
    }
}
