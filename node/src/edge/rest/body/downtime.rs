//! Downtimes and upgrades, which Blazar does not have.

use leasehold_ledger::command::StartWish;
use leasehold_ledger::listing::HostDowntime;
use leasehold_ledger::model::{Downtime, Seconds, Upgrade, Withheld};
use serde_json::{Value, json};

use super::capacity::dated;
use super::dates::lease_date;
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

/// What a host is to have from a second on.
pub fn upgrade(upgrade: &Upgrade) -> Value {
    let Upgrade { start, vcpus, memory_mb, disk_gb } = *upgrade;
    json!({"start_date": lease_date(start), "vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb})
}

/// From when on, and what. What the host has now is the ledger's to know.
pub fn upgrade_wish(body: &Value, version: Microversion) -> Result<Upgrade, Problem> {
    let fields = Fields::of_body(body)?;
    fields.refuse_others(version, &["start_date", "vcpus", "memory_mb", "disk_gb"], &[])?;
    let start = create::some_second(&fields, "start_date", version)?;
    let amount = |key: &str| fields.whole(key, 1, u32::MAX);
    Ok(Upgrade { start, vcpus: amount("vcpus")?, memory_mb: amount("memory_mb")?, disk_gb: amount("disk_gb")? })
}
