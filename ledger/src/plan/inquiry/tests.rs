//! What is asked is answered as a command would be, or refused with what would be right.
#![allow(clippy::unwrap_used)]

use uuid::Uuid;

use super::super::crowd::now;
use super::*;
use crate::apply::apply;
use crate::command::{BeforeEndWish, Command, CreateLease, Entry, RegisterHost, ReservationWish, StagingWish};
use crate::model::{
    Amounts, Anchor, Class, EventId, HostDescription, LeaseId, Observation, OnEnd, PoolKind, ProjectId, ResourceWish, UserId,
};
use crate::plan::plan_create;

pub(in crate::plan) fn send(state: &mut State, command: Command) {
    apply(state, &Entry { key: None, proposed_at: now(), command }).outcome.unwrap();
}

/// Three hosts with 4 vCPUs each, of which an ordinary server uses one on the third.
pub(in crate::plan) fn cloud() -> State {
    let mut state = State::default();
    for number in 1..=3u32 {
        let capacity = Amounts { vcpus: 4, memory_mb: 4096, disk_gb: 40, slots: 64 };
        let firm = if number == 3 { Amounts { vcpus: 1, memory_mb: 1024, ..Amounts::default() } } else { Amounts::default() };
        let host = RegisterHost {
            properties: [("rack".to_owned(), format!("r{number}"))].into(),
            description: HostDescription {
                hypervisor_hostname: format!("h{number}"),
                service_name: format!("h{number}"),
                root_provider: Uuid::from_u128(u128::from(number)),
                hypervisor_type: "QEMU".to_owned(),
                hypervisor_version: 8,
                cpu_info: "{}".to_owned(),
                vcpus: 4,
                memory_mb: 4096,
                local_gb: 40,
                zone: Some(if number == 1 { "north" } else { "south" }.to_owned()),
                pool: if number == 3 { PoolKind::Shared } else { PoolKind::Dedicated },
                anchor_budget: 64,
                memory_grain_mb: 0,
                anchor: Anchor::Memory,
            },
            observation: Observation { capacity, firm, max_unit: capacity, traits: BTreeSet::new(), up: true },
        };
        send(&mut state, Command::RegisterHost(Box::new(host)));
    }
    state
}

/// So many instances of one vCPU.
fn instance(amount: u32) -> InstanceWish {
    InstanceWish::anywhere(1, 512, 1, amount)
}

/// Seconds after now.
pub(in crate::plan) fn after(seconds: u32) -> Seconds {
    now().floor_to_second().plus(seconds)
}

fn window(start: u32, end: u32) -> WindowWish {
    WindowWish { start: StartWish::At(after(start)), end: after(end) }
}

pub(in crate::plan) fn lease(amount: u32, start: u32, end: u32) -> LeaseWish {
    LeaseWish {
        name: "a".to_owned(),
        project_id: ProjectId("p".into()),
        user_id: UserId("u".into()),
        start: StartWish::At(after(start)),
        end: after(end),
        before_end: BeforeEndWish::Never,
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
        reservations: vec![ReservationWish {
            resource: ResourceWish::Instance(instance(amount).into()),
            staging: None,
            on_end: OnEnd::Delete,
            servers: BTreeSet::new(),
        }],
    }
}

pub(in crate::plan) fn book(state: &mut State, wish: LeaseWish) {
    let planned = plan_create(state, &Overlay::default(), &wish, &[ReservationId(Uuid::from_u128(7))], now()).unwrap();
    let create = CreateLease {
        wish,
        lease_id: LeaseId(Uuid::from_u128(8)),
        event_ids: (10..16).map(|id| EventId(Uuid::from_u128(id))).collect(),
        plan: planned.reservations,
        resource_ids: vec![Uuid::from_u128(9)],
        planned_at: planned.planned_at,
        moved_to: planned.moved_to,
        adoptions: BTreeMap::new(),
        caller_makes_groups: false,
        waits: false,
        asked: None,
        victims: Vec::new(),
    };
    send(state, Command::CreateLease(Box::new(create)));
}

fn capacity_wish(window: WindowWish) -> CapacityWish {
    CapacityWish { filter: HostFilter::default(), window, steps_max: 10 }
}

fn density_wish(amount: u32, window: WindowWish) -> DensityWish {
    DensityWish { instance: instance(amount), whole_hosts: false, seek: true, among: None, window }
}

