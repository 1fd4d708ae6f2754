//! Leases as lists showed them. A list of an hour shows hundreds of leases, most of them as the list before did: so each row
//! stands in the record once, under its digest, and lists name rows ([`Record::listed`](crate::record::Record::listed)).

use std::collections::BTreeMap;

use leasehold_ledger::model::Lease;
use parking_lot::Mutex;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

/// See the module.
#[derive(Debug, Default)]
pub struct Rows {
    known: Mutex<BTreeMap<u128, Value>>,
}

impl Rows {
    /// The digests of these leases, in their order; those seen for the first time are kept.
    pub fn name(&self, leases: &[Lease]) -> Value {
        let mut known = self.known.lock();
        let mut text = Vec::new();
        let digests = leases.iter().map(|lease| {
            text.clear();
            serde_json::to_writer(&mut text, lease).expect("a lease encodes as JSON, and a Vec takes every write");
            let digest = xxh3_128(&text);
            known.entry(digest).or_insert_with(|| serde_json::from_slice(&text).expect("what was just encoded decodes"));
            Value::String(name(digest))
        });
        digests.collect()
    }

    /// Every row seen, by digest; none is left.
    pub fn take(&self) -> BTreeMap<String, Value> {
        std::mem::take(&mut *self.known.lock()).into_iter().map(|(digest, lease)| (name(digest), lease)).collect()
    }
}

fn name(digest: u128) -> String {
    format!("{digest:032x}")
}
