//! Round trips over generated values, and what decoding refuses.
#![allow(clippy::unwrap_used)]

use leasehold_ledger::command::{BeforeEndWish, LeaseChange, Recurrence, StartWish};
use leasehold_ledger::listing::{
    AllocationFilter, DowntimeListing, DowntimeName, DowntimeOrder, Element, HostAllocation, HostDowntime, HostListing,
    HostOrder, LeaseFilter, LeaseOrder, QuotaListing, ReservedInterval, ReservedName, ReservedPage, Scope, Utilisation,
    UtilisationStep, UtilisationWish,
};
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{Capacity, CapacityWish, Density, DensityWish, HostFilter, WhatIf, WhatIfHosts, WindowWish};
use leasehold_ledger::state::Change;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::answer::{Answer, BookedSeries};
use crate::wire::v1;

mod values;

use values::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_series_comes_over_as_it_was_booked(booked in booked_series(), index in any::<u64>()) {
        let read = Answer::<BookedSeries>::try_from(series_response(booked.clone(), index)).unwrap();
        prop_assert_eq!(read, Answer { value: booked, ledger_index: index });
    }

    #[test]
    fn a_recurrence_comes_over_as_it_was_asked(rule in text(), time_zone in "[a-z]{1,9}", mode in mode()) {
        let asked = Recurrence { rule, time_zone, mode };
        prop_assert_eq!(recurrence(encode_recurrence(asked.clone())).unwrap(), asked);
    }

    #[test]
    fn a_change_survives_the_wire(change in change()) {
        prop_assert_eq!(Change::try_from(v1::WatchResponse::from(change.clone())).unwrap(), change);
    }

    #[test]
    fn a_new_lease_survives_the_wire(wish in new_lease()) {
        prop_assert_eq!(NewLease::from_request(wish.clone().into_request()).unwrap(), wish);
    }

    #[test]
    fn a_lease_change_survives_the_wire(change in lease_change()) {
        prop_assert_eq!(LeaseChange::try_from(change_request(change.clone())).unwrap(), change);
    }

    #[test]
    fn questions_about_capacity_survive_the_wire(capacity in capacity_wish(), density in density_wish()) {
        prop_assert_eq!(CapacityWish::try_from(v1::ShowCapacityRequest::from(capacity.clone())).unwrap(), capacity);
        prop_assert_eq!(DensityWish::try_from(v1::DensityRequest::from(density.clone())).unwrap(), density);
    }

    #[test]
    fn answers_about_capacity_survive_the_wire(capacity in capacity(), density in density(), what_if in what_if()) {
        prop_assert_eq!(Capacity::try_from(capacity_response(capacity.clone(), 7)).unwrap(), capacity);
        prop_assert_eq!(Density::try_from(density_response(density, 7)).unwrap(), density);
        prop_assert_eq!(WhatIf::try_from(what_if_response(what_if.clone(), 7)).unwrap(), what_if);
    }

    #[test]
    fn whole_hosts_survive_the_wire_beside_instances(
        wish in new_lease(),
        asked in vec(host_reservation(), 0..3),
        answer in what_if_hosts(),
    ) {
        let mut request = wish.clone().into_request();
        request.reservations.splice(0..0, asked.clone().into_iter().map(encode_host_reservation));
        prop_assert_eq!(take_host_reservations(&mut request).unwrap(), asked);
        prop_assert_eq!(NewLease::from_request(request).unwrap(), wish);
        prop_assert_eq!(WhatIfHosts::try_from(what_if_hosts_response(answer.clone(), 7)).unwrap(), answer);
    }

    #[test]
    fn a_new_upgrade_survives_the_wire(upgrade in upgrade()) {
        prop_assert_eq!(upgrade_asked(&upgrade_request(upgrade)).unwrap(), upgrade);
    }

    #[test]
    fn a_new_downtime_survives_the_wire(downtime in new_downtime()) {
        prop_assert_eq!(NewDowntime::from_request(downtime.into_request()).unwrap(), downtime);
    }

    #[test]
    fn a_new_host_survives_the_wire(name in text(), pool in pool(), properties in properties()) {
        let host = NewHost { name, pool, properties };
        prop_assert_eq!(NewHost::from_request(host.clone().into_request()).unwrap(), host);
    }
}

