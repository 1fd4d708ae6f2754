//! Blazar's four date formats (blazar-api §4), and ISO 8601 with seconds from microversion 1.1 on.

use chrono::{DateTime, NaiveDateTime, Utc};
use leasehold_ledger::model::{Seconds, Timestamp};

use crate::edge::rest::microversion::Microversion;

/// What 1.0 shows, and takes, for a lease without end (architecture D9).
pub const OPEN_END: &str = "9999-12-31T23:59:59.000000";
/// [`OPEN_END`] in the format of requests.
const OPEN_END_BY_MINUTE: &str = "9999-12-31 23:59";
/// Blazar's format of dates in requests, as its error text names it.
const FORMAT: &str = "%Y-%m-%d %H:%M";

/// A date as a request gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// `now`
    Now,
    /// [`OPEN_END`], in either format.
    OpenEnd,
    /// Unix seconds; `by_minute`: given without seconds.
    At { unix_s: i64, by_minute: bool },
}

/// Reads a date.
///
/// Errors: Blazar's text.
pub fn parse(text: &str, version: Microversion) -> Result<Given, String> {
    if text == "now" {
        return Ok(Given::Now);
    }
    if text == OPEN_END_BY_MINUTE || (version >= Microversion::V1_1 && text.starts_with("9999-12-31T23:59:59")) {
        return Ok(Given::OpenEnd);
    }
    if let Some(unix_s) = by_minute(text) {
        return Ok(Given::At { unix_s, by_minute: true });
    }
    let also = match version {
        Microversion::V1_0 => "",
        Microversion::V1_1 => match iso(text) {
            Some(unix_s) => return Ok(Given::At { unix_s, by_minute: false }),
            None => " or an ISO 8601 date with whole seconds, as in 2027-01-31T09:30:00Z",
        },
    };
    Err(format!("{} is an invalid date. Required format: {FORMAT}{also}", super::fields::cut(text)))
}

/// `2027-01-31 09:30`; fields may lack a leading zero, as Python takes them.
fn by_minute(text: &str) -> Option<i64> {
    // chrono would take a sign and more digits as the year.
    let year = text.split('-').next()?;
    let plausible = text.len() <= 16 && year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    let date = plausible.then(|| NaiveDateTime::parse_from_str(text, FORMAT).ok()).flatten()?;
    Some(date.and_utc().timestamp())
}

/// With seconds; without a zone it is UTC; a fraction must be zero.
fn iso(text: &str) -> Option<i64> {
    if text.len() > 40 {
        return None;
    }
    let date = match DateTime::parse_from_rfc3339(text) {
        Ok(zoned) => zoned.with_timezone(&Utc),
        Err(_) => NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?.and_utc(),
    };
    (date.timestamp_subsec_nanos() == 0).then(|| date.timestamp())
}

/// A lease date in an answer: the fraction must be there, clients parse it.
pub fn lease_date(at: Seconds) -> String {
    if at == Seconds::OPEN_END {
        return OPEN_END.to_owned();
    }
    utc_ms(at.timestamp().0).format("%Y-%m-%dT%H:%M:%S.000000").to_string()
}

/// `created_at` and `updated_at`: another format in Blazar.
pub fn row_date(at: Timestamp) -> String {
    utc_ms(at.0).format("%Y-%m-%d %H:%M:%S").to_string()
}

fn utc_ms(unix_ms: u64) -> DateTime<Utc> {
    // Both the calendar and a stamped clock lie far inside of chrono's range; a damaged row still gets an answer.
    i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
