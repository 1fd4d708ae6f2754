//! The row changes one entry made.
use crate::storage::disk::RowChange;

/// Row changes in the order they were made; a row is named at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The rows.
    pub rows: Vec<RowChange>,
}
