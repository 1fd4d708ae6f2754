//! What an operator declares not to be had of a host for a time: all of it (maintenance), or amounts.

use serde::{Deserialize, Serialize};

use super::{Amounts, DowntimeId, Interval};

/// Downtimes of one host at most: all of them are in its row.
pub const DOWNTIMES_MAX: usize = 64;

/// How much of a host is not to be had. Without any amount it is the host as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
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

impl Withheld {
    /// The host as a whole.
    pub const ALL: Withheld = Withheld { vcpus: None, memory_mb: None, disk_gb: None };

    /// Whether it is the host as a whole.
    #[must_use]
    pub fn all(self) -> bool {
        self == Withheld::ALL
    }

    /// So much of every class; of a host as a whole more than any host has.
    #[must_use]
    pub fn amounts(self) -> Amounts {
        if self.all() {
            return Amounts::MOST;
        }
        let of = |amount: Option<u32>| amount.unwrap_or(0);
        Amounts { vcpus: of(self.vcpus), memory_mb: of(self.memory_mb), disk_gb: of(self.disk_gb), slots: 0 }
    }
}

/// A declared window in which a host, or some of it, is not there for reservations. Nothing is held in the cloud for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downtime {
    /// Chosen by who declares it; of one host no two are alike.
    pub id: DowntimeId,
    /// When.
    pub interval: Interval,
    /// How much.
    #[serde(default)]
    pub withheld: Withheld,
}
