//! Nova's scheduler: candidates of Placement, Nova's filters, a claim in one transaction.
//!
//! A server lands only where the root provider of the compute node is part of its allocation, as in Nova.

use std::collections::BTreeSet;

use super::{Flavor, Host, Server};
use crate::placement::{Allocations, Claim, Wish, candidate_of};
use crate::world::World;

/// Why no host was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoHost {
    /// Placement had no candidate.
    NoCandidate,
    /// The filters left none.
    Filtered,
}

impl NoHost {
    /// The words of Nova, which differ.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NoCandidate => "No valid host was found. ",
            Self::Filtered => "No valid host was found. There are not enough hosts available.",
        }
    }
}

/// Chooses a host for the server and claims its resources there.
pub(crate) fn place(world: &mut World, server: &Server) -> Result<String, NoHost> {
    let wish = wish_of(&server.flavor);
    let mut seen_candidate = false;
    let mut options: Vec<(u64, String, Allocations)> = Vec::new();
    for host in world.nova.hosts.values() {
        let Some(allocations) = candidate_of(&world.placement, &host.node_id, &wish) else { continue };
        if !allocations.contains_key(&host.node_id) {
            continue;
        }
        let disabled = world.placement.providers[&host.node_id].traits.contains("COMPUTE_STATUS_DISABLED");
        if disabled && server.forced_host.is_none() {
            continue;
        }
        seen_candidate = true;
        if passes(world, server, host) {
            let used = world.placement.providers[&host.node_id].used_of("MEMORY_MB");
            options.push((used, host.spec.name.clone(), allocations));
        }
    }
    // Nova spreads: the host with the least memory in use first; the name settles the rest.
    options.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    for (_, host, allocations) in options {
        let claim = claim_of(server, allocations);
        if world.placement.replace(world.now, std::slice::from_ref(&claim)).is_ok() {
            crate::placement::note_claim(world, &claim);
            return Ok(host);
        }
    }
    Err(if seen_candidate { NoHost::Filtered } else { NoHost::NoCandidate })
}

/// Claims on one given host, as a migration does for its target.
pub(crate) fn place_on(world: &mut World, server: &Server, host: &str) -> Result<(), NoHost> {
    let mut forced = server.clone();
    forced.forced_host = Some(host.to_owned());
    place(world, &forced).map(|_| ())
}

fn claim_of(server: &Server, allocations: Allocations) -> Claim {
    Claim {
        consumer: server.id.clone(),
        project_id: server.project_id.clone(),
        user_id: server.user_id.clone(),
        kind: "unknown".to_owned(),
        allocations,
        generation: None,
    }
}

/// What a flavor wants of Placement: its figures, then `resources:` and `trait:` of its extra specs.
pub(crate) fn wish_of(flavor: &Flavor) -> Wish {
    let mut wish = Wish::default();
    // Swap is in MB, disk in GB; Nova rounds up.
    let disk = flavor.disk + flavor.ephemeral + flavor.swap.div_ceil(1024);
    for (class, amount) in [("VCPU", flavor.vcpus), ("MEMORY_MB", flavor.ram), ("DISK_GB", disk)] {
        wish.resources.insert(class.to_owned(), amount);
    }
    for (key, value) in &flavor.extra_specs {
        if let Some(class) = key.strip_prefix("resources:") {
            wish.resources.insert(class.to_owned(), value.parse().unwrap_or(0));
        } else if let Some(name) = key.strip_prefix("trait:") {
            if value == "forbidden" {
                wish.forbidden.insert(name.to_owned());
            } else {
                wish.required.insert(name.to_owned());
            }
        }
    }
    wish.resources.retain(|_, amount| *amount > 0);
    wish
}

/// The filters. A forced host passes all of them but still needs its resources.
fn passes(world: &World, server: &Server, host: &Host) -> bool {
    let name = host.spec.name.as_str();
    if let Some(forced) = &server.forced_host {
        return forced == name;
    }
    let filters = [
        host.is_up(),
        !server.tried.contains(name),
        server.zone.as_deref().is_none_or(|zone| world.nova.zone_of(name) == zone),
        fits_extra_specs(world, &server.flavor, name),
        fits_tenant(world, &server.project_id, name),
        fits_group(world, server, name),
    ];
    filters.into_iter().all(|passed| passed)
}

/// AggregateInstanceExtraSpecsFilter: scoped keys, and those without any scope.
fn fits_extra_specs(world: &World, flavor: &Flavor, host: &str) -> bool {
    flavor.extra_specs.iter().all(|(key, value)| {
        let key = match key.split_once(':') {
            Some(("aggregate_instance_extra_specs", key)) => key,
            Some(_) => return true,
            None => key,
        };
        aggregates_of(world, host).any(|metadata| metadata.get(key) == Some(value))
    })
}

/// AggregateMultiTenancyIsolation: a host in an aggregate for tenants takes only theirs.
fn fits_tenant(world: &World, project: &str, host: &str) -> bool {
    let tenants: BTreeSet<&str> = aggregates_of(world, host)
        .flat_map(|metadata| metadata.iter())
        .filter(|(key, _)| key.starts_with("filter_tenant_id"))
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .collect();
    tenants.is_empty() || tenants.contains(project)
}

fn aggregates_of<'a>(world: &'a World, host: &'a str) -> impl Iterator<Item = &'a std::collections::BTreeMap<String, String>> {
    world
        .nova
        .aggregates
        .values()
        .filter(move |aggregate| aggregate.hosts.iter().any(|known| known == host))
        .map(|aggregate| &aggregate.metadata)
}

fn fits_group(world: &World, server: &Server, host: &str) -> bool {
    let Some(group) = server.group.as_ref().and_then(|id| world.nova.groups.get(id)) else { return true };
    let hosts: Vec<&str> = group
        .members
        .iter()
        .filter(|id| **id != server.id)
        .filter_map(|id| world.nova.servers.get(id)?.host.as_deref())
        .collect();
    match group.policy.as_str() {
        "affinity" => hosts.is_empty() || hosts.contains(&host),
        "anti-affinity" => {
            let here = hosts.iter().filter(|known| **known == host).count() as u64;
            here < group.max_per_host.unwrap_or(1)
        }
        _ => true,
    }
}

/// Lets a cold migration hold what its server had on the source. No refusal is possible: the server has just left it.
pub(crate) fn hold_for_migration(world: &mut World, migration: &str, server: &Server, held: Allocations) {
    let claim = Claim { consumer: migration.to_owned(), ..claim_of(server, held) };
    if world.placement.replace(world.now, std::slice::from_ref(&claim)).is_ok() {
        crate::placement::note_claim(world, &claim);
    }
}
