//! Leases as lists showed them. A list of an hour shows hundreds of leases, most of them as the list before did: so each row
//! stands in the record once, under its digest, and lists name rows ([`Record::listed`](crate::record::Record::listed)).

use std::collections::BTreeMap;

use leasehold_ledger::model::{Lease, LeaseId};
use parking_lot::Mutex;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

/// See the module.
#[derive(Debug, Default)]
pub struct Rows {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<u128, Value>,
    /// As each lease was shown last, with its digest: what is the same is not encoded again.
    last: BTreeMap<LeaseId, (Lease, String)>,
}

impl Rows {
    /// The digests of these leases, in their order; those seen for the first time are kept.
    pub fn name(&self, leases: &[Lease]) -> Value {
        let Inner { known, last } = &mut *self.inner.lock();
        let mut text = Vec::new();
        let digests = leases.iter().map(|lease| {
            if let Some((_, digest)) = last.get(&lease.id).filter(|(shown, _)| shown == lease) {
                return Value::String(digest.clone());
            }
            text.clear();
            serde_json::to_writer(&mut text, lease).expect("a lease encodes as JSON, and a Vec takes every write");
            let digest = xxh3_128(&text);
            known.entry(digest).or_insert_with(|| serde_json::from_slice(&text).expect("what was just encoded decodes"));
            last.insert(lease.id, (lease.clone(), name(digest)));
            Value::String(name(digest))
        });
        digests.collect()
    }

    /// The same of leases of which a client was told only a part.
    pub fn name_told(&self, leases: impl Iterator<Item = Value>) -> Value {
        let known = &mut self.inner.lock().known;
        let digests = leases.map(|lease| {
            let digest = xxh3_128(lease.to_string().as_bytes());
            known.entry(digest).or_insert(lease);
            Value::String(name(digest))
        });
        digests.collect()
    }

    /// Every row seen, by digest; none is left.
    pub fn take(&self) -> BTreeMap<String, Value> {
        let Inner { known, .. } = std::mem::take(&mut *self.inner.lock());
        known.into_iter().map(|(digest, lease)| (name(digest), lease)).collect()
    }
}

fn name(digest: u128) -> String {
    format!("{digest:032x}")
}
