//! Rows, keys and values; the disk itself is a trait (architecture D12).
//!
//! [`Store`] turns a disk into a [`State`](crate::state::State) and an applied position, commits a delta together with the
//! position, and reads and installs snapshots. It knows no rules and no Raft: the position is opaque bytes of the caller.

pub mod archive;
pub mod codec;
pub mod disk;
pub mod keys;
pub mod memory;
pub mod snapshot;
mod store;

pub use store::{Error, Opened, Store};
