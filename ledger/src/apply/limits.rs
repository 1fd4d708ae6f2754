//! How large and of what form the texts of a wish may be. Checked here, below both edges, so that no way in can make every
//! replica store more, and that nothing which is shown, or sent to the cloud, carries control characters.

use std::collections::{BTreeMap, BTreeSet};

use super::schedule::invalid;
use crate::model::{InstanceWish, Requirement, SourceFlavor, VALUE_CHARS_MAX};
use crate::reply::Rejection;

/// Longest name of a lease, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Longest name of a zone or a host, in characters.
const ZONE_CHARS_MAX: usize = 255;
/// Traits in one list at most.
const TRAITS_MAX: usize = 64;
/// Longest name of a trait (Placement's).
const TRAIT_BYTES_MAX: usize = 255;
/// Terms of one property expression at most.
const TERMS_MAX: usize = 64;
/// Longest property expression as given, in bytes.
const EXPRESSION_BYTES_MAX: usize = 16 * 1024;
/// Longest id and name of a flavor, and key and value of its extra specs, in characters (Nova's).
pub(crate) const FLAVOR_CHARS_MAX: usize = 255;
/// Extra specs that a flavor may have; Nova itself has no bound.
const EXTRA_SPECS_MAX: usize = 128;
/// Longest key of an extra capability, in characters.
const KEY_CHARS_MAX: usize = 64;
/// Extra capabilities of one host at most.
const CAPABILITIES_MAX: usize = 256;

/// A name of a lease.
pub(crate) fn check_name(name: &str) -> Result<(), Rejection> {
    check_text("name", name, 1, NAME_CHARS_MAX)
}

/// A name of a host.
pub(crate) fn check_host_name(name: &str) -> Result<(), Rejection> {
    check_text("name", name, 1, ZONE_CHARS_MAX)
}

/// Zone, traits and terms of a wish. The order of the checks is that of the fields.
pub(crate) fn check_demands(wish: &InstanceWish) -> Result<(), Rejection> {
    if let Some(zone) = &wish.zone {
        check_text("zone", zone, 1, ZONE_CHARS_MAX)?;
    }
    check_traits("required_traits", &wish.required_traits)?;
    check_traits("forbidden_traits", &wish.forbidden_traits)?;
    at_most("resource_properties", wish.resource_properties.len(), EXPRESSION_BYTES_MAX, "bytes")?;
    // An expression is JSON, and people write JSON over several lines.
    check_printable("resource_properties", &wish.resource_properties.replace(['\n', '\r', '\t'], " "))?;
    check_terms(&wish.requirements)?;
    wish.flavor.as_deref().map_or(Ok(()), check_flavor)
}

/// The flavor that a reservation is to be like. Nodes look it up; what a cloud may have of one is bounded as in Nova.
fn check_flavor(flavor: &SourceFlavor) -> Result<(), Rejection> {
    check_text("flavor", &flavor.id, 1, FLAVOR_CHARS_MAX)?;
    check_text("flavor", &flavor.name, 0, FLAVOR_CHARS_MAX)?;
    at_most("flavor", flavor.extra_specs.len(), EXTRA_SPECS_MAX, "extra specs")?;
    for (key, value) in &flavor.extra_specs {
        check_text("flavor", key, 1, FLAVOR_CHARS_MAX)?;
        check_text("flavor", value, 0, FLAVOR_CHARS_MAX)?;
    }
    Ok(())
}

/// Extra capabilities that a host is given.
pub(crate) fn check_capabilities(properties: &BTreeMap<String, String>) -> Result<(), Rejection> {
    at_most("properties", properties.len(), CAPABILITIES_MAX, "properties of a host")?;
    for (key, value) in properties {
        check_text("properties", key, 1, KEY_CHARS_MAX)?;
        check_value("properties", key, value)?;
    }
    Ok(())
}

/// How many extra capabilities a host has once `more` are added to `present`. Replacing is always allowed: a host that has
/// too many from before this was counted can still be changed.
pub(crate) fn check_capabilities_together(
    present: &BTreeMap<String, String>,
    more: &BTreeMap<String, String>,
) -> Result<(), Rejection> {
    let new = more.keys().filter(|key| !present.contains_key(*key)).count();
    if new == 0 { Ok(()) } else { at_most("properties", present.len() + new, CAPABILITIES_MAX, "properties of a host") }
}

fn at_most(field: &str, count: usize, max: usize, what: &str) -> Result<(), Rejection> {
    if count <= max { Ok(()) } else { Err(invalid(field, format!("{count} {what} are too many; at most {max} are allowed"))) }
}

fn check_text(field: &str, text: &str, min: usize, max: usize) -> Result<(), Rejection> {
    let count = text.chars().count();
    if !(min..=max).contains(&count) {
        return Err(invalid(field, format!("it has {count} characters; it must have {min} to {max} characters")));
    }
    check_printable(field, text)
}

fn check_printable(field: &str, text: &str) -> Result<(), Rejection> {
    match text.chars().enumerate().find(|(_, char)| char.is_control()) {
        Some((before, control)) => {
            let problem = format!("it must hold no control characters; there is {control:?} after {before} characters");
            Err(invalid(field, problem))
        }
        None => Ok(()),
    }
}

fn check_value(field: &str, key: &str, value: &str) -> Result<(), Rejection> {
    at_most(field, value.chars().count(), VALUE_CHARS_MAX, &format!("characters in the value of {key}"))?;
    check_printable(field, value)
}

/// As much of a value as an error tells.
fn shown(value: &str) -> String {
    const CHARS: usize = 40;
    let cut: String = value.chars().take(CHARS).collect();
    if cut.len() < value.len() { format!("{cut:?}...") } else { format!("{cut:?}") }
}

