//! Y1: a lease gives way only if its owner allowed that, to one of a higher priority that asked for it and is booked by the same entry,
//! while it has not begun and does not begin within ten seconds, and not for nothing: beside it there would be no room for the
//! other where it lies. From then on it has nothing, says why, and stays so until it is deleted. That a create is refused
//! although others could give way is the witness's (`inquiries.rs`), that nothing of such a lease is opened, A3's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{FROZEN_S, Lease, Model};
use super::replay::Replay;
use super::unseen::Unseen;
use super::{Judgement, Sheet};
use crate::history::Operation;
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let (asked, unseen) = (asked(record), Unseen::new(record));
    let mut replay = Replay::new(record);
    // Those that gave way and are there still.
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for index in replay.indices() {
        let told: Vec<Lease> = replay.changes_at(index).iter().filter_map(|change| read(&change["lease"])).collect();
        let code = |id: &str| {
            let row = replay.changes_at(index).iter().map(|change| &change["lease"]).find(|row| row["id"] == id);
            row.map_or(Value::Null, |row| row["reason"]["code"].clone())
        };
        let codes: Vec<Value> = told.iter().map(|one| code(&one.id)).collect();
        for id in replay.changes_at(index).iter().filter_map(|change| change["lease_removed"].as_str()) {
            gone.remove(id);
        }
        let before: BTreeMap<String, Lease> =
            told.iter().filter_map(|one| Some((one.id.clone(), replay.model().leases.get(&one.id)?.clone()))).collect();
        let clock = replay.clock_s(index.saturating_sub(1));
        replay.go(index);
        for (one, code) in told.iter().zip(&codes) {
            let id = &one.id;
            let Some(preempted) = &one.preempted else {
                sheet.must(!gone.contains(id), || format!("at index {index} lease {id} is back that gave way"));
                continue;
            };
            sheet.must(one.status == "ERROR" && one.reservations.iter().all(|one| one.status == "deleted"), || {
                format!("at index {index} lease {id} gave way, and is {} with something left", one.status)
            });
            sheet.must(*code == "PREEMPTED", || format!("at index {index} lease {id} gave way, and says {code}"));
            if !gone.insert(id.clone()) {
                continue;
            }
            let by = told.iter().find(|other| other.id == preempted.by && !before.contains_key(&other.id));
            let problem = match (before.get(id), by) {
                (None, _) => Some("was not there before".to_owned()),
                (_, None) => Some(format!("gave way to {}, which was not booked then", preempted.by)),
                (Some(victim), Some(by)) => wrongly(victim, by, clock, asked.get(id.as_str())).or_else(|| {
                    let full = unseen.beside(replay.model(), index);
                    needless(&full, victim, by).then(|| format!("gave way to {} for nothing", by.id))
                }),
            };
            sheet.must(problem.is_none(), || {
                format!("at index {index}, second {clock} or later, lease {id} {}", problem.as_deref().unwrap_or_default())
            });
        }
    }
    sheet.close("Y1")
}

fn read(row: &Value) -> Option<Lease> {
    // What does not read is told of by the witness, which reads the same lines.
    row.is_object().then(|| serde_json::from_value(row.clone()).ok()).flatten()
}

/// What clients asked for, by the lease that was made.
fn asked(record: &Record) -> BTreeMap<&str, &Operation> {
    let made = |one: &'_ Operation| one.op == "create";
    let creates = record.history.iter().filter(|one| made(one));
    creates.filter_map(|one| Some((one.body["reply"]["id"].as_str()?, one))).collect()
}

/// What is wrong with that a lease gave way; `None`: it was to.
fn wrongly(victim: &Lease, by: &Lease, clock: u32, asked: Option<&&Operation>) -> Option<String> {
    let (low, high) = (victim.precedence.priority, by.precedence.priority);
    let allowed = asked.is_none_or(|one| one.body["request"]["wish"]["precedence"]["preemptible"] == true);
    if !victim.precedence.preemptible || !allowed {
        return Some("gave way, and did not allow that".to_owned());
    }
    if !by.precedence.preempt || high <= low {
        return Some(format!("of priority {low} gave way to {} of {high}, which asked for it: {}", by.id, by.precedence.preempt));
    }
    if !victim.gives_way(high, clock) {
        let begins = victim.begins();
        return Some(format!("gave way, was {} and began {begins}, within {FROZEN_S} s or before", victim.status));
    }
    None
}

/// Whether there is room for both, in a ledger in which only the other is booked.
fn needless(model: &Model, victim: &Lease, by: &Lease) -> bool {
    let hosts: BTreeSet<u64> = by.reservations.iter().flat_map(|one| &one.bindings).map(|one| one.host).collect();
    let borders: BTreeSet<u32> = model
        .leases
        .values()
        .chain(model.hidden.values())
        .chain([victim])
        .flat_map(Lease::borders)
        .chain(model.hosts.values().flat_map(|host| &host.downtimes).flat_map(|one| [one.interval.start, one.interval.end]))
        .collect();
    !hosts.iter().filter_map(|id| model.hosts.get(id)).any(|host| {
        borders.iter().any(|second| {
            let (booked, own, more) =
                (model.booked(host.id, *second), by.taken(host.id, *second), victim.taken(host.id, *second));
            let left = host.left(*second);
            own.iter().any(|amount| *amount > 0) && (0..4).any(|class| booked[class] + more[class] > left[class])
        })
    })
}

#[cfg(test)]
mod tests;
