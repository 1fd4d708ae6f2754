//! Where to look: what a checker's evidence names, as places on the timeline.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use crate::check::model::CALENDAR_UNIX_S;
use crate::history::{Ending, Operation};
use crate::record::Record;

/// So many operations are shown as the smallest set that explains a finding.
const OPERATIONS_MAX: usize = 12;

/// One piece of evidence and what it names. Times are microseconds after the run's start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Focus {
    /// Which checker says it.
    pub check: String,
    /// What it says.
    pub text: String,
    /// Operations by number, in the order they are named.
    pub operations: Vec<u64>,
    /// Nodes.
    pub nodes: BTreeSet<u64>,
    /// Leases and reservations, as far as the record knows them.
    pub ids: BTreeSet<String>,
    /// Instants to mark, each with what happened then.
    pub marks: Vec<(u64, String)>,
    /// When it was seen to be broken, if the evidence tells.
    pub at: Option<u64>,
    /// The stretch to open; `None`: the evidence names no instant, and the whole run is shown.
    pub view: Option<(u64, u64)>,
}

/// Looks up in the record what evidence names.
pub struct Places<'a> {
    record: &'a Record,
    /// By whom an index was first seen applied, microseconds.
    indices: BTreeMap<u64, u64>,
    /// Microseconds of each line of the cloud.
    lines: BTreeMap<u64, u64>,
    /// Lease and start, microseconds, by the id of a lease or a reservation.
    ids: BTreeMap<String, (String, Option<u64>)>,
}

impl<'a> Places<'a> {
    /// Of a record; `ids`: known leases and reservations with the start of each lease.
    pub fn new(record: &'a Record, ids: BTreeMap<String, (String, Option<u64>)>) -> Places<'a> {
        let mut indices = BTreeMap::new();
        for one in &record.audit {
            indices.entry(one.ledger_index).or_insert(one.at_ns / 1_000);
        }
        let since = |at_ms: u64| at_ms.saturating_sub(record.epoch_ms) * 1_000;
        let lines = record.cloud.iter().map(|line| (line.n, since(line.at_ms))).collect();
        Places { record, indices, lines, ids }
    }

    /// What a text names. `at_ns`: when it was found, if that is known.
    #[must_use]
    pub fn focus(&self, check: &str, text: &str, at_ns: Option<u64>) -> Focus {
        let named = read(text);
        let mut focus = Focus { check: check.to_owned(), text: text.to_owned(), nodes: named.nodes, ..Focus::default() };
        let mut marks: Vec<(u64, String)> = Vec::new();
        let history = &self.record.history;
        let known = |n: &u64| history.iter().find(|operation| operation.n == *n);
        for operation in named.operations.iter().filter_map(known).take(OPERATIONS_MAX) {
            if !focus.operations.contains(&operation.n) {
                focus.operations.push(operation.n);
                marks.push((operation.invoke_ns / 1_000, format!("operation {} begins", operation.n)));
                marks.push((operation.return_ns / 1_000, format!("operation {} is answered", operation.n)));
            }
        }
        for index in named.indices.iter().copied() {
            // A look may have come after several commands at once.
            if let Some((seen, at)) = self.indices.range(index..).next() {
                let text = if *seen == index { format!("index {index}") } else { format!("index {index}, with {seen}") };
                marks.push((*at, text));
            }
        }
        for line in named.lines {
            if let Some(at) = self.lines.get(&line) {
                marks.push((*at, format!("line {line} of the cloud")));
            }
        }
        marks.extend(named.instants_ns.iter().map(|at_ns| (at_ns / 1_000, format!("{:.3} s", *at_ns as f64 / 1e9))));
        marks.extend(at_ns.map(|at_ns| (at_ns / 1_000, "found".to_owned())));
        for id in named.ids {
            if let Some((lease, start)) = self.ids.get(&id) {
                focus.ids.insert(id);
                focus.ids.insert(lease.clone());
                if marks.is_empty() {
                    marks.extend(start.map(|start| (start, "the lease's start".to_owned())));
                }
            }
        }
        focus.at = at_ns.map(|at_ns| at_ns / 1_000).or(marks.iter().map(|(at, _)| *at).max());
        // Who made the change at an index that is named, and who booked a lease that is: the operations behind the finding.
        let changes = |operation: &&Operation| {
            matches!(
                operation.op.as_str(),
                "create" | "update" | "claim" | "delete" | "create_series" | "delete_series" | "set_quota"
            )
        };
        for operation in history.iter().filter(changes) {
            let lease = operation.body["reply"]["id"].as_str().or(operation.body["request"]["lease_id"].as_str());
            let at_index = operation.index.is_some_and(|index| named.indices.contains(&index)) && operation.ending == Ending::Ok;
            let of_lease = operation.op == "create" && lease.is_some_and(|lease| focus.ids.contains(lease));
            let room = focus.operations.len() < OPERATIONS_MAX && !focus.operations.contains(&operation.n);
            if (at_index || of_lease) && room {
                focus.operations.push(operation.n);
                focus.ids.extend(lease.filter(|_| at_index).map(str::to_owned));
            }
        }
        marks.sort();
        marks.dedup();
        if let (Some((first, _)), Some((last, _))) = (marks.first(), marks.last()) {
            let around = ((last - first) / 4).clamp(2_000_000, 30_000_000);
            focus.view = Some((first.saturating_sub(around), last + around));
        }
        // What is booked for later is marked, but lies far away from where it went wrong.
        for second in named.seconds {
            if let Some(at_ms) = ((second + CALENDAR_UNIX_S) * 1_000).checked_sub(self.record.epoch_ms) {
                marks.push((at_ms * 1_000, format!("second {second} of the calendar")));
            }
        }
        focus.marks = marks;
        focus
    }
}

/// What a text names, by the words before its figures.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    operations: Vec<u64>,
    indices: Vec<u64>,
    lines: Vec<u64>,
    nodes: BTreeSet<u64>,
    instants_ns: Vec<u64>,
    seconds: Vec<u64>,
    ids: BTreeSet<String>,
}

