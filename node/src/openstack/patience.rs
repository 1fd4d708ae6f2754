//! How long a call to the cloud may take, whichever service it goes to.

use std::time::Duration;

use http::Method;

/// What a call is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What only touches a database.
    Quick,
    /// Verbs for which Nova asks other services first, and lists that grow with the cloud.
    Slow,
}

/// Until a call is given up as unanswered where nothing else is configured.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// A part of the configured time, by what giving up early costs. A read is repeated for nothing, and much may wait for it;
/// a write that was given up may still be carried out.
pub(super) fn timeout(whole: Duration, method: &Method, kind: Kind) -> Duration {
    match kind {
        // Lists that grow with the cloud are slow without being lost: given up early, they would never be read.
        Kind::Slow => whole,
        Kind::Quick if method == Method::GET => whole / 6,
        Kind::Quick => whole / 2,
    }
}
