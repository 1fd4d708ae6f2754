//! Reservations of `physical:host` (blazar-api §7): only `POST /v1/leases/what-if` takes them.

use leasehold_ledger::model::{AMOUNT_MAX, HostId, LeftOut, Requirement, VALUE_CHARS_MAX};
use leasehold_ledger::plan::{HostAmount, HostFilter, HostReservation, OccurrenceHosts, WhatIfHosts};
use serde_json::{Value, json};

use super::dates::lease_date;
use super::query::host_filter;
use super::series::{self, occurrence};
use super::{Fields, expression};
use crate::edge::error::{Offer, Problem};
use crate::edge::rest::microversion::Microversion;

/// The resource type.
pub const TYPE: &str = "physical:host";
const KEYS: [&str; 10] = [
    "resource_type",
    "min",
    "max",
    "hypervisor_properties",
    "resource_properties",
    "before_end",
    "zone",
    "pool",
    "required_traits",
    "forbidden_traits",
];
/// What becomes of servers at the end, as Blazar takes it. It does not matter to the question.
const BEFORE_END: [(&str, ()); 3] = [("", ()), ("default", ()), ("snapshot", ())];

/// Whether a reservation is of whole hosts.
pub fn is_asked(fields: &Fields<'_>) -> bool {
    fields.get("resource_type").and_then(Value::as_str) == Some(TYPE)
}

/// Reads a reservation of whole hosts.
pub fn reservation(fields: &Fields<'_>, version: Microversion) -> Result<HostReservation, Problem> {
    fields.refuse_others(version, &KEYS, &[])?;
    fields.require(&["min", "max"])?;
    fields.word("before_end", &BEFORE_END)?;
    let amount = |key: &str| {
        let missing = || fields.wrong(key, &Value::Null, &format!("must be a whole number from 1 to {AMOUNT_MAX}"));
        fields.whole(key, 1, AMOUNT_MAX)?.ok_or_else(missing)
    };
    let (min, max) = (amount("min")?, amount("max")?);
    if max < min {
        return Err(fields.wrong("max", &json!(max), &format!("must be at least min, which is {min}")));
    }
    // Each by itself, so that of what is wrong its own name is told.
    let requirements = [terms(fields, "hypervisor_properties")?, terms(fields, "resource_properties")?].concat();
    if requirements.len() > expression::TERMS_MAX {
        let right = format!("must have, with those of resource_properties, at most {} terms", expression::TERMS_MAX);
        let given = fields.get("hypervisor_properties").unwrap_or(&Value::Null);
        return Err(fields.wrong("hypervisor_properties", given, &right));
    }
    Ok(HostReservation { min, max, filter: HostFilter { requirements, ..host_filter(fields)? } })
}

/// What one of the expressions asks for.
fn terms(fields: &Fields<'_>, key: &str) -> Result<Vec<Requirement>, Problem> {
    let Some(text) = fields.text(key)? else { return Ok(Vec::new()) };
    let value = Value::from(text);
    let terms =
        expression::parse(text).map_err(|problem| fields.wrong(key, &value, &format!("must be an expression: {problem}")))?;
    // The ledger does not know which of the two a term comes from.
    let fits = |text: &str| text.chars().count() <= VALUE_CHARS_MAX;
    if !terms.iter().all(|term| fits(&term.key) && fits(&term.value)) {
        let right = format!("must have names and values of at most {VALUE_CHARS_MAX} characters");
        return Err(fields.wrong(key, &value, &right));
    }
    Ok(terms)
}

/// What a lease of whole hosts would come to, in the shape of one of instances.
pub fn what_if_hosts(what_if: &WhatIfHosts, ledger_index: u64) -> Value {
    match what_if {
        WhatIfHosts::Fits { moved_to, reservations } => {
            json!({"fits": true, "reservations": amounts(reservations), "start_date": moved_to.map(lease_date), "offer": null})
        }
        WhatIfHosts::SeriesFits { occurrences, left_out } => {
            let found = |one: &OccurrenceHosts| {
                let mut shown = occurrence(&one.occurrence);
                shown["reservations"] = amounts(&one.reservations);
                shown
            };
            let occurrences: Vec<_> = occurrences.iter().map(found).collect();
            let left_out: Vec<_> = left_out.iter().map(|one: &LeftOut| series::left_out(one, "hosts")).collect();
            let series = json!({"occurrences": occurrences, "left_out": left_out});
            json!({"fits": true, "reservations": null, "start_date": null, "offer": null, "series": series})
        }
        WhatIfHosts::NoRoom(no_room) => {
            json!({"fits": false, "reservations": null, "start_date": null, "offer": Offer::new(no_room, ledger_index)})
        }
    }
}

/// Nothing is staged on whole hosts; which they are, only operators are told.
fn amounts(reservations: &[HostAmount]) -> Value {
    let amount = |one: &HostAmount| {
        let ids: Vec<String> = one.hosts.iter().map(HostId::to_string).collect();
        json!({"hosts": one.count, "staging_hosts": 0, "host_ids": ids})
    };
    reservations.iter().map(amount).collect()
}
