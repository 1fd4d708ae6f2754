//! Round trips over generated values, and what decoding refuses.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use leasehold_ledger::command::{
    BeforeEndWish, EndWish, LeaseChange, OfferWish, Recurrence, ReservationChange, ReservationWish, StagingWish, StartWish,
};
use leasehold_ledger::listing::{
    Element, HostListing, HostOrder, LeaseFilter, LeaseOrder, Scope, Utilisation, UtilisationStep, UtilisationWish,
};
use leasehold_ledger::model::*;
use leasehold_ledger::plan::{
    Capacity, CapacityWish, Density, DensityWish, HostCount, HostFilter, NoRoom, Piece, Sums, WhatFits, WhatIf, WindowWish,
};
use leasehold_ledger::state::{Change, ChangeSubject};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::answer::{Answer, BookedSeries};
use crate::wire::v1;

fn any_uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn second() -> impl Strategy<Value = Seconds> {
    (0..u32::MAX).prop_map(Seconds)
}

fn any_end() -> impl Strategy<Value = Seconds> {
    prop_oneof![4 => second(), 1 => Just(Seconds::OPEN_END)]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_ äß$]{0,12}"
}

fn on_end() -> impl Strategy<Value = OnEnd> {
    select(vec![OnEnd::Delete, OnEnd::Shelve, OnEnd::Snapshot])
}

fn pool() -> impl Strategy<Value = PoolKind> {
    select(vec![PoolKind::Dedicated, PoolKind::Shared])
}

fn anchor() -> impl Strategy<Value = Anchor> {
    select(Anchor::ALL.to_vec())
}

fn requirement() -> impl Strategy<Value = Requirement> {
    use Comparison::*;
    let comparison = select(vec![Equal, NotEqual, AtLeast, AtMost, Above, Below]);
    (text(), comparison, text()).prop_map(|(key, comparison, value)| Requirement { key, comparison, value })
}

fn resource() -> impl Strategy<Value = ResourceWish> {
    let sizes = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let terms = (vec(requirement(), 0..3), text());
    (sizes, of(any::<bool>()), of(text()), of(pool()), btree_set(text(), 0..3), btree_set(text(), 0..3), terms).prop_map(
        |((vcpus, memory_mb, disk_gb, amount), affinity, zone, pool, required_traits, forbidden_traits, terms)| {
            let (requirements, resource_properties) = terms;
            ResourceWish::Instance(
                InstanceWish {
                    vcpus,
                    memory_mb,
                    disk_gb,
                    amount,
                    affinity,
                    zone,
                    pool,
                    required_traits,
                    forbidden_traits,
                    requirements,
                    resource_properties,
                }
                .into(),
            )
        },
    )
}

fn staging() -> impl Strategy<Value = Staging> {
    (0..u32::MAX / 2, 1..1000u32, any::<u32>()).prop_map(|(start, length, park_margin_s)| Staging {
        window: Interval::new(Seconds(start), Seconds(start + length)).unwrap(),
        park_margin_s,
    })
}

fn binding() -> impl Strategy<Value = Binding> {
    (select(vec![Phase::Staging, Phase::Main]), any::<u64>(), any::<u32>()).prop_map(|(phase, host, slots)| Binding {
        phase,
        host: HostId(host),
        slots,
    })
}

