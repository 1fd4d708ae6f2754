//! A8: at rest the cloud has of ours what is to be there and nothing else, and what is not ours was never touched ([`foreign`]).

use std::collections::{BTreeMap, BTreeSet};

use super::cloud::{Cloud, reservation_of};
use super::model::{CALENDAR_UNIX_S, Lease};
use super::{Judgement, Sheet, foreign};
use crate::record::Record;

/// Two rounds of the reconciler, and what it waits for the image to be whole.
const SECOND_IMAGE_MS: u64 = 180_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut cloud = Cloud::default();
    for line in &record.cloud {
        line.changes.iter().for_each(|change| cloud.follow(line, change));
    }
    foreign::look(record, &mut sheet);
    second_images(record, &mut sheet);
    match record.finals.first() {
        None => sheet.unknown("no node ran in the end"),
        Some(last) => at_rest(record, last, &cloud, &mut sheet),
    }
    sheet.close("A8")
}

/// Of one server there is one image that a node had made, where the ledger still knows its lease; a second, of a call that took
/// effect late, goes within two rounds of the reconciler.
fn second_images(record: &Record, sheet: &mut Sheet) {
    let Some(last) = record.finals.first() else { return };
    let over = record.over_ms();
    let reservations = |lease: &serde_json::Value| lease["reservations"].as_array().cloned().unwrap_or_default();
    let flavor = |one: serde_json::Value| super::cloud::flavor_of(&one).or(one["id"].as_str()).map(str::to_owned);
    let known: BTreeSet<String> = last.leases.values().flat_map(reservations).filter_map(flavor).collect();
    let (mut flavors, mut made) = (BTreeMap::<&str, &str>::new(), BTreeSet::new());
    // Of each image that is there: its server, and since when it is whole.
    let mut images: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for line in &record.cloud {
        for change in &line.changes {
            let text = |name: &str| change.facts[name].as_str().unwrap_or_default();
            match change.what.as_str() {
                what if what.starts_with("server.") && !text("flavor_id").is_empty() => {
                    flavors.insert(&change.id, text("flavor_id"));
                }
                "image.queued" if line.caller.starts_with("node-") => drop(made.insert(change.id.as_str())),
                "image.active" if made.contains(change.id.as_str()) && !text("name").ends_with("-shelved") => {
                    images.insert(&change.id, (text("server_id"), line.at_ms));
                }
                "image.deleted" => drop(images.remove(change.id.as_str())),
                _ => {}
            }
        }
    }
    let mut by_server: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (server, at_ms) in images.values() {
        by_server.entry(server).or_default().push(*at_ms);
    }
    for (server, mut since) in by_server {
        if !flavors.get(server).is_some_and(|flavor| known.contains(*flavor)) {
            continue;
        }
        since.sort_unstable();
        let second = since.get(1).copied();
        sheet.must(second.is_none_or(|at_ms| at_ms + SECOND_IMAGE_MS > over), || {
            format!(
                "server {server} has {} images at rest, the second of them since {} ms before the end",
                since.len(),
                over - since[1]
            )
        });
    }
}

fn at_rest(record: &Record, last: &crate::record::FinalState, cloud: &Cloud, sheet: &mut Sheet) {
    let over = record.over_ms();
    let mut living: BTreeSet<String> = BTreeSet::new();
    for row in last.leases.values() {
        match serde_json::from_value::<Lease>(row.clone()) {
            Err(error) => sheet.unknown(format!("a lease at rest does not read: {error}")),
            Ok(lease) if (u64::from(lease.end) + CALENDAR_UNIX_S) * 1_000 > over => {
                living.extend(lease.reservations.into_iter().map(|one| one.id));
            }
            Ok(_) => {}
        }
    }
    let parked: BTreeSet<&str> = cloud.servers.values().map(|(flavor, _)| flavor.as_str()).collect();
    let wanted = |reservation: &str| living.contains(reservation) || parked.contains(reservation);
    for flavor in cloud.flavors.keys() {
        sheet.must(wanted(flavor), || format!("flavor {flavor} is left, of no living reservation and no parked server"));
    }
    for class in cloud.classes.keys().filter(|class| class.starts_with("CUSTOM_RESERVATION_")) {
        let reservation = reservation_of(class).unwrap_or_default();
        sheet.must(wanted(&reservation), || format!("class {class} is left, of no living reservation and no parked server"));
    }
    for ((provider, class), tokens) in &cloud.inventories {
        let reservation = reservation_of(class).unwrap_or_default();
        sheet.must(living.contains(&reservation), || format!("inventory {class} of {} ({provider}) is left", tokens.host));
    }
    for (group, name) in &cloud.groups {
        sheet.must(living.iter().any(|one| name.contains(one.as_str())), || format!("server group {name} ({group}) is left"));
    }
    let hosts: BTreeSet<&str> =
        last.hosts.values().filter_map(|row| row["description"]["hypervisor_hostname"].as_str()).collect();
    for (consumer, (host, _)) in &cloud.holds {
        sheet
            .must(hosts.contains(host.as_str()), || format!("hold {consumer} is left on {host}, which the ledger does not know"));
    }
    for (child, (host, _)) in &cloud.children {
        sheet.must(hosts.contains(host.as_str()), || {
            format!("provider {child} is left on {host}, which the ledger does not know")
        });
    }
    let children: BTreeSet<(&str, &str)> = cloud.children.values().map(|(host, name)| (host.as_str(), name.as_str())).collect();
    for host in &hosts {
        for (what, name) in [("reservations", format!("leasehold_{host}")), ("loans", format!("leasehold_loan_{host}"))] {
            sheet.must(children.contains(&(*host, name.as_str())), || format!("host {host} has no provider for {what}"));
        }
    }
    holds(last, cloud, living.is_empty(), sheet);
}

