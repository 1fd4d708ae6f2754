//! The harness: real processes of the product and of the simulated cloud on loopback, and what is proved with them.
//!
//! [`cluster`] starts, kills and looks into nodes; [`cloud`] starts the simulated cloud and acts as its tenants;
//! [`audit`] judges from the cloud's own record, and from nothing else, whether promises were kept. On top stand the
//! programs: [`demo`], [`kill`], [`mod@bench`]. The tests themselves are in `tests/it/`.
//!
//! Must not know how a node works inside: it speaks gRPC, REST and HTTP like anybody, and signals like a bad day.

pub mod audit;
pub mod bench;
pub mod binaries;
pub mod caller;
pub mod cloud;
pub mod cluster;
pub mod demo;
pub mod draw;
pub mod kill;
pub mod ports;
pub mod process;
pub mod settings;
pub mod wait;
