//! The fields of a `virtual:instance` reservation (blazar-api §7), alike for create and update.

use std::collections::BTreeSet;

use leasehold_ledger::model::{AMOUNT_MAX, InstanceWish, OnEnd, PoolKind};
use serde_json::Value;

use super::fields::cut;
use super::{Fields, expression};
use crate::edge::error::Problem;

/// Traits in one list at most.
const TRAITS_MAX: usize = 64;
/// Sizes stay below what Placement can count.
const SIZE_MAX: u32 = i32::MAX as u32;

/// Keys of 1.0, besides `resource_type` and, in updates, `id`.
pub const KEYS: [&str; 6] = ["vcpus", "memory_mb", "disk_gb", "amount", "affinity", "resource_properties"];
/// Keys since 1.1.
pub const KEYS_1_1: [&str; 6] = ["staging", "on_end", "zone", "pool", "required_traits", "forbidden_traits"];

/// What the fields give; `None` for those that are missing (or null, where null means nothing).
#[derive(Debug, Default)]
pub struct InstanceFields {
    vcpus: Option<u32>,
    memory_mb: Option<u32>,
    disk_gb: Option<u32>,
    /// How many.
    pub amount: Option<u32>,
    affinity: Option<Option<bool>>,
    resource_properties: Option<String>,
    zone: Option<Option<String>>,
    pool: Option<Option<PoolKind>>,
    required_traits: Option<BTreeSet<String>>,
    forbidden_traits: Option<BTreeSet<String>>,
}

/// Reads what is there and refuses what cannot be.
pub fn read(fields: &Fields<'_>) -> Result<InstanceFields, Problem> {
    let pools = [("dedicated", PoolKind::Dedicated), ("shared", PoolKind::Shared)];
    Ok(InstanceFields {
        vcpus: fields.whole("vcpus", 1, SIZE_MAX)?,
        memory_mb: fields.whole("memory_mb", 1, SIZE_MAX)?,
        disk_gb: fields.whole("disk_gb", 0, SIZE_MAX)?,
        amount: fields.whole("amount", 1, AMOUNT_MAX)?,
        affinity: fields.has("affinity").then(|| affinity(fields.get("affinity"))).transpose()?,
        resource_properties: fields.text("resource_properties")?.map(str::to_owned),
        zone: fields.has("zone").then(|| zone(fields)).transpose()?,
        pool: if fields.has("pool") { Some(fields.word("pool", &pools)?) } else { None },
        required_traits: fields.has("required_traits").then(|| traits(fields, "required_traits")).transpose()?,
        forbidden_traits: fields.has("forbidden_traits").then(|| traits(fields, "forbidden_traits")).transpose()?,
    })
}

/// `on_end`; `None` when missing or null.
pub fn on_end(fields: &Fields<'_>) -> Result<Option<OnEnd>, Problem> {
    fields.word("on_end", &[("delete", OnEnd::Delete), ("shelve", OnEnd::Shelve), ("snapshot", OnEnd::Snapshot)])
}

impl InstanceFields {
    /// Puts the given fields over `wish`.
    pub fn onto(self, wish: &InstanceWish) -> Result<InstanceWish, Problem> {
        let mut merged = wish.clone();
        merged.vcpus = self.vcpus.unwrap_or(merged.vcpus);
        merged.memory_mb = self.memory_mb.unwrap_or(merged.memory_mb);
        merged.disk_gb = self.disk_gb.unwrap_or(merged.disk_gb);
        merged.amount = self.amount.unwrap_or(merged.amount);
        merged.affinity = self.affinity.unwrap_or(merged.affinity);
        merged.zone = self.zone.unwrap_or(merged.zone);
        merged.pool = self.pool.unwrap_or(merged.pool);
        merged.required_traits = self.required_traits.unwrap_or(merged.required_traits);
        merged.forbidden_traits = self.forbidden_traits.unwrap_or(merged.forbidden_traits);
        if let Some(text) = self.resource_properties {
            merged.requirements = expression::parse(&text).map_err(Problem::malformed)?;
            merged.resource_properties = text;
        }
        Ok(merged)
    }

    /// The same without an expression: what is there stays.
    pub fn without_properties(self) -> InstanceFields {
        InstanceFields { resource_properties: None, ..self }
    }

    /// A new wish; the sizes and the amount must be there.
    pub fn into_wish(self) -> Result<InstanceWish, Problem> {
        let required = [("vcpus", self.vcpus), ("memory_mb", self.memory_mb), ("disk_gb", self.disk_gb), ("amount", self.amount)];
        let missing: Vec<&str> = required.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
        if !missing.is_empty() {
            return Err(Problem::malformed(format!("Missing parameter {}", missing.join(", "))));
        }
        self.onto(&nothing())
    }
}

/// What fields are put over where there is nothing yet.
pub fn nothing() -> InstanceWish {
    InstanceWish::anywhere(0, 0, 0, 0)
}

/// true, false, null, or the words that Blazar takes for them.
fn affinity(value: Option<&Value>) -> Result<Option<bool>, Problem> {
    let words = match value {
        None => return Ok(None),
        Some(Value::Bool(affinity)) => return Ok(Some(*affinity)),
        Some(Value::String(words)) => words.to_ascii_lowercase(),
        Some(_) => String::from("?"),
    };
    match words.trim() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(Some(true)),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(Some(false)),
        "none" => Ok(None),
        _ => Err(Problem::malformed("Malformed parameter affinity (must be a bool value or None)")),
    }
}

fn zone(fields: &Fields<'_>) -> Result<Option<String>, Problem> {
    let zone = fields.text("zone")?;
    match zone {
        Some(name) if name.is_empty() || name.chars().count() > 255 => {
            Err(Problem::malformed(format!("zone is \"{}\"; it must have 1 to 255 characters", cut(name))))
        }
        zone => Ok(zone.map(str::to_owned)),
    }
}

fn traits(fields: &Fields<'_>, key: &str) -> Result<BTreeSet<String>, Problem> {
    let Some(value) = fields.get(key) else {
        return Ok(BTreeSet::new());
    };
    let wrong =
        || fields.wrong(key, value, &format!("must be a list of at most {TRAITS_MAX} trait names, as in [\"HW_CPU_X86_AVX2\"]"));
    let list = value.as_array().filter(|list| list.len() <= TRAITS_MAX).ok_or_else(wrong)?;
    let well_formed = |name: &&str| {
        (1..=255).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    list.iter().map(|name| name.as_str().filter(well_formed).map(str::to_owned).ok_or_else(wrong)).collect()
}