/// Fills what the strategies do not vary.
fn reservation() -> impl Strategy<Value = Reservation> {
    use Stage::*;
    let stage = select(vec![Booked, Prepared, Staging, Parking, Parked, Open, Ended]);
    let status =
        select(vec![ReservationStatus::Pending, ReservationStatus::Active, ReservationStatus::Deleted, ReservationStatus::Error]);
    let ids = (any_uuid(), any_uuid(), of(any_uuid()), of(text()));
    let flags = (any::<bool>(), any::<bool>(), timestamp(), of(timestamp()));
    let adoption = (any_uuid(), anchor(), btree_set(any_uuid(), 0..3)).prop_map(|(flavor_of, anchor, servers)| Adoption {
        flavor_of: ReservationId(flavor_of),
        anchor,
        servers,
        opened: false,
    });
    (ids, resource(), of(staging()), on_end(), status, stage, vec(binding(), 0..3), (flags, of(adoption))).prop_map(
        |(ids, wish, staging, on_end, status, stage, bindings, (flags, adoption))| {
            let wire = v1::Reservation {
                id: ids.0.to_string(),
                resource_id: ids.1.to_string(),
                server_group_id: ids.2.map(|id| id.to_string()),
                server_group_problem: ids.3,
                resource: Some(wish.clone().into()),
                on_end: 1,
                status: 1,
                stage: 1,
                ..Default::default()
            };
            Reservation {
                staging,
                on_end,
                status,
                stage,
                bindings,
                adoption: adoption.map(Box::new),
                missing_resources: flags.0,
                resources_changed: flags.1,
                created_at: flags.2,
                updated_at: flags.3,
                ..Reservation::try_from(wire).unwrap()
            }
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    use EventKind::*;
    let kind = select(vec![StartLease, BeforeEndLease, EndLease, Prepare, StagingOpen, StagingClose]);
    let status = select(vec![EventStatus::Undone, EventStatus::InProgress, EventStatus::Done, EventStatus::Error]);
    (any_uuid(), kind, any_end(), status, timestamp(), of(timestamp())).prop_map(
        |(id, kind, time, status, created_at, updated_at)| Event { id: EventId(id), kind, time, status, created_at, updated_at },
    )
}

fn mode() -> impl Strategy<Value = SeriesMode> {
    select(vec![SeriesMode::AllOrNothing, SeriesMode::BestEffort])
}

fn occurrence() -> impl Strategy<Value = Occurrence> {
    (any::<u32>(), second(), second()).prop_map(|(number, start, end)| Occurrence { number, start, end })
}

fn left_out() -> impl Strategy<Value = LeftOut> {
    let no_room = (any::<[u32; 3]>(), class()).prop_map(|([reservation, short_by, largest_amount], tightest)| {
        LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest }
    });
    (occurrence(), prop_oneof![no_room, reason().prop_map(LeftOutReason::Withdrawn)])
        .prop_map(|(occurrence, reason)| LeftOut { occurrence, reason })
}

fn booked_series() -> impl Strategy<Value = BookedSeries> {
    let lease_of = (any_uuid(), occurrence()).prop_map(|(id, occurrence)| SeriesLease { lease_id: LeaseId(id), occurrence });
    (any_uuid(), lease(), vec(lease_of, 0..3), vec(left_out(), 0..3)).prop_map(|(id, first, leases, left_out)| BookedSeries {
        id: SeriesId(id),
        first,
        leases,
        left_out,
    })
}

fn reason() -> impl Strategy<Value = Reason> {
    use ReasonCode::*;
    let code = select(vec![WaitingForEnd, Late, CloudUnavailable, Quota, ServerFailed, CloudRefused]);
    (code, text()).prop_map(|(code, text)| Reason { code, text })
}

fn lease() -> impl Strategy<Value = Lease> {
    use LeaseStatus::*;
    let status = select(vec![Creating, Pending, Starting, Active, Updating, Terminating, Terminated, Deleting, Error]);
    let who = (any_uuid(), text(), text(), text());
    let when = (second(), any_end(), timestamp(), of(timestamp()));
    let offer = (second(), of(timestamp())).prop_map(|(expires_at, claimed_at)| Box::new(Offer { expires_at, claimed_at }));
    let series = (any_uuid(), any::<u32>(), mode())
        .prop_map(|(id, number, mode)| Box::new(SeriesMember { id: SeriesId(id), number, mode }));
    let rest = (any::<bool>(), of(reason()), any::<u32>(), any::<u64>(), of(offer), of(series));
    (who, when, status, rest, vec(reservation(), 0..3), vec(event(), 0..4)).prop_map(
        |(who, when, status, rest, reservations, events)| {
            let wire = v1::Lease { id: who.0.to_string(), start: unix_s(when.0), status: 1, ..Default::default() };
            Lease {
                name: who.1,
                project_id: ProjectId(who.2.into()),
                user_id: UserId(who.3.into()),
                end: when.1,
                created_at: when.2,
                updated_at: when.3,
                status,
                degraded: rest.0,
                reason: rest.1,
                revision: rest.2,
                ledger_index: rest.3,
                offer: rest.4,
                series: rest.5,
                reservations,
                events,
                ..Lease::try_from(wire).unwrap()
            }
        },
    )
}

fn amounts() -> impl Strategy<Value = Amounts> {
    any::<[u32; 4]>().prop_map(Amounts::from_array)
}

fn properties() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn host() -> impl Strategy<Value = Host> {
    let description =
        (text(), text(), any_uuid(), text(), any::<i64>(), text(), any::<[u32; 5]>(), of(text()), (pool(), anchor())).prop_map(
            |(
                hypervisor_hostname,
                service_name,
                root_provider,
                hypervisor_type,
                hypervisor_version,
                cpu_info,
                numbers,
                zone,
                (pool, anchor),
            )| {
                let [vcpus, memory_mb, local_gb, anchor_budget, memory_grain_mb] = numbers;
                HostDescription {
                    hypervisor_hostname,
                    service_name,
                    root_provider,
                    hypervisor_type,
                    hypervisor_version,
                    cpu_info,
                    vcpus,
                    memory_mb,
                    local_gb,
                    zone,
                    pool,
                    anchor_budget,
                    memory_grain_mb,
                    anchor,
                }
            },
        );
    let observation = (amounts(), amounts(), amounts(), btree_set(text(), 0..3), any::<bool>())
        .prop_map(|(capacity, firm, max_unit, traits, up)| Observation { capacity, firm, max_unit, traits, up });
    (any::<u64>(), description, observation, properties(), any::<[bool; 2]>(), timestamp(), of(timestamp())).prop_map(
        |(id, description, observation, properties, flags, created_at, updated_at)| Host {
            id: HostId(id),
            description,
            observation,
            properties,
            reservable: flags[0],
            overcommitted: flags[1],
            created_at,
            updated_at,
        },
    )
}

fn start_wish() -> impl Strategy<Value = StartWish> {
    let earliest = (of(second()), second()).prop_map(|(from, latest)| StartWish::Earliest { from, latest });
    prop_oneof![Just(StartWish::Now), second().prop_map(StartWish::At), earliest]
}

fn before_end() -> impl Strategy<Value = BeforeEndWish> {
    prop_oneof![
        Just(BeforeEndWish::Never),
        any::<u32>().prop_map(BeforeEndWish::SecondsBefore),
        second().prop_map(BeforeEndWish::At)
    ]
}

fn new_lease() -> impl Strategy<Value = NewLease> {
    let staging = (of(second()), of(second()), any::<u32>()).prop_map(|(start, end, park_margin_s)| StagingWish {
        start,
        end,
        park_margin_s,
    });
    let reservation = (resource(), of(staging), on_end(), btree_set(any_uuid(), 0..3))
        .prop_map(|(resource, staging, on_end, servers)| ReservationWish { resource, staging, on_end, servers });
    let offer = prop_oneof![second().prop_map(OfferWish::Until), any::<u32>().prop_map(OfferWish::For)];
    (text(), start_wish(), any_end(), before_end(), vec(reservation, 0..3), of(offer), any::<bool>()).prop_map(
        |(name, start, end, before_end, reservations, offer, ignore_quota)| NewLease {
            name,
            start,
            end,
            before_end,
            reservations,
            offer,
            ignore_quota,
        },
    )
}

fn lease_change() -> impl Strategy<Value = LeaseChange> {
    let end = prop_oneof![Just(EndWish::Now), any_end().prop_map(EndWish::At)];
    let reservation = (any_uuid(), resource(), of(on_end())).prop_map(|(id, resource, on_end)| ReservationChange {
        reservation_id: ReservationId(id),
        resource,
        on_end,
    });
    (of(text()), of(start_wish()), of(end), of(before_end()), vec(reservation, 0..3), any::<bool>()).prop_map(
        |(name, start, end, before_end, reservations, ignore_quota)| LeaseChange {
            name,
            start,
            end,
            before_end,
            reservations,
            ignore_quota,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let subject = prop_oneof![
        lease().prop_map(|lease| ChangeSubject::Lease(Box::new(lease))),
        host().prop_map(|host| ChangeSubject::Host(Box::new(host))),
        any::<u64>().prop_map(|id| ChangeSubject::HostRemoved(HostId(id))),
        (any_uuid(), text()).prop_map(|(id, project)| ChangeSubject::LeaseRemoved {
            lease_id: LeaseId(id),
            project_id: ProjectId(project.into())
        }),
    ];
    (any::<u64>(), timestamp(), subject).prop_map(|(ledger_index, at, subject)| Change { ledger_index, at, subject })
}

fn window_wish() -> impl Strategy<Value = WindowWish> {
    (start_wish(), any_end()).prop_map(|(start, end)| WindowWish { start, end })
}

fn window() -> impl Strategy<Value = Interval> {
    (0..u32::MAX / 2, 1..u32::MAX / 4, any::<bool>()).prop_map(|(start, length, open)| Interval {
        start: Seconds(start),
        end: if open { Seconds::OPEN_END } else { Seconds(start + length) },
    })
}

fn some_hosts() -> impl Strategy<Value = Option<std::collections::BTreeSet<HostId>>> {
    of(btree_set(any::<u64>().prop_map(HostId), 1..4))
}

fn instance() -> impl Strategy<Value = InstanceWish> {
    resource().prop_map(|resource| resource.instance().clone())
}

fn capacity_wish() -> impl Strategy<Value = CapacityWish> {
    (instance(), some_hosts(), window_wish(), 1..u32::MAX).prop_map(|(kind, hosts, window, steps_max)| {
        let InstanceWish { zone, pool, required_traits, forbidden_traits, requirements, .. } = kind;
        let filter = HostFilter { zone, pool, hosts, required_traits, forbidden_traits, requirements };
        CapacityWish { filter, window, steps_max }
    })
}

fn sums() -> impl Strategy<Value = Sums> {
    any::<Sums>()
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let piece = (second(), sums(), sums()).prop_map(|(start, reserved, available)| Piece { start, reserved, available });
    (any::<(u32, u32)>(), sums(), sums(), window(), vec(piece, 0..3)).prop_map(
        |((hosts, open_hosts), total, firm, window, pieces)| Capacity { hosts, open_hosts, total, firm, window, pieces },
    )
}

fn class() -> impl Strategy<Value = Option<Class>> {
    of(select(Class::ALL.to_vec()))
}

fn density_wish() -> impl Strategy<Value = DensityWish> {
    (instance(), any::<bool>(), some_hosts(), window_wish()).prop_map(|(mut instance, seek, among, window)| {
        // An amount that does not count is not sent.
        instance.amount = if seek { instance.amount.max(1) } else { 1 };
        DensityWish { instance, seek, among, window }
    })
}

fn density() -> impl Strategy<Value = Density> {
    (window(), any::<u32>(), class(), of(second())).prop_map(|(window, largest_amount, tightest, earliest_start)| Density {
        window,
        fits: WhatFits { largest_amount, tightest },
        earliest_start,
    })
}

fn what_if() -> impl Strategy<Value = WhatIf> {
    let count = any::<(u32, u32)>().prop_map(|(main, staging)| HostCount { main, staging });
    let no_room = (0..1000usize, any::<(u32, u32, bool)>(), class(), of(second())).prop_map(
        |(reservation, (short_by, largest_amount, staging), tightest, next_start)| NoRoom {
            reservation,
            short_by,
            tightest,
            largest_amount,
            next_start,
            occurrence: staging.then_some(short_by),
            staging,
        },
    );
    prop_oneof![
        (of(second()), vec(count, 0..3)).prop_map(|(moved_to, reservations)| WhatIf::Fits { moved_to, reservations }),
        (vec(occurrence(), 0..3), vec(left_out(), 0..3))
            .prop_map(|(occurrences, left_out)| WhatIf::SeriesFits { occurrences, left_out }),
        no_room.prop_map(WhatIf::NoRoom)
    ]
}

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
        without: [Element::Host(HostId(4))].into(),
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
    let window = v1::list_leases_request::TimeWindow { start: 1_800_000_000, end: Some(1_800_000_000), scope: 0 };
    assert!(bad(&|request| request.window = Some(window)).contains("window.end"));
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
    assert_eq!(LeaseChange::try_from(v1::UpdateLeaseRequest::default()).unwrap(), LeaseChange::default());
    assert_eq!(NewHost::from_request(v1::RegisterHostRequest::default()).unwrap().pool, PoolKind::Dedicated);
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
