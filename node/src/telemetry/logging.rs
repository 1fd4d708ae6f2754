//! Structured logs: text for people, JSON lines for programs. Secrets never get here: they are [`crate::config::Secret`].

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::ChronoUtc;

use crate::config::LogSection;

/// Why logging was not set up.
#[derive(Debug, thiserror::Error)]
#[error("log.filter = {filter:?}: {problem}; use a level as info, or directives as leasehold_node=debug,info")]
pub struct Error {
    filter: String,
    problem: String,
}

/// Sends this process's logs to standard error as configured. Once a process.
pub fn start(section: &LogSection) -> Result<(), Error> {
    let wrong = |problem: String| Error { filter: section.filter.clone(), problem };
    let filter = EnvFilter::try_new(&section.filter).map_err(|error| wrong(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned()))
        .with_writer(std::io::stderr);
    let started = if section.json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    started.map_err(|error| wrong(error.to_string()))
}
