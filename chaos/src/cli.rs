//! The command line.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use leasehold_chaos::coverage::Coverage;
use leasehold_chaos::cpu;
use leasehold_chaos::diagram::View;
use leasehold_chaos::mutants::{self, Search};
use leasehold_chaos::picture;
use leasehold_chaos::plan::{Plan, Profile};
use leasehold_chaos::record::Record;
use leasehold_chaos::report::{Report, Verdict};
use leasehold_chaos::shrink;
use leasehold_chaos::sim::{self, Options, Planted};
use many::Many;
use progress::Summary;

mod many;
mod progress;
mod smaller;

/// Chaos testing for Leasehold. Exit codes: 0 pass, 1 violation, 2 unknown, 3 harness failure, 64 usage.
#[derive(Debug, Parser)]
#[command(name = "leasehold-chaos", version)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs seeds.
    Run {
        #[command(subcommand)]
        tier: Tier,
    },
    /// Plants every known bug in turn and sees whether the checks find it.
    Mutants {
        /// Only these, as `M11` or `M11,M12`.
        #[arg(long, value_delimiter = ',', value_parser = mutant)]
        only: Vec<String>,
        /// Simulated seconds with faults of each run.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Seeds for each at most.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        /// Processor time for each at most.
        #[arg(long, value_parser = duration, default_value = "2m")]
        cpu: Duration,
        /// A folder for `mutants.json`.
        #[arg(long)]
        report: Option<PathBuf>,
    },
    /// Judges a kept run again, without running it.
    Check {
        /// What `--report` wrote.
        folder: PathBuf,
        /// As of `run`: the picture of the old run, drawn anew.
        #[arg(long)]
        report: Option<PathBuf>,
    },
    /// Makes a failing plan smaller, as long as the same checker fails.
    Shrink(smaller::Shrink),
    /// Runs a plan from a file again.
    Replay {
        /// A plan, or a `report.json`.
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Subcommand)]
enum Tier {
    /// All nodes in one thread, in simulated time.
    #[command(group(clap::ArgGroup::new("which").required(true).args(["seed", "seeds", "for_"])))]
    Sim {
        /// One seed.
        #[arg(long, conflicts_with_all = ["seeds", "for_"])]
        seed: Option<u64>,
        /// Several seeds, `A..B`.
        #[arg(long, value_parser = seeds, conflicts_with = "for_")]
        seeds: Option<Range<u64>>,
        /// Fresh seeds for so long, as `10m`.
        #[arg(long = "for", value_parser = duration)]
        for_: Option<Duration>,
        /// Simulated seconds with faults.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// Which faults there are.
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// How nodes and clients speak to each other; as drawn by the seed, unless given.
        #[arg(long, value_enum)]
        level: Option<Level>,
        /// Processes side by side.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256), default_value_t = 1)]
        jobs: u16,
        /// Each seed twice, which must be one and the same: equal hashes of everything that happens.
        #[arg(long, conflicts_with = "seed")]
        twice: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// A folder for record, `report.json` and `report.html`, or a file that ends with `.json` or `.html` for one of them. Without it,
    /// `--for` writes `chaos-report`, of seeds that pass only the report.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Draws who said what to whom, as text on standard error.
    #[arg(long)]
    trace: bool,
    /// With `--trace`: from this simulated second on.
    #[arg(long, requires = "trace", default_value_t = 0.0)]
    from: f64,
    /// With `--trace`: until this simulated second.
    #[arg(long, requires = "trace", default_value_t = 1e9)]
    to: f64,
    /// With `--trace`: heartbeats and whatever else repeats, too.
    #[arg(long, requires = "trace")]
    all: bool,
    /// Plants a fault that the checks must find: `lying-sync` or `wrong-majority`.
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
    /// Prints figures for the process that started this one.
    #[arg(long, hide = true)]
    summary: bool,
}

/// How nodes and clients speak to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// Their messages are carried.
    Message,
    /// By the product's HTTP, over simulated TCP.
    Wire,
}

/// What a seed is made into.
#[derive(Clone, Copy)]
struct Shape {
    seconds: u64,
    profile: Profile,
    level: Option<Level>,
}

impl Shape {
    fn plan(self, seed: u64) -> Plan {
        let mut plan = Plan::shaped(seed, self.seconds, self.profile);
        if let Some(level) = self.level {
            plan.sim.wire = level == Level::Wire;
        }
        plan
    }

    /// As the command line has it.
    fn arguments(self) -> Vec<String> {
        let mut arguments =
            vec!["--seconds".to_owned(), self.seconds.to_string(), "--profile".to_owned(), self.profile.to_string()];
        if let Some(level) = self.level {
            let name = if level == Level::Wire { "wire" } else { "message" };
            arguments.extend(["--level".to_owned(), name.to_owned()]);
        }
        arguments
    }
}

impl Common {
    /// What is drawn, if anything.
    fn view(&self) -> Option<View> {
        let ns = |seconds: f64| (seconds.max(0.0) * 1e9) as u64;
        self.trace.then(|| View { from_ns: ns(self.from), until_ns: ns(self.to), all: self.all })
    }
}

