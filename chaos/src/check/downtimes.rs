//! Of what is declared not to be had of a host nothing is promised after that was declared. Part of L1.
//!
//! What was promised before stays, so only what is new is judged: what a lease takes more of a host than it did at its last change,
//! by hosts as they were at the same index; of a lease that is seen as it was made all that it takes; and of one that is seen for the
//! first time later what it takes within a downtime of all of the host that was declared before it was made.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Amounts, Downtime, Host, Lease};
use super::replay::Replay;

/// Leases and downtimes over the indices.
#[derive(Default)]
pub struct Downtimes {
    /// Leases as each was at the index before.
    before: BTreeMap<String, Lease>,
    /// When each downtime was declared as it is now, in the ledger's milliseconds, by host and id.
    declared: BTreeMap<(u64, String), (Downtime, u64)>,
}

impl Downtimes {
    /// Goes on to an index, to which the replay has gone; what is wrong there. `clock`: what lies before it is over.
    pub fn step(&mut self, replay: &Replay<'_>, index: u64, clock: u32) -> Vec<String> {
        let model = replay.model();
        let mut problems = Vec::new();
        for change in replay.changes_at(index) {
            if let Some(host) = change["host"]["id"].as_u64().and_then(|id| model.hosts.get(&id)) {
                let at_ms = change["host"]["updated_at"].as_u64().unwrap_or(u64::MAX);
                self.declare(host, at_ms);
            }
            let Some(lease) = change["lease"]["id"].as_str().and_then(|id| model.leases.get(id)) else { continue };
            let last = self.before.insert(lease.id.clone(), lease.clone());
            let on: BTreeSet<u64> = lease.reservations.iter().flat_map(|one| &one.bindings).map(|one| one.host).collect();
            for host in on.iter().filter_map(|id| model.hosts.get(id)).filter(|host| !host.downtimes.is_empty()) {
                let seconds = host.downtimes.iter().flat_map(|one| [one.interval.start, one.interval.end]);
                // What it takes may grow where it ended, or began, before.
                let changes = lease.borders().chain(last.iter().flat_map(Lease::borders));
                let seconds: BTreeSet<u32> = seconds.chain(changes).chain([clock]).filter(|second| *second >= clock).collect();
                let booked = |second: u32| model.booked(host.id, second);
                // As it was made: nothing happened to it since, nor to its hosts.
                let is_new = change["lease"]["updated_at"].is_null();
                let wrong = seconds.into_iter().find(|second| match &last {
                    Some(last) => more_than_is_left(host, *second, last.taken(host.id, *second), lease, booked),
                    None if is_new => more_than_is_left(host, *second, [0; 4], lease, booked),
                    None => self.was_declared(host, *second, lease),
                });
                problems.extend(wrong.map(|second| {
                    let (name, id) = (&host.description.hypervisor_hostname, &lease.id);
                    format!("lease {id} was promised what {name} is not to have at second {second}")
                }));
            }
        }
        problems
    }

    fn declare(&mut self, host: &Host, at_ms: u64) {
        let known: BTreeSet<&String> = host.downtimes.iter().map(|one| &one.id).collect();
        self.declared.retain(|(of, id), _| *of != host.id || known.contains(id));
        for one in &host.downtimes {
            let key = (host.id, one.id.clone());
            if self.declared.get(&key).is_none_or(|(was, _)| was != one) {
                self.declared.insert(key, (one.clone(), at_ms));
            }
        }
    }

    /// Whether a new lease takes anything of a host of which all was declared not to be had at a second before it was made.
    fn was_declared(&self, host: &Host, second: u32, lease: &Lease) -> bool {
        let declared = |one: &Downtime| {
            let known = self.declared.get(&(host.id, one.id.clone()));
            one.withheld.everything() && one.interval.holds(second) && known.is_some_and(|(_, at_ms)| *at_ms < lease.created_at)
        };
        lease.taken(host.id, second) != [0; 4] && host.downtimes.iter().any(declared)
    }
}

/// Whether a lease takes more of a host in a second of a downtime than it took, and that is not left.
fn more_than_is_left(host: &Host, second: u32, took: Amounts, lease: &Lease, booked: impl Fn(u32) -> Amounts) -> bool {
    let takes = lease.taken(host.id, second);
    let grows = (0..4).any(|class| takes[class] > took[class]);
    if !grows || !host.downtimes.iter().any(|one| one.interval.holds(second)) {
        return false;
    }
    let (left, booked) = (host.left(second), booked(second));
    (0..4).any(|class| booked[class] > left[class])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::double_booking::judge;
    use super::super::testing::{Made, fires};
    use crate::check::model::tests::{host, lease};
    use crate::report::Verdict;

    /// Host 1 of four vCPUs, of which lease `a` has three at 100 to 200; at index 3, in millisecond 50, something is declared.
    fn declared(withheld: Value) -> Made {
        let mut made = Made::default();
        made.watch(1, json!({"host": host(1, 4)}));
        made.watch(2, json!({"lease": lease("a", 100, 200, &[(1, 3)])}));
        let mut less = host(1, 4);
        less["downtimes"] = json!([{"id": "d", "interval": {"start": 150, "end": 300}, "withheld": withheld}]);
        less["updated_at"] = json!(50);
        made.watch(3, json!({"host": less}));
        made
    }

    fn with(mut made: Made, lease: Value) -> Made {
        made.watch(4, json!({"lease": lease}));
        made
    }

    /// Made then, and seen later.
    fn made_at(ms: u64, start: u32, end: u32) -> Value {
        let mut one = lease("b", start, end, &[(1, 1)]);
        (one["created_at"], one["updated_at"]) = (json!(ms), json!(ms + 1));
        one
    }

    fn passes(made: Made) {
        let judgement = judge(&made.record());
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    }

    #[test]
    fn what_was_promised_before_stays_and_what_is_promised_after_fires() {
        passes(declared(json!({})));
        fires(judge, with(declared(json!({})), made_at(60, 290, 400)), "at second 290");
        fires(judge, with(declared(json!({})), made_at(60, 140, 160)), "at second 150");
        passes(with(declared(json!({})), made_at(60, 300, 400)));
        passes(with(declared(json!({})), made_at(60, 100, 150)));
        passes(with(declared(json!({})), made_at(40, 290, 400)));
    }

    #[test]
    fn a_new_lease_takes_none_of_what_is_withheld_in_part() {
        let new = |start: u32, end: u32| lease("b", start, end, &[(1, 2)]);
        fires(judge, with(declared(json!({"vcpus": 3})), new(290, 400)), "at second 290");
        passes(with(declared(json!({"vcpus": 2})), new(290, 400)));
        passes(with(declared(json!({"vcpus": 3})), new(300, 400)));
        fires(judge, with(declared(json!({})), new(290, 400)), "at second 290");
    }

    #[test]
    fn a_change_takes_no_more_of_it() {
        let longer = lease("a", 100, 250, &[(1, 3)]);
        fires(judge, with(declared(json!({})), longer.clone()), "at second 200");
        fires(judge, with(declared(json!({"vcpus": 2})), longer.clone()), "at second 200");
        passes(with(declared(json!({"vcpus": 1})), longer));
        passes(with(declared(json!({})), lease("a", 100, 180, &[(1, 3)])));
        passes(with(declared(json!({})), lease("a", 90, 200, &[(1, 3)])));
    }
}
