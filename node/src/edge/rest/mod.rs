//! Blazar's REST API `/v1` (blazar-api; architecture D9): decode, call one operation, encode.
//!
//! `body/` is JSON ↔ model, `routes.rs` the table of paths, `leases.rs`, `capacity.rs` and `hosts.rs` the handlers, `gate.rs` what every
//! request passes (request id, token, microversion, limits), `answer.rs` the shapes of answers. Must not know rules,
//! plans or Raft.

mod answer;
mod body;
mod capacity;
mod downtimes;
mod gate;
mod hosts;
mod idempotency;
mod leases;
mod microversion;
mod quotas;
mod routes;
mod server;

#[cfg(test)]
mod tests;

pub use server::serve;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::auth::Authenticator;
use crate::operations::Operations;
use crate::seams::Seams;

/// What every handler may use. Cheap to clone.
#[derive(Clone)]
struct Rest {
    operations: Operations,
    authenticator: Arc<dyn Authenticator>,
    seams: Seams,
    /// Minutes before the end of `before_end_lease` where none is asked for; 0: none.
    minutes_before_end: u32,
    /// One permit per request in flight.
    in_flight: Arc<Semaphore>,
    /// `https` where TLS is on.
    scheme: &'static str,
}
