//! What is said of leases of whole hosts is what trying every host for every reservation says, second by second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use leasehold_ledger::command::{
    BeforeEndWish, Command, CreateLease, LeaseWish, PlannedReservation, Recurrence, ReservationWish, SeriesWish, StartWish,
};
use leasehold_ledger::model::{
    Amounts, Anchor, Binding, DowntimeId, EventId, HostId, InstanceWish, Interval, LeaseId, LeftOutReason, Observation,
    Occurrence, OnEnd, Phase, PoolKind, ProjectId, ReservationId, ResourceWish, Seconds, SeriesMode, Upgrade, UserId, Withheld,
};
use leasehold_ledger::plan::{
    Floating, HostAmount, HostFilter, HostReservation, NoRoom, WhatIfHosts, host_class, what_if_hosts, what_if_hosts_series,
};
use proptest::prelude::*;

use crate::world::{ORIGIN_S, World};

/// Everything that is bound is over by then.
const LATEST: u32 = 30;
/// Hosts that are of no use to anybody, before those that are: these lie in two blocks of the index.
const OTHERS: u64 = 61;
/// What drawn numbers count, in seconds: the index covers days.
const UNITS_S: [u32; 3] = [1, 7 * 3600, 3 * 24 * 3600];

static BESIDE: LazyLock<World> = LazyLock::new(|| {
    let mut world = World::new();
    (0..OTHERS).for_each(|number| world.register(&format!("other{number}"), PoolKind::Shared, 4, 64));
    world
});

/// A host and what is bound on it, in units.
#[derive(Clone, Debug)]
struct Drawn {
    north: bool,
    gpu: bool,
    kind: u8,
    leased: Vec<(u32, u32)>,
    down: Option<(u32, u32)>,
    grows: bool,
}

/// A reservation.
#[derive(Clone, Debug)]
struct Asked {
    min: u32,
    more: u32,
    zone: Option<bool>,
    gpu: Option<bool>,
    among: Option<BTreeSet<u64>>,
}

fn span() -> impl Strategy<Value = (u32, u32)> {
    (1..14u32, 1..8u32).prop_map(|(start, length)| (start, start + length))
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let leased = prop::collection::vec(span(), 0..3);
    (any::<bool>(), any::<bool>(), 0..12u8, leased, prop::option::weighted(0.2, span()), prop::bool::weighted(0.2))
        .prop_map(|(north, gpu, kind, leased, down, grows)| Drawn { north, gpu, kind, leased, down, grows })
}

fn asked() -> impl Strategy<Value = Asked> {
    let among = prop::option::weighted(0.2, prop::collection::btree_set(1..=2u64, 0..3));
    let (zone, gpu) = (prop::option::weighted(0.4, any::<bool>()), prop::option::weighted(0.4, any::<bool>()));
    (1..4u32, 0..3u32, zone, gpu, among).prop_map(|(min, more, zone, gpu, among)| Asked { min, more, zone, gpu, among })
}

fn zone(north: bool) -> String {
    if north { "north" } else { "south" }.to_owned()
}

impl Drawn {
    /// Of the dedicated pool, open, with nothing of ordinary servers on it.
    fn whole(&self) -> bool {
        self.kind > 2
    }

    fn is_free(&self, (start, end): (u32, u32)) -> bool {
        self.whole() && self.leased.iter().chain(&self.down).all(|(from, until)| end <= *from || *until <= start)
    }
}

impl Asked {
    fn takes(&self, number: u64, host: &Drawn) -> bool {
        self.zone.is_none_or(|zone| zone == host.north)
            && self.gpu.is_none_or(|gpu| gpu == host.gpu)
            && self.among.as_ref().is_none_or(|among| among.contains(&number))
    }

    fn reservation(&self, hosts: usize) -> HostReservation {
        let named = |among: &BTreeSet<u64>| among.iter().copied().filter(|one| *one <= hosts as u64).map(id_of).collect();
        let traits = |wanted: bool| (self.gpu == Some(wanted)).then(|| "CUSTOM_GPU".to_owned()).into_iter().collect();
        let filter = HostFilter {
            zone: self.zone.map(zone),
            required_traits: traits(true),
            forbidden_traits: traits(false),
            hosts: self.among.as_ref().map(named),
            ..HostFilter::default()
        };
        HostReservation { min: self.min, max: self.min + self.more, filter }
    }
}

