//! What clients saw: one line an operation, in harness time, append-only.
//!
//! `fail` only when the reply proves that nothing was applied; everything ambiguous is `info`.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Acknowledged.
    Ok,
    /// Refused: certainly not applied.
    Fail,
    /// Nobody knows.
    Info,
}

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

/// Why a history does not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("history: {0}")]
    Io(#[from] io::Error),
    /// A line that is no operation.
    #[error("history: line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Appends one operation as one line.
pub fn append(to: &mut impl Write, operation: &Operation) -> Result<(), Error> {
    let mut line = serde_json::to_vec(operation).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(to.write_all(&line)?)
}

/// Reads every operation.
pub fn read(from: impl BufRead) -> Result<Vec<Operation>, Error> {
    from.lines()
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(&line?).map_err(|problem| Error::Line { line: number + 1, problem: problem.to_string() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(n: u64) -> Operation {
        Operation {
            n,
            client: 0,
            op: "create".to_owned(),
            key: None,
            invoke_ns: 1,
            ending: Ending::Info,
            return_ns: 2,
            index: None,
            body: Value::Null,
        }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let mut file = Vec::new();
        for n in 0..3 {
            append(&mut file, &operation(n)).expect("memory takes it");
        }
        let read = read(file.as_slice()).expect("it reads");
        assert_eq!(read, (0..3).map(operation).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_line_is_named() {
        let problem = read(&b"{\"n\":0"[..]).expect_err("torn").to_string();
        assert!(problem.contains("line 1"), "{problem}");
    }
}
