//! The server's configuration: a TOML file, then `LEASEHOLD_…` variables, checked once.
//!
//! `docs/configuration.md` is the reference; a test holds it to these structures.

mod check;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Serialized};
use figment::value::Value;
use serde::{Deserialize, Serialize};

use crate::raft::Timing;

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    /// Takes whole numbers and booleans, too: who writes `password = 12345` means the text. What is refused is not shown.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        struct Text;
        impl<'de> serde::de::Visitor<'de> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text in quotes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Secret, E> {
                // Its digits would not come back as they were written.
                Err(E::custom("a secret must be a text in quotes"))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

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
    /// Threads for tasks; `None`: as many as there are processors, less one for the disk's threads, at least one.
    pub threads: Option<NonZeroUsize>,
}

impl NodeSection {
    /// How many threads tasks run on. One less than there are processors is faster than all of them: the disk's writers
    /// and RocksDB have threads of their own (docs/benchmarks.md).
    #[must_use]
    pub fn task_threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or(processors.saturating_sub(1).max(1), NonZeroUsize::get)
    }
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
        let Timing { heartbeat, election_min, election_max, snapshot_entries, keep_entries, .. } = Timing::default();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).expect("a second or so");
        RaftSection {
            heartbeat_ms: ms(heartbeat),
            election_min_ms: ms(election_min),
            election_max_ms: ms(election_max),
            snapshot_entries,
            keep_entries,
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
    /// Seconds between looks at Placement's usage; Nova's services are looked at as often, but at least every 10 s.
    pub monitor_s: u64,
    /// Reservations worked on at a time.
    pub parallel: usize,
    /// Seconds that a host must have been down, or have promised too much, before its leases are moved; those that begin within
    /// them are moved at once.
    pub healing_grace_s: u64,
    /// Leases that begin within so many seconds are moved away from such hosts, and are degraded where they cannot be; 0: none.
    pub healing_horizon_s: u64,
    /// Seconds between rounds that move leases which have not begun so that hosts become free as a whole; 0: none.
    pub defragment_s: u64,
    /// Leases that begin within so many seconds stay where they are.
    pub defragment_lead_s: u32,
    /// Nobody is moved for less than so many seconds of a host.
    pub defragment_gain_s: u32,
    /// Seconds that a lease stays in memory after it ended or was changed last.
    pub ended_leases_in_memory_s: u64,
}

impl Default for LeaderSection {
    fn default() -> Self {
        LeaderSection {
            reconcile_s: 60,
            monitor_s: 30,
            parallel: 64,
            healing_grace_s: 60,
            healing_horizon_s: 3600,
            defragment_s: 60,
            defragment_lead_s: 300,
            defragment_gain_s: 600,
            ended_leases_in_memory_s: 7 * 24 * 3600,
        }
    }
}

/// How long an offer may stand where nobody says, seconds: a week.
pub const OFFER_VALID_S_MAX: u32 = 7 * 24 * 3600;

/// How long a lease may wait for room where nobody says, seconds: 90 days.
pub const WAIT_S_MAX: u32 = 90 * 24 * 3600;

/// Leases that left memory which are read for one answer where nobody says, at most.
pub const ENDED_LEASES_READ_MAX: usize = 100_000;

/// `[api]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSection {
    /// Minutes before the end of `before_end_lease` where none is asked for; 0: no such event (Blazar's option).
    pub minutes_before_end_lease: u32,
    /// How long an offer may stand, seconds.
    pub offer_valid_s_max: u32,
    /// How long a lease may wait for room, seconds; 0: none waits.
    pub wait_s_max: u32,
    /// Whether servers may be asked for like a flavor of the cloud.
    pub flavor_reservations: bool,
    /// Whether leases may have a priority, take room from others and give way to them.
    pub priorities: bool,
    /// Who may ask for a priority, beside admins: those with this role.
    pub priority_role: Option<String>,
    /// Who may ask for leases whatever the quota of the project says, beside admins: those with this role.
    pub quota_exempt_role: Option<String>,
    /// Whether leases may give back what nobody uses some time after they became active.
    pub expiry: bool,
    /// After how many seconds new leases do that say nothing of it; not given: never.
    pub expiry_s_default: Option<u32>,
    /// Leases that left memory which are read for one answer at most; a page ends there, other answers are refused.
    pub ended_leases_read_max: usize,
    /// Requests in flight at most, each edge.
    pub requests_max: usize,
    /// Connections at most, each edge.
    pub connections_max: usize,
}

