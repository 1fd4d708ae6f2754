//! `PUT /v1/leases/{id}` → [`LeaseChange`], merged onto the lease as it stands (blazar-api §6.2, §7).

use http::StatusCode;
use leasehold_ledger::command::{EndWish, LeaseChange, ReservationChange, StagingWish, StartWish};
use leasehold_ledger::model::{
    Lease, LeaseStatus, Reservation, ReservationId, ReservationStatus, ResourceWish, Seconds, Staging,
};
use leasehold_ledger::reply::Rejection;
use serde_json::Value;

use super::create::{self, LEASE_KEYS, RESERVATIONS_MAX, date, rejected, second};
use super::dates::Given;
use super::fields::cut;
use super::{Fields, flavor, instance, whole_hosts};
use crate::edge::error::Problem;
use crate::edge::rest::answer;
use crate::edge::rest::microversion::Microversion;

/// Reads a change of `lease`. `None`: nothing known is to be changed; Blazar then answers the lease as it is.
///
/// With `keyed` (the request has an idempotency key) what already is as wished stays in the change: its content must be
/// the same when the request is sent again after it was carried out (architecture D18).
pub fn update(body: &Value, version: Microversion, lease: &Lease, keyed: bool) -> Result<Option<LeaseChange>, Problem> {
    let fields = Fields::of_body(body)?;
    let given = fields.list("reservations", RESERVATIONS_MAX)?;
    given
        .iter()
        .filter(|fields| whole_hosts::is_asked(fields))
        .try_for_each(|fields| create::resource_type(fields).map(|_| ()))?;
    if version >= Microversion::V1_1 && fields.has("expiry_s") {
        let value = fields.get("expiry_s").unwrap_or(&Value::Null);
        let right = "stands from creation on; leave it out, or delete the lease and make another";
        return Err(fields.wrong("expiry_s", value, right));
    }
    // Clients send back what they were shown; the rest of a lease's keys cannot be changed and is ignored (§17).
    let shown = ["id", "user_id", "project_id", "trust_id", "status", "degraded", "created_at", "updated_at", "status_reason"];
    fields.refuse_others(version, &[&LEASE_KEYS[..], &shown].concat(), &["ignore_quota"])?;
    let targets = targets(&given, lease)?;
    let mut reservations = Vec::new();
    for (fields, reservation) in given.iter().zip(targets) {
        let change = reservation_change(fields, version, reservation)?;
        let changed = change.resource != reservation.wish || change.on_end.is_some_and(|on_end| on_end != reservation.on_end);
        if changed || keyed {
            reservations.push(change);
        }
    }
    let change = LeaseChange {
        name: create::name(&fields)?.filter(|name| keyed || *name != lease.name),
        start: start(&fields, version, lease, keyed)?,
        end: end(&fields, version)?,
        before_end: create::before_end(&fields, version)?,
        reservations,
        ignore_quota: fields.flag("ignore_quota")?.unwrap_or(false),
    };
    let renames = LeaseChange { name: change.name.clone(), ..LeaseChange::default() };
    let is_of_flavor = |one: &Reservation| one.wish.instance().flavor.is_some();
    if version < Microversion::V1_1 && change != renames && lease.reservations.iter().any(is_of_flavor) {
        // Blazar's own words; 1.1 changes what can be changed.
        let text = "Updating leases for 'flavor:instance' type reservations is not yet supported.";
        return Err(conflict("not_implemented", text));
    }
    Ok((change != LeaseChange::default()).then_some(change))
}

/// The start, unless it is the one the lease has: clients send it back as they were shown it.
///
/// With `keyed` that one is named, too: a request that moved the start finds it moved when it is sent again, and must
/// still be the same wish. For the ledger a start that is asked for as it is is no change, in whatever status.
fn start(fields: &Fields<'_>, version: Microversion, lease: &Lease, keyed: bool) -> Result<Option<StartWish>, Problem> {
    let Some(Given::At { unix_s, by_minute }) = date(fields, "start_date", version)? else {
        return create::start(fields, version);
    };
    let at = second(unix_s, Rejection::StartInPast)?;
    // A lease that started `now` has seconds that the format of 1.0 cannot say.
    let begun = lease.status != LeaseStatus::Pending;
    let same_minute = Seconds(lease.start.0 - lease.start.0 % 60) == at;
    let unchanged = at == lease.start || (by_minute && begun && same_minute);
    Ok(match (unchanged, keyed) {
        (true, false) => None,
        (true, true) => Some(StartWish::At(lease.start)),
        (false, _) => Some(StartWish::At(at)),
    })
}

