//! The planner: pure, leader only. Searches hosts for a wish over a read view plus the plans in flight (architecture D2).
#![allow(unused_variables)]

use serde::{Deserialize, Serialize};

use crate::command::{LeaseChange, LeaseWish, PlannedReservation};
use crate::model::{Class, HostId, LeaseId, ReservationId, Seconds, Timestamp};
use crate::reply::Rejection;
use crate::state::State;

/// Plans that were proposed and not yet seen applied: booked on top of the state, so that back-to-back plans do not collide.
#[derive(Clone, Debug, Default)]
pub struct Overlay {}

impl Overlay {
    /// Adds a plan; the number names it for [`Overlay::remove`].
    pub fn add(&mut self, state: &State, planned: &Planned) -> u64 {
        unimplemented!()
    }
    /// Its entry was applied, or will never be.
    pub fn remove(&mut self, number: u64) {
        unimplemented!()
    }
    /// No plans in flight.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
}

/// A plan that fits view and overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// For the command.
    pub reservations: Vec<PlannedReservation>,
    /// Ledger index of the view.
    pub planned_at: u64,
    /// What the overlay books: host, first and last second, amounts. Filled by the planner.
    pub bookings: Vec<(HostId, crate::model::Interval, crate::model::Amounts)>,
}

/// Why no plan was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// `apply` would refuse it too.
    Rejected(Rejection),
    /// Not enough room: what would fit instead.
    NoRoom(NoRoom),
}

/// What is missing, and what would fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoRoom {
    /// Which reservation of the wish, from 0.
    pub reservation: usize,
    /// Slots short.
    pub short_by: u32,
    /// The class that binds most.
    pub tightest: Option<Class>,
    /// The largest amount that fits the same window.
    pub largest_amount: u32,
    /// The earliest start, not before the one asked for, at which all of it fits for the same duration.
    pub next_start: Option<Seconds>,
    /// Whether only the staging window lacks room; then `next_start` is the next staging window's start.
    pub staging: bool,
}

/// Plans a new lease. `now` is what the entry's time will be or later; `ids` are those of the reservations, in order.
pub fn plan_create(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    ids: &[ReservationId],
    now: Timestamp,
) -> Result<Planned, NoPlan> {
    unimplemented!()
}

/// Plans a change; `Ok(None)` when nothing is to be rebooked.
pub fn plan_update(
    state: &State,
    overlay: &Overlay,
    lease_id: LeaseId,
    change: &LeaseChange,
    now: Timestamp,
) -> Result<Option<Planned>, NoPlan> {
    unimplemented!()
}

/// Plans other hosts for a lease that is not open yet, avoiding `avoid`.
pub fn plan_rebind(state: &State, overlay: &Overlay, lease_id: LeaseId, avoid: &[HostId]) -> Result<Planned, NoPlan> {
    unimplemented!()
}
