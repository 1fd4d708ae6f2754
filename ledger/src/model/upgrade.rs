//! What an operator declares a host to have from a second on: a planned upgrade.

use serde::{Deserialize, Serialize};

use super::{Amounts, Seconds};

/// What a host is to have at least from a second on, in absolute figures, counted as [`Observation::capacity`] is: after allocation
/// ratios. What it has already adds nothing, so that an upgrade that is done early is not counted twice. One amount at least is given.
///
/// It stands until its second: from there on what Placement says is all that counts (docs/decisions/0028).
///
/// [`Observation::capacity`]: super::Observation::capacity
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// From when on. Placement is to have it by then.
    pub start: Seconds,
    /// Virtual CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Disk in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<u32>,
}

impl Upgrade {
    /// By how much a host that has so much grows.
    #[must_use]
    pub fn growth(self, has: Amounts) -> Amounts {
        let of = |amount: Option<u32>, has: u32| amount.map_or(0, |amount| amount.saturating_sub(has));
        Amounts {
            vcpus: of(self.vcpus, has.vcpus),
            memory_mb: of(self.memory_mb, has.memory_mb),
            disk_gb: of(self.disk_gb, has.disk_gb),
            slots: 0,
        }
    }
}
