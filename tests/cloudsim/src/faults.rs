//! The switches that make the cloud misbehave, each with a match, a limit and a probability.
//!
//! Draws come from a stream of their own, so that a fault that is set but never strikes changes no id.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::Request;
use crate::rng::Rng;

/// A fault that strikes calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which calls it may strike.
    #[serde(flatten)]
    pub when: Match,
    /// What it does to them.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// How many matching calls pass before the first is struck.
    #[serde(default)]
    pub skip: u64,
    /// How many calls it strikes at most; without it, all.
    #[serde(default)]
    pub count: Option<u64>,
    /// The probability with which a matching call is struck, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// A fault that strikes every call to `path` (see [`Match::path`]) with the method, or with any if it is empty.
    pub fn on(method: &str, path: &str, kind: FaultKind) -> Self {
        let when = Match { method: method.to_owned(), path: path.to_owned(), ..Match::default() };
        Self { when, kind, skip: 0, count: None, probability: 1.0 }
    }

    /// The same, but only the first `count` times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The same, but only if the body contains `text`.
    #[must_use]
    pub fn with_body(mut self, text: &str) -> Self {
        self.when.body = text.to_owned();
        self
    }
}

/// Which calls a fault may strike; what is empty matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Match {
    /// `identity`, `compute`, `placement`, `image` or `network`.
    pub service: String,
    /// The HTTP method.
    pub method: String,
    /// A prefix of the path, or with `*` (any text) a pattern of the whole. Tried on the full path
    /// (`/compute/v2.1/servers/…`) and on what follows the service and its version (`/servers/…`).
    pub path: String,
    /// Text that the body contains, for example `"unshelve"`.
    pub body: String,
    /// Text that the caller's name contains.
    pub caller: String,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers an error; the call has no effect. 5xx, 429, 401, whatever is wanted.
    Error {
        /// The status to answer.
        status: u16,
        /// The header `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// Answers 409 as if the state forbade the verb, or as if a generation had moved; the call has no effect.
    Conflict,
    /// The call takes effect, the connection ends without an answer.
    LostAnswer {
        /// How long the caller waits for the end.
        #[serde(default)]
        after_ms: u64,
    },
    /// The call is accepted, and takes effect later; nobody is told its result.
    Late {
        /// How much later it takes effect.
        after_ms: u64,
        /// What is answered at once; without it the connection ends.
        #[serde(default)]
        status: Option<u16>,
    },
    /// The call takes effect now, the answer comes later.
    Slow {
        /// How much later it comes.
        after_ms: u64,
    },
    /// No answer, the connection stays open.
    Hang {
        /// Whether the call takes effect all the same.
        #[serde(default)]
        applied: bool,
    },
    /// The call is delivered twice; the first answer is given.
    Duplicate,
    /// The call takes effect, the body of the answer is no JSON.
    Garbage,
    /// The call takes effect, the body of the answer breaks off in its middle, as behind a proxy that lost its backend. An answer
    /// without a body is whole.
    Truncated,
    /// A cell is down: every other server is missing from lists of servers, as Nova leaves out those of a cell that does not answer;
    /// every other compute is in the list of services as one of which nothing is known (Nova from 2.69 on).
    Partial,
    /// The call is accepted, but its asynchronous part fails: a boot ends in ERROR, an unshelve goes back to
    /// SHELVED_OFFLOADED, both for want of a host; the image of a shelve or of a createImage cannot be stored.
    AsyncFailure,
}

/// A set fault with its history.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SetFault {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) fault: Fault,
    pub(crate) matched: u64,
    pub(crate) struck: u64,
}

/// All set faults, in the order in which they were set; the first that strikes wins.
#[derive(Debug)]
pub(crate) struct Faults {
    set: Vec<SetFault>,
    last_id: u64,
    rng: Rng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { set: Vec::new(), last_id: 0, rng: Rng::new(seed ^ 0xfa17_5fa1_75fa_175f) }
    }

    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.last_id += 1;
        self.set.push(SetFault { id: self.last_id, fault, matched: 0, struck: 0 });
        self.last_id
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.set.len();
        self.set.retain(|known| known.id != id);
        self.set.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.set.clear();
    }

    pub(crate) fn list(&self) -> &[SetFault] {
        &self.set
    }

    /// The fault that strikes this call, if one does.
    pub(crate) fn strike(&mut self, service: &str, request: &Request, caller: &str) -> Option<FaultKind> {
        for known in &mut self.set {
            if !fits(&known.fault.when, service, request, caller) {
                continue;
            }
            known.matched += 1;
            let due = known.matched > known.fault.skip && known.fault.count.is_none_or(|count| known.struck < count);
            if due && self.rng.chance(known.fault.probability) {
                known.struck += 1;
                return Some(known.fault.kind.clone());
            }
        }
        None
    }
}

fn fits(when: &Match, service: &str, request: &Request, caller: &str) -> bool {
    (when.service.is_empty() || when.service == service)
        && (when.method.is_empty() || when.method.eq_ignore_ascii_case(request.method.as_str()))
        && (when.path.is_empty() || path_fits(&when.path, &request.path) || path_fits(&when.path, below(&request.path)))
        && (when.body.is_empty() || String::from_utf8_lossy(&request.body).contains(&when.body))
        && (when.caller.is_empty() || caller.contains(&when.caller))
}

/// What follows the service and its version: `/compute/v2.1/servers` → `/servers`.
pub(crate) fn below(path: &str) -> &str {
    let rest = path.get(1..).and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or("");
    let version = rest.get(1..).unwrap_or("").split('/').next().unwrap_or("");
    let is_version = version.starts_with('v') && version.chars().skip(1).all(|c| c.is_ascii_digit() || c == '.');
    if is_version && version.len() > 1 { &rest[version.len() + 1..] } else { rest }
}

fn path_fits(pattern: &str, path: &str) -> bool {
    if !pattern.contains('*') {
        return path.starts_with(pattern);
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (at, part) in parts.iter().enumerate() {
        if at + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    true
}

/// What `POST /_sim/faults` takes: a fault, or a switch that acts at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Wish {
    Switch(Switch),
    Fault(Fault),
}

/// Switches that act at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Switch {
    /// The compute process of a host dies.
    HostDown { host: String },
    /// It is back.
    HostUp { host: String },
    /// No token is valid any more.
    ExpireTokens,
    /// A user loses a role in every project; its tokens lose it too.
    RevokeRole { user: String, role: String },
    /// A user gets a role back in every project in which he has another one.
    GrantRole { user: String, role: String },
}

/// A fault as the record names it.
pub(crate) fn name(kind: &FaultKind) -> String {
    serde_json::to_value(kind).map_or_else(
        |_| String::new(),
        |value| match value {
            Value::Object(fields) => {
                let mut words = vec![fields.get("kind").and_then(Value::as_str).unwrap_or("").to_owned()];
                words.extend(fields.iter().filter(|(key, _)| *key != "kind").map(|(key, value)| format!("{key}={value}")));
                words.join(" ")
            }
            _ => String::new(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_as_prefix_or_as_pattern() {
        assert!(path_fits("/servers", "/servers/1/action"));
        assert!(path_fits("/servers/*/action", "/servers/1/action"));
        assert!(!path_fits("/servers/*/action", "/servers/1/actions"));
        assert!(!path_fits("/flavors", "/servers"));
        assert!(path_fits("*/inventories/*", "/resource_providers/x/inventories/VCPU"));
        assert_eq!(below("/compute/v2.1/servers/1"), "/servers/1");
        assert_eq!(below("/placement/allocations/1"), "/allocations/1");
        assert_eq!(below("/identity/v3"), "");
    }
}
