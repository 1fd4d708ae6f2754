//! Tests of the ledger from outside: one binary.
#![allow(clippy::unwrap_used)]

mod brute_force;
mod golden;
mod quota;
mod random;
mod whole_hosts;
mod world;
