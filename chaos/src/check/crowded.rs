//! How long an adjustment waits for its tenant: slots that an update took off an open reservation are free only once no server
//! uses them, and nothing is taken from a running server.

use std::collections::BTreeMap;

use super::cloud::{Cloud, flavor_of, reservation_of};
use super::replay::Replay;
use super::rows::Row;
use crate::record::Record;

/// Slots of the reservation by the name of the host.
type Slots = BTreeMap<String, u64>;

/// Since when no host carries more servers of a row's reservation than it has slots there, Unix milliseconds, 0 if always.
/// `None`: one still did at `gone_ms`.
pub fn free_since(record: &Record, row: &Row<'_>, gone_ms: u64) -> Option<u64> {
    let (flavor, told) = told(record, row);
    let mut told = told.into_iter().peekable();
    let (mut slots, mut cloud) = (Slots::new(), Cloud::default());
    let mut since = Some(0);
    let mut look = |at_ms: u64, slots: &Slots, cloud: &Cloud| {
        let crowded = is_crowded(&flavor, slots, cloud);
        since = if crowded { None } else { since.or(Some(at_ms)) };
    };
    for line in record.cloud.iter().take_while(|line| line.at_ms <= gone_ms) {
        while let Some((at_ms, next)) = told.next_if(|(at_ms, _)| *at_ms <= line.at_ms) {
            slots = next;
            look(at_ms, &slots, &cloud);
        }
        for change in &line.changes {
            cloud.follow(line, change);
        }
        if line.changes.iter().any(|change| change.what.starts_with("allocation.")) {
            look(line.at_ms, &slots, &cloud);
        }
    }
    for (at_ms, next) in told.take_while(|(at_ms, _)| *at_ms <= gone_ms) {
        look(at_ms, &next, &cloud);
    }
    since
}

fn is_crowded(flavor: &str, slots: &Slots, cloud: &Cloud) -> bool {
    let mut used = Slots::new();
    for (host, class) in cloud.users.values() {
        if reservation_of(class).as_deref() == Some(flavor) {
            *used.entry(host.clone()).or_default() += 1;
        }
    }
    used.iter().any(|(host, used)| *used > slots.get(host).copied().unwrap_or(0))
}

/// The flavor of a row's reservation, and what it had where, by the time at which somebody had applied that.
fn told(record: &Record, row: &Row<'_>) -> (String, Vec<(u64, Slots)>) {
    let replay = Replay::new(record);
    let mut flavor = row.reservation().to_owned();
    let mut names: BTreeMap<u64, &str> = BTreeMap::new();
    let mut all = Vec::new();
    for index in replay.indices() {
        for change in replay.changes_at(index) {
            if let (Some(id), Some(name)) =
                (change["host"]["id"].as_u64(), change["host"]["description"]["hypervisor_hostname"].as_str())
            {
                names.insert(id, name);
            }
            let lease = &change["lease"];
            let mut reservations = lease["reservations"].as_array().into_iter().flatten();
            let of_row = reservations.find(|one| lease["id"] == row.lease() && one["id"] == row.reservation());
            if let (Some(reservation), Some(at_ns)) = (of_row, replay.applied_ns(index)) {
                flavor = flavor_of(reservation).unwrap_or(row.reservation()).to_owned();
                let bindings = reservation["bindings"].as_array().into_iter().flatten();
                let main = bindings.filter(|binding| binding["phase"] == "main");
                let slots = main.filter_map(|one| Some((names.get(&one["host"].as_u64()?)?.to_string(), one["slots"].as_u64()?)));
                all.push((record.epoch_ms + at_ns / 1_000_000, slots.collect()));
            }
        }
    }
    (flavor, all)
}