impl Default for ApiSection {
    fn default() -> Self {
        ApiSection {
            minutes_before_end_lease: 60,
            offer_valid_s_max: OFFER_VALID_S_MAX,
            wait_s_max: WAIT_S_MAX,
            flavor_reservations: true,
            priorities: true,
            priority_role: None,
            quota_exempt_role: None,
            expiry: true,
            expiry_s_default: None,
            ended_leases_read_max: ENDED_LEASES_READ_MAX,
            requests_max: 4096,
            connections_max: 8192,
        }
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

/// Longest `auth.cache_s`.
pub const CACHE_S_MAX: u64 = 300;

/// Reads a TOML file. What is wrong with it is told without the line, which may hold a secret.
#[allow(clippy::disallowed_methods, reason = "the configuration, read at start-up")]
fn read(file: &Path) -> Result<toml::Table, Error> {
    let told = |problem: &dyn std::fmt::Display| Error::Parse(format!("{}: {problem}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| told(&error))?;
    text.parse::<toml::Table>().map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
        told(&format!("line {line}: {}", error.message()))
    })
}

/// Whether a variable's value is taken as the text it is: for every key whose value is neither a number nor a boolean.
fn is_text(key: &str) -> bool {
    let cloud = CloudSection { timeout_s: Some(0), ..CloudSection::default() };
    let node = NodeSection { threads: Some(NonZeroUsize::MIN), ..NodeSection::default() };
    let shape = serde_json::to_value(Config { cloud: Some(cloud), node, ..Config::default() }).unwrap_or_default();
    let value = key.split('.').try_fold(&shape, |value, part| value.get(part));
    !value.is_some_and(|value| value.is_number() || value.is_boolean())
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
        // Only names of section and key are ours to read: LEASEHOLD_ENDPOINTS and the like belong to the commands.
        let variables = Env::prefixed("LEASEHOLD_").filter(|name| name.as_str().contains("__")).split("__");
        let file = file.map(read).transpose()?;
        Config::from_parts(file, variables.iter().map(|(key, value)| (key.to_string(), value)))
    }

    /// From a file's content and variables (`section.key` and what they hold), which win; checked.
    fn from_parts(file: Option<toml::Table>, variables: impl Iterator<Item = (String, String)>) -> Result<Config, Error> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = file {
            figment = figment.merge(Serialized::defaults(file));
        }
        for (key, value) in variables {
            figment = if is_text(&key) {
                // As it is: a password may be of digits, and begin with zero.
                figment.merge(Serialized::default(&key, value))
            } else {
                let value: Value = value.parse().unwrap_or_else(|never| match never {});
                figment.merge(Serialized::default(&key, value))
            };
        }
        let config: Config = figment.extract().map_err(|error| Error::Parse(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Certificate authorities trusted besides the system's when the cloud is called (`cloud.ca_file`), PEM.
    ///
    /// # Errors
    /// When the file cannot be read.
    #[allow(clippy::disallowed_methods, reason = "the operator's file, read at start-up")]
    pub fn extra_ca_pem(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = self.cloud.as_ref().and_then(|cloud| cloud.ca_file.as_ref()) else { return Ok(Vec::new()) };
        std::fs::read(path).map_err(|error| Error::Parse(format!("cloud.ca_file = {}: {error}", path.display())))
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
