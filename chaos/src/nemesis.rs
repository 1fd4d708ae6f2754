//! Carries out a plan of faults on a simulated world, each event by itself, and takes each back when its time is over.

pub mod disks;
mod downtimes;
mod hosts;
pub mod members;
mod others;
pub mod strike;
mod upgrades;

use std::sync::Arc;
use std::time::Duration;

use leasehold_cloudsim::{Fault as CloudRule, FaultKind, Match};
use leasehold_node::operations::ClusterChange;
use tokio::task::JoinHandle;

use crate::meter;
use crate::plan::{CloudFault, Fault, Planned, Target, Way};
use crate::sim::cloud::{SERVICE_ROLE, SERVICE_USER};
use crate::sim::network::{CLOUD, Weather};
use crate::sim::node::{Death, Machine};
use crate::sim::points;
use crate::sim::tasks;
use crate::sim::world::{World, admin};
use strike::Strike;

/// The faults under way.
pub struct Nemesis {
    tasks: Vec<JoinHandle<()>>,
}

impl Nemesis {
    /// Starts now: the plan's times count from here.
    pub fn start(world: &Arc<World>) -> Nemesis {
        let each = world.plan.faults.iter().cloned().enumerate().map(|(number, planned)| {
            let world = world.clone();
            tasks::spawn(async move {
                tokio::time::sleep(Duration::from_millis(planned.at_ms)).await;
                strike(&world, number as u64, planned).await;
            })
        });
        Nemesis { tasks: each.collect() }
    }

