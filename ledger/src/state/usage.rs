//! What a project has reserved over time (scheduling-design T5): the same step function as of a host, of instances and vCPUs.
//!
//! Counted is what a project was promised, on whichever hosts: every reservation that has not ended, in its staging window with
//! the park margin and from its start to its end; offers too. What the cloud has yet to give back of a lease that was made
//! smaller, ended or deleted does not count. While an update waits for its hold the larger of old and new counts.
//!
//! Derived, and only for projects whose use is limited: others pay nothing. What cannot be derived, the budget that leases
//! have used which are there no more, is [`Spent`].

use super::State;
use super::bookings::{Booking, pointwise_max};
use super::profile::Profile;
use crate::model::{
    Amounts, HostId, Interval, Lease, LeaseStatus, LimitKind, Phase, ProjectId, QuotaRow, ReservationStatus, Seconds, Spent,
    Stage, Staging,
};
use crate::mutant;
use crate::storage::keys::RowId;

/// Stands for all hosts: use is not bound to any.
const ANYWHERE: HostId = HostId(0);

/// One piece of use.
pub(crate) fn piece(interval: Interval, vcpus: u32, slots: u32) -> Booking {
    // The amounts of a wish fit together, checked when it was accepted.
    let amounts = Amounts { vcpus: vcpus.saturating_mul(slots), slots, ..Amounts::default() };
    Booking { host: ANYWHERE, interval, amounts }
}

/// Adds what a wish uses of so many slots, and of so many while it is staged.
pub(crate) fn wish_use(main: Interval, vcpus: u32, slots: u32, staging: Option<(Staging, u32)>, into: &mut Vec<Booking>) {
    into.push(piece(main, vcpus, slots));
    if let Some((staging, staged)) = staging
        && staging.booked().start < staging.booked().end
    {
        into.push(piece(staging.booked(), vcpus, staged));
    }
}

/// What a lease uses.
pub(crate) fn lease_use(lease: &Lease) -> Vec<Booking> {
    // What waits for room has nothing yet.
    if lease.deleted || lease.status == LeaseStatus::Waiting {
        return Vec::new();
    }
    let (mut new, mut old, mut waits) = (Vec::new(), Vec::new(), false);
    for reservation in lease.reservations.iter().filter(|one| one.status != ReservationStatus::Deleted) {
        let wish = reservation.wish.instance();
        let bound = |bindings: &[crate::model::Binding]| {
            bindings.iter().filter(|one| one.phase == Phase::Staging).fold(0u32, |sum, one| sum.saturating_add(one.slots))
        };
        // Once staging has begun an update changes the amount of the main window only.
        let staged = if reservation.stage < Stage::Staging { wish.amount } else { bound(&reservation.bindings) };
        let staging = reservation.staging.map(|staging| (staging, staged));
        wish_use(lease.interval(), wish.vcpus, wish.amount, staging, &mut new);
        if let Some(previous) = &reservation.previous {
            waits = true;
            let wish = previous.wish.instance();
            let staging = previous.staging.map(|staging| (staging, bound(&previous.bindings)));
            wish_use(previous.interval, wish.vcpus, wish.amount, staging, &mut old);
        }
    }
    if !waits {
        return new;
    }
    let mut both = Vec::new();
    pointwise_max(&old, &new, &mut both);
    both
}

/// vCPU-seconds of pieces within an interval.
pub(crate) fn vcpu_seconds(pieces: &[Booking], within: Interval) -> i64 {
    let of = |piece: &Booking| {
        let seconds = piece.interval.end.min(within.end).0.saturating_sub(piece.interval.start.max(within.start).0);
        i64::from(seconds) * i64::from(piece.amounts.vcpus)
    };
    pieces.iter().map(of).fold(0, i64::saturating_add)
}

/// The period in which a second lies.
pub(crate) fn period_of(at: Seconds, period_s: u32) -> Interval {
    let start = at.0 - at.0 % period_s;
    Interval { start: Seconds(start), end: Seconds(start.saturating_add(period_s)) }
}

impl State {
    /// What a project has reserved: steps within an interval, the first one at its start. Only where its use is limited.
    pub(crate) fn use_in(&self, project: &ProjectId, within: Interval) -> Vec<(Seconds, Amounts)> {
        let Some(profile) = self.usage.get(project) else { return vec![(within.start, Amounts::default())] };
        let later = profile.steps_in(within).filter(|(at, _)| *at > within.start);
        std::iter::once((within.start, profile.at(within.start))).chain(later).collect()
    }

    /// The first instant after this one at which what a project has reserved changes. Only where its use is limited.
    pub(crate) fn next_use_step(&self, project: &ProjectId, after: Seconds) -> Option<Seconds> {
        let later = Interval::new(after.plus(1), Seconds::OPEN_END)?;
        self.usage.get(project)?.steps_in(later).map(|(at, _)| at).next()
    }

    /// As [`State::use_in`], also where use is not limited: then it is counted from the leases.
    pub(crate) fn use_of(&self, project: &ProjectId, within: Interval) -> Vec<(Seconds, Amounts)> {
        if self.limits_of(project).count_use() {
            return self.use_in(project, within);
        }
        let profile = Profile::of(&self.leases_of(project).flat_map(lease_use).collect::<Vec<_>>());
        let later = profile.steps_in(within).filter(|(at, _)| *at > within.start);
        std::iter::once((within.start, profile.at(within.start))).chain(later).collect()
    }

    /// When the last of what a project has reserved begins or ends, but for an open end.
    pub(crate) fn last_use(&self, project: &ProjectId) -> Option<Seconds> {
        let profile = self.usage.get(project)?;
        profile.steps().map(|(at, _)| at).filter(|at| *at != Seconds::OPEN_END).last()
    }

