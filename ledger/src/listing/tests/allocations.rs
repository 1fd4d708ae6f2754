//! What is reserved on hosts against what the leases themselves say.

use super::*;
use crate::model::ReservationStatus;

/// By what each lease says of where it lies.
fn naive(state: &State, host: HostId, takes: &dyn Fn(&Lease) -> bool) -> Vec<ReservedInterval> {
    let mut all = Vec::new();
    // What is over, and of which nothing is left in the cloud, keeps its bindings and lies nowhere.
    let lies_here = |lease: &Lease| {
        let lying = lease.reservations.iter().filter(|one| lease.leaves_things() || one.status != ReservationStatus::Deleted);
        lying.flat_map(|one| &one.bindings).any(|binding| binding.host == host)
    };
    for lease in state.leases().filter(|lease| lease.visible() && lies_here(lease) && takes(lease)) {
        for reservation in &lease.reservations {
            let phases: BTreeSet<_> =
                reservation.bindings.iter().filter(|binding| binding.host == host).map(|binding| binding.phase).collect();
            all.extend(phases.into_iter().map(|phase| {
                let interval = if phase == Phase::Main { lease.interval() } else { reservation.staging.unwrap().booked() };
                let Interval { start, end } = interval;
                ReservedInterval { reservation_id: reservation.id, lease_id: lease.id, start, end }
            }));
        }
    }
    all.sort_by_key(|reserved| (reserved.start, reserved.reservation_id));
    all
}

fn of_hosts(hosts: HostListing) -> AllocationFilter {
    AllocationFilter { hosts, ..AllocationFilter::default() }
}

#[test]
fn one_host_is_told_as_it_is_among_all_and_pages_are_the_whole() {
    let state = world(&mut Random(31));
    let told = |filter: AllocationFilter| allocations(&state, &filter).unwrap();
    let all = told(AllocationFilter::default());
    let now = state.clock().floor_to_second();
    let expected: Vec<HostAllocation> = state
        .hosts()
        .map(|host| HostAllocation { host_id: host.id, reservations: naive(&state, host.id, &|lease| lease.end >= now) })
        .collect();
    assert!(expected.iter().map(|one| one.reservations.len()).sum::<usize>() > 50);
    assert_eq!(all, expected);
    for one in &all {
        assert_eq!(told(AllocationFilter { host_id: Some(one.host_id), ..Default::default() }), std::slice::from_ref(one));
    }
    // Of one host pages are of what is reserved, either way round.
    for one in &all {
        for descending in [false, true] {
            let mut found: Vec<ReservedInterval> = Vec::new();
            loop {
                let page = ReservedPage { descending, after: found.last().map(ReservedInterval::name), limit: Some(3) };
                let page = told(AllocationFilter { host_id: Some(one.host_id), page, ..Default::default() });
                found.extend(&page[0].reservations);
                assert!(page[0].reservations.len() <= 3);
                if page[0].reservations.len() < 3 {
                    break;
                }
            }
            if descending {
                found.reverse();
            }
            assert_eq!(found, one.reservations);
        }
    }
    let mut walked: Vec<HostAllocation> = Vec::new();
    loop {
        let after = walked.last().map(|last| last.host_id);
        let page = told(of_hosts(HostListing { after, limit: Some(7), ..HostListing::default() }));
        assert!(page.len() <= 7);
        let is_last = page.len() < 7;
        walked.extend(page);
        if is_last {
            break;
        }
    }
    assert_eq!(walked, all);
    let unknown = allocations(&state, &AllocationFilter { host_id: Some(HostId(9_999)), ..Default::default() });
    assert_eq!(unknown.unwrap_err(), Rejection::HostNotFound(HostId(9_999)));
}

