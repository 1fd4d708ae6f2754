//! The verdict: figures from the cloud's record, a table for people, a report for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{Table, presets};
use leasehold_cloudsim::Record;
use serde::Serialize;

use crate::audit::{History, Promise, double_booked, judge};
use crate::cloud::Capacity;

/// A start may be late by an election (3 s, architecture §6) and 2 s for everything else, the cloud's own time included.
pub const LATENESS_BUDGET_MS: u64 = 5_000;

/// How long all of it may take, from the start of the first process.
pub const TIME_BUDGET: Duration = Duration::from_secs(120);

/// What the demo was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Of the scenario.
    pub seed: u64,
    /// How many leases.
    pub leases: u64,
    /// How many kills of the leader around a start.
    pub kills: u64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lateness {
    /// Half were not later.
    pub p50: u64,
    /// 99 of 100 were not later.
    pub p99: u64,
    /// The latest.
    pub max: u64,
}

/// What is written for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of the scenario.
    pub seed: u64,
    /// Acknowledged.
    pub leases: u64,
    /// `kill -9` of whoever led.
    pub leader_kills: u64,
    /// Leases whose start the record shows.
    pub started: u64,
    /// Leases whose end the record shows.
    pub ended: u64,
    /// Of the starts.
    pub lateness_ms: Lateness,
    /// Effects beyond the one that was owed.
    pub duplicate_effects: u64,
    /// Acknowledged leases without start or end.
    pub lost: u64,
    /// Instants at which a host was promised more than it has.
    pub double_booked: u64,
}

