//! Tests across the crates, one binary: the actuator against the simulated cloud, and real processes with kills and bad input.
//!
//! The process tests need the built programs beside them (`make test` builds them first). Each has a cluster of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod actuator;
mod bad_input;
mod damaged_disk;
mod idempotency;
mod leader_change;
mod lease_lifecycle;
mod quorum;
mod rig;
mod shutdown;
mod snapshot;
mod watch;
