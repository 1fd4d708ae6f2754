//! Many seeds, one process each.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use leasehold_chaos::child::child;
use leasehold_chaos::coverage::goals;
use leasehold_chaos::picture;

use super::progress::{Progress, Summary};
use super::{Common, Shape, doors, name};

/// Where the picture of fresh seeds goes.
const FOLDER: &str = "chaos-report";

/// How seeds are run.
pub struct Many<'a> {
    /// For so long; `None`: all of them.
    pub time: Option<Duration>,
    /// What a seed is made into.
    pub shape: Shape,
    /// Processes side by side.
    pub jobs: u16,
    /// Each seed twice.
    pub twice: bool,
    /// What every run has.
    pub common: &'a Common,
}

/// What the runs of one seed came to.
#[derive(Default)]
struct Ran {
    /// How many ended.
    runs: u64,
    /// The worst of their exit codes.
    code: u8,
    /// Of everything that happened, in the first that told it.
    hash: Option<String>,
    /// Another one was another.
    differed: bool,
    /// Folders of those that passed.
    passed: Vec<String>,
}

impl Ran {
    /// Notes a run; both hashes if it was another than the one before.
    fn ended(&mut self, folder: String, code: u8, hash: Option<String>) -> Option<String> {
        self.runs += 1;
        if badness(code) > badness(self.code) {
            self.code = code;
        }
        if code == 0 {
            self.passed.push(folder);
        }
        let hash = hash?;
        let before = self.hash.get_or_insert_with(|| hash.clone());
        if *before == hash {
            return None;
        }
        let both = format!("{before} and {hash}");
        self.differed = true;
        Some(both)
    }
}

/// Exit codes in the order in which they are bad.
fn badness(code: u8) -> u8 {
    match code {
        0 => 0,
        2 => 1,
        1 => 2,
        _ => 3,
    }
}

