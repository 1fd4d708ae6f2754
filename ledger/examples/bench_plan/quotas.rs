//! What is asked for where quotas of projects are in force: that all leases are counted when one is set, and what fits beside it.

use std::time::Instant;

use leasehold_ledger::command::{LeaseWish, StartWish};
use leasehold_ledger::model::{Limit, LimitKind, Limits};
use leasehold_ledger::plan::{NoPlan, Overlay, plan_create, try_plan};

use crate::measure::question;
use crate::report::{Budget, Row};
use crate::world::{DAY_S, Progress, Random, World};

/// Hours of a period, where nothing else is set.
const PERIOD_H: u32 = 30 * 24;

/// All figures of it. The limits are taken back at the end.
pub fn all(world: &mut World, samples: usize) -> Vec<Row> {
    let (mut rows, peak) = (Vec::new(), world.vcpus_peak());
    for (kind, name) in [(LimitKind::Vcpus, "of vCPUs at a time"), (LimitKind::VcpuHours, "of vCPU-hours")] {
        let limits = |max: Limit| Limits::from([(kind, max)]);
        let counted = world.set_quota(limits(Limit::Max(u32::MAX)));
        rows.push(Row::times(&format!("set a quota {name} for all projects, all leases counted"), vec![counted]));
        // Less than projects have at most: much of what is asked for goes beyond it somewhere.
        let hours = if kind == LimitKind::VcpuHours { PERIOD_H } else { 1 };
        world.set_quota(limits(Limit::Max(peak / 4 * 3 * hours)));
        rows.extend(beyond(world, samples, name));
        world.set_quota(limits(Limit::Unlimited));
    }
    rows
}

fn beyond(world: &World, samples: usize, name: &str) -> Vec<Row> {
    let (mut random, mut refused, mut moved) = (Random(81), Vec::new(), Vec::new());
    let samples = (samples / 4).max(1);
    let mut progress = Progress::new("leases beyond a quota", samples as u64);
    for _ in 0..samples * 8 {
        if refused.len() == samples {
            break;
        }
        let wish = question(world, &mut random, false);
        let begin = Instant::now();
        let planned = plan_create(&world.state, &Overlay::default(), &wish, &[], world.now());
        let took = begin.elapsed().as_nanos() as u64;
        if !matches!(planned, Err(NoPlan::NoRoom(no_room)) if no_room.quota.is_some()) {
            continue;
        }
        refused.push(took);
        let StartWish::At(from) = wish.start else { panic!("questions say when") };
        let open = LeaseWish { start: StartWish::Earliest { from: Some(from), latest: from.plus(90 * DAY_S) }, ..wish };
        let begin = Instant::now();
        let planned = try_plan(&world.state, &Overlay::default(), &open, &[], &Default::default(), world.now());
        moved.push(begin.elapsed().as_nanos() as u64);
        std::hint::black_box(planned).ok();
        progress.at(refused.len() as u64);
    }
    progress.done();
    let bar = || Budget::p99_us(106_000.0, "our own: as refuse with the next window");
    vec![
        Row::times(&format!("refuse for a quota {name}, name largest amount and next window"), refused).with(bar()),
        Row::times(&format!("plan or refuse beside a quota {name}, start open for 90 days"), moved).with(bar()),
    ]
}
