//! How far many seeds have come, on standard error: one line that is written over where a person looks on, else a line now
//! and then.

use std::fmt;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use leasehold_chaos::coverage::Coverage;
use leasehold_chaos::hours::{Hour, Tally};
use leasehold_chaos::report::{Report, cluster_hours_per_cpu_minute};
use serde::{Deserialize, Serialize};

/// Between two lines where nobody looks on.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What the process of one seed tells the one that started it, as its last line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    simulated_s: f64,
    cpu_s: f64,
    operations: u64,
    /// Of everything that happened.
    pub trace_hash: String,
    reached: Coverage,
    nodes: u32,
    hours: Vec<Hour>,
}

impl Summary {
    /// Of a report.
    pub fn of(report: &Report) -> Summary {
        let operations = report.operations.values().sum();
        let (trace_hash, reached) = (report.trace_hash.clone(), report.coverage.clone());
        let (nodes, hours) = (report.plan.nodes, report.hours.clone());
        Summary { simulated_s: report.simulated_s, cpu_s: report.cpu_s, operations, trace_hash, reached, nodes, hours }
    }

    /// Takes it from what a process printed; the rest is for people. `None`: it did not come that far.
    pub fn read(said: &str) -> (String, Option<Summary>) {
        let said = said.trim_end();
        let (rest, last) = said.rsplit_once('\n').unwrap_or(("", said));
        match serde_json::from_str(last) {
            Ok(summary) => (rest.to_owned(), Some(summary)),
            Err(_) => (said.to_owned(), None),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = cluster_hours_per_cpu_minute(self.simulated_s, self.cpu_s);
        let (operations, simulated_s, changes) = (self.operations, self.simulated_s, self.reached.leader_changes);
        let leaders = if changes == 1 { "1 change of the leader".to_owned() } else { format!("{changes} changes of the leader") };
        write!(f, "{operations} operations, {leaders}, {simulated_s:.0} simulated s, {rate:.1} cluster-hours per CPU minute")
    }
}

/// The seeds so far.
pub struct Progress {
    began: Instant,
    /// Seeds to run; `None`: as many as there is time for.
    seeds: Option<u64>,
    /// Time to run; `None`: as long as it takes.
    time: Option<Duration>,
    terminal: bool,
    told: Instant,
    /// Seeds that ended.
    done: u64,
    /// Of these, with a violation.
    violations: u64,
    simulated_s: f64,
    cpu_s: f64,
    /// What their hours had.
    hours: Tally,
    /// What they got to together.
    reached: Coverage,
}

impl Progress {
    /// Nothing yet.
    pub fn new(seeds: Option<u64>, time: Option<Duration>) -> Progress {
        let now = Instant::now();
        let terminal = stderr().is_terminal();
        let (done, violations, hours, simulated_s, cpu_s, reached) = Default::default();
        Progress { began: now, seeds, time, terminal, told: now, done, violations, hours, simulated_s, cpu_s, reached }
    }

    /// Seconds since the beginning.
    pub fn took_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Whether there is time for another seed.
    pub fn has_time(&self) -> bool {
        self.time.is_none_or(|time| self.began.elapsed() < time)
    }

    /// A seed ended.
    pub fn ended(&mut self, seed: u64, code: u8, summary: Option<&Summary>) {
        self.done += 1;
        self.violations += u64::from(code == 1);
        if let Some(summary) = summary {
            self.simulated_s += summary.simulated_s;
            self.cpu_s += summary.cpu_s;
            self.hours.add(seed, (code == 0, summary.nodes), &summary.hours);
            self.reached.add(&summary.reached);
        }
    }

    /// What the hours of all seeds had.
    pub fn hours(&self) -> &Tally {
        &self.hours
    }

    /// What all seeds got to together.
    pub fn reached(&self) -> &Coverage {
        &self.reached
    }

    /// Cluster-hours per CPU minute over all seeds.
    pub fn rate(&self) -> f64 {
        cluster_hours_per_cpu_minute(self.simulated_s, self.cpu_s)
    }

    /// Cluster-hours over all seeds.
    pub fn cluster_hours(&self) -> f64 {
        self.simulated_s / 3_600.0
    }

