//! A child process with a log: killed without mercy, paused, and ended with its owner.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};

use crate::wait::wait_for;

/// A running or ended child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, so that Ctrl-C reaches the harness alone, which then ends it.
    /// Standard output and error are appended to `log`.
    pub fn start(name: &str, command: Command, log: &Path) -> Result<Process> {
        Process::start_with(name, command, log, false).map(|(process, _)| process)
    }

    /// As [`Process::start`], and waits for the first line on standard output.
    pub fn start_and_read_line(name: &str, command: Command, log: &Path) -> Result<(Process, String)> {
        Process::start_with(name, command, log, true)
    }

    fn start_with(name: &str, command: Command, log: &Path, read_line: bool) -> Result<(Process, String)> {
        let file = File::options().create(true).append(true).open(log).with_context(|| format!("log {}", log.display()))?;
        let output = if read_line { Stdio::piped() } else { Stdio::from(file.try_clone()?) };
        let mut command = ended_with_us(&command);
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::from(file)).process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {name}: {:?}", command.get_program()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let process = Process { name: name.to_owned(), child, log: log.to_owned() };
        anyhow::ensure!(!read_line || !line.is_empty(), "{name} ended at once\n{}", process.tail(20));
        Ok((process, line.trim().to_owned()))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits until it is gone. Nothing happens if it has ended before.
    pub fn kill9(&mut self) {
        if self.is_running() && self.child.kill().is_ok() {
            // SIGKILL cannot be refused, so this returns.
            if let Err(error) = self.child.wait() {
                eprintln!("{} was killed but cannot be waited for: {error}", self.name);
            }
        }
    }

    /// `SIGSTOP`.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// `SIGCONT`.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// `SIGTERM`: a friendly stop.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        // The child is reaped only through `self.child`, so the id cannot be somebody else's.
        rustix::process::kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.name))
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        let child = std::cell::RefCell::new(&mut self.child);
        wait_for(&format!("the end of {name}"), within, || async {
            match child.borrow_mut().try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("still running".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// The last lines of its log, with the file's name.
    pub fn tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        format!("--- {} ({})\n{}\n", self.name, self.log.display(), all[all.len().saturating_sub(lines)..].join("\n"))
    }

    /// All it has logged.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// The same command under `setpriv` (util-linux), which has the kernel kill it when the thread that started it is gone: so
/// nothing is left running whatever ends a harness, and it keeps its process id. Children are started by threads that
/// live as long as their runtime.
fn ended_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}
