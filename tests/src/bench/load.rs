//! A closed-loop load: so many clients, each with its own connection, each sends its next call when the last is answered.
//! The same for us and for what stands beside us.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;

/// What a load has measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Clients at a time.
    pub clients: usize,
    /// Answered calls.
    pub calls: u64,
    /// Answered calls per second.
    pub per_second: f64,
    /// Half were answered within this time.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Calls that failed.
    pub errors: u64,
}

/// Times in microseconds, up to a minute.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Milliseconds of a quantile.
pub fn quantile_ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1000.0
}

/// Runs `clients` callers for `length` after a fifth of it to warm up. `make` gives each its connection, `call` is one call;
/// it gets a number that is different in every call of every client.
pub async fn closed_loop<C, F, Call>(
    clients: usize,
    length: Duration,
    make: impl Fn(usize) -> Result<C>,
    call: F,
) -> Result<Figures>
where
    C: Clone + Send + 'static,
    F: Fn(C, u64) -> Call + Clone + Send + 'static,
    Call: Future<Output = Result<()>> + Send + 'static,
{
    let begin = Instant::now() + length / 5;
    let end = begin + length;
    let mut callers = JoinSet::new();
    for client in 0..clients {
        let (connection, call) = (make(client)?, call.clone());
        callers.spawn(async move {
            let (mut times, mut errors, mut last) = (histogram()?, 0_u64, None);
            for n in 0_u64.. {
                let sent = Instant::now();
                if sent >= end {
                    break;
                }
                let answer = call(connection.clone(), ((client as u64) << 40) | n).await;
                if sent >= begin {
                    match answer {
                        Ok(()) => times.record(sent.elapsed().as_micros() as u64)?,
                        Err(error) => {
                            errors += 1;
                            last = Some(error);
                        }
                    }
                }
            }
            anyhow::Ok((times, errors, last))
        });
    }
    let (mut times, mut errors, mut last) = (histogram()?, 0, None);
    while let Some(caller) = callers.join_next().await {
        let (its, failed, why) = caller??;
        times.add(its)?;
        errors += failed;
        last = why.or(last);
    }
    if let Some(error) = last.filter(|_| times.is_empty()) {
        bail!("every call failed, at last: {error:#}");
    }
    Ok(Figures {
        clients,
        calls: times.len(),
        per_second: times.len() as f64 / length.as_secs_f64(),
        p50_ms: quantile_ms(&times, 0.5),
        p99_ms: quantile_ms(&times, 0.99),
        max_ms: quantile_ms(&times, 1.0),
        errors,
    })
}
