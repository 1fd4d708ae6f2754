//! A6: what a call is for was committed before it left its node, and one step of a reservation is logged as done before the
//! next begins.
//!
//! What is meant is written in the ledger as a row (architecture D5): a server is woken for a `start`, imaged for an `end`,
//! and so on. For each call some row of its reservation that wants it must have been applied by somebody when it was sent.
//! Whether what it opens is still wanted is A3's. Calls that only close or remove (tokens, access, flavors, classes) may be the
//! read-back's, for which there is no row. A call that says of which row it is leaves after that row was opened, and not from a
//! node that has applied its outcome. A reservation never has two rows open: a step waits for the outcome of the last.

use std::collections::{BTreeMap, BTreeSet};

use super::applied::Applied;
use super::cloud::{Asked, Cloud, asked, opens, sendings};
use super::replay::Replay;
use super::rows::{Row, rows};
use super::{Judgement, Sheet};
use crate::record::{Call, Record};

/// Steps that may want a call.
fn wanted_by(what: Asked<'_>) -> &'static [&'static str] {
    match what {
        Asked::Act { action: "unshelve", .. } => &["start"],
        Asked::Act { action: "shelve" | "shelveOffload", .. } | Asked::Delete { .. } => &["staging_close", "start", "end"],
        Asked::Act { action: "createImage", .. } => &["end"],
        Asked::Access { action: "addTenantAccess", .. } => OPENING,
        Asked::MakeFlavor { .. } => &["prepare", "staging_open", "staging_close", "start"],
        Asked::MakeGroup { .. } => &["hold"],
        Asked::Act { .. } | Asked::Access { .. } => &[],
    }
}

/// Steps that open tokens and give access.
const OPENING: &[&str] = &["staging_open", "start"];

/// See the module.
pub fn judge(record: &Record) -> Judgement {
    let mut sheet = Sheet::default();
    // By reservation and step: since when it is known to be committed.
    let mut committed: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let all = rows(record);
    for row in &all {
        let since = committed.entry((row.reservation(), row.step())).or_insert(row.from_ns);
        *since = row.from_ns.min(*since);
    }
    for (whose, from_ns) in stages(record) {
        let since = committed.entry(whose).or_insert(from_ns);
        *since = from_ns.min(*since);
    }
    let by = |reservation: &str, steps: &[&str], at_ns: u64| {
        steps.iter().any(|step| committed.get(&(reservation, *step)).is_some_and(|since| *since <= at_ns))
    };
    let flavors = flavors(record);
    // Servers that adopted ones woke are of another reservation's flavor; without a lease that says so, of their own.
    let of_flavor = |flavor: &str| flavors.get(flavor).cloned().unwrap_or_else(|| BTreeSet::from([flavor.to_owned()]));
    let sent = sendings(record);
    let mut cloud = Cloud::default();
    for line in &record.cloud {
        let call = sent.get(line.global_request_id.as_str());
        if let (Some(what), Some(call)) = (asked(line), call) {
            let steps = wanted_by(what);
            let whose = match what {
                Asked::Act { server, .. } | Asked::Delete { server } => {
                    cloud.servers.get(server).map(|(flavor, _)| of_flavor(flavor)).unwrap_or_default()
                }
                Asked::Access { flavor, .. } | Asked::MakeFlavor { flavor } => of_flavor(flavor),
                Asked::MakeGroup { name } => name.rsplit(':').next().map(str::to_owned).into_iter().collect(),
            };
            // A server that is not there any more cannot be told whose it was.
            if !steps.is_empty() && !whose.is_empty() {
                sheet.must(whose.iter().any(|one| by(one, steps, call.at_ns)), || {
                    let (node, at_ns) = (call.node, call.at_ns);
                    format!(
                        "line {}: node {node} sent {what:?} of {whose:?} at {at_ns} ns, when none of {steps:?} was committed",
                        line.n
                    )
                });
            }
        }
        for change in &line.changes {
            let opened = opens(&cloud, line, change).filter(|_| change.what == "inventory.set");
            cloud.follow(line, change);
            if let (Some(flavor), Some(call)) = (opened, call) {
                sheet.must(of_flavor(&flavor).iter().any(|one| by(one, OPENING, call.at_ns)), || {
                    let (node, at_ns) = (call.node, call.at_ns);
                    format!(
                        "line {}: node {node} opened tokens of {flavor} at {at_ns} ns, when none of {OPENING:?} was committed",
                        line.n
                    )
                });
            }
        }
    }
    of_rows(record, &all, &mut sheet);
    for look in &record.audit {
        let mut seen = BTreeSet::new();
        for row in &look.actuations {
            let whose = (row["lease_id"].as_str(), row["reservation_id"].as_str());
            sheet.must(seen.insert(whose), || format!("at index {} two rows of {whose:?} are open", look.ledger_index));
        }
    }
    sheet.close("A6")
}

/// Reservations that a step had opened, by what was told of them, and since when: its row may have come and gone between two
/// looks, where a change that waits for its hold came right behind it.
fn stages(record: &Record) -> impl Iterator<Item = ((&str, &'static str), u64)> {
    let replay = Replay::new(record);
    let told = record.watches.iter().filter_map(|line| Some((line.index?, line.change["lease"]["reservations"].as_array()?)));
    told.flat_map(move |(index, reservations)| {
        let from_ns = replay.applied_ns(index);
        reservations.iter().filter_map(move |one| {
            let step = match one["stage"].as_str()? {
                "staging" => "staging_open",
                "open" => "start",
                _ => return None,
            };
            Some(((one["id"].as_str()?, step), from_ns?))
        })
    })
}

/// Calls of rows leave while these are open, as far as their senders know.
fn of_rows(record: &Record, rows: &[Row<'_>], sheet: &mut Sheet) {
    let rows: BTreeMap<u64, &Row<'_>> = rows.iter().map(|row| (row.id, row)).collect();
    let applied = Applied::new(record);
    for call in &record.calls {
        let Some(id) = call.work().and_then(|work| work.strip_prefix("row/")) else { continue };
        let row = id.parse().ok().and_then(|id: u64| rows.get(&id));
        let Call { node, at_ns, method, path, .. } = call;
        sheet.must(row.is_some_and(|row| row.from_ns <= *at_ns), || {
            format!("node {node} sent {method} {path} at {at_ns} ns for row {id}, which nobody had opened")
        });
        let gone = row.and_then(|row| row.gone).map(|look| look.ledger_index);
        let own = applied.before(*node, *at_ns);
        sheet.must(gone.is_none_or(|gone| own < gone), || {
            format!("node {node} sent {method} {path} at {at_ns} ns for row {id}, and had applied index {own}, where that row was closed")
        });
    }
}

/// Reservations by the flavor of their servers.
fn flavors(record: &Record) -> BTreeMap<String, BTreeSet<String>> {
    let mut flavors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for lease in record.watches.iter().map(|line| &line.change["lease"]) {
        for one in lease["reservations"].as_array().into_iter().flatten() {
            let Some(id) = one["id"].as_str() else { continue };
            let flavor = super::cloud::flavor_of(one).unwrap_or(id);
            flavors.entry(flavor.to_owned()).or_default().insert(id.to_owned());
        }
    }
    flavors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Made, compute, fires, line, sent};
    use super::*;
    use crate::record::CloudLine;
    use crate::report::Verdict;

    const S: u64 = 1_000_000_000;

    /// A row of `r-a` is committed at second 10; a call for its server is sent at a second.
    fn called(step: &str, sent_s: u64, call: CloudLine) -> Made {
        let mut made = Made::default();
        made.audit_at(2, 10 * S, &[]);
        made.row(1, "r-a", step, 10);
        let mut there = line(1, 1, "server.shelved_offloaded", "s", json!({"flavor_id": "r-a"}));
        there.caller = "tenant".to_owned();
        made.cloud = vec![there, call];
        made.calls = vec![sent(2, 1, sent_s * S)];
        made
    }

    #[test]
    fn what_was_committed_before_passes_what_was_not_fires() {
        let act = |action: &str| compute(2, "POST", "/servers/s/action", json!({action: null}));
        for (step, wrong, call) in [
            ("start", "staging_close", act("unshelve")),
            ("staging_close", "prepare", act("shelve")),
            ("end", "start", act("createImage")),
            ("end", "staging_open", compute(2, "DELETE", "/servers/s", Value::Null)),
            ("start", "prepare", compute(2, "POST", "/flavors/r-a/action", json!({"addTenantAccess": {}}))),
            ("prepare", "hold", compute(2, "POST", "/flavors", json!({"flavor": {"id": "r-a"}}))),
            ("hold", "prepare", compute(2, "POST", "/os-server-groups", json!({"server_group": {"name": "leasehold:c:a:r-a"}}))),
        ] {
            assert_eq!(judge(&called(step, 10, call.clone()).record()).verdict, Verdict::Pass, "{step}");
            fires(judge, called(step, 9, call.clone()), "was committed");
            fires(judge, called(wrong, 10, call), "was committed");
        }
    }

    #[test]
    fn tokens_that_open_before_their_step_fire() {
        let open = line(2, 2, "inventory.set", "p", json!({"class": "CUSTOM_RESERVATION_R_A", "total": 1, "reserved": 0}));
        assert_eq!(judge(&called("staging_open", 10, open.clone()).record()).verdict, Verdict::Pass);
        fires(judge, called("staging_open", 9, open.clone()), "opened tokens");
        fires(judge, called("prepare", 10, open.clone()), "opened tokens");
        let mut closed = open;
        closed.changes[0].facts["reserved"] = json!(1);
        assert_eq!(judge(&called("prepare", 10, closed).record()).verdict, Verdict::Pass);
    }

    #[test]
    fn a_step_whose_row_nobody_saw_is_known_by_the_stage_that_was_told() {
        let open = line(2, 2, "inventory.set", "p", json!({"class": "CUSTOM_RESERVATION_R_A", "total": 1, "reserved": 0}));
        let told = |sent_s: u64, stage: &str| {
            let mut made = called("hold", sent_s, open.clone());
            let mut lease = crate::check::model::tests::lease("a", 1, 2, &[(1, 1)]);
            lease["reservations"][0]["stage"] = json!(stage);
            made.watch(1, json!({"lease": lease}));
            made
        };
        assert_eq!(judge(&told(10, "staging").record()).verdict, Verdict::Pass);
        assert_eq!(judge(&told(10, "open").record()).verdict, Verdict::Pass);
        fires(judge, told(9, "staging"), "opened tokens");
        fires(judge, told(10, "prepared"), "opened tokens");
    }

    #[test]
    fn adopted_servers_are_woken_for_who_adopted_them() {
        let mut made = called("start", 10, compute(2, "POST", "/servers/s/action", json!({"unshelve": null})));
        let mut lease = crate::check::model::tests::lease("a", 1, 2, &[(1, 1)]);
        lease["reservations"][0]["adoption"] = json!({"flavor_of": "r-b"});
        made.watch(2, json!({"lease": lease}));
        made.cloud[0].changes[0].facts["flavor_id"] = json!("r-b");
        assert_eq!(judge(&made.record()).verdict, Verdict::Pass);
    }

    #[test]
    fn a_call_for_a_row_leaves_while_that_row_is_open_for_its_sender() {
        // Row 1 is opened at second 10 and gone at index 3, which node 1 has applied at second 20.
        let sent_at = |sent_s: u64, row: u64, node: u64| {
            let mut made = Made::default();
            made.audit_at(2, 10 * S, &[]);
            made.row(1, "r-a", "start", 10);
            made.audit_at(3, 20 * S, &[]);
            made.calls = vec![Call { attempt: Some(format!("row/{row}/1/500/4/0")), ..sent(1, node, sent_s * S) }];
            made
        };
        assert_eq!(judge(&sent_at(15, 1, 1).record()).verdict, Verdict::Pass);
        assert_eq!(judge(&sent_at(21, 1, 2).record()).verdict, Verdict::Pass, "it has not applied that yet");
        fires(judge, sent_at(21, 1, 1), "had applied index 3, where that row was closed");
        fires(judge, sent_at(9, 1, 1), "for row 1, which nobody had opened");
        fires(judge, sent_at(15, 2, 1), "for row 2, which nobody had opened");
    }

    #[test]
    fn two_open_rows_of_one_reservation_fire() {
        let mut made = Made::default();
        made.audit_at(2, 10 * S, &[]);
        made.row(1, "r-a", "staging_close", 10);
        assert_eq!(judge(&Made { audit: made.audit.clone(), ..Made::default() }.record()).verdict, Verdict::Pass);
        made.row(2, "r-a", "start", 11);
        fires(judge, made, "two rows");
    }
}
