//! Placement: providers in trees, inventories, allocations, generations.
//!
//! The state is here and in `providers`, the HTTP interface in `api`, `inventory` and `allocation`, the search in `candidates`.

mod allocation;
mod api;
mod candidates;
mod inventory;
mod providers;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub(crate) use allocation::{note_removed, note_set as note_claim};
pub(crate) use api::handle;
pub(crate) use candidates::{Wish, candidate_of};
pub(crate) use inventory::store as store_inventories;
pub(crate) use providers::Providers;

/// How much of which resource class.
pub(crate) type Resources = BTreeMap<String, u64>;

/// Which resources of which providers, by provider UUID.
pub(crate) type Allocations = BTreeMap<String, Resources>;

/// What a provider has of one class, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Inventory {
    pub(crate) allocation_ratio: f64,
    pub(crate) max_unit: u64,
    pub(crate) min_unit: u64,
    pub(crate) reserved: u64,
    pub(crate) step_size: u64,
    pub(crate) total: u64,
}

impl Inventory {
    /// The default values of Placement for what a body leaves out.
    pub(crate) fn of(total: u64) -> Self {
        Self { total, reserved: 0, min_unit: 1, max_unit: 2_147_483_647, step_size: 1, allocation_ratio: 1.0 }
    }

    /// What may be allocated in all; Placement compares with the product before rounding.
    pub(crate) fn capacity(&self) -> f64 {
        self.total.saturating_sub(self.reserved) as f64 * self.allocation_ratio
    }
}

/// A resource provider.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) parent: Option<String>,
    pub(crate) root: String,
    pub(crate) inventories: BTreeMap<String, Inventory>,
    pub(crate) traits: BTreeSet<String>,
    pub(crate) aggregates: BTreeSet<String>,
    /// What consumers have of it, kept in step with their allocations.
    pub(crate) used: Resources,
    /// Who has them.
    pub(crate) consumers: BTreeSet<String>,
    pub(crate) updated_ms: u64,
}

impl Provider {
    pub(crate) fn used_of(&self, class: &str) -> u64 {
        self.used.get(class).copied().unwrap_or(0)
    }

    /// Whether `amount` more of `class` can be had, by capacity, unit and step.
    pub(crate) fn has_room(&self, class: &str, amount: u64) -> bool {
        self.inventories.get(class).is_some_and(|inventory| {
            fits_units(inventory, amount) && (self.used_of(class) + amount) as f64 <= inventory.capacity()
        })
    }
}

fn fits_units(inventory: &Inventory, amount: u64) -> bool {
    amount >= inventory.min_unit && amount <= inventory.max_unit && amount.is_multiple_of(inventory.step_size.max(1))
}

/// Who has allocations.
#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    pub(crate) generation: u64,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
    pub(crate) kind: String,
    pub(crate) allocations: Allocations,
    pub(crate) updated_ms: u64,
}

/// What one consumer shall have from now on.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) consumer: String,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
    pub(crate) kind: String,
    pub(crate) allocations: Allocations,
    /// What the caller believes the consumer's generation to be; the outer `None` does not check.
    pub(crate) generation: Option<Option<u64>>,
}

/// Why allocations were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such provider.
    Provider(String),
    /// No such resource class.
    Class(String),
    /// Another generation of the consumer.
    Generation { expected: Option<u64>, got: Option<u64> },
    /// No inventory of the class, or no room, or not in its units; the words are Placement's.
    Inventory(String),
}

/// The state of Placement.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) providers: Providers,
    pub(crate) consumers: BTreeMap<String, Consumer>,
    pub(crate) classes: BTreeSet<String>,
    pub(crate) traits: BTreeSet<String>,
}

const STANDARD_CLASSES: [&str; 9] = [
    "VCPU",
    "MEMORY_MB",
    "DISK_GB",
    "PCI_DEVICE",
    "VGPU",
    "PCPU",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "FPGA",
    "MEM_ENCRYPTION_CONTEXT",
];

impl Placement {
    pub(crate) fn new() -> Self {
        Self {
            providers: Providers::default(),
            consumers: BTreeMap::new(),
            classes: STANDARD_CLASSES.iter().map(|class| (*class).to_owned()).collect(),
            traits: ["COMPUTE_NODE", "OWNER_NOVA", "COMPUTE_STATUS_DISABLED", "COMPUTE_IMAGE_TYPE_RAW", "HW_CPU_X86_AVX2"]
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        }
    }

    /// The providers of one tree, the root first.
    pub(crate) fn tree(&self, root: &str) -> Vec<&Provider> {
        let mut tree: Vec<&Provider> = self.providers.of_tree(root).collect();
        // They come by UUID, which settles the rest.
        tree.sort_by_key(|provider| provider.parent.is_some());
        tree
    }

