//! What the cloud's own record and state say.

use std::collections::BTreeMap;

use leasehold_cloudsim::{Kind, Record};
use leasehold_ledger::model::{LeaseId, Seconds};
use serde_json::{Value, json};

use super::world::World;

/// How often each server came back by an unshelve, and when at last.
pub fn unshelved(world: &World) -> BTreeMap<String, Vec<u64>> {
    let sim = world.sim.lock();
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in sim.record() {
        for change in &line.changes {
            if change.what == "server.active" && change.facts["action"] == "unshelve" {
                seen.entry(change.id.clone()).or_default().push(line.at_ms);
            }
        }
    }
    seen
}

/// How many changes of this kind there were.
pub fn count(world: &World, what: &str) -> usize {
    let sim = world.sim.lock();
    sim.record().iter().flat_map(|line| &line.changes).filter(|change| change.what == what).count()
}

/// Our mutating requests, as the cloud received them.
pub fn writes(world: &World) -> Vec<Record> {
    let sim = world.sim.lock();
    let ours = |line: &&Record| line.caller.starts_with("leasehold/") && line.method != "GET" && line.service != "identity";
    sim.record().iter().filter(|line| line.kind == Kind::Request).filter(ours).cloned().collect()
}

/// A1: no token of a lease was open, and no access granted, outside its windows.
pub fn never_open_outside(world: &World, lease: LeaseId, flavor: &str, windows: &[(Seconds, Seconds)]) {
    let class = format!("CUSTOM_RESERVATION_{}", flavor.to_uppercase().replace('-', "_"));
    let inside = |at_ms: u64| windows.iter().any(|(from, until)| from.unix_s() * 1000 <= at_ms && at_ms < until.unix_s() * 1000);
    let sim = world.sim.lock();
    for line in sim.record() {
        for change in &line.changes {
            let opens = match change.what.as_str() {
                "inventory.set" => {
                    change.facts["class"] == class.as_str() && change.facts["reserved"].as_u64() < change.facts["total"].as_u64()
                }
                "flavor.access_added" => change.id == flavor,
                _ => false,
            };
            assert!(!opens || inside(line.at_ms), "lease {lease}: opened at {}: {change:?}", line.at_ms);
        }
    }
}

/// P1 by the record: at every line, what open or used tokens of a class back fits what is held on its host. Every slot
/// of the tests needs 2 CPUs.
pub fn hold_covers_tokens(world: &World) {
    let sim = world.sim.lock();
    let mut held: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut open: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    let mut used: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in sim.record() {
        for change in &line.changes {
            let host = change.host.clone().unwrap_or_default();
            match change.what.as_str() {
                "allocation.set" if change.facts["consumer_type"] == "LEASEHOLD_HOLD" => {
                    let amount: u64 = vcpus(&change.facts["allocations"]);
                    held.insert(change.id.clone(), (host, amount));
                }
                "allocation.set" => {
                    if let Some(class) = token(&change.facts["allocations"]) {
                        used.insert(change.id.clone(), (host, class));
                    }
                }
                "allocation.removed" => {
                    held.remove(&change.id);
                    used.remove(&change.id);
                }
                "inventory.set" | "inventory.removed" => {
                    let class = change.facts["class"].as_str().unwrap_or_default().to_owned();
                    if class.starts_with("CUSTOM_RESERVATION_") {
                        let total = change.facts["total"].as_u64().unwrap_or(0);
                        let reserved = change.facts["reserved"].as_u64().unwrap_or(0);
                        let gone = change.what == "inventory.removed";
                        open.insert((host, class), if gone { (0, 0) } else { (total, reserved) });
                    }
                }
                _ => {}
            }
        }
        let hosts: std::collections::BTreeSet<String> = open.keys().map(|(host, _)| host.clone()).collect();
        for host in hosts {
            let holds: u64 = held.values().filter(|(at, _)| *at == host).map(|(_, n)| n).sum();
            let backed: u64 = open
                .iter()
                .filter(|((at, _), _)| *at == host)
                .map(|((_, class), (total, reserved))| {
                    let in_use = used.values().filter(|(at, of)| *at == host && of == class).count() as u64;
                    2 * if reserved < total { (*total).max(in_use) } else { in_use }
                })
                .sum();
            assert!(backed <= holds, "P1 at line {}: {backed} CPUs backed by {holds} on {host}", line.n);
        }
    }
}

fn vcpus(allocations: &Value) -> u64 {
    let providers = allocations.as_object().into_iter().flat_map(|providers| providers.values());
    providers.filter_map(|resources| resources["VCPU"].as_u64()).sum()
}

fn token(allocations: &Value) -> Option<String> {
    let providers = allocations.as_object()?.values();
    let mut classes = providers.filter_map(Value::as_object).flat_map(|resources| resources.keys());
    classes.find(|class| class.starts_with("CUSTOM_RESERVATION_")).cloned()
}

/// A8: of ours there is nothing but the two children of each of `hosts` and the holds of `held` of them.
pub fn clean_at_rest(world: &World, hosts: usize, held: usize) {
    let state = world.state();
    let flavors: Vec<&String> = state["flavors"].as_object().unwrap().keys().collect();
    let text = state["placement"].to_string();
    assert!(!text.contains("CUSTOM_RESERVATION_"), "a class or inventory is left: {text}");
    let ours = |flavor: &&&String| state["flavors"][flavor.as_str()]["extra_specs"].get("leasehold:cluster").is_some();
    assert_eq!(flavors.iter().filter(ours).count(), 0, "a flavor is left");
    assert_eq!(text.matches("\"leasehold_cmp").count(), hosts, "{text}");
    assert_eq!(text.matches("\"leasehold_loan_cmp").count(), hosts);
    assert_eq!(text.matches("\"LEASEHOLD_HOLD\"").count(), held, "{text}");
    assert!(state["groups"].as_object().unwrap().is_empty(), "a server group is left");
}

/// Whether a flavor is there, and whether a resource class is.
pub fn is_there(world: &World, flavor: &str, class: &str) -> (bool, bool) {
    let state = world.state();
    (state["flavors"].get(flavor).is_some(), state["placement"]["classes"].as_array().unwrap().contains(&json!(class)))
}
