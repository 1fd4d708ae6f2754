//! G, the grain of memory on shared hosts: what ordinary servers take of it is always a multiple (architecture D21). K, the
//! anchors of lease servers, must stay below it, or an ordinary server fits where the anchors are to be.
//!
//! Read at onboarding, which fixes K; read again with every full look at the hosts, because flavors come and go.

use std::collections::BTreeSet;

use leasehold_ledger::model::{Anchor, HostDescription, PoolKind};
use uuid::Uuid;

use super::host_plan;
use super::names::{FLAVOR_MARK, Names};
use crate::openstack::nova::Flavor;
use crate::openstack::{Cloud, CloudError};

/// Least grain of memory that leaves room for anchors on a shared host (architecture D21).
pub const GRAIN_MIN_MB: u32 = 64;

/// The grain of a host now, of the flavors and of what is allocated already; 0 for nothing at all.
///
/// # Errors
/// When Placement gives no answer.
pub async fn read(cloud: &Cloud, names: &Names, root: Uuid, flavors: &[Flavor]) -> Result<u32, CloudError> {
    Ok(grain(flavors, &memory_of_users(cloud, names, root).await?))
}

/// Whether the anchors of a host are not safe any more with this grain. On dedicated hosts no ordinary server
/// competes, and anchors of a class of their own are no memory.
///
/// The hold leaves a multiple of the grain of the onboarding to ordinary servers, so what counts is the grain of both.
#[must_use]
pub fn is_too_small(host: &HostDescription, grain_mb: u32) -> bool {
    let both = gcd(grain_mb, host.memory_grain_mb);
    host.pool == PoolKind::Shared && host.anchor == Anchor::Memory && grain_mb != 0 && both <= host.anchor_budget
}

/// Memory that ordinary servers on a host have now: of deleted flavors too.
async fn memory_of_users(cloud: &Cloud, names: &Names, root: Uuid) -> Result<Vec<u32>, CloudError> {
    let users = cloud.placement().allocations_on(root).await?;
    let ours = cloud.placement().allocations_on(names.reservation_provider(root)).await?;
    let is_ours = |consumer: &Uuid| ours.as_ref().is_some_and(|ours| ours.allocations.contains_key(consumer));
    let holds = users.iter().flat_map(|users| host_plan::holds_of(names, root, users)).flatten().map(|(consumer, _)| consumer);
    let holds: BTreeSet<Uuid> = holds.collect();
    let memory = users.into_iter().flat_map(|users| users.allocations).filter(|(id, _)| !is_ours(id) && !holds.contains(id));
    Ok(memory.map(|(_, there)| host_plan::amounts(&there.resources).memory_mb).filter(|mb| *mb > 1).collect())
}

/// What an ordinary server of a flavor takes of the root provider, in MiB; `None` for ours.
fn memory_of(flavor: &Flavor) -> Option<u32> {
    if flavor.extra_specs.contains_key(FLAVOR_MARK) {
        return None;
    }
    let own = flavor.extra_specs.get("resources:MEMORY_MB").and_then(|text| text.parse().ok());
    Some(own.unwrap_or(flavor.ram)).filter(|mb| *mb > 0)
}

/// G: the greatest common divisor; 0 for nothing at all.
fn grain(flavors: &[Flavor], used: &[u32]) -> u32 {
    flavors.iter().filter_map(memory_of).chain(used.iter().copied()).fold(0, gcd)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Flavors whose memory is no multiple of `least_mb`, for people.
#[must_use]
pub fn culprits(flavors: &[Flavor], least_mb: u32) -> String {
    let least_mb = least_mb.max(1);
    let bad: Vec<String> = flavors
        .iter()
        .filter_map(|flavor| memory_of(flavor).filter(|mb| mb % least_mb != 0).map(|mb| format!("{} {mb} MB", flavor.name)))
        .collect();
    if bad.is_empty() { "servers of deleted flavors".to_owned() } else { format!("flavors {}", bad.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flavor(name: &str, ram: u32, specs: &[(&str, &str)]) -> Flavor {
        let extra_specs = specs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Flavor {
            id: name.to_owned(),
            name: name.to_owned(),
            vcpus: 1,
            ram,
            disk: 1,
            ephemeral: 0,
            swap: 0,
            is_public: true,
            extra_specs,
        }
    }

    #[test]
    fn the_grain_is_that_of_ordinary_flavors_and_of_what_runs_already() {
        let flavors = [
            flavor("small", 512, &[]),
            flavor("big", 6144, &[]),
            flavor("ours", 1000, &[(FLAVOR_MARK, "x")]),
            flavor("overridden", 1000, &[("resources:MEMORY_MB", "0")]),
        ];
        assert_eq!(grain(&flavors, &[]), 512);
        assert_eq!(grain(&flavors, &[768]), 256);
        assert_eq!(grain(&[], &[]), 0);
        assert_eq!(culprits(&[flavor("odd", 1000, &[])], GRAIN_MIN_MB), "flavors odd 1000 MB");
    }

    #[test]
    fn anchors_are_safe_while_the_grain_of_then_and_now_is_above_their_number() {
        let host = |pool, anchor, anchor_budget, memory_grain_mb| {
            let description = HostDescription {
                hypervisor_hostname: "h1".into(),
                service_name: "h1".into(),
                root_provider: Uuid::from_u128(1),
                hypervisor_type: "QEMU".into(),
                hypervisor_version: 1,
                cpu_info: String::new(),
                vcpus: 16,
                memory_mb: 8192,
                local_gb: 100,
                zone: None,
                pool,
                anchor_budget,
                memory_grain_mb,
                anchor,
            };
            is_too_small(&description, 100)
        };
        // Made for multiples of 64 MB: 100 MB is above the 63 anchors and yet ends among them.
        assert!(host(PoolKind::Shared, Anchor::Memory, 63, 64));
        assert!(!host(PoolKind::Shared, Anchor::Memory, 63, 200));
        assert!(host(PoolKind::Shared, Anchor::Memory, 100, 200));
        assert!(!host(PoolKind::Dedicated, Anchor::Memory, 255, 0));
        assert!(!host(PoolKind::Shared, Anchor::Class, 255, 0), "its anchors are no memory");
    }
}
