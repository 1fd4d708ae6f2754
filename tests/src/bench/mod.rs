//! Benchmarks.
pub mod etcd;
pub mod ledger;
pub mod load;
