//! What makes a lease one that waits for room.

use serde::{Deserialize, Serialize};

use super::Seconds;

/// A lease that found no room and waits for it: it books nothing, and nothing is done for it. It goes off the lease with
/// the entry that books it, or once the cloud has accepted its hold where that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// From this second on it is not booked any more, and the clock drops it; at the latest the last start it may have.
    pub until: Seconds,
    /// The first start it may have.
    pub first: Seconds,
    /// The last start it may have; `None`: only the first.
    #[serde(default)]
    pub latest: Option<Seconds>,
    /// Ledger index of the entry that put it on the waitlist: its place there.
    pub since: u64,
    /// Whatever the quota of the project says, as its creator was allowed to ask.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_quota: bool,
}
