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

/// What seeds were run as, to see whether one is the same when it is run again.
#[derive(Default)]
struct Hashes {
    of: BTreeMap<u64, String>,
    /// Seeds that were not.
    differed: Vec<u64>,
}

impl Hashes {
    /// Notes a run; both hashes if the seed was run before and was another.
    fn differs(&mut self, seed: u64, hash: String) -> Option<String> {
        let before = self.of.get(&seed).filter(|before| **before != hash).map(|before| format!("{before} and {hash}"));
        if before.is_some() {
            self.differed.push(seed);
        }
        self.of.insert(seed, hash);
        before
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
    let mut progress = Progress::new(time.is_none().then(|| (seeds.end - seeds.start) * runs), time);
    let (send, ended) = channel::<(u64, std::io::Result<Output>)>();
    let (mut running, mut codes, mut hashes) = (0, Vec::<(u64, u8)>::new(), Hashes::default());
    let folder = common.report.clone().or_else(|| time.map(|_| PathBuf::from(FOLDER)));
    let mut seeds = seeds.into_iter().flat_map(|seed| (0..runs).map(move |_| seed));
    loop {
        while running < jobs && progress.has_time() {
            let Some(seed) = seeds.next() else { break };
            let mut command = child()?;
            command.args(["run", "sim", "--summary", "--seed", &seed.to_string()]).args(shape.arguments());
            if let Some(folder) = &folder {
                command.arg("--report").arg(folder.join(seed.to_string()));
            }
            if let Some(planted) = common.planted {
                command.args(["--planted", name(planted)]);
            }
            let send = send.clone();
            // Nobody listens any more if this process is ending.
            std::thread::spawn(move || drop(send.send((seed, command.output()))));
            running += 1;
        }
        if running == 0 {
            break;
        }
        progress.tell();
        let (seed, output) = match ended.recv_timeout(Duration::from_secs(1)) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => bail!("who waits for the seeds is gone"),
        };
        running -= 1;
        let output = output.with_context(|| format!("seed {seed}"))?;
        let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
        let (said, summary) = Summary::read(&String::from_utf8_lossy(&output.stdout));
        progress.ended(code, summary.as_ref());
        progress.clear();
        match &summary {
            Some(summary) if code == 0 => println!("seed {seed}: pass, {summary}"),
            _ => println!("{said}\n{}", String::from_utf8_lossy(&output.stderr).trim_end()),
        }
        if let (Some(folder), None, 0) = (&folder, &common.report, code) {
            keep_report_alone(&folder.join(seed.to_string()))?;
        }
        if let Some(other) = summary.and_then(|summary| hashes.differs(seed, summary.trace_hash)) {
            println!("seed {seed} is not one and the same: {other}");
        }
        codes.push((seed, code));
    }
    progress.clear();
    codes.sort_unstable();
    if let Some(folder) = &folder {
        let planted = common.planted.map_or_else(String::new, |planted| format!(" --planted {}", name(planted)));
        let head = format!("leasehold-chaos run sim --seed N {}{planted}", shape.arguments().join(" "));
        let mut each = codes.clone();
        each.dedup_by_key(|(seed, _)| *seed);
        picture::keep_index(folder, &each, &head)?;
    }
    let of = |wanted: u8| codes.iter().filter(|(_, code)| *code == wanted).map(|(seed, _)| *seed).collect::<Vec<_>>();
    let mut harness: Vec<u64> = codes.iter().filter(|(_, code)| *code > 2).map(|(seed, _)| *seed).collect();
    harness.extend(hashes.differed);
    let (violations, unknown) = (of(1), of(2));
    println!(
        "{} seeds in {:.0} s: violations {violations:?}, unknown {unknown:?}, harness failures {harness:?}; \
         {:.1} cluster-hours, {:.1} per CPU minute",
        codes.len(),
        progress.took_s(),
        progress.cluster_hours(),
        progress.rate()
    );
    let sum = progress.reached();
    let missed = goals::missed(sum, shape.profile);
    print!("{}", goals::told(&missed));
    println!("{} operations, {} changes of the leader; {}", sum.asked, sum.leader_changes, progress.eventful());
    doors(sum);
    if let Some(folder) = &folder {
        std::fs::create_dir_all(folder)?;
        let kept = serde_json::json!({"seeds": codes.len(), "reached": sum, "missed": missed});
        std::fs::write(folder.join("coverage.json"), serde_json::to_vec_pretty(&kept)?)?;
        println!("the picture is {}", folder.join("index.html").display());
    }
    let enough = goals::wanted_from(shape.profile).is_some_and(|seeds| codes.len() as u64 >= seeds);
    let short = enough && missed.values().any(|(missing, _)| !missing.is_empty());
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
        let mut hashes = Hashes::default();
        assert_eq!(hashes.differs(1, "a".to_owned()), None);
        assert_eq!(hashes.differs(2, "b".to_owned()), None);
        assert_eq!(hashes.differs(1, "a".to_owned()), None);
        assert_eq!(hashes.differs(2, "c".to_owned()), Some("b and c".to_owned()));
        assert_eq!(hashes.differed, [2]);
    }
}
