//! What would fit instead of a change that does not: fewer, later, or until an earlier end.

use super::super::later::{Fit, Trials, length_of};
use super::super::quota::{self, SHRUNK_MAX};
use super::super::room::View;
use super::super::starts::{self, Beginning, HORIZON_S, Tried};
use super::super::together::{Steps, largest};
use super::super::within::{self, Beyond};
use super::super::{NoPlan, NoRoom, Tell};
use super::{anchors_of, rebook};
use crate::apply::quota::check_change;
use crate::apply::update_lease::{has_started, resolve_update};
use crate::command::{BeforeEndWish, EndWish, LeaseChange, ReservationChange, StartWish};
use crate::model::{Anchor, Excess, Interval, Lease, Seconds, Timestamp};
use crate::reply::Rejection;
use crate::state::usage::lease_use;

/// A change that has no room, or goes beyond the quota.
pub(super) struct Refused<'a> {
    pub before: &'a Lease,
    pub change: &'a LeaseChange,
    /// As it was to be.
    pub after: &'a Lease,
    pub now: Timestamp,
}

impl Refused<'_> {
    /// What is short, and what may be asked for instead; all of it was planned with all of the lease.
    pub fn instead(&self, view: &mut View<'_>, no_room: NoRoom) -> NoRoom {
        view.tell = Tell::Shortage;
        let largest_amount = self.largest(view, no_room.reservation, no_room.largest_amount, &Steps::new());
        self.in_time(view, NoRoom { largest_amount, ..no_room })
    }

    /// See [`Refused::instead`], of a change that is refused for the quota; nothing is sought where the view does not tell it, and
    /// for the limits of single leases.
    pub fn beyond_quota(&self, view: &mut View<'_>, rejection: Rejection) -> NoPlan {
        let Rejection::QuotaExceeded(excess) = rejection else { return NoPlan::Rejected(rejection) };
        let tell = std::mem::replace(&mut view.tell, Tell::Shortage);
        quota::refused(tell, excess, || self.within_quota(view, excess))
    }

    fn within_quota(&self, view: &mut View<'_>, excess: Excess) -> Option<NoRoom> {
        excess.at?;
        let steps = Steps::new();
        let there = self.after.reservations.iter().enumerate().filter(|(_, one)| !one.has_ended()).take(SHRUNK_MAX);
        let mut amounts = there.map(|(reservation, _)| (reservation, self.largest(view, reservation, 0, &steps)));
        let (reservation, largest_amount) = amounts.find(|(_, amount)| *amount > 0).unwrap_or_default();
        // Where none can be made smaller it is the first that is there still.
        let reservation = self.after.reservations.iter().position(|one| !one.has_ended()).unwrap_or(0).max(reservation);
        Some(self.in_time(view, NoRoom { quota: Some(excess), reservation, largest_amount, ..NoRoom::default() }))
    }

    /// The largest amount of one reservation with which all of the change fits; `guess` is tried first.
    fn largest(&self, view: &mut View<'_>, reservation: usize, guess: u32, steps: &Steps) -> u32 {
        let short = &self.after.reservations[reservation];
        // Servers that were taken over have a slot each: less is refused, and no matter of room.
        let adopted = short.adoption.as_ref().map_or(0, |adoption| u32::try_from(adoption.servers.len()).unwrap_or(u32::MAX));
        let fits = largest(short.wish.instance().amount, guess, |amount| {
            if amount < adopted {
                return true;
            }
            let mut fewer = self.change.clone();
            let mut resource = short.wish.clone();
            resource.instance_mut().amount = amount;
            match fewer.reservations.iter_mut().find(|one| one.reservation_id == short.id) {
                Some(one) => one.resource = resource,
                None => fewer.reservations.push(ReservationChange { reservation_id: short.id, resource, on_end: None }),
            }
            !steps.are_spent() && matches!(self.fit(view, &fewer, steps), Fit::Room)
        });
        if fits < adopted { 0 } else { fits }
    }

    /// What is short of the amount that is asked for, and when all of it fits.
    fn in_time(&self, view: &mut View<'_>, no_room: NoRoom) -> NoRoom {
        let has_started = has_started(self.before, self.now);
        let start_is_fixed = has_started || no_room.staging;
        let next_start = if start_is_fixed { None } else { self.next_start(view, no_room.quota.is_some()) };
        let length = length_of(self.after.start, self.after.end);
        let next_end = next_start.zip(length).map(|(start, length)| start.plus(length));
        let latest_end = if has_started { self.latest_end(view) } else { None };
        let short_by = self.after.reservations[no_room.reservation].wish.instance().amount - no_room.largest_amount;
        NoRoom { short_by, next_start, next_end, latest_end, start_is_fixed, ..no_room }
    }

    /// What comes of another change.
    fn fit(&self, view: &mut View<'_>, change: &LeaseChange, steps: &Steps) -> Fit {
        let Ok(resolved) = resolve_update(self.before, change, self.now) else { return Fit::NoRoom };
        let after = resolved.lease;
        let quota = if change.ignore_quota { Ok(()) } else { check_change(view.state, self.before, &after, self.now) };
        match quota {
            Err(beyond) => Fit::refused(beyond),
            Ok(()) if rebook(view, self.before, &after, self.now, steps).is_ok() => Fit::Room,
            Ok(()) => Fit::NoRoom,
        }
    }

    /// The first start that was found, not before the one asked for, from which all of the lease fits for as long; its staging stays
    /// where it is.
    fn next_start(&self, view: &mut View<'_>, is_beyond_quota: bool) -> Option<Seconds> {
        let Interval { start: wanted, end } = self.after.interval();
        let length = length_of(wanted, end);
        let anchors: Vec<Vec<Anchor>> = self.before.reservations.iter().map(|one| anchors_of(view, one)).collect();
        let wishes = self.after.reservations.iter().map(|one| one.wish.instance());
        let all: Vec<Beginning<'_>> = wishes.zip(&anchors).map(|(wish, anchors)| Beginning { anchors, wish, length }).collect();
        let (steps, mut trials) = (Steps::new(), Trials::of(all.len()));
        let had = lease_use(self.before);
        let mut judged = View { planned: Vec::new(), looks: Default::default(), ..*view };
        let mut judge = |start: Seconds, trials: &mut Trials| {
            // There it was just refused; for the quota it is again, which says from when on it is not.
            if start == wanted && !is_beyond_quota {
                return Tried::GoOn;
            }
            let fit = self.fit(&mut judged, &self.moved_to(start, length), &steps);
            trials.judge(start, fit, steps.are_spent(), |excess| {
                let used_from = |start| {
                    let moved = resolve_update(self.before, &self.moved_to(start, length), self.now).ok()?;
                    Some(lease_use(&moved.lease))
                };
                let (state, project, now) = (judged.state, &self.before.project_id, self.now);
                let judge = |start: Seconds| {
                    let moved = resolve_update(self.before, &self.moved_to(start, length), now).ok()?;
                    check_change(state, self.before, &moved.lease, now).err()
                };
                within::first_within(start, excess, judge, |start, excess| {
                    Beyond { state, project, start, had: &had, used_from, moves_whole: false, now }.within_from(excess)
                })
            })
        };
        view.planned.clear();
        let last = wanted.plus(HORIZON_S);
        // Where a reservation must be booked beside the old place of another, more has room from the old end on, though on no host
        // more is free then.
        let freed = Some(self.before.end).filter(|freed| wanted < *freed && *freed <= last);
        let found = trials.seek(wanted, |from, trials| match &all[..] {
            [one] => starts::first(view, one.anchors, one.wish, from, length, Some(last), &mut |start| judge(start, trials)),
            all => {
                let freed = freed.filter(|freed| from < *freed);
                let until = freed.map_or(last, |freed| freed.minus(1));
                let found = starts::first_of_all(view, all, from, Some(until), &mut |start| judge(start, trials));
                match freed {
                    Some(freed) if found.is_none() && !trials.has_stopped() => {
                        starts::first_of_all(view, all, freed, Some(last), &mut |start| judge(start, trials))
                    }
                    _ => found,
                }
            }
        });
        // Where it begins now it may stay, though nothing is free there: a downtime withholds what it has, too.
        let own = self.before.start;
        let is_sooner = wanted < own && found.is_none_or(|found| own < found);
        if is_sooner && matches!(self.fit(view, &self.moved_to(own, length), &Steps::new()), Fit::Room) {
            Some(own)
        } else {
            found
        }
    }

    /// The same change with another start, for as long.
    fn moved_to(&self, start: Seconds, length: Option<u32>) -> LeaseChange {
        let end = length.map_or(self.change.end, |length| Some(EndWish::At(start.plus(length))));
        LeaseChange { start: Some(StartWish::At(start)), end, before_end: self.before_end(), ..self.change.clone() }
    }

    /// When the end is announced, where the end is another than was asked for: a second that was named goes with that one.
    fn before_end(&self) -> Option<BeforeEndWish> {
        self.change.before_end.filter(|wish| !matches!(wish, BeforeEndWish::At(_)))
    }

    /// The latest end before the one asked for with which all of it fits, where a later one than before was asked for. It is found by
    /// halving: what fits until one end fits until any before it, but for what several reservations take of each other's old places.
    fn latest_end(&self, view: &mut View<'_>) -> Option<Seconds> {
        let steps = Steps::new();
        let mut has_room = |end: Seconds| {
            let change = LeaseChange { end: Some(EndWish::At(end)), before_end: self.before_end(), ..self.change.clone() };
            matches!(self.fit(view, &change, &steps), Fit::Room)
        };
        let (mut fits, mut too_late) = (self.before.end, self.after.end);
        if too_late <= fits || !has_room(fits) {
            return None;
        }
        while too_late.0 - fits.0 > 1 && !steps.are_spent() {
            let middle = fits.plus((too_late.0 - fits.0) / 2);
            if has_room(middle) { fits = middle } else { too_late = middle }
        }
        // The end that it has need be told only where the rest of the change fits with it.
        let wishes = |lease: &Lease| lease.reservations.iter().map(|one| one.wish.clone()).collect::<Vec<_>>();
        Some(fits).filter(|fits| *fits > self.before.end || wishes(self.after) != wishes(self.before))
    }
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_change_without_room_names_the_start_from_which_it_fits() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               10:00 lease B 13:00..15:00 n=2 -> PENDING h1*2
               10:00 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=15:00
               10:00 update A n=5 -> no room short=3 largest=2 tightest=VCPU next=-
               10:00 update A n=4 end=13:30 -> no room short=2 largest=2 tightest=VCPU next=15:00
               10:00 update A n=4 start=13:30 end=14:30 -> no room short=2 largest=2 tightest=VCPU next=15:00
               10:00 update A n=4 start=15:00 end=16:00 -> PENDING h1*4
               10:00 update B end=15:01 n=4 -> no room short=4 largest=0 tightest=VCPU next=16:00
               10:00 update B start=16:00 end=18:01 n=4 -> PENDING h1*4",
        );
    }

    #[test]
    fn its_own_room_is_free_for_it_where_the_cloud_need_not_follow() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=4 -> PENDING h1*4
               10:00 lease B 14:00..15:00 n=1 -> PENDING h1*1
               10:00 lease C 11:00..12:00 n=1 -> PENDING h1*1
               10:00 update A end=14:30 -> no room short=1 largest=3 tightest=VCPU next=15:00
               10:00 update A start=11:30 end=13:00 -> no room short=1 largest=3 tightest=VCPU next=12:00
               10:00 update A start=12:00 end=13:30 -> PENDING h1*4",
        );
    }

    #[test]
    fn a_lease_that_has_begun_is_told_how_long_it_may_last() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 10:00..12:00 n=2 -> PENDING h1*2
               10:00 lease B 13:00..15:00 n=3 -> PENDING h1*3
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 update A end=14:00 -> no room short=2 largest=0 tightest=VCPU next=- until=13:00
               10:01 update A n=4 end=14:00 -> no room short=4 largest=0 tightest=VCPU next=- until=13:00
               10:01 update A n=5 -> no room short=1 largest=4 tightest=VCPU next=-
               10:01 update A end=13:00 -> ACTIVE h1*2
               10:01 update A end=14:00 -> no room short=2 largest=0 tightest=VCPU next=-
               10:01 update A n=3 end=14:00 -> no room short=3 largest=0 tightest=VCPU next=- until=13:00
               10:01 update A end=open -> no room short=2 largest=0 tightest=VCPU next=-",
        );
    }

    #[test]
    fn a_start_is_sought_for_a_year_from_the_one_asked_for() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 24:00..17520:00 n=2 -> PENDING h1*2
               10:00 lease B 20:00..8000:00 n=2 -> PENDING h1*2
               10:00 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=8000:00
               10:00 lease C 8000:00..8800:00 n=2 -> PENDING h1*2
               10:00 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=8800:00
               10:00 lease D 8800:00..8809:00 n=2 -> PENDING h1*2
               10:00 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=-",
        );
    }

    #[test]
    fn the_announcement_of_another_end_is_not_in_the_way() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 10:00..12:00 n=4 -> PENDING h1*4
               10:00 lease B 13:00..15:00 n=4 -> PENDING h1*4
               10:00 lease C 15:30..16:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 update A end=14:00 before=13:30 -> no room short=4 largest=0 tightest=VCPU next=- until=13:00
               10:01 update C n=4 start=14:30 end=15:30 before=15:00 -> no room short=4 largest=0 tightest=VCPU next=15:00",
        );
    }

    #[test]
    fn a_start_is_named_of_which_little_enough_lies_in_a_period() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 quota vcpu_hours=8 period_s=86400 -> 1 rows
               10:00 quota for=q vcpu_hours=unlimited -> 2 rows
               10:00 lease X 22:00..23:30 n=3 project=q -> PENDING h1*3
               10:00 lease A 30:00..33:00 n=2 -> PENDING h1*2
               10:00 lease B 23:00..25:00 n=2 -> no room short=1 largest=1 tightest=VCPU next=47:00
               10:00 lease B 23:00..25:00 n=2 project=q -> no room short=1 largest=1 tightest=VCPU next=23:30",
        );
    }

    #[test]
    fn where_it_is_it_may_stay_though_a_downtime_withholds_that() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..13:00 n=2 -> PENDING h1*2
               10:00 downtime h1 11:30..12:30
               10:00 update A start=11:00 -> no room short=2 largest=0 tightest=VCPU next=12:00
               10:00 update A start=12:00 end=14:00 -> PENDING h1*2",
        );
    }

    #[test]
    fn what_a_lease_has_itself_hides_no_start() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota slots=4 -> 1 rows
               10:00 lease B 11:00..12:00 n=2 -> PENDING h1*2
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               10:00 update A start=11:00 end=13:00 n=3 -> over slots: 3 beside 2 of 4 at 11:00, fits 2, largest=2 next=12:00
               10:00 quota for=q slots=unlimited -> 2 rows
               10:00 lease X 12:00..12:30 n=6 project=q -> PENDING h1*6
               10:00 update A start=11:00 end=12:00 n=3 -> over slots: 3 beside 2 of 4 at 11:00, fits 2, largest=2 next=12:30
               10:00 update A start=11:00 end=12:00 n=2 -> PENDING h1*2",
        );
    }

    #[test]
    fn what_is_named_is_within_the_quota() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota slots=4 -> 1 rows
               10:00 quota for=q slots=unlimited -> 2 rows
               10:00 lease A 12:00..13:00 n=2 -> PENDING h1*2
               10:00 lease X 12:00..14:00 n=6 project=q -> PENDING h1*6
               10:00 lease D 14:00..15:00 n=3 -> PENDING h1*3
               10:00 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=15:00
               10:00 update A n=3 exempt -> no room short=1 largest=2 tightest=VCPU next=14:00
               10:00 lease E 12:00..13:00 n=1 -> no room short=1 largest=0 tightest=VCPU next=13:00
               10:00 lease E 13:00..14:00 n=3 -> no room short=1 largest=2 tightest=VCPU next=15:00
               10:00 lease Y 15:00..400:00 n=4 exempt -> PENDING h1*4
               10:00 lease E 13:00..14:00 n=3 -> no room short=1 largest=2 tightest=VCPU next=400:00
               10:00 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=400:00
               10:00 quota start_ahead_s=864000 -> 2 rows
               10:00 lease E 13:00..14:00 n=3 -> no room short=1 largest=2 tightest=VCPU next=-
               10:00 quota unset=start_ahead_s -> 2 rows
               10:00 lease E 13:00..14:00 n=3 exempt -> no room short=1 largest=2 tightest=VCPU next=14:00",
        );
    }
}