#[test]
fn capacity_is_told_in_steps_or_as_one_figure_of_the_hosts_that_were_asked_of() {
    let mut state = cloud();
    book(&mut state, lease(6, 100, 200));
    let wish = capacity_wish(window(0, 300));
    let all = ask_capacity(&state, &wish, now()).unwrap();
    assert_eq!((all.hosts, all.total[0], all.firm[0], all.window), (3, 12, 1, Interval { start: after(0), end: after(300) }));
    let steps: Vec<_> = all.pieces.iter().map(|one| (one.start, one.reserved[0], one.available[0])).collect();
    assert_eq!(steps, [(after(0), 0, 11), (after(100), 6, 5), (after(200), 0, 11)]);

    let figure = ask_capacity(&state, &CapacityWish { steps_max: 1, ..wish.clone() }, now()).unwrap();
    assert_eq!((figure.pieces.len(), figure.pieces[0].reserved[0], figure.pieces[0].available[0]), (1, 6, 5));
    for (filter, hosts, total) in [
        (HostFilter { zone: Some("south".to_owned()), ..HostFilter::default() }, 2, 8),
        (HostFilter { pool: Some(PoolKind::Shared), ..HostFilter::default() }, 1, 4),
        (HostFilter { hosts: Some([HostId(1), HostId(3)].into()), ..HostFilter::default() }, 2, 8),
        (HostFilter { required_traits: ["CUSTOM_GPU".to_owned()].into(), ..HostFilter::default() }, 0, 0),
    ] {
        let some = ask_capacity(&state, &CapacityWish { filter: filter.clone(), ..wish.clone() }, now()).unwrap();
        assert_eq!((some.hosts, some.total[0]), (hosts, total), "{filter:?}");
    }
}

#[test]
fn density_is_what_the_refusal_of_a_lease_names() {
    let mut state = cloud();
    book(&mut state, lease(6, 100, 200));
    let ask = |wish: &DensityWish| ask_density(&state, wish, now()).unwrap();
    let whole = density_wish(8, window(0, 150));
    let found = ask(&whole);
    assert_eq!((found.fits.largest_amount, found.fits.tightest), (5, Some(Class::Vcpu)));
    assert_eq!(found.earliest_start, Some(after(200)));
    assert_eq!(ask(&DensityWish { seek: false, ..whole.clone() }), Density { earliest_start: None, ..found });
    let WhatIf::NoRoom(no_room) = what_if(&state, &lease(8, 0, 150), &[], &BTreeMap::new(), now()).unwrap() else {
        panic!("it fits")
    };
    assert_eq!((no_room.largest_amount, no_room.tightest, no_room.next_start), (5, found.fits.tightest, found.earliest_start));
    assert_eq!(no_room.short_by, 3);

    let free = density_wish(1, window(200, 300));
    assert_eq!(ask(&free).fits.largest_amount, 11);
    assert_eq!(ask(&free).earliest_start, Some(after(200)), "at once");
    for (among, largest) in [(vec![1], 4), (vec![1, 3], 7), (vec![3], 3)] {
        let among: BTreeSet<HostId> = among.into_iter().map(HostId).collect();
        let found = ask(&DensityWish { among: Some(among.clone()), instance: instance(5), ..free.clone() });
        assert_eq!(found.fits.largest_amount, largest, "{among:?}");
        assert_eq!(found.earliest_start.is_some(), largest >= 5, "{among:?}");
    }
    let open = DensityWish { window: WindowWish { start: StartWish::Now, end: Seconds::OPEN_END }, ..free };
    assert_eq!(ask(&open).fits.largest_amount, 5, "what is to last for ever must fit beside what is booked");
}

#[test]
fn whole_hosts_are_dedicated_ones_that_nobody_has_anything_on() {
    let mut state = cloud();
    book(&mut state, lease(2, 100, 200));
    let asked = |amount, window| DensityWish {
        whole_hosts: true,
        instance: InstanceWish::anywhere(0, 0, 0, amount),
        ..density_wish(1, window)
    };
    let ask = |wish: &DensityWish| {
        let found = ask_density(&state, wish, now()).unwrap();
        assert_eq!(found.fits.tightest, None);
        (found.fits.largest_amount, found.earliest_start)
    };
    // Both instances lie on the first host; the third is shared.
    assert_eq!(ask(&asked(2, window(0, 100))), (2, Some(after(0))), "it ends where the lease begins");
    assert_eq!(ask(&asked(2, window(0, 101))), (1, Some(after(200))));
    assert_eq!(ask(&asked(1, window(150, 400))), (1, Some(after(150))));
    assert_eq!(ask(&asked(3, window(0, 100))), (2, None), "there are no three");
    let open = WindowWish { start: StartWish::At(after(0)), end: Seconds::OPEN_END };
    assert_eq!(ask(&asked(2, open)), (1, Some(after(200))));
    let mut north = asked(1, window(150, 400));
    north.instance.zone = Some("north".to_owned());
    assert_eq!(ask(&north), (0, Some(after(200))));
    assert_eq!(ask(&DensityWish { among: Some([HostId(2), HostId(3)].into()), ..asked(1, window(0, 400)) }), (1, Some(after(0))));

    // An ordinary server that stays where it is has the second host.
    let alone = state.host(HostId(2)).unwrap().observation.clone();
    let observation = Observation { firm: Amounts { vcpus: 1, ..Amounts::default() }, ..alone };
    let mut busy = state.clone();
    send(&mut busy, Command::ReportHost { host_id: HostId(2), observation });
    let found = ask_density(&busy, &asked(2, window(0, 100)), now()).unwrap();
    assert_eq!((found.fits.largest_amount, found.earliest_start), (1, None));

    let refused = |change: &dyn Fn(&mut DensityWish)| {
        let mut wish = asked(1, window(0, 60));
        change(&mut wish);
        ask_density(&state, &wish, now()).unwrap_err().to_string()
    };
    assert_eq!(refused(&|wish| wish.instance.memory_mb = 7), "memory_mb: it is 7; whole hosts have no size but their own");
    assert_eq!(
        refused(&|wish| wish.instance.pool = Some(PoolKind::Shared)),
        "pool: it is shared; whole hosts are of the dedicated pool"
    );
    assert_eq!(refused(&|wish| wish.instance.affinity = Some(true)), "affinity: whole hosts have none: each is another host");
    assert!(refused(&|wish| wish.instance.amount = 0).starts_with("amount: it is 0; it must be from 1 to "));
}

