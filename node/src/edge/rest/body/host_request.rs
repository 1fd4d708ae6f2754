//! `POST` and `PUT /v1/os-hosts` (blazar-api §9).

use std::collections::BTreeMap;

use http::StatusCode;
use leasehold_ledger::model::{PoolKind, VALUE_CHARS_MAX};
use serde_json::Value;

use super::answers::HOST_KEYS;
use super::fields::cut;
use super::{Fields, shown};
use crate::edge::error::Problem;
use crate::edge::rest::answer;
use crate::edge::rest::microversion::Microversion;
use crate::operations::HostRequest;

/// Longest key of an extra capability, in characters.
const KEY_CHARS_MAX: usize = 64;
/// Capabilities of one request at most.
const CAPABILITIES_MAX: usize = 256;

const POOLS: [(&str, PoolKind); 2] = [("dedicated", PoolKind::Dedicated), ("shared", PoolKind::Shared)];

/// What `PUT /v1/os-hosts/{id}` asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct HostUpdate {
    /// Capabilities to add or replace.
    pub properties: BTreeMap<String, String>,
    /// Whether new reservations may use it (1.1).
    pub reservable: Option<bool>,
    /// The pool it is said to be in (1.1), which cannot be changed.
    pub pool: Option<PoolKind>,
}

/// Reads a host to register.
pub fn host_create(body: &Value, version: Microversion) -> Result<HostRequest, Problem> {
    let fields = Fields::of_body(body)?;
    let pool = pool(&fields, version)?;
    let name = match fields.text("name")? {
        Some(name) => Some(name),
        None => fields.text("id")?,
    };
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let text = format!("Invalid values for host {}", shown(body));
        return Err(answer::problem(StatusCode::FORBIDDEN, tonic::Code::InvalidArgument, "invalid", text));
    };
    if name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(Problem::malformed(format!(
            "name is \"{}\"; it must have at most 255 characters, none of them control",
            cut(name)
        )));
    }
    Ok(HostRequest { name: name.to_owned(), pool: pool.unwrap_or(PoolKind::Dedicated), properties: capabilities(&fields)? })
}

/// Reads a change of a host.
pub fn host_update(body: &Value, version: Microversion) -> Result<HostUpdate, Problem> {
    let fields = Fields::of_body(body)?;
    if fields.is_empty() {
        // Blazar's text; the answer has a shape of its own.
        return Err(answer::problem(
            StatusCode::BAD_REQUEST,
            tonic::Code::InvalidArgument,
            answer::NO_DATA,
            "No data to update".to_owned(),
        ));
    }
    let reservable = match fields.get("reservable") {
        Some(Value::Bool(reservable)) if version >= Microversion::V1_1 => Some(*reservable),
        Some(other) if version >= Microversion::V1_1 => return Err(fields.wrong("reservable", other, "must be true or false")),
        Some(_) | None => None,
    };
    Ok(HostUpdate { properties: capabilities(&fields)?, reservable, pool: pool(&fields, version)? })
}

/// `pool`; `None` when missing or null.
fn pool(fields: &Fields<'_>, version: Microversion) -> Result<Option<PoolKind>, Problem> {
    if version < Microversion::V1_1 && fields.has("pool") {
        return Err(Problem::malformed("pool needs microversion 1.1: send the header OpenStack-API-Version: reservation 1.1"));
    }
    fields.word("pool", &POOLS)
}

/// Every other key. Those that name a field of the host are dropped, as Blazar does.
fn capabilities(fields: &Fields<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let mut capabilities = BTreeMap::new();
    for (key, value) in fields.iter() {
        if HOST_KEYS.contains(&key.as_str()) || key == "name" || key == "pool" {
            continue;
        }
        if key.chars().count() > KEY_CHARS_MAX {
            return Err(Problem::malformed("Extra capability key too long"));
        }
        if key.is_empty() || key.chars().any(char::is_control) {
            return Err(Problem::malformed("an extra capability's key must not be empty nor hold control characters"));
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            // As SQL stores it for Blazar.
            Value::Bool(yes) => String::from(if *yes { "1" } else { "0" }),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(fields.wrong(&cut(key), value, "must be a string, a number or a boolean"));
            }
        };
        if text.chars().count() > VALUE_CHARS_MAX {
            return Err(Problem::malformed(format!("{} is longer than {VALUE_CHARS_MAX} characters", cut(key))));
        }
        capabilities.insert(key.clone(), text);
    }
    if capabilities.len() > CAPABILITIES_MAX {
        return Err(Problem::malformed(format!(
            "{} extra capabilities; at most {CAPABILITIES_MAX} are allowed",
            capabilities.len()
        )));
    }
    Ok(capabilities)
}
