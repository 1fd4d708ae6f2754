//! Leases of whole hosts: what one would come to, and hosts for what floats.

use std::hint::black_box;
use std::time::Instant;

use leasehold_ledger::command::{LeaseWish, Recurrence, SeriesWish, StartWish};
use leasehold_ledger::model::{Comparison, HostId, InstanceWish, Interval, Occurrence, Requirement, Seconds, SeriesMode};
use leasehold_ledger::plan::{
    Floating, HostFilter, HostReservation, WhatIfHosts, host_class, what_if_hosts, what_if_hosts_series,
};

use crate::report::{Budget, Row, Unit};
use crate::world::{DAY_S, Progress, Random, World, instance};

/// Reservations that float at last.
const FLOATING: usize = 4_096;

/// The figures, taken while some hosts are open on which nothing is booked.
pub fn measure(world: &mut World, samples: usize) -> Vec<Row> {
    world.set_aside(true);
    let mut rows = asked(world, samples / 4);
    rows.push(series(world, samples / 40 + 1));
    rows.extend(largest(world, samples / 40 + 1));
    rows.extend(late(world));
    world.set_aside(false);
    rows
}

/// Leases of two reservations: some that fit, and such as are too large for most windows.
fn asked(world: &World, samples: usize) -> Vec<Row> {
    let mut random = Random(79);
    let (mut fit, mut refused, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let mut progress = Progress::new("questions about whole hosts", samples as u64);
    for number in 0..samples {
        let (start, days) = (Seconds(World::start(&mut random)), random.one_of(&[1, 7, 30, 60]));
        let zone = (number % 2 == 0).then(|| "az1".to_owned());
        // A third of those set aside are of one zone.
        let most = [world.aside() / 12, world.aside(), world.aside() * 50][number % 3];
        let min = 1 + random.below(most.max(1)) as u32;
        let anywhere = HostReservation { min, max: min + 8, filter: HostFilter::default() };
        let there = HostReservation { filter: HostFilter { zone, ..HostFilter::default() }, ..anywhere.clone() };
        let wish = lease(world, &mut random, StartWish::At(start), start.plus(days * DAY_S));
        let ask = |wish: &LeaseWish| {
            let begin = Instant::now();
            let answer = what_if_hosts(&world.state, wish, &[anywhere.clone(), there.clone()], world.now()).unwrap();
            (begin.elapsed().as_nanos() as u64, answer)
        };
        match ask(&wish) {
            (took, WhatIfHosts::NoRoom(no_room)) => {
                refused.push(took);
                let open = StartWish::Earliest { from: Some(start), latest: no_room.next_start.unwrap_or(start) };
                moved.push(ask(&LeaseWish { start: open, ..wish }).0);
            }
            (took, _) => fit.push(took),
        }
        progress.at(number as u64);
    }
    progress.done();
    vec![
        Row::times("what-if of whole hosts that fit", fit).with(Budget::p99_us(6000.0, "as refuse: it asks all hosts")),
        Row::times("what-if of whole hosts refused, naming the next start", refused)
            .with(Budget::p99_us(106_000.0, "architecture §6: refuse, then earliest start")),
        Row::times("what-if of whole hosts with the start left open", moved)
            .with(Budget::p99_us(112_000.0, "refuse, then earliest start, then as what fits")),
    ]
}

/// A lease of 36 hours, every day for eight weeks: each overlaps the next one.
fn series(world: &World, samples: usize) -> Row {
    let mut random = Random(80);
    let reservations = [HostReservation { min: 2, max: 4, filter: HostFilter::default() }];
    let times = (0..samples).map(|_| {
        let start = Seconds(World::start(&mut random));
        let at = |number: u32| start.plus((number - 1) * DAY_S);
        let occurrence = |number: u32| Occurrence { number, start: at(number), end: at(number).plus(36 * 3600) };
        let occurrences: Vec<Occurrence> = (1..=56).map(occurrence).collect();
        let recurrence =
            Recurrence { rule: "FREQ=DAILY;COUNT=56".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::AllOrNothing };
        let wish = SeriesWish { lease: lease(world, &mut random, StartWish::At(start), start.plus(36 * 3600)), recurrence };
        let begin = Instant::now();
        black_box(what_if_hosts_series(&world.state, &wish, &reservations, &occurrences, world.now()).unwrap());
        begin.elapsed().as_nanos() as u64
    });
    Row::times("what-if of 56 overlapping leases of 2 to 4 whole hosts", times.collect())
        .with(Budget::p99_us(1_000_000.0, "our own: it holds up all others"))
}

/// The largest leases that may be asked about: eight reservations with 64 terms to be asked of each host, half of them each of other
/// hosts; one by itself for an hour, whose start is sought for a year, and sixteen that overlap.
fn largest(world: &World, samples: usize) -> Vec<Row> {
    let mut random = Random(82);
    let hosts: Vec<HostId> = world.state.hosts().map(|host| host.id).collect();
    let (mut one, mut all) = (Vec::new(), Vec::new());
    for number in 0..samples {
        let min = random.one_of(&[1, 4, 16, 24, 32, 64]);
        let mut reservation = || {
            let mut named = || hosts.iter().copied().filter(|_| random.below(2) == 0).take(1_000).collect();
            let named = (number % 2 == 0).then(&mut named);
            let term = |number: u32| Requirement {
                key: "hypervisor_hostname".to_owned(),
                comparison: Comparison::NotEqual,
                value: format!("none{number}"),
            };
            let filter = HostFilter { hosts: named, requirements: (0..64).map(term).collect(), ..HostFilter::default() };
            HostReservation { min, max: min * 2, filter }
        };
        let reservations: Vec<HostReservation> = (0..8).map(|_| reservation()).collect();
        let start = Seconds(World::start(&mut random));
        let hour = lease(world, &mut random, StartWish::At(start), start.plus(3600));
        let begin = Instant::now();
        black_box(what_if_hosts(&world.state, &hour, &reservations, world.now()).unwrap());
        one.push(begin.elapsed().as_nanos() as u64);

        let least = |asked: &HostReservation| HostReservation { min: 1, max: 781, ..asked.clone() };
        let reservations: Vec<HostReservation> = reservations.iter().map(least).collect();
        let at = |number: u32| start.plus((number - 1) * DAY_S);
        let occurrence = |number: u32| Occurrence { number, start: at(number), end: at(number).plus(12 * DAY_S) };
        let occurrences: Vec<Occurrence> = (1..=16).map(occurrence).collect();
        let recurrence =
            Recurrence { rule: "FREQ=DAILY;COUNT=16".to_owned(), time_zone: "UTC".to_owned(), mode: SeriesMode::BestEffort };
        let wish = SeriesWish { lease: lease(world, &mut random, StartWish::At(start), start.plus(12 * DAY_S)), recurrence };
        let begin = Instant::now();
        black_box(what_if_hosts_series(&world.state, &wish, &reservations, &occurrences, world.now()).unwrap());
        all.push(begin.elapsed().as_nanos() as u64);
    }
    vec![
        Row::times("what-if of 8 reservations of whole hosts, with 64 terms each, for an hour", one)
            .with(Budget::p99_us(1_000_000.0, "it holds up all others")),
        Row::times("what-if of 16 overlapping leases of such", all).with(Budget::p99_us(1_000_000.0, "it holds up all others")),
    ]
}

/// Admits reservations that float over two years, and binds them all.
fn late(world: &World) -> Vec<Row> {
    let mut random = Random(81);
    let always = Interval { start: world.now().floor_to_second(), end: Seconds::OPEN_END };
    let kind = InstanceWish::anywhere(0, 0, 0, 1);
    let begin = Instant::now();
    let mut class = host_class(&world.state, &kind, always, world.now());
    let found = begin.elapsed().as_nanos() as u64;
    let (mut admitted, mut floating) = (Vec::new(), Vec::new());
    while floating.len() < FLOATING {
        let start = Seconds(World::start(&mut random));
        let window = Interval { start, end: start.plus(3600 + random.below(u64::from(6 * DAY_S)) as u32) };
        let one = Floating { window, hosts: 1 + random.below(3) as u32 };
        let begin = Instant::now();
        let fits = class.free(window) >= one.hosts;
        if fits {
            class.take(one);
        }
        admitted.push(begin.elapsed().as_nanos() as u64);
        floating.extend(fits.then_some(one));
    }
    let begin = Instant::now();
    let bound = class.bind(&floating);
    let took = begin.elapsed().as_secs_f64() * 1e6;
    assert!(bound.iter().zip(&floating).all(|(hosts, one)| hosts.len() == one.hosts as usize));
    vec![
        Row::times("make the class of all hosts on which nothing is bound", vec![found]),
        Row::times("admit a floating reservation of 1 to 3 hosts, or refuse it", admitted)
            .with(Budget::p99_us(200.0, "architecture §6: admit")),
        Row::single(&format!("bind {FLOATING} floating reservations"), Unit::Microseconds, took),
    ]
}

fn lease(world: &World, random: &mut Random, start: StartWish, end: Seconds) -> LeaseWish {
    let ((project_id, user_id), none) = (world.owner(random), instance(random, 1));
    let wish = World::lease_of("whole".to_owned(), project_id, user_id, none, Seconds(0), 1);
    LeaseWish { start, end, reservations: Vec::new(), ..wish }
}
