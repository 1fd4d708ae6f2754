//! A run as a picture: one page that needs nothing else, for somebody who was not there.
//!
//! The verdict and the board stand in the page as text; the timeline is drawn by `report.js` from the run's data, which lie
//! in it as JSON. Everything that comes from a run is escaped: as text here, and as text nodes there.
//!
//! Read on: [`data`], [`focus`], [`reservations`]; for many seeds, [`index`].

pub mod data;
pub mod focus;
pub mod index;
pub mod promises;
pub mod reservations;

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::check::Judgement;
use crate::record::Record;
use crate::report::{Report, Verdict};
use data::Data;
use focus::Focus;
use promises::promise;

const SCRIPT: &str = include_str!("report.js");
const STYLE: &str = include_str!("report.css");

/// Writes what a run left to where it is wanted: a path that ends with `.html` gets the picture, one that ends with `.json`
/// the report; any other is a folder that gets both and the record.
///
/// # Errors
/// When a file cannot be written.
pub fn keep(to: &Path, record: &Record, report: &Report) -> anyhow::Result<()> {
    let ending = to.extension().and_then(|ending| ending.to_str());
    if let (Some("html" | "json"), Some(folder)) = (ending, to.parent()) {
        fs::create_dir_all(folder)?;
    }
    match ending {
        Some("html") => fs::write(to, page(record, report))?,
        Some("json") => fs::write(to, serde_json::to_vec_pretty(report)?)?,
        _ => {
            record.save(to)?;
            fs::write(to.join("report.json"), serde_json::to_vec_pretty(report)?)?;
            fs::write(to.join("report.html"), page(record, report))?;
        }
    }
    Ok(())
}

/// The page of one run.
#[must_use]
pub fn page(record: &Record, report: &Report) -> String {
    let data = Data::of(record, report);
    let title = format!("Seed {} · {}", report.seed, said(report.verdict));
    let mut body = String::new();
    body += &format!(
        "<header class=\"{}\"><h1>{} <small>seed {}</small></h1><p class=\"headline\">{}</p><p><code>{}</code></p>{}</header>",
        class(report.verdict),
        said(report.verdict),
        report.seed,
        escaped(&headline(report, &data.findings)),
        escaped(&report.replay),
        facts(record, report),
    );
    body += &board(report, &data.findings);
    body += include_str!("timeline.html");
    body += &format!("<script type=\"application/json\" id=\"data\">{}</script>", embedded(&data));
    framed(&title, &body, Some(SCRIPT))
}

/// What was promised, what happened instead, and when, in one sentence.
fn headline(report: &Report, findings: &[Focus]) -> String {
    match (report.verdict, findings.first()) {
        (_, Some(first)) => {
            let when = first.at.map_or_else(String::new, |at| format!(" at {:.3} s", at as f64 / 1e6));
            let others = report.failed().len() - 1;
            let others = match others {
                0 => String::new(),
                1 => " One more checker found something.".to_owned(),
                count => format!(" {count} more checkers found something."),
            };
            format!("Promised ({}): {}. Instead{when}: {}.{others}", first.check, promise(&first.check), brief(&first.text))
        }
        (Verdict::Pass, _) => {
            let looked: u64 = report.board.judgements.iter().map(|one| one.looked_at).sum();
            let checks = report.board.judgements.len();
            format!(
                "Every promise held: {checks} checkers looked at {looked} facts of {:.0} simulated seconds.",
                report.simulated_s
            )
        }
        (Verdict::Unknown, _) => {
            format!("Nothing was seen to fail, but not everything was decided: {} operations stayed open.", report.unresolved)
        }
        _ => "The run ended with a failure that no finding explains.".to_owned(),
    }
}

/// With long ids cut to their beginnings, which is enough to tell them apart in a sentence.
fn brief(text: &str) -> String {
    let long = |word: &&str| word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4;
    let words = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let mut brief = String::new();
    for word in words {
        let bare = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        if long(&bare) && bare.is_ascii() {
            brief += &bare[..8];
            brief += &word[bare.len()..];
        } else {
            brief += word;
        }
    }
    brief
}

