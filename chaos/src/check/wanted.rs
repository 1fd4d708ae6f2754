//! Whether what was done is what was asked for: part of the witness. What is wrong is told, if anything.

use super::model::{Model, plan_problem};
use crate::history::Operation;

/// What was made is what was asked for, on hosts that may serve it.
pub fn created(model: &Model, operation: &Operation) -> Option<String> {
    let wish = &operation.body["request"]["wish"];
    let reply = &operation.body["reply"];
    for field in ["name", "project_id", "user_id", "end"] {
        if wish[field] != reply[field] {
            return Some(format!("{field} {} was asked for, {} was made", wish[field], reply[field]));
        }
    }
    if wish["start"]["at"].is_u64() && wish["start"]["at"] != reply["start"] {
        return Some(format!("start {} was asked for, {} was made", wish["start"]["at"], reply["start"]));
    }
    // Only a lease that was asked for as an offer is one, and for as long.
    if wish["offer"]["until"] != reply["offer"]["expires_at"] {
        return Some(format!("offer {} was asked for, {} was made", wish["offer"], reply["offer"]));
    }
    // Only a lease that was asked to wait does, and for as long.
    if reply["wait"].is_object() && wish["wait"]["until"] != reply["wait"]["until"] {
        return Some(format!("wait {} was asked for, {} was made", wish["wait"], reply["wait"]));
    }
    if wish["expiry_s"] != reply["expiry_s"] {
        return Some(format!("expiry_s {} was asked for, {} was made", wish["expiry_s"], reply["expiry_s"]));
    }
    let (asked, made) = (wish["reservations"].as_array()?, reply["reservations"].as_array()?);
    if asked.len() != made.len() {
        return Some("another number of reservations".to_owned());
    }
    for (asked, made) in asked.iter().zip(made) {
        if asked["resource"] != made["wish"] || asked["on_end"] != made["on_end"] {
            return Some("another reservation was made than asked for".to_owned());
        }
        if asked["staging"].is_object() != made["staging"].is_object() {
            return Some("staging was asked for or made, not both".to_owned());
        }
    }
    let lease = model.leases.get(reply["id"].as_str()?)?;
    if lease.waits() {
        let bound = lease.reservations.iter().any(|one| !one.bindings.is_empty());
        return bound.then(|| "it waits for room, and has some".to_owned());
    }
    lease.reservations.iter().find_map(|one| plan_problem(one, &model.hosts))
}

/// What was changed is what was asked for.
pub fn updated(operation: &Operation) -> Option<String> {
    let change = &operation.body["request"]["change"];
    let reply = &operation.body["reply"];
    if operation.body["request"]["lease_id"] != reply["id"] {
        return Some("another lease was changed".to_owned());
    }
    if change["name"].is_string() && change["name"] != reply["name"] {
        return Some(format!("name {} was asked for, {} was made", change["name"], reply["name"]));
    }
    for field in ["start", "end"] {
        if change[field]["at"].is_u64() && change[field]["at"] != reply[field] {
            return Some(format!("{field} {} was asked for, {} was made", change[field]["at"], reply[field]));
        }
    }
    let made = reply["reservations"].as_array()?;
    change["reservations"].as_array()?.iter().find_map(|asked| {
        let one = made.iter().find(|one| one["id"] == asked["reservation_id"])?;
        (one["wish"] != asked["resource"]).then(|| format!("reservation {} is not as asked for", one["id"]))
    })
}

/// What was claimed is claimed; whether it was in time is O1's.
pub fn claimed(operation: &Operation) -> Option<String> {
    let (asked, told) = (&operation.body["request"]["lease_id"], &operation.body["reply"]);
    let right = *asked == told["id"] && told["offer"]["claimed_at"].is_u64();
    (!right).then(|| format!("lease {asked} was to be claimed, and {} is what was told of {}", told["offer"], told["id"]))
}

/// What was deleted is not there.
pub fn deleted(model: &Model, operation: &Operation) -> Option<String> {
    let id = operation.body["request"]["lease_id"].as_str()?;
    model.leases.contains_key(id).then(|| format!("lease {id} is there after its deletion"))
}
