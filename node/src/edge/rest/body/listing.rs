//! The queries of listings (1.1; 1.0 has none, as Blazar), and what listed leases reserve.

use std::collections::BTreeSet;

use leasehold_ledger::listing::{
    AllocationFilter, DowntimeListing, DowntimeName, DowntimeOrder, ELEMENTS_MAX, Element, HostListing, HostOrder, LeaseFilter,
    LeaseOrder, QuotaListing, ReservedName, ReservedPage, Scope, Utilisation, UtilisationWish,
};
use leasehold_ledger::model::{HostId, Interval, LeaseId, LeaseStatus, LimitKind, ProjectId, ReservationId, Seconds, SeriesId};
use leasehold_ledger::plan::STEPS_MAX;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::capacity::{dated, sums};
use super::dates::{self, Given};
use super::query::{HOST_KEYS, host_filter, hosts, items, object};
use super::{Fields, create, shown};
use crate::edge::error::Problem;
use crate::edge::rest::microversion::Microversion;

/// Keys that say which leases.
const LEASE_KEYS: [&str; 11] =
    ["project_id", "status", "name", "zone", "series_id", "start_date", "end_date", "scope", "with_any", "with_all", "without"];
/// Keys that say in which order, and which page.
const PAGE_KEYS: [&str; 4] = ["sort_key", "sort_dir", "marker", "limit"];
/// Keys that say which hosts are listed, and how.
const LISTED_HOST_KEYS: [&[&str]; 3] = [&HOST_KEYS, &["reservable"], &PAGE_KEYS];
/// Keys that say of which time something is listed.
const TIME_KEYS: [&str; 2] = ["start_date", "end_date"];
/// Keys that say which reservations are shown of hosts.
const ALLOCATION_KEYS: [&[&str]; 2] = [&["lease_id", "reservation_id"], &TIME_KEYS];
/// Elements of a page at most.
const LIMIT_MAX: u32 = 10_000;
const LEASE_ORDERS: [(&str, LeaseOrder); 6] = [
    ("id", LeaseOrder::Id),
    ("name", LeaseOrder::Name),
    ("status", LeaseOrder::Status),
    ("start_date", LeaseOrder::Start),
    ("end_date", LeaseOrder::End),
    ("created_at", LeaseOrder::CreatedAt),
];
const HOST_ORDERS: [(&str, HostOrder); 3] =
    [("id", HostOrder::Id), ("hypervisor_hostname", HostOrder::Name), ("availability_zone", HostOrder::Zone)];
const DOWNTIME_ORDERS: [(&str, DowntimeOrder); 3] =
    [("id", DowntimeOrder::Id), ("start_date", DowntimeOrder::Start), ("end_date", DowntimeOrder::End)];
const SCOPES: [(&str, Scope); 3] =
    [("overlapping", Scope::Overlapping), ("inclusive", Scope::Inclusive), ("exclusive", Scope::Exclusive)];

/// Reads `GET /v1/leases`.
pub fn lease_filter(query: Vec<(String, String)>, version: Microversion) -> Result<LeaseFilter, Problem> {
    if version < Microversion::V1_1 {
        return Ok(LeaseFilter::default());
    }
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&LEASE_KEYS[..], &PAGE_KEYS].concat(), &[])?;
    let window = window(&fields, version)?;
    let scope = fields.word("scope", &SCOPES)?;
    if scope.is_some() && window.is_none() {
        return Err(Problem::malformed(
            "scope says how leases lie to a window, and there is none: give start_date or end_date, too",
        ));
    }
    let (descending, limit) = page(&fields)?;
    Ok(LeaseFilter {
        window: window.map(|window| (window, scope.unwrap_or_default())),
        order: fields.word("sort_key", &LEASE_ORDERS)?.unwrap_or_default(),
        descending,
        after: marker(&fields, "the id of the last lease of the page before", |text| text.parse().ok().map(LeaseId))?,
        limit,
        ..which(&fields)?
    })
}

