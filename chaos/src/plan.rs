//! What a run will do: every fault at its time, drawn from one seed, so that a seed is a run.
//!
//! Every choice is `hash(seed, stream, counter)`: taking one event out of a plan does not move the others.

pub mod cluster;
mod downtimes;
mod draw;
mod fault;
mod hosts;
mod others;
mod outside;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::sim::rng::stream;

pub use draw::Draw;
pub use fault::{CloudFault, Damage, Fault, Meddling, Target, Way};

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Milliseconds after the run's start.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where all of it came from.
    pub seed: u64,
    /// Nodes of the cluster.
    pub nodes: u32,
    /// By time.
    pub faults: Vec<Planned>,
    /// What a simulated run is made of.
    #[serde(default)]
    pub sim: Sim,
}

/// What a simulated run is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sim {
    /// Compute hosts; every third is in the shared pool.
    pub hosts: u32,
    /// Compute hosts of the cloud that nobody takes in but an operator in the course of the run.
    #[serde(skip_serializing_if = "is_zero")]
    pub spare_hosts: u32,
    /// How far the cloud's clock is off, milliseconds.
    #[serde(skip_serializing_if = "is_right")]
    pub cloud_off_ms: i64,
    /// Milliseconds in which faults happen.
    pub safety_ms: u64,
    /// Clients.
    pub clients: u32,
    /// Mean pause of a client between two operations, milliseconds.
    pub gap_ms: u64,
    /// Between two heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Election timeout, milliseconds.
    pub election_min_ms: u64,
    /// Election timeout, milliseconds.
    pub election_max_ms: u64,
    /// A snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// So many entries are kept below it.
    pub keep_entries: u64,
    /// The operations that clients carry out, by client and its own count from 0; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<BTreeMap<u32, BTreeSet<u32>>>,
    /// Whether it is weighed what the run leaves in memory, after many elections at rest.
    pub weigh: bool,
    /// Milliseconds between two small writes that are measured; 0: none are.
    pub meter_ms: u64,
    /// Messages that take 50 ms longer, of a thousand.
    pub stragglers_permille: u64,
    /// Whether some staging windows open a while after they were booked; else all open at once.
    pub late_staging: bool,
    /// Whether nodes and clients speak to each other by the product's HTTP, over simulated TCP; else their messages are carried.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wire: bool,
    /// Whether an operator sets quotas and takes them back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub quotas: bool,
    /// Whether clients book leases that come again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub series: bool,
    /// Whether clients ask what would be, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub questions: bool,
    /// Whether clients ask for leases that wait for room.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Seconds that ended leases stay in memory; 0: as many as where nobody says.
    #[serde(skip_serializing_if = "is_zero")]
    pub ended_in_memory_s: u32,
    /// Whether clients ask for leases with priorities, some of which give way to others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub priorities: bool,
    /// Whether clients ask for leases of which is given back what nobody uses some time after their start.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expiries: bool,
}

// As serde wants it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

// As serde wants it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_right(off_ms: &i64) -> bool {
    *off_ms == 0
}

impl Default for Sim {
    fn default() -> Sim {
        Sim {
            hosts: 4,
            spare_hosts: 0,
            cloud_off_ms: 0,
            safety_ms: 300_000,
            clients: 5,
            gap_ms: 4_000,
            heartbeat_ms: 250,
            election_min_ms: 1_000,
            election_max_ms: 2_000,
            snapshot_entries: 500,
            keep_entries: 100,
            operations: None,
            weigh: false,
            meter_ms: 0,
            stragglers_permille: 5,
            late_staging: false,
            wire: false,
            quotas: false,
            series: false,
            questions: false,
            waits: false,
            ended_in_memory_s: 0,
            priorities: false,
            expiries: false,
        }
    }
}

impl Plan {
    /// Machines beyond the first nodes that the faults may need: one for each node that joins, and some for attempts whose node
    /// id was used up without success.
    pub fn spares(&self) -> u64 {
        let joins = self.faults.iter().filter(|planned| {
            // A promotion lets a learner join where there is none.
            let joins = matches!(planned.fault, Fault::Join { .. } | Fault::Promote | Fault::Replace { .. });
            joins || matches!(planned.fault, Fault::Wipe { .. } | Fault::LogDamage { .. })
        });
        match joins.count() as u64 {
            0 => 0,
            many => many + 2,
        }
    }

