//! Refusals for lack of room at their place: with the leases that are there at that place, was there really none?
//!
//! Everything that clients do not see is taken for as full as it can have been while the request was under way: of each lease
//! every booking that it had in that time counts, of each host the least it had, and what takes room unseen (being created, or
//! deleted and not yet confirmed by the cloud) counts when it was there at any moment. A refusal is then wrong only if there was
//! room in any case. `now` is every second that it may have been.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::super::model::{Figures, Host, Lease, Model, Span, Staging, Upgrade, Wish, calendar};
use super::super::replay::Replay;
use super::ledger::Number;
use crate::history::Operation;
use crate::record::{Audited, Record};

/// What a node applied is seen this much later at most, nanoseconds.
const SEEN_NS: u64 = 100_000_000;
/// The ledger's clock stands still while nothing is written, and clocks differ: seconds.
const CLOCK_SLACK_S: u32 = 3;

/// A refused creation with what may have been in its way.
#[derive(Clone, Debug)]
pub struct Refused {
    wish: Wish,
    /// Spans that had to fit, for each second that may have been "now".
    spans: Vec<(Span, Option<Span>)>,
    hosts: BTreeMap<u64, Host>,
    /// Bookings of visible leases in that time.
    leases: Vec<(Number, Lease)>,
    hidden: Vec<Lease>,
}

impl Refused {
    /// Whether there may have been no room beside the leases that are there.
    pub fn justified(&self, there: impl Fn(Number) -> bool) -> bool {
        let mut model = Model { hosts: self.hosts.clone(), ..Model::default() };
        let visible = self.leases.iter().filter(|(number, _)| there(*number)).map(|(_, lease)| lease);
        for (place, lease) in visible.chain(&self.hidden).enumerate() {
            model.hidden.insert(place.to_string(), lease.clone());
        }
        self.spans.iter().any(|(main, staging)| {
            let fits = |span: &Span| model.feasible(&self.wish, *span, None, &[]);
            !fits(main) || staging.as_ref().is_some_and(|staging| !fits(staging))
        })
    }
}

/// All that was booked and there, index by index.
pub struct Rooms<'a> {
    record: &'a Record,
    replay: Replay<'a>,
    looks: BTreeMap<u64, &'a Audited>,
    hosts: BTreeMap<u64, Vec<(u64, Option<Host>)>>,
    leases: BTreeMap<Number, Vec<(u64, Option<Lease>)>>,
}

