//! The ledger's history out of a record: the visible changes as subscriptions told them, index by index, and what was booked
//! unseen as the nodes were looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model::{Host, Lease, Model};
use crate::record::{Audited, Record};

/// Changes by index, each a set: the order inside an index is no promise.
pub struct Replay<'a> {
    changes: BTreeMap<u64, Vec<&'a Value>>,
    audit: BTreeMap<u64, &'a Audited>,
    /// The highest index seen so far, by time.
    reached: Vec<(u64, u64)>,
    /// What does not read.
    pub unreadable: Vec<String>,
    model: Model,
    /// The visible leases as the product wrote them: those of the record, for a copy of each would be most of the work.
    rows: BTreeMap<&'a str, &'a Value>,
    at: u64,
    /// At which index each visible lease changed last.
    changed: BTreeMap<&'a str, u64>,
    /// Leases that changed since they were last asked for.
    news: BTreeSet<String>,
    /// Unseen bookings as they stand in the model.
    hidden: BTreeMap<&'a str, &'a Arc<Value>>,
    /// The looks that tell so.
    looks: (Option<u64>, Option<u64>),
}

impl<'a> Replay<'a> {
    /// From the beginning.
    pub fn new(record: &'a Record) -> Replay<'a> {
        let mut by_subscription: BTreeMap<(u64, u32), Vec<&Value>> = BTreeMap::new();
        for line in &record.watches {
            if let Some(index) = line.index {
                by_subscription.entry((index, line.subscription)).or_default().push(&line.change);
            }
        }
        let mut changes = BTreeMap::new();
        for ((index, _), told) in by_subscription {
            changes.entry(index).or_insert(told);
        }
        let audit = record.audit.iter().map(|one| (one.ledger_index, one)).collect();
        let mut reached: Vec<(u64, u64)> = record.audit.iter().map(|one| (one.at_ns, one.ledger_index)).collect();
        reached.sort_unstable();
        let mut highest = 0;
        for (_, index) in &mut reached {
            highest = highest.max(*index);
            *index = highest;
        }
        let (unreadable, model, rows, changed, news, hidden, looks) = Default::default();
        Replay { changes, audit, reached, unreadable, model, rows, at: 0, changed, news, hidden, looks }
    }

    /// The indices at which something visible changed.
    pub fn indices(&self) -> Vec<u64> {
        self.changes.keys().copied().collect()
    }

    /// What changed at an index.
    pub fn changes_at(&self, index: u64) -> &[&'a Value] {
        self.changes.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Whether a lease changed at an index.
    pub fn touches(&self, index: u64, lease: &str) -> bool {
        self.changes_at(index).iter().any(|change| change["lease"]["id"] == lease || change["lease_removed"] == lease)
    }

    /// By when somebody had applied an index, nanoseconds: a look may come after several commands at once.
    pub fn applied_ns(&self, index: u64) -> Option<u64> {
        let first = self.reached.partition_point(|(_, reached)| *reached < index);
        self.reached.get(first).map(|(at_ns, _)| *at_ns)
    }

    /// The highest index that anyone had applied at an instant.
    pub fn applied_by(&self, at_ns: u64) -> u64 {
        let after = self.reached.partition_point(|(at, _)| *at <= at_ns);
        after.checked_sub(1).map_or(0, |last| self.reached[last].1)
    }

    /// The last index at which somebody looked, up to an index.
    pub fn looked_at(&self, index: u64) -> Option<u64> {
        self.audit.range(..=index).next_back().map(|(index, _)| *index)
    }

    /// The ledger's clock at an index or the last look before it, calendar seconds.
    pub fn clock_s(&self, index: u64) -> u32 {
        let before = self.audit.range(..=index).next_back();
        before.map_or(0, |(_, one)| super::model::calendar(one.clock_ms))
    }

    /// The ledger's clock at an index, calendar seconds, or where nobody looked between several commands, at the next look: it
    /// may have moved in between, and what is over by then was perhaps over already.
    pub fn clock_by_s(&self, index: u64) -> u32 {
        let next = self.audit.range(index..).next();
        next.map_or_else(|| self.clock_s(index), |(_, one)| super::model::calendar(one.clock_ms))
    }

    /// Goes on to an index, which may not be lower than the last; gives the ledger there.
    pub fn go(&mut self, index: u64) -> &mut Model {
        assert!(index >= self.at, "a replay runs forward");
        let due: Vec<(u64, Vec<&'a Value>)> =
            self.changes.range(self.at + 1..index + 1).map(|(index, changes)| (*index, changes.clone())).collect();
        for (at, changes) in due {
            changes.into_iter().for_each(|change| self.follow(at, change));
        }
        self.at = index;
        self.hide(index);
        &mut self.model
    }

    /// The ledger at the index that was gone to last.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The visible leases there, as the product wrote them, by id.
    pub fn rows(&self) -> &BTreeMap<&'a str, &'a Value> {
        &self.rows
    }

    /// The last index, up to where it was gone to, at which a visible lease changed.
    pub fn changed_at(&self, lease: &str) -> Option<u64> {
        self.changed.get(lease).copied()
    }

    /// Leases of which something changed since this was last called, seen or unseen, also those that are gone.
    pub fn news(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.news)
    }

    fn follow(&mut self, at: u64, change: &'a Value) {
        if let Some(id) = change["lease"]["id"].as_str() {
            self.changed.insert(id, at);
        }
        if let Some(id) = change["lease_removed"].as_str() {
            self.model.leases.remove(id);
            self.rows.remove(id);
            self.news.insert(id.to_owned());
        } else if let Some(id) = change["host_removed"].as_u64() {
            self.model.hosts.remove(&id);
        } else if let Some(lease) = self.read::<Lease>(at, &change["lease"], change.get("lease").is_some()) {
            if let Some(id) = change["lease"]["id"].as_str() {
                self.rows.insert(id, &change["lease"]);
            }
            self.news.insert(lease.id.clone());
            self.model.leases.insert(lease.id.clone(), lease);
        } else if let Some(host) = self.read::<Host>(at, &change["host"], change.get("host").is_some()) {
            self.model.hosts.insert(host.id, host);
        }
    }

    fn read<T: DeserializeOwned>(&mut self, at: u64, value: &Value, wanted: bool) -> Option<T> {
        if !wanted {
            return None;
        }
        match T::deserialize(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.unreadable.push(format!("index {at}: {error}"));
                None
            }
        }
    }

    /// Unseen bookings at an index; between two looks, those that both saw alike. What stays as it was is not read again.
    fn hide(&mut self, index: u64) {
        let low = self.audit.range(..=index).next_back().map(|(_, one)| *one);
        let high = self.audit.range(index..).next().map(|(_, one)| *one);
        let looks = (low.map(|low| low.ledger_index), high.map(|high| high.ledger_index));
        if std::mem::replace(&mut self.looks, looks) == looks {
            return;
        }
        let mut hidden: BTreeMap<&'a str, &'a Arc<Value>> = BTreeMap::new();
        if let (Some(low), Some(high)) = (low, high) {
            let alike = |id: &str, lease: &Arc<Value>| std::ptr::eq(low, high) || high.hidden.get(id) == Some(lease);
            let both = low.hidden.iter().filter(|(id, lease)| alike(id, lease));
            hidden.extend(both.map(|(id, lease)| (id.as_str(), lease)));
        }
        let before = std::mem::replace(&mut self.hidden, hidden);
        for id in before.keys().filter(|id| !self.hidden.contains_key(*id)) {
            self.model.hidden.remove(*id);
            self.news.insert((*id).to_owned());
        }
        let new: Vec<&'a Value> =
            self.hidden.iter().filter(|(id, lease)| before.get(*id) != Some(*lease)).map(|(_, lease)| &***lease).collect();
        for lease in new {
            if let Some(lease) = self.read::<Lease>(index, lease, true) {
                self.news.insert(lease.id.clone());
                self.model.hidden.insert(lease.id.clone(), lease);
            }
        }
    }
}
