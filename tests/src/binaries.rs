//! Where the built programs are.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The product: `LEASEHOLD_BIN`, or `leasehold` beside the running program (or above it, for tests in `deps/`).
pub fn leasehold() -> Result<PathBuf> {
    find("LEASEHOLD_BIN", "leasehold")
}

/// The simulated cloud: `LEASEHOLD_CLOUDSIM_BIN`, or `leasehold-cloudsim` likewise.
pub fn cloudsim() -> Result<PathBuf> {
    find("LEASEHOLD_CLOUDSIM_BIN", "leasehold-cloudsim")
}

fn find(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        if !path.is_file() {
            bail!("{variable}={} is not there", path.display());
        }
        return Ok(path);
    }
    let own = std::env::current_exe().context("where this program is")?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    beside.with_context(|| format!("no {name} beside {} (build it: `make build`, or name it in {variable})", own.display()))
}
