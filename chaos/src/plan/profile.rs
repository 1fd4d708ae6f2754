//! What simulated runs are to be like.

use serde::{Deserialize, Serialize};

/// With [`Profile::Sparse`] faults are so many times as far apart.
const SPARSE_APART: u64 = 6;

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
    pub(super) fn of_seed(self, seed: u64) -> Profile {
        match self {
            Profile::Mixed if seed.is_multiple_of(2) => Profile::Swarm,
            Profile::Mixed => Profile::Sparse,
            other => other,
        }
    }

    /// Faults are so many times as far apart as they are drawn.
    pub(super) fn apart(self) -> u64 {
        if self == Profile::Sparse { SPARSE_APART } else { 1 }
    }

    /// Kinds of faults, as the function `fault` numbers them.
    pub(super) fn kinds(self) -> Option<&'static [u64]> {
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
