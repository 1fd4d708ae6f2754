//! What nobody uses some time after its start is given back (R-12, docs/decisions/0023).

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The shortest time after its start at which a lease may expire: a server is not booted in less, and what does not live for as long
/// needs no expiry.
pub const EXPIRY_MIN_S: u32 = 60;

/// How far the expiry of a reservation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// Its tokens are closed, and what is in use is being counted.
    Counting,
    /// Nothing was in use. Its tokens stay closed until the other reservations of the lease are counted.
    Unused,
    /// It was counted.
    Counted {
        /// When that was recorded.
        at: Timestamp,
        /// Instances that were given back.
        released: u32,
    },
}

impl Expiry {
    /// Whether the tokens are closed for it.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        matches!(self, Expiry::Counting | Expiry::Unused)
    }

    /// Instances that were given back.
    #[must_use]
    pub fn released(self) -> u32 {
        match self {
            Expiry::Counting | Expiry::Unused => 0,
            Expiry::Counted { released, .. } => released,
        }
    }
}
