//! What must be got to: by each run, and by many together. A run that is below is not green but unknown.

use std::collections::BTreeMap;

use super::{Coverage, PHASES};
use crate::check::{Judgement, Sheet};
use crate::plan::cluster::POINTS;
use crate::plan::{Fault, Plan, Profile};
use crate::record::Record;

/// Operations that every run has, for each hour of faults.
const ASKED_AN_HOUR: u64 = 200;
/// Changes of the leader that every run with faults and more than one node has, for each hour of faults.
const LEADER_CHANGES_AN_HOUR: u64 = 1;
/// So many seeds together must have got everywhere, and with operations and faults further apart so many.
const SEEDS: u64 = 200;
const SPARSE_SEEDS: u64 = 1_000;
/// And so many of those in which others act in the cloud, of what others do.
const OTHERS_SEEDS: u64 = 20;

/// Operations of clients and of the operator.
const OPERATIONS: [&str; 18] = [
    "create",
    "update",
    "claim",
    "delete",
    "get",
    "list",
    "offers",
    "wait",
    "waiting",
    "preempt",
    "expire",
    "create_series",
    "delete_series",
    "list_series",
    "what_if",
    "density",
    "set_quota",
    "quota",
];
/// Those that leave it open how they ended, when the answer is lost. Series are deleted too seldom for that: a leader's answer was lost
/// in none of 69 hours.
const WRITES: [&str; 6] = ["create", "update", "claim", "delete", "create_series", "set_quota"];
/// What comes of the expiry of a reservation.
const EXPIRIES: [&str; 4] = ["none in use", "some in use", "all in use", "changed meanwhile"];
/// What becomes of leases that have a host to themselves.
const MOVES: [&str; 1] = ["joins others"];
/// Roles a node may be asked in.
const ROLES: [&str; 4] = ["leader", "follower", "learner", "down"];
/// Every kind of fault.
const FAULTS: [&str; 33] = [
    "kill",
    "pause",
    "power_cut",
    "isolate",
    "cut",
    "cloud_cut",
    "weather",
    "clock_step",
    "clock_drift",
    "sync_error",
    "disk_full",
    "disk_hang",
    "disk_slow",
    "cloud",
    "host_down",
    "expire_tokens",
    "transfer",
    "join",
    "promote",
    "leave",
    "replace",
    "wipe",
    "log_damage",
    "state_damage",
    "power_many",
    "crash_at",
    "host_add",
    "host_drain",
    "host_downtime",
    "host_upgrade",
    "host_remove",
    "cloud_restart",
    "role_revoked",
];

/// Every way in which the cloud misbehaves.
const CLOUDS: [&str; 11] =
    ["error", "conflict", "lost_answer", "late", "slow", "hang", "duplicate", "garbage", "truncated", "partial", "async_failure"];

/// What others do in the cloud: tenants with servers of leases, a crowd that boots at once, an operator's audit.
const OTHERS: [&str; 8] =
    ["meddle delete", "meddle stop", "meddle shelve", "meddle unshelve", "meddle lock", "meddle rename", "storm", "audit"];

/// What a fault is among [`OTHERS`], if it is one of them.
pub(super) fn of_others(fault: &Fault) -> Option<String> {
    match fault {
        Fault::Meddle { how, .. } => Some(format!("meddle {}", how.kind())),
        Fault::Storm { .. } | Fault::Audit { .. } => Some(fault.kind()),
        _ => None,
    }
}

/// From how many seeds on a run must have got everywhere; `None`: the profile leaves out on purpose what others have.
#[must_use]
pub fn wanted_from(profile: Profile) -> Option<u64> {
    match profile {
        Profile::Swarm | Profile::Mixed => Some(SEEDS),
        Profile::Sparse => Some(SPARSE_SEEDS),
        Profile::Others => Some(OTHERS_SEEDS),
        _ => None,
    }
}

/// What a run must reach for itself.
pub fn judge(record: &Record) -> Judgement {
    let coverage = Coverage::of(record);
    let mut sheet = Sheet::default();
    for text in short(&record.plan, &coverage) {
        sheet.unknown(text);
    }
    (0..coverage.asked).for_each(|_| sheet.look());
    sheet.close("goals")
}

