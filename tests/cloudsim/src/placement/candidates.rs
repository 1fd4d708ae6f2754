//! Which allocations of a tree would satisfy a wish: `GET /allocation_candidates`, and Nova's scheduler.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Allocations, Placement, Provider, Resources};

/// A request without suffix: resources that may come from several providers of one tree, and traits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) resources: Resources,
    pub(crate) required: BTreeSet<String>,
    pub(crate) forbidden: BTreeSet<String>,
}

/// The first way to satisfy the wish in the tree of `root`, the root itself preferred; none if there is none.
pub(crate) fn candidate_of(placement: &Placement, root: &str, wish: &Wish) -> Option<Allocations> {
    let tree = placement.tree(root);
    // A forbidden trait bars the provider that has it; on the root it bars the tree.
    let usable: Vec<&Provider> = tree.into_iter().filter(|provider| provider.traits.is_disjoint(&wish.forbidden)).collect();
    if !usable.iter().any(|provider| provider.uuid == root) {
        return None;
    }
    let mut chosen = Allocations::new();
    for (class, amount) in &wish.resources {
        let provider = usable.iter().find(|provider| provider.has_room(class, *amount))?;
        chosen.entry(provider.uuid.clone()).or_default().insert(class.clone(), *amount);
    }
    let offered: BTreeSet<&String> = usable
        .iter()
        .filter(|provider| provider.uuid == root || chosen.contains_key(&provider.uuid))
        .flat_map(|provider| &provider.traits)
        .collect();
    wish.required.iter().all(|name| offered.contains(name)).then_some(chosen)
}

/// The body of `GET /allocation_candidates`.
pub(crate) fn list(placement: &Placement, wish: &Wish, limit: usize, in_tree: Option<&str>) -> Value {
    let roots: Vec<&Provider> = placement
        .providers
        .values()
        .filter(|provider| provider.parent.is_none())
        .filter(|root| in_tree.is_none_or(|uuid| placement.providers.get(uuid).is_some_and(|one| one.root == root.uuid)))
        .collect();
    let mut requests = Vec::new();
    let mut summaries = BTreeMap::new();
    for root in roots {
        if requests.len() >= limit {
            break;
        }
        let Some(chosen) = candidate_of(placement, &root.uuid, wish) else { continue };
        let allocations: BTreeMap<&String, Value> =
            chosen.iter().map(|(uuid, resources)| (uuid, json!({"resources": resources}))).collect();
        requests.push(json!({"allocations": allocations, "mappings": {"": chosen.keys().collect::<Vec<_>>()}}));
        for provider in placement.tree(&root.uuid) {
            summaries.insert(provider.uuid.clone(), summary(provider));
        }
    }
    json!({"allocation_requests": requests, "provider_summaries": summaries})
}

fn summary(provider: &Provider) -> Value {
    let resources: BTreeMap<&String, Value> = provider
        .inventories
        .iter()
        .map(|(class, inventory)| (class, json!({"capacity": inventory.capacity() as u64, "used": provider.used_of(class)})))
        .collect();
    json!({
        "resources": resources,
        "traits": provider.traits,
        "parent_provider_uuid": provider.parent,
        "root_provider_uuid": provider.root,
    })
}
