//! R42: nothing is booked anew on a host that is down, and a lease says that it lacks a host only while it does (R-42,
//! docs/decisions/0017), or while a downtime may take what it was promised there (docs/decisions/0020).
//!
//! Hosts as the ledger had them at the same index. A lease that is first seen may have been booked unseen before, so only what
//! changed is judged. When everything is at rest all hosts are up, so nobody lacks any.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::Host;
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::record::Record;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let mut replay = Replay::new(record);
    let mut before: BTreeMap<&str, &Value> = BTreeMap::new();
    for index in replay.indices() {
        replay.go(index);
        for lease in replay.changes_at(index).iter().map(|change| &change["lease"]) {
            let Some(id) = lease["id"].as_str() else { continue };
            if let Some(last) = before.insert(id, lease) {
                changed(index, last, lease, &replay.model().hosts, &mut sheet);
            }
        }
    }
    at_rest(record, &mut sheet);
    sheet.close("R42")
}

/// What one index changed in a lease.
fn changed(index: u64, before: &Value, lease: &Value, hosts: &BTreeMap<u64, Host>, sheet: &mut Sheet) {
    let is_up = |host: u64| hosts.get(&host).is_some_and(|host| host.observation.up);
    let id = &lease["id"];
    for one in reservations(lease) {
        let last = reservations(before).find(|last| last["id"] == one["id"]).unwrap_or(&Value::Null);
        let there: BTreeSet<_> = bindings(last).chain(bindings(&last["previous"])).collect();
        for (phase, host) in bindings(one).filter(|binding| !there.contains(binding)) {
            sheet.must(is_up(host), || format!("at index {index} lease {id} is bound to host {host} for {phase}, which is down"));
        }
        if one["missing_resources"] == true && last["missing_resources"] != true {
            let lacks = bindings(one).any(|(_, host)| !is_up(host) || hosts.get(&host).is_some_and(|host| may_lack(host, lease)));
            sheet.must(lacks, || format!("at index {index} lease {id} says that it lacks a host, and all are up and to be had"));
        }
    }
    let missing = reservations(lease).any(|one| one["missing_resources"] == true);
    sheet.must((lease["degraded"] == true) == missing, || {
        format!("at index {index} lease {id} is degraded otherwise than its reservations")
    });
}

/// When nothing is broken any more.
fn at_rest(record: &Record, sheet: &mut Sheet) {
    for last in &record.finals {
        let all_up = last.hosts.values().all(|host| host["observation"]["up"] == true);
        let hosts: Vec<Host> = last.hosts.values().filter_map(|host| serde_json::from_value(host.clone()).ok()).collect();
        let may_lack = |lease: &Value| {
            reservations(lease).flat_map(bindings).any(|(_, id)| hosts.iter().any(|host| host.id == id && may_lack(host, lease)))
        };
        for (id, lease) in last.leases.iter().filter(|(_, lease)| all_up && !may_lack(lease)) {
            sheet.must(lease["degraded"] != true, || {
                format!("in the end lease {id} lacks a host on node {}, and all are up", last.node)
            });
        }
    }
}

/// Whether a downtime of a host meets the time of a lease, or of its staging with the margin in which its servers are parked.
fn may_lack(host: &Host, lease: &Value) -> bool {
    let span = |of: &Value, margin: u64| Some((of["start"].as_u64()?, of["end"].as_u64()?.saturating_add(margin)));
    let staged = |one: &Value| span(&one["staging"]["window"], one["staging"]["park_margin_s"].as_u64().unwrap_or(0));
    let spans: Vec<_> = reservations(lease).filter_map(staged).chain(span(lease, 0)).collect();
    let meets = |start: u64, end: u64| spans.iter().any(|(from, until)| *from < end && start < *until);
    host.downtimes.iter().any(|one| meets(u64::from(one.interval.start), u64::from(one.interval.end)))
}

fn reservations(lease: &Value) -> impl Iterator<Item = &Value> {
    lease["reservations"].as_array().into_iter().flatten()
}

