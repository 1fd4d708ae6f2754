//! What a run will do: every fault at its time, drawn from one seed, so that a seed is a run.
//!
//! Every choice is `hash(seed, stream, counter)`: taking one event out of a plan does not move the others.

use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Fault {
    /// `kill -9` of a node, started again after `down_ms`.
    Kill {
        /// Which.
        target: Target,
        /// Milliseconds until it is started again.
        down_ms: u64,
    },
    /// `SIGSTOP`, and `SIGCONT` after `for_ms`.
    Pause {
        /// Which.
        target: Target,
        /// Milliseconds it stands still.
        for_ms: u64,
    },
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Whoever leads at that moment.
    Leader,
    /// The node with this index, from 0.
    Node(u32),
}

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
}

/// Numbers drawn from a seed by stream and counter.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    seed: u64,
    stream: u64,
    counter: u64,
}

impl Draw {
    /// A stream of its own for each purpose.
    pub fn new(seed: u64, stream: u64) -> Draw {
        Draw { seed, stream, counter: 0 }
    }

    /// The next number. SplitMix64's finaliser over seed, stream and counter.
    pub fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        let mut z = self.seed ^ self.stream.rotate_left(32) ^ self.counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for _ in 0..2 {
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
        }
        z
    }

    /// A number of `low..high`; `low` when the span is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.next_u64() % (high - low) }
    }
}

impl Plan {
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
        Plan { seed, nodes, faults }
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
        let plan = Plan::kills(3, 5, 60_000);
        let text = serde_json::to_string(&plan).expect("a plan encodes");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("a plan decodes"), plan);
    }
}
