//! A3: a cancel is final, and so is a change. After a deletion or an update was acknowledged nobody sends a call that opens
//! something by what was before: of a lease that is gone, ahead of a start that was moved away, or of more slots on a host than
//! are left there. A node that has applied it sends none either, acknowledged or not: that is the fence behind the
//! acknowledgement.
//!
//! What a call may go by is every version of its lease from the newest that its sender must know to the newest that anybody
//! had applied when it was sent.

use std::collections::{BTreeMap, BTreeSet};

use super::applied::Applied;
use super::cloud::{Cloud, Sent, figure, opens, sendings};
use super::model::{CALENDAR_UNIX_S, Lease};
use super::replay::Replay;
use super::{Judgement, Sheet};
use crate::history::Ending;
use crate::record::Record;

/// What clocks drift between two looks, beside their tolerance, milliseconds.
const DRIFT_MS: u64 = 250;
/// A look at what a node applied may come that much later than it, nanoseconds.
const SEEN_NS: u64 = 100_000_000;

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    let known = Known::new(record);
    let hosts = hosts(record);
    let sent = sendings(record);
    let mut cloud = Cloud::default();
    for line in &record.cloud {
        for change in &line.changes {
            let opened = opens(&cloud, line, change);
            let slots = (change.what == "inventory.set")
                .then(|| figure(&change.facts["total"]).saturating_sub(figure(&change.facts["reserved"])));
            cloud.follow(line, change);
            let Some(reservation) = opened else { continue };
            let Some(call) = sent.get(line.global_request_id.as_str()) else {
                sheet.unknown(format!("line {}: nobody is known to have sent it", line.n));
                continue;
            };
            let host = change.host.as_ref().and_then(|name| hosts.get_key_value(name.as_str()));
            let slots = host.zip(slots).map(|((name, ids), slots)| (*name, ids, slots));
            sheet.look();
            if let Some(problem) = known.problem(&reservation, slots, call) {
                sheet.violation(format!(
                    "line {}: {} of reservation {reservation} was sent by node {} at {} ns, {problem}",
                    line.n, change.what, call.node, call.at_ns
                ));
            }
        }
    }
    sheet.close("A3")
}

/// Hosts by name: one that goes and comes back has another number.
fn hosts(record: &Record) -> BTreeMap<&str, BTreeSet<u64>> {
    let told = record.watches.iter().map(|line| &line.change["host"]);
    let mut hosts: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for (name, id) in told.filter_map(|host| Some((host["description"]["hypervisor_hostname"].as_str()?, host["id"].as_u64()?))) {
        hosts.entry(name).or_default().insert(id);
    }
    hosts
}

/// A host with its numbers, and how many slots of a reservation are opened there.
type Opened<'a> = (&'a str, &'a BTreeSet<u64>, u64);

/// Leases over all indices, and who knew which index when.
struct Known<'a> {
    replay: Replay<'a>,
    epoch_ms: u64,
    tolerance_ms: u64,
    of_lease: BTreeMap<String, String>,
    /// By lease: from which index it is so; `None`: it is gone.
    versions: BTreeMap<String, Vec<(u64, Option<Lease>)>>,
    applied: Applied,
    /// Acknowledged deletions and updates by lease: when, index, operation.
    acknowledged: BTreeMap<&'a str, Vec<(u64, u64, u64)>>,
}

