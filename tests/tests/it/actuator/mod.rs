//! The leader's work on the cloud, against the simulated cloud in memory and a ledger in memory, on a paused clock.
//!
//! Judged by the cloud's own record, never by what the actuator says it did.

mod adoption;
mod ahead;
mod anchors;
mod ask;
mod cells;
mod defragment;
mod downtimes;
mod ends;
mod examined;
mod expire;
mod faults;
mod groups;
mod hangs;
mod healing;
mod judge;
mod lifecycle;
mod matrix;
mod moves;
mod offers;
mod paced;
mod parked;
mod places;
mod preempt;
mod reconcile;
mod series;
mod taken_in;
mod takeover;
mod upgrades;
mod waitlist;
mod world;

use leasehold_cloudsim::FaultKind;

/// What may happen to any call of ours.
const TROUBLE: [FaultKind; 5] = [
    FaultKind::LostAnswer { after_ms: 10 },
    FaultKind::Late { after_ms: 3_000, status: None },
    FaultKind::Error { status: 503, retry_after_s: Some(1) },
    FaultKind::Error { status: 500, retry_after_s: None },
    FaultKind::Conflict,
];
