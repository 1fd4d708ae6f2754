//! What each lease was told to be, by the index at which it was.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::record::Record;

/// Leases by id and index; `None` where one was told as removed.
pub type Leases<'a> = BTreeMap<&'a str, BTreeMap<u64, Option<&'a Value>>>;

/// As subscriptions told it.
pub fn told(record: &Record) -> Leases<'_> {
    let mut leases = Leases::new();
    for line in &record.watches {
        let Some(index) = line.index else { continue };
        let lease = &line.change["lease"];
        if let Some(id) = line.change["lease_removed"].as_str() {
            leases.entry(id).or_default().insert(index, None);
        } else if let Some(id) = lease["id"].as_str() {
            leases.entry(id).or_default().insert(index, Some(lease));
        }
    }
    leases
}