    /// Whether more is broken, and stays so, than the cluster is promised to survive.
    pub fn is_beyond(&self) -> bool {
        self.faults.iter().any(|planned| matches!(planned.fault, Fault::LogDamage { beyond: true, .. }))
    }

    /// Kills, one after the other, 3 to 6 s apart, about every third of the leader, until `length_ms`.
    pub fn kills(seed: u64, nodes: u32, length_ms: u64) -> Plan {
        let (mut gaps, mut targets) = (Draw::new(seed, 1), Draw::new(seed, 2));
        let mut faults = Vec::new();
        let mut at_ms = gaps.between(3_000, 6_000);
        while at_ms < length_ms {
            let target = match targets.between(0, 3) {
                0 => Target::Leader,
                _ => Target::Node(u32::try_from(targets.between(0, u64::from(nodes))).unwrap_or(0)),
            };
            faults.push(Planned { at_ms, fault: Fault::Kill { target, down_ms: 0 } });
            at_ms += gaps.between(3_000, 6_000);
        }
        Plan { seed, nodes, faults, sim: Sim::default() }
    }
}

/// From so many seconds on a run is a long one: leases begin, run out and are forgotten in it, and it is that what it is for. What
/// a crowd of clients does is found by shorter ones, in less time.
const LONG_S: u64 = 1_800;
/// In a long run clients wait so many times as long between two operations.
const LONG_GAPS: u64 = 2;
/// With [`Profile::Sparse`] all clients together ask for something once in so many milliseconds, and faults are so many times as far apart.
const SPARSE_GAPS_MS: (u64, u64) = (6_000, 11_000);
const SPARSE_APART: u64 = 6;
/// Of so many seeds one is run at the wire level.
const WIRE_ONE_IN: usize = 10;
/// In one of so many seeds an operator sets quotas.
const QUOTAS_ONE_IN: usize = 4;
/// In one of so many seeds clients book series.
const SERIES_ONE_IN: usize = 3;
/// In one of so many seeds clients ask what would be.
const QUESTIONS_ONE_IN: usize = 3;
/// In one of so many seeds clients ask for leases that wait for room.
const WAITS_ONE_IN: usize = 2;
/// In one of so many seeds clients ask for leases with priorities.
const PRIORITIES_ONE_IN: usize = 2;
/// In one of so many seeds clients ask for leases that expire.
const EXPIRIES_ONE_IN: usize = 2;
/// Kinds of faults that a simulated run may have; each seed switches some of them on.
const KINDS: u64 = 16;

/// What a simulated run is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Everything, as drawn.
    #[default]
    Swarm,
    /// Everything, as drawn, with faults and operations further apart: for hours by the thousand.
    Sparse,
    /// Every second seed everything as drawn, the others further apart.
    Mixed,
    /// Every kind of fault as drawn, one about every half minute, on three nodes with heartbeats 250 ms apart that are asked for one
    /// operation a second: what the speed of the simulation is told for.
    Standard,
    /// Power goes, often.
    Power,
    /// Partitions, pauses, kills: leaders change.
    Links,
    /// Small logs and nodes that fall behind.
    Snapshots,
    /// Many clients in little room.
    Busy,
    /// Many clients who book series too, under quotas.
    Series,
    /// The cloud misbehaves.
    Cloud,
    /// Everything, as drawn, and what others do in the cloud.
    Others,
    /// Clocks are wrong.
    Clocks,
    /// Nodes join and leave.
    Members,
    /// Disks lose and damage what they keep.
    Disks,
    /// Compute hosts come, are closed and opened, and go.
    Hosts,
    /// One follower at a time is slow, and once there is too much to do: what writes take is measured.
    Load,
}

impl Profile {
    /// What it is for one seed.
    fn of_seed(self, seed: u64) -> Profile {
        match self {
            Profile::Mixed if seed.is_multiple_of(2) => Profile::Swarm,
            Profile::Mixed => Profile::Sparse,
            other => other,
        }
    }

    /// Faults are so many times as far apart as they are drawn.
    fn apart(self) -> u64 {
        if self == Profile::Sparse { SPARSE_APART } else { 1 }
    }

