//! `leasehold-kill`: see `leasehold_tests::kill`.

use std::process::ExitCode;

use clap::Parser;
use leasehold_tests::kill;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let good = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        good = kill::run(kill::Options::parse()) => good?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
