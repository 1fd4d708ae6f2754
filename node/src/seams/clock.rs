//! Time. Monotonic time for every deadline and lease of power, wall time only to be stamped into the log by a leader
//! whose clock a majority agrees with (architecture D4).

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tokio::time::Instant;

/// A point on this process's monotonic clock: time since the clock was made. Meaningless to other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub Duration);

impl Mono {
    /// The point `d` later; saturates.
    #[must_use]
    pub fn after(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d))
    }

    /// The point `d` earlier; saturates at the start of the clock.
    #[must_use]
    pub fn before(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(d))
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The deadline passed before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

/// Time as one node sees it.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since this clock was made; never goes back.
    fn mono(&self) -> Mono;

    /// Wall time: UTC milliseconds since 1970. May jump either way.
    fn wall_ms(&self) -> u64;

    /// Completes `d` after the call, on the monotonic clock.
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()>;

    /// How far monotonic time has fallen behind the runtime's since this clock was made, because the machine stood still meanwhile.
    /// The runtime of a real machine stands still with it.
    fn stood_still(&self) -> Duration {
        Duration::ZERO
    }
}

impl dyn Clock {
    /// Completes when the monotonic clock reaches `at`; at once if it has.
    pub fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        self.sleep(at.since(self.mono()))
    }

    /// Runs `future` for at most `d`.
    ///
    /// # Errors
    /// [`Elapsed`] when `d` passed first; the future is then dropped, and what it asked of others may still happen.
    pub async fn timeout<F: Future>(&self, d: Duration, future: F) -> Result<F::Output, Elapsed> {
        let deadline = self.sleep(d);
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = deadline => Err(Elapsed),
        }
    }
}

/// The operating system's clocks. Waiting and monotonic time go through tokio, so a paused runtime pauses them too.
#[derive(Debug, Default)]
pub struct SystemClock {
    // Read at the first use, because a paused runtime's clock exists only inside that runtime.
    start: OnceLock<Instant>,
}

impl SystemClock {
    /// A clock whose monotonic zero is its first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        let now = Instant::now();
        Mono(now.saturating_duration_since(*self.start.get_or_init(|| now)))
    }

    fn wall_ms(&self) -> u64 {
        // A clock before 1970 reads as zero: far below every stored clock, so cluster time refuses to stamp it.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_on_the_paused_clock_and_a_ready_future_beats_it() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let began = clock.mono();
        let late = clock.timeout(Duration::from_secs(3), std::future::pending::<()>()).await;
        assert_eq!(late, Err(Elapsed));
        assert_eq!(clock.mono().since(began), Duration::from_secs(3));
        assert_eq!(clock.timeout(Duration::ZERO, std::future::ready(7)).await, Ok(7));
        clock.sleep_until(began.after(Duration::from_secs(10))).await;
        assert_eq!(clock.mono().since(began), Duration::from_secs(10));
        clock.sleep_until(began).await;
        assert_eq!(clock.mono().since(began), Duration::from_secs(10));
    }
}
