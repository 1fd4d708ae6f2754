//! What the command line says.

use std::path::PathBuf;

use clap::Parser;

/// How long planning takes in a cloud of many hosts and leases
#[derive(Parser)]
#[command(name = "bench_plan")]
pub struct Arguments {
    /// Hosts of the cloud
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub hosts: u64,
    /// Leases in the end; figures are also taken at a tenth and a hundredth
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub leases: u64,
    /// How often each thing is measured; slow ones less often
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,
    /// Of the world and the questions
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Figures as JSON; FILE.svg is the plot of growth
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Only open this snapshot and say what that takes: how a run measures restarts in a process of their own
    #[arg(long, value_name = "FILE", hide = true)]
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
