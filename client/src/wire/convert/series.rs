//! Series: what is asked for, what was booked of it and what was left out.

use leasehold_ledger::command::Recurrence;
use leasehold_ledger::model::{Lease, LeaseId, LeftOut, LeftOutReason, Occurrence, SeriesId, SeriesLease, SeriesMember};

use super::enums::{Enumeration, optional};
use super::lease::{decode_reason, encode_reason};
use super::{BadValue, Result, each, seconds, unix_s, uuid};
use crate::answer::{Answer, BookedSeries, DeletedSeries};
use crate::wire::v1;
use crate::wire::v1::left_out::{NoRoom, Reason};

/// The zone of a request that names none.
const DEFAULT_TIME_ZONE: &str = "UTC";

/// What a request says of when its lease comes again. Rule and zone are text here; the server reads them.
pub fn recurrence(wire: v1::Recurrence) -> Result<Recurrence> {
    Ok(Recurrence {
        rule: wire.rule,
        time_zone: if wire.time_zone.is_empty() { DEFAULT_TIME_ZONE.to_owned() } else { wire.time_zone },
        mode: optional("recurrence.mode", wire.mode)?.unwrap_or_default(),
    })
}

pub(crate) fn encode_recurrence(recurrence: Recurrence) -> v1::Recurrence {
    v1::Recurrence { rule: recurrence.rule, time_zone: recurrence.time_zone, mode: recurrence.mode.encode() }
}

pub(super) fn encode_member(member: SeriesMember) -> v1::SeriesMember {
    v1::SeriesMember { id: member.id.to_string(), number: member.number, mode: member.mode.encode() }
}

pub(super) fn decode_member(wire: v1::SeriesMember) -> Result<SeriesMember> {
    Ok(SeriesMember {
        id: SeriesId(uuid("series.id", &wire.id)?),
        number: wire.number,
        mode: optional("series.mode", wire.mode)?.unwrap_or_default(),
    })
}

pub(super) fn encode_occurrence(occurrence: Occurrence) -> v1::Occurrence {
    let Occurrence { number, start, end } = occurrence;
    v1::Occurrence { number, start: unix_s(start), end: unix_s(end) }
}

pub(super) fn decode_occurrence(wire: v1::Occurrence) -> Result<Occurrence> {
    Ok(Occurrence { number: wire.number, start: seconds("start", wire.start)?, end: seconds("end", wire.end)? })
}

fn occurrence(wire: Option<v1::Occurrence>) -> Result<Occurrence> {
    decode_occurrence(wire.ok_or_else(|| BadValue::missing("occurrence", "in every lease of a series"))?)
}

pub(super) fn encode_left_out(left_out: LeftOut) -> v1::LeftOut {
    let reason = match left_out.reason {
        LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest } => {
            let tightest = tightest.map_or(0, Enumeration::encode);
            Reason::NoRoom(NoRoom { reservation, short_by, largest_amount, tightest })
        }
        LeftOutReason::Withdrawn(reason) => Reason::Withdrawn(encode_reason(reason)),
    };
    v1::LeftOut { occurrence: Some(encode_occurrence(left_out.occurrence)), reason: Some(reason) }
}

pub(super) fn decode_left_out(wire: v1::LeftOut) -> Result<LeftOut> {
    let reason = match wire.reason {
        Some(Reason::NoRoom(NoRoom { reservation, short_by, largest_amount, tightest })) => {
            LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest: optional("no_room.tightest", tightest)? }
        }
        Some(Reason::Withdrawn(reason)) => LeftOutReason::Withdrawn(decode_reason(reason)?),
        None => return Err(BadValue::missing("reason", "no_room or withdrawn (is the server newer?)")),
    };
    Ok(LeftOut { occurrence: occurrence(wire.occurrence)?, reason })
}

/// What a server answers.
pub fn series_response(booked: BookedSeries, ledger_index: u64) -> v1::CreateLeaseResponse {
    let lease = |one: SeriesLease| v1::SeriesLease {
        lease_id: one.lease_id.to_string(),
        occurrence: Some(encode_occurrence(one.occurrence)),
    };
    let series = v1::Series {
        id: booked.id.to_string(),
        leases: booked.leases.into_iter().map(lease).collect(),
        left_out: booked.left_out.into_iter().map(encode_left_out).collect(),
    };
    v1::CreateLeaseResponse { lease: Some(booked.first.into()), ledger_index, series: Some(series) }
}

impl TryFrom<v1::CreateLeaseResponse> for Answer<BookedSeries> {
    type Error = BadValue;

    fn try_from(wire: v1::CreateLeaseResponse) -> Result<Self> {
        let first = wire.lease.ok_or_else(|| BadValue::missing("lease", "in every answer about one lease"))?;
        let series =
            wire.series.ok_or_else(|| BadValue::missing("series", "the series that was asked for (is the server older?)"))?;
        let value = BookedSeries {
            id: SeriesId(uuid("series.id", &series.id)?),
            first: Lease::try_from(first)?,
            leases: each("series.leases", series.leases, |one| {
                let lease_id = LeaseId(uuid("lease_id", &one.lease_id)?);
                Ok(SeriesLease { lease_id, occurrence: occurrence(one.occurrence)? })
            })?,
            left_out: each("series.left_out", series.left_out, decode_left_out)?,
        };
        Ok(Answer { value, ledger_index: wire.ledger_index })
    }
}

impl TryFrom<v1::DeleteSeriesResponse> for Answer<DeletedSeries> {
    type Error = BadValue;

    fn try_from(wire: v1::DeleteSeriesResponse) -> Result<Self> {
        let id = |field: &'static str| move |text: String| uuid(field, &text).map(LeaseId);
        let deleted = each("deleted", wire.deleted, id("id"))?;
        let kept = each("kept", wire.kept, id("id"))?;
        Ok(Answer { value: DeletedSeries { deleted, kept }, ledger_index: wire.ledger_index })
    }
}
