//! What hosts have, who uses them, whether they are up: read from Nova and Placement, logged when it changed.
//!
//! Firm usage is what is not attributed (architecture D22): not our holds, not the anchors of servers that use our tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use leasehold_ledger::command::Command;
use leasehold_ledger::model::{Amounts, Anchor, Host, HostId, Observation, PoolKind};
use uuid::Uuid;

use super::courtesy::Courtesy;
use super::grain;
use super::host_plan;
use super::names::{ANCHOR_CLASS, Names};
use super::work::Work;
use crate::openstack::placement::{Inventories, Inventory, ProviderAllocations};
use crate::openstack::{Cloud, CloudError};
use crate::telemetry::metrics;

/// Hosts looked at at once.
pub(super) const HOSTS_AT_ONCE: usize = 8;

/// Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let mut last_full = None;
    let mut told = BTreeMap::new();
    loop {
        let now = work.clock.mono();
        let full = last_full.is_none_or(|last| now.since(last) >= work.config.hosts_period);
        if full {
            last_full = Some(now);
        }
        if let Err(error) = look(&work, full).await {
            tracing::warn!(%error, "the hosts could not be looked at");
        }
        if full {
            metrics::anchors_missing(work.ledger.look(|state| state.hosts().filter(|host| is_short_of_anchors(host)).count()));
        }
        if full && let Err(error) = tell_small_grains(&work, &mut told).await {
            tracing::warn!(%error, "the grain of the flavors could not be looked at");
        }
        let ms = u64::try_from(work.config.services_period.as_millis()).unwrap_or(u64::MAX);
        work.clock.sleep(Duration::from_millis(ms + work.rng.below(ms / 10 + 1))).await;
    }
}

/// Whether somebody lowered a host's inventory of anchors. Where memory is the anchor there is none, and a host that is gone
/// lacks more than its anchors.
#[must_use]
pub fn is_short_of_anchors(host: &Host) -> bool {
    let (description, capacity) = (&host.description, host.observation.capacity);
    description.anchor == Anchor::Class && capacity != Amounts::default() && capacity.slots < description.anchor_budget
}

/// One round: services of all, and with `full` inventories and users of each.
async fn look(work: &Work, full: bool) -> Result<(), CloudError> {
    let services = work.cloud.nova().compute_services().await?;
    let up: BTreeMap<String, bool> = services.iter().map(|service| (service.host.clone(), service.usable())).collect();
    let hosts: Vec<Host> = work.ledger.look(|state| state.hosts().cloned().collect());
    let courtesy = &Courtesy::new(work);
    let mut rounds = Vec::new();
    for host in hosts {
        let up = up.get(&host.description.service_name).copied().unwrap_or(false);
        if full {
            let round = async move {
                courtesy.wait().await;
                observe_as(work, host.id, Some(up)).await
            };
            rounds.push(round.boxed());
        } else if host.observation.up != up {
            report(work, host.id, Observation { up, ..host.observation }).await;
        }
    }
    let results: Vec<Result<(), CloudError>> = futures::stream::iter(rounds).buffer_unordered(HOSTS_AT_ONCE).collect().await;
    results.into_iter().collect()
}

/// A shared host whose anchors are not safe any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallGrain {
    /// G now.
    pub grain_mb: u32,
    /// Who made it so, for people.
    pub culprits: String,
}

/// Looks whether flavors that came since the onboarding, or what they left on the hosts, endanger the anchors of lease
/// servers (architecture D21).
///
/// # Errors
/// When the cloud gives no answer.
pub async fn small_grains(work: &Work) -> Result<BTreeMap<HostId, SmallGrain>, CloudError> {
    let is_shared = |host: &&Host| host.description.pool == PoolKind::Shared;
    let shared: Vec<Host> = work.ledger.look(|state| state.hosts().filter(is_shared).cloned().collect());
    let mut small = BTreeMap::new();
    if shared.is_empty() {
        return Ok(small);
    }
    let flavors = work.cloud.nova().flavors().await?;
    for host in shared {
        let grain_mb = grain::read(&work.cloud, &work.names, host.description.root_provider, &flavors).await?;
        if grain::is_too_small(&host.description, grain_mb) {
            let culprits = grain::culprits(&flavors, host.description.memory_grain_mb);
            small.insert(host.id, SmallGrain { grain_mb, culprits });
        }
    }
    Ok(small)
}

