//! A node's clocks. Wall time = true time + offset + drift; monotonic time is the runtime's own, as the kernel's is: it goes
//! on while a process stands still, and begins anew with each life. Where the whole machine stands still, as one that is suspended
//! does, both stand still with it: monotonic time knows nothing of that for ever, and wall time is behind until it is set right.
//! The engine's own timers do as monotonic time does.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use leasehold_node::seams::{Clock, Mono};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::trace::Trace;

/// What the faults do to one machine's clocks. Outlives the node's lives.
#[derive(Debug, Default)]
pub struct WallError {
    inner: Mutex<Skew>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Skew {
    offset_ms: i64,
    drift_ppm: i64,
    drift_since_ns: u64,
    /// The machine stands still.
    still_since_ns: Option<u64>,
    /// How long it has stood still, ever.
    stood_ns: u64,
    /// And since its wall clock was last set right.
    behind_ns: u64,
}

impl Skew {
    fn standing_ns(self, now_ns: u64) -> u64 {
        self.still_since_ns.map_or(0, |since| now_ns.saturating_sub(since))
    }

    /// Off by how much, ms, what it is behind for having stood still aside.
    fn set_off(self, now_ns: u64) -> i64 {
        let run_ms = (now_ns.saturating_sub(self.drift_since_ns) / 1_000_000) as i64;
        self.offset_ms + run_ms * self.drift_ppm / 1_000_000
    }

    fn at(self, now_ns: u64) -> i64 {
        self.set_off(now_ns) - ((self.behind_ns + self.standing_ns(now_ns)) / 1_000_000) as i64
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
        skew.offset_ms == 0 && skew.drift_ppm == 0 && skew.behind_ns == 0 && skew.still_since_ns.is_none()
    }

    /// Moves the clock.
    pub fn step(&self, ms: i64) {
        self.inner.lock().offset_ms += ms;
    }

    /// Lets it run fast or slow from now on.
    pub fn drift(&self, now_ns: u64, ppm: i64) {
        let mut skew = self.inner.lock();
        *skew = Skew { offset_ms: skew.set_off(now_ns), drift_ppm: ppm, drift_since_ns: now_ns, ..*skew };
    }

    /// The machine's clocks stand still, until [`go_on`](Self::go_on).
    pub fn stand_still(&self, now_ns: u64) {
        self.inner.lock().still_since_ns.get_or_insert(now_ns);
    }

    /// They go on from where they stood.
    pub fn go_on(&self, now_ns: u64) {
        let mut skew = self.inner.lock();
        let stood_ns = skew.standing_ns(now_ns);
        skew.stood_ns += stood_ns;
        skew.behind_ns += stood_ns;
        skew.still_since_ns = None;
    }

    /// What it is behind for having stood still is made good.
    pub fn catch_up(&self) {
        self.inner.lock().behind_ns = 0;
    }

    /// Right again.
    pub fn heal(&self) {
        let mut skew = self.inner.lock();
        *skew = Skew { still_since_ns: skew.still_since_ns, stood_ns: skew.stood_ns, ..Skew::default() };
    }

    /// How long the machine has stood still, ever.
    fn stood(&self, now_ns: u64) -> Duration {
        let skew = *self.inner.lock();
        Duration::from_nanos(skew.stood_ns + skew.standing_ns(now_ns))
    }
}

/// The clock of one life.
#[derive(Clone)]
pub struct SimClock {
    trace: Arc<Trace>,
    wall: Arc<WallError>,
    born: Instant,
    /// How long the machine had stood still by then.
    stood: Duration,
}

impl SimClock {
    /// Its monotonic zero is now.
    pub fn new(trace: Arc<Trace>, wall: Arc<WallError>) -> SimClock {
        let stood = wall.stood(trace.now_ns());
        SimClock { trace, wall, born: Instant::now(), stood }
    }
}

impl Clock for SimClock {
    fn mono(&self) -> Mono {
        Mono(self.born.elapsed().saturating_sub(self.stood_still()))
    }

    fn wall_ms(&self) -> u64 {
        self.trace.now_ms().saturating_add_signed(self.wall.at(self.trace.now_ns()))
    }

    fn stood_still(&self) -> Duration {
        self.wall.stood(self.trace.now_ns()).saturating_sub(self.stood)
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        let (clock, until) = (self.clone(), self.mono().after(d));
        Box::pin(async move {
            let mut left = until.since(clock.mono());
            // What it stood still for is still to be waited.
            while {
                tokio::time::sleep(left).await;
                left = until.since(clock.mono());
                !left.is_zero()
            } {}
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_clock_that_stood_still_is_behind_until_it_is_set_right_and_keeps_its_other_errors() {
        let wall = WallError::default();
        wall.step(7);
        wall.stand_still(10 * MS);
        // Whoever holds it still again changes nothing.
        wall.stand_still(20 * MS);
        assert_eq!((wall.at(15 * MS), wall.at(110 * MS)), (2, -93));
        wall.go_on(110 * MS);
        wall.go_on(150 * MS);
        assert_eq!(wall.at(500 * MS), -93);
        assert!(!wall.is_right());
        wall.catch_up();
        assert_eq!(wall.at(500 * MS), 7);
        wall.heal();
        assert!(wall.is_right());
        assert_eq!(wall.stood(500 * MS), Duration::from_millis(100), "what has passed has passed");
    }

    #[tokio::test(start_paused = true)]
    async fn monotonic_time_and_who_waits_by_it_know_nothing_of_the_time_that_the_machine_stood_still() {
        let (trace, wall) = (Arc::new(Trace::new(None, 1)), Arc::new(WallError::default()));
        let clock = SimClock::new(trace.clone(), wall.clone());
        let begun = Instant::now();
        let waits = tokio::spawn(clock.sleep(Duration::from_secs(10)));
        tokio::time::sleep(Duration::from_secs(4)).await;
        wall.stand_still(trace.now_ns());
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(clock.mono(), Mono(Duration::from_secs(4)));
        wall.go_on(trace.now_ns());
        waits.await.unwrap();
        assert_eq!((begun.elapsed(), clock.mono()), (Duration::from_secs(40), Mono(Duration::from_secs(10))));
        let next = SimClock::new(trace, wall);
        assert_eq!(next.mono(), Mono::default(), "a new life begins anew");
    }
}
