//! What the command line says.

use std::path::PathBuf;

pub const HELP: &str = "\
bench_plan: how long planning takes in a cloud of many hosts and leases

  --hosts N      hosts of the cloud (10000)
  --leases N     leases in the end (1000000); figures are also taken at a tenth and a hundredth
  --samples N    how often each thing is measured (2000; slow ones less often)
  --seed N       of the world and the questions (1)
  --report FILE  figures as JSON; FILE.svg is the plot of growth
";

/// The parsed command line.
pub struct Arguments {
    pub help: bool,
    pub hosts: u64,
    pub leases: u64,
    pub samples: usize,
    pub seed: u64,
    pub report: Option<PathBuf>,
    /// Only open this snapshot and say what that takes; how a run measures restarts in a process of their own.
    pub restart: Option<PathBuf>,
}

impl Arguments {
    /// Numbers of leases at which figures are taken.
    pub fn stages(&self) -> Vec<u64> {
        let mut stages: Vec<u64> = [100, 10, 1].iter().map(|part| self.leases / part).filter(|leases| *leases > 0).collect();
        stages.dedup();
        stages
    }
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments =
        Arguments { help: false, hosts: 10_000, leases: 1_000_000, samples: 2000, seed: 1, report: None, restart: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|error| format!("{word} {text}: {error}"));
        match word.as_str() {
            "--help" | "-h" => arguments.help = true,
            "--hosts" => arguments.hosts = number(value()?)?,
            "--leases" => arguments.leases = number(value()?)?,
            "--samples" => arguments.samples = number(value()?)? as usize,
            "--seed" => arguments.seed = number(value()?)?,
            "--report" => arguments.report = Some(value()?.into()),
            "--restart" => arguments.restart = Some(value()?.into()),
            other => return Err(format!("{other} is no option; --help lists them")),
        }
    }
    if arguments.hosts == 0 || arguments.leases == 0 || arguments.samples == 0 {
        return Err("hosts, leases and samples are at least 1".to_owned());
    }
    Ok(arguments)
}
