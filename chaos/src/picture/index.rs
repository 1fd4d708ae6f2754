//! Many seeds on one page: the verdict of each, totals, and the way to its picture.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{class, escaped, framed, said};
use crate::hours::Tally;
use crate::report::{Report, Verdict};

/// Characters of evidence in a row.
const EVIDENCE_MAX: usize = 180;

/// Of runs that each left a folder named after its seed; a run is a seed with its exit code, of one that was run twice the worse.
/// `head`: what was run.
///
/// # Errors
/// When a report is there and does not read.
pub fn page(folder: &Path, runs: &[(u64, u8)], head: &str) -> io::Result<String> {
    let mut rows: Vec<(u64, u8, String, Option<Report>)> = Vec::new();
    for (seed, code) in runs {
        let (name, report) = left(folder, *seed, *code)?;
        rows.push((*seed, *code, name, report));
    }
    // The worst first: they are what somebody looks for.
    rows.sort_by_key(|(seed, _, _, report)| (std::cmp::Reverse(verdict(report.as_ref())), *seed));
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    let (mut simulated_s, mut cpu_s, mut operations, mut faults) = (0.0, 0.0, 0, 0);
    let mut verdicts: BTreeMap<Verdict, u64> = BTreeMap::new();
    let (mut lines, mut hours) = (String::new(), Tally::default());
    for (seed, code, name, report) in &rows {
        let verdict = verdict(report.as_ref());
        *verdicts.entry(verdict).or_default() += 1;
        let Some(report) = report else {
            lines += &format!(
                "<tr class=\"harness\"><td>{seed}</td><td>{}</td><td colspan=\"7\">left nothing, exit code {code}</td></tr>",
                said(verdict)
            );
            continue;
        };
        let found = report.failed();
        found.iter().for_each(|check| *failed.entry(check.clone()).or_default() += 1);
        let ran: u64 = report.operations.values().sum();
        let led = report.incidents.get("leads").copied().unwrap_or(0);
        simulated_s += report.simulated_s;
        cpu_s += report.cpu_s;
        operations += ran;
        faults += report.plan.faults.len();
        hours.add(*seed, (*code == 0, report.plan.nodes), &report.hours);
        let first = report.findings.iter().find(|finding| found.first() == Some(&finding.check)).map(|finding| &finding.text);
        let judged = report.board.judgements.iter().filter(|one| one.verdict == verdict);
        let first = first.or_else(|| judged.filter_map(|one| one.evidence.first()).next());
        lines += &format!(
            "<tr class=\"{}\"><td><a href=\"{name}/report.html\">{seed}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{led}</td><td>{ran}</td><td>{:.0}</td><td class=\"why\">{}</td></tr>",
            class(verdict),
            said(verdict),
            escaped(&found.join(" ")),
            report.plan.nodes,
            report.plan.faults.len(),
            report.simulated_s,
            escaped(&beginning(first.map_or("", String::as_str))),
        );
    }
    let counts: Vec<String> = verdicts.iter().rev().map(|(verdict, count)| format!("{count} {}", said(*verdict))).collect();
    let worst = verdicts.keys().next_back().copied().unwrap_or(Verdict::Unknown);
    let found: Vec<String> = failed.iter().map(|(check, count)| format!("{check} in {count}")).collect();
    let found =
        if found.is_empty() { "No checker found anything.".to_owned() } else { format!("Found by {}.", found.join(", ")) };
    let body = format!(
        "<header class=\"{}\"><h1>{} seeds <small>{}</small></h1><p class=\"headline\">{}</p><p>{}</p><p><code>{}</code></p><dl>\
         <div><dt>simulated</dt><dd>{:.1} h</dd></div><div><dt>took</dt><dd>{:.0} CPU s</dd></div>\
         <div><dt>operations</dt><dd>{operations}</dd></div><div><dt>planned faults</dt><dd>{faults}</dd></div></dl></header>\
         <section id=\"runs\"><table><thead><tr><th>seed</th><th>verdict</th><th>failed</th><th>nodes</th><th>faults</th>\
         <th>leaders</th><th>operations</th><th>simulated s</th><th>first evidence</th></tr></thead><tbody>{lines}</tbody></table></section>",
        class(worst),
        rows.len(),
        escaped(&counts.join(", ")),
        escaped(&found),
        escaped(&hours.to_string()),
        escaped(head),
        simulated_s / 3_600.0,
        cpu_s,
    );
    Ok(framed("Seeds", &body, None))
}

/// What a seed left, and where: of two runs the one that ended with this code.
fn left(folder: &Path, seed: u64, code: u8) -> io::Result<(String, Option<Report>)> {
    let mut left = (seed.to_string(), None);
    if code > 2 {
        return Ok(left);
    }
    for name in [seed.to_string(), format!("{seed}-again")] {
        let path = folder.join(&name).join("report.json");
        if !path.exists() {
            continue;
        }
        let report: Report = serde_json::from_slice(&fs::read(path)?)?;
        if report.verdict.exit_code() == code {
            return Ok((name, Some(report)));
        }
        if left.1.is_none() {
            left = (name, Some(report));
        }
    }
    Ok(left)
}

/// Enough of a text to know what it is about; the picture has the whole.
fn beginning(text: &str) -> String {
    let cut: String = text.chars().take(EVIDENCE_MAX).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

fn verdict(report: Option<&Report>) -> Verdict {
    report.map_or(Verdict::HarnessFailure, |report| report.verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::Made;
    use crate::record::Finding;

    #[test]
    fn all_seeds_are_there_the_worst_first_and_lead_to_their_pictures() {
        let folder = std::env::temp_dir().join(format!("leasehold-index-{}", std::process::id()));
        let mut record = Made::default().record();
        for seed in [4, 5] {
            record.plan.seed = seed;
            if seed == 5 {
                record.findings.push(Finding {
                    at_ns: 1,
                    check: "L1".to_owned(),
                    text: "<b>twice</b>".to_owned() + &"é".repeat(300),
                });
            }
            super::super::keep(&folder.join(seed.to_string()), &record, &Report::of(&record, 1_800.0, 2.0))
                .expect("it is written");
        }
        let text = page(&folder, &[(4, 2), (5, 1), (6, 3)], "run <sim>").expect("it reads");
        let place = |text_of: &str| text.find(text_of).unwrap_or_else(|| panic!("{text_of} is missing"));
        assert!(place("left nothing, exit code 3") < place("5/report.html") && place("5/report.html") < place("4/report.html"));
        assert!(text.contains("1 Harness failure, 1 Violation, 1 Unknown") && text.contains("<dd>1.0 h</dd>"));
        assert!(
            text.contains("&lt;b&gt;twice")
                && !text.contains("<b>twice")
                && text.contains("é…</td>")
                && text.contains("run &lt;sim&gt;")
        );
        assert!(text.contains("no seed had a whole hour of faults"));
        assert!(text.contains("Found by") && text.contains("L1 in 1"));
        fs::remove_dir_all(&folder).expect("it is there");
    }
}
