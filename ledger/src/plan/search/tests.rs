//! The index changes no plan: the same search over all hosts, one by one, says the same.
#![allow(clippy::unwrap_used)]

use super::super::Overlay;
use super::super::crowd::{DAY_S, ORIGIN_S, Random, crowded, now, wish};
use super::super::hosts::Hosts;
use super::*;
use crate::model::{Anchor, Seconds};
use crate::state::{Booking, State};

/// As [`search`], but asks every host.
fn full_scan(
    view: &View<'_>,
    wish: &InstanceWish,
    interval: Interval,
    amount: u32,
    preferred: &[HostId],
) -> Option<Vec<(HostId, u32)>> {
    let mut candidates = Vec::new();
    let mut found = Found::of(wish, amount);
    let ask = |host: HostId, preferred: bool, candidates: &mut Vec<Candidate>, found: &mut Found| {
        let host = view.state.host(host).unwrap();
        if view.eligible(host, wish) {
            let place = Place { host: host.id, room: host.room_upgraded(), pool: host.description.pool };
            consider(view, wish, interval, place, preferred, candidates, found);
        }
    };
    for host in preferred {
        ask(*host, true, &mut candidates, &mut found);
    }
    if found.enough() && !preferred.is_empty() {
        return Some(choose(candidates, amount, wish.affinity));
    }
    for pool in [PoolKind::Dedicated, PoolKind::Shared] {
        let begin = view.overlay.begin_at(pool);
        let of_pool: Vec<HostId> = view.state.hosts().filter(|host| host.description.pool == pool).map(|host| host.id).collect();
        let (before, after): (Vec<HostId>, Vec<HostId>) = of_pool.into_iter().partition(|host| *host < begin);
        for host in after.into_iter().chain(before).filter(|host| !preferred.contains(host)) {
            if found.choice(candidates.len()) {
                break;
            }
            ask(host, false, &mut candidates, &mut found);
        }
        if found.enough() {
            return Some(choose(candidates, amount, wish.affinity));
        }
    }
    None
}

fn window(random: &mut Random) -> Interval {
    let start = ORIGIN_S + random.below(130 * DAY_S);
    let end = match random.below(10) {
        0 => Seconds::OPEN_END,
        1 => Seconds(start + 1),
        2..5 => Seconds(start + 1 + random.below(3 * DAY_S)),
        _ => Seconds(start + 1 + random.below(90 * DAY_S)),
    };
    Interval { start: Seconds(start), end }
}

/// Plans in flight here and there.
fn in_flight(state: &State, random: &mut Random) -> Overlay {
    let mut overlay = Overlay::default();
    for _ in 0..random.below(20) {
        let host = HostId(u64::from(1 + random.below(300)));
        let bookings = vec![(host, window(random), Amounts { vcpus: 4, memory_mb: 9000, disk_gb: 0, slots: 3 })];
        overlay.add(state, &bookings);
    }
    overlay
}

#[test]
fn the_index_finds_the_hosts_of_a_kind_that_the_rule_finds() {
    let mut random = Random(5);
    let state = crowded(300, 0, &mut random);
    let (overlay, mut sizes) = (Overlay::default(), [0; 3]);
    for _ in 0..3000 {
        let wish = wish(&mut random);
        let avoid = [HostId(u64::from(1 + random.below(300)))];
        let view = View { anchor: random.one_of(&Anchor::ALL), avoid: &avoid, ..View::new(&state, &overlay, now()) };
        let by_rule: Vec<HostId> = state.hosts().filter(|host| view.eligible(host, &wish)).map(|host| host.id).collect();
        let by_index: Vec<Place> = Hosts::of(&view, &wish).bounded(window(&mut random)).map(|(place, _, _)| place).collect();
        assert_eq!(by_index.iter().map(|place| place.host).collect::<Vec<_>>(), by_rule, "{wish:?}");
        for place in by_index {
            let host = state.host(place.host).unwrap();
            assert_eq!(place, Place { host: host.id, room: host.room_upgraded(), pool: host.description.pool });
        }
        sizes[by_rule.len().min(20) / 10] += 1;
    }
    assert!(sizes.iter().all(|count| *count > 100), "none, few and many must occur: {sizes:?}");
}

#[test]
fn the_index_changes_no_plan() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let state = crowded(300, 4000, &mut random);
        // Built row by row and built at once: the same plans.
        let reopened = State::from_rows_of(&state);
        let (mut planned, mut refused) = (0, 0);
        for _ in 0..1500 {
            let overlay = in_flight(&state, &mut random);
            let (wish, interval) = (wish(&mut random), window(&mut random));
            let own: Vec<Booking> = (0..random.below(3))
                .map(|_| HostId(u64::from(1 + random.below(300))))
                .map(|host| Booking { host, interval, amounts: state.calendar().at(host, interval.start) })
                .collect();
            let preferred: Vec<HostId> = own.iter().map(|booking| booking.host).filter(|_| seed % 2 == 0).collect();
            let late = crate::model::Seconds(ORIGIN_S + random.below(20 * DAY_S)).timestamp();
            let anchor = random.one_of(&Anchor::ALL);
            let view = View { anchor, own: &own, ..View::new(&state, &overlay, late) };
            let expected = full_scan(&view, &wish, interval, wish.amount, &preferred);
            assert_eq!(search(&view, &wish, interval, wish.amount, &preferred), expected, "{wish:?} in {interval:?}");
            let view = View { state: &reopened, ..view };
            assert_eq!(search(&view, &wish, interval, wish.amount, &preferred), expected, "{wish:?} in {interval:?}");
            match expected {
                Some(_) => planned += 1,
                None => refused += 1,
            }
        }
        assert!(planned > 200 && refused > 200, "{planned} planned, {refused} refused");
    }
}

#[test]
fn what_the_index_passes_over_is_full() {
    let mut random = Random(9);
    let state = crowded(300, 4000, &mut random);
    let overlay = Overlay::default();
    let (mut passed, mut left) = (0, 0);
    for _ in 0..1000 {
        let (wish, interval) = (wish(&mut random), window(&mut random));
        let view = View { anchor: random.one_of(&Anchor::ALL), ..View::new(&state, &overlay, now()) };
        let hosts = Hosts::of(&view, &wish);
        let pools = [PoolKind::Dedicated, PoolKind::Shared];
        let possible: Vec<HostId> = pools
            .iter()
            .flat_map(|pool| hosts.with_room(*pool, interval, wish.need(), HostId(u64::from(random.below(300)))))
            .map(|place| place.host)
            .collect();
        for (place, _, _) in hosts.bounded(interval) {
            let fit = view.fit(place.host, place.room, interval, wish.need(), 1);
            if possible.contains(&place.host) {
                left += u32::from(fit == 0);
            } else {
                assert_eq!(fit, 0, "{place:?} {interval:?}");
                passed += 1;
            }
        }
    }
    assert!(passed > 4 * left && passed > 10_000, "{passed} passed over, {left} asked in vain");
}