/// What a seed left that is not its report goes: fresh seeds are many, and whoever wants the record of one runs it again.
fn keep_report_alone(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_report = path.file_stem().is_some_and(|stem| stem == "report");
        if path.is_file() && !is_report {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Runs them; gives the exit code.
pub fn run(seeds: Range<u64>, how: Many<'_>) -> Result<u8> {
    let Many { time, shape, jobs, twice, common } = how;
    let runs = if twice { 2 } else { 1 };
    let mut progress = Progress::new(time.is_none().then(|| seeds.end - seeds.start), time);
    let (send, ended) = channel::<(u64, u64, std::io::Result<Output>)>();
    let (mut running, mut ran) = (0, BTreeMap::<u64, Ran>::new());
    let folder = common.report.clone().or_else(|| time.map(|_| PathBuf::from(FOLDER)));
    // No run takes the folder of another.
    let left = |seed: u64, run: u64| if run == 0 { seed.to_string() } else { format!("{seed}-again") };
    let mut seeds = seeds.flat_map(|seed| (0..runs).map(move |run| (seed, run))).peekable();
    loop {
        while running < jobs {
            // What was begun is run again, too.
            let Some((seed, run)) = seeds.next_if(|(_, run)| *run > 0 || progress.has_time()) else { break };
            let mut command = child()?;
            command.args(["run", "sim", "--summary", "--seed", &seed.to_string()]).args(shape.arguments());
            if let Some(folder) = &folder {
                command.arg("--report").arg(folder.join(left(seed, run)));
            }
            if let Some(planted) = common.planted {
                command.args(["--planted", name(planted)]);
            }
            let send = send.clone();
            // Nobody listens any more if this process is ending.
            std::thread::spawn(move || drop(send.send((seed, run, command.output()))));
            running += 1;
        }
        if running == 0 {
            break;
        }
        progress.tell();
        let (seed, run, output) = match ended.recv_timeout(Duration::from_secs(1)) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("who waits for the seeds is gone"),
        };
        running -= 1;
        let output = output.with_context(|| format!("seed {seed}"))?;
        let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
        let (said, summary) = Summary::read(&String::from_utf8_lossy(&output.stdout));
        // Each seed counts once.
        if run == 0 {
            progress.ended(seed, code, summary.as_ref());
        }
        progress.clear();
        match &summary {
            Some(summary) if code == 0 => println!("seed {seed}: pass, {summary}"),
            _ => println!("{said}\n{}", String::from_utf8_lossy(&output.stderr).trim_end()),
        }
        let of_seed = ran.entry(seed).or_default();
        if let Some(other) = of_seed.ended(left(seed, run), code, summary.map(|summary| summary.trace_hash)) {
            println!("seed {seed} is not one and the same: {other}");
        }
        let has_all = of_seed.runs == runs && !of_seed.differed;
        if let (Some(folder), None, true) = (&folder, &common.report, has_all) {
            for name in &of_seed.passed {
                keep_report_alone(&folder.join(name))?;
            }
        }
    }
    progress.clear();
    if let Some(folder) = &folder {
        let planted = common.planted.map_or_else(String::new, |planted| format!(" --planted {}", name(planted)));
        let head = format!("leasehold-chaos run sim --seed N {}{planted}", shape.arguments().join(" "));
        let each: Vec<(u64, u8)> = ran.iter().map(|(seed, ran)| (*seed, ran.code)).collect();
        picture::keep_index(folder, &each, &head)?;
    }
    let of = |wanted: fn(&Ran) -> bool| ran.iter().filter(|(_, ran)| wanted(ran)).map(|(seed, _)| *seed).collect::<Vec<_>>();
    let (violations, unknown) = (of(|ran| ran.code == 1), of(|ran| ran.code == 2));
    let harness = of(|ran| ran.code > 2 || ran.differed);
    let times = if twice { ", each twice" } else { "" };
    println!(
        "{} seeds in {:.0} s{times}: violations {violations:?}, unknown {unknown:?}, harness failures {harness:?}; \
         {:.1} cluster-hours, {:.1} per CPU minute",
        ran.len(),
        progress.took_s(),
        progress.cluster_hours(),
        progress.rate()
    );
    let sum = progress.reached();
    let missed = goals::missed(sum, shape.profile);
    print!("{}", goals::told(&missed));
    println!("{} operations, {} changes of the leader; {}", sum.asked, sum.leader_changes, progress.hours());
    doors(sum);
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder)?;
        let kept = serde_json::json!({"seeds": ran.len(), "hours": progress.hours(), "reached": sum, "missed": missed});
        std::fs::write(folder.join("coverage.json"), serde_json::to_vec_pretty(&kept)?)?;
        println!("the picture is {}", folder.join("index.html").display());
    }
    let enough = goals::wanted_from(shape.profile).is_some_and(|seeds| ran.len() as u64 >= seeds);
    let short = enough && goals::is_short(&missed, shape.profile);
    Ok(match (harness.is_empty(), violations.is_empty(), unknown.is_empty() && !short) {
        (false, ..) => 3,
        (_, false, _) => 1,
        (_, _, false) => 2,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_is_another_when_it_is_run_again_is_told() {
        let mut ran = Ran::default();
        let mut ended = |code: u8, hash: &str| ran.ended(format!("of {hash}"), code, Some(hash.to_owned()));
        assert_eq!(ended(0, "a"), None);
        assert_eq!(ended(0, "a"), None);
        assert_eq!(ended(1, "b"), Some("a and b".to_owned()));
        assert_eq!((ran.runs, ran.code, ran.differed), (3, 1, true));
        assert_eq!(ran.passed, ["of a", "of a"]);
    }

    #[test]
    fn the_worst_of_a_seed_counts() {
        for (codes, worst) in [([0, 2], 2), ([1, 2], 1), ([2, 1], 1), ([1, 3], 3), ([101, 0], 101)] {
            let mut ran = Ran::default();
            for code in codes {
                assert_eq!(ran.ended("folder".to_owned(), code, None), None);
            }
            assert_eq!((ran.code, ran.differed), (worst, false), "{codes:?}");
        }
    }
}
