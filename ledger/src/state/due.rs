//! When a lease wants the clock to look at it. Derived, never stored or hashed.

use crate::model::{EventStatus, Lease, LeaseStatus, Seconds, Timestamp};

/// How long a lease may wait for its hold before `AdvanceClock` withdraws the creation or update (architecture D24).
pub const PREPARE_TIMEOUT_MS: u64 = 10_000;

/// When `AdvanceClock` has something to do for a lease: its next undone event, or the end of its patience for a hold.
/// While it waits for a hold its events wait too, at most [`PREPARE_TIMEOUT_MS`]. Those of an offer wait until it is claimed.
pub fn lease_due(lease: &Lease) -> Option<Timestamp> {
    if lease.deleted {
        return None;
    }
    let Some(expires_at) = lease.unclaimed_until() else { return next_of(lease) };
    let waits_for_hold = matches!(lease.status, LeaseStatus::Creating | LeaseStatus::Updating);
    let patience = next_of(lease).filter(|_| waits_for_hold);
    Some(patience.map_or(expires_at.timestamp(), |until| until.min(expires_at.timestamp())))
}

/// See [`lease_due`], of what is no offer.
fn next_of(lease: &Lease) -> Option<Timestamp> {
    match lease.status {
        LeaseStatus::Creating => Some(lease.created_at.plus_ms(PREPARE_TIMEOUT_MS)),
        // Nothing but the update itself moves `updated_at` while it waits.
        LeaseStatus::Updating => Some(lease.updated_at.unwrap_or(lease.created_at).plus_ms(PREPARE_TIMEOUT_MS)),
        LeaseStatus::Deleting => None,
        LeaseStatus::Waiting => lease.wait.as_ref().map(|wait| wait.until.timestamp()),
        LeaseStatus::Pending
        | LeaseStatus::Starting
        | LeaseStatus::Active
        | LeaseStatus::Terminating
        | LeaseStatus::Terminated
        | LeaseStatus::Error => lease
            .events
            .iter()
            .filter(|event| event.status == EventStatus::Undone && event.time != Seconds::OPEN_END)
            .map(|event| event.time.timestamp())
            .min(),
    }
}
