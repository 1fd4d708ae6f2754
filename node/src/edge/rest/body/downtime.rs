//! Downtimes, which Blazar does not have.

use leasehold_ledger::command::StartWish;
use leasehold_ledger::listing::HostDowntime;
use leasehold_ledger::model::{Downtime, Seconds, Withheld};
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

/// One of a list over hosts, with its host.
pub fn host_downtime(one: &HostDowntime) -> Value {
    let mut shown = downtime(&one.downtime);
    shown["host_id"] = json!(one.host_id.to_string());
    shown["hypervisor_hostname"] = json!(one.hypervisor_hostname);
    shown
}

/// When, without end unless it says otherwise, and amounts. What the host has is the ledger's to know, and what a downtime that is
/// there already is where nothing is said of it.
pub fn downtime_wish(body: &Value, version: Microversion) -> Result<((Option<StartWish>, Seconds), Withheld), Problem> {
    let fields = Fields::of_body(body)?;
    fields.refuse_others(version, &["start_date", "end_date", "vcpus", "memory_mb", "disk_gb"], &[])?;
    let window = (create::start(&fields, version)?, create::end(&fields, version)?);
    let amount = |key: &str| fields.whole(key, 1, u32::MAX);
    let withheld = Withheld { vcpus: amount("vcpus")?, memory_mb: amount("memory_mb")?, disk_gb: amount("disk_gb")? };
    Ok((window, withheld))
}