/// Phases and hosts.
fn bindings(of: &Value) -> impl Iterator<Item = (&str, u64)> {
    let all = of["bindings"].as_array().into_iter().flatten();
    all.filter_map(|binding| Some((binding["phase"].as_str()?, binding["host"].as_u64()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Made, fires, last};
    use super::*;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    /// Two hosts, the second of which goes down at index 4 and comes back at 7; lease `a` is on it, says so at 5, and moves at 6.
    fn made() -> Made {
        let mut made = Made::default();
        let down = |up: bool| {
            let mut host = host(2, 4);
            host["observation"]["up"] = json!(up);
            json!({"host": host})
        };
        made.watch(1, json!({"host": host(1, 4)}));
        made.watch(2, down(true));
        made.watch(3, json!({"lease": lacking(2, false)}));
        made.watch(4, down(false));
        made.watch(5, json!({"lease": lacking(2, true)}));
        made.watch(6, json!({"lease": lacking(1, false)}));
        made.watch(7, down(true));
        let mut end = last(1, 7, &[lacking(1, false)]);
        end.hosts = [("1".to_owned(), host(1, 4)), ("2".to_owned(), host(2, 4))].into();
        made.finals.push(end);
        made
    }

    fn lacking(on: u64, lacks: bool) -> Value {
        let mut one = lease("a", 10, 100, &[(on, 1)]);
        (one["degraded"], one["reservations"][0]["missing_resources"]) = (json!(lacks), json!(lacks));
        one
    }

    #[test]
    fn who_lacks_a_host_says_so_and_moves() {
        let judgement = judge(&made().record());
        assert_eq!((judgement.verdict, judgement.looked_at), (Verdict::Pass, 5), "{judgement:?}");
    }

    #[test]
    fn who_is_to_lack_a_host_for_a_time_may_say_so() {
        let told = |start: u32, end: u32| {
            let mut made = Made::default();
            let mut less = host(2, 4);
            less["downtimes"] = json!([{"id": "d", "interval": {"start": start, "end": end}}]);
            made.watch(1, json!({"host": less}));
            made.watch(2, json!({"lease": lacking(2, false)}));
            made.watch(3, json!({"lease": lacking(2, true)}));
            let mut end = last(1, 3, &[lacking(2, true)]);
            end.hosts = [("2".to_owned(), less)].into();
            made.finals.push(end);
            made
        };
        assert_eq!(judge(&told(50, 60).record()).verdict, Verdict::Pass);
        fires(judge, told(100, 200), "at index 3 lease \"a\" says that it lacks");
        let mut end = told(100, 200);
        end.watches.truncate(2);
        fires(judge, end, "in the end lease a lacks");
    }

    // Seed 1063: the downtime of its staging host met the margin alone.
    #[test]
    fn who_parks_servers_during_a_downtime_may_say_so() {
        let told = |margin: u64| {
            let mut made = Made::default();
            let mut less = host(2, 4);
            less["downtimes"] = json!([{"id": "d", "interval": {"start": 6, "end": 8}}]);
            let staged = |lacks: bool| {
                let mut one = lacking(2, lacks);
                one["reservations"][0]["staging"] = json!({"window": {"start": 2, "end": 5}, "park_margin_s": margin});
                one
            };
            made.watch(1, json!({"host": less}));
            made.watch(2, json!({"lease": staged(false)}));
            made.watch(3, json!({"lease": staged(true)}));
            made
        };
        assert_eq!(judge(&told(5).record()).verdict, Verdict::Pass);
        fires(judge, told(1), "at index 3 lease \"a\" says that it lacks");
    }

    #[test]
    fn what_is_not_so_fires() {
        let mut one = made();
        one.watches.remove(3);
        fires(judge, one, "at index 5 lease \"a\" says that it lacks");
        let mut one = made();
        one.watches[5].change = json!({"lease": lacking(3, false)});
        fires(judge, one, "host 3 for main");
        let mut one = made();
        one.watches[4].change["lease"]["degraded"] = json!(false);
        fires(judge, one, "degraded otherwise");
        let mut one = made();
        one.finals[0].leases.insert("a".to_owned(), lacking(1, true));
        fires(judge, one, "in the end lease a lacks");
    }
}
