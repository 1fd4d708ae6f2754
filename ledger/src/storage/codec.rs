//! Values: a version byte, then MessagePack with named fields, so that fields can be added (architecture D15).
#![allow(unused_variables)]
use crate::command::Entry;

/// Bytes that do not decode: damage, or a newer version.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot decode {what}: {problem}")]
pub struct CodecError {
    /// What was read.
    pub what: &'static str,
    /// Why it is no good.
    pub problem: String,
}

/// An entry as the log holds it.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    unimplemented!()
}
/// The inverse.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    unimplemented!()
}
