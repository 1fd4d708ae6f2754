//! The leader's work on the cloud, against the simulated cloud in memory and a ledger in memory, on a paused clock.
//!
//! Judged by the cloud's own record, never by what the actuator says it did.

mod adoption;
mod ahead;
mod anchors;
mod ask;
mod ends;
mod examined;
mod faults;
mod hangs;
mod judge;
mod lifecycle;
mod matrix;
mod moves;
mod places;
mod reconcile;
mod takeover;
mod world;
