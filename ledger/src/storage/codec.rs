//! Values: a version byte, then MessagePack with named fields, so that fields can be added (architecture D15).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Entry;

/// The version this build writes. A build reads its own version and all before.
pub const VERSION: u8 = 1;

/// Bytes that do not decode: damage, or a newer version.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot decode {what}: {problem}")]
pub struct CodecError {
    /// What was read.
    pub what: &'static str,
    /// Why it is no good.
    pub problem: String,
    /// Written by a newer build: nothing is wrong with it.
    pub newer: bool,
}

/// An entry as the log holds it.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    encode(entry)
}

/// The inverse.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    decode("entry", bytes)
}

/// A value of a row. Our types hold nothing that MessagePack cannot say, so this does not fail.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    encode_into(value, &mut bytes);
    bytes
}

/// Appends what [`encode`] gives.
pub(crate) fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    bytes.push(VERSION);
    rmp_serde::encode::write_named(bytes, value).expect("ledger types are plain data, and a Vec takes every write");
}

/// The inverse of [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    let body = check_version(what, bytes)?;
    rmp_serde::from_slice(body).map_err(|error| CodecError { what, problem: error.to_string(), newer: false })
}

/// Whether this build reads the version of a value; what comes behind it.
pub(crate) fn check_version<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
    let (version, body) =
        bytes.split_first().ok_or_else(|| CodecError { what, problem: "the value is empty".to_owned(), newer: false })?;
    if *version == 0 || *version > VERSION {
        let problem = format!("version {version} is not known to this build, which reads up to {VERSION}");
        return Err(CodecError { what, problem, newer: *version > VERSION });
    }
    Ok(body)
}
