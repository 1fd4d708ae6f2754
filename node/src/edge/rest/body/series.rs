//! The recurrence of `POST /v1/leases`, what was booked of it, and `DELETE /v1/series/{id}` (1.1).

use leasehold_client::{BookedSeries, DeletedSeries};
use leasehold_ledger::command::Recurrence;
use leasehold_ledger::model::{Class, LeaseId, LeftOut, LeftOutReason, Occurrence, SeriesId, SeriesMode};
use serde_json::{Value, json};

use super::Fields;
use super::dates::lease_date;
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion;

/// The zone of a recurrence that names none.
const DEFAULT_TIME_ZONE: &str = "UTC";
const MODES: [(&str, SeriesMode); 2] = [("all_or_nothing", SeriesMode::AllOrNothing), ("best_effort", SeriesMode::BestEffort)];

/// Reads `recurrence` of a new lease; `None` when missing or null.
pub fn recurrence(body: &Value, version: Microversion) -> Result<Option<Recurrence>, Problem> {
    let fields = Fields::of_body(body)?;
    let Some(fields) = fields.object("recurrence")? else { return Ok(None) };
    fields.refuse_others(version, &["rule", "time_zone", "mode"], &[])?;
    let missing = || Problem::malformed("recurrence.rule is missing; it must be a rule as in FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10");
    Ok(Some(Recurrence {
        rule: fields.text("rule")?.ok_or_else(missing)?.to_owned(),
        time_zone: fields.text("time_zone")?.unwrap_or(DEFAULT_TIME_ZONE).to_owned(),
        mode: fields.word("mode", &MODES)?.unwrap_or_default(),
    }))
}

/// A series beside its first lease.
pub fn series(booked: &BookedSeries) -> Value {
    let leases = booked.leases.iter().map(|one| {
        let mut shown = occurrence(&one.occurrence);
        shown["id"] = json!(one.lease_id.to_string());
        shown
    });
    json!({
        "id": booked.id.to_string(),
        "leases": leases.collect::<Vec<_>>(),
        "left_out": booked.left_out.iter().map(|one| left_out(one, "instances")).collect::<Vec<_>>(),
    })
}

pub(super) fn occurrence(occurrence: &Occurrence) -> Value {
    json!({
        "occurrence": occurrence.number,
        "start_date": lease_date(occurrence.start),
        "end_date": lease_date(occurrence.end),
    })
}

/// An occurrence without a lease, and why; what is missing, of instances or hosts, has the names that a refusal gives it.
pub(super) fn left_out(left_out: &LeftOut, what: &str) -> Value {
    let mut shown = occurrence(&left_out.occurrence);
    shown["reason"] = match &left_out.reason {
        LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest } => json!({
            "code": "no_room",
            "text": format!("reservation {reservation} is {short_by} {what} short"),
            "reservation": reservation,
            "short_by": short_by,
            "largest_amount": largest_amount,
            "tightest": tightest.map(Class::name),
        }),
        LeftOutReason::Withdrawn(reason) => json!({"code": reason.code, "text": reason.text}),
    };
    shown
}

/// What became of the leases of a series.
pub fn deleted_series(id: SeriesId, series: &DeletedSeries) -> Value {
    let ids = |leases: &[LeaseId]| leases.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({"id": id.to_string(), "deleted": ids(&series.deleted), "kept": ids(&series.kept)})
}
