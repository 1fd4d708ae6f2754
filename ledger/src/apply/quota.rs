//! Whether a project may have what a lease asks for. A limit refuses new use only: what is there stays whatever is set
//! later, and a change is held against no limit of which it takes no more than before.

use super::schedule::Schedule;
use crate::command::LeaseWish;
use crate::model::{Amounts, Excess, InForce, Interval, Lease, LimitKind, ProjectId, Seconds, Timestamp};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::usage::{lease_use, period_of, vcpu_seconds, wish_use};
use crate::state::{Booking, State, segments, sum_at};

const HOUR_S: i64 = 3600;

/// Of a new lease. Rejections: `QuotaExceeded`.
pub(crate) fn check_new(state: &State, wish: &LeaseWish, schedule: &Schedule, now: Timestamp) -> Result<(), Rejection> {
    check_series(state, wish, &[schedule], now)
}

/// Of new leases that are alike but for their times. What counts is what all of them take together. Rejections: `QuotaExceeded`.
pub(crate) fn check_series(state: &State, wish: &LeaseWish, all: &[&Schedule], now: Timestamp) -> Result<(), Rejection> {
    let limits = state.limits_of(&wish.project_id);
    if wish.ignore_quota || limits.none() {
        return Ok(());
    }
    all.iter().try_for_each(|schedule| check_reach(&limits, None, schedule.interval, now))?;
    let pieces: Vec<Booking> = all.iter().flat_map(|schedule| use_of(wish, schedule)).collect();
    check_use(state, &limits, &wish.project_id, &[], &pieces, now)
}

/// What a new lease would use.
pub(crate) fn use_of(wish: &LeaseWish, schedule: &Schedule) -> Vec<Booking> {
    let mut pieces = Vec::new();
    for (one, staging) in wish.reservations.iter().zip(&schedule.staging) {
        let instance = one.resource.instance();
        let staging = staging.map(|staging| (staging, instance.amount));
        wish_use(schedule.interval, instance.vcpus, instance.amount, staging, &mut pieces);
    }
    pieces
}

/// Of a lease that waited for room, as it is to be booked: until now it took nothing. Rejections: `QuotaExceeded`.
pub(crate) fn check_promoted(state: &State, lease: &Lease, now: Timestamp) -> Result<(), Rejection> {
    let limits = state.limits_of(&lease.project_id);
    if limits.none() {
        return Ok(());
    }
    check_reach(&limits, None, lease.interval(), now)?;
    check_use(state, &limits, &lease.project_id, &[], &lease_use(lease), now)
}

/// Of a lease as it is to be. Rejections: `QuotaExceeded`.
pub(crate) fn check_change(state: &State, before: &Lease, after: &Lease, now: Timestamp) -> Result<(), Rejection> {
    let limits = state.limits_of(&before.project_id);
    // Planted bug: what a change adds is not counted.
    if limits.none() || mutant!("Q02") {
        return Ok(());
    }
    check_reach(&limits, Some(before.interval()), after.interval(), now)?;
    check_use(state, &limits, &before.project_id, &lease_use(before), &lease_use(after), now)
}

/// How far ahead a lease starts and ends, and how long it lasts.
fn check_reach(limits: &InForce, before: Option<Interval>, after: Interval, now: Timestamp) -> Result<(), Rejection> {
    let now = now.floor_to_second();
    let lasts = |interval: Interval| (interval.end != Seconds::OPEN_END).then(|| interval.end.0 - interval.start.0);
    let later = |new: Seconds, old: Option<Seconds>| old.is_none_or(|old| new > old);
    let longer = before.is_none_or(|before| match (lasts(after), lasts(before)) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new > old,
    });
    let start_ahead = Some(after.start.0.saturating_sub(now.0));
    let end_ahead = (after.end != Seconds::OPEN_END).then(|| after.end.0.saturating_sub(now.0));
    for (kind, asked, wanted) in [
        (LimitKind::StartAheadS, later(after.start, before.map(|before| before.start)), start_ahead),
        (LimitKind::EndAheadS, later(after.end, before.map(|before| before.end)), end_ahead),
        (LimitKind::DurationS, longer, lasts(after)),
    ] {
        let Some(limit) = limits.get(kind).filter(|limit| asked && wanted.is_none_or(|wanted| wanted > *limit)) else { continue };
        let (wanted, fits) = (wanted.map(u64::from), u64::from(limit));
        return Err(Rejection::QuotaExceeded(Excess { kind, limit, used: 0, wanted, at: None, fits }));
    }
    Ok(())
}

