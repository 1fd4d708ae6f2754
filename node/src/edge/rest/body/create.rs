//! `POST /v1/leases` → [`LeaseWish`] (blazar-api §6.1). Checks in Blazar's order; what depends on the time or on other
//! leases is left to the ledger.

use std::collections::BTreeSet;

use leasehold_ledger::command::{BeforeEndWish, LeaseWish, OfferWish, ReservationWish, StagingWish, StartWish, WaitWish};
use leasehold_ledger::model::{EXPIRY_MIN_S, PRIORITY_MAX, Precedence, ResourceWish, Seconds};
use leasehold_ledger::plan::HostReservation;
use leasehold_ledger::reply::Rejection;
use serde_json::Value;
use uuid::Uuid;

use super::dates::{self, Given};
use super::fields::cut;
use super::{Fields, NAME_CHARS_MAX, flavor, instance, whole_hosts};
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion;
use crate::operations::{Actor, OperationError};

/// Keys of a lease in requests.
pub const LEASE_KEYS: [&str; 6] = ["name", "start_date", "end_date", "before_end_date", "reservations", "events"];
/// Those of a new lease that 1.1 brings.
const NEW_KEYS_1_1: [&str; 9] =
    ["latest_start_date", "offer", "wait", "recurrence", "priority", "preemptible", "preempt", "expiry_s", "ignore_quota"];
/// Reservations of one lease at most.
pub const RESERVATIONS_MAX: usize = 64;
/// Seconds booked for parking after a staging window, unless asked otherwise (architecture D23).
const PARK_MARGIN_S: u32 = 600;
/// The longest park margin that may be asked for.
const PARK_MARGIN_S_MAX: u32 = 86_400;

/// Reads a new lease for `actor`. `minutes_before_end` is the option of Blazar's name; 0: no event unless asked for.
pub fn create(body: &Value, version: Microversion, actor: &Actor, minutes_before_end: u32) -> Result<LeaseWish, Problem> {
    lease(body, version, actor, minutes_before_end, None)
}

/// Reads a lease that is asked about: as a new one, but that its reservations may be of whole hosts. These are given apart.
pub fn asked_about(
    body: &Value,
    version: Microversion,
    actor: &Actor,
    minutes_before_end: u32,
) -> Result<(LeaseWish, Vec<HostReservation>), Problem> {
    let mut hosts = Vec::new();
    let lease = lease(body, version, actor, minutes_before_end, Some(&mut hosts))?;
    Ok((lease, hosts))
}

fn lease(
    body: &Value,
    version: Microversion,
    actor: &Actor,
    minutes_before_end: u32,
    mut hosts: Option<&mut Vec<HostReservation>>,
) -> Result<LeaseWish, Problem> {
    let fields = Fields::of_body(body)?;
    fields.refuse_others(version, &LEASE_KEYS, &NEW_KEYS_1_1)?;
    match version {
        Microversion::V1_0 => fields.require(&["name", "start_date", "end_date"])?,
        Microversion::V1_1 => fields.require(&["name", "start_date"])?,
    }
    let reservations = fields.list("reservations", RESERVATIONS_MAX)?;
    for reservation in &reservations {
        reservation.require(&["resource_type"])?;
    }
    // Blazar stores these without looking at them, and they never fire.
    fields.list("events", 1000)?;

    let start = start(&fields, version)?.ok_or_else(|| Problem::malformed("Missing parameter start_date"))?;
    let start = open_start(&fields, version, start)?;
    let end = end(&fields, version)?;
    let name = name(&fields)?.ok_or_else(|| Problem::malformed("Missing parameter name"))?;
    let mut wished = Vec::new();
    for fields in &reservations {
        match &mut hosts {
            Some(hosts) if whole_hosts::is_asked(fields) => hosts.push(whole_hosts::reservation(fields, version)?),
            Some(_) | None => wished.push(reservation(fields, version)?),
        }
    }
    let before_end = match before_end(&fields, version)? {
        Some(asked) => asked,
        None if minutes_before_end == 0 => BeforeEndWish::Never,
        None => BeforeEndWish::SecondsBefore(minutes_before_end.saturating_mul(60)),
    };
    Ok(LeaseWish {
        name,
        project_id: actor.project_id.clone(),
        user_id: actor.user_id.clone(),
        start,
        end,
        before_end,
        reservations: wished,
        offer: fields.object("offer")?.map(|fields| offer(&fields, version)).transpose()?,
        wait: fields.object("wait")?.map(|fields| wait(&fields, version)).transpose()?,
        precedence: precedence(&fields)?,
        expiry_s: expiry_s(&fields)?,
        ignore_quota: fields.flag("ignore_quota")?.unwrap_or(false),
    })
}

