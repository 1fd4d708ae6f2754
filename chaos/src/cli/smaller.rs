//! `shrink`: makes a failing plan smaller.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use leasehold_chaos::mutants;
use leasehold_chaos::plan::{Plan, Profile};
use leasehold_chaos::shrink::trials::{Settings, Trials, keep};
use leasehold_chaos::shrink::{self, Size};
use leasehold_chaos::sim::Planted;

#[derive(Debug, Args)]
pub struct Shrink {
    /// A plan, or the `report.json` of a run that failed.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// The plan of this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// With `--seed`: simulated seconds with faults.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// With `--seed`: which faults there are.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// The checker that must go on failing; otherwise the first that does.
    #[arg(long)]
    check: Option<String>,
    /// Processor time of all trials together.
    #[arg(long, value_parser = super::duration, default_value = "5m")]
    cpu: Duration,
    /// Trials side by side.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// A folder for `repro.json` and, in `repro/`, for what its run leaves; otherwise `repro.json` is written here.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Plants a fault as in the run that failed.
    #[arg(long, value_parser = super::planted)]
    planted: Option<Planted>,
}

impl Shrink {
    /// Does it; gives the exit code: 0 with a plan that fails, 2 if the given one does not.
    pub fn carry_out(self) -> Result<u8> {
        let plan = match (&self.file, self.seed) {
            (Some(file), _) => shrink::read(file)?,
            (None, Some(seed)) => Plan::shaped(seed, self.seconds, self.profile),
            (None, None) => bail!("a file or --seed is needed"),
        };
        let arguments: Vec<String> =
            self.planted.map_or_else(Vec::new, |planted| vec!["--planted".to_owned(), super::name(planted).to_owned()]);
        let folder = self.report.clone().unwrap_or_default();
        let repro = folder.join("repro.json");
        let settings = Settings { cpu_max: self.cpu, jobs: self.jobs, arguments: arguments.clone(), repro: repro.clone() };
        let Some((mut trials, report)) = Trials::begin(settings, self.check.clone(), &plan)? else {
            println!("{} does not fail: nothing to make smaller", self.check.as_deref().unwrap_or("the plan"));
            return Ok(2);
        };
        let check = trials.check().to_owned();
        let before = Size::of(&plan).with_operations(&report);
        eprintln!("{check} fails: {before}");
        let seen = report.findings.iter().filter(|finding| finding.check == check).map(|finding| finding.at_ns / 1_000_000);
        let small = shrink::shrink(plan, seen.min(), &mut trials)?;
        keep(&small, &repro)?;
        let complete = !trials.over();
        let scratch = std::env::temp_dir().join(format!("leasehold-repro-{}.json", std::process::id()));
        let shown = self.report.as_ref().map_or_else(|| scratch.clone(), |folder| folder.join("repro"));
        if self.report.is_some() {
            std::fs::create_dir_all(&shown)?;
        }
        let again = trials.show(&small, &shown)?.context("the smallest plan breaks the harness")?;
        if scratch.exists() {
            std::fs::remove_file(&scratch)?;
        }
        if !again.failed().contains(&check) {
            bail!("{} does not fail by {check} when it is run once more", repro.display());
        }
        let after = Size::of(&small).with_operations(&again);
        let (count, cpu_s) = trials.spent();
        let planted =
            std::env::var(mutants::VARIABLE).map_or_else(|_| String::new(), |id| format!("{}={id} ", mutants::VARIABLE));
        let arguments: String = arguments.iter().map(|argument| format!(" {argument}")).collect();
        if !complete {
            println!("not the smallest: --cpu was spent");
        }
        println!(
            "{check} in {count} trials, {cpu_s:.0} CPU s: {} events -> {} ({before} -> {after}); \
             {planted}leasehold-chaos replay {}{arguments}",
            before.events(),
            after.events(),
            repro.display()
        );
        Ok(0)
    }
}
