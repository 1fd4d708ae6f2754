//! Series: what a rule comes to is what is booked, all of it in one index; nothing is left out or refused for which there was room;
//! and a deletion takes what has not started, and nothing else.
//!
//! What a rule comes to is written a second time in [`rules`]. The planner is greedy, and where it lays an occurrence decides
//! what is left for one that overlaps with it: so a refusal is held to be wrong only if there was room for an occurrence wherever
//! the earlier ones beside it lie. What a key holds, and what is asked again, is the witness's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::leases::{Leases, told};
use super::model::{Lease, Model, Span, Wish, plan_problem};
use super::replay::Replay;
use super::shown::is_shown;
use super::unseen::Unseen;
use super::{Judgement, Sheet, rules};
use crate::history::{Ending, Operation};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let told = told(record);
    let all = all(&told);
    let mut questions = Vec::new();
    let (mut asked, mut replay) = (BTreeSet::new(), Replay::new(record));
    for operation in &record.history {
        let n = operation.n;
        match (operation.op.as_str(), operation.ending) {
            ("create_series", ending) => {
                let Some(expected) = rules::occurrences(&operation.body["request"]["wish"]) else {
                    sheet.unknown(format!("operation {n}: a rule that is not known here"));
                    continue;
                };
                let made = all.values().find(|one| operation.key.as_deref().is_some_and(|key| one.key == key));
                asked.extend(made.map(|made| made.id));
                sheet.look();
                let problem = match (ending, made) {
                    (Ending::Ok, None) => Some("it was answered, and nothing of it was ever told".to_owned()),
                    (Ending::Fail, Some(made)) => Some(format!("it was refused, and series {} was told", made.id)),
                    (_, Some(made)) => made.problem(operation, &expected, record, &told),
                    (_, None) => None,
                };
                if let Some(problem) = problem {
                    sheet.violation(format!("operation {n} (create_series): {problem}"));
                }
                questions.extend(Question::of(operation, &expected, made, &replay));
            }
            ("delete_series", _) => {
                if let Some(problem) = deleted(operation, &all, &told) {
                    sheet.violation(format!("operation {n} (delete_series): {problem}"));
                }
                sheet.look();
            }
            _ => {}
        }
    }
    for made in all.values() {
        sheet.must(asked.contains(made.id), || format!("series {} was told, and nobody asked for it", made.id));
    }
    plans(&all, &mut replay, &mut sheet);
    rooms(record, questions, &mut sheet);
    sheet.close("series")
}

/// The leases of a series as they were first told: by number, the index, the id and the row.
struct Made<'a> {
    id: &'a str,
    key: &'a str,
    leases: Vec<(u64, u64, &'a str, &'a Value)>,
}

/// Every series that anybody was told of, by id.
fn all<'a>(told: &Leases<'a>) -> BTreeMap<&'a str, Made<'a>> {
    let mut all: BTreeMap<&str, Made<'_>> = BTreeMap::new();
    for (id, seen) in told {
        let Some((index, row)) = seen.iter().find_map(|(index, row)| Some((*index, (*row)?))) else { continue };
        let (Some(series), Some(number)) = (row["series"]["id"].as_str(), row["series"]["number"].as_u64()) else { continue };
        let key = row["key"]["id"].as_str().unwrap_or_default();
        let made = all.entry(series).or_insert_with(|| Made { id: series, key, leases: Vec::new() });
        made.leases.push((number, index, id, row));
    }
    all.values_mut().for_each(|made| made.leases.sort_by_key(|(number, ..)| *number));
    all
}

