//! The edges: decode, call one operation, encode. gRPC and REST call the same operations and share the same error table.
//!
//! Must not know: rules, plans, Raft. A handler that decides something is in the wrong folder. Read next: `error.rs` (the
//! one table from failures to statuses), `auth.rs` (token → actor), then one file of `grpc/` or `rest/`.

pub mod auth;
pub mod error;
pub mod grpc;
pub mod http;
pub mod keystone_auth;
pub mod rest;
