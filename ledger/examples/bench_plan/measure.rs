//! What is asked of the world, and how long the answers take.

use std::time::Instant;

use leasehold_ledger::model::{InstanceWish, Seconds};
use leasehold_ledger::plan::{NoPlan, Overlay, plan_create};

use crate::report::{Budget, Row, Unit};
use crate::world::{DAY_S, Progress, Random, World, instance};

/// All figures of one stage.
pub fn all(world: &World, samples: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(admissions(world, samples));
    rows.extend(applied(world));
    rows
}

/// Leases as tenants ask for them, and large ones, planned on the state as it is.
fn admissions(world: &World, samples: usize) -> Vec<Row> {
    let mut random = Random(77);
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    // Plans that follow each other begin where the last one found room.
    let mut overlay = Overlay::default();
    let mut progress = Progress::new("plans", samples as u64);
    for number in 0..samples {
        let wish = question(world, &mut random, number % 4 == 3);
        let begin = Instant::now();
        let planned = plan_create(&world.state, &overlay, &wish, &[], world.now());
        let took = begin.elapsed().as_nanos() as u64;
        match planned {
            Ok(planned) => {
                admitted.push(took);
                let number = overlay.add(&world.state, &planned);
                overlay.remove(number);
            }
            Err(NoPlan::NoRoom(_)) => refused.push(took),
            Err(NoPlan::Rejected(rejection)) => panic!("{rejection}"),
        }
        progress.at(number as u64);
    }
    progress.done();
    vec![
        Row::times("admit", admitted).with(Budget::p99_us(200.0, "architecture §6: admit")),
        Row::times("refuse and name the next window", refused)
            .with(Budget::p99_us(106_000.0, "architecture §6: refuse, then earliest start")),
    ]
}

/// A common wish, or one that is too large for most windows.
fn question(world: &World, random: &mut Random, large: bool) -> leasehold_ledger::command::LeaseWish {
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