/// Reads `GET /v1/leases/utilisation`: the keys of a listing, of which the dates are the window that is looked at. `scope` says how
/// the leases lie to it that count; of those that overlap it, staging windows do as well.
pub fn utilisation_wish(query: Vec<(String, String)>, version: Microversion) -> Result<UtilisationWish, Problem> {
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&LEASE_KEYS[..], &["steps"]].concat(), &[])?;
    fields.require(&["start_date", "end_date"])?;
    let window = window(&fields, version)?.ok_or_else(|| Problem::malformed("Missing parameter start_date, end_date"))?;
    let scope = fields.word("scope", &SCOPES)?.filter(|scope| *scope != Scope::Overlapping);
    let filter = LeaseFilter { window: scope.map(|scope| (window, scope)), ..which(&fields)? };
    Ok(UtilisationWish { filter, window, steps_max: fields.whole("steps", 1, STEPS_MAX)?.unwrap_or(1) })
}

/// Reads `GET /v1/os-hosts`.
pub fn host_listing(query: Vec<(String, String)>, version: Microversion) -> Result<HostListing, Problem> {
    if version < Microversion::V1_1 {
        return Ok(HostListing::default());
    }
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &LISTED_HOST_KEYS.concat(), &[])?;
    listed_hosts(&fields)
}

/// Which hosts, in which order, and which page of them, by [`LISTED_HOST_KEYS`].
fn listed_hosts(fields: &Fields<'_>) -> Result<HostListing, Problem> {
    let (descending, limit) = page(fields)?;
    Ok(HostListing {
        filter: host_filter(fields)?,
        reservable: fields.word("reservable", &[("true", true), ("false", false)])?,
        order: fields.word("sort_key", &HOST_ORDERS)?.unwrap_or_default(),
        descending,
        after: marker(fields, "the number of the last host of the page before", host_id)?,
        limit,
    })
}

/// Reads `GET /v1/os-hosts/downtimes`.
pub fn downtime_listing(query: Vec<(String, String)>, version: Microversion) -> Result<DowntimeListing, Problem> {
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&["hosts"][..], &TIME_KEYS, &PAGE_KEYS].concat(), &[])?;
    Ok(DowntimeListing {
        hosts: hosts(&fields)?.unwrap_or_default(),
        after: marker(&fields, "host and id of the last downtime of the page before, as HOST/UUID", |text| text.parse().ok())?,
        ..downtimes(&fields, version, DowntimeOrder::Id)?
    })
}

/// Reads `GET /v1/os-hosts/{id}/downtimes`, which come by begin unless another order is asked for.
pub fn host_downtimes(host: HostId, query: Vec<(String, String)>, version: Microversion) -> Result<DowntimeListing, Problem> {
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&TIME_KEYS[..], &PAGE_KEYS].concat(), &[])?;
    let right = format!("the id of the last downtime of the page before, as UUID or {host}/UUID");
    let alone = |text: &str| Some(DowntimeName { host_id: host, id: text.parse().ok()? });
    // As the list over all hosts has it.
    let named = |text: &str| text.parse().ok().filter(|name: &DowntimeName| name.host_id == host);
    let after = marker(&fields, &right, |text| alone(text).or_else(|| named(text)))?;
    Ok(DowntimeListing { host_id: Some(host), after, ..downtimes(&fields, version, DowntimeOrder::Start)? })
}

/// At which time, in which order (`order` unless it is said), and how many.
fn downtimes(fields: &Fields<'_>, version: Microversion, order: DowntimeOrder) -> Result<DowntimeListing, Problem> {
    let (descending, limit) = page(fields)?;
    let order = fields.word("sort_key", &DOWNTIME_ORDERS)?.unwrap_or(order);
    Ok(DowntimeListing { window: window(fields, version)?, order, descending, limit, ..DowntimeListing::default() })
}

