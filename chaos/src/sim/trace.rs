//! What happened, as one hash: two runs are the same run when their hashes are equal.

use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::record::{Finding, Incident};

/// The start of the run as Unix time: 2026-01-01T00:00:00Z. A simulated run has no other date.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// Everything that happens is told here, in order.
pub struct Trace {
    start: Instant,
    inner: Mutex<Inner>,
    print: bool,
}

struct Inner {
    hash: Xxh3,
    events: u64,
    incidents: Vec<Incident>,
    findings: Vec<Finding>,
}

impl Trace {
    /// Begins now. With `print` every event is a line on standard error.
    pub fn new(print: bool) -> Trace {
        let inner = Inner { hash: Xxh3::new(), events: 0, incidents: Vec::new(), findings: Vec::new() };
        Trace { start: Instant::now(), inner: Mutex::new(inner), print }
    }

    /// True time since the start, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// True time as Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        EPOCH_MS + self.now_ns() / 1_000_000
    }

    /// Something happened.
    pub fn note(&self, what: &str, from: u64, to: u64, number: u64) {
        let now = self.now_ns();
        let mut inner = self.inner.lock();
        inner.events += 1;
        inner.hash.update(what.as_bytes());
        for word in [now, from, to, number] {
            inner.hash.update(&word.to_le_bytes());
        }
        if self.print {
            eprintln!("{:>14.6} {what} {from}>{to} {number}", now as f64 / 1e9);
        }
    }

    /// Something happened to the cluster, and is kept.
    pub fn incident(&self, node: Option<u64>, what: &str, text: impl Into<String>) {
        let text = text.into();
        self.note(what, node.unwrap_or(0), 0, xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        if self.print {
            eprintln!("               {what} {node:?} {text}");
        }
        let at_ns = self.now_ns();
        self.inner.lock().incidents.push(Incident { at_ns, node, what: what.to_owned(), text });
    }

    /// A property did not hold.
    pub fn finding(&self, check: &str, text: impl Into<String>) {
        let text = text.into();
        self.note("finding", 0, 0, xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        tracing::error!(check, text, "a property does not hold");
        let at_ns = self.now_ns();
        self.inner.lock().findings.push(Finding { at_ns, check: check.to_owned(), text });
    }

    /// The hash so far, and how many events are in it.
    pub fn digest(&self) -> (String, u64) {
        let inner = self.inner.lock();
        (format!("{:032x}", inner.hash.digest128()), inner.events)
    }

    /// What was kept.
    pub fn kept(&self) -> (Vec<Incident>, Vec<Finding>) {
        let inner = self.inner.lock();
        (inner.incidents.clone(), inner.findings.clone())
    }
}
