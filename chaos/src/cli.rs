//! The command line.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use leasehold_chaos::coverage::{Coverage, goals};
use leasehold_chaos::mutants::{self, Search};
use leasehold_chaos::plan::{Plan, Profile};
use leasehold_chaos::record::Record;
use leasehold_chaos::report::{Report, Verdict};
use leasehold_chaos::sim::{self, Options, Planted};

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
        #[arg(long, value_delimiter = ',')]
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
    },
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
        /// Processes side by side.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
        /// Where one seed's counters go, for who adds them up.
        #[arg(long, hide = true)]
        counters: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// A folder for record and `report.json`.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Prints every event.
    #[arg(long)]
    trace: bool,
    /// Plants a fault that the checks must find: `lying-sync` or `wrong-majority`.
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
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
            What::Run { tier: Tier::Sim { seed: Some(seed), seconds, profile, counters, common, .. } } => {
                let again = (profile != Profile::Swarm)
                    .then(|| format!("leasehold-chaos run sim --seed {seed} --seconds {seconds} --profile {profile}"));
                one(Plan::shaped(seed, seconds, profile), again, counters, &common)
            }
            What::Run { tier: Tier::Sim { seeds: Some(seeds), seconds, profile, jobs, common, .. } } => {
                many(seeds, None, (seconds, profile), jobs, &common)
            }
            What::Run { tier: Tier::Sim { for_: Some(time), seconds, profile, jobs, common, .. } } => {
                // Fresh seeds: another time is other seeds.
                let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
                many(first..u64::MAX, Some(time), (seconds, profile), jobs, &common)
            }
            What::Run { tier: Tier::Sim { .. } } => bail!("one of --seed, --seeds and --for is needed"),
            What::Mutants { only, seconds, seeds, cpu, report } => {
                let search = Search { only, seconds, seeds, cpu_max: cpu };
                Ok(u8::from(!mutants::all(&search, report.as_ref())?))
            }
            What::Check { folder } => {
                let record = Record::load(&folder).with_context(|| format!("{}", folder.display()))?;
                let simulated_s = record.incidents.last().map_or(0.0, |incident| incident.at_ns as f64 / 1e9);
                let report = Report::of(&record, simulated_s, 0.0);
                told(&report);
                println!("{:?}: {}", report.verdict, folder.display());
                Ok(report.verdict.exit_code())
            }
            What::Replay { file, common } => {
                let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
                let value: serde_json::Value = serde_json::from_str(&text)?;
                let plan = value.get("plan").cloned().unwrap_or(value);
                one(serde_json::from_value(plan)?, Some(format!("leasehold-chaos replay {}", file.display())), None, &common)
            }
        }
    }
}

/// One seed in this process.
fn one(plan: Plan, replay: Option<String>, counters: Option<PathBuf>, common: &Common) -> Result<u8> {
    if common.trace || std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).with_ansi(false).init();
    }
    let began = cpu_s();
    let record = sim::run(plan, Options { print: common.trace, planted: common.planted })?;
    let simulated_s = record.incidents.last().map_or(0.0, |incident| incident.at_ns as f64 / 1e9);
    let mut report = Report::of(&record, simulated_s, cpu_s() - began);
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
        "seed {} {:?} hash {} {} simulated s in {:.2} CPU s; operations {:?}; incidents {:?}; unresolved {}",
        report.seed,
        report.verdict,
        report.trace_hash,
        simulated_s.round(),
        report.cpu_s,
        report.operations,
        report.incidents,
        report.unresolved
    );
    if let Some(folder) = &common.report {
        record.save(folder)?;
        std::fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(path) = counters {
        std::fs::write(path, serde_json::to_vec(&report.coverage)?)?;
    }
    Ok(report.verdict.exit_code())
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
}

/// One process a seed.
fn many(
    seeds: Range<u64>,
    time: Option<Duration>,
    (seconds, profile): (u64, Profile),
    jobs: usize,
    common: &Common,
) -> Result<u8> {
    ensure!(jobs > 0, "--jobs must be at least 1");
    let program = std::env::current_exe()?;
    let began = Instant::now();
    let counters = |seed: u64| std::env::temp_dir().join(format!("leasehold-chaos-{}-{seed}.json", std::process::id()));
    let mut sum = Coverage::default();
    let mut running: VecDeque<(u64, Child)> = VecDeque::new();
    let mut codes: Vec<(u64, u8)> = Vec::new();
    let mut seeds = seeds.into_iter();
    loop {
        let more = time.is_none_or(|time| began.elapsed() < time);
        while more && running.len() < jobs {
            let Some(seed) = seeds.next() else { break };
            let mut command = Command::new(&program);
            command.args(["run", "sim", "--seed", &seed.to_string(), "--seconds", &seconds.to_string()]);
            command.args(["--profile", &profile.to_string(), "--counters"]).arg(counters(seed));
            if let Some(folder) = &common.report {
                command.arg("--report").arg(folder.join(seed.to_string()));
            }
            if let Some(planted) = common.planted {
                command.args(["--planted", name(planted)]);
            }
            running.push_back((seed, command.stdin(Stdio::null()).spawn()?));
        }
        let Some((seed, mut child)) = running.pop_front() else { break };
        let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3);
        codes.push((seed, code));
        let path = counters(seed);
        if path.exists() {
            sum.add(&serde_json::from_slice(&std::fs::read(&path)?)?);
            std::fs::remove_file(&path)?;
        }
    }
    let of = |wanted: u8| codes.iter().filter(|(_, code)| *code == wanted).map(|(seed, _)| *seed).collect::<Vec<_>>();
    let harness: Vec<u64> = codes.iter().filter(|(_, code)| *code > 2).map(|(seed, _)| *seed).collect();
    let (violations, unknown) = (of(1), of(2));
    println!(
        "{} seeds in {:.0} s: violations {violations:?}, unknown {unknown:?}, harness failures {harness:?}",
        codes.len(),
        began.elapsed().as_secs_f64()
    );
    let missed = goals::missed(&sum);
    print!("{}", goals::told(&missed));
    println!("{} operations, {} changes of the leader", sum.asked, sum.leader_changes);
    if let Some(folder) = &common.report {
        std::fs::create_dir_all(folder)?;
        let kept = serde_json::json!({"seeds": codes.len(), "reached": sum, "missed": missed});
        std::fs::write(folder.join("coverage.json"), serde_json::to_vec_pretty(&kept)?)?;
    }
    // A profile leaves out on purpose what others have.
    let enough = codes.len() as u64 >= goals::SEEDS && profile == Profile::Swarm;
    let short = enough && missed.values().any(|(missing, _)| !missing.is_empty());
    Ok(match (harness.is_empty(), violations.is_empty(), unknown.is_empty() && !short) {
        (false, ..) => 3,
        (_, false, _) => 1,
        (_, _, false) => 2,
        _ => 0,
    })
}

/// Processor time of this process so far, user and system.
fn cpu_s() -> f64 {
    // Fields 14 and 15, in hundredths of a second on Linux; the name in field 2 ends with the last parenthesis.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / 100.0
}