/// Who gives way to whom.
fn precedence(fields: &Fields<'_>) -> Result<Precedence, Problem> {
    let priority = fields.whole("priority", 0, u32::from(PRIORITY_MAX))?.unwrap_or(0);
    Ok(Precedence {
        priority: u8::try_from(priority).unwrap_or(u8::MAX),
        preemptible: fields.flag("preemptible")?.unwrap_or(false),
        preempt: fields.flag("preempt")?.unwrap_or(false),
    })
}

/// After how many seconds what nobody uses is given back; 0: never. `None`: nothing is said of it.
fn expiry_s(fields: &Fields<'_>) -> Result<Option<u32>, Problem> {
    let Some(value) = fields.get("expiry_s") else { return Ok(None) };
    match value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()) {
        Some(seconds) if seconds == 0 || seconds >= EXPIRY_MIN_S => Ok(Some(seconds)),
        _ => {
            let right = format!("must be a whole number of seconds from {EXPIRY_MIN_S} to {}, or 0: never", u32::MAX);
            Err(fields.wrong("expiry_s", value, &right))
        }
    }
}

/// How long an offer is to stand: `expires_at`, or `valid_s` from now on.
fn offer(fields: &Fields<'_>, version: Microversion) -> Result<OfferWish, Problem> {
    fields.refuse_others(version, &["expires_at", "valid_s"], &[])?;
    let expires_at = match date(fields, "expires_at", version)? {
        None => None,
        Some(Given::At { unix_s, .. }) => {
            let past =
                || Rejection::Invalid { field: "offer.expires_at".to_owned(), problem: "it is past; it must come".to_owned() };
            Some(second(unix_s, past())?)
        }
        Some(Given::Now | Given::OpenEnd) => {
            return Err(Problem::malformed("offer.expires_at must be a date, as in 2027-01-31 14:00, after now"));
        }
    };
    match (expires_at, fields.whole("valid_s", 1, u32::MAX)?) {
        (Some(at), None) => Ok(OfferWish::Until(at)),
        (None, Some(seconds)) => Ok(OfferWish::For(seconds)),
        (None, None) => Err(Problem::malformed("offer is empty; it must say expires_at (a date) or valid_s (seconds from now)")),
        (Some(_), Some(_)) => Err(Problem::malformed("offer says expires_at and valid_s; it must say one of them")),
    }
}

/// How long a lease is to wait for room: `until`, or without it until its latest start.
fn wait(fields: &Fields<'_>, version: Microversion) -> Result<WaitWish, Problem> {
    fields.refuse_others(version, &["until"], &[])?;
    match date(fields, "until", version)? {
        None => Ok(WaitWish::UntilStart),
        Some(Given::At { unix_s, .. }) => {
            let past = Rejection::Invalid { field: "wait.until".to_owned(), problem: "it is past; it must come".to_owned() };
            Ok(WaitWish::Until(second(unix_s, past)?))
        }
        Some(Given::Now | Given::OpenEnd) => {
            Err(Problem::malformed("wait.until must be a date, as in 2027-01-31 14:00, after now; or leave it out"))
        }
    }
}

/// `name`; `None` when missing or null.
pub fn name(fields: &Fields<'_>) -> Result<Option<String>, Problem> {
    let Some(name) = fields.text("name")? else {
        return Ok(None);
    };
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX {
        return Err(Problem::malformed(format!("name has {chars} characters; it must have 1 to {NAME_CHARS_MAX}")));
    }
    if name.chars().any(char::is_control) {
        return Err(Problem::malformed("name holds control characters; it must hold none"));
    }
    Ok(Some(name.to_owned()))
}

