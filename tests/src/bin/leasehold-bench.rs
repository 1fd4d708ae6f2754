//! `leasehold-bench`: see `leasehold_tests::bench`.

use clap::Parser;
use leasehold_tests::bench;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        done = bench::run(bench::Options::parse()) => done,
    }
}
