//! Values that many leases have in common stand in memory once. Derived, never stored or hashed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{InstanceWish, Lease, ResourceWish, Text};

/// What leases share, with how many times each value is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    texts: BTreeMap<Text, usize>,
    wishes: BTreeMap<Arc<InstanceWish>, usize>,
}

impl Shared {
    /// Makes a lease use what others use already. Its values stay the same. Rare things are left as they are.
    pub fn take(&mut self, lease: &mut Lease) {
        shared(&mut self.texts, &mut lease.project_id.0);
        shared(&mut self.texts, &mut lease.user_id.0);
        if let Some(key) = &mut lease.key {
            shared(&mut self.texts, &mut key.project_id.0);
        }
        for reservation in &mut lease.reservations {
            let ResourceWish::Instance(wish) = &mut reservation.wish;
            shared(&mut self.wishes, wish);
            reservation.bindings.shrink_to_fit();
            reservation.releasing.shrink_to_fit();
        }
        lease.name.shrink_to_fit();
        lease.reservations.shrink_to_fit();
        lease.events.shrink_to_fit();
    }

    /// A lease that was taken in is given up, as it was then.
    pub fn release(&mut self, lease: &Lease) {
        unshared(&mut self.texts, &lease.project_id.0);
        unshared(&mut self.texts, &lease.user_id.0);
        if let Some(key) = &lease.key {
            unshared(&mut self.texts, &key.project_id.0);
        }
        for reservation in &lease.reservations {
            let ResourceWish::Instance(wish) = &reservation.wish;
            unshared(&mut self.wishes, wish);
        }
    }

    /// Different values that are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.texts.len() + self.wishes.len()
    }
}

fn shared<T: Ord + Clone>(values: &mut BTreeMap<T, usize>, mine: &mut T) {
    // The kept value itself must be the one that is cloned, so the entry is asked for its key.
    let mut entry = match values.entry(mine.clone()) {
        std::collections::btree_map::Entry::Occupied(entry) => entry,
        std::collections::btree_map::Entry::Vacant(entry) => entry.insert_entry(0),
    };
    *entry.get_mut() += 1;
    *mine = entry.key().clone();
}

fn unshared<T: Ord>(values: &mut BTreeMap<T, usize>, value: &T) {
    let Some(count) = values.get_mut(value) else { panic!("only what was shared is given up") };
    *count -= 1;
    if *count == 0 {
        values.remove(value);
    }
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

        let mut shared = Shared::default();
        let mut leases: Vec<Lease> = state.leases().cloned().collect();
        leases.iter_mut().for_each(|lease| shared.take(lease));
        assert!(state.leases().eq(&leases), "sharing changes nothing");
        assert!((3..400).contains(&shared.len()), "{}", shared.len());
        leases.iter().for_each(|lease| shared.release(lease));
        assert_eq!(shared.len(), 0);
    }
}