    /// No more faults; those under way stay as they are.
    pub async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // Cancelled is what it is to be; a panic of the harness must not be lost.
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

/// Everything works again but for what is lost for good.
pub fn heal(world: &Arc<World>) {
    points::disarm_all();
    world.network.heal_all(None);
    world.release();
    world.cloud.start_all();
    world.cloud.with(|cloud| {
        cloud.clear_faults();
        cloud.grant_role(SERVICE_USER, SERVICE_ROLE);
        for host in cloud.hosts() {
            cloud.set_host_alive(&host, true);
        }
    });
    crate::sim::hosts::pay_all(world);
    for (index, machine) in world.machines.iter().enumerate() {
        heal_machine(world, index);
        if !machine.is_up() {
            up(world, index);
        }
    }
}

/// One machine works again, its links and the cloud aside.
pub fn heal_machine(world: &Arc<World>, index: usize) {
    let machine = &world.machines[index];
    machine.resume();
    machine.wall.heal();
    machine.disks.trouble(|trouble| *trouble = Default::default());
}

async fn strike(world: &Arc<World>, number: u64, planned: Planned) {
    let pause = |ms: u64| tokio::time::sleep(Duration::from_millis(ms));
    let id = |index: usize| world.machines[index].id;
    let one = &Strike::new(world, number, &planned.fault);
    let told = |node: Option<u64>, what: &str| one.is_told(node, what);
    let skipped_unless = |done: bool| {
        if !done {
            one.is_skipped(None)
        }
    };
    match planned.fault {
        Fault::Kill { target, down_ms } => struck_down(world, one, target, Death::Kill, down_ms).await,
        Fault::PowerCut { target, down_ms } => struck_down(world, one, target, Death::Power, down_ms).await,
        Fault::Pause { target, for_ms, behind_ms, deaf_ms } => {
            let machine = &world.machines[world.target(target)];
            // Its clock is then wrong, and no other one with it.
            if behind_ms.is_some() && (world.clocks_err_alike() || !world.may_be_wrong(machine.id) || !machine.is_up()) {
                return one.is_skipped(Some(machine.id));
            }
            one.happens();
            if behind_ms.is_some() {
                machine.suspend()
            } else {
                machine.pause()
            }
            pause(for_ms).await;
            if deaf_ms.is_some() {
                told(Some(machine.id), "link");
                let others = world.machines.iter().map(|machine| machine.id).filter(|other| *other != machine.id);
                world.network.cut(number, others.flat_map(|other| links(machine.id, other, Way::In)));
            }
            machine.resume();
            if let Some(deaf_ms) = deaf_ms {
                pause(deaf_ms).await;
                world.network.heal(number);
            }
            if let Some(behind_ms) = behind_ms {
                pause(behind_ms.saturating_sub(deaf_ms.unwrap_or(0))).await;
                machine.wall.catch_up();
            }
        }
        Fault::Isolate { target, way, for_ms } => {
            let node = id(world.target(target));
            told(Some(node), "link");
            let others = world.machines.iter().map(|machine| machine.id).filter(|other| *other != node);
            world.network.cut(number, others.flat_map(|other| links(node, other, way)));
            pause(for_ms).await;
            world.network.heal(number);
        }
        Fault::Cut { links, period_ms, for_ms } => {
            told(None, "link");
            let named = || links.iter().map(|(from, to)| (id(*from as usize), id(*to as usize)));
            let mut left = for_ms;
            while left > 0 {
                world.network.cut(number, named());
                let part = if period_ms == 0 { left } else { period_ms.min(left) };
                pause(part).await;
                world.network.heal(number);
                left -= part;
                let whole = period_ms.min(left);
                pause(whole).await;
                left -= whole;
            }
        }
        Fault::CloudCut { target, way, for_ms } => {
            let node = id(world.target(target));
            told(Some(node), "link");
            world.network.cut(number, links(node, CLOUD, way));
            pause(for_ms).await;
            world.network.heal(number);
        }
        Fault::Weather { loss_permille, delay_ms, twice_permille, for_ms } => {
            told(None, "link");
            world.network.weather(number, Weather { loss_permille, delay_ms, twice_permille });
            pause(for_ms).await;
            world.network.heal(number);
        }
        Fault::ClockStep { target, step_ms, for_ms } => {
            let machine = &world.machines[world.target(target)];
            if !world.may_be_wrong(machine.id) {
                return one.is_skipped(Some(machine.id));
            }
            told(Some(machine.id), "clock");
            let with_it = |other: &&Arc<Machine>| other.id == machine.id || world.clocks_err_alike();
            world.machines.iter().filter(with_it).for_each(|other| other.wall.step(step_ms));
            pause(for_ms).await;
            world.machines.iter().filter(with_it).for_each(|other| other.wall.step(-step_ms));
        }
        Fault::ClockDrift { target, ppm, for_ms } => {
            let machine = &world.machines[world.target(target)];
            if !world.may_be_wrong(machine.id) {
                return one.is_skipped(Some(machine.id));
            }
            told(Some(machine.id), "clock");
            machine.wall.drift(world.trace.now_ns(), ppm);
            pause(for_ms).await;
            machine.wall.heal();
        }
        Fault::SyncError { target } => {
            let machine = &world.machines[world.target(target)];
            told(Some(machine.id), "disk");
            machine.disks.trouble(|trouble| trouble.sync_error = true);
        }
        Fault::DiskFull { target, for_ms } => {
            let machine = &world.machines[world.target(target)];
            told(Some(machine.id), "disk");
            machine.disks.trouble(|trouble| trouble.full = true);
            pause(for_ms).await;
            machine.disks.trouble(|trouble| trouble.full = false);
        }
        Fault::DiskHang { target, for_ms } => {
            let machine = &world.machines[world.target(target)];
            told(Some(machine.id), "disk");
            machine.disks.trouble(|trouble| trouble.hang = Some(Duration::from_millis(for_ms)));
        }
        Fault::DiskSlow { target, times, for_ms } => {
            let machine = &world.machines[world.target(target)];
            told(Some(machine.id), "disk");
            machine.disks.trouble(|trouble| trouble.slow = times);
            pause(for_ms).await;
            machine.disks.trouble(|trouble| trouble.slow = 1);
        }
        Fault::Cloud { how, body, service, permille, for_ms } => {
            told(None, "cloud");
            // Tenants are spared: what they do is not under test.
            let when = Match { caller: "node-".to_owned(), body, service, ..Match::default() };
            let probability = f64::from(permille) / 1_000.0;
            let rule = CloudRule { when, kind: kind(how), skip: 0, count: None, probability };
            let rule = world.cloud.with(|cloud| cloud.add_fault(rule));
            pause(for_ms).await;
            world.cloud.with(|cloud| cloud.remove_fault(rule));
        }
        Fault::CloudRestart { service, for_ms } => {
            told(None, "cloud");
            world.cloud.stop_service(&service);
            pause(for_ms).await;
            world.cloud.start_service(&service);
        }
        Fault::RoleRevoked { for_ms } => {
            told(None, "cloud");
            world.cloud.with(|cloud| cloud.revoke_role(SERVICE_USER, SERVICE_ROLE));
            pause(for_ms).await;
            world.cloud.with(|cloud| cloud.grant_role(SERVICE_USER, SERVICE_ROLE));
        }
        Fault::HostDown { host, for_ms } => {
            told(None, "cloud");
            let name = format!("cmp{}", host + 1);
            world.cloud.with(|cloud| cloud.set_host_alive(&name, false));
            pause(for_ms).await;
            world.cloud.with(|cloud| cloud.set_host_alive(&name, true));
        }
        Fault::ExpireTokens => {
            told(None, "cloud");
            world.cloud.with(leasehold_cloudsim::Cloud::expire_tokens);
        }
        Fault::Meddle { how, pick } => skipped_unless(others::meddle(world, one, how, pick)),
        Fault::Storm { every_ms, for_ms } => {
            told(None, "cloud");
            others::storm(world, Duration::from_millis(every_ms), Duration::from_millis(for_ms)).await;
        }
        Fault::Audit { pick } => {
            one.happens();
            others::audit(world, pick);
        }
        Fault::HostAdd { shared } => skipped_unless(hosts::add(world, one, shared).await),
        Fault::HostDrain { pick, for_ms } => {
            skipped_unless(hosts::drain(world, one, pick, Duration::from_millis(for_ms)).await);
        }
        Fault::HostDowntime { pick, vcpus, after_ms, for_ms, drop_after_ms } => {
            let asked = downtimes::Asked { pick, vcpus, after_ms, for_ms, drop_after_ms };
            skipped_unless(downtimes::declare(world, one, asked).await);
        }
        Fault::HostUpgrade { pick, more, after_ms, comes_ms, drop_after_ms } => {
            let asked = upgrades::Asked { pick, more, after_ms, comes_ms, drop_after_ms };
            skipped_unless(upgrades::declare(world, one, asked).await);
        }
        Fault::HostRemove { pick, drain, wait_ms } => {
            skipped_unless(hosts::remove(world, one, pick, drain, Duration::from_millis(wait_ms)).await);
        }
        Fault::Join { abandon } => skipped_unless(members::join_one(world, one, abandon).await),
        Fault::Promote => skipped_unless(members::promote(world, one).await),
        Fault::Leave { target } => skipped_unless(members::leave(world, one, world.target(target)).await),
        Fault::Replace { target, join_first } => {
            skipped_unless(members::replace(world, one, world.target(target), join_first).await);
        }
        Fault::Wipe { target, down_ms, replace_ms } => {
            if disks::wipe(world, one, target, down_ms).await.is_none() {
                return one.is_skipped(None);
            }
            pause(replace_ms).await;
            members::replace_lost(world).await;
        }
        Fault::LogDamage { target, how, down_ms, replace_ms, beyond } => {
            if disks::damage_log(world, one, target, how, down_ms, beyond).await.is_none() {
                return one.is_skipped(None);
            }
            if !beyond {
                pause(replace_ms).await;
                members::replace_lost(world).await;
            }
        }
        Fault::StateDamage { target, how, down_ms } => {
            skipped_unless(disks::damage_state(world, one, target, how, down_ms).await.is_some());
        }
        Fault::PowerMany { all, first, down_ms } => {
            one.happens();
            let mut which = running(world);
            if !all {
                let many = which.len() / 2 + 1;
                let first = first as usize % which.len().max(1);
                which.rotate_left(first);
                which.truncate(many);
            }
            power(world, &which, down_ms).await;
        }
        Fault::CrashAt { target, point, nth, power, all, for_ms, down_ms } => {
            crash_at(world, one, world.target(target), (&point, nth), (power, all), for_ms, down_ms).await;
        }
        Fault::Burst { many, times, for_ms } => {
            told(None, "burst");
            let slow = |times| world.machines.iter().for_each(|machine| machine.disks.trouble(|trouble| trouble.slow = times));
            slow(times);
            let asked = meter::burst(world, many);
            tokio::join!(asked, async {
                pause(for_ms).await;
                slow(1);
            });
        }
        Fault::Transfer => {
            let Some((_, life)) = world.leader() else { return one.is_skipped(None) };
            told(None, "transfer");
            let operations = life.operations.clone();
            let transfer = ClusterChange::Transfer { to: None };
            // Whether it worked is the cluster's business; that it broke nothing is checked elsewhere.
            drop(life.group.spawn("transfer", async move { operations.change_cluster(&admin(), transfer).await }));
        }
    }
}

/// Ends a node, if it runs.
async fn struck_down(world: &Arc<World>, one: &Strike<'_>, target: Target, death: Death, down_ms: u64) {
    let index = world.target(target);
    if world.machines[index].is_up() {
        one.happens();
    } else {
        one.is_skipped(Some(world.machines[index].id));
    }
    down(world, index, death, down_ms).await;
}

async fn down(world: &Arc<World>, index: usize, death: Death, down_ms: u64) {
    world.machines[index].crash(death).await;
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    up(world, index);
}

/// In a task of its own: the end of the faults must not leave a node half started.
fn up(world: &Arc<World>, index: usize) {
    let world = world.clone();
    tasks::spawn(async move { world.bring_up(index).await });
}

/// The power of several goes in the same instant.
async fn power(world: &Arc<World>, which: &[usize], down_ms: u64) {
    let ids: Vec<u64> = which.iter().map(|index| world.machines[*index].id).collect();
    world.trace.incident(None, "power", format!("of {ids:?}"));
    futures::future::join_all(which.iter().map(|index| world.machines[*index].crash(Death::Power))).await;
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    which.iter().for_each(|index| up(world, *index));
}

/// Machines of the cluster that run.
fn running(world: &World) -> Vec<usize> {
    (0..world.machines.len()).filter(|index| world.machines[*index].is_up()).collect()
}

/// Ends a node, and perhaps all others with it, where it gets to a point.
async fn crash_at(
    world: &Arc<World>,
    one: &Strike<'_>,
    index: usize,
    at: (&str, u32),
    (power_goes, all): (bool, bool),
    for_ms: u64,
    down_ms: u64,
) {
    let machine = &world.machines[index];
    let got_there = points::arm(machine, at.0, at.1);
    let there = tokio::time::timeout(Duration::from_millis(for_ms), got_there).await;
    // Not reached in time, or another fault waits for this node now.
    let Ok(Ok(())) = there else { return one.is_skipped(Some(machine.id)) };
    world.trace.incident_of(one.number, Some(machine.id), "point", at.0);
    match (power_goes, all) {
        (true, true) => power(world, &running(world), down_ms).await,
        (true, false) => down(world, index, Death::Power, down_ms).await,
        (false, _) => down(world, index, Death::Kill, down_ms).await,
    }
}

fn links(node: u64, other: u64, way: Way) -> Vec<(u64, u64)> {
    match way {
        Way::Both => vec![(node, other), (other, node)],
        Way::In => vec![(other, node)],
        Way::Out => vec![(node, other)],
    }
}

fn kind(how: CloudFault) -> FaultKind {
    match how {
        CloudFault::Error { status, retry_after_s } => FaultKind::Error { status, retry_after_s },
        CloudFault::Conflict => FaultKind::Conflict,
        CloudFault::LostAnswer { after_ms } => FaultKind::LostAnswer { after_ms },
        CloudFault::Late { after_ms } => FaultKind::Late { after_ms, status: None },
        CloudFault::Slow { after_ms } => FaultKind::Slow { after_ms },
        CloudFault::Hang { applied } => FaultKind::Hang { applied },
        CloudFault::Duplicate => FaultKind::Duplicate,
        CloudFault::Garbage => FaultKind::Garbage,
        CloudFault::Truncated => FaultKind::Truncated,
        CloudFault::AsyncFailure => FaultKind::AsyncFailure,
        CloudFault::Partial => FaultKind::Partial,
    }
}