fn refusal(spoil: impl FnOnce(&mut v1::CreateLeaseRequest)) -> String {
    let instance = v1::Instance { vcpus: 1, memory_mb: 1, amount: 1, ..Default::default() };
    let resource = v1::Resource { kind: Some(v1::resource::Kind::Instance(instance)) };
    let reservation = v1::ReservationWish { resource: Some(resource), ..Default::default() };
    let mut request = v1::CreateLeaseRequest { reservations: vec![reservation], ..Default::default() };
    assert!(NewLease::from_request(request.clone()).is_ok());
    spoil(&mut request);
    NewLease::from_request(request).unwrap_err().to_string()
}

fn at(second: i64) -> Option<v1::When> {
    Some(v1::When { when: Some(v1::when::When::At(second)) })
}

#[test]
fn a_bad_value_is_named_with_what_would_be_right() {
    let dates = "Unix seconds from 2020-01-01 on, for at most 100 years";
    assert_eq!(refusal(|r| r.start = at(-5)), format!(r#"start is "-5"; it must be {dates}"#));
    assert_eq!(refusal(|r| r.end = at(i64::MAX)), format!(r#"end is "9223372036854775807"; it must be {dates}"#));
    let never = Some(v1::When { when: Some(v1::when::When::Never(true)) });
    assert_eq!(refusal(|r| r.start = never), r#"start is "never"; it must be now (true), a second or earliest"#);
    let empty = Some(v1::When { when: None });
    assert_eq!(refusal(|r| r.end = empty), "end is missing; it must be now (true), a second or never (true)");
    assert_eq!(
        refusal(|r| r.reservations[0].resource = None),
        "reservations[0].resource is missing; it must be one of: instance"
    );
    assert_eq!(
        refusal(|r| r.reservations[0].on_end = 9),
        r#"reservations[0].on_end is "9"; it must be 1 (delete), 2 (shelve) or 3 (snapshot)"#
    );
    let bad_pool = |r: &mut v1::CreateLeaseRequest| {
        let Some(v1::resource::Kind::Instance(instance)) = r.reservations[0].resource.as_mut().unwrap().kind.as_mut() else {
            return;
        };
        instance.pool = 7;
    };
    assert_eq!(refusal(bad_pool), r#"reservations[0].resource.instance.pool is "7"; it must be 1 (dedicated) or 2 (shared)"#);
    let long = uuid("lease_id", &"ä".repeat(10_000)).unwrap_err().to_string();
    assert!(long.len() < 400, "{long}");
}

#[test]
fn a_bad_question_about_capacity_is_named_with_what_would_be_right() {
    let show = |change: &dyn Fn(&mut v1::ShowCapacityRequest)| {
        let mut request = v1::ShowCapacityRequest::default();
        change(&mut request);
        CapacityWish::try_from(request).unwrap_err().to_string()
    };
    let filter = |change: &dyn Fn(&mut v1::HostFilter)| {
        let mut filter = v1::HostFilter::default();
        change(&mut filter);
        show(&|request| request.filter = Some(filter.clone()))
    };
    let now = Some(v1::When { when: Some(v1::when::When::Now(true)) });
    assert_eq!(show(&|request| request.end = now), r#"end is "now"; it must be a second, never or absent"#);
    assert!(show(&|request| request.start = at(-5)).starts_with(r#"start is "-5"; it must be Unix seconds"#));
    assert_eq!(filter(&|filter| filter.pool = 9), r#"filter.pool is "9"; it must be 1 (dedicated) or 2 (shared)"#);
    let told = filter(&|filter| filter.requirements = vec![v1::Requirement::default()]);
    assert!(told.starts_with(r#"filter.requirements[0].comparison is "0"; it must be 1 (==)"#), "{told}");
    let told = DensityWish::try_from(v1::DensityRequest::default()).unwrap_err().to_string();
    assert_eq!(told, "instance is missing; it must be the kind of instance that is counted");
    assert!(WhatIf::try_from(v1::WhatIfResponse::default()).unwrap_err().to_string().contains("fits, series or no_room"));
}

#[test]
fn a_listing_is_on_the_wire_what_it_was() {
    let id = Uuid::from_u128(7);
    let window = Interval { start: Seconds(10), end: Seconds::OPEN_END };
    let filter = LeaseFilter {
        project_id: Some(ProjectId("p".into())),
        statuses: LeaseStatus::ALL.into(),
        name: Some("a".into()),
        zone: Some("north".into()),
        window: Some((window, Scope::Inclusive)),
        with_any: [Element::Host(HostId(3)), Element::Id(id)].into(),
        with_all: [Element::Id(id)].into(),
        without: [Element::Host(HostId(4)), Element::Flavor("m1.large".into())].into(),
        offers: true,
        series: Some(SeriesId(id)),
        order: LeaseOrder::End,
        descending: true,
        after: Some(LeaseId(id)),
        limit: Some(5),
    };
    assert_eq!(LeaseFilter::try_from(v1::ListLeasesRequest::from(filter.clone())).unwrap(), filter);
    for none in [v1::ListLeasesRequest::default(), LeaseFilter::default().into()] {
        assert_eq!(LeaseFilter::try_from(none).unwrap(), LeaseFilter::default());
    }
    let wish = UtilisationWish { filter, window: Interval { start: Seconds(1), end: Seconds(2) }, steps_max: 9 };
    assert_eq!(UtilisationWish::try_from(v1::UtilisationRequest::from(wish.clone())).unwrap(), wish);
    let steps = vec![UtilisationStep { start: Seconds(1), reserved: [1, 2, 3, 4] }];
    let answer = Utilisation { window: wish.window, leases: 2, steps };
    assert_eq!(Utilisation::try_from(utilisation_response(answer.clone(), 1)).unwrap(), answer);
    let listing = HostListing {
        filter: HostFilter { zone: Some("north".into()), ..HostFilter::default() },
        reservable: Some(true),
        order: HostOrder::Zone,
        descending: true,
        after: Some(HostId(2)),
        limit: Some(1),
    };
    assert_eq!(HostListing::try_from(v1::ListHostsRequest::from(listing.clone())).unwrap(), listing);
    assert_eq!(HostListing::try_from(v1::ListHostsRequest::default()).unwrap(), HostListing::default());
    // Whose own filter has left no host is not to be told of all.
    let none = HostFilter { hosts: Some(std::collections::BTreeSet::new()), ..HostFilter::default() };
    assert_eq!(HostFilter::try_from(v1::HostFilter::from(none.clone())).unwrap(), none);

    let bad = |change: &dyn Fn(&mut v1::ListLeasesRequest)| {
        let mut request = v1::ListLeasesRequest::default();
        change(&mut request);
        LeaseFilter::try_from(request).unwrap_err().to_string()
    };
    assert!(bad(&|request| request.order = 99).starts_with(r#"order is "99"; it must be 1 (id)"#));
    assert!(bad(&|request| request.statuses = vec![0]).starts_with("statuses"));
    let elements = v1::list_leases_request::Elements { ids: vec!["x".into()], ..Default::default() };
    assert!(
        bad(&|request| request.with_all = Some(elements.clone())).starts_with(r#"with_all.ids[0] is "x"; it must be a UUID"#)
    );
    for id in [String::new(), "x".repeat(256)] {
        let elements = v1::list_leases_request::Elements { flavors: vec![id], ..Default::default() };
        let told = bad(&|request| request.without = Some(elements.clone()));
        assert!(
            told.starts_with("without.flavors[0] is") && told.ends_with("the id of a flavor, from 1 to 255 characters"),
            "{told}"
        );
    }
    let window = v1::list_leases_request::TimeWindow { start: 1_800_000_000, end: Some(1_800_000_000), scope: 0 };
    assert!(bad(&|request| request.window = Some(window)).contains("window.end"));
}

#[test]
fn allocations_are_on_the_wire_what_they_were() {
    let (lease_id, reservation_id) = (LeaseId(Uuid::from_u128(1)), ReservationId(Uuid::from_u128(2)));
    let hosts = HostListing {
        filter: HostFilter { zone: Some("north".into()), hosts: Some([HostId(4)].into()), ..HostFilter::default() },
        reservable: Some(false),
        order: HostOrder::Name,
        descending: true,
        after: Some(HostId(3)),
        limit: Some(2),
    };
    let host_id = Some(HostId(4));
    let window = Some(Interval { start: Seconds(7), end: Seconds(8) });
    let after = Some(ReservedName { start: Seconds(5), reservation_id });
    let page = ReservedPage { descending: true, after, limit: Some(6) };
    let (lease, reservation) = (Some(lease_id), Some(reservation_id));
    let filter = AllocationFilter { hosts, host_id, lease_id: lease, reservation_id: reservation, window, page };
    let open = AllocationFilter { window: Some(Interval { start: Seconds(0), end: Seconds::OPEN_END }), ..Default::default() };
    for filter in [filter, open, AllocationFilter::default()] {
        assert_eq!(AllocationFilter::try_from(v1::ListAllocationsRequest::from(filter.clone())).unwrap(), filter);
    }
    assert_eq!(AllocationFilter::try_from(v1::ListAllocationsRequest::default()).unwrap(), AllocationFilter::default());
    let reserved = |end| ReservedInterval { reservation_id, lease_id, start: Seconds(5), end };
    let allocation = HostAllocation { host_id: HostId(4), reservations: vec![reserved(Seconds(9)), reserved(Seconds::OPEN_END)] };
    assert_eq!(HostAllocation::try_from(v1::HostAllocation::from(allocation.clone())).unwrap(), allocation);
    let wrong = v1::ListAllocationsRequest { reservation_id: Some("x".to_owned()), ..Default::default() };
    assert!(
        AllocationFilter::try_from(wrong).unwrap_err().to_string().starts_with(r#"reservation_id is "x"; it must be a UUID"#)
    );
    let wrong = v1::ListAllocationsRequest { reserved_limit: 2, ..Default::default() };
    let told = AllocationFilter::try_from(wrong).unwrap_err().to_string();
    assert!(told.starts_with("host_id is ") && told.contains("reserved_limit"), "{told}");
    let wrong = v1::ListAllocationsRequest { order: 9, ..Default::default() };
    let told = AllocationFilter::try_from(wrong).unwrap_err().to_string();
    assert_eq!(told, r#"order is "9"; it must be 1 (number), 2 (name) or 3 (zone)"#);
}

#[test]
fn lists_of_downtimes_and_quotas_are_on_the_wire_what_they_were() {
    let name = DowntimeName { host_id: HostId(3), id: DowntimeId(Uuid::from_u128(7)) };
    let open = Interval { start: Seconds(9), end: Seconds::OPEN_END };
    for window in [None, Some(open), Some(Interval { start: Seconds(0), end: Seconds(5) })] {
        let (hosts, host_id, order) = ([HostId(1), HostId(3)].into(), Some(HostId(3)), DowntimeOrder::End);
        let listing = DowntimeListing { hosts, host_id, window, order, descending: true, after: Some(name), limit: Some(4) };
        assert_eq!(DowntimeListing::try_from(v1::ListDowntimesRequest::from(listing.clone())).unwrap(), listing);
    }
    assert_eq!(DowntimeListing::try_from(v1::ListDowntimesRequest::default()).unwrap(), DowntimeListing::default());
    let downtime = Downtime { id: name.id, interval: open, withheld: Withheld { vcpus: Some(2), ..Withheld::ALL } };
    let one = HostDowntime { host_id: HostId(3), hypervisor_hostname: "h3".into(), downtime };
    assert_eq!(HostDowntime::try_from(v1::HostDowntime::from(one.clone())).unwrap(), one);
    assert!(HostDowntime::try_from(v1::HostDowntime::default()).unwrap_err().to_string().starts_with("downtime is missing"));
    let bad = |request: v1::ListDowntimesRequest| DowntimeListing::try_from(request).unwrap_err().to_string();
    let after = Some(v1::DowntimeName { host_id: 3, downtime_id: "x".into() });
    let told = bad(v1::ListDowntimesRequest { after, ..Default::default() });
    assert!(told.starts_with(r#"after.downtime_id is "x"; it must be a UUID"#), "{told}");
    let (start, end) = (Some(1_800_000_000), Some(1_800_000_000));
    let told = bad(v1::ListDowntimesRequest { start, end, ..Default::default() });
    assert_eq!(told, r#"end is "1800000000"; it must be later than the start"#);
    let told = bad(v1::ListDowntimesRequest { order: 9, ..Default::default() });
    assert_eq!(told, r#"order is "9"; it must be 1 (host and id), 2 (start) or 3 (end)"#);

    let set = [LimitKind::Slots, LimitKind::DurationS].into();
    let page = QuotaListing { set, descending: true, after: Some(ProjectId("p".into())), limit: Some(3) };
    for listing in [QuotaListing::default(), page] {
        assert_eq!(QuotaListing::try_from(v1::ListQuotasRequest::from(listing.clone())).unwrap(), listing);
    }
    let wrong = v1::ListQuotasRequest { set: vec!["slots".into(), "rooms".into()], ..Default::default() };
    let told = QuotaListing::try_from(wrong).unwrap_err().to_string();
    let known = "slots, vcpus, vcpu_hours, period_s, start_ahead_s, end_ahead_s, duration_s";
    assert_eq!(told, format!(r#"set is "rooms"; it must be one of {known}"#));
}

#[test]
fn what_a_request_leaves_out_has_a_meaning() {
    let wish = CapacityWish::try_from(v1::ShowCapacityRequest::default()).unwrap();
    let window = WindowWish { start: StartWish::Now, end: Seconds::OPEN_END };
    assert_eq!(wish, CapacityWish { filter: HostFilter::default(), window, steps_max: 1 });
    let plain = recurrence(v1::Recurrence::default()).unwrap();
    assert_eq!((plain.time_zone.as_str(), plain.mode), ("UTC", SeriesMode::AllOrNothing));
    let wish = NewLease::from_request(v1::CreateLeaseRequest::default()).unwrap();
    assert_eq!((wish.start, wish.end), (StartWish::Now, Seconds::OPEN_END));
    assert_eq!(wish.before_end, BeforeEndWish::SecondsBefore(3600));
    assert_eq!(wish.expiry_s, None);
    let never = v1::CreateLeaseRequest { expiry_s: Some(0), ..Default::default() };
    assert_eq!(NewLease::from_request(never).unwrap().expiry_s, Some(0), "never is not the same as nothing said");
    assert_eq!(LeaseChange::try_from(v1::UpdateLeaseRequest::default()).unwrap(), LeaseChange::default());
    assert_eq!(NewHost::from_request(v1::RegisterHostRequest::default()).unwrap().pool, PoolKind::Dedicated);
}

#[test]
fn a_lease_says_when_it_expires_once_it_has_the_event_and_what_was_given_back() {
    let event = Event {
        id: EventId(Uuid::from_u128(2)),
        kind: EventKind::Expiry,
        time: Seconds(900),
        status: EventStatus::Undone,
        created_at: Timestamp(1),
        updated_at: None,
    };
    let wire = v1::Lease { id: Uuid::from_u128(1).to_string(), start: unix_s(Seconds(1)), status: 4, ..Default::default() };
    let pending = Lease { expiry_s: Some(600), ..Lease::try_from(wire).unwrap() };
    let told = v1::Lease::from(pending.clone());
    assert_eq!((told.expiry_s, told.expires_at), (Some(600), None));
    let told = v1::Lease::from(Lease { events: vec![event], ..pending });
    assert_eq!((told.expires_at, told.events[0].kind), (Some(unix_s(Seconds(900))), v1::EventKind::Expiry as i32));

    for (wire, expiry) in [(0, None), (2, Some(Expiry::Counted { at: Timestamp(7), released: 2 }))] {
        let told = v1::Reservation { released: wire, ..reservation_wire() };
        assert_eq!(Reservation::try_from(told.clone()).unwrap().expiry, expiry);
        assert_eq!(v1::Reservation::from(Reservation::try_from(told).unwrap()).released, wire);
    }
    let counting = Reservation { expiry: Some(Expiry::Counting), ..Reservation::try_from(reservation_wire()).unwrap() };
    assert_eq!(v1::Reservation::from(counting).released, 0, "nothing is given back yet");
}

/// The least that is a reservation, changed last at 7 ms.
fn reservation_wire() -> v1::Reservation {
    let resource = ResourceWish::Instance(InstanceWish::anywhere(1, 1, 1, 1).into());
    v1::Reservation {
        id: Uuid::from_u128(3).to_string(),
        resource_id: Uuid::from_u128(4).to_string(),
        resource: Some(resource.into()),
        on_end: 1,
        status: 1,
        stage: 1,
        updated_at_ms: Some(7),
        ..Default::default()
    }
}

#[test]
fn a_key_needs_a_validity_or_a_time_inside() {
    let project = ProjectId("p".into());
    let key = |id: &str, valid_until_ms| request_key(&project, id, valid_until_ms);
    assert_eq!(key("", 0).unwrap(), None);
    assert!(key("", 5).unwrap_err().to_string().starts_with("request_id is missing"));
    let v4 = "7e57d004-2b97-4e7a-b45f-5387367791cd";
    assert_eq!(key(v4, 5).unwrap().unwrap().valid_until, Timestamp(5));
    assert!(key(v4, 0).unwrap_err().to_string().starts_with("valid_until_ms is missing"));
    // 0x019a_b000_0000 milliseconds.
    let v7 = "019ab000-0000-7000-8000-000000000000";
    assert_eq!(key(v7, 0).unwrap().unwrap().valid_until, Timestamp(0x019a_b000_0000 + 3_600_000));
    assert_eq!(key(v7, 9).unwrap().unwrap().valid_until, Timestamp(9));
    assert!(key("x", 9).unwrap_err().to_string().starts_with(r#"request_id is "x""#));
}