/// The report and everything that is wrong, in words.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The figures.
    pub report: Report,
    /// What was asked for.
    pub asked: Asked,
    /// How long it took.
    pub took: Duration,
    /// Empty if all is well.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Judges the promises by the record.
    pub fn of(
        asked: Asked,
        leader_kills: u64,
        took: Duration,
        promises: &[Promise],
        record: &[Record],
        capacities: &BTreeMap<String, Capacity>,
    ) -> Verdict {
        let history = History::of(record);
        let mut problems = Vec::new();
        let (mut lateness, mut started, mut ended, mut lost, mut duplicates) = (Vec::new(), 0, 0, 0, 0);
        for promise in promises {
            let finding = judge(promise, &history);
            started += u64::from(finding.started_ms.is_some());
            ended += u64::from(finding.ended_ms.is_some());
            lost += u64::from(finding.started_ms.is_none() || finding.ended_ms.is_none());
            duplicates += finding.duplicates;
            lateness.extend(finding.started_ms.map(|at| at - promise.start_ms));
            problems.extend(finding.problems.into_iter().map(|problem| format!("{}: {problem}", promise.name)));
        }
        let double = double_booked(record, capacities);
        problems.extend(double.iter().map(|text| format!("double-booked: {text}")));
        lateness.sort_unstable();
        let at = |percent: usize| lateness.get((lateness.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
        let lateness_ms = Lateness { p50: at(50), p99: at(99), max: at(100) };
        if lateness_ms.max > LATENESS_BUDGET_MS {
            problems.push(format!("the latest start took {} ms, the budget is {LATENESS_BUDGET_MS} ms", lateness_ms.max));
        }
        if promises.len() as u64 != asked.leases {
            problems.push(format!("{} leases were acknowledged, {} were asked for", promises.len(), asked.leases));
        }
        if leader_kills != asked.kills {
            problems.push(format!("{leader_kills} leaders were killed within a second of a start, {} were to be", asked.kills));
        }
        if took > TIME_BUDGET {
            problems.push(format!("it took {} s, the budget is {} s", took.as_secs(), TIME_BUDGET.as_secs()));
        }
        let report = Report {
            seed: asked.seed,
            leases: promises.len() as u64,
            leader_kills,
            started,
            ended,
            lateness_ms,
            duplicate_effects: duplicates,
            lost,
            double_booked: double.len() as u64,
        };
        Verdict { report, asked, took, problems }
    }

    /// Whether every promise was kept, once and on time.
    pub fn good(&self) -> bool {
        self.problems.is_empty()
    }

    /// For people.
    pub fn table(&self) -> String {
        let report = &self.report;
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["what the cloud saw", "figure", "wanted", ""]);
        let mut row = |what: &str, figure: u64, unit: &str, wanted: String, good: bool| {
            table.add_row([what.to_owned(), format!("{figure}{unit}"), wanted, if good { "✓" } else { "✗" }.to_owned()]);
        };
        let leases = report.leases;
        let Asked { leases: asked, kills, .. } = self.asked;
        row("leases acknowledged", leases, "", asked.to_string(), leases == asked);
        row(
            "leaders killed (-9) within 1 s of a start",
            report.leader_kills,
            "",
            kills.to_string(),
            report.leader_kills == kills,
        );
        row("started", report.started, "", leases.to_string(), report.started == leases);
        row("ended, as asked", report.ended, "", leases.to_string(), report.ended == leases);
        let late = &report.lateness_ms;
        let budget = format!("≤ {LATENESS_BUDGET_MS} ms");
        row("start lateness, p50", late.p50, " ms", String::new(), true);
        row("start lateness, p99", late.p99, " ms", String::new(), true);
        row("start lateness, max", late.max, " ms", budget, late.max <= LATENESS_BUDGET_MS);
        row("duplicate effects", report.duplicate_effects, "", "0".to_owned(), report.duplicate_effects == 0);
        row("lost leases", report.lost, "", "0".to_owned(), report.lost == 0);
        row("double-booked", report.double_booked, "", "0".to_owned(), report.double_booked == 0);
        let budget = format!("≤ {} s", TIME_BUDGET.as_secs());
        row("all of it", self.took.as_secs(), " s", budget, self.took <= TIME_BUDGET);
        format!(
            "{table}\nLateness: from a lease's start to its last parked server ACTIVE again, or where none was parked to its flavor's \
             tokens open;\nfrom the cloud's own record, the cloud's time (about 200 ms) and elections included."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(leases: u64, kills: u64) -> Asked {
        Asked { seed: 7, leases, kills }
    }

    #[test]
    fn a_kill_too_few_a_lease_too_few_and_too_long_a_run_are_no_success() {
        let of = |asked, kills, took| Verdict::of(asked, kills, took, &[], &[], &BTreeMap::new()).good();
        assert!(of(asked(0, 3), 3, TIME_BUDGET));
        assert!(!of(asked(0, 3), 2, TIME_BUDGET));
        assert!(!of(asked(1, 3), 3, TIME_BUDGET));
        assert!(!of(asked(0, 3), 3, TIME_BUDGET + Duration::from_secs(1)));
    }

    #[test]
    fn the_report_has_exactly_the_agreed_keys() {
        let verdict = Verdict::of(asked(0, 3), 3, Duration::ZERO, &[], &[], &BTreeMap::new());
        let json = serde_json::to_string(&verdict.report).unwrap_or_default();
        assert_eq!(
            json,
            "{\"seed\":7,\"leases\":0,\"leader_kills\":3,\"started\":0,\"ended\":0,\"lateness_ms\":{\"p50\":0,\"p99\":0,\"max\":0},\
             \"duplicate_effects\":0,\"lost\":0,\"double_booked\":0}"
        );
    }

    #[test]
    fn a_lease_the_cloud_never_saw_is_lost() {
        let promise = Promise {
            name: "a".to_owned(),
            reservation_id: "r".to_owned(),
            amount: 1,
            start_ms: 1,
            end_ms: 2,
            on_end: crate::audit::End::Delete,
            staged: Vec::new(),
            booted: Vec::new(),
        };
        let verdict = Verdict::of(asked(1, 0), 0, Duration::ZERO, &[promise], &[], &BTreeMap::new());
        assert_eq!(verdict.report.lost, 1);
        assert!(!verdict.good());
    }
}