impl Made<'_> {
    /// The index at which its first lease was told.
    fn index(&self) -> u64 {
        self.leases.iter().map(|(_, index, ..)| *index).min().unwrap_or(0)
    }

    /// What is wrong with what was booked, or with the answer.
    fn problem(&self, operation: &Operation, expected: &[Span], record: &Record, told: &Leases<'_>) -> Option<String> {
        let wish = &operation.body["request"]["wish"];
        let index = self.index();
        if let Some((number, at, ..)) = self.leases.iter().find(|(_, at, ..)| *at != index) {
            return Some(format!("its first lease was told at index {index}, number {number} at index {at}"));
        }
        let all_or_nothing = wish["recurrence"]["mode"] == "all_or_nothing";
        if all_or_nothing && self.leases.len() != expected.len() {
            let numbers = self.numbers();
            return Some(format!("all or nothing was asked for, {numbers:?} of {} was booked", expected.len()));
        }
        let mut last = 0;
        for (number, _, id, row) in &self.leases {
            if *number <= last {
                return Some(format!("number {number} is there twice"));
            }
            last = *number;
            let place = usize::try_from(*number).unwrap_or(0).checked_sub(1);
            let Some(span) = place.and_then(|place| expected.get(place)) else {
                return Some(format!("lease {id} is number {number}, the rule has {}", expected.len()));
            };
            if let Some(problem) = other(wish, row, *span) {
                return Some(format!("lease {id}, number {number}: {problem}"));
            }
        }
        (operation.ending == Ending::Ok).then(|| self.answered(operation, expected, record, told)).flatten()
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.leases.iter().map(|(number, ..)| *number).collect()
    }

    /// What is wrong with the answer.
    fn answered(&self, operation: &Operation, expected: &[Span], record: &Record, told: &Leases<'_>) -> Option<String> {
        let reply = &operation.body["reply"];
        if reply["series_id"] != self.id {
            return Some(format!("series {} was booked, {} was answered", self.id, reply["series_id"]));
        }
        let occurrence = |one: &Value| {
            let one = &one["occurrence"];
            Some((one["number"].as_u64()?, one["start"].as_u64()?, one["end"].as_u64()?))
        };
        let booked: Vec<_> = reply["leases"]
            .as_array()?
            .iter()
            .map(|one| (occurrence(one), one["lease_id"].as_str().unwrap_or_default()))
            .collect();
        let rows = self.leases.iter().map(|(number, _, id, row)| {
            let times = row["start"].as_u64().zip(row["end"].as_u64());
            (times.map(|(start, end)| (*number, start, end)), *id)
        });
        let rows: Vec<_> = rows.collect();
        if booked != rows {
            return Some(format!("{rows:?} was booked, {booked:?} was answered"));
        }
        let left_out: Vec<_> = reply["left_out"].as_array()?.iter().map(occurrence).collect();
        let missing = (1..).zip(expected).filter(|(number, _)| !self.numbers().contains(number));
        let missing: Vec<_> = missing.map(|(number, span)| Some((number, u64::from(span.start), u64::from(span.end)))).collect();
        if left_out != missing {
            return Some(format!("{missing:?} was left out, {left_out:?} was answered"));
        }
        let index = operation.index?;
        let first = &reply["first"];
        let row = told.get(first["id"].as_str()?)?.range(..=index).next_back().and_then(|(_, row)| *row);
        let right = index >= self.index() && row.is_some_and(|row| is_shown(record, first, row));
        (!right).then(|| format!("lease {} was answered at index {index} as it is not", first["id"]))
    }
}

/// What is other of a lease than was asked for.
fn other(wish: &Value, row: &Value, span: Span) -> Option<String> {
    if (row["start"].as_u64(), row["end"].as_u64()) != (Some(u64::from(span.start)), Some(u64::from(span.end))) {
        return Some(format!("the rule says {span:?}, it is from {} to {}", row["start"], row["end"]));
    }
    let asked = &wish["lease"];
    for field in ["name", "project_id", "user_id"] {
        if asked[field] != row[field] {
            return Some(format!("{field} {} was asked for, {} was made", asked[field], row[field]));
        }
    }
    if row["series"]["mode"] != wish["recurrence"]["mode"] {
        return Some(format!("its mode is {}", row["series"]["mode"]));
    }
    let (asked, made) = (asked["reservations"].as_array()?, row["reservations"].as_array()?);
    let alike = |(asked, made): (&Value, &Value)| {
        asked["resource"] == made["wish"] && asked["on_end"] == made["on_end"] && made["staging"].is_null()
    };
    let alike = asked.len() == made.len() && asked.iter().zip(made).all(alike);
    (!alike).then(|| "other reservations were made than asked for".to_owned())
}

