//! What a rule of RFC 5545 comes to, written a second time: of the rules that the workload draws, minute by minute.

use serde_json::Value;

use super::model::{CALENDAR_UNIX_S, Span};

/// More occurrences no series has.
const MOST: usize = 128;
/// Zones whose clocks are never changed, with what they are ahead by, seconds.
const ZONES: [(&str, i64); 3] = [("UTC", 0), ("Asia/Kolkata", 19_800), ("Asia/Kathmandu", 20_700)];

/// The occurrences of a wish for a series, by number; `None`: its rule is not of those.
pub fn occurrences(wish: &Value) -> Option<Vec<Span>> {
    let second = |value: &Value| value.as_u64().and_then(|second| u32::try_from(second).ok());
    let (start, end) = (second(&wish["lease"]["start"]["at"])?, second(&wish["lease"]["end"])?);
    let length = end.checked_sub(start)?;
    let ahead = ZONES.iter().find(|(name, _)| wish["recurrence"]["time_zone"] == *name)?.1;
    let (mut every, mut minutes, mut hourly) = (1, None, false);
    let (mut count, mut until) = (MOST, i64::MAX);
    for part in wish["recurrence"]["rule"].as_str()?.split(';') {
        match part.split_once('=')? {
            ("FREQ", "MINUTELY") => {}
            ("FREQ", "HOURLY") => hourly = true,
            ("INTERVAL", value) => every = value.parse::<u32>().ok()?,
            ("COUNT", value) => count = value.parse().ok()?,
            ("UNTIL", value) => until = unix_s(value)?,
            ("BYMINUTE", value) => {
                minutes = Some(value.split(',').map(|one| one.parse::<i64>().ok()).collect::<Option<Vec<_>>>()?);
            }
            _ => return None,
        }
    }
    // Minutes are named of hours only, and hours come one after the other.
    if hourly != minutes.is_some() || (hourly && every != 1) {
        return None;
    }
    let unix = |at: u32| i64::from(at) + CALENDAR_UNIX_S as i64;
    let mut found = Vec::new();
    let mut at = start;
    while found.len() < count && unix(at) <= until {
        let minute = (unix(at) + ahead) / 60 % 60;
        if minutes.as_ref().is_none_or(|named| named.contains(&minute)) {
            found.push(Span { start: at, end: at + length });
        }
        at += 60 * if hourly { 1 } else { every };
    }
    Some(found)
}

/// Of a time in UTC as `20260101T000230Z`.
fn unix_s(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut days: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += lengths.get(..usize::try_from(month - 1).ok()?)?.iter().sum::<i64>() + day - 1;
    Some(days * 86_400 + number(9, 11)? * 3_600 + number(11, 13)? * 60 + number(13, 15)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Starts after the first, seconds; it begins at 2026-01-01T00:00:30Z and is 50 s long.
    fn starts(rule: &str, zone: &str) -> Option<Vec<u32>> {
        let start = u32::try_from(1_767_225_630 - CALENDAR_UNIX_S).expect("a second of this century");
        let wish = json!({"lease": {"start": {"at": start}, "end": start + 50}, "recurrence": {"rule": rule, "time_zone": zone}});
        let found = occurrences(&wish)?;
        assert!(found.iter().all(|span| span.end - span.start == 50));
        Some(found.into_iter().map(|span| span.start - start).collect())
    }

    #[test]
    fn rules_of_minutes_and_of_hours_come_to_their_times() {
        assert_eq!(starts("FREQ=MINUTELY;COUNT=3", "UTC"), Some(vec![0, 60, 120]));
        assert_eq!(starts("FREQ=MINUTELY;INTERVAL=2;COUNT=3", "UTC"), Some(vec![0, 120, 240]));
        assert_eq!(starts("FREQ=MINUTELY;UNTIL=20260101T000129Z", "UTC"), Some(vec![0]));
        assert_eq!(starts("FREQ=MINUTELY;UNTIL=20260101T000130Z", "UTC"), Some(vec![0, 60]));
        assert_eq!(starts("FREQ=HOURLY;BYMINUTE=0,2;COUNT=3", "UTC"), Some(vec![0, 120, 3_600]));
        assert_eq!(starts("FREQ=HOURLY;BYMINUTE=30,31;COUNT=2", "Asia/Kolkata"), Some(vec![0, 60]));
        assert_eq!(starts("FREQ=HOURLY;BYMINUTE=45,48;COUNT=2", "Asia/Kathmandu"), Some(vec![0, 180]));
        assert_eq!(starts("FREQ=DAILY;COUNT=2", "UTC"), None);
        assert_eq!(starts("FREQ=MINUTELY;COUNT=2", "Europe/Berlin"), None);
    }

    #[test]
    fn a_time_in_utc_is_read() {
        assert_eq!(unix_s("20260101T000000Z"), Some(1_767_225_600));
        assert_eq!(unix_s("20280229T235959Z"), Some(1_835_481_599));
        assert_eq!(unix_s("soon"), None);
    }
}
