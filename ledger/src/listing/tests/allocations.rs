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
    let mut walked: Vec<HostAllocation> = Vec::new();
    loop {
        let after = walked.last().map(|last| last.host_id);
        let page = told(AllocationFilter { after, limit: Some(7), ..Default::default() });
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
        assert_eq!(told(of_lease), expected);
        let first = |all: &[ReservedInterval]| -> Vec<_> {
            all.iter().copied().filter(|one| one.reservation_id == reservation_id).collect()
        };
        let expected: Vec<_> = expected.iter().map(|(host, all)| (*host, first(all))).collect();
        let of_reservation = AllocationFilter { reservation_id: Some(reservation_id), ..of_lease };
        assert_eq!(told(of_reservation), expected);
        if lease.id.0.as_u128() % 16 == 0 {
            assert_eq!(told(AllocationFilter { lease_id: None, ..of_reservation }), expected);
        }
    }
}