/// Half of them shared, closed or with an ordinary server that stays; the others whole.
fn cloud(hosts: &[Drawn], unit_s: u32) -> World {
    let mut world = World::after(&BESIDE);
    let second = |unit: u32| second(unit, unit_s);
    for (number, host) in hosts.iter().enumerate() {
        let pool = if host.kind == 0 { PoolKind::Shared } else { PoolKind::Dedicated };
        let anchor = if host.kind % 2 == 0 { Anchor::Memory } else { Anchor::Class };
        let traits = host.gpu.then(|| "CUSTOM_GPU".to_owned()).into_iter().collect();
        world.register_with(&format!("h{number}"), pool, anchor, 4, 64, Some(zone(host.north)), traits);
        let host_id = id_of(number as u64 + 1);
        for (start, end) in &host.leased {
            lease_on(&mut world, host_id, second(*start), second(*end));
        }
        if let Some((start, end)) = host.down {
            let (start, end) = (Some(StartWish::At(second(start))), second(end));
            let downtime_id = DowntimeId(world.uuid());
            world.send(None, Command::SetDowntime { host_id, downtime_id, start, end, withheld: Withheld::default() }).unwrap();
        }
        if host.grows {
            let upgrade = Upgrade { start: second(7), vcpus: Some(64), memory_mb: None, disk_gb: None };
            world.send(None, Command::SetUpgrade { host_id, upgrade }).unwrap();
        }
        match host.kind {
            1 => {
                let close = Command::UpdateHost { host_id, properties: BTreeMap::new(), reservable: Some(false) };
                world.send(None, close).unwrap();
            }
            2 => {
                let seen = world.state.host(host_id).unwrap().observation.clone();
                let observation = Observation { firm: Amounts { vcpus: 1, ..Amounts::default() }, ..seen };
                world.send(None, Command::ReportHost { host_id, observation }).unwrap();
            }
            _ => {}
        }
    }
    world
}

/// One vCPU of a host.
fn lease_on(world: &mut World, host: HostId, start: Seconds, end: Seconds) {
    let resource = ResourceWish::Instance(InstanceWish::anywhere(1, 64, 1, 1).into());
    let reservation = ReservationWish { resource, staging: None, on_end: OnEnd::Delete, servers: BTreeSet::new() };
    let wish = LeaseWish { reservations: vec![reservation], ..lease(StartWish::At(start), end) };
    let bindings = vec![Binding { phase: Phase::Main, host, slots: 1 }];
    let reservation_id = ReservationId(world.uuid());
    let create = CreateLease {
        wish,
        lease_id: LeaseId(world.uuid()),
        event_ids: (0..6).map(|_| EventId(world.uuid())).collect(),
        plan: vec![PlannedReservation { reservation_id, bindings }],
        resource_ids: vec![world.uuid()],
        planned_at: world.state.ledger_index(),
        moved_to: None,
        adoptions: BTreeMap::new(),
        caller_makes_groups: false,
        waits: false,
        asked: None,
        victims: Vec::new(),
    };
    world.send(None, Command::CreateLease(Box::new(create))).unwrap();
}

/// The id of one of the drawn hosts, by number from 1.
fn id_of(number: u64) -> HostId {
    HostId(OTHERS + number)
}

fn second(unit: u32, unit_s: u32) -> Seconds {
    Seconds(ORIGIN_S + unit * unit_s)
}

fn units(at: Seconds, unit_s: u32) -> u32 {
    assert_eq!((at.0 - ORIGIN_S) % unit_s, 0, "nothing changes in between");
    (at.0 - ORIGIN_S) / unit_s
}

fn lease(start: StartWish, end: Seconds) -> LeaseWish {
    LeaseWish {
        name: "a".to_owned(),
        project_id: ProjectId("p".into()),
        user_id: UserId("u".into()),
        start,
        end,
        before_end: BeforeEndWish::Never,
        reservations: Vec::new(),
        offer: None,
        wait: None,
        precedence: Default::default(),
        expiry_s: None,
        ignore_quota: false,
    }
}

/// Every way to hand these hosts out: how many each reservation then has, never more than it wants.
fn ways(hosts: &[Vec<bool>], asked: &[Asked]) -> BTreeSet<Vec<u32>> {
    let mut ways: BTreeSet<Vec<u32>> = [vec![0; asked.len()]].into();
    for takers in hosts {
        for before in ways.clone() {
            for (place, one) in asked.iter().enumerate().filter(|(place, _)| takers[*place]) {
                let mut after = before.clone();
                after[place] += 1;
                if after[place] <= one.min + one.more {
                    ways.insert(after);
                }
            }
        }
    }
    ways
}

