//! What a `flavor:instance` reservation takes over of a flavor of the cloud (blazar-api §7, docs/decisions/0018).
//!
//! Its servers get a flavor of the reservation's own, of the same sizes and with the same extra specs. What an extra spec demands
//! of a host must be known to the planner, or a start would find no host: traits are, and everything else that Nova chooses
//! hosts by is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_ledger::model::{InstanceWish, ProjectId, SourceFlavor};
use leasehold_ledger::reply::Rejection;

use super::names::FLAVOR_MARK;
use crate::openstack::nova::Flavor;
use crate::openstack::{Cloud, CloudError};
use crate::operations::OperationError;

/// Extra specs that a flavor may have; Nova itself has no bound.
const EXTRA_SPECS_MAX: usize = 128;
/// Extra specs that say how a server runs, and nothing of where, by the beginning of their keys.
const HARMLESS: [&str; 16] = [
    "hw:boot_menu",
    "hw:cpu_cores",
    "hw:cpu_max_cores",
    "hw:cpu_max_sockets",
    "hw:cpu_max_threads",
    "hw:cpu_sockets",
    "hw:cpu_threads",
    "hw:hide_hypervisor_id",
    "hw:input_bus",
    "hw:serial_port_count",
    "hw:time_source",
    "hw:vif_multiqueue_enabled",
    "hw:watchdog_action",
    "hw_rng:",
    "hw_video:",
    "quota:",
];

/// Why a flavor cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlavorError {
    /// The project sees none of this id or name.
    #[error("Flavor {0} could not be found.")]
    NotFound(String),
    /// It wants what is not planned for.
    #[error("{0}")]
    Wrong(String),
    /// The cloud does not answer or fails.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

impl From<FlavorError> for OperationError {
    fn from(error: FlavorError) -> Self {
        match error {
            FlavorError::NotFound(_) => Self::FlavorNotFound(error.to_string()),
            FlavorError::Wrong(problem) => Self::Rejected(Rejection::Invalid { field: "flavor_id".to_owned(), problem }),
            FlavorError::Cloud(error) => Self::CloudUnavailable(error.to_string()),
        }
    }
}

/// The flavor that is asked for, if the project may use it.
///
/// # Errors
/// See [`FlavorError`].
pub async fn look_up(cloud: &Cloud, project: &ProjectId, asked: &SourceFlavor) -> Result<Flavor, FlavorError> {
    let shown = if asked.id.is_empty() { &asked.name } else { &asked.id };
    let not_found = || FlavorError::NotFound(shown.clone());
    let flavor = find(cloud, asked).await?.ok_or_else(not_found)?;
    // A tenant must not learn of flavors that are others'.
    if !flavor.is_public {
        let access = cloud.nova().flavor_access(&flavor.id).await?.unwrap_or_default();
        if !access.iter().any(|one| *project.0 == *one.as_str()) {
            return Err(not_found());
        }
    }
    Ok(flavor)
}

/// By id, or else by name.
async fn find(cloud: &Cloud, asked: &SourceFlavor) -> Result<Option<Flavor>, CloudError> {
    // What is no id is not asked for as one: it would be a part of a path.
    let is_of_ids = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    let is_id = !asked.id.is_empty() && asked.id.chars().all(is_of_ids) && !asked.id.chars().all(|one| one == '.');
    let by_id = if is_id { cloud.nova().flavor(&asked.id).await? } else { None };
    if by_id.is_some() || asked.name.is_empty() {
        return Ok(by_id);
    }
    Ok(cloud.nova().flavors().await?.into_iter().find(|flavor| flavor.name == asked.name))
}

