//! Rows over time: when each was seen open first, and at which look it was gone.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::record::{Audited, Record};

/// One row from its opening on.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Its number.
    pub id: u64,
    /// As it was opened.
    pub opened: &'a Value,
    /// When somebody had applied its opening first, nanoseconds.
    pub from_ns: u64,
    /// The first look, by index, that does not show it any more.
    pub gone: Option<&'a Audited>,
}

impl Row<'_> {
    /// `start`, `end`, …
    pub fn step(&self) -> &str {
        self.opened["step"].as_str().unwrap_or_default()
    }

    /// Whose.
    pub fn reservation(&self) -> &str {
        self.opened["reservation_id"].as_str().unwrap_or_default()
    }

    /// Whose.
    pub fn lease(&self) -> &str {
        self.opened["lease_id"].as_str().unwrap_or_default()
    }

    /// A time of its own, Unix milliseconds; 0 if it has none of this name.
    pub fn ms(&self, name: &str) -> u64 {
        self.opened[name].as_u64().unwrap_or(0)
    }
}

/// All rows, by number.
pub fn rows(record: &Record) -> Vec<Row<'_>> {
    let mut audit: Vec<&Audited> = record.audit.iter().collect();
    audit.sort_by_key(|one| one.ledger_index);
    let mut rows: BTreeMap<u64, Row<'_>> = BTreeMap::new();
    let mut open: Vec<u64> = Vec::new();
    for look in audit {
        let mut now = Vec::new();
        for row in &look.actuations {
            let Some(id) = row["id"].as_u64() else { continue };
            now.push(id);
            let known = rows.entry(id).or_insert(Row { id, opened: row, from_ns: look.at_ns, gone: None });
            // Looks are taken by several nodes: a higher index may be seen before a lower one.
            known.from_ns = known.from_ns.min(look.at_ns);
        }
        for id in open.iter().filter(|id| !now.contains(id)) {
            if let Some(row) = rows.get_mut(id) {
                row.gone = Some(look);
            }
        }
        open = now;
    }
    rows.into_values().collect()
}
