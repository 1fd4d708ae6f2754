//! Series as people and programs read them.

use leasehold_client::{BookedSeries, DeletedSeries};
use leasehold_ledger::model::{Class, LeaseId, LeftOut, LeftOutReason, Occurrence, SeriesId};
use serde_json::{Value, json};

use super::output::{counted, lease_json, table};
use super::time::{rfc3339, utc};

pub(super) fn occurrence_json(occurrence: &Occurrence) -> Value {
    json!({ "occurrence": occurrence.number, "start": rfc3339(occurrence.start), "end": rfc3339(occurrence.end) })
}

pub(super) fn left_out_json(left_out: &LeftOut) -> Value {
    let mut json = occurrence_json(&left_out.occurrence);
    json["reason"] = match &left_out.reason {
        LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest } => json!({
            "code": "no_room", "reservation": reservation, "short_by": short_by, "largest_amount": largest_amount,
            "tightest": tightest.map(Class::name),
        }),
        LeftOutReason::Withdrawn(reason) => json!({ "code": reason.code, "text": reason.text }),
    };
    json
}

/// Why it was left out, for people.
fn why(reason: &LeftOutReason) -> String {
    match reason {
        LeftOutReason::NoRoom { short_by, tightest, .. } => {
            let tightest = tightest.map(|class| format!(" ({})", class.name())).unwrap_or_default();
            format!("left out: short by {short_by}{tightest}")
        }
        LeftOutReason::Withdrawn(reason) => format!("left out: {}", reason.text),
    }
}

/// A series as it was booked, for programs.
pub(super) fn booked_json(booked: &BookedSeries) -> Value {
    let leases = booked.leases.iter().map(|one| {
        let mut json = occurrence_json(&one.occurrence);
        json["id"] = json!(one.lease_id.to_string());
        json
    });
    json!({
        "lease": lease_json(&booked.first),
        "series": {
            "id": booked.id.to_string(),
            "leases": leases.collect::<Vec<_>>(),
            "left_out": booked.left_out.iter().map(left_out_json).collect::<Vec<_>>(),
        },
    })
}

/// The same for people.
pub(super) fn booked_text(booked: &BookedSeries) -> String {
    let leases = booked.leases.iter().map(|one| (one.occurrence, one.lease_id.to_string()));
    let head =
        format!("Series {}: {} booked, {} left out.", booked.id, counted_leases(booked.leases.len()), booked.left_out.len());
    format!("{head}\n{}", occurrence_table("lease", leases, &booked.left_out))
}

fn counted_leases(count: usize) -> String {
    counted(u32::try_from(count).unwrap_or(u32::MAX), "lease")
}

/// By number.
pub(super) fn occurrence_table(column: &str, there: impl Iterator<Item = (Occurrence, String)>, left_out: &[LeftOut]) -> String {
    let mut all: Vec<(Occurrence, String)> = there.collect();
    all.extend(left_out.iter().map(|one| (one.occurrence, why(&one.reason))));
    all.sort_by_key(|(occurrence, _)| occurrence.number);
    let row = |(occurrence, what): (Occurrence, String)| {
        vec![occurrence.number.to_string(), utc(occurrence.start), utc(occurrence.end), what]
    };
    table(&["no", "start (UTC)", "end (UTC)", column], all.into_iter().map(row).collect(), "No occurrences.")
}

/// What would be booked, for programs.
pub(super) fn parts_json(occurrences: &[Occurrence], left_out: &[LeftOut]) -> Value {
    json!({
        "occurrences": occurrences.iter().map(occurrence_json).collect::<Vec<_>>(),
        "left_out": left_out.iter().map(left_out_json).collect::<Vec<_>>(),
    })
}

/// The same for people.
pub(super) fn parts_text(occurrences: &[Occurrence], left_out: &[LeftOut]) -> String {
    occurrence_table("", occurrences.iter().map(|one| (*one, "fits".to_owned())), left_out)
}

/// What became of a deleted series, for programs.
pub(super) fn deleted_json(id: SeriesId, gone: &DeletedSeries, ledger_index: u64) -> Value {
    let ids = |leases: &[LeaseId]| leases.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({ "series": id.to_string(), "deleted": ids(&gone.deleted), "kept": ids(&gone.kept), "ledger_index": ledger_index })
}

/// The same for people.
pub(super) fn deleted_text(id: SeriesId, gone: &DeletedSeries) -> String {
    let kept: String = gone.kept.iter().map(|lease| format!("\nLease {lease} has started and stays.")).collect();
    format!("Series {id}: {} deleted.{kept}", counted_leases(gone.deleted.len()))
}
