//! The cloud's record seen as the work of nodes: what a change opens, who sent the call and in which term, and the objects that
//! are there after each line.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::record::{Call, CloudLine, Record};

/// Node and instant of a call's sending, and the term of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Nanoseconds.
    pub at_ns: u64,
    /// By whom.
    pub node: u64,
    /// That in which the node led when the tasks were begun of which one sent it; of a call that is none of a leader's tasks, that
    /// in which the node led then. `None`: it was never seen to lead in that life.
    pub term: Option<u64>,
    /// Since when it led so.
    pub since_ns: u64,
    /// Since when these tasks are there; `None`: it is none of a leader's tasks.
    pub tasks_since_ns: Option<u64>,
}

/// Calls by their own id; those without one are nobody's ([`signed`](super::signed)).
pub fn sendings(record: &Record) -> BTreeMap<&str, Sent> {
    sent_by(record)
        .into_iter()
        .filter(|(call, _)| !call.global_request_id.is_empty())
        .map(|(call, sent)| (call.global_request_id.as_str(), sent))
        .collect()
}

/// All calls, each with its sending.
pub fn sent_by(record: &Record) -> Vec<(&Call, Sent)> {
    let mut terms: BTreeMap<u64, Vec<(u64, Option<u64>)>> = BTreeMap::new();
    for incident in &record.incidents {
        let Some(node) = incident.node else { continue };
        let term = match incident.what.as_str() {
            "leads" => incident.text.strip_prefix("term ").and_then(|term| term.parse().ok()),
            "start" => None,
            _ => continue,
        };
        terms.entry(node).or_default().push((incident.at_ns, term));
    }
    let led = |node: u64, at_ns: u64| {
        let known = terms.get(&node).into_iter().flatten().rfind(|(since_ns, _)| *since_ns <= at_ns);
        known.and_then(|(since_ns, term)| Some((*since_ns, (*term)?)))
    };
    let sent = |call: &Call| {
        // A group that was begun while the node did not lead is none of a leader's.
        let begun = call.group_since_ns.and_then(|group_ns| Some((group_ns, led(call.node, group_ns)?)));
        let of_node = || led(call.node, call.at_ns);
        let (since_ns, term) = begun.map(|(_, known)| known).or_else(of_node).unzip();
        let tasks_since_ns = begun.map(|(group_ns, _)| group_ns);
        Sent { at_ns: call.at_ns, node: call.node, term, since_ns: since_ns.unwrap_or(0), tasks_since_ns }
    };
    record.calls.iter().map(|call| (call, sent(call))).collect()
}

/// What a node asked Nova for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// An action on a server.
    Act {
        /// Which.
        server: &'a str,
        /// Its name.
        action: &'a str,
    },
    /// A server is to go.
    Delete {
        /// Which.
        server: &'a str,
    },
    /// A project is to see a flavor, or not any more.
    Access {
        /// Which.
        flavor: &'a str,
        /// `addTenantAccess` or `removeTenantAccess`.
        action: &'a str,
    },
    /// A flavor is to be made.
    MakeFlavor {
        /// Its id.
        flavor: &'a str,
    },
    /// A server group is to be made.
    MakeGroup {
        /// Its name.
        name: &'a str,
    },
}

impl Asked<'_> {
    /// Verbs that nothing in the cloud fences: sent under the logged actuation lease (architecture D6). Access is given
    /// without it (docs/decisions/0005), and taken with it.
    pub fn is_unfenced(self) -> bool {
        match self {
            Asked::Act { action, .. } => matches!(action, "createImage" | "migrate" | "os-migrateLive"),
            Asked::Delete { .. } => true,
            Asked::Access { action, .. } => action == "removeTenantAccess",
            Asked::MakeFlavor { .. } | Asked::MakeGroup { .. } => false,
        }
    }
}

