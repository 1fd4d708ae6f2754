//! Commands about series: what one recurring request asks for.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BeforeEndWish, LeaseWish, PlannedReservation, StartWish};
use crate::model::{EventId, LeaseId, LeftOut, Occurrence, Seconds, SeriesId, SeriesMode};

/// See [`Command::CreateSeries`](super::Command::CreateSeries).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateSeries {
    /// What the user asked for: the content of the key.
    pub wish: SeriesWish,
    /// Its lease before the flavors that it names were looked up, as of [`CreateLease`](super::CreateLease).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<LeaseWish>>,
    /// Made by the operation.
    pub series_id: SeriesId,
    /// What is to be booked, by number. What the rule comes to is part of the plan, not of the wish.
    pub occurrences: Vec<PlannedOccurrence>,
    /// Occurrences for which there was no room at their turn, by number; only with best effort.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Ledger index the plan was computed at.
    pub planned_at: u64,
}

/// What a user asks for with a recurring lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesWish {
    /// The first occurrence. Its start is the rule's `DTSTART`, its length that of all.
    pub lease: LeaseWish,
    /// When the others are.
    pub recurrence: Recurrence,
}

/// When a lease comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// An `RRULE` of RFC 5545, as given.
    pub rule: String,
    /// The zone whose clocks it follows, by its IANA name.
    pub time_zone: String,
    /// What becomes of it when not every occurrence fits.
    #[serde(default)]
    pub mode: SeriesMode,
}

/// One occurrence with its ids and its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedOccurrence {
    /// Which, and when.
    pub occurrence: Occurrence,
    /// As in [`CreateLease::lease_id`](super::CreateLease::lease_id).
    pub lease_id: LeaseId,
    /// As in [`CreateLease::event_ids`](super::CreateLease::event_ids).
    pub event_ids: Vec<EventId>,
    /// As in [`CreateLease::resource_ids`](super::CreateLease::resource_ids).
    pub resource_ids: Vec<Uuid>,
    /// As in [`CreateLease::plan`](super::CreateLease::plan).
    pub plan: Vec<PlannedReservation>,
}

impl SeriesWish {
    /// The same series from another start on.
    #[must_use]
    pub fn started_at(&self, start: Seconds) -> SeriesWish {
        let asked = if let StartWish::At(asked) = self.lease.start { asked } else { start };
        let end = start.plus(self.lease.end.0.saturating_sub(asked.0));
        SeriesWish { lease: self.lease_at(Occurrence { number: 1, start, end }), recurrence: self.recurrence.clone() }
    }

    /// What is asked for with one occurrence: the lease at another time, its `before_end` as far from its end.
    #[must_use]
    pub fn lease_at(&self, occurrence: Occurrence) -> LeaseWish {
        let Occurrence { number: _, start, end } = occurrence;
        let before_end = match self.lease.before_end {
            BeforeEndWish::At(at) => BeforeEndWish::At(end.minus(self.lease.end.0.saturating_sub(at.0))),
            other @ (BeforeEndWish::Never | BeforeEndWish::SecondsBefore(_)) => other,
        };
        LeaseWish { start: StartWish::At(start), end, before_end, ..self.lease.clone() }
    }
}
