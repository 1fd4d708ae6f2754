//! What listed leases reserve over time, in the past too: by what was asked for and when, not by what is still booked.

use super::{LeaseFilter, STEPS_MAX, Sums, leases};
use crate::apply::schedule::invalid;
use crate::model::{Interval, Seconds};
use crate::plan::levels;
use crate::reply::Rejection;
use crate::state::State;

/// What leases of a filter reserve over a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UtilisationWish {
    /// Which leases; order, `after` and `limit` do not count.
    pub filter: LeaseFilter,
    /// When.
    pub window: Interval,
    /// In so many steps at most, from 1 to [`STEPS_MAX`].
    pub steps_max: u32,
}

/// See [`UtilisationWish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utilisation {
    /// The window.
    pub window: Interval,
    /// Leases of the filter that reserve something in it.
    pub leases: u32,
    /// In order; each ends where the next one begins, the last one with the window.
    pub steps: Vec<UtilisationStep>,
}

/// A part of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtilisationStep {
    /// First second.
    pub start: Seconds,
    /// The most that is reserved at one instant, class by class; of slots: servers.
    pub reserved: Sums,
}

/// What the leases of a filter reserve over a window: as steps where there are at most `steps_max`, else in parts of equal length.
///
/// # Errors
/// Those of a listing; `Invalid` (steps).
pub fn utilisation(state: &State, wish: &UtilisationWish) -> Result<Utilisation, Rejection> {
    if !(1..=STEPS_MAX).contains(&wish.steps_max) {
        return Err(invalid("steps", format!("it is {}; it must be from 1 to {STEPS_MAX}", wish.steps_max)));
    }
    let all = LeaseFilter { after: None, limit: None, order: super::LeaseOrder::Id, descending: false, ..wish.filter.clone() };
    let mut counted = 0;
    let mut spans = Vec::new();
    for lease in leases(state, &all)? {
        let before = spans.len();
        for reservation in &lease.reservations {
            let instance = reservation.wish.instance();
            let amounts = instance.need().to_array().map(|one| u64::from(one) * u64::from(instance.amount));
            let staged = reservation.staging.map(|staging| staging.booked());
            let parts = [Some(lease.interval()), staged].into_iter().flatten();
            spans.extend(parts.filter(|part| part.overlaps(wish.window)).map(|part| (part, amounts)));
        }
        counted += u32::from(spans.len() > before);
    }
    let steps = levels(wish.window, &spans, wish.steps_max as usize);
    let steps = steps.into_iter().map(|(start, reserved)| UtilisationStep { start, reserved }).collect();
    Ok(Utilisation { window: wish.window, leases: counted, steps })
}