/// `start_date`; `None` when missing or null.
pub fn start(fields: &Fields<'_>, version: Microversion) -> Result<Option<StartWish>, Problem> {
    Ok(match date(fields, "start_date", version)? {
        None => None,
        Some(Given::Now) => Some(StartWish::Now),
        Some(Given::OpenEnd) => return Err(rejected(Rejection::EndNotAfterStart)),
        Some(Given::At { unix_s, .. }) => Some(StartWish::At(second(unix_s, Rejection::StartInPast)?)),
    })
}

/// A second under a key that must be there and name one.
pub fn some_second(fields: &Fields<'_>, key: &str, version: Microversion) -> Result<Seconds, Problem> {
    let given = fields.get(key).unwrap_or(&Value::Null);
    let wrong = || fields.wrong(key, given, "must be a date from 2020 on, as in 2027-01-31 14:00");
    match date(fields, key, version)? {
        Some(Given::At { unix_s, .. }) => Seconds::from_unix_s(unix_s).ok_or_else(wrong),
        Some(Given::Now | Given::OpenEnd) | None => Err(wrong()),
    }
}

/// The start that is asked for first, left open as far as `latest_start_date` says.
fn open_start(fields: &Fields<'_>, version: Microversion, first: StartWish) -> Result<StartWish, Problem> {
    let latest = match date(fields, "latest_start_date", version)? {
        None => return Ok(first),
        Some(Given::At { unix_s, .. }) => second(unix_s, Rejection::StartInPast)?,
        Some(Given::Now | Given::OpenEnd) => {
            return Err(Problem::malformed("latest_start_date must be a date, as in 2027-01-31 14:00, not before start_date"));
        }
    };
    let from = match first {
        StartWish::At(from) => Some(from),
        StartWish::Now | StartWish::Earliest { .. } => None,
    };
    Ok(StartWish::Earliest { from, latest })
}

/// `end_date`; without one there is no end, from 1.1 on.
pub fn end(fields: &Fields<'_>, version: Microversion) -> Result<Seconds, Problem> {
    match date(fields, "end_date", version)? {
        None if version >= Microversion::V1_1 => Ok(Seconds::OPEN_END),
        None => Err(Problem::malformed(
            "Missing parameter end_date: a lease without end needs microversion 1.1 (header OpenStack-API-Version: reservation 1.1)",
        )),
        // A lease cannot end at the time it is made.
        Some(Given::Now) => Err(rejected(Rejection::EndNotAfterStart)),
        Some(Given::OpenEnd) => Ok(Seconds::OPEN_END),
        Some(Given::At { unix_s, .. }) => second(unix_s, Rejection::EndNotAfterStart),
    }
}

/// `before_end_date`; `None` when missing or null.
pub fn before_end(fields: &Fields<'_>, version: Microversion) -> Result<Option<BeforeEndWish>, Problem> {
    match date(fields, "before_end_date", version)? {
        None => Ok(None),
        Some(Given::Now) => Err(Problem::malformed("now is an invalid date. Required format: %Y-%m-%d %H:%M")),
        Some(Given::OpenEnd) => Err(rejected(Rejection::BeforeEndOutside)),
        Some(Given::At { unix_s, .. }) => {
            let at = Seconds::from_unix_s(unix_s).ok_or_else(|| rejected(Rejection::BeforeEndOutside))?;
            Ok(Some(BeforeEndWish::At(at)))
        }
    }
}

/// A date under a key; `None` when missing or null.
pub fn date(fields: &Fields<'_>, key: &str, version: Microversion) -> Result<Option<Given>, Problem> {
    match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => dates::parse(text, version).map(Some).map_err(Problem::malformed),
        Some(other) => dates::parse(&other.to_string(), version).map(Some).map_err(Problem::malformed),
    }
}

/// A second of the calendar; `too_early` when it lies before the calendar begins.
pub fn second(unix_s: i64, too_early: Rejection) -> Result<Seconds, Problem> {
    Seconds::from_unix_s(unix_s).ok_or_else(|| {
        let before = unix_s < i64::try_from(leasehold_ledger::model::LEDGER_EPOCH_UNIX_S).unwrap_or(i64::MAX);
        rejected(if before { too_early } else { Rejection::EndBeyondCalendar })
    })
}

/// A refusal that the ledger would give too, had it been asked.
pub fn rejected(rejection: Rejection) -> Problem {
    Problem::from(OperationError::Rejected(rejection))
}