fn facts(record: &Record, report: &Report) -> String {
    let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    let led = report.incidents.get("leads").copied().unwrap_or(0);
    let facts = [
        ("simulated", format!("{:.0} s", report.simulated_s)),
        ("took", format!("{:.1} CPU s", report.cpu_s)),
        ("nodes", record.plan.nodes.to_string()),
        ("hosts", record.plan.sim.hosts.to_string()),
        ("clients", record.plan.sim.clients.to_string()),
        ("planned faults", record.plan.faults.len().to_string()),
        ("leaders", led.to_string()),
        ("operations", sum(&report.operations).to_string()),
        ("unresolved", report.unresolved.to_string()),
        ("trace hash", report.trace_hash.clone()),
    ];
    let each = facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value)));
    format!("<dl>{}</dl>", each.collect::<String>())
}

/// Every checker, those that found something first.
fn board(report: &Report, findings: &[Focus]) -> String {
    let mut rows: Vec<Judgement> = report.board.judgements.clone();
    for finding in &report.findings {
        // What the run itself found belongs to the checker of that name, which may have seen nothing in the record.
        let row = rows.iter_mut().find(|row| row.check == finding.check);
        let row = match row {
            Some(row) => row,
            None => {
                let (check, verdict) = (finding.check.clone(), Verdict::Violation);
                rows.push(Judgement { check, verdict, looked_at: 0, evidence: Vec::new() });
                rows.last_mut().expect("one was pushed")
            }
        };
        row.verdict = row.verdict.max(Verdict::Violation);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.verdict));
    let mut text = String::from("<section id=\"board\" aria-label=\"verdicts\">");
    for row in &rows {
        text += &format!(
            "<article class=\"{}\" id=\"check-{}\"><h2><b>{}</b> {}</h2><p>{}</p><small>{} facts</small>",
            class(row.verdict),
            escaped(&row.check),
            sign(row.verdict),
            escaped(&row.check),
            escaped(promise(&row.check)),
            row.looked_at
        );
        let shown = findings.iter().enumerate().filter(|(_, focus)| focus.check == row.check);
        let mut evidence: Vec<String> = shown
            .map(|(at, focus)| {
                format!("<li><button type=\"button\" data-finding=\"{at}\">{}</button></li>", escaped(&focus.text))
            })
            .collect();
        if row.verdict != Verdict::Violation {
            evidence.extend(row.evidence.iter().map(|text| format!("<li>{}</li>", escaped(text))));
        }
        if !evidence.is_empty() {
            text += &format!("<ul>{}</ul>", evidence.concat());
        }
        text += "</article>";
    }
    text + "</section>"
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Pass",
        Verdict::Unknown => "Unknown",
        Verdict::Violation => "Violation",
        Verdict::HarnessFailure => "Harness failure",
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Unknown => "unknown",
        Verdict::Violation => "violation",
        Verdict::HarnessFailure => "harness",
    }
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Unknown => "?",
        Verdict::Violation => "✗",
        Verdict::HarnessFailure => "!",
    }
}

/// A whole document.
fn framed(title: &str, body: &str, script: Option<&str>) -> String {
    let script = script.map_or_else(String::new, |script| format!("<script>{script}</script>"));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head>\n<body>{body}{script}</body></html>\n",
        escaped(title)
    )
}

/// A text inside an element or an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}

