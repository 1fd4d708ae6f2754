//! What a lease of whole hosts would come to, and what is no such lease.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::super::placing::tests::close;
use super::*;
use crate::command::Command;
use crate::command::{OfferWish, Recurrence, WaitWish};
use crate::model::{Excess, Limit, LimitKind, PoolKind};
use crate::plan::crowd::now;
use crate::plan::inquiry::tests::{after, book, cloud, lease, send};

/// So many hosts; there are two whole ones, the first in the north.
fn asked(min: u32, max: u32) -> HostReservation {
    HostReservation { min, max, filter: HostFilter::default() }
}

fn in_zone(zone: &str, min: u32, max: u32) -> HostReservation {
    HostReservation { filter: HostFilter { zone: Some(zone.to_owned()), ..HostFilter::default() }, ..asked(min, max) }
}

/// Whose and when, without reservations.
fn wish(start: u32, end: u32) -> LeaseWish {
    LeaseWish { reservations: Vec::new(), ..lease(1, start, end) }
}

fn given(hosts: &[u64]) -> HostAmount {
    HostAmount { count: hosts.len() as u32, hosts: hosts.iter().copied().map(HostId).collect() }
}

#[test]
fn each_reservation_gets_its_least_before_any_gets_more() {
    let mut state = cloud();
    let before = state.hash();
    let ask = |state: &State, wish: &LeaseWish, asked: &[HostReservation]| what_if_hosts(state, wish, asked, now()).unwrap();
    let fits = |reservations: Vec<HostAmount>| WhatIfHosts::Fits { moved_to: None, reservations };
    let tomorrow = wish(100, 200);
    assert_eq!(ask(&state, &tomorrow, &[asked(1, 9)]), fits(vec![given(&[1, 2])]));
    assert_eq!(ask(&state, &tomorrow, &[asked(1, 9), asked(1, 9)]), fits(vec![given(&[1]), given(&[2])]));
    // The first may have either host, and leaves the only one in the north to the second.
    assert_eq!(ask(&state, &tomorrow, &[asked(1, 2), in_zone("north", 1, 1)]), fits(vec![given(&[2]), given(&[1])]));
    assert_eq!(ask(&state, &tomorrow, &[asked(1, 2)]).without_hosts(), fits(vec![HostAmount { count: 2, hosts: Vec::new() }]));

    let WhatIfHosts::NoRoom(no_room) = ask(&state, &tomorrow, &[asked(2, 2), in_zone("north", 1, 1)]) else {
        panic!("there are two")
    };
    assert_eq!((no_room.reservation, no_room.short_by, no_room.largest_amount, no_room.next_start), (1, 1, 0, None));
    assert_eq!(state.hash(), before);

    // Both instances lie on the first host.
    book(&mut state, lease(2, 100, 200));
    let WhatIfHosts::NoRoom(no_room) = ask(&state, &wish(50, 150), &[asked(2, 3)]) else { panic!("one is booked") };
    assert_eq!((no_room.short_by, no_room.largest_amount, no_room.next_start), (1, 1, Some(after(200))));
    let open =
        |latest: u32| LeaseWish { start: StartWish::Earliest { from: Some(after(50)), latest: after(latest) }, ..wish(50, 150) };
    let moved = WhatIfHosts::Fits { moved_to: Some(after(200)), reservations: vec![given(&[1, 2])] };
    assert_eq!(ask(&state, &open(200), &[asked(2, 3)]), moved);
    let WhatIfHosts::NoRoom(no_room) = ask(&state, &open(199), &[asked(2, 3)]) else { panic!("it may not begin that late") };
    assert_eq!(no_room.next_start, Some(after(200)));
    assert_eq!(ask(&state, &wish(0, 100), &[asked(2, 2)]), fits(vec![given(&[1, 2])]), "it ends where the lease begins");
    let endless = LeaseWish { end: Seconds::OPEN_END, ..wish(50, 60) };
    let WhatIfHosts::NoRoom(no_room) = ask(&state, &endless, &[asked(2, 2)]) else { panic!("one is booked") };
    assert_eq!((no_room.largest_amount, no_room.next_start), (1, Some(after(200))));
}

#[test]
fn the_most_that_one_reservation_could_have_leaves_the_others_their_least() {
    let state = cloud();
    let refused = |asked: &[HostReservation]| match what_if_hosts(&state, &wish(100, 200), asked, now()).unwrap() {
        WhatIfHosts::NoRoom(no_room) => (no_room.reservation, no_room.short_by, no_room.largest_amount),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[asked(3, 3), asked(1, 1)]), (0, 2, 1), "not both, or the other has none");
    assert_eq!(refused(&[asked(1, 1), asked(3, 3)]), (1, 2, 1));
    assert_eq!(refused(&[asked(3, 3), asked(3, 3)]), (0, 1, 0), "whatever it has, the other has too few");
}

