//! The ledger of Leasehold: pure rules over one replicated [`State`](state::State).
//!
//! The flow in ten lines. A node builds an [`Entry`](command::Entry) (a wish, a plan made by [`plan`], a time) and has it
//! committed by Raft. Every replica gives the entry to [`apply::apply`], the only door: it checks, then changes all or
//! nothing, and answers with a [`Reply`](reply::Reply) or a [`Rejection`](reply::Rejection), the row changes
//! ([`state::Delta`]) that [`storage`] writes together with the applied position, and [`Effect`](effect::Effect)s, hints
//! that wake the leader. What the leader owes to the cloud are rows: [`model::Actuation`]. It reads the rows, makes the
//! cloud follow, and reports through the log again with [`Command::RecordOutcome`](command::Command::RecordOutcome).
//!
//! Must not know: clocks, randomness, networks, threads, logging, hash-map order, floats. Only `storage` speaks to a disk,
//! through a trait. Read next: `model/`, `command.rs`, one file of `apply/` and its test script.

pub mod apply;
pub mod command;
pub mod effect;
pub mod listing;
pub mod model;
pub mod mutants;
pub mod plan;
pub mod reply;
pub mod state;
pub mod storage;
