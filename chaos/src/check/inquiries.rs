//! Whether what was told without booking anything is so: what a lease would come to, and how many instances fit. Part of the witness.

use serde_json::Value;

use super::model::{Model, Precedence, Span, Wish};
use super::unseen::Unseen;
use super::witness::{moments, staging};
use crate::history::Operation;
use crate::record::Record;

/// Whether the one reservation of a wish fits if it is asked for at a second, with the room of others where it would take that; `None`:
/// it is not judged.
pub fn fits(model: &Model, wish: &Value) -> Option<impl Fn(u32) -> bool> {
    let beside = fits_beside(model, wish)?;
    let precedence: Precedence = serde_json::from_value(wish["precedence"].clone()).unwrap_or_default();
    let mut dedicated = wish.clone();
    dedicated["reservations"][0]["resource"]["instance"]["pool"] = "dedicated".into();
    Some(move |now: u32| {
        let instead = || {
            let model = model.without(|lease| lease.gives_way(precedence.priority, now));
            fits_beside(&model, &dedicated).is_some_and(|fits| fits(now))
        };
        beside(now) || (precedence.preempt && instead())
    })
}

/// Whether it fits beside all that is there.
fn fits_beside(model: &Model, wish: &Value) -> Option<impl Fn(u32) -> bool> {
    let [one] = wish["reservations"].as_array()?.as_slice() else { return None };
    let asked: Wish = serde_json::from_value(one["resource"]["instance"].clone()).ok()?;
    let second = |value: &Value| value.as_u64().and_then(|at| u32::try_from(at).ok());
    let (start, end) = (second(&wish["start"]["at"]), second(&wish["end"]).unwrap_or(u32::MAX));
    Some(move |now: u32| {
        // A start or a window may have begun within the minute: only what is to come counts.
        let to_come = |span: Span| Span { start: span.start.max(now), ..span };
        let start = start.unwrap_or(now);
        let main = model.feasible(&asked, to_come(Span { start, end }), None, &[]);
        let staging = staging(&one["staging"], start, now);
        main && staging.is_none_or(|staging| model.feasible(&asked, to_come(staging.booked()), None, &[]))
    })
}

/// What a lease would come to: it is to fit at some moment of the request, or not to at some.
pub fn what_if(
    model: &Model,
    (index, clock): (u64, u32),
    unseen: &Unseen<'_>,
    record: &Record,
    one: &Operation,
) -> Option<String> {
    let wish = &one.body["request"]["wish"];
    let mut times = moments(clock, record, one);
    if one.body["reply"]["fits"] == true {
        let fits = fits(model, wish)?;
        return (!times.any(fits)).then(|| "it was told to fit, and does not".to_owned());
    }
    let full = unseen.beside(model, index);
    let fits = fits(&full, wish)?;
    times.all(fits).then(|| "it was told not to fit, and there was room".to_owned())
}

