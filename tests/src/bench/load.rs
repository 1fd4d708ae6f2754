//! A closed-loop load: so many clients, each with its own connection, each sends its next call when the last is answered.
//! The same for us and for what stands beside us.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Barrier;
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

/// What one caller measured: times, failed calls, and how the last of those failed.
type Caller = (Histogram<u64>, u64, Option<anyhow::Error>);

/// Runs `clients` callers that make `calls` together, after one each to warm up: where what calls leave behind changes what they
/// take, their number is what has to be the same. Otherwise as [`closed_loop`].
///
/// # Errors
/// When every call fails.
pub async fn counted<C, F, Call>(clients: usize, calls: u64, make: impl Fn(usize) -> Result<C>, call: F) -> Result<Figures>
where
    C: Clone + Send + 'static,
    F: Fn(C, u64) -> Call + Clone + Send + 'static,
    Call: Future<Output = Result<()>> + Send + 'static,
{
    let (ready, each) = (Arc::new(Barrier::new(clients + 1)), calls.div_ceil(clients as u64));
    let mut callers = JoinSet::new();
    for client in 0..clients {
        let (connection, call, ready) = (make(client)?, call.clone(), ready.clone());
        callers.spawn(async move {
            let number = |n: u64| ((client as u64) << 40) | n;
            // A failure is one of all that follow, too, and counted there.
            drop(call(connection.clone(), number(0)).await);
            ready.wait().await;
            let (mut times, mut errors, mut last) = (histogram()?, 0_u64, None);
            for n in 1..=each {
                let sent = Instant::now();
                match call(connection.clone(), number(n)).await {
                    Ok(()) => times.record(sent.elapsed().as_micros() as u64)?,
                    Err(error) => {
                        errors += 1;
                        last = Some(error);
                    }
                }
            }
            anyhow::Ok((times, errors, last))
        });
    }
    ready.wait().await;
    let begin = Instant::now();
    gathered(clients, callers, |end| end - begin).await
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
    gathered(clients, callers, |_| length).await
}

/// What `clients` callers measured together, in the time that is to be taken for theirs: all began at one moment.
async fn gathered(
    clients: usize,
    mut callers: JoinSet<Result<Caller>>,
    length: impl FnOnce(Instant) -> Duration,
) -> Result<Figures> {
    let (mut times, mut errors, mut last) = (histogram()?, 0, None);
    while let Some(caller) = callers.join_next().await {
        let (its, failed, why) = caller??;
        times.add(its)?;
        errors += failed;
        last = why.or(last);
    }
    let length = length(Instant::now());
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