    /// vCPU-seconds that a project has used or reserved of a period.
    pub(crate) fn budget_used(&self, project: &ProjectId, period: Interval) -> i64 {
        self.budget_with(project, period, &self.use_in(project, period))
    }

    /// As [`State::budget_used`], also where use is not limited.
    pub(crate) fn budget_of(&self, project: &ProjectId, period: Interval) -> i64 {
        self.budget_with(project, period, &self.use_of(project, period))
    }

    fn budget_with(&self, project: &ProjectId, period: Interval, steps: &[(Seconds, Amounts)]) -> i64 {
        let ends = steps.iter().skip(1).map(|(at, _)| *at).chain(std::iter::once(period.end));
        let reserved = steps
            .iter()
            .zip(ends)
            .fold(0i64, |sum, ((at, used), end)| sum.saturating_add(i64::from(end.0 - at.0) * i64::from(used.vcpus)));
        let spent = self.quota(Some(project)).and_then(|row| row.spent);
        let spent = spent.filter(|spent| spent.period_start == period.start && spent.period_s == period.end.0 - period.start.0);
        reserved.saturating_add(spent.map_or(0, |spent| spent.vcpu_s))
    }

    /// Brings the use of a project from the old to the new value of one of its leases. What was used up to now stays used.
    pub(super) fn recount_use(&mut self, old: Option<&Lease>, new: Option<&Lease>) {
        let Some(lease) = new.or(old) else { return };
        let limits = self.limits_of(&lease.project_id);
        if !limits.count_use() {
            return;
        }
        let project = lease.project_id.clone();
        let (before, after) = (old.map(lease_use).unwrap_or_default(), new.map(lease_use).unwrap_or_default());
        // Planted bug: what a deleted lease had stays used.
        if before == after || (mutant!("Q03") && after.is_empty()) {
            return;
        }
        let profile = self.usage.entry(project.clone()).or_default();
        for piece in &before {
            profile.change(piece.interval, |used| used.checked_sub(piece.amounts).expect("what is taken off was added"));
        }
        for piece in &after {
            profile.change(piece.interval, |used| used.checked_add(piece.amounts).expect("no project has that many vCPUs"));
        }
        if profile.is_empty() {
            self.usage.remove(&project);
        }
        // What was withdrawn while it was being made was never had, nor what waits for room until its promotion is agreed to.
        let never_had = old.is_some_and(|old| old.wait.is_some() || (new.is_none() && old.status == LeaseStatus::Creating));
        if limits.get(LimitKind::VcpuHours).is_some() && !never_had {
            self.keep_spent(&project, limits.period_s(), &before, &after);
        }
    }

    fn keep_spent(&mut self, project: &ProjectId, period_s: u32, before: &[Booking], after: &[Booking]) {
        let now = self.meta.clock.floor_to_second();
        let period = period_of(now, period_s);
        let Some(past) = Interval::new(period.start, now) else { return };
        let lost = vcpu_seconds(before, past).saturating_sub(vcpu_seconds(after, past));
        if lost == 0 {
            return;
        }
        let mut row = self.quota(Some(project)).cloned().unwrap_or_default();
        let same = |spent: &Spent| spent.period_start == period.start && spent.period_s == period_s;
        let kept = row.spent.filter(same).map_or(0, |spent| spent.vcpu_s);
        row.spent = Some(Spent { period_start: period.start, period_s, vcpu_s: kept.saturating_add(lost) });
        self.write_quota(Some(project), row);
    }

    /// Sets the quota of a project, or under `None` the defaults; what is empty leaves no row.
    pub(crate) fn put_quota(&mut self, project: Option<&ProjectId>, row: QuotaRow) {
        self.write_quota(project, row);
        match project {
            Some(project) => self.count_use_of(&project.clone()),
            None => self.count_all_use(),
        }
    }

    fn write_quota(&mut self, project: Option<&ProjectId>, row: QuotaRow) {
        let key = project.cloned();
        let hash = self.quotas.hash(&key);
        self.recorder.rows.entry(RowId::Quota(key.clone())).or_insert(hash);
        if row == QuotaRow::default() {
            self.quotas.remove(&key);
        } else {
            self.quotas.insert(key, row, 0);
        }
    }

    /// Counts the use of every project anew.
    pub(super) fn count_all_use(&mut self) {
        self.usage.clear();
        if self.quotas.len() == 0 {
            return;
        }
        let projects: Vec<ProjectId> = self.by_project.keys().cloned().collect();
        projects.iter().for_each(|project| self.count_use_of(project));
    }

    fn count_use_of(&mut self, project: &ProjectId) {
        match self.counted(project) {
            Some(profile) => self.usage.insert(project.clone(), profile),
            None => self.usage.remove(project),
        };
    }

    /// From the leases alone; `None` where nothing is used or use is not limited.
    fn counted(&self, project: &ProjectId) -> Option<Profile> {
        if !self.limits_of(project).count_use() {
            return None;
        }
        let pieces: Vec<Booking> = self.leases_of(project).flat_map(lease_use).collect();
        Some(Profile::of(&pieces)).filter(|profile| !profile.is_empty())
    }

    /// A project whose use is not what its leases say.
    pub(super) fn miscounted_use(&self) -> Option<&ProjectId> {
        let wrong = |project: &&ProjectId| self.counted(project).as_ref() != self.usage.get(*project);
        self.by_project.keys().chain(self.usage.keys()).find(wrong)
    }
}
