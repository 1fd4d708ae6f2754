//! `leasehold lease create --hosts … --what-if`: whole hosts, which can only be asked about.

use std::process::ExitCode;

use leasehold_client::{HostAmount, HostFilter, HostReservation, NewLease, OccurrenceHosts, WhatIfHosts};
use leasehold_ledger::model::{HostId, Seconds};
use serde_json::{Value, json};

use super::lease::{Create, args};
use super::output::counted;
use super::series::{left_out_json, occurrence_json, occurrence_table};
use super::time;
use super::wait::with_progress;
use super::{Failure, Session, what_to_try};

/// Asks, and tells the answer. Exit code 1: it does not fit.
pub(super) async fn run(create: Create, hosts: args::Hosts, now: Seconds, session: &Session) -> Result<ExitCode, Failure> {
    let recurrence = create.repeat.recurrence();
    let (wish, reservation) = asked(create, hosts, now)?;
    let asking = session.client.what_if_hosts(wish, vec![reservation], recurrence);
    let answer = with_progress("the answer", asking).await?;
    session.output.print(answer_json(&answer.value, answer.ledger_index), || answer_text(&answer.value))?;
    let fits = !matches!(answer.value, WhatIfHosts::NoRoom(_));
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lease without its reservation, and that.
pub(super) fn asked(create: Create, hosts: args::Hosts, now: Seconds) -> Result<(NewLease, HostReservation), Failure> {
    if !create.what_if {
        let text = "--hosts: whole hosts cannot be booked yet; add --what-if to ask whether there would be any, \
                    or reserve servers: --vcpus, --memory-mb";
        return Err(Failure::Usage(text.to_owned()));
    }
    let filter = HostFilter::from(create.place());
    let wish = args::wish(create, now)?;
    Ok((NewLease { reservations: Vec::new(), ..wish }, HostReservation { min: hosts.min, max: hosts.max, filter }))
}

fn amounts_json(reservations: &[HostAmount]) -> Value {
    let amount = |one: &HostAmount| {
        let ids: Vec<u64> = one.hosts.iter().map(|id| id.0).collect();
        json!({ "hosts": one.count, "host_ids": ids })
    };
    reservations.iter().map(amount).collect()
}

/// For programs; what is missing is spelled as of instances.
fn answer_json(what_if: &WhatIfHosts, ledger_index: u64) -> Value {
    let mut json = json!({ "fits": true, "reservations": null, "start": null, "no_room": null, "ledger_index": ledger_index });
    match what_if {
        WhatIfHosts::Fits { moved_to, reservations } => {
            json["reservations"] = amounts_json(reservations);
            json["start"] = json!(moved_to.and_then(time::rfc3339));
        }
        WhatIfHosts::SeriesFits { occurrences, left_out } => {
            let found = |one: &OccurrenceHosts| {
                let mut json = occurrence_json(&one.occurrence);
                json["reservations"] = amounts_json(&one.reservations);
                json
            };
            json["series"] = json!({
                "occurrences": occurrences.iter().map(found).collect::<Vec<_>>(),
                "left_out": left_out.iter().map(left_out_json).collect::<Vec<_>>(),
            });
        }
        WhatIfHosts::NoRoom(no_room) => {
            json["fits"] = json!(false);
            json["no_room"] = json!({
                "reservation": no_room.reservation, "short_by": no_room.short_by, "largest_amount": no_room.largest_amount,
                "next_start": no_room.next_start.and_then(time::rfc3339), "next_end": no_room.next_end.and_then(time::rfc3339),
                "occurrence": no_room.occurrence,
            });
        }
    }
    json
}

/// The same for people.
pub(super) fn answer_text(what_if: &WhatIfHosts) -> String {
    match what_if {
        WhatIfHosts::Fits { moved_to, reservations } => {
            let from = moved_to.map(|start| format!(" from {} (UTC) on", time::utc(start))).unwrap_or_default();
            let hosts: String = reservations.iter().map(|one| format!("\nIt would have {}.", hosts_text(one))).collect();
            format!("It fits{from}. Whole hosts cannot be booked yet.{hosts}")
        }
        WhatIfHosts::SeriesFits { occurrences, left_out } => {
            let found = |one: &OccurrenceHosts| {
                let hosts: Vec<String> = one.reservations.iter().map(hosts_text).collect();
                (one.occurrence, hosts.join("; "))
            };
            let table = occurrence_table("would have", occurrences.iter().map(found), left_out);
            format!("It fits. Whole hosts cannot be booked yet.\n{table}")
        }
        WhatIfHosts::NoRoom(no_room) => {
            let of = no_room.occurrence.map(|number| format!("occurrence {number} is ")).unwrap_or_default();
            let text = format!("It does not fit: {of}short by {}.", counted(no_room.short_by, "host"));
            let ways = what_to_try("--hosts", no_room);
            text + &ways.map(|ways| format!("\n{ways}")).unwrap_or_default()
        }
    }
}

/// How many, and for operators which.
fn hosts_text(one: &HostAmount) -> String {
    let ids: Vec<String> = one.hosts.iter().map(HostId::to_string).collect();
    let which = if ids.is_empty() { String::new() } else { format!(", as things are now: {}", ids.join(", ")) };
    format!("{}{which}", counted(one.count, "host"))
}