/// Reads `GET /v1/quotas`.
pub fn quota_listing(query: Vec<(String, String)>, version: Microversion) -> Result<QuotaListing, Problem> {
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&["set"][..], &PAGE_KEYS].concat(), &[])?;
    let right = format!("must be kinds of limits separated by commas, of {}", LimitKind::ALL.map(LimitKind::as_str).join(", "));
    // The one order that there is.
    fields.word("sort_key", &[("project_id", ())])?;
    let (descending, limit) = page(&fields)?;
    Ok(QuotaListing {
        set: items(&fields, "set", LimitKind::ALL.len(), &right, LimitKind::named)?.unwrap_or_default(),
        descending,
        after: marker(&fields, "the id of the last project of the page before", |text| Some(ProjectId(text.into())))?,
        limit,
    })
}

/// Reads `GET /v1/os-hosts/allocations`.
pub fn allocation_listing(query: Vec<(String, String)>, version: Microversion) -> Result<AllocationFilter, Problem> {
    if version < Microversion::V1_1 {
        return blazars_allocations(query);
    }
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&ALLOCATION_KEYS[..], &LISTED_HOST_KEYS].concat().concat(), &[])?;
    Ok(AllocationFilter { hosts: listed_hosts(&fields)?, ..allocations(&fields, version)? })
}

/// Reads `GET /v1/os-hosts/{id}/allocation`, whose pages are of what is reserved.
pub fn host_allocation(host: HostId, query: Vec<(String, String)>, version: Microversion) -> Result<AllocationFilter, Problem> {
    if version < Microversion::V1_1 {
        return Ok(AllocationFilter { host_id: Some(host), ..blazars_allocations(query)? });
    }
    let object = object(query)?;
    let fields = Fields::of_object(&object);
    fields.refuse_others(version, &[&ALLOCATION_KEYS.concat()[..], &["sort_dir", "limit", "marker"]].concat(), &[])?;
    let (descending, limit) = page(&fields)?;
    let right = "start_date and id of the last reservation of the page before, as 2027-01-31T14:00:00/UUID";
    let after = marker(&fields, right, |text| reserved_name(text, version))?;
    let page = ReservedPage { descending, after, limit };
    Ok(AllocationFilter { host_id: Some(host), page, ..allocations(&fields, version)? })
}

fn reserved_name(text: &str, version: Microversion) -> Option<ReservedName> {
    let (start, id) = text.split_once('/')?;
    let Ok(Given::At { unix_s, .. }) = dates::parse(start, version) else { return None };
    Some(ReservedName { start: Seconds::from_unix_s(unix_s)?, reservation_id: id.parse().ok()? })
}

/// As Blazar: what is no UUID names nothing, and so does the nil UUID. Keys that are not known are ignored.
fn blazars_allocations(query: Vec<(String, String)>) -> Result<AllocationFilter, Problem> {
    let object = object(query)?;
    let id = |key: &str| object.get(key).map(|text| text.as_str().and_then(|text| text.parse().ok()).unwrap_or(Uuid::nil()));
    Ok(AllocationFilter {
        lease_id: id("lease_id").map(LeaseId),
        reservation_id: id("reservation_id").map(ReservationId),
        ..AllocationFilter::default()
    })
}

fn allocations(fields: &Fields<'_>, version: Microversion) -> Result<AllocationFilter, Problem> {
    Ok(AllocationFilter {
        window: window(fields, version)?,
        lease_id: id(fields, "lease_id", "a lease")?.map(LeaseId),
        reservation_id: id(fields, "reservation_id", "a reservation")?.map(ReservationId),
        ..AllocationFilter::default()
    })
}

