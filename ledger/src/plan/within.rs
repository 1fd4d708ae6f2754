//! From when on a lease that goes beyond the quota of its project may be within it.

use std::collections::BTreeSet;

use crate::apply::quota::{budget_left, of_kind, over};
use crate::model::{Amounts, Excess, Interval, LimitKind, ProjectId, Seconds, Timestamp};
use crate::reply::Rejection;
use crate::state::usage::{period_of, vcpu_seconds};
use crate::state::{Booking, State, sum_at};

/// So many steps of what a project uses are passed over at once.
const STEPS_MAX: usize = 100_000;

/// Starts that are passed over one after the other without a search for room, as many as days of a year and more.
const PASSED_OVER_MAX: usize = 500;

/// The first start that is beyond no limit, or the last one that was looked at: `judge` refuses a start, and `within_from` says from when
/// on that may be otherwise.
pub(super) fn first_within(
    start: Seconds,
    excess: &Excess,
    judge: impl Fn(Seconds) -> Option<Rejection>,
    within_from: impl Fn(Seconds, &Excess) -> Option<Seconds>,
) -> Option<Seconds> {
    let (mut start, mut excess) = (start, *excess);
    for _ in 0..PASSED_OVER_MAX {
        let next = within_from(start, &excess).filter(|next| *next > start)?;
        match judge(next) {
            Some(Rejection::QuotaExceeded(beyond)) => (start, excess) = (next, beyond),
            _ => return Some(next),
        }
    }
    Some(start)
}

/// A lease that goes beyond a limit when it begins at `start`.
pub(super) struct Beyond<'a, F> {
    pub state: &'a State,
    pub project: &'a ProjectId,
    pub start: Seconds,
    /// What it has already.
    pub had: &'a [Booking],
    /// What it uses when it begins at a second, for as long; `None`: it cannot begin there.
    pub used_from: F,
    /// Whether its staging windows begin as much later as it does; else they stay.
    pub moves_whole: bool,
    pub now: Timestamp,
}

impl<F: Fn(Seconds) -> Option<Vec<Booking>>> Beyond<'_, F> {
    /// The first later start from which on it may be within the limit that it goes beyond: it is not at any start before. `None`:
    /// however late it starts.
    pub fn within_from(&self, excess: &Excess) -> Option<Seconds> {
        let used = (self.used_from)(self.start)?;
        match excess.kind {
            LimitKind::Slots | LimitKind::Vcpus => self.within_steps_from(excess.kind, &used),
            LimitKind::VcpuHours => self.within_budget_from(excess.at?, &used),
            LimitKind::StartAheadS | LimitKind::EndAheadS | LimitKind::DurationS | LimitKind::PeriodS => None,
        }
    }

    /// Whatever of it covers the last moment at which it is beyond covers that at every later start up to there as well, and is beyond
    /// until what is used changes.
    fn within_steps_from(&self, kind: LimitKind, used: &[Booking]) -> Option<Seconds> {
        let limits = self.state.limits_of(self.project);
        let limit = limits.get(kind)?;
        let last = over(self.state, limit, kind, self.project, self.had, used, self.now).filter_map(|over| over.at).max()?;
        let begins = used.iter().filter(|piece| piece.interval.contains(last)).map(|piece| piece.interval.start).min()?;
        let wanted = of_kind(kind, at(used, last));
        let mut step = self.step_after(last)?;
        for _ in 0..STEPS_MAX {
            let second = Interval { start: step, end: step.plus(1) };
            let others = self.state.use_in(self.project, second).first().map_or(0, |(_, used)| of_kind(kind, *used));
            let had = of_kind(kind, at(self.had, step));
            if wanted <= had || wanted <= limit.saturating_sub(others.saturating_sub(had)) {
                break;
            }
            step = self.step_after(step)?;
        }
        self.begun(begins, step)
    }

    /// The first second after this one at which what the project uses, or what the lease has of it, changes.
    fn step_after(&self, after: Seconds) -> Option<Seconds> {
        let own = self.had.iter().flat_map(|piece| [piece.interval.start, piece.interval.end]);
        let own = own.filter(|at| *at > after && *at != Seconds::OPEN_END).min();
        self.state.next_use_step(self.project, after).into_iter().chain(own).min().filter(|step| *step < Seconds::LAST)
    }

    /// The start at which what began at `begins` begins at `then`.
    fn begun(&self, begins: Seconds, then: Seconds) -> Option<Seconds> {
        // What is of the main window begins with the lease.
        if begins == self.start || self.moves_whole { Some(self.start.plus(then.0 - begins.0)) } else { None }
    }

    /// How much of it lies in the period is linear in the start, but where a piece of it begins to enter the period or to leave it.
    fn within_budget_from(&self, at: Seconds, used: &[Booking]) -> Option<Seconds> {
        let limits = self.state.limits_of(self.project);
        let (limit, period) = (limits.get(LimitKind::VcpuHours)?, period_of(at, limits.period_s()));
        let to_come = period.to_come(self.now.floor_to_second())?;
        let had = vcpu_seconds(self.had, to_come);
        let most = budget_left(self.state, limit, self.project, had, period).max(had);
        let is_within = |by: u32| (self.used_from)(self.start.plus(by)).is_some_and(|used| vcpu_seconds(&used, to_come) <= most);
        let borders = used.iter().flat_map(|piece| [piece.interval.start, piece.interval.end]);
        let meets = |border: Seconds| [to_come.start, to_come.end].map(|of_period| of_period.0.saturating_sub(border.0));
        let bends: BTreeSet<u32> = borders.flat_map(meets).filter(|by| *by > 0).collect();
        let mut beyond = 0;
        for bend in bends {
            if is_within(bend) {
                let mut within = bend;
                while within - beyond > 1 {
                    let middle = beyond + (within - beyond) / 2;
                    if is_within(middle) { within = middle } else { beyond = middle }
                }
                return Some(self.start.plus(within)).filter(|start| *start < Seconds::LAST);
            }
            beyond = bend;
        }
        None
    }
}

/// What pieces take at a second.
fn at(pieces: &[Booking], second: Seconds) -> Amounts {
    let second = Interval { start: second, end: second.plus(1) };
    pieces.first().map(|piece| sum_at(piece.host, second, pieces)).unwrap_or_default()
}