/// Whether the first so many reservations have what they must.
fn suffices(way: &[u32], asked: &[Asked], first: usize) -> bool {
    way.iter().zip(asked).take(first).all(|(has, one)| *has >= one.min)
}

/// What each reservation gets: all have what they must, the first one has the most that it can, and so on.
fn best(ways: &BTreeSet<Vec<u32>>, asked: &[Asked]) -> Option<Vec<u32>> {
    ways.iter().rev().find(|way| suffices(way, asked, asked.len())).cloned()
}

/// Which reservation does not get what it must, by how many it is short, and how many it could have while all others have theirs.
fn missing(ways: &BTreeSet<Vec<u32>>, asked: &[Asked]) -> (usize, u32, u32) {
    let short = (0..asked.len()).find(|place| !ways.iter().any(|way| suffices(way, asked, place + 1))).unwrap();
    let others = |way: &[u32]| way.iter().zip(asked).enumerate().all(|(place, (has, one))| place == short || *has >= one.min);
    if let Some(largest) = ways.iter().filter(|way| others(way)).map(|way| way[short]).max() {
        return (short, asked[short].min - largest, largest);
    }
    let has = ways.iter().filter(|way| suffices(way, asked, short)).map(|way| way[short]).max().unwrap();
    (short, asked[short].min - has, 0)
}

/// Who takes each of the hosts that are free for a window.
fn free(hosts: &[Drawn], asked: &[Asked], window: (u32, u32)) -> Vec<Vec<bool>> {
    let numbered = (1..).zip(hosts).filter(|(_, host)| host.is_free(window));
    numbered.map(|(number, host)| asked.iter().map(|one| one.takes(number, host)).collect()).collect()
}

/// Each reservation has so many hosts of its kind, which are free and nobody else's.
fn check_given(hosts: &[Drawn], asked: &[Asked], window: (u32, u32), given: &[HostAmount]) {
    assert_eq!(given.len(), asked.len());
    let mut seen = BTreeSet::new();
    for (one, given) in asked.iter().zip(given) {
        assert_eq!(given.count as usize, given.hosts.len());
        assert!((one.min..=one.min + one.more).contains(&given.count), "{given:?} of {one:?}");
        assert!(given.hosts.is_sorted());
        for id in &given.hosts {
            let number = id.0 - OTHERS;
            let host = &hosts[number as usize - 1];
            assert!(one.takes(number, host) && host.is_free(window), "{id} of {one:?} in {window:?}");
            assert!(seen.insert(*id), "{id} twice");
        }
    }
}

