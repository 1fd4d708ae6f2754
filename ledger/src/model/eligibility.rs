//! Whether a host is of the kind a reservation asks for. Room is another question, see the calendar.

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

/// Columns compare as numbers where they are numbers; extra capabilities as text; a host without the capability does not
/// meet the term (blazar-api §8).
fn meets(host: &Host, term: &Requirement) -> bool {
    let description = &host.description;
    let number = |have: i64| match term.value.trim().parse::<i64>() {
        Ok(want) => ordering_meets(have.cmp(&want), term.comparison),
        Err(_) => false,
    };
    let text = |have: &str| ordering_meets(have.cmp(term.value.as_str()), term.comparison);
    match term.key.as_str() {
        "id" => i64::try_from(host.id.0).is_ok_and(number),
        "vcpus" => number(i64::from(description.vcpus)),
        "memory_mb" => number(i64::from(description.memory_mb)),
        "local_gb" => number(i64::from(description.local_gb)),
        "hypervisor_version" => number(description.hypervisor_version),
        "hypervisor_hostname" => text(&description.hypervisor_hostname),
        "hypervisor_type" => text(&description.hypervisor_type),
        "service_name" => text(&description.service_name),
        "cpu_info" => text(&description.cpu_info),
        "availability_zone" => description.zone.as_deref().is_some_and(text),
        "reservable" => {
            let want = matches!(term.value.as_str(), "1" | "true" | "True");
            ordering_meets(host.reservable.cmp(&want), term.comparison)
        }
        // Always null in Blazar's table: no comparison with a value holds.
        "status" | "trust_id" => false,
        capability => host.properties.get(capability).is_some_and(|have| text(have)),
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
