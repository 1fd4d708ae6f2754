//! What a run will do: every fault at its time, drawn from one seed, so that a seed is a run.
//!
//! Every choice is `hash(seed, stream, counter)`: taking one event out of a plan does not move the others.

pub mod cluster;
mod downtimes;
mod draw;
mod fault;
mod hosts;
mod kinds;
mod others;
mod outside;
mod profile;
mod shaped;
mod sparse;
mod upgrades;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use draw::Draw;
pub use fault::{CloudFault, Damage, Fault, Meddling, Target, Way};
pub use profile::Profile;

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
    /// Clients gather at these times, milliseconds after the run's start: what some of them would ask for next they ask for then. They
    /// are those of faults; a fault that is left out of a plan moves no operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gathers_ms: Vec<u64>,
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
            gathers_ms: Vec::new(),
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
