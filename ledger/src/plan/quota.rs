//! A new lease that goes beyond the quota of its project: what of it, and when all of it, is within and has room.

use super::later::{Lacks, fewer, length_of, next_start, with_servers};
use super::place::{Over, place};
use super::together::{Steps, largest};
use super::{NoPlan, NoRoom, Planned, Tell};
use crate::apply::quota::check_new;
use crate::apply::schedule::{Schedule, moved, resolve_create};
use crate::command::{LeaseWish, StartWish};
use crate::model::{Anchor, Excess, ReservationId, Seconds};
use crate::reply::Rejection;

/// So many reservations of a lease are tried with fewer instances, one by one.
pub(super) const SHRUNK_MAX: usize = 8;

/// The plan of a lease whose start is left open, at the first start up to `latest` at which it is within the quota and has room. The
/// schedule is that of the start at which it is beyond the quota.
pub(super) fn later(
    over: Over<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    latest: Seconds,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
) -> Option<Planned> {
    // From when on it is within the quota is asked of starts beyond the last one, too.
    let StartWish::Earliest { from, .. } = wish.start else { return None };
    let wish = LeaseWish { start: StartWish::Earliest { from, latest: Seconds::LAST }, ..wish.clone() };
    // What the search for room has cost is not to be missing here.
    let steps = Steps::new();
    let over = Over { steps: &steps, ..over };
    let start = next_start(over, &wish, schedule, Lacks::Quota { open_until: Some(latest) }, anchors)?;
    let begun = moved(&wish, start, over.now).ok()?;
    let planned = place(over, &begun, &resolve_create(&begun, over.now).ok()?, ids, anchors).ok()?;
    Some(Planned { moved_to: Some(start), ..planned })
}

/// Of a lease that is refused for its quota: what would fit instead. For the limits of single leases (`start_ahead_s` and its like)
/// nothing is sought: fewer of it and a later start are refused as well.
pub(super) fn instead(
    over: Over<'_>,
    wish: &LeaseWish,
    schedule: &Schedule,
    excess: Excess,
    anchors: &[Vec<Anchor>],
) -> Option<NoRoom> {
    excess.at?;
    let mut amounts =
        (0..wish.reservations.len().min(SHRUNK_MAX)).map(|one| (one, largest_of(over, wish, schedule, one, anchors)));
    // Where none by itself can be made smaller so that all of it fits, the first one is named, with none of it.
    let (reservation, largest_amount) = amounts.find(|(_, amount)| *amount > 0).unwrap_or_default();
    // What the amounts have cost is not to be missing here.
    let steps = Steps::new();
    let next_start = next_start(Over { steps: &steps, ..over }, wish, schedule, Lacks::Quota { open_until: None }, anchors);
    let length = length_of(schedule.interval.start, schedule.interval.end);
    Some(NoRoom {
        quota: Some(excess),
        reservation,
        short_by: wish.reservations.get(reservation)?.resource.instance().amount - largest_amount,
        largest_amount,
        next_start,
        next_end: next_start.zip(length).map(|(start, length)| start.plus(length)),
        ..NoRoom::default()
    })
}

/// See [`instead`], where that is to be told.
pub(super) fn refused(tell: Tell, excess: Excess, instead: impl FnOnce() -> Option<NoRoom>) -> NoPlan {
    let told = if tell == Tell::WhatFits { instead() } else { None };
    told.map_or(NoPlan::Rejected(Rejection::QuotaExceeded(excess)), NoPlan::NoRoom)
}