/// Which leases, whenever they are.
fn which(fields: &Fields<'_>) -> Result<LeaseFilter, Problem> {
    let known: Vec<&str> = LeaseStatus::ALL.iter().map(|status| status.as_str()).collect();
    let right = format!("must be statuses separated by commas, of {}", known.join(", "));
    let status = |text: &str| LeaseStatus::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text));
    Ok(LeaseFilter {
        project_id: fields.text("project_id")?.map(|id| ProjectId(id.into())),
        statuses: items(fields, "status", LeaseStatus::ALL.len(), &right, status)?.unwrap_or_default(),
        name: fields.text("name")?.map(str::to_owned),
        zone: fields.text("zone")?.map(str::to_owned),
        series: id(fields, "series_id", "a series")?.map(SeriesId),
        with_any: elements(fields, "with_any")?,
        with_all: elements(fields, "with_all")?,
        without: elements(fields, "without")?,
        ..LeaseFilter::default()
    })
}

/// `what` it is the UUID of.
fn id(fields: &Fields<'_>, key: &str, what: &str) -> Result<Option<Uuid>, Problem> {
    let Some(value) = fields.get(key) else { return Ok(None) };
    let read = value.as_str().and_then(|text| text.parse().ok());
    read.ok_or_else(|| fields.wrong(key, value, &format!("must be the UUID of {what}"))).map(Some)
}

fn elements(fields: &Fields<'_>, key: &str) -> Result<BTreeSet<Element>, Problem> {
    let right = format!(
        "must be at most {ELEMENTS_MAX} numbers of hosts (3 or host:3), UUIDs (of reservations, flavors, server groups, adopted servers) \
         and ids of flavors (flavor:m1.large), separated by commas"
    );
    Ok(items(fields, key, ELEMENTS_MAX, &right, |text| text.parse().ok())?.unwrap_or_default())
}

fn host_id(text: &str) -> Option<HostId> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(HostId)).flatten()
}

/// `start_date` and `end_date`; one of them alone is open at the other side, and without both there is no window.
fn window(fields: &Fields<'_>, version: Microversion) -> Result<Option<Interval>, Problem> {
    if !fields.has("start_date") && !fields.has("end_date") {
        return Ok(None);
    }
    let start = match fields.has("start_date") {
        true => create::some_second(fields, "start_date", version)?,
        false => Seconds(0),
    };
    let end = match fields.has("end_date") {
        true => create::some_second(fields, "end_date", version)?,
        false => Seconds::OPEN_END,
    };
    let given = |key| fields.get(key).unwrap_or(&Value::Null);
    let wrong =
        || fields.wrong("end_date", given("end_date"), &format!("must be later than start_date, {}", shown(given("start_date"))));
    Interval::new(start, end).ok_or_else(wrong).map(Some)
}

/// Whether it is the other way round, and how many.
fn page(fields: &Fields<'_>) -> Result<(bool, Option<u32>), Problem> {
    let descending = fields.word("sort_dir", &[("asc", false), ("desc", true)])?.unwrap_or_default();
    Ok((descending, fields.whole("limit", 1, LIMIT_MAX)?))
}

fn marker<T>(fields: &Fields<'_>, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    let Some(value) = fields.get("marker") else { return Ok(None) };
    let read = value.as_str().and_then(read);
    read.ok_or_else(|| fields.wrong("marker", value, &format!("must be {what}"))).map(Some)
}

/// What listed leases reserve over time.
pub fn utilisation(utilisation: &Utilisation) -> Value {
    let ends = utilisation.steps.iter().skip(1).map(|step| step.start).chain([utilisation.window.end]);
    let steps = utilisation.steps.iter().zip(ends).map(|(step, end)| {
        let mut shown: Map<String, Value> = dated(Interval { start: step.start, end });
        shown.insert("reserved".to_owned(), sums(step.reserved));
        Value::Object(shown)
    });
    let mut shown = dated(utilisation.window);
    shown.insert("leases".to_owned(), json!(utilisation.leases));
    shown.insert("steps".to_owned(), steps.collect());
    Value::Object(shown)
}
