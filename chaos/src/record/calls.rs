//! What nodes ask of the cloud, as it leaves them.

use serde::{Deserialize, Serialize};

/// One changing call to the cloud as it left its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When.
    pub at_ns: u64,
    /// From which node.
    pub node: u64,
    /// In which of its lives.
    pub life: u32,
    /// The HTTP method.
    #[serde(default)]
    pub method: String,
    /// Below the cloud's address.
    #[serde(default)]
    pub path: String,
    /// Since when the group of tasks is there of which one sent it, nanoseconds; `None`: it was none of a group within the
    /// node's.
    #[serde(default)]
    pub group_since_ns: Option<u64>,
    /// Whose work it is, by what its sender said: work, term and attempt.
    #[serde(default)]
    pub attempt: Option<String>,
    /// The caller's own id of the call; empty: it has none.
    pub global_request_id: String,
    /// Sent in the name of a client by the node that serves him, whoever leads: with his token, under his request's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_client: bool,
    /// How it ended for its node; `None`: nobody waited for that any more.
    #[serde(default)]
    pub ended: Option<CallEnd>,
    /// Since when it is unclear how an earlier call of this life for the same server ended; `None`: all ended clearly, or a
    /// read begun since has shown the server.
    #[serde(default)]
    pub unsure_since_ns: Option<u64>,
}

impl Call {
    /// What it works on: the kind of work and what it is for (`row/17`, `host/3`); `None`: it is no leader's.
    pub fn work(&self) -> Option<&str> {
        let attempt = self.attempt.as_deref()?;
        let ends = attempt.match_indices('/').nth(1).map_or(attempt.len(), |(at, _)| at);
        Some(&attempt[..ends])
    }

    /// The term in which its sender says that it works.
    pub fn told_term(&self) -> Option<u64> {
        self.attempt.as_deref()?.rsplit('/').nth(1)?.parse().ok()
    }
}

/// What one node read in the cloud within one second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Seconds after the run's start.
    pub at_s: u64,
    /// Which node.
    pub node: u64,
    /// How many it sent.
    pub reads: u64,
    /// What it read most often, and how often.
    pub most: (String, u64),
}

/// How a call ended for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// When.
    pub at_ns: u64,
    /// What was answered; `None`: nothing came.
    pub status: Option<u16>,
    /// `Retry-After` of the answer, seconds.
    pub retry_after_s: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_tells_the_work_and_the_term() {
        let call = |attempt: Option<&str>| Call { attempt: attempt.map(str::to_owned), ..Call::default() };
        let told = call(Some("row/17/2/501/4/0"));
        assert_eq!((told.work(), told.told_term()), (Some("row/17"), Some(4)));
        let told = call(Some("host/3/0/12/1"));
        assert_eq!((told.work(), told.told_term()), (Some("host/3"), Some(12)));
        assert_eq!((call(None).work(), call(None).told_term()), (None, None));
    }
}