    /// Replaces the allocations of all given consumers, or of none (`alloc_obj.replace_all` of Placement).
    pub(crate) fn replace(&mut self, now: u64, claims: &[Claim]) -> Result<(), Refusal> {
        for claim in claims {
            if let Some(missing) = claim.allocations.keys().find(|uuid| !self.providers.contains_key(*uuid)) {
                return Err(Refusal::Provider(missing.clone()));
            }
            let expected = self.consumers.get(&claim.consumer).map(|consumer| consumer.generation);
            if let Some(got) = claim.generation
                && got != expected
            {
                return Err(Refusal::Generation { expected, got });
            }
        }
        let mut classes = claims.iter().flat_map(|claim| claim.allocations.values()).flat_map(Resources::keys);
        if let Some(unknown) = classes.find(|class| !self.classes.contains(*class)) {
            return Err(Refusal::Class(unknown.clone()));
        }
        // What the consumers have now does not count against what they shall have.
        let before: Vec<Allocations> = claims.iter().map(|claim| self.take(&claim.consumer)).collect();
        if let Err(refusal) = self.check(claims) {
            for (claim, old) in claims.iter().zip(before) {
                self.give(&claim.consumer, &old);
            }
            return Err(refusal);
        }
        let mut touched: BTreeSet<String> = BTreeSet::new();
        for (claim, old) in claims.iter().zip(before) {
            touched.extend(claim.allocations.keys().cloned());
            if claim.allocations.is_empty() {
                // An empty wish touches what it frees; a consumer without allocations is forgotten.
                touched.extend(old.into_keys());
                self.consumers.remove(&claim.consumer);
                continue;
            }
            let consumer = self.consumers.entry(claim.consumer.clone()).or_insert_with(|| Consumer {
                generation: 0,
                project_id: String::new(),
                user_id: String::new(),
                kind: String::new(),
                allocations: Allocations::new(),
                updated_ms: now,
            });
            consumer.generation += 1;
            consumer.project_id.clone_from(&claim.project_id);
            consumer.user_id.clone_from(&claim.user_id);
            consumer.kind.clone_from(&claim.kind);
            consumer.updated_ms = now;
            self.give(&claim.consumer, &claim.allocations);
        }
        for uuid in touched {
            self.bump(&uuid, now);
        }
        Ok(())
    }

    /// Drops all allocations of a consumer, as `DELETE /allocations` does: no generation of a provider moves.
    pub(crate) fn forget(&mut self, consumer: &str) -> Option<Allocations> {
        let had = self.take(consumer);
        self.consumers.remove(consumer).map(|_| had)
    }

    pub(crate) fn bump(&mut self, uuid: &str, now: u64) {
        if let Some(provider) = self.providers.get_mut(uuid) {
            provider.generation += 1;
            provider.updated_ms = now;
        }
    }

    fn take(&mut self, consumer: &str) -> Allocations {
        let Some(known) = self.consumers.get_mut(consumer) else { return Allocations::new() };
        let had = std::mem::take(&mut known.allocations);
        for (uuid, resources) in &had {
            let Some(provider) = self.providers.get_mut(uuid) else { continue };
            for (class, amount) in resources {
                let left = provider.used_of(class) - amount;
                provider.used.insert(class.clone(), left);
            }
            provider.used.retain(|_, amount| *amount > 0);
            provider.consumers.remove(consumer);
        }
        had
    }

    fn give(&mut self, consumer: &str, allocations: &Allocations) {
        let Some(known) = self.consumers.get_mut(consumer) else { return };
        known.allocations.clone_from(allocations);
        for (uuid, resources) in allocations {
            let Some(provider) = self.providers.get_mut(uuid) else { continue };
            for (class, amount) in resources {
                *provider.used.entry(class.clone()).or_insert(0) += amount;
            }
            provider.consumers.insert(consumer.to_owned());
        }
    }

    /// Whether there is room for all claims together (`_check_capacity_exceeded` of Placement).
    fn check(&self, claims: &[Claim]) -> Result<(), Refusal> {
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for claim in claims {
            for (uuid, resources) in &claim.allocations {
                let provider = &self.providers[uuid];
                // In the order of Placement's own table, VCPU first.
                let mut resources: Vec<(&String, &u64)> = resources.iter().collect();
                resources.sort_by_key(|(class, _)| {
                    STANDARD_CLASSES.iter().position(|known| known == class).unwrap_or(STANDARD_CLASSES.len())
                });
                for (class, amount) in resources {
                    let Some(inventory) = provider.inventories.get(class) else {
                        return Err(Refusal::Inventory(format!(
                            "Inventory for '{class}' on resource provider '{uuid}' invalid."
                        )));
                    };
                    let refuse = |why: &str| {
                        Refusal::Inventory(format!(
                            "Unable to create allocation for '{class}' on resource provider '{uuid}'. \
                             The requested amount would {why}."
                        ))
                    };
                    if !fits_units(inventory, *amount) {
                        return Err(refuse("violate inventory constraints"));
                    }
                    let sum = sums.entry((uuid, class)).or_insert(0);
                    *sum += amount;
                    if inventory.capacity() < (provider.used_of(class) + *sum) as f64 {
                        return Err(refuse("exceed the capacity"));
                    }
                }
            }
        }
        Ok(())
    }
}
