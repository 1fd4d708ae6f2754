//! Tests across the crates, one binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod actuator;