/// What a line asks Nova for, if a node sent it.
pub fn asked(line: &CloudLine) -> Option<Asked<'_>> {
    if line.kind != leasehold_cloudsim::Kind::Request || line.service != "compute" || !line.caller.starts_with("node-") {
        return None;
    }
    let (path, _) = line.path.split_once('?').unwrap_or((&line.path, ""));
    let mut parts = path.split('/').skip_while(|part| !matches!(*part, "servers" | "flavors" | "os-server-groups"));
    let action = || line.body.as_object()?.keys().next().map(String::as_str);
    match (line.method.as_str(), parts.next()?, parts.next(), parts.next(), parts.next()) {
        ("POST", "servers", Some(server), Some("action"), None) => Some(Asked::Act { server, action: action()? }),
        ("DELETE", "servers", Some(server), None, None) => Some(Asked::Delete { server }),
        ("POST", "flavors", Some(flavor), Some("action"), None) => Some(Asked::Access { flavor, action: action()? }),
        ("POST", "flavors", None, None, None) => Some(Asked::MakeFlavor { flavor: line.body["flavor"]["id"].as_str()? }),
        ("POST", "os-server-groups", None, None, None) => {
            Some(Asked::MakeGroup { name: line.body["server_group"]["name"].as_str()? })
        }
        _ => None,
    }
}

