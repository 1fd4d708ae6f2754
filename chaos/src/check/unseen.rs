//! Leases that no subscription tells: being created, or deleted and not yet confirmed by the cloud. What is known of them are the
//! looks at nodes, which may come after several commands at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::model::{Lease, Model};
use crate::record::{Audited, Record};

/// All looks, by index.
pub struct Unseen<'a> {
    looks: BTreeMap<u64, &'a Audited>,
}

impl<'a> Unseen<'a> {
    /// Of a record.
    pub fn new(record: &'a Record) -> Unseen<'a> {
        Unseen { looks: record.audit.iter().map(|look| (look.ledger_index, look)).collect() }
    }

    /// What may have been there at any index from one to another, each as often as it was different.
    pub fn during(&self, low: u64, high: u64) -> Vec<Lease> {
        let first = self.looks.range(..=low).next_back().map_or(low, |(index, _)| *index);
        let last = self.looks.range(high..).next().map_or(high, |(index, _)| *index);
        let mut known: BTreeMap<&str, Vec<&Arc<Value>>> = BTreeMap::new();
        for (_, look) in self.looks.range(first..=last.max(first)) {
            for (id, row) in &look.hidden {
                let had = known.entry(id).or_default();
                if !had.contains(&row) {
                    had.push(row);
                }
            }
        }
        // What does not read is told of by the witness, which reads the same rows.
        known.into_values().flatten().filter_map(|row| Lease::deserialize(&**row).ok()).collect()
    }

    /// A ledger at an index with all that may have been there unseen.
    pub fn beside(&self, model: &Model, index: u64) -> Model {
        let unseen = self.during(index, index).into_iter().filter(|lease| !model.leases.contains_key(&lease.id));
        let hidden = (0..).zip(unseen).map(|(place, lease): (u64, Lease)| (place.to_string(), lease)).collect();
        Model { leases: model.leases.clone(), hidden, hosts: model.hosts.clone() }
    }
}