/// What a run with this plan has too little of.
fn short(plan: &Plan, coverage: &Coverage) -> Vec<String> {
    let scaled = |an_hour: u64| an_hour * plan.sim.safety_ms / 3_600_000;
    let mut short = Vec::new();
    if coverage.asked < scaled(ASKED_AN_HOUR) {
        short.push(format!("{} operations, {} are wanted", coverage.asked, scaled(ASKED_AN_HOUR)));
    }
    let changes = if plan.nodes == 1 || plan.faults.is_empty() { 0 } else { scaled(LEADER_CHANGES_AN_HOUR) };
    if coverage.leader_changes < changes {
        short.push(format!("{} changes of the leader, {changes} are wanted", coverage.leader_changes));
    }
    short
}

/// What others do, among what was not got to.
const OTHERS_ROW: &str = "what others do";

/// What many runs together have not got to: by what it belongs to, and of how many.
pub fn missed(sum: &Coverage, profile: Profile) -> BTreeMap<&'static str, (Vec<String>, usize)> {
    let got = |map: &BTreeMap<String, u64>, wanted: Vec<String>| {
        let many = wanted.len();
        (wanted.into_iter().filter(|name| !map.contains_key(name)).collect::<Vec<_>>(), many)
    };
    let names = |sets: &[&[&str]]| -> Vec<String> {
        let mut names = vec![String::new()];
        for set in sets {
            let longer = |name: &String| set.iter().map(|part| format!("{name} {part}").trim().to_owned()).collect::<Vec<_>>();
            names = names.iter().flat_map(longer).collect();
        }
        names
    };
    // Results and roles, whatever the fault.
    let mut by_role: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_fault: BTreeMap<String, u64> = BTreeMap::new();
    for (name, many) in &sum.operations {
        let words: Vec<&str> = name.split(' ').collect();
        if let [op, result, fault, role] = words[..] {
            *by_role.entry(format!("{op} {result} {role}")).or_default() += many;
            *by_fault.entry(format!("{op} {result} {fault}")).or_default() += many;
        }
    }
    let mut roles = names(&[&OPERATIONS, &["ok"], &ROLES]);
    roles.extend(names(&[&WRITES, &["fail", "info"], &["leader", "follower"]]));
    let mut missed = BTreeMap::from([
        ("operation, fault", got(&by_fault, names(&[&OPERATIONS, &["ok"], &FAULTS]))),
        ("operation, result, role", got(&by_role, roles)),
        ("fault, part of a reservation's life", got(&sum.phases, names(&[&FAULTS, &PHASES]))),
        ("expiry", got(&sum.expiries, names(&[&EXPIRIES]))),
        ("defragmentation", got(&sum.moves, names(&[&MOVES]))),
        ("way of the cloud, part of a reservation's life", got(&sum.clouds, names(&[&CLOUDS, &PHASES]))),
        ("points", got(&sum.points, names(&[&POINTS]))),
    ]);
    if profile == Profile::Others {
        missed.insert(OTHERS_ROW, got(&sum.others, names(&[&OTHERS])));
    }
    missed
}

/// Whether something was not got to that many runs must get to. Of those in which others act in the cloud that is what they do; there are
/// too few of them for the rest.
#[must_use]
pub fn is_short(missed: &BTreeMap<&'static str, (Vec<String>, usize)>, profile: Profile) -> bool {
    let decides = |what: &str| profile != Profile::Others || what == OTHERS_ROW;
    missed.iter().any(|(what, (missing, _))| decides(what) && !missing.is_empty())
}

