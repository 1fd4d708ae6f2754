//! Another process of this program: one seed is one process.

use std::io;
use std::process::{Command, Stdio};

/// This program with nothing to read. Memory that a run gives up it takes again at once, so none goes back to the machine: taking it from there
/// costs a process more than anything else it does with it.
///
/// # Errors
/// When the system does not tell which program this is.
pub fn child() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.stdin(Stdio::null()).env("MIMALLOC_PURGE_DELAY", "-1");
    Ok(command)
}
