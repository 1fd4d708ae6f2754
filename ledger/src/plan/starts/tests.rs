//! Day by day with the index finds what trying every start finds.

use std::collections::BTreeSet;

use super::super::Overlay;
use super::super::crowd::{DAY_S as DAY, ORIGIN_S, Random, crowded, now, wish};
use super::super::room::sorted_by_host;
use super::*;
use crate::model::LeaseId;
use crate::state::{Booking, lease_bookings};

/// Slots that fit from a start on, of hosts asked one by one.
fn fits_at(view: &View<'_>, wish: &InstanceWish, start: Seconds, length: Option<u32>) -> bool {
    let end = length.map_or(Seconds::OPEN_END, |length| start.plus(length));
    let interval = Interval { start, end };
    let hosts = view.state.hosts().filter(|host| view.eligible(host, wish));
    let fits = hosts.map(|host| view.fit(host.id, host.room_upgraded(), interval, wish.need(), u32::MAX));
    let sum: u64 = fits.map(|fit| u64::from(slots_on(wish.affinity, fit, wish.amount))).sum();
    sum >= u64::from(wish.amount)
}

#[test]
fn the_first_start_is_the_first_of_all_starts_at_which_it_fits() {
    let mut random = Random(3);
    let state = crowded(200, 4000, &mut random);
    let overlay = Overlay::default();
    let (mut at_once, mut later, mut never, mut sooner) = (0, 0, 0, 0);
    for _ in 0..800 {
        let wish = wish(&mut random);
        let from = Seconds(ORIGIN_S + random.below(100 * DAY));
        let length = random.one_of(&[None, Some(1), Some(3600), Some(DAY), Some(20 * DAY + 77), Some(70 * DAY)]);
        let last = random.one_of(&[None, None, Some(from.plus(10 * DAY))]);
        let anchors = random.one_of(&[&Anchor::ALL[..], &[Anchor::Memory]]);
        // What leases give up that are planned again is free.
        let ids: Vec<LeaseId> = state.leases().map(|lease| lease.id).collect();
        let given_up = (0..random.one_of(&[0, 0, 30, 300])).map(|_| ids[random.below(ids.len() as u32) as usize]);
        let given_up: BTreeSet<LeaseId> = given_up.collect();
        let own: Vec<Booking> = given_up.iter().filter_map(|id| state.lease(*id)).flat_map(lease_bookings).collect();
        let own = sorted_by_host(own);
        let mut view = View { own: &own, ..View::new(&state, &overlay, now()) };
        let found = first(&mut view, anchors, &wish, from, length, last, &mut |_| Tried::Found);

        // What fits changes only where a step begins, or where an end comes to lie on one.
        let until = last.unwrap_or(from.plus(HORIZON_S));
        let mut starts: Vec<u32> = vec![from.0];
        for host in state.hosts() {
            for (at, _) in state.calendar().taken_steps(host.id) {
                starts.push(at.0);
                starts.extend(length.and_then(|length| (at.0.checked_add(1)?).checked_sub(length)));
            }
        }
        for at in own.iter().flat_map(|booking| [booking.interval.start, booking.interval.end]) {
            starts.push(at.0);
            starts.extend(length.and_then(|length| (at.0.checked_add(1)?).checked_sub(length)));
        }
        starts.retain(|start| (from.0..=until.0).contains(start));
        starts.sort_unstable();
        starts.dedup();
        let expected = starts.into_iter().map(Seconds).find(|start| {
            anchors.iter().any(|anchor| {
                view.anchor = *anchor;
                fits_at(&view, &wish, *start, length)
            })
        });
        assert_eq!(found, expected, "{wish:?} from {from:?} for {length:?}");
        let as_booked = first(&mut View::new(&state, &overlay, now()), anchors, &wish, from, length, last, &mut |_| Tried::Found);
        sooner += u32::from(as_booked != found);
        match found {
            None => never += 1,
            Some(start) if start == from => at_once += 1,
            Some(_) => later += 1,
        }
    }
    assert!(at_once > 30 && later > 30 && never > 30, "{at_once} at once, {later} later, {never} never");
    assert!(sooner > 20, "{sooner} sooner for what is given up");
}

#[test]
fn starts_are_judged_in_order_until_one_is_good_or_there_were_enough() {
    let mut random = Random(4);
    let state = crowded(100, 2000, &mut random);
    let overlay = Overlay::default();
    let wish = InstanceWish {
        affinity: None,
        zone: None,
        pool: None,
        required_traits: Default::default(),
        forbidden_traits: Default::default(),
        requirements: Vec::new(),
        vcpus: 8,
        amount: 20,
        ..wish(&mut random)
    };
    let mut view = View::new(&state, &overlay, now());
    let mut seen = Vec::new();
    let mut judge = |start: Seconds| {
        seen.push(start);
        if seen.len() == 9 { Tried::Enough } else { Tried::GoOn }
    };
    let found = first(&mut view, &Anchor::ALL, &wish, Seconds(ORIGIN_S), Some(DAY), None, &mut judge);
    assert_eq!((found, seen.len()), (None, 9));
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    let fits = |anchor, start| fits_at(&View { anchor, ..View::new(&state, &overlay, now()) }, &wish, start, Some(DAY));
    assert!(seen.iter().all(|start| Anchor::ALL.into_iter().any(|anchor| fits(anchor, *start))));
}
