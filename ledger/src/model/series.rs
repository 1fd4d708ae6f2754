//! A series: the leases that one recurring request made, each a lease of its own.

use serde::{Deserialize, Serialize};

use super::{Class, LeaseId, Reason, Seconds, SeriesId};

/// Occurrences of one series at most.
pub const OCCURRENCES_MAX: usize = 128;
/// Instances of all occurrences of one series at most, so that an entry of the log stays small.
pub const SERIES_SLOTS_MAX: u64 = 100_000;

/// What becomes of a series of which not every occurrence fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesMode {
    /// It is refused as a whole.
    #[default]
    AllOrNothing,
    /// Those that do not fit are left out, and told of.
    BestEffort,
}

/// One time of a recurring request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Which, from 1, in the order of the rule.
    pub number: u32,
    /// First second.
    pub start: Seconds,
    /// First second after.
    pub end: Seconds,
}

/// What makes a lease part of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesMember {
    /// Of which series.
    pub id: SeriesId,
    /// Which occurrence it was booked for, from 1.
    pub number: u32,
    /// Decides what a refused hold takes with it while the series is not promised yet.
    pub mode: SeriesMode,
}

/// An occurrence that became a lease, as it was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesLease {
    /// Its lease.
    pub lease_id: LeaseId,
    /// When.
    pub occurrence: Occurrence,
}

/// An occurrence that became none; only with [`SeriesMode::BestEffort`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// When it would have been.
    pub occurrence: Occurrence,
    /// Why it is not.
    pub reason: LeftOutReason,
}

/// Why an occurrence was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutReason {
    /// No room beside what is booked, the earlier occurrences included.
    NoRoom {
        /// Which reservation of the request, from 0.
        reservation: u32,
        /// Slots short.
        short_by: u32,
        /// The largest amount that would fit.
        largest_amount: u32,
        /// The class that binds most.
        tightest: Option<Class>,
    },
    /// It was booked, but the cloud did not accept its capacity (architecture D24).
    Withdrawn(Reason),
}