/// The matrix of what was not got to, what others do first.
pub fn told(missed: &BTreeMap<&'static str, (Vec<String>, usize)>) -> String {
    let mut text = String::new();
    let first = missed.get_key_value(OTHERS_ROW).into_iter();
    for (what, (missing, many)) in first.chain(missed.iter().filter(|(what, _)| **what != OTHERS_ROW)) {
        text += &format!("{what}: {} of {many} reached\n", many - missing.len());
        // One line for what the last word is missing of.
        let mut rows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in missing {
            let (row, column) = name.rsplit_once(' ').unwrap_or(("", name));
            rows.entry(row).or_default().push(column);
        }
        for (row, columns) in rows {
            text += &format!("  not {row}: {}\n", columns.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_of_fault_that_is_drawn_is_a_goal() {
        let plans = (0..400).map(|seed| Plan::simulated(seed, 300));
        let kinds: BTreeSet<String> = plans.flat_map(|plan| plan.faults).map(|planned| planned.fault.kind()).collect();
        assert_eq!(kinds, FAULTS.iter().map(|&kind| kind.to_owned()).collect());
        let faults = (0..400).flat_map(|seed| Plan::simulated(seed, 600).faults);
        let how = |fault: Fault| if let Fault::Cloud { how, .. } = fault { Some(how.kind()) } else { None };
        let ways: BTreeSet<String> = faults.filter_map(|planned| how(planned.fault)).collect();
        assert_eq!(ways, CLOUDS.iter().map(|&kind| kind.to_owned()).collect());
    }

    #[test]
    fn a_run_below_its_goals_says_so_and_calm_ones_and_single_nodes_need_no_other_leader() {
        let plan = |seconds: u64, nodes: u32| {
            let mut plan = Plan::kills(1, nodes, 60_000);
            plan.sim.safety_ms = seconds * 1_000;
            plan
        };
        let coverage = |asked, leader_changes| Coverage { asked, leader_changes, ..Coverage::default() };
        assert_eq!(short(&plan(3_600, 3), &coverage(200, 1)), [""; 0]);
        assert_eq!(short(&plan(3_600, 3), &coverage(199, 1)).len(), 1);
        assert_eq!(short(&plan(3_600, 3), &coverage(200, 0)).len(), 1);
        assert_eq!(short(&plan(3_600, 1), &coverage(200, 0)), [""; 0]);
        assert_eq!(short(&Plan { faults: Vec::new(), ..plan(3_600, 3) }, &coverage(200, 0)), [""; 0]);
        // Shorter ones need less.
        assert_eq!(short(&plan(360, 3), &coverage(20, 0)), [""; 0]);
        assert_eq!(short(&plan(360, 3), &coverage(19, 0)).len(), 1);
    }

    #[test]
    fn what_was_not_got_to_is_named() {
        let mut sum = Coverage::default();
        let all = missed(&sum, Profile::Swarm);
        assert_eq!(all["points"].0.len(), POINTS.len());
        assert!(all["operation, fault"].0.contains(&"create ok kill".to_owned()));
        assert_eq!(all["operation, fault"].1, OPERATIONS.len() * FAULTS.len());
        sum.operations.insert("create ok kill leader".to_owned(), 1);
        sum.points.insert(POINTS[0].to_owned(), 1);
        let fewer = missed(&sum, Profile::Swarm);
        assert_eq!(fewer["points"].0.len(), POINTS.len() - 1);
        assert!(!fewer["operation, fault"].0.contains(&"create ok kill".to_owned()));
        assert!(told(&fewer).contains("not kill: before_staging, staging, start, running, end"));
    }

    #[test]
    fn where_others_act_every_kind_of_that_is_a_goal_and_all_of_them_are_drawn() {
        let missing = |sum: &Coverage| missed(sum, Profile::Others)["what others do"].0.clone();
        assert_eq!(missing(&Coverage::default()), OTHERS);
        let faults = (0..40).flat_map(|seed| Plan::shaped(seed, 900, Profile::Others).faults);
        let drawn: BTreeSet<String> = faults.filter_map(|planned| of_others(&planned.fault)).collect();
        assert_eq!(drawn, OTHERS.iter().map(|&kind| kind.to_owned()).collect());
        let others = drawn.into_iter().map(|kind| (kind, 1)).collect();
        let sum = Coverage { others, ..Coverage::default() };
        assert_eq!(missing(&sum), [""; 0]);
        // The rest is told behind it, and does not decide.
        for (sum, decides) in [(Coverage::default(), true), (sum, false)] {
            let missed = missed(&sum, Profile::Others);
            assert_eq!(is_short(&missed, Profile::Others), decides);
            let text = told(&missed);
            assert!(text.starts_with(OTHERS_ROW) && text.contains("not kill:"), "{text}");
        }
        assert!(is_short(&missed(&Coverage::default(), Profile::Swarm), Profile::Swarm));
    }
}
