//! Nova: servers and their asynchronous work, flavors, hosts, aggregates, groups, quotas.
//!
//! `api` routes; `servers`, `actions`, `flavors`, `aggregates`, `hosts`, `groups`, `quota` answer; `work` does later what
//! was accepted, with `scheduler` choosing hosts; `view` writes servers as each microversion shows them.

mod actions;
mod aggregates;
mod api;
mod flavors;
mod groups;
pub(crate) mod hosts;
mod hypervisors;
mod quota;
mod scheduler;
mod servers;
mod view;
pub(crate) mod work;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::HostSpec;

pub(crate) use api::handle;

/// Where Nova's own services run, as the lab names it.
pub(crate) const CONTROL_HOST: &str = "vm";

/// A flavor; a server keeps the one it was made with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flavor {
    pub(crate) id: String,
    pub(crate) row: u64,
    pub(crate) name: String,
    pub(crate) vcpus: u64,
    pub(crate) ram: u64,
    pub(crate) disk: u64,
    pub(crate) ephemeral: u64,
    pub(crate) swap: u64,
    pub(crate) public: bool,
    pub(crate) description: Option<String>,
    pub(crate) extra_specs: BTreeMap<String, String>,
    pub(crate) access: BTreeSet<String>,
}

/// A compute host with its service.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) spec: HostSpec,
    /// The UUID of the compute node, which is that of its root provider.
    pub(crate) node_id: String,
    pub(crate) service_id: String,
    /// The ids before microversion 2.53.
    pub(crate) row: u64,
    pub(crate) enabled: bool,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) forced_down: bool,
    /// Whether the compute process answers; a fault switch.
    pub(crate) alive: bool,
    /// Until when builds fail here because a child provider was removed.
    pub(crate) broken_until_ms: u64,
}

impl Host {
    pub(crate) fn is_up(&self) -> bool {
        self.alive && !self.forced_down
    }
}

/// A host aggregate.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    pub(crate) id: u64,
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) created_ms: u64,
}

impl Aggregate {
    pub(crate) fn zone(&self) -> Option<&str> {
        self.metadata.get("availability_zone").map(String::as_str)
    }
}

/// A server group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) max_per_host: Option<u64>,
    pub(crate) members: Vec<String>,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
}

/// What went wrong with a server.
#[derive(Debug, Clone)]
pub(crate) struct ServerFault {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) created_ms: u64,
}

/// A server. `vm_state` and `task_state` are Nova's own words.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) id: String,
    /// Order of creation; also in the instance name.
    pub(crate) row: u64,
    pub(crate) name: String,
    pub(crate) project_id: String,
    pub(crate) user_id: String,
    pub(crate) flavor: Flavor,
    pub(crate) image: Option<String>,
    pub(crate) vm_state: &'static str,
    pub(crate) task_state: Option<&'static str>,
    pub(crate) power_state: u8,
    pub(crate) host: Option<String>,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    pub(crate) launched_ms: Option<u64>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) locked: bool,
    pub(crate) locked_reason: Option<String>,
    pub(crate) locked_by_admin: bool,
    pub(crate) fault: Option<ServerFault>,
    pub(crate) group: Option<String>,
    /// The zone and host asked for at the boot or at the last unshelve.
    pub(crate) zone: Option<String>,
    pub(crate) forced_host: Option<String>,
    pub(crate) hints: Value,
    pub(crate) description: Option<String>,
    pub(crate) reservation_id: String,
    /// The image that a shelve made.
    pub(crate) shelved_image: Option<String>,
    /// Rises with each accepted verb that outdates the work of the one before.
    pub(crate) epoch: u64,
    /// How often a build was tried.
    pub(crate) attempts: u32,
    /// Hosts on which a build has failed.
    pub(crate) tried: BTreeSet<String>,
}

impl Server {
    /// The status of the API, made of both states.
    pub(crate) fn status(&self) -> &'static str {
        match (self.vm_state, self.task_state) {
            ("active", Some("rebooting")) => "REBOOT",
            ("active", Some("migrating")) => "MIGRATING",
            ("active" | "stopped", Some("resize_prep" | "resize_migrating" | "resize_migrated" | "resize_finish")) => "RESIZE",
            ("active", _) => "ACTIVE",
            ("building", _) => "BUILD",
            ("stopped", _) => "SHUTOFF",
            ("shelved", _) => "SHELVED",
            ("shelved_offloaded", _) => "SHELVED_OFFLOADED",
            ("resized", _) => "VERIFY_RESIZE",
            ("error", _) => "ERROR",
            ("rescued", _) => "RESCUE",
            ("paused", _) => "PAUSED",
            ("suspended", _) => "SUSPENDED",
            ("soft-delete", _) => "SOFT_DELETED",
            _ => "UNKNOWN",
        }
    }
}

/// One line of `os-instance-actions`.
#[derive(Debug, Clone)]
pub(crate) struct InstanceAction {
    pub(crate) action: &'static str,
    pub(crate) request_id: String,
    pub(crate) user_id: String,
    pub(crate) project_id: String,
    pub(crate) start_ms: u64,
    pub(crate) updated_ms: u64,
    pub(crate) message: Option<String>,
    pub(crate) events: Vec<ActionEvent>,
}

/// One step of an action.
#[derive(Debug, Clone)]
pub(crate) struct ActionEvent {
    pub(crate) event: &'static str,
    pub(crate) start_ms: u64,
    pub(crate) finish_ms: u64,
    pub(crate) success: bool,
    pub(crate) host: String,
    pub(crate) details: Option<String>,
}

/// One line of `os-migrations`.
#[derive(Debug, Clone)]
pub(crate) struct Migration {
    pub(crate) id: u64,
    pub(crate) uuid: String,
    pub(crate) server: String,
    pub(crate) source: String,
    pub(crate) dest: Option<String>,
    pub(crate) status: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) user_id: String,
    pub(crate) project_id: String,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
}

/// The state of Nova.
#[derive(Debug, Default)]
pub(crate) struct Nova {
    pub(crate) servers: BTreeMap<String, Server>,
    pub(crate) flavors: flavors::Flavors,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) aggregates: BTreeMap<u64, Aggregate>,
    pub(crate) groups: BTreeMap<String, Group>,
    /// By server; kept after its end.
    pub(crate) actions: BTreeMap<String, Vec<InstanceAction>>,
    pub(crate) migrations: Vec<Migration>,
    pub(crate) quotas: BTreeMap<String, BTreeMap<String, i64>>,
    /// Project of each server that is gone, for those who may still read its actions.
    pub(crate) gone: BTreeMap<String, String>,
    rows: u64,
}

impl Nova {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The next number for something that Nova counts.
    pub(crate) fn next_row(&mut self) -> u64 {
        self.rows += 1;
        self.rows
    }

    /// The zone of a host: that of its aggregate, `nova` without one.
    pub(crate) fn zone_of(&self, host: &str) -> &str {
        self.aggregates
            .values()
            .filter(|aggregate| aggregate.hosts.iter().any(|known| known == host))
            .find_map(Aggregate::zone)
            .unwrap_or("nova")
    }
}
