//! What the disk can do: appended 4 KiB and one `fdatasync` each, by one writer. No ledger that syncs is faster.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::{Figures, histogram, quantile_ms};

/// Writes and syncs for so long.
pub fn fdatasync(length: Duration) -> Result<Figures> {
    let mut file = tempfile::tempfile()?;
    let block = [7_u8; 4096];
    let (mut times, begun) = (histogram()?, Instant::now());
    while begun.elapsed() < length {
        let before = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.record(before.elapsed().as_micros() as u64)?;
    }
    Ok(Figures {
        clients: 1,
        calls: times.len(),
        per_second: times.len() as f64 / begun.elapsed().as_secs_f64(),
        p50_ms: quantile_ms(&times, 0.5),
        p99_ms: quantile_ms(&times, 0.99),
        max_ms: quantile_ms(&times, 1.0),
        errors: 0,
    })
}
