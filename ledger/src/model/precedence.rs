//! Who gives way to whom when there is no room (docs/decisions/0021).

use serde::{Deserialize, Serialize};

use super::{LeaseId, Timestamp};

/// The highest priority a lease may have; the lowest, and what it has without a word, is 0.
pub const PRIORITY_MAX: u8 = 9;
/// A lease stays where it is, and what it is, from so many seconds before it begins: what a hold of other hosts may take
/// (architecture D24).
pub const FROZEN_S: u32 = 10;

/// Whether a lease takes room from others, and whether others may take its.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precedence {
    /// From 0 to [`PRIORITY_MAX`]. Who may ask for more than 0 is decided before the log.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u8,
    /// Until it begins, a lease of a higher priority may take its room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preemptible: bool,
    /// Without room it takes some from leases of a lower priority that allow it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preempt: bool,
}

impl Precedence {
    /// Whether nothing was said: it is not written then, so that rows and keys of older releases keep their bytes.
    pub fn ordinary(&self) -> bool {
        *self == Precedence::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(priority: &u8) -> bool {
    *priority == 0
}

/// What became of a lease whose room was taken. It books nothing from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempted {
    /// When.
    pub at: Timestamp,
    /// Which lease took it. For operators: it may be another tenant's.
    pub by: LeaseId,
    /// Nothing of it is left in the cloud.
    pub cleaned: bool,
}

/// A lease that is to give way, as it was when that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Victim {
    /// Which.
    pub lease_id: LeaseId,
    /// Its revision then.
    pub revision: u32,
}
