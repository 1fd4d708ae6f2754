//! The only door: one entry changes the state, or is refused and changes nothing but the clock.
use crate::command::Entry;
use crate::effect::Effect;
use crate::reply::{Rejection, Reply};
use crate::state::{Delta, State};

/// What one entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer.
    pub outcome: Result<Reply, Rejection>,
    /// The entry's number: +1 per command (architecture D17).
    pub ledger_index: u64,
    /// Row changes, to be written with the applied position.
    pub delta: Delta,
    /// Hints for the leader.
    pub effects: Vec<Effect>,
}

/// Applies one entry.
pub fn apply(_state: &mut State, _entry: &Entry) -> Applied {
    unimplemented!("ledger helper")
}
