//! The one error table: every failure of an operation or of authentication, with its gRPC code, its HTTP status and whether
//! the same request may be sent again (style.md "Errors"). Matched without a wildcard, so a new variant does not compile
//! until it has a row here. `grpc/status.rs` and `rest/` turn a [`Problem`] into what goes over the wire.

use http::StatusCode;
use leasehold_ledger::model::{Excess, Seconds};
use leasehold_ledger::plan::NoRoom;
use leasehold_ledger::reply::Rejection;
use serde::Serialize;
use tonic::Code;

use super::auth::AuthError;
use crate::operations::{OperationError, Unavailable};

/// Whether a client may send the same request, with the same request id, again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would be answered alike.
    No,
    /// Nothing was proposed, or its outcome is unknown and the key keeps it from happening twice.
    SameKey,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// For gRPC.
    pub grpc: Code,
    /// For REST. Blazar's where Blazar has the case (blazar-api §3), improved only where §17 allows.
    pub http: StatusCode,
    /// May it be sent again.
    pub retry: Retry,
    /// For programs: stable, snake case. Sent as metadata `leasehold-rejection`.
    pub code: &'static str,
}

/// A failure as both edges tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Statuses and code.
    pub row: Row,
    /// For people: Blazar's text where Blazar has the case, then what would help.
    pub message: String,
    /// What would fit, when there was no room or the quota does not allow it.
    pub offer: Option<Offer>,
}

/// [`NoRoom`] as both edges tell it, in JSON (metadata `leasehold-offer` on gRPC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Which reservation of the request, from 0.
    pub reservation: usize,
    /// What goes beyond the quota of the project; absent where it is room that lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<OfferedQuota>,
    /// How many instances are short.
    pub short_by: u32,
    /// The class that binds most: `VCPU`, `MEMORY_MB`, `DISK_GB` or `SLOT`; `None` where it is the quota that binds.
    pub tightest: Option<&'static str>,
    /// The largest amount that fits the same window.
    pub largest_amount: u32,
    /// Unix seconds of the earliest start at which all of it fits for as long (of the staging window, if `staging`).
    pub next_start: Option<u64>,
    /// Unix seconds of the end that goes with it; absent also where there is none, and of a staging window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_end: Option<u64>,
    /// Unix seconds of the latest end that was found with which all of it fits, where a later one was asked for a lease that has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_end: Option<u64>,
    /// It is a change for which no later start can be asked: of a lease that has begun, or one whose staging lacks room.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub start_is_fixed: bool,
    /// Which occurrence of a series it is about, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<u32>,
    /// With `preempt` it would be booked, and so many leases of a lower priority would give way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preempts: Option<u32>,
    /// Which; only a question of an admin is answered with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preempts_leases: Vec<String>,
    /// Only the staging window lacks room.
    pub staging: bool,
    /// Ledger index it was decided at.
    pub ledger_index: u64,
}

/// [`Excess`] as both edges tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfferedQuota {
    /// Which limit: `slots`, `vcpus` or `vcpu_hours`.
    pub kind: &'static str,
    /// How much of it the project may have.
    pub limit: u32,
    /// How much its other leases take, at the tightest moment.
    pub used: u64,
    /// How much the lease would take then; `None`: it would last without end.
    pub wanted: Option<u64>,
    /// Unix seconds of that moment; of a budget, of the begin of its period.
    pub at: Option<u64>,
    /// How much would fit.
    pub fits: u64,
}

const fn row(grpc: Code, http: StatusCode, retry: Retry, code: &'static str) -> Row {
    Row { grpc, http, retry, code }
}

/// Malformed input.
const fn malformed(code: &'static str) -> Row {
    row(Code::InvalidArgument, StatusCode::BAD_REQUEST, Retry::No, code)
}

/// Well-formed, but not in this status; Blazar calls these 400.
const fn too_late(code: &'static str) -> Row {
    row(Code::FailedPrecondition, StatusCode::BAD_REQUEST, Retry::No, code)
}

/// Well-formed, but the ledger or the cloud stands otherwise.
const fn conflict(code: &'static str) -> Row {
    row(Code::FailedPrecondition, StatusCode::CONFLICT, Retry::No, code)
}

/// Names something that is not there.
const fn not_found(code: &'static str) -> Row {
    row(Code::NotFound, StatusCode::NOT_FOUND, Retry::No, code)
}

/// Not proposed.
const fn unavailable(code: &'static str) -> Row {
    row(Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, Retry::SameKey, code)
}

/// As Blazar answers a lease that its enforcement refuses; the way out is another wish or another quota.
const QUOTA_EXCEEDED: Row = row(Code::FailedPrecondition, StatusCode::FORBIDDEN, Retry::No, "quota_exceeded");

