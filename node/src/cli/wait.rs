//! A word to people who wait.

use std::future::Future;
use std::io::IsTerminal;
use std::time::Duration;

use crate::seams::Clock;
use crate::seams::clock::SystemClock;

const SILENT: Duration = Duration::from_secs(2);

/// Runs `work`; when that takes more than two seconds, says on standard error what is waited for, and for how long.
pub(super) async fn with_progress<T>(waiting_for: &str, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let clock = SystemClock::new();
    let began = clock.mono();
    let mut work = std::pin::pin!(work);
    let mut told = false;
    loop {
        let tick = clock.sleep(if told { Duration::from_secs(1) } else { SILENT });
        tokio::select! {
            biased;
            done = &mut work => {
                if told {
                    // Clears the line.
                    eprint!("\r\x1b[K");
                }
                return done;
            }
            () = tick => {
                told = true;
                eprint!("\rwaiting for {waiting_for} … {} s ", clock.mono().since(began).as_secs());
            }
        }
    }
}