/// JSON inside a script element: nothing in it can end the element or begin a comment.
fn embedded(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("the picture's data encode as JSON");
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Writes the page that leads to all of a folder's runs.
///
/// # Errors
/// When a report cannot be read or the page not be written.
pub fn keep_index(folder: &Path, runs: &[(u64, u8)], head: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("index.html"), index::page(folder, runs, head)?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::testing::{Made, incident, operation};
    use crate::history::Ending;
    use crate::record::Finding;

    const HOSTILE: &str = "</script><!--<img src=x onerror=alert(1)> & \"'";

    fn run(change: impl FnOnce(&mut Record)) -> (Record, Report) {
        let mut made = Made { incidents: vec![incident(None, 9_000_000_000, "phase", "over")], ..Made::default() };
        made.history = vec![operation("get", Ending::Ok, Some(3), json!({"request": {"lease_id": HOSTILE}, "node": 1}))];
        let mut record = made.record();
        change(&mut record);
        let report = Report::of(&record, 9.0, 0.1);
        (record, report)
    }

    fn found(at_ns: u64, check: &str, text: &str) -> Finding {
        Finding { at_ns, check: check.to_owned(), text: text.to_owned() }
    }

    /// The data as the script reads them.
    fn data(page: &str) -> Value {
        let after = page.split("id=\"data\">").nth(1).expect("the data are there");
        serde_json::from_str(after.split("</script>").next().unwrap_or_default()).expect("they are JSON")
    }

    #[test]
    fn what_comes_from_a_run_is_never_markup() {
        let (record, report) = run(|record| {
            record.findings.push(found(1, HOSTILE, HOSTILE));
            record.incidents.push(incident(Some(1), 2, HOSTILE, HOSTILE));
            record.trace_hash = HOSTILE.to_owned();
        });
        let page = page(&record, &report);
        assert!(!page.contains("<img") && !page.contains("<!--"));
        let scripts = page.matches("<script").count();
        assert_eq!((scripts, page.matches("</script").count()), (2, 2), "the data and the code");
        let data = data(&page);
        assert_eq!(data["findings"][0]["text"], HOSTILE);
        assert!(data["words"].as_array().expect("words").contains(&json!(HOSTILE)));
        assert!(page.contains("&lt;/script&gt;&lt;!--&lt;img src=x onerror=alert(1)&gt; &amp; &quot;&#39;"));
    }

    #[test]
    fn every_checker_is_on_the_board_with_its_promise_and_what_failed_comes_first() {
        let (record, report) = run(|record| {
            record.findings.push(found(5_000_000, "R1", "node 2: panicked"));
            record.findings.push(found(4_000_000, "H1", "at index 3 node 1 has a, node 2 had b"));
        });
        let page = page(&record, &report);
        for judgement in &report.board.judgements {
            assert!(page.contains(&format!("id=\"check-{}\"", judgement.check)), "{}", judgement.check);
            assert!(!promise(&judgement.check).is_empty(), "{} needs its promise in promises.rs", judgement.check);
        }
        let place = |check: &str| page.find(&format!("id=\"check-{check}\"")).unwrap_or(usize::MAX);
        assert!(place("R1") < place("L1") && place("H1") < place("L1"));
        assert!(page.contains("Promised (H1): nodes at the same index have the same state. Instead at 0.004 s: at index 3"));
        assert_eq!(data(&page)["findings"].as_array().map(Vec::len), Some(report.failed().len()));
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let (record, report) = run(|record| record.history.clear());
        let page = page(&record, &report);
        let elsewhere: Vec<&str> = page.match_indices("http").map(|(at, _)| &page[at..(at + 40).min(page.len())]).collect();
        assert!(elsewhere.iter().all(|link| link.starts_with("http://www.w3.org/2000/svg")), "{elsewhere:?}");
        assert!(!page.contains(" src=") && !page.contains("<link") && !page.contains("@import") && !page.contains("url("));
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        // The script finds by their ids what the page has.
        for id in SCRIPT.split("getElementById(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn every_colour_that_the_script_names_is_in_the_style() {
        let data = data(&page(&run(|_| ()).0, &run(|_| ()).1));
        let fields = ["end", "phases", "nodes", "faults", "incidents", "operations", "unavailable", "reservations", "calls"];
        for field in fields.iter().chain(&["findings", "words"]) {
            assert!(data.get(*field).is_some() && SCRIPT.contains(&format!("data.{field}")), "{field}");
        }
        for name in
            ["follower", "candidate", "learner", "down", "paused", "fault", "cloud", "skipped", "planned", "staging", "open"]
        {
            assert!(STYLE.contains(&format!(".f-{name} ")), "{name}");
        }
    }

    #[test]
    fn a_path_says_what_is_written() {
        let (record, report) = run(|_| ());
        let folder = std::env::temp_dir().join(format!("leasehold-picture-{}", std::process::id()));
        keep(&folder.join("a/out.html"), &record, &report).expect("a folder is made");
        keep(&folder.join("a/out.json"), &record, &report).expect("it is written");
        keep(&folder.join("b"), &record, &report).expect("it is written");
        let names = |part: &str| {
            let items = fs::read_dir(folder.join(part)).expect("a folder");
            let mut names: Vec<String> =
                items.map(|item| item.expect("an item").file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names("a"), ["out.html", "out.json"]);
        let all = names("b");
        assert!(["report.html", "report.json", "run.json", "history.jsonl"].iter().all(|name| all.contains(&(*name).to_owned())));
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