/// What the leases of a project take together.
fn check_use(
    state: &State,
    limits: &InForce,
    project: &ProjectId,
    before: &[Booking],
    after: &[Booking],
    now: Timestamp,
) -> Result<(), Rejection> {
    for kind in [LimitKind::Slots, LimitKind::Vcpus] {
        let Some(limit) = limits.get(kind) else { continue };
        // The first of the tightest moments.
        if let Some(worst) = over(state, limit, kind, project, before, after, now).min_by_key(|over| over.fits) {
            return Err(Rejection::QuotaExceeded(worst));
        }
    }
    match limits.get(LimitKind::VcpuHours) {
        Some(limit) => check_budget(state, limit, limits.period_s(), project, before, after, now.floor_to_second()),
        None => Ok(()),
    }
}

/// Of slots or of vCPUs.
pub(crate) fn of_kind(kind: LimitKind, amounts: Amounts) -> u32 {
    if kind == LimitKind::Slots { amounts.slots } else { amounts.vcpus }
}

/// The moments at which what is used changes and at which more is wanted than before, and more than is left, in their order.
pub(crate) fn over<'a>(
    state: &'a State,
    limit: u32,
    kind: LimitKind,
    project: &'a ProjectId,
    before: &'a [Booking],
    after: &'a [Booking],
    now: Timestamp,
) -> impl Iterator<Item = Excess> + 'a {
    let now = now.floor_to_second();
    let host = after.first().map(|piece| piece.host);
    let parts = host.into_iter().flat_map(move |host| segments(host, before, after).into_iter().map(move |part| (host, part)));
    parts.filter_map(move |(host, part)| Some((host, part.to_come(now)?))).flat_map(move |(host, part)| {
        // What the lease has itself is constant within a segment, and counted.
        let (had, wanted) = (of_kind(kind, sum_at(host, part, before)), of_kind(kind, sum_at(host, part, after)));
        let steps = if wanted > had { state.use_in(project, part) } else { Vec::new() };
        steps.into_iter().filter_map(move |(at, used)| {
            let used = of_kind(kind, used).saturating_sub(had);
            let fits = limit.saturating_sub(used);
            let (used, fits, at) = (u64::from(used), u64::from(fits), Some(at));
            let wanted = u64::from(wanted);
            (wanted > fits).then_some(Excess { kind, limit, used, wanted: Some(wanted), at, fits })
        })
    })
}

/// In every period of which more is wanted than before, from now on: what is past was used and cannot be taken back.
fn check_budget(
    state: &State,
    limit: u32,
    period_s: u32,
    project: &ProjectId,
    before: &[Booking],
    after: &[Booking],
    now: Seconds,
) -> Result<(), Rejection> {
    let mut worst: Option<Excess> = None;
    let mut period = match after.iter().map(|piece| piece.interval.start).min() {
        Some(first) => period_of(first.max(now), period_s),
        None => return Ok(()),
    };
    // After all that begins or ends, one period is as the next.
    let borders = before.iter().chain(after).flat_map(|piece| [piece.interval.start, piece.interval.end]);
    let last = borders.filter(|at| *at != Seconds::OPEN_END).chain(state.last_use(project)).max().unwrap_or(now).max(now);
    let last = period_of(last, period_s).end;
    loop {
        if let Some(over) = over_budget(state, limit, project, before, after, period, now)
            && worst.is_none_or(|worst| over.fits < worst.fits)
        {
            worst = Some(over);
        }
        if period.start >= last || period.end >= Seconds::LAST {
            break;
        }
        period = period_of(period.end, period_s);
    }
    worst.map_or(Ok(()), |worst| Err(Rejection::QuotaExceeded(worst)))
}

