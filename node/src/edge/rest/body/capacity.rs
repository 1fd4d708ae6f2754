//! `GET /v1/capacity`, `GET /v1/capacity/density` and `POST /v1/leases/what-if` (1.1).
//!
//! A query has the keys of a reservation.

use leasehold_ledger::command::StartWish;
use leasehold_ledger::model::{Class, InstanceWish, Interval};
use leasehold_ledger::plan::{Capacity, CapacityWish, Density, DensityWish, HostCount, STEPS_MAX, Sums, WhatIf, WindowWish};
use serde_json::{Map, Value, json};

use super::dates::lease_date;
use super::query::{HOST_KEYS, host_filter, hosts, object};
use super::series::{self, occurrence};
use super::{Fields, create, flavor, instance};
use crate::edge::error::{Offer, Problem};
use crate::edge::rest::microversion::Microversion;

/// Keys of every question.
const WINDOW_KEYS: [&str; 2] = ["start_date", "end_date"];
/// Reads `GET /v1/capacity`.
pub fn capacity_wish(query: Vec<(String, String)>, version: Microversion) -> Result<CapacityWish, Problem> {
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&WINDOW_KEYS[..], &HOST_KEYS, &["steps"]].concat(), &[])?;
    let window = window(&fields, version)?;
    let steps_max = fields.whole("steps", 1, STEPS_MAX)?.unwrap_or(1);
    Ok(CapacityWish { filter: host_filter(&fields)?, window, steps_max })
}

/// Reads `GET /v1/capacity/density`.
pub fn density_wish(query: Vec<(String, String)>, version: Microversion) -> Result<DensityWish, Problem> {
    let mut object = object(query)?;
    let kinds = [("virtual:instance", false), ("physical:host", true)];
    let whole_hosts = Fields::of_object(&object).word("resource_type", &kinds)?.unwrap_or(false);
    let (seek, of_flavor) = (object.contains_key("amount"), object.contains_key("flavor_id"));
    // One is enough to ask how many fit, and a server without a disk has none.
    object.entry("amount").or_insert_with(|| json!(1));
    if !of_flavor && !whole_hosts {
        object.entry("disk_gb").or_insert_with(|| json!(0));
    }
    let fields = Fields::of_object(&object);
    let sizes: &[&str] = match (whole_hosts, of_flavor) {
        (true, _) => &[],
        (false, true) => &["flavor_id", "affinity"],
        (false, false) => &["vcpus", "memory_mb", "disk_gb", "affinity"],
    };
    fields.refuse_others(version, &[&WINDOW_KEYS[..], &HOST_KEYS, sizes, &["resource_type", "amount"]].concat(), &[])?;
    let window = window(&fields, version)?;
    let among = hosts(&fields)?;
    let read = instance::read(&fields)?;
    let instance = match flavor::asked(&fields, version)? {
        Some(flavor) => read.onto(&InstanceWish { flavor: Some(flavor), ..instance::nothing() })?,
        None if whole_hosts => read.onto(&instance::nothing())?,
        None => read.into_wish()?,
    };
    Ok(DensityWish { instance, whole_hosts, seek, among, window })
}

/// `start_date` and `end_date`: from now on, without end, unless they say otherwise.
fn window(fields: &Fields<'_>, version: Microversion) -> Result<WindowWish, Problem> {
    let start = create::start(fields, version)?.unwrap_or(StartWish::Now);
    Ok(WindowWish { start, end: create::end(fields, version)? })
}

/// Amounts by Placement's names of the classes; `SLOT` is how many servers of reservations.
pub(super) fn sums(sums: Sums) -> Value {
    Class::ALL.iter().zip(sums).map(|(class, sum)| (class.name().to_owned(), json!(sum))).collect::<Map<_, _>>().into()
}

pub(super) fn dated(window: Interval) -> Map<String, Value> {
    let dates = [("start_date", window.start), ("end_date", window.end)];
    dates.into_iter().map(|(key, second)| (key.to_owned(), json!(lease_date(second)))).collect()
}

/// What hosts have, and what of it is reserved and available.
pub fn capacity(capacity: &Capacity) -> Value {
    let ends = capacity.pieces.iter().skip(1).map(|piece| piece.start).chain([capacity.window.end]);
    let steps = capacity.pieces.iter().zip(ends).map(|(piece, end)| {
        let mut step = dated(Interval { start: piece.start, end });
        step.insert("reserved".to_owned(), sums(piece.reserved));
        step.insert("available".to_owned(), sums(piece.available));
        step.insert("withheld".to_owned(), sums(piece.withheld));
        step.insert("added".to_owned(), sums(piece.added));
        Value::Object(step)
    });
    let mut shown = dated(capacity.window);
    shown.insert("hosts".to_owned(), json!(capacity.hosts));
    shown.insert("open_hosts".to_owned(), json!(capacity.open_hosts));
    shown.insert("total".to_owned(), sums(capacity.total));
    shown.insert("used".to_owned(), sums(capacity.firm));
    shown.insert("steps".to_owned(), steps.collect());
    Value::Object(shown)
}

/// How many fit, and from when on so many do.
pub fn density(density: &Density) -> Value {
    let mut shown = dated(density.window);
    shown.insert("largest_amount".to_owned(), json!(density.fits.largest_amount));
    shown.insert("tightest".to_owned(), json!(density.fits.tightest.map(Class::name)));
    shown.insert("earliest_start_date".to_owned(), json!(density.earliest_start.map(lease_date)));
    Value::Object(shown)
}

/// What a lease would come to; what is missing has the shape that a refusal gives it.
pub fn what_if(what_if: &WhatIf, ledger_index: u64) -> Value {
    match what_if {
        WhatIf::Fits { moved_to, preempts, reservations } => {
            let count = |one: &HostCount| json!({"hosts": one.main, "staging_hosts": one.staging});
            let reservations: Vec<_> = reservations.iter().map(count).collect();
            let mut shown =
                json!({"fits": true, "reservations": reservations, "start_date": moved_to.map(lease_date), "offer": null});
            if preempts.count > 0 {
                shown["preempts"] = json!(preempts.count);
                let leases: Vec<String> = preempts.leases.iter().map(ToString::to_string).collect();
                shown["preempts_leases"] = json!(leases);
            }
            shown
        }
        WhatIf::SeriesFits { occurrences, left_out } => {
            let occurrences: Vec<_> = occurrences.iter().map(occurrence).collect();
            let left_out: Vec<_> = left_out.iter().map(|one| series::left_out(one, "instances")).collect();
            let series = json!({"occurrences": occurrences, "left_out": left_out});
            json!({"fits": true, "reservations": null, "start_date": null, "offer": null, "series": series})
        }
        WhatIf::NoRoom(no_room) => {
            json!({"fits": false, "reservations": null, "start_date": null, "offer": Offer::new(no_room, ledger_index)})
        }
    }
}
