//! Replays the record host by host: never more promised or used than there is.

use std::collections::BTreeMap;

use leasehold_cloudsim::Record;

use super::history::{History, class_of, instant};
use crate::cloud::Capacity;

/// Who takes room on a host: the servers of one reservation and its open tokens, of which the larger number counts,
/// because every server holds one token. Ordinary servers stand for themselves.
#[derive(Default)]
struct Share {
    open: u64,
    servers: u64,
    size: Capacity,
}

/// Every instant at which servers and open tokens on a host came to more than it has, for people.
pub fn double_booked(record: &[Record], capacities: &BTreeMap<String, Capacity>) -> Vec<String> {
    let history = History::of(record);
    let by_class: BTreeMap<String, Capacity> = history.flavors.iter().map(|(id, size)| (class_of(id), *size)).collect();
    let mut shares: BTreeMap<(String, String), Share> = BTreeMap::new();
    let mut at_home: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut found = Vec::new();
    for line in record {
        for change in &line.changes {
            if matches!(
                change.what.as_str(),
                "server.shelved_offloaded" | "server.deleted" | "server.error" | "server.unshelve_failed"
            ) {
                if let Some(home) = at_home.remove(&change.id)
                    && let Some(share) = shares.get_mut(&home)
                {
                    share.servers -= 1;
                }
                continue;
            }
            let Some(host) = change.host.clone() else { continue };
            match change.what.as_str() {
                "inventory.set" | "inventory.removed" => {
                    let class = change.facts["class"].as_str().unwrap_or_default();
                    let Some(size) = by_class.get(class) else { continue };
                    let amount = |name: &str| change.facts[name].as_u64().unwrap_or(0);
                    let share = shares.entry((host.clone(), class.to_owned())).or_default();
                    share.size = *size;
                    share.open = amount("total").saturating_sub(amount("reserved"));
                }
                "server.scheduled" => {
                    let flavor = history.flavor_of.get(&change.id).cloned().unwrap_or_default();
                    let class = class_of(&flavor);
                    // An ordinary server is a share of its own.
                    let owner = if history.tokens.contains_key(&class) { class } else { change.id.clone() };
                    let share = shares.entry((host.clone(), owner.clone())).or_default();
                    share.size = history.size_of.get(&change.id).copied().unwrap_or_default();
                    share.servers += 1;
                    at_home.insert(change.id.clone(), (host.clone(), owner));
                }
                _ => continue,
            }
            let Some(room) = capacities.get(&host) else { continue };
            let taken = shares
                .iter()
                .filter(|((on, _), _)| *on == host)
                .fold(Capacity::default(), |sum, (_, share)| sum.plus(share.size.times(share.open.max(share.servers))));
            if !taken.fits(*room) {
                found.push(format!("{host} at {} after {}: {taken:?} of {room:?}", instant(line), change.text));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use leasehold_cloudsim::{Change, Kind};
    use serde_json::{Value, json};

    use super::*;

    fn line(what: &str, id: &str, facts: Value) -> Record {
        let change =
            Change { what: what.to_owned(), id: id.to_owned(), host: Some("h".to_owned()), text: what.to_owned(), facts };
        Record {
            n: 0,
            at_ms: 1,
            kind: Kind::Event,
            of: None,
            received_at: None,
            applied_at: Some(1),
            answered: None,
            service: "compute".to_owned(),
            method: String::new(),
            path: String::new(),
            status: 0,
            caller: String::new(),
            user: String::new(),
            global_request_id: String::new(),
            request_id: String::new(),
            body: Value::Null,
            fault: None,
            changes: vec![change],
        }
    }

    fn token(open: u64) -> Record {
        line("inventory.set", "p", json!({"class": class_of("r"), "total": 2, "reserved": 2 - open}))
    }

    fn server(id: &str, flavor: &str) -> Record {
        line("server.scheduled", id, json!({"flavor_id": flavor, "vcpus": 1, "ram": 1, "disk": 0, "action": "create"}))
    }

    fn with_flavor(rest: Vec<Record>) -> Vec<Record> {
        let mut record = vec![line("flavor.created", "r", json!({"vcpus": 1, "ram": 1, "disk": 0}))];
        record.extend(rest);
        record
    }

    fn room() -> BTreeMap<String, Capacity> {
        [("h".to_owned(), Capacity { vcpus: 2, memory_mb: 2, disk_gb: 0 })].into()
    }

    #[test]
    fn a_server_and_its_token_count_once() {
        assert!(double_booked(&with_flavor(vec![token(2), server("a", "r"), server("b", "r")]), &room()).is_empty());
    }

    #[test]
    fn an_ordinary_server_on_promised_room_is_found() {
        assert_eq!(double_booked(&with_flavor(vec![token(2), server("x", "small")]), &room()).len(), 1);
    }

    #[test]
    fn a_deleted_server_gives_its_room_back() {
        let gone = line("server.deleted", "x", json!({}));
        assert!(double_booked(&with_flavor(vec![server("x", "small"), gone, token(2)]), &room()).is_empty());
    }

    #[test]
    fn servers_on_closed_tokens_still_take_room() {
        let record = with_flavor(vec![token(2), server("a", "r"), server("b", "r"), token(0), server("x", "small")]);
        assert_eq!(double_booked(&record, &room()).len(), 1);
    }
}
