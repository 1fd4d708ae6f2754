//! What the nodes of a harness cluster are configured with.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// How callers are known to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everybody is an admin.
    Noauth,
    /// By the simulated cloud's Keystone.
    Keystone,
}

/// Raft's timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest election timeout.
    pub election_min_ms: u64,
    /// Longest election timeout.
    pub election_max_ms: u64,
    /// Log entries between snapshots.
    pub snapshot_entries: u64,
    /// Log entries kept behind a snapshot.
    pub keep_entries: u64,
}

impl Default for Timing {
    /// The product's own defaults, so that what is measured is what users get.
    fn default() -> Self {
        Timing { heartbeat_ms: 100, election_min_ms: 750, election_max_ms: 1200, snapshot_entries: 100_000, keep_entries: 20_000 }
    }
}

/// All nodes of a cluster alike.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes are started and made voters.
    pub nodes: u64,
    /// How callers are known.
    pub auth: Auth,
    /// Keystone of the cloud to drive; `None`: no cloud.
    pub auth_url: Option<String>,
    /// Raft's timing.
    pub timing: Timing,
    /// `[log] filter`.
    pub log: String,
    /// More sections, as TOML.
    pub more: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nodes: 3,
            auth: Auth::Noauth,
            auth_url: None,
            timing: Timing::default(),
            log: "info".to_owned(),
            more: String::new(),
        }
    }
}

/// Where one node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// REST.
    pub rest: SocketAddr,
    /// gRPC for clients.
    pub grpc: SocketAddr,
    /// Raft between nodes.
    pub peer: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

impl Addresses {
    /// Four free ports.
    pub fn free() -> anyhow::Result<Addresses> {
        let port = crate::ports::free;
        Ok(Addresses { rest: port()?, grpc: port()?, peer: port()?, metrics: port()? })
    }
}

impl Settings {
    /// The configuration file of one node.
    pub fn file(&self, id: u64, data_dir: &Path, at: &Addresses) -> String {
        let timing = &self.timing;
        let mode = match self.auth {
            Auth::Noauth => "noauth",
            Auth::Keystone => "keystone",
        };
        let mut text = format!(
            "[node]\nid = {id}\ndata_dir = {data_dir:?}\n\n\
             [listen]\nrest = \"{}\"\ngrpc = \"{}\"\npeer = \"{}\"\nmetrics = \"{}\"\n\n\
             [raft]\nheartbeat_ms = {}\nelection_min_ms = {}\nelection_max_ms = {}\nsnapshot_entries = {}\nkeep_entries = {}\n\n\
             [auth]\nmode = \"{mode}\"\n\n[log]\nfilter = {:?}\n",
            at.rest,
            at.grpc,
            at.peer,
            at.metrics,
            timing.heartbeat_ms,
            timing.election_min_ms,
            timing.election_max_ms,
            timing.snapshot_entries,
            timing.keep_entries,
            self.log,
        );
        if let Some(url) = &self.auth_url {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n[cloud]\nauth_url = {url:?}\nusername = \"leasehold\"\npassword = \"{}\"\nuser_domain_name = \"Default\"\n\
                 project_name = \"service\"\nproject_domain_name = \"Default\"\n",
                crate::cloud::PASSWORD
            );
        }
        text + "\n" + &self.more
    }
}
