//! Times as people write and read them. All times are UTC.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use leasehold_ledger::model::{Seconds, Timestamp};

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// `now`
    Now,
    /// `never`
    Never,
    /// `+2h30m`: so many seconds after something.
    After(u32),
    /// A date.
    At(Seconds),
}

const HOW: &str = "write now, never, +30m (also s, h, d, w and together: +1h30m) or a UTC date, as in '2026-11-22 14:00'";

/// Reads a time.
pub(super) fn parse(text: &str) -> Result<When, String> {
    let text = text.trim();
    match text {
        "now" => return Ok(When::Now),
        "never" => return Ok(When::Never),
        _ => {}
    }
    if let Some(span) = text.strip_prefix('+') {
        return duration(span).map(When::After);
    }
    let unix_s = date(text).ok_or_else(|| format!("'{text}' is no time: {HOW}"))?;
    let second = Seconds::from_unix_s(unix_s).ok_or_else(|| format!("'{text}' is not between 2020 and 2119"))?;
    Ok(When::At(second))
}

/// Reads a duration, `1h30m`, in seconds.
pub(super) fn duration(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is no duration: write a number and s, m, h, d or w, as in 90m or 1h30m");
    let (mut total, mut number) = (0u32, String::new());
    for character in text.chars() {
        let unit = match character {
            '0'..='9' => {
                number.push(character);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let count: u32 = number.parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        number.clear();
    }
    if text.is_empty() || !number.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Writes a duration as [`duration`] reads it, without weeks: `1h30m`.
pub(super) fn span(seconds: u32) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let (mut text, mut rest) = (String::new(), seconds);
    for (unit, letter) in units {
        if rest >= unit {
            text += &format!("{}{letter}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn date(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp());
    }
    let plain = text.trim_end_matches('Z').replace('T', " ");
    for format in ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(&plain, format) {
            return Some(time.and_utc().timestamp());
        }
    }
    let day = NaiveDate::parse_from_str(&plain, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp())
}

/// `2026-11-22 14:00:00`, or `never`.
pub(super) fn utc(second: Seconds) -> String {
    if second == Seconds::OPEN_END {
        return "never".to_owned();
    }
    let time = i64::try_from(second.unix_s()).ok().and_then(|unix_s| DateTime::from_timestamp(unix_s, 0));
    time.map_or_else(|| "?".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// `2026-11-22T14:00:00Z` for JSON, or nothing.
pub(super) fn rfc3339(second: Seconds) -> Option<String> {
    (second != Seconds::OPEN_END).then(|| format!("{}Z", utc(second).replace(' ', "T")))
}

/// A point of the clock for JSON.
pub(super) fn rfc3339_ms(at: Timestamp) -> Option<String> {
    let time = DateTime::from_timestamp_millis(i64::try_from(at.0).ok()?)?;
    Some(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}
