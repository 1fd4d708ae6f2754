//! How a call to the cloud fails, sorted by what the caller may conclude.

use std::time::Duration;

use crate::seams::HttpError;

/// Why a mutating call was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// This node's right to act has run out, or may have (architecture D6).
    #[error("this node may not act on the cloud any more")]
    NotLeading,
    /// The work is not wanted any more: its row was closed or superseded.
    #[error("the work was superseded")]
    Superseded,
    /// A call that nothing fences was to be sent without the logged actuation lease.
    #[error("the actuation lease is not held")]
    NoActuationLease,
}

/// A call that gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// No connection: certainly not carried out.
    #[error("{service} cannot be reached: {text}")]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// What the transport says.
        text: String,
    },
    /// Sent, and no whole answer seen: it may have been carried out, or may yet be.
    #[error("{service} gave no answer: {text}")]
    NoAnswer {
        /// Which service.
        service: &'static str,
        /// What the transport says.
        text: String,
    },
    /// An answer with an error status.
    #[error("{service} answered {status} to {call}: {text}")]
    Status {
        /// Which service.
        service: &'static str,
        /// Verb and path.
        call: String,
        /// HTTP status.
        status: u16,
        /// The service's own code, for example `placement.concurrent_update`; empty where it has none.
        code: String,
        /// Its text for people, shortened.
        text: String,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Keystone or a service refuses who we are, after one renewal of the token.
    #[error("not authorised: {0}")]
    Unauthorised(String),
    /// The answer is not what the pinned version promises. If the call was mutating it was carried out.
    #[error("{service} answered {call} with something unexpected: {text}")]
    Decode {
        /// Which service.
        service: &'static str,
        /// Verb and path.
        call: String,
        /// What did not fit.
        text: String,
    },
    /// Not sent.
    #[error(transparent)]
    Withheld(#[from] Withheld),
}

impl CloudError {
    pub(super) fn transport(service: &'static str, error: &HttpError) -> Self {
        let text = error.to_string();
        if error.surely_not_sent() { Self::Unreachable { service, text } } else { Self::NoAnswer { service, text } }
    }

    /// The status, if there was an answer with an error status.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Unauthorised(_) => Some(401),
            Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::Decode { .. } | Self::Withheld(_) => None,
        }
    }

    /// The service's own code, if it gave one.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Status { code, .. } => code,
            _ => "",
        }
    }

    /// The object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The object is not in the state the call needs, or was changed meanwhile: read and look again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Somebody else wrote first: read again and repeat.
    #[must_use]
    pub fn is_concurrent_update(&self) -> bool {
        self.is_conflict() && self.code() == "placement.concurrent_update"
    }

    /// Whether the call may have been carried out although it failed.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Decode { .. } => true,
            // 503 and 429 are given before the work; any other server error may come after it.
            Self::Status { status, .. } => *status >= 500 && *status != 503,
            Self::Unreachable { .. } | Self::Unauthorised(_) | Self::Withheld(_) => false,
        }
    }

    /// How long the service asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Not sent, for this reason.
    #[must_use]
    pub fn withheld(&self) -> Option<Withheld> {
        match self {
            Self::Withheld(why) => Some(*why),
            _ => None,
        }
    }
}
