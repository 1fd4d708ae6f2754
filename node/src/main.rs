//! The `leasehold` binary: the server, and the commands that talk to it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use leasehold_node::cli::{self, ClientCommand, Globals};
use leasehold_node::config::Config;
use leasehold_node::node::Node;
use leasehold_node::seams::{HttpOptions, Seams};
use leasehold_node::telemetry::logging;

/// A server lives long and allocates from several threads, small things most of all: glibc's allocator took a sixth of the
/// processor time of creating leases.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Reservations for OpenStack that keep their promise.
///
/// `leasehold server` runs a node; the other commands talk to a cluster, on any node of it.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM or SIGINT.
    ///
    /// Example: leasehold server --config /etc/leasehold/leasehold.toml
    Server {
        /// TOML file; LEASEHOLD_NODE__ID=1 and the like win over it (docs/configuration.md).
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    #[command(flatten)]
    Client(ClientCommand),
}

/// How long tasks may take to end once a node is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let Arguments { globals, command } = Arguments::parse();
    match command {
        Command::Server { config } => match server(config.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // The last line says why, with every cause.
                eprintln!("leasehold: {error:#}");
                ExitCode::FAILURE
            }
        },
        Command::Client(command) => match runtime(1) {
            Ok(runtime) => runtime.block_on(cli::run(command, globals)),
            Err(error) => {
                eprintln!("leasehold: {error:#}");
                ExitCode::from(3)
            }
        },
    }
}

fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    built.context("no threads to run on")
}

fn server(file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let runtime = runtime(config.node.task_threads())?;
    let served = runtime.block_on(serve(config));
    // Whatever still runs has its last word before ours.
    runtime.shutdown_timeout(LAST_WORDS);
    served
}

async fn serve(config: Config) -> anyhow::Result<()> {
    logging::start(&config.log)?;
    let seams = Seams::system(&HttpOptions { extra_ca_pem: config.extra_ca_pem()? })?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let node = Node::start(config, seams).await?;
    let addresses = node.addresses();
    println!("leasehold: serving rest {} grpc {} metrics {}", addresses.rest, addresses.grpc, addresses.metrics);
    tokio::select! {
        biased;
        why = node.fatal() => {
            // What is in memory may be ahead of what is on disk: nothing more is served.
            anyhow::bail!("this node must end: {why}");
        }
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    node.shutdown().await;
    Ok(())
}