#[test]
fn what_if_counts_hosts_and_books_nothing() {
    let state = cloud();
    let before = state.hash();
    let mut wish = lease(6, 5000, 6000);
    let ask = |wish: &LeaseWish| what_if(&state, wish, &[], &BTreeMap::new(), now());
    assert_eq!(
        ask(&wish).unwrap(),
        WhatIf::Fits { moved_to: None, preempts: Preempts::default(), reservations: vec![HostCount { main: 2, staging: 0 }] }
    );
    wish.reservations[0].staging = Some(StagingWish { start: None, end: Some(after(600)), park_margin_s: 60 });
    assert_eq!(
        ask(&wish).unwrap(),
        WhatIf::Fits { moved_to: None, preempts: Preempts::default(), reservations: vec![HostCount { main: 2, staging: 2 }] }
    );
    wish.reservations[0].resource.instance_mut().amount = 20;
    assert!(matches!(ask(&wish).unwrap(), WhatIf::NoRoom(_)));
    wish.name.clear();
    assert!(matches!(ask(&wish), Err(Rejection::Invalid { field, .. }) if field == "name"));
    assert_eq!(ask(&lease(1, 100, 100)), Err(Rejection::EndNotAfterStart));
    assert_eq!(state.hash(), before);
}

#[test]
fn senseless_questions_are_refused_with_what_would_be_right() {
    let state = cloud();
    let capacity = |change: &dyn Fn(&mut CapacityWish)| {
        let mut wish = capacity_wish(window(0, 60));
        change(&mut wish);
        ask_capacity(&state, &wish, now()).unwrap_err().to_string()
    };
    assert_eq!(capacity(&|wish| wish.steps_max = 0), "steps: it is 0; it must be from 1 to 1000");
    assert_eq!(capacity(&|wish| wish.steps_max = 1001), "steps: it is 1001; it must be from 1 to 1000");
    assert_eq!(capacity(&|wish| wish.filter.hosts = Some([HostId(1), HostId(9)].into())), "hosts: there is no host 9");
    let many = |wish: &mut CapacityWish| wish.filter.hosts = Some((1..=1001).map(HostId).collect());
    assert_eq!(capacity(&many), "hosts: 1001 are named; at most 1000 may be");
    assert_eq!(
        capacity(&|wish| wish.filter.zone = Some(String::new())),
        "zone: it has 0 characters; it must have 1 to 255 characters"
    );
    let lower = |wish: &mut CapacityWish| wish.filter.required_traits = ["lower".to_owned()].into();
    assert!(capacity(&lower).starts_with("required_traits: "));

    let past = StartWish::At(now().floor_to_minute().minus(1));
    let cases = [
        (WindowWish { start: past, end: after(60) }, Rejection::StartInPast),
        (window(60, 60), Rejection::EndNotAfterStart),
        (WindowWish { start: StartWish::At(now().floor_to_minute()), end: after(0) }, Rejection::EndInPast),
        (WindowWish { start: StartWish::Now, end: Seconds(Seconds::LAST.0 + 1) }, Rejection::EndBeyondCalendar),
    ];
    for (window, rejection) in cases {
        assert_eq!(ask_capacity(&state, &capacity_wish(window), now()), Err(rejection.clone()));
        assert_eq!(ask_density(&state, &density_wish(1, window), now()), Err(rejection));
    }
    // The current minute has begun, and what is over of it is not looked at.
    let this_minute = WindowWish { start: StartWish::At(now().floor_to_minute()), end: after(60) };
    assert_eq!(ask_capacity(&state, &capacity_wish(this_minute), now()).unwrap().pieces[0].start, after(0));

    let density = |change: &dyn Fn(&mut DensityWish)| {
        let mut wish = density_wish(1, window(0, 60));
        change(&mut wish);
        ask_density(&state, &wish, now()).unwrap_err().to_string()
    };
    assert_eq!(density(&|wish| wish.instance.vcpus = 0), "vcpus: it is 0, and must be >= 1");
    assert_eq!(density(&|wish| wish.instance.amount = 10_001), "amount: it is 10001, and must be <= 10000");
    assert_eq!(density(&|wish| wish.among = Some([HostId(9)].into())), "hosts: there is no host 9");
}
