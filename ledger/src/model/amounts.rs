//! Amounts of the resource classes that a host has and a slot needs. Integers only.

use serde::{Deserialize, Serialize};

/// A resource class of the capacity calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Placement's `VCPU`, in units after the allocation ratio.
    Vcpu,
    /// Placement's `MEMORY_MB`, less the anchor budget.
    MemoryMb,
    /// Placement's `DISK_GB`.
    DiskGb,
    /// Lease servers a host may carry: capacity K, need 1 per slot (architecture D21).
    Slot,
}

impl Class {
    /// Every class, in the order of [`Amounts::to_array`].
    pub const ALL: [Class; 4] = [Class::Vcpu, Class::MemoryMb, Class::DiskGb, Class::Slot];

    /// The name in Placement; `SLOT` is ours.
    pub fn name(self) -> &'static str {
        match self {
            Class::Vcpu => "VCPU",
            Class::MemoryMb => "MEMORY_MB",
            Class::DiskGb => "DISK_GB",
            Class::Slot => "SLOT",
        }
    }
}

/// One amount per [`Class`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Amounts {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in GiB.
    pub disk_gb: u32,
    /// Lease servers.
    pub slots: u32,
}

impl Amounts {
    /// As much as can be counted, or more.
    pub const MOST: Amounts = Amounts { vcpus: u32::MAX, memory_mb: u32::MAX, disk_gb: u32::MAX, slots: u32::MAX };

    /// By class, in the order of [`Class::ALL`].
    pub fn to_array(self) -> [u32; 4] {
        [self.vcpus, self.memory_mb, self.disk_gb, self.slots]
    }

    /// The inverse of [`Amounts::to_array`].
    pub fn from_array([vcpus, memory_mb, disk_gb, slots]: [u32; 4]) -> Amounts {
        Amounts { vcpus, memory_mb, disk_gb, slots }
    }

    /// `None` on overflow of any class.
    pub fn checked_add(self, other: Amounts) -> Option<Amounts> {
        let (a, b) = (self.to_array(), other.to_array());
        let mut sum = [0; 4];
        for i in 0..4 {
            sum[i] = a[i].checked_add(b[i])?;
        }
        Some(Amounts::from_array(sum))
    }

    /// `None` when any class would go below 0.
    pub fn checked_sub(self, other: Amounts) -> Option<Amounts> {
        let (a, b) = (self.to_array(), other.to_array());
        let mut rest = [0; 4];
        for i in 0..4 {
            rest[i] = a[i].checked_sub(b[i])?;
        }
        Some(Amounts::from_array(rest))
    }

    /// Class by class, not below 0.
    pub fn saturating_sub(self, other: Amounts) -> Amounts {
        let (a, b) = (self.to_array(), other.to_array());
        Amounts::from_array(std::array::from_fn(|i| a[i].saturating_sub(b[i])))
    }

    /// Class by class; what cannot be counted any more is as much as can be.
    pub fn saturating_add(self, other: Amounts) -> Amounts {
        let (a, b) = (self.to_array(), other.to_array());
        Amounts::from_array(std::array::from_fn(|i| a[i].saturating_add(b[i])))
    }

    /// Class by class without `part`, not below 0; what could not be counted with it cannot be without it.
    pub fn without(self, part: Amounts) -> Amounts {
        let (a, b) = (self.to_array(), part.to_array());
        Amounts::from_array(std::array::from_fn(|i| if a[i] == u32::MAX { u32::MAX } else { a[i].saturating_sub(b[i]) }))
    }

    /// The smaller of both, class by class.
    pub fn min(self, other: Amounts) -> Amounts {
        let (a, b) = (self.to_array(), other.to_array());
        Amounts::from_array(std::array::from_fn(|i| a[i].min(b[i])))
    }

    /// `None` on overflow of any class.
    pub fn checked_mul(self, count: u32) -> Option<Amounts> {
        let a = self.to_array();
        let mut product = [0; 4];
        for i in 0..4 {
            product[i] = a[i].checked_mul(count)?;
        }
        Some(Amounts::from_array(product))
    }

    /// The larger of both, class by class.
    pub fn max(self, other: Amounts) -> Amounts {
        let (a, b) = (self.to_array(), other.to_array());
        Amounts::from_array(std::array::from_fn(|i| a[i].max(b[i])))
    }

    /// Whether every class of `self` fits into the same class of `room`.
    pub fn fits_in(self, room: Amounts) -> bool {
        self.to_array().iter().zip(room.to_array()).all(|(need, have)| *need <= have)
    }

    /// How many times `need` fits into `self`; a class with need 0 does not count. `u32::MAX` when `need` is all 0.
    pub fn times(self, need: Amounts) -> u32 {
        self.to_array().iter().zip(need.to_array()).filter(|(_, n)| *n > 0).map(|(have, n)| have / n).min().unwrap_or(u32::MAX)
    }
}
