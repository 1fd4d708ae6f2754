//! What was measured, for people and programs.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::load::Figures;

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What.
    pub what: String,
    /// Figures of a load.
    pub figures: Figures,
}

/// A budget of the architecture and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// What.
    pub what: String,
    /// The bar.
    pub bar: String,
    /// The figure.
    pub figure: String,
    /// Whether it is met.
    pub met: bool,
}

/// Everything measured in one run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    budgets: Vec<Budget>,
    values: Map<String, Value>,
}

impl Report {
    /// Figures of a load; told at once.
    pub fn row(&mut self, what: &str, figures: Figures) {
        println!(
            "  {what:<40} {:>3} clients {:>9.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {} errors",
            figures.clients, figures.per_second, figures.p50_ms, figures.p99_ms, figures.errors
        );
        self.rows.push(Row { what: what.to_owned(), figures });
    }

    /// One more figure; told at once.
    pub fn value(&mut self, what: &str, value: Value) {
        println!("  {what:<40} {value}");
        self.values.insert(what.to_owned(), value);
    }

    /// Holds a figure against a bar.
    pub fn budget(&mut self, what: &str, bar: &str, figure: String, met: bool) {
        self.budgets.push(Budget { what: what.to_owned(), bar: bar.to_owned(), figure, met });
    }

    /// The figures of `what` with so many clients.
    pub fn figures(&self, what: &str, clients: usize) -> Option<Figures> {
        self.rows.iter().find(|row| row.what == what && row.figures.clients == clients).map(|row| row.figures)
    }

    /// The tables.
    pub fn tables(&self) -> String {
        let mut rows = Table::new();
        rows.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "load",
            "clients",
            "per second",
            "p50 ms",
            "p99 ms",
            "max ms",
            "errors",
        ]);
        for Row { what, figures } in &self.rows {
            rows.add_row([
                what.clone(),
                figures.clients.to_string(),
                format!("{:.0}", figures.per_second),
                format!("{:.2}", figures.p50_ms),
                format!("{:.2}", figures.p99_ms),
                format!("{:.1}", figures.max_ms),
                figures.errors.to_string(),
            ]);
        }
        let mut budgets = Table::new();
        budgets.load_style(presets::UTF8_FULL_CONDENSED).set_header(["budget", "bar", "figure", ""]);
        for Budget { what, bar, figure, met } in &self.budgets {
            budgets.add_row([what.as_str(), bar, figure, if *met { "met" } else { "NOT MET" }]);
        }
        format!("{rows}\n{budgets}")
    }

    /// Writes everything as JSON.
    pub fn write(&self, file: &Path) -> Result<()> {
        let all = json!({"loads": self.rows, "figures": self.values, "budgets": self.budgets});
        std::fs::write(file, serde_json::to_string_pretty(&all)? + "\n").with_context(|| format!("writing {}", file.display()))
    }
}
