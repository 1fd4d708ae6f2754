//! What is asked of the world, and how long the answers take.

use std::hint::black_box;
use std::time::Instant;

use leasehold_ledger::command::StartWish;
use leasehold_ledger::model::{HostId, InstanceWish, Interval, Seconds};
use leasehold_ledger::plan::{
    HostFilter, Overlay, Terms, capacity, earliest_start, first_whole_hosts, plan_create, plan_tighter, scattered, try_plan,
    what_fits, whole_hosts,
};

use crate::report::{Budget, Row, Unit};
use crate::scarce;
use crate::world::{DAY_S, Progress, Random, World, instance};

/// All figures of one stage.
pub fn all(world: &World, samples: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(admissions(world, samples));
    rows.extend(scarce::all(world, samples));
    rows.extend(questions(world, samples));
    rows.extend(applied(world));
    rows.extend(hosts_set_free(world, samples));
    rows
}

/// Looks at all hosts, some at a time, for leases that would set some free, and a few tries to move such leases.
fn hosts_set_free(world: &World, samples: usize) -> Vec<Row> {
    let terms = Terms { lead_s: 300, gain_s: 600 };
    let (mut looks, mut tries, mut from) = (Vec::new(), Vec::new(), Some(HostId(0)));
    while let Some(host) = from {
        let begin = Instant::now();
        let (found, rest) = scattered(&world.state, world.now(), terms, host, 256);
        looks.push(begin.elapsed().as_nanos() as u64);
        for lease in found.into_iter().take(samples / 40 + 1 - tries.len().min(samples / 40)) {
            let begin = Instant::now();
            black_box(plan_tighter(&world.state, world.now(), terms, lease));
            tries.push(begin.elapsed().as_nanos() as u64);
        }
        from = rest;
    }
    vec![
        Row::times("look for leases that would set hosts free, on 256 hosts or until 32 are found", looks)
            .with(Budget::p99_us(6_000.0, "our own: as refuse")),
        Row::times("plan to set hosts free by moving a lease", tries).with(Budget::p99_us(6_000.0, "our own: as refuse")),
    ]
}

/// Leases as tenants ask for them, and large ones, planned on the state as it is.
fn admissions(world: &World, samples: usize) -> Vec<Row> {
    let mut random = Random(77);
    let (mut admitted, mut admitted_large) = (Vec::new(), Vec::new());
    let (mut refused, mut explained, mut earliest) = (Vec::new(), Vec::new(), Vec::new());
    // Plans that follow each other begin where the last one found room.
    let mut overlay = Overlay::default();
    let mut progress = Progress::new("plans", samples as u64);
    for number in 0..samples {
        let large = number % 2 == 1;
        let wish = question(world, &mut random, large);
        let begin = Instant::now();
        let planned = try_plan(&world.state, &overlay, &wish, &[], &Default::default(), world.now()).unwrap();
        let took = begin.elapsed().as_nanos() as u64;
        match planned {
            Some(planned) => {
                if large {
                    admitted_large.push(took)
                } else {
                    admitted.push(took)
                }
                let number = overlay.add(&world.state, &planned.bookings);
                overlay.remove(number);
            }
            None => {
                refused.push(took);
                // What takes longer is not asked as often.
                if refused.len() * 4 <= samples {
                    let begin = Instant::now();
                    assert!(plan_create(&world.state, &overlay, &wish, &[], world.now()).is_err());
                    explained.push(begin.elapsed().as_nanos() as u64);
                    let StartWish::At(start) = wish.start else { panic!("questions say when") };
                    let (instance, length) = (wish.reservations[0].resource.instance(), wish.end.0 - start.0);
                    let begin = Instant::now();
                    black_box(earliest_start(&world.state, instance, None, start, None, Some(length), world.now()));
                    earliest.push(begin.elapsed().as_nanos() as u64);
                }
            }
        }
        progress.at(number as u64);
    }
    progress.done();
    vec![
        Row::times("admit 1 to 6 instances", admitted).with(Budget::p99_us(200.0, "architecture §6: admit")),
        Row::times("admit 1 to 4096 large instances", admitted_large)
            .with(Budget::p99_us(6_000.0, "our own: as refuse, it asks many hosts")),
        Row::times("refuse", refused).with(Budget::p99_us(6000.0, "architecture §6: refuse")),
        Row::times("earliest start of what was refused", earliest)
            .with(Budget::p99_us(100_000.0, "architecture §6: earliest start")),
        Row::times("refuse, name largest amount and next window", explained)
            .with(Budget::p99_us(106_000.0, "architecture §6: refuse, then earliest start")),
    ]
}

