//! A whole run drawn from its seed: size, timeouts, what clients ask for, and which faults there are.

use super::kinds::{KINDS, fault, in_turn};
use super::{CloudFault, Draw, Fault, Plan, Profile, Sim, cluster, downtimes, hosts, others, outside, sparse, upgrades};
use crate::sim::rng::stream;

/// From so many seconds on a run is a long one: leases begin, run out and are forgotten in it, and it is that what it is for. What
/// a crowd of clients does is found by shorter ones, in less time.
const LONG_S: u64 = 1_800;
/// In a long run clients wait so many times as long between two operations.
const LONG_GAPS: u64 = 2;
/// With [`Profile::Sparse`] all clients together ask for something once in so many milliseconds.
const SPARSE_GAPS_MS: (u64, u64) = (6_000, 11_000);
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
            faults.extend(upgrades::drawn(seed, sim.safety_ms, profile));
            faults.extend(outside::drawn(seed, sim.safety_ms, profile));
            sim.cloud_off_ms = outside::clock_off_ms(seed, profile);
            faults.sort_by_key(|planned| planned.at_ms);
        }
        if profile == Profile::Sparse {
            if !calm {
                faults.extend(sparse::meets(seed, nodes, sim.safety_ms));
            }
            faults.extend(sparse::leaders(seed, nodes, sim.safety_ms, &faults));
            faults.sort_by_key(|planned| planned.at_ms);
            sim.gathers_ms = sparse::gathers(&faults);
        }
        Plan { seed, nodes, faults, sim }
    }
}

/// In every other run ended leases leave memory while clients still ask for them.
fn ended_in_memory_s(seed: u64, is_measured: bool) -> u32 {
    let mut draw = Draw::new(seed, stream("ended leases in memory", &[]));
    if is_measured || draw.below(2) == 0 { 0 } else { [1, 5, 30][draw.below(3)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Planned;

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
        assert_eq!(kinds.len(), 33, "{kinds:?}");
        assert!(plans.iter().any(|plan| plan.faults.is_empty()));
        let by_wire = plans.iter().filter(|plan| plan.sim.wire).count();
        assert!((10..=30).contains(&by_wire), "{by_wire} of 200 at the wire level");
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
            assert!(!apart.faults.is_empty() && (!swarm.faults.is_empty() || apart.faults.len() == 1));
            dense.extend(swarm.faults);
            sparse.extend(apart.faults);
        }
        let kinds = |faults: &[Planned]| faults.iter().map(|one| one.fault.kind()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(kinds(&dense), kinds(&sparse));
        assert!(dense.len() > 5 * sparse.len() && dense.len() < 7 * sparse.len(), "{} and {}", dense.len(), sparse.len());
    }
}
