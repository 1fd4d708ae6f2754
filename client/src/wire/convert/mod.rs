//! Wire ↔ model, the only place (architecture D10), one file per noun. Decoding refuses what the wire can say and the model
//! cannot, and names field, value and what would be right; rules stay in the ledger. Read next: `wish.rs`.

mod allocations;
mod capacity;
mod change;
mod downtime;
mod enums;
mod host;
mod lease;
mod listing;
mod quota;
mod series;
mod upgrade;
mod whole_hosts;
mod wish;

#[cfg(test)]
mod tests;

pub use capacity::{capacity_response, density_response, what_if_response};
pub use downtime::NewDowntime;
pub use host::{HostChange, NewHost};
pub use listing::utilisation_response;
pub use quota::{DEFAULT_PROJECT, decode_kinds, decode_limit, decode_limits, encode_limit, encode_limits, quota_project};
pub(crate) use quota::{encode_kinds, quota_of};
pub(crate) use series::encode_recurrence;
pub use series::{recurrence, series_response};
pub use upgrade::upgrade_asked;
pub(crate) use upgrade::upgrade_request;
pub(crate) use whole_hosts::encode_host_reservation;
pub use whole_hosts::{of_whole_hosts, take_host_reservations, what_if_hosts_response};
pub(crate) use wish::change_request;
pub use wish::{DEFAULT_BEFORE_END_S, DEFAULT_PARK_MARGIN_S, NewLease};

use leasehold_ledger::model::{Interval, LEDGER_EPOCH_UNIX_S, ProjectId, RequestKey, Seconds, Timestamp};
use uuid::Uuid;

/// A value of a message that the model cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; it must be {expected}")]
pub struct BadValue {
    /// Path of the field, as in `reservations[1].resource`.
    pub field: String,
    /// What it holds, shortened.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

impl BadValue {
    /// Longest value that is repeated to the caller, in characters.
    const VALUE_CHARS_MAX: usize = 100;

    fn new(field: &str, value: &str, expected: &'static str) -> BadValue {
        let mut short: String = value.chars().take(BadValue::VALUE_CHARS_MAX).collect();
        if short.len() < value.len() {
            short.push('…');
        }
        BadValue { field: field.to_owned(), value: format!("\"{short}\""), expected }
    }

    fn missing(field: &str, expected: &'static str) -> BadValue {
        BadValue { field: field.to_owned(), value: "missing".to_owned(), expected }
    }

    /// The same one level up.
    fn inside(mut self, parent: &str) -> BadValue {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

/// A field that must be there and is not.
pub fn missing(field: &str, expected: &'static str) -> BadValue {
    BadValue::missing(field, expected)
}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, BadValue>;

/// Decodes every element and names the one that fails.
fn each<W, M>(field: &str, wire: Vec<W>, decode: impl Fn(W) -> Result<M>) -> Result<Vec<M>> {
    wire.into_iter().enumerate().map(|(i, element)| decode(element).map_err(|bad| bad.inside(&format!("{field}[{i}]")))).collect()
}

/// Decodes a UUID of any kind of id.
pub fn uuid(field: &str, text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| BadValue::new(field, text, "a UUID, as in 7e57d004-2b97-4e7a-b45f-5387367791cd"))
}

/// Decodes a second of the calendar. Whether it lies in the past or too far ahead is the ledger's business.
pub fn seconds(field: &str, unix_s: i64) -> Result<Seconds> {
    u64::try_from(unix_s)
        .ok()
        .and_then(|unix_s| unix_s.checked_sub(LEDGER_EPOCH_UNIX_S))
        .and_then(|since| u32::try_from(since).ok())
        .map(Seconds)
        .filter(|second| *second != Seconds::OPEN_END)
        .ok_or_else(|| BadValue::new(field, &unix_s.to_string(), "Unix seconds from 2020-01-01 on, for at most 100 years"))
}

/// Decodes a second where absence means an open end.
pub fn end(field: &str, unix_s: Option<i64>) -> Result<Seconds> {
    unix_s.map_or(Ok(Seconds::OPEN_END), |unix_s| seconds(field, unix_s))
}

/// Decodes a window whose end may be open; the fields are named where it is none.
fn interval(start_field: &str, end_field: &str, start: i64, until: Option<i64>) -> Result<Interval> {
    let (start, until) = (seconds(start_field, start)?, end(end_field, until)?);
    let wrong = || BadValue::new(end_field, &end_unix_s(until).unwrap_or_default().to_string(), "later than the start");
    Interval::new(start, until).ok_or_else(wrong)
}

/// Decodes the fields `start` and `end` of a time that may be open at either side; without both there is none.
fn decode_time(start: Option<i64>, end: Option<i64>) -> Result<Option<Interval>> {
    match (start, end) {
        (None, None) => Ok(None),
        (start, end) => interval("start", "end", start.unwrap_or(unix_s(Seconds(0))), end).map(Some),
    }
}

/// The inverse of [`decode_time`].
fn encode_time(time: Option<Interval>) -> (Option<i64>, Option<i64>) {
    (time.map(|time| unix_s(time.start)), time.and_then(|time| end_unix_s(time.end)))
}

/// Encodes a second of the calendar that is not an open end.
pub fn unix_s(second: Seconds) -> i64 {
    // Seconds are u32, so this is far below the largest i64.
    i64::try_from(second.unix_s()).unwrap_or(i64::MAX)
}

/// Encodes a second where an open end is absence.
pub fn end_unix_s(second: Seconds) -> Option<i64> {
    (second != Seconds::OPEN_END).then(|| unix_s(second))
}

/// For how long a key without a validity of its own is kept: an hour after the time inside its version 7 UUID (D18).
pub const DEFAULT_VALIDITY_MS: u64 = 3_600_000;

/// Decodes an idempotency key (architecture D18). Empty `request_id`: none.
pub fn request_key(project_id: &ProjectId, request_id: &str, valid_until_ms: u64) -> Result<Option<RequestKey>> {
    if request_id.is_empty() {
        return match valid_until_ms {
            0 => Ok(None),
            _ => Err(BadValue::missing("request_id", "a UUID where valid_until_ms is given")),
        };
    }
    let id = uuid("request_id", request_id)?;
    let valid_until = match valid_until_ms {
        0 => made_at_ms(id).map(|made| made.saturating_add(DEFAULT_VALIDITY_MS)).ok_or_else(|| {
            BadValue::missing("valid_until_ms", "given (milliseconds since 1970) unless request_id is a version 7 UUID")
        })?,
        given => given,
    };
    Ok(Some(RequestKey { project_id: project_id.clone(), id, valid_until: Timestamp(valid_until) }))
}

/// The time inside a version 7 UUID.
fn made_at_ms(id: Uuid) -> Option<u64> {
    if id.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    seconds.checked_mul(1000)?.checked_add(u64::from(nanos) / 1_000_000)
}