/// Where more of a period is wanted than before, and more than is left of its budget.
fn over_budget(
    state: &State,
    limit: u32,
    project: &ProjectId,
    before: &[Booking],
    after: &[Booking],
    period: Interval,
    now: Seconds,
) -> Option<Excess> {
    let to_come = period.to_come(now)?;
    let (had, wanted) = (vcpu_seconds(before, to_come), vcpu_seconds(after, to_come));
    if wanted <= had {
        return None;
    }
    let left = budget_left(state, limit, project, had, period);
    if wanted <= left {
        return None;
    }
    let up = |vcpu_s: i64| u64::try_from(vcpu_s.max(0)).unwrap_or(0).div_ceil(HOUR_S as u64);
    let fits = u64::try_from(left.max(0)).unwrap_or(0) / HOUR_S as u64;
    let (kind, at, used) = (LimitKind::VcpuHours, Some(period.start), up(i64::from(limit) * HOUR_S - left));
    Some(Excess { kind, limit, used, wanted: Some(up(wanted)), at, fits })
}

/// vCPU-seconds of the budget of a period that a lease may use, which had so many of them; less than 0 where others have more than all.
pub(crate) fn budget_left(state: &State, limit: u32, project: &ProjectId, had: i64, period: Interval) -> i64 {
    i64::from(limit) * HOUR_S - state.budget_used(project, period).saturating_sub(had)
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_project_has_no_more_at_a_time_than_its_quota() {
        check(
            "10:00 hosts h1 h2 vcpus=8
               10:00 quota slots=4 -> 1 rows
               10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
               10:00 lease B 11:00..13:00 n=2 -> over slots: 2 beside 3 of 4 at 12:00, fits 1, largest=1 next=14:00
               10:00 lease B 11:00..13:00 n=2 plan=h2*2 -> over slots: 2 beside 3 of 4 at 12:00, fits 1
               10:00 lease B 11:00..12:00 n=4 -> PENDING h1*4
               10:00 lease C 14:00..open n=4 offer=13:00 -> PENDING h1*4
               10:00 lease D 20:00..21:00 -> over slots: 1 beside 4 of 4 at 20:00, fits 0, largest=0 next=-
               10:00 lease D 20:00..21:00 exempt -> PENDING h1*1
               10:00 claim C -> PENDING
               10:00 update A n=4 -> PENDING h1*4
               10:00 update A n=5 -> over slots: 5 beside 0 of 4 at 12:00, fits 4, largest=4 next=-
               10:00 update A end=14:01 -> over slots: 4 beside 4 of 4 at 14:00, fits 0, largest=0 next=-
               10:00 update A end=14:01 exempt -> PENDING h1*4
               10:00 quota for=p vcpus=9 slots=unlimited -> 2 rows
               10:00 lease E 12:00..14:00 n=5 -> PENDING h2*5
               10:00 lease F 12:00..14:00 -> over vcpus: 1 beside 9 of 9 at 12:00, fits 0, largest=0 next=14:00
               10:00 quota for=p unset=vcpus,slots -> 1 rows
               10:00 quota unset=slots -> 0 rows
               10:00 lease F 12:00..14:00 -> PENDING h2*1",
        );
    }

    #[test]
    fn a_limit_that_is_lowered_refuses_new_use_only() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 lease A 12:00..14:00 n=6 -> PENDING h1*6
               10:00 quota slots=2 -> 1 rows
               10:00 update A name=B -> PENDING h1*6
               10:00 update A start=12:30 -> PENDING h1*6
               10:00 update A n=5 -> PENDING h1*5
               10:00 update A n=6 -> over slots: 6 beside 0 of 2 at 12:30, fits 2, largest=5 next=-
               10:00 update A start=12:00 -> over slots: 5 beside 0 of 2 at 12:00, fits 2, largest=2 next=-
               12:30 clock -> start A
               12:30 done start A -> A ACTIVE active:Open
               12:40 update A end=13:30 -> ACTIVE h1*5
               12:40 update A n=1 -> ACTIVE h1*1
               12:40 lease B 12:40..13:00 n=1 -> PENDING h1*1
               12:40 lease C 12:50..13:00 n=1 -> over slots: 1 beside 2 of 2 at 12:50, fits 0, largest=0 next=13:00",
        );
    }

    #[test]
    fn staging_counts_where_it_is_booked() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota slots=4 -> 1 rows
               10:00 lease A 12:00..14:00 n=3 staging=10:10..10:30 -> PENDING staging:h1*3 h1*3
               10:00 lease B 10:00..12:00 n=2 -> over slots: 2 beside 3 of 4 at 10:10, fits 1, largest=1 next=14:00
               10:00 lease B 10:40..12:00 n=4 -> PENDING h1*4
               10:00 lease C 16:00..17:00 n=2 staging=10:35..10:45 margin=0 -> over slots: 2 beside 4 of 4 at 10:40, fits 0, largest=0 next=-",
        );
    }

    #[test]
    fn how_far_and_how_long_a_lease_may_reach() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota duration_s=3600 start_ahead_s=7200 end_ahead_s=9000 -> 1 rows
               10:00 lease A 12:00:01..12:10 -> over start_ahead_s: 7201 beside 0 of 7200 at -, fits 7200
               10:00 lease A 12:00..12:30:01 -> over end_ahead_s: 9001 beside 0 of 9000 at -, fits 9000
               10:00 lease A 11:00..12:00:01 -> over duration_s: 3601 beside 0 of 3600 at -, fits 3600
               10:00 lease A 11:00..open -> over end_ahead_s: open beside 0 of 9000 at -, fits 9000
               10:00 lease A 12:00..12:30 -> PENDING h1*1
               10:00 update A end=12:31 -> over end_ahead_s: 9060 beside 0 of 9000 at -, fits 9000
               10:00 update A start=11:00 -> over duration_s: 5400 beside 0 of 3600 at -, fits 3600
               10:00 update A start=11:30 -> PENDING h1*1
               10:00 quota duration_s=60 -> 1 rows
               10:00 update A n=2 -> PENDING h1*2
               10:00 update A end=12:29 -> PENDING h1*2",
        );
    }

    #[test]
    fn what_was_used_of_a_budget_stays_used() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota vcpu_hours=10 period_s=86400 -> 1 rows
               10:00 lease A 10:00..14:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:00 lease B 14:00..16:00 n=2 -> over vcpu_hours: 4 beside 8 of 10 at 00:00, fits 2, largest=1 next=23:00
               10:00 lease B 23:00..25:00 n=3 -> over vcpu_hours: 3 beside 8 of 10 at 00:00, fits 2, largest=2 next=23:20
               11:00 update A n=1 -> ACTIVE h1*1
               11:00 spent period_s=86400 -> 18000 vcpu_s
               12:00 delete A -> booked, row stays
               12:00 spent period_s=86400 -> 10800 vcpu_s
               12:00 lease B 12:00..20:00 -> over vcpu_hours: 8 beside 3 of 10 at 00:00, fits 7, largest=0 next=17:00
               12:00 lease B 12:00..19:00 -> PENDING h1*1
               12:00 lease C 24:00..29:00 n=2 -> PENDING h1*2
               12:00 update C end=29:01 -> over vcpu_hours: 11 beside 0 of 10 at 24:00, fits 10, largest=1 next=43:00
               12:00 lease D 50:00..open -> over vcpu_hours: 22 beside 0 of 10 at 48:00, fits 10, largest=0 next=-
               12:00 quota unset=vcpu_hours -> 2 rows
               12:00 lease D 50:00..open -> PENDING h1*1",
        );
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        check(
            "10:00 quota period_s=unlimited -> refused Invalid period_s
               10:00 quota period_s=86399 -> refused Invalid period_s
               10:00 quota slots=1 unset=slots -> refused Invalid unset
               10:00 quota for= slots=1 -> refused Invalid project_id
               10:00 quota for=x*256 slots=1 -> refused Invalid project_id
               10:00 quota unset=slots -> 0 rows",
        );
    }

    #[test]
    fn a_refusal_does_not_use_its_key_up() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota slots=0 -> 1 rows
               10:00 lease A 12:00..13:00 plan=h1*1 key=1 -> over slots: 1 beside 0 of 0 at 12:00, fits 0
               10:00 key 1 until=24:00 -> unknown
               10:00 quota slots=1 -> 1 rows
               10:00 lease A 12:00..13:00 key=1 -> PENDING h1*1",
        );
    }
}