/// Refuses what is neither `virtual:instance` nor `flavor:instance`. Whether it is of a flavor.
pub fn resource_type(fields: &Fields<'_>) -> Result<bool, Problem> {
    match fields.get("resource_type") {
        Some(Value::String(name)) if name == "virtual:instance" => Ok(false),
        Some(Value::String(name)) if name == flavor::TYPE => Ok(true),
        Some(Value::String(name)) if [whole_hosts::TYPE, "virtual:floatingip"].contains(&name.as_str()) => {
            let asked =
                if name == whole_hosts::TYPE { "; POST /v1/leases/what-if tells whether there would be hosts" } else { "" };
            Err(Problem::not_implemented(format!(
                "The {name} resource type is not supported by this version of Leasehold, virtual:instance and flavor:instance are{asked}"
            )))
        }
        Some(Value::String(name)) => {
            let text = format!("The {} resource type is not supported, virtual:instance and flavor:instance are", cut(name));
            Err(Problem::malformed(text))
        }
        Some(other) => Err(fields.wrong("resource_type", other, "must be a string, as in \"virtual:instance\"")),
        None => Err(Problem::malformed("Missing parameter resource_type")),
    }
}

fn reservation(fields: &Fields<'_>, version: Microversion) -> Result<ReservationWish, Problem> {
    if resource_type(fields)? {
        return Ok(ReservationWish {
            resource: ResourceWish::Instance(flavor::wish(fields, version)?.into()),
            staging: fields.object("staging")?.map(|fields| staging(&fields, version)).transpose()?,
            on_end: instance::on_end(fields)?.unwrap_or_default(),
            servers: BTreeSet::new(),
        });
    }
    let known = [&["resource_type", "id"][..], &instance::KEYS].concat();
    fields.refuse_others(version, &known, &[&instance::KEYS_1_1[..], &["servers"]].concat())?;
    let wish = instance::read(fields)?;
    let wish = match version {
        Microversion::V1_0 => {
            fields.require(&instance::KEYS)?;
            wish.into_wish()?
        }
        Microversion::V1_1 => wish.into_wish()?,
    };
    Ok(ReservationWish {
        resource: ResourceWish::Instance(wish.into()),
        staging: fields.object("staging")?.map(|fields| staging(&fields, version)).transpose()?,
        on_end: instance::on_end(fields)?.unwrap_or_default(),
        servers: servers(fields)?.unwrap_or_default(),
    })
}

/// UUIDs of servers to take over; `None` when missing or null.
pub fn servers(fields: &Fields<'_>) -> Result<Option<BTreeSet<Uuid>>, Problem> {
    let Some(value) = fields.get("servers") else { return Ok(None) };
    let right = "must be a list of UUIDs of servers, each once";
    let items = value.as_array().ok_or_else(|| fields.wrong("servers", value, right))?;
    let mut servers = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let id = item.as_str().and_then(|text| Uuid::parse_str(text).ok());
        if !id.is_some_and(|id| servers.insert(id)) {
            return Err(fields.wrong(&format!("servers[{at}]"), item, "must be the UUID of a server, each once"));
        }
    }
    Ok(Some(servers))
}

/// A staging window.
pub fn staging(fields: &Fields<'_>, version: Microversion) -> Result<StagingWish, Problem> {
    fields.refuse_others(version, &["start_date", "end_date", "park_margin"], &[])?;
    let outside = |problem: &str| rejected(Rejection::StagingOutside { problem: problem.to_owned() });
    let start = match date(fields, "start_date", version)? {
        None | Some(Given::Now) => None,
        Some(Given::OpenEnd) => return Err(outside("its start has no date")),
        Some(Given::At { unix_s, .. }) => Some(second(unix_s, Rejection::StartInPast)?),
    };
    let end = match date(fields, "end_date", version)? {
        None => None,
        Some(Given::Now) => return Err(outside("its end is now")),
        Some(Given::OpenEnd) => return Err(outside("its end has no date")),
        Some(Given::At { unix_s, .. }) => Some(second(unix_s, Rejection::EndNotAfterStart)?),
    };
    let park_margin_s = fields.whole("park_margin", 0, PARK_MARGIN_S_MAX)?.unwrap_or(PARK_MARGIN_S);
    Ok(StagingWish { start, end, park_margin_s })
}
