//! What a refusal for the quota names instead, against brute force: it works when it is taken, and nothing sooner, later or larger does.

use leasehold_ledger::command::{EndWish, LeaseChange, LeaseWish, ReservationChange, StartWish};
use leasehold_ledger::model::{Lease, LeaseId, Seconds};
use leasehold_ledger::plan::{NoPlan, NoRoom, Overlay, Planned, Tell, plan_create, plan_update, try_plan};

use super::{HOUR_S, Run};

/// So many later starts are tried, an hour apart: by then every lease of the small world is over.
const LATER: u32 = 110;

/// The first of the later starts that fits.
fn first_hour(from: Seconds, mut fits: impl FnMut(Seconds) -> bool) -> Option<Seconds> {
    (1..=LATER).map(|hours| from.plus(hours * HOUR_S)).find(|start| fits(*start))
}

impl Run {
    /// Of a new lease with one reservation and a fixed start.
    pub(super) fn judge_instead(&mut self, wish: &LeaseWish, refused: &NoRoom) {
        let StartWish::At(from) = wish.start else { panic!("it is fixed") };
        let length = wish.end.0 - from.0;
        let wanted = wish.reservations[0].resource.instance().amount;
        let plan =
            |wish: &LeaseWish| try_plan(&self.world.state, &Overlay::default(), wish, &[], &Default::default(), self.world.at);
        let fits = |wish: &LeaseWish| matches!(plan(wish), Ok(Some(_)));
        let of = |amount: u32| {
            let mut fewer = wish.clone();
            fewer.reservations[0].resource.instance_mut().amount = amount;
            fewer
        };
        let at = |start: Seconds| LeaseWish { start: StartWish::At(start), end: start.plus(length), ..wish.clone() };

        let largest = refused.largest_amount;
        assert_eq!(largest + refused.short_by, wanted);
        assert!(largest == 0 || fits(&of(largest)), "{refused:?} of {wish:?}");
        assert!(!fits(&of(largest + 1)), "{refused:?} of {wish:?}");

        let hour = first_hour(from, |start| fits(&at(start)));
        let next = refused.next_start;
        assert_eq!(refused.next_end, next.map(|start| start.plus(length)));
        match next {
            Some(next) => {
                assert!(fits(&at(next)) && !fits(&at(next.minus(1))), "{refused:?} of {wish:?}");
                assert!(hour.is_none_or(|hour| next <= hour), "{hour:?} is sooner: {refused:?} of {wish:?}");
            }
            None => assert_eq!(hour, None, "{refused:?} of {wish:?}"),
        }

        // Left open, the start is the one that was named, if it is within what is left open.
        let latest = from.plus(24 * HOUR_S);
        let open = LeaseWish { start: StartWish::Earliest { from: Some(from), latest }, ..wish.clone() };
        let opened: Result<Planned, NoPlan> = plan_create(&self.world.state, &Overlay::default(), &open, &[], self.world.at);
        if wish.reservations[0].staging.is_some() {
            self.judge_staged(wish, opened, from, latest);
            return;
        }
        match (next.filter(|next| *next <= latest), opened) {
            (Some(next), Ok(planned)) => assert_eq!(planned.moved_to, Some(next), "{wish:?}"),
            (None, Err(NoPlan::NoRoom(told))) => assert_eq!((told.quota.is_some(), told.next_start), (true, next), "{wish:?}"),
            other => panic!("{other:?} for {wish:?}"),
        }
        let what = match next {
            Some(next) if next.0 % HOUR_S != 0 => "next start within an hour",
            Some(_) => "next start",
            None => "no next start",
        };
        self.reach(what);
        self.reach(if largest > 0 { "fewer" } else { "none" });
    }

    /// Of a lease whose staging window moves with its start, which is left open: it goes nowhere where it is beyond the quota, and
    /// is booked if it can be at some hour.
    fn judge_staged(&mut self, wish: &LeaseWish, opened: Result<Planned, NoPlan>, from: Seconds, latest: Seconds) {
        let at = |start: Seconds| {
            let by = start.0 - from.0;
            let mut moved = LeaseWish { start: StartWish::At(start), end: wish.end.plus(by), ..wish.clone() };
            let staging = moved.reservations[0].staging.as_mut().unwrap();
            (staging.start, staging.end) = (staging.start.map(|at| at.plus(by)), staging.end.map(|at| at.plus(by)));
            moved
        };
        let fits = |start: Seconds| plan_create(&self.world.state, &Overlay::default(), &at(start), &[], self.world.at).is_ok();
        match opened {
            Ok(planned) => {
                let start = planned.moved_to.unwrap();
                assert!(start <= latest && fits(start), "{start:?} of {wish:?}");
                self.reach("open start of a staged lease");
            }
            Err(_) => assert!(!(0..=24).any(|hours| fits(from.plus(hours * HOUR_S))), "{wish:?}"),
        }
    }

    /// Of a change of a lease with one reservation.
    pub(super) fn judge_instead_of_change(&mut self, lease: &Lease, change: &LeaseChange, refused: &NoRoom) {
        let (id, before): (LeaseId, Seconds) = (lease.id, lease.end);
        let Some(EndWish::At(wanted)) = change.end else { panic!("it is named") };
        let fits = |change: &LeaseChange| {
            plan_update(&self.world.state, &Overlay::default(), id, change, self.world.at, Tell::Shortage).is_ok()
        };
        let of = |amount: u32| {
            let mut resource = change.reservations[0].resource.clone();
            resource.instance_mut().amount = amount;
            LeaseChange { reservations: vec![ReservationChange { resource, ..change.reservations[0].clone() }], ..change.clone() }
        };
        let largest = refused.largest_amount;
        assert!(largest == 0 || fits(&of(largest)), "{refused:?} of {change:?}");
        assert!(!fits(&of(largest + 1)), "{refused:?} of {change:?}");

        if refused.start_is_fixed {
            assert_eq!(refused.next_start, None);
            let until = |end: Seconds| LeaseChange { end: Some(EndWish::At(end)), ..change.clone() };
            match refused.latest_end {
                Some(end) => {
                    assert!(end < wanted && fits(&until(end)) && !fits(&until(end.plus(1))), "{refused:?} of {change:?}");
                    self.reach("latest end");
                }
                None => assert!(before >= wanted || !fits(&until(before.plus(1))), "{refused:?} of {change:?}"),
            }
            return;
        }
        let from = match change.start {
            Some(StartWish::At(start)) => start,
            _ => lease.start,
        };
        let length = wanted.0 - from.0;
        let at = |start: Seconds| {
            let (start, end) = (Some(StartWish::At(start)), Some(EndWish::At(start.plus(length))));
            LeaseChange { start, end, ..change.clone() }
        };
        let hour = first_hour(from, |start| fits(&at(start)));
        match refused.next_start {
            Some(next) => {
                assert!(fits(&at(next)) && !fits(&at(next.minus(1))), "{refused:?} of {change:?}");
                assert!(hour.is_none_or(|hour| next <= hour), "{hour:?}: {refused:?} of {change:?}");
                self.reach("next start of a change");
            }
            None => assert_eq!(hour, None, "{refused:?} of {change:?}"),
        }
    }
}