#[test]
fn a_later_start_is_sought_among_so_many_steps_of_hosts_and_no_more() {
    let mut state = cloud();
    (0..50).for_each(|turn| close(&mut state, 1, 100 + 20 * turn, 110 + 20 * turn));
    let reservations = [asked(2, 2)];
    let demands = demands(&reservations);
    let ground = Ground::of(&state, &demands, now());
    let first = |steps: u64| starts::first(&ground, &[2], after(100), Some(15), None, steps);
    assert_eq!(first(starts::STEPS_MAX), Some(after(1090)));
    assert_eq!(first(50), None);
}

#[test]
fn what_is_offered_instead_of_a_series_has_room_in_all_of_it() {
    let mut state = cloud();
    let occurrences: Vec<Occurrence> = (0..3u32)
        .map(|turn| Occurrence { number: turn + 1, start: after(100 + 100 * turn), end: after(150 + 100 * turn) })
        .collect();
    let refused = |state: &State| {
        let recurrence =
            Recurrence { rule: "FREQ=MINUTELY;COUNT=3".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
        let series = SeriesWish { lease: wish(100, 150), recurrence };
        match what_if_hosts_series(state, &series, &[asked(2, 2)], &occurrences, now()).unwrap() {
            WhatIfHosts::NoRoom(no_room) => (no_room.occurrence, no_room.short_by, no_room.largest_amount),
            other => panic!("{other:?}"),
        }
    };
    close(&mut state, 1, 200, 250);
    assert_eq!(refused(&state), (Some(2), 1, 1));
    close(&mut state, 1, 300, 350);
    assert_eq!(refused(&state), (Some(2), 1, 1));
    close(&mut state, 2, 300, 350);
    assert_eq!(refused(&state), (Some(2), 1, 0), "the third has none at all");
}

#[test]
fn leases_of_a_series_may_overlap_and_get_more_only_when_all_have_their_least() {
    let mut state = cloud();
    let series = |mode: SeriesMode| SeriesWish {
        lease: wish(100, 200),
        recurrence: Recurrence { rule: "FREQ=MINUTELY;COUNT=3".to_owned(), time_zone: "UTC".to_owned(), mode },
    };
    let occurrences: Vec<Occurrence> = (0..3u32)
        .map(|turn| Occurrence { number: turn + 1, start: after(100 + 60 * turn), end: after(200 + 60 * turn) })
        .collect();
    let ask = |state: &State, mode: SeriesMode, asked: &[HostReservation]| {
        what_if_hosts_series(state, &series(mode), asked, &occurrences, now()).unwrap()
    };
    let whole = |fits: WhatIfHosts| match fits {
        WhatIfHosts::SeriesFits { occurrences, left_out } => {
            let given: Vec<_> = occurrences.into_iter().map(|one| (one.occurrence.number, one.reservations)).collect();
            (given, left_out.into_iter().map(|one| one.occurrence.number).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    // The first and the third could have both hosts, were there no second.
    let all = (vec![(1, vec![given(&[1])]), (2, vec![given(&[2])]), (3, vec![given(&[1])])], vec![]);
    assert_eq!(whole(ask(&state, SeriesMode::AllOrNothing, &[asked(1, 2)])), all);
    let WhatIfHosts::NoRoom(no_room) = ask(&state, SeriesMode::AllOrNothing, &[asked(2, 2)]) else { panic!("they overlap") };
    assert_eq!((no_room.occurrence, no_room.short_by, no_room.largest_amount, no_room.next_start), (Some(2), 2, 0, None));
    let some = (vec![(1, vec![given(&[1, 2])]), (3, vec![given(&[1, 2])])], vec![2]);
    assert_eq!(whole(ask(&state, SeriesMode::BestEffort, &[asked(2, 2)])), some);
    let WhatIfHosts::NoRoom(no_room) = ask(&state, SeriesMode::BestEffort, &[asked(3, 3)]) else { panic!("there are two") };
    assert_eq!((no_room.occurrence, no_room.short_by), (Some(1), 1));

    // The first host is booked while the third is there: it serves the first, so that the class is left to the second.
    book(&mut state, lease(2, 250, 300));
    let all = (vec![(1, vec![given(&[1])]), (2, vec![given(&[2])])], vec![3]);
    assert_eq!(whole(ask(&state, SeriesMode::BestEffort, &[asked(1, 1)])), all, "the only other host is the second's until 260");
}

#[test]
fn senseless_questions_about_whole_hosts_are_refused_with_what_would_be_right() {
    let state = cloud();
    let refused = |change: &dyn Fn(&mut LeaseWish, &mut Vec<HostReservation>)| {
        let (mut lease, mut reservations) = (wish(100, 200), vec![asked(1, 1), asked(1, 2)]);
        change(&mut lease, &mut reservations);
        what_if_hosts(&state, &lease, &reservations, now()).unwrap_err().to_string()
    };
    let of_second = |change: &dyn Fn(&mut HostReservation)| refused(&|_, all| change(&mut all[1]));
    assert_eq!(of_second(&|one| one.min = 0), "reservations[1].min: it is 0; it must be from 1 to 10000");
    assert_eq!(of_second(&|one| one.max = 10_001), "reservations[1].max: it is 10001; it must be from 1 to 10000");
    assert_eq!(of_second(&|one| one.min = 3), "reservations[1].max: it is 2; it must be at least min, which is 3");
    assert_eq!(
        of_second(&|one| one.filter.pool = Some(PoolKind::Shared)),
        "reservations[1].pool: it is shared; whole hosts are of the dedicated pool"
    );
    assert_eq!(of_second(&|one| one.filter.hosts = Some([HostId(9)].into())), "reservations[1].hosts: there is no host 9");
    assert!(of_second(&|one| one.filter.zone = Some(String::new())).starts_with("reservations[1].zone: it has 0 characters"));
    assert_eq!(refused(&|_, all| all.clear()), "reservations: there are 0; a lease of whole hosts has from 1 to 8");
    assert_eq!(
        refused(&|_, all| *all = vec![asked(1, 1); 9]),
        "reservations: there are 9; a lease of whole hosts has from 1 to 8"
    );
    assert_eq!(
        refused(&|wish, _| wish.reservations = lease(1, 100, 200).reservations),
        "reservations: some are of instances and some of whole hosts; a lease has one or the other: ask about two leases"
    );
    assert_eq!(refused(&|wish, _| wish.name.clear()), "name: it has 0 characters; it must have 1 to 255 characters");
    assert_eq!(refused(&|wish, _| wish.end = after(100)), "End date must be later than start date.");
    let offer = |wish: &mut LeaseWish, _: &mut Vec<HostReservation>| wish.offer = Some(OfferWish::For(60));
    assert_eq!(refused(&offer), "offer: whole hosts cannot be offered yet; leave it out");
    assert!(refused(&|wish, _| wish.wait = Some(WaitWish::UntilStart)).starts_with("wait: "));
    assert!(refused(&|wish, _| wish.precedence.preemptible = true).starts_with("priority: nobody gives way"));
    assert!(refused(&|wish, _| wish.expiry_s = Some(600)).starts_with("expiry_s: "));

    let series = SeriesWish {
        lease: wish(100, 200),
        recurrence: Recurrence { rule: String::new(), time_zone: String::new(), mode: SeriesMode::AllOrNothing },
    };
    let eleven: Vec<Occurrence> = (0..11u32)
        .map(|turn| Occurrence { number: turn + 1, start: after(100 + 60 * turn), end: after(200 + 60 * turn) })
        .collect();
    let refused = what_if_hosts_series(&state, &series, &[asked(1, 10_000)], &eleven, now()).unwrap_err();
    assert_eq!(refused.to_string(), "max: 11 occurrences of 10000 hosts are 110000 in all; at most 100000 are allowed");
    let many: Vec<Occurrence> = (0..17u32)
        .map(|turn| Occurrence { number: turn + 1, start: after(100 + 60 * turn), end: after(200 + 60 * turn) })
        .collect();
    let refused = what_if_hosts_series(&state, &series, &vec![asked(1, 1); 8], &many, now()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "reservations: 17 occurrences of 8 reservations of whole hosts are 136 in all; at most 128 are allowed"
    );
}

#[test]
fn how_far_ahead_and_how_long_one_may_reserve_counts_for_whole_hosts_too() {
    let mut state = cloud();
    let set = BTreeMap::from([(LimitKind::DurationS, Limit::Max(100)), (LimitKind::Slots, Limit::Max(0))]);
    send(&mut state, Command::SetQuota { project_id: None, set, unset: Default::default() });
    let ask = |wish: &LeaseWish| what_if_hosts(&state, wish, &[asked(1, 1)], now());
    assert!(matches!(ask(&wish(100, 200)), Ok(WhatIfHosts::Fits { .. })), "what of a quota a host takes is not settled");
    let too_long = |rejection: Rejection| {
        matches!(rejection, Rejection::QuotaExceeded(Excess { kind: LimitKind::DurationS, limit: 100, .. }))
    };
    assert!(too_long(ask(&wish(100, 201)).unwrap_err()));
    let open = LeaseWish { start: StartWish::Earliest { from: None, latest: after(500) }, ..wish(0, 101) };
    assert!(too_long(ask(&open).unwrap_err()));
}