    /// Kinds of faults, as the function `fault` numbers them.
    fn kinds(self) -> Option<&'static [u64]> {
        match self {
            Profile::Swarm | Profile::Sparse | Profile::Mixed | Profile::Standard | Profile::Others => None,
            Profile::Power => Some(&[1, 1, 3, 14]),
            Profile::Links => Some(&[0, 2, 3, 3, 4, 5, 14]),
            Profile::Snapshots => Some(&[0, 1, 3, 3]),
            Profile::Busy | Profile::Series => Some(&[0, 2, 3, 7]),
            Profile::Cloud => Some(&[15, 15, 15, 6]),
            Profile::Clocks => Some(&[8, 8, 9, 0, 14]),
            Profile::Members => Some(&[0, 1, 2, 3, 5, 7]),
            Profile::Disks => Some(&[0, 1, 3, 13]),
            Profile::Hosts => Some(&[0, 3, 7, 14]),
            Profile::Load => Some(&[]),
        }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use clap::ValueEnum;
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

impl Plan {
    /// A simulated run: size, timeouts and faults drawn from the seed; faults for `seconds`.
    pub fn simulated(seed: u64, seconds: u64) -> Plan {
        Plan::shaped(seed, seconds, Profile::Swarm)
    }

    /// A simulated run with the faults of a profile.
    pub fn shaped(seed: u64, seconds: u64, profile: Profile) -> Plan {
        let profile = profile.of_seed(seed);
        let mut draw = Draw::new(seed, 10);
        let nodes = [3, 3, 3, 5, 1][draw.below(5)];
        let slow = draw.below(4) == 0;
        // What is measured is so with what clients always did.
        let is_measured = matches!(profile, Profile::Standard | Profile::Load);
        let mut sim = Sim {
            hosts: u32::try_from(draw.between(3, 7)).unwrap_or(3),
            safety_ms: seconds * 1_000,
            clients: u32::try_from(draw.between(3, 8)).unwrap_or(3),
            gap_ms: draw.between(1_500, 9_000) * if seconds >= LONG_S { LONG_GAPS } else { 1 },
            heartbeat_ms: if slow { 500 } else { 250 },
            election_min_ms: if slow { 2_000 } else { 1_000 },
            election_max_ms: if slow { 4_000 } else { 2_000 },
            snapshot_entries: [50, 200, 1_000][draw.below(3)],
            keep_entries: [0, 10, 100][draw.below(3)],
            weigh: profile == Profile::Links || Draw::new(seed, 12).below(8) == 0,
            late_staging: Draw::new(seed, 15).below(2) == 0,
            wire: Draw::new(seed, 16).below(WIRE_ONE_IN) == 0,
            quotas: !is_measured && (profile == Profile::Series || Draw::new(seed, 18).below(QUOTAS_ONE_IN) == 0),
            series: !is_measured && (profile == Profile::Series || Draw::new(seed, 19).below(SERIES_ONE_IN) == 0),
            questions: !is_measured && (profile == Profile::Series || Draw::new(seed, 23).below(QUESTIONS_ONE_IN) == 0),
            waits: !is_measured && (profile == Profile::Busy || Draw::new(seed, 29).below(WAITS_ONE_IN) == 0),
            ended_in_memory_s: ended_in_memory_s(seed, is_measured),
            priorities: !is_measured
                && (profile == Profile::Busy || Draw::new(seed, stream("priorities", &[])).below(PRIORITIES_ONE_IN) == 0),
            expiries: !is_measured
                && (profile == Profile::Busy || Draw::new(seed, stream("expiries", &[])).below(EXPIRIES_ONE_IN) == 0),
            ..Sim::default()
        };
        // Some seeds have no faults at all: what fails there is no matter of faults.
        let calm = draw.below(10) == 0;
        let mut on: Vec<u64> = (0..KINDS).filter(|_| draw.below(2) == 0).collect();
        let (mut quickest, mut slowest) = (draw.between(500, 3_000), draw.between(4_000, 40_000));
        (quickest, slowest) = (quickest * profile.apart(), slowest * profile.apart());
        let (mut nodes, mut calm) = (nodes, calm);
        if profile == Profile::Standard {
            (nodes, calm, quickest, slowest) = (3, false, 10_000, 50_000);
            (sim.clients, sim.gap_ms) = (4, 4_000);
            (sim.heartbeat_ms, sim.election_min_ms, sim.election_max_ms) = (250, 1_000, 2_000);
        }
        if profile == Profile::Sparse {
            sim.gap_ms =
                u64::from(sim.clients) * Draw::new(seed, stream("sparse", &[])).between(SPARSE_GAPS_MS.0, SPARSE_GAPS_MS.1);
        }
        if let Some(kinds) = profile.kinds() {
            (on, calm, slowest) = (kinds.to_vec(), false, 5_000);
            nodes = nodes.max(3);
        }
        if profile == Profile::Snapshots {
            (sim.snapshot_entries, sim.keep_entries) = (20, 0);
        }
        if profile == Profile::Power {
            // Power that goes between a snapshot and the purge of the log below it is what is looked for.
            let mut often = Draw::new(seed, 14);
            (sim.snapshot_entries, sim.keep_entries) = ([15, 30, 200][often.below(3)], [0, 0, 10][often.below(3)]);
        }
        if profile == Profile::Busy {
            (sim.hosts, sim.clients, sim.gap_ms) = (3, 10, 500);
        }
        if profile == Profile::Series {
            (sim.hosts, sim.clients, sim.gap_ms) = (5, 8, 700);
        }
        if calm {
            on.clear();
        }
        let mut faults = in_turn(&mut draw, (seed, 1_000), (quickest, slowest), sim.safety_ms, &on, |kind, one| {
            let mut fault = fault(kind, one, nodes, sim.hosts);
            // Half of what the cloud does wrong strikes the calls that wake parked servers.
            if profile == Profile::Cloud
                && let Fault::Cloud { how, body, permille, .. } = &mut fault
                && one.below(2) == 0
            {
                let failing = CloudFault::Error { status: 503, retry_after_s: Some(5) };
                *how = [CloudFault::AsyncFailure, CloudFault::Conflict, failing][one.below(3)].clone();
                (*body, *permille) = ("unshelve".to_owned(), 1_000);
            }
            fault
        });
        if profile == Profile::Load {
            (sim.meter_ms, sim.stragglers_permille) = (40, 0);
            faults = cluster::load(seed, sim.safety_ms);
        } else if !calm {
            faults.extend(cluster::drawn(seed, nodes, sim.safety_ms, profile));
            faults.extend(others::drawn(seed, sim.safety_ms, profile));
            let (of_hosts, spares) = hosts::drawn(seed, sim.safety_ms, profile);
            sim.spare_hosts = spares;
            faults.extend(of_hosts);
            faults.extend(downtimes::drawn(seed, sim.safety_ms, profile));
            faults.extend(outside::drawn(seed, sim.safety_ms, profile));
            sim.cloud_off_ms = outside::clock_off_ms(seed, profile);
            faults.sort_by_key(|planned| planned.at_ms);
        }
        Plan { seed, nodes, faults, sim }
    }
}

/// In every other run ended leases leave memory while clients still ask for them.
fn ended_in_memory_s(seed: u64, is_measured: bool) -> u32 {
    let mut draw = Draw::new(seed, stream("ended leases in memory", &[]));
    if is_measured || draw.below(2) == 0 { 0 } else { [1, 5, 30][draw.below(3)] }
}

/// Faults one after the other, of kinds among `on`, with pauses within `pauses` (milliseconds). Each is drawn from a stream of its own,
/// its number beyond that of `streams`: one more draw in one does not move the next.
fn in_turn(
    draw: &mut Draw,
    (seed, streams): (u64, u64),
    (quickest, slowest): (u64, u64),
    until_ms: u64,
    on: &[u64],
    mut fault: impl FnMut(u64, &mut Draw) -> Fault,
) -> Vec<Planned> {
    let mut faults = Vec::new();
    let mut at_ms = draw.between(quickest, slowest);
    while !on.is_empty() && at_ms < until_ms {
        let mut one = Draw::new(seed, streams + faults.len() as u64 + 1);
        let kind = on[one.below(on.len())];
        faults.push(Planned { at_ms, fault: fault(kind, &mut one) });
        at_ms += draw.between(quickest, slowest);
    }
    faults
}

fn target(draw: &mut Draw, nodes: u32) -> Target {
    match draw.below(3) {
        0 => Target::Leader,
        _ => Target::Node(u32::try_from(draw.between(0, u64::from(nodes))).unwrap_or(0)),
    }
}

fn fault(kind: u64, draw: &mut Draw, nodes: u32, hosts: u32) -> Fault {
    let target = target(draw, nodes);
    let way = [Way::Both, Way::Both, Way::In, Way::Out][draw.below(4)];
    let for_ms = draw.between(500, 20_000);
    match kind {
        0 => Fault::Kill { target, down_ms: draw.between(0, 10_000) },
        1 => Fault::PowerCut { target, down_ms: draw.between(0, 10_000) },
        2 => Fault::Pause { target, for_ms },
        3 => Fault::Isolate { target, way, for_ms },
        4 => Fault::Cut { links: shape(draw, nodes), period_ms: 0, for_ms },
        5 => Fault::Cut { links: shape(draw, nodes), period_ms: draw.between(100, 3_000), for_ms },
        6 => Fault::CloudCut { target, way, for_ms },
        7 => Fault::Weather {
            loss_permille: draw.between(0, 200),
            delay_ms: draw.between(0, 400),
            twice_permille: draw.between(0, 300),
            for_ms,
        },
        8 => {
            let far = [200, 2_000, 60_000, 86_400_000][draw.below(4)];
            let step = i64::try_from(draw.between(1, far)).unwrap_or(0);
            Fault::ClockStep { target, step_ms: if draw.below(2) == 0 { step } else { -step }, for_ms }
        }
        9 => {
            let ppm = i64::try_from(draw.between(0, 50_000)).unwrap_or(0);
            Fault::ClockDrift { target, ppm: if draw.below(2) == 0 { ppm } else { -ppm }, for_ms }
        }
        10 => Fault::SyncError { target },
        11 => Fault::DiskFull { target, for_ms },
        12 => Fault::DiskHang { target, for_ms },
        13 => Fault::DiskSlow { target, times: u32::try_from(draw.between(5, 200)).unwrap_or(5), for_ms },
        14 => match draw.below(3) {
            0 => Fault::HostDown { host: u32::try_from(draw.between(0, u64::from(hosts))).unwrap_or(0), for_ms: for_ms * 2 },
            1 => Fault::ExpireTokens,
            _ => Fault::Transfer,
        },
        _ => {
            let bodies = ["", "", "", "unshelve", "shelve", "allocations", "createImage"];
            let body = bodies[draw.below(bodies.len())].to_owned();
            Fault::Cloud {
                how: cloud_fault(draw),
                body,
                service: String::new(),
                permille: [50, 300, 1_000][draw.below(3)],
                for_ms,
            }
        }
    }
}

fn cloud_fault(draw: &mut Draw) -> CloudFault {
    let after_ms = draw.between(100, 60_000);
    match draw.below(11) {
        0 => CloudFault::Error { status: 500, retry_after_s: None },
        1 => CloudFault::Error { status: 503, retry_after_s: Some(draw.between(1, 10)) },
        2 => CloudFault::Error { status: 429, retry_after_s: Some(draw.between(1, 5)) },
        3 => CloudFault::Conflict,
        4 => CloudFault::LostAnswer { after_ms: after_ms / 20 },
        5 => CloudFault::Late { after_ms },
        6 => CloudFault::Slow { after_ms: after_ms / 4 },
        7 => CloudFault::Hang { applied: draw.below(2) == 0 },
        8 => CloudFault::Duplicate,
        9 => CloudFault::Garbage,
        _ => CloudFault::AsyncFailure,
    }
}

/// A topology: halves, a bridge, a ring, or one way.
fn shape(draw: &mut Draw, nodes: u32) -> Vec<(u32, u32)> {
    let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to);
    let shift = u32::try_from(draw.between(0, u64::from(nodes))).unwrap_or(0);
    // Places on a circle, turned by a drawn amount.
    let place = |node: u32| (node + shift) % nodes;
    let half = nodes.div_ceil(2);
    let kind = draw.below(4);
    let cut = |&(from, to): &(u32, u32)| {
        let (from, to) = (place(from), place(to));
        match kind {
            0 => (from < half) != (to < half),
            // Only the first sees everybody.
            1 => from != 0 && to != 0,
            // Each sees its neighbours on the circle.
            2 => (from + 1) % nodes != to && (to + 1) % nodes != from,
            _ => from < half && to >= half,
        }
    };
    let links: Vec<_> = pairs.clone().filter(cut).collect();
    // A ring of three cuts nothing, and what cuts nothing is no fault.
    if links.is_empty() { pairs.filter(|(from, to)| (place(*from) < half) != (place(*to) < half)).collect() } else { links }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_plan() {
        assert_eq!(Plan::kills(7, 3, 240_000), Plan::kills(7, 3, 240_000));
        assert_ne!(Plan::kills(7, 3, 240_000), Plan::kills(8, 3, 240_000));
    }