fn planted(text: &str) -> Result<Planted, String> {
    match text {
        "lying-sync" => Ok(Planted::LyingSync),
        "wrong-majority" => Ok(Planted::WrongMajority),
        _ => Err("lying-sync or wrong-majority is wanted".to_owned()),
    }
}

fn name(planted: Planted) -> &'static str {
    match planted {
        Planted::LyingSync => "lying-sync",
        Planted::WrongMajority => "wrong-majority",
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("A..B is wanted")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("no seeds".to_owned()) } else { Ok(range) }
}

fn mutant(text: &str) -> Result<String, String> {
    let known = || mutants::ids().collect::<Vec<_>>().join(", ");
    mutants::find(text).map(|_| text.to_owned()).ok_or_else(|| format!("there is none of that name; there are {}", known()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "as 90s, 10m or 2h".to_owned())?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3_600)),
        _ => Err("as 90s, 10m or 2h".to_owned()),
    }
}

impl Arguments {
    /// Does it; gives the exit code.
    pub fn carry_out(self) -> Result<u8> {
        match self.what {
            What::Run { tier: Tier::Sim { seed: Some(seed), seconds, profile, level, common, .. } } => {
                let shape = Shape { seconds, profile, level };
                let again = (profile != Profile::Swarm || level.is_some())
                    .then(|| format!("leasehold-chaos run sim --seed {seed} {}", shape.arguments().join(" ")));
                one(shape.plan(seed), again, &common)
            }
            What::Run { tier: Tier::Sim { seeds, for_, seconds, profile, level, jobs, twice, common, .. } } => {
                // Fresh seeds: another time is other seeds.
                let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
                let seeds = seeds.unwrap_or(first..u64::MAX);
                many::run(seeds, Many { time: for_, shape: Shape { seconds, profile, level }, jobs, twice, common: &common })
            }
            What::Mutants { only, seconds, seeds, cpu, report } => {
                let search = Search { only, seconds, seeds, cpu_max: cpu };
                Ok(u8::from(!mutants::all(&search, report.as_ref())?))
            }
            What::Check { folder, report: to } => {
                let record = Record::load(&folder).with_context(|| format!("{}", folder.display()))?;
                let simulated_s = record.incidents.last().map_or(0.0, |incident| incident.at_ns as f64 / 1e9);
                let report = Report::of(&record, simulated_s, 0.0);
                told(&report);
                if let Some(to) = to {
                    picture::keep(&to, &record, &report)?;
                }
                println!("{:?}: {}", report.verdict, folder.display());
                Ok(report.verdict.exit_code())
            }
            What::Shrink(shrink) => shrink.carry_out(),
            What::Replay { file, common } => {
                let again = format!("leasehold-chaos replay {}", file.display());
                one(shrink::read(&file)?, Some(again), &common)
            }
        }
    }
}

/// One seed in this process.
fn one(plan: Plan, replay: Option<String>, common: &Common) -> Result<u8> {
    let began = cpu::used_s();
    let record = sim::run(plan, Options { print: common.view(), planted: common.planted })?;
    let simulated_s = record.incidents.last().map_or(0.0, |incident| incident.at_ns as f64 / 1e9);
    let mut report = Report::of(&record, simulated_s, 0.0);
    report.took(cpu::used_s() - began);
    if let Some(replay) = replay {
        report.replay = replay;
    }
    if let Some(planted) = common.planted {
        report.replay += &format!(" --planted {}", name(planted));
    }
    if let Ok(id) = std::env::var(mutants::VARIABLE) {
        report.replay = format!("{}={id} {}", mutants::VARIABLE, report.replay);
    }
    if report.verdict != Verdict::Pass {
        println!("{}", report.replay);
    }
    told(&report);
    println!(
        "seed {} {:?} hash {} {} simulated s in {:.2} CPU s, {:.1} cluster-hours per CPU minute; operations {:?}; incidents {:?}; unresolved {}",
        report.seed,
        report.verdict,
        report.trace_hash,
        simulated_s.round(),
        report.cpu_s,
        report.cluster_hours_per_cpu_minute,
        report.operations,
        report.incidents,
        report.unresolved
    );
    if let Some(to) = &common.report {
        picture::keep(to, &record, &report)?;
    }
    if common.summary {
        println!("{}", serde_json::to_string(&Summary::of(&report))?);
    }
    let code = report.verdict.exit_code();
    // The process ends: to give hundreds of megabytes back piece by piece would take a tenth of its time.
    std::mem::forget((record, report));
    Ok(code)
}

/// What did not hold, and what each checker says.
fn told(report: &Report) {
    for finding in &report.findings {
        println!("{} at {:.3} s: {}", finding.check, finding.at_ns as f64 / 1e9, finding.text);
    }
    for judgement in &report.board.judgements {
        for text in &judgement.evidence {
            println!("{}: {text}", judgement.check);
        }
    }
    let board: Vec<String> =
        report.board.judgements.iter().map(|one| format!("{} {:?} ({})", one.check, one.verdict, one.looked_at)).collect();
    println!("checked: {}", board.join(", "));
    doors(&report.coverage);
}

/// How many operations came through which edge, if any did.
fn doors(coverage: &Coverage) {
    if !coverage.doors.is_empty() {
        println!("asked through {:?}", coverage.by_door());
    }
}
