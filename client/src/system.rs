//! The client's doors to the system: wall clock, randomness, waiting. A simulation puts its own in their place.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_ledger::model::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

/// Where keys, their validity and the spread of retries come from.
pub trait System: Send + Sync + 'static {
    /// Wall time.
    fn now(&self) -> Timestamp;
    /// 128 random bits.
    fn random(&self) -> u128;
}

/// The operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealSystem;

impl System for RealSystem {
    fn now(&self) -> Timestamp {
        // A clock before 1970 makes keys that have expired, which the server says.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn random(&self) -> u128 {
        Uuid::new_v4().as_u128()
    }
}

/// A point in time after which nothing is tried any more. Monotonic; pauses with tokio's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(duration: Duration) -> Deadline {
        Deadline(Instant::now() + duration)
    }

    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn passed(self) -> bool {
        self.left().is_zero()
    }
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// `None` when the time is up first.
pub(crate) async fn at_most<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(duration, future).await.ok()
}
