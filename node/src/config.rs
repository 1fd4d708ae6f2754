//! The server's configuration: a TOML file, then `LEASEHOLD_…` variables, checked once.
//!
//! `docs/configuration.md` is the reference; a test holds it to these structures.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// From a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Everything a server is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: NodeSection,
    /// Where it listens.
    pub listen: ListenSection,
    /// Certificates.
    pub tls: TlsSection,
    /// Timing of Raft.
    pub raft: RaftSection,
    /// Who may call.
    pub auth: AuthSection,
    /// The cloud it drives.
    pub cloud: Option<CloudSection>,
    /// What the leader does.
    pub leader: LeaderSection,
    /// The Blazar API.
    pub api: ApiSection,
    /// What it tells.
    pub log: LogSection,
}

/// `[node]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// A number of its own, at least 1, never used again after its disk was lost.
    pub id: u64,
    /// Where log, state and snapshots are kept; made when missing.
    pub data_dir: PathBuf,
}

/// `[listen]`: addresses; port 0 takes a free one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenSection {
    /// Blazar's REST API.
    pub rest: SocketAddr,
    /// gRPC for clients.
    pub grpc: SocketAddr,
    /// Raft between nodes.
    pub peer: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub metrics: SocketAddr,
    /// What other nodes dial instead of `peer` (name:port), if that is not reachable as it stands.
    pub peer_advertised: Option<String>,
    /// What clients dial instead of `grpc`.
    pub grpc_advertised: Option<String>,
}

impl Default for ListenSection {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        ListenSection {
            rest: local(1234),
            grpc: local(1235),
            peer: local(1236),
            metrics: local(1237),
            peer_advertised: None,
            grpc_advertised: None,
        }
    }
}

/// `[tls]`: PEM files. Without `peer_*` the peer address must be loopback.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    /// Certificate (chain) this node shows to its peers and clients.
    pub peer_certificate: Option<PathBuf>,
    /// Its key.
    pub peer_key: Option<PathBuf>,
    /// Who signs the peers' certificates; both sides must show one.
    pub peer_ca: Option<PathBuf>,
    /// Certificate for REST and gRPC; read again when the file changes.
    pub api_certificate: Option<PathBuf>,
    /// Its key.
    pub api_key: Option<PathBuf>,
}

/// `[raft]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaftSection {
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest election timeout, milliseconds.
    pub election_min_ms: u64,
    /// Longest election timeout, milliseconds.
    pub election_max_ms: u64,
    /// Log entries between snapshots.
    pub snapshot_entries: u64,
    /// Log entries kept behind a snapshot for followers that lag.
    pub keep_entries: u64,
}

impl Default for RaftSection {
    fn default() -> Self {
        RaftSection {
            heartbeat_ms: 100,
            election_min_ms: 750,
            election_max_ms: 1200,
            snapshot_entries: 100_000,
            keep_entries: 20_000,
        }
    }
}

/// `[auth]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// `keystone`, or `noauth`: everybody is an admin; only where every API address is loopback.
    pub mode: AuthMode,
    /// Seconds a validated token is trusted without asking again, at most; never beyond its own expiry.
    pub cache_s: u64,
}

impl Default for AuthSection {
    fn default() -> Self {
        AuthSection { mode: AuthMode::Keystone, cache_s: 300 }
    }
}

/// How callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// By Keystone tokens.
    Keystone,
    /// Not at all.
    Noauth,
}

/// `[cloud]`: the service user, with the role admin in its project.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloudSection {
    /// Keystone, ending in `/v3`.
    pub auth_url: String,
    /// User name, with `password`.
    pub username: Option<String>,
    /// Its password; better given as `LEASEHOLD_CLOUD__PASSWORD`.
    pub password: Option<Secret>,
    /// The user's domain.
    pub user_domain_name: Option<String>,
    /// Project of the user.
    pub project_name: Option<String>,
    /// The project's domain.
    pub project_domain_name: Option<String>,
    /// Instead of user and password.
    pub application_credential_id: Option<String>,
    /// Its secret; better given as `LEASEHOLD_CLOUD__APPLICATION_CREDENTIAL_SECRET`.
    pub application_credential_secret: Option<Secret>,
    /// Region of the catalog; `None`: the only one.
    pub region: Option<String>,
    /// `public`, `internal` or `admin`.
    pub interface: Option<String>,
    /// More certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Instead of the catalog's.
    pub compute_endpoint: Option<String>,
    /// Instead of the catalog's.
    pub placement_endpoint: Option<String>,
    /// Instead of the catalog's.
    pub image_endpoint: Option<String>,
    /// Seconds until a call to the cloud is given up as unanswered; reads after a sixth of it.
    pub timeout_s: Option<u64>,
}