/// A dedicated host is held whole; a shared one without bookings less than one grain of memory, and nothing else.
fn holds(last: &crate::record::FinalState, cloud: &Cloud, idle: bool, sheet: &mut Sheet) {
    let mut held: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for (host, amounts) in cloud.holds.values() {
        let sum = held.entry(host).or_default();
        (0..3).for_each(|place| sum[place] += amounts[place]);
    }
    for row in last.hosts.values() {
        let name = row["description"]["hypervisor_hostname"].as_str().unwrap_or_default();
        let is = held.get(name).copied().unwrap_or_default();
        let figures = &row["observation"]["capacity"];
        let whole = ["vcpus", "memory_mb", "disk_gb"].map(|class| super::cloud::figure(&figures[class]));
        if row["description"]["pool"] == "dedicated" {
            sheet.must(is == whole, || format!("dedicated host {name} is held {is:?} of {whole:?}"));
        } else if idle {
            let grain = super::cloud::figure(&row["description"]["memory_grain_mb"]).max(1);
            let rest = [0, whole[1] % grain, 0];
            sheet.must(is == rest, || format!("idle shared host {name} is held {is:?}, {rest:?} is to be held"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Made, last, line};
    use super::*;
    use crate::check::model::tests::host;
    use crate::record::CloudLine;
    use crate::report::Verdict;

    fn hold(vcpus: u64) -> CloudLine {
        let allocations = json!({"root": {"VCPU": vcpus, "MEMORY_MB": 100_000, "DISK_GB": 1_000}});
        line(1, 1, "allocation.set", "hold", json!({"consumer_type": "LEASEHOLD_HOLD", "allocations": allocations}))
    }

    #[test]
    fn one_image_of_a_server_passes_and_two_fire() {
        let images = |second_s: Option<u64>, caller: &str| {
            let image = |n: u64, at_s: u64, id: &str| {
                let name = json!({"name": "n", "server_id": "s"});
                let queued = CloudLine { caller: caller.to_owned(), ..line(n, at_s * 1_000, "image.queued", id, name.clone()) };
                [queued, line(n + 1, at_s * 1_000, "image.active", id, name)]
            };
            let mut made =
                Made { finals: vec![last(1, 9, &[crate::check::model::tests::lease("a", 10, 20, &[])])], ..Made::default() };
            made.incidents.push(super::super::testing::incident(None, 1_000_000_000_000, "phase", "over"));
            made.cloud = vec![line(1, 1, "server.active", "s", json!({"flavor_id": "r-a", "status": "ACTIVE"}))];
            made.cloud.extend(image(2, 5, "one"));
            made.cloud.extend(second_s.into_iter().flat_map(|at_s| image(4, at_s, "other")));
            let record = made.record();
            let mut sheet = Sheet::default();
            second_images(&record, &mut sheet);
            sheet.close("A8").verdict
        };
        assert_eq!(images(None, "node-1"), Verdict::Pass);
        assert_eq!(images(Some(6), "node-1"), Verdict::Violation);
        assert_eq!(images(Some(900), "node-1"), Verdict::Pass);
        assert_eq!(images(Some(6), "tenant"), Verdict::Pass);
    }

    fn rest(lines: Vec<CloudLine>) -> Judgement {
        judge(&made(lines).record())
    }

    /// One dedicated host, whole, with nothing on it, and then these lines.
    fn made(mut lines: Vec<CloudLine>) -> Made {
        let mut state = last(1, 9, &[]);
        let mut row = host(1, 4);
        row["description"]["hypervisor_hostname"] = json!("h");
        state.hosts.insert("1".to_owned(), row);
        lines.insert(0, hold(4));
        for (id, name) in [("of h", "leasehold_h"), ("loans of h", "leasehold_loan_h")] {
            lines.insert(0, line(0, 0, "provider.created", id, json!({"name": name})));
        }
        Made { cloud: lines, finals: vec![state], ..Made::default() }
    }

    #[test]
    fn an_empty_cloud_passes_and_leftovers_fire() {
        assert_eq!(rest(vec![]).verdict, Verdict::Pass);
        let class = "CUSTOM_RESERVATION_R_A";
        for (what, id, facts) in [
            ("flavor.created", "r-a", json!({})),
            ("class.created", class, json!({})),
            ("inventory.set", "rsv", json!({"class": class, "total": 1, "reserved": 1})),
            ("group.created", "g", json!({"name": "leasehold:c:a:r-a"})),
        ] {
            let provider = || line(1, 1, "provider.created", id, json!({}));
            let made = line(2, 2, what, id, facts);
            let rest = |mut lines: Vec<CloudLine>| {
                lines.insert(0, provider());
                rest(lines)
            };
            assert_eq!(rest(vec![made.clone()]).verdict, Verdict::Violation, "{what}");
            let mut gone = made.clone();
            let kind = what.split('.').next().unwrap_or_default();
            gone.changes[0].what = if kind == "inventory" { "inventory.removed".to_owned() } else { format!("{kind}.deleted") };
            assert_eq!(rest(vec![made, gone]).verdict, Verdict::Pass, "{what}");
        }
    }

    #[test]
    fn what_a_provider_had_goes_with_it() {
        let tokens = |provider: &str| {
            line(2, 2, "inventory.set", provider, json!({"class": "CUSTOM_RESERVATION_R_A", "total": 1, "reserved": 1}))
        };
        let made = |provider: &str| line(1, 1, "provider.created", provider, json!({}));
        let gone = line(3, 3, "provider.deleted", "rsv", json!({}));
        assert_eq!(rest(vec![made("rsv"), tokens("rsv"), gone.clone()]).verdict, Verdict::Pass);
        assert_eq!(rest(vec![made("rsv"), tokens("another"), gone]).verdict, Verdict::Violation);
    }

    #[test]
    fn a_host_without_its_provider_fires() {
        // The other one is there still.
        for (id, what) in [("of h", "reservations"), ("loans of h", "loans")] {
            let gone = line(2, 2, "provider.deleted", id, json!({}));
            super::super::testing::fires(judge, made(vec![gone]), &format!("host h has no provider for {what}"));
        }
    }

    #[test]
    fn the_flavor_of_a_parked_server_stays() {
        let parked = line(3, 3, "server.shelved_offloaded", "s", json!({"flavor_id": "r-a", "status": "SHELVED_OFFLOADED"}));
        assert_eq!(rest(vec![line(2, 2, "flavor.created", "r-a", json!({})), parked]).verdict, Verdict::Pass);
    }

    #[test]
    fn a_wrong_hold_fires() {
        assert_eq!(rest(vec![hold(3)]).verdict, Verdict::Violation);
        assert_eq!(rest(vec![line(2, 2, "allocation.removed", "hold", Value::Null)]).verdict, Verdict::Violation);
    }

    #[test]
    fn traces_of_a_host_that_was_let_go_fire() {
        let child = |what: &str| {
            let mut made = line(2, 2, what, "rsv", json!({"name": "leasehold-reservations-other", "root": "other"}));
            made.changes[0].host = Some("other".to_owned());
            made
        };
        assert_eq!(rest(vec![child("provider.created")]).verdict, Verdict::Violation);
        assert_eq!(rest(vec![child("provider.created"), child("provider.deleted")]).verdict, Verdict::Pass);
        let mut hold = hold(4);
        (hold.changes[0].id, hold.changes[0].host) = ("another hold".to_owned(), Some("other".to_owned()));
        assert_eq!(rest(vec![hold]).verdict, Verdict::Violation);
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let foreign = line(2, 2, "server.deleting", "s", json!({"flavor_id": "m1.small"}));
        assert_eq!(rest(vec![foreign]).verdict, Verdict::Violation);
    }
}
