//! What clients saw: one JSON line an operation, append-only; the format that `leasehold-chaos` reads.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use leasehold_client::Key;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::caller::Ending;

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number, from 0, in order of invocation.
    pub n: u64,
    /// Which client.
    pub client: u32,
    /// What, as `create`.
    pub op: String,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Nanoseconds after the run's start.
    pub invoke_ns: u64,
    /// How it ended.
    pub ending: Ending,
    /// Nanoseconds after the run's start.
    pub return_ns: u64,
    /// Ledger index of the reply.
    pub index: Option<u64>,
    /// Request and reply.
    pub body: Value,
}

/// The file, shared by all clients.
#[derive(Debug)]
pub struct History {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    next: u64,
    file: BufWriter<File>,
}

/// An operation under way.
#[derive(Debug)]
pub struct Invoked {
    n: u64,
    client: u32,
    op: &'static str,
    invoke_ns: u64,
}

impl History {
    /// Begins a history in this file.
    pub fn create(path: &Path) -> Result<History> {
        let file = File::create(path).with_context(|| format!("history {}", path.display()))?;
        Ok(History { begun: Instant::now(), inner: Mutex::new(Inner { next: 0, file: BufWriter::new(file) }) })
    }

    /// An operation begins.
    pub fn invoke(&self, client: u32, op: &'static str) -> Invoked {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let n = inner.next;
        inner.next += 1;
        Invoked { n, client, op, invoke_ns: self.now() }
    }

    /// It has ended.
    pub fn returned(&self, what: Invoked, key: Option<Key>, ending: Ending, index: Option<u64>, body: Value) -> Result<()> {
        let key = key.map(|key| key.id.to_string());
        let Invoked { n, client, op, invoke_ns } = what;
        let line = Operation { n, client, op: op.to_owned(), key, invoke_ns, ending, return_ns: self.now(), index, body };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(inner.file.write_all(&text)?)
    }

    /// Everything is on its way to the disk; answers how many operations there were.
    pub fn finish(&self) -> Result<u64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file.flush()?;
        Ok(inner.next)
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_appended_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let history = History::create(&path).unwrap();
        let (first, second) = (history.invoke(0, "create"), history.invoke(1, "list"));
        history.returned(second, None, Ending::Info, None, Value::Null).unwrap();
        history.returned(first, None, Ending::Ok, Some(7), Value::Null).unwrap();
        assert_eq!(history.finish().unwrap(), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Operation> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line.n).collect::<Vec<_>>(), [1, 0]);
        assert!(lines[1].invoke_ns <= lines[1].return_ns);
        assert_eq!(lines[1].index, Some(7));
    }
}