/// `[leader]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaderSection {
    /// Seconds between full comparisons of the cloud with the ledger.
    pub reconcile_s: u64,
    /// Seconds between looks at Nova's services and Placement's usage.
    pub monitor_s: u64,
    /// Reservations worked on at a time.
    pub parallel: usize,
}

impl Default for LeaderSection {
    fn default() -> Self {
        LeaderSection { reconcile_s: 60, monitor_s: 30, parallel: 64 }
    }
}

/// `[api]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSection {
    /// Minutes before the end of `before_end_lease` where none is asked for; 0: no such event (Blazar's option).
    pub minutes_before_end_lease: u32,
    /// Requests in flight at most, each edge.
    pub requests_max: usize,
    /// Connections at most, each edge.
    pub connections_max: usize,
}

impl Default for ApiSection {
    fn default() -> Self {
        ApiSection { minutes_before_end_lease: 60, requests_max: 4096, connections_max: 8192 }
    }
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug`, or directives as `leasehold_node=debug,info`.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection { filter: "info,openraft=warn".to_owned(), json: false }
    }
}

/// Why a configuration is no good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not parse.
    #[error("configuration: {0}")]
    Parse(String),
    /// A value no server can run with.
    #[error("configuration: {key} = {value}: {problem}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What it is.
        value: String,
        /// What would be right.
        problem: &'static str,
    },
}

impl Config {
    /// Reads file (if given) and environment (`LEASEHOLD_NODE__ID=1`), and checks.
    pub fn load(file: Option<&Path>) -> Result<Config, Error> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = file {
            if !file.is_file() {
                return Err(Error::Parse(format!("{} is not there or not a file", file.display())));
            }
            figment = figment.merge(Toml::file(file));
        }
        let config: Config = figment
            // Only names of section and key are ours to read: LEASEHOLD_ENDPOINTS and the like belong to the commands.
            .merge(Env::prefixed("LEASEHOLD_").filter(|name| name.as_str().contains("__")).split("__"))
            .extract()
            .map_err(|error| Error::Parse(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Certificate authorities trusted besides the system's when the cloud is called (`cloud.ca_file`), PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn extra_ca_pem(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = self.cloud.as_ref().and_then(|cloud| cloud.ca_file.as_ref()) else { return Ok(Vec::new()) };
        std::fs::read(path).map_err(|error| Error::Parse(format!("cloud.ca_file = {}: {error}", path.display())))
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |key, value: &dyn std::fmt::Display, problem| Err(Error::Value { key, value: value.to_string(), problem });
        if self.node.id == 0 {
            return wrong("node.id", &self.node.id, "must be given, at least 1, and different on every node");
        }
        if self.node.data_dir.as_os_str().is_empty() {
            return wrong("node.data_dir", &"\"\"", "must be given: a directory of this node alone");
        }
        let raft = &self.raft;
        if raft.heartbeat_ms == 0 || raft.heartbeat_ms * 3 > raft.election_min_ms {
            return wrong("raft.election_min_ms", &raft.election_min_ms, "must be at least three heartbeats (raft.heartbeat_ms)");
        }
        if raft.election_min_ms >= raft.election_max_ms {
            return wrong("raft.election_max_ms", &raft.election_max_ms, "must be above raft.election_min_ms");
        }
        let tls = &self.tls;
        let peer_parts = [&tls.peer_certificate, &tls.peer_key, &tls.peer_ca].iter().filter(|part| part.is_some()).count();
        if peer_parts != 0 && peer_parts != 3 {
            return wrong("tls", &"peer_*", "peer_certificate, peer_key and peer_ca go together");
        }
        if peer_parts == 0 && !self.listen.peer.ip().is_loopback() {
            return wrong("listen.peer", &self.listen.peer, "without tls.peer_* only a loopback address is allowed");
        }
        if tls.api_certificate.is_some() != tls.api_key.is_some() {
            return wrong("tls", &"api_*", "api_certificate and api_key go together");
        }
        if self.auth.mode == AuthMode::Noauth && !(self.listen.rest.ip().is_loopback() && self.listen.grpc.ip().is_loopback()) {
            return wrong("auth.mode", &"noauth", "is allowed only where listen.rest and listen.grpc are loopback addresses");
        }
        if self.auth.mode == AuthMode::Keystone && self.cloud.is_none() {
            return wrong("auth.mode", &"keystone", "needs [cloud], whose service user validates the tokens");
        }
        if let Some(cloud) = &self.cloud {
            if !(cloud.auth_url.starts_with("http://") || cloud.auth_url.starts_with("https://")) {
                return wrong(
                    "cloud.auth_url",
                    &cloud.auth_url,
                    "must be Keystone's URL, as in https://keystone.example:5000/v3",
                );
            }
            let by_password = cloud.username.is_some() && cloud.password.is_some();
            let by_credential = cloud.application_credential_id.is_some() && cloud.application_credential_secret.is_some();
            if by_password == by_credential {
                return wrong(
                    "cloud",
                    &"credentials",
                    "give either username and password, or application_credential_id and application_credential_secret",
                );
            }
        }
        if self.leader.parallel == 0 || self.leader.reconcile_s == 0 || self.leader.monitor_s == 0 {
            return wrong("leader", &"0", "parallel, reconcile_s and monitor_s must be at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn minimal() -> Config {
        Config {
            node: NodeSection { id: 1, data_dir: "data".into() },
            auth: AuthSection { mode: AuthMode::Noauth, cache_s: 300 },
            ..Config::default()
        }
    }

    #[test]
    fn a_minimal_configuration_is_accepted() {
        minimal().check().unwrap();
    }

    #[test]
    fn noauth_is_refused_beyond_loopback() {
        let mut config = minimal();
        config.listen.rest = SocketAddr::from(([0, 0, 0, 0], 1234));
        assert!(config.check().unwrap_err().to_string().contains("auth.mode"));
    }

    #[test]
    fn plain_peers_are_refused_beyond_loopback() {
        let mut config = minimal();
        config.listen.peer = SocketAddr::from(([0, 0, 0, 0], 1236));
        assert!(config.check().unwrap_err().to_string().contains("listen.peer"));
    }

    #[test]
    fn an_election_shorter_than_three_heartbeats_is_refused() {
        let mut config = minimal();
        config.raft.election_min_ms = 250;
        assert!(config.check().unwrap_err().to_string().contains("heartbeat"));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "(secret)");
    }

    /// Keys and defaults of one section of the reference, as its tables have them.
    fn documented(reference: &str, section: &str) -> BTreeMap<String, String> {
        let heading = format!("## [{section}]");
        let lines = reference.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("## "));
        let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        rows.map(|(key, rest)| (key.to_owned(), rest.split(" | ").next().unwrap().trim_matches('`').to_owned())).collect()
    }

    #[test]
    fn the_reference_names_every_key_with_its_default_and_no_other() {
        let reference = include_str!("../../docs/configuration.md");
        let mut full = Config::default();
        full.cloud = Some(CloudSection::default());
        let value = serde_json::to_value(&full).unwrap();
        let sections: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("## [")?.strip_suffix(']')).collect();
        assert_eq!(sections.len(), value.as_object().unwrap().len(), "{sections:?}");
        for (section, keys) in value.as_object().unwrap() {
            let documented = documented(reference, section);
            let keys = keys.as_object().unwrap();
            assert_eq!(
                documented.keys().collect::<Vec<_>>(),
                keys.keys().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
            );
            for (key, default) in keys {
                let default = match default {
                    // What is used then is told in words.
                    serde_json::Value::Null => continue,
                    // Of a key that must be given there is no default.
                    _ if section == "node" || (section == "cloud" && key == "auth_url") => "none".to_owned(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(documented[key], default, "docs/configuration.md: default of `{key}` of [{section}]");
            }
        }
    }
}
