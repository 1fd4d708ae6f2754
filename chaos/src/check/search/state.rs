//! Leases by number, in pages that states share: a state is copied for each write that is tried. Two states are compared by a sum
//! of hashes, which is kept up to date; so are a state and a list.

use std::collections::BTreeMap;
use std::rc::Rc;

use xxhash_rust::xxh3::xxh3_128;

use super::ledger::{Hashed, Kind, Number};

/// Leases in a page.
const PAGE: usize = 64;

type Page = [Option<Hashed>; PAGE];

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct State {
    pages: Vec<Rc<Page>>,
    /// By list.
    sums: BTreeMap<(Rc<str>, Kind), u128>,
}

impl State {
    /// What a lease adds to the sum of its project.
    pub fn part(number: Number, view: &Hashed) -> u128 {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        bytes[4..].copy_from_slice(&view.hash.to_le_bytes());
        xxh3_128(&bytes)
    }

    /// The sum of what a list shows.
    pub fn sum(&self, list: &(Rc<str>, Kind)) -> u128 {
        self.sums.get(list).copied().unwrap_or(0)
    }

    /// A lease as it is.
    pub fn get(&self, number: Number) -> Option<&Hashed> {
        let number = number as usize;
        self.pages.get(number / PAGE).and_then(|page| page[number % PAGE].as_ref())
    }

    /// The same, but for one lease.
    #[must_use]
    pub fn with(&self, number: Number, view: Option<Hashed>) -> State {
        let (mut next, place) = (self.clone(), number as usize);
        while next.pages.len() <= place / PAGE {
            next.pages.push(Rc::new([const { None }; PAGE]));
        }
        if let Some(view) = &view {
            let sum = next.sums.entry(view.view.list()).or_default();
            *sum = sum.wrapping_add(State::part(number, view));
        }
        let old = std::mem::replace(&mut Rc::make_mut(&mut next.pages[place / PAGE])[place % PAGE], view);
        if let Some(old) = old {
            let list = old.view.list();
            let sum = next.sums.entry(list.clone()).or_default();
            *sum = sum.wrapping_sub(State::part(number, &old));
            if *sum == 0 {
                next.sums.remove(&list);
            }
        }
        next
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        self.sums == other.sums
    }
}

impl Eq for State {}

impl PartialOrd for State {
    fn partial_cmp(&self, other: &State) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for State {
    fn cmp(&self, other: &State) -> std::cmp::Ordering {
        self.sums.cmp(&other.sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::search::ledger::View;

    fn view(project: &str, name: &str) -> Hashed {
        let (project, name) = (project.into(), name.to_owned());
        View { project, name, start: None, end: None, reservations: Vec::new(), offered: false, waiting: false }.into()
    }

    #[test]
    fn the_same_leases_are_the_same_state_by_whichever_way() {
        let one = State::default().with(1, Some(view("p", "a"))).with(200, Some(view("q", "b")));
        let other = State::default().with(200, Some(view("q", "x"))).with(3, Some(view("p", "c")));
        let other = other.with(200, Some(view("q", "b"))).with(3, None);
        assert_ne!(one, other);
        assert_eq!(one, other.with(1, Some(view("p", "a"))));
        assert_ne!(one, other.with(2, Some(view("p", "a"))), "another lease with the same view");
        assert_eq!(one.get(200).map(|seen| seen.view.name.as_str()), Some("b"));
        assert!(one.get(2).is_none() && one.get(9_999).is_none());
        assert_eq!(one.with(1, None).with(200, None), State::default());
    }
}