impl Problem {
    /// Input that could not be decoded. `message` names the field, its value and what would be right.
    pub fn malformed(message: impl Into<String>) -> Problem {
        Problem { row: malformed("malformed"), message: message.into(), offer: None }
    }

    /// What this version does not do. `message` says what it does instead.
    pub fn not_implemented(message: impl Into<String>) -> Problem {
        let row = row(Code::Unimplemented, StatusCode::NOT_IMPLEMENTED, Retry::No, "not_implemented");
        Problem { row, message: message.into(), offer: None }
    }
}

impl From<&OperationError> for Problem {
    fn from(error: &OperationError) -> Problem {
        let plain = |row: Row| Problem { row, message: error.to_string(), offer: None };
        match error {
            OperationError::Rejected(rejection) => plain(of_rejection(rejection)),
            OperationError::NoRoom { offer, ledger_index, not_waiting } => {
                let (row, what) = match &offer.quota {
                    Some(excess) => (QUOTA_EXCEEDED, format!("{excess}; {}", ways(offer))),
                    None => (conflict("no_room"), format!("Not enough hosts available: {}; {}", shortage(offer), ways(offer))),
                };
                let why = not_waiting.as_ref().map(|why| format!("; it does not wait: {why}")).unwrap_or_default();
                Problem { row, message: format!("{what}{why}"), offer: Some(Offer::new(offer, *ledger_index)) }
            }
            OperationError::TooOld { .. } => plain(row(Code::OutOfRange, StatusCode::GONE, Retry::No, "changes_forgotten")),
            OperationError::Forbidden { .. } => plain(row(Code::PermissionDenied, StatusCode::FORBIDDEN, Retry::No, "forbidden")),
            OperationError::ComputeHostNotFound(_) => plain(not_found("compute_host_not_found")),
            OperationError::FlavorNotFound(_) => plain(not_found("flavor_not_found")),
            OperationError::Conflict(_) => plain(conflict("conflict")),
            OperationError::HoldRefused(_) => plain(conflict("hold_refused")),
            OperationError::CloudUnavailable(_) => plain(unavailable("cloud_unavailable")),
            OperationError::Unavailable(unavailable) => plain(of_unavailable(unavailable)),
            OperationError::Unknown => {
                plain(row(Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, Retry::SameKey, "outcome_unknown"))
            }
            OperationError::Internal(_) => plain(row(Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, Retry::No, "internal")),
        }
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Problem {
        Problem::from(&error)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Problem {
        let row = match &error {
            AuthError::Missing => row(Code::Unauthenticated, StatusCode::UNAUTHORIZED, Retry::No, "token_missing"),
            AuthError::Invalid => row(Code::Unauthenticated, StatusCode::UNAUTHORIZED, Retry::No, "token_invalid"),
            AuthError::Unavailable(_) => unavailable("keystone_unavailable"),
        };
        Problem { row, message: error.to_string(), offer: None }
    }
}

fn of_rejection(rejection: &Rejection) -> Row {
    match rejection {
        Rejection::EndNotAfterStart => malformed("end_not_after_start"),
        Rejection::StartInPast => malformed("start_in_past"),
        Rejection::EndInPast => malformed("end_in_past"),
        Rejection::AlreadyStarted => too_late("already_started"),
        Rejection::AlreadyEnded => too_late("already_ended"),
        Rejection::BeforeEndOutside => row(Code::InvalidArgument, StatusCode::FORBIDDEN, Retry::No, "before_end_outside"),
        Rejection::EndBeyondCalendar => malformed("end_beyond_calendar"),
        Rejection::Invalid { .. } => malformed("invalid"),
        Rejection::StagingOutside { .. } => malformed("staging_outside"),
        // Operations plan again and answer `Busy`; one that slips through is as good as not proposed (architecture D2).
        Rejection::PlanStale { .. } => unavailable("plan_stale"),
        Rejection::QuotaExceeded(_) => QUOTA_EXCEEDED,
        Rejection::LeaseNotFound(_) => not_found("lease_not_found"),
        Rejection::SeriesNotFound(_) => not_found("series_not_found"),
        Rejection::ReservationNotFound(_) => malformed("reservation_not_found"),
        Rejection::WrongStatus { .. } => conflict("wrong_status"),
        Rejection::NotAnOffer(_) => conflict("not_an_offer"),
        // It is as good as gone: the clock drops it.
        Rejection::OfferExpired(_) => not_found("offer_expired"),
        Rejection::OfferUnclaimed(_) => conflict("offer_unclaimed"),
        Rejection::TooManyWaiting { .. } => {
            row(Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, Retry::No, "too_many_waiting")
        }
        Rejection::CannotUpdate { .. } => conflict("cannot_update"),
        Rejection::HostNotFound(_) => not_found("host_not_found"),
        Rejection::DowntimeNotFound { .. } => not_found("downtime_not_found"),
        Rejection::UpgradeNotFound(_) => not_found("upgrade_not_found"),
        Rejection::HostExists(_) => row(Code::AlreadyExists, StatusCode::CONFLICT, Retry::No, "host_exists"),
        Rejection::HostInUse(_) => conflict("host_in_use"),
        Rejection::PropertyInUse { .. } => conflict("property_in_use"),
        // Only the leader's own commands meet this one.
        Rejection::ActuationNotOpen(_) => row(Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, Retry::No, "actuation_not_open"),
        Rejection::RequestIdReused => conflict("request_id_reused"),
        Rejection::KeyExpired => conflict("key_expired"),
        Rejection::KeyForgotten => conflict("key_forgotten"),
        Rejection::TooManyKeys(_) => row(Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, Retry::No, "too_many_keys"),
        Rejection::ClusterInitialised => conflict("cluster_initialised"),
        // Its key was cleared with it: the same key may apply now (architecture D24).
        Rejection::Withdrawn(_) => unavailable("withdrawn"),
    }
}

fn of_unavailable(reason: &Unavailable) -> Row {
    match reason {
        Unavailable::NoLeader => unavailable("no_leader"),
        Unavailable::NoQuorum => unavailable("no_quorum"),
        Unavailable::ClockDisagrees => unavailable("clock_disagrees"),
        Unavailable::DiskBehind => unavailable("disk_behind"),
        Unavailable::Stopping => unavailable("stopping"),
        Unavailable::Busy => unavailable("busy"),
        Unavailable::Overloaded => unavailable("overloaded"),
        Unavailable::RightsChanged => unavailable("rights_changed"),
        Unavailable::Withdrawn(_) => unavailable("withdrawn"),
    }
}

impl Offer {
    /// Decided at this index.
    pub fn new(no_room: &NoRoom, ledger_index: u64) -> Offer {
        Offer {
            reservation: no_room.reservation,
            quota: no_room.quota.as_ref().map(OfferedQuota::new),
            short_by: no_room.short_by,
            tightest: no_room.tightest.map(|class| class.name()),
            largest_amount: no_room.largest_amount,
            next_start: no_room.next_start.map(Seconds::unix_s),
            next_end: no_room.next_end.map(Seconds::unix_s),
            latest_end: no_room.latest_end.map(Seconds::unix_s),
            start_is_fixed: no_room.start_is_fixed,
            occurrence: no_room.occurrence,
            preempts: Some(no_room.preempts.count).filter(|count| *count > 0),
            preempts_leases: no_room.preempts.leases.iter().map(ToString::to_string).collect(),
            staging: no_room.staging,
            ledger_index,
        }
    }
}

impl OfferedQuota {
    fn new(excess: &Excess) -> OfferedQuota {
        let Excess { kind, limit, used, wanted, at, fits } = *excess;
        OfferedQuota { kind: kind.as_str(), limit, used, wanted, at: at.map(Seconds::unix_s), fits }
    }
}

/// What is missing.
fn shortage(no_room: &NoRoom) -> String {
    let whose = if no_room.staging { "the staging window of reservation" } else { "reservation" };
    let tightest = no_room.tightest.map(|class| format!(" ({} is the tightest)", class.name())).unwrap_or_default();
    let of = no_room.occurrence.map(|number| format!(" of occurrence {number}")).unwrap_or_default();
    format!("{whose} {}{of} is {} instances short{tightest}", no_room.reservation, no_room.short_by)
}

/// What would fit.
fn ways(no_room: &NoRoom) -> String {
    let of_series = no_room.occurrence.is_some();
    let mut text = match no_room.largest_amount {
        0 if of_series => "with none of it the series fits".to_owned(),
        amount if of_series => format!("with amount {amount} the series fits"),
        0 => "none fits this window".to_owned(),
        amount => format!("amount {amount} fits this window"),
    };
    match no_room.next_start.and_then(utc) {
        Some(start) => text += &format!("; all of it fits from {start}"),
        None if no_room.start_is_fixed => {
            if let Some(end) = no_room.latest_end.and_then(utc) {
                text += &format!("; all of it fits until {end}");
            }
        }
        None => text += "; no later start was found",
    }
    if no_room.preempts.count > 0 {
        text += &format!("; with preempt it fits, and the number of leases that give way is {}", no_room.preempts.count);
    }
    text
}

fn utc(second: Seconds) -> Option<String> {
    let time = chrono::DateTime::from_timestamp(i64::try_from(second.unix_s()).ok()?, 0)?;
    Some(time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