/// What is wrong with the deletion of a series. What has started is known by its event, as everybody is told it.
fn deleted(operation: &Operation, all: &BTreeMap<&str, Made<'_>>, told: &Leases<'_>) -> Option<String> {
    let applied = &operation.body["resolved"]["applied"];
    let index = match operation.ending {
        Ending::Ok => operation.index?,
        Ending::Info if applied["rejection"].is_null() => applied["ledger_index"].as_u64()?,
        Ending::Info | Ending::Fail => return None,
    };
    let series = operation.body["request"]["series_id"].as_str()?;
    let made = all.get(series).map_or(&[][..], |made| made.leases.as_slice());
    let (mut to_come, mut started, mut gone) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (_, _, id, _) in made {
        let before = told.get(id).and_then(|seen| seen.range(..index).next_back()).and_then(|(_, row)| *row);
        let Some(before) = before else { continue };
        let undone = |event: &Value| event["kind"] == "start_lease" && event["status"] == "UNDONE";
        let is_to_come = before["events"].as_array().is_some_and(|events| events.iter().any(undone));
        if is_to_come {
            to_come.insert(*id)
        } else {
            started.insert(*id)
        };
        if told.get(id).and_then(|seen| seen.get(&index)).is_some_and(Option::is_none) {
            gone.insert(*id);
        }
    }
    if gone != to_come {
        return Some(format!("at index {index} {to_come:?} had not started, {gone:?} was deleted"));
    }
    if operation.ending == Ending::Info {
        return None;
    }
    let said = |field: &str| {
        let all = operation.body["reply"][field].as_array().into_iter().flatten();
        all.filter_map(Value::as_str).collect::<BTreeSet<_>>()
    };
    let right = said("deleted") == to_come && said("kept") == started;
    (!right).then(|| format!("{to_come:?} was deleted and {started:?} kept, it was answered {}", operation.body["reply"]))
}

/// What was booked is a plan for what was asked for.
fn plans(all: &BTreeMap<&str, Made<'_>>, replay: &mut Replay<'_>, sheet: &mut Sheet) {
    let mut made: Vec<&Made<'_>> = all.values().collect();
    made.sort_by_key(|made| made.index());
    for made in made {
        let model = replay.go(made.index());
        for (number, _, id, _) in &made.leases {
            let Some(lease) = model.leases.get(*id) else { continue };
            let problem = lease.reservations.iter().find_map(|one| plan_problem(one, &model.hosts));
            sheet.must(problem.is_none(), || format!("lease {id}, number {number} of series {}: {problem:?}", made.id));
        }
    }
}

/// Whether there was really no room: at some index of a time.
struct Question<'a> {
    n: u64,
    what: String,
    /// Indices: for a refusal the one that it carries.
    low: u64,
    high: u64,
    /// Whose leases take no room from it.
    series: Option<&'a str>,
    wish: Wish,
    /// Occurrences, each with the number of earlier ones that may lie beside it.
    spans: Vec<(Span, u64)>,
    /// It is wrong if there was room for all of them; else, if there was for any.
    of_all: bool,
}

