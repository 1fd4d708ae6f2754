//! The fields of a `flavor:instance` reservation (blazar-api §7): servers like a flavor of the cloud.

use std::sync::Arc;

use http::StatusCode;
use leasehold_ledger::model::{InstanceWish, Reservation, SourceFlavor};
use serde_json::{Value, json};

use super::fields::cut;
use super::{Fields, instance};
use crate::edge::error::Problem;
use crate::edge::rest::answer;
use crate::edge::rest::microversion::Microversion;

/// The name of the resource type.
pub const TYPE: &str = "flavor:instance";
/// Keys of 1.0, besides `resource_type`.
pub const KEYS: [&str; 3] = ["flavor_id", "amount", "affinity"];
/// Nova's own bound of ids and names.
const ID_CHARS_MAX: usize = 255;
/// What the flavor gives.
const SIZES: [&str; 3] = ["vcpus", "memory_mb", "disk_gb"];

/// A new wish for so many servers like a flavor; its sizes are looked up afterwards.
pub fn wish(fields: &Fields<'_>, version: Microversion) -> Result<InstanceWish, Problem> {
    match version {
        Microversion::V1_0 => fields.require(&KEYS)?,
        Microversion::V1_1 => fields.require(&["flavor_id", "amount"])?,
    }
    let known = [&["resource_type", "id"][..], &KEYS, &["resource_properties"]].concat();
    if let Some(size) = SIZES.iter().find(|size| fields.has(size)) {
        return Err(Problem::malformed(format!("{size} is that of the flavor; leave it out, or ask for virtual:instance")));
    }
    fields.refuse_others(version, &known, &instance::KEYS_1_1)?;
    let flavor = asked(fields, version)?.ok_or_else(|| Problem::malformed("Missing parameter flavor_id"))?;
    let read = instance::read(fields)?;
    if read.amount.is_none() {
        return Err(Problem::malformed("Missing parameter amount"));
    }
    let wish = read.onto(&InstanceWish { flavor: Some(flavor), ..instance::nothing() })?;
    if wish.affinity.is_some() {
        return Err(answer::problem(
            StatusCode::CONFLICT,
            tonic::Code::FailedPrecondition,
            "affinity_not_supported",
            "Affinity not supported yet: affinity must be null with flavor:instance, or ask for virtual:instance".to_owned(),
        ));
    }
    Ok(wish)
}

/// `flavor_id`, as it was asked for: an id, since 1.1 a name as well; `None` when missing or null.
pub fn asked(fields: &Fields<'_>, version: Microversion) -> Result<Option<Arc<SourceFlavor>>, Problem> {
    let Some(id) = fields.text("flavor_id")? else { return Ok(None) };
    if id.is_empty() || id.chars().count() > ID_CHARS_MAX {
        let text =
            format!("flavor_id is \"{}\"; it must be the id or the name of a flavor, 1 to {ID_CHARS_MAX} characters", cut(id));
        return Err(Problem::malformed(text));
    }
    let name = if version < Microversion::V1_1 { "" } else { id };
    Ok(Some(Arc::new(SourceFlavor { id: id.to_owned(), name: name.to_owned(), ..SourceFlavor::default() })))
}

/// The resource type of a reservation.
pub fn type_of(wish: &InstanceWish) -> &'static str {
    if wish.flavor.is_some() { TYPE } else { "virtual:instance" }
}

/// `resource_properties` as a reservation is shown: of `flavor:instance` the source flavor, as a text.
pub fn properties(wish: &InstanceWish) -> String {
    wish.flavor.as_deref().map_or_else(|| wish.resource_properties.clone(), |flavor| source(wish, flavor).to_string())
}

fn source(wish: &InstanceWish, flavor: &SourceFlavor) -> Value {
    json!({
        "id": flavor.id,
        "name": flavor.name,
        "ram": wish.memory_mb,
        "disk": wish.disk_gb.saturating_sub(flavor.more_disk_gb()),
        // As Nova says it to clients of Blazar's age.
        "swap": if flavor.swap_mb == 0 { json!("") } else { json!(flavor.swap_mb) },
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "vcpus": wish.vcpus,
        "extra_specs": flavor.extra_specs,
    })
}

/// Whether what says something of the flavor is missing or as the reservation is shown: clients send back what they saw.
pub fn are_shown(fields: &Fields<'_>, reservation: &Reservation) -> Result<bool, Problem> {
    let wish = reservation.wish.instance();
    let own = reservation.flavor().to_string();
    let source = wish.flavor.as_deref().map(|flavor| flavor.id.as_str()).unwrap_or_default();
    for (key, shown) in [("flavor_id", own.as_str()), ("source_flavor_id", source)] {
        if fields.text(key)?.is_some_and(|given| given != shown) {
            return Ok(false);
        }
    }
    let given = fields.text("resource_properties")?;
    Ok(given.is_none_or(|given| given.is_empty() || given == properties(wish)))
}