/// The wish with the sizes, traits and extra specs of a flavor.
///
/// # Errors
/// [`FlavorError::Wrong`].
pub fn taken_over(flavor: Flavor, wish: &InstanceWish) -> Result<InstanceWish, FlavorError> {
    let Flavor { id, name, vcpus, ram, disk, ephemeral, swap, extra_specs, .. } = flavor;
    let wrong = |problem: String| Err(FlavorError::Wrong(format!("flavor {name} {problem}")));
    if extra_specs.contains_key(FLAVOR_MARK) {
        return wrong("is a reservation's own".to_owned());
    }
    if extra_specs.len() > EXTRA_SPECS_MAX {
        return wrong(format!("has {} extra specs, {EXTRA_SPECS_MAX} are the most", extra_specs.len()));
    }
    let mut made = wish.clone();
    let mut kept = extra_specs.clone();
    for (key, value) in &extra_specs {
        if let Some(trait_name) = key.strip_prefix("trait:") {
            let into: &mut BTreeSet<String> = match value.as_str() {
                "required" => &mut made.required_traits,
                "forbidden" => &mut made.forbidden_traits,
                other => return wrong(format!("has trait {trait_name} as \"{other}\"; it must be required or forbidden")),
            };
            into.insert(trait_name.to_owned());
            continue;
        }
        let amounts = [("resources:VCPU", vcpus), ("resources:MEMORY_MB", ram), ("resources:DISK_GB", disk)];
        match amounts.iter().find(|(of, _)| of == key) {
            // The reservation's flavor says itself what it takes of Placement.
            Some((_, amount)) if *value == amount.to_string() => drop(kept.remove(key)),
            Some((_, amount)) => {
                return wrong(format!(
                    "asks for {key}={value} beside a size of {amount}; reserve with sizes instead (virtual:instance)"
                ));
            }
            None if key == "hw:cpu_policy" && value == "shared" => drop(kept.remove(key)),
            None if HARMLESS.iter().any(|harmless| key.starts_with(harmless)) => {}
            None => {
                return wrong(format!(
                    "has the extra spec {key}={value}, by which Nova chooses hosts and reservations do not; reserve with sizes, traits or properties instead (virtual:instance)"
                ));
            }
        }
    }
    let source = SourceFlavor { id, name: name.clone(), ephemeral_gb: ephemeral, swap_mb: swap, extra_specs: kept };
    let Some(disk_gb) = disk.checked_add(source.more_disk_gb()) else { return wrong("has more disk than any cloud".to_owned()) };
    (made.vcpus, made.memory_mb, made.disk_gb) = (vcpus, ram, disk_gb);
    made.flavor = Some(Arc::new(source));
    Ok(made)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn flavor(specs: &[(&str, &str)]) -> Flavor {
        let extra_specs = specs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Flavor {
            id: "f".to_owned(),
            name: "m1.small".to_owned(),
            vcpus: 2,
            ram: 2_048,
            disk: 20,
            ephemeral: 5,
            swap: 1_025,
            is_public: true,
            extra_specs,
        }
    }

    fn asked() -> InstanceWish {
        let flavor = SourceFlavor { id: "m1.small".to_owned(), ..SourceFlavor::default() };
        InstanceWish { flavor: Some(flavor.into()), ..InstanceWish::anywhere(0, 0, 0, 3) }
    }

    #[test]
    fn sizes_traits_and_what_says_how_a_server_runs_are_taken_over() {
        let specs = [
            ("trait:HW_CPU_X86_AVX2", "required"),
            ("trait:CUSTOM_OLD", "forbidden"),
            ("hw_rng:allowed", "true"),
            ("hw:cpu_policy", "shared"),
            ("resources:VCPU", "2"),
        ];
        let made = taken_over(flavor(&specs), &asked()).unwrap();
        assert_eq!((made.vcpus, made.memory_mb, made.disk_gb, made.amount), (2, 2_048, 20 + 5 + 2, 3));
        assert_eq!(made.required_traits, BTreeSet::from(["HW_CPU_X86_AVX2".to_owned()]));
        assert_eq!(made.forbidden_traits, BTreeSet::from(["CUSTOM_OLD".to_owned()]));
        let source = made.flavor.unwrap();
        assert_eq!((source.id.as_str(), source.name.as_str()), ("f", "m1.small"));
        let kept: Vec<&str> = source.extra_specs.keys().map(String::as_str).collect();
        assert_eq!(kept, ["hw_rng:allowed", "trait:CUSTOM_OLD", "trait:HW_CPU_X86_AVX2"]);
    }

    #[test]
    fn what_the_planner_knows_nothing_of_is_refused_by_its_name() {
        for (key, value) in [
            ("resources:VCPU", "1"),
            ("resources:VGPU", "1"),
            ("hw:cpu_policy", "dedicated"),
            ("hw:mem_page_size", "large"),
            ("pci_passthrough:alias", "gpu:1"),
            ("aggregate_instance_extra_specs:ssd", "true"),
            ("ssd", "true"),
            ("trait:X", "maybe"),
            (FLAVOR_MARK, "c"),
        ] {
            let error = taken_over(flavor(&[(key, value)]), &asked()).unwrap_err();
            let FlavorError::Wrong(text) = error else { panic!("{error:?}") };
            let named = key.strip_prefix("trait:").unwrap_or(key);
            assert!(text.contains("m1.small") && (key == FLAVOR_MARK || text.contains(named)), "{text}");
        }
    }
}
