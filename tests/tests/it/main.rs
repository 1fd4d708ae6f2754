//! End-to-end tests, one binary. `actuator/` drives the leader's work in this process; all others run real processes: three
//! nodes on loopback, a simulated cloud, kills and bad input.
//!
//! Those need the built programs beside them (`make test` builds them first). Each test has a cluster of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod actuator;
mod allocations;
mod bad_input;
mod bad_input_grpc;
mod capacity;
mod command_line;
mod damaged_disk;
mod doctor;
mod downtimes;
mod ended_leases;
mod expiry;
mod flavors;
mod idempotency;
mod leader_change;
mod lease_lifecycle;
mod observed;
mod openapi;
mod operator_commands;
mod preempt;
mod quorum;
mod quotas;
mod rig;
mod server_groups;
mod shutdown;
mod snapshot;
mod tokens;
mod waitlist;
mod watch;