#[test]
fn hosts_are_those_of_the_list_of_hosts_in_its_order() {
    let state = world(&mut Random(33));
    let all = allocations(&state, &AllocationFilter::default()).unwrap();
    for order in [HostOrder::Id, HostOrder::Name, HostOrder::Zone] {
        for descending in [false, true] {
            for pool in [None, Some(PoolKind::Shared)] {
                let filter = HostFilter { pool, ..HostFilter::default() };
                let listing = HostListing { filter, reservable: Some(true), order, descending, ..HostListing::default() };
                let expected: Vec<HostAllocation> = hosts(&state, &listing)
                    .unwrap()
                    .iter()
                    .map(|host| all.iter().find(|one| one.host_id == host.id).unwrap().clone())
                    .collect();
                assert!(expected.len() > 7 && expected.len() < all.len());
                let mut walked: Vec<HostAllocation> = Vec::new();
                while let page @ [_, ..] = &allocations(
                    &state,
                    &of_hosts(HostListing { after: walked.last().map(|last| last.host_id), limit: Some(7), ..listing.clone() }),
                )
                .unwrap()[..]
                {
                    walked.extend_from_slice(page);
                }
                assert_eq!(walked, expected, "{listing:?}");
            }
        }
    }
    let gone = HostListing { order: HostOrder::Zone, after: Some(HostId(999)), ..HostListing::default() };
    let refused = allocations(&state, &of_hosts(gone.clone())).unwrap_err().to_string();
    assert!(refused.starts_with("marker: 999 is not there (any more)"), "{refused}");
    let by_number = HostListing { order: HostOrder::Id, descending: true, ..gone };
    assert_eq!(allocations(&state, &of_hosts(by_number)).unwrap().len(), all.len());
}

#[test]
fn of_a_time_only_what_has_a_second_in_it_is_told_of_every_host() {
    let state = world(&mut Random(34));
    let all = allocations(&state, &AllocationFilter::default()).unwrap();
    let mut times: Vec<ReservedInterval> = all.iter().flat_map(|one| one.reservations.clone()).collect();
    times.sort_by_key(|one| one.start);
    let (some, later) = (times[times.len() / 3], times[times.len() / 2]);
    let windows = [
        Interval { start: some.start, end: some.start.plus(1) },
        Interval { start: Seconds(0), end: some.start },
        Interval { start: some.start, end: later.start.plus(1) },
        Interval { start: later.end, end: Seconds::OPEN_END },
    ];
    for window in windows {
        let told = allocations(&state, &AllocationFilter { window: Some(window), ..AllocationFilter::default() }).unwrap();
        let mut expected = all.clone();
        expected.iter_mut().for_each(|one| one.reservations.retain(|one| one.start < window.end && window.start < one.end));
        assert_ne!(expected, all);
        assert_eq!(told, expected, "{window:?}");
    }
}

#[test]
fn one_host_is_told_only_where_it_is_among_those_that_are_asked_for() {
    let state = after("10:00 hosts h1 h2");
    let one = |hosts| {
        let filter = AllocationFilter { host_id: Some(HostId(1)), ..of_hosts(hosts) };
        allocations(&state, &filter).unwrap().len()
    };
    assert_eq!(one(HostListing::default()), 1);
    let filter = HostFilter { hosts: Some([HostId(2)].into()), ..HostFilter::default() };
    assert_eq!(one(HostListing { filter, ..HostListing::default() }), 0);
    assert_eq!(one(HostListing { after: Some(HostId(1)), ..HostListing::default() }), 0);
}

#[test]
fn of_one_lease_or_reservation_every_host_shows_no_other_and_of_what_is_over_nothing() {
    let state = world(&mut Random(32));
    let is_over = |lease: &&Lease| lease.status == LeaseStatus::Terminated && !lease.reservations[0].bindings.is_empty();
    let over: Vec<LeaseId> = state.leases().filter(is_over).map(|lease| lease.id).collect();
    assert!(!over.is_empty());
    for lease_id in over {
        let told = allocations(&state, &AllocationFilter { lease_id: Some(lease_id), ..Default::default() }).unwrap();
        assert!(told.iter().all(|one| one.reservations.is_empty()), "{lease_id}");
    }
    for lease in state.leases().filter(|lease| lease.visible()) {
        let reservation_id = lease.reservations[0].id;
        let of_lease = AllocationFilter { lease_id: Some(lease.id), ..Default::default() };
        let expected: Vec<_> =
            state.hosts().map(|host| (host.id, naive(&state, host.id, &|other| other.id == lease.id))).collect();
        let told = |filter| -> Vec<_> {
            allocations(&state, &filter).unwrap().into_iter().map(|one| (one.host_id, one.reservations)).collect()
        };
        assert_eq!(told(of_lease.clone()), expected);
        let first = |all: &[ReservedInterval]| -> Vec<_> {
            all.iter().copied().filter(|one| one.reservation_id == reservation_id).collect()
        };
        let expected: Vec<_> = expected.iter().map(|(host, all)| (*host, first(all))).collect();
        let of_reservation = AllocationFilter { reservation_id: Some(reservation_id), ..of_lease };
        assert_eq!(told(of_reservation.clone()), expected);
        if lease.id.0.as_u128() % 16 == 0 {
            assert_eq!(told(AllocationFilter { lease_id: None, ..of_reservation.clone() }), expected);
        }
    }
}
