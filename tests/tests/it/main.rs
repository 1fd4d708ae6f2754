//! End-to-end tests on real processes: three nodes on loopback, a simulated cloud, kills and bad input.
//!
//! They need the built programs beside them (`make test` builds them first). Each test has a cluster of its own.
#![allow(clippy::unwrap_used)]

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
