//! Growth as a picture that needs nothing else: figures over the number of leases, both logarithmic.

use std::fmt::Write;

use crate::report::{Row, Stage, Unit};

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 460.0;
const COLOURS: [&str; 10] =
    ["#1b6ca8", "#c0392b", "#27834a", "#8e44ad", "#b9770e", "#16858c", "#7f3f1d", "#5d6d7e", "#d4578c", "#4b4b9b"];

/// The p99 of everything that is measured in time, and the rebuild.
pub fn growth(stages: &[Stage]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in stages.iter().flat_map(|stage| &stage.rows) {
        if microseconds(row).is_some() && !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let values = || stages.iter().flat_map(|stage| &stage.rows).filter_map(microseconds);
    let lowest = values().fold(f64::MAX, f64::min).max(0.1).log10().floor();
    let highest = values().fold(1.0, f64::max).log10().ceil().max(lowest + 1.0);
    let leases = |stage: &Stage| (stage.leases.max(1) as f64).log10();
    let (first, last) = (stages.first().map_or(0.0, leases), stages.last().map_or(1.0, leases));
    let x = |at: f64| LEFT + if last > first { (at - first) / (last - first) * (RIGHT - LEFT) } else { 0.0 };
    let y = |us: f64| BOTTOM - (us.max(0.1).log10() - lowest) / (highest - lowest) * (BOTTOM - TOP);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">Time (p99) by number of leases</text>\n"
    );
    let mut put = |text: String| {
        // Writing to a String does not fail.
        svg.write_str(&text).ok();
    };
    let mut decade = lowest;
    while decade <= highest {
        let (at, label) = (y(10f64.powf(decade)), time(10f64.powf(decade)));
        put(format!("<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n"));
        put(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n", LEFT - 8.0, at + 4.0));
        decade += 1.0;
    }
    for stage in stages {
        let at = x(leases(stage));
        put(format!("<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\" stroke=\"#ddd\"/>\n"));
        put(format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n", BOTTOM + 20.0, stage.leases));
    }
    for (number, name) in names.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<(f64, f64)> = stages
            .iter()
            .filter_map(|stage| {
                let row = stage.rows.iter().find(|row| row.name == *name)?;
                Some((x(leases(stage)), y(microseconds(row)?)))
            })
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        put(format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n", line.join(" ")));
        for (x, y) in &points {
            put(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n"));
        }
        let at = TOP + 22.0 * number as f64;
        put(format!("<rect x=\"{:.1}\" y=\"{at:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\n", RIGHT + 24.0));
        put(format!("<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n", RIGHT + 46.0, at + 7.0));
    }
    svg.push_str("</svg>\n");
    svg
}

fn microseconds(row: &Row) -> Option<f64> {
    match row.unit {
        _ if row.samples == 0 => None,
        Unit::Microseconds => Some(row.p99),
        Unit::Seconds => Some(row.p99 * 1e6),
        Unit::Megabytes | Unit::BytesPerLease => None,
    }
}

fn time(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}