impl<'a> Question<'a> {
    /// What an answer says of room: that there was none for a series, or for what was left out of it.
    fn of(operation: &Operation, expected: &[Span], made: Option<&Made<'a>>, replay: &Replay<'_>) -> Vec<Question<'a>> {
        let wish = &operation.body["request"]["wish"];
        let reply = &operation.body["reply"];
        // Reservations of one lease may lie on the same hosts: two of them are not judged.
        let [one] = wish["lease"]["reservations"].as_array().map_or(&[][..], Vec::as_slice) else { return Vec::new() };
        let Ok(asked) = serde_json::from_value::<Wish>(one["resource"]["instance"].clone()) else { return Vec::new() };
        let meets = |one: &Span, other: &Span| one.start < other.end && other.start < one.end;
        let n = operation.n;
        if operation.ending == Ending::Fail && reply["kind"] == "no_room" {
            let Some(index) = operation.index else { return Vec::new() };
            let best_effort = wish["recurrence"]["mode"] == "best_effort";
            let beside = |place: usize| {
                let earlier = expected[..place].iter().filter(|other| meets(other, &expected[place])).count();
                // With best effort nothing had room, so that nothing lies beside it.
                if best_effort { 0 } else { earlier as u64 }
            };
            let spans = expected.iter().enumerate().map(|(place, span)| (*span, beside(place))).collect();
            let what = "there was no room for it".to_owned();
            return vec![Question { n, what, low: index, high: index, series: None, wish: asked, spans, of_all: !best_effort }];
        }
        let (Some(made), Ending::Ok) = (made, operation.ending) else { return Vec::new() };
        let left_out = reply["left_out"].as_array().into_iter().flatten();
        let numbers = left_out.clone().filter(|one| one["reason"]["no_room"].is_object());
        let for_want: Vec<usize> =
            numbers.filter_map(|one| usize::try_from(one["occurrence"]["number"].as_u64()?).ok()).collect();
        let (low, high) = (replay.applied_by(operation.invoke_ns), made.index());
        let question = |number: &usize| {
            let place = number.checked_sub(1)?;
            let span = *expected.get(place)?;
            let earlier =
                (1..).zip(&expected[..place]).filter(|(number, other)| !for_want.contains(number) && meets(other, &span));
            let spans = vec![(span, earlier.count() as u64)];
            let what = format!("number {number} was left out for want of room");
            Some(Question { n, what, low, high, series: Some(made.id), wish: asked.clone(), spans, of_all: true })
        };
        for_want.iter().filter_map(question).collect()
    }

    /// Whether it may be so at an index.
    fn bears(&self, model: &Model, unseen: &[Lease]) -> bool {
        let mut full = Model { hosts: model.hosts.clone(), ..Model::default() };
        let own = |lease: &Lease| lease.series.as_ref().is_some_and(|member| Some(member.id.as_str()) == self.series);
        let hidden = unseen.iter().filter(|lease| !model.leases.contains_key(&lease.id));
        for (place, lease) in model.leases.values().chain(hidden).filter(|lease| !own(lease)).enumerate() {
            full.hidden.insert(place.to_string(), lease.clone());
        }
        let fits = |(span, beside): &(Span, u64)| full.most(&self.wish, *span) >= self.wish.amount * (1 + beside);
        let wrong = if self.of_all { self.spans.iter().all(fits) } else { self.spans.iter().any(fits) };
        !wrong
    }
}

/// Each question at every index of its time, until it is answered.
fn rooms(record: &Record, mut questions: Vec<Question<'_>>, sheet: &mut Sheet) {
    let (mut replay, unseen) = (Replay::new(record), Unseen::new(record));
    let mut indices: BTreeSet<u64> = questions.iter().flat_map(|one| [one.low, one.high]).collect();
    let looks = record.audit.iter().map(|look| look.ledger_index);
    let within = |index: &u64| questions.iter().any(|one| one.low < *index && *index < one.high);
    indices.extend(replay.indices().into_iter().chain(looks).filter(within));
    for index in indices {
        let model = replay.go(index);
        questions.retain(|one| {
            if index < one.low {
                return true;
            }
            let holds = one.bears(model, &unseen.during(index, index));
            if holds || index >= one.high {
                sheet.must(holds, || {
                    let Question { n, what, low, high, .. } = one;
                    format!("operation {n} (create_series): {what}, and from index {low} to {high} there was")
                });
                return false;
            }
            true
        });
    }
}

#[cfg(test)]
mod tests;
