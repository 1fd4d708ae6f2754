//! A simulated OpenStack: Keystone, Nova, Placement, Glance and a little Neutron as one deterministic state machine.
//!
//! Used in memory ([`Cloud::handle`]) and over HTTP ([`serve()`], and the program `leasehold-cloudsim`). It is held to
//! recorded exchanges with the real services (`captures/`, `tests/captures.rs`) and knows nothing of Leasehold: whoever
//! calls it is a client like any other. It must not read a clock, draw randomness that the seed does not fix, or
//! depend on the order of a hash map.
//!
//! The way of a call: [`Cloud::handle`] → faults → the service (`keystone`, `nova`, `placement`, `glance`, `neutron`) →
//! answer and record; what is accepted for later waits in `world`'s queue until [`Cloud::advance`] reaches its instant.
//! Next to read: `cloud.rs`, then `nova/work.rs`.

mod cloud;
mod config;
mod control;
mod faults;
mod glance;
mod keystone;
mod message;
mod neutron;
mod nova;
mod placement;
mod query;
mod record;
mod reply;
mod rng;
mod serve;
mod time;
mod world;

pub use cloud::{Cloud, Laid};
pub use config::{CloudConfig, Endpoint, HostSpec, Timings};
pub use faults::{Fault, FaultKind, Match};
pub use message::{Answer, Request, Response};
pub use record::{Change, Kind, Record};
pub use serve::{Clock, serve};
