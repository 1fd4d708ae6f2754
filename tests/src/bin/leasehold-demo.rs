//! `leasehold-demo`: see `leasehold_tests::demo`.

use std::process::ExitCode;

use clap::Parser;
use leasehold_tests::demo;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = demo::Options::parse();
    let good = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c(), if !options.keep => anyhow::bail!("interrupted"),
        good = demo::run(options.clone()) => good?,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
