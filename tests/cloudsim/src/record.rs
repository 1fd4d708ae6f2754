//! The cloud's own record: what was asked, when it took effect, what changed. Proofs read this and nothing else.
//!
//! Append-only, in true time (the clock of whoever drives the cloud). Three kinds of lines: a `request` as it was
//! received, a `late` line when a request that a fault held back takes effect, and an `event` when asynchronous work
//! (a boot, an unshelve, a deletion, an upload) or a switch changes something. `late` and `event` name the request that
//! started them in `of`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the record, from 1, without gaps.
    pub n: u64,
    /// When this line came to be, ms since 1970.
    pub at_ms: u64,
    /// What kind of line it is.
    pub kind: Kind,
    /// The request that started this, for `late` and `event`.
    pub of: Option<u64>,
    /// When the request arrived.
    pub received_at: Option<u64>,
    /// When it took effect; none if it never does (a fault before it, or a line that is no request).
    pub applied_at: Option<u64>,
    /// When the answer left; none if the caller never got one.
    pub answered: Option<u64>,
    /// `identity`, `compute`, `placement`, `image`, `network`, or `sim`.
    pub service: String,
    /// The HTTP method.
    pub method: String,
    /// The path below the service's prefix, with the query.
    pub path: String,
    /// The status the service gave, even when the caller never saw it; what a fault answered otherwise. 0 for events.
    pub status: u16,
    /// Who called: the in-memory caller, the header `X-Leasehold-Node`, or `User-Agent`.
    pub caller: String,
    /// Name of the user of the token, if there is one.
    pub user: String,
    /// The caller's own id of the call: the header `X-Openstack-Request-Id`.
    pub global_request_id: String,
    /// The service's id of the call: the same header of the answer, and the key of Nova's instance actions.
    pub request_id: String,
    /// The request's body as JSON; null when empty, when it carries a password, or when it is no JSON.
    pub body: Value,
    /// The fault that struck, if one did.
    pub fault: Option<String>,
    /// What changed, in order.
    pub changes: Vec<Change>,
}

/// The kinds of lines in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A call as it was received.
    Request,
    /// A call that a fault had held back takes effect.
    Late,
    /// Asynchronous work or a switch changed something.
    Event,
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Object and what became of it, for example `server.active`, `allocation.set`, `inventory.set`.
    pub what: String,
    /// The id of the object: a server, consumer, provider, flavor, image …
    pub id: String,
    /// The host concerned, if there is one.
    pub host: Option<String>,
    /// The change in words.
    pub text: String,
    /// The change in figures; see the table in `README.md`.
    pub facts: Value,
}

/// Who caused asynchronous work: copied from the request's line to the lines of its events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub(crate) n: u64,
    pub(crate) caller: String,
    pub(crate) user: String,
    pub(crate) global_request_id: String,
    pub(crate) request_id: String,
    pub(crate) user_id: String,
    pub(crate) project_id: String,
    pub(crate) admin: bool,
}

/// The record in the making.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Vec<Record>,
    /// Lines that were handed over already.
    taken: u64,
}

impl Log {
    /// The number the next line will carry.
    pub(crate) fn next(&self) -> u64 {
        self.taken + self.lines.len() as u64 + 1
    }

    pub(crate) fn take(&mut self) -> Vec<Record> {
        self.taken += self.lines.len() as u64;
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn lines(&self) -> &[Record] {
        &self.lines
    }

    pub(crate) fn push(&mut self, mut line: Record) {
        line.n = self.next();
        self.lines.push(line);
    }

    pub(crate) fn event(&mut self, at_ms: u64, service: &str, cause: &Cause, changes: Vec<Change>) {
        self.push(Record {
            n: 0,
            at_ms,
            kind: Kind::Event,
            of: (cause.n > 0).then_some(cause.n),
            received_at: None,
            applied_at: Some(at_ms),
            answered: None,
            service: service.to_owned(),
            method: String::new(),
            path: String::new(),
            status: 0,
            caller: cause.caller.clone(),
            user: cause.user.clone(),
            global_request_id: cause.global_request_id.clone(),
            request_id: cause.request_id.clone(),
            body: Value::Null,
            fault: None,
            changes,
        });
    }
}