fn end(fields: &Fields<'_>, version: Microversion) -> Result<Option<EndWish>, Problem> {
    Ok(match date(fields, "end_date", version)? {
        None if fields.has("end_date") && version >= Microversion::V1_1 => Some(EndWish::At(Seconds::OPEN_END)),
        None => None,
        Some(Given::Now) => Some(EndWish::Now),
        Some(Given::OpenEnd) => Some(EndWish::At(Seconds::OPEN_END)),
        Some(Given::At { unix_s, .. }) => Some(EndWish::At(second(unix_s, Rejection::EndInPast)?)),
    })
}

/// Which reservation each element means.
fn targets<'a>(given: &[Fields<'_>], lease: &'a Lease) -> Result<Vec<&'a Reservation>, Problem> {
    let mut found: Vec<&Reservation> = Vec::new();
    let mut unknown = Vec::new();
    for fields in given {
        let Some(id) = fields.get("id") else {
            return Err(Problem::malformed("Missing parameter reservation ID"));
        };
        let text = id.as_str().unwrap_or_default();
        match text.parse::<ReservationId>().ok().and_then(|id| lease.reservation(id)) {
            Some(reservation) if found.iter().any(|other| other.id == reservation.id) => {
                return Err(Problem::malformed(format!("reservation {} is named twice; name each once", reservation.id)));
            }
            Some(reservation) => found.push(reservation),
            None => unknown.push(cut(id.as_str().map_or_else(|| id.to_string(), str::to_owned).as_str())),
        }
    }
    if unknown.is_empty() {
        return Ok(found);
    }
    let text = format!("Please enter valid reservation IDs. Invalid reservation IDs are: {}", unknown.join(","));
    Err(Problem::malformed(text))
}

fn reservation_change(
    fields: &Fields<'_>,
    version: Microversion,
    reservation: &Reservation,
) -> Result<ReservationChange, Problem> {
    let shown = [
        "id",
        "resource_type",
        "lease_id",
        "resource_id",
        "status",
        "missing_resources",
        "resources_changed",
        "created_at",
        "updated_at",
        "flavor_id",
        "aggregate_id",
        "server_group_id",
        "stage",
        "source_flavor_id",
        "released",
    ];
    let since_1_1 = [&instance::KEYS_1_1[..], &["servers"]].concat();
    fields.refuse_others(version, &[&shown[..], &instance::KEYS].concat(), &since_1_1)?;
    let current = reservation.wish.instance();
    if fields.get("resource_type").is_some_and(|name| name.as_str() != Some(flavor::type_of(current))) {
        return Err(conflict("cannot_update", "resource_type cannot be updated"));
    }
    let adopted = reservation.adoption.as_ref().map(|adoption| adoption.servers.clone()).unwrap_or_default();
    if create::servers(fields)?.is_some_and(|given| given != adopted) {
        return Err(conflict("cannot_update", "servers are adopted when a lease is created; make another"));
    }
    if !same_staging(fields, version, reservation)? {
        let problem = "a staging window stands from creation on; delete the lease and make another".to_owned();
        return Err(rejected(Rejection::CannotUpdate { field: "staging".to_owned(), problem }));
    }
    let wish = if current.flavor.is_some() {
        if !flavor::are_shown(fields, reservation)? {
            return Err(conflict("cannot_update", "the flavor of a reservation cannot be updated; make another lease"));
        }
        instance::read(fields)?.without_properties().onto(current)?
    } else {
        instance::read(fields)?.onto(current)?
    };
    if version < Microversion::V1_1 && wish != *current {
        match reservation.status {
            ReservationStatus::Error => {
                return Err(conflict("wrong_status", "An error reservation doesn't accept an updating request."));
            }
            ReservationStatus::Active
                if (leasehold_ledger::model::InstanceWish { amount: current.amount, ..wish.clone() }) != *current =>
            {
                return Err(conflict("wrong_status", "An active reservation only accepts to update amount."));
            }
            ReservationStatus::Active if wish.amount < current.amount => {
                return Err(conflict(
                    "wrong_status",
                    "Instance reservation doesn't allow to reduce/replace reserved instance slots when the reservation is in active status.",
                ));
            }
            ReservationStatus::Active | ReservationStatus::Pending | ReservationStatus::Deleted => {}
        }
    }
    Ok(ReservationChange {
        reservation_id: reservation.id,
        resource: ResourceWish::Instance(wish.into()),
        on_end: instance::on_end(fields)?,
    })
}

/// Whether `staging` is missing or what the reservation has: clients send back what they were shown.
fn same_staging(fields: &Fields<'_>, version: Microversion, reservation: &Reservation) -> Result<bool, Problem> {
    let Some(given) = fields.object("staging")? else { return Ok(true) };
    let wish = create::staging(&given, version)?;
    let Some(Staging { window, park_margin_s }) = reservation.staging else { return Ok(false) };
    Ok(wish == StagingWish { start: Some(window.start), end: Some(window.end), park_margin_s })
}

fn conflict(code: &'static str, text: &str) -> Problem {
    answer::problem(StatusCode::CONFLICT, tonic::Code::FailedPrecondition, code, text.to_owned())
}