    #[test]
    fn kills_are_three_to_six_seconds_apart_and_hit_leaders_and_others() {
        let plan = Plan::kills(1, 3, 240_000);
        let gaps: Vec<_> = plan.faults.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
        assert!(gaps.iter().all(|gap| (3_000..6_000).contains(gap)));
        let leaders =
            plan.faults.iter().filter(|planned| matches!(planned.fault, Fault::Kill { target: Target::Leader, .. })).count();
        assert!(leaders >= 8 && leaders < plan.faults.len());
    }

    #[test]
    fn seeds_differ_in_size_and_all_kinds_of_faults_come_up() {
        let plans: Vec<Plan> = (0..200).map(|seed| Plan::simulated(seed, 300)).collect();
        for nodes in [1, 3, 5] {
            assert!(plans.iter().any(|plan| plan.nodes == nodes));
        }
        let mut kinds = std::collections::BTreeSet::new();
        for planned in plans.iter().flat_map(|plan| &plan.faults) {
            kinds.insert(planned.fault.kind());
        }
        assert_eq!(kinds.len(), 32, "{kinds:?}");
        assert!(plans.iter().any(|plan| plan.faults.is_empty()));
        let by_wire = plans.iter().filter(|plan| plan.sim.wire).count();
        assert!((10..=30).contains(&by_wire), "{by_wire} of 200 at the wire level");
    }