fn counts(given: &[HostAmount]) -> Vec<u32> {
    given.iter().map(|one| one.count).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lease_of_whole_hosts_fits_where_some_way_to_hand_them_out_does_and_what_is_offered_instead_fits(
        hosts in prop::collection::vec(drawn(), 1..7),
        asked in prop::collection::vec(asked(), 1..4),
        (start, end) in span(),
        open in prop::option::of(0..20u32),
        unit_s in prop::sample::select(&UNITS_S),
    ) {
        let world = cloud(&hosts, unit_s);
        let second = |unit: u32| second(unit, unit_s);
        let hash = world.state.hash();
        let reservations: Vec<HostReservation> = asked.iter().map(|one| one.reservation(hosts.len())).collect();
        let ask = |start: StartWish, end: u32, reservations: &[HostReservation]| {
            what_if_hosts(&world.state, &lease(start, second(end)), reservations, world.at).unwrap()
        };
        let latest = start + open.unwrap_or(0);
        let wish = match open {
            None => StartWish::At(second(start)),
            Some(_) => StartWish::Earliest { from: Some(second(start)), latest: second(latest) },
        };
        let at = |begin: u32| ways(&free(&hosts, &asked, (begin, begin + end - start)), &asked);
        let first = (start..LATEST).find(|begin| best(&at(*begin), &asked).is_some());
        match ask(wish, end, &reservations) {
            WhatIfHosts::Fits { moved_to, reservations: given } => {
                prop_assert_eq!(moved_to, first.filter(|first| *first > start).map(second));
                let begin = moved_to.map_or(start, |at| units(at, unit_s));
                prop_assert!(begin <= latest);
                check_given(&hosts, &asked, (begin, begin + end - start), &given);
                prop_assert_eq!(Some(counts(&given)), best(&at(begin), &asked));
            }
            WhatIfHosts::NoRoom(no_room) => {
                prop_assert!(first.is_none_or(|first| first > latest));
                let NoRoom { reservation, short_by, largest_amount, next_start, .. } = no_room;
                prop_assert_eq!((reservation, short_by, largest_amount), missing(&at(start), &asked));
                let next_start = next_start.map(|at| units(at, unit_s));
                prop_assert_eq!(next_start, first);
                if let Some(next) = next_start {
                    let later = ask(StartWish::At(second(next)), next + end - start, &reservations);
                    prop_assert!(matches!(later, WhatIfHosts::Fits { moved_to: None, .. }), "{:?}", later);
                }
                if largest_amount > 0 {
                    let mut fewer = reservations.clone();
                    (fewer[reservation].min, fewer[reservation].max) = (largest_amount, largest_amount);
                    let at_once = ask(StartWish::At(second(start)), end, &fewer);
                    prop_assert!(matches!(at_once, WhatIfHosts::Fits { .. }), "{:?}", at_once);
                }
            }
            other => panic!("{other:?}"),
        }
        prop_assert_eq!(world.state.hash(), hash);
    }

    #[test]
    fn the_leases_of_a_series_never_share_a_host_at_one_instant_and_what_is_refused_had_none(
        bare in any::<bool>(),
        mut hosts in prop::collection::vec(drawn(), 1..7),
        asked in prop::collection::vec(asked(), 1..3),
        (start, end) in span(),
        every in 1..8u32,
        times in 1..5u32,
        unit_s in prop::sample::select(&UNITS_S),
    ) {
        let second = |unit: u32| second(unit, unit_s);
        for host in hosts.iter_mut().filter(|_| bare) {
            (host.leased, host.down) = (Vec::new(), None);
        }
        let world = cloud(&hosts, unit_s);
        let reservations: Vec<HostReservation> = asked.iter().map(|one| one.reservation(hosts.len())).collect();
        let turns: Vec<(u32, u32)> = (0..times).map(|turn| (start + turn * every, end + turn * every)).collect();
        let occurrences: Vec<Occurrence> = (1..)
            .zip(&turns)
            .map(|(number, (start, end))| Occurrence { number, start: second(*start), end: second(*end) })
            .collect();
        let ask_for = |mode: SeriesMode, reservations: &[HostReservation]| {
            let recurrence = Recurrence { rule: "FREQ=SECONDLY".to_owned(), time_zone: "UTC".to_owned(), mode };
            let wish = SeriesWish { lease: lease(StartWish::At(second(start)), second(end)), recurrence };
            what_if_hosts_series(&world.state, &wish, reservations, &occurrences, world.at).unwrap()
        };
        let ask = |mode: SeriesMode| ask_for(mode, &reservations);
        let ask_fewer = |mode: SeriesMode, no_room: &NoRoom| {
            let mut fewer = reservations.clone();
            let NoRoom { reservation, largest_amount, .. } = *no_room;
            (fewer[reservation].min, fewer[reservation].max) = (largest_amount, largest_amount);
            (largest_amount > 0).then(|| ask_for(mode, &fewer))
        };
        let (placed, left_out) = match ask(SeriesMode::BestEffort) {
            WhatIfHosts::SeriesFits { occurrences, left_out } => (occurrences, left_out),
            WhatIfHosts::NoRoom(no_room) => {
                prop_assert_eq!(no_room.occurrence, Some(1));
                let ways = ways(&free(&hosts, &asked, turns[0]), &asked);
                prop_assert_eq!((no_room.reservation, no_room.short_by, no_room.largest_amount), missing(&ways, &asked));
                let fewer = ask_fewer(SeriesMode::BestEffort, &no_room);
                prop_assert!(fewer.is_none_or(|fewer| matches!(fewer, WhatIfHosts::SeriesFits { .. })), "it is offered");
                return Ok(());
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(placed.len() + left_out.len(), turns.len());
        let mut had: BTreeMap<(HostId, u32), u32> = BTreeMap::new();
        for one in &placed {
            let window = turns[one.occurrence.number as usize - 1];
            check_given(&hosts, &asked, window, &one.reservations);
            for host in one.reservations.iter().flat_map(|given| &given.hosts) {
                for at in window.0..window.1 {
                    prop_assert_eq!(had.insert((*host, at), one.occurrence.number), None, "{} at {}", host, at);
                }
            }
        }
        match ask(SeriesMode::AllOrNothing) {
            WhatIfHosts::SeriesFits { occurrences, left_out: none } => {
                prop_assert_eq!((occurrences, none, &left_out), (placed.clone(), Vec::new(), &Vec::new()));
            }
            WhatIfHosts::NoRoom(no_room) => {
                let LeftOutReason::NoRoom { reservation, short_by, largest_amount, tightest: None } = left_out[0].reason else {
                    panic!("{left_out:?}")
                };
                prop_assert_eq!(no_room.occurrence, Some(left_out[0].occurrence.number));
                prop_assert_eq!((no_room.reservation as u32, no_room.short_by), (reservation, short_by));
                prop_assert!([0, largest_amount].contains(&no_room.largest_amount));
                if let Some(fewer) = ask_fewer(SeriesMode::AllOrNothing, &no_room) {
                    prop_assert!(matches!(fewer, WhatIfHosts::SeriesFits { .. }), "{:?}", fewer);
                }
            }
            other => panic!("{other:?}"),
        }
        // One kind of host on which nothing is bound: the counter alone decides, and it is exact.
        let span = (start, turns[turns.len() - 1].1);
        let alike = free(&hosts, &asked, span);
        if asked.len() == 1 && free(&hosts, &asked, turns[0]).len() == alike.len()
            && turns.iter().all(|turn| free(&hosts, &asked, *turn).len() == alike.len())
        {
            let count = alike.iter().filter(|takers| takers[0]).count() as u32;
            let used = |window: (u32, u32), amount: &dyn Fn(usize) -> u32| {
                (window.0..window.1)
                    .map(|at| {
                        let there = turns.iter().enumerate().filter(|(_, (from, until))| (*from..*until).contains(&at));
                        there.map(|(turn, _)| amount(turn)).sum::<u32>()
                    })
                    .max()
                    .unwrap()
            };
            let most = used(span, &|_| asked[0].min);
            prop_assert_eq!(left_out.is_empty(), most <= count, "{} of {} hosts", most, count);
            let given = |turn: usize| {
                let found = placed.iter().find(|one| one.occurrence.number as usize == turn + 1);
                found.map_or(0, |one| one.reservations[0].count)
            };
            for (turn, window) in turns.iter().enumerate().filter(|(turn, _)| given(*turn) > 0) {
                let is_most = given(turn) == asked[0].min + asked[0].more || used(*window, &given) == count;
                prop_assert!(is_most, "occurrence {} could have more", turn + 1);
            }
        }
    }

    #[test]
    fn what_floats_is_bound_whenever_it_was_admitted_and_admitted_while_there_are_hosts(
        hosts in 1..7usize,
        floating in prop::collection::vec((span(), 1..4u32), 1..24),
    ) {
        let plain = Drawn { north: true, gpu: false, kind: 3, leased: Vec::new(), down: None, grows: false };
        let world = cloud(&vec![plain; hosts], 1);
        let second = |unit: u32| second(unit, 1);
        let always = Interval { start: second(0), end: Seconds::OPEN_END };
        let mut class = host_class(&world.state, &InstanceWish::anywhere(0, 0, 0, 1), always, world.at);
        let mut admitted: Vec<Floating> = Vec::new();
        let busy = |admitted: &[Floating], at: u32| -> u32 {
            admitted.iter().filter(|one| one.window.contains(second(at))).map(|one| one.hosts).sum()
        };
        for ((start, end), wanted) in floating {
            let one = Floating { window: Interval { start: second(start), end: second(end) }, hosts: wanted };
            let most = (start..end).map(|at| busy(&admitted, at)).max().unwrap();
            prop_assert_eq!(class.free(one.window), hosts as u32 - most);
            if class.free(one.window) >= wanted {
                class.take(one);
                admitted.push(one);
            }
        }
        let bound = class.bind(&admitted);
        for (place, one) in admitted.iter().enumerate() {
            prop_assert_eq!(bound[place].len(), one.hosts as usize);
            for (other, beside) in admitted.iter().enumerate().filter(|(other, _)| *other != place) {
                let shared = bound[place].iter().any(|host| bound[other].contains(host));
                prop_assert!(!shared || !one.window.overlaps(beside.window), "{:?} and {:?}", one, beside);
            }
            // The lowest that nobody has who started before.
            let before = |other: &usize| {
                let window = admitted[*other].window;
                (window.start, *other) < (one.window.start, place) && window.contains(one.window.start)
            };
            let taken: BTreeSet<HostId> = (0..admitted.len()).filter(before).flat_map(|other| bound[other].clone()).collect();
            let lowest: Vec<HostId> = (1..=hosts as u64).map(id_of).filter(|host| !taken.contains(host)).collect();
            prop_assert_eq!(&bound[place], &lowest[..one.hosts as usize].to_vec());
        }
        for one in &admitted {
            class.give_back(*one);
        }
        prop_assert_eq!(class.free(always), hosts as u32);
    }
}