/// Counts them, and warns of those that are new. Nothing is moved: an operator removes the flavor, or offboards the host.
async fn tell_small_grains(work: &Work, told: &mut BTreeMap<HostId, SmallGrain>) -> Result<(), CloudError> {
    let small = small_grains(work).await?;
    for (host, found) in small.iter().filter(|(host, found)| told.get(host) != Some(found)) {
        let SmallGrain { grain_mb, culprits } = found;
        tracing::warn!(%host, grain_mb, culprits, "ordinary servers may take the memory of lease servers' anchors");
    }
    metrics::grain_too_small(small.len());
    *told = small;
    Ok(())
}

/// Reads one host and tells the ledger, with its service as it was last seen.
///
/// # Errors
/// When the cloud gives no answer.
pub async fn observe(work: &Work, host: HostId) -> Result<(), CloudError> {
    observe_as(work, host, None).await
}

async fn observe_as(work: &Work, id: HostId, up: Option<bool>) -> Result<(), CloudError> {
    let Some(host) = work.ledger.look(|state| state.host(id).cloned()) else { return Ok(()) };
    let up = up.unwrap_or(host.observation.up);
    let description = &host.description;
    let (anchor, most) = (description.anchor, description.anchor_budget);
    let seen = read(&work.cloud, &work.names, &description.root_provider, anchor, most).await?;
    let observation = match seen {
        Some(seen) => Observation { up, ..seen },
        // The provider is gone, so the host is: nothing is left of its capacity.
        None => Observation { capacity: Amounts::default(), up: false, ..host.observation.clone() },
    };
    if observation != host.observation {
        tell_anchors(&host, &observation);
        report(work, id, observation).await;
    }
    Ok(())
}

/// An operator took anchors away: the ledger promises no more of them than there are, and marks the host when it has
/// promised more. On memory K is no inventory of its own, and what endangers it is told by [`tell_small_grains`].
fn tell_anchors(host: &Host, now: &Observation) {
    let (name, budget) = (&host.description.hypervisor_hostname, host.description.anchor_budget);
    let (before, left) = (host.observation.capacity.slots, now.capacity.slots);
    if left < before.min(budget) && now.capacity != Amounts::default() {
        tracing::warn!(host = name, budget, left, "the inventory of {ANCHOR_CLASS} shrank below what the host was taken in with");
    }
}

async fn report(work: &Work, host_id: HostId, observation: Observation) {
    tracing::info!(%host_id, ?observation, "a host changed");
    match work.ledger.propose(Command::ReportHost { host_id, observation }).await {
        Ok(Ok(_)) => {}
        Ok(Err(rejection)) => tracing::warn!(%host_id, %rejection, "the ledger refused an observation"),
        // The next round reads and tells again.
        Err(error) => tracing::warn!(%host_id, %error, "an observation was not taken"),
    }
}

/// Reads a host's root provider; `None` when it is not there. `up` is for the caller to fill in.
///
/// # Errors
/// When Placement gives no answer.
pub async fn read(
    cloud: &Cloud,
    names: &Names,
    root: &Uuid,
    anchor: Anchor,
    anchor_budget: u32,
) -> Result<Option<Observation>, CloudError> {
    let placement = cloud.placement();
    let child = names.reservation_provider(*root);
    // Users of tokens before users of the root: who boots in between shows as firm by a single megabyte, not the reverse.
    let (tokens, inventories) = futures::try_join!(placement.allocations_on(child), placement.inventories(*root))?;
    let users = placement.allocations_on(*root).await?;
    let (Some(inventories), Some(users)) = (inventories, users) else { return Ok(None) };
    let traits = placement.traits(*root).await?;
    let ours: BTreeSet<Uuid> = tokens.iter().flat_map(|tokens| tokens.allocations.keys().copied()).collect();
    let firm = firm(names, *root, &users, &ours);
    Ok(Some(Observation {
        capacity: capacity(&inventories, anchor, anchor_budget),
        firm,
        max_unit: max_unit(&inventories),
        traits,
        up: true,
    }))
}

/// How many anchors of their own class a provider has: none where one of them cannot be taken alone.
pub fn anchors(inventories: &Inventories) -> u32 {
    let takes_one = |inventory: &&Inventory| inventory.min_unit <= 1 && inventory.step_size == 1 && inventory.max_unit >= 1;
    let capacity = inventories.inventories.get(ANCHOR_CLASS).filter(takes_one).map_or(0, Inventory::capacity);
    u32::try_from(capacity).unwrap_or(u32::MAX)
}