impl<'a> Rooms<'a> {
    /// Out of what subscriptions told. `numbers` are the leases'.
    pub fn new(record: &'a Record, numbers: &BTreeMap<String, Number>) -> Rooms<'a> {
        let replay = Replay::new(record);
        let looks = record.audit.iter().map(|one| (one.ledger_index, one)).collect();
        let mut hosts: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        let mut leases: BTreeMap<Number, Vec<_>> = BTreeMap::new();
        for index in replay.indices() {
            for change in replay.changes_at(index) {
                let number = |id: &Value| id.as_str().and_then(|id| numbers.get(id)).copied();
                if let Some(id) = change["host_removed"].as_u64() {
                    hosts.entry(id).or_default().push((index, None));
                } else if let Some(number) = number(&change["lease_removed"]) {
                    leases.entry(number).or_default().push((index, None));
                } else if let Some(number) = number(&change["lease"]["id"]) {
                    // What does not read is told of by the witness, which reads the same lines.
                    leases.entry(number).or_default().push((index, serde_json::from_value(change["lease"].clone()).ok()));
                } else if let Ok(host) = serde_json::from_value::<Host>(change["host"].clone()) {
                    hosts.entry(host.id).or_default().push((index, Some(host)));
                }
            }
        }
        Rooms { record, replay, looks, hosts, leases }
    }

    /// A refused creation, as far as hosts of one pool are concerned; `None`: nothing can be said of it.
    pub fn refused(&self, operation: &Operation, pool: &str) -> Option<Refused> {
        let asked = &operation.body["request"]["wish"];
        let [one] = asked["reservations"].as_array()?.as_slice() else { return None };
        let mut wish: Wish = serde_json::from_value(one["resource"]["instance"].clone()).ok()?;
        if wish.pool.as_ref().is_some_and(|wanted| wanted != pool) {
            return None;
        }
        // No room in any pool is no room in this one.
        wish.pool = Some(pool.to_owned());
        let low = self.replay.applied_by(operation.invoke_ns.saturating_sub(1));
        let high = self.replay.applied_by(operation.return_ns + SEEN_NS);
        let hosts = self.hosts.iter().filter_map(|(id, versions)| Some((*id, least(&during(versions, low, high), &wish)?)));
        let spans = self.spans(asked, one, operation, low);
        let whole = spans.iter().flat_map(|(main, staging)| std::iter::once(*main).chain(*staging));
        let whole = whole.fold(Span { start: u32::MAX, end: 0 }, |whole, span| Span {
            start: whole.start.min(span.start),
            end: whole.end.max(span.end),
        });
        let mut leases = Vec::new();
        for (number, versions) in &self.leases {
            // Most were not yet there, or gone.
            let began = versions.first().is_some_and(|(index, _)| *index <= high);
            let ended = versions.last().is_some_and(|(index, lease)| lease.is_none() && *index <= low);
            if !began || ended {
                continue;
            }
            let had: Vec<&Lease> = during(versions, low, high).into_iter().flatten().collect();
            let had = had.into_iter().filter(|lease| meets(lease, whole)).collect();
            leases.extend(different(had).into_iter().map(|lease| (*number, lease)));
        }
        Some(Refused { spans, hosts: hosts.collect(), leases, hidden: self.hidden(low, high), wish })
    }

    fn spans(&self, asked: &Value, one: &Value, operation: &Operation, low: u64) -> Vec<(Span, Option<Span>)> {
        let second = |value: &Value| value.as_u64().and_then(|second| u32::try_from(second).ok());
        let from = self.replay.clock_s(low).saturating_sub(1);
        let asked_at = calendar(self.record.epoch_ms + operation.invoke_ns / 1_000_000).saturating_sub(CLOCK_SLACK_S);
        let returned = calendar(self.record.epoch_ms + operation.return_ns / 1_000_000).saturating_add(CLOCK_SLACK_S);
        let at = |now: u32| {
            let start = second(&asked["start"]["at"]).unwrap_or(now);
            let main = Span { start, end: second(&asked["end"]).unwrap_or(u32::MAX) };
            let margin = second(&one["staging"]["park_margin_s"]);
            let staging = margin.map(|park_margin_s| {
                let from = second(&one["staging"]["start"]).unwrap_or(now);
                let until = second(&one["staging"]["end"]).unwrap_or((from + 1_800).min(start.saturating_sub(park_margin_s)));
                Staging { window: Span { start: from, end: until }, park_margin_s }.booked()
            });
            (main, staging)
        };
        let mut spans: Vec<_> = (from.min(asked_at)..=returned.max(from)).map(at).collect();
        spans.dedup();
        spans
    }

    /// What took room unseen at any moment between two indices.
    fn hidden(&self, low: u64, high: u64) -> Vec<Lease> {
        let mut known: BTreeMap<&str, Vec<&Arc<Value>>> = BTreeMap::new();
        let looks = &self.looks;
        let first = looks.range(..=low).next_back().map_or(low, |(index, _)| *index);
        let last = looks.range(high..).next().map_or(high, |(index, _)| *index);
        for (_, look) in looks.range(first..=last) {
            for (id, row) in &look.hidden {
                let had = known.entry(id).or_default();
                if had.last() != Some(&row) {
                    had.push(row);
                }
            }
        }
        let read = |had: Vec<&Arc<Value>>| had.into_iter().filter_map(|row| Lease::deserialize(&**row).ok()).collect::<Vec<_>>();
        known.into_values().flat_map(|had| different(read(had).iter().collect())).collect()
    }
}

/// The versions between two indices, that at the lower one first.
fn during<T>(versions: &[(u64, Option<T>)], low: u64, high: u64) -> Vec<Option<&T>> {
    let after = versions.partition_point(|(index, _)| *index <= low);
    let until = versions.partition_point(|(index, _)| *index <= high);
    let before = after.checked_sub(1).and_then(|place| versions[place].1.as_ref());
    std::iter::once(before).chain(versions[after..until].iter().map(|(_, one)| one.as_ref())).collect()
}

/// Whether anything of a lease may be booked in a span.
fn meets(lease: &Lease, span: Span) -> bool {
    lease.borders().any(|border| border < span.end) && lease.borders().any(|border| border > span.start)
}

/// One for all that book alike.
fn different(had: Vec<&Lease>) -> Vec<Lease> {
    let mut kept: Vec<Lease> = Vec::new();
    for lease in had {
        let books = |lease: &Lease| {
            let ones = lease.reservations.iter();
            let bound = ones.map(|one| {
                let gone = one.status == "deleted";
                (
                    gone,
                    one.wish.clone(),
                    one.staging,
                    one.bindings.clone(),
                    one.previous.clone(),
                    one.booked_end,
                    one.releasing.clone(),
                )
            });
            (lease.start, lease.end, bound.collect::<Vec<_>>())
        };
        if !kept.iter().any(|other| books(other) == books(lease)) {
            kept.push(lease.clone());
        }
    }
    kept
}

/// The least that a host had to give; `None`: at some moment nothing for this wish.
fn least(versions: &[Option<&Host>], wish: &Wish) -> Option<Host> {
    let mut versions = versions.iter();
    let first = (*versions.next()?)?;
    let gives = |host: &Host| host.takes_more() && host.suits(wish);
    let (mut least, mut room) = (first.clone(), first.room());
    if !gives(first) {
        return None;
    }
    let mut all = vec![first];
    for host in versions {
        let host = (*host).filter(|host| gives(host))?;
        all.push(host);
        (0..4).for_each(|class| room[class] = room[class].min(host.room()[class]));
        // Any of them may have been in the way.
        let more = host.downtimes.iter().filter(|one| !least.downtimes.contains(one)).cloned().collect::<Vec<_>>();
        least.downtimes.extend(more);
    }
    // Only what all of them were to have from the same second on, less what others ever used of it.
    let firm = |host: &Host| host.observation.firm;
    let most = |figure: fn(&Figures) -> u64| all.iter().map(|host| figure(&firm(host))).max().unwrap_or(0);
    let [used_vcpus, used_mb, used_gb] = [most(|one| one.vcpus), most(|one| one.memory_mb), most(|one| one.disk_gb)];
    let less = |has: Option<u64>, used: u64| has.map(|has| has.saturating_sub(used));
    least.upgrade =
        first.upgrade.clone().filter(|_| all.iter().all(|host| host.upgrade == first.upgrade)).map(|upgrade| Upgrade {
            vcpus: less(upgrade.vcpus, used_vcpus),
            memory_mb: less(upgrade.memory_mb, used_mb),
            disk_gb: less(upgrade.disk_gb, used_gb),
            ..upgrade
        });
    let [vcpus, memory_mb, disk_gb, slots] = room;
    least.observation.capacity = Figures { vcpus, memory_mb, disk_gb, slots };
    least.observation.firm = Figures { vcpus: 0, memory_mb: 0, disk_gb: 0, slots: 0 };
    Some(least)
}
