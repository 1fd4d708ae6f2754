//! Whether a host is of the kind a reservation asks for. Room is another question, see the calendar.

use std::collections::BTreeMap;

use crate::mutant;

use super::{Comparison, Host, InstanceWish, Requirement};

/// Why a host is not of the kind a wish asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// Down, not reservable, or overcommitted by observation.
    Closed,
    /// Of another pool.
    Pool,
    /// In another availability zone.
    Zone,
    /// Lacks a required trait.
    TraitMissing,
    /// Has a forbidden trait.
    TraitForbidden,
    /// Does not meet a term of the property expression.
    Property,
}

impl Misfit {
    /// For the text of a stale plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Misfit::Closed => "host accepts no bookings",
            Misfit::Pool => "host is of another pool",
            Misfit::Zone => "host is in another zone",
            Misfit::TraitMissing => "host lacks a required trait",
            Misfit::TraitForbidden => "host has a forbidden trait",
            Misfit::Property => "host does not meet the resource properties",
        }
    }
}

/// The first reason why `host` is not of the kind `wish` asks for; `None` when it is. Whether the host accepts bookings at
/// the moment is not part of it: bookings that are there already may stay.
pub fn misfit(host: &Host, wish: &InstanceWish) -> Option<Misfit> {
    if wish.pool.is_some_and(|pool| pool != host.description.pool) {
        return Some(Misfit::Pool);
    }
    // Planted bug: neither zone nor traits nor properties count.
    if mutant!("N02") {
        return None;
    }
    if wish.zone.is_some() && wish.zone != host.description.zone {
        return Some(Misfit::Zone);
    }
    if !wish.required_traits.iter().all(|name| host.observation.traits.contains(name)) {
        return Some(Misfit::TraitMissing);
    }
    if wish.forbidden_traits.iter().any(|name| host.observation.traits.contains(name)) {
        return Some(Misfit::TraitForbidden);
    }
    if !wish.requirements.iter().all(|term| meets(host, term)) {
        return Some(Misfit::Property);
    }
    None
}

/// What a host has in one column, or as an extra capability.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnValue {
    /// Compared as a number.
    Number(i64),
    /// Compared as text.
    Text(String),
}

/// Columns that tell hosts apart, or are seldom asked for: no index keeps them.
const NOT_KEPT: [&str; 7] = ["id", "hypervisor_hostname", "service_name", "cpu_info", "reservable", "status", "trust_id"];

impl ColumnValue {
    /// Whether [`column_values`] gives the values of a column.
    #[must_use]
    pub fn is_kept(key: &str) -> bool {
        !NOT_KEPT.contains(&key)
    }
}

/// A [`ColumnValue`] where it stands.
enum Column<'a> {
    Number(i64),
    Text(&'a str),
}

/// What a host has in the columns and capabilities that many hosts may have in common.
#[must_use]
pub fn column_values(host: &Host) -> BTreeMap<String, ColumnValue> {
    // A capability named as a column is hidden by the column.
    let capabilities = host.properties.keys().map(String::as_str);
    let keys = COLUMNS.into_iter().chain(capabilities).filter(|key| ColumnValue::is_kept(key));
    let owned = |value| match value {
        Column::Number(value) => ColumnValue::Number(value),
        Column::Text(value) => ColumnValue::Text(value.to_owned()),
    };
    keys.filter_map(|key| Some((key.to_owned(), owned(column(host, key)?)))).collect()
}

/// Columns that [`column_values`] gives.
const COLUMNS: [&str; 6] = ["vcpus", "memory_mb", "local_gb", "hypervisor_version", "hypervisor_type", "availability_zone"];

/// The value of one column or extra capability; a host may lack it.
fn column<'a>(host: &'a Host, key: &str) -> Option<Column<'a>> {
    let description = &host.description;
    let number = |value: i64| Some(Column::Number(value));
    fn text(value: &str) -> Option<Column<'_>> {
        Some(Column::Text(value))
    }
    match key {
        "id" => i64::try_from(host.id.0).ok().and_then(number),
        "vcpus" => number(i64::from(description.vcpus)),
        "memory_mb" => number(i64::from(description.memory_mb)),
        "local_gb" => number(i64::from(description.local_gb)),
        "hypervisor_version" => number(description.hypervisor_version),
        "hypervisor_hostname" => text(&description.hypervisor_hostname),
        "hypervisor_type" => text(&description.hypervisor_type),
        "service_name" => text(&description.service_name),
        "cpu_info" => text(&description.cpu_info),
        "availability_zone" => description.zone.as_deref().and_then(text),
        // Always null in Blazar's table: no comparison with a value holds.
        "status" | "trust_id" => None,
        capability => host.properties.get(capability).map(String::as_str).and_then(text),
    }
}

/// Whether a host meets one term of a property expression. A host without the capability does not (blazar-api §8).
#[must_use]
pub fn meets(host: &Host, term: &Requirement) -> bool {
    if term.key == "reservable" {
        let want = matches!(term.value.as_str(), "1" | "true" | "True");
        return ordering_meets(host.reservable.cmp(&want), term.comparison);
    }
    column(host, &term.key).is_some_and(|value| column_meets(value, term))
}

/// Whether a value meets a term, as [`misfit`] decides it.
#[must_use]
pub fn value_meets(value: &ColumnValue, term: &Requirement) -> bool {
    let value = match value {
        ColumnValue::Number(value) => Column::Number(*value),
        ColumnValue::Text(value) => Column::Text(value),
    };
    column_meets(value, term)
}

/// Columns compare as numbers where they are numbers; extra capabilities as text.
fn column_meets(value: Column<'_>, term: &Requirement) -> bool {
    match value {
        Column::Number(have) => match term.value.trim().parse::<i64>() {
            Ok(want) => ordering_meets(have.cmp(&want), term.comparison),
            Err(_) => false,
        },
        Column::Text(have) => ordering_meets(have.cmp(term.value.as_str()), term.comparison),
    }
}

fn ordering_meets(ordering: std::cmp::Ordering, comparison: Comparison) -> bool {
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::AtLeast => ordering.is_ge(),
        Comparison::AtMost => ordering.is_le(),
        Comparison::Above => ordering.is_gt(),
        Comparison::Below => ordering.is_lt(),
    }
}
