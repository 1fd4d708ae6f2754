//! Downtimes, which Blazar does not have.

use leasehold_ledger::command::StartWish;
use leasehold_ledger::model::{Downtime, Withheld};
use leasehold_ledger::plan::WindowWish;
use serde_json::{Value, json};

use super::capacity::dated;
use super::{Fields, create};
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion;

/// One of a host.
pub fn downtime(downtime: &Downtime) -> Value {
    let Withheld { vcpus, memory_mb, disk_gb } = downtime.withheld;
    let mut shown = dated(downtime.interval);
    shown.insert("id".to_owned(), json!(downtime.id));
    for (key, amount) in [("vcpus", vcpus), ("memory_mb", memory_mb), ("disk_gb", disk_gb)] {
        shown.insert(key.to_owned(), json!(amount));
    }
    Value::Object(shown)
}

/// A window, from now on and without end unless it says otherwise, and amounts; without any all of the host. What the host has is
/// the ledger's to know.
pub fn downtime_wish(body: &Value, version: Microversion) -> Result<(WindowWish, Withheld), Problem> {
    let fields = Fields::of_body(body)?;
    fields.refuse_others(version, &["start_date", "end_date", "vcpus", "memory_mb", "disk_gb"], &[])?;
    let start = create::start(&fields, version)?.unwrap_or(StartWish::Now);
    let window = WindowWish { start, end: create::end(&fields, version)? };
    let amount = |key: &str| fields.whole(key, 1, u32::MAX);
    let withheld = Withheld { vcpus: amount("vcpus")?, memory_mb: amount("memory_mb")?, disk_gb: amount("disk_gb")? };
    Ok((window, withheld))
}