fn check_traits(field: &str, traits: &BTreeSet<String>) -> Result<(), Rejection> {
    at_most(field, traits.len(), TRAITS_MAX, "traits")?;
    let well_formed = |name: &String| {
        (1..=TRAIT_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    match traits.iter().find(|name| !well_formed(name)) {
        Some(name) => {
            let problem = format!("{} is no trait: it has 1 to 255 of A-Z, 0-9 and _, as in HW_CPU_X86_AVX2", shown(name));
            Err(invalid(field, problem))
        }
        None => Ok(()),
    }
}

fn check_terms(terms: &[Requirement]) -> Result<(), Rejection> {
    at_most("resource_properties", terms.len(), TERMS_MAX, "terms")?;
    for term in terms {
        check_text("resource_properties", &term.key, 1, VALUE_CHARS_MAX)?;
        check_value("resource_properties", &term.key, &term.value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::script::check;

    #[test]
    fn a_wish_beyond_the_limits_is_refused_and_one_within_is_not() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 name=x*256 -> refused Invalid name
               10:00 lease A 12:00..14:00 name=a\\tb -> refused Invalid name
               10:00 lease A 12:00..14:00 zone= -> refused Invalid zone
               10:00 lease A 12:00..14:00 zone=x*256 -> refused Invalid zone
               10:00 lease A 12:00..14:00 zone=a\\tb -> refused Invalid zone
               10:00 lease A 12:00..14:00 traits=low -> refused Invalid required_traits
               10:00 lease A 12:00..14:00 traits=T*256 -> refused Invalid required_traits
               10:00 lease A 12:00..14:00 traits=65 -> refused Invalid required_traits
               10:00 lease A 12:00..14:00 without=65 -> refused Invalid forbidden_traits
               10:00 lease A 12:00..14:00 terms=65 -> refused Invalid resource_properties
               10:00 lease A 12:00..14:00 need=a\\tb:eq:1 -> refused Invalid resource_properties
               10:00 lease A 12:00..14:00 need=a:eq:x*1025 -> refused Invalid resource_properties
               10:00 lease A 12:00..14:00 need=a:eq:x\\ty -> refused Invalid resource_properties
               10:00 lease A 12:00..14:00 properties=x\\ay -> refused Invalid resource_properties
               10:00 lease A 12:00..14:00 properties=x*16385 -> refused Invalid resource_properties
               10:00 lease A 12:00..14:00 flavor=x*256 -> refused Invalid flavor
               10:00 lease A 12:00..14:00 flavor=a\\tb -> refused Invalid flavor
               10:00 lease A 12:00..14:00 flavor= -> refused Invalid flavor
               10:00 lease A 12:00..14:00 n=10001 -> refused Invalid amount
               10:00 lease A 12:00..14:00 n=10000 vcpus=500000 -> refused Invalid amount
               10:00 lease A 12:00..14:00 name=x*255 without=64 -> PENDING h1*1
               10:00 update A name=a\\tb -> refused Invalid name
               10:00 update A zone=x*256 -> refused Invalid zone
               10:00 update A n=10001 -> refused Invalid amount
               10:00 lease B 12:00..14:00 n=10000 -> no room short=9997 largest=3 tightest=VCPU next=-",
        );
    }

    #[test]
    fn a_flavor_has_a_bounded_number_of_extra_specs_of_bounded_length() {
        let specs = |count: usize, key: &str, value: &str| {
            let more = (1..count).map(|number| (format!("k{number}"), "v".to_owned()));
            let extra_specs = more.chain([(key.to_owned(), value.to_owned())]).collect();
            let flavor = SourceFlavor { id: "f".to_owned(), extra_specs, ..SourceFlavor::default() };
            check_demands(&InstanceWish { flavor: Some(flavor.into()), ..InstanceWish::anywhere(1, 1, 0, 1) })
        };
        let long = "x".repeat(FLAVOR_CHARS_MAX);
        assert_eq!(specs(EXTRA_SPECS_MAX, &long, &long), Ok(()));
        assert_eq!(specs(1, "k", ""), Ok(()));
        for (count, key, value) in [
            (EXTRA_SPECS_MAX + 1, "k", "v"),
            (1, &*format!("{long}x"), "v"),
            (1, "k", &*format!("{long}x")),
            (1, "", "v"),
            (1, "k", "a\tb"),
        ] {
            let refused = specs(count, key, value);
            assert!(matches!(&refused, Err(Rejection::Invalid { field, .. }) if field == "flavor"), "{refused:?}");
        }
    }

    #[test]
    fn a_host_beyond_the_limits_is_refused() {
        check(
            "10:00 hosts x*256 -> refused Invalid name
               10:00 hosts a\\tb -> refused Invalid name
               10:00 hosts h1 prop=x*65:v -> refused Invalid properties
               10:00 hosts h1 prop=a\\tb:v -> refused Invalid properties
               10:00 hosts h1 prop=k:x*1025 -> refused Invalid properties
               10:00 hosts h1 prop=k:x\\ty -> refused Invalid properties
               10:00 hosts h1 prop=k:x*1024 -> 1
               10:00 sethost h1 prop=k:x*1025 -> refused Invalid properties
               10:00 sethost h1 prop=:v -> refused Invalid properties
               10:00 sethost h1 props=257 -> refused Invalid properties
               10:00 sethost h1 props=256 -> refused Invalid properties
               10:00 sethost h1 props=255 -> changed
               10:00 sethost h1 props=255 -> changed
               10:00 sethost h1 prop=other:v -> refused Invalid properties
               10:00 sethost h1 prop=k:v -> changed",
        );
    }
}