/// C: memory less the anchor budget where it is the anchor; slots the budget itself, or what is left of it.
fn capacity(inventories: &Inventories, anchor: Anchor, anchor_budget: u32) -> Amounts {
    let (anchor_mb, slots) = match anchor {
        Anchor::Memory => (anchor_budget, anchor_budget),
        Anchor::Class => (0, anchor_budget.min(anchors(inventories))),
    };
    let of = |class: &str| {
        let capacity = inventories.inventories.get(class).map_or(0, Inventory::capacity);
        u32::try_from(capacity).unwrap_or(u32::MAX)
    };
    Amounts { vcpus: of("VCPU"), memory_mb: of("MEMORY_MB").saturating_sub(anchor_mb), disk_gb: of("DISK_GB"), slots }
}

fn max_unit(inventories: &Inventories) -> Amounts {
    let most = inventories.inventories.iter().map(|(class, inventory)| (class.clone(), inventory.max_unit)).collect();
    host_plan::amounts(&most)
}

/// F: what anyone but us and our servers uses.
fn firm(names: &Names, root: Uuid, users: &ProviderAllocations, ours: &BTreeSet<Uuid>) -> Amounts {
    let holds = host_plan::holds_of(names, root, users).into_iter().flatten().map(|(consumer, _)| consumer);
    let holds: BTreeSet<Uuid> = holds.collect();
    users
        .allocations
        .iter()
        .filter(|(consumer, _)| !holds.contains(consumer) && !ours.contains(consumer))
        .map(|(_, there)| &there.resources)
        // A server of ours that came or went between the two reads shows by its anchor alone.
        .filter(|resources| {
            let one_of = |class: &str| resources.get(class) == Some(&1);
            !(resources.len() == 1 && (one_of("MEMORY_MB") || one_of(ANCHOR_CLASS)))
        })
        .fold(Amounts::default(), |sum, resources| sum.checked_add(host_plan::amounts(resources)).unwrap_or(sum))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn host(anchor: Anchor, capacity: Amounts) -> Host {
        let anchor = serde_json::to_value(anchor).unwrap();
        serde_json::from_value(json!({
            "id": 1,
            "description": {
                "hypervisor_hostname": "h1", "service_name": "h1", "root_provider": Uuid::from_u128(1),
                "hypervisor_type": "QEMU", "hypervisor_version": 1, "cpu_info": "", "vcpus": 16, "memory_mb": 4096, "local_gb": 9,
                "zone": null, "pool": "shared", "anchor_budget": 255, "memory_grain_mb": 512, "anchor": anchor,
            },
            "observation": {"capacity": capacity, "firm": Amounts::default(), "max_unit": capacity, "traits": [], "up": true},
            "properties": {}, "reservable": true, "overcommitted": false, "created_at": 0, "updated_at": null,
        }))
        .unwrap()
    }

    #[test]
    fn only_a_host_whose_inventory_of_anchors_shrank_lacks_anchors() {
        let has = |slots| Amounts { vcpus: 16, memory_mb: 4096, disk_gb: 9, slots };
        assert!(is_short_of_anchors(&host(Anchor::Class, has(254))));
        assert!(is_short_of_anchors(&host(Anchor::Class, has(0))));
        assert!(!is_short_of_anchors(&host(Anchor::Class, has(255))));
        assert!(!is_short_of_anchors(&host(Anchor::Class, Amounts::default())), "its provider is gone, and all with it");
        assert!(!is_short_of_anchors(&host(Anchor::Memory, Amounts::default())));
    }

    #[test]
    fn holds_and_anchors_of_our_servers_are_not_firm() {
        let names = Names::new(Uuid::from_u128(5));
        let root = Uuid::from_u128(1);
        let (ours, fresh, ordinary) = (Uuid::from_u128(10), Uuid::from_u128(11), Uuid::from_u128(12));
        let users: ProviderAllocations = serde_json::from_value(json!({
            "resource_provider_generation": 3,
            "allocations": {
                names.hold(root, 1).to_string(): {"resources": {"VCPU": 8, "MEMORY_MB": 4096}},
                ours.to_string(): {"resources": {"MEMORY_MB": 1}},
                fresh.to_string(): {"resources": {"MEMORY_MB": 1}},
                Uuid::from_u128(13).to_string(): {"resources": {"CUSTOM_LH_ANCHOR": 1}},
                ordinary.to_string(): {"resources": {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}},
            }
        }))
        .unwrap();
        let firm = firm(&names, root, &users, &BTreeSet::from([ours]));
        assert_eq!(firm, Amounts { vcpus: 1, memory_mb: 512, disk_gb: 1, slots: 0 });
    }
}