    #[test]
    fn cuts_come_in_every_shape_of_the_design_and_flap() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (mut draw, nodes) = (Draw::new(seed, 99), 5);
            let links: std::collections::BTreeSet<(u32, u32)> = shape(&mut draw, nodes).into_iter().collect();
            let both_ways = links.iter().all(|(from, to)| links.contains(&(*to, *from)));
            // How many others each still hears.
            let mut heard: Vec<usize> =
                (0..nodes).map(|to| (0..nodes).filter(|from| *from != to && !links.contains(&(*from, to))).count()).collect();
            heard.sort_unstable();
            seen.insert(match (both_ways, &heard[..]) {
                (true, [1, 1, 2, 2, 2]) => "halves",
                (true, [1, 1, 1, 1, 4]) => "bridge",
                (true, [2, 2, 2, 2, 2]) => "ring",
                (false, _) => "one way",
                other => panic!("seed {seed}: {links:?}, {other:?}"),
            });
        }
        assert_eq!(seen, ["bridge", "halves", "one way", "ring"].into());
        let cuts = |plan: Plan| {
            plan.faults
                .into_iter()
                .filter_map(|one| if let Fault::Cut { period_ms, .. } = one.fault { Some(period_ms) } else { None })
        };
        let periods: Vec<u64> = (0..200).flat_map(|seed| cuts(Plan::simulated(seed, 600))).collect();
        assert!(periods.contains(&0) && periods.iter().any(|period_ms| *period_ms > 0), "some flap, some do not");
    }

    #[test]
    fn sparse_runs_have_every_kind_of_fault_further_apart_and_mixed_ones_are_sparse_every_second_time() {
        let (mut dense, mut sparse) = (Vec::new(), Vec::new());
        for seed in 0..200 {
            let [swarm, apart, mixed] =
                [Profile::Swarm, Profile::Sparse, Profile::Mixed].map(|profile| Plan::shaped(seed, 3_600, profile));
            assert_eq!(mixed, if seed % 2 == 0 { swarm.clone() } else { apart.clone() });
            // Once in 6 to 11 seconds for all of them, so that an hour has the operations that it must have.
            let gap_ms = apart.sim.gap_ms / u64::from(apart.sim.clients);
            assert!((6_000..11_000).contains(&gap_ms), "seed {seed}: {gap_ms}");
            assert_eq!(swarm.faults.is_empty(), apart.faults.is_empty());
            dense.extend(swarm.faults);
            sparse.extend(apart.faults);
        }
        let kinds = |faults: &[Planned]| faults.iter().map(|one| one.fault.kind()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(kinds(&dense), kinds(&sparse));
        assert!(dense.len() > 5 * sparse.len() && dense.len() < 7 * sparse.len(), "{} and {}", dense.len(), sparse.len());
    }

    #[test]
    fn a_plan_survives_its_file() {
        let plan = Plan::simulated(3, 60);
        let text = serde_json::to_string(&plan).expect("a plan encodes");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("a plan decodes"), plan);
        let plan = Plan::kills(3, 5, 60_000);
        let text = serde_json::to_string(&plan).expect("a plan encodes");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("a plan decodes"), plan);
        let mut plan = Plan::simulated(3, 60);
        plan.sim.operations = Some([(2, [0, 7].into())].into());
        // By way of a value, too, as `replay` takes it out of a report.
        let value = serde_json::to_value(&plan).expect("a plan encodes");
        assert_eq!(serde_json::from_value::<Plan>(value).expect("a plan decodes"), plan);
    }
}