impl<'a> Known<'a> {
    fn new(record: &'a Record) -> Known<'a> {
        let replay = Replay::new(record);
        let mut of_lease = BTreeMap::new();
        let mut versions: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for index in replay.indices() {
            for change in replay.changes_at(index) {
                if let Some(id) = change["lease_removed"].as_str() {
                    versions.entry(id.to_owned()).or_default().push((index, None));
                } else if let Ok(lease) = serde_json::from_value::<Lease>(change["lease"].clone()) {
                    // What does not read is told of by the witness, which reads the same lines.
                    for one in &lease.reservations {
                        of_lease.insert(one.id.clone(), lease.id.clone());
                    }
                    versions.entry(lease.id.clone()).or_default().push((index, Some(lease)));
                }
            }
        }
        let applied = Applied::new(record);
        let mut acknowledged: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let ended = record.history.iter().filter(|one| matches!(one.op.as_str(), "delete" | "update"));
        for one in ended.filter(|one| one.ending == Ending::Ok) {
            if let (Some(lease), Some(index)) = (one.body["request"]["lease_id"].as_str(), one.index) {
                acknowledged.entry(lease).or_default().push((one.return_ns, index, one.n));
            }
        }
        let of_series = record.history.iter().filter(|one| one.op == "delete_series" && one.ending == Ending::Ok);
        for one in of_series {
            let deleted = one.body["reply"]["deleted"].as_array().into_iter().flatten().filter_map(|id| id.as_str());
            for (lease, index) in deleted.zip(std::iter::repeat(one.index)) {
                acknowledged.entry(lease).or_default().extend(index.map(|index| (one.return_ns, index, one.n)));
            }
        }
        let tolerance_ms = record.clock_tolerance_ms + DRIFT_MS;
        Known { replay, epoch_ms: record.epoch_ms, tolerance_ms, of_lease, versions, applied, acknowledged }
    }

    /// What is wrong with a call that opens so many slots of a reservation on a host.
    fn problem(&self, reservation: &str, slots: Option<Opened<'_>>, call: &Sent) -> Option<String> {
        let lease = self.of_lease.get(reservation)?;
        let versions = self.versions.get(lease)?;
        let own = self.applied.before(call.node, call.at_ns);
        let told = self.acknowledged.get(lease.as_str()).into_iter().flatten().filter(|(at_ns, ..)| *at_ns < call.at_ns);
        let told = told.map(|(_, index, n)| (*index, Some(*n))).max().unwrap_or((0, None));
        let (low, by) = told.max((own, None));
        let high = self.replay.applied_by(call.at_ns + SEEN_NS);
        let after = versions.partition_point(|(index, _)| *index <= low);
        let until = versions.partition_point(|(index, _)| *index <= high).max(after);
        let first = after.checked_sub(1)?;
        let problems: Vec<String> = versions[first..until]
            .iter()
            .map(|(_, version)| self.against(version.as_ref(), reservation, slots, call.at_ns))
            .collect::<Option<_>>()?;
        let since = versions[first].0;
        let how = match by {
            Some(n) => format!("operation {n} was acknowledged before that"),
            None => format!("this node had applied index {low} before that"),
        };
        Some(format!("{} since index {since}, and {how}", problems.first()?))
    }

    /// Why a call does not go by a version of its lease.
    fn against(&self, lease: Option<&Lease>, reservation: &str, slots: Option<Opened<'_>>, at_ns: u64) -> Option<String> {
        let Some(lease) = lease else { return Some("the lease is deleted".to_owned()) };
        if lease.is_offer() {
            return Some("it is an offer that nobody has claimed".to_owned());
        }
        if lease.wait.is_some() {
            return Some("it waits for room".to_owned());
        }
        if lease.preempted.is_some() {
            return Some("it gave way to another".to_owned());
        }
        let one = lease.reservations.iter().find(|one| one.id == reservation)?;
        let opening = one.staging.map_or(lease.start, |staging| staging.window.start.min(lease.start));
        let opening_ms = (u64::from(opening) + CALENDAR_UNIX_S) * 1_000;
        let at_ms = self.epoch_ms + at_ns / 1_000_000;
        if at_ms + self.tolerance_ms < opening_ms {
            return Some(format!("it is to open {} ms later", opening_ms - at_ms));
        }
        let (host, ids, slots) = slots?;
        let previous = one.previous.iter().flat_map(|previous| &previous.bindings);
        let mut most: BTreeMap<&str, u64> = BTreeMap::new();
        let kinds = [("bound", &one.bindings), ("releasing", &one.releasing)];
        let bound = kinds.into_iter().flat_map(|(kind, bindings)| bindings.iter().map(move |binding| (kind, binding)));
        for (kind, binding) in
            bound.chain(previous.map(|binding| ("previous", binding))).filter(|(_, one)| ids.contains(&one.host))
        {
            let kind = if kind == "bound" && binding.phase == "staging" { "staging" } else { kind };
            *most.entry(kind).or_default() += binding.slots;
        }
        // Window and main time never meet; old and new may, while the new is waited for.
        let many: u64 = most.values().sum();
        (slots > many).then(|| format!("{many} slots are left on host {host}, it opens {slots}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Made, fires, incident, line, operation, probe, sent};
    use super::*;
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    const S: u64 = 1_000_000_000;

    /// Lease a, changed or deleted at index 3 by operation 0 (0 to 5 ns), which node 1 is seen to have applied at `applied_ns`, and
    /// a call by it.
    fn made(changed: Option<Value>, applied_ns: u64, sent_ns: u64, what: &str, facts: Value) -> Made {
        let mut made = Made::default();
        let mut on = host(1, 4);
        on["description"]["hypervisor_hostname"] = json!("h");
        made.watch(1, json!({"host": on}));
        made.watch(2, json!({"lease": lease("a", 0, 200, &[(1, 3)])}));
        let op = if changed.is_some() { "update" } else { "delete" };
        made.watch(3, changed.map_or(json!({"lease_removed": "a"}), |row| json!({"lease": row})));
        made.history.push(operation(op, Ending::Ok, Some(3), json!({"request": {"lease_id": "a"}})));
        made.audit_at(2, 0, &[]);
        made.audit_at(3, 2, &[]);
        made.audit.iter_mut().for_each(|look| look.node = 2);
        let mut look = probe(1, applied_ns);
        look.ledger_index = 3;
        made.probes.push(look);
        let id = if what == "inventory.set" { "rsv" } else { "r-a" };
        made.cloud = vec![line(1, 0, what, id, facts)];
        made.calls = vec![sent(1, 1, sent_ns)];
        made
    }

    fn deleted(applied_ns: u64, sent_ns: u64) -> Made {
        made(None, applied_ns, sent_ns, "flavor.access_added", json!({}))
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!((judgement.verdict, judgement.looked_at), (Verdict::Pass, 1), "{judgement:?}");
    }

    #[test]
    fn a_call_in_flight_passes_and_one_sent_after_the_answer_fires() {
        passes(deleted(99, 4));
        fires(judge, deleted(99, 6), "operation 0 was acknowledged");
    }

    #[test]
    fn a_node_that_knows_of_the_deletion_sends_nothing_even_before_the_answer() {
        passes(deleted(4, 4));
        fires(judge, deleted(3, 4), "this node had applied index 3");
        // In its next life it knows less, until it has caught up.
        let mut again = deleted(2, 4);
        again.incidents.push(incident(Some(1), 3, "start", "life 2"));
        passes(again);
    }

    #[test]
    fn a_start_that_was_moved_away_is_not_opened_at_the_old_time() {
        let moved = || Some(lease("a", 100, 200, &[(1, 3)]));
        fires(judge, made(moved(), 99, 6, "flavor.access_added", json!({})), "it is to open 100000 ms later");
        passes(made(moved(), 99, 4, "flavor.access_added", json!({})));
        passes(made(moved(), 99, 100 * S, "flavor.access_added", json!({})));
    }

    #[test]
    fn an_offer_is_not_opened_until_it_is_claimed() {
        let offer = |claimed_at: Option<u64>| {
            let mut one = lease("a", 0, 200, &[(1, 3)]);
            one["offer"] = json!({"expires_at": 0, "claimed_at": claimed_at});
            Some(one)
        };
        fires(judge, made(offer(None), 99, 6, "flavor.access_added", json!({})), "an offer that nobody has claimed");
        passes(made(offer(Some(1)), 99, 6, "flavor.access_added", json!({})));
    }

    #[test]
    fn a_host_that_went_and_came_back_has_the_slots_of_both_its_numbers() {
        let less = || Some(lease("a", 0, 200, &[(1, 1)]));
        let tokens = |open: u64| json!({"class": "CUSTOM_RESERVATION_R_A", "total": open, "reserved": 0});
        let again = |open: u64| {
            let mut made = made(less(), 99, 6, "inventory.set", tokens(open));
            let mut back = host(7, 4);
            back["description"]["hypervisor_hostname"] = json!("h");
            made.watch(4, json!({"host": back}));
            made
        };
        passes(again(1));
        fires(judge, again(2), "1 slots are left on host h, it opens 2");
    }

    #[test]
    fn slots_that_were_given_up_are_not_opened() {
        let tokens = |open: u64| json!({"class": "CUSTOM_RESERVATION_R_A", "total": open, "reserved": 0});
        let less = || Some(lease("a", 0, 200, &[(1, 1)]));
        fires(judge, made(less(), 99, 6, "inventory.set", tokens(3)), "1 slots are left on host h, it opens 3");
        passes(made(less(), 99, 6, "inventory.set", tokens(1)));
        passes(made(less(), 99, 4, "inventory.set", tokens(3)));
        // What is given back stays open until the cloud confirmed.
        let mut releasing = lease("a", 0, 200, &[(1, 1)]);
        releasing["reservations"][0]["releasing"] = json!([{"phase": "main", "host": 1, "slots": 2}]);
        passes(made(Some(releasing), 99, 6, "inventory.set", tokens(3)));
    }
}
