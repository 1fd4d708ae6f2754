//! What listed leases reserve over time, in the past too: by what was asked for and when, not by what is still booked.

use super::ended::{Draft, Read, Unread, Wanted};
use super::{LeaseFilter, STEPS_MAX, Sums, leases};
use crate::apply::schedule::invalid;
use crate::model::{Interval, Lease, Seconds};
use crate::plan::levels;
use crate::reply::Rejection;
use crate::state::State;
use crate::storage::archive::ArchiveError;

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

/// What the leases of a filter reserve over a window, as far as the state alone says it.
pub struct UtilisationDraft {
    wish: UtilisationWish,
    wanted: Wanted,
    unread: Unread,
    sum: Sum,
}

#[derive(Default)]
struct Sum {
    leases: u32,
    spans: Vec<(Interval, Sums)>,
}

impl Sum {
    fn add(&mut self, lease: &Lease, window: Interval) {
        // What gave way to another reserved nothing when its time came; the other has its room, and is counted.
        if lease.preempted.is_some() {
            return;
        }
        let before = self.spans.len();
        for reservation in &lease.reservations {
            let instance = reservation.wish.instance();
            let amounts = instance.need().to_array().map(|one| u64::from(one) * u64::from(instance.amount));
            let staged = reservation.staging.map(|staging| staging.booked());
            let parts = [Some(lease.interval()), staged].into_iter().flatten();
            self.spans.extend(parts.filter(|part| part.overlaps(window)).map(|part| (part, amounts)));
        }
        self.leases += u32::from(self.spans.len() > before);
    }
}

impl UtilisationDraft {
    /// What the state has of it. At most `most` rows are read.
    ///
    /// # Errors
    /// Those of a listing; `Invalid` (steps).
    pub fn begin(state: &State, wish: &UtilisationWish, most: usize) -> Result<UtilisationDraft, Rejection> {
        if !(1..=STEPS_MAX).contains(&wish.steps_max) {
            return Err(invalid("steps", format!("it is {}; it must be from 1 to {STEPS_MAX}", wish.steps_max)));
        }
        let all =
            LeaseFilter { after: None, limit: None, order: super::LeaseOrder::Id, descending: false, ..wish.filter.clone() };
        let mut sum = Sum::default();
        leases(state, &all)?.into_iter().for_each(|lease| sum.add(lease, wish.window));
        let unread = Unread::all(state, &all, Some(wish.window), most)?;
        Ok(UtilisationDraft { wish: wish.clone(), wanted: Wanted::new(state, &all), unread, sum })
    }
}

impl Draft for UtilisationDraft {
    type Value = Utilisation;

    fn reads(&self) -> bool {
        self.unread.reads()
    }

    /// As steps where there are at most `steps_max`, else in parts of equal length.
    fn finish(self, read: &mut Read<'_>) -> Result<Option<Utilisation>, ArchiveError> {
        let UtilisationDraft { wish, wanted, unread, mut sum } = self;
        unread.each(&wanted, read, |lease| sum.add(&lease, wish.window))?;
        let steps = levels(wish.window, &sum.spans, wish.steps_max as usize);
        let steps = steps.into_iter().map(|(start, reserved)| UtilisationStep { start, reserved }).collect();
        Ok(Some(Utilisation { window: wish.window, leases: sum.leases, steps }))
    }
}
