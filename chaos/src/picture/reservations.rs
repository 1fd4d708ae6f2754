//! Reservations for the picture: what was booked for when, when the cloud had it open, and every call made for it.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_cloudsim::Kind;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::data::{Words, calendar_us};
use crate::check::cloud::{Cloud, reservation_of, sendings};
use crate::record::{CloudLine, Record};

/// A call of a node: when it took effect, its sender's term (0: not known), its sender, the status it got, what it was (a
/// word), the fault that struck it (a word), and its line in the cloud's record.
pub type Call = (u64, u64, u64, u16, usize, Option<usize>, u64);

/// One reservation. Times are microseconds after the run's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reserved {
    /// Its id.
    pub id: String,
    /// Its lease.
    pub lease: String,
    /// The lease's name.
    pub name: String,
    /// Servers.
    pub amount: u64,
    /// As last booked.
    pub start: u64,
    /// As last booked; `None`: open.
    pub end: Option<u64>,
    /// The staging window.
    pub staging: Option<(u64, u64)>,
    /// When the cloud let servers of it run, `[from, until]`.
    pub open: Vec<(u64, u64)>,
    /// `[at, status]` of the lease, by changes as subscriptions told them.
    pub statuses: Vec<(u64, String)>,
    /// When it was deleted.
    pub removed: Option<u64>,
    /// The calls for it.
    pub calls: Vec<Call>,
}

/// All reservations by their start, and the calls that belong to none.
pub fn of(record: &Record, words: &mut Words) -> (Vec<Reserved>, Vec<Call>) {
    let mut all: BTreeMap<String, Reserved> = BTreeMap::new();
    let hidden = record.audit.iter().flat_map(|one| one.hidden.values().map(move |lease| (one.at_ns, &**lease)));
    let told = record.watches.iter().map(|line| (line.at_ns, &line.change["lease"]));
    let mut rows: Vec<(u64, &Value)> = hidden.chain(told.filter(|(_, lease)| lease.is_object())).collect();
    rows.sort_by_key(|(at_ns, _)| *at_ns);
    for (at_ns, lease) in rows {
        booked(&mut all, at_ns / 1_000, lease, record.epoch_ms);
    }
    for line in &record.watches {
        if let Some(id) = line.change["lease_removed"].as_str() {
            let of = all.values_mut().filter(|one| one.lease == id && one.removed.is_none());
            of.for_each(|one| one.removed = Some(line.at_ns / 1_000));
        }
    }
    let calls = follow(record, &mut all, words);
    let mut all: Vec<Reserved> = all.into_values().collect();
    all.sort_by(|one, other| (one.start, &one.id).cmp(&(other.start, &other.id)));
    (all, calls)
}

fn booked(all: &mut BTreeMap<String, Reserved>, at: u64, lease: &Value, epoch_ms: u64) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for one in lease["reservations"].as_array().into_iter().flatten() {
        let (Some(id), Some(start)) = (one["id"].as_str(), calendar_us(&lease["start"], epoch_ms)) else { continue };
        let entry = all.entry(id.to_owned()).or_insert_with(|| Reserved {
            id: id.to_owned(),
            lease: text(&lease["id"]),
            name: String::new(),
            amount: 0,
            start,
            end: None,
            staging: None,
            open: Vec::new(),
            statuses: Vec::new(),
            removed: None,
            calls: Vec::new(),
        });
        let window = &one["staging"]["window"];
        entry.name = text(&lease["name"]);
        entry.amount = one["wish"]["instance"]["amount"].as_u64().unwrap_or(0);
        (entry.start, entry.end) = (start, calendar_us(&lease["end"], epoch_ms));
        entry.staging = calendar_us(&window["start"], epoch_ms).zip(calendar_us(&window["end"], epoch_ms));
        let status = text(&lease["status"]);
        if entry.statuses.last().is_none_or(|(_, last)| *last != status) {
            entry.statuses.push((at, status));
        }
    }
}

