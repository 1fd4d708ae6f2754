//! Hosts as the second ledger has them, and what is left of each.

// Fields are named as in the product's JSON, and mean what they mean there.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Amounts, Span, Wish};

/// A host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Host {
    pub id: u64,
    pub description: Description,
    pub observation: Observation,
    pub reservable: bool,
    pub overcommitted: bool,
    #[serde(default)]
    pub downtimes: Vec<Downtime>,
    #[serde(default)]
    pub upgrade: Option<Upgrade>,
}

/// What is declared to be had of a host from a second on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Upgrade {
    pub start: u32,
    #[serde(default)]
    pub vcpus: Option<u64>,
    #[serde(default)]
    pub memory_mb: Option<u64>,
    #[serde(default)]
    pub disk_gb: Option<u64>,
}

/// What is declared not to be had of a host for a time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Downtime {
    pub id: String,
    pub interval: Span,
    #[serde(default)]
    pub withheld: Withheld,
}

/// So much of it; without any amount all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Withheld {
    #[serde(default)]
    pub vcpus: Option<u64>,
    #[serde(default)]
    pub memory_mb: Option<u64>,
    #[serde(default)]
    pub disk_gb: Option<u64>,
}

impl Withheld {
    /// Whether nothing at all is left of the host.
    pub fn everything(self) -> bool {
        self.vcpus.or(self.memory_mb).or(self.disk_gb).is_none()
    }
}

/// What a host is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Description {
    pub hypervisor_hostname: String,
    pub pool: String,
    #[serde(default)]
    pub zone: Option<String>,
    #[serde(default)]
    pub root_provider: String,
}

/// What a host has.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Observation {
    pub capacity: Figures,
    pub firm: Figures,
    #[serde(default)]
    pub traits: BTreeSet<String>,
    pub up: bool,
}

/// Amounts by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Figures {
    pub vcpus: u64,
    pub memory_mb: u64,
    pub disk_gb: u64,
    pub slots: u64,
}

impl Figures {
    fn amounts(self) -> Amounts {
        [self.vcpus, self.memory_mb, self.disk_gb, self.slots]
    }
}

impl Host {
    /// What reservations may use as it is.
    pub fn room(&self) -> Amounts {
        self.room_of(self.observation.capacity.amounts())
    }

    /// What they may use in one second, by which it may have been upgraded.
    pub fn room_at(&self, second: u32) -> Amounts {
        let mut capacity = self.observation.capacity.amounts();
        if let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| upgrade.start <= second) {
            for (class, has) in [upgrade.vcpus, upgrade.memory_mb, upgrade.disk_gb].into_iter().enumerate() {
                capacity[class] = capacity[class].max(has.unwrap_or(0));
            }
        }
        self.room_of(capacity)
    }

    fn room_of(&self, capacity: Amounts) -> Amounts {
        let firm = self.observation.firm.amounts();
        std::array::from_fn(|class| capacity[class].saturating_sub(firm[class]))
    }

    /// What is left of it for reservations in one second, whatever is booked there.
    pub fn left(&self, second: u32) -> Amounts {
        let mut left = self.room_at(second);
        for one in self.downtimes.iter().filter(|one| one.interval.holds(second)) {
            if one.withheld.everything() {
                return [0; 4];
            }
            let Withheld { vcpus, memory_mb, disk_gb } = one.withheld;
            for (class, amount) in [vcpus, memory_mb, disk_gb].into_iter().enumerate() {
                left[class] = left[class].saturating_sub(amount.unwrap_or(0));
            }
        }
        left
    }

    /// Whether something new may come here.
    pub fn takes_more(&self) -> bool {
        self.reservable && self.observation.up && !self.overcommitted
    }

    /// Whether it is of the kind asked for. Property expressions are not judged here.
    pub fn suits(&self, wish: &Wish) -> bool {
        wish.pool.as_ref().is_none_or(|pool| *pool == self.description.pool)
            && (wish.zone.is_none() || wish.zone == self.description.zone)
            && wish.required_traits.is_subset(&self.observation.traits)
            && wish.forbidden_traits.is_disjoint(&self.observation.traits)
    }
}
