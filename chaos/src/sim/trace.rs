//! What happened, as one hash: two runs are the same run when their hashes are equal.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::diagram::{Diagram, View};
use crate::record::{Finding, Incident};

/// The start of the run as Unix time: 2026-01-01T00:00:00Z. A simulated run has no other date.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// Everything that happens is told here, in order.
pub struct Trace {
    start: Instant,
    inner: Mutex<Inner>,
    diagram: Option<Mutex<Diagram>>,
}

struct Inner {
    hash: Xxh3,
    events: u64,
    incidents: Vec<Incident>,
    findings: Vec<Finding>,
    /// Nodes whose disks do not obey them.
    diskless: BTreeSet<u64>,
}

impl Trace {
    /// Begins now. With `print` what happens to a cluster of so many nodes is drawn on standard error.
    pub fn new(print: Option<View>, nodes: u32) -> Trace {
        let inner =
            Inner { hash: Xxh3::new(), events: 0, incidents: Vec::new(), findings: Vec::new(), diskless: BTreeSet::new() };
        let diagram = print.map(|view| Mutex::new(Diagram::new(view, nodes)));
        Trace { start: Instant::now(), inner: Mutex::new(inner), diagram }
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
        self.tell(what, from, to, number, "");
    }

    /// Something happened; `detail` is for the reader only.
    pub fn tell(&self, what: &str, from: u64, to: u64, number: u64, detail: &str) {
        let now = self.now_ns();
        let mut inner = self.inner.lock();
        inner.events += 1;
        inner.hash.update(what.as_bytes());
        // At once: an hour has millions of these.
        let mut words = [0; 32];
        for (place, word) in words.chunks_exact_mut(8).zip([now, from, to, number]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        inner.hash.update(&words);
        drop(inner);
        self.draw(|diagram| diagram.mark(now, what, from, to, detail));
    }

    /// What [`tell`](Self::tell) is to say; empty when nobody reads it.
    pub fn detail(&self, text: impl FnOnce() -> String) -> String {
        if self.diagram.is_some() { text() } else { String::new() }
    }

    /// What somebody does, for the reader only.
    pub fn remark(&self, place: u64, text: impl FnOnce() -> String) {
        let now = self.now_ns();
        self.draw(|diagram| diagram.remark(now, place, &text()));
    }

    fn draw(&self, told: impl FnOnce(&mut Diagram) -> Vec<String>) {
        if let Some(diagram) = &self.diagram {
            told(&mut diagram.lock()).into_iter().for_each(|line| eprintln!("{line}"));
        }
    }

    /// Something happened to the cluster, and is kept.
    pub fn incident(&self, node: Option<u64>, what: &str, text: impl Into<String>) {
        self.keep(None, node, what, text.into());
    }

    /// The same of a fault, by its place in the plan.
    pub fn incident_of(&self, fault: u64, node: Option<u64>, what: &str, text: impl Into<String>) {
        self.keep(Some(fault), node, what, text.into());
    }

    fn keep(&self, fault: Option<u64>, node: Option<u64>, what: &str, text: String) {
        self.note(what, node.unwrap_or(0), 0, xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        let at_ns = self.now_ns();
        self.draw(|diagram| diagram.incident(at_ns, node, what, &text));
        self.inner.lock().incidents.push(Incident { at_ns, node, what: what.to_owned(), text, fault });
    }

    /// Whether a node's disks have failed it in this life, or take no more orders.
    pub fn set_diskless(&self, node: u64, is_so: bool) {
        let diskless = &mut self.inner.lock().diskless;
        if is_so {
            diskless.insert(node)
        } else {
            diskless.remove(&node)
        };
    }

    /// See [`set_diskless`](Self::set_diskless).
    pub fn is_diskless(&self, node: u64) -> bool {
        self.inner.lock().diskless.contains(&node)
    }

    /// A property did not hold.
    pub fn finding(&self, check: &str, text: impl Into<String>) {
        let text = text.into();
        self.note("finding", 0, 0, xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        tracing::error!(check, text, "a property does not hold");
        let at_ns = self.now_ns();
        self.draw(|diagram| diagram.finding(at_ns, check, &text));
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
