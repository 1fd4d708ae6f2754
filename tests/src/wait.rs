//! Waiting on conditions instead of sleeping: ends as soon as the condition holds, and says what it last saw if it never does.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value. An `Err` says why it is not there yet; the last one is told when the time is up.
pub async fn wait_for<T, F, Look>(what: &str, within: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Look,
    Look: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= deadline => bail!("waited {within:?} for {what}; at last: {last}"),
            Err(_) => tokio::time::sleep(PERIOD).await,
        }
    }
}

/// The wall clock, ms since 1970.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Sleeps until the wall clock shows `at_ms`.
pub async fn until_ms(at_ms: u64) {
    // The timer may be early by its resolution, and the wall clock may be set back: look again.
    while let Some(rest) = at_ms.checked_sub(wall_ms()).filter(|rest| *rest > 0) {
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
}
