//! Another process of this program: one seed is one process.

use std::io;
use std::process::{Command, Stdio};

/// This program with nothing to read. What a run frees it takes again at once, so none of it goes back to the machine: memory
/// that is new to the process is dear (docs/chaos.md).
///
/// # Errors
/// When the system does not tell which program this is.
pub fn child() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.stdin(Stdio::null()).env("MIMALLOC_PURGE_DELAY", "-1");
    Ok(command)
}