/// The largest amount of one reservation with which all of the lease is within the quota and has room; 0: there is none.
fn largest_of(over: Over<'_>, wish: &LeaseWish, schedule: &Schedule, reservation: usize, anchors: &[Vec<Anchor>]) -> u32 {
    let one = &wish.reservations[reservation];
    let within = |amount: u32| check_new(over.state, &fewer(wish, reservation, amount), schedule, over.now).is_ok();
    let amount = one.resource.instance().amount;
    let allowed = if amount > 1 && within(1) { largest(amount, 1, within) } else { 0 };
    let fits =
        |amount: u32| !over.steps.are_spent() && place(over, &fewer(wish, reservation, amount), schedule, &[], anchors).is_ok();
    with_servers(one, largest(allowed + 1, allowed, fits))
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_start_that_is_left_open_goes_on_to_where_the_quota_allows_it() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 quota slots=4 -> 1 rows
               10:00 quota for=q slots=unlimited -> 2 rows
               10:00 lease X 12:00..13:00 n=8 project=q -> PENDING h1*4 h2*4
               10:00 lease A 13:00..14:00 n=3 -> PENDING h1*3
               10:00 lease B 12:00..13:00 n=2 latest=13:59:59 -> over slots: 2 beside 3 of 4 at 13:00, fits 1, largest=0 next=14:00
               10:00 lease B 12:00..13:00 n=2 latest=14:00 -> PENDING 14:00..15:00 h1*2
               10:00 lease C 12:00..13:00 n=2 latest=20:00 offer=13:00 -> PENDING 14:00..15:00 h1*2
               10:00 lease D 13:00..14:00 n=2 latest=20:00 -> PENDING 15:00..16:00 h1*2
               10:00 lease E 13:30..14:00 n=1 latest=20:00 -> PENDING h1*1
               10:00 lease F 13:30..14:30 n=1 latest=20:00 exempt -> PENDING h2*1",
        );
    }

    #[test]
    fn what_waits_is_booked_where_the_quota_allows_it() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 quota slots=4 -> 1 rows
               10:00 quota for=q slots=unlimited -> 2 rows
               10:00 lease X 12:00..19:00 n=4 project=q -> PENDING h1*4
               10:00 lease W 12:00..13:00 n=2 latest=18:00 wait=11:30 -> WAITING
               10:00 lease A 19:00..20:00 n=3 exempt -> PENDING h1*3
               10:01 delete X -> free, row gone
               10:01 lease B 12:00..13:00 n=3 -> PENDING h1*3
               10:02 lease C 13:00..13:30 n=1 project=q -> PENDING h1*1
               10:02 lease D 13:00..13:30 n=3 -> PENDING h1*3
               10:02 promote W -> PENDING 13:30..14:30 h1*2",
        );
    }

    #[test]
    fn staging_windows_move_with_a_start_that_is_left_open() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota slots=4 -> 1 rows
               10:00 lease A 12:00..13:00 n=2 -> PENDING h1*2
               10:00 lease C 11:15..11:25 n=2 -> PENDING h1*2
               10:00 lease B 12:00..13:00 n=3 latest=20:00 staging=10:10..10:30 margin=0 -> PENDING 13:15..14:15 staging:h1*3 h1*3
               10:00 lease D 12:30..13:00 n=3 latest=20:00 staging=11:10..11:20 margin=0 -> PENDING 14:20..14:50 staging:h1*3 h1*3
               10:00 quota slots=unlimited vcpu_hours=8 period_s=86400 -> 1 rows
               10:00 lease E 23:00..25:00 n=1 latest=40:00 staging=22:00..22:30 margin=0 -> PENDING 25:00..27:00 staging:h1*1 h1*1",
        );
    }

    #[test]
    fn of_several_reservations_the_one_that_helps_is_named() {
        check(
            "10:00 hosts h1 vcpus=16
               10:00 quota slots=6 -> 1 rows
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               10:00 lease B 13:00..15:00 n=1 + n=4 -> over slots: 5 beside 2 of 6 at 13:00, fits 4, largest=3 next=14:00
               10:00 lease B 13:00..15:00 n=3 + n=4 -> over slots: 7 beside 2 of 6 at 13:00, fits 4, largest=1 next=-
               10:00 lease B 13:00..15:00 n=5 + n=5 -> over slots: 10 beside 2 of 6 at 13:00, fits 4, largest=0 next=-
               10:00 lease B 13:00..15:00 n=3 + n=3 latest=16:00 -> PENDING 14:00..16:00 h1*3 h1*3",
        );
    }

    #[test]
    fn many_leases_in_a_row_are_passed_over() {
        let mut script = "10:00 hosts h1 vcpus=8\n10:00 quota slots=4 -> 1 rows\n".to_owned();
        for number in 0..80 {
            let (hour, minute) = (11 + number / 4, number % 4 * 15);
            let (end_hour, end_minute) = (11 + (number + 1) / 4, (number + 1) % 4 * 15);
            let (n, vcpus) = if number % 2 == 0 { (4, 1) } else { (3, 2) };
            let bound = format!("PENDING h1*{n}");
            script +=
                &format!("10:00 lease L{number} {hour}:{minute:02}..{end_hour}:{end_minute:02} n={n} vcpus={vcpus} -> {bound}\n");
        }
        script += "10:00 lease B 11:00..11:10 n=2 -> over slots: 2 beside 4 of 4 at 11:00, fits 0, largest=0 next=31:00\n";
        script += "10:00 lease B 11:00..11:20 n=2 latest=32:00 -> PENDING 31:00..31:20 h1*2";
        check(&script);
    }

    #[test]
    fn many_periods_that_are_used_up_are_passed_over() {
        let mut script = "10:00 hosts h1 vcpus=8\n10:00 quota vcpu_hours=24 period_s=86400 -> 1 rows\n".to_owned();
        for day in 1..=40 {
            script += &format!("10:00 lease L{day} {}:00..{}:00 -> PENDING h1*1\n", day * 24, day * 24 + 24);
        }
        script += "10:00 lease B 25:00..26:00 -> over vcpu_hours: 1 beside 24 of 24 at 24:00, fits 0, largest=0 next=984:00\n";
        script += "10:00 lease B 25:00..26:00 latest=1500:00 -> PENDING 984:00..985:00 h1*1";
        check(&script);
    }

    #[test]
    fn a_lease_of_nothing_may_lie_too_far_ahead() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota duration_s=3600 slots=1 -> 1 rows
               10:00 lease A 12:00..13:00:01 reservations=0 latest=14:00 -> over duration_s: 3601 beside 0 of 3600 at -, fits 3600
               10:00 lease A 12:00..13:00 reservations=0 latest=14:00 -> PENDING",
        );
    }
}
