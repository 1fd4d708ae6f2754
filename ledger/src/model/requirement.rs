//! What a reservation asks of a host: Blazar's property expressions, parsed (blazar-api §8).

use serde::{Deserialize, Serialize};

/// A comparison operator of a property expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// `=` and `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `<`
    Below,
}

/// Longest value of an extra capability, and name and value of a term, in characters.
pub const VALUE_CHARS_MAX: usize = 1_024;

/// One term, `["<op>", "$<key>", "<value>"]`. Host columns compare as numbers where they are numbers, extra capabilities as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// Host column (`vcpus`, `memory_mb`, `hypervisor_hostname`, …) or name of an extra capability.
    pub key: String,
    /// How to compare the host's value (left) with `value` (right).
    pub comparison: Comparison,
    /// The right side, as given.
    pub value: String,
}