/// Goes through the cloud's record: calls to their reservations, and when tokens are open.
fn follow(record: &Record, all: &mut BTreeMap<String, Reserved>, words: &mut Words) -> Vec<Call> {
    let senders = sendings(record);
    let mut cloud = Cloud::default();
    let mut open_since: BTreeMap<String, u64> = BTreeMap::new();
    let mut others = Vec::new();
    for line in &record.cloud {
        let at = line.at_ms.saturating_sub(record.epoch_ms) * 1_000;
        let mut classes: BTreeSet<String> = BTreeSet::new();
        let mut about = named(line, &cloud);
        for change in &line.changes {
            cloud.follow(line, change);
            classes.extend(change.facts["class"].as_str().filter(|_| change.what.starts_with("inventory.")).map(str::to_owned));
        }
        about.extend(named(line, &cloud));
        about.retain(|id| all.contains_key(id));
        for class in classes {
            let Some(one) = reservation_of(&class).and_then(|id| all.get_mut(&id)) else { continue };
            let open: u64 = cloud.inventories.iter().filter(|((_, of), _)| *of == class).map(|(_, tokens)| tokens.open).sum();
            match (open > 0, open_since.contains_key(&one.id)) {
                (true, false) => drop(open_since.insert(one.id.clone(), at)),
                (false, true) => one.open.extend(open_since.remove(&one.id).map(|from| (from, at))),
                _ => {}
            }
        }
        if line.kind == Kind::Event || !line.caller.starts_with("node-") {
            continue;
        }
        let sent = senders.get(line.global_request_id.as_str());
        let node = line.caller.strip_prefix("node-").and_then(|node| node.parse().ok()).unwrap_or(0);
        let call = (
            at,
            sent.and_then(|sent| sent.term).unwrap_or(0),
            node,
            line.status,
            words.number(&what(line)),
            line.fault.as_deref().map(|fault| words.number(fault)),
            line.n,
        );
        if about.is_empty() {
            others.push(call);
        }
        for id in about {
            all.get_mut(&id).into_iter().for_each(|one| one.calls.push(call));
        }
    }
    let end = record.incidents.last().map_or(0, |last| last.at_ns / 1_000);
    for (id, from) in open_since {
        all.get_mut(&id).into_iter().for_each(|one| one.open.push((from, end.max(from))));
    }
    others
}

/// The reservations that a line is about: named by its path, its body, its changes, or by their servers.
fn named(line: &CloudLine, cloud: &Cloud) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    find(&line.path, cloud, &mut ids);
    texts(&line.body, &mut |text| find(text, cloud, &mut ids));
    for change in &line.changes {
        find(&change.id, cloud, &mut ids);
        texts(&change.facts, &mut |text| find(text, cloud, &mut ids));
    }
    ids
}

fn find(text: &str, cloud: &Cloud, ids: &mut BTreeSet<String>) {
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))) {
        if let Some(id) = reservation_of(word) {
            ids.insert(id);
        } else if word.len() == 36 && Uuid::parse_str(word).is_ok() {
            ids.insert(word.to_owned());
            ids.extend(cloud.servers.get(word).map(|(flavor, _)| flavor.clone()));
        }
    }
}

/// Every text in a value, names of members too.
fn texts(value: &Value, tell: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => tell(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, tell)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            tell(name);
            texts(value, tell);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A call in a few words: the same for all calls of its kind.
fn what(line: &CloudLine) -> String {
    let path = line.path.split('?').next().unwrap_or_default();
    let long = |part: &str| part.len() >= 32 || part.starts_with("CUSTOM_");
    let parts: Vec<&str> = path.split('/').map(|part| if long(part) { "…" } else { part }).collect();
    let action = line.body.as_object().filter(|body| body.len() == 1 && path.ends_with("/action"));
    let action = action.and_then(|body| body.keys().next()).map_or_else(String::new, |action| format!(" {action}"));
    let late = if line.kind == Kind::Late { "late: " } else { "" };
    format!("{late}{} {} {}{action}", line.service, line.method, parts.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::model::tests::lease;
    use crate::check::testing::{Made, leads, line, sent};

    const RESERVATION: &str = "0b5d3a8e-6a3c-4f3f-9a55-0d5a4d0f7e11";

    fn made() -> Made {
        let mut made = Made::default();
        let mut booked = lease("a", 100, 200, &[(1, 1)]);
        booked["reservations"][0]["id"] = json!(RESERVATION);
        made.watch(2, json!({"lease": booked}));
        let class = "CUSTOM_RESERVATION_0B5D3A8E_6A3C_4F3F_9A55_0D5A4D0F7E11";
        let tokens = |n, at_ms, reserved: u64| {
            line(n, at_ms, "inventory.set", "p", json!({"class": class, "total": 2, "reserved": reserved}))
        };
        made.cloud = vec![tokens(1, 100_000, 0), tokens(2, 190_000, 2), line(3, 195_000, "host.up", "h", json!({}))];
        made.incidents = vec![leads(1, 7, 1)];
        made.calls = vec![sent(1, 1, 99_000_000_000)];
        made
    }

    #[test]
    fn calls_and_open_tokens_are_found_at_their_reservation() {
        let mut words = Words::default();
        let (all, others) = of(&made().record(), &mut words);
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((one.start, one.end), (100_000_000, Some(200_000_000)));
        assert_eq!(one.open, [(100_000_000, 190_000_000)]);
        assert_eq!(
            one.calls.iter().map(|call| (call.0, call.1, call.6)).collect::<Vec<_>>(),
            [(100_000_000, 7, 1), (190_000_000, 0, 2)]
        );
        assert_eq!(others.len(), 1);
    }

    #[test]
    fn what_is_removed_says_when() {
        let mut made = made();
        made.watch(3, json!({"lease_removed": "a"}));
        let (all, _) = of(&made.record(), &mut Words::default());
        assert_eq!(all[0].removed, Some(0));
    }
}