/// The reservation whose capacity a change opens: its flavor is let in, its tokens are opened, its parked server is woken.
/// Tokens that stay as open as they were open nothing.
pub fn opens(cloud: &Cloud, line: &CloudLine, change: &leasehold_cloudsim::Change) -> Option<String> {
    if !line.caller.starts_with("node-") {
        return None;
    }
    match change.what.as_str() {
        "flavor.access_added" => Some(change.id.clone()),
        "inventory.set" => {
            let class = change.facts["class"].as_str()?;
            let open = figure(&change.facts["total"]).saturating_sub(figure(&change.facts["reserved"]));
            let before = cloud.inventories.get(&(change.id.clone(), class.to_owned())).map_or(0, |one| one.open);
            (open > before).then(|| reservation_of(class)).flatten()
        }
        "server.accepted" if change.facts["action"] == "unshelve" => change.facts["flavor_id"].as_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether a line changes tokens, or who uses what of a host.
pub fn moves_room(line: &CloudLine) -> bool {
    line.changes.iter().any(|change| change.what.starts_with("inventory.") || change.what.starts_with("allocation."))
}

/// A number of the record.
pub fn figure(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The reservation of a resource class.
pub fn reservation_of(class: &str) -> Option<String> {
    class.strip_prefix("CUSTOM_RESERVATION_").map(|id| id.replace('_', "-").to_lowercase())
}

/// Whose flavor the servers of a reservation have, if it is not its own (docs/decisions/0011).
pub fn flavor_of(reservation: &Value) -> Option<&str> {
    reservation["adoption"]["flavor_of"].as_str()
}

/// Tokens of one reservation on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// On which host.
    pub host: String,
    /// Total less reserved.
    pub open: u64,
}

/// What is there, as far as the record tells.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    /// By provider and class, those of reservations.
    pub inventories: BTreeMap<(String, String), Tokens>,
    /// vCPUs, MiB and GiB by flavor, those that nodes made.
    pub flavors: BTreeMap<String, [u64; 3]>,
    /// The same of all that there ever were: servers outlast their flavor.
    sizes: BTreeMap<String, [u64; 3]>,
    /// Resource classes that nodes made.
    pub classes: BTreeMap<String, ()>,
    /// Server groups that nodes made, with their names.
    pub groups: BTreeMap<String, String>,
    /// Consumers of holds: host, vCPUs, MiB, GiB.
    pub holds: BTreeMap<String, (String, [u64; 3])>,
    /// Child providers that nodes made: host and name.
    pub children: BTreeMap<String, (String, String)>,
    /// Consumers of tokens: host and class, one each.
    pub users: BTreeMap<String, (String, String)>,
    /// Servers by id: flavor and status.
    pub servers: BTreeMap<String, (String, String)>,
}

impl Cloud {
    /// Takes over what a change did.
    pub fn follow(&mut self, line: &CloudLine, change: &leasehold_cloudsim::Change) {
        let (id, facts) = (change.id.clone(), &change.facts);
        let host = change.host.clone().unwrap_or_default();
        let class = facts["class"].as_str().unwrap_or_default().to_owned();
        let ours = line.caller.starts_with("node-");
        match change.what.as_str() {
            "inventory.set" if class.starts_with("CUSTOM_RESERVATION_") => {
                let open = figure(&facts["total"]).saturating_sub(figure(&facts["reserved"]));
                self.inventories.insert((id, class), Tokens { host, open });
            }
            "inventory.removed" => drop(self.inventories.remove(&(id, class))),
            "flavor.created" if ours => {
                let amounts = [figure(&facts["vcpus"]), figure(&facts["ram"]), figure(&facts["disk"])];
                self.sizes.insert(id.clone(), amounts);
                self.flavors.insert(id, amounts);
            }
            "flavor.deleted" => drop(self.flavors.remove(&id)),
            "class.created" if ours => drop(self.classes.insert(id, ())),
            "class.deleted" => drop(self.classes.remove(&id)),
            "group.created" if ours => {
                self.groups.insert(id, facts["name"].as_str().unwrap_or_default().to_owned());
            }
            "group.deleted" => drop(self.groups.remove(&id)),
            "provider.created" if ours => {
                self.children.insert(id, (host, facts["name"].as_str().unwrap_or_default().to_owned()));
            }
            "provider.deleted" => {
                self.children.remove(&id);
                // Placement takes them with it.
                self.inventories.retain(|(provider, _), _| *provider != id);
            }
            "allocation.set" => self.allocate(id, host, facts),
            "allocation.removed" => {
                self.holds.remove(&id);
                self.users.remove(&id);
            }
            what if what.starts_with("server.") => {
                if what == "server.deleted" {
                    self.servers.remove(&id);
                } else if facts["flavor_id"].is_string() {
                    // What only locks a server says nothing of it.
                    let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
                    self.servers.insert(id, (text("flavor_id"), text("status")));
                }
            }
            _ => {}
        }
    }

    /// What open and used tokens may take of each host.
    pub fn backing(&self) -> BTreeMap<&str, [u64; 3]> {
        let mut used: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (host, class) in self.users.values() {
            *used.entry((host, class)).or_default() += 1;
        }
        let mut backing: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        for ((_, class), tokens) in &self.inventories {
            // The flavor is made before tokens open; without one nobody can use them.
            let amounts = reservation_of(class).and_then(|reservation| self.sizes.get(&reservation));
            let Some(amounts) = amounts else { continue };
            let active = tokens.open.max(used.get(&(tokens.host.as_str(), class.as_str())).copied().unwrap_or(0));
            let sum = backing.entry(&tokens.host).or_default();
            (0..3).for_each(|place| sum[place] += active * amounts[place]);
        }
        backing
    }

    fn allocate(&mut self, id: String, host: String, facts: &Value) {
        let providers = facts["allocations"].as_object().into_iter().flatten().map(|(_, amounts)| amounts);
        if facts["consumer_type"] == "LEASEHOLD_HOLD" {
            let mut held = [0; 3];
            for amounts in providers {
                for (place, class) in ["VCPU", "MEMORY_MB", "DISK_GB"].into_iter().enumerate() {
                    held[place] += figure(&amounts[class]);
                }
            }
            self.holds.insert(id, (host, held));
            return;
        }
        let mut classes = providers.filter_map(Value::as_object).flat_map(|amounts| amounts.keys());
        match classes.find(|class| class.starts_with("CUSTOM_RESERVATION_")) {
            Some(class) => drop(self.users.insert(id, (host, class.clone()))),
            None => drop(self.users.remove(&id)),
        }
    }
}
