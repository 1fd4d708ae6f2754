//! The Leasehold node: Raft, the two edges, and the leader's work on the cloud.
//!
//! One direction: a request goes down (edge → operations → raft → ledger), a reply comes up. What the leader learns from
//! the cloud goes down again as a command. `node.rs` wires the parts; `seams/` are the only doors to the system.

#![recursion_limit = "512"]

pub mod cli;
pub mod config;
pub mod doctor;
pub mod edge;
pub mod lead;
pub mod leader;
pub mod listen;
pub mod node;
pub mod openstack;
pub mod operations;
pub mod raft;
pub mod seams;
pub mod telemetry;