/// How many instances fit into what is to come of a window.
pub fn density(
    model: &Model,
    (index, clock): (u64, u32),
    unseen: &Unseen<'_>,
    record: &Record,
    one: &Operation,
) -> Option<String> {
    let wish = &one.body["request"]["wish"];
    let told = one.body["reply"]["largest_amount"].as_u64()?;
    let second = |value: &Value| value.as_u64().and_then(|at| u32::try_from(at).ok());
    let (start, end) = (second(&wish["start"]["at"])?, second(&wish["end"])?);
    let asked: Wish = serde_json::from_value(wish["instance"].clone()).ok()?;
    let full = unseen.beside(model, index);
    let mut between = Vec::new();
    for now in moments(clock, record, one) {
        let span = Span { start: start.max(now), end };
        let pair = (full.most(&asked, span), model.most(&asked, span));
        if !between.contains(&pair) {
            between.push(pair);
        }
    }
    let right = between.iter().any(|(least, most)| (*least..=*most).contains(&told));
    (!right).then(|| format!("{told} were told to fit, {between:?} do"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, operation};
    use super::super::witness::judge;
    use super::*;
    use crate::check::model::tests::{host, lease, wish};
    use crate::history::Ending;
    use crate::report::Verdict;

    /// Hosts of four vCPUs each, three of host 1 taken from second 100 to 200.
    fn asked(op: &str, body: Value) -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.watch(1, json!({"host": host(2, 4)}));
        made.create(2, &lease("a", 100, 200, &[(1, 3)]));
        made.audit_at(2, 3, &[]);
        made.history.push(operation(op, Ending::Ok, Some(2), body));
        made
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    }

    #[test]
    fn what_a_lease_would_come_to_is_so() {
        let told = |amount: u64, fits: bool| {
            let lease = json!({"start": {"at": 150}, "end": 250, "reservations": [{"resource": wish(amount), "staging": null}]});
            asked("what_if", json!({"request": {"wish": lease}, "reply": {"fits": fits}}))
        };
        passes(told(5, true));
        passes(told(6, false));
        fires(judge, told(6, true), "told to fit");
        fires(judge, told(5, false), "there was room");
    }

    #[test]
    fn what_others_would_have_to_give_is_room_for_who_asks_for_it() {
        // Lease a has three of four slots of each host that is asked for.
        let told = |precedence: Value, own: Value, begins: u32, fits: bool| {
            let mut made = Made::default();
            made.watch(1, json!({"host": host(1, 4)}));
            let mut a = lease("a", begins, 200, &[(1, 3)]);
            a["precedence"] = own;
            made.create(2, &a);
            made.audit_at(2, 3, &[]);
            let wish = json!({"start": {"at": 150}, "end": 250, "precedence": precedence,
                "reservations": [{"resource": wish(2), "staging": null}]});
            made.history.push(operation(
                "what_if",
                Ending::Ok,
                Some(2),
                json!({"request": {"wish": wish}, "reply": {"fits": fits}}),
            ));
            made
        };
        let (takes, gives) = (json!({"priority": 2, "preempt": true}), json!({"priority": 1, "preemptible": true}));
        passes(told(takes.clone(), gives.clone(), 100, true));
        fires(judge, told(takes.clone(), gives.clone(), 100, false), "there was room");
        passes(told(takes.clone(), gives.clone(), 5, false));
        fires(judge, told(takes.clone(), gives.clone(), 5, true), "told to fit");
        passes(told(takes.clone(), json!({"priority": 1}), 100, false));
        passes(told(takes, json!({"priority": 2, "preemptible": true}), 100, false));
        passes(told(json!({"priority": 2}), gives, 100, false));
    }

    #[test]
    fn what_is_over_by_the_time_of_the_question_is_in_nobody_s_way() {
        // Asked for from second 1 on, at second 3 or earlier.
        let told = |taken_until: u32| {
            let mut made = Made::default();
            made.watch(1, json!({"host": host(1, 4)}));
            made.create(2, &lease("a", 0, taken_until, &[(1, 4)]));
            made.audit_at(2, 3, &[]);
            let wish = json!({"start": {"at": 1}, "end": 50, "reservations": [{"resource": wish(4), "staging": null}]});
            let body = json!({"request": {"wish": wish}, "reply": {"fits": true}});
            made.history.push(operation("what_if", Ending::Ok, Some(2), body));
            made
        };
        passes(told(2));
        fires(judge, told(20), "told to fit");
    }

    #[test]
    fn as_many_fit_as_are_told() {
        let told = |affinity: Value, many: u64| {
            let mut instance = wish(1)["instance"].clone();
            instance["affinity"] = affinity;
            let window = json!({"start": {"at": 150}, "end": 250, "instance": instance});
            asked("density", json!({"request": {"wish": window}, "reply": {"largest_amount": many}}))
        };
        passes(told(Value::Null, 5));
        passes(told(json!(true), 4));
        passes(told(json!(false), 2));
        fires(judge, told(Value::Null, 6), "6 were told");
        fires(judge, told(json!(true), 5), "5 were told");
        fires(judge, told(json!(false), 3), "3 were told");
        // What is being created may count, and may be gone by then.
        for many in [4, 5] {
            let mut made = told(Value::Null, many);
            made.audit.clear();
            made.audit_at(1, 1, &[lease("x", 150, 160, &[(2, 1)])]);
            made.audit_at(3, 3, &[]);
            passes(made);
        }
    }
}
