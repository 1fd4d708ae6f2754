//! How Leasehold is proved: plans of faults, histories of what clients saw, and checks over them.
//!
//! [`plan`] is what a run will do, all of it drawn from one seed; `sim` runs it, the product's own code on simulated disks,
//! networks, clocks and a simulated cloud; [`history`] and [`record`] are what a run left behind, and all that [`check`]
//! may judge by: the model of the ledger is written twice on purpose, so no check knows the product.

// The futures of the product's operations lie deep in those of the harness.
#![recursion_limit = "256"]

pub mod around;
pub mod check;
pub mod child;
pub mod coverage;
pub mod cpu;
pub mod diagram;
pub mod history;
pub mod hours;
pub mod meter;
pub mod mutants;
pub mod nemesis;
pub mod picture;
pub mod plan;
pub mod record;
pub mod report;
pub mod rows;
pub mod shrink;
pub mod sim;
pub mod tenant;
pub mod workload;
