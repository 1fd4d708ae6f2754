//! Trials as processes: each runs one plan and is judged by the report it leaves. The environment goes along, and with it the
//! planted bug that is to be reproduced ([`crate::mutants::VARIABLE`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Judge, Size};
use crate::child::child;
use crate::history;
use crate::plan::Plan;
use crate::report::Report;

/// How to look, and where to keep what is found.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Processor time of all trials together.
    pub cpu_max: Duration,
    /// Trials side by side.
    pub jobs: usize,
    /// More arguments for each trial, as `--planted lying-sync`.
    pub arguments: Vec<String>,
    /// The smallest plan so far.
    pub repro: PathBuf,
}

/// See the module.
pub struct Trials {
    settings: Settings,
    /// Which checker has to fail.
    check: String,
    folder: PathBuf,
    began: Instant,
    /// Longest trial by the clock on the wall: a plan may make a bug run for ever.
    patience: Duration,
    cpu_s: f64,
    count: usize,
    /// Plans that did not fail, as their text.
    passed: BTreeSet<String>,
}

/// One process under way.
struct Trial {
    child: Child,
    began: Instant,
    /// What it leaves: a `report.json`, or a folder with one.
    report: PathBuf,
}

impl Trials {
    /// Runs the plan as it is; `None`: it does not fail. `check`: which checker has to fail, otherwise the first that does.
    ///
    /// # Errors
    /// When the run breaks the harness, or processes cannot be started.
    pub fn begin(settings: Settings, check: Option<String>, plan: &Plan) -> Result<Option<(Trials, Report)>> {
        let mut trials = Trials {
            settings,
            check: String::new(),
            folder: std::env::temp_dir().join(format!("leasehold-shrink-{}", std::process::id())),
            began: Instant::now(),
            patience: Duration::from_secs(600),
            cpu_s: 0.0,
            count: 0,
            passed: BTreeSet::new(),
        };
        let trial = trials.start(plan, "report.json")?;
        let began = trial.began;
        let report = trials.finish(trial)?.context("the plan breaks the harness: there is nothing to make smaller")?;
        // A smaller plan is not much slower, but for one that makes the product busier.
        trials.patience = began.elapsed() * 4 + Duration::from_secs(20);
        let Some(found) = check.or_else(|| report.failed().into_iter().next()) else { return Ok(None) };
        if !report.failed().contains(&found) {
            return Ok(None);
        }
        trials.check = found;
        Ok(Some((trials, report)))
    }

    /// Which checker has to fail.
    pub fn check(&self) -> &str {
        &self.check
    }

    /// How many trials there were, and their processor seconds.
    pub fn spent(&self) -> (usize, f64) {
        (self.count, self.cpu_s)
    }

    /// Whether no more trials are to be run.
    pub fn over(&self) -> bool {
        self.cpu_s >= self.settings.cpu_max.as_secs_f64()
    }

    /// Runs a plan once more and keeps all it leaves behind; gives what failed.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn show(&mut self, plan: &Plan, folder: &Path) -> Result<Option<Report>> {
        let trial = self.start_into(plan, folder)?;
        self.finish(trial)
    }

    fn start(&mut self, plan: &Plan, report: &str) -> Result<Trial> {
        let folder = self.folder.join(self.count.to_string());
        self.start_into(plan, &folder.join(report))
    }

    fn start_into(&mut self, plan: &Plan, report: &Path) -> Result<Trial> {
        let folder = self.folder.join(self.count.to_string());
        self.count += 1;
        fs::create_dir_all(&folder)?;
        let file = folder.join("plan.json");
        fs::write(&file, serde_json::to_vec(plan)?)?;
        let mut command = child()?;
        command.arg("replay").arg(&file).arg("--report").arg(report).args(&self.settings.arguments);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Trial { child: quiet.spawn()?, began: Instant::now(), report: report.to_owned() })
    }

    /// Waits for it; `None`: it broke the harness, or did not end.
    fn finish(&mut self, mut trial: Trial) -> Result<Option<Report>> {
        let code = loop {
            if let Some(status) = trial.child.try_wait()? {
                break status.code();
            }
            if trial.began.elapsed() > self.patience {
                trial.child.kill()?;
                trial.child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let path = if trial.report.is_dir() { trial.report.join("report.json") } else { trial.report };
        if !matches!(code, Some(0..=2)) || !path.exists() {
            self.cpu_s += trial.began.elapsed().as_secs_f64();
            return Ok(None);
        }
        let report: Report = serde_json::from_slice(&fs::read(&path)?).with_context(|| format!("{}", path.display()))?;
        self.cpu_s += report.cpu_s;
        Ok(Some(report))
    }
}

impl Judge for Trials {
    fn first_failing(&mut self, plans: &[Plan]) -> Result<Option<usize>> {
        let mut left: Vec<(usize, String)> = Vec::new();
        for (at, plan) in plans.iter().enumerate() {
            let text = serde_json::to_string(plan)?;
            if !self.passed.contains(&text) {
                left.push((at, text));
            }
        }
        for side_by_side in left.chunks(self.settings.jobs.max(1)) {
            if self.over() {
                return Ok(None);
            }
            let mut running = Vec::new();
            for (at, text) in side_by_side {
                running.push((*at, text, self.start(&plans[*at], "report.json")?));
            }
            let mut first = None;
            for (at, text, trial) in running {
                let failed = self.finish(trial)?.is_some_and(|report| report.failed().contains(&self.check));
                if failed {
                    first = first.or(Some(at));
                } else {
                    self.passed.insert(text.clone());
                }
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }

    fn operations(&mut self, plan: &Plan) -> Result<BTreeMap<u32, BTreeSet<u32>>> {
        let trial = self.start(plan, "whole")?;
        let folder = trial.report.clone();
        self.finish(trial)?.context("a plan that failed breaks the harness now")?;
        let lines = BufReader::new(fs::File::open(folder.join("history.jsonl"))?);
        let mut operations: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for operation in history::read(lines)? {
            let number = operation.body["number"].as_u64().and_then(|number| u32::try_from(number).ok());
            let number = number.context("an operation without its number")?;
            operations.entry(operation.client).or_default().insert(number);
        }
        Ok(operations)
    }

    fn found(&mut self, what: &str, plan: &Plan) -> Result<()> {
        let (seconds, cpu_s) = (self.began.elapsed().as_secs(), self.cpu_s);
        eprintln!("{seconds:>4} s, {cpu_s:.0} CPU s, trial {}: {what}: {}", self.count, Size::of(plan));
        keep(plan, &self.settings.repro)
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        // A folder that stays in the place for temporary files does no harm.
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Writes a plan as `replay` reads it.
///
/// # Errors
/// When it cannot be written.
pub fn keep(plan: &Plan, file: &Path) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    // Written beside and moved: whoever stops in the middle has the last one whole.
    let beside = file.with_extension("json.new");
    fs::write(&beside, serde_json::to_vec_pretty(plan)?)?;
    Ok(fs::rename(&beside, file)?)
}
