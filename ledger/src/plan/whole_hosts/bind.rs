//! Late binding (scheduling-design T3): who has which host is decided only as reservations start.

use std::collections::BTreeSet;

use crate::model::{HostId, Interval, Seconds};

/// A reservation that has so many hosts of a class, and no particular ones yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floating {
    /// When.
    pub window: Interval,
    /// How many.
    pub hosts: u32,
}

/// Hands the free hosts with the lowest numbers to each reservation, by start, and of those that start together in the order
/// given; one element each, by number. `None` when at some instant more float than there are hosts, and only then.
#[must_use]
pub fn bind(hosts: &BTreeSet<HostId>, floating: &[Floating]) -> Option<Vec<Vec<HostId>>> {
    let mut by_start: Vec<usize> = (0..floating.len()).collect();
    by_start.sort_by_key(|place| floating[*place].window.start);
    let mut free = hosts.clone();
    let mut until: BTreeSet<(Seconds, HostId)> = BTreeSet::new();
    let mut bound = vec![Vec::new(); floating.len()];
    for place in by_start {
        let Floating { window, hosts } = floating[place];
        // At one instant ends come before starts.
        while let Some((_, host)) = until.first().copied().filter(|(end, _)| *end <= window.start) {
            until.pop_first();
            free.insert(host);
        }
        for _ in 0..hosts {
            let host = free.pop_first()?;
            until.insert((window.end, host));
            bound[place].push(host);
        }
    }
    Some(bound)
}
