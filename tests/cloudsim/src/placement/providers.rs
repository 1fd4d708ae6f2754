//! All providers: by UUID, and by name and by tree, so that a cloud of many hosts need not be gone through for one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::Provider;

/// UUIDs by what they have in common; never an empty set.
type Index = BTreeMap<String, BTreeSet<String>>;

/// The providers by UUID. Whatever answers several of them answers them in the order of their UUIDs.
#[derive(Debug, Default)]
pub(crate) struct Providers {
    all: BTreeMap<String, Provider>,
    by_name: Index,
    by_root: Index,
}

/// Reading is that of the map; what changes it goes through here.
impl Deref for Providers {
    type Target = BTreeMap<String, Provider>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Providers {
    /// Those of a name: one at most, unless a configuration names two hosts alike.
    pub(crate) fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Provider> + use<'a> {
        self.of(&self.by_name, name)
    }

    /// Those of one tree.
    pub(crate) fn of_tree<'a>(&'a self, root: &str) -> impl Iterator<Item = &'a Provider> + use<'a> {
        self.of(&self.by_root, root)
    }

    fn of<'a>(&'a self, index: &'a Index, key: &str) -> impl Iterator<Item = &'a Provider> + use<'a> {
        index.get(key).into_iter().flatten().filter_map(|uuid| self.all.get(uuid))
    }

    /// For all but its name, for which see [`rename`](Self::rename), and its place in the tree, which stays.
    pub(crate) fn get_mut(&mut self, uuid: &str) -> Option<&mut Provider> {
        self.all.get_mut(uuid)
    }

    pub(crate) fn insert(&mut self, provider: Provider) {
        self.remove(&provider.uuid);
        put(&mut self.by_name, &provider.name, &provider.uuid);
        put(&mut self.by_root, &provider.root, &provider.uuid);
        self.all.insert(provider.uuid.clone(), provider);
    }

    pub(crate) fn remove(&mut self, uuid: &str) {
        if let Some(gone) = self.all.remove(uuid) {
            drop_from(&mut self.by_name, &gone.name, uuid);
            drop_from(&mut self.by_root, &gone.root, uuid);
        }
    }

    pub(crate) fn rename(&mut self, uuid: &str, name: &str) {
        if let Some(provider) = self.all.get_mut(uuid) {
            drop_from(&mut self.by_name, &provider.name, uuid);
            put(&mut self.by_name, name, uuid);
            name.clone_into(&mut provider.name);
        }
    }
}

fn put(index: &mut Index, key: &str, uuid: &str) {
    index.entry(key.to_owned()).or_default().insert(uuid.to_owned());
}

fn drop_from(index: &mut Index, key: &str, uuid: &str) {
    if let Some(uuids) = index.get_mut(key) {
        uuids.remove(uuid);
        if uuids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Resources;

    fn provider(uuid: &str, name: &str, root: &str) -> Provider {
        Provider {
            uuid: uuid.to_owned(),
            name: name.to_owned(),
            generation: 0,
            parent: (uuid != root).then(|| root.to_owned()),
            root: root.to_owned(),
            inventories: BTreeMap::new(),
            traits: BTreeSet::new(),
            aggregates: BTreeSet::new(),
            used: Resources::new(),
            consumers: BTreeSet::new(),
            updated_ms: 0,
        }
    }

    fn uuids<'a>(found: impl Iterator<Item = &'a Provider>) -> Vec<&'a str> {
        found.map(|provider| provider.uuid.as_str()).collect()
    }

    #[test]
    fn a_provider_is_found_by_name_and_by_tree_as_long_as_it_has_them() {
        let mut all = Providers::default();
        for (uuid, name, root) in [("b", "host", "b"), ("c", "child", "b"), ("a", "other child", "b"), ("d", "alone", "d")] {
            all.insert(provider(uuid, name, root));
        }
        assert_eq!(uuids(all.of_tree("b")), ["a", "b", "c"], "by UUID, whatever came first");
        assert_eq!(uuids(all.named("child")), ["c"]);
        all.rename("c", "grown");
        assert_eq!((uuids(all.named("child")), uuids(all.named("grown"))), (vec![], vec!["c"]));
        all.remove("a");
        all.insert(provider("c", "moved", "d"));
        assert_eq!((uuids(all.of_tree("b")), uuids(all.of_tree("d"))), (vec!["b"], vec!["c", "d"]));
        assert_eq!((uuids(all.named("grown")), uuids(all.named("other child"))), (vec![], vec![]));
        all.insert(provider("e", "host", "e"));
        assert_eq!(uuids(all.named("host")), ["b", "e"]);
        assert_eq!(all.len(), 4);
    }
}