    /// Takes the line away, so that something else can be printed.
    pub fn clear(&self) {
        if self.terminal {
            write("\r\x1b[K");
        }
    }

    /// Tells how far it is.
    pub fn tell(&mut self) {
        if self.terminal {
            write(&format!("\r\x1b[K{}", self.line()));
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            write(&format!("{}\n", self.line()));
        }
    }

    fn line(&self) -> String {
        let of = self.seeds.map_or_else(String::new, |seeds| format!(" of {seeds}"));
        let left = self.left().map_or_else(String::new, |left| format!(", {} left", span(left)));
        let (done, violations, rate) = (self.done, self.violations, self.rate());
        format!("{done}{of} seeds, {violations} with violations, {rate:.1} cluster-hours per CPU minute{left}")
    }

    fn left(&self) -> Option<Duration> {
        let by_time = self.time.map(|time| time.saturating_sub(self.began.elapsed()));
        let by_seeds = self.seeds.filter(|_| self.done > 0).map(|seeds| {
            let each = self.began.elapsed().as_secs_f64() / self.done as f64;
            Duration::from_secs_f64(each * seeds.saturating_sub(self.done) as f64)
        });
        by_time.or(by_seeds)
    }
}

/// Nobody reads it if it cannot be written.
fn write(text: &str) {
    let mut stderr = stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

/// As `40 s`, `12 min` or `3.5 h`.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{:.1} h", seconds as f64 / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_run(simulated_s: f64, cpu_s: f64, operations: u64, reached: Coverage) -> Summary {
        let hours =
            if simulated_s < 3_600.0 { Vec::new() } else { vec![Hour { operations, leader_changes: reached.leader_changes }] };
        Summary { simulated_s, cpu_s, operations, trace_hash: "h".to_owned(), reached, nodes: 3, hours }
    }

    #[test]
    fn a_line_tells_seeds_violations_and_what_is_left() {
        let mut progress = Progress::new(Some(4), None);
        progress.ended(1, 0, Some(&of_run(7_200.0, 12.0, 1, Coverage::default())));
        progress.ended(2, 1, None);
        let changes = Coverage { leader_changes: 1, ..Coverage::default() };
        assert!(progress.hours().to_string().starts_with("0 of 1 seeds passed"), "{}", progress.hours());
        assert!(progress.line().starts_with("2 of 4 seeds, 1 with violations, 10.0 cluster-hours"), "{}", progress.line());
        assert!(progress.line().ends_with(" left"), "{}", progress.line());
        // One with too few operations, one that failed, one that counts.
        for (code, operations) in [(0, 199), (1, 200), (0, 200)] {
            let reached = changes.clone();
            progress.ended(3, code, Some(&of_run(3_600.0, 3.0, operations, reached)));
        }
        assert!(progress.hours().to_string().starts_with("1 of 4 seeds passed"), "{}", progress.hours());
        let fresh = Progress::new(None, Some(Duration::from_secs(600)));
        assert!(fresh.has_time() && fresh.line().contains("0 seeds,") && fresh.line().ends_with("9 min left"));
        assert!(!Progress::new(None, Some(Duration::ZERO)).has_time());
    }

    #[test]
    fn a_summary_is_the_last_line_or_none() {
        let summary = of_run(3_600.0, 3.0, 7, Coverage::default());
        let text = format!("checked: all\nseed 3\n{}\n", serde_json::to_string(&summary).expect("it encodes"));
        assert_eq!(Summary::read(&text), ("checked: all\nseed 3".to_owned(), Some(summary.clone())));
        assert_eq!(Summary::read("it broke\n"), ("it broke".to_owned(), None));
        assert_eq!(
            summary.to_string(),
            "7 operations, 0 changes of the leader, 3600 simulated s, 20.0 cluster-hours per CPU minute"
        );
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        assert_eq!(span(Duration::from_secs(119)), "119 s");
        assert_eq!(span(Duration::from_secs(120)), "2 min");
        assert_eq!(span(Duration::from_secs(9_000)), "2.5 h");
    }
}
