//! Values that many leases have in common stand in memory once. Derived, never stored or hashed.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::model::{InstanceWish, Lease, ResourceWish, Text};

/// What leases share.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    texts: Pool<Text>,
    wishes: Pool<Arc<InstanceWish>>,
}

/// Values, each with how many times it is used; found by a hash, as comparing them at each node of a tree takes longer than
/// all else.
#[derive(Clone, Debug)]
struct Pool<T> {
    values: BTreeMap<u64, Vec<(T, usize)>>,
}

impl Shared {
    /// Makes a lease use what others use already. Its values stay the same. Rare things are left as they are.
    pub fn take(&mut self, lease: &mut Lease) {
        self.texts.take(&mut lease.project_id.0);
        self.texts.take(&mut lease.user_id.0);
        if let Some(key) = &mut lease.key {
            self.texts.take(&mut key.project_id.0);
        }
        for reservation in &mut lease.reservations {
            let ResourceWish::Instance(wish) = &mut reservation.wish;
            self.wishes.take(wish);
            reservation.bindings.shrink_to_fit();
            reservation.releasing.shrink_to_fit();
        }
        lease.name.shrink_to_fit();
        lease.reservations.shrink_to_fit();
        lease.events.shrink_to_fit();
    }

    /// A lease that was taken in is given up, as it was then.
    pub fn release(&mut self, lease: &Lease) {
        self.texts.release(&lease.project_id.0);
        self.texts.release(&lease.user_id.0);
        if let Some(key) = &lease.key {
            self.texts.release(&key.project_id.0);
        }
        for reservation in &lease.reservations {
            let ResourceWish::Instance(wish) = &reservation.wish;
            self.wishes.release(wish);
        }
    }

    /// Different values that are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.texts.len() + self.wishes.len()
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool { values: BTreeMap::new() }
    }
}

impl<T: Hash + Eq + Clone> Pool<T> {
    fn take(&mut self, mine: &mut T) {
        let alike = self.values.entry(hash(mine)).or_default();
        match alike.iter_mut().find(|(value, _)| value == mine) {
            Some((value, count)) => {
                *count += 1;
                mine.clone_from(value);
            }
            None => alike.push((mine.clone(), 1)),
        }
    }

    fn release(&mut self, mine: &T) {
        let hash = hash(mine);
        let alike = self.values.get_mut(&hash).expect("only what was taken is released");
        let place = alike.iter().position(|(value, _)| value == mine).expect("only what was taken is released");
        alike[place].1 -= 1;
        if alike[place].1 == 0 {
            alike.swap_remove(place);
            if alike.is_empty() {
                self.values.remove(&hash);
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.values.values().map(Vec::len).sum()
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = Xxh3::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::crowd::{Random, crowded};
    use crate::state::State;

    #[test]
    fn alike_values_are_one_and_go_with_the_last_lease() {
        let state = crowded(40, 300, &mut Random(1));
        let reopened = State::from_rows_of(&state);
        for state in [&state, &reopened] {
            let mut leases = state.leases();
            let first = leases.next().expect("there are leases");
            assert!(leases.all(|lease| std::ptr::eq(lease.project_id.0.as_str(), first.project_id.0.as_str())));
        }
        assert!(state.leases().eq(reopened.leases()));
        assert_eq!(state.shared.len(), reopened.shared.len(), "what went with its last lease is forgotten");

        let mut shared = Shared::default();
        let mut leases: Vec<Lease> = state.leases().cloned().collect();
        leases.iter_mut().for_each(|lease| shared.take(lease));
        assert!(state.leases().eq(&leases), "sharing changes nothing");
        assert!((3..400).contains(&shared.len()), "{}", shared.len());
        leases.iter().for_each(|lease| shared.release(lease));
        assert_eq!(shared.len(), 0);
    }
}
