//! Who works on which row: one worker per reservation with an open row, woken when something of its lease changed.
//!
//! Effects name the leases to look at, so an applied command costs the workers it concerns and no others. They are hints:
//! when some were missed, and once a second in any case, every row is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::effect::Effect;
use leasehold_ledger::model::{Actuation, LeaseId, ReservationId, Step, Timestamp};
use leasehold_ledger::mutant;
use leasehold_ledger::state::State;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tracing::Instrument;

use super::actuator;
use super::work::Work;
use crate::seams::Mono;
use crate::telemetry::metrics;

/// At least so long between two looks at what changed: a burst of commands is one look.
const LOOK_GAP: Duration = Duration::from_millis(4);
/// Every row is looked at so often, whatever the effects said.
const FULL_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where one worker sits: what it works on, and how it is woken.
#[derive(Clone)]
pub struct Desk {
    /// Whose row.
    pub lease: LeaseId,
    /// Which row.
    pub reservation: ReservationId,
    wake: Arc<Notify>,
    desks: Arc<Desks>,
}

impl Desk {
    /// The open row of this desk.
    #[must_use]
    pub fn row(&self, state: &State) -> Option<Actuation> {
        state.open_row(self.lease, self.reservation).cloned()
    }

    /// Completes once this row does not stand any more as it was read: closed, or opened anew by another revision.
    pub async fn superseded(&self, work: &Work, row: &Actuation) {
        // Planted bug (with those in permits.rs): a cancel does not stop what was begun.
        while mutant!("M13") || work.ledger.look(|state| state.actuation(row.id).is_some_and(|now| now.revision == row.revision))
        {
            // A wake between the look and here is kept for us.
            self.wake.notified().await;
        }
    }

    /// Gives the desk up, unless a row was opened meanwhile: whoever opened it still saw this desk as taken.
    #[must_use]
    pub fn leave(&self, work: &Work) -> bool {
        let mut taken = self.desks.taken.lock();
        if work.ledger.look(|state| self.row(state)).is_some() {
            return false;
        }
        if let Some(of_lease) = taken.get_mut(&self.lease) {
            of_lease.remove(&self.reservation);
            if of_lease.is_empty() {
                taken.remove(&self.lease);
            }
        }
        true
    }
}

/// All taken desks.
#[derive(Default)]
struct Desks {
    taken: Mutex<BTreeMap<LeaseId, BTreeMap<ReservationId, Arc<Notify>>>>,
}

impl Desks {
    /// Puts a worker to a row, or wakes the one that is there.
    fn call(self: &Arc<Self>, work: &Arc<Work>, lease: LeaseId, reservation: ReservationId) {
        let mut taken = self.taken.lock();
        let of_lease = taken.entry(lease).or_default();
        if let Some(wake) = of_lease.get(&reservation) {
            wake.notify_one();
            return;
        }
        let wake = Arc::new(Notify::new());
        of_lease.insert(reservation, wake.clone());
        drop(taken);
        let desk = Desk { lease, reservation, wake, desks: self.clone() };
        let span = tracing::info_span!("reservation", lease_id = %lease, reservation_id = %reservation);
        work.spawn("leader-worker", actuator::tend(work.clone(), desk).instrument(span));
    }

    /// Wakes the workers of a lease: their rows may be gone.
    fn wake(&self, lease: LeaseId) {
        for wake in self.taken.lock().get(&lease).into_iter().flat_map(BTreeMap::values) {
            wake.notify_one();
        }
    }

    fn wake_all(&self) {
        for wake in self.taken.lock().values().flat_map(BTreeMap::values) {
            wake.notify_one();
        }
    }
}

/// Steps that somebody waits for at this moment: they have places and calls of their own, so that slow ends and
/// preparations do not hold them up.
#[must_use]
pub fn is_urgent(step: Step) -> bool {
    match step {
        Step::Hold | Step::StagingOpen | Step::Start => true,
        Step::Prepare | Step::StagingClose | Step::Adjust | Step::Expire | Step::BeforeEnd | Step::End => false,
    }
}

/// Puts a worker to every open row. Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let desks = Arc::new(Desks::default());
    let mut effects = work.ledger.effects();
    loop {
        look_at_all(&work, &desks);
        let next_full = work.clock.mono().after(FULL_LOOK_EVERY);
        loop {
            match changed(&work, &mut effects, next_full).await {
                Changed::Leases(leases) => look_at(&work, &desks, &leases),
                Changed::Anything => break,
                Changed::Closed => return,
            }
        }
    }
}

/// What the effects tell.
enum Changed {
    Leases(BTreeSet<LeaseId>),
    /// Some were missed, or the time for a full look has come.
    Anything,
    Closed,
}

async fn changed(work: &Work, effects: &mut tokio::sync::broadcast::Receiver<Arc<[Effect]>>, until: Mono) -> Changed {
    let mut leases = BTreeSet::new();
    let deadline = work.clock.sleep_until(until);
    let first = tokio::select! {
        biased;
        () = deadline => return Changed::Anything,
        first = effects.recv() => first,
    };
    match first {
        Ok(seen) if !seen.is_empty() => leases.extend(leases_of(work, &seen)),
        Ok(_) | Err(RecvError::Lagged(_)) => return Changed::Anything,
        Err(RecvError::Closed) => return Changed::Closed,
    }
    work.clock.sleep(LOOK_GAP).await;
    loop {
        match effects.try_recv() {
            Ok(seen) if !seen.is_empty() => leases.extend(leases_of(work, &seen)),
            Ok(_) | Err(TryRecvError::Lagged(_)) => return Changed::Anything,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Changed::Leases(leases),
        }
    }
}

fn leases_of(work: &Work, effects: &[Effect]) -> Vec<LeaseId> {
    work.ledger.look(|state| {
        let lease_of = |effect: &Effect| match effect {
            Effect::LeaseChanged(id) => Some(*id),
            Effect::ActuationOpened(id) => state.actuation(*id).map(|row| row.lease_id),
            Effect::HostChanged(_) | Effect::NextDue(_) => None,
        };
        effects.iter().filter_map(lease_of).collect()
    })
}

fn look_at(work: &Arc<Work>, desks: &Arc<Desks>, leases: &BTreeSet<LeaseId>) {
    for lease in leases {
        desks.wake(*lease);
        let rows: Vec<ReservationId> =
            work.ledger.look(|state| state.actuations_of(*lease).map(|row| row.reservation_id).collect());
        for reservation in rows {
            desks.call(work, *lease, reservation);
        }
    }
}

fn look_at_all(work: &Arc<Work>, desks: &Arc<Desks>) {
    let (rows, oldest): (Vec<_>, _) = work.ledger.look(|state| {
        let rows = state.actuations().map(|row| (row.lease_id, row.reservation_id)).collect();
        (rows, state.actuations().map(|row| row.due).min())
    });
    let now = i64::try_from(work.now().0).unwrap_or(i64::MAX);
    let due_since_ms = |due: Timestamp| now.saturating_sub(i64::try_from(due.0).unwrap_or(i64::MAX));
    metrics::open_actuations(rows.len(), oldest.map(due_since_ms), work.clock.mono());
    desks.wake_all();
    for (lease, reservation) in rows {
        desks.call(work, lease, reservation);
    }
}