fn read(text: &str) -> Named {
    let mut named = Named::default();
    let words: Vec<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))).collect();
    let words: Vec<&str> = words.into_iter().map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty()).collect();
    let mut about = "";
    for (at, word) in words.iter().enumerate() {
        if let Some(id) = id(word) {
            named.ids.insert(id);
        }
        let Ok(figure) = word.parse::<u64>() else {
            // `operations 3 and 9`: what is named goes on over an "and".
            if *word != "and" {
                about = word;
            }
            continue;
        };
        match (about, words.get(at + 1).copied()) {
            (_, Some("ns")) => named.instants_ns.push(figure),
            (_, Some("ms" | "us" | "s")) => {}
            ("operation" | "operations", _) => named.operations.push(figure),
            ("index", _) => named.indices.push(figure),
            ("line", _) => named.lines.push(figure),
            ("node" | "nodes", _) => drop(named.nodes.insert(figure)),
            ("second", _) => named.seconds.push(figure),
            _ => {}
        }
    }
    named
}

/// The id of a lease or reservation, written as such or as a resource class.
fn id(word: &str) -> Option<String> {
    let plain = word.strip_prefix("CUSTOM_RESERVATION_").map(|class| class.replace('_', "-"));
    let plain = plain.as_deref().unwrap_or(word);
    (plain.len() == 36).then(|| Uuid::parse_str(plain).ok().map(|id| id.to_string())).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::testing::{Made, line, operation};

    #[test]
    fn the_words_before_figures_say_what_they_are() {
        let named = read("operation 4 (get) is at index 7, but operation 2 was answered at index 9 before it began");
        assert_eq!((named.operations, named.indices), (vec![4, 2], vec![7, 9]));
        assert_eq!(read("operations 3 and 12 both claim index 5.").operations, [3, 12]);
        let named =
            read("line 44: flavor.access_added (node-2) opens lease 0b5d3a8e-6a3c-4f3f-9a55-0d5a4d0f7e11 900 ms too early");
        assert_eq!((named.lines, named.ids.len(), named.operations.len()), (vec![44], 1, 0));
        let named = read(
            "nodes 1 and 3 both lead in term 5; at 1500 ns node 2 of CUSTOM_RESERVATION_0B5D3A8E_6A3C_4F3F_9A55_0D5A4D0F7E11",
        );
        assert_eq!((named.nodes.len(), named.instants_ns), (3, vec![1_500]));
        assert!(named.ids.contains("0b5d3a8e-6a3c-4f3f-9a55-0d5a4d0f7e11"));
        assert_eq!(read("at index 3: host 1 has 5 of 4 in second 150").seconds, [150]);
        assert_eq!(read("committed after 41000 ms only"), Named::default());
    }

    #[test]
    fn the_view_holds_every_instant_that_is_named() {
        let history = (0..3).map(|_| operation("get", Ending::Ok, Some(7), json!({}))).collect();
        let mut made = Made { history, ..Made::default() };
        made.history.push(operation("delete", Ending::Ok, Some(7), json!({"request": {"lease_id": "a"}})));
        made.audit_at(7, 40_000_000_000, &[]);
        made.cloud = vec![line(1, 50_000, "server.active", "s", json!({}))];
        let record = made.record();
        let places = Places::new(&record, BTreeMap::new());
        let focus = places.focus("L1", "at index 7: too much", None);
        assert_eq!((focus.operations, focus.ids.len()), (vec![3], 1), "the change at this index, not the reads");
        let focus = places.focus("witness", "operation 2 at line 1, operation 99", None);
        assert_eq!((focus.operations.as_slice(), focus.at), (&[2][..], Some(50_000_000)));
        let (from, to) = focus.view.expect("instants are named");
        assert!(from == 0 && to > 50_000_000 && focus.marks.iter().all(|(at, _)| (from..=to).contains(at)));
        assert_eq!(places.focus("S1", "nothing that is known", None).view, None);
        assert_eq!(places.focus("H1", "hashes differ", Some(3_000_000)).at, Some(3_000));
    }
}
