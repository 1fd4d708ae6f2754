//! What a node's Raft is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_ledger::model::NodeId;
use leasehold_ledger::mutant;
use openraft::{Config, SnapshotPolicy};
use uuid::Uuid;

use super::grpc::TlsFiles;
use super::types::Member;

/// Who the node is and where it is reached.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// Never used before by a node that lost its disk.
    pub node_id: NodeId,
    /// If given, any other cluster is refused. Else the first call by a peer decides for an empty node.
    pub cluster_id: Option<Uuid>,
    /// `log/` and `state-*/` are made in it.
    pub data_dir: PathBuf,
    /// Where peers are listened to.
    pub listen: SocketAddr,
    /// What the others are told. An empty peer address means the one listened to.
    pub member: Member,
    /// Without, peers are spoken to on loopback only.
    pub tls: Option<TlsFiles>,
    /// See there.
    pub timing: Timing,
}

/// Durations and sizes. The defaults are those of a node's configuration (`[raft]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// A follower refuses votes for `election_max` after the leader's last sign of life, and stands for election
    /// between `election_min` and `election_max` after that: with the defaults 2 to 2.4 s after a leader died.
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
    /// Taken off the time in which the leader counts on being the only one, for clocks of different rate (D6).
    pub fence_margin: Duration,
    /// Clocks this close are the same clock (D4).
    pub clock_tolerance: Duration,
    /// Longest wait for a command to be committed and applied.
    pub propose: Duration,
    /// Longest wait for a linearizable read to be confirmed.
    pub read: Duration,
    /// A snapshot is taken after so many log entries.
    pub snapshot_entries: u64,
    /// So many log entries are kept below a snapshot, for followers that are a little behind.
    pub keep_entries: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(750),
            election_max: Duration::from_millis(1200),
            fence_margin: Duration::from_millis(200),
            clock_tolerance: Duration::from_millis(250),
            propose: Duration::from_secs(10),
            read: Duration::from_secs(5),
            snapshot_entries: 100_000,
            keep_entries: 20_000,
        }
    }
}

impl Timing {
    /// As the engine takes it.
    pub(super) fn engine(&self) -> Result<Config, openraft::ConfigError> {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: "leasehold".into(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_min),
            election_timeout_max: ms(self.election_max),
            // Entries are read in pieces of at most 4 MiB (`log_store`); this only bounds many small ones.
            max_payload_entries: 256,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            replication_lag_threshold: 2 * (self.snapshot_entries + self.keep_entries),
            // Without these two a leader that only half the cluster hears blocks everyone for good (chaos-design §2).
            // Planted bug: as the engine comes.
            enable_pre_vote: Some(!mutant!("M28")),
            quorum_loss_probe_interval: (!mutant!("M28")).then_some(2 * ms(self.election_max)),
            // Entries go to followers while they are still being synced here. A leader that went on in its old term after
            // a crash would give the log ids of what it lost to other entries, and replicas would differ (0007; the kill
            // run found it).
            enable_leader_restore: Some(false),
            // Not before the promise of the node's last life has run out (`start`).
            enable_elect: false,
            ..Config::default()
        };
        config.validate()
    }
}
