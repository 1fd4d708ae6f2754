//! The counter of a class (scheduling-design T3): hosts that are alike, and how many of them float reservations have at any
//! instant. Interval graphs are perfect: while `busy` never exceeds the hosts there are, `bind` finds hosts for all.

use std::collections::BTreeSet;

use super::bind::{Floating, bind};
use crate::model::{Amounts, HostId, Interval};
use crate::state::Profile;

/// Hosts any of which is as good as any other to whoever asks for one, and on which nothing is bound in the time that is looked at.
#[derive(Clone, Debug)]
pub struct HostClass {
    hosts: BTreeSet<HostId>,
    /// How many hosts the floating reservations have together: as slots, one a host.
    busy: Profile,
}

impl HostClass {
    /// Of these hosts; nothing floats in it yet.
    #[must_use]
    pub fn new(hosts: BTreeSet<HostId>) -> HostClass {
        HostClass { hosts, busy: Profile::default() }
    }

    /// Whether a host is one of them.
    #[must_use]
    pub fn contains(&self, host: HostId) -> bool {
        self.hosts.contains(&host)
    }

    /// So many hosts a reservation that floats may still have, at every instant of a window: one look at the most that is taken.
    #[must_use]
    pub fn free(&self, window: Interval) -> u32 {
        let hosts = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        hosts.checked_sub(self.busy.peak(window).slots).expect("no more float than there are hosts")
    }

    /// A reservation floats here from now on.
    ///
    /// # Panics
    /// When there are fewer hosts [free](HostClass::free).
    pub fn take(&mut self, floating: Floating) {
        assert!(floating.hosts <= self.free(floating.window), "what floats was admitted");
        let more = one_a_host(floating.hosts);
        self.busy.change(floating.window, |used| used.checked_add(more).expect("it was admitted"));
    }

    /// One that was [taken](HostClass::take) does not any more.
    pub fn give_back(&mut self, floating: Floating) {
        let less = one_a_host(floating.hosts);
        self.busy.change(floating.window, |used| used.checked_sub(less).expect("it was taken"));
    }

    /// Hosts for all that floats here, one element each, as [`bind`] hands them out.
    #[must_use]
    pub fn bind(&self, floating: &[Floating]) -> Vec<Vec<HostId>> {
        bind(&self.hosts, floating).expect("no more float than there are hosts")
    }
}

fn one_a_host(hosts: u32) -> Amounts {
    Amounts { slots: hosts, ..Amounts::default() }
}
