//! Places for passes over reservations (`leader.parallel` of each kind): a thousand starts in one second do not become ten
//! thousand calls at once, and a thousand ends that Nova does not answer do not hold up one start.
//!
//! Opening comes first: when many starts are due at once, all of them open their tokens before any of them goes on. From
//! then on a tenant's own tools can use what is open; what is left of a start would only hold up the others' opening.

use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::model::Step;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::dispatch::is_urgent;
use crate::seams::Clock;

/// Longest wait for the others' opening: one host that hangs must not hold up all other starts.
const LET_OTHERS: Duration = Duration::from_millis(250);

/// All places of one leader.
pub struct Places {
    /// Of those who have tokens to open.
    openers: Arc<Semaphore>,
    /// Of what somebody waits for besides: never behind an opening that hangs.
    urgent: Arc<Semaphore>,
    /// Of those who count what is in use: nobody else stands behind a list of servers that hangs.
    counting: Arc<Semaphore>,
    others: Arc<Semaphore>,
    /// How many passes have tokens to open, with a place or waiting for one.
    opening: watch::Sender<usize>,
    /// Places of each kind.
    each: usize,
}

impl Places {
    pub(super) fn new(each: usize) -> Self {
        let each = each.clamp(1, Semaphore::MAX_PERMITS);
        let places = || Arc::new(Semaphore::new(each));
        Self { openers: places(), urgent: places(), counting: places(), others: places(), opening: watch::Sender::new(0), each }
    }

    /// Whether a pass that somebody waits for is under way.
    pub(super) fn is_busy(&self) -> bool {
        *self.opening.borrow() > 0 || self.urgent.available_permits() < self.each
    }

    /// Waits for a place for a pass of this step. `opens`: it has tokens to open before anything else.
    pub async fn seat(self: &Arc<Self>, step: Step, opens: bool) -> Seat {
        // Counted from the waiting on.
        let opening = Mutex::new(opens.then(|| Opening::new(self.clone())));
        let places = match (opens, is_urgent(step)) {
            (true, _) => &self.openers,
            _ if step == Step::Expire => &self.counting,
            (false, true) => &self.urgent,
            (false, false) => &self.others,
        };
        let place = Mutex::new(Some(place(places).await));
        Seat { places: self.clone(), place, opening }
    }
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("the semaphore is never closed")
}

/// One of those who have tokens to open, until dropped.
struct Opening(Arc<Places>);

impl Opening {
    fn new(places: Arc<Places>) -> Self {
        places.opening.send_modify(|count| *count += 1);
        Self(places)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.send_modify(|count| *count -= 1);
    }
}

/// The place of one pass.
pub struct Seat {
    places: Arc<Places>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    opening: Mutex<Option<Opening>>,
}

impl Seat {
    /// Called by a pass whose tokens are open: lets all others open first, for [`LET_OTHERS`] at most, and goes on from
    /// another place, where no opening that hangs stands before it.
    pub async fn opened(&self, clock: &dyn Clock) {
        drop(self.opening.lock().take());
        let mut opening = self.places.opening.subscribe();
        if *opening.borrow_and_update() == 0 {
            return;
        }
        drop(self.place.lock().take());
        let limit = clock.sleep(LET_OTHERS);
        tokio::select! {
            biased;
            // Never closed: the places outlive every seat.
            _ = opening.wait_for(|count| *count == 0) => {}
            () = limit => {}
        }
        let place = place(&self.places.urgent).await;
        *self.place.lock() = Some(place);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;
    use crate::seams::clock::SystemClock;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock::new())
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_opened_lets_the_others_open_first() {
        let (places, clock) = (Arc::new(Places::new(1)), clock());
        let first = places.seat(Step::Start, true).await;
        let mut second = Box::pin(places.seat(Step::Start, true));
        assert!((&mut second).now_or_never().is_none(), "one place");
        let mut opened = Box::pin(first.opened(clock.as_ref()));
        assert!((&mut opened).now_or_never().is_none(), "another has still to open");
        let second = second.await;
        // Its own tokens are open, and nobody else's are to be opened: both go on.
        second.opened(clock.as_ref()).now_or_never().unwrap();
        clock.timeout(Duration::from_secs(60), opened).await.expect("it goes on beside the other");
    }

    #[tokio::test(start_paused = true)]
    async fn openings_that_hang_and_wait_hold_up_nobody_who_has_opened() {
        let (places, clock) = (Arc::new(Places::new(2)), clock());
        let first = places.seat(Step::Start, true).await;
        let _hangs = places.seat(Step::Start, true).await;
        // It takes the place that the first gives up, and hangs, too.
        let waits = async { std::future::pending::<()>().await };
        let hangs_later = async {
            let _seat = places.seat(Step::Start, true).await;
            waits.await;
        };
        let begun = clock.mono();
        tokio::select! {
            biased;
            () = first.opened(clock.as_ref()) => {}
            () = hangs_later => unreachable!("it hangs"),
            () = clock.sleep(Duration::from_secs(60)) => panic!("who has opened waits for who hangs"),
        }
        assert!(clock.mono().since(begun) < LET_OTHERS * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_that_hangs_is_not_waited_for_without_end() {
        let (places, clock) = (Arc::new(Places::new(2)), clock());
        let first = places.seat(Step::Start, true).await;
        let _hangs = places.seat(Step::Start, true).await;
        let begun = clock.mono();
        first.opened(clock.as_ref()).await;
        let waited = clock.mono().since(begun);
        assert!(waited >= LET_OTHERS && waited < LET_OTHERS * 2, "{waited:?}");
    }

    #[tokio::test]
    async fn counts_that_hang_hold_up_nobody_else() {
        let places = Arc::new(Places::new(1));
        let _counts = places.seat(Step::Expire, false).await;
        assert!(!places.is_busy());
        for step in [Step::Hold, Step::End] {
            assert!(places.seat(step, false).now_or_never().is_some(), "{step:?}");
        }
        assert!(places.seat(Step::Expire, false).now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_is_alone_waits_for_nobody_and_who_gives_up_is_not_waited_for() {
        let (places, clock) = (Arc::new(Places::new(2)), clock());
        let first = places.seat(Step::StagingOpen, true).await;
        drop(places.seat(Step::Start, true).await);
        // No tokens to open: not counted.
        let _prepares = places.seat(Step::Prepare, false).await;
        first.opened(clock.as_ref()).now_or_never().unwrap();
    }
}
