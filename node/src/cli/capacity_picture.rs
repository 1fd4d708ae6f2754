//! Capacity as a table and a picture for people, and as JSON for programs.

use leasehold_client::{Capacity, Sums};
use leasehold_ledger::model::{Class, Interval, Seconds};
use serde_json::{Value, json};

use crate::cli::output::{counted, table};
use crate::cli::time::{rfc3339, utc};

/// Columns of the picture.
pub const COLUMNS: u32 = 60;
/// From nothing to all there is.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Classes that are drawn, and their units. How many servers hosts may carry seldom matters; the table has it.
const DRAWN: [(Class, &str); 3] = [(Class::Vcpu, "vCPU"), (Class::MemoryMb, "MiB"), (Class::DiskGb, "GiB")];

pub fn sums(sums: Sums) -> Value {
    let [vcpus, memory_mb, disk_gb, slots] = sums;
    json!({ "vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb, "slots": slots })
}

/// For programs.
pub fn json(capacity: &Capacity, ledger_index: u64) -> Value {
    let ends = capacity.pieces.iter().skip(1).map(|piece| piece.start).chain([capacity.window.end]);
    let steps = capacity.pieces.iter().zip(ends).map(|(piece, end)| {
        json!({
            "start": rfc3339(piece.start), "end": rfc3339(end),
            "reserved": sums(piece.reserved), "available": sums(piece.available), "withheld": sums(piece.withheld),
            "added": sums(piece.added),
        })
    });
    json!({
        "start": rfc3339(capacity.window.start), "end": rfc3339(capacity.window.end),
        "hosts": capacity.hosts, "open_hosts": capacity.open_hosts,
        "total": sums(capacity.total), "used": sums(capacity.firm), "steps": steps.collect::<Vec<_>>(),
        "ledger_index": ledger_index,
    })
}

/// For people: a table over all of the window, and a picture where it has more than one step.
pub fn text(capacity: &Capacity) -> String {
    let (start, end) = (utc(capacity.window.start), utc(capacity.window.end));
    if capacity.hosts == 0 {
        return "No host is of this kind.".to_owned();
    }
    let mut text = format!("From {start} to {end} (UTC), {}", counted(capacity.hosts, "host"));
    let closed = capacity.hosts - capacity.open_hosts;
    if closed > 0 {
        text += &format!(", {closed} of which accept no leases now");
    }
    let added = most_added(capacity);
    let head = ["class", "total", "used", "reserved (most)", "withheld (most)", "available (least)", "upgrades (most)"];
    // A column that has nothing to tell is left out.
    let head = if added == Sums::default() { &head[..head.len() - 1] } else { &head[..] };
    let rows = Class::ALL.iter().enumerate().map(|(place, class)| {
        let most = capacity.pieces.iter().map(|piece| piece.reserved[place]).max().unwrap_or_default();
        let withheld = capacity.pieces.iter().map(|piece| piece.withheld[place]).max().unwrap_or_default();
        let figures = [capacity.total[place], capacity.firm[place], most, withheld, least(capacity, place), added[place]];
        std::iter::once(class.name().to_owned()).chain(figures.map(|figure| figure.to_string())).take(head.len()).collect()
    });
    text += &format!("\n{}", table(head, rows.collect(), ""));
    if capacity.pieces.len() > 1 {
        let steps: Vec<_> = capacity.pieces.iter().map(|piece| (piece.start, piece.available)).collect();
        let scales = std::array::from_fn(|class| capacity.total[class] + added[class]);
        let drawn = draw("available over time", capacity.window, &steps, scales, Shown::Least);
        text += &format!("\n{drawn}");
    }
    text
}

/// The most that upgrades add in any step.
fn most_added(capacity: &Capacity) -> Sums {
    capacity.pieces.iter().fold([0; 4], |most, piece| std::array::from_fn(|class| most[class].max(piece.added[class])))
}

fn least(capacity: &Capacity, class: usize) -> u64 {
    capacity.pieces.iter().map(|piece| piece.available[class]).min().unwrap_or_default()
}

/// What a column shows of what it covers.
#[derive(Clone, Copy)]
pub enum Shown {
    /// The least at one instant.
    Least,
    /// The most.
    Most,
}

/// Steps over time: a line a class, its scale, and dates.
pub fn draw(title: &str, window: Interval, steps: &[(Seconds, Sums)], scales: Sums, shown: Shown) -> String {
    let first = window.start;
    // A window without end is drawn up to a little after its last step.
    let last = match window.end {
        Seconds::OPEN_END => {
            let begun = steps.last().map_or(first, |(start, _)| *start);
            begun.plus(((begun.0 - first.0) / 10).max(1))
        }
        end => end,
    };
    let mut lines = vec![title.to_owned()];
    for (place, (class, unit)) in DRAWN.iter().enumerate() {
        let total = scales[place];
        let column = |number: u32| {
            let (from, to) = (edge(first, last, number), edge(first, last, number + 1).max(edge(first, last, number).plus(1)));
            level(within(steps, place, from, to, shown), total)
        };
        let columns: String = (0..COLUMNS).map(column).collect();
        lines.push(format!("{:>9} │{columns}│ 0 to {total} {unit}", class.name()));
    }
    let (from, to) = (utc(first), utc(last));
    let gap = (COLUMNS as usize + 2).saturating_sub(from.len() + to.len());
    lines.push(format!("{:>9} {from}{}{to}", "UTC", " ".repeat(gap)));
    lines.join("\n")
}

/// Where a column begins.
fn edge(first: Seconds, last: Seconds, column: u32) -> Seconds {
    let span = u64::from(last.0 - first.0);
    first.plus(u32::try_from(span * u64::from(column) / u64::from(COLUMNS)).unwrap_or(u32::MAX))
}

/// What there is at one instant of a column.
fn within(steps: &[(Seconds, Sums)], class: usize, from: Seconds, to: Seconds, shown: Shown) -> u64 {
    let begun = steps.iter().filter(|(start, _)| *start < to);
    let ends = steps.iter().skip(1).map(|(start, _)| *start).chain([Seconds::OPEN_END]);
    let there = begun.zip(ends).filter(|(_, end)| *end > from).map(|((_, sums), _)| sums[class]);
    match shown {
        Shown::Least => there.min(),
        Shown::Most => there.max(),
    }
    .unwrap_or_default()
}

/// Anything at all is to be seen, and only all there is fills the line.
fn level(available: u64, total: u64) -> char {
    let eighths = (u128::from(available) * 8).checked_div(u128::from(total)).unwrap_or_default();
    let eighths = usize::try_from(eighths).unwrap_or(usize::MAX);
    BLOCKS[if available == 0 { 0 } else { eighths.clamp(1, 8) }]
}

#[cfg(test)]
mod tests {
    use leasehold_client::Piece;

    use super::*;

    fn second(hour: i64) -> Seconds {
        Seconds::from_unix_s(1_795_392_000 + hour * 3600).expect("in the calendar")
    }

    /// 40 vCPUs, of which 30 are reserved in the second of three parts of a day; no disk at all.
    fn capacity() -> Capacity {
        let piece = |hour, reserved: u64| Piece {
            start: second(hour),
            reserved: [reserved, reserved * 1024, 0, reserved],
            available: [40 - reserved, (40 - reserved) * 1024, 0, 100 - reserved],
            withheld: [reserved / 10, 0, 0, 0],
            added: [0; 4],
        };
        Capacity {
            hosts: 3,
            open_hosts: 2,
            total: [40, 40 * 1024, 0, 100],
            firm: [2, 2048, 0, 0],
            window: Interval { start: second(0), end: second(24) },
            pieces: vec![piece(0, 0), piece(8, 30), piece(16, 0)],
        }
    }

    #[test]
    fn capacity_is_drawn_over_time_with_scale_and_dates() {
        let told = text(&capacity());
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "From 2026-11-23 00:00:00 to 2026-11-24 00:00:00 (UTC), 3 hosts, 1 of which accept no leases now");
        assert!(told.contains("│ VCPU      ┆ 40    ┆ 2    ┆ 30              ┆ 3               ┆ 10                │"), "{told}");
        let (full, quarter) = ("█".repeat(20), "▂".repeat(20));
        assert_eq!(
            lines[lines.len() - 5..],
            [
                "available over time".to_owned(),
                format!("     VCPU │{full}{quarter}{full}│ 0 to 40 vCPU"),
                format!("MEMORY_MB │{full}{quarter}{full}│ 0 to 40960 MiB"),
                format!("  DISK_GB │{}│ 0 to 0 GiB", " ".repeat(60)),
                format!("      UTC 2026-11-23 00:00:00{}2026-11-24 00:00:00", " ".repeat(24)),
            ]
        );
    }

    #[test]
    fn a_column_shows_the_least_of_what_it_covers_however_short_it_is() {
        let mut short = capacity();
        short.pieces[2].start = second(8).plus(1);
        let told = text(&short);
        let line = told.lines().find(|line| line.contains("VCPU │")).expect("it is drawn");
        assert_eq!(line.matches('▂').count(), 1, "{line}");

        let mut open = capacity();
        open.window.end = Seconds::OPEN_END;
        let told = text(&open);
        assert!(told.contains("to never (UTC)") && told.contains("2026-11-23 17:36:00"), "{told}");
        assert_eq!((level(1, 1_000_000), level(999, 1000), level(1000, 1000), level(0, 0)), ('▁', '▇', '█', ' '));
    }

    #[test]
    fn one_figure_is_not_drawn_and_no_host_is_said() {
        let mut figure = capacity();
        figure.pieces.truncate(1);
        assert!(!text(&figure).contains("over time"));
        figure.hosts = 0;
        assert_eq!(text(&figure), "No host is of this kind.");
    }

    #[test]
    fn what_upgrades_add_is_told_and_is_part_of_the_scale() {
        let mut grows = capacity();
        for (place, added) in [(1, 20), (2, 40)] {
            grows.pieces[place].added[0] = added;
            grows.pieces[place].available[0] += added;
        }
        let told = text(&grows);
        assert!(told.contains("┆ 30              ┆ 3               ┆ 30                ┆ 40              │"), "{told}");
        let line = told.lines().find(|line| line.contains("VCPU │")).expect("it is drawn");
        assert_eq!(line, format!("     VCPU │{}{}{}│ 0 to 80 vCPU", "▄".repeat(20), "▃".repeat(20), "█".repeat(20)));
        assert_eq!(json(&grows, 7)["steps"][2]["added"]["vcpus"], 40);
        assert!(!text(&capacity()).contains("upgrades"));
    }

    #[test]
    fn programs_get_every_step_with_its_end() {
        let told = json(&capacity(), 7);
        assert_eq!((&told["ledger_index"], &told["hosts"], &told["open_hosts"]), (&json!(7), &json!(3), &json!(2)));
        assert_eq!(told["used"], json!({"vcpus": 2, "memory_mb": 2048, "disk_gb": 0, "slots": 0}));
        assert_eq!(told["steps"][1]["start"], "2026-11-23T08:00:00Z");
        assert_eq!(told["steps"][1]["end"], "2026-11-23T16:00:00Z");
        assert_eq!(told["steps"][1]["available"]["vcpus"], 10);
        assert_eq!(told["steps"][1]["withheld"]["vcpus"], 3);
        assert_eq!(told["steps"][2]["end"], told["end"]);
    }
}
