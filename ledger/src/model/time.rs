//! Time as the ledger counts it: the clock in milliseconds UTC, the calendar in whole seconds (architecture D4).

use std::fmt;

use serde::{Deserialize, Serialize};

/// 2020-01-01T00:00:00Z as a Unix time: second 0 of the calendar.
pub const LEDGER_EPOCH_UNIX_S: u64 = 1_577_836_800;

/// A point of the clock: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The calendar second this instant lies in. Instants before the ledger epoch are second 0.
    pub fn floor_to_second(self) -> Seconds {
        let unix_s = self.0 / 1000;
        Seconds(u32::try_from(unix_s.saturating_sub(LEDGER_EPOCH_UNIX_S)).unwrap_or(u32::MAX - 1))
    }

    /// The first calendar second that has begun at or after this instant.
    pub fn ceil_to_second(self) -> Seconds {
        self.plus_ms(999).floor_to_second()
    }

    /// The calendar second at which the minute of this instant began (Blazar compares starts by minute).
    pub fn floor_to_minute(self) -> Seconds {
        let second = self.floor_to_second();
        Seconds(second.0 - second.0 % 60)
    }

    /// This instant and `ms` milliseconds more.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

/// A point of the calendar: whole seconds since [`LEDGER_EPOCH_UNIX_S`]. [`Seconds::OPEN_END`] never comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl Seconds {
    /// The end of a lease without end.
    pub const OPEN_END: Seconds = Seconds(u32::MAX);
    /// The last end a lease may have but for [`Seconds::OPEN_END`]: 100 years of 365.25 days (architecture D4).
    pub const LAST: Seconds = Seconds(3_155_760_000);

    /// From a Unix time in seconds; `None` before the ledger epoch or after [`Seconds::LAST`].
    pub fn from_unix_s(unix_s: i64) -> Option<Seconds> {
        let since = u64::try_from(unix_s).ok()?.checked_sub(LEDGER_EPOCH_UNIX_S)?;
        let second = Seconds(u32::try_from(since).ok()?);
        (second <= Seconds::LAST).then_some(second)
    }

    /// As a Unix time in seconds.
    pub fn unix_s(self) -> u64 {
        LEDGER_EPOCH_UNIX_S + u64::from(self.0)
    }

    /// The first millisecond of this second.
    pub fn timestamp(self) -> Timestamp {
        Timestamp(self.unix_s() * 1000)
    }

    /// Later by `seconds`, never reaching [`Seconds::OPEN_END`] unless already there.
    pub fn plus(self, seconds: u32) -> Seconds {
        if self == Seconds::OPEN_END { self } else { Seconds(self.0.saturating_add(seconds).min(u32::MAX - 1)) }
    }

    /// Earlier by `seconds`, not below 0; an open end stays open.
    pub fn minus(self, seconds: u32) -> Seconds {
        if self == Seconds::OPEN_END { self } else { Seconds(self.0.saturating_sub(seconds)) }
    }
}

/// As a date of the proleptic Gregorian calendar, UTC; an open end as `never`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Seconds::OPEN_END {
            return f.write_str("never");
        }
        let (mut days, second) = (self.0 / 86_400, self.0 % 86_400);
        let leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let mut year = 2020;
        while days >= 365 + u32::from(leap(year)) {
            days -= 365 + u32::from(leap(year));
            year += 1;
        }
        let mut month = 1;
        for length in [31, 28 + u32::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        let (day, hour, minute) = (days + 1, second / 3600, second / 60 % 60);
        write!(f, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
    }
}

/// A half-open span of the calendar, `[start, end)`, never empty. At one instant ends come before starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    /// First second inside.
    pub start: Seconds,
    /// First second outside.
    pub end: Seconds,
}

impl Interval {
    /// `None` unless `start < end`.
    pub fn new(start: Seconds, end: Seconds) -> Option<Interval> {
        (start < end).then_some(Interval { start, end })
    }

    /// Whether `at` lies inside.
    pub fn contains(self, at: Seconds) -> bool {
        self.start <= at && at < self.end
    }

    /// What of it is still to come at `now`; `None` when it is over.
    pub fn to_come(self, now: Seconds) -> Option<Interval> {
        Interval::new(self.start.max(now), self.end)
    }

    /// Whether a second lies in both.
    pub fn overlaps(self, other: Interval) -> bool {
        self.start < other.end && other.start < self.end
    }
}
