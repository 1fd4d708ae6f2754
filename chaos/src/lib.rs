//! How Leasehold is proved: plans of faults, histories of what clients saw, and checks over them.
//!
//! So far: [`plan`], what a run will do, all of it drawn from one seed, and [`history`], what a run saw, one line an operation.
//! Must not depend on the product but for its wire types: the model of the ledger is written twice on purpose.

pub mod history;
pub mod plan;
