//! What would fit instead of a change that does not: fewer, later, or until an earlier end.

use super::super::NoRoom;
use super::super::OFFERS_TRIED;
use super::super::later::{OFFERS_OF_SEVERAL, length_of};
use super::super::room::View;
use super::super::starts::{self, Beginning, Tried};
use super::super::together::{Steps, largest};
use super::{anchors_of, rebook};
use crate::apply::quota::check_change;
use crate::apply::update_lease::{has_started, resolve_update};
use crate::command::{EndWish, LeaseChange, ReservationChange, StartWish};
use crate::model::{Anchor, Interval, Lease, Seconds, Timestamp};

/// A change that has no room.
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
        let steps = Steps::new();
        let short = &self.after.reservations[no_room.reservation];
        let wanted = short.wish.instance().amount;
        let largest_amount = largest(wanted, no_room.largest_amount, |amount| {
            let mut fewer = self.change.clone();
            let mut resource = short.wish.clone();
            resource.instance_mut().amount = amount;
            match fewer.reservations.iter_mut().find(|one| one.reservation_id == short.id) {
                Some(one) => one.resource = resource,
                None => fewer.reservations.push(ReservationChange { reservation_id: short.id, resource, on_end: None }),
            }
            !steps.are_spent() && self.has_room(view, &fewer, &steps)
        });
        let has_begun = has_started(self.before, self.now);
        let next_start = if has_begun || no_room.staging { None } else { self.next_start(view, &steps) };
        let latest_end = if has_begun { self.latest_end(view, &steps) } else { None };
        NoRoom { largest_amount, short_by: wanted - largest_amount, next_start, latest_end, has_begun, ..no_room }
    }

    /// Whether another change may be asked for, and has room.
    fn has_room(&self, view: &mut View<'_>, change: &LeaseChange, steps: &Steps) -> bool {
        let Ok(resolved) = resolve_update(self.before, change, self.now) else { return false };
        let within = change.ignore_quota || check_change(view.state, self.before, &resolved.lease, self.now).is_ok();
        within && rebook(view, self.before, &resolved.lease, self.now, steps).is_ok()
    }

    /// The first start, not before the one asked for, from which all of the lease fits for as long; its staging stays where it is.
    fn next_start(&self, view: &mut View<'_>, steps: &Steps) -> Option<Seconds> {
        let Interval { start: wanted, end } = self.after.interval();
        let length = length_of(wanted, end);
        let anchors: Vec<Vec<Anchor>> = self.before.reservations.iter().map(|one| anchors_of(view, one)).collect();
        let wishes = self.after.reservations.iter().map(|one| one.wish.instance());
        let all: Vec<Beginning<'_>> = wishes.zip(&anchors).map(|(wish, anchors)| Beginning { anchors, wish, length }).collect();
        let tries = if all.len() > 1 { OFFERS_OF_SEVERAL } else { OFFERS_TRIED };
        // Where old and new must be booked beside each other more has room from the old end on, though no host has more free.
        let freed = Some(self.before.end).filter(|freed| wanted < *freed && *freed < Seconds::OPEN_END);
        let parts = match freed {
            Some(freed) => vec![(wanted, Some(freed.minus(1))), (freed, None)],
            None => vec![(wanted, None)],
        };
        parts.into_iter().find_map(|(from, last)| {
            let mut tried = 0;
            let mut judged = View { planned: Vec::new(), looks: Default::default(), ..*view };
            let mut judge = |start: Seconds| {
                tried += 1;
                match self.has_room(&mut judged, &self.moved_to(start, length), steps) {
                    true => Tried::Found,
                    false if tried >= tries || steps.are_spent() => Tried::Enough,
                    false => Tried::GoOn,
                }
            };
            view.planned.clear();
            match &all[..] {
                [one] => starts::first(view, one.anchors, one.wish, from, length, last, &mut judge),
                all => starts::first_of_all(view, all, from, last, &mut judge),
            }
        })
    }

    /// The same change with another start, for as long.
    fn moved_to(&self, start: Seconds, length: Option<u32>) -> LeaseChange {
        let end = length.map_or(self.change.end, |length| Some(EndWish::At(start.plus(length))));
        LeaseChange { start: Some(StartWish::At(start)), end, before_end: None, ..self.change.clone() }
    }

    /// The latest end before the one asked for to which all of it fits, where a later one than before was asked for. What fits until
    /// one end fits until any before it.
    fn latest_end(&self, view: &mut View<'_>, steps: &Steps) -> Option<Seconds> {
        let until = |end| LeaseChange { end: Some(EndWish::At(end)), before_end: None, ..self.change.clone() };
        let (mut fits, mut too_late) = (self.before.end, self.after.end);
        if too_late <= fits || !self.has_room(view, &until(fits), steps) {
            return None;
        }
        while too_late.0 - fits.0 > 1 && !steps.are_spent() {
            let middle = fits.plus((too_late.0 - fits.0) / 2);
            if self.has_room(view, &until(middle), steps) { fits = middle } else { too_late = middle }
        }
        // What it has need not be told.
        Some(fits).filter(|fits| *fits > self.before.end || !self.change.reservations.is_empty())
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
               10:00 lease E 13:00..14:00 n=3 exempt -> no room short=1 largest=2 tightest=VCPU next=14:00",
        );
    }
}
