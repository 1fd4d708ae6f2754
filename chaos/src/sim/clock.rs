//! A node's clocks. Wall time = true time + offset + drift; monotonic time is the runtime's own, as the kernel's is: it goes
//! on while a process stands still, and begins anew with each life.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use leasehold_node::seams::{Clock, Mono};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::trace::Trace;

/// What the faults do to one node's wall clock. Outlives the node's lives.
#[derive(Debug, Default)]
pub struct WallError {
    inner: Mutex<Skew>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Skew {
    offset_ms: i64,
    drift_ppm: i64,
    drift_since_ns: u64,
}

impl Skew {
    fn at(self, now_ns: u64) -> i64 {
        let run_ms = (now_ns.saturating_sub(self.drift_since_ns) / 1_000_000) as i64;
        self.offset_ms + run_ms * self.drift_ppm / 1_000_000
    }
}

impl WallError {
    /// Off by how much, ms.
    pub fn at(&self, now_ns: u64) -> i64 {
        self.inner.lock().at(now_ns)
    }

    /// Whether it is right, and runs right.
    pub fn is_right(&self) -> bool {
        let skew = *self.inner.lock();
        skew.offset_ms == 0 && skew.drift_ppm == 0
    }

    /// Moves the clock.
    pub fn step(&self, ms: i64) {
        self.inner.lock().offset_ms += ms;
    }

    /// Lets it run fast or slow from now on.
    pub fn drift(&self, now_ns: u64, ppm: i64) {
        let mut skew = self.inner.lock();
        *skew = Skew { offset_ms: skew.at(now_ns), drift_ppm: ppm, drift_since_ns: now_ns };
    }

    /// Right again.
    pub fn heal(&self) {
        *self.inner.lock() = Skew::default();
    }
}

/// The clock of one life.
pub struct SimClock {
    trace: Arc<Trace>,
    wall: Arc<WallError>,
    born: Instant,
}

impl SimClock {
    /// Its monotonic zero is now.
    pub fn new(trace: Arc<Trace>, wall: Arc<WallError>) -> SimClock {
        SimClock { trace, wall, born: Instant::now() }
    }
}

impl Clock for SimClock {
    fn mono(&self) -> Mono {
        Mono(self.born.elapsed())
    }

    fn wall_ms(&self) -> u64 {
        self.trace.now_ms().saturating_add_signed(self.wall.at(self.trace.now_ns()))
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}
