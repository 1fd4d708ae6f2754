//! Figures for people and programs.

use std::path::Path;

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::plot;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    Microseconds,
    Seconds,
    Megabytes,
    BytesPerLease,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Microseconds => "us",
            Unit::Seconds => "s",
            Unit::Megabytes => "MB",
            Unit::BytesPerLease => "B/lease",
        }
    }
}

/// The bar for one of the figures of a row.
#[derive(Clone)]
pub struct Budget {
    figure: Figure,
    limit: f64,
    source: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Figure {
    P50,
    P99,
    Single,
}

impl Budget {
    pub fn p99_us(limit: f64, source: &'static str) -> Budget {
        Budget { figure: Figure::P99, limit, source }
    }

    pub fn p50_us(limit: f64, source: &'static str) -> Budget {
        Budget { figure: Figure::P50, limit, source }
    }

    pub fn single(limit: f64, source: &'static str) -> Budget {
        Budget { figure: Figure::Single, limit, source }
    }
}

/// One thing that was measured, often or once.
#[derive(Clone)]
pub struct Row {
    pub name: String,
    pub unit: Unit,
    pub samples: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub budget: Option<Budget>,
}

impl Row {
    /// Of times in nanoseconds.
    pub fn times(name: &str, mut ns: Vec<u64>) -> Row {
        ns.sort_unstable();
        let at = |percent: usize| ns.get((ns.len().saturating_sub(1)) * percent / 100).map_or(0.0, |ns| *ns as f64 / 1000.0);
        let (p50, p99, max) = (at(50), at(99), at(100));
        Row { name: name.to_owned(), unit: Unit::Microseconds, samples: ns.len(), p50, p99, max, budget: None }
    }

    /// Of one figure.
    pub fn single(name: &str, unit: Unit, value: f64) -> Row {
        Row { name: name.to_owned(), unit, samples: 1, p50: value, p99: value, max: value, budget: None }
    }

    pub fn with(self, budget: Budget) -> Row {
        Row { budget: Some(budget), ..self }
    }

    /// Whether the bar was missed, as it is by what was not measured; `None` without a bar.
    pub fn over_budget(&self) -> Option<bool> {
        let budget = self.budget.as_ref()?;
        if self.samples == 0 {
            return Some(true);
        }
        let figure = match budget.figure {
            Figure::P50 => self.p50,
            Figure::P99 | Figure::Single => self.p99,
        };
        Some(figure > budget.limit)
    }

    fn json(&self) -> Value {
        let mut row = json!({
            "name": self.name,
            "unit": self.unit.name(),
            "samples": self.samples,
            "p50": self.p50,
            "p99": self.p99,
            "max": self.max,
        });
        if let Some(budget) = &self.budget {
            let figure = match budget.figure {
                Figure::P50 => "p50",
                Figure::P99 => "p99",
                Figure::Single => "value",
            };
            row["budget"] = json!({"figure": figure, "limit": budget.limit, "source": budget.source});
            row["over_budget"] = self.over_budget().into();
        }
        row
    }
}

/// The figures at one number of leases.
pub struct Stage {
    pub hosts: u64,
    pub leases: usize,
    /// Percent of the vcpus of two years.
    pub load: u64,
    pub rows: Vec<Row>,
}

pub fn print(stage: &Stage) {
    println!("\n{} leases on {} hosts, {} % of two years booked", stage.leases, stage.hosts, stage.load);
    println!("{:<58} {:>7} {:>11} {:>11} {:>11}  {:<8} budget", "", "samples", "p50", "p99", "max", "");
    for row in &stage.rows {
        let verdict = match row.over_budget() {
            None => String::new(),
            Some(over) => {
                let budget = row.budget.as_ref().map_or(0.0, |budget| budget.limit);
                let verdict = match (over, row.samples) {
                    (true, 0) => "NOT MEASURED",
                    (true, _) => "OVER",
                    (false, _) => "met",
                };
                format!("{budget} {verdict}")
            }
        };
        let figures = match row.samples {
            0 => format!("{:>11} {:>11} {:>11}", "-", "-", "-"),
            1 => format!("{:>11.1} {:>11} {:>11}", row.p50, "", ""),
            _ => format!("{:>11.1} {:>11.1} {:>11.1}", row.p50, row.p99, row.max),
        };
        println!("{:<58} {:>7} {figures}  {:<8} {verdict}", row.name, row.samples, row.unit.name());
    }
}

/// How each figure grows with the number of leases: its p99, or its only value.
pub fn print_growth(stages: &[Stage]) {
    let Some(last) = stages.last() else { return };
    println!("\ngrowth with the number of leases (p99, or the only value)");
    print!("{:<66}", "");
    stages.iter().for_each(|stage| print!(" {:>12}", stage.leases));
    println!();
    for row in &last.rows {
        print!("{:<58} {:<7}", row.name, row.unit.name());
        for stage in stages {
            match stage.rows.iter().find(|one| one.name == row.name).filter(|one| one.samples > 0) {
                Some(one) => print!(" {:>12.1}", one.p99),
                None => print!(" {:>12}", "-"),
            }
        }
        println!();
    }
}

/// The JSON, and the plot beside it.
pub fn write(file: &Path, arguments: &Arguments, stages: &[Stage]) {
    let stages_json: Vec<Value> = stages
        .iter()
        .map(|stage| {
            // What has a bar, and what only explains it.
            let (rows, information): (Vec<&Row>, Vec<&Row>) = stage.rows.iter().partition(|row| row.budget.is_some());
            let shown = |rows: Vec<&Row>| rows.into_iter().map(Row::json).collect::<Vec<Value>>();
            json!({
                "hosts": stage.hosts,
                "leases": stage.leases,
                "booked_percent": stage.load,
                "rows": shown(rows),
                "information": shown(information),
            })
        })
        .collect();
    let report = json!({
        "hosts": arguments.hosts,
        "leases": arguments.leases,
        "samples": arguments.samples,
        "seed": arguments.seed,
        "stages": stages_json,
    });
    std::fs::write(file, format!("{report:#}\n")).unwrap();
    let svg = file.with_extension("svg");
    std::fs::write(&svg, plot::growth(stages)).unwrap();
    println!("\nwritten: {} and {}", file.display(), svg.display());
}
