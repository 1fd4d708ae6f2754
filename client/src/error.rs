//! Why a call did not give what was asked.

use leasehold_ledger::model::Seconds;
use serde::Deserialize;
use tonic::{Code, Status};

use crate::Key;
use crate::metadata;
use crate::token::TokenError;
use crate::wire::convert::BadValue;

/// A call's failure.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The server has decided: no. Nothing was changed, and the same request would be answered alike.
    #[error("{0}")]
    Refused(Refusal),
    /// Nothing was done: no server took the request until the deadline.
    #[error("no server took the request ({attempts} attempts, last: {last})")]
    Unavailable {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt met.
        last: String,
    },
    /// It may have been done: it was sent and no answer was seen until the deadline, or only one that does not hold for the
    /// attempts before (there was no room left, a right was revoked, the key has expired). Send it again with the same key, or look the key up.
    #[error("the outcome is not known ({attempts} attempts, last: {last}); {}", how_to_learn(.key))]
    OutcomeUnknown {
        /// The request's key; `None` for calls that have none.
        key: Option<Key>,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt met.
        last: String,
    },
    /// No token could be had.
    #[error("cannot get a token: {0}")]
    Token(#[from] TokenError),
    /// The server's answer cannot be understood; it is probably newer than this client. The request was carried out.
    #[error("the server's answer cannot be understood: {0}")]
    BadAnswer(#[from] BadValue),
    /// The client cannot be set up like this.
    #[error("{0}")]
    Setup(String),
}

fn how_to_learn(key: &Option<Key>) -> String {
    match key {
        Some(key) => format!("look up key {} (valid until {} ms)", key.id, key.valid_until.0),
        None => "look at the state before repeating it".to_owned(),
    }
}

/// A decided refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of which kind.
    pub kind: RefusalKind,
    /// Stable code, as `no_room`; empty when the server is not Leasehold's.
    pub code: String,
    /// For people.
    pub message: String,
    /// What would fit, where there was no room.
    pub offer: Option<Offer>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Kinds of refusal, as the error table has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Malformed or senseless input.
    Invalid,
    /// No token, or none that is valid.
    Unauthenticated,
    /// Not allowed.
    Forbidden,
    /// No such lease, host or compute host.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Wrong status, no room, key used with another request.
    Conflict,
    /// Too many live keys.
    TooMany,
    /// The server does not know the call: it is older than this client.
    Unimplemented,
    /// The server has a bug, or is not what it seems.
    Internal,
}

/// What would fit instead.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Offer {
    /// Which reservation of the request, from 0.
    pub reservation: usize,
    /// What goes beyond the quota of the project; `None` where it is room that lacks.
    #[serde(default)]
    pub quota: Option<Box<OfferedQuota>>,
    /// How many instances are short.
    pub short_by: u32,
    /// The class that binds most; `None` where it is the quota that binds.
    pub tightest: Option<String>,
    /// The largest amount that fits the same window.
    pub largest_amount: u32,
    /// Unix seconds of the earliest start at which all of it fits for as long (of the staging window, if `staging`).
    pub next_start: Option<i64>,
    /// Unix seconds of the end that goes with it; `None` also where there is none, and of a staging window.
    #[serde(default)]
    pub next_end: Option<i64>,
    /// Unix seconds of the latest end that was found with which all of it fits, where a later one was asked for a lease that has begun.
    #[serde(default)]
    pub latest_end: Option<i64>,
    /// It is a change for which no later start can be asked: of a lease that has begun, or one whose staging lacks room.
    #[serde(default)]
    pub start_is_fixed: bool,
    /// Which occurrence of a series it is about, from 1.
    #[serde(default)]
    pub occurrence: Option<u32>,
    /// With `preempt` it would be booked, and so many leases of a lower priority would give way; 0: it would not.
    #[serde(default)]
    pub preempts: u32,
    /// Only the staging window lacks room.
    pub staging: bool,
    /// Ledger index it was decided at.
    pub ledger_index: u64,
}

/// What goes beyond a quota.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OfferedQuota {
    /// Which limit: `slots`, `vcpus` or `vcpu_hours`.
    pub kind: String,
    /// How much of it the project may have.
    pub limit: u32,
    /// How much its other leases take, at the tightest moment.
    pub used: u64,
    /// How much the lease would take then; `None`: it would last without end.
    pub wanted: Option<u64>,
    /// Unix seconds of that moment; of a budget, of the begin of its period.
    pub at: Option<i64>,
    /// How much would fit.
    pub fits: u64,
}

impl Offer {
    /// [`Offer::next_start`] as a second of the calendar.
    pub fn next_start(&self) -> Option<Seconds> {
        Seconds::from_unix_s(self.next_start?)
    }

    /// [`Offer::next_end`] as a second of the calendar.
    pub fn next_end(&self) -> Option<Seconds> {
        Seconds::from_unix_s(self.next_end?)
    }

    /// [`Offer::latest_end`] as a second of the calendar.
    pub fn latest_end(&self) -> Option<Seconds> {
        Seconds::from_unix_s(self.latest_end?)
    }
}

impl Refusal {
    pub(crate) fn from_status(status: &Status) -> Refusal {
        let kind = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => RefusalKind::Invalid,
            Code::Unauthenticated => RefusalKind::Unauthenticated,
            Code::PermissionDenied => RefusalKind::Forbidden,
            Code::NotFound => RefusalKind::NotFound,
            Code::AlreadyExists => RefusalKind::AlreadyExists,
            Code::FailedPrecondition | Code::Aborted => RefusalKind::Conflict,
            Code::ResourceExhausted => RefusalKind::TooMany,
            Code::Unimplemented => RefusalKind::Unimplemented,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => RefusalKind::Internal,
        };
        let text = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
        Refusal {
            kind,
            code: text(metadata::REJECTION).unwrap_or_default().to_owned(),
            message: match status.message() {
                "" => format!("{:?}", status.code()),
                message => message.to_owned(),
            },
            // An offer that cannot be read is a newer server's; the message tells the same.
            offer: text(metadata::OFFER).and_then(|json| serde_json::from_str(json).ok()),
        }
    }
}