/// Plans, what fits, and capacity over time, in windows of different lengths.
fn questions(world: &World, samples: usize) -> Vec<Row> {
    let mut random = Random(78);
    let mut rows = Vec::new();
    for days in [1, 7, 30, 180] {
        let window = |random: &mut Random| {
            let start = Seconds(World::start(random));
            Interval { start, end: start.plus(days * DAY_S) }
        };
        let timed = |ask: &mut dyn FnMut()| {
            let begin = Instant::now();
            ask();
            begin.elapsed().as_nanos() as u64
        };
        let plans = (0..samples / 4).map(|_| {
            let (instance, start) = (instance(&mut random, 4), Seconds(World::start(&mut random)));
            let (project_id, user_id) = world.owner(&mut random);
            let wish = World::lease_of("question".to_owned(), project_id, user_id, instance, start, days * DAY_S);
            timed(&mut || {
                black_box(try_plan(&world.state, &Overlay::default(), &wish, &[], &Default::default(), world.now()).unwrap());
            })
        });
        let plans = Row::times(&format!("plan or refuse 4 instances for {days} days"), plans.collect());
        rows.push(plans.with(Budget::p99_us(6000.0, "architecture §6: refuse")));
        let fits = (0..samples / 4).map(|_| {
            let (wish, window) = (common_wish(&mut random), window(&mut random));
            timed(&mut || {
                black_box(what_fits(&world.state, &wish, None, window, world.now()));
            })
        });
        let fits = Row::times(&format!("how many fit in {days} days"), fits.collect());
        rows.push(fits.with(Budget::p99_us(6000.0, "as refuse: it asks all hosts")));
        let (kind, few) = (InstanceWish::anywhere(0, 0, 0, 8), samples / 40 + 1);
        let whole = (0..few).map(|_| {
            let window = window(&mut random);
            timed(&mut || {
                black_box(whole_hosts(&world.state, &kind, None, window, world.now()));
            })
        });
        let whole = Row::times(&format!("how many whole hosts are free for {days} days"), whole.collect());
        rows.push(whole.with(Budget::p99_us(6000.0, "as refuse: it asks all hosts")));
        let first = (0..few).map(|_| {
            let from = Seconds(World::start(&mut random));
            timed(&mut || {
                black_box(first_whole_hosts(&world.state, (&kind, 8), None, from, Some(days * DAY_S), world.now()));
            })
        });
        let first = Row::times(&format!("earliest start of 8 whole hosts for {days} days"), first.collect());
        rows.push(first.with(Budget::p99_us(100_000.0, "architecture §6: earliest start")));
        let shown = (0..few).map(|_| {
            let window = window(&mut random);
            timed(&mut || {
                black_box(capacity(&world.state, &HostFilter::default(), window, 100));
            })
        });
        let shown = Row::times(&format!("capacity over {days} days, in 100 pieces"), shown.collect());
        rows.push(shown.with(Budget::p99_us(100_000.0, "our own: as earliest start, it goes over all of the window")));
    }
    rows
}

/// A common wish, or one that is too large for most windows.
pub fn question(world: &World, random: &mut Random, large: bool) -> leasehold_ledger::command::LeaseWish {
    let start = World::start(random);
    let days = random.one_of(&[1, 7, 30, 60]);
    let wish = if large { large_wish(random) } else { common_wish(random) };
    let (project_id, user_id) = world.owner(random);
    World::lease_of(format!("question-{}", random.below(1000)), project_id, user_id, wish, Seconds(start), days * DAY_S)
}

fn common_wish(random: &mut Random) -> InstanceWish {
    let amount = 1 + random.below(6) as u32;
    instance(random, amount)
}

fn large_wish(random: &mut Random) -> InstanceWish {
    let vcpus = random.one_of(&[32, 64, 128]);
    // 4096 whole hosts of one zone are more than there are.
    let amount = 1 << random.below(13);
    InstanceWish { vcpus, memory_mb: vcpus * 4096, zone: Some("az1".to_owned()), ..instance(random, amount) }
}

/// How long the creates of this stage took to plan and to apply.
fn applied(world: &World) -> Vec<Row> {
    let four: Vec<u64> = world.applied.iter().filter(|(_, slots)| *slots == 4).map(|(took, _)| *took).collect();
    vec![
        Row::times("admit, while the world was built", world.planned.clone())
            .with(Budget::p99_us(200.0, "architecture §6: admit")),
        Row::times("apply a plan of 4 slots", four).with(Budget::p50_us(20.0, "scheduling-design §2: apply per 4 slots")),
        Row { unit: Unit::Microseconds, ..Row::times("apply any plan", world.applied.iter().map(|(took, _)| *took).collect()) },
    ]
}
