//! What a cloud is made of at its start: its hosts, how long its work takes, its users' quotas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All that is chosen before a cloud starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudConfig {
    /// The seed of all ids, jitter and fault draws.
    pub seed: u64,
    /// The compute hosts.
    pub hosts: Vec<HostSpec>,
    /// How long asynchronous work takes.
    pub timings: Timings,
    /// Seconds a token is valid.
    pub token_ttl_s: u64,
    /// The instant, in ms since 1970, at which hosts and users come into being.
    pub created_at_ms: u64,
    /// The URL that stands in the catalog and in links, without a slash at its end.
    pub base_url: String,
    /// More services for the catalog, for example the reservation service.
    pub endpoints: Vec<Endpoint>,
    /// The password of every user that exists from the start.
    pub password: String,
    /// Nova's default quota of each project; -1 is unlimited.
    pub quota_instances: i64,
    /// See `quota_instances`; counts virtual CPUs.
    pub quota_cores: i64,
    /// See `quota_instances`; counts MB of memory.
    pub quota_ram: i64,
    /// See `quota_instances`; counts server groups.
    pub quota_server_groups: i64,
    /// Nova's `[quota] count_usage_from_placement`.
    pub count_usage_from_placement: bool,
    /// Whether calls that only read stand in the record. Off saves memory in long runs.
    pub record_reads: bool,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            hosts: (1..=4).map(|number| HostSpec::new(&format!("cmp{number}"))).collect(),
            timings: Timings::default(),
            token_ttl_s: 4 * 3600,
            created_at_ms: 0,
            base_url: "http://cloud.sim".to_owned(),
            endpoints: Vec::new(),
            password: "oslab".to_owned(),
            quota_instances: -1,
            quota_cores: -1,
            quota_ram: -1,
            quota_server_groups: -1,
            count_usage_from_placement: false,
            record_reads: true,
        }
    }
}

/// One compute host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSpec {
    /// Host name, service host and hypervisor name at once.
    pub name: String,
    /// Physical CPUs.
    pub vcpus: u64,
    /// Memory in MB.
    pub memory_mb: u64,
    /// Disk in GB.
    pub disk_gb: u64,
    /// Nova's `cpu_allocation_ratio`.
    pub cpu_ratio: f64,
    /// Nova's `ram_allocation_ratio`.
    pub ram_ratio: f64,
    /// The availability zone; anything but `nova` makes an aggregate of that zone.
    pub zone: String,
    /// Custom resource classes of the compute node itself, as an operator gives them in `provider.yaml`.
    pub custom: BTreeMap<String, u64>,
    /// Traits of the root provider beyond those of every compute node.
    pub traits: Vec<String>,
}

impl HostSpec {
    /// A host of the lab's size: 10 CPUs, 8 GB, 1 TB, no overcommit.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl Default for HostSpec {
    fn default() -> Self {
        Self {
            name: "cmp1".to_owned(),
            vcpus: 10,
            memory_mb: 8192,
            disk_gb: 1000,
            cpu_ratio: 1.0,
            ram_ratio: 1.0,
            zone: "nova".to_owned(),
            custom: BTreeMap::new(),
            traits: Vec::new(),
        }
    }
}

/// One more service of the catalog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoint {
    /// The type, for example `reservation`.
    pub service_type: String,
    /// The name, for example `blazar`.
    pub name: String,
    /// The URL of all three interfaces.
    pub url: String,
}

/// Durations of asynchronous work, in ms. Each is lengthened by up to `jitter_percent`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// From the call to the decision of the scheduler, for boots and unshelves.
    pub schedule_ms: u64,
    /// From that decision to ACTIVE.
    pub spawn_ms: u64,
    /// Shelve and snapshot: until the upload starts.
    pub pending_upload_ms: u64,
    /// Shelve and snapshot: the upload; so long the image is `saving`.
    pub upload_ms: u64,
    /// From SHELVED to SHELVED_OFFLOADED once offloading has started.
    pub offload_ms: u64,
    /// Nova's `shelved_offload_time` in ms: 0 at once, negative only on `shelveOffload`.
    pub offload_after_ms: i64,
    /// Stop, start, reboot.
    pub power_ms: u64,
    /// Deletion of a server.
    pub delete_ms: u64,
    /// Live and cold migration.
    pub migrate_ms: u64,
    /// Each duration is lengthened by a seeded 0..=this percent.
    pub jitter_percent: u64,
    /// How soon a compute takes back what others wrote into its own inventory; nested providers it leaves alone.
    pub resource_update_ms: u64,
    /// How long boots on a host fail after a child provider of its compute node was deleted (seen on real Nova: up to
    /// five minutes, until the compute forgets the provider).
    pub child_removal_ms: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            schedule_ms: 60,
            spawn_ms: 140,
            pending_upload_ms: 60,
            upload_ms: 100,
            offload_ms: 60,
            offload_after_ms: 0,
            power_ms: 80,
            delete_ms: 80,
            migrate_ms: 200,
            jitter_percent: 20,
            resource_update_ms: 60_000,
            child_removal_ms: 300_000,
        }
    }
}
